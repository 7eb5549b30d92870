"""The host over a small persona, with a fake embedding and no weights; a gate holds answers back where turns matter."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, closing
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bot.host import COMMANDS, Asker, Host, Refusal, Refused, Update, Waiting, Writing, span
from bot.limits import Limits
from bot.store import PlaceSettings, Store
from persona.card import load_card
from persona.errors import ConfigError, InputError, PassageIndexError, VerificationError
from persona.index import PassageIndex
from persona.models import load_coefficients
from persona.pipeline import Answered, Fireside
from persona.types import Decision, Question, Reason, Trace, Turn
from tests.bot.replies import reply
from tests.fakes import HashEmbedder, ScriptedModel, written
from tests.persona.corpora import assert_sentence

CARD = Path(__file__).parents[1] / "data" / "second" / "mara.toml"
ASKED = "On a clear night, how many miles did it carry?"
SAID = "On a clear night it carried nineteen miles."
ANN = Asker("discord", "ann", "g1", "c1")
BOB = Asker("discord", "bob", "g1", "c2")


@pytest.fixture(scope="module")
def mara(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fireside]:
    """A persona that answers all that it finds anything for."""
    embedder = HashEmbedder(dimensions=384)  # as many as the coefficients were fitted for
    fitted = load_coefficients().model_copy(update={"embedding": embedder.fingerprint})
    card = load_card(str(CARD))
    index = PassageIndex(card.id, folder=tmp_path_factory.mktemp("mara"))
    made = Fireside.open(card, index, embedder, coefficients=fitted)
    yield made.at(0.0)
    made.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = await Store.open(tmp_path / "store")
    yield made
    await made.close()


class Gated:
    """Stands where the Fireside does: answers when it is let, in the order of the questions, and counts who is at work."""

    model_problem = ""

    def __init__(self, real: Fireside, error: Exception | None = None, model: object = None) -> None:
        self.card, self.corpus, self.policy = real.card, real.corpus, real.policy
        self.writer = None if model is None else SimpleNamespace(model=model)
        self.gate = asyncio.Semaphore(0)
        self.error = error
        self.log: dict[str, Any] = {"at work": 0, "most": 0, "asked": []}  # shared with the copies

    def close(self) -> None:
        self.log["closed"] = True

    async def stream(self, question: Question, *, user: str = "", seed: int = 0) -> AsyncGenerator[str | Answered]:
        self.log["at work"] += 1
        self.log["most"] = max(self.log["most"], self.log["at work"])
        self.log["asked"].append((question.text, user, seed))
        try:
            await self.gate.acquire()
            if self.error is not None:
                raise self.error
            answered = Answered(reply(Reason.SUPPORTED, f"{question.text}!"), Trace())
            yield answered.reply.text
            yield answered
        finally:
            self.log["at work"] -= 1


def host_of(fireside: object, store: Store, *args: Any, **named: Any) -> Host:
    return Host(fireside, store, *args, **named)  # pyright: ignore[reportArgumentType]


class Person:
    """Asks in a task of its own, and keeps what it is told."""

    def __init__(self, host: Host, text: str, asker: Asker = ANN) -> None:
        self.told: list[Update] = []
        self.task = asyncio.create_task(self._ask(host, Question(text=text), asker))

    async def _ask(self, host: Host, question: Question, asker: Asker) -> None:
        async with aclosing(host.answer(question, asker)) as updates:
            async for update in updates:
                self.told.append(update)

    @property
    def places(self) -> list[int]:
        return [u.place for u in self.told if isinstance(u, Waiting)]


class Ending(ScriptedModel):
    """Notes that it was closed."""

    ended = False

    async def close(self) -> None:
        self.ended = True


class Observed:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.replies: list[tuple[str, str, float, float]] = []
        self.refusals: list[tuple[str, Refusal]] = []
        self.failures: list[tuple[str, Exception]] = []

    def answered(self, answered: Answered, platform: str, *, waited: float, seconds: float) -> None:
        self.replies.append((platform, answered.reply.reason, waited, seconds))

    def refused(self, platform: str, why: Refusal) -> None:
        self.refusals.append((platform, why))

    def failed(self, platform: str, error: Exception) -> None:
        self.failures.append((platform, error))


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def all_of(host: Host, text: str = ASKED, asker: Asker = ANN, **named: Any) -> list[Update]:
    return [update async for update in host.answer(Question(text=text), asker, **named)]


async def test_a_question_is_answered_from_the_talks(mara: Fireside, store: Store):
    (answered,) = await all_of(Host(mara, store))
    assert isinstance(answered, Answered)
    assert SAID in answered.reply.text


async def test_each_is_told_its_place_whenever_that_changes(mara: Fireside, store: Store):
    fireside = Gated(mara)
    host = host_of(fireside, store)
    people: list[Person] = []
    for number in range(4):
        people.append(Person(host, str(number)))
        await until(lambda n=number: people[n].told or (n == 0 and fireside.log["at work"]))
    assert [p.places for p in people] == [[], [1], [2], [3]]
    fireside.gate.release()
    await until(lambda: people[3].places == [3, 2])
    assert [p.places for p in people] == [[], [1], [2, 1], [3, 2]]
    for _ in range(3):
        fireside.gate.release()
    await asyncio.gather(*(p.task for p in people))
    assert [p.told[-1].reply.text for p in people if isinstance(p.told[-1], Answered)] == ["0!", "1!", "2!", "3!"]
    assert fireside.log["most"] == 1


async def test_who_leaves_the_queue_lets_the_others_move_up(mara: Fireside, store: Store):
    fireside = Gated(mara)
    host = host_of(fireside, store)
    people: list[Person] = []
    for number in range(4):
        people.append(Person(host, str(number)))
        await until(lambda n=number: people[n].told or (n == 0 and fireside.log["at work"]))
    people[1].task.cancel()
    people[0].task.cancel()  # and who is being answered lets the next one in
    await until(lambda: people[3].places[-1] == 1)
    fireside.gate.release()
    fireside.gate.release()
    await asyncio.gather(*(p.task for p in people), return_exceptions=True)
    assert [text for text, _, _ in fireside.log["asked"]] == ["0", "2", "3"]
    assert fireside.log["at work"] == 0


async def test_a_full_queue_says_so_and_takes_in_nobody(mara: Fireside, store: Store):
    fireside = Gated(mara)
    host = host_of(fireside, store, waiting=1)
    people = [Person(host, "0"), Person(host, "1")]
    await until(lambda: people[1].places or people[0].places)
    (refused,) = await all_of(host)
    assert isinstance(refused, Refused)
    assert "all 1 places in the queue" in refused.text
    for _ in range(3):
        fireside.gate.release()
    await asyncio.gather(*(p.task for p in people))
    assert isinstance((await all_of(host))[-1], Answered)


async def test_two_hundred_at_once_are_all_answered_or_told(mara: Fireside, store: Store):
    fireside = Gated(mara)
    for _ in range(200):
        fireside.gate.release()
    host = host_of(fireside, store, Limits("9/minute", "999/minute", "999/minute"))
    people = [Person(host, str(n), Asker("discord", str(n), "g1", f"c{n % 20}")) for n in range(200)]
    await asyncio.gather(*(p.task for p in people))
    ends = [type(p.told[-1]) for p in people]
    assert set(ends) <= {Answered, Refused}
    assert ends.count(Answered) >= 33


async def test_who_does_not_take_the_answer_holds_up_nobody(mara: Fireside, store: Store):
    fireside = Gated(mara)
    host = host_of(fireside, store)
    fireside.gate.release()
    fireside.gate.release()
    slow = host.answer(Question(text="slow"), ANN)
    assert isinstance(await anext(slow), Answered)
    assert isinstance((await all_of(host))[-1], Answered)
    await slow.aclose()


async def test_who_asks_too_fast_is_told_for_how_long_to_wait(mara: Fireside, store: Store):
    host = Host(mara, store, Limits(per_user="1/minute", clock=lambda: 0.0))
    await all_of(host)
    assert await all_of(host) == [
        Refused("That is more than I can answer at once. Ask again in 60 seconds."),
    ]
    assert isinstance((await all_of(host, asker=BOB))[-1], Answered)


@pytest.mark.parametrize("kind", [PassageIndexError, ValueError, VerificationError])
async def test_a_failure_is_told_in_a_sentence_and_the_next_question_is_served(
    mara: Fireside, store: Store, caplog: pytest.LogCaptureFixture, kind: type[Exception]
):
    fireside = Gated(mara, kind("The index at '/secret/path' is gone."))
    seen = Observed()
    host = host_of(fireside, store, observer=seen)
    fireside.gate.release()
    (refused,) = await all_of(host)
    assert isinstance(refused, Refused)
    assert "can't answer" in refused.text
    assert "/secret" not in refused.text
    assert (seen.failures, seen.refusals) == ([("discord", fireside.error)], [("discord", Refusal.NOT_HERE)])
    fireside.gate.release()
    assert len(await all_of(host)) == 1


async def test_the_log_says_why_something_is_away_but_of_a_mistake_of_ours_only_where_it_is(
    mara: Fireside, store: Store, caplog: pytest.LogCaptureFixture
):
    # The message of such a mistake may be what somebody wrote.
    for error in (PassageIndexError("The index at '/data' is gone."), KeyError(ASKED), VerificationError(ASKED)):
        fireside = Gated(mara, error)
        fireside.gate.release()
        await all_of(host_of(fireside, store))
    assert "The index at '/data' is gone." in caplog.text
    assert ASKED not in caplog.text
    away, *mistakes = (vars(r) for r in caplog.records if r.levelname == "ERROR")
    assert away["exc_info"] is not None
    assert [m["error"] for m in mistakes] == ["KeyError", "VerificationError"]
    assert all("test_host.py:" in m["at"] for m in mistakes)


async def test_a_chat_models_text_grows_and_ends_as_the_reply(mara: Fireside, store: Store):
    model = ScriptedModel(written(("quote", "p1", SAID), ("quote", "p1", "so we rang the bell every ninety seconds")))
    updates = await all_of(Host(mara.speaking(model, None), store), seed=3)
    texts = [u.text for u in updates if isinstance(u, Writing)]
    last = updates[-1]
    assert isinstance(last, Answered)
    assert last.reply.text == texts[-1]
    assert all(b.startswith(a) for a, b in pairwise(texts))
    assert model.seeds == [3]


async def test_closing_stops_the_chat_model(mara: Fireside, store: Store):
    model = ScriptedModel(
        written(*(("quote", "p1", text) for text in (SAID, "we rang the bell", "every ninety seconds")))
    )
    host = Host(mara.speaking(model, None), store, at_once=1)
    updates = host.answer(Question(text=ASKED), ANN)
    assert isinstance(await anext(updates), Writing)
    await updates.aclose()
    assert model.closed == 1
    assert "0 being answered, 0 waiting" in await host.status_text()


async def test_a_channel_set_to_quotes_quotes_although_there_is_a_model(mara: Fireside, store: Store):
    model = ScriptedModel(written(("quote", "p1", SAID)))
    host = Host(mara.speaking(model, None), store)
    await store.save_place("discord", "g1", "c1", PlaceSettings(voice="quotes"))
    quoted, wrote = [await all_of(host, asker=asker) for asker in (ANN, BOB)]
    assert [type(u) for u in quoted] == [Answered]
    assert isinstance(wrote[0], Writing)
    assert len(model.asked) == 1


async def test_settings_hold_from_the_next_question_on(mara: Fireside, store: Store):
    host = Host(mara.speaking(ScriptedModel(written(("quote", "p1", SAID))), None), store)
    assert (await host.serving(ANN)).writer is not None
    await store.change_place("discord", "g1", "c1", voice="quotes")
    assert (await host.serving(ANN)).writer is None
    await store.change_place("discord", "g1", "c1", voice="auto")
    assert (await host.serving(ANN)).writer is not None


async def test_a_risk_that_is_not_certified_leaves_the_personas_own(
    mara: Fireside, store: Store, caplog: pytest.LogCaptureFixture
):
    host = Host(mara, store)
    await store.change_place("discord", "g1", risk=0.05)
    assert (await host.serving(ANN)).policy is mara.policy
    assert "not certified" in caplog.text
    assert host.risks() == ()


async def test_a_place_may_have_another_persona_which_is_opened_once(mara: Fireside, store: Store):
    opened: list[str] = []
    other = Gated(mara)
    for _ in range(9):
        other.gate.release()

    def open_persona(name: str) -> Any:
        opened.append(name)
        if name == "nobody":
            raise ConfigError("No persona 'nobody'.")
        return other

    host = Host(mara, store, personas=open_persona)
    await store.change_place("discord", "g1", "c1", persona="other")
    answers = await asyncio.gather(*(all_of(host) for _ in range(3)))
    assert [u.reply.text for a in answers if isinstance(u := a[-1], Answered)] == [f"{ASKED}!"] * 3
    assert SAID in str((await all_of(host, asker=BOB))[-1])
    await store.change_place("discord", "g1", "c2", persona="nobody")
    assert [type(u) for u in await all_of(host, asker=BOB)] == [Refused]
    assert opened == ["other", "nobody"]
    await host.close()
    assert other.log["closed"]


async def test_settings_that_cannot_be_read_stop_no_answer(
    mara: Fireside, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    await store.change_place("discord", "g1", voice="quotes")
    with closing(sqlite3.connect(tmp_path / "store")) as connection, connection:
        connection.execute("UPDATE place SET settings = '{\"mood\": 1}'")
    assert isinstance((await all_of(Host(mara, store)))[-1], Answered)
    assert "'mood'" in caplog.text


async def test_quotes_are_of_the_speaker_and_talk_asked_for(mara: Fireside, store: Store):
    host = Host(mara, store)
    title = mara.corpus.catalog.talk[0].title
    found = await host.quotes("the clockwork", ANN, speaker="mara", talk=title, limit=2)
    assert len(found) <= 2
    assert {(c.speaker, c.talk) for c in found} <= {("Mara Lindqvist", title)}
    for wrong in ({"speaker": "Zoe"}, {"talk": "Nowhere"}):
        with pytest.raises(InputError) as caught:
            await host.quotes("the clockwork", ANN, **wrong)
        assert_sentence(caught.value, *wrong.values())


async def test_why_sources_status_and_help_say_what_they_are_for(mara: Fireside, store: Store):
    times = [0.0]
    host = Host(mara, store, clock=lambda: times[-1])
    answered = (await all_of(host))[-1]
    assert isinstance(answered, Answered)
    assert "passages, best first:" in host.why(answered)
    assert mara.corpus.catalog.talk[0].title in await host.sources_text(ANN)
    times.append(3 * 3600.0)
    status = await host.status_text(ANN)
    assert "Voice: quotes" in status
    assert "threshold" not in status
    assert "Up for 3 hours" in status
    told = host.help_text("/")
    assert told.startswith(mara.card.disclosure)
    assert all(f"/{command.name}" in told for command in COMMANDS)
    assert "light" in await host.topics()


async def test_only_admins_see_why_a_chat_model_is_not_there(mara: Fireside, store: Store):
    away = mara.at(0.0)
    away.model_problem = "No model file at '/home/me/model.gguf'."
    host = Host(away, store)
    assert "/home/me" not in await host.status_text(ANN)
    assert "it quotes" in await host.status_text(ANN)
    assert "/home/me" in await host.status_text(ANN, admin=True)


async def test_feedback_is_kept_with_the_turns_unless_the_user_opted_out(mara: Fireside, store: Store):
    host = Host(mara, store)
    question = Question(text=ASKED, history=(Turn(role="user", content="Hi"),))
    given = reply(Reason.NOT_STATED, "I don't know.")
    assert await host.feedback(question, given, ANN, "r1", good=False, comment="He did say it.")
    await store.opt_out("discord", "bob")
    assert not await host.feedback(question, given, BOB, "r1", good=True)
    (kept,) = await store.feedback()
    assert (kept.user, kept.question, kept.history, kept.decision) == ("ann", ASKED, question.history, Decision.ABSTAIN)


async def test_one_id_joins_the_log_line_the_explanation_and_the_feedback(
    mara: Fireside, store: Store, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "fireside")
    host = Host(mara, store)
    question = Question(text=ASKED, id="m7")
    ids: list[str] = []
    for seed in (0, 3):
        (answered,) = [u async for u in host.answer(question, ANN, seed=seed)]
        assert isinstance(answered, Answered)
        ids.append(answered.reply.id)
        assert f"reply {ids[-1]}" in host.why(answered)
        await host.feedback(question, answered.reply, ANN, "the message's", good=False)
    assert ids == ["m7", "m7-3"]  # a second try is another reply
    assert [vars(r)["id"] for r in caplog.records if r.message == "reply"] == ids
    assert [f.reply_id for f in await store.feedback()] == ids


async def test_a_reply_without_an_id_is_given_one_of_its_own(mara: Fireside, store: Store):
    host = Host(mara, store)
    ids = {(await all_of(host))[-1].reply.id for _ in range(2)}  # pyright: ignore[reportAttributeAccessIssue]
    assert len(ids - {""}) == 2


async def test_the_log_line_of_a_reply_holds_its_facts_and_neither_words_nor_people(
    mara: Fireside, store: Store, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("DEBUG", "fireside")
    answered = (await all_of(Host(mara, store)))[-1]
    assert isinstance(answered, Answered)
    (record,) = caplog.records
    facts = {k: v for k, v in vars(record).items() if k not in vars(logging.makeLogRecord({})) and k != "message"}
    assert facts.pop("ms") >= facts.pop("waited_ms") >= 0
    assert facts.pop("id") == answered.reply.id
    assert facts == {"platform": "discord", "decision": "answer", "reason": "supported", "voice": "quotes"}
    assert record.getMessage() == "reply"


async def test_an_observer_is_told_what_becomes_of_each(mara: Fireside, store: Store):
    seen, times = Observed(), [100.0]
    fireside = Gated(mara)
    limits = Limits(per_user="2/minute", clock=lambda: 0.0)
    host = host_of(fireside, store, limits, waiting=1, observer=seen, clock=lambda: times[-1])
    people = [Person(host, "0"), Person(host, "1")]
    await until(lambda: people[1].places)
    await all_of(host, asker=BOB)  # full
    times.append(102.0)
    fireside.gate.release()
    await people[0].task
    await until(lambda: len(fireside.log["asked"]) == 2)
    times.append(103.5)
    fireside.gate.release()
    await people[1].task
    await all_of(host)  # her third
    assert seen.replies == [("discord", Reason.SUPPORTED, 0.0, 2.0), ("discord", Reason.SUPPORTED, 2.0, 3.5)]
    assert seen.refusals == [("discord", Refusal.FULL), ("discord", Refusal.TOO_FAST)]
    assert seen.failures == []


async def test_traffic_tells_for_how_long_nothing_moved(mara: Fireside, store: Store):
    times = [0.0]
    fireside = Gated(mara)
    host = host_of(fireside, store, clock=lambda: times[-1])
    assert host.traffic == (0, 0, 256, 0.0)
    people = [Person(host, "0")]
    await until(lambda: fireside.log["at work"])
    times.append(50.0)
    people.append(Person(host, "1"))  # who joins a queue does not move it
    await until(lambda: people[1].places)
    assert host.traffic == (1, 1, 256, 50.0)
    fireside.gate.release()
    await people[0].task
    assert host.traffic == (1, 0, 256, 0.0)
    fireside.gate.release()
    await people[1].task


async def test_a_persona_that_is_replaced_ends_its_replies_and_is_closed_after_the_last(mara: Fireside, store: Store):
    old, new = Gated(mara), Gated(mara)
    host = host_of(old, store, at_once=2)
    people = [Person(host, "0"), Person(host, "1")]
    await until(lambda: old.log["at work"] == 2)
    host.replace(new)  # pyright: ignore[reportArgumentType]
    new.gate.release()
    later = Person(host, "2")
    old.gate.release()
    await people[0].task
    assert "closed" not in old.log
    old.gate.release()
    await asyncio.gather(later.task, people[1].task)
    await host.close()
    assert old.log["closed"]
    assert "closed" not in new.log
    assert [[text for text, _, _ in f.log["asked"]] for f in (old, new)] == [["0", "1"], ["2"]]
    assert all(isinstance(p.told[-1], Answered) for p in (*people, later))


async def test_the_chat_model_is_closed_with_the_last_persona_that_uses_it(mara: Fireside, store: Store):
    first, second = Ending(), Ending()
    personas = [Gated(mara, model=model) for model in (first, first, second)]
    host = host_of(personas[0], store)
    ends: list[tuple[bool, bool]] = []
    for persona in personas[1:]:
        host.replace(persona)  # pyright: ignore[reportArgumentType]
        await host.close()
        ends.append((first.ended, second.ended))
    assert ends == [(False, False), (True, False)]
    assert [f.log.get("closed") for f in personas] == [True, True, None]


async def test_personas_of_places_are_replaced_too(mara: Fireside, store: Store):
    opened = [Gated(mara) for _ in range(2)]
    given = iter(opened)
    host = host_of(Gated(mara), store, personas=lambda _name: next(given))
    await store.change_place("discord", "g1", "c1", persona="other")
    assert vars(await host.serving(ANN))["log"] is opened[0].log
    assert list(host.personas) == ["other"]
    host.replace(Gated(mara), {"other": opened[1]})  # pyright: ignore[reportArgumentType]
    assert vars(await host.serving(ANN))["log"] is opened[1].log
    await host.close()
    assert [f.log.get("closed") for f in opened] == [True, True]


async def test_new_limits_hold_from_the_next_question_on(mara: Fireside, store: Store):
    host = Host(mara, store, Limits(per_user="1/minute", clock=lambda: 0.0))
    await all_of(host)
    host.limit(Limits(per_user="2/minute", clock=lambda: 0.0))
    assert [type((await all_of(host))[-1]) for _ in range(3)] == [Answered, Answered, Refused]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.01, "1 second"), (59.5, "60 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7300, "3 hours")],
)
def test_a_wait_is_never_told_too_short(seconds: float, text: str):
    assert span(seconds) == text


async def test_what_is_handed_back_is_told_to_everybody_whether_answered_or_waiting(mara: Fireside, store: Store):
    fireside, observed = Gated(mara), Observed()
    host = host_of(fireside, store, observer=observed)
    people = [Person(host, f"{number}?") for number in range(3)]
    await until(lambda: len(fireside.log["asked"]) == 1 and host.traffic.waiting == 2)
    host.hand_back("See you.")
    await asyncio.wait_for(asyncio.gather(*(person.task for person in people)), 5)
    assert [person.told[-1] for person in people] == [Refused("See you.")] * 3
    assert (fireside.log["at work"], host.traffic.running, host.traffic.waiting) == (0, 0, 0), "nothing goes on"
    assert await all_of(host) == [Refused("See you.")], "and nothing begins"
    assert observed.refusals == [("discord", Refusal.LEAVING)] * 4
    assert observed.failures == []
