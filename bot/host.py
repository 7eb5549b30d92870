"""What Discord and Slack share between an event and a reply: the queue, the limits, and how each place has it answer."""

from __future__ import annotations

import asyncio
import copy
import enum
import logging
import math
import time
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TypeVar

from bot.explaining import Command, joined, listed, talks, topics, why
from bot.limits import Limits
from bot.logs import where
from bot.store import Feedback, PlaceSettings, Store
from persona.errors import FiresideError, InputError, StoreError, VerificationError
from persona.models import load_calibration
from persona.pipeline import Answered, Fireside, policy_of, why_uncalibrated
from persona.types import Question, Reply, ScoredCitation

log = logging.getLogger("fireside.host")
T = TypeVar("T")

WAITING = 256  # a busy minute of a large server; each of them is told its place
MODEL_AT_ONCE = 8  # a chat model writes for several at once; retrieval has one worker
_MOST_QUOTES = 50

COMMANDS = (
    Command("ask", "QUESTION", "an answer from the talks, with its sources"),
    Command("quote", "TOPIC", "what was really said about it, word for word"),
    Command("sources", "", "the talks and documents that it answers from"),
    Command("why", "", "what stood behind the last reply: passages, features, confidence"),
    Command("reliability", "", "how often it is wrong, and how that was measured"),
    Command("reset", "", "begin the conversation anew"),
    Command("forget", "", "delete what is kept of you"),
    Command("status", "", "what it runs with, and how many wait"),
    Command("settings", "", "how it behaves here (for admins)"),
    Command("help", "", "this list"),
)

FULL = "Too many are asking at the moment: all {waiting} places in the queue are taken. Ask again in a minute."
TOO_FAST = "That is more than I can answer at once. Ask again in {wait}."
NOT_HERE = "I can't answer here at the moment: something I need is missing. Whoever runs me finds it in the log."


class Asker(NamedTuple):
    """Who asks, and where; `place` is a guild or workspace, or "dm"."""

    platform: str
    user: str
    place: str
    channel: str


class Waiting(NamedTuple):
    """The question waits; `place` in the queue is counted from 1."""

    place: int


class Writing(NamedTuple):
    """A chat model writes; `text` is all of it so far, proved."""

    text: str


class Refused(NamedTuple):
    """The question is not answered; `text` says why, and what to do."""

    text: str


Update = Waiting | Writing | Refused | Answered


class Refusal(enum.StrEnum):
    """Why somebody is refused: the queue is full, they ask too fast, something that the bot needs is missing, or it is being
    stopped."""

    FULL = "full"
    TOO_FAST = "too_fast"
    NOT_HERE = "not_here"
    LEAVING = "leaving"


class Traffic(NamedTuple):
    """How many are being answered and wait, and for how many there is room; `still` are the seconds since one of them last
    moved on (0 where nobody is there)."""

    running: int
    waiting: int
    room: int
    still: float


class Observer(Protocol):
    """Is told what becomes of each question, on the event loop: it must neither wait nor raise."""

    def answered(self, answered: Answered, platform: str, *, waited: float, seconds: float) -> None:
        """A reply; seconds in the queue, and from the question to the reply."""
        ...

    def refused(self, platform: str, why: Refusal) -> None:
        """Somebody was told why not."""
        ...

    def failed(self, platform: str, error: Exception) -> None:
        """No reply came of a question, by an outage or a mistake of ours; the asker's refusal is told apart."""
        ...


class Nobody:
    """An Observer that looks away."""

    def answered(self, answered: Answered, platform: str, *, waited: float, seconds: float) -> None:
        """Nothing."""

    def refused(self, platform: str, why: Refusal) -> None:
        """Nothing."""

    def failed(self, platform: str, error: Exception) -> None:
        """Nothing."""


class _LeavingError(Exception):
    """The bot is being stopped, and this was not done in time."""


class _Serving(NamedTuple):
    """A persona as a place has it, and as it was opened."""

    fireside: Fireside
    opened: Fireside


class Host:
    """One persona, or several, answering people of one or more platforms."""

    def __init__(
        self,
        fireside: Fireside,
        store: Store,
        limits: Limits | None = None,
        waiting: int = WAITING,
        *,
        at_once: int | None = None,
        personas: Callable[[str], Fireside] | None = None,
        observer: Observer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fireside` answers where a place has no other persona. `waiting` questions may wait while `at_once` are answered
        (by default 1, with a chat model 8). `personas` opens a persona by name, once, beside the event loop."""
        self.store = store
        self.fireside = fireside
        self._limits = limits or Limits()
        self._queue = _Queue(at_once or (MODEL_AT_ONCE if fireside.writer else 1), waiting, clock)
        self._open = personas
        self._opening = asyncio.Lock()
        self._personas = {fireside.card.id: fireside}
        self._leases = _Leases(self._personas.values)
        self._observer = observer or Nobody()
        self._variants: dict[tuple[str | None, str | None, float | None], Fireside] = {}
        self._topics: dict[str, list[str]] = {}
        self._leaving = asyncio.Event()
        self._farewell = ""
        self._clock = clock
        self._begun = clock()

    async def answer(self, question: Question, asker: Asker, *, seed: int = 0) -> AsyncGenerator[Update]:
        """What becomes of a question: its place in the queue each time that changes, the text while a chat model writes it,
        and at the end Answered or Refused. Closing the generator gives the place up and stops the model. Who takes the
        parts slowly keeps the others waiting; nobody does once the last one is out."""
        begun, id_ = self._clock(), _reply_id(question, seed)
        try:
            serving = await self._serve(asker)
        except FiresideError as exc:
            yield self._failed(exc, asker, id_)
            return
        if refused := self.refusal(asker):
            yield refused
            return
        with self._leases.held(serving.opened), self._queue.enter() as turn:
            try:
                while place := turn.place:
                    yield Waiting(place)
                    await self._unless_leaving(turn.moved(place))
                waited = self._clock() - begun
                text = ""
                async with aclosing(serving.fireside.stream(question, user=asker.user, seed=seed)) as parts:
                    while True:
                        part = await self._unless_leaving(anext(parts))
                        self._queue.progress()
                        if isinstance(part, Answered):
                            last = self._answered(part, asker, id_, waited=waited, seconds=self._clock() - begun)
                            break
                        text += part
                        if serving.fireside.writer is not None:
                            yield Writing(text)
            except _LeavingError:
                last = self._refused(asker, Refusal.LEAVING, self._farewell)
            except Exception as exc:  # a bug that one question brings out shall not leave its asker without a word
                last = self._failed(exc, asker, id_)
        yield last

    def hand_back(self, text: str) -> None:
        """Takes on nothing more, and ends what is being answered and what waits: each is Refused with this text."""
        self._farewell = text
        self._leaving.set()

    def refusal(self, asker: Asker) -> Refused | None:
        """Why somebody can't be served now; None, and one use is counted, if nothing stands against it."""
        if self._leaving.is_set():
            return self._refused(asker, Refusal.LEAVING, self._farewell)
        if self._queue.full:
            return self._refused(asker, Refusal.FULL, FULL.format(waiting=self._queue.room))
        wait = self._limits.hit(f"{asker.platform} {asker.user}", f"{asker.platform} {asker.channel}")
        return self._refused(asker, Refusal.TOO_FAST, TOO_FAST.format(wait=span(wait))) if wait else None

    async def serving(self, asker: Asker | None = None) -> Fireside:
        """The persona as the asker's place has it: which one, in which voice, at which risk. A chat model that is not there,
        a risk that is no longer certified, and settings that can't be read are done without. FiresideError if the place's
        persona can't be opened."""
        return self.fireside if asker is None else (await self._serve(asker)).fireside

    @property
    def traffic(self) -> Traffic:
        """What goes on at the moment."""
        queue = self._queue
        return Traffic(queue.running, queue.length, queue.room, queue.still)

    @property
    def personas(self) -> dict[str, Fireside]:
        """The personas that places chose and that were opened for them, by the names they were chosen by."""
        return {name: fireside for name, fireside in self._personas.items() if fireside is not self.fireside}

    def limit(self, limits: Limits) -> None:
        """Counts by other limits from now on; what was counted so far is forgotten."""
        self._limits = limits

    def replace(self, fireside: Fireside, others: Mapping[str, Fireside] | None = None) -> None:
        """Answers with these personas from now on: `fireside` where a place has no other, `others` by the names in
        `personas`; one that is not among them is opened anew when a place asks for it. Replies in flight end on what they
        began with, which is closed after them (but for a chat model that a new one goes on using)."""
        old = list(self._personas.values())
        new = {**(others or {}), fireside.card.id: fireside}
        self.fireside = fireside
        self._personas.clear()
        self._personas.update(new)
        self._variants.clear()
        self._topics.clear()
        for gone in old:
            if not any(gone is kept for kept in new.values()):
                self._leases.retire(gone)

    def risks(self, fireside: Fireside | None = None) -> tuple[float, ...]:
        """The risk levels that are certified for a persona, the only ones to offer."""
        fireside = fireside or self.fireside
        path = fireside.card.calibration
        if path is None or why_uncalibrated(fireside.card, fireside.corpus, fireside.policy.coefficients):
            return ()
        return tuple(level.risk for level in load_calibration(path).levels if level.certified)

    async def quotes(
        self, topic: str, asker: Asker, *, speaker: str | None = None, talk: str | None = None, limit: int = 3
    ) -> list[ScoredCitation]:
        """What was really said about a topic, best first; by a speaker (a part of the name will do), in a talk (its title)
        alone. InputError if the talks have no such speaker or talk. See `refusal`, which is not asked here."""
        serving = await self._serve(asker)
        fireside = serving.fireside
        name = fireside.lookup.speaker(speaker.strip()) if speaker and speaker.strip() else None
        if speaker and name is None:
            known = ", ".join(fireside.corpus.speakers) or "nobody"
            raise InputError(f"No speaker '{speaker}' in the talks. Whose words are known: {known}.")
        titles = [t.title for t in fireside.corpus.catalog.talk]
        if talk and talk not in titles:
            raise InputError(f"No talk '{talk}'. The talks: {', '.join(titles)}.")
        with self._leases.held(serving.opened):
            found = await fireside.quotes(topic, name, _MOST_QUOTES if talk else limit)
        return [c for c in found if not talk or c.talk == talk][:limit]

    async def topics(self, asker: Asker | None = None) -> list[str]:
        """The words that the talks use most, for completion."""
        fireside = await self.serving(asker)
        if fireside.card.id not in self._topics:
            self._topics[fireside.card.id] = await asyncio.to_thread(topics, fireside.corpus)
        return self._topics[fireside.card.id]

    def why(self, answered: Answered) -> str:
        """What stood behind a reply."""
        return joined(why(answered, self.fireside.policy.coefficients))

    async def sources_text(self, asker: Asker | None = None) -> str:
        """The talks and documents."""
        return joined(talks((await self.serving(asker)).corpus.catalog))

    async def status_text(self, asker: Asker | None = None, *, admin: bool = False) -> str:
        """What it runs with, and how many wait; to an `admin` also why a chat model is not there (that may name files)."""
        fireside = await self.serving(asker)
        writer, catalog, queue = fireside.writer, fireside.corpus.catalog, self._queue
        lines = [
            f"Voice: model ({writer.model.name})" if writer else "Voice: quotes (the speakers' own words)",
            f"Talks: {len(catalog.talk)}, in {len(catalog.document)} documents ({fireside.corpus.fingerprint[:19]})",
            f"Answers from a confidence of {fireside.policy.threshold:.2f} on (risk: {fireside.policy.risk})",
            f"Queue: {queue.running} being answered, {queue.length} waiting, room for {queue.room}",
            f"Up for {span(self._clock() - self._begun)}",
        ]
        if fireside.model_problem:
            lines.insert(1, fireside.model_problem if admin else "Its chat model is not there, so it quotes.")
        return "\n".join(lines)

    def help_text(self, prefix: str) -> str:
        """What this is, and its commands; `prefix` stands before each of them ("/")."""
        commands = (command._replace(name=prefix + command.name) for command in COMMANDS)
        return "\n".join([self.fireside.card.disclosure, "", *listed(commands)])

    async def feedback(
        self, question: Question, reply: Reply, asker: Asker, reply_id: str, *, good: bool, comment: str = ""
    ) -> bool:
        """Keeps what the asker thinks of a reply, with the text of it; False, and nothing is kept, for one who opted out.
        The reply's own id, which the log and `why` show, goes with it; `reply_id` stands in where it has none."""
        if await self.store.opted_out(asker.platform, asker.user):
            return False
        await self.store.add_feedback(
            Feedback(
                **asker._asdict(),
                reply_id=reply.id or reply_id,
                good=good,
                comment=comment,
                question=question.text,
                history=question.history,
                text=reply.text,
                decision=reply.decision,
                reason=reply.reason,
                corpus=reply.corpus,
            )
        )
        return True

    async def close(self) -> None:
        """Lets the personas go that it opened itself, or that were replaced."""
        await self._leases.settled()
        for fireside in self.personas.values():
            await asyncio.to_thread(fireside.close)

    async def _unless_leaving(self, work: Awaitable[T]) -> T:
        """What comes of some work; _LeavingError, and the work is cancelled, once it is to be handed back."""
        doing, leaving = asyncio.ensure_future(work), asyncio.ensure_future(self._leaving.wait())
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise _LeavingError
            return doing.result()
        finally:
            for task in (doing, leaving):
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})

    async def _serve(self, asker: Asker) -> _Serving:
        """See `serving`. Nothing is awaited between the choice of the persona and the return: it is not replaced by then."""
        try:
            settings = await self.store.place(asker.platform, asker.place, asker.channel)
        except StoreError as exc:
            log.error("%s", exc)
            return _Serving(self.fireside, self.fireside)
        opened = await self._persona(settings.persona)
        key = (settings.persona, settings.voice, settings.risk)
        if key not in self._variants:
            self._variants[key] = _variant(opened, settings)
        return _Serving(self._variants[key], opened)

    def _answered(self, answered: Answered, asker: Asker, id_: str, *, waited: float, seconds: float) -> Answered:
        """The reply under its id, told to the observer and the log."""
        reply = answered.reply.model_copy(update={"id": id_})
        answered = replace(answered, reply=reply)
        self._observer.answered(answered, asker.platform, waited=waited, seconds=seconds)
        facts = {"decision": reply.decision.value, "reason": reply.reason.value, "voice": reply.voice}
        times = {"waited_ms": round(waited * 1000), "ms": round(seconds * 1000)}
        log.info("reply", extra={"id": id_, "platform": asker.platform, **facts, **times})
        return answered

    def _refused(self, asker: Asker, why: Refusal, text: str) -> Refused:
        self._observer.refused(asker.platform, why)
        log.debug("refused", extra={"platform": asker.platform, "why": why.value})
        return Refused(text)

    def _failed(self, error: Exception, asker: Asker, id_: str) -> Refused:
        self._observer.failed(asker.platform, error)
        facts = {"id": id_, "platform": asker.platform}
        if isinstance(error, FiresideError) and not isinstance(error, VerificationError):
            log.error("no reply", extra=facts, exc_info=error)
        else:
            # The message of a mistake of ours may hold what somebody wrote: KeyError does.
            log.error("no reply", extra={**facts, "error": type(error).__name__, "at": where(error)})
        return self._refused(asker, Refusal.NOT_HERE, NOT_HERE)

    async def _persona(self, name: str | None) -> Fireside:
        if name is None:
            return self.fireside
        async with self._opening:
            if name not in self._personas:
                if self._open is None:
                    raise InputError(
                        f"The persona '{name}' is not one that runs here. Choose '{self.fireside.card.id}'."
                    )
                self._personas[name] = await asyncio.to_thread(self._open, name)
            return self._personas[name]


class _Queue:
    """Turns, in the order of arrival."""

    def __init__(self, at_once: int, room: int, clock: Callable[[], float]) -> None:
        self.room = room
        self._at_once = at_once
        self._clock = clock
        self._moved = 0.0
        self._running: set[_Turn] = set()
        self._line: list[_Turn] = []

    @property
    def full(self) -> bool:
        return len(self._running) >= self._at_once and len(self._line) >= self.room

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def length(self) -> int:
        return len(self._line)

    @property
    def still(self) -> float:
        return self._clock() - self._moved if self._running or self._line else 0.0

    def progress(self) -> None:
        """Notes that something came of somebody's turn."""
        self._moved = self._clock()

    def enter(self) -> _Turn:
        if not (self._running or self._line):
            self.progress()
        turn = _Turn(self)
        self._line.append(turn)
        self._advance()
        return turn

    def leave(self, turn: _Turn) -> None:
        if turn in self._running:
            self._running.remove(turn)
            self.progress()
        else:
            self._line.remove(turn)
        self._advance()

    def place(self, turn: _Turn) -> int:
        return 0 if turn in self._running else self._line.index(turn) + 1

    def _advance(self) -> None:
        waited = list(self._line)
        while self._line and len(self._running) < self._at_once:
            self._running.add(self._line.pop(0))
        for turn in waited:
            turn.tell()


class _Turn:
    """A place in the queue, from 1; 0 once it is one's turn. Leaving the `with` gives it up."""

    def __init__(self, queue: _Queue) -> None:
        self._queue = queue
        self._told = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._queue.leave(self)

    @property
    def place(self) -> int:
        return self._queue.place(self)

    def tell(self) -> None:
        self._told.set()

    async def moved(self, place: int) -> None:
        """Returns when the place is another one."""
        while self.place == place:
            self._told.clear()
            await self._told.wait()


class _Leases:
    """Who uses which persona: one that was replaced is closed after the last of them."""

    def __init__(self, current: Callable[[], Collection[Fireside]]) -> None:
        self._current = current
        self._uses: Counter[int] = Counter()
        self._retired: dict[int, Fireside] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @contextmanager
    def held(self, fireside: Fireside) -> Generator[None]:
        key = id(fireside)
        self._uses[key] += 1
        try:
            yield
        finally:
            self._uses[key] -= 1
            if not self._uses[key]:
                del self._uses[key]
                if (retired := self._retired.pop(key, None)) is not None:
                    self._close(retired)

    def retire(self, fireside: Fireside) -> None:
        if self._uses[id(fireside)]:
            self._retired[id(fireside)] = fireside
        else:
            self._close(fireside)

    async def settled(self) -> None:
        """Returns when all is closed that is to be."""
        await asyncio.gather(*self._closing)

    def _close(self, fireside: Fireside) -> None:
        task = asyncio.create_task(self._closed(fireside))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _closed(self, fireside: Fireside) -> None:
        try:
            if fireside.writer is not None:
                model = fireside.writer.model
                others = (*self._current(), *self._retired.values())
                if not any(other.writer is not None and other.writer.model is model for other in others):
                    await model.close()
                fireside = copy.copy(fireside)
                fireside.writer = None  # or it would close the chat model
            await asyncio.to_thread(fireside.close)
        except Exception as exc:
            log.error("A persona that was replaced could not be closed.", exc_info=exc)


def span(seconds: float) -> str:
    """A length of time for people: "1 second", "5 minutes", "3 hours", "2 days"."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{math.ceil(seconds / length)} {unit}s"
    count = math.ceil(seconds)
    return f"{count} second{'' if count == 1 else 's'}"


def _reply_id(question: Question, seed: int) -> str:
    """The event's own id, so that the reply made anew after a restart has the same one; a second try has its own."""
    own = question.id or uuid.uuid4().hex[:12]
    return f"{own}-{seed}" if seed else own


def _variant(fireside: Fireside, settings: PlaceSettings) -> Fireside:
    other = copy.copy(fireside)
    if settings.voice == "quotes":
        other.writer, other.model_problem = None, ""
    if settings.risk is not None:
        try:
            other.policy = policy_of(
                fireside.card,
                fireside.corpus,
                fireside.policy.coefficients,
                settings.risk,
                judged=fireside.judge is not None,
            )
        except FiresideError as exc:
            log.warning("%s", exc)
    return other
