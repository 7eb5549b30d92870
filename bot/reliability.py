"""How often the bot is wrong, as its last evaluation found, and what is certified: read from the files of `evals`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from persona.models import Calibration, load_calibration
from persona.pipeline import Fireside, why_uncalibrated

SCORES = "scores.json"
PICTURE = "reliability.png"
# What came along: in the wheel beside this file, in a checkout where the README has it from.
_PACKAGED = Path(__file__).parent / "data"
BUNDLED = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parent.parent / "docs"
_SHOWN = (
    "false answers, all unanswerables",
    "false answers, near-misses",
    "answerable: right",
    "answerable: refused",
    "right, of the answers given to answerables",
    "quotations that stand letter for letter",
)
_Z = 1.96  # of 95%
NOT_MEASURED = "No evaluation of this bot is at hand. Whoever runs it makes one with `fireside eval run`."


class _Run(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    persona: str
    voice: Literal["quotes", "model"]
    model: str | None = None
    threshold: float
    corpus: str
    split: str


class _Scores(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    run: _Run
    figures: tuple[tuple[str, int, int], ...]


class Scorecard(NamedTuple):
    """What there is to say: named figures, the certificate, what the figures don't hold for, and a picture."""

    rows: list[tuple[str, str]]
    certificate: str
    differs: str
    picture: Path | None


def scorecard(fireside: Fireside, places: Sequence[Path] = (), bundled: Path = BUNDLED) -> Scorecard:
    """The figures of the latest evaluation that is found: in one of the folders, else the one that came along."""
    found = next(((place, scores) for place in (*places, bundled) if (scores := _read(place / SCORES))), None)
    if found is None:
        return Scorecard([], certificate(fireside), NOT_MEASURED, None)
    place, scores = found
    named = {name: (hits, of) for name, hits, of in scores.figures}
    rows = [(name, share(*named[name])) for name in _SHOWN if name in named and named[name][1]]
    picture = place / PICTURE
    return Scorecard(
        rows, certificate(fireside), _differs(scores.run, fireside), picture if picture.is_file() else None
    )


def share(hits: int, of: int) -> str:
    """A share with its 95% interval (Wilson): "13% (8 to 20%), 16 of 124"."""
    p, n = hits / of, of
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{p:.0%} ({100 * low:.0f} to {100 * high:.0f}%), {hits} of {of}"


def certificate(fireside: Fireside) -> str:
    """What the calibration certifies at the threshold that is running."""
    path, threshold = fireside.card.calibration, fireside.policy.threshold
    why = why_uncalibrated(fireside.card, fireside.corpus, fireside.policy.coefficients)
    if path is None or why:
        return f"Not certified: {why or 'it has no calibration'}. It answers from a confidence of {threshold:.2f} on."
    calibration = load_calibration(path)
    held = [_level(calibration, level.risk) for level in calibration.levels if level.certified]
    running = f"It runs at {threshold:.2f} ({fireside.policy.risk})."
    return " ".join([*held, running]) if held else f"No level of risk is certified. {running}"


def _level(calibration: Calibration, risk: float) -> str:
    level = calibration.level(risk)
    assert level is not None
    assert level.threshold is not None
    bound = f", so at most {level.bound:.0%}" if level.bound is not None else ""
    return (
        f"Certified at {calibration.confidence:.0%}: from a confidence of {level.threshold:.2f} on, {level.errors} of "
        f"{level.answers} answers were wrong{bound}."
    )


def _differs(run: _Run, fireside: Fireside) -> str:
    """Where what runs is not what was measured; empty if it is."""
    writer = fireside.writer
    apart = {
        "persona": run.persona != fireside.card.id,
        "documents": run.corpus != fireside.corpus.fingerprint,
        "threshold": abs(run.threshold - fireside.policy.threshold) > 1e-4,
        "chat model": (run.model if run.voice == "model" else None) != (writer.model.name if writer else None),
    }
    names = [name for name, other in apart.items() if other]
    return f"Measured with another {', another '.join(names)} than runs here." if names else ""


def _read(path: Path) -> _Scores | None:
    try:
        return _Scores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def places(data_dir: Path) -> list[Path]:
    """The folders of the runs that were made here, newest first."""
    try:
        return sorted((data_dir / "runs").glob("*/"), reverse=True)
    except OSError:
        return []
