"""`/settings`: menus by which admins choose how the bot behaves in a server or channel. Each choice holds at once."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import discord

from bot.discord import rendering
from bot.discord.delivery import Part, ToInteraction, deferred
from bot.host import Host
from bot.store import PlaceSettings
from persona.card import cards
from persona.errors import InputError, StoreError

if TYPE_CHECKING:
    from bot.discord.client import FiresideClient

log = logging.getLogger("fireside.discord")
PLATFORM = "discord"
MOST = 25  # values of a menu
AS_STARTED = "start"
ADMINS_ONLY = "Only members who may manage this server change its settings."
CHANNELS = ("allowed_channels", "blocked_channels")
ROLES = ("allowed_roles", "blocked_roles")
USERS = ("blocked_users",)
Page = Literal["how", "where", "who"]
PAGES: Mapping[str, Page] = {"how": "how", "where": "where", "who": "who"}
TITLES = {
    "allowed_channels": "Channels where I answer (none chosen: all)",
    "blocked_channels": "Channels where I never answer",
    "allowed_roles": "Roles that may ask (none chosen: everybody)",
    "blocked_roles": "Roles that may not ask",
    "blocked_users": "People who may not ask",
}


class Scope(NamedTuple):
    """What is being set: a server, or one channel of it."""

    guild: int
    channel: int | None = None

    @property
    def key(self) -> str:
        """As it stands in the id of a menu."""
        return str(self.channel or 0)


class Choice(NamedTuple):
    """One value that can be chosen."""

    value: str
    label: str
    chosen: bool


async def panel(client: FiresideClient, scope: Scope, page: Page = "how") -> Part:
    """The settings that hold, with menus to change them. StoreError."""
    channel = None if scope.channel is None else str(scope.channel)
    settings = await client.store.place(PLATFORM, str(scope.guild), channel)
    view = discord.ui.View(timeout=None)
    if page == "how":
        for key, title, choices in _choices(client.host, settings):
            view.add_item(_menu(scope, key, title, choices))
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


async def change(client: FiresideClient, interaction: discord.Interaction[Any], value: str) -> None:
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
    scope = Scope(interaction.guild_id, int(channel) or None)
    values = cast("Sequence[str]", cast("Mapping[str, Any]", interaction.data or {}).get("values", ()))
    outlet = ToInteraction(interaction, private=True)
    try:
        page = await _set(client, scope, key, values)
        await outlet.finish([await panel(client, scope, page)])
    except InputError as exc:
        await outlet.finish([Part(rendering.neutral(str(exc)))])
    except StoreError as exc:
        log.warning(str(exc))
        await outlet.finish([Part("That could not be stored, so nothing has changed. Please try again later.")])


async def _set(client: FiresideClient, scope: Scope, key: str, values: Sequence[str]) -> Page:
    """Stores a change; the page to show next."""
    if key in PAGES:
        return PAGES[key]
    changes: dict[str, Any] = {}
    first = values[0] if values else AS_STARTED
    page: Page = "how"
    if key in (*CHANNELS, *ROLES, *USERS):
        changes[key] = tuple(values) or None
        page = "where" if key in CHANNELS else "who"
    elif key in ("answers", "voice", "persona"):
        changes[key] = None if first == AS_STARTED else first
    elif key == "risk":
        changes[key] = None if first == AS_STARTED else _certified(client.host, first)
    elif key in ("bots", "nobots"):
        changes["other_bots"] = key == "bots"
    elif key == "clear":
        await client.store.save_place(PLATFORM, str(scope.guild), _channel(scope), PlaceSettings())
        return "how"
    if changes.get("persona"):
        _known(client.host, changes["persona"])
    await client.store.change_place(PLATFORM, str(scope.guild), _channel(scope), **changes)
    return page


def _certified(host: Host, text: str) -> float:
    """The risk, if it is one that is certified."""
    risk = next((level for level in host.risks() if f"{level:g}" == text), None)
    if risk is None:
        raise InputError(f"The risk {text} is not certified (any more). Open /settings anew.")
    return risk


def _known(host: Host, name: str) -> None:
    if name not in _personas(host):
        raise InputError(f"There is no persona '{name}'. Open /settings anew.")


def _personas(host: Host) -> list[str]:
    own = host.fireside.card.id
    return [own, *(name for name in cards() if name != own)]


def _choices(host: Host, settings: PlaceSettings) -> Iterable[tuple[str, str, list[Choice]]]:
    """The menus of single values: key, title, choices."""
    threads = settings.answers == "threads"
    yield (
        "answers",
        "When I answer",
        [
            Choice("threads", "Mentions, and without one in threads that I take part in", threads),
            Choice("mentions", "Mentions only", not threads),
        ],
    )
    voices = [("quotes", "Voice: quotations only")]
    if host.fireside.writer is not None:
        voices.append(("model", "Voice: the chat model"))
    yield "voice", "Voice", _or_as_started("Voice", settings.voice, voices)
    risks = [(f"{risk:g}", f"Risk: {risk:.0%} certified") for risk in host.risks()]
    if risks:
        chosen = None if settings.risk is None else f"{settings.risk:g}"
        yield "risk", "Risk", _or_as_started("Risk", chosen, risks)
    names = _personas(host)
    if len(names) > 1:
        named = [(name, f"Persona: {name}") for name in names]
        yield "persona", "Persona", _or_as_started("Persona", settings.persona, named)


def _or_as_started(what: str, chosen: str | None, values: Iterable[tuple[str, str]]) -> list[Choice]:
    rows = [Choice(value, label, value == chosen) for value, label in values][: MOST - 1]
    return [Choice(AS_STARTED, f"{what}: as I was started", not any(r.chosen for r in rows)), *rows]


def _menu(scope: Scope, key: str, title: str, choices: Sequence[Choice]) -> discord.ui.Select[Any]:
    options = [discord.SelectOption(label=rendering.label(c.label), value=c.value, default=c.chosen) for c in choices]
    return discord.ui.Select(custom_id=_id(scope, key), placeholder=title, options=options)


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

    lines = [
        "Answers mentions" + (", and goes on in its threads." if settings.answers == "threads" else " only."),
        f"Voice: {settings.voice or 'as started'} · risk: "
        + (f"{settings.risk:.0%}" if settings.risk else "as started")
        + f" · persona: {rendering.neutral(settings.persona) if settings.persona else 'as started'}",
        "Other bots: " + ("answered" if settings.other_bots else "ignored"),
    ]
    for key in (*CHANNELS, *ROLES, *USERS):
        mark = "#" if key in CHANNELS else "@&" if key in ROLES else "@"
        if ids := getattr(settings, key):
            lines.append(f"{TITLES[key].partition(' (')[0]}: {named(ids, mark)}")
    return "\n".join(lines)[: rendering.MESSAGE - 100]


def _id(scope: Scope, key: str) -> str:
    return f"fireside:set:{scope.key}:{key}"


def _channel(scope: Scope) -> str | None:
    return None if scope.channel is None else str(scope.channel)
