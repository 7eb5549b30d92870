"""Opens what is measured: the line of the bots, the line with its retrieval off, or a baseline on the same corpus."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from evals.baselines import BASELINES
from evals.bench import POISONED, Bench
from evals.cases import FOLDER
from persona.errors import InputError
from persona.models import Coefficients
from persona.opening import open_fireside
from persona.pipeline import Fireside
from persona.settings import Settings
from persona.types import Judge

LINE = "fireside"
NO_RETRIEVAL = "no-retrieval"
SYSTEMS = (LINE, NO_RETRIEVAL, *BASELINES)
err = Console(stderr=True)


def open_line(
    settings: Settings,
    threshold: float | None = None,
    coefficients: Coefficients | None = None,
    judge: Judge | None = None,
) -> Fireside:
    """The persona of the settings; `threshold` instead of the calibrated one, `coefficients` and `judge` instead of the
    bundled ones."""
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("Reading the talks…", total=None, visible=False)
        fireside = open_fireside(
            settings,
            lambda done, total: bar.update(task, completed=done, total=total, visible=bool(total)),
            coefficients=coefficients,
            judge=judge,
        )
    return fireside if threshold is None else fireside.at(threshold)


def bench_of(settings: Settings, system: str = LINE, threshold: float | None = None, cases: Path = FOLDER) -> Bench:
    """The bench of a system of SYSTEMS."""
    return over(open_line(settings, threshold), system, cases)


def over(fireside: Fireside, system: str, cases: Path = FOLDER) -> Bench:
    """The bench of a system of SYSTEMS on an open persona; `cases`: the folder that holds the poisoned transcript."""
    if system not in SYSTEMS:
        raise InputError(f"No system '{system}'. Use one of: {', '.join(SYSTEMS)}.")
    poison = cases / POISONED
    if system == NO_RETRIEVAL:
        return Bench(fireside.without([p.id for p in fireside.corpus.passages]), poison=poison, skip=("poisoned",))
    return Bench(fireside, BASELINES[system](fireside) if system in BASELINES else None, poison)
