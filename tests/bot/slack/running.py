"""The bot against the fake Slack; its persona answers by a script. No model, no index; the real queue and store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bot.host import Host
from bot.monitoring import Health
from bot.slack.bot import SlackBot
from bot.slack.run import Tokens, app_of, client_of, connected, who
from bot.store import FILE, Store
from persona.settings import Settings
from tests.bot.scripted import Scripted
from tests.slack_fake import FakeSlack

PACE = 0.05


class Bot:
    """What a test holds: the fake, the persona, the store, the bot."""

    def __init__(self, fake: FakeSlack, fireside: Scripted, store: Store, slack: SlackBot, health: Health) -> None:
        self.fake, self.fireside, self.store, self.slack, self.health = fake, fireside, store, slack, health


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
    client = client_of(settings, tokens.bot)
    me = await who(client)
    health = Health()
    slack = SlackBot(
        app_of(client, tokens), Host(fireside, store, **host), store, folder, me=me.user, team=me.team, pace=PACE
    )  # type: ignore[arg-type]
    try:
        async with connected(settings, slack, tokens, health) as port:
            if port is not None:
                fake.request_url = f"http://127.0.0.1:{port}/slack/events"
            else:
                await fake.connected()
            await slack.take_up()
            yield Bot(fake, fireside, store, slack, health)
            fireside.gate.set()
            await slack.desk.drain(2.0)
    finally:
        await store.close()
