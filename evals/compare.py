"""Compares two runs case by case: what one gets right and the other doesn't, with an interval and a test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from evals.metrics import Interval, clustered_bootstrap, mcnemar
from evals.runs import Result
from persona.errors import InputError
from persona.types import Decision

LEVEL = 0.05  # a difference is shown where McNemar's test gives less and the interval leaves 0 out


class Difference(NamedTuple):
    """One figure of both runs on the cases that both asked; shares in 0..1.

    `interval` is that of B - A, whole talk sections drawn with replacement; `p` is McNemar's exact test. `better`: whether
    a higher share is the better one.
    """

    name: str
    first: float
    second: float
    interval: Interval | None
    only_first: int
    only_second: int
    p: float
    of: int
    better: bool

    @property
    def verdict(self) -> str:
        """What may be said of it, in a sentence."""
        excluded = self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)
        if self.p >= LEVEL or not excluded:
            return f"no difference shown (n = {self.of}, p = {self.p:.2f})."
        winner = "B" if (self.second > self.first) == self.better else "A"
        gap = abs(self.second - self.first)
        return (
            f"{winner} is better by {gap:.1%} (n = {self.of}, p {'< 0.001' if self.p < 0.001 else f'= {self.p:.3f}'})."
        )


def compare(first: Sequence[Result], second: Sequence[Result], *, seed: int = 0) -> list[Difference]:
    """The figures of two runs, paired by case (first epochs); InputError if they have no case in common.

    A case counts as the same only if its whole text is: one that was changed between the runs is left out.
    """
    others = {r.case.id: r for r in second if r.epoch == 1}
    pairs = [
        (a, others[a.case.id])
        for a in first
        if a.epoch == 1 and a.case.id in others and a.case == others[a.case.id].case
    ]
    if not pairs:
        raise InputError("The two runs have no case in common. Run both on the same split and suites.")

    def right(r: Result) -> bool:
        return r.outcome == "right"

    def answered(r: Result) -> bool:
        return r.reply.decision is Decision.ANSWER

    rows = [
        _difference("all cases: right", pairs, right, True, seed),
        _difference("answerable: right", _of(pairs, lambda r: r.case.suite == "answerable"), right, True, seed),
        _difference(
            "answerable: refused",
            _of(pairs, lambda r: r.case.suite == "answerable"),
            lambda r: r.outcome == "withheld",
            False,
            seed,
        ),
        _difference(
            "false answers, all unanswerables", _of(pairs, lambda r: r.case.unanswerable), answered, False, seed
        ),
        _difference(
            "false answers, near-misses",
            _of(pairs, lambda r: r.case.unanswerable and r.case.suite == "near_miss"),
            answered,
            False,
            seed,
        ),
    ]
    return [row for row in rows if row is not None]


Pair = tuple[Result, Result]


def _of(pairs: Sequence[Pair], wanted: Callable[[Result], bool]) -> list[Pair]:
    return [pair for pair in pairs if wanted(pair[0])]


def _difference(
    name: str, pairs: Sequence[Pair], hit: Callable[[Result], bool], better: bool, seed: int
) -> Difference | None:
    if not pairs:
        return None
    a = np.array([hit(x) for x, _ in pairs])
    b = np.array([hit(y) for _, y in pairs])
    # A case of no section stands for itself; paraphrases of one question rise and fall together.
    clusters = [x.case.section or x.case.group or x.case.id for x, _ in pairs]
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    return Difference(
        name,
        float(a.mean()),
        float(b.mean()),
        clustered_bootstrap(b.astype(float) - a.astype(float), clusters, seed=seed),
        only_first,
        only_second,
        mcnemar(only_first, only_second),
        len(pairs),
        better,
    )
