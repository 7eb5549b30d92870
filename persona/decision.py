"""Decides: answer, ask back, or say "I don't know"; a calibrated probability against a threshold.

Two gates: is the topic in the corpus at all, and does a span hold the asked detail. A fitted model weighs the evidence of
the best spans into the probability that they answer rightly, which is the reply's confidence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from persona.analysis import Analysis, AnswerKind
from persona.corpus import Corpus
from persona.evidence import Span
from persona.judging import judged
from persona.models import AS_FITTED, Coefficients, Logistic, Scale, log_odds, of_log_odds
from persona.text import stem, stem_set, words
from persona.types import Judge, Reason

# Below this cosine nothing in the corpus is about the question (it is not asked back; the threshold decides on an answer).
TOPIC_COSINE = 0.42
UNKNOWN = 0.5  # share of the question's words from which it speaks of something else
MAX_SENSES = 3
BREVITY = 0.3  # log odds a unit of log length
_SHORT = 40  # characters below which a span gains nothing by being shorter
UNJUDGED = 0.25  # chosen on *certify*: share of what is known without the judge in the log odds of the confidence
ASKS_BACK = 0.5
ASKS_BACK_SURELY = 0.7


@dataclass(frozen=True)
class Verdict:
    """What to do and why; ``spans`` are the evidence, best first."""

    reason: Reason
    confidence: float
    spans: tuple[Span, ...] = ()
    features: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Policy:
    """The fitted coefficients, the threshold that a risk level sets, and what makes a confidence of a fitted probability."""

    coefficients: Coefficients
    threshold: float
    risk: str
    scale: Scale = AS_FITTED


def rank(spans: Sequence[Span], ranker: Logistic) -> list[Span]:
    """The spans by how likely they are to answer in few words, best first; that score joins the features as "ranker"."""
    logits = ranker.logits([s.features for s in spans])
    scored = [
        replace(s, features={**s.features, "ranker": logit - _wordiness(s)})
        for s, logit in zip(spans, logits, strict=True)
    ]
    return sorted(scored, key=lambda s: -s.features["ranker"])


def _wordiness(span: Span) -> float:
    """What a long span costs, in log odds: it holds the answer more often merely because it is long."""
    return BREVITY * math.log(max(_SHORT, len(span.text)))


def apart(spans: Sequence[Span]) -> list[Span]:
    """The spans, best first, without those that share a sentence, or its words, with a better one."""
    taken: set[tuple[str, int] | frozenset[str]] = set()
    out: list[Span] = []
    for span in spans:
        own = {(s.document, s.number) for s in span.sentences} | {stem_set(s.search) for s in span.sentences}
        if not own & taken:
            out.append(span)
            taken |= own
    return out


def decision_features(analysis: Analysis, ranked: Sequence[Span]) -> dict[str, float]:
    """What the confidence is made of: the best span's features, and how it stands against the next ones."""
    best = ranked[0]
    others = apart(ranked)[1:6]
    second = others[0].features["ranker"] if others else best.features["ranker"] - 4.0
    fifth = others[-1].features["ranker"] if others else second
    top = ranked[: 3 * len(best.sentences) + 6]
    features = dict(best.features)
    features |= {
        "lead": best.features["ranker"] - second,
        "spread": best.features["ranker"] - fifth,
        "top_coverage": max(s.features["coverage_around"] for s in top),
        "top_cosine": max(s.features["best_cosine"] for s in top),
        "top_kind": max(s.features["kind_near"] for s in top),
        "top_reader": max(s.features["reader"] for s in top),
        "reader_lead": best.features["reader"] - max((s.features["reader"] for s in others), default=0.0),
        "talks": float(len({s.hit.passage.talk for s in others[:3]} | {best.hit.passage.talk})),
        "apartness": apartness(ranked),
        "followed_up": float(analysis.followed_up),
        "vague": vagueness(analysis),
    } | wording(analysis)
    if "judge" in best.features:
        features |= {
            "judge_top": max(s.features["judge"] for s in ranked),
            "judge_lead": best.features["judge"] - max((s.features["judge"] for s in others), default=-2.0),
            "judge_top_begins": max(s.features["judge_begins"] for s in ranked),
            "judge_top_ends": max(s.features["judge_ends"] for s in ranked),
        }
    for kind in AnswerKind:
        wanted = float(analysis.kind is kind)
        features[f"is_{kind.value}"] = wanted
        features[f"lacks_{kind.value}"] = wanted * (1.0 - best.features["kind_near"])
    return features


def apartness(ranked: Sequence[Span]) -> float:
    """How little the best spans of separate places have to do with each other: 1 minus their highest cosine."""
    vectors = [s.vector for s in senses(ranked) if s.vector is not None]
    if len(vectors) < 2:
        return 0.0
    return 1.0 - max(float(vectors[0] @ v) for v in vectors[1:])


_GENERIC = {
    stem(w)
    for w in """
        model network system machine neural game paper dataset data test idea problem talk method approach
        project team company person people reason result thing answer question difference part experiment
        competition image images text training train trained learn learned learning work works worked start
        started use used big large size number first second main important new old good best better parameters
        parameter performance accuracy technology technique interview interviewer host conversation guest
        architecture algorithm
    """.split()
}


def vagueness(analysis: Analysis) -> float:
    """The share of the question's words that could be about anything in a field ("the network", "the result")."""
    if not analysis.terms:
        return 1.0
    return sum(t in _GENERIC for t in analysis.terms) / len(analysis.terms)


_DEFINITE = re.compile(r"\b(?:the|this|that|these|those|other)\s+\w", re.I)
_PAST = re.compile(r"\b(?:was|were|did|had)\b", re.I)


def wording(analysis: Analysis) -> dict[str, float]:
    """How a question words its topic. Few words with "the" point at one of several ("what was the breakthrough?"); few
    without it name a topic, of which anything said may be told ("what is reasoning?")."""
    brief = 1.0 / (1.0 + len(analysis.terms))
    definite = float(bool(_DEFINITE.search(analysis.text)))
    return {
        "brief": brief,
        "definite": definite,
        "definite_brief": definite * brief,
        "past_brief": float(bool(_PAST.search(analysis.text))) * brief,
        "characters": float(len(analysis.text)),
        "confined": float(bool(analysis.talks or analysis.speakers)),
    }


def decide(
    analysis: Analysis, spans: Sequence[Span], policy: Policy, corpus: Corpus, judge: Judge | None = None
) -> Verdict:
    """The verdict on a question, given its evidence; `judge` reads the best of it where the first gate lets it pass."""
    if analysis.dangling:
        return Verdict(Reason.UNRESOLVED, 0.0)
    if not spans:
        return Verdict(Reason.OUT_OF_CORPUS, 0.0)
    fitted = policy.coefficients
    ranked = rank(spans, fitted.ranker)
    features = decision_features(analysis, ranked)
    confidence = fitted.answerable.probability(features)
    places = senses(ranked)
    # What the talks are not about has no senses in them; half of a question's words may be missing for other reasons.
    foreign = features["top_cosine"] < TOPIC_COSINE and features["unknown"] >= UNKNOWN
    asks = len(places) > 1 and not analysis.followed_up and not foreign
    ambiguous = fitted.ambiguous.probability(features) if asks else None
    if judge and fitted.reranker and fitted.judged and confidence >= fitted.gate:
        features = decision_features(analysis, ranked := rejudged(analysis, ranked, fitted.reranker, judge))
        # They err on different questions, and without the judge's lessons the first knows other talks better.
        confidence = between(fitted.judged.probability(features), confidence, UNJUDGED)
    confidence = policy.scale.told(confidence)
    if ambiguous is not None:
        features["ambiguous"] = ambiguous
        # Where the evidence is good enough to answer, asking back needs a better reason, and a likelier one.
        if ambiguous >= (max(ASKS_BACK_SURELY, confidence) if confidence >= policy.threshold else ASKS_BACK):
            return Verdict(Reason.AMBIGUOUS, confidence, tuple(places), features)
    chosen = tuple(apart(ranked))
    if confidence >= policy.threshold:
        reason = Reason.CORRECTED if contradicts(analysis, chosen[0]) else Reason.SUPPORTED
        return Verdict(reason, confidence, chosen, features)
    return Verdict(_why_not(analysis, features, corpus), confidence, chosen, features)


def between(one: float, other: float, share: float) -> float:
    """The probability whose log odds lie between those of two, with that share of the `other`."""
    return of_log_odds((1 - share) * log_odds(one) + share * log_odds(other))


def rejudged(analysis: Analysis, ranked: Sequence[Span], reranker: Logistic, judge: Judge) -> list[Span]:
    """The spans of the best passages, ranked anew by what the judge says of them too; that score replaces "ranker"."""
    return rank(judged(analysis.dense, ranked, judge), reranker)


def senses(ranked: Sequence[Span]) -> list[Span]:
    """The best span of each separate place: another talk, or another paragraph far from the others."""
    out: list[Span] = []
    for span in apart(ranked)[:12]:
        here = span.sentences[0]
        if all(here.document != o.sentences[0].document or abs(here.number - o.sentences[0].number) > 12 for o in out):
            out.append(span)
        if len(out) == MAX_SENSES:
            break
    return out


def _why_not(analysis: Analysis, features: dict[str, float], corpus: Corpus) -> Reason:
    if after_the_talks(analysis.text, corpus):
        return Reason.AFTER_THE_TALKS
    if features["top_cosine"] < TOPIC_COSINE or features["unknown"] >= UNKNOWN:
        return Reason.OUT_OF_CORPUS
    return Reason.NOT_STATED


_YEAR = re.compile(r"\b(?:19|20)\d\d\b")
_VERSION = re.compile(r"\b([A-Za-z]{2,})[\s-]?(\d{1,2})(?![\d%])\b")
_NOWADAYS = re.compile(
    r"\b(?:now|nowadays|today|currently|these days|at the moment|lately|recently|latest|newest|this (?:year|month|week)"
    r"|since (?:then|leaving)|after (?:leaving|he left|you left|the talks?))\b",
    re.I,
)


def after_the_talks(text: str, corpus: Corpus) -> bool:
    """Whether the question is about a time after the corpus: a later year or version than any in it, or "these days"."""
    known = _horizon(corpus)
    if any(int(y) > known.year for y in _YEAR.findall(text)):
        return True
    for name, number in _VERSION.findall(text):
        highest = known.versions.get(name.lower())
        if highest is not None and int(number) > highest:
            return True
    return bool(_NOWADAYS.search(text))


@dataclass(frozen=True)
class _Horizon:
    year: int
    versions: dict[str, int]


_HORIZONS: dict[str, _Horizon] = {}


def _horizon(corpus: Corpus) -> _Horizon:
    """The latest year of the corpus and the highest version of each name in it ("GPT-4")."""
    if corpus.fingerprint not in _HORIZONS:
        year = 0
        versions: dict[str, int] = {}
        for entry in (*corpus.catalog.document, *corpus.catalog.talk):
            year = max([year, *(int(y) for y in _YEAR.findall(entry.date or ""))])
        for sentences in corpus.sentences.values():
            for sentence in sentences:
                year = max([year, *(int(y) for y in _YEAR.findall(sentence.search))])
                for name, number in _VERSION.findall(sentence.search):
                    versions[name.lower()] = max(int(number), versions.get(name.lower(), 0))
        _HORIZONS[corpus.fingerprint] = _Horizon(year, versions)
    return _HORIZONS[corpus.fingerprint]


# Opposites of general English; where the question has one side and the evidence only the other, its premise is off.
OPPOSITES = {
    stem(a): stem(b)
    for pair in """bigger smaller|larger smaller|larger tinier|more fewer|more less|increase decrease|better worse|easy hard
    easier harder|faster slower|always never|before after|supervised unsupervised|deep shallow|success failure|succeed fail
    reliable unreliable|possible impossible|strong weak|cheap expensive|first last|early late|high low|higher lower|long short
    like dislike|love hate|agree disagree|overestimate underestimate|overestimated underestimated|optimistic pessimistic
    useful useless|necessary unnecessary|simple complicated|open closed|win lose|won lost|accept reject|safe dangerous""".replace(
        "\n", "|"
    ).split("|")
    for x, y in [pair.split()]
    for a, b in ((x, y), (y, x))
}


def contradicts(analysis: Analysis, span: Span) -> bool:
    """Whether the span denies what the question takes for granted: the opposite word, or another number of that kind."""
    have = {stem(w) for w in words(span.search)}
    for term in analysis.terms:
        other = OPPOSITES.get(term)
        if other and term not in have and other in have:
            return True
    asked_years = set(_YEAR.findall(analysis.text))
    said_years = set(_YEAR.findall(span.search))
    return bool(asked_years and said_years and not asked_years & said_years and span.features["coverage"] >= 0.5)
