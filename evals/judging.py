"""The judge by itself: questions against their own paragraph, in the format of SQuAD 2.0 (Rajpurkar et al. 2018).

A paragraph is cut as a talk is, and the best of its passages counts. Unanswerable questions were written by people to look
answerable from that very paragraph, so nothing but reading tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from evals.cases import first_error
from evals.metrics import auroc, coverage_at_false
from persona.corpus.passages import MAX_WORDS, STRIDE_WORDS, stretches
from persona.errors import InputError
from persona.text import split_sentences
from persona.types import Judge

ALLOWED = 0.05  # share of the unanswerable questions that may pass where coverage is given


class Asked(NamedTuple):
    """A question, its paragraph, whether that answers it."""

    question: str
    paragraph: str
    answerable: bool


class _Question(BaseModel):
    question: str
    is_impossible: bool = False


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]


class _Article(BaseModel):
    paragraphs: list[_Paragraph]


class _File(BaseModel):
    data: list[_Article]


def load(file: Path, last: int = 0) -> list[Asked]:
    """The questions of a file's articles, of the `last` ones alone unless that is 0; InputError for another format."""
    try:
        made = TypeAdapter[list[_Article] | _File](list[_Article] | _File).validate_json(file.read_bytes())
    except OSError as exc:
        raise InputError(f"Can't read '{file}': {exc.strerror}. Check the path.") from None
    except ValidationError as exc:
        raise InputError(f"'{file}' is no file like SQuAD 2.0's: {first_error(exc, 'file')}. Give one.") from None
    articles = made.data if isinstance(made, _File) else made
    return [
        Asked(q.question.strip(), p.context, not q.is_impossible)
        for a in articles[-last:]
        for p in a.paragraphs
        for q in p.qas
    ]


def evaluate(
    judge: Judge, asked: list[Asked], progress: Callable[[int, int], None]
) -> list[tuple[str, float | None, int]]:
    """(figure, value, n): the AUROC of the verdict and of the best place, and coverage at ALLOWED false answers."""
    verdicts: dict[bool, list[float]] = {True: [], False: []}
    places: dict[bool, list[float]] = {True: [], False: []}
    for number, one in enumerate(asked, 1):
        found = judge.judge(one.question, passages(one.paragraph))
        verdicts[one.answerable].append(max(j.holds for j in found))
        places[one.answerable].append(max(float(j.begins.sum()) for j in found))
        progress(number, len(asked))
    return [
        ("AUROC of the verdict", auroc(verdicts[True], verdicts[False]), len(asked)),
        ("AUROC of the best place", auroc(places[True], places[False]), len(asked)),
        (
            f"coverage at {ALLOWED:.0%} false answers",
            coverage_at_false(verdicts[True], verdicts[False], ALLOWED),
            len(verdicts[True]),
        ),
    ]


def passages(paragraph: str) -> list[list[str]]:
    """The paragraph in passages of up to MAX_WORDS words, each half over the one before; sentences stay whole."""
    sentences = split_sentences(paragraph) or [""]
    sizes = [len(s.split()) for s in sentences]
    return [sentences[first:end] for first, end in stretches(sizes, MAX_WORDS, STRIDE_WORDS)]
