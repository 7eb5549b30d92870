from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.commands import Start, app
from bot.discord.client import FiresideClient, ShardedClient
from bot.discord.doctor import examine_with
from bot.discord.run import check_token, keep_running, point_at
from bot.host import Host
from bot.store import FILE, Store
from persona.errors import ConfigError, FiresideError
from persona.pipeline import Fireside
from persona.settings import Settings, load_settings
from tests.bot.discord.running import PACE, DiscordWebSocket, Route
from tests.bot.scripted import Scripted
from tests.discord_fake import FakeDiscord

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(autouse=True)
def _addresses() -> Iterator[None]:
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    yield
    Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before


def settings(fake: FakeDiscord | None = None) -> Settings:
    given = {"FIRESIDE_DISCORD_API_URL": fake.api_url, "FIRESIDE_DISCORD_GATEWAY_URL": fake.gateway_url} if fake else {}
    return load_settings(environ=given, places=[])


class Running:
    """`keep_running` in a task, with the event that stops it."""

    def __init__(self, task: asyncio.Task[None], stop: asyncio.Event, fireside: Scripted) -> None:
        self.task, self.stop, self.fireside = task, stop, fireside


@contextlib.asynccontextmanager
async def kept(
    fake: FakeDiscord, folder: Path, token: str | None = None, kind: type[FiresideClient] = FiresideClient
) -> AsyncIterator[Running]:
    point_at(settings(fake))
    store, fireside, stop = await Store.open(folder / FILE), Scripted(), asyncio.Event()
    host = Host(fireside, store)  # type: ignore[arg-type]

    def make(content: bool) -> FiresideClient:
        return kind(host, store, folder, content=content, pace=PACE, guild_ready_timeout=0.02)

    task = asyncio.create_task(keep_running(make, token or fake.token, stop))
    try:
        yield Running(task, stop, fireside)
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()


def test_without_a_token_one_sentence_says_where_to_get_it():
    with pytest.raises(ConfigError, match="There is no Discord token"):
        check_token(settings())


def test_the_command_asks_for_the_token_before_it_opens_the_persona():
    result = CliRunner().invoke(app, ["discord"], env={"DISCORD_TOKEN": ""}, obj=Start(opener=_never))
    assert result.exit_code == 2
    assert result.stderr.startswith("There is no Discord token.")
    assert result.stderr.count("\n") == 1


def test_doctor_names_the_platforms_that_it_knows():
    result = CliRunner().invoke(app, ["doctor", "irc"])
    assert (result.exit_code, result.stderr) == (
        2,
        "There is no platform 'irc'. Give 'discord' or 'slack', or nothing.\n",
    )


def _never(_settings: Settings) -> Fireside:
    raise AssertionError("the persona was opened")


def test_without_addresses_the_library_s_own_stand_untouched():
    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    point_at(settings())
    assert before == (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY)


async def test_a_wrong_token_is_one_sentence(tmp_path: Path):
    async with FakeDiscord() as fake, kept(fake, tmp_path, "wrong") as running:
        with pytest.raises(ConfigError, match="Discord refuses the token in DISCORD_TOKEN"):
            await running.task


async def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path):
    async with FakeDiscord() as fake:
        await fake.stop()
        async with kept(fake, tmp_path) as running:
            with pytest.raises(FiresideError, match="Can't reach Discord at http://127"):
                await running.task


async def test_a_missing_intent_is_said_and_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with FakeDiscord(privileged=()) as fake, kept(fake, tmp_path):
        await fake.ready()
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.reply_to(asked)
        assert "The message-content intent is off" in caplog.text


async def test_what_is_in_flight_is_finished_before_it_stops(tmp_path: Path):
    async with FakeDiscord() as fake, kept(fake, tmp_path) as running:
        await fake.ready()
        running.fireside.gate.clear()
        asked = await fake.say(fake.alice, fake.general, "What is a lamp?", mention_bot=True)
        await fake.until(lambda: running.fireside.asked)
        running.stop.set()
        running.fireside.gate.set()
        await running.task
        assert (await fake.reply_to(asked)).content.startswith("You asked")


async def test_doctor_says_what_to_click(tmp_path: Path):
    from tests.discord_fake import Permission

    async with FakeDiscord(privileged=()) as fake:
        point_at(settings(fake))
        fake.guild.everyone.permissions &= ~Permission.SEND_MESSAGES
        checks = {check.what: check async for check in examine_with(fake.token, "I am unofficial.")}
        assert checks["token"].state == "ok"
        assert "switch on Message Content Intent" in checks["message content"].says
        assert checks["commands"].state == "note"
        assert checks["profile"].says.endswith(": I am unofficial.")
        assert "lacks Send Messages there" in checks["server 'Harbour'"].says
        async with kept(fake, tmp_path):
            await fake.ready()
        checks = {check.what: check async for check in examine_with(fake.token, "I am unofficial.")}
        assert checks["commands"].state == "ok"


async def test_doctor_on_a_wrong_token_says_so_and_nothing_else():
    async with FakeDiscord() as fake:
        point_at(settings(fake))
        (check,) = [check async for check in examine_with("wrong", "")]
        assert (check.what, check.state) == ("token", "problem")


class Unhurried(ShardedClient):
    """Takes no five seconds between two connections, as the real Discord wants it."""

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        del shard_id, initial


async def test_sharded_it_answers_over_every_connection(tmp_path: Path):
    async with FakeDiscord(shards=2) as fake, kept(fake, tmp_path, kind=Unhurried) as running:
        await fake.ready(shards=2)
        other = fake.new_guild("elsewhere", fake.alice)
        fake.join(other, fake.bob)
        there = await fake.add_channel(other, "talks")
        await fake.invite_bot(other)
        for channel in (fake.general, there):
            await fake.reply_to(await fake.say(fake.alice, channel, "What is it?", mention_bot=True))
        assert [q.text for q in running.fireside.asked] == ["What is it?"] * 2
        assert len(fake.identifies) == 2
