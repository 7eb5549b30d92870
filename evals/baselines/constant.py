"""The two ends between which every threshold lies: one bot that never answers, and one that never says "I don't know"."""

from __future__ import annotations

from evals.baselines.plain import reply
from persona.pipeline import Answered, Fireside
from persona.types import Question, Reason, Trace


class AlwaysAbstains:
    """Says "I don't know" to everything, with confidence 0: no false answer, and no right one."""

    def __init__(self, fireside: Fireside) -> None:
        self._fireside = fireside

    def answer(self, question: Question) -> Answered:
        """The abstention."""
        line = self._fireside.card.abstain.not_stated
        return Answered(reply(self._fireside, question, Reason.NOT_STATED, line, 0.0, 1.0), Trace())

    def close(self) -> None:
        """Nothing to let go: the Fireside belongs to the caller."""


class AlwaysAnswers:
    """The project's own line at threshold 0: what it would say if it never withheld an answer.

    It asks back and declines as the line does (neither hangs on the threshold alone), and shares all else with the given
    Fireside.
    """

    def __init__(self, fireside: Fireside) -> None:
        self._line = fireside.at(0.0)

    def answer(self, question: Question) -> Answered:
        """The line's reply at threshold 0."""
        return self._line.answer(question)

    def close(self) -> None:
        """Nothing to let go: the Fireside belongs to the caller."""
