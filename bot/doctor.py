"""`fireside doctor`: everything that a start needs, one line each, with what to do where something is wrong."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TextIO

from persona.card import Card, load_card
from persona.corpus import Corpus, load_corpus
from persona.errors import ConfigError, FiresideError
from persona.llama import (
    EMBEDDING_MODEL,
    EMBEDDING_SHA256,
    JUDGE_MODEL,
    JUDGE_SHA256,
    READER_MODEL,
    READER_SHA256,
    LlamaEmbedder,
)
from persona.opening import open_index, served_model, vetted_model
from persona.pipeline import why_uncalibrated
from persona.settings import Settings
from persona.types import Embedder

if TYPE_CHECKING:
    from persona.remote import RemoteModel

OLDEST_PYTHON = (3, 11)
ROOM = 200 * 1024 * 1024  # bytes; an index of five documents takes a tenth of it


class Check(NamedTuple):
    """What was looked at, how it stands, and what that means. A "note" is worth knowing, but stops nothing."""

    what: str
    state: Literal["ok", "note", "problem"]
    says: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.state:<8} {self.what}: {self.says}"


def examine(settings: Callable[[], Settings], terminal: TextIO | None = None) -> Iterator[Check]:
    """Each check as it is made; what needs something that is broken is left out."""
    yield python(sys.version_info[:3])
    yield from _from_settings(settings)
    yield screen(terminal or sys.stdout)


def _from_settings(load: Callable[[], Settings]) -> Iterator[Check]:
    try:
        settings = load()
    except FiresideError as exc:
        yield Check("settings", "problem", str(exc))
        return
    yield Check("settings", "ok", f"voice {settings.voice}, persona '{settings.persona}'")
    yield (folder := data_folder(settings.data_dir))
    models = [weights(*model) for model in MODELS]
    yield from models
    yield chat_model(settings)
    try:
        card = load_card(settings.persona)
    except FiresideError as exc:
        yield Check("persona", "problem", str(exc))
        return
    yield Check("persona", "ok", f"{card.name}, from '{card.path}'")
    try:
        corpus = load_corpus(card.catalog, card.aliases)
    except FiresideError as exc:
        yield Check("documents", "problem", str(exc))
        return
    yield Check("documents", "ok", f"{len(corpus.documents)} read, {len(corpus.passages)} passages")
    yield calibration(card, corpus)
    if "problem" not in (folder.state, *(m.state for m in models)):
        yield passages(settings, card, corpus, LlamaEmbedder)


def python(version: tuple[int, ...]) -> Check:
    """Whether Python is new enough."""
    shown = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        needed = ".".join(map(str, OLDEST_PYTHON))
        return Check("Python", "problem", f"{shown} is too old. Install Python {needed} or later.")
    return Check("Python", "ok", shown)


def data_folder(folder: Path) -> Check:
    """Whether the data folder can be written and has room; it need not be there yet."""
    elsewhere = "Choose another folder with --data-dir or FIRESIDE_DATA_DIR."
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not there.is_dir():
            return Check("data folder", "problem", f"'{there}' is a file, not a folder. {elsewhere}")
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as exc:
        return Check("data folder", "problem", f"'{folder}' can't be written: {exc.strerror}. {elsewhere}")
    if free < ROOM:
        need = f"{free / 2**20:.0f} MB free, {ROOM / 2**20:.0f} MB needed"
        return Check("data folder", "problem", f"'{folder}' has too little room ({need}). Make room. {elsewhere}")
    return Check("data folder", "ok", f"'{folder}', {free / 2**30:.1f} GB free")


MODELS = (
    ("embedding model", EMBEDDING_MODEL, EMBEDDING_SHA256),
    ("reader", READER_MODEL, READER_SHA256),
    ("judge", JUDGE_MODEL, JUDGE_SHA256),
)


def weights(name: str, path: Path, sha256: str) -> Check:
    """Whether a bundled model is whole."""
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as exc:
        return Check(name, "problem", f"'{path}' can't be read: {exc.strerror}. Reinstall fireside.")
    if digest != sha256:
        return Check(name, "problem", f"'{path}' is corrupt (its sha256 differs). Reinstall fireside.")
    return Check(name, "ok", f"{path.name}, checksum right")


def chat_model(settings: Settings) -> Check:
    """Whether the chat model that is set can be used; without one, or while it is away, the `quotes` voice answers."""
    if settings.voice == "quotes" or not (settings.chat_model or settings.model_url or settings.voice == "model"):
        return Check("chat model", "ok", "none set, so the `quotes` voice answers")
    try:
        return Check("chat model", "ok", _speaks(settings))
    except FiresideError as exc:
        if settings.voice == "model":
            return Check("chat model", "problem", str(exc))
        return Check("chat model", "note", f"{exc} Until then the `quotes` voice answers.")


def _speaks(settings: Settings) -> str:
    if (remote := served_model(settings)) is not None:
        return f"{asyncio.run(_served(remote))}, served"
    facts = vetted_model(settings)
    if facts is None:
        raise ConfigError("No chat model is set. Run `fireside model pull`, then set FIRESIDE_CHAT_MODEL.")
    return "; ".join((f"{facts.path.name}, {facts.architecture}, {facts.quantisation}", *facts.notes))


async def _served(model: RemoteModel) -> str:
    try:
        return await model.check()
    finally:
        await model.close()


def calibration(card: Card, corpus: Corpus) -> Check:
    """Whether the threshold was fitted for these documents."""
    try:
        why = why_uncalibrated(card, corpus)
    except FiresideError as exc:
        return Check("calibration", "problem", str(exc))
    if not why:
        return Check("calibration", "ok", "made for these documents")
    return Check("calibration", "note", f"{why}, so the threshold is cautious. Run `fireside eval calibrate`.")


def passages(settings: Settings, card: Card, corpus: Corpus, load: Callable[[], Embedder]) -> Check:
    """Whether the index holds these documents; none yet is no problem, for the first question builds it."""
    if not settings.chroma_url and not (settings.data_dir / "index" / card.id / "chroma.sqlite3").exists():
        return Check("index", "note", "not built yet. The first question builds it, or `fireside index` now.")
    try:
        embedder = load()
        index = open_index(settings, card)
        current = index.is_current(corpus, embedder)
        rows = index.count(embedder)
    except FiresideError as exc:
        return Check("index", "problem", str(exc))
    if not current:
        return Check("index", "note", "not up to date. The next question updates it, or `fireside index` now.")
    return Check("index", "ok", f"{rows:,} rows at {index.where}")


def screen(terminal: TextIO) -> Check:
    """What the terminal can show."""
    encoding = (terminal.encoding or "").lower().replace("-", "")
    if not terminal.isatty():
        return Check("terminal", "ok", "none here (output goes to a file or pipe), so no colours")
    if not encoding.startswith("utf8"):
        return Check(
            "terminal", "note", f"it shows {terminal.encoding}, so “ ” and … may show as ?. Set LANG to a UTF-8 locale."
        )
    return Check("terminal", "ok", f"UTF-8, {shutil.get_terminal_size().columns} columns")
