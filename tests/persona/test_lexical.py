"""BM25: what is found first does not depend on how much is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from persona.lexical import LexicalIndex
from tests.persona.corpora import one_document

# Many passages with equal scores: which of them come first is a matter of their order alone.
TALK = "\n\n".join(f"Anna: The lamp is lit. {'The bell rings. ' * (i % 3)}" for i in range(40))


@pytest.mark.parametrize("limit", [0, 1, 5, 14, 27, 1000])
def test_the_first_are_the_first_of_all(tmp_path: Path, limit: int) -> None:
    passages = one_document(tmp_path, TALK, speakers=["Anna"]).passages
    index = LexicalIndex(passages)
    every = index.search(["bell", "lamp"], ["ring"], 10_000)
    assert len(every) == len(passages)
    assert index.search(["bell", "lamp"], ["ring"], limit) == every[:limit]
    assert [s for _, s in every] == sorted((s for _, s in every), reverse=True)


def test_what_has_none_of_the_words_is_not_found(tmp_path: Path) -> None:
    index = LexicalIndex(one_document(tmp_path, TALK, speakers=["Anna"]).passages)
    assert index.search(["whale"], [], 10) == []
    assert 0 < len(index.search(["bell"], [], 100)) < 40
