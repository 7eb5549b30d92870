"""Buttons under replies and quotations, the search for a quotation, and what a message's menu offers.

A button's value says all that a click needs: so it works after a restart, and nothing is kept for it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from bot.cards import alt_text, picture
from bot.desk import ABOUT_THIS, GONE, NO_WORDS, NOBODY_SAID, Exchange, Wanted, exchanged
from bot.host import Asker
from bot.slack import commands, home, rendering
from bot.slack.delivery import ToPerson, persist
from bot.slack.reading import Event, said_in
from bot.slack.rendering import OPTION, PREFIX, Block, Card, Rendered, option, plain_text
from bot.text import one_line
from persona.followups import options_of
from persona.types import Question, ScoredCitation

if TYPE_CHECKING:
    from bot.slack.bot import SlackBot

log = logging.getLogger("fireside.slack")
OURS = re.compile(rf"{PREFIX}:.*")
CHOICES = 100  # options of a menu
LONGEST_COMMENT = 1000
ABOUT = f"{PREFIX}:about"  # the message shortcut
SEARCH = f"{PREFIX}:search"  # the global one, and the form's
WRONG = f"{PREFIX}:wrong"
TOPIC, SPEAKER, TALK, COMMENT = (f"{PREFIX}:{name}" for name in ("topic", "speaker", "talk", "comment"))
ANY = "any"

Do = Callable[["Click"], Awaitable[None]]


class Click:
    """A click on a button of ours: who, where, on what."""

    def __init__(self, bot: SlackBot, body: Event) -> None:
        self.bot, self.body = bot, body
        self.action = cast("Event", cast("list[Any]", body.get("actions") or [{}])[0])
        container = cast("Event", body.get("container") or {})
        self.message = cast("Event", body.get("message") or {})
        self.user = str(cast("Event", body["user"])["id"])
        channel = cast("Event", body.get("channel") or {}).get("id") or container.get("channel_id")
        self.channel = str(channel or "")
        self.private = bool(container.get("is_ephemeral"))
        self.ts = str(container.get("message_ts", ""))
        self.thread = str(self.message.get("thread_ts") or container.get("thread_ts") or "") or None
        self.trigger = str(body.get("trigger_id", ""))
        self.value = read_value(self.action.get("value"))

    @property
    def name(self) -> str:
        """What was clicked."""
        return str(self.action.get("action_id", "")).removeprefix(f"{PREFIX}:")

    @property
    def asker(self) -> Asker:
        """Who clicked, and whose settings hold."""
        return self.bot.asker(self.user, self.channel or self.user)

    def outlet(self, *, private: bool = True, replace: bool = False) -> ToPerson:
        """Where what comes of the click goes."""
        if not private and self.thread:
            self.bot.joined(self.channel, self.thread)
        return ToPerson(
            self.bot.client,
            str(self.body.get("response_url", "")),
            channel=self.channel or self.user,
            user=self.user,
            private=private,
            thread=self.thread,
            replace=replace,
        )

    async def exchange(self) -> Exchange | None:
        """The question and reply that the button stands under; None once the person is told that they are gone."""
        kept = await self.bot.exchange(self.value, self.message, self.channel)
        if kept is None:
            await self.outlet().say(GONE)
        return kept


def listen(bot: SlackBot) -> None:
    """Registers clicks, forms and shortcuts."""
    app = bot.listeners

    async def on_action(ack: Any, body: Event) -> None:
        await ack()
        with bot.desk.work():
            click = Click(bot, body)
            await _guarded(click.outlet(), click.channel, lambda: act(click))

    async def on_options(ack: Any, body: Event) -> None:
        topics = await bot.desk.host.topics(bot.asker(str(body["user"]["id"]), ""))
        typed = str(body.get("value", ""))
        await ack(options=[option(topic, topic) for topic in completions(typed, topics)])

    async def on_search(ack: Any, view: Event, body: Event) -> None:
        await ack()
        with bot.desk.work():
            asker, outlet = _from_view(bot, view, body)
            await _guarded(outlet, asker.channel, lambda: _searched(bot, view, asker, outlet))

    async def on_wrong(ack: Any, view: Event, body: Event) -> None:
        await ack()
        with bot.desk.work():
            asker, outlet = _from_view(bot, view, body)
            await _guarded(outlet, asker.channel, lambda: _wrong(bot, view, asker, outlet))

    async def on_about(ack: Any, body: Event) -> None:
        await ack()
        with bot.desk.work():
            click = Click(bot, body)
            outlet = click.outlet()
            await _guarded(outlet, click.channel, lambda: _about(click, outlet))

    async def on_shortcut(ack: Any, body: Event) -> None:
        await ack()
        user = str(body["user"]["id"])
        with bot.desk.work():
            outlet = ToPerson(bot.client, "", channel=user, user=user)
            await _guarded(outlet, user, lambda: open_search(bot, str(body.get("trigger_id", "")), bot.asker(user, "")))

    app.action(OURS)(on_action)
    app.options(TOPIC)(on_options)
    app.view(SEARCH)(on_search)
    app.view(WRONG)(on_wrong)
    app.shortcut({"type": "message_action", "callback_id": ABOUT})(on_about)
    app.shortcut({"type": "shortcut", "callback_id": SEARCH})(on_shortcut)


async def act(click: Click) -> None:
    """Does what a button says."""
    if click.name.startswith("home:") or click.name.startswith("set:"):
        await home.act(click)
        return
    if click.name == "opinion" and not click.value.get("good"):
        await _open_comment(click)  # a form has to open within three seconds
        return
    bot, outlet = click.bot, click.outlet()
    if not await bot.allowed(outlet, click.asker, mine=click.name in ("why", "opinion")):
        return
    match click.name.split(":"):
        case ["opinion"]:
            kept = await click.exchange()
            if kept is not None:
                reply_id = str(click.value.get("id", ""))
                await outlet.say(await bot.desk.feedback(kept, click.asker, reply_id, good=True))
        case ["why"]:
            if (kept := await click.exchange()) is not None:
                await outlet.say(await bot.desk.why(kept, click.asker))
        case ["again"]:
            await _again(click)
        case ["pick", number]:
            await _pick(click, int(number))
        case ["share"]:
            await _share(click)
        case ["quote", _] | ["post"] | ["picture", _]:
            await _quote(click)
        case _:
            pass


async def show_quotes(bot: SlackBot, topic: str, wanted: Wanted, asker: Asker, outlet: ToPerson) -> None:
    """The first quotation on a topic, or that there is none."""
    topic = one_line(topic, commands.LONGEST_TOPIC)
    found = await bot.desk.quotes(topic, wanted, asker)
    if found:
        await outlet.finish(rendering.quote_card(found[0], Card(topic, 0, wanted.key), len(found), private=True))
    else:
        await outlet.say(NOBODY_SAID)


async def open_search(bot: SlackBot, trigger: str, asker: Asker) -> None:
    """The form by which a quotation is looked up: a topic, with completion; whose words; which talk."""
    known = await bot.desk.known(asker)
    talks = [option(name, str(number)) for number, name in enumerate(known.talks[: CHOICES - 1])]
    speakers = [option(name, str(number)) for number, name in enumerate(known.speakers[: CHOICES - 1])]
    topic: Block = {"type": "external_select", "action_id": TOPIC, "min_query_length": 1}
    blocks = [
        _input("Topic", {**topic, "placeholder": plain_text("What the quotation shall be about")}),
        _input("Speaker", _menu(SPEAKER, [option("Anybody", ANY), *speakers])),
        _input("Talk", _menu(TALK, [option("Any talk", ANY), *talks])),
    ]
    view = _modal(SEARCH, "Look up a quote", "Look up", blocks, {"channel": asker.channel})
    await bot.client.views_open(trigger_id=trigger, view=view)


def completions(typed: str, topics: Sequence[str]) -> list[str]:
    """What a topic that is being typed may become: as it stands, then with its last word completed."""
    typed = one_line(typed, OPTION)
    before, space, word = typed.lstrip().rpartition(" ")
    out = [typed, *(f"{before}{space}{topic}" for topic in topics if topic.startswith(word.casefold()))]
    return [topic for topic in dict.fromkeys(out) if 0 < len(topic) <= OPTION][:CHOICES]


def read_value(value: object) -> dict[str, Any]:
    """What a button knows."""
    try:
        found = json.loads(str(value or "{}"))
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


async def _again(click: Click) -> None:
    if (kept := await click.exchange()) is not None:
        seed = int(str(click.action.get("action_ts", "0")).replace(".", "") or 0) % 2**32
        outlet = click.outlet(private=click.private)
        await click.bot.respond(kept.question, click.asker, outlet, seed=seed, repeat=True)


async def _pick(click: Click, number: int) -> None:
    kept = await click.exchange()
    if kept is None:
        return
    said = (
        kept.answered.reply.text if kept.answered else said_in(cast("list[Event]", click.message.get("blocks") or []))
    )
    options = kept.answered.reply.options if kept.answered else options_of(said)
    shown = str(cast("Event", click.action.get("text") or {}).get("text", ""))
    question = Question(
        text=options[number] if number < len(options) else shown,
        id=click.trigger,
        history=(*kept.question.history, *exchanged(kept.question, said)),
    )
    await click.bot.respond(question, click.asker, click.outlet(private=click.private), repeat=True)


async def _share(click: Click) -> None:
    """Posts a private reply for all to see; one from before a restart is made anew."""
    kept = await click.exchange()
    if kept is None:
        return
    outlet = click.outlet(private=False)
    if kept.answered is None:
        await click.bot.respond(kept.question, click.asker, outlet, repeat=True)
    else:
        await click.bot.post(kept.question, kept.answered, click.asker, outlet, repeat=True)


async def _quote(click: Click) -> None:
    """Turns to another quotation, shares one, or shows it as a picture."""
    card = Card(
        str(click.value.get("topic", "")), int(click.value.get("number", 0)), str(click.value.get("wanted", ""))
    )
    wanted = Wanted.read(card.wanted) if card.wanted else Wanted()
    found = await click.bot.desk.quotes(card.topic, wanted, click.asker) if card.topic else []
    if not found:
        await click.outlet().say(NOBODY_SAID if card.topic else GONE)
        return
    card = card._replace(number=min(max(card.number, 0), len(found) - 1))
    citation = found[card.number]
    if click.name.startswith("picture:"):
        await _picture(click, citation, dark=click.name.endswith("dark"))
    elif click.name == "post":
        rendered = rendering.shared(rendering.quote_card(citation, card, len(found), private=True))
        await click.outlet(private=False).finish(rendered)
    else:
        rendered = rendering.quote_card(citation, card, len(found), private=click.private)
        await _in_place(click, rendered)


async def _in_place(click: Click, rendered: Rendered) -> None:
    """Another quotation in the place of the one that was clicked."""
    outlet = click.outlet(private=click.private, replace=True)
    await outlet.finish(rendered)


async def _picture(click: Click, citation: ScoredCitation, *, dark: bool) -> None:
    """Uploads a quotation as a picture: where it is shown, or to the person alone."""
    png = await asyncio.to_thread(picture, citation, dark=dark)
    where = click.channel
    if click.private or not where:
        opened = await click.bot.client.conversations_open(users=click.user)
        where = str(opened["channel"]["id"])
    upload = click.bot.client.files_upload_v2
    thread = None if click.private else click.thread
    await persist(
        lambda: upload(
            content=png,
            filename="quote.png",
            title=one_line(citation.talk, 100),
            alt_txt=alt_text(citation),
            channel=where,
            thread_ts=thread,
        )
    )
    if click.private:
        await click.outlet().say("The picture is in our conversation.")


async def _about(click: Click, outlet: ToPerson) -> None:
    """Looks up what was said about what a message says."""
    if not await click.bot.allowed(outlet, click.asker):
        return
    text = one_line(await click.bot.text_of(str(click.message.get("text", ""))), commands.LONGEST_TOPIC)
    if text:
        await show_quotes(click.bot, text, Wanted(), click.asker, outlet)
    else:
        await outlet.say(NO_WORDS)


async def _open_comment(click: Click) -> None:
    field = {"type": "plain_text_input", "action_id": COMMENT, "multiline": True, "max_length": LONGEST_COMMENT}
    known = {"channel": click.channel, "value": click.value, "ts": click.ts, "thread": click.thread}
    view = _modal(WRONG, "What was wrong?", "Send", [_input("What should it have said?", field, optional=True)], known)
    await click.bot.client.views_open(trigger_id=click.trigger, view=view)


async def _wrong(bot: SlackBot, view: Event, asker: Asker, outlet: ToPerson) -> None:
    known = read_value(view.get("private_metadata"))
    value = cast("Event", known.get("value") or {})
    message: Event = {}
    if known.get("thread") and known.get("ts"):
        message = {"ts": known["ts"], "thread_ts": known["thread"]}
    kept = await bot.exchange(value, message, asker.channel)
    comment = str(_state(view, COMMENT).get("value") or "")
    await outlet.say(await bot.desk.feedback(kept, asker, str(value.get("id", "")), good=False, comment=comment))


async def _searched(bot: SlackBot, view: Event, asker: Asker, outlet: ToPerson) -> None:
    def chosen(field: str) -> str:
        return str(cast("Event", _state(view, field).get("selected_option") or {}).get("value") or ANY)

    wanted = Wanted(*(-1 if chosen(field) == ANY else int(chosen(field)) for field in (SPEAKER, TALK)))
    if await bot.allowed(outlet, asker):
        await show_quotes(bot, chosen(TOPIC), wanted, asker, outlet)


def _from_view(bot: SlackBot, view: Event, body: Event) -> tuple[Asker, ToPerson]:
    """Who sent a form, and where what comes of it goes: the channel it was opened from, else their conversation with us."""
    known = read_value(view.get("private_metadata"))
    user = str(body["user"]["id"])
    channel = str(known.get("channel") or user)
    thread = str(known.get("thread") or "") or None
    return bot.asker(user, channel), ToPerson(bot.client, "", channel=channel, user=user, thread=thread)


async def _guarded(outlet: ToPerson, channel: str, do: Callable[[], Awaitable[None]]) -> None:
    """Does something; what goes wrong is told to the person in a sentence."""
    try:
        await do()
    except Exception as exc:
        await outlet.say(commands.sentence(exc, channel))


def _state(view: Event, action: str) -> Event:
    """What a form holds in a field."""
    values = cast("dict[str, dict[str, Event]]", cast("Event", view.get("state") or {}).get("values") or {})
    empty: Event = {}
    return next((block[action] for block in values.values() if action in block), empty)


def _modal(callback: str, title: str, submit: str, blocks: list[Block], known: Event) -> Block:
    return {
        "type": "modal",
        "callback_id": callback,
        "title": plain_text(title),
        "submit": plain_text(submit),
        "close": plain_text("Cancel"),
        "private_metadata": json.dumps(known, ensure_ascii=False),
        "blocks": blocks,
    }


def _input(title: str, element: Block, *, optional: bool = False) -> Block:
    return {"type": "input", "label": plain_text(title), "element": element, "optional": optional}


def _menu(action: str, options: list[Block]) -> Block:
    return {"type": "static_select", "action_id": action, "options": options, "initial_option": options[0]}


SHORTCUT_TITLES = {ABOUT: ABOUT_THIS, SEARCH: "Look up a quote"}
