from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from slack_sdk.web.async_client import AsyncWebClient
from typer.testing import CliRunner

from bot.commands import app
from bot.slack.manifest import EVENTS, SCOPES, manifest, printed
from bot.slack.views import ABOUT, SEARCH
from persona.errors import InputError
from tests.bot.scripted import Scripted
from tests.bot.slack.running import running, whole
from tests.slack_fake import FakeSlack
from tests.slack_fake.manifest import EVENT_SCOPES
from tests.slack_fake.web import METHODS

TALKS = ["A talk", "Another: “one”"]


@functools.cache
def printed_by(*arguments: str) -> Mapping[str, Any]:
    result = CliRunner().invoke(app, ["slack", "manifest", *arguments])
    assert result.exit_code == 0, result.stderr
    return yaml.safe_load(result.stdout)


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.parametrize("url", [None, "https://bot.example.org/"])
@pytest.mark.parametrize(
    ("name", "disclosure", "talks"),
    [("Fireside", "An unofficial bot.", TALKS), ("A long name " * 9, "Word " * 2000, ["T" * 500]), ("x", "x", [])],
)
async def test_slack_takes_the_manifest(url: str | None, name: str, disclosure: str, talks: list[str]):
    async with FakeSlack() as fake:
        client = AsyncWebClient(token=fake.config_token, base_url=fake.api_url)
        made = json.dumps(manifest(name, disclosure, talks, url=url))
        assert (await client.apps_manifest_validate(manifest=made))["ok"]


def test_socket_mode_needs_no_address_and_http_mode_has_it_everywhere():
    here, there = printed_by(), printed_by("--url", "https://bot.example.org/")
    assert here["settings"]["socket_mode_enabled"] is True
    assert "https://bot" not in json.dumps(here)
    address = "https://bot.example.org/slack/events"
    assert there["settings"]["socket_mode_enabled"] is False
    assert there["settings"]["event_subscriptions"]["request_url"] == address
    assert there["settings"]["interactivity"]["request_url"] == address
    assert there["settings"]["interactivity"]["message_menu_options_url"] == address
    assert there["features"]["slash_commands"][0]["url"] == address


def test_yaml_says_the_same_as_json():
    assert printed_by() == printed_by("--yaml")
    hostile = manifest("a: b # c", "- 'x' \"y\"\n{z} ünï\u2028😀", ["yes", "null", "1"])
    assert yaml.safe_load(printed(hostile, "yaml")) == json.loads(printed(hostile, "json"))


def test_an_address_that_slack_can_not_reach_is_refused():
    with pytest.raises(InputError, match="begins with https://"):
        manifest("x", "x", [], url="http://localhost:3000")
    result = CliRunner().invoke(app, ["slack", "manifest", "--url", "localhost"])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


@pytest.mark.allow_hosts(["127.0.0.1"])
async def test_it_has_exactly_the_scopes_and_events_that_the_features_use(tmp_path: Path):
    made = manifest("Fireside", "An unofficial bot.", TALKS)
    assert isinstance(made, Mapping)
    granted = {"scopes": SCOPES, "subscriptions": EVENTS, "shortcuts": (ABOUT, SEARCH)}
    async with FakeSlack(**granted) as fake, running(fake, Scripted(pieces=("One ", "two ")), tmp_path) as bot:
        for _ in range(40):
            bot.fireside.next_piece.release()
        ada, bob = fake.person("Ada"), fake.person("Bob")
        rooms = (fake.general, fake.channel("quiet", private=True), fake.group_dm(ada, bob), ada.dm)
        for room in rooms:  # each kind of conversation, and what was said in it before
            root = await bot.mentioned(ada, f"What does {bob.mention} say?", room)
            await fake.reply_to(root, done=whole)
            await ada.say(room, "And then?", thread=root)
            await fake.until(lambda root=root: len([m for m in root.replies if whole(m)]) == 2)
        private = await bot.told(ada, "ask What is a lamp?")
        assert whole(private)
        await bot.clicked(ada, await bot.told(ada, "quote lamps"), "picture:dark")
        await bot.clicked(ada, private, "opinion", "positive")
        await ada.opens_agent()
        await ada.opens_home()
        await fake.until(lambda: fake.home(ada))
        home = fake.home(ada)
        assert home is not None
        await (await ada.click(home, "fireside:home:export")).acknowledged()
        await fake.until(lambda: any(f.name.endswith(".json") for m in bot.said(ada.dm) for f in m.files))
        while bot.fireside.next_piece._value:
            await bot.fireside.next_piece.acquire()
        stopped = await bot.mentioned(ada, "Stop?")
        await fake.until(lambda: any(m.stream == "streaming" for m in stopped.replies))
        await ada.stop(stopped)
        await bot.settled()
        assert not [call for call in fake.calls if call.error == "missing_scope"]
        told = {
            d.payload["event"]["type"] + _kind(d.payload["event"]) for d in fake.deliveries if d.kind == "events_api"
        }
        assert told == set(EVENTS)
        assert _used(fake) | {EVENT_SCOPES[event] for event in told} - {""} | {"commands"} == set(SCOPES)


def _kind(event: Mapping[str, Any]) -> str:
    kinds = {"channel": ".channels", "group": ".groups", "im": ".im", "mpim": ".mpim"}
    return kinds[event["channel_type"]] if event["type"] == "message" else ""


def _used(fake: FakeSlack) -> set[str]:
    """The scopes that the bot's calls took; of those that any one will do, the granted ones."""
    used: set[str] = set()
    for call in fake.calls:
        scopes = METHODS[call.method].scopes.split() if call.method in METHODS else []
        if call.token != "bot" or call.error:
            continue
        for scope in scopes:
            channel = fake.world.channels.get(str(call["channel"] or ""))
            kinds = {"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}
            named = scope.replace("KIND", kinds[channel.kind] if channel else "")
            if call.method == "conversations.open" and named == "mpim:write":
                continue
            used |= {named} & set(SCOPES)
    return used
