"""How replies, quotations and lists read on Slack: Block Kit whose text can't format, link or mention, within the limits.

What comes from people, documents and models stands in rich text, whose text elements Slack shows as they are; where a block
takes only mrkdwn it is made neutral first. Limits: https://docs.slack.dev/reference/block-kit/blocks. All texts of a message
together may have about 12,000 characters (`msg_blocks_too_long`), so each part has its share.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bot.rendering import Told, told, whence, words, written_by
from bot.rendering import sources as sources_of
from bot.text import CUT_OFF, cut, label, length, one_line, pieces, plain_address, reach, visible
from persona.corpus.catalog import Catalog
from persona.types import Citation, Reply
from persona.voices import clock

Block = dict[str, Any]
PREFIX = "fireside"
ASKED_BLOCK = f"{PREFIX}:asked"
MARK = f"{PREFIX}:to"
MESSAGE = 3500  # characters of the text beside blocks; made neutral it may have a few more
UPDATE = 3900  # of the 4,000 that an update may have
SECTION = 2900  # of a text object's 3,000
BODY = 5000  # what a reply says
SOURCES = 3500
NOTE = 600
LIST = 11_000  # where a message is nothing but a list
BUTTON = 75
OPTION = 75
ASKED = 1000
_ROWS = 10  # fields of a section
_PLAIN = 4  # pieces of a text
_WORDS = 600  # of a quotation among the sources
_PART = 400  # of a title, a name, a time
_VALUE = 1900  # of the 2,000 characters of a button's value
PARAPHRASED = "Paraphrased: "
STOPPED = "Stopped."
_GAP = "\u200b"  # zero width: takes apart what would be read as one
# Neither an escape nor a gap keeps mrkdwn from formatting between two of these: others look like them.
_ALIKE = str.maketrans("*_~`", "\u2217\u02cd\u223c\u02cb")
_BACK = {other: mark for mark, other in _ALIKE.items()}

_ACTIVE = re.compile(
    r"(?P<mark>[*_~`])"
    r"|(?P<quote>^(?:&gt;|\uff1e))"
    r"|(?P<scheme>:(?=//))"
    r"|(?P<address>\b(?i:mailto)(?=:))"
    r"|(?P<emoji>(?!(?<=\d):\d\d:\d\d):(?=[^\s:]*:))"  # not the colons of 1:02:31
    r"|(?P<mention>@(?=\w))",
    re.MULTILINE,
)
_MARKDOWN = re.compile(
    r"(?P<line>^(?=[ \t]+\S|[-+=]|\d+[.)]))"  # a list, a heading's line, indented code
    r"|(?P<escaped>[\\*_~`|\[\]#!()<>&$^{}])"
    r"|(?P<apart>:(?=//|[^\s:]*:)|@(?=\w)|\bwww(?=\.)|\bmailto(?=:))",
    re.MULTILINE | re.IGNORECASE,
)


class Rendered(NamedTuple):
    """A message: its blocks, and the text for notifications, search and screen readers."""

    text: str
    blocks: list[Block]


class Card(NamedTuple):
    """What the buttons under a quotation know: the topic, the number in the list, and a `Wanted.key`."""

    topic: str
    number: int
    wanted: str

    @property
    def value(self) -> str:
        """As it stands in a button."""
        return json.dumps(self._asdict(), ensure_ascii=False)


def neutral(text: str) -> str:
    """The text such that mrkdwn shows it as it is, or nearly so: nothing in it formats, links, mentions, or becomes an
    emoji."""
    return _ACTIVE.sub(_disarmed, html.escape(visible(text), quote=False))


def reading(text: str) -> str:
    """What a person reads of a neutral text: the way back."""
    return html.unescape(text.replace(_GAP, "").translate(_BACK))


def neutral_markdown(text: str) -> str:
    """The same for the Markdown that streams take."""

    def disarmed(found: re.Match[str]) -> str:
        if found["escaped"] is None:
            return found[0] + _GAP
        return f"\\{found[0]}{_GAP if found[0] == '<' else ''}"

    return _MARKDOWN.sub(disarmed, visible(text))


def button_value(reply_id: str, question: str) -> str:
    """What the buttons of a reply know: its id, and the question where that is short enough to ask it again."""
    value = json.dumps({"id": reply_id, "q": question}, ensure_ascii=False)
    return value if length(value) <= _VALUE else json.dumps({"id": reply_id}, ensure_ascii=False)


def rich(*parts: Block) -> Block:
    """A block of rich text."""
    return {"type": "rich_text", "elements": list(parts)}


def words_as_they_are(text: str, *, kind: str = "rich_text_section", title: str = "") -> Block:
    """A part of rich text that shows the text as it is, after a bold `title`."""
    elements: list[Block] = [{"type": "text", "text": title, "style": {"bold": True}}] if title else []
    return {"type": kind, "elements": [*elements, {"type": "text", "text": text or "…"}]}


def mrkdwn(text: str) -> Block:
    """A text object; bare addresses and names in it are left alone. The text is neutral already."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain_text(text: str) -> Block:
    """A text object that formats nothing."""
    return {"type": "plain_text", "text": text, "emoji": False}


def section(text: str) -> Block:
    """A block of neutral mrkdwn."""
    return {"type": "section", "text": mrkdwn(text)}


def header(text: str) -> Block:
    """A heading of plain text."""
    return {"type": "header", "text": plain_text(label(text, 150))}


def context(lines: Iterable[str]) -> list[Block]:
    """Lines of neutral mrkdwn in small print. Slack puts the elements of one block beside each other, so lines are lines of
    one element."""
    texts: list[str] = []
    for line in (cut(line, SECTION) for line in lines if line):
        if texts and length(texts[-1]) + length(line) < SECTION:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return [{"type": "context", "elements": [mrkdwn(text)]} for text in texts]


def button(action: str, text: str, value: str = "", *, style: str = "") -> Block:
    """A button of ours."""
    made: Block = {"type": "button", "action_id": f"{PREFIX}:{action}", "text": plain_text(label(text, BUTTON))}
    if value:
        made["value"] = value
    if style:
        made["style"] = style
    return made


def option(text: str, value: str) -> Block:
    """A value that a menu offers."""
    return {"text": plain_text(label(text, OPTION)), "value": value}


def actions(*elements: Block) -> Block:
    """Buttons and menus in a row."""
    return {"type": "actions", "elements": list(elements)}


def asked(question: str) -> Block:
    """The block in which a reply to a command repeats its question."""
    part = words_as_they_are(one_line(question, ASKED), kind="rich_text_quote")
    return {**rich(part), "block_id": ASKED_BLOCK}


def marked(rendered: Rendered, asked: str, user: str) -> list[Block]:
    """The blocks of a message of ours; the id of the last one notes what it replies to (a ts, or what else tells one
    event from another) and whom. Unlike metadata, Slack gives it back wherever it gives the message."""
    *before, last = rendered.blocks
    return [*before, {**last, "block_id": f"{MARK}:{asked}:{user}"}]


def mark_of(blocks: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """What and whom a message of ours replies to; empty where it notes nothing."""
    ids = (str(block.get("block_id", "")) for block in blocks)
    noted = next((found for found in ids if found.startswith(f"{MARK}:")), "")
    asked, _, user = noted.removeprefix(f"{MARK}:").rpartition(":")
    return asked, user


def is_whole(blocks: Iterable[Mapping[str, Any]]) -> bool:
    """Whether these are a whole reply's: it has buttons."""
    return any(block.get("type") == "actions" for block in blocks)


def plain(text: str) -> Rendered:
    """Any text: /why, help, status."""
    shown = pieces(visible(text), SECTION) or ["…"]
    if len(shown) > _PLAIN:
        shown = [*shown[: _PLAIN - 1], shown[_PLAIN - 1] + CUT_OFF]
    return Rendered(fallback(text), [rich(words_as_they_are(part)) for part in shown])


def fallback(text: str) -> str:
    """The text of a message that has blocks."""
    made = neutral(cut(visible(text).strip() or "…", MESSAGE))
    return made[: reach(made, UPDATE)]


def message(
    reply: Reply, *, value: str, question: str | None = None, note: str = "", private: bool = False
) -> Rendered:
    """A reply with its numbered sources and buttons. `value` is the buttons' (`button_value`); `question` is repeated above
    it, `note` stands below it; a `private` reply can be shared."""
    blocks: list[Block] = [asked(question)] if question else []
    blocks.append(rich(*_body(reply)))
    if reply.nearest and not reply.citations:
        blocks += context(["The nearest that was really said, not an answer:"])
    blocks += context(_within(_sources(reply), SOURCES))
    if reply.options:
        picks = [button(f"pick:{n}", option, value, style="primary") for n, option in enumerate(reply.options[:10])]
        blocks.append(actions(*picks))
    blocks += context(_bounded(line, NOTE) for line in (written_by(reply), note) if line)
    blocks.append(_opinion(value))
    more = [button("why", "Why?", value), button("again", "Again", value)]
    if private:
        more.append(button("share", "Share to channel", value))
    blocks.append(actions(*more))
    lines = [source.line for source in sources_of(reply)]
    return Rendered(fallback("\n".join([reply.text, *lines])), blocks)


def shared(rendered: Rendered) -> Rendered:
    """A private message for all to see: without the button that shares it."""
    private = (f"{PREFIX}:share", f"{PREFIX}:post")
    kept = [
        {**block, "elements": [e for e in block["elements"] if e.get("action_id") not in private]}
        if block["type"] == "actions"
        else block
        for block in rendered.blocks
    ]
    return Rendered(rendered.text, [block for block in kept if block.get("elements", True)])


def quote_card(citation: Citation, card: Card, of: int, *, private: bool) -> Rendered:
    """A quotation: its words, speaker, talk, time, and the document's address where it has one."""
    shown, *rest = pieces(visible(words(citation)), SECTION) or ["…"]
    shown = (f"“{shown}”" if citation.verbatim else shown) + (" […]" if rest else "")
    at = clock(citation.start)
    until = f" – {clock(citation.end)}" if at and citation.end is not None else ""
    how = "word for word" if citation.verbatim else f"reported in the {citation.kind}"
    lines = [
        " · ".join(_bounded(part) for part in (citation.speaker or "", citation.talk, f"{at}{until}") if part),
        " · ".join(_bounded(part) for part in (citation.title, citation.date or "") if part) + _link(citation.url),
        f"Quote {card.number + 1} of {of}, {how}",
    ]
    row: list[Block] = []
    if card.number > 0:
        row.append(button("quote:previous", "Previous", card._replace(number=card.number - 1).value))
    if card.number + 1 < of:
        row.append(button("quote:next", "Next", card._replace(number=card.number + 1).value))
    row += [button("picture:dark", "Dark picture", card.value), button("picture:light", "Light picture", card.value)]
    if private:
        row.append(button("post", "Share to channel", card.value, style="primary"))
    kind = "rich_text_quote" if citation.verbatim else "rich_text_section"
    body = [asked(card.topic), rich(words_as_they_are(shown, kind=kind)), *context(lines), actions(*row)]
    return Rendered(fallback(f"{shown}\n{whence(citation)}"), body)


def figures(title: str, rows: Sequence[tuple[str, str]], lines: Iterable[str]) -> Rendered:
    """Names and values, with lines below."""
    made = (f"*{_bounded(name, 200)}*\n{_bounded(value)}" for name, value in rows)
    fields = [mrkdwn(text) for text in _within(made, LIST - SOURCES)]
    blocks = [header(title)]
    blocks += [{"type": "section", "fields": fields[n : n + _ROWS]} for n in range(0, len(fields), _ROWS)]
    told_below = [line for line in lines if line]
    blocks += context(_within((cut(neutral(line), SECTION) for line in told_below), SOURCES - 500))
    text = "\n".join([title, *(f"{name}: {value}" for name, value in rows), *told_below])
    return Rendered(fallback(text), blocks)


def catalog_lines(catalog: Catalog) -> list[str]:
    """The talks and their documents as neutral mrkdwn, a text for each talk."""
    out: list[str] = []
    for talk in catalog.talk:
        lines = ["*" + " · ".join(_bounded(part) for part in (talk.title, talk.date or "") if part) + "*"]
        for entry in (d for d in catalog.document if d.talk == talk.id):
            use = "quoted" if entry.kind.verbatim else "reported"
            about = (f"{entry.kind}, {use}", entry.title, entry.date or "")
            lines.append("• " + " · ".join(_bounded(part) for part in about if part) + _link(entry.url))
        out += pieces("\n".join(lines), SECTION)
    return out


def sources(catalog: Catalog) -> Rendered:
    """The talks and documents, as many as a message holds."""
    parts = catalog_lines(catalog)
    shown = _within(parts, LIST)[:40]
    blocks = [section(part) for part in shown] or [section("…")]
    if len(shown) < len(parts):
        blocks += context(["There are more talks than a message can hold."])
    names = "; ".join(talk.title for talk in catalog.talk)
    return Rendered(fallback(f"I answer from: {names}"), blocks)


def progress(text: str) -> Rendered:
    """What is shown while something goes on."""
    return Rendered(fallback(text), context([_bounded(text)]))


def writing(text: str) -> Rendered:
    """A reply while it is written, where there is no stream."""
    return plain(text.rstrip() + CUT_OFF)


def stopped(text: str) -> Rendered:
    """What was written until somebody stopped it."""
    if not text:
        return plain(STOPPED)
    made = writing(text)
    return made._replace(blocks=[*made.blocks, *context([STOPPED])])


def _body(reply: Reply) -> Iterator[Block]:
    """What a reply says; quoted, paraphrased and reported apart."""
    left = BODY
    for group in told(reply):
        if left <= len(CUT_OFF):
            return
        text = cut(_said(group), left)
        left -= length(text)
        kind = "rich_text_quote" if group.claims and group.claims[0].kind == "quoted" else "rich_text_section"
        for number, piece in enumerate(pieces(text, SECTION) or ["…"]):
            yield words_as_they_are(piece, kind=kind, title=PARAPHRASED if group.paraphrased and not number else "")


def _said(group: Told) -> str:
    """Claims with the numbers of their sources, or what is said beside them."""
    if not group.claims:
        return visible(group.text)
    claims = group.claims
    return " ".join(" ".join((visible(c.text), *(f"[{number + 1}]" for number in c.citations))) for c in claims)


def _sources(reply: Reply) -> Iterator[str]:
    for number, how, citation in sources_of(reply):
        if number <= len(reply.citations):
            yield f"[{number}] {how}: {_whence(citation)}"
            continue
        shown = _bounded(words(citation), _WORDS) if words(citation) not in reply.text else ""
        quote = f"“{shown}” " if shown and citation.verbatim else f"{shown} " if shown else ""
        yield f"{how.removeprefix('nearest, ')}: {quote}{_whence(citation)}"


def _within(texts: Iterable[str], most: int) -> list[str]:
    """The first of the texts, as many as have so many characters together."""
    kept: list[str] = []
    for text in texts:
        most -= length(text)
        if most < 0:
            break
        kept.append(text)
    return kept


def _opinion(value: str) -> Block:
    def half(text: str, choice: str) -> Block:
        known = json.loads(value)
        return {"text": plain_text(text), "value": json.dumps({**known, "good": choice == "up"}, ensure_ascii=False)}

    element = {
        "type": "feedback_buttons",
        "action_id": f"{PREFIX}:opinion",
        "positive_button": {**half("Good", "up"), "accessibility_label": "This reply is good"},
        "negative_button": {**half("Bad", "down"), "accessibility_label": "Something is wrong with this reply"},
    }
    return {"type": "context_actions", "elements": [element]}


def _disarmed(found: re.Match[str]) -> str:
    if found.lastgroup == "quote":
        return _GAP + found[0]
    return found[0].translate(_ALIKE) if found.lastgroup == "mark" else found[0] + _GAP


def _whence(citation: Citation) -> str:
    return _bounded(whence(citation.model_copy(update={"url": None}))) + _link(citation.url)


def _bounded(text: str, most: int = _PART) -> str:
    """The text in one line, neutral; made so it may be half as long again."""
    return cut(neutral(one_line(text, most)), most * 3 // 2) or "…"


def _link(url: str | None) -> str:
    """A document's address; nothing where it is no plain web address."""
    address = plain_address(url)
    if not address or "|" in address:
        return ""
    return f" · <{html.escape(address.replace('@', '%40'), quote=False)}|link>"
