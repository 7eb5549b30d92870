"""BERT-family encoders by llama.cpp.

The bundled embedding is all-MiniLM-L6-v2 (Wang et al. 2020, arXiv:2002.10957; Reimers & Gurevych 2019, arXiv:1908.10084),
the bundled reader a late-interaction model made from it (Khattab & Zaharia 2020, arXiv:2004.12832), both quantised to
Q8_0; see persona/weights/README.md. The low-level API is used because it packs many texts into one forward pass and keeps
the final [SEP] of a truncated text, which the high-level `Llama.embed()` drops.
"""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportMissingTypeStubs=false

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from persona.cores import usable
from persona.errors import ModelError
from persona.llama.runtime import start_llama
from persona.types import Judgement, Reading, TokenVectors

EMBEDDING_MODEL = Path(__file__).parent.parent / "weights" / "all-MiniLM-L6-v2-Q8_0.gguf"
EMBEDDING_SHA256 = "6388fdd82f6a57d19e8288815e5e1ca4abbfe6a6f28e9c38435a0fd82a872735"
READER_MODEL = Path(__file__).parent.parent / "weights" / "fireside-reader-Q8_0.gguf"
READER_SHA256 = "724f45d8a2af2af165037649237fbdf779ea4e2406c9621c73b08d835c2cb4da"
READER_HEAD = Path(__file__).parent.parent / "weights" / "fireside-reader-head.npz"
JUDGE_MODEL = Path(__file__).parent.parent / "weights" / "fireside-judge-Q8_0.gguf"
JUDGE_SHA256 = "303baf04a607f0d6afb325f9924e992b10ffb7dc33c0d78b42f55024953b6f77"
JUDGE_HEAD = Path(__file__).parent.parent / "weights" / "fireside-judge-head.npz"
MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was trained to read
MAX_QUESTION_TOKENS = 64  # what the reader was trained to read as a question
JUDGED_QUESTION_TOKENS, JUDGED_TEXT_TOKENS = 48, 176  # what the judge was trained to read together
_BATCH_TOKENS = 1024
_BATCH_TEXTS = 32
_ONE_THREAD_TOKENS = 160
_REMEMBERED = 512  # texts whose vectors are kept: one question is embedded for several purposes


class Encoder:
    """One BERT-family GGUF and its context. Not thread-safe, as no llama context is."""

    def __init__(self, path: Path, sha256: str | None, *, pooled: bool, threads: int) -> None:
        if not path.is_file():
            raise ModelError(f"No model at '{path}'. Reinstall fireside: the file comes with it.")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 not in (None, digest):
            raise ModelError(f"The model '{path}' is corrupt (its sha256 differs). Reinstall fireside.")
        self.fingerprint = f"{path.stem}:{digest[:16]}"
        start_llama()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise ModelError(f"llama.cpp can't load '{path}'. Check that it is a whole GGUF file.")
        self._threads = threads
        self._pooled = pooled
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = _BATCH_TOKENS
        options.n_seq_max = _BATCH_TEXTS
        options.n_threads = options.n_threads_batch = 1
        options.embeddings = True
        kind = llama_cpp.LLAMA_POOLING_TYPE_MEAN if pooled else llama_cpp.LLAMA_POOLING_TYPE_NONE
        options.pooling_type = kind
        options.kv_unified = True
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        if not self._context:
            raise ModelError(f"llama.cpp can't make a context for '{path}'. Check the free memory.")
        self.vocab = llama_cpp.llama_model_get_vocab(self._model)
        self._begin = int(llama_cpp.llama_vocab_bos(self.vocab))
        self._separator = int(llama_cpp.llama_vocab_sep(self.vocab))
        self.dimensions = int(llama_cpp.llama_model_n_embd(self._model))
        self._batch = llama_cpp.llama_batch_init(_BATCH_TOKENS, 0, 1)

    def pieces(self, text: str) -> list[int]:
        """Token ids without [CLS] and [SEP]; special tokens written in the text stay plain text."""
        data = text.encode("utf-8")
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        count = llama_cpp.llama_tokenize(self.vocab, data, len(data), buffer, room, False, False)
        return [int(t) for t in buffer[:count]]

    def framed(self, pieces: Sequence[int], limit: int) -> list[int]:
        """The pieces between [CLS] and [SEP], at most `limit` tokens in all."""
        return [self._begin, *pieces[: limit - 2], self._separator]

    def paired(self, first: Sequence[int], second: Sequence[int]) -> list[int]:
        """Two runs of pieces for a cross-encoder: [CLS] first [SEP] second [SEP]."""
        return [self._begin, *first, self._separator, *second, self._separator]

    def forward(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """One pass: per text one vector (dimensions,) where pooled, else a row per token (tokens, dimensions)."""
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
        # A question is read on one thread: OpenMP's workers spin between calls, and another library's thread on the
        # same core then makes each pass wait a whole time slice (measured: 80 ms instead of 27).
        llama_cpp.llama_set_n_threads(self._context, 1, self._threads if at > _ONE_THREAD_TOKENS else 1)
        status = llama_cpp.llama_encode(self._context, batch)
        if status != 0:
            raise ModelError(f"llama.cpp failed to read (status {status}). Try again; if it stays, reinstall fireside.")
        if self._pooled:
            return [
                np.ctypeslib.as_array(llama_cpp.llama_get_embeddings_seq(self._context, i), (self.dimensions,)).copy()
                for i in range(len(texts))
            ]
        rows = np.ctypeslib.as_array(llama_cpp.llama_get_embeddings(self._context), (at, self.dimensions)).copy()
        return np.split(rows, np.cumsum([len(ids) for ids in texts])[:-1])

    def close(self) -> None:
        """Frees llama.cpp's memory; the encoder can't be used afterwards."""
        if self._context:
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
            llama_cpp.llama_model_free(self._model)
            self._context = self._model = None


class Head(NamedTuple):
    """What turns the reader's token rows into token vectors: made by scripts/train_reader.py, read without pickle."""

    projection: NDArray[np.float32]  # (dimensions, kept)
    term_weight: NDArray[np.float32]  # (dimensions,)
    term_bias: float

    @classmethod
    def load(cls, path: Path) -> Head:
        """Reads the file; ModelError if it is missing or broken."""
        try:
            with np.load(path, allow_pickle=False) as data:
                return cls(
                    data["projection"].astype(np.float32),
                    data["term_weight"].astype(np.float32),
                    float(data["term_bias"]),
                )
        except (OSError, ValueError, KeyError) as exc:
            raise ModelError(f"Can't read the reader's head '{path}': {exc}. Reinstall fireside.") from exc

    def vectors(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Token rows (n, dimensions) as unit vectors (n, kept)."""
        return _unit(rows @ self.projection)

    def weights(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """How much each token of a question matters (n,), adding up to 1: softplus of a linear unit."""
        raw = np.logaddexp(0.0, rows @ self.term_weight + self.term_bias)
        return (raw / raw.sum()).astype(np.float32)


class LlamaEmbedder:
    """Embeds texts, and reads questions and passages token by token.

    Calls of either kind are serialised; an embedding and a reading may run side by side.
    """

    def __init__(self, path: Path = EMBEDDING_MODEL, *, threads: int | None = None) -> None:
        own = threads or max(1, min(4, usable() - 1))
        sha256 = EMBEDDING_SHA256 if path == EMBEDDING_MODEL else None
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._memory: dict[str, list[float]] = {}
        with ThreadPoolExecutor(max_workers=1) as beside:
            reader = beside.submit(Encoder, READER_MODEL, READER_SHA256, pooled=False, threads=own)
            self._encoder = Encoder(path, sha256, pooled=True, threads=own)
            self._reader = reader.result()
        self._head = Head.load(READER_HEAD)
        self.dimensions = self._encoder.dimensions
        self._fingerprint = f"{self._encoder.fingerprint}:{MAX_TOKENS}+{self._reader.fingerprint}"

    @property
    def fingerprint(self) -> str:
        """Files, content and truncation: what the vectors depend on."""
        return self._fingerprint

    def tokenize(self, text: str) -> list[int]:
        """Token ids with [CLS] and [SEP], at most MAX_TOKENS; special tokens written in the text stay plain text."""
        return self._encoder.framed(self._encoder.pieces(text), MAX_TOKENS)

    def words(self) -> list[str]:
        """The whole words of the vocabulary: 20,000 of the commonest English ones (and no sub-words)."""
        vocab = self._encoder.vocab
        count = int(llama_cpp.llama_vocab_n_tokens(vocab))
        texts = (llama_cpp.llama_vocab_get_text(vocab, i) for i in range(count))
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
            found = {t: self._memory[t] for t in texts if t in self._memory}
            for part, rows in passes(self._encoder, tokens):
                vectors = _unit(np.stack(rows))
                found |= {new[i]: row for i, row in zip(part, vectors.tolist(), strict=True)}
            if len(new) <= _BATCH_TEXTS:
                self._remember({t: found[t] for t in new})
        return [found[t] for t in texts]

    def read_question(self, text: str) -> Reading:
        """The question's token vectors (n, kept) and how much each of them matters (n,)."""
        with self._reading:
            (rows,) = self._reader.forward([self._reader.framed(self._reader.pieces(text), MAX_QUESTION_TOKENS)])
        return Reading(self._head.vectors(rows), self._head.weights(rows))

    def read_passages(self, passages: Sequence[Sequence[str]]) -> list[list[TokenVectors]]:
        """For each passage, given as consecutive texts, the token vectors (n, kept) of each of its texts.

        Every token is read in the light of the whole passage. What lies beyond MAX_TOKENS has no vectors (0, kept).
        """
        with self._reading:
            pieces = [[self._reader.pieces(text) for text in passage] for passage in passages]
            framed = [self._reader.framed([t for p in passage for t in p], MAX_TOKENS) for passage in pieces]
            found: dict[int, list[TokenVectors]] = {}
            for part, rows in passes(self._reader, framed):
                for index, row in zip(part, rows, strict=True):
                    ends = np.minimum(np.cumsum([len(p) for p in pieces[index]]), len(row) - 2)
                    vectors = self._head.vectors(row)[1:-1]
                    found[index] = [v.astype(np.float16) for v in np.split(vectors, ends)[:-1]]
        return [found[i] for i in range(len(passages))]

    def _remember(self, vectors: dict[str, list[float]]) -> None:
        self._memory |= vectors
        while len(self._memory) > _REMEMBERED:
            del self._memory[next(iter(self._memory))]

    def close(self) -> None:
        """Frees llama.cpp's memory; the embedder can't be used afterwards."""
        with self._lock, self._reading:
            self._encoder.close()
            self._reader.close()


class LlamaJudge:
    """A cross-encoder (Devlin et al. 2019, arXiv:1810.04805, section 4.3): question and passage in one forward pass, a
    verdict at [CLS], and where the answer begins and ends; [CLS] itself stands for "nowhere". Calls are serialised."""

    def __init__(self, path: Path = JUDGE_MODEL, head: Path = JUDGE_HEAD, *, threads: int | None = None) -> None:
        own = threads or max(1, min(4, usable() - 1))
        self._lock = threading.Lock()
        self._encoder = Encoder(path, JUDGE_SHA256 if path == JUDGE_MODEL else None, pooled=False, threads=own)
        try:
            with np.load(head, allow_pickle=False) as data:
                self._weight = data["weight"].astype(np.float32)  # (3, dimensions): holds, begins, ends
                self._bias = data["bias"].astype(np.float32)
                self._kinds_weight = data["kinds_weight"].astype(np.float32)  # (kinds, dimensions)
                self._kinds_bias = data["kinds_bias"].astype(np.float32)
                self._kinds = [str(name) for name in data["kinds"]]
        except (OSError, ValueError, KeyError) as exc:
            raise ModelError(f"Can't read the judge's head '{head}': {exc}. Reinstall fireside.") from exc

    @property
    def fingerprint(self) -> str:
        """File and content."""
        return self._encoder.fingerprint

    def judge(self, question: str, passages: Sequence[Sequence[str]]) -> list[Judgement]:
        """A judgement of each passage, given as consecutive texts; what lies beyond the judge's limits is not read."""
        with self._lock:
            encoder = self._encoder
            asked = encoder.pieces(question)[:JUDGED_QUESTION_TOKENS]
            parts = [[encoder.pieces(text) for text in passage] for passage in passages]
            framed = [encoder.paired(asked, [t for p in part for t in p][:JUDGED_TEXT_TOKENS]) for part in parts]
            found: dict[int, Judgement] = {}
            for places, rows in passes(encoder, framed):
                for index, row in zip(places, rows, strict=True):
                    logits = row @ self._weight.T + self._bias
                    found[index] = _judged(logits, len(asked) + 2, [len(p) for p in parts[index]])
        return [found[i] for i in range(len(passages))]

    def kinds(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """For each text the probability of each kind of conduct."""
        with self._lock:
            encoder = self._encoder
            framed = [encoder.framed(encoder.pieces(text), JUDGED_TEXT_TOKENS + 2) for text in texts]
            found: dict[int, dict[str, float]] = {}
            for places, rows in passes(encoder, framed):
                for index, row in zip(places, rows, strict=True):
                    logits = self._kinds_weight @ row[0] + self._kinds_bias
                    shares = np.exp(logits - logits.max())
                    found[index] = dict(zip(self._kinds, (shares / shares.sum()).tolist(), strict=True))
        return [found[i] for i in range(len(texts))]

    def close(self) -> None:
        """Frees llama.cpp's memory; the judge can't be used afterwards."""
        with self._lock:
            self._encoder.close()


def _judged(logits: NDArray[np.float32], at: int, sizes: Sequence[int]) -> Judgement:
    """Logits (tokens, 3) of a pair whose passage begins at token `at` and has parts of so many tokens."""
    ends = np.minimum(np.cumsum(sizes), len(logits) - 1 - at)
    shares: list[NDArray[np.float64]] = []
    for column in (1, 2):
        places = np.concatenate([logits[:1, column], logits[at:-1, column]]).astype(np.float64)
        share = np.exp(places - places.max())
        share /= share.sum()
        total = np.concatenate([[0.0], np.cumsum(share[1:])])
        shares.append(np.diff(total[np.concatenate([[0], ends])]))
    return Judgement(float(logits[0, 0]), *shares)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def passes(encoder: Encoder, tokens: Sequence[list[int]]) -> Iterator[tuple[list[int], list[NDArray[np.float32]]]]:
    """Forward passes over many texts: the places of those in a pass, and what came out for each.

    Texts of like length go together: a batch is as slow as its tokens.
    """
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    for part in _batches(order, tokens):
        yield part, encoder.forward([tokens[i] for i in part])


def _batches(order: Sequence[int], tokens: Sequence[list[int]]) -> Iterator[list[int]]:
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
