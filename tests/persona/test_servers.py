"""The whole line with the parts that lie on servers: a real Chroma, and real and scripted chat models."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from persona.card import load_card
from persona.errors import PassageIndexError
from persona.index import PassageIndex
from persona.llama import LlamaEmbedder, LlamaJudge
from persona.model_voice import SAMPLING, ModelVoice
from persona.pipeline import Answered, Fireside, build
from persona.remote import RemoteModel
from persona.types import Question, Reason, Reply
from scripts.random_gguf import write_gguf
from tests.persona.corpora import assert_sentence
from tests.servers import Answer, ChatServer, ChromaServer, llama_server, words

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

MARA = Path(__file__).parents[1] / "data" / "second" / "mara.toml"
ASKED = Question(text="On a clear night, how many miles did the light carry?")


@pytest.fixture(scope="module")
def chroma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChromaServer]:
    """A Chroma server on a folder of its own."""
    with ChromaServer(tmp_path_factory.mktemp("chroma")) as server:
        yield server


@pytest.fixture
def served(chroma: ChromaServer, embedder: LlamaEmbedder, judge: LlamaJudge) -> Iterator[Fireside]:
    """A small persona whose index is built on the server."""
    card = load_card(str(MARA))
    made = Fireside.open(card, PassageIndex(card.id, url=chroma.url), embedder, judge=judge)
    yield made.at(0.0)
    made.close()


def reply_of(fireside: Fireside, question: Question = ASKED) -> Reply:
    return fireside.answer(question).reply


async def test_an_index_on_a_server_outlives_the_server_and_the_bot_waits_for_it(
    chroma: ChromaServer, served: Fireside, embedder: LlamaEmbedder, caplog: pytest.LogCaptureFixture
):
    rows = served.index.count(embedder)
    before = reply_of(served)
    assert before.reason is Reason.SUPPORTED
    assert "nineteen miles" in before.text
    chroma.stop()
    with pytest.raises(PassageIndexError) as caught:
        served.index.search([0.1] * 384, embedder, 1)
    assert_sentence(caught.value, chroma.url, "Is it running?")
    away = reply_of(served, Question(text="Who kept the lighthouse before her?"))
    assert (away.reason, away.text) == (Reason.UNAVAILABLE, served.card.abstain.unavailable)
    assert reply_of(served, Question(text="What did the fog bell weigh?")).reason is Reason.UNAVAILABLE
    chroma.start()
    assert reply_of(served, Question(text="Who kept the lighthouse before her?")).reason is not Reason.UNAVAILABLE
    assert served.index.count(embedder) == rows
    told = [record.getMessage() for record in caplog.records if record.name == "fireside.index"]
    assert len(told) == 2, "it is said when the index goes, and when it comes back; not for each question"


async def test_a_server_that_hangs_costs_one_wait_and_is_not_waited_for_again_at_once(
    chroma: ChromaServer, served: Fireside, embedder: LlamaEmbedder
):
    card = served.card
    index = PassageIndex(card.id, url=chroma.url, patience=1.0)
    index.count(embedder)
    chroma.pause()
    try:
        with pytest.raises(PassageIndexError, match="hangs"):
            index.search([0.1] * 384, embedder, 1)
        begun = time.perf_counter()
        with pytest.raises(PassageIndexError, match="did not answer a moment ago"):
            index.search([0.1] * 384, embedder, 1)
        assert time.perf_counter() - begun < 1.0, "no second wait"
        with pytest.raises(PassageIndexError, match="hangs"):
            PassageIndex(card.id, url=chroma.url, patience=1.0).connect()
    finally:
        chroma.pause(False)


async def test_a_server_that_lost_the_index_is_never_taken_for_a_corpus_without_answers(
    chroma: ChromaServer, served: Fireside, embedder: LlamaEmbedder
):
    chroma.stop()
    shutil.rmtree(chroma.folder)
    chroma.folder.mkdir()
    chroma.start()
    asked = Question(text="How high is the tower of the lighthouse?")
    assert reply_of(served, asked).reason is Reason.UNAVAILABLE
    with pytest.raises(PassageIndexError) as caught:
        served.index.search([0.1] * 384, embedder, 1)
    assert_sentence(caught.value, chroma.url, "fireside index")
    # Another process builds it anew: the bot goes on by itself.
    build(served.corpus, PassageIndex(served.card.id, url=chroma.url), embedder)
    assert reply_of(served, asked).reason is not Reason.UNAVAILABLE


# --- A chat model by URL


@pytest.fixture(scope="module")
def mara(embedder: LlamaEmbedder, judge: LlamaJudge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fireside]:
    """The small persona with an index in a folder."""
    card = load_card(str(MARA))
    made = Fireside.open(card, PassageIndex(card.id, folder=tmp_path_factory.mktemp("mara")), embedder, judge=judge)
    yield made.at(0.0)
    made.close()


@pytest.fixture
async def away() -> AsyncIterator[list[RemoteModel]]:
    """Chat models that are closed after the test."""
    made: list[RemoteModel] = []
    yield made
    for model in made:
        await model.close()


def speaking(fireside: Fireside, model: RemoteModel, seconds: float) -> Fireside:
    """The persona with a chat model that has so many seconds for an answer."""
    other = fireside.speaking(model, None)
    sampling = SAMPLING.model_copy(update={"deadline": seconds, "max_tokens": 24})
    voice = fireside.voice
    other.writer = ModelVoice(fireside.card, fireside.corpus, model, voice, fireside.embedder, sampling=sampling)
    return other


async def told(fireside: Fireside) -> Answered:
    async with aclosing(fireside.stream(ASKED)) as parts:
        async for part in parts:
            if isinstance(part, Answered):
                return part
    raise AssertionError("no answer")


async def test_a_real_server_s_model_is_asked_and_what_it_cannot_prove_is_not_said(
    mara: Fireside, away: list[RemoteModel], tmp_path: Path
):
    gguf = write_gguf(tmp_path / "tiny.gguf")  # random weights: it writes noise
    with llama_server(gguf, "--n_ctx", "4096", "--interrupt_requests", "false") as url:
        away.append(RemoteModel(url))
        answered = await told(speaking(mara, away[0], 60.0))
    assert away[0].name == "tiny.gguf", "it was reached"
    assert answered.trace.cuts, "it wrote something"
    assert (answered.reply.reason, answered.reply.voice) == (Reason.SUPPORTED, "quotes")
    assert mara.card.answer.away not in answered.reply.text


async def test_a_model_that_hangs_is_left_at_the_deadline_and_the_quotation_says_so(
    mara: Fireside, away: list[RemoteModel]
):
    with ChatServer([Answer(ends="mute")]) as server:
        away.append(RemoteModel(server.url, patience=0.1))
        bot = speaking(mara, away[0], 0.3)
        first = await told(bot)
        server.lists = {"/v1/models": Answer(ends="mute")}
        others = [await told(bot) for _ in range(2)]
    for answered in (first, *others):
        assert (answered.reply.reason, answered.reply.voice) == (Reason.SUPPORTED, "quotes")
        assert answered.reply.text.endswith(mara.card.answer.away)
    assert len(server.bodies) == 1, "it is asked to write once"
    assert len(server.gets) == 2, "and looked at once more"


async def test_a_model_that_hung_and_lives_again_is_asked_again(mara: Fireside, away: list[RemoteModel]):
    with ChatServer([Answer(ends="mute"), words("noise")]) as server:
        away.append(RemoteModel(server.url))
        bot = speaking(mara, away[0], 0.3)
        assert mara.card.answer.away in (await told(bot)).reply.text
        assert mara.card.answer.away not in (await told(bot)).reply.text
    assert len(server.bodies) == 2
