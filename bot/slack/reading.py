"""Slack's messages as questions, and the turns that came before them."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

from bot.desk import FORGOTTEN, TURNS
from bot.slack.rendering import ASKED_BLOCK, is_whole, mark_of
from persona.types import Turn

Event = Mapping[str, Any]
READ_BACK = 50  # messages of a thread that are looked through

_CONTROL = re.compile(r"<([^<>\n|]+)(?:\|([^<>\n]*))?>")
_NUMBER = re.compile(r" \[\d+\]")  # of a source


class Said(NamedTuple):
    """What a reply of ours is remembered by: the text, and for whom."""

    text: str
    user: str


Recall = Callable[[str], Said | None]  # by the ts of a reply of ours


def mentioned(text: str) -> list[str]:
    """The users that a text mentions."""
    return re.findall(r"<@([UW]\w+)(?:\|[^<>\n]*)?>", text)


def text_of(text: str, me: str, names: Mapping[str, str]) -> str:
    """What a message asks: without the mention of the bot, with `names` for other people, and without Slack's escapes."""

    def shown(found: re.Match[str]) -> str:
        target, name = found[1], found[2]
        if target.startswith("@"):
            return "" if target[1:] == me else f"@{name or names.get(target[1:], 'someone')}"
        if target.startswith("#"):
            return f"#{name}" if name else "a channel"
        if target.startswith("!"):
            return name or "@" + target[1:].partition("^")[0]
        return name or target

    return html.unescape(_CONTROL.sub(shown, text)).strip()


def asked_in(blocks: Iterable[Event]) -> str:
    """The question that a message of ours repeats; empty where it repeats none."""
    return next(("".join(_texts(b)) for b in blocks if b.get("block_id") == ASKED_BLOCK), "")


def said_in(blocks: Iterable[Event]) -> str:
    """What a message of ours said, without the question that it repeats, its sources and notes."""
    body = (b for b in blocks if b.get("type") == "rich_text" and b.get("block_id") != ASKED_BLOCK)
    parts = [" ".join(_texts(b)) for b in body]
    return _NUMBER.sub("", " ".join(parts)).strip()


def blocks_of(message: Event) -> list[Event]:
    """The blocks of a message."""
    return cast("list[Event]", message.get("blocks") or [])


def turns(
    messages: Sequence[Event], user: str, me: str, recall: Recall, since: str | None = None, *, alone: bool = False
) -> tuple[Turn, ...]:
    """What a user and the bot said to each other in a thread (oldest first) after the ts `since`, and the reply that the
    thread hangs on. Nobody else's; `alone`: there is nobody else. Places in the queue and refusals are no turns."""
    theirs = {str(m.get("ts")) for m in messages if m.get("user") == user}
    out: list[Turn] = []
    for m in messages:
        if since and str(m.get("ts")) <= since:
            continue
        if m.get("user") == user and not m.get("bot_id"):
            if text := text_of(str(m.get("text", "")), me, {}):
                out.append(Turn(role="user", content=text))
        elif m.get("user") == me:
            said, blocks = recall(str(m.get("ts"))), blocks_of(m)
            asked, asker = mark_of(blocks)
            root = m.get("thread_ts") == m.get("ts")  # a reply that was shared: the thread is about it
            if not (alone or root or user == asker or asked in theirs or (said and said.user == user)):
                continue
            text = said.text if said else said_in(blocks)
            if text.startswith(FORGOTTEN):
                out.clear()
            elif text and (said or is_whole(blocks)):
                if question := asked_in(blocks):
                    out.append(Turn(role="user", content=question))
                out.append(Turn(role="assistant", content=text))
    return tuple(out[-TURNS:])


def _texts(part: Event) -> Iterable[str]:
    if part.get("type") == "text" and "style" not in part:  # what has one is a title of ours
        yield str(part.get("text", ""))
    for inner in cast("list[Event]", part.get("elements") or []):
        yield from _texts(inner)
