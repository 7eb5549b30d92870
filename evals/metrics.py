"""Metrics: pure functions on arrays, without any framework. Undefined values are None, which prints as "n/a", never 0."""

# scipy ships no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from persona.errors import InputError

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A lower and an upper bound."""

    low: float
    high: float


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _confidences(values: ArrayLike) -> Array:
    """Confidences (n,) in 0..1; InputError names the first that isn't a number."""
    out = _floats(values)
    bad = np.flatnonzero(~np.isfinite(out))
    if bad.size:
        raise InputError(
            f"Confidence {int(bad[0])} of the run is {out[bad[0]]}; every one must be a number. Run it anew with --fresh."
        )
    return out


def share(hits: int, of: int) -> float | None:
    """hits / of; None where `of` is 0."""
    return hits / of if of else None


def clopper_pearson_upper(errors: int, of: int, confidence: float = 0.95) -> float | None:
    """The one-sided exact upper bound of a binomial rate: the largest p with P(X ≤ errors) ≥ 1 - confidence.

    Clopper & Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934): Beta(errors + 1, of - errors)
    at `confidence`. None where `of` is 0.
    """
    if of == 0:
        return None
    return 1.0 if errors == of else float(stats.beta.ppf(confidence, errors + 1, of - errors))


def wilson(hits: int, of: int, confidence: float = 0.95) -> Interval | None:
    """The two-sided score interval of a share (Wilson, JASA 22, 1927); None where `of` is 0."""
    if of == 0:
        return None
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    p = hits / of
    centre = (p + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def clustered_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    statistic: Callable[[Array], float] = lambda v: float(np.mean(v)),
    *,
    confidence: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """The percentile interval of a statistic of values (n, …), whole clusters drawn with replacement.

    Cases of one talk section rise and fall together; drawing single cases would make the interval too narrow (Field &
    Welsh, "Bootstrapping clustered data", JRSS B 69, 2007). None for no values.
    """
    data = _floats(values)
    if not len(data):
        return None
    names = sorted(set(clusters), key=repr)
    places = [np.flatnonzero([c == name for c in clusters]) for name in names]
    chance = np.random.default_rng(seed)
    found = [
        statistic(data[np.concatenate([places[i] for i in chance.integers(len(places), size=len(places))])])
        for _ in range(draws)
    ]
    low, high = np.quantile(found, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def truthfulness(right: int, wrong: int, withheld: int) -> float | None:
    """CRAG's score: +1 for right, 0 for withheld, -1 for wrong, averaged (Yang et al. 2024, arXiv:2406.04744)."""
    of = right + wrong + withheld
    return (right - wrong) / of if of else None


def auroc(positive: ArrayLike, negative: ArrayLike) -> float | None:
    """The chance that a positive scores above a negative, ties counting half (Hanley & McNeil, Radiology 143, 1982).

    None where either is empty.
    """
    above, below = _confidences(positive), _confidences(negative)
    if not above.size or not below.size:
        return None
    ranks = stats.rankdata(np.concatenate([above, below]))
    return float((ranks[: above.size].sum() - above.size * (above.size + 1) / 2) / (above.size * below.size))


class RiskCoverage(NamedTuple):
    """Points of the curve, the most confident answers first: coverage (k,), risk (k,), the confidence needed (k,)."""

    coverage: Array
    risk: Array
    threshold: Array


def coverage_at_false(positive: ArrayLike, negative: ArrayLike, allowed: float) -> float | None:
    """The largest share of the positives that a threshold accepts which at most that share of the negatives passes;
    None without one of either."""
    yes, no = _confidences(positive), np.sort(_confidences(negative))[::-1]
    if not len(yes) or not len(no):
        return None
    passed = int(allowed * len(no) + 1e-9)
    return 1.0 if passed >= len(no) else float((yes > no[passed]).mean())


def risk_coverage(confidence: ArrayLike, wrong: ArrayLike, of: int | None = None) -> RiskCoverage:
    """Selective risk against coverage (El-Yaniv & Wiener, JMLR 11, 2010).

    `confidence` (n,) and `wrong` (n,) of the questions that got an answer; `of` is how many were asked in all (default n).
    Answers of equal confidence are given or withheld together, so a point stands for each distinct confidence.
    """
    sure, error = _confidences(confidence), _floats(wrong)
    asked = len(sure) if of is None else of
    order = np.argsort(-sure, kind="stable")
    sure, error = sure[order], error[order]
    last = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.zeros(0, dtype=np.int64)
    given = last + 1.0
    return RiskCoverage(given / max(1, asked), np.cumsum(error)[last] / given, sure[last])


def aurc(curve: RiskCoverage) -> float | None:
    """The area under the risk-coverage curve, over the coverage reached: the mean selective risk.

    Geifman, Uziel & El-Yaniv 2019 (arXiv:1805.08206). None for a run without answers.
    """
    if not len(curve.coverage):
        return None
    width = np.diff(np.append(0.0, curve.coverage))
    return float((width * curve.risk).sum() / curve.coverage[-1])


def coverage_at(curve: RiskCoverage, risk: float) -> float:
    """The largest coverage whose selective risk is at most `risk`; 0 if there is none."""
    within = curve.coverage[curve.risk <= risk]
    return float(within.max()) if len(within) else 0.0


def brier(confidence: ArrayLike, right: ArrayLike) -> float | None:
    """The mean squared difference of confidence and outcome (Brier, Monthly Weather Review 78, 1950); None for none."""
    sure = _confidences(confidence)
    return float(np.mean((sure - _floats(right)) ** 2)) if len(sure) else None


class Bin(NamedTuple):
    """One bar of a reliability diagram: its edges, how many cases fall in it, their mean confidence and share right."""

    low: float
    high: float
    cases: int
    confidence: float | None
    right: float | None


def reliability(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> list[Bin]:
    """Equal-width bins of confidence (DeGroot & Fienberg, The Statistician 32, 1983); 1.0 belongs to the last one."""
    sure, good = _confidences(confidence), _floats(right)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    out: list[Bin] = []
    for number in range(bins):
        own = place == number
        count = int(own.sum())
        mean = float(sure[own].mean()) if count else None
        out.append(Bin(number / bins, (number + 1) / bins, count, mean, float(good[own].mean()) if count else None))
    return out


def ece(confidence: ArrayLike, right: ArrayLike, bins: int = 10) -> float | None:
    """Expected calibration error: Σ count/n · |share right - mean confidence| over the bins (Guo et al. 2017,
    arXiv:1706.04599); None for none."""
    parts = [b for b in reliability(confidence, right, bins) if b.confidence is not None and b.right is not None]
    total = sum(b.cases for b in parts)
    if not total:
        return None
    return sum(b.cases * abs((b.right or 0.0) - (b.confidence or 0.0)) for b in parts) / total


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided exact p-value of McNemar's test (Psychometrika 12, 1947) from the discordant pairs alone."""
    of = only_first + only_second
    return float(stats.binomtest(only_first, of, 0.5).pvalue) if of else 1.0


def pass_k(right: int, of: int, k: int) -> float | None:
    """The chance that k answers drawn without replacement from `of` are all right: C(right, k) / C(of, k).

    Yao et al. 2024, τ-bench (arXiv:2406.12045), pass^k. None where there are fewer than k.
    """
    return math.comb(right, k) / math.comb(of, k) if of >= k > 0 else None


def precision_recall(relevant: int, cited: int, wanted: int) -> tuple[float | None, float | None]:
    """Of what is cited the share that is relevant, and of what is wanted the share that is cited, as ALCE scores
    citations (Gao et al. 2023, arXiv:2305.14627); None where nothing is cited or wanted."""
    return share(relevant, cited), share(relevant, wanted)


class Certificate(NamedTuple):
    """A threshold that keeps the risk, with the evidence: of n answers above it, so many errors, and the bound."""

    threshold: float
    errors: int
    of: int
    bound: float


def learn_then_test(
    confidence: ArrayLike, wrong: ArrayLike, *, risk: float, confidence_level: float = 0.95, least: int = 1
) -> Certificate | None:
    """The lowest threshold at which P(risk above `risk`) ≤ 1 - `confidence_level`; None if the data support none.

    Learn then Test (Angelopoulos et al. 2021, arXiv:2110.01052) with a fixed sequence of thresholds, the strictest first:
    each is tested with the exact binomial test at the full level, and the first one that fails ends the sequence, so that
    testing many costs nothing. `confidence` (n,) and `wrong` (n,) of independent cases. A sequence begins where at least
    `least` answers are given: with fewer than ln(1 - confidence_level) / ln(1 - risk) no test can pass.
    """
    curve = risk_coverage(confidence, wrong)
    needed = max(least, cases_needed(risk, confidence_level))
    found: Certificate | None = None
    n = len(_floats(confidence))
    for coverage, share_wrong, threshold in zip(*curve, strict=True):
        given = round(float(coverage) * n)
        errors = round(float(share_wrong) * given)
        if given < needed:
            continue
        if float(stats.binom.cdf(errors, given, risk)) > 1 - confidence_level:
            break
        bound = clopper_pearson_upper(errors, given, confidence_level)
        found = Certificate(float(threshold), errors, given, bound if bound is not None else 1.0)
    return found


def cases_needed(risk: float, confidence: float = 0.95, errors: int = 0) -> int:
    """How many accepted cases with at most `errors` errors certify a risk: 59 for 5% with none, 299 for 1%."""
    of = max(1, errors)
    while float(stats.binom.cdf(errors, of, risk)) > 1 - confidence:
        of += 1
    return of
