"""What a reader of a message sees active: mentions and links in mrkdwn, Markdown, rich text and the fallback text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.slack_fake.world import Json, Message

_CONTROL = re.compile(r"<([^<>\n]+)>")
_URL = re.compile(r"(?<![\w@/])(?:https?://|mailto:)[^\s<>|\"'`)\]]*[^\s<>|\"'`)\].,;:!?]", re.I)
_SPANS = r"```.*?```|(?<!`)``(?!`).+?(?<!`)``(?!`)|`[^`\n]+`"
_CODE = re.compile(_SPANS, re.S)
_MD_CODE = re.compile(rf"^ {{0,3}}(?:```|~~~).*?(?:^ {{0,3}}(?:```|~~~)|\Z)|{_SPANS}", re.S | re.M)
_MD_LINK = re.compile(r"!?\[((?:[^\[\]\\]|\\.)*)\]\(\s*<?([^\s()<>]+)>?[^()]*\)")
_MD_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_AT = re.compile(r"(?<![\w@])@(channel|here|everyone)\b")
_BROADCASTS = ("channel", "here", "everyone")
_TEXT_KEYS = (
    "text",
    "fields",
    "elements",
    "title",
    "label",
    "hint",
    "description",
    "subtitle",
    "body",
    "child_blocks",
    "element",
)


class Active(NamedTuple):
    """kind: "channel", "here", "everyone", "user", "usergroup", "room" (a #channel), "link" (written as one) or "url"
    (found in bare text). place: "text" (the fallback), "mrkdwn", "markdown" or "rich_text"."""

    kind: str
    target: str
    label: str
    place: str


def mentions_in(message: Message) -> list[Active]:
    """Everything active in a message. The text of a message that has blocks too is what its notification shows."""
    found = list(_markdown(message.text) if message.markdown else _mrkdwn(message.text, "text", verbatim=False))
    if message.link_names or message.parse == "full":
        found += [Active(m[1], f"@{m[1]}", "", "text") for m in _AT.finditer(message.text)]
    for blocks in (message.blocks, *(a.get("blocks") or [] for a in message.attachments)):
        found += (active for block in blocks for active in _block(block))
    for attachment in message.attachments:
        for name in ("text", "pretext", "fallback"):
            found += _mrkdwn(attachment.get(name) or "", "mrkdwn", verbatim=False)
    return list(dict.fromkeys(found))


def _block(part: object) -> Iterator[Active]:
    if isinstance(part, list):
        for item in part:
            yield from _block(item)
    if not isinstance(part, dict):
        return
    kind = part.get("type")
    if kind == "markdown":
        yield from _markdown(part.get("text") or "")
    elif kind == "mrkdwn":
        yield from _mrkdwn(part.get("text") or "", "mrkdwn", verbatim=bool(part.get("verbatim")))
    elif kind == "rich_text":
        yield from _rich(part)
    elif kind == "table":
        yield from (active for row in part.get("rows") or [] for cell in row for active in _block(cell))
    elif kind != "plain_text":
        for name in _TEXT_KEYS:
            yield from _block(part.get(name))


def _rich(part: Json) -> Iterator[Active]:
    for element in part.get("elements") or []:
        kind = element.get("type")
        if kind == "broadcast":
            yield Active(element["range"], f"!{element['range']}", "", "rich_text")
        elif kind in ("user", "usergroup", "channel"):
            yield Active("room" if kind == "channel" else kind, element[f"{kind}_id"], "", "rich_text")
        elif kind == "link":
            yield Active("link", element["url"], element.get("text", ""), "rich_text")
        else:
            yield from _rich(element)


def _control(inside: str, place: str) -> Active | None:
    """What stands between < and >, if Slack makes something of it."""
    target, _, label = inside.partition("|")
    if target.startswith("!subteam^"):
        return Active("usergroup", target.removeprefix("!subteam^"), label, place)
    if target.startswith("!") and target[1:].partition("^")[0] in _BROADCASTS:
        return Active(target[1:].partition("^")[0], target, label, place)
    if re.fullmatch(r"@[UWB]\w+", target):
        return Active("user", target[1:], label, place)
    if re.fullmatch(r"#[CGD]\w+", target):
        return Active("room", target[1:], label, place)
    return (
        Active("link", target, label, place) if re.match(r"(?:https?://|mailto:|tel:|slack:)", target, re.I) else None
    )


def _mrkdwn(text: str, place: str, *, verbatim: bool) -> Iterator[Active]:
    """<…> is read before code is, so that is active in code too; a bare URL is not linked there."""
    for match in _CONTROL.finditer(text):
        if (active := _control(match[1], place)) is not None:
            yield active
    if not verbatim:
        bare = _CONTROL.sub(" ", _CODE.sub(" ", text)).replace("&amp;", "&")
        yield from (Active("url", m[0], "", place) for m in _URL.finditer(re.sub(r"&[lg]t;", " ", bare)))


def _markdown(text: str, place: str = "markdown") -> Iterator[Active]:
    """Code is literal, and what a backslash or an entity hides is text."""
    text = _MD_ESCAPE.sub(" ", _MD_CODE.sub(" ", text))
    for match in _MD_LINK.finditer(text):
        yield Active("link", match[2], match[1], place)
    text = _MD_LINK.sub(" ", text)
    for match in _CONTROL.finditer(text):
        if (active := _control(match[1], place)) is not None:
            yield active
    text = re.sub(r"&(?:lt|gt|#\d+|#x[0-9a-f]+);", " ", _CONTROL.sub(" ", text), flags=re.I)
    yield from (Active("url", m[0], "", place) for m in _URL.finditer(text))
