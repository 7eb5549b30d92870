"""The index: built once, brought up to date by what changed alone, and never a traceback when its disk fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import chromadb
import numpy as np
import pytest
from chromadb.config import Settings

from persona.corpus import Corpus
from persona.errors import PassageIndexError
from persona.index import PARTS, Built, PassageIndex, rows
from tests.fakes import HashEmbedder
from tests.persona.corpora import assert_sentence, one_document

TALK = "\n".join(f"Anna: The lamp of tower {i} carries {i} miles. The bell rings {i} times a night." for i in range(40))
MORE = "\nCarl: The cable came in the spring after the big frost."


@pytest.fixture
def small(tmp_path: Path) -> Corpus:
    return one_document(tmp_path / "small", TALK, speakers=["Anna", "Carl"])


@pytest.fixture
def grown(tmp_path: Path) -> Corpus:
    return one_document(tmp_path / "grown", TALK + MORE, speakers=["Anna", "Carl"])


def index(folder: Path) -> PassageIndex:
    return PassageIndex("test", folder=folder / "index")


def test_a_build_embeds_every_row_once(tmp_path: Path, small: Corpus) -> None:
    embedder = HashEmbedder()
    assert index(tmp_path).build(small, embedder) == Built(len(rows(small)), 0, 0)
    assert sorted(embedder.embedded) == sorted(row.text for row in rows(small))
    assert index(tmp_path).count(embedder) == len(rows(small))


def test_a_second_build_adds_nothing(tmp_path: Path, small: Corpus) -> None:
    index(tmp_path).build(small, HashEmbedder())
    again = HashEmbedder()
    assert index(tmp_path).build(small, again) == Built(0, 0, len(rows(small)))
    assert again.embedded == []


def test_an_index_is_current_only_for_what_it_was_built_for(tmp_path: Path, small: Corpus, grown: Corpus) -> None:
    made, embedder = index(tmp_path), HashEmbedder()
    assert not made.is_current(small, embedder)
    made.build(small, embedder)
    assert made.is_current(small, embedder)
    assert index(tmp_path).is_current(small, embedder)
    assert not made.is_current(grown, embedder)


def test_only_what_is_new_is_embedded(tmp_path: Path, small: Corpus, grown: Corpus) -> None:
    index(tmp_path).build(small, HashEmbedder())
    before = {row.id for row in rows(small)}
    new = [row for row in rows(grown) if row.id not in before]
    again = HashEmbedder()
    built = index(tmp_path).build(grown, again)
    assert sorted(again.embedded) == sorted(row.text for row in new)
    assert any("big frost" in text for text in again.embedded)
    assert built.added == len(new) < 0.2 * len(before)


def test_what_is_gone_is_dropped(tmp_path: Path, small: Corpus, grown: Corpus) -> None:
    index(tmp_path).build(grown, HashEmbedder())
    built = index(tmp_path).build(small, HashEmbedder())
    assert built.dropped == len({r.id for r in rows(grown)} - {r.id for r in rows(small)}) > 0
    assert index(tmp_path).count(HashEmbedder()) == len(rows(small))


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_killed_build_goes_on_where_it_was(tmp_path: Path, small: Corpus, calls: int) -> None:
    killed = HashEmbedder(calls=calls)
    with pytest.raises(KeyboardInterrupt):
        index(tmp_path).build(small, killed)
    assert not index(tmp_path).is_current(small, HashEmbedder())
    rest = HashEmbedder()
    built = index(tmp_path).build(small, rest)
    assert built == Built(len(rows(small)) - len(killed.embedded), 0, len(killed.embedded))
    assert sorted(killed.embedded + rest.embedded) == sorted(row.text for row in rows(small))
    assert index(tmp_path).is_current(small, HashEmbedder())


def test_another_embedding_rebuilds_everything(tmp_path: Path, small: Corpus) -> None:
    index(tmp_path).build(small, HashEmbedder("hash:1"))
    assert not index(tmp_path).is_current(small, HashEmbedder("hash:2"))
    assert index(tmp_path).build(small, HashEmbedder("hash:2")) == Built(len(rows(small)), 0, 0)


def test_an_embedding_of_another_size_rebuilds_everything(tmp_path: Path, small: Corpus) -> None:
    index(tmp_path).build(small, HashEmbedder("hash:1"))
    other = HashEmbedder("hash:24", dimensions=24)
    assert index(tmp_path).build(small, other).added == len(rows(small))
    assert index(tmp_path).search(other.embed(["lamp"])[0], other, 3)


def test_another_format_rebuilds_everything(tmp_path: Path, small: Corpus) -> None:
    embedder = HashEmbedder()
    made = index(tmp_path)
    made.build(small, embedder)
    client = chromadb.PersistentClient(str(tmp_path / "index"), settings=Settings(anonymized_telemetry=False))
    for part in PARTS:
        collection = client.get_collection(f"{made.name}-{part}", embedding_function=None)
        collection.modify(metadata={**(collection.metadata or {}), "format": 0})
    assert not index(tmp_path).is_current(small, embedder)
    assert index(tmp_path).build(small, embedder).added == len(rows(small))


def test_search_finds_the_nearest_first(tmp_path: Path, grown: Corpus) -> None:
    made, embedder = index(tmp_path), HashEmbedder()
    made.build(grown, embedder)
    text = {row.id: row.text for row in rows(grown)}
    found = made.search(embedder.embed(["The cable came in the spring after the big frost."])[0], embedder, 5)
    assert "big frost" in text[found[0][0]]
    assert found[0][1] == pytest.approx(1, abs=1e-4)
    assert [c for _, c in found] == sorted((c for _, c in found), reverse=True)
    assert all(key[0] in "ps" for key, _ in found), "words are never among the texts"


def test_stored_vectors_are_the_embedders(tmp_path: Path, small: Corpus) -> None:
    made, embedder = index(tmp_path), HashEmbedder()
    made.build(small, embedder)
    row = rows(small)[0]
    vectors = made.vectors([row.id, "p-no-such-row"], embedder)
    assert set(vectors) == {row.id}
    assert vectors[row.id].tolist() == pytest.approx(embedder.embed([row.text])[0], abs=1e-6)


def test_progress_ends_at_all_rows(tmp_path: Path, small: Corpus) -> None:
    told: list[tuple[int, int]] = []
    index(tmp_path).build(small, HashEmbedder(), lambda done, whole: told.append((done, whole)))
    assert told[0] == (0, len(rows(small)))
    assert told[-1] == (len(rows(small)), len(rows(small)))
    assert told == sorted(told)


def test_a_wiped_index_is_built_anew(tmp_path: Path, small: Corpus) -> None:
    made = index(tmp_path)
    made.build(small, HashEmbedder())
    made.wipe()
    assert made.count(HashEmbedder()) == 0
    assert made.build(small, HashEmbedder()) == Built(len(rows(small)), 0, 0)


def test_an_index_in_memory_needs_no_folder(small: Corpus) -> None:
    made, embedder = PassageIndex("test-in-memory"), HashEmbedder()
    made.build(small, embedder)
    assert made.count(embedder) == len(rows(small))
    assert made.where == "memory"


def read_only(folder: Path) -> Path:
    """A place where no folder can be made: for root, whom permissions don't stop, one of the kernel's."""
    if os.geteuid() == 0:
        return Path("/proc")
    folder.mkdir()
    folder.chmod(0o500)
    return folder


def test_a_read_only_folder_is_one_sentence(tmp_path: Path, small: Corpus) -> None:
    place = read_only(tmp_path / "locked")
    with pytest.raises(PassageIndexError) as caught:
        index(place).build(small, HashEmbedder())
    assert_sentence(caught.value, str(place / "index"))


def test_a_file_in_the_folders_place_is_one_sentence(tmp_path: Path, small: Corpus) -> None:
    (tmp_path / "index").write_text("no folder")
    with pytest.raises(PassageIndexError) as caught:
        index(tmp_path).build(small, HashEmbedder())
    assert_sentence(caught.value, str(tmp_path / "index"))


@pytest.mark.parametrize("damage", ["garbage", "zeros", "half"])
def test_a_corrupt_database_is_one_sentence(tmp_path: Path, small: Corpus, damage: str) -> None:
    index(tmp_path).build(small, HashEmbedder())
    copy = tmp_path / "copy"  # Chroma keeps open what it has opened once, so the damage is done to a copy
    shutil.copytree(tmp_path / "index", copy / "index")
    file = copy / "index" / "chroma.sqlite3"
    whole = file.read_bytes()
    file.write_bytes(
        {"garbage": b"not a database " * 500, "zeros": bytes(len(whole)), "half": whole[: len(whole) // 2]}[damage]
    )
    with pytest.raises(PassageIndexError) as caught:
        index(copy).build(small, HashEmbedder())
    assert_sentence(caught.value, str(copy / "index"), "--rebuild")


def test_a_corrupt_index_can_be_wiped_and_built(tmp_path: Path, small: Corpus) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "chroma.sqlite3").write_bytes(b"not a database " * 500)
    made = index(tmp_path)
    made.wipe()
    assert made.build(small, HashEmbedder()).added == len(rows(small))


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:8000", "http://"])
def test_a_wrong_url_is_one_sentence(url: str, small: Corpus) -> None:
    with pytest.raises(PassageIndexError) as caught:
        PassageIndex("test", url=url).build(small, HashEmbedder())
    assert_sentence(caught.value, url)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_server_that_is_not_there_is_one_sentence(small: Corpus) -> None:
    url = "http://127.0.0.1:9"
    with pytest.raises(PassageIndexError) as caught:
        PassageIndex("test", url=url).build(small, HashEmbedder())
    assert_sentence(caught.value, url, "Is it running?")


def test_stored_token_vectors_are_the_embedders_sentence_by_sentence(tmp_path: Path, small: Corpus) -> None:
    made, embedder = index(tmp_path), HashEmbedder()
    made.build(small, embedder)
    passage = max(small.passages, key=lambda p: len(p.sentences))
    read = made.readings([passage.id, "p-no-such-row"], embedder)
    assert set(read) == {passage.id}
    parts = embedder.read_passages([[s.search for s in passage.sentences]])[0]
    assert [len(p) for p in read[passage.id]] == [len(p) for p in parts]
    for stored, own in zip(read[passage.id], parts, strict=True):
        cosines = np.sum(np.asarray(stored) * np.asarray(own), axis=1)
        assert cosines.min() > 0.999, "8 bits a number keep the direction"


def test_readings_are_asked_of_chroma_once(tmp_path: Path, small: Corpus) -> None:
    made, embedder = index(tmp_path), HashEmbedder()
    made.build(small, embedder)
    key = small.passages[0].id
    first = made.readings([key], embedder)[key]
    assert made.readings([key], embedder)[key] is first
    made.wipe()
    with pytest.raises(PassageIndexError, match="fireside index"):  # a wiped index remembers nothing
        made.readings([key], embedder)
