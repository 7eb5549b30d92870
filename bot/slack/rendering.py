"""How replies, quotations and lists read on Slack: Block Kit whose text can't format, link or mention, within the limits.

What comes from people, documents and models stands in rich text, whose text elements Slack shows as they are; where a block
takes only mrkdwn it is made neutral first. Limits: https://docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from bot.rendering import Told, told, whence, words, written_by
from bot.rendering import sources as sources_of
from bot.text import CUT_OFF, cut, label, one_line, pieces, plain_address, visible
from persona.corpus.catalog import Catalog
from persona.types import Citation, Reply
from persona.voices import clock

Block = dict[str, Any]
PREFIX = "fireside"
ASKED_BLOCK = f"{PREFIX}:asked"
MESSAGE = 3500  # characters of the text beside blocks; an update may have 4,000
SECTION = 2900  # of a text object's 3,000
BUTTON = 75
OPTION = 75
ASKED = 1000
_ELEMENTS = 10  # of a context block
_ROWS = 10  # fields of a section
_FORM_QUESTION = 1500  # of the 2,000 characters of a button's value
PARAPHRASED = "Paraphrased: "
_GAP = "\u200b"  # zero width: takes marks apart where there is no escape for them

_ACTIVE = re.compile(
    r"(?P<mark>[*_~`])"
    r"|(?P<quote>^&gt;)"
    r"|(?P<scheme>:(?=//))"
    r"|(?P<address>(?<=\bmailto):)"
    r"|(?P<emoji>(?!(?<=\d):\d\d:\d\d):(?=[^\s:]*:))"  # not the colons of 1:02:31
    r"|(?P<mention>@(?=\w))",
    re.MULTILINE,
)
_MARKDOWN = re.compile(r"(?P<escaped>[\\*_~`|\[\]#!()<>&])|(?P<scheme>:(?=//))|(?P<mention>@(?=\w))")


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
    """The text such that mrkdwn shows it as it is: nothing in it formats, links, mentions, or becomes an emoji."""
    return _ACTIVE.sub(_disarmed, html.escape(visible(text), quote=False))


def reading(text: str) -> str:
    """What a person reads of a neutral text: the way back."""
    return html.unescape(text.replace(_GAP, ""))


def neutral_markdown(text: str) -> str:
    """The same for the Markdown that streams take."""

    def disarmed(found: re.Match[str]) -> str:
        if found["mention"] or found["scheme"]:
            return found[0] + _GAP
        return f"\\{found[0]}{_GAP if found[0] == '<' else ''}"

    return _MARKDOWN.sub(disarmed, visible(text))


def button_value(reply_id: str, question: str) -> str:
    """What the buttons of a reply know: its id, and the question where that is short enough to ask it again."""
    known = {"id": reply_id, **({"q": question} if len(question) <= _FORM_QUESTION else {})}
    value = json.dumps(known, ensure_ascii=False)
    return value if len(value) <= 1990 else json.dumps({"id": reply_id})


def rich(*parts: Block) -> Block:
    """A block of rich text."""
    return {"type": "rich_text", "elements": list(parts)}


def words_as_they_are(text: str, *, kind: str = "rich_text_section", **style: bool) -> Block:
    """A part of rich text that shows the text as it is."""
    element: Block = {"type": "text", "text": text or "…"}
    if style:
        element["style"] = style
    return {"type": kind, "elements": [element]}


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
    return {"type": "header", "text": plain_text(one_line(text, 150))}


def context(lines: Iterable[str]) -> list[Block]:
    """Lines of neutral mrkdwn in small print."""
    elements = [mrkdwn(cut(line, SECTION)) for line in lines if line]
    starts = range(0, len(elements), _ELEMENTS)
    return [{"type": "context", "elements": elements[start : start + _ELEMENTS]} for start in starts]


def button(action: str, text: str, value: str = "", *, style: str = "") -> Block:
    """A button of ours."""
    made: Block = {"type": "button", "action_id": f"{PREFIX}:{action}", "text": plain_text(label(text, BUTTON))}
    if value:
        made["value"] = value
    if style:
        made["style"] = style
    return made


def actions(*elements: Block) -> Block:
    """Buttons and menus in a row."""
    return {"type": "actions", "elements": list(elements)}


def asked(question: str) -> Block:
    """The block in which a reply to a command repeats its question."""
    part = words_as_they_are(one_line(question, ASKED), kind="rich_text_quote")
    return {**rich(part), "block_id": ASKED_BLOCK}


def plain(text: str) -> Rendered:
    """Any text: /why, help, status."""
    parts = pieces(visible(text), SECTION) or ["…"]
    return Rendered(fallback(text), [rich(words_as_they_are(part)) for part in parts[:10]])


def fallback(text: str) -> str:
    """The text of a message that has blocks."""
    return neutral(cut(visible(text).strip() or "…", MESSAGE))[: MESSAGE + 400]


def message(
    reply: Reply, *, value: str, question: str | None = None, note: str = "", private: bool = False
) -> Rendered:
    """A reply with its numbered sources and buttons. `value` is the buttons' (`button_value`); `question` is repeated above
    it, `note` stands below it; a `private` reply can be shared."""
    blocks: list[Block] = [asked(question)] if question else []
    blocks.append(rich(*(part for group in told(reply) for part in _said(group))))
    if reply.nearest and not reply.citations:
        blocks += context(["The nearest that was really said, not an answer:"])
    blocks += context(_sources(reply))
    if reply.options:
        picks = [button(f"pick:{n}", option, value, style="primary") for n, option in enumerate(reply.options[:10])]
        blocks.append(actions(*picks))
    blocks += context(neutral(one_line(line, 500)) for line in (written_by(reply), note) if line)
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
    fields = [mrkdwn(f"*{neutral(one_line(name, 100))}*\n{neutral(one_line(value, 300))}") for name, value in rows]
    blocks = [header(title)]
    blocks += [{"type": "section", "fields": fields[n : n + _ROWS]} for n in range(0, len(fields), _ROWS)]
    told_below = [line for line in lines if line]
    blocks += context(neutral(line) for line in told_below)
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
    """The talks and documents."""
    parts = catalog_lines(catalog)
    names = "; ".join(talk.title for talk in catalog.talk)
    return Rendered(fallback(f"I answer from: {names}"), [section(part) for part in parts[:40]] or [section("…")])


def progress(text: str) -> Rendered:
    """What is shown while something goes on."""
    return Rendered(fallback(text), context([neutral(one_line(text, 500))]))


def writing(text: str) -> Rendered:
    """A reply while it is written, where there is no stream."""
    return plain(text + CUT_OFF)


def _said(group: Told) -> Iterator[Block]:
    if not group.claims:
        yield words_as_they_are(visible(group.text))
        return
    if group.paraphrased:
        yield words_as_they_are(PARAPHRASED, bold=True)
    kind = "rich_text_quote" if group.claims[0].kind == "quoted" else "rich_text_section"
    numbered = [
        " ".join((visible(claim.text), *(f"[{number + 1}]" for number in claim.citations))) for claim in group.claims
    ]
    yield words_as_they_are(" ".join(numbered), kind=kind)


def _sources(reply: Reply) -> Iterator[str]:
    for number, how, citation in sources_of(reply):
        if number <= len(reply.citations):
            yield f"[{number}] {how}: {_whence(citation)}"
            continue
        shown = neutral(words(citation)) if words(citation) not in reply.text else ""
        quote = f"“{shown}” " if shown and citation.verbatim else f"{shown} " if shown else ""
        yield f"{how.removeprefix('nearest, ')}: {quote}{_whence(citation)}"


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
    return f"{_GAP}{found[0]}{_GAP}" if found.lastgroup == "mark" else found[0] + _GAP


def _whence(citation: Citation) -> str:
    return _bounded(whence(citation.model_copy(update={"url": None}))) + _link(citation.url)


def _bounded(text: str) -> str:
    return neutral(one_line(text)) or "…"


def _link(url: str | None) -> str:
    """A document's address; nothing where it is no plain web address."""
    address = plain_address(url)
    if not address or "|" in address:
        return ""
    return f" · <{html.escape(address.replace('@', '%40'), quote=False)}|link>"
