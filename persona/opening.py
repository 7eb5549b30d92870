"""Opens the persona that the settings name, its index brought up to date.

Import it when it is needed, not at start: it brings numpy, llama.cpp and the whole line along.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from persona.card import Card, load_card
from persona.corpus import load_corpus
from persona.errors import ConfigError
from persona.index import PassageIndex
from persona.llama import LlamaEmbedder, LlamaJudge
from persona.models import Coefficients
from persona.pipeline import Fireside
from persona.settings import Settings
from persona.types import Judge

Tell = Callable[[int, int], None]  # is told how much is done, of how much


def open_fireside(
    settings: Settings,
    progress: Tell | None = None,
    coefficients: Coefficients | None = None,
    judge: Judge | None = None,
) -> Fireside:
    """The persona, ready to answer; the first time this builds its index, which `progress` is told about. `coefficients`
    and `judge` instead of the bundled ones."""
    card = load_card(settings.persona)
    index = open_index(settings, card)
    with ThreadPoolExecutor(max_workers=2) as beside:
        # llama.cpp loads without the interpreter's lock. Chroma's import and the corpus both need it: one after the other.
        embedding = beside.submit(LlamaEmbedder)
        judging = beside.submit(LlamaJudge) if judge is None else None
        index.connect()
        corpus = load_corpus(card.catalog, card.aliases)
    return Fireside.open(
        card,
        index,
        embedding.result(),
        judge=judging.result() if judging else judge,
        coefficients=coefficients,
        corpus=corpus,
        risk=settings.risk,
        progress=progress,
    )


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
