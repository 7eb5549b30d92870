"""Two runs, case by case."""

from __future__ import annotations

import pytest

from evals.compare import compare
from evals.metrics import mcnemar
from persona.errors import InputError
from persona.types import Reason
from tests.evals.made import case, result


def test_a_difference_has_its_pairs_counted() -> None:
    cases = [case(f"x-{i}", "answerable") for i in range(20)]
    first = [result(c, Reason.SUPPORTED, "right" if i < 5 else "wrong", 0.9) for i, c in enumerate(cases)]
    second = [result(c, Reason.SUPPORTED, "right" if i >= 2 else "wrong", 0.9) for i, c in enumerate(cases)]
    rows = {row.name: row for row in compare(first, second)}
    row = rows["answerable: right"]
    assert (row.first, row.second, row.only_first, row.only_second, row.of) == (0.25, 0.9, 2, 15, 20)
    assert row.p == pytest.approx(mcnemar(2, 15))
    assert row.interval is not None
    assert row.interval.low <= 0.65 <= row.interval.high
    assert row.verdict.startswith("B is better by 65.0%")


def test_the_same_run_twice_shows_no_difference() -> None:
    run = [result(case(f"x-{i}", "near_miss"), Reason.NOT_STATED, "right", 0.1) for i in range(5)]
    assert all("no difference shown" in row.verdict for row in compare(run, run))


def test_fewer_false_answers_are_better() -> None:
    cases = [case(f"x-{i}", "near_miss") for i in range(20)]
    first = [result(c, Reason.SUPPORTED, "wrong", 0.9) for c in cases]
    second = [result(c, Reason.NOT_STATED, "right", 0.1) for c in cases]
    rows = {row.name: row for row in compare(first, second)}
    assert rows["false answers, near-misses"].verdict.startswith("B is better by 100.0%")


def test_changed_cases_are_left_out_and_none_in_common_is_one_sentence() -> None:
    first = [result(case("x-1", "answerable"), Reason.SUPPORTED, "right", 0.9)]
    second = [result(case("x-1", "answerable", question="another"), Reason.SUPPORTED, "right", 0.9)]
    with pytest.raises(InputError, match="have no case in common"):
        compare(first, second)
