"""The README's scores are those of the code as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals import store
from evals.bench import Bench, generated
from evals.cases import load_cases, suites_of
from evals.scorecard import (
    ABLATION,
    BEGIN,
    BEGIN_ABLATION,
    BEGIN_EXTERNAL,
    END,
    END_ABLATION,
    END_EXTERNAL,
    EXTERNAL,
    SCORES,
    render,
    render_ablation,
    render_external,
    section,
)
from persona.pipeline import Fireside

ROOT = Path(__file__).parents[2]
EVERY = 37  # of the cases every so many is asked again
STALE = "The checked-in scores are stale. Run `make eval` and commit README.md and docs/."


@pytest.fixture(scope="module")
def scores() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / SCORES).read_text(encoding="utf-8"))
    return found


def test_the_readme_shows_the_scores(scores: dict[str, Any]) -> None:
    assert section(ROOT / "README.md", BEGIN, END) == render(scores), STALE
    external = json.loads((ROOT / EXTERNAL).read_text(encoding="utf-8"))
    assert section(ROOT / "README.md", BEGIN_EXTERNAL, END_EXTERNAL) == render_external(external)


def test_the_scores_are_those_of_today(scores: dict[str, Any], fireside: Fireside) -> None:
    loaded = load_cases()
    made = scores["run"]
    chosen = suites_of(loaded, split=made["split"], suites=made["suites"], generated=generated(loaded))
    bench = Bench(fireside)
    today = store.describe(
        bench,
        chosen,
        split=made["split"],
        suites=made["suites"],
        systems=made["systems"],
        epochs=made["epochs"],
        limit=0,
        seed=made["seed"],
        persona=made["persona"],
    )
    assert (today.cases, today.config) == (made["cases"], made["config"]), STALE
    again = {c.id: bench.ask(c).outcome for c in chosen[::EVERY] if c.suite != "poisoned"}
    assert again == {id_: scores["outcomes"][id_] for id_ in again}, STALE


def test_the_readme_shows_the_last_ablation() -> None:
    made = json.loads((ROOT / ABLATION).read_text(encoding="utf-8"))["variants"]
    assert section(ROOT / "README.md", BEGIN_ABLATION, END_ABLATION) == render_ablation(made)
