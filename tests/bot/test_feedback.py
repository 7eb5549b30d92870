"""From a 👎 in the real store to a line of a case file."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bot.commands import Start, app
from bot.store import FILE, Feedback, Store
from evals import cases, feedback
from persona.errors import InputError
from persona.types import Decision, Reason, Turn
from tests.persona.corpora import assert_sentence

ASKED = "Who sold the GPUs?"


async def keep(folder: Path, *given: dict[str, Any]) -> Path:
    store = await Store.open(folder / FILE)
    for number, fields in enumerate(given):
        reason = fields.pop("reason", Reason.SUPPORTED)
        row = Feedback(
            id=f"{number:032x}"[::-1],
            created=datetime(2026, 11, 21, tzinfo=UTC) + timedelta(minutes=number),
            platform="discord",
            place="g1",
            channel="c1",
            user="u1",
            reply_id=str(number),
            decision=reason.decision,
            reason=reason,
            corpus="sha256:0",
            **{"good": False, "question": ASKED, "text": "Jensen did.", **fields},
        )
        await store.add_feedback(row)
    await store.close()
    return folder / FILE


def export(folder: Path, *args: str) -> Result:
    start = Start({"data_dir": str(folder)})
    return CliRunner().invoke(app, ["--data-dir", str(folder), "eval", "cases", *args], obj=start)


async def test_an_answer_that_was_disliked_should_have_been_none(tmp_path: Path):
    found = feedback.disliked(await keep(tmp_path, {"comment": "He never said who."}))
    assert [(d.case.suite, d.case.decisions, d.case.split) for d in found] == [
        ("near_miss", (Decision.ABSTAIN,), "fit")
    ]
    assert (found[0].text, found[0].comment) == ("Jensen did.", "He never said who.")


@pytest.mark.parametrize("reason", [Reason.NOT_STATED, Reason.AMBIGUOUS, Reason.UNSAFE, Reason.GREETING])
async def test_what_was_not_answered_and_disliked_should_have_been(tmp_path: Path, reason: Reason):
    found = feedback.disliked(await keep(tmp_path, {"reason": reason}))
    assert [(d.case.suite, d.case.decisions) for d in found] == [("answerable", (Decision.ANSWER,))]


async def test_praise_and_outages_make_no_cases(tmp_path: Path):
    assert feedback.disliked(await keep(tmp_path, {"good": True}, {"reason": Reason.UNAVAILABLE})) == []


async def test_one_question_makes_one_case_and_the_same_words_after_other_turns_another(tmp_path: Path):
    turns = (Turn(role="user", content="GPUs?"), Turn(role="assistant", content="Two GTX 580s."))
    store = await keep(tmp_path, {}, {"question": ASKED.upper()}, {"history": turns})
    assert [d.case.history for d in feedback.disliked(store)] == [(), turns]


async def test_the_command_prints_cases_that_load_and_tells_the_reviewer_the_rest(tmp_path: Path):
    await keep(tmp_path, {"comment": "[bold]No[/]: 🙁"}, {"reason": Reason.NOT_STATED, "question": "Is it 2012?"})
    result = export(tmp_path, "--from-feedback")
    assert result.exit_code == 0, result.output
    (tmp_path / "made.jsonl").write_text(result.stdout, encoding="utf-8")
    assert [c.question for c in cases.load_cases(tmp_path)] == [ASKED, "Is it 2012?"]
    assert "[bold]No[/]: 🙁" in result.stderr
    assert "answer: Jensen did." in result.stderr


async def test_a_file_gets_what_is_new_and_keeps_what_was_reviewed(tmp_path: Path):
    await keep(tmp_path, {}, {"question": "Is it 2012?"})
    file = tmp_path / "cases" / "feedback.jsonl"
    assert "2 new of 2 cases" in export(tmp_path, "--from-feedback", str(file)).stdout
    reviewed = [{**json.loads(line), "suite": "person"} for line in file.read_text().splitlines()]
    file.write_text(json.dumps(reviewed[0]))
    assert "1 new of 2 cases" in export(tmp_path, "--from-feedback", str(file)).stdout
    assert [c.suite for c in cases.load_cases(file.parent)] == ["person", "near_miss"]


async def test_no_feedback_is_said_to_be_none(tmp_path: Path):
    await keep(tmp_path)
    result = export(tmp_path, "--from-feedback")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No 👎 so far.\n")


def test_without_a_store_one_sentence_names_it(tmp_path: Path):
    result = export(tmp_path, "--from-feedback")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert str(tmp_path / FILE) in result.stderr.replace("\n", "")
    assert not (tmp_path / FILE).exists()


def test_a_file_without_the_flag_is_refused(tmp_path: Path):
    result = export(tmp_path, str(tmp_path / "out.jsonl"))
    assert result.exit_code == 2
    assert "--from-feedback" in result.stderr


async def test_a_file_that_holds_something_else_is_left_alone(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("milk\n")
    made = [d.case for d in feedback.disliked(await keep(tmp_path, {}))]
    with pytest.raises(InputError) as caught:
        feedback.append(made, tmp_path / "notes.txt")
    assert_sentence(caught.value, "notes.txt", "another path")
    assert (tmp_path / "notes.txt").read_text() == "milk\n"


def test_bot_and_evals_mean_the_same_store():
    assert feedback.STORE == FILE
