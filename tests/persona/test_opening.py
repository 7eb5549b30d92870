"""The chat model that the settings name is opened; where it can't be, the quotations answer and the user is told why."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.opening import notes, what_a_model_adds
from persona.errors import ConfigError, HubError, ModelError
from persona.llama.engine import Engine
from persona.opening import open_chat_model, open_fireside
from persona.remote import RemoteModel
from persona.settings import Settings, load_settings
from persona.types import Question
from scripts.random_gguf import write_gguf


def settings(folder: Path, **given: str) -> Settings:
    return load_settings({"data_dir": str(folder), **given}, environ={}, places=[])


async def test_a_file_is_opened_in_this_process_and_a_url_as_a_server(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "small.gguf")
    here = open_chat_model(settings(tmp_path, chat_model=str(path), context="2048", threads="1"))
    assert isinstance(here, Engine)
    assert here.name == "small"
    await here.close()
    there = open_chat_model(settings(tmp_path, model_url="http://127.0.0.1:9/v1", chat_model="qwen"))
    assert isinstance(there, RemoteModel)
    assert there.name == "qwen"
    await there.close()


def test_the_quotes_voice_opens_none(tmp_path: Path) -> None:
    assert open_chat_model(settings(tmp_path, voice="quotes", chat_model="nosuch.gguf")) is None
    assert open_chat_model(settings(tmp_path)) is None


def test_the_model_voice_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chat model is set"):
        open_chat_model(settings(tmp_path, voice="model"))
    with pytest.raises((HubError, ModelError, ConfigError), match=r"nosuch\.gguf"):
        open_fireside(settings(tmp_path, voice="model", chat_model="nosuch.gguf"))


def test_a_model_that_can_not_be_opened_leaves_it_to_the_quotes_voice_and_says_why(data_dir: Path) -> None:
    broken = data_dir / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing else")
    fireside = open_fireside(settings(data_dir, chat_model=str(broken)))
    try:
        assert "broken.gguf" in notes(fireside)[-1]
        assert notes(fireside)[-1].endswith("Until then the `quotes` voice answers.")
        assert (
            fireside.answer(Question(text="What is the biggest obstacle to neural networks?")).reply.voice == "quotes"
        )
    finally:
        fireside.close()


def test_a_model_in_this_process_answers_through_the_whole_line(data_dir: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "small.gguf")
    fireside = open_fireside(settings(data_dir, chat_model=str(path), threads="2"))
    try:
        answered = fireside.answer(Question(text="What is the biggest obstacle to neural networks being useful?"))
        assert fireside.writer is not None
        assert isinstance(fireside.writer.model, Engine)
        assert fireside.writer.model.load().decoded > 100  # it was asked, and what it babbled was held to the schema
        assert answered.reply.text
    finally:
        fireside.close()


def test_one_line_says_what_a_model_would_add_and_only_where_none_is_set(tmp_path: Path) -> None:
    assert len(what_a_model_adds(settings(tmp_path))) == 1
    assert what_a_model_adds(settings(tmp_path, chat_model="qwen3-4b")) == []
    assert what_a_model_adds(settings(tmp_path, voice="quotes")) == []
