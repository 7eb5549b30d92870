"""Sentence embeddings by llama.cpp: the one module that knows llama_cpp.

The bundled weights are all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957; Reimers & Gurevych 2019, arXiv:1908.10084),
quantised to Q8_0; see persona/weights/README.md. The low-level API is used because it packs many texts into one forward
pass and keeps the final [SEP] of a truncated text, which the high-level `Llama.embed()` drops.
"""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import ctypes
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from persona.errors import ModelError

EMBEDDING_MODEL = Path(__file__).parent / "weights" / "all-MiniLM-L6-v2-Q8_0.gguf"
EMBEDDING_SHA256 = "6388fdd82f6a57d19e8288815e5e1ca4abbfe6a6f28e9c38435a0fd82a872735"
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained to read
_BATCH_TOKENS = 1024
_BATCH_TEXTS = 32
_ONE_THREAD_TOKENS = 160
_REMEMBERED = 512  # texts whose vectors are kept: one question is embedded for several purposes


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _silent(_level: int, _text: bytes, _data: object) -> None:
    """llama.cpp logs to stderr by itself; what matters of it comes back as a ModelError."""


class LlamaEmbedder:
    """Embeds texts with a BERT-family GGUF. Calls are serialised: a llama context is not thread-safe."""

    def __init__(self, path: Path = EMBEDDING_MODEL, *, threads: int | None = None) -> None:
        if not path.is_file():
            raise ModelError(f"No embedding model at '{path}'. Reinstall fireside: the file comes with it.")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if path == EMBEDDING_MODEL and digest != EMBEDDING_SHA256:
            raise ModelError(f"The embedding model '{path}' is corrupt (its sha256 differs). Reinstall fireside.")
        self._fingerprint = f"{path.stem}:{digest[:16]}:{MAX_TOKENS}"
        self._lock = threading.Lock()
        self._memory: dict[str, list[float]] = {}
        llama_cpp.llama_log_set(_silent, None)
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise ModelError(f"llama.cpp can't load '{path}'. Check that it is a whole GGUF file.")
        self._threads = threads or max(1, min(4, (os.cpu_count() or 2) - 1))
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = _BATCH_TOKENS
        options.n_seq_max = _BATCH_TEXTS
        options.n_threads = options.n_threads_batch = 1
        options.embeddings = True
        options.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_MEAN
        options.kv_unified = True
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        if not self._context:
            raise ModelError(f"llama.cpp can't make a context for '{path}'. Check the free memory.")
        self._vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._separator = llama_cpp.llama_vocab_sep(self._vocab)
        self.dimensions = int(llama_cpp.llama_model_n_embd(self._model))
        self._batch = llama_cpp.llama_batch_init(_BATCH_TOKENS, 0, 1)

    @property
    def fingerprint(self) -> str:
        """File, content and truncation: what the vectors depend on."""
        return self._fingerprint

    def tokenize(self, text: str) -> list[int]:
        """Token ids with [CLS] and [SEP], at most MAX_TOKENS; special tokens written in the text stay plain text."""
        data = text.encode("utf-8")
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, room, True, False)
        tokens = [int(t) for t in buffer[:count]]
        if len(tokens) > MAX_TOKENS:
            tokens = [*tokens[: MAX_TOKENS - 1], int(self._separator)]
        return tokens

    def words(self) -> list[str]:
        """The whole words of the vocabulary: 20,000 of the commonest English ones (and no sub-words)."""
        count = int(llama_cpp.llama_vocab_n_tokens(self._vocab))
        texts = (llama_cpp.llama_vocab_get_text(self._vocab, i) for i in range(count))
        # GGUF marks the start of a word with U+2581; BERT's own "##" pieces have none.
        marked = (t.decode("utf-8", "ignore") for t in texts if t)
        return [t[1:] for t in marked if t.startswith("\u2581") and t[1:].isalpha()]

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector of `dimensions` floats and length 1 per text."""
        if not texts:
            return []
        with self._lock:
            new = [t for t in dict.fromkeys(texts) if t not in self._memory]
            tokens = [self.tokenize(t) for t in new]
            # Texts of like length go together: a batch is as slow as its tokens.
            order = sorted(range(len(new)), key=lambda i: len(tokens[i]))
            found = {t: self._memory[t] for t in texts if t in self._memory}
            for part in _batches(order, tokens):
                vectors = self._forward([tokens[i] for i in part])
                found |= {new[i]: row for i, row in zip(part, vectors.tolist(), strict=True)}
            if len(new) <= _BATCH_TEXTS:
                self._remember({t: found[t] for t in new})
        return [found[t] for t in texts]

    def _remember(self, vectors: dict[str, list[float]]) -> None:
        self._memory |= vectors
        while len(self._memory) > _REMEMBERED:
            del self._memory[next(iter(self._memory))]

    def _forward(self, texts: list[list[int]]) -> NDArray[np.float32]:
        batch = self._batch
        at = 0
        for sequence, ids in enumerate(texts):
            for position, token in enumerate(ids):
                batch.token[at] = token
                batch.pos[at] = position
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence
                batch.logits[at] = 1
                at += 1
        batch.n_tokens = at
        # A question is embedded on one thread: OpenMP's workers spin between calls, and another library's thread on the
        # same core then makes each pass wait a whole time slice (measured: 80 ms instead of 27).
        llama_cpp.llama_set_n_threads(self._context, 1, self._threads if at > _ONE_THREAD_TOKENS else 1)
        status = llama_cpp.llama_encode(self._context, batch)
        if status != 0:
            raise ModelError(
                f"llama.cpp failed to embed (status {status}). Try again; if it stays, reinstall fireside."
            )
        rows = [
            np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(self._context, i), (self.dimensions,)).copy()
            for i in range(len(texts))
        ]
        vectors = np.stack(rows)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-12)

    def close(self) -> None:
        """Frees llama.cpp's memory; the embedder can't be used afterwards."""
        with self._lock:
            if self._context:
                llama_cpp.llama_batch_free(self._batch)
                llama_cpp.llama_free(self._context)
                llama_cpp.llama_model_free(self._model)
                self._context = self._model = None


def _batches(order: list[int], tokens: list[list[int]]) -> Iterator[list[int]]:
    part: list[int] = []
    total = 0
    for index in order:
        size = len(tokens[index])
        if part and (total + size > _BATCH_TOKENS or len(part) == _BATCH_TEXTS):
            yield part
            part, total = [], 0
        part.append(index)
        total += size
    if part:
        yield part
