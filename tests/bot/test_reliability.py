from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.reliability import NOT_MEASURED, SCORES, places, scorecard, share
from persona.card import load_card
from persona.corpus import load_corpus
from persona.decision import Policy
from persona.models import load_coefficients

CARD = load_card("ilya")
CORPUS = load_corpus(CARD.catalog, CARD.aliases)


def fireside(threshold: float = 0.25, writer: Any = None) -> Any:
    policy = Policy(load_coefficients(), threshold, "not certified")
    return SimpleNamespace(card=CARD, corpus=CORPUS, policy=policy, writer=writer)


def run_in(folder: Path, **changes: Any) -> None:
    run = {"persona": "ilya", "voice": "quotes", "model": None, "threshold": 0.25, "split": "test"}
    made = {"run": {**run, "corpus": CORPUS.fingerprint, **changes}, "figures": [["answerable: right", 3, 4]]}
    folder.mkdir(parents=True)
    (folder / SCORES).write_text(json.dumps(made), encoding="utf-8")


def test_the_newest_run_of_this_machine_goes_before_the_one_that_came_along(tmp_path: Path):
    run_in(tmp_path / "runs" / "20260101-old", threshold=0.9)
    run_in(tmp_path / "runs" / "20260201-new")
    card = scorecard(fireside(), places(tmp_path))
    assert card.rows == [("answerable: right", "75% (30 to 95%), 3 of 4")]
    assert card.differs == ""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"threshold": 0.5}, "another threshold"),
        ({"corpus": "sha256:0"}, "another documents"),
        ({"voice": "model", "model": "big"}, "another chat model"),
    ],
)
def test_what_was_measured_otherwise_is_said_so(tmp_path: Path, changes: dict[str, Any], says: str):
    run_in(tmp_path / "runs" / "one", **changes)
    assert says in scorecard(fireside(), places(tmp_path)).differs


def test_a_broken_record_is_passed_over(tmp_path: Path):
    run_in(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "two").mkdir()
    (tmp_path / "runs" / "two" / SCORES).write_text("{", encoding="utf-8")
    assert scorecard(fireside(), places(tmp_path)).rows[0][0] == "answerable: right"


def test_without_any_run_it_says_how_to_make_one(tmp_path: Path):
    assert scorecard(fireside(), [tmp_path], bundled=tmp_path).differs == NOT_MEASURED


def test_an_interval_is_wilson_s():
    assert share(0, 10) == "0% (0 to 28%), 0 of 10"
    assert share(10, 10) == "100% (72 to 100%), 10 of 10"
