"""`/settings`: menus by which admins choose how the bot behaves in a server or channel. Each choice holds at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import discord

from bot.administration import CHANNELS, ROLES, TITLES, USERS, Menu, Scope, change, menus, summary
from bot.desk import NOT_STORED
from bot.discord import rendering
from bot.discord.delivery import Part, ToInteraction, deferred
from bot.store import PlaceSettings
from bot.text import label
from persona.errors import InputError, StoreError

if TYPE_CHECKING:
    from bot.discord.client import FiresideClient

log = logging.getLogger("fireside.discord")
PLATFORM = "discord"
MOST = 25  # values of a menu
WHOLE = "0"  # the server, where a channel would stand
ADMINS_ONLY = "Only members who may manage this server change its settings."
Page = Literal["how", "where", "who"]
PAGES: Mapping[str, Page] = {"how": "how", "where": "where", "who": "who"}


async def panel(client: FiresideClient, scope: Scope, page: Page = "how") -> Part:
    """The settings that hold, with menus to change them. StoreError."""
    settings = await client.desk.store.place(PLATFORM, *scope)
    view = discord.ui.View(timeout=None)
    if page == "how":
        for menu in menus(client.desk.host, settings):
            view.add_item(_menu(scope, menu))
    elif page == "where":
        for key in CHANNELS:
            view.add_item(_channels(scope, key, getattr(settings, key)))
    else:
        for key in ROLES:
            view.add_item(_roles(scope, key, getattr(settings, key)))
        view.add_item(_users(scope, settings.blocked_users))
    for item in _buttons(scope, page, settings):
        view.add_item(item)
    view.stop()
    where = f"in <#{scope.channel}>" if scope.channel else "in this server"
    return Part(f"**How I behave {where}**\n{_summary(settings)}", view=view)


async def act(client: FiresideClient, interaction: discord.Interaction[Any], value: str) -> None:
    """Acts on a menu or button of the panel."""
    channel, _, key = value.partition(":")
    if interaction.guild_id is None:
        return
    if not interaction.permissions.manage_guild:
        refused = ToInteraction(interaction, private=True)
        await refused.accept()
        await refused.finish([Part(ADMINS_ONLY)])
        return
    await deferred(interaction)
    scope = Scope(str(interaction.guild_id), None if channel == WHOLE else channel)
    values = cast("Sequence[str]", cast("Mapping[str, Any]", interaction.data or {}).get("values", ()))
    outlet = ToInteraction(interaction, private=True)
    try:
        if key not in PAGES:
            await change(client.desk.host, client.desk.store, PLATFORM, scope, key, values)
        await outlet.finish([await panel(client, scope, _page(key))])
    except InputError as exc:
        await outlet.finish([Part(rendering.neutral(str(exc)))])
    except StoreError as exc:
        log.warning(str(exc))
        await outlet.finish([Part(NOT_STORED)])


def _page(key: str) -> Page:
    """The page to show after a menu or button."""
    if key in CHANNELS:
        return "where"
    return "who" if key in (*ROLES, *USERS) else PAGES.get(key, "how")


def _menu(scope: Scope, menu: Menu) -> discord.ui.Select[Any]:
    options = [discord.SelectOption(label=label(c.label), value=c.value, default=c.chosen) for c in menu.choices[:MOST]]
    return discord.ui.Select(custom_id=_id(scope, menu.key), placeholder=menu.title, options=options)


def _defaults(kind: discord.SelectDefaultValueType, ids: Sequence[str]) -> list[discord.SelectDefaultValue]:
    return [discord.SelectDefaultValue(id=int(number), type=kind) for number in ids[:MOST] if number.isdecimal()]


def _channels(scope: Scope, key: str, ids: Sequence[str]) -> discord.ui.ChannelSelect[Any]:
    chosen = _defaults(discord.SelectDefaultValueType.channel, ids)
    return discord.ui.ChannelSelect(
        custom_id=_id(scope, key), placeholder=TITLES[key], min_values=0, max_values=MOST, default_values=chosen
    )


def _roles(scope: Scope, key: str, ids: Sequence[str]) -> discord.ui.RoleSelect[Any]:
    chosen = _defaults(discord.SelectDefaultValueType.role, ids)
    return discord.ui.RoleSelect(
        custom_id=_id(scope, key), placeholder=TITLES[key], min_values=0, max_values=MOST, default_values=chosen
    )


def _users(scope: Scope, ids: Sequence[str]) -> discord.ui.UserSelect[Any]:
    (key,) = USERS
    chosen = _defaults(discord.SelectDefaultValueType.user, ids)
    return discord.ui.UserSelect(
        custom_id=_id(scope, key), placeholder=TITLES[key], min_values=0, max_values=MOST, default_values=chosen
    )


def _buttons(scope: Scope, page: Page, settings: PlaceSettings) -> Iterable[discord.ui.Button[Any]]:
    def button(key: str, label: str, *, disabled: bool = False) -> discord.ui.Button[Any]:
        return discord.ui.Button(label=label, custom_id=_id(scope, key), disabled=disabled, row=4)

    if scope.channel is None:  # who may ask, and where, is the server's alone
        yield button("how", "How", disabled=page == "how")
        yield button("where", "Where", disabled=page == "where")
        yield button("who", "Who", disabled=page == "who")
    yield button("nobots", "Ignore other bots") if settings.other_bots else button("bots", "Answer other bots too")
    yield button("clear", "As I was started")


def _summary(settings: PlaceSettings) -> str:
    """What holds, a line each; ids as mentions, which ping nobody."""

    def named(ids: Sequence[str], mark: str) -> str:
        return ", ".join(f"<{mark}{number}>" for number in ids[:MOST] if number.isdecimal())

    lines = list(map(rendering.neutral, summary(settings)))
    for key in (*CHANNELS, *ROLES, *USERS):
        mark = "#" if key in CHANNELS else "@&" if key in ROLES else "@"
        if ids := getattr(settings, key):
            lines.append(f"{TITLES[key].partition(' (')[0]}: {named(ids, mark)}")
    return "\n".join(lines)[: rendering.MESSAGE - 100]


def _id(scope: Scope, key: str) -> str:
    return f"fireside:set:{scope.channel or WHOLE}:{key}"
