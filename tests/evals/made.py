"""Cases and results made for tests."""

from __future__ import annotations

from collections.abc import Sequence

from evals.cases import Case
from evals.runs import Result
from evals.scoring import Outcome
from persona.types import Citation, Reason, Reply


def case(id_: str, suite: str, *, question: str = "q", **more: object) -> Case:
    decision = "answer" if suite in ("answerable", "key_points") else "abstain"
    values = {"id": id_, "suite": suite, "question": question, "decisions": [decision], "split": "test"}
    return Case.model_validate({**values, **more})


def reply(
    reason: Reason,
    confidence: float,
    text: str = "t",
    *,
    to: str = "q",
    id_: str = "x-1",
    citations: Sequence[Citation] = (),
) -> Reply:
    return Reply(
        id=id_,
        question=to,
        decision=reason.decision,
        reason=reason,
        text=text,
        confidence=confidence,
        threshold=0.5,
        risk="not certified",
        voice="quotes",
        citations=tuple(citations),
    )


def result(of: Case, reason: Reason, outcome: Outcome, confidence: float, epoch: int = 1) -> Result:
    return Result(of, reply(reason, confidence), outcome, 1.0, epoch)
