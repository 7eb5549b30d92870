from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.commands import Start, app
from persona.errors import PassageIndexError
from persona.pipeline import CAUTIOUS_THRESHOLD, Fireside
from persona.settings import Settings
from persona.types import MAX_QUESTION, Citation, Reply, ScoredCitation
from persona.verification import citation_stands


def run(fireside: Fireside | None, *args: str, given: str | bytes = b"") -> Result:
    def opener(_settings: Settings) -> Fireside:
        assert fireside is not None, "the persona was opened before the arguments were checked"
        return fireside

    return CliRunner().invoke(app, list(args), input=given, obj=Start(opener=opener))


def uncalibrated(fireside: Fireside) -> Fireside:
    """The same persona as if no calibration were there; shares the index."""
    card = fireside.card.model_copy(update={"calibration": None})
    return Fireside.open(card, fireside.index, fireside.embedder)


def test_ask_prints_the_reply_and_its_sources(fireside: Fireside):
    result = run(fireside, "ask", "Why is reliability the biggest obstacle for neural networks?")
    assert result.exit_code == 0
    assert "\n\n[1] " in result.stdout


def test_ask_json_prints_one_reply(fireside: Fireside):
    result = run(fireside, "ask", "Hello!", "--json")
    assert Reply.model_validate_json(result.stdout).question == "Hello!"


@pytest.mark.parametrize("question", ["", "  \n", "\u200b"])
def test_an_empty_question_is_wrong_usage(question: str):
    result = run(None, "ask", question)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("The question is empty.")


def test_a_question_over_the_limit_is_wrong_usage():
    result = run(None, "ask", "a" * (MAX_QUESTION + 1))
    assert result.exit_code == 2
    assert "4,001 characters" in result.stderr


@pytest.mark.parametrize("args", [("ask",), ("ask", "x", "--batch", "-"), ("ask", "--batch", "/no/such/file")])
def test_ask_without_a_usable_question_is_wrong_usage_in_one_sentence(args: tuple[str, ...]):
    result = run(None, *args)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_a_batch_answers_every_well_formed_line_and_fails_for_the_broken_one(fireside: Fireside, tmp_path: Path):
    lines = ['{"id": 1, "question": "Hello!"}', "broken", '{"id": "two", "question": ""}']
    (tmp_path / "batch.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run(fireside, "ask", "--batch", str(tmp_path / "batch.jsonl"))
    assert result.exit_code == 1
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["1", "two"]
    assert "Line 2 is skipped" in result.stderr


def test_a_batch_from_stdin_without_a_mistake_is_fine(fireside: Fireside):
    long = json.dumps({"id": "a", "question": "a" * (MAX_QUESTION + 1)})
    result = run(fireside, "ask", "--batch", "-", given=long + "\n")
    assert result.exit_code == 0
    assert Reply.model_validate_json(result.stdout).decision == "clarify"


def test_a_persona_that_is_not_calibrated_says_so_once_on_stderr(fireside: Fireside):
    lines = '{"id": "a", "question": "Hello!"}\n' * 3
    result = run(uncalibrated(fireside), "ask", "--batch", "-", given=lines)
    assert result.stderr.count("is not calibrated") == 1
    assert f"cautious threshold ({CAUTIOUS_THRESHOLD:g})" in result.stderr
    assert "calibrated" not in result.stdout


def test_quote_json_lists_citations_that_stand(fireside: Fireside):
    result = run(fireside, "quote", "reliability of neural networks", "--json", "--limit", "2")
    found = [ScoredCitation.model_validate(item) for item in json.loads(result.stdout)]
    assert 1 <= len(found) <= 2
    assert all(c.verbatim for c in found)
    plain = [c.model_dump(exclude={"score"}) for c in found]
    assert all(citation_stands(Citation.model_validate(c), fireside.corpus) for c in plain)


def test_quote_json_of_an_absent_topic_is_an_empty_list(fireside: Fireside):
    result = run(fireside, "quote", "sourdough bread recipes", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])


def test_quote_of_an_absent_topic_says_so_on_stderr(fireside: Fireside):
    result = run(fireside, "quote", "sourdough bread recipes")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing in the talks" in result.stderr


@pytest.mark.parametrize("name", ["Nobody", "", " "])
def test_an_unknown_speaker_is_wrong_usage_and_the_known_ones_are_named(fireside: Fireside, name: str):
    result = run(fireside, "quote", "scaling", "--speaker", name)
    assert result.exit_code == 2
    assert all(speaker in result.stderr for speaker in fireside.corpus.speakers)


def test_a_part_of_a_speaker_name_is_enough(fireside: Fireside):
    other = fireside.corpus.speakers[0]
    result = run(fireside, "quote", "neural networks", "--speaker", other.split()[0].lower(), "--json")
    assert {c["speaker"] for c in json.loads(result.stdout)} <= {other}


@pytest.mark.parametrize("args", [("quote", ""), ("quote", "x", "--limit", "0"), ("qoute", "x"), ("ask", "x", "--jsn")])
def test_wrong_usage_is_exit_code_2(args: tuple[str, ...]):
    result = run(None, *args)
    assert (result.exit_code, result.stdout) == (2, "")


def test_an_error_on_purpose_is_its_sentence_and_its_exit_code():
    def opener(_settings: Settings) -> Fireside:
        raise PassageIndexError("The index is gone. Build it again.")

    result = CliRunner().invoke(app, ["ask", "x"], obj=Start(opener=opener))
    assert (result.exit_code, result.stderr) == (1, "The index is gone. Build it again.\n")


def test_an_unknown_persona_is_wrong_usage():
    result = CliRunner().invoke(app, ["--persona", "nobody", "ask", "x"])
    assert result.exit_code == 2
    assert "No persona 'nobody'" in result.stderr


def test_index_is_idempotent(data_dir: Path, fireside: Fireside):
    result = CliRunner().invoke(app, ["--data-dir", str(data_dir), "index"])
    assert result.exit_code == 0
    assert f"up to date, {fireside.index.count(fireside.embedder):,} rows" in result.stdout


def test_index_builds_once(tmp_path: Path):
    card = Path(__file__).parents[1] / "data" / "second" / "mara.toml"
    before = ["--data-dir", str(tmp_path), "--persona", str(card), "index"]
    first = CliRunner().invoke(app, before)
    assert first.stdout.startswith(f"Index of 'mara' at {tmp_path / 'index' / 'mara'}: ")
    assert "0 dropped, 0 kept" in first.stdout
    assert first.stderr == "Reading the talks…\n"
    assert "up to date" in CliRunner().invoke(app, before).stdout


def test_chat_reads_a_pipe_to_its_end(fireside: Fireside):
    result = run(fireside, "chat", given="Hello!\n/quoet\n")
    assert result.exit_code == 0
    assert result.stdout.startswith(fireside.card.disclosure)
    assert "Did you mean /quote?" in result.stdout
