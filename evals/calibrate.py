"""Chooses a persona's threshold on the *certify* split alone and writes its calibration file.

The threshold is the lowest from which the replies keep to the wanted share of wrong ones among those given, over the
answerable and unanswerable cases of the split. It is chosen, not certified: no bound is claimed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from evals.cases import UNANSWERABLE
from evals.run import Result
from persona.errors import InputError
from persona.models import COEFFICIENTS, FORMAT, Calibration
from persona.pipeline import NOT_CERTIFIED, Fireside
from persona.types import Decision, Reason


class Scored(NamedTuple):
    """A question's confidence, and whether an answer at that confidence would be right."""

    confidence: float
    right: bool


def scored(results: Sequence[Result]) -> list[Scored]:
    """What the threshold decides about: replies of a run at threshold 0 that neither conduct nor a question back settled."""
    kinds = (Reason.SUPPORTED, Reason.CORRECTED)
    return [
        Scored(r.reply.confidence, r.outcome == "right")
        for r in results
        if r.case.suite in ("answerable", *UNANSWERABLE) and r.reply.reason in kinds
    ]


def choose(rows: Sequence[Scored], max_wrong: float) -> float:
    """The lowest confidence from which the share of wrong answers stays at or below `max_wrong`."""
    ordered = sorted(rows, key=lambda s: -s.confidence)
    best: float | None = None
    wrong = 0
    for count, row in enumerate(ordered, 1):
        wrong += not row.right
        if wrong / count <= max_wrong:
            best = row.confidence
    if best is None:
        raise InputError(f"No threshold keeps wrong answers to {max_wrong:.0%} of those given. Allow more, or fit anew.")
    return round(best, 4)


def calibration(fireside: Fireside, results: Sequence[Result], max_wrong: float) -> Calibration:
    """The calibration of a persona from a run over *certify* at threshold 0."""
    rows = scored(results)
    threshold = choose(rows, max_wrong)
    taken = [s for s in rows if s.confidence >= threshold]
    return Calibration(
        format=FORMAT,
        corpus=fireside.corpus.fingerprint,
        coefficients=hashlib.sha256(COEFFICIENTS.read_bytes()).hexdigest()[:16],
        threshold=threshold,
        risk=NOT_CERTIFIED,
        chosen={
            "max_wrong_of_answers": max_wrong,
            "answers": len(taken),
            "wrong": sum(not s.right for s in taken),
            "questions": sum(r.case.suite in ("answerable", *UNANSWERABLE) for r in results),
            "abstained_or_asked": sum(r.reply.decision is not Decision.ANSWER for r in results),
        },
    )


def write(value: Calibration, path: Path) -> None:
    """Writes a calibration file."""
    path.write_text(json.dumps(value.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
