"""SIGTERM, as a deployment sends it, to the process of each platform's bot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.desk import LEAVING
from bot.store import FILE, Store
from tests.discord_fake import FakeDiscord
from tests.slack_fake import FakeSlack

pytestmark = [
    pytest.mark.allow_hosts(["127.0.0.1"]),
    pytest.mark.skipif(os.name == "nt", reason="signals of POSIX"),
]
STOPS_WITHIN = 10.0  # seconds
LONG = "600"  # seconds


@contextlib.asynccontextmanager
async def child(platform: str, seconds: str, folder: Path, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bot.child", platform, seconds),
        env={**os.environ, "FIRESIDE_DATA_DIR": str(folder), **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def at(fake: FakeDiscord) -> dict[str, str]:
    addresses = {"FIRESIDE_DISCORD_API_URL": fake.api_url, "FIRESIDE_DISCORD_GATEWAY_URL": fake.gateway_url}
    return {**addresses, "DISCORD_TOKEN": fake.token}


def tokens(fake: FakeSlack) -> dict[str, str]:
    return {
        "FIRESIDE_SLACK_API_URL": fake.api_url,
        "SLACK_BOT_TOKEN": fake.bot_token,
        "SLACK_APP_TOKEN": fake.app_token,
    }


async def stopped(process: asyncio.subprocess.Process) -> float:
    """Seconds that it took; it has to end well."""
    begun = time.monotonic()
    process.terminate()
    code = await asyncio.wait_for(process.wait(), 2 * STOPS_WITHIN)
    assert code == 0
    return time.monotonic() - begun


async def test_on_discord_a_short_answer_in_flight_is_finished(tmp_path: Path):
    async with FakeDiscord() as fake, child("discord", "1", tmp_path, **at(fake)) as process:
        await fake.ready()
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.until(lambda: fake.typing)
        assert await stopped(process) < STOPS_WITHIN
        assert (await fake.reply_to(asked)).content.startswith("You asked: What is a lamp?")


async def test_on_slack_a_short_answer_in_flight_is_finished(tmp_path: Path):
    async with FakeSlack() as fake, child("slack", "1", tmp_path, **tokens(fake)) as process:
        ada = fake.person("Ada")
        await fake.connected(timeout=20)
        asked = await ada.say(fake.general, f"{fake.bot.mention} What is a lamp?")
        await fake.until(lambda: fake.statuses)
        assert await stopped(process) < STOPS_WITHIN
        assert (await fake.reply_to(asked)).text.startswith("You asked: What is a lamp?")


async def test_what_takes_too_long_is_handed_back_on_both_within_ten_seconds(tmp_path: Path):
    async with (
        FakeDiscord() as discord,
        FakeSlack() as slack,
        child("discord", LONG, tmp_path / "d", **at(discord)) as one,
        child("slack", LONG, tmp_path / "s", **tokens(slack)) as other,
    ):
        ada = slack.person("Ada")
        await discord.ready()
        await slack.connected(timeout=20)
        asked = [await discord.say(discord.alice, discord.general, f"{n}?", mention_bot=True) for n in range(3)]
        command = await discord.command(discord.bob, discord.general, "ask", {"question": "What is oil?"})
        on_slack = [await ada.say(slack.general, f"{slack.bot.mention} {n}?") for n in range(3)]
        await command.acknowledged()
        await discord.until(lambda: len(discord.typing) >= 3)
        await slack.until(lambda: len(slack.statuses) >= 3)
        assert max(await asyncio.gather(stopped(one), stopped(other))) < STOPS_WITHIN
        for question in asked:
            reply = await discord.reply_to(question, done=lambda m, question=question: m.reply_to is question)
            assert reply.content == LEAVING
        assert (await command.reply()).content == LEAVING
        for question in on_slack:
            assert (await slack.reply_to(question)).text == LEAVING
    for platform, folder in (("discord", tmp_path / "d"), ("slack", tmp_path / "s")):
        store = await Store.open(folder / FILE)
        assert await store.unanswered(platform) == [], "they were told: the next process has nothing to do about them"
        await store.close()
