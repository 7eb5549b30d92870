"""Discord's messages as questions, and the turns that came before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import discord

from bot.desk import FORGOTTEN, TURNS
from bot.discord.delivery import FAILURES, persist
from bot.discord.rendering import question_of
from bot.discord.rendering import reading as read
from persona.types import Turn

CHAIN = 6  # messages that a chain of replies is followed back
READ_BACK = 30  # messages of a thread or DM that are looked through

_EMOJI = re.compile(r"<a?:(\w+):\d+>")
_MENTION = re.compile(r"<(@!?|@&|#)(\d+)>")
_NUMBER = re.compile(r" \[\d+\]")  # of a source


class Said(NamedTuple):
    """What a reply of ours is remembered by: the text, and for whom (a user's id)."""

    text: str
    user: str


Recall = Callable[[int], Said | None]  # by the id of a reply of ours


def addressed(message: discord.Message, me: discord.ClientUser) -> bool:
    """Whether it is said to the bot: in a DM, by a mention (its role's too), or as a reply to what it said."""
    if message.guild is None or me in message.mentions:
        return True
    if any(role.tags is not None and role.tags.bot_id == me.id for role in message.role_mentions):
        return True
    replied = message.reference.resolved if message.reference else None
    return isinstance(replied, discord.Message) and replied.author.id == me.id and bool(message.content)


def to_others(message: discord.Message, me: discord.ClientUser) -> bool:
    """Whether a message of a thread is said to somebody else."""
    if message.mentions and me not in message.mentions:
        return True
    replied = message.reference.resolved if message.reference else None
    return isinstance(replied, discord.Message) and replied.author.id not in (me.id, message.author.id)


def text_of(message: discord.Message, me: discord.ClientUser) -> str:
    """What a message asks: without the mention of the bot, and with names for the other mentions."""
    names = {("@", str(user.id)): f"@{user.display_name}" for user in message.mentions}
    names |= {("@&", str(role.id)): f"@{role.name}" for role in message.role_mentions}
    names |= {("#", str(channel.id)): f"#{channel.name}" for channel in message.channel_mentions}
    names[("@", str(me.id))] = ""
    names |= {
        ("@&", str(role.id)): ""
        for role in message.role_mentions
        if role.tags is not None and role.tags.bot_id == me.id
    }

    def name(match: re.Match[str]) -> str:
        return names.get((match[1].rstrip("!"), match[2]), match[0])

    return _EMOJI.sub(r":\1:", _MENTION.sub(name, message.content)).strip()


def said_in(content: str) -> str:
    """What a message of ours said, without the question that it repeats, its sources and notes."""
    lines = [line for line in content.split("\n") if not line.startswith(("> ", "-# "))]
    return read(_NUMBER.sub("", "\n".join(lines).replace("**Paraphrased:** ", ""))).strip()


async def referred(message: discord.Message) -> discord.Message | None:
    """The message that one is a reply to; None where there is none, or it can't be read any more."""
    reference = message.reference
    if reference is None or reference.message_id is None or message.type is discord.MessageType.pins_add:
        return None
    if isinstance(reference.resolved, discord.Message):
        return reference.resolved
    if isinstance(reference.resolved, discord.DeletedReferencedMessage):
        return None
    if reference.cached_message is not None:
        return reference.cached_message
    number = reference.message_id
    try:
        return await persist(lambda: message.channel.fetch_message(number))
    except FAILURES:
        return None


async def history(message: discord.Message, me: discord.ClientUser, recall: Recall, since: int = 0) -> tuple[Turn, ...]:
    """The turns before a message, oldest first: the chain that it replies to; else, in a thread or DM, what its author and
    the bot said to each other there after the event `since`. Nobody else's."""
    chain = await _chain(message)
    if chain:
        return _turns(chain, me, recall)
    if message.guild is not None and not isinstance(message.channel, discord.Thread):
        return ()

    async def read() -> list[discord.Message]:
        return [m async for m in message.channel.history(limit=READ_BACK, before=message) if m.id > since]

    try:
        before = await persist(read)
    except FAILURES:
        return ()
    return _turns(_between(before, message.author.id, me, recall), me, recall)


async def _chain(message: discord.Message) -> list[discord.Message]:
    """The messages that a message replies to, oldest first."""
    found: list[discord.Message] = []
    at = await referred(message)
    while at is not None and len(found) < CHAIN:
        found.append(at)
        at = await referred(at)
    return found[::-1]


def _between(
    newest_first: Sequence[discord.Message], user: int, me: discord.ClientUser, recall: Recall
) -> list[discord.Message]:
    """What a user and the bot said to each other since the last /reset, oldest first."""
    theirs = {m.id for m in newest_first if m.author.id == user}
    kept: list[discord.Message] = []
    for m in newest_first:
        if m.author.id == me.id:
            said = recall(m.id)
            to = m.reference.message_id if m.reference else None
            by = str(m.interaction_metadata.user.id) if m.interaction_metadata else said.user if said else None
            ours = to in theirs or by == str(user) or m.guild is None
            if ours and m.content.startswith(FORGOTTEN):
                break
            if ours:
                kept.append(m)
        elif m.author.id == user:
            kept.append(m)
    return kept[::-1]


def _turns(messages: Sequence[discord.Message], me: discord.ClientUser, recall: Recall) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for m in messages:
        if m.author.id != me.id:
            if text := text_of(m, me):
                turns.append(Turn(role="user", content=text))
            continue
        said = recall(m.id)
        if text := said.text if said else said_in(m.content):  # a card says nothing
            if asked := question_of(m.content):
                turns.append(Turn(role="user", content=asked))
            turns.append(Turn(role="assistant", content=text))
    return tuple(turns[-TURNS:])
