"""Thresholds: chosen and certified."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from evals.calibrate import MIX, Scored, certify, choose, fit_scale, mixed, rounded_up, start, wanting
from evals.metrics import cases_needed
from persona.errors import InputError
from persona.models import AS_FITTED, Calibration, Level, Scale


def rows(count: int, *, wrong_from: int, group: str = "") -> list[Scored]:
    return [Scored(1 - i / 1000, True, False, i < wrong_from, f"{group}{i}") for i in range(count)]


def test_five_percent_needs_59_right_answers_and_one_percent_299() -> None:
    assert (cases_needed(0.05), cases_needed(0.01)) == (59, 299)
    assert not certify(rows(58, wrong_from=58), [0.05], 0.95)[0].certified
    (level,) = certify(rows(59, wrong_from=59), [0.05], 0.95)
    assert level.certified
    assert (level.answers, level.errors, level.name) == (59, 0, "5% certified")
    assert level.bound == pytest.approx(1 - 0.05 ** (1 / 59), abs=1e-4)


def test_the_sequence_ends_at_the_first_threshold_that_fails() -> None:
    (level,) = certify(rows(200, wrong_from=70), [0.05], 0.95)
    assert level.threshold is not None
    assert level.answers < 80
    assert stats.binom.cdf(level.errors, level.answers, 0.05) <= 0.05
    assert stats.binom.cdf(level.errors + 1, level.answers + 1, 0.05) > 0.05


def test_an_answer_that_no_threshold_takes_back_counts_against_every_level() -> None:
    always = [Scored(2.0, False, False, False, f"a{i}") for i in range(10)]
    assert not any(level.certified for level in certify([*rows(80, wrong_from=80), *always], [0.05], 0.95))


def test_where_a_sequence_begins_hangs_on_the_number_of_answers_alone() -> None:
    assert start(0.05, 1000, 0.95) == 59
    assert start(0.30, 100, 0.95) == 50
    assert start(0.30, 4, 0.95) == cases_needed(0.30)


def test_the_mix_is_kept_and_a_group_counts_once() -> None:
    made = [
        *(Scored(0.5, True, False, True, f"a{i // 2}") for i in range(400)),
        *(Scored(0.5, False, True, False, f"n{i}") for i in range(34)),
        *(Scored(0.5, False, False, False, f"o{i}") for i in range(100)),
    ]
    found = mixed(made)
    kinds = [sum(r.answerable for r in found), sum(r.near_miss for r in found)]
    assert len(found) == pytest.approx(100, abs=2)
    assert kinds[0] / len(found) == pytest.approx(MIX["answerable"], abs=0.02)
    assert kinds[1] / len(found) == pytest.approx(MIX["near_miss"], abs=0.02)
    assert len({r.group for r in found}) == len(found)
    assert mixed(made) == found


def test_a_threshold_is_never_rounded_down() -> None:
    assert rounded_up(0.12341) == 0.1235
    assert rounded_up(0.1234) == 0.1234


def test_choosing_needs_both_kinds() -> None:
    with pytest.raises(InputError, match="needs answerable and unanswerable cases"):
        choose(rows(10, wrong_from=10), 0.28)


def test_a_level_that_is_not_certified_is_not_found() -> None:
    calibration = Calibration(
        format=1,
        corpus="c",
        coefficients="f",
        threshold=0.5,
        risk="not certified",
        chosen={},
        levels=(Level(risk=0.05), Level(risk=0.1, threshold=0.8, answers=40, errors=0, bound=0.09)),
    )
    assert calibration.level(0.05) is None
    found = calibration.level(0.1)
    assert found is not None
    assert found.threshold == 0.8


def test_what_the_next_level_lacks() -> None:
    few = rows(58, wrong_from=58)
    levels = certify(few, [0.05, 0.5], 0.95)
    lacks = wanting(few, levels, 0.95)
    assert lacks is not None
    assert (lacks.risk, lacks.answers, lacks.errors) == (0.05, 58, 0)
    assert lacks.cases is not None
    assert certify(rows(lacks.cases, wrong_from=lacks.cases), [0.05], 0.95)[0].certified


def test_no_number_of_cases_certifies_a_risk_below_the_share_of_errors() -> None:
    bad = [Scored(1 - i / 1000, True, False, i % 2 == 0, f"{i}") for i in range(200)]
    lacks = wanting(bad, certify(bad, [0.05], 0.95), 0.95)
    assert lacks is not None
    assert lacks.cases is None
    assert lacks.errors / lacks.answers >= 0.05


def test_nothing_is_wanting_where_every_level_is_certified() -> None:
    good = rows(400, wrong_from=400)
    assert wanting(good, certify(good, [0.05], 0.95), 0.95) is None


def timid(count: int = 4000) -> list[Scored]:
    """Answers whose log odds of being right are 1 above, and 1.5 times, what they say; in the stated mix."""
    draw = random.Random(0)
    out: list[Scored] = []
    for number in range(count):
        said = draw.uniform(0.02, 0.9)
        right = draw.random() < Scale(slope=1.5, intercept=1.0).told(said)
        # In each kind the same share is right: how the kinds are weighed has no part in it.
        kind = draw.choices(list(MIX), list(MIX.values()))[0]
        out.append(Scored(said, kind == "answerable", kind == "near_miss", right, str(number)))
    return out


def test_confidences_are_brought_to_the_share_that_is_right() -> None:
    made = timid()
    scale = fit_scale(made)
    assert scale.slope == pytest.approx(1.5, abs=0.15)
    assert scale.intercept == pytest.approx(1.0, abs=0.15)
    middle = [r for r in made if 0.4 <= scale.told(r.confidence) <= 0.6]
    assert sum(r.right for r in middle) / len(middle) == pytest.approx(0.5, abs=0.05)


def test_the_mix_and_not_the_number_of_cases_says_what_a_confidence_is_worth() -> None:
    made = timid()
    more = [*made, *(r._replace(right=False) for r in made if not r.answerable for _ in range(3))]
    alike = [*made, *(r._replace(right=False) for r in made if not r.answerable)]
    assert fit_scale(more).intercept < fit_scale(made).intercept
    twice = [r for r in alike for _ in range(2 if r.answerable else 1)]
    assert fit_scale(twice).intercept == pytest.approx(fit_scale(alike).intercept, abs=1e-3)


def test_where_nothing_can_be_learned_confidences_stay_as_they_were_fitted() -> None:
    assert fit_scale(rows(50, wrong_from=50)) == fit_scale([]) == AS_FITTED
    upside_down = [Scored(i / 100, True, False, i < 50, str(i)) for i in range(100)]
    parted = [r._replace(right=not r.right) for r in upside_down]  # any steeper line would part them as well
    assert fit_scale(upside_down) == fit_scale(parted) == AS_FITTED


@given(st.lists(st.floats(0, 1), min_size=2), st.floats(0.1, 1e6), st.floats(-1e6, 1e6))
def test_a_scale_keeps_the_order_and_what_replies_show(found: list[float], slope: float, intercept: float) -> None:
    scale = Scale(slope=slope, intercept=intercept)
    shown = [scale.told(p) for p in sorted(found)]
    assert shown == sorted(shown)
    assert all(0 <= p <= 1 for p in shown)
    assert shown == [scale.told(round(p, 4)) for p in sorted(found)]
    assert AS_FITTED.told(found[0]) == found[0]


def test_a_scale_is_a_number() -> None:
    for wrong in (math.inf, math.nan, 0.0, -1.0):
        with pytest.raises(ValidationError):
            Scale(slope=wrong)
