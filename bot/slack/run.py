"""Runs the bot on Slack: by Socket Mode, or as a web server that Slack posts signed requests to."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import time
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, NamedTuple

from aiohttp import web
from slack_bolt.adapter.aiohttp import to_aiohttp_response, to_bolt_request
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.response import BoltResponse
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bot.monitoring import Health
from bot.running import CLOSE, Parts, running
from bot.slack.bot import SlackBot
from bot.slack.delivery import FAILURES, Client, error_of, persist
from bot.slack.manifest import PATH
from persona.errors import ConfigError, FiresideError
from persona.settings import Settings

log = logging.getLogger("fireside.slack")
APPS = "https://api.slack.com/apps"
PING = 5.0  # seconds between two looks at whether the connection still stands
OLDEST = 5 * 60.0  # seconds that a signed request is taken (Slack's own advice); so long its signature is remembered
NO_BOT_TOKEN = (
    f"There is no Slack bot token. Copy the Bot User OAuth Token (xoxb-…) from {APPS}, your app, OAuth & Permissions, and "
    "set SLACK_BOT_TOKEN to it."
)
NO_APP_TOKEN = (
    f"There is no Slack app token, which Socket Mode takes. Make one (xapp-…) with the scope connections:write at {APPS}, "
    "your app, Basic Information, App-Level Tokens, and set SLACK_APP_TOKEN to it."
)
NO_SECRET = (
    f"There is no signing secret, without which anybody could pose as Slack. Copy it from {APPS}, your app, Basic "
    "Information, and set SLACK_SIGNING_SECRET to it."
)
BAD_BOT_TOKEN = (
    f"Slack refuses the token in SLACK_BOT_TOKEN. Copy the Bot User OAuth Token (xoxb-…) anew from {APPS}, your app, "
    "OAuth & Permissions."
)
BAD_APP_TOKEN = (
    f"Slack refuses the token in SLACK_APP_TOKEN. Make an app-level token (xapp-…) with the scope connections:write at "
    f"{APPS}, your app, Basic Information, App-Level Tokens."
)
SOCKET_OFF = f"Socket Mode is switched off for the app. Switch it on at {APPS}, your app, Socket Mode."


_WRONG_TOKEN = (
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type",
)  # fmt: skip
_NO_SOCKETS = ("socket_mode_not_enabled", "socket_mode_disabled", "link_disabled", "forbidden_team")


class Tokens(NamedTuple):
    """What Slack knows the bot by; of `app` and `secret` the one that the mode takes."""

    bot: str
    app: str
    secret: str


class Identity(NamedTuple):
    """Who the bot is: its user id, its workspace's id and name."""

    user: str
    team: str
    name: str


def check_tokens(settings: Settings) -> Tokens:
    """The tokens that the mode takes; ConfigError where one is missing, or stands in the other's place."""

    def of(secret: Any) -> str:
        return secret.get_secret_value().strip() if secret else ""

    bot, app, secret = map(of, (settings.slack_bot_token, settings.slack_app_token, settings.slack_signing_secret))
    if not bot:
        raise ConfigError(NO_BOT_TOKEN)
    if bot.startswith("xapp-"):
        raise ConfigError(f"SLACK_BOT_TOKEN holds an app token (xapp-…). {NO_BOT_TOKEN.partition('. ')[2]}")
    if settings.slack_mode == "http":
        if not secret:
            raise ConfigError(NO_SECRET)
    elif not app:
        raise ConfigError(NO_APP_TOKEN)
    elif app.startswith("xoxb-"):
        raise ConfigError(f"SLACK_APP_TOKEN holds a bot token (xoxb-…). {NO_APP_TOKEN.partition('. ')[2]}")
    return Tokens(bot, app, secret)


def client_of(settings: Settings, token: str) -> Client:
    """Slack's Web API, at the address that the settings name; without any the library's own."""
    given: dict[str, Any] = {"base_url": settings.slack_api_url} if settings.slack_api_url else {}
    return AsyncWebClient(token=token, timeout=30, retry_handlers=[], **given)


async def who(client: Client) -> Identity:
    """Who the token makes the bot; ConfigError for a wrong token, FiresideError where Slack can't be reached."""
    try:
        found = await persist(client.auth_test, reach=False)
    except FAILURES as exc:
        raise _no_start(exc, client, BAD_BOT_TOKEN) from None
    return Identity(str(found["user_id"]), str(found["team_id"]), str(found.get("team") or found["team_id"]))


async def check_socket(client: Client, app_token: str) -> None:
    """Asks for a connection, as the library will: it would try a wrong token again for ever. ConfigError, FiresideError."""
    try:
        await persist(partial(client.apps_connections_open, app_token=app_token), reach=False)
    except FAILURES as exc:
        if error_of(exc) == "missing_scope":
            raise ConfigError(
                f"The token in SLACK_APP_TOKEN lacks the scope connections:write. {BAD_APP_TOKEN}"
            ) from None
        raise _no_start(exc, client, BAD_APP_TOKEN) from None


def run(parts: Parts) -> None:
    """Answers on Slack until SIGINT or SIGTERM. FiresideError: no or a wrong token, no connection, no store."""
    tokens = check_tokens(parts.settings)
    asyncio.run(serve(parts, tokens))


async def serve(parts: Parts, tokens: Tokens) -> None:
    """See `run`, in an event loop."""
    settings = parts.settings
    client = client_of(settings, tokens.bot)
    me = await who(client)
    if settings.slack_mode == "socket":
        await check_socket(client, tokens.app)
    async with running(parts) as (host, store, stop, health, _):
        bot = SlackBot(app_of(client, tokens), host, store, settings.data_dir, me=me.user, team=me.team)
        left = await bot.left_behind()
        async with connected(settings, bot, tokens, health):
            log.info(f"Connected to the workspace {me.name}.")
            taking_up = asyncio.create_task(bot.take_up(left))
            await stop.wait()
            log.info("Stopping: what is being answered is finished first.")
            await bot.desk.drain()
            taking_up.cancel()
            await asyncio.wait({taking_up})
        await bot.desk.noted()


def app_of(client: Client, tokens: Tokens) -> AsyncApp:
    """The library's app. Socket Mode has no signatures: the connection was made with a token."""
    return AsyncApp(client=client, signing_secret=tokens.secret or "-", logger=_quiet())


@contextlib.asynccontextmanager
async def connected(
    settings: Settings, bot: SlackBot, tokens: Tokens, health: Health, *, ping: float = PING
) -> AsyncGenerator[int | None]:
    """The bot hears of events as long; gives the port in HTTP mode. ConfigError where the port is taken."""
    if settings.slack_mode == "http":
        async with listening(bot, settings.slack_host, settings.slack_port) as port:
            log.info(f"Listening at http://{settings.slack_host}:{port}{PATH}.")
            health.up("platform")
            yield port
        return
    handler: Any = AsyncSocketModeHandler(
        bot.app, tokens.app, web_client=bot.client, ping_interval=ping, logger=_quiet()
    )
    handler.client.on_message_listeners.append(partial(_heard, health))
    # The library takes a server's error here for an answer, and ends in a mistake of its own.
    opened = partial(bot.client.apps_connections_open, app_token=tokens.app)
    try:
        handler.client.wss_uri = str((await persist(opened))["url"])
    except FAILURES as exc:
        raise _no_start(exc, bot.client, BAD_APP_TOKEN) from None
    await handler.connect_async()
    watching = asyncio.create_task(_watch(handler.client, health, ping))
    try:
        yield None
    finally:
        watching.cancel()
        with contextlib.suppress(*FAILURES):  # TimeoutError among them: the other end may be gone
            async with asyncio.timeout(CLOSE):
                await handler.close_async()


@contextlib.asynccontextmanager
async def listening(bot: SlackBot, address: str, port: int) -> AsyncGenerator[int]:
    """Takes Slack's signed requests; gives the port. The library refuses a wrong signature and an old timestamp."""
    app = web.Application(client_max_size=1024 * 1024)
    app.router.add_post(PATH, _Door(bot).enter)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, address, port)
        try:
            await site.start()
        except OSError as exc:
            raise ConfigError(
                f"Can't listen at {address}:{port} ({exc.strerror or exc}). Set FIRESIDE_SLACK_PORT to a free one."
            ) from None
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


class _Door:
    """Lets each signed request in once: one that somebody recorded and sends again is refused."""

    def __init__(self, bot: SlackBot) -> None:
        self._bot = bot
        self._signatures: dict[str, float] = {}

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Passes a request on."""
        signature = request.headers.get("X-Slack-Signature", "")
        now = time.time()
        self._forget(now - 2 * OLDEST)
        if signature in self._signatures:
            # Slack tries again what it had no answer to, maybe within the second that its signature tells apart.
            again = "X-Slack-Retry-Num" in request.headers
            return web.Response(status=200 if again else 401, text="this request came before")
        self._signatures[signature] = now  # before anything is awaited: of two at once, one is let in
        status = 400
        try:
            answer: BoltResponse = await self._bot.listeners.async_dispatch(await to_bolt_request(request))
            status = answer.status
        except (ValueError, LookupError, AttributeError):  # of an unknown encoding, no JSON, or no object
            return web.Response(status=400, text="this is no request of Slack's")
        finally:
            if status in (400, 401):  # nothing was let in
                self._signatures.pop(signature, None)
        return await to_aiohttp_response(answer)

    def _forget(self, before: float) -> None:
        """Drops the signatures that are refused for their age; they stand in the order of arrival."""
        for signature, _ in list(itertools.takewhile(lambda known: known[1] < before, self._signatures.items())):
            del self._signatures[signature]


async def _heard(health: Health, message: Any) -> None:
    if '"hello"' in str(message.data):
        health.up("platform")
    elif '"link_disabled"' in str(message.data) and json.loads(message.data).get("reason") == "link_disabled":
        log.error(SOCKET_OFF)


async def _watch(client: Any, health: Health, pause: float) -> None:
    """Tells of a connection that broke: of one that breaks without a word the library tells nobody."""
    while True:
        if await client.is_connected():
            health.up("platform")
        else:
            health.down("platform", "the connection to Slack broke and is being made anew")
        await asyncio.sleep(pause)


def _no_start(exc: Exception, client: Client, bad_token: str) -> FiresideError:
    error = error_of(exc)
    if error in _WRONG_TOKEN:
        return ConfigError(bad_token)
    if error in _NO_SOCKETS:
        return ConfigError(SOCKET_OFF)
    reason = error if isinstance(exc, SlackApiError) else (str(exc).strip().rstrip(".") or error)
    return FiresideError(
        f"Can't reach Slack at {client.base_url}: {reason}. Check the connection, and FIRESIDE_SLACK_API_URL if you set it."
    )


def _quiet() -> logging.Logger:
    """The library's log: what it tells of payloads is nobody's to read."""
    logger = logging.getLogger("fireside.slack.library")
    logger.setLevel(logging.WARNING)
    return logger
