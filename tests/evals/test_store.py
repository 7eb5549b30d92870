"""Runs through Inspect: logged, resumed, read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from evals import store
from evals.bench import Bench
from evals.cases import Case
from evals.inspected import run_systems
from evals.runs import RunInfo
from persona.errors import InputError
from persona.pipeline import Answered, Fireside
from persona.types import Question
from tests.evals.made import case

# Inspect leaves streams of its own open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

CASES = [
    case("x-1", "answerable", question="In which year was AlexNet?", facts=[["2012"]]),
    case("x-2", "off_topic", question="What is the capital of Mongolia?"),
    case("x-3", "near_miss", question="How many people queued for tickets?"),
]


def described(bench: Bench, cases: Sequence[Case] = CASES, epochs: int = 1) -> RunInfo:
    return store.describe(
        bench, cases, split="test", suites=(), systems=("fireside",), epochs=epochs, limit=0, seed=0, persona="ilya"
    )


class Breaks:
    """Answers as the line does, but is killed at its nth question."""

    def __init__(self, fireside: Fireside, at: int) -> None:
        self._fireside, self._left = fireside, at
        self.asked: list[str] = []

    def answer(self, question: Question) -> Answered:
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("the disk is gone")
        self.asked.append(question.id)
        return self._fireside.answer(question)


def test_a_run_is_read_back_as_it_was(fireside: Fireside, tmp_path: Path) -> None:
    bench = Bench(fireside)
    info = described(bench, epochs=2)
    folder = store.begin(info, tmp_path)
    told: list[int] = []
    assert run_systems({"fireside": bench}, CASES, info, folder, told.append)
    assert told[-1] == 6
    run = store.load(folder)
    assert run.info == info
    assert {(r.case.id, r.epoch) for r in run.results} == {(c.id, e) for c in CASES for e in (1, 2)}
    assert {r.case.id: r.case for r in run.results} == {c.id: c for c in CASES}
    first = next(r for r in run.results if r.case.id == "x-1")
    assert first.outcome == bench.ask(CASES[0]).outcome
    assert first.reply.text == bench.ask(CASES[0]).reply.text
    assert first.quotations[0] == first.quotations[1] > 0
    assert store.find(None, tmp_path) == folder
    assert store.find(info.id, tmp_path) == folder
    assert store.unfinished(info, tmp_path) is None


def test_an_interrupted_run_is_gone_on_with_where_it_stopped(fireside: Fireside, tmp_path: Path) -> None:
    breaks = Breaks(fireside, at=3)
    bench = Bench(fireside, breaks)
    info = described(bench)
    folder = store.begin(info, tmp_path)
    assert not run_systems({"fireside": bench}, CASES, info, folder, lambda _n: None)
    assert store.unfinished(info, tmp_path) == folder
    with pytest.raises(InputError, match="it goes on where it stopped"):
        store.load(folder)
    assert run_systems({"fireside": bench}, CASES, info, folder, lambda _n: None)
    assert sorted(breaks.asked) == ["x-1", "x-2", "x-3"]  # none of them twice
    assert len(store.load(folder).results) == 3


def test_a_run_of_another_version_is_one_sentence(fireside: Fireside, tmp_path: Path) -> None:
    folder = store.begin(described(Bench(fireside)), tmp_path)
    data = json.loads((folder / store.INFO).read_text())
    (folder / store.INFO).write_text(json.dumps({**data, "format": 99}))
    with pytest.raises(InputError, match=r"made by another version of Fireside \(format 99"):
        store.read_info(folder)
    (folder / store.INFO).write_text("[1, 2")
    with pytest.raises(InputError, match="holds no run"):
        store.read_info(folder)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="No run 'nothing'"):
        store.find("nothing", tmp_path)
    with pytest.raises(InputError, match="No finished run in"):
        store.find(None, tmp_path)


def test_another_threshold_or_other_cases_make_another_run(fireside: Fireside) -> None:
    one = described(Bench(fireside))
    assert described(Bench(fireside.at(0.9))).config != one.config
    assert described(Bench(fireside), CASES[:2]).cases != one.cases
    assert (described(Bench(fireside)).config, described(Bench(fireside)).cases) == (one.config, one.cases)
