"""Fitting: which judge reads which case."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evals import fit
from evals.cases import load_cases
from persona.pipeline import Fireside
from persona.types import Judgement


class Noting:
    """A judge that notes what it is asked, and finds nothing."""

    fingerprint = "noting"

    def __init__(self) -> None:
        self.read: set[str] = set()

    def judge(self, question: str, passages: Sequence[Sequence[str]]) -> list[Judgement]:
        """Nothing, of each passage."""
        self.read.add(question)
        return [Judgement(0.0, np.zeros(len(parts)), np.zeros(len(parts))) for parts in passages]


def test_each_half_is_read_by_the_judge_of_the_other(fireside: Fireside) -> None:
    kinds = ("answerable", "near_miss")
    cases = [c for c in load_cases(split="fit") if c.suite in kinds and c.section and not c.history][::12]
    asked = fit.gather(fireside, cases, lambda done, of: None)
    ranked = fit.cross_ranked(asked, fit.RANKER_FEATURES)
    answerable = fit.fit_answerable(fireside, asked, ranked, fit.ANSWERABLE_FEATURES)
    first, second = Noting(), Noting()
    made = fit.fit_judged(fireside, asked, ranked, answerable, {1: first, 2: second}, lambda done, of: None)
    halves = [{one.analysis.dense for one in asked if fit.taught(one.case) is half} for half in (False, True)]
    assert first.read <= halves[0]
    assert second.read <= halves[1]
    assert len(first.read) > 20
    assert len(second.read) > 20
    assert made.judged is not None
    assert "judge" in made.judged.features
    assert fireside.judge is not None
    assert made.judge == fireside.judge.fingerprint, "that of the judge that is shipped"


def test_without_a_second_judge_the_first_half_is_left_out(fireside: Fireside) -> None:
    kinds = ("answerable", "near_miss", "off_topic")
    cases = [c for c in load_cases(split="fit") if c.suite in kinds and not c.history][::20]
    asked = fit.gather(fireside, cases, lambda done, of: None)
    ranked = fit.cross_ranked(asked, fit.RANKER_FEATURES)
    answerable = fit.fit_answerable(fireside, asked, ranked, fit.ANSWERABLE_FEATURES)
    only = Noting()
    fit.fit_judged(fireside, asked, ranked, answerable, {1: only}, lambda done, of: None)
    assert only.read
    assert only.read <= {one.analysis.dense for one in asked if not fit.taught(one.case)}
