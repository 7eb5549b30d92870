"""A mistake in a persona card or catalog is one sentence: file, key, value, and the nearest key that may stand there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from persona.card import load_card
from persona.corpus.catalog import load_catalog
from persona.errors import ConfigError, CorpusError
from tests.persona.corpora import assert_sentence

SECOND = Path(__file__).parents[1] / "data" / "second"


def spoiled(folder: Path, name: str, before: str, after: str) -> Path:
    """A copy of the second persona's file in which something is wrong."""
    path = Path(shutil.copytree(SECOND, folder / "persona")) / name
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("greeting = ", "greting = ", ["unknown key 'greting'", "Did you mean 'greeting'?"]),
        ("reported_more = ", "reported_mor = ", ["unknown key 'answer.reported_mor'", "'reported_more'"]),
        ("not_stated = ", "not_sated = ", ["unknown key 'abstain.not_sated'", "'not_stated'"]),
        ('greeting = "Hello! ', 'greetings = "Hello! ', ["unknown key 'greetings'", "'greeting'"]),
        ('person = "third"', 'person = "second"', ["'person' is 'second'", "'first' or 'third'"]),
        ('catalog = "catalog.toml"', "", ["'catalog' is missing"]),
        ('speaker = "Mara Lindqvist"', 'speaker = ["Mara"]', ["'speaker' is ['Mara']"]),
        ("{told}{at}.", "{tld}{at}.", ["'answer.quoted'", "unknown variable {tld}", "{told}"]),
        ("name = ", "name ", ["not valid TOML", "line 2"]),
        # What may stand in another table is no hint for this one.
        ("[answer]\n", '[answer]\ngreeting = "Hello!"\n', ["unknown key 'answer.greeting'", "Known keys: attributed,"]),
    ],
)
def test_a_wrong_card_is_told_by_file_key_and_value(tmp_path: Path, before: str, after: str, named: list[str]) -> None:
    path = spoiled(tmp_path, "mara.toml", before, after)
    with pytest.raises(ConfigError) as caught:
        load_card(str(path))
    assert_sentence(caught.value, str(path), *named)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("speakers = ", "speaker = ", ["unknown key 'document.0.speaker'", "Did you mean 'speakers'?"]),
        ("told = ", "speakers = ", ["unknown key 'talk.0.speakers'", "Known keys: date, id, name, title, told."]),
        ("[[talk]]", "[[talks]]", ["unknown key 'talks'", "Did you mean 'talk'?"]),
        ('kind = "transcript"', 'kind = "lore"', ["'document.0.kind' is 'lore'", "'transcript'"]),
        ('id = "lighthouse-talk"', "id = 7", ["'document.0.id' is 7"]),
    ],
)
def test_a_wrong_catalog_is_told_by_file_key_and_value(
    tmp_path: Path, before: str, after: str, named: list[str]
) -> None:
    path = spoiled(tmp_path, "catalog.toml", before, after)
    with pytest.raises(CorpusError) as caught:
        load_catalog(path)
    assert_sentence(caught.value, str(path), *named)


def test_a_value_is_shown_only_as_far_as_it_helps(tmp_path: Path) -> None:
    path = spoiled(tmp_path, "mara.toml", "name = ", f"person = {'x' * 500!r}\nname = ")
    path.write_text(path.read_text(encoding="utf-8").replace('person = "third"\n', ""), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_card(str(path))
    assert len(str(caught.value)) < 400 + len(str(path))
    assert "x…" in str(caught.value)


def test_an_unknown_persona_is_told_those_that_there_are() -> None:
    with pytest.raises(ConfigError) as caught:
        load_card("ilja")
    assert_sentence(caught.value, "'ilja'", "ilya")
