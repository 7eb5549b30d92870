"""Baselines: other answerers on the same corpus, so that the line's figures stand beside what is easily had."""

from evals.baselines.constant import AlwaysAbstains, AlwaysAnswers
from evals.baselines.plain import PLAIN_THRESHOLD, PlainRag

BASELINES = {"plain": PlainRag, "always-abstains": AlwaysAbstains, "always-answers": AlwaysAnswers}
"""Each takes an open `Fireside`, has `answer(question)` as `evals.runs.Answerer` wants it, and `close()`."""

__all__ = ["BASELINES", "PLAIN_THRESHOLD", "AlwaysAbstains", "AlwaysAnswers", "PlainRag"]
