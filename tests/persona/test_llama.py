"""The bundled embedding gives what the original model gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from persona.errors import ModelError
from persona.llama import MAX_TOKENS, READER_SHA256, Head, LlamaEmbedder
from tests.persona.corpora import assert_sentence

REFERENCE = Path(__file__).parents[1] / "data" / "minilm-reference.json"
CLS, SEP = 101, 102


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    """Texts with the tokens and vectors of the original model in PyTorch."""
    return json.loads(REFERENCE.read_text(encoding="utf-8"))


def test_the_reference_has_texts(reference: dict[str, Any]) -> None:
    assert len(reference["texts"]) == len(reference["tokens"]) == len(reference["vectors"]) >= 10


def test_tokens_are_the_original_tokenizers(reference: dict[str, Any], embedder: LlamaEmbedder) -> None:
    for text, tokens in zip(reference["texts"], reference["tokens"], strict=True):
        assert embedder.tokenize(text) == tokens, text


def test_vectors_are_the_original_models(reference: dict[str, Any], embedder: LlamaEmbedder) -> None:
    ours = np.asarray(embedder.embed(reference["texts"]))
    theirs = np.asarray(reference["vectors"])
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() >= 0.999, reference["texts"][int(cosines.argmin())]


def test_vectors_have_length_one(embedder: LlamaEmbedder) -> None:
    vectors = np.asarray(embedder.embed(["reliability", "What is it?", "", "🙂", "word " * 400]))
    assert vectors.shape == (5, embedder.dimensions)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_text_alone_and_in_a_batch_have_the_same_vector(embedder: LlamaEmbedder) -> None:
    text = "a sentence that no other test embeds, first among many"
    many = np.asarray(
        embedder.embed([text + " indeed", *[f"filler number {i} " * (i % 9 + 1) for i in range(70)], text])
    )
    alone = np.asarray(embedder.embed([text])[0])
    assert float(many[-1] @ alone) > 0.999


def test_vectors_come_in_the_order_of_the_texts(embedder: LlamaEmbedder) -> None:
    texts = ["short", "a much longer text about lighthouses and their keepers", "mid size text", "short"]
    vectors = np.asarray(embedder.embed(texts))
    assert np.array_equal(vectors[0], vectors[3])
    for text, vector in zip(texts, vectors, strict=True):
        assert float(vector @ np.asarray(embedder.embed([text])[0])) > 0.999


def test_no_texts_no_vectors(embedder: LlamaEmbedder) -> None:
    assert embedder.embed([]) == []


def test_a_long_text_is_cut_and_keeps_its_last_token(embedder: LlamaEmbedder) -> None:
    tokens = embedder.tokenize("lighthouse " * 1000)
    assert (len(tokens), tokens[0], tokens[-1]) == (MAX_TOKENS, CLS, SEP)


def test_special_tokens_in_a_text_stay_text(embedder: LlamaEmbedder) -> None:
    tokens = embedder.tokenize("[CLS] hello [SEP] [MASK]")
    assert (tokens.count(CLS), tokens.count(SEP), tokens.count(103)) == (1, 1, 0)


def test_near_texts_are_nearer_than_far_ones(embedder: LlamaEmbedder) -> None:
    one, near, far = np.asarray(embedder.embed(["How reliable is it?", "its reliability", "a recipe for plum cake"]))
    assert float(one @ near) > float(one @ far) + 0.2


def test_the_fingerprint_names_the_file_and_its_content(embedder: LlamaEmbedder) -> None:
    reader = f"fireside-reader-Q8_0:{READER_SHA256[:16]}"
    assert embedder.fingerprint == f"all-MiniLM-L6-v2-Q8_0:6388fdd82f6a57d1:{MAX_TOKENS}+{reader}"


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        LlamaEmbedder(tmp_path / "none.gguf")
    assert_sentence(caught.value, "none.gguf")


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"GGUF but not really" * 50)
    with pytest.raises(ModelError) as caught:
        LlamaEmbedder(tmp_path / "bad.gguf")
    assert_sentence(caught.value, "bad.gguf")


def test_a_question_is_read_token_by_token(embedder: LlamaEmbedder) -> None:
    read = embedder.read_question("Who wrote the first paper?")
    assert read.vectors.shape[0] == len(embedder.tokenize("Who wrote the first paper?")) == len(read.weights)
    assert np.linalg.norm(read.vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert float(read.weights.sum()) == pytest.approx(1, abs=1e-5)
    assert read.weights.min() > 0


def test_a_passage_is_read_text_by_text_in_its_own_light(embedder: LlamaEmbedder) -> None:
    parts = ["The lighthouse:", "It was built in 1912.", "", "Nobody lives there."]
    (read,) = embedder.read_passages([parts])
    assert [len(vectors) for vectors in read] == [len(embedder.tokenize(part)) - 2 for part in parts]
    ((_, alone),) = embedder.read_passages([["", "It was built in 1912."]])
    cosine = float(np.asarray(read[1][0], dtype=np.float32) @ np.asarray(alone[0], dtype=np.float32))
    assert cosine < 0.99, "'It' means something else after 'The lighthouse'"


def test_passages_read_together_are_as_read_alone(embedder: LlamaEmbedder) -> None:
    passages = [["A short one."], ["Another one, which is a good deal longer than the first.", "And more."]]
    together = embedder.read_passages(passages)
    for passage, parts in zip(passages, together, strict=True):
        for one, other in zip(embedder.read_passages([passage])[0], parts, strict=True):
            assert np.sum(one.astype(np.float32) * other.astype(np.float32), axis=1).min() > 0.999


def test_what_lies_beyond_the_limit_has_no_vectors(embedder: LlamaEmbedder) -> None:
    (read,) = embedder.read_passages([["lighthouse " * 300, "beyond"]])
    assert [len(vectors) for vectors in read] == [MAX_TOKENS - 2, 0]


def test_a_missing_head_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Reinstall fireside"):
        Head.load(tmp_path / "no.npz")
    (tmp_path / "broken.npz").write_bytes(b"not an archive")
    with pytest.raises(ModelError, match="Reinstall fireside"):
        Head.load(tmp_path / "broken.npz")
