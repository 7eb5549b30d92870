"""Parsers: one function per format, each from a document's text to its words.

Verbatim formats: Whisper's timed lines, WebVTT and SubRip, "Name:" lines, bare captions. Reports: an outline of
headings, paragraphs and bullets. `parse` picks by the catalog's kind, the file's ending and its first lines.
"""

# webvtt ships no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

from persona.corpus.catalog import DocumentEntry
from persona.corpus.document import Word
from persona.errors import CorpusError
from persona.text import ends_sentence
from persona.types import DocumentKind

_STAMPED = re.compile(r"^\[(\d+):(\d\d):(\d\d(?:\.\d+)?) --> (\d+):(\d\d):(\d\d(?:\.\d+)?)\]\s*(.*)$")
_MARK = re.compile(
    r"^(?:[-–—]|>>+|\((?:laugh\w*|applause|music|inaudible|crosstalk|pause)\)|\[(?:laugh\w*|applause|music|inaudible|crosstalk)\])$",
    re.I,
)
_NAMED = re.compile(
    r"^(?:\*\*)?([A-Z][\w.'’-]*(?: [A-Z][\w.'’-]*){0,3})(?:\*\*)?(?: \(?(\d+(?::\d\d)+)\)?)?:(?:\*\*)?\s+(.*)$"
)
_VOICE = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>|</v>|<[^>]*>")


class _Cue(NamedTuple):
    start: float
    end: float
    text: str
    speaker: str | None = None


def parse(entry: DocumentEntry, text: str) -> list[Word]:
    """The words of a document; a document without any raises CorpusError."""
    omitted = entry.omitted()
    count = len(text.splitlines())
    if omitted and max(omitted) > count:
        raise CorpusError(
            f"Document '{entry.id}' omits line {max(omitted)}, but '{entry.file}' has {count} lines. Correct 'omit'."
        )
    lines = ["" if number in omitted else line for number, line in enumerate(text.splitlines(), 1)]
    words = _reader(entry, lines)
    if not words:
        raise CorpusError(
            f"The seed '{entry.file}' of document '{entry.id}' holds no text. Check the file and its 'omit' lines."
        )
    return words


def _reader(entry: DocumentEntry, lines: list[str]) -> list[Word]:
    if not entry.kind.verbatim:
        return list(_outline(lines))
    if entry.file.lower().endswith((".vtt", ".srt")):
        return list(_timed(_subtitles(entry, "\n".join(lines))))
    if any(_STAMPED.match(line) for line in lines):
        return list(_timed(_whisper(entry, lines)))
    if entry.kind is DocumentKind.CAPTIONS:
        return list(_bare(lines, paragraph=0, speaker=_only_speaker(entry)))
    return list(_dialogue(entry, lines))


def _only_speaker(entry: DocumentEntry) -> str | None:
    return entry.speakers[0] if len(entry.speakers) == 1 else None


def _seconds(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _whisper(entry: DocumentEntry, lines: list[str]) -> Iterator[_Cue]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _STAMPED.match(line)
        if not match:
            raise CorpusError(
                f"Line {number} of '{entry.file}' has no time stamp like '[00:01:02.000 --> 00:01:04.000]': {line[:60]!r}. "
                "Correct it, or name it in 'omit'."
            )
        yield _Cue(_seconds(*match.group(1, 2, 3)), _seconds(*match.group(4, 5, 6)), match[7], _only_speaker(entry))


def _subtitles(entry: DocumentEntry, text: str) -> Iterator[_Cue]:
    read = webvtt.from_string if entry.file.lower().endswith(".vtt") else _from_srt
    try:
        captions = read(text)
    except (MalformedFileError, MalformedCaptionError) as exc:
        raise CorpusError(
            f"'{entry.file}' is not a valid subtitle file: {exc}. Check its first lines and cues."
        ) from None
    for caption in captions:
        speaker = _only_speaker(entry)
        at = 0
        raw = str(caption.raw_text)
        for tag in _VOICE.finditer(raw):
            yield _Cue(caption.start_in_seconds, caption.end_in_seconds, raw[at : tag.start()], speaker)
            at = tag.end()
            if tag[1]:
                speaker = tag[1].strip()
            elif tag[0] == "</v>":
                speaker = _only_speaker(entry)
        yield _Cue(caption.start_in_seconds, caption.end_in_seconds, raw[at:], speaker)


def _from_srt(text: str) -> webvtt.WebVTT:
    return webvtt.WebVTT.from_buffer(io.StringIO(text), format="srt")


def _timed(cues: Iterable[_Cue]) -> Iterator[Word]:
    """Words of timed cues; a word's time is its share of the cue by characters, a mark takes none."""
    for cue in cues:
        tokens = cue.text.split()
        marks = [bool(_MARK.match(t)) for t in tokens]
        sizes = [0 if mark else len(t) for t, mark in zip(tokens, marks, strict=True)]
        rate = (cue.end - cue.start) / (sum(sizes) or 1)
        at = cue.start
        for token, size, mark in zip(tokens, sizes, marks, strict=True):
            end = at + size * rate
            yield Word(token, cue.speaker, round(at, 2), round(end, 2), 0, spoken=not mark)
            at = end


def _bare(lines: list[str], paragraph: int, speaker: str | None) -> Iterator[Word]:
    for line in lines:
        for token in line.split():
            yield Word(token, speaker, None, None, paragraph, spoken=not _MARK.match(token))


def _dialogue(entry: DocumentEntry, lines: list[str]) -> Iterator[Word]:
    """Lines "Name: words" open a turn, lines without a name go on with it; Markdown headings are skipped."""
    speaker = _only_speaker(entry)
    known = {name.casefold(): name for name in entry.speakers}
    paragraph = 0
    for line in lines:
        if line.startswith("#"):
            continue
        said = line
        match = _NAMED.match(line.strip())
        if match:
            # A name that the catalog doesn't list is somebody unknown, never the one who spoke before.
            speaker = known.get(match[1].casefold()) if known else match[1]
            paragraph += 1
            said = match[3]
        yield from _bare([said], paragraph, speaker)


_HEADING = re.compile(r"^#+\s+(.*)$|^\*\*(.+?)\*\*$")
_TIMED_HEADING = re.compile(r"^(\d+):(\d\d):(\d\d)\s+(.*)$")
_BULLET = re.compile(r"^(?:[–—•*+-]|\d+\.)\s+(.*)$")
_TOPIC = re.compile(r"^([A-Z0-9“\"][^.:?!]{2,90}):\s+(.*)$")
_FOOTNOTE = re.compile(r"^\[\d+\]$")
_MAX_TOPIC_WORDS = 12
_MAX_HEADING_WORDS = 16


class _Line(NamedTuple):
    kind: str  # "heading", "timed" or "text"
    text: str
    heading: str = ""
    start: float | None = None


def _outline_line(line: str) -> _Line:
    if match := _HEADING.match(line):
        return _Line("heading", (match[1] or match[2]).rstrip(":"))
    if match := _TIMED_HEADING.match(line):
        return _Line("timed", match[4], start=_seconds(match[1], match[2], match[3]))
    if match := _BULLET.match(line):
        return _Line("text", match[1])
    if _FOOTNOTE.match(line.split(maxsplit=1)[0]):
        return _Line("text", line)
    tokens = line.split()
    if line.endswith(":") or (len(tokens) <= _MAX_HEADING_WORDS and not ends_sentence(tokens[-1])):
        return _Line("heading", line.rstrip(":"))
    topics: list[str] = []
    while (
        (match := _TOPIC.match(line))
        and len(match[1].split()) <= _MAX_TOPIC_WORDS
        and (not topics or _titled(match[1]))
    ):
        topics.append(match[1])
        line = match[2]
    return _Line("text", line, heading=": ".join(topics))


def _titled(text: str) -> bool:
    """Whether most words have a capital, as in a title: "Data, Compute, and Conviction"."""
    tokens = text.split()
    return 2 * sum(t[:1].isupper() for t in tokens) > len(tokens)


def _outline(lines: list[str]) -> Iterator[Word]:
    """Paragraphs and bullets under their headings. A heading with a time gives it to what stands below,
    up to the next one; a part without any time has none."""
    parsed = [_outline_line(line.strip()) for line in lines if line.strip()]
    starts = [line.start for line in parsed if line.start is not None]
    heading = section = ""
    start = end = None
    for paragraph, line in enumerate(parsed):
        if line.kind == "timed":
            heading = section = line.text
            start = line.start
            end = next((s for s in starts if start is not None and s > start), None)
            continue
        if line.kind == "heading":
            heading = line.text
            # A plain heading after timed sections opens a part that restates the whole: no time is known there.
            start = end = None
            section = heading
            continue
        under = line.heading or heading
        title = under if under == section or not section else f"{section}: {under}"
        for token in line.text.split():
            yield Word(token, None, start, end, paragraph, heading=title, spoken=not _FOOTNOTE.match(token))
