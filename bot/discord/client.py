"""The client: which events are questions, what their answers rest on, and what is remembered of a reply."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import discord
from discord.abc import Snowflake

from bot.desk import BROKEN, CUT_SHORT, LEAVING, PACE, TOO_OLD, TURNS, Desk, Exchange, Named, Pending, exchanged, follow
from bot.discord import reading, rendering
from bot.discord.commands import Commands, sync
from bot.discord.delivery import (
    FAILURES,
    LONGEST_WAIT,
    NOBODY,
    OWED,
    InChannel,
    Outlet,
    Part,
    ToInteraction,
    cannot_write,
    may_pass,
    persist,
    tell_mistake,
    typing,
    unfinished,
)
from bot.discord.settings import ADMINS_ONLY, PLATFORM
from bot.discord.views import reply_view, route
from bot.host import Asker, Host, Refused
from bot.logs import note_mistake
from bot.store import Store
from persona.pipeline import Answered
from persona.types import Question, Turn

log = logging.getLogger("fireside.discord")
NAMED = Named("/forget", "`opt_out`", "`/forget opt_out:False`", "/settings")
CAUGHT_UP = 50  # channels that are looked through for what was missed
READ = 100  # messages of each
AGAIN = 1.0
AT_ONCE = 8  # of what is owed
KINDS = (discord.MessageType.default, discord.MessageType.reply)

Work = Callable[[], Awaitable[None]]  # may be done again


class FiresideClient(discord.Client):
    """Answers mentions, DMs, threads and commands. `data_dir` holds the evaluations; `content`: whether the message-content
    intent may be asked for; without it mentions, DMs and commands still work. `pace` is the seconds between two edits of a
    reply that is being written, `again` those before what Discord failed at is tried once more (each pause is twice the one
    before), `connected` hears when the connection comes and goes, `options` are the library's."""

    def __init__(
        self,
        host: Host,
        store: Store,
        data_dir: Path,
        *,
        content: bool = True,
        pace: float = PACE,
        again: float = AGAIN,
        connected: Callable[[bool], None] = lambda _there: None,
        **options: Any,
    ) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True, message_content=content)
        super().__init__(intents=intents, allowed_mentions=NOBODY, **options)
        self._connected = connected
        self._again = again
        self._few = asyncio.Semaphore(AT_ONCE)
        self.desk = Desk(PLATFORM, host, store, data_dir, NAMED, pace=pace)
        self.commands = Commands(self)
        self._pending: dict[int, Pending[discord.Message]] = {}
        self._accepted: set[int] = set()  # interactions
        self._threads: dict[int, bool] = {}
        self._elsewhere: set[int] = set()  # threads that were opened on nothing of ours

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
        """Says that it is there, and answers what a process that was killed left behind, and what was asked while there was
        no connection."""
        log.info(f"Connected as {self.user}, in {len(self.guilds)} servers.")
        self._connected(True)
        if self.desk.leaving:
            return
        with self.desk.work():
            owed: list[Work] = []
            for event, channel in await self.desk.left_behind():
                number, _, token = event.partition(":")
                if number.isdecimal() and self.desk.unseen(number):
                    rest = {"token": token} if token else {"channel": int(channel)}
                    owed.append(partial(self._apologize if token else self._take_up, int(number), **rest))
            begun = [asyncio.create_task(self._see_to(work)) for work in (*owed, *await self._catch_up())]
            await asyncio.sleep(0)  # from here on each of them is work of its own
        await asyncio.gather(*begun)

    async def on_resumed(self) -> None:
        """The connection is there again, and what was missed comes."""
        self._connected(True)

    async def on_disconnect(self) -> None:
        """The connection broke; the library makes it anew."""
        self._connected(False)

    async def on_message(self, message: discord.Message) -> None:
        """Answers what is said to the bot."""
        assert self.user is not None
        if message.author.id == self.user.id or message.type not in KINDS or self.desk.leaving:
            return
        with self.desk.work():
            try:
                # Before the first await: of an event that comes twice at once, one is dropped.
                if not self.desk.unseen(str(message.id)):
                    return
                if (
                    await self._concerns(message, self.user)
                    and await self.desk.first_sight(str(message.id), str(message.channel.id))
                    and await self._answer(message)
                ):
                    await self.desk.done(str(message.id))
            except discord.Forbidden as exc:
                log.warning(cannot_write(message.channel, exc))
            except Exception as exc:
                await self._failed(exc, InChannel(message))

    async def on_cut_off(self, message: discord.Message) -> None:
        """Answers what a process was killed over that could not even note it."""
        if not self.desk.leaving:
            await self._see_to(partial(self._take_up, message.id, message.channel.id))

    async def on_raw_message_edit(self, payload: discord.RawMessageUpdateEvent) -> None:
        """Answers what a question that still waits has become."""
        pending = self._pending.get(payload.message_id)
        # Without the message-content intent a text that no longer names the bot comes empty.
        if pending is not None and payload.message.content not in ("", pending.text):
            pending.event, pending.text, pending.changed = payload.message, payload.message.content, True
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
            async with self.handling(interaction):
                try:
                    await route(self, interaction)
                except Exception as exc:
                    await tell_mistake(interaction, exc)

    @contextlib.asynccontextmanager
    async def handling(self, interaction: discord.Interaction[Any]) -> AsyncGenerator[None]:
        """Around all that is done about an interaction."""
        with self.desk.work():
            yield
            if interaction.id in self._accepted:
                self._accepted.remove(interaction.id)
                if not interaction.extras.get(OWED):
                    await self.desk.done(_event(interaction))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """A mistake of ours in an event ends that event alone."""
        del args, kwargs
        log.exception(f"A mistake in {event_method}.")

    async def accept(self, outlet: ToInteraction, *, admins: bool = False) -> bool:
        """Acknowledges an interaction; False where nothing more is to be done about it: it came before, it may not be
        answered here, or the bot is being stopped. `admins`: it is for those who manage the server, wherever they are."""
        interaction = outlet.interaction
        if not self.desk.unseen(str(interaction.id)):
            return False
        # Its token is all by which the next process can tell the person, should this one be killed.
        self._accepted.add(interaction.id)
        await self.desk.acknowledge(_event(interaction), str(interaction.channel_id or 0), outlet.accept)
        if self.desk.leaving:
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
        channel = _parent(interaction.channel) or interaction.channel_id
        settings = await self.desk.settings(place_of(interaction.guild_id), str(channel))
        channels = _ids(interaction.channel, interaction.channel_id)
        return self.desk.refusal(settings, str(interaction.user.id), channels, _roles(interaction.user))

    def asker(self, event: discord.Interaction[Any] | discord.Message) -> Asker:
        """Who asks, and whose settings hold: a thread has those of its channel."""
        user = event.user if isinstance(event, discord.Interaction) else event.author
        guild = event.guild_id if isinstance(event, discord.Interaction) else (event.guild.id if event.guild else None)
        channel = event.channel
        number = event.channel_id if isinstance(event, discord.Interaction) else event.channel.id
        return Asker(PLATFORM, str(user.id), place_of(guild), str(_parent(channel) or number))

    async def respond(
        self, question: Question, asker: Asker, outlet: ToInteraction, *, seed: int = 0, repeat: bool = False
    ) -> None:
        """Answers a question into an interaction; `repeat` shows the question above the reply."""
        outcome = await follow(self.desk.host.answer(question, asker, seed=seed), outlet.show, self.desk.pace)
        channel = outlet.interaction.channel_id or 0
        post = await self._posting(question, outcome, asker, outlet, channel=channel, repeat=repeat)
        await post()

    async def _posting(
        self,
        question: Question,
        outcome: Answered | Refused,
        asker: Asker,
        outlet: Outlet,
        *,
        channel: int,
        repeat: bool = False,
    ) -> Work:
        """What posts how a question came out and remembers it; it can be done again where Discord fails at it."""
        if isinstance(outcome, Refused):
            refusal = [Part(text) for text in rendering.plain(outcome.text)]

            async def refuse() -> None:
                await outlet.finish(refusal)

            return refuse
        private = isinstance(outlet, ToInteraction) and outlet.private
        note = "" if private else await self.desk.disclosure(asker, str(channel))
        rendered = rendering.message(outcome.reply, question.text if repeat else None, note)
        *before, last = rendered.contents
        parts = [*map(Part, before), Part(last, rendered.embeds, reply_view(outcome.reply))]

        async def post() -> None:
            posted = await outlet.finish(parts)
            if posted is not None:
                self.desk.memory.keep(str(posted.id), str(channel), Exchange(question, asker.user, outcome))

        return post

    async def exchange(self, message: discord.Message) -> Exchange | None:
        """What a reply of ours replied to; after a restart read again from the messages. None where that is gone."""
        assert self.user is not None
        kept = self.desk.memory.reply(str(message.id))
        if kept is not None:
            return kept
        at: discord.Message | None = message
        for _ in range(reading.CHAIN):
            if at is None:
                return None
            if at.author.id != self.user.id:
                if text := await self._asked(at):
                    turns = await self._history(at)
                    return Exchange(Question(text=text, id=str(at.id), history=turns), str(at.author.id))
                return None
            if text := rendering.question_of(at.content):
                by = str(at.interaction_metadata.user.id) if at.interaction_metadata else ""
                return Exchange(Question(text=text, id=str(at.id)), by)
            at = await reading.referred(at)
        return None

    async def _answer(self, message: discord.Message, shown: discord.Message | None = None) -> bool:
        """Answers a message; `shown` is what stands there already of an answer to it. False where Discord doesn't take it
        for so long that it is left to the next process."""
        pending = self._pending[message.id] = Pending(message, message.content)
        outlet = InChannel(message, shown)
        try:
            async with typing(message.channel):
                ready = await self.desk.answer_as_it_stands(
                    pending, lambda: self._question(pending), self.asker(message), outlet.show
                )
            if ready is not None and not pending.deleted:
                question, outcome = ready
                post = await self._posting(question, outcome, self.asker(message), outlet, channel=message.channel.id)
                if not await self._insist(post, lambda: pending.deleted):
                    return False
            if ready is None or pending.deleted:
                await outlet.withdraw()
            elif isinstance(message.channel, discord.Thread):
                self._threads[message.channel.id] = True
            return True
        finally:
            del self._pending[message.id]

    async def _question(self, pending: Pending[discord.Message]) -> Question:
        message = pending.event
        text = await self._asked(message)
        return Question(text=text, id=str(message.id), history=await self._history(message))

    async def _asked(self, message: discord.Message) -> str:
        """The question of a message; a bare mention as a reply to somebody asks about what they said."""
        assert self.user is not None
        text = reading.text_of(message, self.user)
        if not text and (to := await reading.referred(message)) and to.author.id != self.user.id:
            return reading.text_of(to, self.user)
        return text

    async def _history(self, message: discord.Message) -> tuple[Turn, ...]:
        assert self.user is not None
        if await self.desk.opted_out(str(message.author.id)):
            return ()
        since = self.desk.memory.since(str(message.author.id), str(message.channel.id))
        turns = await reading.history(message, self.user, self._recall, int(since or 0))
        if since is None and isinstance(message.channel, discord.Thread):
            turns = (*await self._opening(message.channel), *turns)[-TURNS:]
        return turns

    async def _opening(self, thread: discord.Thread) -> tuple[Turn, ...]:
        """What was said where a thread was opened on a reply of ours."""
        opened_on = None
        with contextlib.suppress(*FAILURES):
            opened_on = await self._opened_on(thread)
        kept = await self.exchange(opened_on) if opened_on is not None else None
        if opened_on is None or kept is None:
            return ()
        said = kept.answered.reply.text if kept.answered else reading.said_in(opened_on.content)
        return (*kept.question.history, *exchanged(kept.question, said))

    async def _opened_on(self, thread: discord.Thread) -> discord.Message | None:
        """The message of ours that a thread was opened on, which has its id; None for any other."""
        opened_on = thread.starter_message
        if opened_on is None and thread.id not in self._elsewhere:
            parent = self.get_partial_messageable(thread.parent_id)
            with contextlib.suppress(discord.NotFound, discord.Forbidden):
                opened_on = await persist(lambda: parent.fetch_message(thread.id))
        if opened_on is None or self.user is None or opened_on.author.id != self.user.id:
            self._elsewhere.add(thread.id)
            return None
        return opened_on

    def _recall(self, message: int) -> reading.Said | None:
        kept = self.desk.memory.reply(str(message))
        if kept is None or kept.answered is None:
            return None
        return reading.Said(kept.answered.reply.text, kept.user)

    async def _concerns(self, message: discord.Message, me: discord.ClientUser) -> bool:
        """Whether a message is to be answered: it is said to the bot, or in its thread, and allowed."""
        said = reading.addressed(message, me)
        if not said and (message.guild is None or not message.content or reading.to_others(message, me)):
            return False
        if isinstance(message.channel, discord.PartialMessageable) and message.guild is not None:
            with contextlib.suppress(*FAILURES):
                found = await persist(lambda: self.fetch_channel(message.channel.id))
                if isinstance(found, discord.abc.GuildChannel | discord.Thread) and isinstance(
                    found, discord.abc.Messageable
                ):
                    message.channel = found
        if not said and not await self._takes_part(message):
            return False
        channel = _parent(message.channel) or message.channel.id
        settings = await self.desk.settings(place_of(message.guild.id if message.guild else None), str(channel))
        if (message.author.bot or message.webhook_id is not None) and not settings.other_bots:
            return False
        if not said and settings.answers == "mentions":
            return False
        channels = _ids(message.channel, message.channel.id)
        return not self.desk.refusal(settings, str(message.author.id), channels, _roles(message.author))

    async def _takes_part(self, message: discord.Message) -> bool:
        """Whether the bot has said something in this thread, or opened it."""
        thread = message.channel
        if not isinstance(thread, discord.Thread) or self.user is None:
            return False
        if await self.desk.opted_out(str(message.author.id)):
            return False
        if thread.owner_id == self.user.id:
            return True
        if thread.id not in self._threads:
            with contextlib.suppress(*FAILURES):
                there = await self._has_spoken(thread, message) or await self._opened_on(thread) is not None
                self._threads.setdefault(thread.id, there)  # it may have said something meanwhile
        return self._threads.get(thread.id, False)

    async def _has_spoken(self, thread: discord.Thread, before: Snowflake) -> bool:
        """Whether the bot is among those who said something in a thread of late."""

        async def read() -> bool:
            said = [m.author async for m in thread.history(limit=reading.READ_BACK, before=before)]
            return self.user in said

        return await persist(read)

    async def _insist(self, work: Work, idle: Callable[[], bool] = lambda: False) -> bool:
        """Does a work, and again where Discord fails at it for the moment, unless it has become `idle`; False where it is
        given up, because the bot stops or it is too late. Raises FAILURES that won't pass."""
        wait, end = self._again, time.monotonic() + TOO_OLD
        while True:
            try:
                await work()
                return True
            except FAILURES as exc:
                if not may_pass(exc):
                    raise
                log.warning(f"Discord fails at what is owed to somebody ({exc}).")
            if time.monotonic() > end:
                log.warning("It is given up: Discord fails for too long.")
                return False
            await asyncio.sleep(wait)
            if idle():
                return True
            if self.desk.leaving or self.is_closed():
                return False
            wait = min(2 * wait, LONGEST_WAIT)

    async def _see_to(self, work: Work) -> None:
        """Insists on a work of the start, beside few others. Between two tries it doesn't keep the bot from stopping: what
        is owed then is left to the next process."""

        async def counted() -> None:
            with self.desk.work():
                async with self._few:
                    await work()

        try:
            await self._insist(counted)
        except FAILURES as exc:
            log.warning(f"Discord refuses what is owed to somebody ({exc}): the next start will try it.")
        except Exception as exc:
            note_mistake(log, exc)

    async def _take_up(self, message: int, channel: int) -> None:
        """Answers a question that stayed without an answer, unless there is one, or it is too long ago. Raises FAILURES."""
        try:
            place = self.get_channel(channel) or await persist(lambda: self.fetch_channel(channel))
            if isinstance(place, discord.abc.Messageable) and self.user is not None:
                asked = await persist(lambda: place.fetch_message(message))
                replies = [m for m in await _said_after(place, asked) if _replied_to(m, self.user.id) == message]
                whole = any(m.components for m in replies)  # the last message of a whole reply has buttons
                if (
                    not whole
                    and _age(message) < TOO_OLD
                    and not await self._answer(asked, replies[0] if replies else None)
                ):
                    return
        except (discord.NotFound, discord.Forbidden):
            pass  # it is gone, or nothing can be said there any more
        except FAILURES:
            raise
        except Exception as exc:
            note_mistake(log, exc)
            if self.is_closed():  # it may be no mistake of the question's: the library fails at everything by then
                return
        await self.desk.done(str(message))

    async def _apologize(self, number: int, token: str) -> None:
        """Tells the person whose interaction a process before this one accepted and never answered. Raises FAILURES."""
        if _age(number) < TOO_OLD and self.application_id is not None:
            hook: Any = discord.Webhook.partial(self.application_id, token, client=self)
            with contextlib.suppress(discord.NotFound, discord.Forbidden):  # the person closed it
                shown = await persist(lambda: hook.fetch_message("@original"))
                if unfinished(shown):
                    await persist(lambda: hook.edit_message("@original", content=CUT_SHORT, allowed_mentions=NOBODY))
        await self.desk.done(f"{number}:{token}")

    async def _catch_up(self) -> list[Work]:
        """What there is to do about all that was said while there was no connection, of which Discord doesn't tell."""
        since = discord.Object(discord.utils.time_snowflake(discord.utils.utcnow() - timedelta(seconds=TOO_OLD)))
        dms = (await self.desk.lately())[:CAUGHT_UP]
        return [partial(self._look_through, place, since) for place in (*self._channels(since.id), *map(int, dms))]

    async def _look_through(self, place: discord.abc.Messageable | int, since: Snowflake) -> None:
        """Passes on what nothing of ours replies to in a channel; if that is told by its number, in a DM alone. Raises
        FAILURES."""
        assert self.user is not None
        if isinstance(place, int):
            found = self.get_channel(place) or await self.fetch_channel(place)
            if not isinstance(found, discord.DMChannel):
                return
            place = found
        said = await _said_after(place, since, newest=True)
        shown = {_replied_to(m, self.user.id): m for m in said}
        for message in said:
            reply = shown.get(message.id)
            if message.author.id == self.user.id:
                continue
            if reply is None:
                self.dispatch("message", message)
            elif unfinished(reply) and self.desk.unseen(str(message.id)):
                self.dispatch("cut_off", message)

    def _channels(self, since: int) -> list[discord.TextChannel | discord.Thread]:
        """The channels and threads with the newest messages after an event, as far as they may be read."""
        found = [
            place
            for guild in self.guilds
            for place in (*guild.text_channels, *guild.threads)
            if (place.last_message_id or 0) > since and place.permissions_for(guild.me).read_message_history
        ]
        return sorted(found, key=lambda place: place.last_message_id or 0)[-CAUGHT_UP:]

    async def _failed(self, exc: Exception, outlet: Outlet) -> None:
        """A mistake of ours: noted in full, and said in a sentence."""
        note_mistake(log, exc)
        with contextlib.suppress(*FAILURES):
            await outlet.finish([Part(BROKEN)])

    def _delete(self, message: int) -> None:
        pending = self._pending.get(message)
        if pending is not None:
            pending.deleted = True
            pending.stop()


def place_of(guild: int | None) -> str:
    """What the store calls a server; all DMs are one place."""
    return "dm" if guild is None else str(guild)


def _event(interaction: discord.Interaction[Any]) -> str:
    return f"{interaction.id}:{interaction.token}"


def _age(number: int) -> float:
    """The seconds since an event, by its id."""
    return (discord.utils.utcnow() - discord.utils.snowflake_time(number)).total_seconds()


def _replied_to(message: discord.Message, me: int) -> int | None:
    """What a message of ours replies to; None for others'."""
    return message.reference.message_id if message.author.id == me and message.reference else None


async def _said_after(
    place: discord.abc.Messageable, event: Snowflake, *, newest: bool = False
) -> list[discord.Message]:
    """The first messages after an event, or the newest, oldest first."""

    async def read() -> list[discord.Message]:
        return [m async for m in place.history(limit=READ, after=event, oldest_first=not newest)]

    return sorted(await persist(read), key=lambda m: m.id)


def _parent(channel: object) -> int | None:
    return channel.parent_id if isinstance(channel, discord.Thread) else None


def _ids(channel: object, number: int | None) -> set[str]:
    return {str(n) for n in (number, _parent(channel)) if n is not None}


def _roles(user: discord.abc.User) -> set[str]:
    return {str(role.id) for role in user.roles} if isinstance(user, discord.Member) else set()


class ShardedClient(FiresideClient, discord.AutoShardedClient):
    """The same over as many connections as Discord advises: it asks for that from 2,500 servers on."""
