"""Opens the persona that the settings name, its index brought up to date; says what a user should know of it.

Import it when it is needed, not at start: it brings numpy, llama.cpp and the whole line along.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from persona.card import Card, load_card
from persona.corpus import load_corpus
from persona.errors import ConfigError
from persona.index import PassageIndex
from persona.llama import LlamaEmbedder
from persona.pipeline import Fireside, is_calibrated
from persona.settings import Settings
from persona.types import Embedder

Tell = Callable[[int, int], None]  # is told how much is done, of how much


def open_fireside(settings: Settings, progress: Tell | None = None, embedder: Embedder | None = None) -> Fireside:
    """The persona, ready to answer; the first time this builds its index, which `progress` is told about."""
    card = load_card(settings.persona)
    index = open_index(settings, card)
    with ThreadPoolExecutor(max_workers=1) as beside:
        # llama.cpp loads without the interpreter's lock. Chroma's import and the corpus both need it: one after the other.
        loading = beside.submit(LlamaEmbedder) if embedder is None else None
        index.connect()
        corpus = load_corpus(card.catalog, card.aliases)
        embedder = embedder or (loading.result() if loading else LlamaEmbedder())
    return Fireside.open(card, index, embedder, corpus=corpus, progress=progress)


def open_index(settings: Settings, card: Card) -> PassageIndex:
    """The persona's index: on the Chroma server of `chroma_url`, else in the data folder."""
    if settings.chroma_url:
        return PassageIndex(card.id, url=settings.chroma_url)
    folder = settings.data_dir / "index" / card.id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(
            f"Can't make the folder '{folder}': {exc.strerror}. "
            "Choose another one with --data-dir or FIRESIDE_DATA_DIR."
        ) from None
    return PassageIndex(card.id, folder=folder)


def notes(settings: Settings, fireside: Fireside) -> list[str]:
    """What a user should know before the first answer, a sentence each."""
    out: list[str] = []
    if not is_calibrated(fireside.card, fireside.corpus):
        out.append(
            f"The persona '{fireside.card.id}' is not calibrated for its documents, so it uses a cautious threshold "
            f"({fireside.policy.threshold:g}). Run `fireside eval calibrate` to fit one."
        )
    if settings.risk is not None:
        out.append(
            f"The risk {settings.risk:g} that you set is not used: "
            f"this version takes its threshold from the persona's calibration ({fireside.policy.risk})."
        )
    return out


@contextmanager
def progress_bar() -> Generator[Tell]:
    """A bar on stderr that appears with the first thing to embed; where stderr is no terminal, one line."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("Reading the talks…", total=None)

    def show(done: int, total: int) -> None:
        if not total:
            return
        if not done:
            if console.is_terminal:
                bar.start()
            else:
                print("Reading the talks…", file=sys.stderr, flush=True)
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
