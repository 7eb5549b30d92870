"""Aligns bare captions to a timed transcript of the same talk, to take times and speakers from there."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from persona.corpus.document import Word
from persona.text import words as lower_words

_MAX_GAP = 12  # caption words between two matches that may still take the speaker around them
_MIN_RUN = 3  # shorter matches are chance: common words meet anywhere
_MIN_SHARE = 0.5  # less than this matched: another talk, or another part of it; nothing is taken


def align(captions: Sequence[Word], transcript: Sequence[Word]) -> list[Word]:
    """The captions' words with start, end, speaker and sentence ends of the transcript's matching words.

    A word between two matches of one speaker takes that speaker and the time between; at the edge between two
    speakers the words that match nothing have no speaker, so that nobody is quoted with another's words.
    """
    spoken = [w for w in transcript if w.spoken]
    matcher = SequenceMatcher(None, [_key(w) for w in captions], [_key(w) for w in spoken], autojunk=True)
    match: list[int | None] = [None] * len(captions)
    for block in matcher.get_matching_blocks():
        if block.size < _MIN_RUN:
            continue
        for offset in range(block.size):
            match[block.a + offset] = block.b + offset
    if sum(m is not None for m in match) < _MIN_SHARE * len(captions):
        return list(captions)
    out: list[Word] = []
    for index, word in enumerate(captions):
        here = match[index]
        if here is not None:
            source = spoken[here]
            out.append(
                word._replace(speaker=source.speaker, start=source.start, end=source.end, paragraph=source.paragraph)
            )
            continue
        before = next((spoken[m] for m in reversed(match[max(0, index - _MAX_GAP) : index]) if m is not None), None)
        after = next((spoken[m] for m in match[index + 1 : index + 1 + _MAX_GAP] if m is not None), None)
        start = before.end if before else after.start if after else None
        end = after.start if after else start
        same_turn = before is not None and after is not None and before.paragraph == after.paragraph
        paragraph = before.paragraph if before else out[-1].paragraph if out else 0
        speaker = before.speaker if before and same_turn else None
        out.append(word._replace(speaker=speaker, start=start, end=end, paragraph=paragraph))
    return _with_sentence_ends(out, match, spoken)


def _with_sentence_ends(captions: list[Word], match: list[int | None], spoken: Sequence[Word]) -> list[Word]:
    """Ends a caption sentence before the word that opens a transcript sentence."""
    opens = {0} | {i + 1 for i, w in enumerate(spoken) if w.text.rstrip("\"”'").endswith((".", "?", "!"))}
    out = list(captions)
    for index in range(1, len(out)):
        here = match[index]
        if here is not None and here in opens:
            out[index - 1] = out[index - 1]._replace(last=True)
    return out


def _key(word: Word) -> str:
    return "".join(lower_words(word.text)) or word.text
