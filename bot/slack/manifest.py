"""The app's manifest: exactly the scopes and events that the features need (https://docs.slack.dev/reference/app-manifest)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from bot.desk import ABOUT_THIS
from bot.host import COMMANDS
from bot.slack.commands import COMMAND
from bot.slack.home import prompts_of
from bot.slack.views import ABOUT, SEARCH, SHORTCUT_TITLES
from bot.text import cut
from persona.errors import InputError

Json: TypeAlias = "Mapping[str, Json] | Sequence[Json] | str | int | bool | None"

SCOPES = {
    "app_mentions:read": "hear when somebody names it",
    "assistant:write": "show its status, title its threads, suggest questions",
    "channels:history": "read on in threads of public channels",
    "groups:history": "read on in threads of private channels",
    "mpim:history": "read on in group conversations",
    "im:history": "answer direct messages",
    "im:write": "send a picture or an export to a person alone",
    "chat:write": "answer",
    "commands": f"{COMMAND}, and the entries in menus",
    "files:write": "pictures of quotations, exports",
    "users:read": "names for ids, and who administers the workspace",
}
EVENTS = (
    "agent_session_stopped",
    "app_home_opened",
    "app_mention",
    "message.channels",
    "message.groups",
    "message.im",
    "message.mpim",
)
PATH = "/slack/events"
_NAME, _SHORT, _LONG, _PROMPTS = 35, 140, (174, 4000), 4


def manifest(name: str, disclosure: str, talks: list[str], *, url: str | None = None) -> Json:
    """The manifest of the app; `url` is where Slack reaches the bot in HTTP mode, None for Socket Mode. InputError."""
    if url is not None and not url.startswith("https://"):
        raise InputError(f"'{url}' is no address that Slack can reach the bot at. Give one that begins with https://.")
    address = None if url is None else url.rstrip("/") + PATH
    asked: dict[str, Json] = {} if address is None else {"request_url": address}
    return {
        "display_information": {
            "name": cut(name, _NAME),
            "description": cut(disclosure, _SHORT),
            "long_description": _long(disclosure),
        },
        "features": {
            "bot_user": {"display_name": cut(name, 80), "always_online": True},
            "app_home": {
                "home_tab_enabled": True,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "agent_view": {
                "agent_description": cut(disclosure, 300),
                "suggested_prompts": prompts_of(talks)[:_PROMPTS],
            },
            "slash_commands": [
                {
                    "command": COMMAND,
                    "description": "Ask, or look up what was really said",
                    "usage_hint": "ask … | quote … | " + " | ".join(c.name for c in COMMANDS[2:]),
                    "should_escape": True,
                    **({} if address is None else {"url": address}),
                }
            ],
            "shortcuts": [
                {
                    "name": "Look it up in the talks",
                    "type": "message",
                    "callback_id": ABOUT,
                    "description": ABOUT_THIS,
                },
                {
                    "name": SHORTCUT_TITLES[SEARCH],
                    "type": "global",
                    "callback_id": SEARCH,
                    "description": "What was really said, word for word",
                },
            ],
        },
        "oauth_config": {"scopes": {"bot": sorted(SCOPES)}},
        "settings": {
            "event_subscriptions": {**asked, "bot_events": list(EVENTS)},
            "interactivity": {
                "is_enabled": True,
                **asked,
                **({} if address is None else {"message_menu_options_url": address}),
            },
            "org_deploy_enabled": False,
            "socket_mode_enabled": url is None,
            "token_rotation_enabled": False,
        },
    }


def printed(made: Json, form: Literal["json", "yaml"]) -> str:
    """The manifest as text. JSON is YAML too, but people read the other better."""
    return json.dumps(made, indent=2, ensure_ascii=False) if form == "json" else "\n".join(_yaml(made))


def _yaml(part: Json, indent: str = "") -> list[str]:
    """Tables, lists and plain values; every text is quoted as JSON quotes it, which YAML reads alike."""
    if isinstance(part, Mapping):
        lines: list[str] = []
        for key, value in part.items():
            if isinstance(value, Mapping | list):
                lines += [f"{indent}{key}:", *_yaml(value, indent + "  ")]
            else:
                lines.append(f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}")
        return lines
    if isinstance(part, Sequence) and not isinstance(part, str):
        return [line for item in part for line in _item(item, indent)]
    return [indent + json.dumps(part, ensure_ascii=False)]


def _item(item: Json, indent: str) -> list[str]:
    first, *rest = _yaml(item, indent + "  ")
    return [f"{indent}- {first.strip()}", *rest]


def _long(disclosure: str) -> str:
    """The long description, which Slack wants to have 174 characters at least."""
    least, most = _LONG
    text = (
        f"{disclosure} It answers questions from recorded talks, with the words that were really said and where they stand, "
        "and says that it doesn't know when they don't tell. How often it is wrong is measured, and shown in its home tab."
    )
    return cut(text if len(text) >= least else text.ljust(least, "."), most)
