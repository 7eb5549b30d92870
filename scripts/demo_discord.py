"""Runs the real bot against the fake Discord with a scripted conversation, and prints what each person sees.

    python scripts/demo_discord.py                     as `make demo-discord` does
    python scripts/demo_discord.py --data-dir FOLDER   with the index in FOLDER, which is copied; what the bot keeps is not

The bot is `fireside discord` in a process of its own, with the bundled persona; Discord is tests/discord_fake, at the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bot.discord.rendering import reading
from persona.errors import FiresideError
from scripts import bots
from scripts.bots import QUIET, REPLY_SECONDS, SHOWN, START_SECONDS, Tell, bot_command, in_a_sentence, indented
from tests.discord_fake import Channel, FakeDiscord, Interaction, Message, User
from tests.discord_fake.world import walk

_BOLD = re.compile(r"(?<!\\)\*\*(.+?)(?<!\\)\*\*")
_ADDRESS = re.compile(r"(?<!\\)<(https?://[^>]*)>")

Component = Mapping[str, Any]


@contextlib.asynccontextmanager
async def connected(
    fake: FakeDiscord, command: Sequence[str], environ: Mapping[str, str]
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """See `bots.connected`."""
    given = {
        "FIRESIDE_DISCORD_API_URL": fake.api_url,
        "FIRESIDE_DISCORD_GATEWAY_URL": fake.gateway_url,
        "DISCORD_TOKEN": fake.token,
        "DISCORD_TOKEN_FILE": "",
        **environ,
    }

    async def up() -> None:
        await fake.until(lambda: fake.gateway.ready, START_SECONDS)

    async with bots.connected("Discord", command, given, up, fake.violations) as process:
        yield process


class Stage:
    """People who talk to the bot, one after another; all that appears is told. `quiet`: see `QUIET`."""

    def __init__(self, fake: FakeDiscord, tell: Tell, quiet: float = QUIET) -> None:
        self._fake = fake
        self._tell = tell
        self._quiet = quiet
        self._told: set[str] = set()

    async def say(self, user: User, channel: Channel, text: str, *, mention: bool = True) -> Message:
        """Says something in a channel; the bot's whole reply."""
        typing = len(self._fake.typing)
        asked = await self._fake.say(user, channel, text, mention_bot=mention)
        self._show(asked)
        reply = await self._fake.reply_to(asked, done=lambda m: m.components, timeout=REPLY_SECONDS)
        await self._settled()
        if len(self._fake.typing) > typing:
            self._tell(f"{self._fake.bot.name} is typing…\n")
        self._show_new(channel)
        return reply

    async def command(self, user: User, channel: Channel, name: str, **options: Any) -> Message:
        """Uses a slash command; the bot's answer, of several messages the last one."""
        given = "".join(f" {key}: {value}" for key, value in options.items())
        self._tell(f"{user.name} in #{channel.name} uses /{name}{given}\n")
        return await self._answered(await self._fake.command(user, channel, name, options))

    async def press(self, user: User, message: Message, face: str) -> Interaction:
        """Presses the button with this face, and shows what comes of it."""
        self._tell(f"{user.name} presses [{face}]\n")
        before = len(message.edits)
        made = await self._fake.component(user, message, _button(message, face))
        kind = await made.acknowledged(REPLY_SECONDS)
        if kind == "modal":
            for line in _form(made.modal):
                self._tell(line)
        elif kind.endswith("update"):
            await self._fake.until(lambda: len(message.edits) > before, REPLY_SECONDS, "the message never changed")
            await self._settled()
            self._show(message, "now reads")
        else:
            await self._answered(made)
        return made

    async def submit(self, form: Interaction, text: str) -> Message:
        """Fills in the one field of a form; the bot's answer."""
        (field,) = (c["custom_id"] for c in walk(form.modal["components"]) if "custom_id" in c)
        self._tell(f"{form.user.name} writes into it and submits\n{indented(text)}\n")
        return await self._answered(await self._fake.modal(form, {field: text}))

    async def thread(self, user: User, message: Message, name: str) -> Channel:
        """Opens a thread on a message."""
        self._tell(f"{user.name} opens the thread #{name} on this reply\n")
        made = await self._fake.start_thread(user, message.channel, name, message)
        self._told.update(made.messages)
        return made

    async def _answered(self, made: Interaction) -> Message:
        def done() -> bool:
            # With a question's place in the queue the answer begins, but does not end.
            return made.original is not None and not made.original.loading and not _progress(made.original)

        await self._fake.until(done, REPLY_SECONDS, "the interaction has no answer")
        await self._settled()
        for message in made.messages:
            if not message.deleted:
                self._show(message)
        return made.messages[-1]

    async def _settled(self) -> None:
        """Waits until the bot sends nothing more."""
        fake = self._fake
        await fake.until(lambda: fake.now() - fake.requests[-1].at > self._quiet, REPLY_SECONDS, "it never ended")

    def _show_new(self, channel: Channel) -> None:
        for message in self._fake.messages(channel, author=self._fake.bot):
            if message.id not in self._told:
                self._show(message)

    def _show(self, message: Message, does: str = "") -> None:
        self._told.add(message.id)
        head = f"{message.author.name} in #{message.channel.name}"
        if message.only_for is not None:
            head += f" (only {message.only_for.name} sees this)"
        elif message.author is self._fake.bot and message.reply_to is not None:
            head += f", replying to {message.reply_to.author.name}"
        self._tell("\n".join([f"{head} {does}".strip(), *map(indented, self._lines(message)), ""]))

    def _lines(self, message: Message) -> Iterator[str]:
        yield from (self._read(line) for line in message.content.splitlines())
        for embed in message.embeds:
            yield from _card(embed)
        for attachment in message.attachments:
            yield f"(picture {attachment['filename']}: {attachment.get('description') or 'no description'})"
        for row in message.components:
            faces = [f"[{_face(part)}]" for part in walk([row]) if _face(part) and not part.get("disabled")]
            if faces:
                yield " ".join(faces)

    def _read(self, line: str) -> str:
        """A line as Discord shows it."""
        for user in self._fake.users.values():
            line = line.replace(user.mention, f"@{user.name}")
        return _plain(line.removeprefix("-# "))


def _plain(text: str) -> str:
    return reading(_ADDRESS.sub(r"\1", _BOLD.sub(r"\1", text)))


def _progress(message: Message) -> bool:
    return not message.components and "in the queue" in message.content


def _card(embed: Component) -> Iterator[str]:
    """An embed, from its title to its footer."""
    lines = [embed.get("title"), embed.get("author", {}).get("name"), embed.get("description")]
    lines += [f"{field['name']}: {field['value']}" for field in embed.get("fields", [])]
    lines += [embed.get("footer", {}).get("text")]
    for line in filter(None, lines):
        yield from (f"| {_plain(part)}" for part in line.splitlines())


def _form(modal: Component) -> Iterator[str]:
    yield f"a form opens: {modal['title']}"
    for part in walk(modal["components"]):
        if part.get("label"):
            yield indented(f"{part['label']} ____")
    yield ""


def _face(part: Component) -> str:
    """What stands on a button; of a menu, what it says before a choice is made. Empty for what can't be used."""
    emoji = part["emoji"].get("name") if part.get("emoji") else None
    return " ".join(filter(None, (emoji, part.get("label"), part.get("placeholder"))))


def _button(message: Message, face: str) -> str:
    """The custom_id of the first button with this face."""
    for part in walk(message.components):
        if _face(part) == face:
            return part["custom_id"]
    raise FiresideError(f"There is no button [{face}] under this: {message.content[:80]!r}.")


async def converse(fake: FakeDiscord, tell: Tell, quiet: float = QUIET) -> None:
    """The conversation, with a bot that is connected. FiresideError if it doesn't go as it should."""
    stage = Stage(fake, tell, quiet)
    alice, bob, general = fake.alice, fake.bob, fake.general
    with in_a_sentence():
        answer = await stage.say(alice, general, "Why is reliability the biggest obstacle for neural networks?")
        unknown = await stage.say(bob, general, "How many GPUs were used to train AlexNet?")
        unclear = await stage.say(bob, general, "Describe the architecture of the model.")
        options = [_face(part) for part in walk(unclear.components) if ":pick:" in part.get("custom_id", "")]
        if not options:
            raise FiresideError(f"It should have asked which one is meant, but said: {unclear.content[:80]!r}.")
        await stage.press(bob, unclear, options[-1])
        thread = await stage.thread(alice, answer, "reliability")
        await stage.say(alice, thread, "What is unsupervised learning?")
        await stage.say(alice, thread, "And what did he say about compression?", mention=False)
        quoted = await stage.command(alice, general, "quote", topic="reliability")
        await stage.press(alice, quoted, "Next")
        await stage.command(bob, general, "why")
        await stage.submit(await stage.press(bob, unknown, "👎"), "He did say how many, in the talk with Jensen Huang.")
        await stage.command(fake.olga, general, "status")


async def demo(data: Path, tell: Tell) -> None:
    """The conversation with the real bot."""
    fake = FakeDiscord()
    await fake.start()
    try:
        async with connected(fake, bot_command("discord"), {"FIRESIDE_DATA_DIR": str(data), **SHOWN}):
            await converse(fake, tell)
    finally:
        await fake.stop()


if __name__ == "__main__":
    sys.exit(bots.main("Discord", demo))
