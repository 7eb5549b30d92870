"""Runs the bot on Discord: from the token to the last reply before it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.discord.client import FiresideClient, ShardedClient
from bot.running import Parts, running, until
from persona.errors import ConfigError, FiresideError
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


def run(parts: Parts) -> None:
    """Answers on Discord until SIGINT or SIGTERM. FiresideError: no or a wrong token, no connection, no store."""
    token = check_token(parts.settings)
    quiet()
    point_at(parts.settings)
    asyncio.run(serve(parts, token))


def quiet() -> None:
    """The library is not to speak of a voice that the bot doesn't have."""
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False


async def serve(parts: Parts, token: str) -> None:
    """See `run`, in an event loop."""
    settings = parts.settings
    kind = ShardedClient if settings.discord_sharded else FiresideClient
    async with running(parts) as (host, store, stop, health, _):

        def connected(there: bool) -> None:
            if there:
                health.up("platform")
            else:
                health.down("platform", "the connection to Discord broke and is being made anew")

        def make(content: bool) -> FiresideClient:
            return kind(host, store, settings.data_dir, content=content, connected=connected)

        await keep_running(make, token, stop)


async def keep_running(make: Callable[[bool], FiresideClient], token: str, stop: asyncio.Event) -> None:
    """Connects until `stop` is set: without the message-content intent where Discord refuses that, and anew where the
    library gave up. FiresideError where no new try would help."""
    content, connected = True, False
    while not stop.is_set():
        client = make(content)
        try:
            task = asyncio.create_task(client.start(token))
            await until(stop, task, client.desk.drain, lambda client=client: _quietly(client.close))
            await client.desk.noted()
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
