"""Runs the real bot against the fake Slack with a scripted conversation, and prints what each person sees.

    python scripts/demo_slack.py                     as `make demo-slack` does
    python scripts/demo_slack.py --data-dir FOLDER   with the index in FOLDER, which is copied; what the bot keeps is not

The bot is `fireside slack` in a process of its own, with the bundled persona; Slack is tests/slack_fake, at the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bot.slack.rendering import reading
from persona.errors import FiresideError
from scripts import bots
from scripts.bots import QUIET, REPLY_SECONDS, SHOWN, START_SECONDS, Tell, bot_command, in_a_sentence, indented
from scripts.full_house import PLACE
from tests.slack_fake import Channel, FakeSlack, Message, Person, View

COMMAND = "/fireside"
_BOLD = re.compile(r"\*([^*\u200b]+)\*")
_LINK = re.compile(r"<(https?://[^|>]*)(?:\|([^>]*))?>")
_MENTION = re.compile(r"<@(\w+)>")

Block = Mapping[str, Any]


class Face(NamedTuple):
    """Something to press: what it says, and how a click names it."""

    text: str
    action: str
    block: str
    choose: str | None = None


@contextlib.asynccontextmanager
async def connected(
    fake: FakeSlack, command: Sequence[str], environ: Mapping[str, str]
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """See `bots.connected`."""
    given = {
        "FIRESIDE_SLACK_API_URL": fake.api_url,
        "FIRESIDE_SLACK_MODE": "socket",
        "SLACK_BOT_TOKEN": fake.bot_token,
        "SLACK_APP_TOKEN": fake.app_token,
        "SLACK_BOT_TOKEN_FILE": "",
        "SLACK_APP_TOKEN_FILE": "",
        "SLACK_SIGNING_SECRET": "",
        "SLACK_SIGNING_SECRET_FILE": "",
        **environ,
    }

    async def up() -> None:
        await fake.connected(timeout=START_SECONDS)

    async with bots.connected("Slack", command, given, up, fake.violations) as process:
        yield process


class Stage:
    """People who talk to the bot, one after another; all that appears is told. `quiet`: see `QUIET`."""

    def __init__(self, fake: FakeSlack, tell: Tell, quiet: float = QUIET) -> None:
        self._fake = fake
        self._tell = tell
        self._quiet = quiet
        self._told: dict[Message, int] = {}  # how often it had been edited when it was told

    async def say(
        self, person: Person, channel: Channel, text: str, *, thread: Message | None = None, mention: bool = True
    ) -> Message:
        """Says something in a channel, a thread or a direct message; the bot's whole reply."""
        statuses = len(self._fake.statuses)
        named = f"{self._fake.bot.mention} {text}" if mention else text
        asked = await person.say(channel, named, thread)
        self._show(asked)
        reply = await self._fake.reply_to(asked, done=lambda m: m.buttons, timeout=REPLY_SECONDS)
        await self._settled()
        for _, _, status, *_ in self._fake.statuses[statuses:]:
            if status:
                self._tell(f"{self._fake.bot.name} {status}\n")
        self._show_news()
        return reply

    async def command(self, person: Person, channel: Channel, text: str) -> Message:
        """Uses the slash command; the bot's answer."""
        self._tell(f"{person.user.name} in {_where(channel)} uses {COMMAND} {text}\n")
        await person.command(COMMAND, text, channel)
        return (await self._what_comes(self._news))[-1]

    async def press(self, person: Person, message: Message, text: str) -> View | list[Message]:
        """Presses the button that says so: the form that it opens, or the messages that come of it."""
        self._tell(f"{person.user.name} presses [{text}]\n")
        face = next((f for f in faces(message.blocks) if f.text == text), None)
        if face is None:
            raise FiresideError(f"There is no button [{text}] under this: {message.text[:80]!r}.")
        await person.click(message, face.action, face.choose, block_id=face.block)
        came = await self._what_comes(lambda: self._news() or person.modal)
        if person.modal is None:
            return came
        for line in _form(person.modal):
            self._tell(line)
        return person.modal

    async def submit(self, person: Person, form: View, text: str) -> list[Message]:
        """Fills in the one field of a form; what comes of it."""
        (field,) = form.buttons
        self._tell(f"{person.user.name} writes into it and sends\n{indented(text)}\n")
        await person.submit(form, {field.action_id: text})
        return await self._what_comes(self._news)

    async def home(self, person: Person) -> None:
        """Opens the app's home tab."""
        self._tell(f"{person.user.name} opens the home tab of {self._fake.bot.name}\n")
        await person.opens_home()
        await self._fake.until(lambda: self._fake.home(person), REPLY_SECONDS, "the home tab stays empty")
        await self._settled()
        view = self._fake.home(person)
        assert view is not None
        self._tell("\n".join([*map(indented, self._lines(view.blocks)), ""]))

    async def _what_comes(self, something: Callable[[], object]) -> list[Message]:
        await self._fake.until(something, REPLY_SECONDS, "nothing came of it")
        await self._settled()
        return self._show_news()

    async def _settled(self) -> None:
        """Waits until the bot sends nothing more."""
        while (rest := self._fake.calls[-1].at + self._quiet - self._fake.now()) > 0:
            await asyncio.sleep(rest)

    def _news(self) -> list[Message]:
        """The bot's messages that are new, or read otherwise than they were told; without places in the queue."""
        seen = [m for c in self._fake.world.channels.values() for m in (*c.messages, *c.ephemerals)]
        ours = sorted((m for m in seen if m.user is self._fake.bot and not m.deleted), key=lambda m: m.ts)
        return [m for m in ours if self._told.get(m) != len(m.edits) and not PLACE.search(m.text)]

    def _show_news(self) -> list[Message]:
        news = self._news()
        for message in news:
            self._show(message)
        return news

    def _show(self, message: Message) -> None:
        does = " now reads" if message in self._told else ""
        self._told[message] = len(message.edits)
        head = f"{message.user.name} in {_where(message.channel)}"
        root = message.channel.find(message.thread_ts) if message.thread_ts else None
        if message.only_for is not None:
            head += f" (only {message.only_for.name} sees this)"
        elif root is not None and root is not message:
            head += f", in {root.user.name}'s thread"
        lines = [*self._lines(message.blocks)] or [self._read(line) for line in message.text.splitlines()]
        lines += [f"(file {file.name}: {file.alt or file.title})" for file in message.files]
        self._tell("\n".join([f"{head}{does}", *map(indented, lines), ""]))

    def _lines(self, blocks: Sequence[Block]) -> Iterator[str]:
        """Blocks as a reader sees them."""
        for block in blocks:
            match block["type"]:
                case "rich_text":
                    yield from (self._read(line) for part in block["elements"] for line in _rich(part))
                case "section":
                    if "text" in block:
                        yield from (self._read(line) for line in _text(block["text"]).splitlines())
                    for field in block.get("fields", []):  # a name, and its value in the next line
                        yield self._read(_text(field).replace("\n", ": "))
                case "header":
                    yield f"== {_text(block['text'])} =="
                case "context":
                    yield from (
                        self._read(line) for element in block["elements"] for line in _text(element).splitlines()
                    )
                case "divider":
                    yield ""
                case _:
                    pass
            if texts := [face.text for face in faces([block])]:
                yield " ".join(f"[{text}]" for text in texts)

    def _read(self, line: str) -> str:
        """A line with names in place of ids."""
        users = self._fake.world.users
        return _MENTION.sub(lambda found: f"@{users[found[1]].name}", line)


def faces(blocks: Sequence[Block]) -> Iterator[Face]:
    """What can be pressed in blocks."""
    for block in blocks:
        parts: Sequence[Block] = block["elements"] if "actions" in block["type"] else []
        for part in parts:
            named = (part["action_id"], block.get("block_id", ""))
            if part["type"] == "feedback_buttons":
                for half in ("positive", "negative"):
                    yield Face(part[f"{half}_button"]["text"]["text"], *named, choose=half)
            else:
                yield Face((part.get("text") or part["placeholder"])["text"], *named)


def _where(channel: Channel) -> str:
    return f"#{channel.name}" if channel.name else "a direct message"


def _rich(part: Block) -> Iterator[str]:
    """The lines of a part of rich text."""
    mark = "> " if part["type"] == "rich_text_quote" else ""
    whole = "".join(f"<@{e['user_id']}>" if e["type"] == "user" else e.get("text", "") for e in part["elements"])
    yield from (mark + line for line in whole.splitlines() if line.strip())


def _text(made: Block) -> str:
    """What a text object shows."""
    if made["type"] == "plain_text":
        return made["text"]
    linked = _LINK.sub(lambda found: f"{found[2]} ({found[1]})" if found[2] else found[1], made["text"])
    return reading(_BOLD.sub(r"\1", linked))


def _form(modal: View) -> Iterator[str]:
    yield f"a form opens: {modal.title}"
    yield from (indented(f"{block['label']['text']} ____") for block in modal.blocks if block["type"] == "input")
    yield ""


async def converse(fake: FakeSlack, tell: Tell, quiet: float = QUIET) -> None:
    """The conversation, with a bot that is connected. FiresideError if it doesn't go as it should."""
    stage = Stage(fake, tell, quiet)
    ada, bob, general = fake.person("Ada"), fake.person("Bob"), fake.general
    with in_a_sentence():
        await stage.say(ada, general, "Why is reliability the biggest obstacle for neural networks?")
        await stage.command(ada, general, "why")
        unknown = await stage.say(bob, general, "How many GTX 580 cards did they buy?")
        learning = await stage.say(ada, general, "What is unsupervised learning?")
        await stage.say(ada, general, "And what did he say about compression?", thread=learning, mention=False)
        unclear = await stage.say(bob, bob.dm, "Describe the architecture of the model.", mention=False)
        options = [face.text for face in faces(unclear.blocks) if ":pick:" in face.action]
        if not options:
            raise FiresideError(f"It should have asked which one is meant, but said: {unclear.text[:80]!r}.")
        await stage.press(bob, unclear, options[-1])
        private = await stage.command(bob, general, "ask Who said it was the fastest growing application?")
        await stage.press(bob, private, "Share to channel")
        quoted = await stage.command(ada, general, "quote reliability")
        await stage.press(ada, quoted, "Next")
        form = await stage.press(bob, unknown, "Bad")
        if not isinstance(form, View):
            raise FiresideError("It should have asked what was wrong.")
        await stage.submit(bob, form, "He did say how many, in the talk with Jensen Huang.")
        await stage.home(ada)


async def demo(data: Path, tell: Tell) -> None:
    """The conversation with the real bot."""
    fake = await FakeSlack().start()
    try:
        async with connected(fake, bot_command("slack"), {"FIRESIDE_DATA_DIR": str(data), **SHOWN}):
            await converse(fake, tell)
    finally:
        await fake.stop()


if __name__ == "__main__":
    sys.exit(bots.main("Slack", demo))
