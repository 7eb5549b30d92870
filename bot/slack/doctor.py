"""`fireside doctor slack`: what the bot needs on Slack's side, and what to click where it is missing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from bot.doctor import Check
from bot.logs import set_up
from bot.slack.delivery import FAILURES, Client
from bot.slack.manifest import EVENTS, SCOPES
from bot.slack.run import APPS, NO_APP_TOKEN, Tokens, check_socket, check_tokens, client_of, who
from persona.errors import FiresideError
from persona.settings import Settings

EVENTS_HINT = (
    f"Slack doesn't tell a bot which events it gets. At {APPS}, your app, Event Subscriptions, Subscribe to bot events, "
    f"there have to be: {', '.join(EVENTS)}. Or put the output of `fireside slack manifest` into App Manifest."
)


def examine(load: Callable[[], Settings]) -> Iterator[Check]:
    """Each check of what Slack knows; what needs something that is broken is left out."""
    try:
        settings = load()
        tokens = check_tokens(settings)
    except FiresideError as exc:
        yield Check("token", "problem", str(exc))
        return
    set_up(settings)
    yield from asyncio.run(_all(settings, tokens))


async def _all(settings: Settings, tokens: Tokens) -> list[Check]:
    client = client_of(settings, tokens.bot)
    return [check async for check in examine_with(client, tokens, socket=settings.slack_mode == "socket")]


async def examine_with(client: Client, tokens: Tokens, *, socket: bool) -> AsyncGenerator[Check]:
    """The checks that ask Slack, inside an event loop; `socket`: the bot runs in Socket Mode."""
    try:
        me = await who(client)
    except FiresideError as exc:
        yield Check("bot token", "problem", str(exc))
        return
    yield Check("bot token", "ok", f"it is the bot {me.user}'s, in the workspace {me.name}")
    answer: Any = await client.auth_test()
    headers = {str(name).lower(): str(value) for name, value in dict(answer.headers).items()}
    listed = headers.get("x-oauth-scopes")
    if listed is None:
        yield Check("scopes", "note", f"Slack doesn't say which there are. There have to be: {', '.join(SCOPES)}")
    else:
        yield scopes({scope.strip() for scope in listed.split(",") if scope.strip()})
    if socket:
        yield await _app_token(client, tokens.app, str(answer.get("bot_id") or ""))
    else:
        yield Check("signing secret", "ok", "it is set; whether it is the right one shows with the first request")
    yield Check("events", "note", EVENTS_HINT)


async def _app_token(client: Client, token: str, bot: str) -> Check:
    """Whether Socket Mode takes the app token, and it is of the same app as the bot token."""
    try:
        await check_socket(client, token)
    except FiresideError as exc:
        return Check("app token", "problem", str(exc))
    with contextlib.suppress(*FAILURES, KeyError):  # without users:read, or from a Slack that doesn't tell
        of_token = str((await client.auth_test(token=token))["app_id"])
        of_bot = str((await client.bots_info(bot=bot))["bot"]["app_id"])
        if of_token != of_bot:
            return Check(
                "app token", "problem", f"it is another app's than the bot token. {NO_APP_TOKEN.partition('. ')[2]}"
            )
    return Check("app token", "ok", "Socket Mode takes it")


def scopes(granted: set[str]) -> Check:
    """Whether the app has what its features need."""
    missing = sorted(set(SCOPES) - granted)
    if missing:
        lacks = "; ".join(f"{scope} (to {SCOPES[scope]})" for scope in missing)
        click = f"Add that at {APPS}, your app, OAuth & Permissions, Bot Token Scopes, then Reinstall to Workspace."
        return Check("scopes", "problem", f"the app lacks {lacks}. {click}")
    more = sorted(granted - set(SCOPES))
    if more:
        return Check("scopes", "note", f"all that is needed is there, and more than that: {', '.join(more)}")
    return Check("scopes", "ok", f"exactly the {len(SCOPES)} that the features need")
