"""`fireside eval`: wrong input is one sentence, and a small run goes from the question to the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.commands import Start, app

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
CASES = [
    {
        "id": "x-1",
        "suite": "answerable",
        "question": "In which year was AlexNet?",
        "decisions": ["answer"],
        "facts": [["2012"]],
        "split": "test",
    },
    {"id": "x-2", "suite": "near_miss", "question": "Who sold the GPUs?", "decisions": ["abstain"], "split": "test"},
    {"id": "x-3", "suite": "off_topic", "question": "Is it wet?", "decisions": ["abstain"], "split": "certify"},
]


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["eval", *args], obj=Start())


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    (tmp_path / "cases.jsonl").write_text("\n".join(map(json.dumps, CASES)))
    return tmp_path


def one_sentence(result: Result, *parts: str) -> None:
    message = result.stderr.strip()
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "Traceback" not in message
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("run", "nosuch"), ("No suite 'nosuch'", "near_miss")),
        (("run", "--split", "tst"), ("No split 'tst'", "fit, certify, test or all")),
        (("run", "off_topic"), ("No case of suite off_topic is in the split 'test'",)),
        (("run", "--voice", "loud"), ("No voice 'loud'", "auto, quotes or model")),
        (("run", "--voice", "model"), ("no chat model is set", "fireside model pull")),
        (("run", "--voice", "quotes", "--model", "qwen"), ("needs no model",)),
        (("run", "--model", "nosuch"), ("nosuch", "fireside model")),
    ],
)
def test_wrong_usage_of_a_run(cases: Path, args: tuple[str, ...], parts: tuple[str, ...]) -> None:
    one_sentence(run(*args, "--cases", str(cases)), *parts)


def test_a_bad_case_is_named_by_its_line(cases: Path) -> None:
    with (cases / "cases.jsonl").open("a") as file:
        file.write('\n{"id": "x-4", "suite": "answerble"}\n')
    one_sentence(run("run", "--cases", str(cases)), "Line 4 of", "cases.jsonl", "'suite'")
    one_sentence(run("run", "--cases", str(cases / "none")), "No case files")


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("report", "nosuch"), ("No run 'nosuch'",)),
        (("compare", "a", "b"), ("No run 'a'",)),
        (("calibrate",), ("--judge FOLDER", "--no-fit")),
        (("calibrate", *(["--judge", "here"] * 3)), ("--judge stands 3 times",)),
        (("calibrate", "--judge", "nowhere"), ("no 'fireside-judge-Q8_0.gguf' in 'nowhere'", "scripts.judge.export")),
        (("calibrate", "--max-risk", "5"), ("--max-risk 5 is no share",)),
        (("calibrate", "--confidence", "95"), ("--confidence 95",)),
        (("external", "/no/such/set"), ("/no/such/set",)),
        (("external", ".", "--format", "squad"), ("squad",)),
    ],
)
def test_wrong_usage_elsewhere(args: tuple[str, ...], parts: tuple[str, ...]) -> None:
    one_sentence(run(*args), *parts)


def test_a_run_a_report_and_a_comparison(cases: Path, data_dir: Path) -> None:
    del data_dir  # its index is there already
    asked = run("run", "--cases", str(cases), "--baselines", "--save", str(cases / "replies.jsonl"))
    assert asked.exit_code == 0, asked.output
    assert "answerable: right" in asked.stdout
    assert "plain RAG" in asked.stdout
    replies = [json.loads(line) for line in (cases / "replies.jsonl").read_text().splitlines()]
    assert [r["case"]["id"] for r in replies] == ["x-1", "x-1~twin", "x-2"]
    name = next(line for line in asked.stdout.splitlines() if line.startswith("Run ")).split()[1].rstrip(".")
    reported = run("report", name, "--to", str(cases / "page"))
    assert reported.exit_code == 0, reported.output
    page = (cases / "page" / "report.html").read_text()
    assert name in page
    assert "plain RAG" in page
    compared = run("compare", name, name, "--system-b", "plain")
    assert compared.exit_code == 0, compared.output
    assert "no difference shown" in compared.stdout
    one_sentence(run("compare", name, name, "--system-b", "other"), "has no finished log of 'other'")
