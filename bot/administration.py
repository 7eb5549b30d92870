"""How admins choose what the bot does in a place: which settings there are, what may be chosen, and what a choice stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from bot.host import Host
from bot.store import PlaceSettings, Store
from persona.card import cards
from persona.errors import InputError

AS_STARTED = "start"
CHANNELS = ("allowed_channels", "blocked_channels")
ROLES = ("allowed_roles", "blocked_roles")
USERS = ("blocked_users",)
TITLES = {
    "allowed_channels": "Channels where I answer (none chosen: all)",
    "blocked_channels": "Channels where I never answer",
    "allowed_roles": "Roles that may ask (none chosen: everybody)",
    "blocked_roles": "Roles that may not ask",
    "blocked_users": "People who may not ask",
}


class Scope(NamedTuple):
    """What is being set: a server or workspace, or one channel of it."""

    place: str
    channel: str | None = None


class Choice(NamedTuple):
    """One value that can be chosen."""

    value: str
    label: str
    chosen: bool


class Menu(NamedTuple):
    """A setting of which one value is chosen."""

    key: str
    title: str
    choices: list[Choice]


def menus(host: Host, settings: PlaceSettings) -> Iterator[Menu]:
    """The settings of single values; of the risk only levels that are certified."""
    threads = settings.answers == "threads"
    yield Menu(
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
    yield Menu("voice", "Voice", _or_as_started("Voice", settings.voice, voices))
    risks = [(f"{risk:g}", f"Risk: {risk:.0%} certified") for risk in host.risks()]
    if risks:
        chosen = None if settings.risk is None else f"{settings.risk:g}"
        yield Menu("risk", "Risk", _or_as_started("Risk", chosen, risks))
    names = _personas(host)
    if len(names) > 1:
        named = [(name, f"Persona: {name}") for name in names]
        yield Menu("persona", "Persona", _or_as_started("Persona", settings.persona, named))


async def change(host: Host, store: Store, platform: str, scope: Scope, key: str, values: Sequence[str]) -> None:
    """Stores a choice, effective at once; "clear" takes all of a scope's back. InputError where it can't be chosen (any
    more), StoreError."""
    if key == "clear":
        await store.save_place(platform, *scope, PlaceSettings())
        return
    changes: dict[str, Any] = {}
    first = values[0] if values else AS_STARTED
    if key in (*CHANNELS, *ROLES, *USERS):
        changes[key] = tuple(values) or None
    elif key in ("bots", "nobots"):
        changes["other_bots"] = key == "bots"
    elif key in ("answers", "voice", "persona", "risk"):
        changes[key] = None if first == AS_STARTED else first
    if changes.get("risk"):
        changes["risk"] = _certified(host, first)
    if changes.get("persona") and first not in _personas(host):
        raise InputError(f"There is no persona '{first}'. Open the settings anew.")
    await store.change_place(platform, *scope, **changes)


def summary(settings: PlaceSettings) -> list[str]:
    """What holds, a line each; not who may ask, and where."""
    return [
        "Answers mentions" + (", and goes on in its threads." if settings.answers == "threads" else " only."),
        f"Voice: {settings.voice or 'as started'} · risk: "
        + (f"{settings.risk:.0%}" if settings.risk else "as started")
        + f" · persona: {settings.persona or 'as started'}",
        "Other bots: " + ("answered" if settings.other_bots else "ignored"),
    ]


def _certified(host: Host, text: str) -> float:
    risk = next((level for level in host.risks() if f"{level:g}" == text), None)
    if risk is None:
        raise InputError(f"The risk {text} is not certified (any more). Open the settings anew.")
    return risk


def _personas(host: Host) -> list[str]:
    own = host.fireside.card.id
    return [own, *(name for name in cards() if name != own)]


def _or_as_started(what: str, chosen: str | None, values: Iterable[tuple[str, str]]) -> list[Choice]:
    rows = [Choice(value, label, value == chosen) for value, label in values]
    return [Choice(AS_STARTED, f"{what}: as I was started", not any(r.chosen for r in rows)), *rows]
