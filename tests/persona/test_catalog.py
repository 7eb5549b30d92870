"""A mistake in a catalog, seed or annotation is one sentence that names the file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from persona.card import Card
from persona.corpus import load_corpus
from persona.errors import CorpusError
from tests.persona.corpora import assert_sentence, one_document, write_catalog

SPEAKERS = "fireside-transcript.speakers.tsv"


@pytest.fixture
def seeds(tmp_path: Path, card: Card) -> Path:
    """A copy of the bundled seeds, to spoil."""
    return Path(shutil.copytree(card.catalog.parent, tmp_path / "seeds"))


def refusal(seeds: Path, card: Card) -> CorpusError:
    with pytest.raises(CorpusError) as caught:
        load_corpus(seeds / "catalog.toml", card.aliases)
    return caught.value


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text(encoding="utf-8")
    after = change(before)
    assert after != before
    path.write_text(after, encoding="utf-8")


@pytest.mark.parametrize(
    "file",
    [
        "fireside-transcript.txt",
        "fireside-captions.txt",
        "fireside-notes.md",
        "lex-podcast-summary.txt",
        "theory-session-summary.txt",
    ],
)
def test_a_changed_seed_is_refused(seeds: Path, card: Card, file: str) -> None:
    with (seeds / file).open("a", encoding="utf-8") as out:
        out.write(" ")
    assert_sentence(refusal(seeds, card), file, "sha256")


@pytest.mark.parametrize("file", ["fireside-transcript.txt", "fireside-notes.md", SPEAKERS, "catalog.toml"])
def test_a_missing_file_is_named(seeds: Path, card: Card, file: str) -> None:
    (seeds / file).unlink()
    assert_sentence(refusal(seeds, card), file)


@pytest.mark.parametrize("file", ["fireside-transcript.txt", SPEAKERS, "catalog.toml"])
def test_a_folder_in_a_files_place_is_named(seeds: Path, card: Card, file: str) -> None:
    (seeds / file).unlink()
    (seeds / file).mkdir()
    assert_sentence(refusal(seeds, card), file)


@pytest.mark.parametrize("file", [SPEAKERS, "catalog.toml"])
def test_a_file_that_is_not_utf8_is_named(seeds: Path, card: Card, file: str) -> None:
    (seeds / file).write_bytes(b"\xff\xfe\x00broken")
    assert_sentence(refusal(seeds, card), file)


def test_a_seed_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, "x")
    (tmp_path / "talk.txt").write_bytes(b"caf\xe9 is no UTF-8")
    with pytest.raises(CorpusError) as caught:
        load_corpus(catalog, {})
    assert_sentence(caught.value, "talk.txt", "UTF-8")


@pytest.mark.parametrize(
    ("row", "spoiled"),
    [
        ("00:26:59.340\t1\tIlya Sutskever\tSo GPT-4 is a", "00:26:59.340\t1\tIlya Sutskever\tSo GPT-5 is a"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.400\t1\tIlya Sutskever"),
        ("00:26:59.340\t1\tIlya Sutskever", "26 minutes\t1\tIlya Sutskever"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.340\t2\tIlya Sutskever"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.340\t0\tIlya Sutskever"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.340\tone\tIlya Sutskever"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.340\t1\tIlya Sutskewer"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.340 1\tIlya Sutskever"),
        ("00:26:59.340\t1\tIlya Sutskever", "00:26:59.340\t99999\tIlya Sutskever"),
        ("cue\tword\tspeaker\topens", "time\tword\tspeaker\topens"),
        ("00:00:00.000\t1\tJensen Huang\tIlya, unbelievable. Today is\n", ""),
        ("00:01:17.420\t1\tIlya Sutskever", "00:28:42.180\t1\tJensen Huang\tPredict\n00:01:17.420\t1\tIlya Sutskever"),
    ],
    ids=[
        "other words",
        "no such stamp",
        "no stamp",
        "wrong word",
        "word zero",
        "no number",
        "unknown speaker",
        "no tab",
        "beyond the end",
        "no header",
        "first turn missing",
        "out of order",
    ],
)
def test_an_annotation_that_does_not_fit_is_refused(seeds: Path, card: Card, row: str, spoiled: str) -> None:
    edit(seeds / SPEAKERS, lambda t: t.replace(row, spoiled, 1))
    assert_sentence(refusal(seeds, card), SPEAKERS)


def test_an_empty_annotation_is_refused(seeds: Path, card: Card) -> None:
    (seeds / SPEAKERS).write_text("", encoding="utf-8")
    assert_sentence(refusal(seeds, card), SPEAKERS)


def test_bad_toml_is_refused(seeds: Path, card: Card) -> None:
    edit(seeds / "catalog.toml", lambda t: t + "\n[[document\n")
    assert_sentence(refusal(seeds, card), "catalog.toml", "TOML")


@pytest.mark.parametrize("omit", ["6-4", "x", "1-", "-3", "0", "0-4", "1,2", "1-2-3", ""])
def test_a_bad_omit_range_is_refused(tmp_path: Path, omit: str) -> None:
    with pytest.raises(CorpusError) as caught:
        one_document(tmp_path, "Anna: Hello there.", omit=[omit])
    assert_sentence(caught.value, "catalog.toml", "omit", repr(omit))


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("kind = 'transcript'", "kind = 'novel'", "kind"),
        ("talk = 't'", "talk = 'other'", "other"),
        ("id = 'doc'", "id = 'Doc 1'", "Doc 1"),
        ("title = 'A document'", "", "title"),
        ("title = 'A document'", "title = 'A document'\nspeekers = []", "'speakers'"),
        ("id = 't'\ntitle = 'A talk'", "id = 't'\ntitle = 'A talk'\ndat = '2020'", "'date'"),
    ],
    ids=["kind", "no such talk", "id", "missing key", "unknown key", "unknown key of a talk"],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, part: str) -> None:
    catalog = write_catalog(tmp_path, "Anna: Hello there.")
    edit(catalog, lambda t: t.replace(old, new, 1))
    with pytest.raises(CorpusError) as caught:
        load_corpus(catalog, {})
    assert_sentence(caught.value, "catalog.toml", part)


def test_two_documents_with_one_id_are_refused(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, "Anna: Hello there.")
    edit(catalog, lambda t: t + t[t.index("[[document]]") :])
    with pytest.raises(CorpusError) as caught:
        load_corpus(catalog, {})
    assert_sentence(caught.value, "catalog.toml", "'doc'", "twice")


def test_a_document_without_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        one_document(tmp_path, "Anna: Hello there.\n", omit=["1"])
    assert_sentence(caught.value, "talk.txt", "omit")


def test_the_sha256_is_checked_only_where_it_is_given(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, "Anna: Hello there.")
    first = load_corpus(catalog, {})
    (tmp_path / "talk.txt").write_text("Anna: Hello here.", encoding="utf-8")
    assert load_corpus(catalog, {}).fingerprint != first.fingerprint


def test_aliases_belong_to_the_fingerprint(tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path, "Anna: Hello there.")
    assert load_corpus(catalog, {}).fingerprint != load_corpus(catalog, {"there": "here"}).fingerprint


def test_an_alias_matches_whole_words_of_any_case_only(tmp_path: Path) -> None:
    text = "Anna: A uda core, the UDA, and Bermuda."
    corpus = one_document(tmp_path, text, aliases={"UDA": "CUDA"})
    assert corpus.sentences["doc"][0].search == "A CUDA core, the CUDA, and Bermuda."
    assert corpus.sentences["doc"][0].text == "A uda core, the UDA, and Bermuda."
