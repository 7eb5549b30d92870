"""Chooses a persona's threshold on the *certify* split alone, certifies levels of risk there, and writes the calibration.

Two things stand in it. The threshold in use without a wish for a risk is the lowest at which the unanswerable questions
that get an answer stay within a stated share: chosen, not certified. The levels are certified: for each the lowest
threshold whose risk is below it, by Learn then Test, for a stated mix of questions. Before that, and once, the fitted
probabilities are brought to what they are worth on this split (`fit_scale`): the thresholds are of the line as it then is.
"""

# scikit-learn ships no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sklearn.linear_model import LogisticRegression

from evals.metrics import cases_needed, clopper_pearson_upper, learn_then_test
from evals.run import ANSWERS
from evals.runs import Result
from persona.errors import InputError
from persona.models import AS_FITTED, FORMAT, Calibration, Level, Scale, log_odds
from persona.pipeline import NOT_CERTIFIED, Fireside
from persona.types import Decision

ALWAYS = 2.0  # above every threshold
MAX_FALSE = 0.22
LEVELS = (0.01, 0.05, 0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)
_SMALL = 0.2  # risk up to which the sequence begins as early as it can
MEANING = "Risk: of the questions that it answers, the share answered wrongly, for the stated mix of questions"


class Scored(NamedTuple):
    """A question's confidence (-1 if it got no answer), whether it has an answer, whether it is a near-miss, and whether
    the answer given is right. `group` names the questions that are not independent of it."""

    confidence: float
    answerable: bool
    near_miss: bool
    right: bool
    group: str = ""


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
        right = weighed and r.outcome == "right"
        rows.append(Scored(confidence, answerable, r.case.suite == "near_miss", right, r.case.group or r.case.id))
    return rows


class Chosen(NamedTuple):
    """A threshold and what it gives on the cases that it was chosen on."""

    threshold: float
    right: float
    false_answers: float


NEAR_MISSES = 0.68  # of the unanswerable questions; the rest have no topic in the talks. See evals/cases/README.md
ANSWERABLE = 0.5  # of all questions, in the mix that a level is certified for
MIX = {
    "answerable": ANSWERABLE,
    "near_miss": (1 - ANSWERABLE) * NEAR_MISSES,
    "unanswerable, no near-miss": (1 - ANSWERABLE) * (1 - NEAR_MISSES),
}


def fit_scale(rows: Sequence[Scored]) -> Scale:
    """What makes the fitted probabilities the share of right answers in the stated mix (`Scale`); as fitted where the cases
    say nothing of that. Fitting weighs the kinds otherwise than the mix does, and shrinks what it is not sure of."""
    given = [r for r in rows if 0 <= r.confidence <= 1]
    right = [r.right for r in given]
    if len(set(right)) < 2:
        return AS_FITTED
    many = Counter(map(kind_of, rows))
    weights = [MIX[kind_of(r)] / many[kind_of(r)] for r in given]
    z = [[log_odds(r.confidence)] for r in given]
    model = LogisticRegression(C=math.inf).fit(z, right, sample_weight=weights)
    slope, intercept = round(float(model.coef_[0][0]), 4), round(float(model.intercept_[0]), 4)
    return Scale(slope=slope, intercept=intercept) if 0 < slope < _STEEPEST else AS_FITTED


def kind_of(row: Scored) -> str:
    """The kind of question, as in MIX."""
    return "answerable" if row.answerable else "near_miss" if row.near_miss else "unanswerable, no near-miss"


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


def mixed(rows: Sequence[Scored], seed: int = 0) -> list[Scored]:
    """Independent questions in the stated mix: one of each group, and of each kind as many as the scarcest one allows.

    Which of a kind are left out is drawn by `seed`, before any threshold is looked at.
    """
    chance = random.Random(seed)
    by_group: dict[str, list[Scored]] = {}
    for row in rows:
        by_group.setdefault(row.group, []).append(row)
    single = [chance.choice(group) for group in by_group.values()]
    kinds = {kind: [r for r in single if kind_of(r) == kind] for kind in MIX}
    size = min(len(kinds[kind]) / share for kind, share in MIX.items())
    return [row for kind, share in MIX.items() for row in chance.sample(kinds[kind], int(size * share))]


def certify(rows: Sequence[Scored], risks: Iterable[float], confidence: float) -> tuple[Level, ...]:
    """Each level of risk with the lowest threshold that it is certified at, if any (see `learn_then_test`).

    `rows` must be independent and in the mix that the levels are to hold for; a question that gets no answer at any
    threshold has no part in the risk of the answers given.
    """
    given = [r for r in rows if r.confidence >= 0]
    sure, wrong = [r.confidence for r in given], [float(not r.right) for r in given]
    levels: list[Level] = []
    for risk in sorted(set(risks)):
        begun = start(risk, len(given), confidence)
        found = learn_then_test(sure, wrong, risk=risk, confidence_level=confidence, least=begun)
        if found is None or found.threshold > 1:
            levels.append(Level(risk=risk))
        else:
            levels.append(
                Level(
                    risk=risk,
                    threshold=rounded_up(found.threshold),
                    answers=found.of,
                    errors=found.errors,
                    bound=round(found.bound, 4),
                )
            )
    return tuple(levels)


class Wanting(NamedTuple):
    """What the lowest certified level's next one lacks: of the surest `answers`, `errors` are wrong, and with that share of
    errors `cases` accepted questions would certify it; None: no number would."""

    risk: float
    answers: int
    errors: int
    cases: int | None


def wanting(rows: Sequence[Scored], levels: Sequence[Level], confidence: float) -> Wanting | None:
    """How far the next lower level is away, from where `certify` begins to look; None if all are certified."""
    missing = [x.risk for x in levels if not x.certified]
    if not missing:
        return None
    risk = max(missing)
    given = sorted((r for r in rows if r.confidence >= 0), key=lambda r: -r.confidence)
    least = min(len(given), start(risk, len(given), confidence))
    best = Wanting(risk, 0, 0, None)
    errors = 0
    for count, row in enumerate(given, 1):
        errors += not row.right
        if count >= least and (not best.answers or errors / count < best.errors / best.answers):
            best = Wanting(risk, count, errors, None)
    if not best.answers or best.errors / best.answers >= risk:
        return best
    share = best.errors / best.answers
    for cases in range(best.answers, _MOST, max(1, best.answers // 10)):
        bound = clopper_pearson_upper(math.ceil(share * cases), cases, confidence)
        if bound is not None and bound <= risk:
            return best._replace(cases=cases)
    return best


_STEEPEST = 10.0  # a slope above it tells of too few cases, whose right and wrong answers a line parts
_MOST = 100_000  # cases that nobody will write


def start(risk: float, given: int, confidence: float) -> int:
    """With how many answers the sequence of tests begins: for a small risk with as few as can pass without an error, for
    one at which errors are expected with half of the answers, for a handful would end it by bad luck. It hangs on how many
    answers there are, not on which are right, so the test stays valid."""
    return max(cases_needed(risk, confidence), given // 2 if risk > _SMALL else 0)


def rounded_up(threshold: float) -> float:
    """Four digits, never below the threshold that was tested. Replies' confidences have four digits themselves."""
    return round(threshold, 4) if round(threshold, 4) >= threshold else round(threshold + 5e-5, 4)


def calibration(
    fireside: Fireside,
    results: Sequence[Result],
    max_false: float = MAX_FALSE,
    max_risk: float | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Calibration:
    """The calibration of a persona from a run over *certify* at threshold 0, with the scale of confidences that it had.

    `max_risk`: the threshold of that level is the one in use; InputError, saying how many cases it would need, if the
    cases don't support it.
    """
    rows = scored(results)
    chosen = choose(rows, max_false)
    independent = mixed(rows, seed)
    levels = certify(independent, (*LEVELS, *([max_risk] if max_risk is not None else [])), confidence)
    threshold, risk = round(chosen.threshold, 4), NOT_CERTIFIED
    if max_risk is not None:
        level = next(x for x in levels if x.risk == max_risk)
        if level.threshold is None:
            given = sum(r.confidence >= 0 for r in independent)
            raise InputError(
                f"A risk of {max_risk:.3g} can't be certified with {confidence:.0%} confidence: "
                f"0 errors in {cases_needed(max_risk, confidence)} accepted cases are needed, and the surest of the "
                f"{given} accepted ones hold more errors than that allows. Certified: "
                f"{', '.join(x.name for x in levels if x.certified) or 'none'}."
            )
        threshold, risk = level.threshold, level.name
    return Calibration(
        format=FORMAT,
        corpus=fireside.corpus.fingerprint,
        coefficients=fireside.policy.coefficients.fingerprint,
        threshold=threshold,
        risk=risk,
        chosen={
            "on": "certify",
            "max_false": max_false,
            "near_misses": NEAR_MISSES,
            "answerable": sum(r.answerable for r in rows),
            "unanswerable": sum(not r.answerable for r in rows),
            "right": round(chosen.right, 4),
            "false_answers": round(chosen.false_answers, 4),
        },
        confidence=confidence,
        scale=fireside.policy.scale,
        mix={**{kind: round(share, 4) for kind, share in MIX.items()}, "cases": len(independent)},
        cases=hashlib.sha256("\n".join(r.case.model_dump_json() for r in results).encode()).hexdigest()[:16],
        levels=levels,
    )


def write(value: Calibration, path: Path) -> None:
    """Writes a calibration file."""
    path.write_text(value.model_dump_json(indent=2) + "\n", encoding="utf-8")
