"""What all tests share: the bundled persona, its corpus and index (built once a run), and a closed network.

No test reaches a network. One that talks to a local server of its own says so with
`@pytest.mark.allow_hosts(["127.0.0.1"])`; every other one can't even open a socket (Unix ones apart: asyncio needs
them).
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_socket
from filelock import FileLock
from hypothesis import settings

from persona.card import Card, load_card
from persona.corpus import Corpus, load_corpus
from persona.index import PassageIndex
from persona.llama import LlamaEmbedder, LlamaJudge
from persona.pipeline import Fireside

# The same examples in every run: a red test is a changed line, not a lucky draw. No deadline: the machine may be busy.
settings.register_profile("fireside", max_examples=40, derandomize=True, deadline=None, database=None)
settings.load_profile("fireside")

# Beside other workers of pytest-xdist one thread each: two pools that spin on the same cores slow each other tenfold.
THREADS = 1 if "PYTEST_XDIST_WORKER" in os.environ else None

_OPENS_SOCKETS = ("allow_hosts", "enable_socket")


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if not any(item.get_closest_marker(name) for name in _OPENS_SOCKETS) and "socket_enabled" not in getattr(
        item, "fixturenames", ()
    ):
        pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test touches the user's own index, store or models."""
    folder = tmp_path_factory.mktemp("fireside")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FIRESIDE_DATA_DIR", str(folder))
        if THREADS:  # in the processes that tests start, too
            environment.setenv("FIRESIDE_THREADS", str(THREADS))
        yield folder


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """What a test sets up of the log is not the next one's."""
    root, ours = logging.getLogger(), logging.getLogger("fireside")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture(scope="session")
def card() -> Card:
    """The bundled persona."""
    return load_card("ilya")


@pytest.fixture(scope="session")
def corpus(card: Card) -> Corpus:
    """What the bundled persona knows."""
    return load_corpus(card.catalog, card.aliases)


@pytest.fixture(scope="session")
def embedder() -> Iterator[LlamaEmbedder]:
    """The bundled weights, in llama.cpp."""
    made = LlamaEmbedder(threads=THREADS)
    yield made
    made.close()


@pytest.fixture(scope="session")
def judge() -> Iterator[LlamaJudge]:
    """The bundled judge, in llama.cpp."""
    made = LlamaJudge(threads=THREADS)
    yield made
    made.close()


@pytest.fixture(scope="session")
def data_dir(_home: Path, card: Card, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the bundled persona's index in it. The first worker that needs it builds it for all, with all
    cores: the others mostly wait for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    built = shared / "index"
    with FileLock(shared / "index.lock"):
        if not built.exists():
            unfinished = shared / "index.unfinished"
            embedder = LlamaEmbedder()
            PassageIndex(card.id, folder=unfinished / card.id).build(corpus, embedder)
            embedder.close()
            unfinished.rename(built)
    shutil.copytree(built, _home / "index", dirs_exist_ok=True)
    return _home


@pytest.fixture(scope="session")
def fireside(data_dir: Path, card: Card, embedder: LlamaEmbedder, judge: LlamaJudge) -> Iterator[Fireside]:
    """The bundled persona, ready to answer."""
    made = Fireside.open(card, PassageIndex(card.id, folder=data_dir / "index" / card.id), embedder, judge=judge)
    yield made
    made.close()
