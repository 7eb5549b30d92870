"""Opens the persona that the settings name, its index brought up to date.

Import it when it is needed, not at start: it brings numpy, llama.cpp and the whole line along.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from persona.card import Card, load_card
from persona.corpus import load_corpus
from persona.errors import ConfigError, FiresideError
from persona.index import PassageIndex
from persona.llama import LlamaEmbedder, LlamaJudge
from persona.models import Coefficients
from persona.pipeline import Fireside
from persona.settings import Settings
from persona.support import load_support
from persona.types import ChatModel, Judge

if TYPE_CHECKING:
    from persona.llama.vetting import ModelFacts
    from persona.remote import RemoteModel

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
    # Two pools of threads that spin on the same cores slow each other tenfold: beside a chat model one thread reads.
    threads = 1 if speaks_here(settings) else settings.threads
    with ThreadPoolExecutor(max_workers=3) as beside:
        # llama.cpp loads without the interpreter's lock. Chroma's import and the corpus both need it: one after the other.
        speaking = beside.submit(_chat_model, settings)
        embedding = beside.submit(LlamaEmbedder, threads=threads)
        judging = beside.submit(LlamaJudge, threads=threads) if judge is None else None
        index.connect()
        corpus = load_corpus(card.catalog, card.aliases)
    model, problem = speaking.result()
    fireside = Fireside.open(
        card,
        index,
        embedding.result(),
        judge=judging.result() if judging else judge,
        coefficients=coefficients,
        corpus=corpus,
        risk=settings.risk,
        progress=progress,
    )
    if model is not None:
        fireside = fireside.speaking(model, load_support(), think=settings.think)
    fireside.model_problem = problem
    return fireside


def speaks_here(settings: Settings) -> bool:
    """Whether a chat model shall run in this process."""
    return settings.voice != "quotes" and settings.chat_model is not None and settings.model_url is None


def open_chat_model(settings: Settings) -> ChatModel | None:
    """The chat model that the settings name: on a server, or in this process; None for the `quotes` voice. Nothing is
    fetched. FiresideError where it can't be used."""
    if settings.voice == "quotes":
        return None
    if (remote := served_model(settings)) is not None:
        return remote
    facts = vetted_model(settings)
    if facts is None:
        if settings.voice == "model":
            raise ConfigError(
                "The voice is 'model', and no chat model is set. Run `fireside model pull`, then set FIRESIDE_CHAT_MODEL "
                "(or FIRESIDE_MODEL_URL for a server)."
            )
        return None
    from persona.llama.engine import Engine, EngineOptions

    options = EngineOptions(
        context=settings.context,
        parallel=settings.parallel,
        threads=settings.threads,
        gpu_layers=settings.gpu_layers,
        flash_attention=settings.flash_attention,
    )
    return Engine(facts.path, options)


def served_model(settings: Settings) -> RemoteModel | None:
    """The chat model on the server that the settings name, not asked yet; None where they name no server. ConfigError
    where its address or token can't be used."""
    if settings.model_url is None:
        return None
    from persona.remote import RemoteModel

    token = settings.model_token.get_secret_value() if settings.model_token else None
    return RemoteModel(settings.model_url, model=settings.chat_model, token=token)


def vetted_model(settings: Settings) -> ModelFacts | None:
    """The facts of the chat model's file that the settings name; None where they name none. HubError or ModelError where
    it isn't there or can't be used."""
    if settings.chat_model is None:
        return None
    from persona.hub import MODELS, resolve
    from persona.llama.vetting import vet

    return vet(resolve(settings.chat_model, settings.data_dir / MODELS))


def _chat_model(settings: Settings) -> tuple[ChatModel | None, str]:
    """The chat model, or why there is none: without it the bot goes on in the `quotes` voice, unless `model` was asked."""
    try:
        return open_chat_model(settings), ""
    except FiresideError as exc:
        if settings.voice == "model":
            raise
        return None, str(exc)


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
