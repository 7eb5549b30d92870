"""Hybrid retrieval and late interaction."""

from __future__ import annotations

import numpy as np
import pytest

from persona.pipeline import Fireside
from persona.retrieval import PASSAGES, matched
from persona.types import Reading

# Three orthogonal words.
A, B, C = np.eye(3, dtype=np.float32)
READING = Reading(np.stack([A, B]), np.array([0.75, 0.25], dtype=np.float32))


def test_each_token_of_the_question_takes_its_likest_token() -> None:
    matches = matched(READING, [np.stack([A, (A + B) / np.sqrt(2), C]), np.stack([C])])
    assert matches[0].tolist() == pytest.approx([1.0, 2**-0.5])
    assert (matches @ READING.weights).tolist() == pytest.approx([0.75 * 1 + 0.25 * 2**-0.5, 0.0])


def test_a_sentence_without_tokens_matches_nothing() -> None:
    nothing = np.zeros((0, 3), dtype=np.float32)
    assert matched(READING, [nothing, np.stack([B]), nothing]).tolist() == [[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert matched(READING, [nothing]).tolist() == [[0.0, 0.0]]


def test_every_hit_has_a_match_for_each_of_its_sentences(fireside: Fireside) -> None:
    found = fireside.retriever.search("What do you think of reliability?", "What do you think of reliability?")
    assert len(found.hits) == PASSAGES
    for hit in found.hits:
        assert len(found.matches[hit.passage.id]) == len(hit.passage.sentences)


def test_a_search_for_quotations_finds_known_speakers_only(fireside: Fireside) -> None:
    found = fireside.retriever.search("reliability", "reliability", verbatim=True)
    assert found.hits
    assert all(hit.passage.speaker for hit in found.hits)
