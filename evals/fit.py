"""Fits every coefficient on the *fit* split and writes ``persona/coefficients.json``; scikit-learn fits, numpy applies.

Models that feed others are cross-fitted by talk section: the log odds that the confidence is fitted on come from rankers
that never saw that section.
"""

# scikit-learn ships no type information.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from evals.bench import DIGRESSION, digressions, holders, twins
from evals.cases import CONDUCT, UNANSWERABLE, Case, Section, load_sections
from evals.scoring import has_facts
from persona.analysis import Analysis, dangles, marks_of
from persona.conduct import CLASSES, QUESTION, conduct_vector, neutral, own_name_pattern
from persona.decision import apart, decision_features, rank
from persona.evidence import Span
from persona.judging import judged
from persona.leaning import FEATURES as LEANING_FEATURES
from persona.lookup import said_what
from persona.models import COEFFICIENTS, FORMAT, Coefficients, Logistic, Softmax
from persona.pipeline import Fireside
from persona.text import terms
from persona.types import Decision, Judge, Reason

RANKER_FEATURES = """
    span_cosine best_cosine passage_cosine fused rank bm25 bm25_share cosine_gap coverage soft_coverage
    coverage_around soft_coverage_around weakest rarest_missing heading_coverage asked_before context_coverage
    names_missing has_names kind_found kind_near wants_kind asks_back own_words other_words length sentences
    novelty pairs asked_talk asked_speaker focus has_focus new_name new_number
    reader reader_least reader_plain reader_whole reader_around
""".split()
ANSWERABLE_FEATURES = """
    ranker lead spread top_cosine top_coverage top_kind span_cosine best_cosine passage_cosine coverage
    soft_coverage coverage_around soft_coverage_around weakest rarest_missing unknown names_missing has_names
    terms kind_near kind_found bm25 asks_back other_words own_words followed_up vague lacks_number lacks_time
    lacks_person lacks_place lacks_reason focus has_focus new_name new_number asked_talk asked_speaker is_number
    is_time is_person is_place is_reason is_yes_no is_manner is_definition
    reader reader_least reader_plain reader_whole reader_around top_reader reader_lead
""".split()
# What a judge adds, to the ranker and to the confidence.
JUDGED_SPAN = "judge judge_begins judge_ends judge_share judge_nowhere judge_asked judge_gap".split()
JUDGED_DECISION = [*JUDGED_SPAN, *"judge_top judge_lead judge_top_begins judge_top_ends".split()]
AMBIGUOUS_FEATURES = """
    vague terms lead spread top_cosine best_cosine coverage soft_coverage_around weakest unknown has_names talks
    is_definition is_number is_time is_person is_reason is_manner is_yes_no is_place ranker apartness
    rarest_known has_focus focus names_missing reader reader_least reader_whole reader_lead
    brief definite definite_brief past_brief characters confined
""".split()
LOOKUP_FEATURES = """
    best_cosine span_cosine passage_cosine coverage soft_coverage coverage_around soft_coverage_around weakest
    unknown pairs length asks_back terms
""".split()
FOLDS = 8
SEED = 0

Matrix = NDArray[np.float64]


@dataclass
class Asked:
    """A case, how its question was read, and the spans found for it."""

    case: Case
    analysis: Analysis
    spans: list[Span]


def gather(fireside: Fireside, cases: Sequence[Case], progress: Callable[[int, int], None]) -> list[Asked]:
    """Reads, retrieves and weighs every question; a twin's without the passages that hold its answer."""
    out: list[Asked] = []
    for number, case in enumerate(cases, 1):
        line = fireside.without(holders(case, fireside.corpus)) if case.suite == "twin" else fireside
        analysis = line.analyser.read(case.asked())
        found = line.retriever.search(analysis.dense, analysis.lexical)
        out.append(Asked(case, analysis, line.evidence.weigh(analysis, found)))
        progress(number, len(cases))
    return out


def logistic(names: Sequence[str], x: Matrix, y: Matrix, weights: Matrix, strength: float) -> Logistic:
    """L2-regularised logistic regression on standardised features; `strength` is scikit-learn's C."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    model = LogisticRegression(C=strength, max_iter=5000).fit((x - mean) / scale, y, sample_weight=weights)
    return Logistic(
        features=tuple(names),
        mean=_rounded(mean),
        scale=_rounded(scale),
        weights=_rounded(model.coef_[0]),
        intercept=round(float(model.intercept_[0]), 6),
    )


def _rounded(values: Matrix) -> tuple[float, ...]:
    return tuple(round(float(v), 6) for v in values)


def _matrix(names: Sequence[str], rows: Sequence[Mapping[str, float]]) -> Matrix:
    return np.array([[row[n] for n in names] for row in rows], dtype=np.float64)


def fit_ranker(asked: Sequence[Asked], names: Sequence[str]) -> Logistic:
    """Which span answers: spans that hold the required facts against the others, each question weighing the same."""
    rows: list[Mapping[str, float]] = []
    labels: list[float] = []
    weights: list[float] = []
    for one in asked:
        if one.case.suite != "answerable" or not one.spans:
            continue
        right = [has_facts(one.case.facts, f"{s.text} {s.search}") for s in one.spans]
        rows += [s.features for s in one.spans]
        labels += [float(r) for r in right]
        weights += [1 / max(1, sum(right)) if r else 1 / len(right) for r in right]
    return logistic(names, _matrix(names, rows), np.array(labels), np.array(weights), 0.3)


def cross_ranked(asked: Sequence[Asked], names: Sequence[str]) -> list[list[Span]]:
    """The spans of each question ranked by a ranker that never saw its talk section."""
    groups = np.array([group_of(one.case.section or one.case.group or one.case.id) for one in asked])
    out: list[list[Span]] = [[] for _ in asked]
    for train, held in GroupKFold(FOLDS).split(groups, groups=groups):
        fitted = fit_ranker([asked[i] for i in train], names)
        for i in held:
            out[i] = rank(asked[i].spans, fitted)
    return out


def group_of(name: str) -> int:
    """The number of a group that cross-validation keeps together: a talk section, or a group of paraphrases."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)


def fit_answerable(
    fireside: Fireside,
    asked: Sequence[Asked],
    ranked: Sequence[Sequence[Span]],
    names: Sequence[str],
    strength: float = 0.1,
) -> Logistic:
    """Whether the composed answer would be right: the confidence.

    Twins teach what no other case can: the very same question, with the answer there and without it.
    """
    rows: list[Mapping[str, float]] = []
    labels: list[float] = []
    weights: list[float] = []
    for one, spans in zip(asked, ranked, strict=True):
        kinds = ("answerable", "twin", "digression", *UNANSWERABLE)
        if not spans or one.case.suite not in kinds or one.analysis.dangling:
            continue
        features = decision_features(one.analysis, spans)
        rows.append(features)
        labels.append(float(answers_rightly(fireside, one, spans)))
        weights.append(WEIGHTS.get(one.case.suite, 1.0))
    return logistic(names, _matrix(names, rows), np.array(labels), np.array(weights), strength)


WEIGHTS = {
    "twin": 0.5,
    "digression": 0.5,
    "off_topic": 0.3,
}  # there are many of them, and a question of each is worth less than a written one


def taught(case: Case) -> bool:
    """Which half of *fit* the case belongs to: the judge that was trained on it says nothing of how far it can be trusted,
    the other half's judge does. Whole sections go to one half."""
    if case.section is not None:
        return _sections()[case.section].judge
    kinds = (*UNANSWERABLE, "digression")
    return case.suite in kinds and case.id.removesuffix(DIGRESSION)[-1] in "02468"


@lru_cache(maxsize=1)
def _sections() -> dict[str, Section]:
    return load_sections()


class Judged(NamedTuple):
    """The part of the coefficients that needs a judge; see `Coefficients`."""

    judge: str = ""
    gate: float = 0.0
    reranker: Logistic | None = None
    judged: Logistic | None = None


# The judge that was trained on the cases that are `taught` (1), and that of the others (2). Where one is missing, the cases
# that the other knows are left out.
Halves = Mapping[int, Judge]


def fit_judged(
    fireside: Fireside,
    asked: Sequence[Asked],
    ranked: Sequence[Sequence[Span]],
    answerable: Logistic,
    halves: Halves | None,
    progress: Callable[[int, int], None],
) -> Judged:
    """What the judge says, weighed with the rest; nothing if the persona has none. Each question is read by the half's
    judge that never saw it; without halves by the persona's own, which then must know none of these cases."""
    if fireside.judge is None:
        return Judged()
    firsts = [
        answerable.probability(decision_features(a.analysis, r)) if r else 0.0
        for a, r in zip(asked, ranked, strict=True)
    ]
    sure = [
        first
        for one, spans, first in zip(asked, ranked, firsts, strict=True)
        if one.case.suite == "answerable" and answers_rightly(fireside, one, spans)
    ]
    gate = round(float(np.quantile(sure, GATED)), 4)
    seen: list[Asked] = []
    for number, (one, spans, first) in enumerate(zip(asked, ranked, firsts, strict=True), 1):
        if first >= gate and not one.analysis.dangling:
            judge = halves.get(2 if taught(one.case) else 1) if halves else fireside.judge
            if judge is not None:
                seen.append(replace(one, spans=judged(one.analysis.dense, spans, judge)))
        progress(number, len(asked))
    names = [*RANKER_FEATURES, "ranker", *JUDGED_SPAN]
    again = cross_ranked(seen, names)
    return Judged(
        fireside.judge.fingerprint,
        gate,
        fit_ranker(seen, names),
        fit_answerable(fireside, seen, again, [*ANSWERABLE_FEATURES, *JUDGED_DECISION], JUDGED_STRENGTH),
    )


JUDGED_STRENGTH = 0.02  # cross-validated on *fit*: half of its questions, twice the features
GATED = 0.01  # share of the rightly answered questions that may be given up before a judge has read anything


def answers_rightly(fireside: Fireside, one: Asked, spans: Sequence[Span]) -> bool:
    """Whether the draft made of these spans holds the required facts, for a case that has an answer."""
    if Decision.ANSWER not in one.case.decisions or not one.case.facts:
        return False
    draft = fireside.voice.compose(apart(spans), Reason.SUPPORTED)
    return has_facts(one.case.facts, " ".join(c.text for c in draft.claims))


def fit_ambiguous(asked: Sequence[Asked], ranked: Sequence[Sequence[Span]]) -> Logistic:
    """Whether a question that stands alone has separate senses in the corpus."""
    rows: list[Mapping[str, float]] = []
    weights: list[float] = []
    for one, spans in zip(asked, ranked, strict=True):
        if not spans or one.case.suite not in AMBIGUOUS_WEIGHTS or one.analysis.dangling or one.analysis.followed_up:
            continue
        rows.append(decision_features(one.analysis, spans))
        weights.append(AMBIGUOUS_WEIGHTS[one.case.suite])
    w = np.array(weights)
    y = (w == AMBIGUOUS_WEIGHTS["ambiguous"]).astype(np.float64)
    return logistic(AMBIGUOUS_FEATURES, _matrix(AMBIGUOUS_FEATURES, rows), y, w, 0.1)


AMBIGUOUS_WEIGHTS = {
    "ambiguous": 3.0,  # a question back costs little, a guess between two senses much
    "answerable": 1.0,
    "near_miss": 1.0,
    "false_premise": 1.0,
    # There are many of them. What the talks are not about has no senses in them, however many its words have there.
    "off_topic": 0.3,
    "person": 0.3,
    "after_the_talks": 0.3,
}


def fit_lookup(fireside: Fireside, cases: Sequence[Case]) -> Logistic:
    """Whether a verbatim span is about a looked-up topic: spans with the wanted words against those of absent ones."""
    rows: list[Mapping[str, float]] = []
    labels: list[float] = []
    weights: list[float] = []
    for case in cases:
        topic = case.question
        if case.suite == "attribution":
            topic = said_what(case.question)
        analysis = fireside.analyser.read(case.model_copy(update={"question": topic}).asked())
        found = fireside.retriever.search(analysis.dense, analysis.lexical, 24, verbatim=True)
        spans = fireside.evidence.weigh(analysis, found)
        present = Decision.ANSWER in case.decisions
        right = [present and _holds(case, span) for span in spans]
        for span, good in zip(spans, right, strict=True):
            if good or not present or span.rank >= 8:
                rows.append(span.features)
                labels.append(float(good))
                weights.append(1 / max(1, sum(right)) if good else (1.5 if not present else 0.5) / len(spans))
    x = _matrix(LOOKUP_FEATURES, rows)
    return logistic(LOOKUP_FEATURES, x, np.array(labels), np.array(weights), 0.3)


def _holds(case: Case, span: Span) -> bool:
    if case.suite == "attribution":
        return any(e.snippet in span.text or span.text in e.snippet for e in case.evidence)
    return has_facts(case.facts, f"{span.text} {span.search}")


def showing_conduct(cases: Sequence[Case]) -> list[Case]:
    """The cases that teach kinds of conduct; pressure that may be declined as well as answered "I don't know" does not."""
    return [c for c in cases if c.suite != "quote" and not (c.suite == "pressure" and Decision.DECLINE in c.decisions)]


def kind_of(case: Case) -> str:
    """The kind of conduct that a case shows, one of `CLASSES`."""
    return case.suite if case.suite in CONDUCT else QUESTION


def fit_conduct(fireside: Fireside, cases: Sequence[Case]) -> Softmax:
    """Questions about the talks, about the bot, greetings, and the four kinds of abuse."""
    own = own_name_pattern((fireside.card.speaker, *fireside.card.short_names))
    used = showing_conduct(cases)
    texts = [neutral(c.question, own) for c in used]
    vectors = [v for at in range(0, len(texts), 32) for v in fireside.embedder.embed(texts[at : at + 32])]
    x = np.array([conduct_vector(t, v) for t, v in zip(texts, vectors, strict=True)])
    y = np.array([kind_of(c) for c in used])
    model = LogisticRegression(C=3.0, max_iter=5000).fit(x, y)
    order = [list(model.classes_).index(c) for c in CLASSES]
    return Softmax(
        classes=CLASSES,
        weights=tuple(tuple(round(float(w), 4) for w in model.coef_[i]) for i in order),
        intercept=tuple(round(float(model.intercept_[i]), 4) for i in order),
    )


LEANING_WEIGHT = 0.4  # of the follow-ups together: to take a question for one costs more than to miss one


def fit_leaning(fireside: Fireside, cases: Sequence[Case]) -> Logistic:
    """Which turns lean on the one before: follow-ups, against questions that stand alone, each put after an answered one of
    its own section and of another."""
    cases = [c for c in cases if c.split == "fit" and c.suite in ("answerable", *UNANSWERABLE)]
    draw = random.Random(SEED)
    first = [c for c in cases if c.suite == "answerable" and c.evidence and not c.history]
    rows: list[Mapping[str, float]] = []
    labels: list[float] = []

    def add(text: str, said: Sequence[str], leans: bool) -> None:
        assert fireside.analyser.leaning is not None
        rows.append(fireside.analyser.leaning.features(text, [terms(turn) for turn in said], marks_of(text)))
        labels.append(float(leans))

    for case in cases:
        if case.history:
            add(case.question, [t.content for t in case.history], True)
        elif not dangles(case.question):
            for same in (True, False):
                before = [c for c in first if (c.section == case.section) is same and c.id != case.id]
                before = [c for c in before if not c.group or c.group != case.group]
                if before:
                    other = draw.choice(before)
                    add(case.question, (other.question, other.evidence[0].snippet), False)
    y = np.array(labels)
    weights = np.where(y > 0, LEANING_WEIGHT * (len(y) - y.sum()) / y.sum(), 1.0)
    return logistic(LEANING_FEATURES, _matrix(LEANING_FEATURES, rows), y, weights, 0.3)


class Names(NamedTuple):
    """What the ranker and the confidence may see, and whether a judge reads the best passages."""

    ranker: Sequence[str] = RANKER_FEATURES
    answerable: Sequence[str] = ANSWERABLE_FEATURES
    judged: bool = True


EVERYTHING = Names()


def fit(
    fireside: Fireside, cases: Sequence[Case], progress: Callable[[int, int], None], halves: Halves | None = None
) -> Coefficients:
    """All coefficients, from cases of the *fit* split only."""
    return fit_on(fireside, read(fireside, cases, progress), cases, progress, halves=halves)


def read(fireside: Fireside, cases: Sequence[Case], progress: Callable[[int, int], None]) -> list[Asked]:
    """The questions of *fit* about the talks, their twins, and those that are taken for follow-ups of another subject, with
    the evidence for each."""
    about = [c for c in cases if c.split == "fit" and c.suite in ("answerable", "ambiguous", *UNANSWERABLE)]
    assert fireside.analyser.leaning is not None
    fireside.analyser.leaning.model = fit_leaning(fireside, cases)
    after = [c for c in digressions(about) if fireside.analyser.read(c.asked()).followed_up]
    return gather(fireside, [*about, *twins(about), *after], progress)


def fit_on(
    fireside: Fireside,
    asked: Sequence[Asked],
    cases: Sequence[Case],
    progress: Callable[[int, int], None],
    names: Names = EVERYTHING,
    halves: Halves | None = None,
) -> Coefficients:
    """The coefficients, from questions that were read before."""
    cases = [c for c in cases if c.split == "fit"]
    ranked = cross_ranked(asked, names.ranker)
    answerable = fit_answerable(fireside, asked, ranked, names.answerable)
    judge = fit_judged(fireside, asked, ranked, answerable, halves, progress) if names.judged else Judged()
    return Coefficients(
        format=FORMAT,
        embedding=fireside.embedder.fingerprint,
        fitted={"cases": len(cases), "corpus": fireside.corpus.fingerprint, "seed": SEED},
        ranker=fit_ranker(asked, names.ranker),
        answerable=answerable,
        judge=judge.judge,
        gate=judge.gate,
        reranker=judge.reranker,
        judged=judge.judged,
        ambiguous=fit_ambiguous(asked, ranked),
        lookup=fit_lookup(fireside, [c for c in cases if c.suite in ("quote", "attribution")]),
        conduct=fit_conduct(fireside, cases),
        leaning=fit_leaning(fireside, cases),
    )


def write(coefficients: Coefficients, path: Path = COEFFICIENTS) -> None:
    """Writes the coefficients, one model a line, so that a change reads well in a diff."""
    data = coefficients.model_dump(mode="json")
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in data.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
