from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner, Result

from bot.commands import Start, app
from bot.host import Host
from bot.running import Parts
from bot.slack import run
from bot.slack.bot import SlackBot
from bot.slack.run import Tokens, app_of, client_of, listening
from bot.store import FILE, Store
from persona.errors import ConfigError, FiresideError
from persona.pipeline import Fireside
from persona.settings import Settings
from tests.bot.scripted import Scripted
from tests.bot.slack.running import Bot, Noted, running, settings_for, text_in, whole
from tests.slack_fake import FakeSlack

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def _never(_settings: Settings) -> Fireside:
    raise AssertionError("the persona was opened")


async def started(fake: FakeSlack, **environment: str) -> Result:
    """`fireside slack`, as somebody starts it."""
    given = {
        "FIRESIDE_SLACK_API_URL": fake.api_url,
        "SLACK_BOT_TOKEN": fake.bot_token,
        "SLACK_APP_TOKEN": fake.app_token,
        "SLACK_SIGNING_SECRET": fake.signing_secret,
        **environment,
    }
    return await asyncio.to_thread(CliRunner().invoke, app, ["slack"], env=given, obj=Start(opener=_never))


async def test_it_starts_although_slack_has_too_much_to_do(fake: FakeSlack):
    for method in ("auth.test", "apps.connections.open"):
        fake.fail(method, times=2, status=429, retry_after=0.02)
    client = client_of(Settings(slack_api_url=fake.api_url), fake.bot_token)
    assert (await run.who(client)).user == fake.bot.id
    await run.check_socket(client, fake.app_token)
    assert len(fake.called("auth.test")) == len(fake.called("apps.connections.open")) == 3


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SLACK_BOT_TOKEN": ""}, "There is no Slack bot token. Copy the Bot User OAuth Token (xoxb-…)"),
        ({"SLACK_APP_TOKEN": ""}, "There is no Slack app token, which Socket Mode takes."),
        ({"SLACK_BOT_TOKEN": "xoxb-wrong"}, "Slack refuses the token in SLACK_BOT_TOKEN."),
        ({"SLACK_APP_TOKEN": "xapp-wrong"}, "Slack refuses the token in SLACK_APP_TOKEN."),
        ({"SLACK_BOT_TOKEN": "xapp-for-tests"}, "SLACK_BOT_TOKEN holds an app token (xapp-…)."),
        ({"SLACK_APP_TOKEN": "xoxb-for-tests"}, "SLACK_APP_TOKEN holds a bot token (xoxb-…)."),
        ({"FIRESIDE_SLACK_MODE": "http", "SLACK_SIGNING_SECRET": ""}, "There is no signing secret,"),
        ({"FIRESIDE_SLACK_MODE": "carrier pigeon"}, "Input should be 'socket' or 'http'"),
        ({"FIRESIDE_SLACK_API_URL": "http://127.0.0.1:1/api"}, "it has to end in a slash"),
    ],
)
async def test_what_it_can_not_start_with_is_one_sentence_and_exit_code_2(
    fake: FakeSlack, environment: dict[str, str], says: str
):
    result = await started(fake, **environment)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert "for-tests" not in result.stderr


async def test_a_revoked_token_is_a_wrong_one(fake: FakeSlack):
    fake.revoke("token_revoked")
    assert "Slack refuses the token in SLACK_BOT_TOKEN." in (await started(fake)).stderr


async def test_a_slack_that_is_not_there_or_ill_is_one_sentence():
    async with FakeSlack() as fake:
        fake.fail("auth.test", times=4, status=503, retry_after=0.02)
        assert f"Can't reach Slack at {fake.api_url}: 503." in (await started(fake)).stderr
        await fake.stop()
        gone = await started(fake)
    assert gone.exit_code != 0
    assert gone.stderr.startswith(f"Can't reach Slack at {fake.api_url}: ")
    assert gone.stderr.count("\n") == 1


def test_without_an_address_the_library_s_own_stands_untouched():
    assert client_of(Settings(), "xoxb-x").base_url == "https://slack.com/api/"


async def test_a_connection_that_slack_does_not_give_at_once_is_asked_for_again(fake: FakeSlack, tmp_path: Path):
    fake.fail("apps.connections.open", status=503)
    async with running(fake, Scripted(), tmp_path) as bot:
        await bot.answers(fake.person("Ada"), "One?")


# From start to stop


@contextlib.asynccontextmanager
async def served(fake: FakeSlack, folder: Path, fireside: Scripted) -> AsyncIterator[asyncio.Task[None]]:
    """`fireside slack` from the tokens on, in this process."""
    settings = settings_for(fake, folder)
    fireside.asked = Noted(fake.changed)
    parts = Parts(settings, lambda: fireside, lambda _: fireside, lambda: settings)  # type: ignore[arg-type, return-value]
    task = asyncio.create_task(run.serve(parts, run.check_tokens(settings)))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stop(task: asyncio.Task[None]) -> None:
    """As SIGTERM does."""
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)


async def test_a_stop_finishes_what_is_in_flight(fake: FakeSlack, tmp_path: Path):
    fireside = Scripted()
    async with served(fake, tmp_path, fireside) as task:
        await fake.connected()
        fireside.gate.clear()
        asked = await fake.person("Ada").say(fake.general, f"{fake.bot.mention} What is a lamp?")
        await fake.until(lambda: fireside.asked)
        stopping = asyncio.create_task(stop(task))
        await asyncio.sleep(0)
        fireside.gate.set()
        await stopping
        assert whole(await fake.reply_to(asked))


async def test_a_stop_does_not_wait_for_all_that_was_left_behind(fake: FakeSlack, tmp_path: Path):
    ada = fake.person("Ada")
    store = await Store.open(tmp_path / FILE)
    for number in range(3):
        said = await ada.say(fake.general, f"{fake.bot.mention} Number {number}?")
        await store.first_sight("slack", f"{fake.general.id}:{said.ts}", f"{fake.general.id}:{said.ts}")
    await store.close()
    fireside = Scripted()
    fireside.gate.clear()
    async with served(fake, tmp_path, fireside) as task:
        await fake.until(lambda: fireside.asked)
        stopping = asyncio.create_task(stop(task))
        await asyncio.sleep(0)
        fireside.gate.set()
        await stopping
    assert [q.text for q in fireside.asked] == ["Number 0?"]
    store = await Store.open(tmp_path / FILE)
    assert len(await store.unanswered("slack")) == 2  # the next process answers those
    await store.close()


# HTTP mode


@pytest.fixture
async def http(fake: FakeSlack, tmp_path: Path) -> AsyncIterator[Bot]:
    async with running(fake, Scripted(), tmp_path, mode="http") as made:
        yield made


def url_of(bot: Bot) -> str:
    assert bot.fake.request_url
    return bot.fake.request_url


async def test_slack_s_challenge_is_answered(http: Bot):
    assert await http.fake.verify_url(url_of(http))


async def test_a_request_with_a_wrong_signature_is_refused(http: Bot):
    fake = http.fake
    event = fake.event({"type": "app_mention", "channel": fake.general.id, "ts": "1.2", "user": "U1", "text": "Hi"})
    assert (await fake.post(url_of(http), event, secret="another")).status == 401
    assert (await fake.post(url_of(http), event, timestamp=time.time() - 600)).status == 401
    assert (await fake.post(url_of(http), event, timestamp=time.time() + 600)).status == 401
    assert http.asked == []


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"payload={", b"[1]", b"x" * 1_048_577])
async def test_what_anybody_may_send_is_refused_and_breaks_nothing(
    http: Bot, body: bytes, caplog: pytest.LogCaptureFixture
):
    async with aiohttp.ClientSession() as session:
        for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain; charset=nonsense"):
            async with session.post(url_of(http), data=io.BytesIO(body), headers={"Content-Type": kind}) as answer:
                assert 400 <= answer.status < 500
        async with session.get(url_of(http)) as answer:
            assert answer.status == 405
    assert "Traceback" not in caplog.text
    await http.answers(http.fake.person("Ada"), "Still there?")


async def test_a_request_that_is_sent_again_is_refused(http: Bot):
    fake = http.fake
    ada = fake.person("Ada")
    await http.answers(ada, "One?")
    command = await ada.command("/fireside", "ask Two?")
    await command.acknowledged()
    await http.settled()
    for delivery in fake.deliveries:
        if delivery.answer is not None:
            assert (await fake.replay(delivery.answer)).status == 401
    again = [fake.replay(command.answer) for _ in range(3) if command.answer]
    assert [answer.status for answer in await asyncio.gather(*again)] == [401] * 3
    await http.settled()
    assert http.asked == ["One?", "Two?"]


async def test_of_the_same_request_twice_at_once_one_is_let_in(http: Bot):
    fake = http.fake
    event = fake.event({"type": "app_home_opened", "user": fake.person("Ada").id, "channel": "D1", "tab": "home"})
    answers = await asyncio.gather(*(fake.post(url_of(http), event) for _ in range(3)))
    assert sorted(answer.status for answer in answers) == [200, 401, 401]


async def test_slack_s_own_second_try_is_acknowledged_and_not_answered_again(http: Bot):
    fake = http.fake
    await http.answers(fake.person("Ada"), "One?")
    first = next(d.answer for d in fake.deliveries if d.answer is not None)
    first.headers.update({"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"})
    assert (await fake.replay(first)).status == 200
    await http.settled()
    assert http.asked == ["One?"]


async def test_a_port_that_is_taken_is_one_sentence(fake: FakeSlack, tmp_path: Path):
    store = await Store.open(tmp_path / FILE)
    client = client_of(settings_for(fake, tmp_path), fake.bot_token)
    host = Host(Scripted(), store)  # type: ignore[arg-type]
    bot = SlackBot(app_of(client, Tokens(fake.bot_token, "", "x")), host, store, tmp_path, me="U1", team="T1")
    try:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"Can't listen at 127.0.0.1:{port} .*FIRESIDE_SLACK_PORT"):
                async with listening(bot, "127.0.0.1", port):
                    pass
        with pytest.raises(FiresideError, match=r"Can't listen at nowhere\.invalid:0"):
            async with listening(bot, "nowhere.invalid", 0):
                pass
    finally:
        await store.close()


async def test_health_follows_the_connection(bot: Bot):
    assert "platform" not in bot.health.lacking
    bot.fake.fail("apps.connections.open", times=99, status=503)
    await bot.fake.drop()
    await bot.fake.until(lambda: "platform" in bot.health.lacking)
    assert "the connection to Slack broke" in bot.health.lacking["platform"]
    bot.fake.web.faults.clear()
    await bot.fake.connected(timeout=15)
    assert text_in(await bot.answers(bot.fake.person("Ada"), "Back?"))
    assert "platform" not in bot.health.lacking
