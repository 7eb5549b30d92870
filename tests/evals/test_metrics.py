"""Metrics against hand-worked examples, published values, and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from evals.metrics import (
    Interval,
    aurc,
    auroc,
    brier,
    cases_needed,
    clopper_pearson_upper,
    clustered_bootstrap,
    coverage_at,
    coverage_at_false,
    ece,
    learn_then_test,
    mcnemar,
    pass_k,
    precision_recall,
    reliability,
    risk_coverage,
    truthfulness,
    wilson,
)
from persona.errors import InputError


def test_no_errors_among_59_bound_the_rate_at_five_percent() -> None:
    assert clopper_pearson_upper(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert clopper_pearson_upper(0, 59) <= 0.05 < clopper_pearson_upper(0, 58)
    assert clopper_pearson_upper(0, 299) <= 0.01 < clopper_pearson_upper(0, 298)
    assert clopper_pearson_upper(7, 7) == 1.0


def test_wilson_agrees_with_a_worked_example() -> None:
    # 8 of 10: centre (0.8 + z²/20) / (1 + z²/10), z = 1.95996
    low, high = wilson(8, 10) or Interval(0, 0)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_what_is_undefined_is_none_and_never_zero() -> None:
    assert clopper_pearson_upper(0, 0) is None
    assert wilson(0, 0) is None
    assert truthfulness(0, 0, 0) is None
    assert auroc([], [0.2]) is None
    assert brier([], []) is None
    assert ece([], []) is None
    assert aurc(risk_coverage([], [])) is None
    assert pass_k(3, 4, 5) is None
    assert clustered_bootstrap([], []) is None
    assert precision_recall(0, 0, 3) == (None, 0.0)


def test_truthfulness_takes_wrong_from_right() -> None:
    assert truthfulness(6, 2, 2) == pytest.approx(0.4)
    assert truthfulness(0, 0, 9) == 0.0


scores = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]), min_size=1, max_size=30)


@given(scores, scores)
def test_auroc_is_scikit_learns(above: list[float], below: list[float]) -> None:
    expected = roc_auc_score([1] * len(above) + [0] * len(below), above + below)
    assert auroc(above, below) == pytest.approx(expected)


@given(scores)
def test_brier_is_scikit_learns(confidence: list[float]) -> None:
    right = [i % 2 for i in range(len(confidence))]
    assert brier(confidence, right) == pytest.approx(brier_score_loss(right, confidence))


def test_the_risk_coverage_curve_of_four_answers() -> None:
    curve = risk_coverage([0.9, 0.6, 0.8, 0.7], [0, 1, 0, 1])
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 2])
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert aurc(curve) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert coverage_at(curve, 0.0) == 0.5
    assert coverage_at(curve, 0.4) == 0.75
    assert coverage_at(risk_coverage([0.9], [1]), 0.1) == 0.0


def test_answers_of_equal_confidence_stand_or_fall_together() -> None:
    curve = risk_coverage([0.5, 0.5, 0.5], [0, 1, 0], of=6)
    assert curve.coverage.tolist() == [0.5]
    assert curve.risk.tolist() == pytest.approx([1 / 3])


def test_calibration_error_of_a_worked_example() -> None:
    confidence, right = [0.95, 0.95, 0.15, 1.0], [1, 0, 0, 1]
    bars = reliability(confidence, right)
    assert [b.cases for b in bars] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 3]
    assert (bars[9].confidence, bars[9].right) == (pytest.approx(2.9 / 3), pytest.approx(2 / 3))
    assert bars[0].right is None
    assert ece(confidence, right) == pytest.approx(0.25 * 0.15 + 0.75 * (2.9 / 3 - 2 / 3))


def test_a_confidence_that_is_no_number_is_named() -> None:
    with pytest.raises(InputError, match="Confidence 1 of the run is nan"):
        brier([0.1, math.nan], [0, 1])
    with pytest.raises(InputError, match="Confidence 0 of the run is inf"):
        risk_coverage([math.inf], [0])


def test_clusters_are_drawn_whole() -> None:
    # Ten clusters that are all right or all wrong: as uncertain as ten cases, not as a thousand.
    values = np.repeat([0, 1] * 5, 100)
    clusters = np.repeat(np.arange(10), 100).tolist()
    wide = clustered_bootstrap(values, clusters)
    narrow = clustered_bootstrap(values, list(range(1000)))
    assert wide is not None
    assert narrow is not None
    assert wide.low <= 0.3 < 0.7 <= wide.high
    assert 0.45 < narrow.low < narrow.high < 0.55
    assert clustered_bootstrap(values, clusters) == wide, "the same seed draws the same"


def test_mcnemar_is_the_exact_binomial_test() -> None:
    # 1 against 6: 2 · (C(7,0) + C(7,1)) / 2⁷
    assert mcnemar(1, 6) == pytest.approx(0.125)
    assert mcnemar(0, 0) == 1.0


def test_pass_k_counts_draws_that_are_all_right() -> None:
    assert pass_k(3, 4, 2) == pytest.approx(0.5)
    assert pass_k(4, 4, 4) == 1.0
    assert pass_k(1, 4, 2) == 0.0


def test_the_cases_that_a_certificate_needs() -> None:
    assert [cases_needed(0.05), cases_needed(0.01), cases_needed(0.05, errors=1)] == [59, 299, 93]


def test_a_threshold_is_certified_as_far_as_the_data_bear_it() -> None:
    confidence = np.linspace(0.99, 0.01, 200)
    wrong = (np.arange(200) >= 150).astype(float)
    found = learn_then_test(confidence, wrong, risk=0.05)
    assert found is not None
    assert found.errors <= 5
    assert found.of == 150 + found.errors
    assert found.bound <= 0.05
    assert confidence[found.of - 1] == found.threshold


def test_too_few_cases_certify_nothing() -> None:
    assert learn_then_test(np.linspace(0.9, 0.5, 58), np.zeros(58), risk=0.05) is None
    assert learn_then_test(np.linspace(0.9, 0.5, 59), np.zeros(59), risk=0.05) is not None
    assert learn_then_test([], [], risk=0.05) is None


def test_certified_risk_is_broken_as_rarely_as_promised() -> None:
    chance = np.random.default_rng(7)
    broken = 0
    for _ in range(300):
        confidence = chance.uniform(size=150)
        found = learn_then_test(confidence, chance.uniform(size=150) < 0.3 * (1 - confidence) + 0.02, risk=0.1)
        if found is not None:
            # The true risk above a threshold t: the mean of 0.3 · (1 - c) + 0.02 over c in t..1.
            broken += 0.02 + 0.15 * (1 - found.threshold) > 0.1
    assert broken / 300 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(
    ("yes", "no", "allowed", "expected"),
    [
        ([0.9, 0.8, 0.3], [0.7, 0.2], 0.0, 2 / 3),
        ([0.9, 0.8, 0.3], [0.7, 0.2], 0.5, 1.0),
        ([0.9, 0.8, 0.3], [0.7, 0.2], 1.0, 1.0),
        ([0.7, 0.5], [0.7] * 20, 0.05, 0.0),
        ([], [0.1], 0.05, None),
        ([0.1], [], 0.05, None),
    ],
)
def test_coverage_at_false_answers(yes: list[float], no: list[float], allowed: float, expected: float | None) -> None:
    assert coverage_at_false(yes, no, allowed) == pytest.approx(expected)
