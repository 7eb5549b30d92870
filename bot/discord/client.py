"""The client: which events are questions, what their answers rest on, and what is remembered of a reply."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import discord

from bot.discord import reading, rendering
from bot.discord.commands import Commands, sync
from bot.discord.delivery import (
    BROKEN,
    NOBODY,
    PACE,
    InChannel,
    Outlet,
    Part,
    ToInteraction,
    cannot_write,
    follow,
    tell_mistake,
    typing,
)
from bot.discord.settings import ADMINS_ONLY
from bot.discord.views import reply_view, route
from bot.host import Asker, Host, Refused
from bot.store import PlaceSettings, Store
from persona.errors import StoreError
from persona.pipeline import Answered
from persona.types import Question, Turn

log = logging.getLogger("fireside.discord")
PLATFORM = "discord"
REMEMBERED = 2000  # replies
SEEN = 10_000  # events
TALK_LASTS = 15 * 60.0  # seconds from which on /ask begins a new conversation
TOO_OLD = 15 * 60.0  # seconds: a question that a killed process left behind is no longer waited for
LEAVING = "I am being restarted. Please try again in a minute."
KINDS = (discord.MessageType.default, discord.MessageType.reply)


class Exchange(NamedTuple):
    """A question, who asked it, and the reply; None where it was made by a process before this one."""

    question: Question
    user: int
    answered: Answered | None = None


class Memory:
    """The last replies, by the id of the message that holds them; and each person's last one in a channel."""

    def __init__(self) -> None:
        self._replies: OrderedDict[int, Exchange] = OrderedDict()
        self._last: dict[tuple[int, int], tuple[float, Exchange]] = {}
        self._begun: dict[tuple[int, int], int] = {}

    def keep(self, reply: int, channel: int, exchange: Exchange) -> None:
        """Remembers a reply; the oldest ones are forgotten."""
        self._replies[reply] = exchange
        self._last[exchange.user, channel] = (time.monotonic(), exchange)
        if len(self._replies) > REMEMBERED:
            _, old = self._replies.popitem(last=False)
            self._last = {key: entry for key, entry in self._last.items() if entry[1] is not old}

    def reply(self, message: int) -> Exchange | None:
        """What a message of ours replied to."""
        return self._replies.get(message)

    def last(self, user: int, channel: int) -> Exchange | None:
        """A person's last question in a channel."""
        entry = self._last.get((user, channel))
        return entry[1] if entry else None

    def turns(self, user: int, channel: int) -> tuple[Turn, ...]:
        """What a person and the bot said to each other a little while ago."""
        entry = self._last.get((user, channel))
        if entry is None or time.monotonic() - entry[0] > TALK_LASTS:
            return ()
        _, (question, _, answered) = entry
        if answered is None:
            return ()
        said = Turn(role="user", content=question.text), Turn(role="assistant", content=answered.reply.text)
        return (*question.history, *said)[-reading.TURNS :]

    def begin_anew(self, user: int, channel: int, since: int) -> None:
        """Forgets what was said before the event `since` (an id)."""
        self._last.pop((user, channel), None)
        self._begun[user, channel] = since

    def since(self, user: int, channel: int) -> int:
        """The id of the event from which on a person's conversation in a channel counts."""
        return self._begun.get((user, channel), 0)

    def forget(self, user: int) -> None:
        """Forgets all that a person asked."""
        self._replies = OrderedDict((key, e) for key, e in self._replies.items() if e.user != user)
        self._last = {key: entry for key, entry in self._last.items() if key[0] != user}


@dataclass
class Pending:
    """A question that is being answered; an edit or deletion cancels the work on it."""

    message: discord.Message
    text: str  # the library changes a message that it knows in place
    work: asyncio.Task[Answered | Refused] | None = None
    changed: bool = False
    deleted: bool = False

    def stop(self) -> None:
        """Stops the work."""
        if self.work is not None:
            self.work.cancel()


class FiresideClient(discord.Client):
    """Answers mentions, DMs, threads and commands. `data_dir` holds the evaluations; `content`: whether the message-content
    intent may be asked for; without it mentions, DMs and commands still work. `pace` is the seconds between two edits of a
    reply that is being written, `options` are the library's."""

    def __init__(
        self, host: Host, store: Store, data_dir: Path, *, content: bool = True, pace: float = PACE, **options: Any
    ) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=content)
        super().__init__(intents=intents, allowed_mentions=NOBODY, **options)
        self.host = host
        self.store = store
        self.data_dir = data_dir
        self.pace = pace
        self.memory = Memory()
        self.commands = Commands(self)
        self._pending: dict[int, Pending] = {}
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._threads: dict[int, bool] = {}
        self._working = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving = False

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Passes an event on; once it is closing the library has no loop for any."""
        if not self.is_closed():
            super().dispatch(event, *args, **kwargs)

    async def setup_hook(self) -> None:
        """After the login and before the first event: registers the commands where they differ."""
        try:
            await sync(self.commands.tree)
        except discord.HTTPException as exc:
            log.warning(f"The commands could not be registered: {exc}. Run `fireside doctor discord`.")

    async def on_ready(self) -> None:
        """Says that it is there, and answers what a process that was killed left behind."""
        log.info(f"Connected as {self.user}, in {len(self.guilds)} servers.")
        if self._leaving:
            return
        with self.work():
            try:
                left = await self.store.unanswered(PLATFORM)
            except StoreError as exc:
                log.warning(str(exc))
                return
            for event, channel in left:
                if event.isdecimal() and int(event) not in self._seen:
                    await self._take_up(int(event), int(channel))

    async def on_message(self, message: discord.Message) -> None:
        """Answers what is said to the bot."""
        assert self.user is not None
        if message.author.id == self.user.id or message.type not in KINDS or self._leaving:
            return
        with self.work():
            try:
                # Before the first await: of an event that comes twice at once, one is dropped.
                if not self._unseen(message.id):
                    return
                if await self._concerns(message, self.user) and await self._first_sight(message):
                    await self._answer(message)
                    await self._done(message.id)
            except discord.Forbidden as exc:
                log.warning(cannot_write(message.channel, exc))
            except Exception as exc:
                await self._failed(exc, InChannel(message))

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Answers what a question that still waits has become."""
        pending = self._pending.get(payload.message_id)
        # Without the message-content intent a text that no longer names the bot comes empty.
        if pending is not None and payload.message.content not in ("", pending.text):
            pending.message, pending.text, pending.changed = payload.message, payload.message.content, True
            pending.stop()

    async def on_raw_message_delete(self, payload: discord.RawMessageDeleteEvent) -> None:
        """Drops a question that still waits."""
        self._delete(payload.message_id)

    async def on_raw_bulk_message_delete(self, payload: discord.RawBulkMessageDeleteEvent) -> None:
        """Drops the questions among them that still wait."""
        for message in payload.message_ids:
            self._delete(message)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Buttons, menus and forms; the commands have their tree."""
        if interaction.type in (discord.InteractionType.component, discord.InteractionType.modal_submit):
            with self.work():
                try:
                    await route(self, interaction)
                except Exception as exc:
                    await tell_mistake(interaction, exc)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """A mistake of ours in an event ends that event alone."""
        del args, kwargs
        log.exception(f"A mistake in {event_method}.")

    async def drain(self, seconds: float) -> None:
        """Takes on nothing new, and waits for what is in flight."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

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

    async def accept(self, outlet: ToInteraction, *, admins: bool = False) -> bool:
        """Acknowledges an interaction; False where nothing more is to be done about it: it came before, it may not be
        answered here, or the bot is being stopped. `admins`: it is for those who manage the server, wherever they are."""
        interaction = outlet.interaction
        if not self._unseen(interaction.id):
            return False
        await outlet.accept()
        if self._leaving:
            refusal = LEAVING
        elif admins:
            refusal = "" if interaction.permissions.manage_guild else ADMINS_ONLY
        else:
            refusal = await self.refusal(interaction)
        if refusal:
            await outlet.refuse(refusal)
        return not refusal

    async def refusal(self, interaction: discord.Interaction[Any]) -> str:
        """Why an interaction is not answered where it was made; empty if it is."""
        if interaction.guild_id is None:
            return ""
        settings = await self.settings(interaction.guild_id, _parent(interaction.channel) or interaction.channel_id)
        return _refusal(settings, interaction.user, _ids(interaction.channel, interaction.channel_id))

    async def settings(self, guild: int | None, channel: int | None) -> PlaceSettings:
        """The settings that hold in a channel; those of the start where the store can't be read."""
        try:
            return await self.store.place(PLATFORM, place_of(guild), None if channel is None else str(channel))
        except StoreError as exc:
            log.warning(str(exc))
            return PlaceSettings()

    def asker(self, event: discord.Interaction[Any] | discord.Message) -> Asker:
        """Who asks, and whose settings hold: a thread has those of its channel."""
        user = event.user if isinstance(event, discord.Interaction) else event.author
        guild = event.guild_id if isinstance(event, discord.Interaction) else (event.guild.id if event.guild else None)
        channel = event.channel
        number = event.channel_id if isinstance(event, discord.Interaction) else event.channel.id
        return Asker(PLATFORM, str(user.id), place_of(guild), str(_parent(channel) or number))

    async def respond(
        self, question: Question, asker: Asker, outlet: Outlet, *, channel: int, seed: int = 0, repeat: bool = False
    ) -> None:
        """Answers a question into an outlet; `repeat` shows the question above the reply."""
        outcome = await follow(self.host.answer(question, asker, seed=seed), outlet, self.pace)
        await self.post(question, outcome, asker, outlet, channel=channel, repeat=repeat)

    async def post(
        self,
        question: Question,
        outcome: Answered | Refused,
        asker: Asker,
        outlet: Outlet,
        *,
        channel: int,
        repeat: bool = False,
    ) -> None:
        """Posts how a question came out, and remembers it."""
        if isinstance(outcome, Refused):
            await outlet.finish([Part(text) for text in rendering.plain(outcome.text)])
            return
        private = isinstance(outlet, ToInteraction) and outlet.private
        note = "" if private else await self._disclosure(asker, channel)
        rendered = rendering.message(outcome.reply, question.text if repeat else None, note)
        *before, last = rendered.contents
        parts = [*map(Part, before), Part(last, rendered.embeds, reply_view(outcome.reply))]
        posted = await outlet.finish(parts)
        if posted is not None:
            self.memory.keep(posted.id, channel, Exchange(question, int(asker.user), outcome))

    async def ask(self, question: Question, asker: Asker) -> Answered | Refused:
        """How a question comes out, without anything shown meanwhile."""
        async with contextlib.aclosing(self.host.answer(question, asker)) as updates:
            async for update in updates:
                if isinstance(update, Answered | Refused):
                    return update
        raise AssertionError("updates without an end")

    async def forget(self, user: int, opt_out: bool | None) -> str:
        """Deletes what is kept of a person; what to tell them."""
        self.memory.forget(user)
        if opt_out is not None:
            await self.store.opt_out(PLATFORM, str(user), opt_out)
        rows = await self.store.forget(PLATFORM, str(user))
        told = f"Done: {rows} piece{'' if rows == 1 else 's'} of feedback deleted, and our conversations forgotten."
        if await self.store.opted_out(PLATFORM, str(user)):
            return f"{told} From now on I keep nothing of you, and read no message of yours that doesn't name me."
        return f"{told} I keep no messages; feedback that you give me is kept with its reply. `opt_out` ends that too."

    async def exchange(self, message: discord.Message) -> Exchange | None:
        """What a reply of ours replied to; after a restart read again from the messages. None where that is gone."""
        assert self.user is not None
        kept = self.memory.reply(message.id)
        if kept is not None:
            return kept
        at: discord.Message | None = message
        for _ in range(reading.CHAIN):
            if at is None:
                return None
            if at.author.id != self.user.id:
                if text := await self._asked(at):
                    turns = await self._history(at)
                    return Exchange(Question(text=text, id=str(at.id), history=turns), at.author.id)
                return None
            if text := rendering.question_of(at.content):
                by = at.interaction_metadata.user.id if at.interaction_metadata else 0
                return Exchange(Question(text=text, id=str(at.id)), by)
            at = await reading.referred(at)
        return None

    async def _answer(self, message: discord.Message, shown: discord.Message | None = None) -> None:
        """Answers a message; `shown` is what stands there already of an answer to it."""
        pending = self._pending[message.id] = Pending(message, message.content)
        outlet = InChannel(message, shown)
        try:
            async with typing(message.channel):
                ready = await self._ready_answer(pending, outlet)
            if pending.deleted or ready is None:
                await outlet.withdraw()
                return
            question, outcome = ready
            await self.post(question, outcome, self.asker(message), outlet, channel=message.channel.id)
            if isinstance(message.channel, discord.Thread):
                self._threads[message.channel.id] = True
        finally:
            del self._pending[message.id]

    async def _ready_answer(self, pending: Pending, outlet: Outlet) -> tuple[Question, Answered | Refused] | None:
        """The answer to a question as it now stands; None once it is deleted."""
        while True:
            pending.changed = False
            message = pending.message
            question = Question(
                text=await self._asked(message), id=str(message.id), history=await self._history(message)
            )
            if pending.deleted:
                return None
            if pending.changed:
                continue
            updates = self.host.answer(question, self.asker(message))
            pending.work = asyncio.create_task(follow(updates, outlet, self.pace))
            try:
                outcome = await pending.work
                if not pending.changed:
                    return question, outcome
            except asyncio.CancelledError:
                if pending.deleted:
                    return None
                if not pending.changed:
                    raise
            finally:
                pending.stop()

    async def _asked(self, message: discord.Message) -> str:
        """The question of a message; a bare mention as a reply to somebody asks about what they said."""
        assert self.user is not None
        text = reading.text_of(message, self.user)
        if not text and (to := await reading.referred(message)) and to.author.id != self.user.id:
            return reading.text_of(to, self.user)
        return text

    async def _history(self, message: discord.Message) -> tuple[Turn, ...]:
        assert self.user is not None
        if await self._opted_out(message.author.id):
            return ()
        since = self.memory.since(message.author.id, message.channel.id)
        return await reading.history(message, self.user, self._recall, since)

    def _recall(self, message: int) -> reading.Said | None:
        kept = self.memory.reply(message)
        if kept is None or kept.answered is None:
            return None
        return reading.Said(kept.answered.reply.text, kept.user)

    async def _concerns(self, message: discord.Message, me: discord.ClientUser) -> bool:
        """Whether a message is to be answered: it is said to the bot, or in its thread, and allowed."""
        said = reading.addressed(message, me)
        if not said and (message.guild is None or not message.content or reading.to_others(message, me)):
            return False
        if isinstance(message.channel, discord.PartialMessageable) and message.guild is not None:
            with contextlib.suppress(discord.HTTPException):
                found = await self.fetch_channel(message.channel.id)
                if isinstance(found, discord.abc.MessageableChannel):
                    message.channel = found
        if not said and not await self._takes_part(message):
            return False
        settings = await self.settings(
            message.guild.id if message.guild else None, _parent(message.channel) or message.channel.id
        )
        if (message.author.bot or message.webhook_id is not None) and not settings.other_bots:
            return False
        if not said and settings.answers == "mentions":
            return False
        return not _refusal(settings, message.author, _ids(message.channel, message.channel.id))

    async def _takes_part(self, message: discord.Message) -> bool:
        """Whether the bot has said something in this thread, or opened it."""
        thread = message.channel
        if not isinstance(thread, discord.Thread) or self.user is None:
            return False
        if await self._opted_out(message.author.id):
            return False
        if thread.owner_id == self.user.id:
            return True
        if thread.id not in self._threads:
            self._threads[thread.id] = False
            with contextlib.suppress(discord.HTTPException):
                async for before in thread.history(limit=reading.READ_BACK, before=message):
                    if before.author.id == self.user.id:
                        self._threads[thread.id] = True
                        break
        return self._threads[thread.id]

    async def _take_up(self, message: int, channel: int) -> None:
        """Answers a question that a process before this one had seen, unless it did, or it is too long ago."""
        try:
            place = self.get_channel(channel) or await self.fetch_channel(channel)
            if not isinstance(place, discord.abc.Messageable) or self.user is None:
                return
            asked = await place.fetch_message(message)
            age = (discord.utils.utcnow() - asked.created_at).total_seconds()
            replies = [
                m
                async for m in place.history(limit=100, after=asked)
                if m.author.id == self.user.id and m.reference and m.reference.message_id == message
            ]
            unfinished = next((m for m in replies if not m.components), None)  # a whole reply has buttons
            if (unfinished or not replies) and age < TOO_OLD and self._unseen(message):
                await self._answer(asked, unfinished)
        except discord.HTTPException:
            pass
        await self._done(message)

    async def _first_sight(self, message: discord.Message) -> bool:
        """Whether this message was not taken on yet, by a process before this one or beside it."""
        try:
            return await self.store.first_sight(PLATFORM, str(message.id), str(message.channel.id))
        except StoreError as exc:
            log.warning(str(exc))
            return True

    async def _done(self, message: int) -> None:
        try:
            await self.store.answered(PLATFORM, str(message))
        except StoreError as exc:
            log.warning(str(exc))

    async def _disclosure(self, asker: Asker, channel: int) -> str:
        """The line that says what this is, once a channel."""
        try:
            first = await self.store.first_contact(PLATFORM, str(channel))
        except StoreError as exc:
            log.warning(str(exc))
            return ""
        return (await self.host.serving(asker)).card.disclosure if first else ""

    async def _opted_out(self, user: int) -> bool:
        try:
            return await self.store.opted_out(PLATFORM, str(user))
        except StoreError as exc:
            log.warning(str(exc))
            return False

    async def _failed(self, exc: Exception, outlet: Outlet) -> None:
        """A mistake of ours: noted in full, and said in a sentence."""
        log.error("A mistake while answering.", exc_info=exc)
        with contextlib.suppress(discord.HTTPException, aiohttp.ClientError, OSError):
            await outlet.finish([Part(BROKEN)])

    def _delete(self, message: int) -> None:
        pending = self._pending.get(message)
        if pending is not None:
            pending.deleted = True
            pending.stop()

    def _unseen(self, event: int) -> bool:
        """Whether this process sees an event for the first time."""
        if event in self._seen:
            return False
        self._seen[event] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        return True


def place_of(guild: int | None) -> str:
    """What the store calls a server; all DMs are one place."""
    return "dm" if guild is None else str(guild)


def _parent(channel: object) -> int | None:
    return channel.parent_id if isinstance(channel, discord.Thread) else None


def _ids(channel: object, number: int | None) -> set[str]:
    return {str(n) for n in (number, _parent(channel)) if n is not None}


def _refusal(settings: PlaceSettings, user: discord.abc.User, channels: set[str]) -> str:
    """Why a place's settings keep the bot from answering; empty if they don't."""
    roles: Sequence[discord.Role] = user.roles if isinstance(user, discord.Member) else ()
    theirs = {str(role.id) for role in roles}
    if channels & set(settings.blocked_channels) or (
        settings.allowed_channels and not channels & set(settings.allowed_channels)
    ):
        return "I am not to answer in this channel. An admin chooses the channels with /settings."
    if (
        str(user.id) in settings.blocked_users
        or theirs & set(settings.blocked_roles)
        or (settings.allowed_roles and not theirs & set(settings.allowed_roles))
    ):
        return "I am not to answer you in this server. An admin chooses who may ask with /settings."
    return ""


class ShardedClient(FiresideClient, discord.AutoShardedClient):
    """The same over as many connections as Discord advises: it asks for that from 2,500 servers on."""
