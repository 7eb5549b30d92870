"""What a run is summed up as."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evals.run import Figure, Result, intervals, measures
from evals.runs import Run, RunInfo
from evals.scorecard import (
    BEGIN,
    BEGIN_EXTERNAL,
    END,
    END_EXTERNAL,
    SCORES,
    render,
    scores,
    section,
    write,
    write_external,
)
from evals.scoring import Outcome
from persona.errors import InputError
from persona.types import Reason
from tests.evals import made


def result(suite: str, reason: Reason, outcome: Outcome, confidence: float) -> Result:
    return made.result(made.case("x-1", suite), reason, outcome, confidence)


def test_confidence_is_measured_on_what_the_threshold_decides() -> None:
    results = [
        result("answerable", Reason.SUPPORTED, "right", 0.9),
        result("answerable", Reason.SUPPORTED, "wrong", 0.7),
        result("answerable", Reason.NOT_STATED, "withheld", 0.2),
        result("answerable", Reason.AMBIGUOUS, "withheld", 0.8),
        result("near_miss", Reason.SUPPORTED, "wrong", 0.6),
        result("near_miss", Reason.NOT_STATED, "right", 0.1),
    ]
    found = measures(results)
    assert found["truthfulness (+1 right, 0 withheld, -1 wrong)"] == pytest.approx((1 - 2) / 6)
    # 0.9 and 0.7 beat both 0.6 and 0.1; 0.2 beats 0.1; the question back has no confidence.
    assert found["AUROC, answerable against unanswerable"] == pytest.approx(5 / 6)
    assert found["Brier score of the answers"] == pytest.approx((0.01 + 0.49 + 0.36) / 3)
    assert found["coverage at 10% risk"] == pytest.approx(1 / 6)
    # One false answer of two: the bound p has (1 - p)² + 2p(1 - p) = 0.05.
    assert found["false answers: upper 95% bound"] == pytest.approx(0.95**0.5)


def test_a_run_without_answers_has_no_figures_but_is_none_the_worse() -> None:
    found = measures([result("answerable", Reason.NOT_STATED, "withheld", 0.2)])
    assert found["truthfulness (+1 right, 0 withheld, -1 wrong)"] == 0.0
    undefined = [name for name, value in found.items() if value is None]
    assert len(undefined) == len(found) - 1


def test_intervals_hold_the_value_and_draw_whole_sections() -> None:
    sections = [("a", "right", 0.9), ("b", "right", 0.8), ("c", "wrong", 0.7), ("d", "right", 0.4), ("e", "wrong", 0.3)]
    results = [
        made.result(made.case(f"{section}-{i}", "answerable", section=section), Reason.SUPPORTED, outcome, sure)
        for section, outcome, sure in sections
        for i in range(4)
    ]
    found, values = intervals(results), measures(results)
    assert set(found) == set(values)
    name = "truthfulness (+1 right, 0 withheld, -1 wrong)"
    between, value = found[name], values[name]
    assert between is not None
    assert value == pytest.approx(0.2)
    assert between.low <= value <= between.high
    # Five sections that are right or wrong whole: wider than 20 cases of their own would be.
    assert between.high - between.low > 1.0
    assert intervals(results) == found
    assert found["AUROC, answerable against unanswerable"] is None
    assert intervals([]) == dict.fromkeys(values)


def test_a_share_of_nothing_is_not_zero() -> None:
    assert (str(Figure("x", 0, 0)), Figure("x", 0, 0).interval) == ("n/a", "n/a")
    assert (str(Figure("x", 8, 10)), Figure("x", 8, 10).interval) == ("80.0%", "49% to 94%")


def run_of(results: list[Result]) -> Run:
    info = RunInfo(
        format=1,
        id="r",
        created="2026-11-21T00:00:00+00:00",
        split="test",
        suites=(),
        epochs=1,
        limit=None,
        seed=0,
        persona="ilya",
        voice="quotes",
        model=None,
        threshold=0.25,
        risk="not certified",
        corpus="c",
        cases="x",
        config="y",
        versions={},
    )
    return Run(info, tuple(results))


def test_the_readmes_table_is_replaced_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nearlier scores\n{END}\nafter\n")
    run = run_of([result("answerable", Reason.NOT_STATED, "withheld", 0.2)])
    found, beside = [Figure("right", 8, 10), Figure("nobody asked", 0, 0)], {"plain RAG": [Figure("right", 5, 10)]}
    now = scores(run, found, intervals(run.results), beside)
    write(readme, run, now)
    text = readme.read_text()
    assert "| right | 80.0% | 49% to 94% | 10 | 50.0% |" in text
    assert "nobody asked" not in text
    assert "| Brier score of the answers | n/a |  | | |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "earlier" not in text
    write(readme, run, now)
    assert readme.read_text() == text
    kept = json.loads((tmp_path / SCORES).read_text())
    assert kept["outcomes"] == {"x-1": "withheld"}
    assert render(kept) == section(readme, BEGIN, END)
    assert (tmp_path / "docs" / "reliability.png").is_file()


def test_a_readme_without_marks_is_one_sentence(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing here\n")
    with pytest.raises(InputError, match="has no place for the table"):
        write(readme, run_of([]), scores(run_of([]), [], intervals([]), {}))
    assert readme.read_text() == "nothing here\n"
    assert not (tmp_path / SCORES).exists()


def test_external_sets_stand_beside_each_other(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN_EXTERNAL}\n{END_EXTERNAL}\n")
    for name, share in (("b", "50.0%"), ("a", "60.0%")):
        rows = [("answerable: answered", share, 10)]
        write_external(readme, name, {"passages": 7, "systems": {"fireside": rows, "plain": rows}})
    text = readme.read_text()
    assert text.index("| a (7 passages) | n | fireside | plain |") < text.index("| b (7 passages)")
    assert "| answerable: answered | 10 | 60.0% | 60.0% |" in text
