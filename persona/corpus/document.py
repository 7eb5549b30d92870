"""A parsed document: its words, who said them and when, and the sentences made of them."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from persona.corpus.catalog import DocumentEntry
from persona.text import ends_sentence, fold_space
from persona.types import Sentence

MAX_SENTENCE = 520  # characters


class Word(NamedTuple):
    """One token of a document. ``spoken`` is False for marks ("-", "(laughing)"): in the text, but nobody's words.

    ``start`` and ``end`` are seconds; ``paragraph`` counts the parts that a passage must not cross;
    ``last`` says that the word ends its sentence.
    """

    text: str
    speaker: str | None
    start: float | None
    end: float | None
    paragraph: int
    heading: str = ""
    spoken: bool = True
    last: bool = False


@dataclass(frozen=True)
class Document:
    """A document of the corpus and its words, in order."""

    entry: DocumentEntry
    words: tuple[Word, ...]

    @cached_property
    def spoken(self) -> str:
        """The document's text with time stamps removed and white space folded: what quotations are checked against."""
        return " ".join(w.text for w in self.words)

    @cached_property
    def _offsets(self) -> list[int]:
        offsets: list[int] = []
        at = 0
        for word in self.words:
            offsets.append(at)
            at += len(word.text) + 1
        return offsets

    def occurrences(self, quote: str) -> list[tuple[Word, ...]]:
        """Every place where `quote` stands letter for letter, from the start of a word to the end of one."""
        found: list[tuple[Word, ...]] = []
        at = self.spoken.find(quote) if quote else -1
        while at >= 0:
            first = bisect.bisect_left(self._offsets, at)
            end = at + len(quote)
            last = bisect.bisect_right(self._offsets, end - 1) - 1
            starts = first < len(self.words) and self._offsets[first] == at
            if starts and self._offsets[last] + len(self.words[last].text) == end:
                found.append(self.words[first : last + 1])
            at = self.spoken.find(quote, at + 1)
        return found

    def said_by(self, quote: str, speaker: str | None) -> bool:
        """Whether `speaker` says exactly these words in one go somewhere in the document."""
        return speaker is not None and any(
            all(w.spoken and w.speaker == speaker for w in place) for place in self.occurrences(quote)
        )

    def sentences(self, repair: Callable[[str], str]) -> list[Sentence]:
        """The sentences; `repair` mends mis-hearings for search. Marks and changes of speaker end a sentence, and so does
        the length from which a reply has no room for it: captions may have no full stop at all."""
        out: list[Sentence] = []
        run: list[Word] = []
        joined = False

        def close() -> None:
            if not run:
                return
            text = " ".join(w.text for w in run)
            first = run[0]
            out.append(
                Sentence(
                    document=self.entry.id,
                    number=len(out),
                    text=text,
                    search=fold_space(repair(text)),
                    speaker=first.speaker,
                    start=first.start,
                    end=run[-1].end,
                    paragraph=first.paragraph,
                    heading=first.heading,
                    joined=joined,
                )
            )
            run.clear()

        before: Word | None = None
        size = 0
        for word in self.words:
            turned = before is not None and (word.speaker, word.paragraph) != (before.speaker, before.paragraph)
            before = word
            if turned or not word.spoken:
                close()
                joined = False
                size = 0
            if not word.spoken:
                continue
            run.append(word)
            size += len(word.text) + 1
            if word.last or ends_sentence(word.text) or size > MAX_SENTENCE:
                close()
                joined = True
                size = 0
        close()
        return out
