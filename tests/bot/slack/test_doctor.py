from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.commands import app
from bot.doctor import Check
from bot.slack.doctor import examine_with, scopes
from bot.slack.manifest import EVENTS, SCOPES
from bot.slack.run import Tokens, client_of
from tests.bot.slack.running import settings_for
from tests.slack_fake import FakeSlack

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


async def checked(fake: FakeSlack, *, socket: bool = True, bot: str = "", app: str = "") -> dict[str, Check]:
    tokens = Tokens(bot or fake.bot_token, app or fake.app_token, fake.signing_secret)
    client = client_of(settings_for(fake, Path()), tokens.bot)
    return {check.what: check async for check in examine_with(client, tokens, socket=socket)}


async def test_where_all_is_there_it_says_so_and_hints_at_the_events():
    async with FakeSlack(scopes=SCOPES) as fake:
        found = await checked(fake)
        assert {what: check.state for what, check in found.items()} == {
            "bot token": "ok",
            "scopes": "ok",
            "app token": "ok",
            "events": "note",
        }
        assert all(event in found["events"].says for event in EVENTS)
        assert "Harbour" in found["bot token"].says


async def test_a_missing_scope_is_named_with_what_it_is_for_and_what_to_click():
    async with FakeSlack(scopes=set(SCOPES) - {"files:write"}) as fake:
        check = (await checked(fake))["scopes"]
        assert check.state == "problem"
        assert "files:write (to pictures of quotations, exports)" in check.says
        assert "OAuth & Permissions, Bot Token Scopes, then Reinstall to Workspace" in check.says


async def test_more_scopes_than_needed_are_noted():
    async with FakeSlack(scopes=[*SCOPES, "channels:join"]) as fake:
        check = (await checked(fake))["scopes"]
        assert (check.state, check.says.endswith("channels:join")) == ("note", True)


def test_scopes_are_compared_as_sets():
    assert scopes(set(SCOPES)).state == "ok"
    assert scopes(set()).state == "problem"


async def test_a_wrong_bot_token_is_said_and_nothing_else():
    async with FakeSlack() as fake:
        found = await checked(fake, bot="xoxb-wrong")
        assert list(found) == ["bot token"]
        assert "Slack refuses the token in SLACK_BOT_TOKEN" in found["bot token"].says


async def test_a_wrong_app_token_is_said():
    async with FakeSlack() as fake:
        assert "Slack refuses the token in SLACK_APP_TOKEN" in (await checked(fake, app="xapp-wrong"))["app token"].says
        fake.fail("apps.connections.open", error="missing_scope")
        assert "lacks the scope connections:write" in (await checked(fake))["app token"].says
        fake.fail("apps.connections.open", error="socket_mode_disabled")
        assert "Socket Mode is switched off" in (await checked(fake))["app token"].says


async def test_tokens_of_two_apps_are_told_apart():
    async with FakeSlack() as fake:
        fake.app_id = "A0ANOTHER"
        check = (await checked(fake))["app token"]
        assert "it is another app's than the bot token. Make one (xapp-…)" in check.says


async def test_without_users_read_the_app_token_is_not_compared():
    async with FakeSlack(scopes=set(SCOPES) - {"users:read"}) as fake:
        assert (await checked(fake))["app token"].state == "ok"


async def test_http_mode_needs_a_secret_instead_of_an_app_token():
    async with FakeSlack(scopes=SCOPES) as fake:
        found = await checked(fake, socket=False)
        assert "signing secret" in found
        assert not fake.called("apps.connections.open")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "There is no Slack bot token. Copy the Bot User OAuth Token (xoxb-…) from"),
        ({"SLACK_BOT_TOKEN": "xapp-x"}, "SLACK_BOT_TOKEN holds an app token (xapp-…)."),
        ({"SLACK_BOT_TOKEN": "xoxb-x"}, "There is no Slack app token, which Socket Mode takes."),
        ({"SLACK_BOT_TOKEN": "xoxb-x", "SLACK_APP_TOKEN": "xoxb-x"}, "SLACK_APP_TOKEN holds a bot token (xoxb-…)."),
        ({"SLACK_BOT_TOKEN": "xoxb-x", "FIRESIDE_SLACK_MODE": "http"}, "There is no signing secret"),
    ],
)
def test_the_command_names_the_token_that_is_missing(environment: dict[str, str], says: str):
    given = {"SLACK_BOT_TOKEN": "", "SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": "", **environment}
    result = CliRunner().invoke(app, ["doctor", "slack"], env=given)
    assert result.exit_code == 1
    assert says in result.stdout
    assert "1 problem found." in result.stderr
