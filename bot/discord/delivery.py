"""How a reply gets to Discord: progress while it is made, its final form, and what happens where Discord refuses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import aiohttp
import discord

from bot.desk import BROKEN
from bot.discord.rendering import CUT_OFF, neutral, plain, quiet, writing
from bot.host import Refused, Update, Waiting, Writing
from bot.logs import note_mistake
from persona.errors import InputError

log = logging.getLogger("fireside.discord")
T = TypeVar("T")
TYPING_LASTS = 8.0  # seconds; Discord shows it for ten
TRIES = 4
PATIENT = 8  # tries that a reply has: a minute and a half where Discord names no time
LONGEST_WAIT = 30.0  # seconds that a refused request is waited for
NOBODY = discord.AllowedMentions.none()
QUEUED = "You are number {place} in the queue."
UNREACHED = (aiohttp.ClientError, ConnectionError, TimeoutError)
FAILURES = (discord.HTTPException, *UNREACHED)
OWED = "owed"  # of an interaction's extras: Discord took no answer, and may later; the next process tells the person
UNKNOWN_MESSAGE, ALREADY_ACKNOWLEDGED, NO_HISTORY = 10008, 40060, 160002


class Part(NamedTuple):
    """One message of a reply."""

    content: str
    embeds: Sequence[discord.Embed] = ()
    view: discord.ui.View | None = None
    files: Sequence[discord.File] = ()

    def sending(self) -> dict[str, Any]:
        """The arguments for sending it."""
        given: dict[str, Any] = {"content": self.content or None, "allowed_mentions": NOBODY}
        if self.embeds:
            given["embeds"] = list(self.embeds)
        if self.view is not None:
            given["view"] = self.view
        if self.files:
            given["files"] = list(self.files)
        return given

    def editing(self) -> dict[str, Any]:
        """The arguments for putting it in the place of another."""
        given: dict[str, Any] = {"content": self.content or None, "allowed_mentions": NOBODY, "view": self.view}
        given["embeds"] = list(self.embeds)
        if self.files:
            given["attachments"] = list(self.files)
        return given


class Outlet(Protocol):
    """Where the reply to one event goes."""

    async def show(self, update: Update) -> None:
        """Progress, in place of what was shown before; lost where Discord refuses it."""
        ...

    async def finish(self, parts: Sequence[Part]) -> discord.Message | None:
        """The final form; the message that holds the last part, None where it could be put nowhere."""
        ...


def progress(update: Update) -> str:
    """What is shown while something goes on."""
    match update:
        case Waiting(place):
            return quiet(QUEUED.format(place=place))
        case Writing(text):
            return writing(text)
        case Refused(text):
            return neutral(text)
        case _:
            return neutral(update.reply.text)


def unfinished(message: discord.Message) -> bool:
    """Whether a message of ours shows no more than that something goes on."""
    if message.flags.loading:
        return True
    text = message.content
    return not message.components and (text.endswith(CUT_OFF) or text.startswith(quiet(QUEUED.partition("{")[0])))


@contextlib.asynccontextmanager
async def typing(channel: discord.abc.Messageable) -> AsyncGenerator[None]:
    """Shows that the bot types, from now on; an indicator that can't be shown holds nothing up."""

    async def keep() -> None:
        with contextlib.suppress(*FAILURES):
            while True:
                await channel.typing()
                await asyncio.sleep(TYPING_LASTS)

    task = asyncio.create_task(keep())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def persist(call: Callable[[], Awaitable[T]], tries: int = TRIES) -> T:
    """What a call to Discord gives, tried again while Discord has too much to do or the connection breaks."""
    wait = 1.0
    for _ in range(tries - 1):
        try:
            return await call()
        except FAILURES as exc:
            if not may_pass(exc):
                raise
            wait = _retry_after(exc, wait)
        await asyncio.sleep(min(wait, LONGEST_WAIT))
        wait *= 2
    return await call()


def may_pass(exc: Exception) -> bool:
    """Whether the same call may do later: Discord has too much to do, or wasn't reached."""
    if isinstance(exc, discord.HTTPException):
        return exc.status == 429 or exc.status >= 500
    return isinstance(exc, UNREACHED)


async def deferred(interaction: discord.Interaction[Any], *, ephemeral: bool = False, thinking: bool = False) -> None:
    """Defers the answer to an interaction."""
    with body_or_none():
        await interaction.response.defer(ephemeral=ephemeral, thinking=thinking)


@contextlib.contextmanager
def body_or_none() -> Generator[None]:
    """Around a first answer to an interaction: the library trips over an empty acknowledgement (204), which is one too."""
    with contextlib.suppress(TypeError, KeyError):
        yield


class InChannel:
    """A reply to a message. Its nonce is made of the message's id: Discord posts it once, however often it is sent."""

    def __init__(self, message: discord.Message, shown: discord.Message | None = None) -> None:
        """`shown` is a message of ours to put it in the place of."""
        self._message = message
        self._shown = shown
        self._posted: list[discord.Message] = []  # the parts that stand there for good

    async def show(self, update: Update) -> None:
        """See Outlet."""
        part = Part(progress(update))
        with contextlib.suppress(*FAILURES):
            if self._shown is None:
                self._shown = await self._send(part, tries=TRIES)
            else:
                await self._shown.edit(**part.editing())

    async def finish(self, parts: Sequence[Part]) -> discord.Message | None:
        """See Outlet. After a failure it goes on where it was."""
        try:
            for number, part in enumerate(parts[len(self._posted) :], len(self._posted)):
                self._posted.append(await (self._first(part) if number == 0 else self._send(part, f"-{number}")))
        except discord.Forbidden as exc:
            log.warning(cannot_write(self._message.channel, exc))
            return None
        return self._posted[-1] if self._posted else None

    async def withdraw(self) -> None:
        """Takes back what was shown."""
        if self._shown is not None:
            with contextlib.suppress(*FAILURES):
                await self._shown.delete()

    async def _first(self, part: Part) -> discord.Message:
        shown = self._shown
        if shown is not None:
            with contextlib.suppress(discord.NotFound):  # somebody deleted it meanwhile
                return await persist(lambda: shown.edit(**part.editing()), PATIENT)
            return await self._send(part, "-0")
        sent = await self._send(part)
        if sent.content.strip() != part.content.strip():
            # Progress that was posted though its answer was lost: Discord gives that back for the same nonce.
            return await persist(lambda: sent.edit(**part.editing()), PATIENT)
        return sent

    async def _send(self, part: Part, nth: str = "", tries: int = PATIENT) -> discord.Message:
        given: dict[str, Any] = {**part.sending(), "nonce": f"{self._message.id}{nth}"}
        reference = self._message.to_reference(fail_if_not_exists=False)
        channel = self._message.channel
        try:
            return await persist(lambda: channel.send(**given, reference=reference, mention_author=False), tries)
        except discord.HTTPException as exc:
            if exc.code != NO_HISTORY:
                raise
            # Who may not read the past may not reply to it; a plain message is better than none.
            return await persist(lambda: channel.send(**given), tries)


class ToInteraction:
    """A reply to an interaction. Where its token has expired the reply comes as a normal message: in the channel, or to the
    person alone where it was meant for them alone."""

    def __init__(self, interaction: discord.Interaction[Any], *, private: bool) -> None:
        self.interaction = interaction
        self.private = private
        self._expired = False

    async def accept(self) -> None:
        """Acknowledges it at once."""
        try:
            await persist(lambda: deferred(self.interaction, ephemeral=self.private, thinking=True))
        except discord.HTTPException as exc:
            if exc.code == ALREADY_ACKNOWLEDGED:  # a first try got through, though its answer did not
                return
            log.warning(
                f"An interaction can't be acknowledged ({exc.text or exc.status}): it is answered by a message."
            )
            self._expired = True
        except (aiohttp.ClientError, OSError):
            self._expired = True

    async def show(self, update: Update) -> None:
        """See Outlet."""
        if not self._expired:
            with contextlib.suppress(*FAILURES):
                await self.interaction.edit_original_response(**Part(progress(update)).editing())

    async def finish(self, parts: Sequence[Part]) -> discord.Message | None:
        """See Outlet."""
        last: discord.Message | None = None
        for number, part in enumerate(parts):
            last = await self._put(part, first=number == 0)
        return last

    async def say(self, text: str) -> None:
        """Any text as the final form."""
        await self.finish([Part(piece) for piece in plain(text)])

    async def refuse(self, text: str) -> None:
        """Says why nothing comes, to the person alone."""
        if self.private or self._expired:
            await self.finish([Part(neutral(text))])
            return
        # Acknowledged for all to see: that goes, and a private follow-up takes its place.
        self.private = True
        with contextlib.suppress(discord.HTTPException):
            await self.interaction.delete_original_response()
        await self._follow_up(Part(neutral(text)))

    async def _put(self, part: Part, *, first: bool) -> discord.Message | None:
        if not self._expired:
            try:
                if first:
                    edit = self.interaction.edit_original_response
                    return await persist(lambda: edit(**part.editing()), PATIENT)
                return await self._follow_up(part)
            except discord.HTTPException as exc:
                if exc.code == UNKNOWN_MESSAGE:  # the person closed it
                    return await self._follow_up(part)
                if exc.status not in (401, 403, 404):
                    raise
                self._expired = True
        return await self._instead(part)

    async def _follow_up(self, part: Part) -> discord.Message:
        given = part.sending()
        send = self.interaction.followup.send
        return await persist(lambda: send(**given, ephemeral=self.private, wait=True), PATIENT)

    async def _instead(self, part: Part) -> discord.Message | None:
        places: list[discord.abc.Messageable] = [self.interaction.user]
        channel = self.interaction.channel
        if not self.private and isinstance(channel, discord.abc.Messageable):
            places.insert(0, channel)
        given = part.sending()
        for place in places:
            try:
                sent = await persist(lambda place=place: place.send(**given), PATIENT)
            except discord.HTTPException as exc:
                self.interaction.extras[OWED] = may_pass(exc)
                continue
            self.interaction.extras[OWED] = False
            return sent
        log.warning("A reply could be put nowhere: its interaction has expired, and neither channel nor DM takes it.")
        return None


async def tell_mistake(interaction: discord.Interaction[Any], error: Exception) -> None:
    """Says in a sentence that an interaction failed, and notes why: a mistake of ours, or of the person's (InputError)."""
    if isinstance(error, InputError):
        text = neutral(str(error))
    else:
        note_mistake(log, error)
        text = BROKEN
    try:
        if interaction.response.is_done():
            await persist(lambda: interaction.edit_original_response(**Part(text).editing()))
        else:
            outlet = ToInteraction(interaction, private=True)
            await outlet.accept()
            await outlet.finish([Part(text)])
        interaction.extras[OWED] = False
    except FAILURES as exc:
        interaction.extras[OWED] = may_pass(exc)


def cannot_write(channel: object, exc: discord.HTTPException) -> str:
    """What to do where a channel takes no message."""
    where = f"#{channel}" if isinstance(channel, discord.abc.GuildChannel | discord.Thread) else "a DM"
    need = "Send Messages in Threads" if isinstance(channel, discord.Thread) else "Send Messages"
    return (
        f"Can't write in {where}: {exc.text or 'Discord refuses it'}. "
        f"Give the bot's role View Channel, {need} and Read Message History there."
    )


def _retry_after(exc: Exception, otherwise: float) -> float:
    if not isinstance(exc, discord.HTTPException):
        return otherwise
    try:
        return float(exc.response.headers["Retry-After"])
    except (KeyError, ValueError, TypeError):
        return otherwise
