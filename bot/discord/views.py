"""Buttons and forms under replies and quotations.

Their ids say all that a click needs, and the message that holds them says the rest: so they work after a restart, and
nothing is kept for them.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import discord

from bot.cards import alt_text, picture
from bot.discord import rendering
from bot.discord.delivery import Part, ToInteraction, body_or_none, deferred
from bot.discord.reading import said_in
from bot.discord.settings import change
from bot.host import Asker, Refused
from persona.errors import StoreError
from persona.followups import options_of
from persona.types import Question, Reply, ScoredCitation, Turn

if TYPE_CHECKING:
    from bot.discord.client import Exchange, FiresideClient

log = logging.getLogger("fireside.discord")
PREFIX = "fireside"
COMMENT = "comment"
LONGEST_COMMENT = 1000
THANKS = "Thank you: that is kept with the question and the reply, to get better by. /forget deletes it."
OPTED_OUT = "You asked me to keep nothing of you, so I didn't. `/forget opt_out:False` changes that."
GONE = "I can no longer read the question that this replied to. Please ask again."
NOBODY_SAID = "Nothing in the talks is about that. Try other words for it."
QUOTES = 10


class Wanted(NamedTuple):
    """Whose words are looked for, and in which talk: positions in the lists of both (−1: any)."""

    speaker: int = -1
    talk: int = -1

    @property
    def key(self) -> str:
        """As it stands in the id of a button."""
        return f"{self.speaker}:{self.talk}"

    @classmethod
    def read(cls, key: str) -> Self:
        """What a `key` stands for."""
        speaker, _, talk = key.partition(":")
        return cls(int(speaker), int(talk))


def reply_view(reply: Reply) -> discord.ui.View:
    """The buttons under a reply: one for each option, and what can be done about any."""
    view = discord.ui.View(timeout=None)
    for number, option in enumerate(reply.options[:10]):
        view.add_item(_button(f"pick:{number}", rendering.label(option), discord.ButtonStyle.primary, number // 5))
    row = 2
    view.add_item(_button("up", None, row=row, emoji="👍"))
    view.add_item(_button("down", None, row=row, emoji="👎"))
    view.add_item(_button("why", "Why?", row=row))
    view.add_item(_button("again", "Again", row=row))
    return _settled(view)


def quote_view(number: int, of: int, filters: str, *, private: bool) -> discord.ui.View:
    """The buttons under a quotation; `filters` is a `Wanted.key`."""
    view = discord.ui.View(timeout=None)
    view.add_item(_button(f"quote:{number - 1}:{filters}", "Previous", disabled=number == 0))
    view.add_item(_button(f"quote:{number + 1}:{filters}", "Next", disabled=number + 1 >= of))
    view.add_item(_button(f"dark:{number}:{filters}", "Dark picture"))
    view.add_item(_button(f"light:{number}:{filters}", "Light picture"))
    if private:
        view.add_item(_button(f"post:{number}:{filters}", "Post to channel", discord.ButtonStyle.primary))
    return _settled(view)


def quote_part(topic: str, found: Sequence[ScoredCitation], number: int, filters: str, *, private: bool) -> Part:
    """The card of one quotation of several, under the topic that it was found for."""
    number = min(max(number, 0), len(found) - 1)
    card = rendering.quote_card_embed(found[number], number + 1, len(found))
    return Part(rendering.asked(topic), [card], quote_view(number, len(found), filters, private=private))


async def route(client: FiresideClient, interaction: discord.Interaction[Any]) -> None:
    """Acts on a click or a form of ours; others' ids are left alone."""
    prefix, _, rest = str(cast("Mapping[str, Any]", interaction.data or {}).get("custom_id", "")).partition(":")
    if prefix != PREFIX or interaction.message is None:
        return
    action, _, value = rest.partition(":")
    match action:
        case "down":
            # A form has to be the first answer to a click: nothing may be awaited before it.
            with body_or_none():
                await interaction.response.send_modal(_comment_form())
        case "up" | "said":
            await _feedback(client, interaction, good=action == "up")
        case "why":
            await _why(client, interaction)
        case "again":
            await _again(client, interaction)
        case "pick":
            await _pick(client, interaction, int(value))
        case "quote" | "post" | "dark" | "light":
            await _quote(client, interaction, action, value)
        case "set":
            await change(client, interaction, value)
        case _:
            pass


async def why(client: FiresideClient, kept: Exchange | None, outlet: ToInteraction) -> None:
    """Says what stands behind a reply; one from before a restart is made anew for it."""
    if kept is None:
        await outlet.finish([Part(GONE)])
        return
    outcome = kept.answered or await client.ask(kept.question, client.asker(outlet.interaction))
    text = outcome.text if isinstance(outcome, Refused) else client.host.why(outcome)
    await outlet.finish([Part(piece) for piece in rendering.plain(text)])


async def _why(client: FiresideClient, interaction: discord.Interaction[Any]) -> None:
    outlet = ToInteraction(interaction, private=True)
    if await client.accept(outlet):
        assert interaction.message is not None
        await why(client, await client.exchange(interaction.message), outlet)


async def _again(client: FiresideClient, interaction: discord.Interaction[Any]) -> None:
    assert interaction.message is not None
    outlet = ToInteraction(interaction, private=interaction.message.flags.ephemeral)
    if not await client.accept(outlet):
        return
    kept = await client.exchange(interaction.message)
    if kept is None:
        await outlet.finish([Part(GONE)])
        return
    seed = interaction.id % 2**32
    await client.respond(
        kept.question,
        client.asker(interaction),
        outlet,
        channel=interaction.channel_id or 0,
        seed=seed,
        repeat=True,
    )


async def _pick(client: FiresideClient, interaction: discord.Interaction[Any], number: int) -> None:
    assert interaction.message is not None
    outlet = ToInteraction(interaction, private=interaction.message.flags.ephemeral)
    if not await client.accept(outlet):
        return
    kept = await client.exchange(interaction.message)
    if kept is None:
        await outlet.finish([Part(GONE)])
        return
    said = kept.answered.reply.text if kept.answered else said_in(interaction.message.content)
    options = kept.answered.reply.options if kept.answered else options_of(said)
    label = _label(interaction.message, f"{PREFIX}:pick:{number}")
    turns = (Turn(role="user", content=kept.question.text), Turn(role="assistant", content=said))
    question = Question(
        text=options[number] if number < len(options) else label,
        id=str(interaction.id),
        history=(*kept.question.history, *turns),
    )
    await client.respond(question, client.asker(interaction), outlet, channel=interaction.channel_id or 0, repeat=True)


async def _feedback(client: FiresideClient, interaction: discord.Interaction[Any], *, good: bool) -> None:
    outlet = ToInteraction(interaction, private=True)
    if not await client.accept(outlet):
        return
    assert interaction.message is not None
    kept = await client.exchange(interaction.message)
    if kept is None:
        await outlet.finish([Part(GONE)])
        return
    asker = client.asker(interaction)
    outcome = kept.answered or await client.ask(kept.question, asker)
    if isinstance(outcome, Refused):
        told = outcome.text
    else:
        told = await _keep(client, kept.question, outcome.reply, asker, interaction, good=good)
    await outlet.finish([Part(rendering.neutral(told))])


async def _keep(
    client: FiresideClient,
    question: Question,
    reply: Reply,
    asker: Asker,
    interaction: discord.Interaction[Any],
    *,
    good: bool,
) -> str:
    """Keeps what a person thinks of a reply; what to tell them."""
    assert interaction.message is not None
    number, comment = str(interaction.message.id), _comment(interaction)
    try:
        kept = await client.host.feedback(question, reply, asker, number, good=good, comment=comment)
    except StoreError as exc:
        log.warning(str(exc))
        return "Your feedback could not be kept. Please try again later."
    return THANKS if kept else OPTED_OUT


async def _quote(client: FiresideClient, interaction: discord.Interaction[Any], action: str, value: str) -> None:
    """Turns to another quotation, posts one for all to see, or shows it as a picture."""
    assert interaction.message is not None
    message = interaction.message
    number, _, filters = value.partition(":")
    private = message.flags.ephemeral
    topic = rendering.question_of(message.content)
    if action == "quote":
        await deferred(interaction)
    outlet = ToInteraction(interaction, private=private and action != "post")
    if action != "quote" and not await client.accept(outlet):
        return
    found = await client.commands.quotes(topic, Wanted.read(filters), client.asker(interaction)) if topic else []
    if not found or topic is None:
        await outlet.finish([Part(NOBODY_SAID if topic else GONE)])
        return
    if action in ("dark", "light"):
        citation = found[min(int(number), len(found) - 1)]
        png = await asyncio.to_thread(picture, citation, dark=action == "dark")
        await outlet.finish(
            [Part("", files=[discord.File(io.BytesIO(png), "quote.png", description=alt_text(citation))])]
        )
        return
    part = quote_part(topic, found, int(number), filters, private=private and action == "quote")
    await outlet.finish([part])


def _button(
    action: str,
    label: str | None,
    style: discord.ButtonStyle = discord.ButtonStyle.secondary,
    row: int | None = None,
    *,
    emoji: str | None = None,
    disabled: bool = False,
) -> discord.ui.Button[discord.ui.View]:
    return discord.ui.Button(
        style=style, label=label, emoji=emoji, row=row, custom_id=f"{PREFIX}:{action}", disabled=disabled
    )


def _settled(view: discord.ui.View) -> discord.ui.View:
    """The library is not to wait for its clicks: it would answer them too, and keep every view for ever."""
    view.stop()
    return view


def _comment_form() -> discord.ui.Modal:
    form = discord.ui.Modal(title="What was wrong?", custom_id=f"{PREFIX}:said", timeout=None)
    field: discord.ui.TextInput[Any] = discord.ui.TextInput(
        custom_id=COMMENT, style=discord.TextStyle.paragraph, required=False, max_length=LONGEST_COMMENT
    )
    form.add_item(discord.ui.Label(text="What should it have said?", component=field))
    form.stop()
    return form


def _comment(interaction: discord.Interaction[Any]) -> str:
    return next(_values(interaction.data or {}, COMMENT), "")


def _values(data: object, custom_id: str) -> Iterator[str]:
    """The values of the form's fields with this id, however deep they lie."""
    if isinstance(data, Mapping):
        table = cast("Mapping[str, object]", data)
        if table.get("custom_id") == custom_id and isinstance(table.get("value"), str):
            yield str(table["value"])
        for key in ("components", "component"):
            yield from _values(table.get(key), custom_id)
    elif isinstance(data, list):
        for item in cast("list[object]", data):
            yield from _values(item, custom_id)


def _label(message: discord.Message, custom_id: str) -> str:
    for row in message.components:
        for item in getattr(row, "children", ()):
            if getattr(item, "custom_id", None) == custom_id:
                return str(item.label)
    return ""
