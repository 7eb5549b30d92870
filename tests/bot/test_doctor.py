from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from bot.doctor import calibration, chat_model, data_folder, examine, passages, python, screen, weights
from persona.corpus import load_corpus
from persona.errors import ConfigError
from persona.index import PassageIndex
from persona.pipeline import Fireside
from persona.settings import Settings, load_settings
from scripts.random_gguf import write_gguf
from tests.fakes import HashEmbedder

SECOND = Path(__file__).parents[1] / "data" / "second" / "mara.toml"


def settings(folder: Path, **given: str) -> Settings:
    return load_settings({"data_dir": str(folder), **given}, environ={}, places=[])


def test_a_fresh_machine_has_no_problem(tmp_path: Path):
    checks = list(examine(lambda: settings(tmp_path / "new"), io.StringIO()))
    assert [c.line for c in checks if c.state == "problem"] == []
    assert {c.what: c.state for c in checks}["index"] == "note"
    assert not (tmp_path / "new").exists()


def test_a_built_index_is_found(data_dir: Path, fireside: Fireside):
    check = passages(settings(data_dir), fireside.card, fireside.corpus, lambda: fireside.embedder)
    assert (check.state, f"{fireside.index.count(fireside.embedder):,} rows" in check.says) == ("ok", True)


def test_an_index_of_other_documents_is_to_be_updated(tmp_path: Path, fireside: Fireside):
    embedder = HashEmbedder()
    other = load_corpus(fireside.card.catalog, {"neural": "neuronal"})
    index = PassageIndex(fireside.card.id, folder=tmp_path / "index" / fireside.card.id)
    index.build(other, embedder)
    check = passages(settings(tmp_path), fireside.card, fireside.corpus, lambda: embedder)
    assert (check.state, "not up to date" in check.says) == ("note", True)


def test_wrong_settings_are_a_problem_and_the_other_checks_go_on():
    def wrong() -> Settings:
        raise ConfigError("The settings are wrong. Correct them.")

    checks = list(examine(wrong, io.StringIO()))
    assert [c.line for c in checks if c.state == "problem"] == [
        "problem  settings: The settings are wrong. Correct them."
    ]
    assert checks[-1].what == "terminal"


def test_an_unknown_persona_is_a_problem(tmp_path: Path):
    checks = list(examine(lambda: settings(tmp_path, persona="nobody"), io.StringIO()))
    assert [c.what for c in checks if c.state == "problem"] == ["persona"]


def test_a_card_without_its_documents_is_a_problem(tmp_path: Path):
    (tmp_path / "card.toml").write_text(SECOND.read_text(encoding="utf-8"), encoding="utf-8")
    checks = list(examine(lambda: settings(tmp_path, persona=str(tmp_path / "card.toml")), io.StringIO()))
    assert [c.what for c in checks if c.state == "problem"] == ["documents"]


def test_a_persona_without_calibration_is_worth_a_note(fireside: Fireside):
    card = fireside.card.model_copy(update={"calibration": None})
    assert calibration(card, fireside.corpus).state == "note"


def test_a_broken_calibration_file_is_a_problem(tmp_path: Path, fireside: Fireside):
    (tmp_path / "c.json").write_text("{", encoding="utf-8")
    card = fireside.card.model_copy(update={"calibration": tmp_path / "c.json"})
    assert calibration(card, fireside.corpus).state == "problem"


def test_an_old_python_is_a_problem():
    assert python((3, 10, 2)).line == "problem  Python: 3.10.2 is too old. Install Python 3.11 or later."


def test_a_changed_model_is_corrupt_and_a_missing_one_is_named(tmp_path: Path):
    path = tmp_path / "model.gguf"
    assert str(path) in weights("judge", path, "").says
    path.write_bytes(b"weights")
    assert weights("judge", path, hashlib.sha256(b"weights").hexdigest()).state == "ok"
    assert "corrupt" in weights("judge", path, "0" * 64).says


def test_a_file_in_place_of_the_data_folder_is_a_problem(tmp_path: Path):
    (tmp_path / "taken").write_text("")
    assert data_folder(tmp_path / "taken").state == "problem"
    assert data_folder(tmp_path / "taken" / "below").state == "problem"


class Latin(io.StringIO):
    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "iso-8859-1"

    def isatty(self) -> bool:
        return True


def test_a_terminal_that_is_not_utf8_is_worth_a_note():
    assert screen(Latin()).state == "note"


def test_without_a_chat_model_nothing_is_wrong(tmp_path: Path):
    check = chat_model(settings(tmp_path))
    assert (check.state, check.says) == ("ok", "none set, so the `quotes` voice answers")


def test_a_chat_model_that_is_there_is_vetted(tmp_path: Path):
    path = write_gguf(tmp_path / "small.gguf")
    check = chat_model(settings(tmp_path, chat_model=str(path)))
    assert (check.state, "small.gguf, llama" in check.says) == ("ok", True)


def test_a_chat_model_that_is_not_there_stops_nothing_unless_it_has_to_write(tmp_path: Path):
    missing = chat_model(settings(tmp_path, chat_model="nosuch.gguf"))
    assert (missing.state, "nosuch.gguf" in missing.says, "`quotes` voice answers" in missing.says) == (
        "note",
        True,
        True,
    )
    assert chat_model(settings(tmp_path, chat_model="nosuch.gguf", voice="model")).state == "problem"
    assert "No chat model is set" in chat_model(settings(tmp_path, voice="model")).says


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_model_server_that_is_away_is_a_note(tmp_path: Path):
    check = chat_model(settings(tmp_path, model_url="http://127.0.0.1:9/v1"))
    assert (check.state, "127.0.0.1:9" in check.says) == ("note", True)
