"""Chooses a persona's threshold on the *certify* split alone and writes its calibration file.

The threshold is the lowest at which the unanswerable questions that get an answer stay within a stated share. It is
chosen, not certified: no bound on the risk is claimed.
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
    """A question's confidence, whether it has an answer, and whether the one given is right; confidence 0 if none was."""

    confidence: float
    answerable: bool
    right: bool


def scored(results: Sequence[Result]) -> list[Scored]:
    """What the threshold decides about, from a run at threshold 0."""
    rows: list[Scored] = []
    for r in results:
        answerable = r.case.suite == "answerable"
        if not answerable and (r.case.suite not in UNANSWERABLE or r.case.decisions != (Decision.ABSTAIN,)):
            continue
        given = r.reply.reason in (Reason.SUPPORTED, Reason.CORRECTED)
        rows.append(Scored(r.reply.confidence if given else -1.0, answerable, given and r.outcome == "right"))
    return rows


class Chosen(NamedTuple):
    """A threshold and what it gives on the cases that it was chosen on."""

    threshold: float
    right: float
    false_answers: float


def choose(rows: Sequence[Scored], max_false: float) -> Chosen:
    """The lowest threshold at which at most `max_false` of the unanswerable questions are answered."""
    answerable = sum(r.answerable for r in rows)
    unanswerable = len(rows) - answerable
    if not answerable or not unanswerable:
        raise InputError(
            "To choose a threshold the split needs answerable and unanswerable cases. Add the missing kind."
        )
    options = [
        Chosen(
            t,
            sum(r.right and r.confidence >= t for r in rows) / answerable,
            sum(not r.answerable and r.confidence >= t for r in rows) / unanswerable,
        )
        for t in sorted({r.confidence for r in rows if r.confidence >= 0})
    ]
    kept = next((o for o in options if o.false_answers <= max_false), None)
    if kept is None:
        raise InputError(f"No threshold keeps false answers to {max_false:.0%}. Allow more, or fit anew.")
    return kept


def calibration(fireside: Fireside, results: Sequence[Result], max_false: float) -> Calibration:
    """The calibration of a persona from a run over *certify* at threshold 0."""
    rows = scored(results)
    chosen = choose(rows, max_false)
    return Calibration(
        format=FORMAT,
        corpus=fireside.corpus.fingerprint,
        coefficients=hashlib.sha256(COEFFICIENTS.read_bytes()).hexdigest()[:16],
        threshold=round(chosen.threshold, 4),
        risk=NOT_CERTIFIED,
        chosen={
            "on": "certify",
            "max_false": max_false,
            "answerable": sum(r.answerable for r in rows),
            "unanswerable": sum(not r.answerable for r in rows),
            "right": round(chosen.right, 4),
            "false_answers": round(chosen.false_answers, 4),
        },
    )


def write(value: Calibration, path: Path) -> None:
    """Writes a calibration file."""
    path.write_text(json.dumps(value.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
