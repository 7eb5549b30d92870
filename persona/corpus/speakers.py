"""Who speaks: reads a speaker annotation and puts a name on every word of a timed transcript.

An annotation is a table with tabs between `cue` (the start stamp of a line), `word` (the first word of the turn within
that line, marks not counted), `speaker` and `opens` (the words that stand there). A turn lasts to the next row.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from persona.corpus.document import Word
from persona.errors import CorpusError


def annotate(words: Sequence[Word], path: Path, names: Sequence[str]) -> list[Word]:
    """The words with their speakers; a row that does not fit the transcript raises CorpusError."""
    rows = _read(path)
    starts = dict(_resolve(words, rows, path, names))
    out: list[Word] = []
    speaker: str | None = None
    turn = -1
    for index, word in enumerate(words):
        if index in starts:
            speaker = starts[index]
            turn += 1
        out.append(word._replace(speaker=speaker if word.spoken else None, paragraph=max(turn, 0)))
    return out


def _read(path: Path) -> list[tuple[int, list[str]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CorpusError(
            f"The speaker annotation '{path}' is missing. Restore it, or take 'annotation' out of the catalog "
            "(nothing is quotable then)."
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise CorpusError(f"Can't read the speaker annotation '{path}': {exc}. Check the file.") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines or lines[0][1].split("\t") != ["cue", "word", "speaker", "opens"]:
        raise CorpusError(f"The speaker annotation '{path}' does not begin with the header cue, word, speaker, opens.")
    return [(n, next(csv.reader([line], delimiter="\t", quoting=csv.QUOTE_NONE))) for n, line in lines[1:]]


def _resolve(
    words: Sequence[Word], rows: list[tuple[int, list[str]]], path: Path, names: Sequence[str]
) -> list[tuple[int, str]]:
    spoken = [i for i, w in enumerate(words) if w.spoken]
    first_at: dict[float, int] = {}
    for position, index in enumerate(spoken):
        first_at.setdefault(words[index].start or 0.0, position)
    out: list[tuple[int, str]] = []
    for number, row in rows:
        where = f"Row {number} of the speaker annotation '{path}'"
        if len(row) != 4 or not row[1].isdigit():
            raise CorpusError(f"{where} is not 'cue, word, speaker, opens' with tabs between. Correct it.")
        cue, word, speaker, opens = row
        position = first_at.get(_stamp(cue, where))
        if position is None:
            raise CorpusError(f"{where} names the stamp {cue}, at which no line of the transcript begins. Correct it.")
        if speaker not in names:
            raise CorpusError(
                f"{where} names '{speaker}', who is not among the document's speakers: {', '.join(names)}."
            )
        position += int(word) - 1
        there = " ".join(words[i].text for i in spoken[position : position + len(opens.split())])
        if there != opens:
            raise CorpusError(f"{where} expects {opens!r}, but the transcript has {there!r} there. Correct it.")
        index = spoken[position]
        if out and index <= out[-1][0]:
            raise CorpusError(f"{where} comes before the row above it. Put the rows in order.")
        out.append((index, speaker))
    if not out or out[0][0] != spoken[0]:
        raise CorpusError(
            f"The speaker annotation '{path}' does not begin with the transcript's first word. Add that row."
        )
    return out


def _stamp(cue: str, where: str) -> float:
    try:
        hours, minutes, seconds = cue.split(":")
        return round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 2)
    except ValueError:
        raise CorpusError(f"{where} has the stamp {cue!r}, not one like 00:01:02.000. Correct it.") from None
