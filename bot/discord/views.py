"""Buttons and forms under replies and quotations.

Their ids say all that a click needs, and the message that holds them says the rest: so they work after a restart, and
nothing is kept for them.
"""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import discord

from bot.cards import alt_text, picture
from bot.desk import GONE, NOBODY_SAID, Exchange, Wanted, exchanged
from bot.discord import rendering
from bot.discord.delivery import Part, ToInteraction, body_or_none, deferred
from bot.discord.reading import said_in
from bot.discord.settings import act
from bot.text import label
from persona.followups import options_of
from persona.types import Question, Reply, ScoredCitation

if TYPE_CHECKING:
    from bot.discord.client import FiresideClient

log = logging.getLogger("fireside.discord")
PREFIX = "fireside"
COMMENT = "comment"
LONGEST_COMMENT = 1000


def reply_view(reply: Reply) -> discord.ui.View:
    """The buttons under a reply: one for each option, and what can be done about any."""
    view = discord.ui.View(timeout=None)
    for number, option in enumerate(reply.options[:10]):
        view.add_item(_button(f"pick:{number}", label(option), discord.ButtonStyle.primary, number // 5))
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
            await act(client, interaction, value)
        case _:
            pass


async def _why(client: FiresideClient, interaction: discord.Interaction[Any]) -> None:
    outlet = ToInteraction(interaction, private=True)
    if await client.accept(outlet):
        assert interaction.message is not None
        kept = await client.exchange(interaction.message)
        await outlet.say(await client.desk.why(kept, client.asker(interaction)))


async def _again(client: FiresideClient, interaction: discord.Interaction[Any]) -> None:
    outlet, kept = await _taken_up(client, interaction)
    if kept is not None:
        await client.respond(kept.question, client.asker(interaction), outlet, seed=interaction.id % 2**32, repeat=True)


async def _pick(client: FiresideClient, interaction: discord.Interaction[Any], number: int) -> None:
    outlet, kept = await _taken_up(client, interaction)
    if kept is None:
        return
    assert interaction.message is not None
    said = kept.answered.reply.text if kept.answered else said_in(interaction.message.content)
    options = kept.answered.reply.options if kept.answered else options_of(said)
    label = _label(interaction.message, f"{PREFIX}:pick:{number}")
    question = Question(
        text=options[number] if number < len(options) else label,
        id=str(interaction.id),
        history=(*kept.question.history, *exchanged(kept.question, said)),
    )
    await client.respond(question, client.asker(interaction), outlet, repeat=True)


async def _taken_up(
    client: FiresideClient, interaction: discord.Interaction[Any]
) -> tuple[ToInteraction, Exchange | None]:
    """The outlet of a click under a reply, as private as that, and what was asked; None once the person is told why it goes
    no further."""
    assert interaction.message is not None
    outlet = ToInteraction(interaction, private=interaction.message.flags.ephemeral)
    if not await client.accept(outlet):
        return outlet, None
    kept = await client.exchange(interaction.message)
    if kept is None:
        await outlet.say(GONE)
    return outlet, kept


async def _feedback(client: FiresideClient, interaction: discord.Interaction[Any], *, good: bool) -> None:
    outlet = ToInteraction(interaction, private=True)
    if await client.accept(outlet):
        assert interaction.message is not None
        kept = await client.exchange(interaction.message)
        number, comment = str(interaction.message.id), _comment(interaction)
        asker = client.asker(interaction)
        await outlet.say(await client.desk.feedback(kept, asker, number, good=good, comment=comment))


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
    found = await client.desk.quotes(topic, Wanted.read(filters), client.asker(interaction)) if topic else []
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
