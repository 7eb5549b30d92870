"""The passage index in Chroma: the one module that knows chromadb.

One collection holds a row per passage and per sentence of it, another one a row per word, with the vectors that we computed
ourselves; a passage's row carries its token vectors too (8 bits a number, in its metadata). A row's id is the hash of what
was embedded, so a build adds what is new, drops what is gone and embeds nothing twice; the metadata names the corpus once
every row of it is in, so a build that was killed half-way goes on.
"""

# chromadb's types are partly unknown to static checkers.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import base64
import hashlib
import logging
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from persona.corpus import Corpus
from persona.errors import FiresideError, PassageIndexError
from persona.text import STOPWORDS, stem, words
from persona.types import Embedder, Passage, Sentence, TokenVectors

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.api.models.Collection import Collection

log = logging.getLogger("fireside.index")
FORMAT = 3  # raise it when rows change their meaning: indexes of another format are rebuilt
PARTS = ("texts", "words")
_EMBED_AT_ONCE = 64
_ADD_AT_ONCE = 512  # what a kill -9 loses at most; with 64 Chroma takes twice as long over a big corpus
_SEARCH_EF = 1024  # Chroma's default of 100 misses 1.5% of the nearest rows, other ones after each build
_REMEMBERED = 2048  # passages whose token vectors are kept, 60 kB each
_REMEMBERED_VECTORS = 16384  # rows of "texts" whose vectors are kept, 1.5 kB each
MAX_WORDS = 20_000
MIN_SENTENCE_WORDS = 3  # "Yeah." answers nothing and is near everything
ANSWERS_WITHIN = 10.0  # seconds that a Chroma server has for a question; the library itself would wait for ever
WRITES_WITHIN = 120.0  # seconds for each step of a build
LEFT_ALONE = 10.0  # seconds that a server which hangs is not asked again: others wait behind whoever asks

T = TypeVar("T")
Vector = NDArray[np.float32]


class Built(NamedTuple):
    """What a build did: rows added, dropped, and found as they were."""

    added: int
    dropped: int
    kept: int


class Row(NamedTuple):
    """One row of the index."""

    id: str
    text: str
    level: str  # "passage", "sentence" or "word"
    document: str
    parts: tuple[str, ...] = ()  # of a passage: what stands before it, and its sentences

    @property
    def part(self) -> str:
        """The collection that it lies in: words apart, so that they are never among the nearest texts."""
        return "words" if self.level == "word" else "texts"


@lru_cache(maxsize=65536)
def sentence_id(sentence: Sentence) -> str:
    """The row id of a sentence."""
    return "s" + hashlib.sha256(f"{sentence.document}|{sentence.search}".encode()).hexdigest()[:20]


def passage_text(passage: Passage) -> str:
    """What is embedded for a passage: the question or heading before it belongs to its sense."""
    return f"{passage.context} {passage.search}".strip()


def rows(corpus: Corpus) -> list[Row]:
    """The rows that a corpus needs, each id once."""
    out: dict[str, Row] = {}
    for passage in corpus.passages:
        parts = (passage.context, *(s.search for s in passage.sentences))
        out[passage.id] = Row(passage.id, passage_text(passage), "passage", passage.document, parts)
        for sentence in passage.sentences:
            if len(sentence.search.split()) >= MIN_SENTENCE_WORDS:
                key = sentence_id(sentence)
                out[key] = Row(key, sentence.search, "sentence", passage.document)
    for word in vocabulary(corpus).values():
        key = word_id(word)
        out[key] = Row(key, word, "word", "")
    return list(out.values())


def word_id(word: str) -> str:
    """The row id of a word."""
    return "w" + hashlib.sha256(word.encode()).hexdigest()[:20]


def vocabulary(corpus: Corpus) -> dict[str, str]:
    """The commonest form of each stem that carries a topic, for the MAX_WORDS most frequent stems."""
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    for passage in corpus.passages:
        for word in words(passage_text(passage)):
            if word not in STOPWORDS:
                forms[stem(word)][word] += 1
    common = sorted(forms, key=lambda s: (-forms[s].total(), s))[:MAX_WORDS]
    return {s: forms[s].most_common(1)[0][0] for s in common}


def _metadata(chunk: Sequence[Row], embedder: Embedder) -> list[Mapping[str, Any]]:
    """What is stored beside the vectors: of a passage also its token vectors, part by part."""
    passages = [row for row in chunk if row.parts]
    read = dict(zip((r.id for r in passages), embedder.read_passages([r.parts for r in passages]), strict=True))
    out: list[Mapping[str, Any]] = []
    for row in chunk:
        metadata = {"level": row.level, "document": row.document}
        if row.parts:
            metadata |= _packed(read[row.id][1:])  # what stands before the passage is read, but answers nothing
        out.append(metadata)
    return out


def _packed(parts: Sequence[TokenVectors]) -> dict[str, str]:
    rows = np.concatenate([np.asarray(p, dtype=np.float32) for p in parts])
    peak = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-12)
    data = np.round(rows / peak * 127).astype(np.int8).tobytes()
    return {"sizes": ",".join(str(len(p)) for p in parts), "tokens": base64.b64encode(data).decode("ascii")}


def _unpacked(metadata: Mapping[str, Any]) -> tuple[TokenVectors, ...]:
    """The token vectors of each sentence of a passage; the rows' lengths are lost in packing, they are all 1."""
    sizes = [int(n) for n in str(metadata["sizes"]).split(",")]
    rows = np.frombuffer(base64.b64decode(str(metadata["tokens"])), dtype=np.int8).astype(np.float32)
    rows = rows.reshape(sum(sizes), -1) if len(rows) else rows.reshape(0, 1)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return tuple(np.split(rows, np.cumsum(sizes)[:-1]))


class PassageIndex:
    """Passages of one persona in Chroma, on disk (`folder`), on a server (`url`) or in memory (neither). A server may be
    away for a while, or lose the index and get it anew: what can't be read is a PassageIndexError, and the log says so
    once."""

    def __init__(
        self, name: str, *, folder: Path | None = None, url: str | None = None, patience: float = ANSWERS_WITHIN
    ) -> None:
        """`patience` are the seconds that a server has for an answer."""
        self.name = f"fireside-{name}"[:60].rstrip("-_.")
        self.folder = folder
        self.url = url
        self._patience = patience
        self._left_alone_until = 0.0
        self._away = False
        self._client_: ClientAPI | None = None
        self._connecting = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self._readings: dict[str, tuple[TokenVectors, ...]] = {}
        self._vectors: dict[str, Vector] = {}

    @property
    def where(self) -> str:
        """The place in words, for messages."""
        return self.url or (str(self.folder) if self.folder else "memory")

    def connect(self) -> None:
        """Loads and opens Chroma, which takes a second or two: other work may go on beside it."""
        with self._spoken_errors():
            self._client()

    def _client(self) -> ClientAPI:
        with self._connecting:
            return self._connected()

    def _connected(self) -> ClientAPI:
        if self._client_ is None:
            with _overrides_unchecked():
                self._client_ = self._new_client()
        return self._client_

    def _new_client(self) -> ClientAPI:
        import chromadb  # 1 s: only where an index is opened
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        if self.folder and not self.url:
            self.folder.mkdir(parents=True, exist_ok=True)
            return chromadb.PersistentClient(str(self.folder), settings=settings)
        if not self.url:
            return chromadb.EphemeralClient(settings=settings)
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PassageIndexError(f"'{self.url}' is no Chroma URL. Set chroma_url to one like http://127.0.0.1:8000.")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 8000)
        # The library looks at the server before it can be told how long to wait.
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        _ask_heartbeat(f"{parts.scheme}://{name}:{port}", self._patience)
        client = chromadb.HttpClient(host=parts.hostname, port=port, ssl=tls, settings=settings)
        _wait_at_most(client, self._patience)
        return client

    @contextmanager
    def _spoken_errors(self) -> Generator[None]:
        """Chroma's many errors (a Rust panic among them, which is no Exception) as one sentence."""
        try:
            yield
        except (FiresideError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as exc:
            text = str(exc).splitlines()[0][:200].rstrip(".") if str(exc) else type(exc).__name__
            if self.url:
                if _timed_out(exc):
                    self._left_alone_until = time.monotonic() + LEFT_ALONE
                    text = f"it hangs ({text})"
                raise self._unreachable(text) from exc
            raise PassageIndexError(
                f"Can't use the index at '{self.where}': {text}. Check that the disk is writable and has room; "
                "if the index itself is broken, run `fireside index --rebuild`."
            ) from exc

    def _unreachable(self, why: str) -> PassageIndexError:
        return PassageIndexError(f"Can't use the Chroma server at {self.url}: {why}. Is it running?")

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Around a build: a server may take long for each step of it."""
        client = self._client()
        if not self.url:
            yield
            return
        _wait_at_most(client, WRITES_WITHIN)
        try:
            yield
        finally:
            _wait_at_most(client, self._patience)

    def _read(self, part: str, embedder: Embedder, work: Callable[[Collection], T]) -> T:
        """What comes of a look into a part of the index, which has to be complete: in half of one, what the talks do say
        would not be found."""
        try:
            with self._spoken_errors():
                if time.monotonic() < self._left_alone_until:
                    raise self._unreachable("it did not answer a moment ago")
                try:
                    found = work(self._complete(part, embedder))
                except Exception as exc:
                    if type(exc).__name__ != "NotFoundError":
                        raise
                    self._collections.clear()  # it was built anew meanwhile, under other ids
                    found = work(self._complete(part, embedder))
        except PassageIndexError as exc:
            if not self._away:
                self._away = True
                log.warning(f"{exc} Until then I tell those who ask that I can't look anything up.")
            raise
        if self._away:
            self._away = False
            log.warning("The index can be read again.")
        return found

    def _complete(self, part: str, embedder: Embedder) -> Collection:
        found = self._open(part, embedder)
        if not (found.metadata or {}).get("corpus"):
            self._collections.clear()  # another process may complete it
            raise PassageIndexError(
                f"The index at '{self.where}' is gone, or not complete. Run `fireside index`, or start again."
            )
        return found

    def _open(self, part: str, embedder: Embedder) -> Collection:
        """A part's collection ("texts" or "words"), emptied first if another version or embedding made it."""
        if part not in self._collections:
            client = self._client()
            name = f"{self.name}-{part}"
            wanted = {"format": FORMAT, "embedding": embedder.fingerprint}
            fresh = {"hnsw:space": "cosine", "hnsw:search_ef": _SEARCH_EF, **wanted, "corpus": ""}
            found = client.get_or_create_collection(name, metadata=fresh, embedding_function=None)
            have = dict(found.metadata or {})
            if any(have.get(key) != value for key, value in wanted.items()):
                client.delete_collection(name)
                found = client.create_collection(name, metadata=fresh, embedding_function=None)
            self._collections[part] = found
        return self._collections[part]

    def is_current(self, corpus: Corpus, embedder: Embedder) -> bool:
        """Whether a build for this very corpus and embedding went through."""
        with self._spoken_errors():
            return all((self._open(p, embedder).metadata or {}).get("corpus") == corpus.fingerprint for p in PARTS)

    def build(
        self, corpus: Corpus, embedder: Embedder, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> Built:
        """Brings the index to the corpus; `progress` is told the rows embedded and to embed."""
        wanted = {row.id: row for row in rows(corpus)}
        with self._spoken_errors(), self._writing():
            have = {key: part for part in PARTS for key in self._open(part, embedder).get(include=[])["ids"]}
            gone = sorted(have.keys() - wanted.keys())
            new = [row for key, row in wanted.items() if key not in have]
            for part in PARTS:
                self._mark(part, embedder, "")
                dropped = [key for key in gone if have[key] == part]
                for at in range(0, len(dropped), _ADD_AT_ONCE):
                    self._open(part, embedder).delete(ids=dropped[at : at + _ADD_AT_ONCE])
            progress(0, len(new))
            done = 0
            for part in PARTS:
                mine = [row for row in new if row.part == part]
                for at in range(0, len(mine), _ADD_AT_ONCE):
                    chunk = mine[at : at + _ADD_AT_ONCE]
                    vectors: list[Sequence[float]] = []
                    metadata: list[Mapping[str, Any]] = []
                    try:
                        for begin in range(0, len(chunk), _EMBED_AT_ONCE):
                            few = chunk[begin : begin + _EMBED_AT_ONCE]
                            vectors += [list(v) for v in embedder.embed([row.text for row in few])]
                            metadata += _metadata(few, embedder)
                            done += len(few)
                            progress(done, len(new))
                    finally:  # Ctrl-C loses none that is embedded
                        if whole := chunk[: len(metadata)]:
                            self._open(part, embedder).upsert(
                                ids=[row.id for row in whole],
                                embeddings=vectors[: len(whole)],
                                documents=[row.text for row in whole],
                                metadatas=metadata,
                            )
            for part in PARTS:
                self._mark(part, embedder, corpus.fingerprint)
        return Built(len(new), len(gone), len(wanted) - len(new))

    def _mark(self, part: str, embedder: Embedder, corpus: str) -> None:
        metadata = {"format": FORMAT, "embedding": embedder.fingerprint, "corpus": corpus}
        self._open(part, embedder).modify(metadata=metadata)

    def search(self, vector: Sequence[float], embedder: Embedder, limit: int) -> list[tuple[str, float]]:
        """The nearest passages and sentences: (id, cosine), nearest first."""

        def nearest(rows: Collection) -> list[tuple[str, float]]:
            result = rows.query(query_embeddings=[list(vector)], n_results=limit, include=["distances"])
            distances = cast("list[list[float]]", result["distances"])
            return [(key, 1.0 - float(d)) for key, d in zip(result["ids"][0], distances[0], strict=True)]

        return self._read("texts", embedder, nearest)

    def vectors(self, ids: Sequence[str], embedder: Embedder, part: str = "texts") -> dict[str, Vector]:
        """The stored vectors of some rows; ids that the index lacks are left out."""
        wanted = dict.fromkeys(ids)
        new = [key for key in wanted if key not in self._vectors]
        found: dict[str, Vector] = {key: self._vectors[key] for key in wanted if key in self._vectors}
        if new:
            result = self._read(part, embedder, lambda rows: rows.get(ids=new, include=["embeddings"]))
            rows = zip(result["ids"], cast("Any", result["embeddings"]), strict=True)
            got = {key: np.asarray(v, dtype=np.float32) for key, v in rows}
            found |= got
            if part == "texts":
                self._vectors |= got
                while len(self._vectors) > _REMEMBERED_VECTORS:
                    del self._vectors[next(iter(self._vectors))]
        return found

    def readings(self, ids: Sequence[str], embedder: Embedder) -> dict[str, tuple[TokenVectors, ...]]:
        """The token vectors of some passages, sentence by sentence; ids that the index lacks are left out."""
        new = [key for key in dict.fromkeys(ids) if key not in self._readings]
        if new:
            result = self._read("texts", embedder, lambda rows: rows.get(ids=new, include=["metadatas"]))
            rows = zip(result["ids"], cast("Any", result["metadatas"]), strict=True)
            self._readings |= {key: _unpacked(metadata) for key, metadata in rows if "tokens" in metadata}
        found = {key: self._readings[key] for key in dict.fromkeys(ids) if key in self._readings}
        while len(self._readings) > _REMEMBERED:
            del self._readings[next(iter(self._readings))]
        return found

    def count(self, embedder: Embedder) -> int:
        """How many rows there are."""
        with self._spoken_errors():
            return sum(self._open(part, embedder).count() for part in PARTS)

    def wipe(self) -> None:
        """Deletes the index; the next build starts from nothing."""
        self._collections.clear()
        self._readings.clear()
        self._vectors.clear()
        if self._client_ is None and self.folder and not self.url:
            # Not through Chroma: a broken database can't be opened.
            try:
                shutil.rmtree(self.folder, ignore_errors=False)
            except FileNotFoundError:
                pass
            except OSError as exc:
                raise PassageIndexError(
                    f"Can't delete the index at '{self.folder}': {exc.strerror}. Delete it by hand."
                ) from exc
            return
        with self._spoken_errors():
            client = self._client()
            have = {c.name for c in client.list_collections()}
            for part in PARTS:
                if f"{self.name}-{part}" in have:
                    client.delete_collection(f"{self.name}-{part}")


@contextmanager
def _overrides_unchecked() -> Generator[None]:
    """While it is imported, chromadb's `@override`s compare signatures, which takes half a second of every start and is its
    developers' concern; here they only mark."""
    try:
        import overrides
    except ImportError:  # a later chromadb may do without
        yield
        return

    checked = overrides.override, overrides.overrides

    def marked(method: Any = None, **_options: bool) -> Any:
        if method is None:
            return marked
        method.__override__ = True  # what the base classes look for
        return method

    try:
        overrides.override = overrides.overrides = marked
        yield
    finally:
        overrides.override, overrides.overrides = checked


def _wait_at_most(client: ClientAPI, seconds: float) -> None:
    """Sets how long a server may take for an answer, which the library has no setting for."""
    cast("Any", client)._server._session.timeout = seconds


def _ask_heartbeat(url: str, patience: float) -> None:
    """Whether a Chroma server answers at all; an httpx error if it doesn't."""
    import httpx

    httpx.get(f"{url}/api/v2/heartbeat", timeout=patience)


def _timed_out(exc: BaseException) -> bool:
    import httpx

    return isinstance(exc, httpx.TimeoutException)
