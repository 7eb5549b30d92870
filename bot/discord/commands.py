"""The slash commands and the entry in the message menu."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import discord
from discord import app_commands

from bot.administration import Scope
from bot.desk import ABOUT_THIS, FORGOTTEN, INTERVALS, NO_WORDS, NOBODY_SAID, NOTHING_ASKED
from bot.discord import rendering
from bot.discord.delivery import Part, ToInteraction, tell_mistake
from bot.discord.settings import panel
from bot.discord.views import quote_part
from bot.reliability import Scorecard
from bot.text import label, one_line
from persona.errors import InputError
from persona.types import Question

if TYPE_CHECKING:
    from bot.discord.client import FiresideClient

log = logging.getLogger("fireside.discord")
LONGEST = 1500  # characters of a question in a command
LONGEST_TOPIC = 300
CHOICES = 25
CHOICE = 100  # characters
_SETTLED: dict[str, Any] = {  # what Discord fills in where a command leaves it out
    "type": 1, "nsfw": False, "required": False, "autocomplete": False, "options": [], "choices": [],
    "name_localizations": None, "description_localizations": None, "default_member_permissions": None,
}  # fmt: skip
_COMPARED = (
    *_SETTLED, "name", "description", "contexts", "integration_types", "min_length", "max_length", "min_value",
    "max_value", "channel_types", "value",
)  # fmt: skip

Interaction = discord.Interaction[Any]


class Commands:
    """The command tree of a client."""

    def __init__(self, client: FiresideClient) -> None:
        self._client = client
        everywhere = app_commands.AppCommandContext(guild=True, dm_channel=True, private_channel=True)
        anyone = app_commands.AppInstallationType(guild=True, user=True)
        self.tree = _Tree(client, allowed_contexts=everywhere, allowed_installs=anyone)
        self._add_questions()
        self._add_own()
        self._add_rest()

    def _add_questions(self) -> None:
        """The commands that look something up."""
        client, tree = self._client, self.tree

        @tree.command(
            name="ask", description="Ask something; the answer comes from recorded talks, or is “I don't know”."
        )
        @app_commands.describe(question="What you want to know.", private="Only you see the answer.")
        async def ask(
            interaction: Interaction, question: app_commands.Range[str, 1, LONGEST], private: bool = False
        ) -> None:
            outlet = ToInteraction(interaction, private=private)
            if await client.accept(outlet):
                channel = str(interaction.channel_id)
                history = client.desk.memory.turns(str(interaction.user.id), channel)
                asked = Question(text=question, id=str(interaction.id), history=history)
                await client.respond(asked, client.asker(interaction), outlet, repeat=True)

        @tree.command(name="quote", description="Look up what was really said, word for word.")
        @app_commands.describe(
            topic="What the quotations shall be about.",
            speaker="Only this speaker's words.",
            talk="Only from this talk.",
            private="Only you see it; you can post it afterwards.",
        )
        @app_commands.autocomplete(topic=self._topic, speaker=self._speaker, talk=self._talk)
        async def quote(
            interaction: Interaction,
            topic: app_commands.Range[str, 1, LONGEST_TOPIC],
            speaker: app_commands.Range[str, 1, CHOICE] | None = None,
            talk: app_commands.Range[str, 1, CHOICE] | None = None,
            private: bool = False,
        ) -> None:
            outlet = ToInteraction(interaction, private=private)
            if await client.accept(outlet):
                await self._show(outlet, topic, speaker, talk)

        @tree.context_menu(name=ABOUT_THIS)
        async def said(interaction: Interaction, message: discord.Message) -> None:
            outlet = ToInteraction(interaction, private=True)
            if not await client.accept(outlet):
                return
            text = one_line(rendering.reading(message.content), LONGEST_TOPIC)
            if not text:
                await outlet.say(NO_WORDS)
            else:
                await self._show(outlet, text)

        del ask, quote, said  # the tree has them

    def _add_own(self) -> None:
        """The commands about a person's own conversation."""
        client, tree = self._client, self.tree

        @tree.command(name="why", description="What stood behind my last reply to you: passages, features, confidence.")
        async def why_last(interaction: Interaction) -> None:
            outlet = ToInteraction(interaction, private=True)
            if not await client.accept(outlet):
                return
            last = client.desk.memory.last(str(interaction.user.id), str(interaction.channel_id))
            why = await client.desk.why(last, client.asker(interaction)) if last else NOTHING_ASKED
            await outlet.say(why)

        @tree.command(name="reset", description="Forget our conversation in this channel.")
        async def reset(interaction: Interaction) -> None:
            # In a DM or thread the line itself marks where the conversation begins: it has to stay there.
            marks = interaction.guild_id is None or isinstance(interaction.channel, discord.Thread)
            outlet = ToInteraction(interaction, private=not marks)
            if await client.accept(outlet):
                user, channel = str(interaction.user.id), str(interaction.channel_id)
                client.desk.memory.begin_anew(user, channel, str(interaction.id))
                await outlet.finish([Part(FORGOTTEN)])

        @tree.command(name="forget", description="Delete what I keep of you: your feedback, and our conversations.")
        @app_commands.describe(opt_out="From now on keep nothing of you at all (False: you may be kept again).")
        async def forget(interaction: Interaction, opt_out: bool | None = None) -> None:
            outlet = ToInteraction(interaction, private=True)
            if await client.accept(outlet):
                await outlet.say(await client.desk.forget(str(interaction.user.id), opt_out))

        del why_last, reset, forget

    def _add_rest(self) -> None:
        """The commands about the bot."""
        client, tree = self._client, self.tree

        @tree.command(name="sources", description="The talks and documents that I answer from.")
        async def sources(interaction: Interaction) -> None:
            outlet = ToInteraction(interaction, private=True)
            if await client.accept(outlet):
                serving = await client.desk.host.serving(client.asker(interaction))
                await outlet.finish([Part(text) for text in rendering.sources(serving.corpus.catalog)])

        @tree.command(
            name="reliability", description="How often I am wrong, how that was measured, and what is certified."
        )
        async def reliable(interaction: Interaction) -> None:
            outlet = ToInteraction(interaction, private=True)
            if await client.accept(outlet):
                await outlet.finish([_reliability(await client.desk.scorecard(client.asker(interaction)))])

        @tree.command(name="help", description="What I am, and what I can do.")
        async def help_(interaction: Interaction) -> None:
            outlet = ToInteraction(interaction, private=True)
            if await client.accept(outlet):
                await outlet.say(client.desk.host.help_text("/"))

        @tree.command(name="status", description="Voice, model, threshold, and how busy I am.")
        async def status(interaction: Interaction) -> None:
            outlet = ToInteraction(interaction, private=True)
            if await client.accept(outlet):
                admin = interaction.permissions.manage_guild
                await outlet.say(await client.desk.host.status_text(client.asker(interaction), admin=admin))

        @tree.command(name="settings", description="How I behave in this server, or in one channel of it (for admins).")
        @app_commands.describe(channel="Only for this channel.")
        @app_commands.default_permissions(manage_guild=True)
        @app_commands.guild_only()
        @app_commands.allowed_installs(guilds=True, users=False)
        async def settings(interaction: Interaction, channel: discord.TextChannel | None = None) -> None:
            outlet = ToInteraction(interaction, private=True)
            if not await client.accept(outlet, admins=True) or interaction.guild_id is None:
                return
            scope = Scope(str(interaction.guild_id), str(channel.id) if channel else None)
            await outlet.finish([await panel(client, scope)])

        del sources, reliable, help_, status, settings

    async def _show(
        self, outlet: ToInteraction, topic: str, speaker: str | None = None, talk: str | None = None
    ) -> None:
        """The first card on a topic, or why there is none."""
        asker = self._client.asker(outlet.interaction)
        wanted = (await self._client.desk.known(asker)).wanted(speaker, talk)
        found = await self._client.desk.quotes(topic, wanted, asker)
        if found:
            await outlet.finish([quote_part(topic, found, 0, wanted.key, private=outlet.private)])
        else:
            await outlet.say(NOBODY_SAID)

    async def _topic(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        """Completes the last word to one that the talks use much."""
        before, space, word = typed.lstrip().rpartition(" ")
        topics = await self._client.desk.host.topics(self._client.asker(interaction))
        return _choices([f"{before}{space}{topic}" for topic in topics if topic.startswith(word.casefold())])

    async def _speaker(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        known = await self._client.desk.known(self._client.asker(interaction))
        return _choices([name for name in known.speakers if typed.casefold() in name.casefold()])

    async def _talk(self, interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        known = await self._client.desk.known(self._client.asker(interaction))
        return _choices([name for name in known.talks if typed.casefold() in name.casefold()])


class _Tree(app_commands.CommandTree[Any]):
    """Says in a sentence what went wrong in a command."""

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError, /) -> None:
        """Notes it, and tells the person who is waiting."""
        if isinstance(error, app_commands.CommandNotFound | app_commands.CommandSignatureMismatch):
            changed = InputError("That command has changed. Wait a minute, reload Discord, and try again.")
            await tell_mistake(interaction, changed)
        else:
            await tell_mistake(interaction, getattr(error, "original", error))

    # The library offers no other place around all of a command.
    async def _call(self, interaction: Interaction) -> None:
        async with self.client.handling(interaction):
            await super()._call(interaction)


async def sync(tree: app_commands.CommandTree[Any]) -> bool:
    """Registers the commands if they differ from those that Discord has; whether they did."""
    with contextlib.suppress(discord.HTTPException):  # what can't be asked for is registered anew
        if await registered(tree):
            return False
    await tree.sync()
    return True


async def registered(tree: app_commands.CommandTree[Any]) -> bool:
    """Whether Discord has the commands as they are here."""
    application = tree.client.application_id
    assert application is not None
    kinds = (discord.AppCommandType.chat_input, discord.AppCommandType.message)
    wanted = [command.to_dict(tree) for kind in kinds for command in tree.get_commands(type=kind)]
    return same_commands(wanted, await tree.client.http.get_global_commands(application))


def same_commands(wanted: Sequence[Mapping[str, Any]], have: Sequence[Mapping[str, Any]]) -> bool:
    """Whether Discord has these commands, whatever it adds to them and however it sorts them."""
    return sorted(map(repr, map(_settled, wanted))) == sorted(map(repr, map(_settled, have)))


def _settled(command: Mapping[str, Any]) -> dict[str, Any]:
    """What matters of a command or option, with what Discord fills in."""
    out: dict[str, Any] = {}
    for key in sorted(_COMPARED):
        value = command.get(key, _SETTLED.get(key))
        if value is None:
            value = _SETTLED.get(key)
        if key in ("options", "choices"):
            value = [_settled(item) for item in cast("list[dict[str, Any]]", value)]
        elif key in ("contexts", "integration_types", "channel_types"):
            value = sorted(cast("list[int]", value or []))
        elif key == "default_member_permissions" and value is not None:
            value = str(value)
        out[key] = value or None
    return out


def _reliability(card: Scorecard) -> Part:
    """The scorecard and certificate of what runs, with their picture."""
    text = "\n".join(rendering.neutral(line) for line in (card.certificate, card.differs) if line)
    embeds = [rendering.figures("How often I am wrong", card.rows, INTERVALS)] if card.rows else []
    return Part(text, embeds, files=[_plot(card.picture)] if card.picture else [])


def _plot(path: Path) -> discord.File:
    return discord.File(path, "reliability.png", description="Confidence against the share of answers that were right.")


def _choices(values: Sequence[str]) -> list[app_commands.Choice[str]]:
    return [
        app_commands.Choice(name=label(value, CHOICE), value=value)
        for value in list(dict.fromkeys(values))[:CHOICES]
        if len(value) <= CHOICE
    ]
