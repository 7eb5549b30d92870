"""The bot against the fake Slack; its persona answers by a script. No model, no index; the real queue and store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from bot.host import Host
from bot.monitoring import Health
from bot.slack.bot import SlackBot
from bot.slack.run import Tokens, app_of, client_of, connected, who
from bot.store import FILE, Store
from persona.settings import Settings
from persona.types import Question
from tests.bot.scripted import Scripted
from tests.slack_fake import Channel, FakeSlack, Message, Person

PACE = 0.03
PING = 0.2


class Noted(list[Question]):
    """Questions; the fake looks again at each new one."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed

    def append(self, question: Question) -> None:
        super().append(question)
        self._changed()


class Bot:
    """What a test holds: the fake, the persona, the store, the bot; and what it does again and again."""

    def __init__(self, fake: FakeSlack, fireside: Scripted, store: Store, slack: SlackBot, health: Health) -> None:
        self.fake, self.fireside, self.store, self.slack, self.health = fake, fireside, store, slack, health

    @property
    def asked(self) -> list[str]:
        """The questions that reached the persona."""
        return [question.text for question in self.fireside.asked]

    async def answers(self, person: Person, text: str, channel: Channel | None = None, **how: Any) -> Message:
        """The whole reply to a mention (in a DM: to a message)."""
        asked = await self.mentioned(person, text, channel, **how)
        return await self.fake.reply_to(asked, done=whole)

    async def mentioned(self, person: Person, text: str, channel: Channel | None = None, **how: Any) -> Message:
        where = channel or self.fake.general
        named = "" if where.kind == "im" else f"{self.fake.bot.mention} "
        return await person.say(where, named + text, **how)

    async def told(self, person: Person, text: str, channel: Channel | None = None) -> Message:
        """What `/fireside …` tells that person alone."""
        before = len(self.fake.ephemerals(person))
        await (await person.command("/fireside", text, channel=channel)).acknowledged()
        await self.fake.until(lambda: len(self.fake.ephemerals(person)) > before)
        return self.fake.ephemerals(person)[-1]

    async def clicked(self, person: Person, message: Message, action: str, choose: Any = None) -> Message:
        """What a click tells that person alone."""
        before = len(self.fake.ephemerals(person))
        await (await person.click(message, f"fireside:{action}", choose)).acknowledged()
        await self.fake.until(lambda: len(self.fake.ephemerals(person)) > before)
        return self.fake.ephemerals(person)[-1]

    async def settled(self) -> None:
        """All that has come in is done with."""
        await self.fake.until(lambda: all(d.acked or d.failed for d in self.fake.deliveries))
        leaving, self.slack.desk.leaving = self.slack.desk.leaving, False
        await self.slack.desk.drain(3.0)
        await self.slack.desk.noted()
        self.slack.desk.leaving = leaving

    def said(self, channel: Channel | None = None) -> list[Message]:
        """The bot's messages in a channel."""
        return [m for m in (channel or self.fake.general).messages if m.user is self.fake.bot]


def whole(message: Message) -> bool:
    """A whole reply has buttons."""
    return any(button.action_id == "fireside:why" for button in message.buttons)


def text_in(part: Any) -> str:
    """All that a reader sees of blocks, in their order."""
    if isinstance(part, Message):
        return text_in(part.blocks)
    if isinstance(part, list):
        return "\n".join(filter(None, map(text_in, part)))
    if not isinstance(part, dict):
        return ""
    own = part["text"] if isinstance(part.get("text"), str) else ""
    inner = (part.get(name) for name in ("text", "label", "fields", "elements", "element", "accessory", "options"))
    return "\n".join(filter(None, [own, *(text_in(each) for each in inner if not isinstance(each, str))]))


def actions_of(message: Message) -> set[str]:
    return {button.action_id.removeprefix("fireside:") for button in message.buttons}


def settings_for(fake: FakeSlack, folder: Path, **more: Any) -> Settings:
    return Settings(
        data_dir=folder,
        slack_api_url=fake.api_url,
        slack_port=0,
        SLACK_BOT_TOKEN=fake.bot_token,
        SLACK_APP_TOKEN=fake.app_token,
        SLACK_SIGNING_SECRET=fake.signing_secret,
        **more,
    )


@contextlib.asynccontextmanager
async def running(
    fake: FakeSlack, fireside: Scripted, folder: Path, *, mode: str = "socket", **host: Any
) -> AsyncIterator[Bot]:
    """The bot, connected."""
    settings = settings_for(fake, folder, slack_mode=mode)
    tokens = Tokens(fake.bot_token, fake.app_token, fake.signing_secret)
    store = await Store.open(folder / FILE)
    fireside.asked = Noted(fake.changed)
    client = client_of(settings, tokens.bot)
    me = await who(client)
    health = Health()
    slack = SlackBot(
        app_of(client, tokens), Host(fireside, store, **host), store, folder, me=me.user, team=me.team, pace=PACE
    )  # type: ignore[arg-type]
    left = await slack.left_behind()
    try:
        async with connected(settings, slack, tokens, health, ping=PING) as port:
            if port is not None:
                fake.request_url = f"http://127.0.0.1:{port}/slack/events"
            else:
                fake.request_url = None
                await fake.connected()
            await slack.take_up(left)
            yield Bot(fake, fireside, store, slack, health)
            fireside.gate.set()
            await slack.desk.drain(2.0)
    finally:
        await store.close()


def errors(messages: Iterable[str]) -> list[str]:
    """What a log says of mistakes of ours."""
    return [message for message in messages if "mistake" in message]
