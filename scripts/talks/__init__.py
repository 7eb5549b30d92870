"""Invented talks with questions: training data of our own, on subjects and by speakers that no corpus of Fireside's has.

Each line of the folder's files is a pair of documents by two speakers on one subject that go over the same ground and give
different details, so the same question is answered by the one and not by the other: nothing in how it is worded says which.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from persona.errors import InputError

FOLDER = Path(__file__).parent


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Document(_Model):
    """What one speaker says, or what is said of it."""

    title: str
    paragraphs: tuple[str, ...]


class Question(_Model):
    """A question, and the words of either document that answer it; none where it doesn't."""

    q: str
    a: tuple[str, ...]
    b: tuple[str, ...]


class TalkPair(_Model):
    """Two documents on one subject, and what is asked of both."""

    topic: str
    style: Literal["talk", "interview", "summary", "notes"]
    a: Document
    b: Document
    questions: tuple[Question, ...]

    def sides(self) -> tuple[tuple[Document, list[tuple[str, Sequence[str]]]], ...]:
        """Each document with every question and its answers there."""
        return (
            (self.a, [(q.q, q.a) for q in self.questions]),
            (self.b, [(q.q, q.b) for q in self.questions]),
        )


def load(folder: Path = FOLDER) -> list[TalkPair]:
    """Every pair of the folder; InputError for a line that is none, or an answer that its document lacks."""
    out: list[TalkPair] = []
    for file in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            try:
                pair = TalkPair.model_validate_json(line)
            except ValidationError as exc:
                raise InputError(f"{file.name}, line {number}: {exc.errors()[0]['msg']}. Mend the line.") from None
            for document, asked in pair.sides():
                for question, answers in asked:
                    for answer in answers:
                        if not any(answer in text for text in document.paragraphs):
                            raise InputError(
                                f"{file.name}, line {number}: '{answer}', the answer to '{question}', isn't in "
                                f"'{document.title}'. Copy it letter for letter."
                            )
            out.append(pair)
    return out
