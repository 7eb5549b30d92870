"""`fireside doctor discord`: what the bot needs on Discord's side, and what to click where it is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import discord
from discord.http import Route

from bot.discord.commands import Commands, registered
from bot.discord.run import BAD_TOKEN, NO_CONTENT, PORTAL, check_token, point_at, quiet
from bot.doctor import Check
from bot.logs import set_up
from persona.card import load_card
from persona.errors import FiresideError
from persona.settings import Settings

if TYPE_CHECKING:
    from bot.discord.client import FiresideClient

NEEDED = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    embed_links=True,
    attach_files=True,
    read_message_history=True,
)
SHOWN = 10  # servers


def examine(load: Callable[[], Settings]) -> Iterator[Check]:
    """Each check of what Discord knows; what needs something that is broken is left out."""
    try:
        settings = load()
        token = check_token(settings)
        card = load_card(settings.persona)
    except FiresideError as exc:
        yield Check("token", "problem", str(exc))
        return
    set_up(settings)
    quiet()
    point_at(settings)
    yield from asyncio.run(_all(token, card.disclosure))


async def _all(token: str, disclosure: str) -> list[Check]:
    return [check async for check in examine_with(token, disclosure)]


async def examine_with(token: str, disclosure: str) -> AsyncGenerator[Check]:
    """The checks that ask Discord, by a token, inside an event loop; `disclosure` is what the bot's profile should say."""
    async with discord.Client(intents=discord.Intents.none()) as client:
        try:
            await client.login(token)
        except discord.LoginFailure:
            yield Check("token", "problem", BAD_TOKEN)
            return
        except (discord.HTTPException, aiohttp.ClientError, OSError) as exc:
            where = f"Can't reach Discord at {Route.BASE}: {exc}. Check the connection"
            yield Check("token", "problem", f"{where}, and FIRESIDE_DISCORD_API_URL if you set it.")
            return
        yield Check("token", "ok", f"it is {client.user}'s")
        yield intents(client.application_flags)
        yield profile(client.application.description if client.application else "", disclosure)
        if client.application is not None and client.application.interactions_endpoint_url:
            yield Check(
                "commands",
                "problem",
                "they are sent to a web address instead of the bot. Empty Interactions Endpoint URL in the developer "
                f"portal ({PORTAL}, your application, General Information).",
            )
        yield await _commands(client)
        for check in await _servers(client):
            yield check


def intents(flags: discord.ApplicationFlags) -> Check:
    """Whether the bot may read messages that don't mention it."""
    if flags.gateway_message_content or flags.gateway_message_content_limited:
        return Check("message content", "ok", "the intent is on: threads go on without a mention")
    return Check("message content", "note", NO_CONTENT)


def profile(description: str, disclosure: str) -> Check:
    """Whether the bot's profile says what it is."""
    if disclosure in description:
        return Check("profile", "ok", "it says what the bot is")
    where = f"Description in the developer portal ({PORTAL}, your application, General Information)"
    return Check("profile", "note", f"it doesn't say what the bot is. Put this into {where}: {disclosure}")


def permissions(guild: Mapping[str, Any]) -> Check:
    """Whether the bot's roles let it answer in a server, whatever single channels say."""
    has = discord.Permissions(int(guild.get("permissions", 0)))
    what = f"server '{guild.get('name')}'"
    missing = [name.replace("_", " ").title() for name in _missing(has)]
    if missing:
        click = "Server Settings, Roles, the bot's role, Permissions"
        return Check(what, "problem", f"the bot lacks {', '.join(missing)} there. Switch that on: {click}.")
    return Check(what, "ok", "the bot may read, answer, and show cards")


def _missing(has: discord.Permissions) -> Iterable[str]:
    return () if has.administrator else (name for name, needed in NEEDED if needed and not getattr(has, name))


async def _commands(client: discord.Client) -> Check:
    tree = Commands(cast("FiresideClient", client)).tree
    try:
        there = await registered(tree)
    except discord.HTTPException as exc:
        return Check("commands", "problem", f"Discord doesn't say which are registered: {exc.text or exc.status}.")
    if there:
        return Check("commands", "ok", "registered, and the same as here")
    return Check("commands", "note", "not registered yet, or others than here. `fireside discord` registers them.")


async def _servers(client: discord.Client) -> list[Check]:
    invite = discord.utils.oauth_url(
        client.application_id or 0, permissions=NEEDED, scopes=("bot", "applications.commands")
    )
    try:
        guilds = cast("list[Mapping[str, Any]]", await client.http.get_guilds(200))
    except discord.HTTPException as exc:
        return [Check("servers", "problem", f"Discord doesn't say where the bot is: {exc.text or exc.status}.")]
    if not guilds:
        return [Check("servers", "note", f"the bot is in none yet. Open {invite} and choose one.")]
    checks = [permissions(guild) for guild in guilds]
    bad = [check for check in checks if check.state == "problem"]
    good = [check for check in checks if check.state == "ok"]
    rest = len(good) - SHOWN
    return [*bad, *good[:SHOWN], *([Check("servers", "ok", f"and {rest} more")] if rest > 0 else [])]
