"""Runs the bot on Discord: from the token to the last reply before it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.discord.client import FiresideClient, ShardedClient
from bot.running import running, until
from persona.errors import ConfigError, FiresideError
from persona.pipeline import Fireside
from persona.settings import Settings

log = logging.getLogger("fireside.discord")
RESTART = 5.0
PORTAL = "https://discord.com/developers/applications"
NO_TOKEN = (
    "There is no Discord token. Copy it from the developer portal "
    f"({PORTAL}, your application, Bot, Reset Token) and set DISCORD_TOKEN to it."
)
BAD_TOKEN = (
    "Discord refuses the token in DISCORD_TOKEN. Copy it anew from the developer portal "
    f"({PORTAL}, your application, Bot, Reset Token)."
)
NO_CONTENT = (
    "The message-content intent is off, so only mentions, DMs and commands are answered. To go on in threads without a "
    f"mention, switch on Message Content Intent in the developer portal ({PORTAL}, your application, Bot)."
)


class OneLine(logging.Formatter):
    """Log lines for a person: an exception is its name and message, never a traceback."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 (logging's name)
        """The exception in one line."""
        error: object = ei[1]
        return f"  {type(error).__name__}: {error}"


def check_token(settings: Settings) -> str:
    """The token; ConfigError where there is none."""
    token = settings.discord_token.get_secret_value().strip() if settings.discord_token else ""
    if not token:
        raise ConfigError(NO_TOKEN)
    return token


def point_at(settings: Settings) -> None:
    """Has the library talk to the servers that the settings name; without any its own stand untouched."""
    if settings.discord_api_url:
        Route.BASE = settings.discord_api_url.rstrip("/")
    if settings.discord_gateway_url:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(settings.discord_gateway_url)


def run(settings: Settings, fireside: Fireside, personas: Callable[[str], Fireside] | None = None) -> None:
    """Answers on Discord until SIGINT or SIGTERM. FiresideError: no or a wrong token, no connection, no store."""
    token = check_token(settings)
    set_up_log()
    point_at(settings)
    asyncio.run(serve(settings, fireside, token, personas))


def set_up_log() -> None:
    """What happens goes to stderr, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(message)s", "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fireside").setLevel(logging.INFO)
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # the bot has no voice


async def serve(
    settings: Settings, fireside: Fireside, token: str, personas: Callable[[str], Fireside] | None = None
) -> None:
    """See `run`, in an event loop."""
    kind = ShardedClient if settings.discord_sharded else FiresideClient
    async with running(settings, fireside, personas) as (host, store, stop):
        await keep_running(lambda content: kind(host, store, settings.data_dir, content=content), token, stop)


async def keep_running(make: Callable[[bool], FiresideClient], token: str, stop: asyncio.Event) -> None:
    """Connects until `stop` is set: without the message-content intent where Discord refuses that, and anew where the
    library gave up. FiresideError where no new try would help."""
    content, connected = True, False
    while not stop.is_set():
        client = make(content)
        try:
            task = asyncio.create_task(client.start(token))
            await until(stop, task, client.desk.drain, lambda client=client: _quietly(client.close))
        except discord.PrivilegedIntentsRequired:
            if not content:
                raise FiresideError(
                    f"Discord refuses the intents. Look at Bot in the developer portal ({PORTAL})."
                ) from None
            log.warning(NO_CONTENT)
            content = False
            continue
        except discord.LoginFailure:
            raise ConfigError(BAD_TOKEN) from None
        except discord.ConnectionClosed as exc:
            if exc.code == 4004:
                raise ConfigError(BAD_TOKEN) from None
            log.warning(f"Discord closed the connection ({exc.code}).")
        except (aiohttp.ClientError, OSError, discord.HTTPException, discord.GatewayNotFound) as exc:
            if not (connected or client.is_ready()):
                raise FiresideError(
                    f"Can't reach Discord at {Route.BASE}: {_reason(exc)}. Check the connection, and "
                    "FIRESIDE_DISCORD_API_URL if you set it."
                ) from None
            log.warning(f"The connection to Discord broke: {_reason(exc)}.")
        except FiresideError:
            raise
        except Exception as exc:
            # An event that the library can't read ends its connection.
            log.error("The connection ended by a mistake.", exc_info=exc)
        if stop.is_set():
            return
        connected = True
        log.warning(f"Connecting again in {RESTART:.0f} s.")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), RESTART)


async def _quietly(close: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(aiohttp.ClientError, OSError, AttributeError):
        await close()


def _reason(exc: Exception) -> str:
    return str(exc).strip().rstrip(".") or type(exc).__name__
