"""What every platform does around a question: who may ask, what was said before, what is remembered, what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Generic, NamedTuple, Self, TypeVar

from bot.host import Asker, Host, Refused, Update
from bot.reliability import Scorecard, places, scorecard
from bot.store import PlaceSettings, Store
from persona.errors import InputError, StoreError
from persona.pipeline import Answered
from persona.types import Question, ScoredCitation, Turn

E = TypeVar("E")
REMEMBERED = 1000  # replies, some 25 kB each; "Why?" under an older one asks its question again
SEEN = 10_000  # events
TURNS = 10
TALK_LASTS = 15 * 60.0  # seconds from which on a command begins a new conversation
TOO_OLD = 15 * 60.0  # seconds: a question that a killed process left behind is no longer waited for
QUOTES = 10
PACE = 1.0  # seconds between two sights of a reply that is being made
FINISH = 5.0  # seconds that what is in flight may take once the bot is to stop
HAND_BACK = 2.5  # seconds from then on in which the others are told; with the end of all else that stays below ten
CLOSING = 1.0  # seconds that the store has for its last notes
NOTED = 0.3  # seconds that the store has before an acknowledgement goes out: a second is all that there is for it
LATELY = 24 * 3600.0  # seconds

LEAVING = "I am being restarted. Please try again in a minute."
BROKEN = "Something went wrong on my side, and it was noted. Please ask again."
CUT_SHORT = "I was restarted in the middle of this. Please ask again."
GONE = "I can no longer read the question that this replied to. Please ask again."
NOBODY_SAID = "Nothing in the talks is about that. Try other words for it."
NO_WORDS = "There are no words in that message that I could look up."
NOTHING_ASKED = "I have no last answer to you here. Ask something first, or press “Why?” under a reply."
FORGOTTEN = "Forgotten. Ask anew."  # what came before it is no longer read
NOT_STORED = "That could not be stored, so nothing has changed. Please try again later."
ABOUT_THIS = "What did he say about this?"
INTERVALS = "Cases of a test set that was never tuned on, with 95% intervals."


class Named(NamedTuple):
    """What a platform's commands are called, in sentences that point to them."""

    forget: str
    opt_out: str
    opt_in: str
    settings: str


class Exchange(NamedTuple):
    """A question, who asked it, and the reply; None where it was made by a process before this one."""

    question: Question
    user: str
    answered: Answered | None = None


class Wanted(NamedTuple):
    """Whose words are looked for, and in which talk: positions in the lists of both (−1: any)."""

    speaker: int = -1
    talk: int = -1

    @property
    def key(self) -> str:
        """As it stands in the id of a button."""
        return f"{self.speaker}:{self.talk}"

    @classmethod
    def read(cls, key: str) -> Self:
        """What a `key` stands for."""
        speaker, _, talk = key.partition(":")
        return cls(int(speaker), int(talk))


class Known(NamedTuple):
    """What a quotation can be looked up by."""

    speakers: list[str]
    talks: list[str]

    def wanted(self, speaker: str | None, talk: str | None) -> Wanted:
        """What is named in full or in part; InputError where there is no such speaker or talk."""
        for name, what, names in ((speaker, "speaker", self.speakers), (talk, "talk", self.talks)):
            if name and _place(name, names) < 0:
                raise InputError(f"There is no {what} '{name}' in the talks. There are: {'; '.join(names)}.")
        return Wanted(_place(speaker, self.speakers), _place(talk, self.talks))


class Memory:
    """The last replies, by the id of the message that holds them; and each person's last one in a channel."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._replies: OrderedDict[str, Exchange] = OrderedDict()
        self._last: dict[tuple[str, str], tuple[float, Exchange]] = {}
        self._begun: dict[tuple[str, str], str] = {}

    def keep(self, reply: str, channel: str, exchange: Exchange) -> None:
        """Remembers a reply; the oldest ones are forgotten."""
        self._replies[reply] = exchange
        self._last[exchange.user, channel] = (self._clock(), exchange)
        if len(self._replies) > REMEMBERED:
            _, old = self._replies.popitem(last=False)
            self._last = {key: entry for key, entry in self._last.items() if entry[1] is not old}

    def reply(self, message: str) -> Exchange | None:
        """What a message of ours replied to."""
        return self._replies.get(message)

    def last(self, user: str, channel: str) -> Exchange | None:
        """A person's last question in a channel."""
        entry = self._last.get((user, channel))
        return entry[1] if entry else None

    def turns(self, user: str, channel: str) -> tuple[Turn, ...]:
        """What a person and the bot said to each other a little while ago."""
        entry = self._last.get((user, channel))
        if entry is None or self._clock() - entry[0] > TALK_LASTS:
            return ()
        _, (question, _, answered) = entry
        return () if answered is None else (*question.history, *exchanged(question, answered.reply.text))[-TURNS:]

    def begin_anew(self, user: str, channel: str, since: str) -> None:
        """Forgets what was said before the event `since` (an id)."""
        self._last.pop((user, channel), None)
        self._begun[user, channel] = since

    def since(self, user: str, channel: str) -> str | None:
        """The id of the event from which on a person's conversation in a channel counts; None: from its beginning."""
        return self._begun.get((user, channel))

    def forget(self, user: str) -> None:
        """Forgets all that a person asked."""
        self._replies = OrderedDict((key, e) for key, e in self._replies.items() if e.user != user)
        self._last = {key: entry for key, entry in self._last.items() if key[0] != user}


@dataclass
class Pending(Generic[E]):
    """A question that is being answered; an edit, a deletion or a stop button cancels the work on it."""

    event: E
    text: str  # beside the event: Discord's library changes a message that it knows in place
    work: asyncio.Task[Answered | Refused] | None = None
    changed: bool = False
    deleted: bool = False
    stopped: bool = False

    @property
    def given_up(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.deleted or self.stopped

    def stop(self) -> None:
        """Stops the work."""
        if self.work is not None:
            self.work.cancel()


class Desk:
    """One platform's desk. Where the store can't be read or written it goes on without, and the log says so. `named` are
    the platform's commands; `data_dir` holds the evaluations; `pace` is the seconds between two sights of a reply in the
    making."""

    def __init__(
        self, platform: str, host: Host, store: Store, data_dir: Path, named: Named, *, pace: float = PACE
    ) -> None:
        self.platform = platform
        self.host = host
        self.store = store
        self.data_dir = data_dir
        self.named = named
        self.pace = pace
        self.memory = Memory()
        self.leaving = False
        self._log = logging.getLogger(f"fireside.{platform}")
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._notes: set[asyncio.Task[bool]] = set()

    def unseen(self, event: str) -> bool:
        """Whether this process sees an event for the first time."""
        if event in self._seen:
            return False
        self._seen[event] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return True

    @contextlib.contextmanager
    def work(self) -> Generator[None]:
        """Around what is to be finished before the bot stops."""
        self._working += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._working -= 1
            if not self._working:
                self._idle.set()

    async def drain(self, seconds: float = FINISH) -> None:
        """Takes on nothing new, and waits for what is in flight; what takes longer is handed back: those who asked are told
        to ask again. Whom that does not reach either is answered by the next process (`left_behind`)."""
        self.leaving = True
        for patience in (seconds, HAND_BACK):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)
                return
            self.host.hand_back(LEAVING)

    async def settings(self, place: str, channel: str | None) -> PlaceSettings:
        """The settings that hold in a channel; those of the start where the store can't be read."""
        try:
            return await self.store.place(self.platform, place, channel)
        except StoreError as exc:
            self._log.warning(str(exc))
            return PlaceSettings()

    def refusal(
        self, settings: PlaceSettings, user: str, channels: Collection[str], roles: Collection[str] = ()
    ) -> str:
        """Why a place's settings keep the bot from answering; empty if they don't."""
        here, theirs = set(channels), set(roles)
        if here & set(settings.blocked_channels) or (
            settings.allowed_channels and not here & set(settings.allowed_channels)
        ):
            return f"I am not to answer in this channel. An admin chooses the channels with {self.named.settings}."
        if (
            user in settings.blocked_users
            or theirs & set(settings.blocked_roles)
            or (settings.allowed_roles and not theirs & set(settings.allowed_roles))
        ):
            return f"I am not to answer you here. An admin chooses who may ask with {self.named.settings}."
        return ""

    async def first_sight(self, event: str, channel: str) -> bool:
        """Whether this event was not taken on yet, by a process before this one or beside it."""
        try:
            return await self.store.first_sight(self.platform, event, channel)
        except StoreError as exc:
            self._log.warning(str(exc))
            return True

    async def acknowledge(self, event: str, channel: str, ack: Callable[[], Awaitable[object]]) -> None:
        """Notes an event, so that a process after this one can tell its person, and acknowledges it: in that order, for who
        was acknowledged isn't heard of again; but a slow store doesn't hold the acknowledgement up."""
        noting = await self.note(event, channel)
        await ack()
        await noting

    async def note(self, event: str, channel: str) -> asyncio.Task[bool]:
        """Notes an event: `first_sight`, which is done when this returns, unless the store is slow."""
        noting = asyncio.create_task(self.first_sight(event, channel))
        self._notes.add(noting)
        noting.add_done_callback(self._notes.discard)
        await asyncio.wait({noting}, timeout=NOTED)
        return noting

    async def noted(self, seconds: float = CLOSING) -> None:
        """Waits for notes that the store still writes: to be called once nothing more comes in, before the store is closed.
        What was acknowledged at the last moment would be lost without its note."""
        if self._notes:
            await asyncio.wait(set(self._notes), timeout=seconds)

    async def done(self, event: str) -> None:
        """Notes that an event is answered."""
        try:
            await self.store.answered(self.platform, event)
        except StoreError as exc:
            self._log.warning(str(exc))

    async def left_behind(self) -> Sequence[tuple[str, str]]:
        """The events, with their channels, that a process before this one took on and didn't answer."""
        try:
            return [(event, channel) for event, channel in await self.store.unanswered(self.platform)]
        except StoreError as exc:
            self._log.warning(str(exc))
            return ()

    async def lately(self) -> Sequence[str]:
        """The channels that something was answered in of late."""
        try:
            return await self.store.channels(self.platform, datetime.now(UTC) - timedelta(seconds=LATELY))
        except StoreError as exc:
            self._log.warning(str(exc))
            return ()

    async def disclosure(self, asker: Asker, channel: str) -> str:
        """The line that says what this is, once a channel."""
        try:
            first = await self.store.first_contact(self.platform, channel)
        except StoreError as exc:
            self._log.warning(str(exc))
            return ""
        return (await self.host.serving(asker)).card.disclosure if first else ""

    async def opted_out(self, user: str) -> bool:
        """Whether nothing of this person is to be kept."""
        try:
            return await self.store.opted_out(self.platform, user)
        except StoreError as exc:
            self._log.warning(str(exc))
            return False

    async def forget(self, user: str, opt_out: bool | None = None) -> str:
        """Deletes what is kept of a person; what to tell them. StoreError."""
        self.memory.forget(user)
        if opt_out is not None:
            await self.store.opt_out(self.platform, user, opt_out)
        rows = await self.store.forget(self.platform, user)
        told = f"Done: {rows} piece{'' if rows == 1 else 's'} of feedback deleted, and our conversations forgotten."
        if await self.store.opted_out(self.platform, user):
            return f"{told} From now on I keep nothing of you, and read no message of yours that doesn't name me."
        return (
            f"{told} I keep no messages; feedback that you give me is kept with its reply. "
            f"{self.named.opt_out} ends that too."
        )

    async def ask(self, question: Question, asker: Asker) -> Answered | Refused:
        """How a question comes out, without anything shown meanwhile."""
        async with contextlib.aclosing(self.host.answer(question, asker)) as updates:
            async for update in updates:
                if isinstance(update, Answered | Refused):
                    return update
        raise AssertionError("updates without an end")

    async def answer_as_it_stands(
        self,
        pending: Pending[E],
        ask: Callable[[], Awaitable[Question]],
        asker: Asker,
        show: Callable[[Update], Awaitable[None]],
    ) -> tuple[Question, Answered | Refused] | None:
        """The answer to a question as it now stands, which `ask` tells; None once it is deleted or stopped."""
        while True:
            pending.changed = False
            question = await ask()
            if pending.given_up:
                return None
            if pending.changed:
                continue
            pending.work = asyncio.create_task(follow(self.host.answer(question, asker), show, self.pace))
            try:
                outcome = await pending.work
                if not pending.changed:
                    return question, outcome
            except asyncio.CancelledError:
                if pending.given_up:
                    return None
                if not pending.changed:
                    raise
            finally:
                pending.stop()

    async def why(self, kept: Exchange | None, asker: Asker) -> str:
        """What stands behind a reply; one from before a restart is made anew for it."""
        if kept is None:
            return GONE
        outcome = kept.answered or await self.ask(kept.question, asker)
        return outcome.text if isinstance(outcome, Refused) else self.host.why(outcome)

    async def feedback(
        self, kept: Exchange | None, asker: Asker, reply_id: str, *, good: bool, comment: str = ""
    ) -> str:
        """Keeps what a person thinks of a reply; what to tell them."""
        if kept is None:
            return GONE
        outcome = kept.answered or await self.ask(kept.question, asker)
        if isinstance(outcome, Refused):
            return outcome.text
        try:
            done = await self.host.feedback(kept.question, outcome.reply, asker, reply_id, good=good, comment=comment)
        except StoreError as exc:
            self._log.warning(str(exc))
            return "Your feedback could not be kept. Please try again later."
        if done:
            return (
                "Thank you: that is kept with the question and the reply, to get better by. "
                f"{self.named.forget} deletes it."
            )
        return f"You asked me to keep nothing of you, so I didn't. {self.named.opt_in} changes that."

    async def known(self, asker: Asker) -> Known:
        """What quotations can be looked up by where somebody asks."""
        corpus = (await self.host.serving(asker)).corpus
        return Known(list(corpus.speakers), [talk.title for talk in corpus.catalog.talk])

    async def quotes(self, topic: str, wanted: Wanted, asker: Asker) -> list[ScoredCitation]:
        """The best quotations on a topic; InputError if what is wanted is no longer there."""
        known = await self.known(asker)
        try:
            speaker = known.speakers[wanted.speaker] if wanted.speaker >= 0 else None
            talk = known.talks[wanted.talk] if wanted.talk >= 0 else None
        except IndexError:
            raise InputError("The talks have changed since. Please look it up again.") from None
        return await self.host.quotes(topic, asker, speaker=speaker, talk=talk, limit=QUOTES)

    async def scorecard(self, asker: Asker) -> Scorecard:
        """How reliable what answers there is, as measured."""
        serving = await self.host.serving(asker)
        return await asyncio.to_thread(scorecard, serving, places(self.data_dir))


def exchanged(question: Question, said: str) -> tuple[Turn, Turn]:
    """A question and its reply as turns."""
    return Turn(role="user", content=question.text), Turn(role="assistant", content=said)


async def follow(
    updates: AsyncGenerator[Update], show: Callable[[Update], Awaitable[None]], pace: float = PACE
) -> Answered | Refused:
    """Shows what goes on, at most once a `pace`, until the end, which it returns."""
    newest: list[Update] = []

    async def read() -> Answered | Refused:
        async with contextlib.aclosing(updates) as parts:
            async for part in parts:
                if isinstance(part, Answered | Refused):
                    return part
                newest[:] = [part]
        raise AssertionError("updates without an end")

    reader = asyncio.create_task(read())
    shown: list[Update] = []
    try:
        while not (await asyncio.wait({reader}, timeout=pace))[0]:
            if newest != shown:
                shown = list(newest)
                await show(*shown)
        return reader.result()
    finally:
        if not reader.done():
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader


def _place(name: str | None, known: Sequence[str]) -> int:
    """The position of what is named in full or in part; −1 for none."""
    wanted = (name or "").strip().casefold()
    return next((i for i, k in enumerate(known) if wanted and wanted in k.casefold()), -1)
