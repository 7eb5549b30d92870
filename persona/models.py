"""The fitted models at run time: plain coefficients, applied with numpy. Fitting is in ``evals/fit.py``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from persona.errors import ConfigError

COEFFICIENTS = Path(__file__).parent / "coefficients.json"
FORMAT = 2


class Logistic(BaseModel):
    """Logistic regression on standardised features: P = 1 / (1 + exp(-(b + Σ w·(x - mean) / scale)))."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    @model_validator(mode="after")
    def _sizes(self) -> Logistic:
        if not len(self.features) == len(self.mean) == len(self.scale) == len(self.weights):
            raise ValueError("features, mean, scale and weights differ in length")
        if any(s <= 0 or not math.isfinite(s) for s in self.scale):
            raise ValueError("a scale is not positive")
        return self

    def logit(self, values: Mapping[str, float]) -> float:
        """The log odds; a feature that `values` lacks raises KeyError."""
        return self.intercept + sum(
            w * (values[f] - m) / s
            for f, m, s, w in zip(self.features, self.mean, self.scale, self.weights, strict=True)
        )

    def logits(self, rows: Sequence[Mapping[str, float]]) -> list[float]:
        """The log odds of many at once."""
        if not rows:
            return []
        x = np.array([[row[f] for f in self.features] for row in rows])
        z = (x - np.array(self.mean)) / np.array(self.scale) @ np.array(self.weights) + self.intercept
        return [float(v) for v in z]

    def probability(self, values: Mapping[str, float]) -> float:
        """The probability, in 0..1."""
        return of_log_odds(self.logit(values))


class Softmax(BaseModel):
    """Multinomial logistic regression on one vector: a row of weights per class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    intercept: tuple[float, ...]

    def probabilities(self, vector: Sequence[float]) -> dict[str, float]:
        """The probability of each class; they add up to 1."""
        z = np.asarray(self.intercept)
        if self.weights:  # none at all: coefficients that know nothing yet
            z = np.asarray(self.weights) @ np.asarray(vector) + z
        e = np.exp(z - z.max())
        return {c: float(p) for c, p in zip(self.classes, e / e.sum(), strict=True)}


class Coefficients(BaseModel):
    """Everything fitted that does not depend on a corpus.

    `ranker` and `answerable` weigh what needs no judge. Where the latter is below `gate` that decides; else the passages of
    the best spans are judged, and `reranker` and `judged` weigh what the judge says too. `judge` names the judge that they
    were fitted with; empty: none, and they are not used. `leaning` tells follow-ups; None: by their words' forms alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    embedding: str
    fitted: dict[str, str | int | float]
    ranker: Logistic
    answerable: Logistic
    judge: str = ""
    gate: float = 0.0
    reranker: Logistic | None = None
    judged: Logistic | None = None
    ambiguous: Logistic
    lookup: Logistic
    conduct: Softmax
    leaning: Logistic | None = None

    def confidence(self, features: Mapping[str, float]) -> Logistic:
        """The model that made the confidence of these features: with what a judge says among them, or without."""
        return self.judged if self.judged and all(f in features for f in self.judged.features) else self.answerable

    @cached_property
    def fingerprint(self) -> str:
        """Names these very numbers: a calibration holds for no others."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


class Level(BaseModel):
    """A level of risk, and what the certify cases say of it. `threshold` is None where they support none.

    Of `answers` given at the threshold, `errors` were wrong; `bound` is the upper bound of the risk. Without a threshold
    there are no answers to count.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    risk: float = Field(gt=0, lt=1)
    threshold: float | None = None
    answers: int = 0
    errors: int = 0
    bound: float | None = None

    @property
    def certified(self) -> bool:
        """Whether the level may be chosen."""
        return self.threshold is not None

    @property
    def name(self) -> str:
        """As replies give it: "5% certified"."""
        return f"{100 * self.risk:.3g}% certified" if self.certified else "not certified"


def log_odds(probability: float) -> float:
    """ln(p / (1 - p)), of four digits and neither 0 nor 1, as replies give probabilities: so what is fitted on replies holds
    for them to the last digit."""
    p = min(max(round(probability, 4), 1e-4), 1 - 1e-4)
    return math.log(p / (1 - p))


def of_log_odds(z: float) -> float:
    """1 / (1 + e^-z), the probability that has these log odds; beyond 60 it says no more."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, z))))


class Scale(BaseModel):
    """What a fitted probability is worth on a corpus: its log odds, stretched and moved. Platt, "Probabilistic outputs for
    support vector machines" (1999). It keeps the order of confidences."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    slope: float = Field(default=1.0, gt=0)
    intercept: float = 0.0

    def told(self, probability: float) -> float:
        """The confidence, in 0..1, that stands for a fitted probability."""
        if self == AS_FITTED:
            return probability
        return of_log_odds(self.slope * log_odds(probability) + self.intercept)


AS_FITTED = Scale()


class Calibration(BaseModel):
    """A persona's threshold: from which confidence on it answers. ``corpus`` and ``coefficients`` (hashes) are what it was
    chosen for; if either has changed, it is void. ``levels`` holds for `mix`, the shares of the kinds of questions.
    ``scale`` makes confidences of fitted probabilities, for that mix too."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int
    corpus: str
    coefficients: str
    threshold: float = Field(ge=0, le=1)
    risk: str
    chosen: dict[str, str | int | float]
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    mix: dict[str, float] = Field(default_factory=dict)
    scale: Scale = AS_FITTED
    cases: str = ""
    levels: tuple[Level, ...] = ()

    def level(self, risk: float) -> Level | None:
        """The certified level of that risk; None if there is none."""
        return next((x for x in self.levels if abs(x.risk - risk) < 1e-9 and x.certified), None)


@lru_cache(maxsize=4)
def load_coefficients(path: Path = COEFFICIENTS) -> Coefficients:
    """The coefficients of a file; ConfigError if it is missing or of another format."""
    return read_fitted(path, Coefficients, "coefficients", "Reinstall fireside, or run `fireside eval calibrate`.")


def load_calibration(path: Path) -> Calibration:
    """A persona's calibration file; ConfigError if it is missing or of another format."""
    return read_fitted(
        path, Calibration, "calibration file", "Run `fireside eval calibrate`, or take it out of the persona card."
    )


M = TypeVar("M", bound=BaseModel)


def read_fitted(path: Path, model: type[M], what: str, remedy: str) -> M:
    """A file of fitted numbers; ConfigError, which ends in `remedy`, if it is missing, of another format or wrong."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"No {what} at '{path}'. {remedy}") from None
    except (OSError, ValueError) as exc:
        raise ConfigError(f"The {what} '{path}' can't be read: {exc}. {remedy}") from None
    if not isinstance(raw, dict) or cast("dict[str, object]", raw).get("format") != FORMAT:
        raise ConfigError(f"The {what} '{path}' is of another version. {remedy}")
    try:
        return model.model_validate(raw)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(p) for p in first["loc"]) or "file"
        raise ConfigError(f"The {what} '{path}' is wrong at '{where}': {first['msg']}. {remedy}") from None


def blank(embedding: str) -> Coefficients:
    """Coefficients that know nothing: where fitting starts from."""
    nothing = Logistic(features=(), mean=(), scale=(), weights=(), intercept=0.0)
    return Coefficients(
        format=FORMAT,
        embedding=embedding,
        fitted={},
        ranker=nothing,
        answerable=nothing,
        ambiguous=nothing,
        lookup=nothing,
        conduct=Softmax(classes=("question",), weights=(), intercept=(0.0,)),
    )
