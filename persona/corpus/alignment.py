"""Aligns bare captions to a timed transcript of the same talk, to take times and speakers from there."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from persona.corpus.document import Word
from persona.text import words as lower_words

_MAX_GAP = 12  # caption words between two matches that may still take the speaker around them
_STUTTER = 4  # words within which a repeated one is the speaker's own stutter
_FILLERS = {"uh", "um"}
_MIN_RUN = 3  # shorter matches are chance: common words meet anywhere
_MIN_SHARE = 0.5  # less than this matched: another talk, or another part of it; nothing is taken


def align(captions: Sequence[Word], transcript: Sequence[Word]) -> list[Word]:
    """The captions' words with start, end, speaker and sentence ends of the transcript's matching words.

    Words between two matches take the time between. They take the speaker only where they replace as many of the
    transcript's words in one turn, or repeat a word beside them (a stutter); elsewhere they have none, so that nobody
    is quoted with another's words.
    """
    spoken = [w for w in transcript if w.spoken]
    keys = [_key(w) for w in captions]
    matcher = SequenceMatcher(None, keys, [_key(w) for w in spoken], autojunk=True)
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
        before_at = next((i for i in range(index - 1, max(-1, index - 1 - _MAX_GAP), -1) if match[i] is not None), None)
        after_at = next(
            (i for i in range(index + 1, min(len(match), index + 1 + _MAX_GAP)) if match[i] is not None), None
        )
        before = _matched(spoken, match, before_at)
        after = _matched(spoken, match, after_at)
        start = before.end if before else after.start if after else None
        end = after.start if after else start
        paragraph = before.paragraph if before else out[-1].paragraph if out else 0
        near = {*keys[max(0, index - _STUTTER) : index], *keys[index + 1 : index + 1 + _STUTTER]}
        same_turn = before is not None and after is not None and before.paragraph == after.paragraph
        own = _replaces(spoken, match, before_at, after_at) or (same_turn and keys[index] in near | _FILLERS)
        speaker = before.speaker if before and own else None
        out.append(word._replace(speaker=speaker, start=start, end=end, paragraph=paragraph))
    return _with_sentence_ends(out, match, spoken)


def _matched(spoken: Sequence[Word], match: Sequence[int | None], at: int | None) -> Word | None:
    here = match[at] if at is not None else None
    return spoken[here] if here is not None else None


def _replaces(spoken: Sequence[Word], match: Sequence[int | None], before_at: int | None, after_at: int | None) -> bool:
    """Whether the words between two matches stand for as many of the transcript's, all of one turn.

    More words than the transcript has there may hold another's "that's right", which it left out.
    """
    if before_at is None or after_at is None:
        return False
    first, last = match[before_at], match[after_at]
    if first is None or last is None or spoken[first].paragraph != spoken[last].paragraph:
        return False
    return after_at - before_at <= last - first


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
