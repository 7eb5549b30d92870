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

from evals.run import ANSWERS
from evals.runs import Result
from persona.errors import InputError
from persona.models import COEFFICIENTS, FORMAT, Calibration
from persona.pipeline import NOT_CERTIFIED, Fireside
from persona.types import Decision

ALWAYS = 2.0  # above every threshold


class Scored(NamedTuple):
    """A question's confidence (-1 if it got no answer), whether it has an answer, whether it is a near-miss, and whether
    the answer given is right."""

    confidence: float
    answerable: bool
    near_miss: bool
    right: bool


def scored(results: Sequence[Result]) -> list[Scored]:
    """What the threshold decides about, from a run at threshold 0."""
    rows: list[Scored] = []
    for r in results:
        answerable = r.case.suite == "answerable"
        if not answerable and not r.case.unanswerable:
            continue
        weighed = r.reply.reason in ANSWERS
        # "I am a bot" answers nothing either: no threshold takes it back.
        confidence = r.reply.confidence if weighed else ALWAYS if r.reply.decision is Decision.ANSWER else -1.0
        rows.append(Scored(confidence, answerable, r.case.suite == "near_miss", weighed and r.outcome == "right"))
    return rows


class Chosen(NamedTuple):
    """A threshold and what it gives on the cases that it was chosen on."""

    threshold: float
    right: float
    false_answers: float


NEAR_MISSES = 0.68  # of the unanswerable questions; the rest have no topic in the talks. See evals/cases/README.md


def false_answers(rows: Sequence[Scored], threshold: float, near_misses: float = NEAR_MISSES) -> float:
    """The share of unanswerable questions that get an answer, for a mix with that share of near-misses.

    A split's own mix is chance: ours hold whatever somebody wrote. A kind that is missing counts with the other's share.
    """
    kinds = [[r for r in rows if not r.answerable and r.near_miss is near] for near in (True, False)]
    shares = [sum(r.confidence >= threshold for r in kind) / len(kind) if kind else None for kind in kinds]
    near, far = shares
    if near is None or far is None:
        return (far if near is None else near) or 0.0
    return near_misses * near + (1 - near_misses) * far


def choose(rows: Sequence[Scored], max_false: float) -> Chosen:
    """The lowest threshold at which at most `max_false` of the unanswerable questions are answered."""
    answerable = sum(r.answerable for r in rows)
    if not answerable or answerable == len(rows):
        raise InputError(
            "To choose a threshold the split needs answerable and unanswerable cases. Add the missing kind."
        )
    options = [
        Chosen(
            t,
            sum(r.right and r.confidence >= t for r in rows) / answerable,
            false_answers(rows, t),
        )
        for t in sorted({r.confidence for r in rows if 0 <= r.confidence <= 1})
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
            "near_misses": NEAR_MISSES,
            "answerable": sum(r.answerable for r in rows),
            "unanswerable": sum(not r.answerable for r in rows),
            "right": round(chosen.right, 4),
            "false_answers": round(chosen.false_answers, 4),
        },
    )


def write(value: Calibration, path: Path) -> None:
    """Writes a calibration file."""
    path.write_text(json.dumps(value.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
