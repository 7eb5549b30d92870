"""Whether a passage bears out a claim that a chat model makes of it: a judge of known error.

The features compare the claim with the passage by meaning, word by word, by what must not differ (numbers, names,
negation, how sure it sounds), and by the cross-encoder; plain coefficients weigh them. They are fitted on claims written by
hand (evals/drafts), and how often they are wrong is measured on others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from persona.decision import OPPOSITES
from persona.models import Logistic, read_fitted
from persona.text import STOPWORDS, stem, stems, terms, words
from persona.types import Embedder, Judge, Judgement, Passage

SUPPORT = Path(__file__).parent / "support.json"
WINDOW = 3  # sentences that a claim is compared with at once
FEATURES = """
    cosine cosine_passage cosine_gap coverage coverage_window read read_least read_low numbers_missing names_missing
    negation_differs absolute_added hedge_lost reason_added opposite novel length judge_claim judge_claim_nowhere
    judge_question
""".split()

_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nothing|nobody|neither|nor|without|hardly|barely|cannot)\b|n['’]t\b", re.I
)
_ABSOLUTE = re.compile(
    r"\b(?:all|always|only|every\w*|entirely|completely|totally|certainly|definitely|must|guarantee\w*|any|most|impossible"
    r"|exactly|solely|first|best|proved?|proves)\b",
    re.I,
)
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|might|may|could|probably|possibly|likely|seems?|guess|think|believe|suppose|sort of|kind of|some"
    r"|sometimes|often|usually|not sure|unclear|in a way|to some (?:extent|degree)|almost|about|roughly)\b",
    re.I,
)
_REASON = re.compile(
    r"\b(?:because|since|so that|in order to|due to|thanks to|therefore|caused?|leads?|led|that['’]s why)\b", re.I
)
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
        " eighteen nineteen twenty".split()
    )
} | {"half": "half", "twice": "2", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"} | {
    "million": "million", "billion": "billion", "trillion": "trillion", "decade": "10", "dozen": "12",
}  # fmt: skip
_NOT_COUNTED = {"one", "zero"}  # mostly pronouns


class SupportModel(BaseModel):
    """The fitted judge: a claim whose probability is below `threshold` is cut. `judge` and `embedding` name the weights
    that it was fitted with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    judge: str
    embedding: str
    fitted: dict[str, str | int | float]
    weigh: Logistic
    threshold: float = Field(gt=0, lt=1)


@lru_cache(maxsize=2)
def load_support(path: Path = SUPPORT) -> SupportModel:
    """The fitted judge of claims; ConfigError if the file is missing or of another format."""
    return read_fitted(path, SupportModel, "file of the judge of claims", "Reinstall fireside.")


class Support:
    """Judges claims against passages. For one caller at a time; it remembers each question with its passages, so take a
    `fresh` one for each reply."""

    def __init__(self, embedder: Embedder, judge: Judge, model: SupportModel) -> None:
        self._embedder = embedder
        self._judge = judge
        self.model = model
        self._judgements: dict[tuple[str, Passage], Judgement] = {}

    def fresh(self) -> Support:
        """The same judge of claims, which remembers nothing."""
        return Support(self._embedder, self._judge, self.model)

    def probability(self, question: str, claim: str, passage: Passage) -> float:
        """How likely it is that the passage bears the claim out, in 0..1."""
        # A forward pass, the same for every claim about the passage.
        if (pair := (question, passage)) not in self._judgements:
            self._judgements[pair] = _judged(question, passage, self._judge)
        return self.model.weigh.probability(
            compare(question, claim, passage, self._embedder, self._judge, self._judgements[pair])
        )


def compare(
    question: str,
    claim: str,
    passage: Passage,
    embedder: Embedder,
    judge: Judge,
    by_question: Judgement | None = None,
) -> dict[str, float]:
    """The features of a claim and a passage (FEATURES). `by_question` is the judge's word on question and passage, where
    it was read before."""
    sentences = [s.search for s in passage.sentences]
    first, last = nearest_window(claim, passage, embedder)
    window = " ".join(sentences[first:last])
    said = " ".join(sentences)
    vectors = np.asarray(embedder.embed([claim, window, said]))
    claimed = set(terms(claim))
    near, around = set(stems(window)), set(stems(f"{passage.context} {said}"))
    read = _read(claim, [passage.context, *sentences], embedder)
    by_claim = _judged(claim, passage, judge)
    by_question = by_question or _judged(question, passage, judge)
    names, numbers = _names(claim), _numbers(claim)
    return {
        "cosine": float(vectors[0] @ vectors[1]),
        "cosine_passage": float(vectors[0] @ vectors[2]),
        "cosine_gap": float(vectors[0] @ vectors[1] - vectors[0] @ vectors[2]),
        "coverage": len(claimed & around) / max(1, len(claimed)),
        "coverage_window": len(claimed & near) / max(1, len(claimed)),
        "read": float(read.mean()),
        "read_least": float(read.min()),
        "read_low": float(np.sort(read)[: max(1, len(read) // 4)].mean()),
        "numbers_missing": float(bool(numbers - _numbers(f"{passage.context} {said}"))),
        "names_missing": float(bool(names - around)),
        "negation_differs": float(bool(_NEGATION.search(claim)) != bool(_NEGATION.search(window))),
        "absolute_added": float(bool(_ABSOLUTE.search(claim)) and not _ABSOLUTE.search(window)),
        "hedge_lost": float(bool(_HEDGE.search(window)) and not _HEDGE.search(claim)),
        "reason_added": float(bool(_REASON.search(claim)) and not _REASON.search(window)),
        "opposite": float(any(OPPOSITES.get(s) in near and s not in near for s in claimed)),
        "novel": float(len(claimed - around)),
        "length": float(np.log1p(len(claim.split()))),
        "judge_claim": max(-8.0, min(8.0, by_claim.holds)),
        "judge_claim_nowhere": 1.0 - float(by_claim.begins.sum()),
        "judge_question": max(-8.0, min(8.0, by_question.holds)),
    }


def _judged(question: str, passage: Passage, judge: Judge) -> Judgement:
    return judge.judge(question, [[s.search for s in passage.sentences]])[0]


def nearest_window(claim: str, passage: Passage, embedder: Embedder) -> tuple[int, int]:
    """The run of at most WINDOW sentences that comes nearest to the claim, as places (first, last + 1)."""
    count = len(passage.sentences)
    places = [(i, j) for i in range(count) for j in range(i + 1, min(i + WINDOW, count) + 1)]
    texts = [" ".join(s.search for s in passage.sentences[i:j]) for i, j in places]
    vectors = np.asarray(embedder.embed([claim, *texts]))
    return places[int(np.argmax(vectors[1:] @ vectors[0]))]


def _read(claim: str, parts: Sequence[str], embedder: Embedder) -> NDArray[np.float64]:
    """For each token of the claim how near the nearest token of the passage is (Khattab & Zaharia 2020)."""
    reading = embedder.read_question(claim)
    (vectors,) = embedder.read_passages([[p for p in parts if p]])
    tokens = np.concatenate([np.asarray(v, dtype=np.float32) for v in vectors if len(v)])
    return np.asarray((np.asarray(reading.vectors, dtype=np.float32) @ tokens.T).max(axis=1), dtype=np.float64)


def _numbers(text: str) -> set[str]:
    digits = {n.replace(",", "") for n in re.findall(r"\d[\d,.]*\d|\d", text)}
    return digits | {_NUMBERS[w] for w in words(text) if w in _NUMBERS and w not in _NOT_COUNTED}


def _names(text: str) -> set[str]:
    """The stems of capitalised words that don't begin the sentence."""
    inside = re.findall(r"(?<=[\w,;:] )[A-Z][\w-]+", text)
    return {stem(w) for name in inside for w in words(name) if w not in STOPWORDS}
