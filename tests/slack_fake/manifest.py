"""What an app's manifest may say, as far as `apps.manifest.validate` is needed here, and the scopes that events need."""

from __future__ import annotations

from tests.slack_fake.world import Json

EVENT_SCOPES = {
    "app_mention": "app_mentions:read",
    "message.channels": "channels:history",
    "message.groups": "groups:history",
    "message.im": "im:history",
    "message.mpim": "mpim:history",
    "app_home_opened": "",
    "app_context_changed": "assistant:write",
    "assistant_thread_started": "assistant:write",
    "assistant_thread_context_changed": "assistant:write",
    "agent_session_stopped": "chat:write",
    "member_joined_channel": "channels:read",
    "member_left_channel": "channels:read",
    "channel_archive": "channels:read",
    "reaction_added": "reactions:read",
    "app_uninstalled": "",
    "tokens_revoked": "",
}
_SECTIONS = "_metadata display_information features oauth_config settings".split()
_FEATURES = "agent_view app_home assistant_view bot_user shortcuts slash_commands unfurl_domains rich_previews".split()
_SETTINGS = (
    "event_subscriptions interactivity org_deploy_enabled socket_mode_enabled token_rotation_enabled is_hosted"
    " allowed_ip_address_ranges background_color"
).split()


def check_manifest(manifest: object) -> list[Json]:
    """The errors that the API would tell."""
    errors: list[Json] = []

    def note(pointer: str, message: str) -> None:
        errors.append({"message": message, "pointer": pointer})

    def known(part: Json, names: list[str], at: str) -> None:
        for name in part:
            if name not in names:
                note(f"{at}/{name}", "Unsupported field")

    def text(part: Json, name: str, most: int, at: str) -> None:
        value = part.get(name)
        if not isinstance(value, str) or not 1 <= len(value) <= most:
            note(f"{at}/{name}", f"Must be a string of 1 to {most} characters")

    if not isinstance(manifest, dict):
        return [{"message": "Must be an object", "pointer": "/"}]
    known(manifest, _SECTIONS, "")
    shown, features = manifest.get("display_information") or {}, manifest.get("features") or {}
    settings = manifest.get("settings") or {}
    text(shown, "name", 35, "/display_information")
    if "description" in shown:
        text(shown, "description", 140, "/display_information")
    if "long_description" in shown and not 174 <= len(shown["long_description"]) <= 4000:
        note("/display_information/long_description", "Must be between 174 and 4000 characters")
    known(features, _FEATURES, "/features")
    known(settings, _SETTINGS, "/settings")
    _check_features(features, note, text)
    scopes = ((manifest.get("oauth_config") or {}).get("scopes") or {}).get("bot") or []
    for number, event in enumerate((settings.get("event_subscriptions") or {}).get("bot_events") or []):
        at = f"/settings/event_subscriptions/bot_events/{number}"
        if event not in EVENT_SCOPES:
            note(at, f"Unknown event: {event}")
        elif (needed := EVENT_SCOPES[event]) and needed not in scopes:
            note(at, f"{event} requires the scope {needed}")
    if features.get("slash_commands") and "commands" not in scopes:
        note("/oauth_config/scopes/bot", "slash_commands requires the scope commands")
    return errors


def _check_features(features: Json, note: object, text: object) -> None:
    assert callable(note)
    assert callable(text)
    if "agent_view" in features and "assistant_view" in features:
        note("/features", "agent_view and assistant_view exclude each other")
    for name, described in (("agent_view", "agent_description"), ("assistant_view", "assistant_description")):
        if name in features:
            text(features[name], described, 300, f"/features/{name}")
            for number, prompt in enumerate(features[name].get("suggested_prompts") or []):
                text(prompt, "title", 75, f"/features/{name}/suggested_prompts/{number}")
                text(prompt, "message", 4000, f"/features/{name}/suggested_prompts/{number}")
    if "bot_user" in features:
        text(features["bot_user"], "display_name", 80, "/features/bot_user")
    for number, command in enumerate(features.get("slash_commands") or []):
        at = f"/features/slash_commands/{number}"
        text(command, "command", 32, at)
        text(command, "description", 2000, at)
        if not str(command.get("command", "")).startswith("/"):
            note(f"{at}/command", "Must start with /")
    for number, shortcut in enumerate(features.get("shortcuts") or []):
        at = f"/features/shortcuts/{number}"
        text(shortcut, "name", 24, at)
        text(shortcut, "description", 150, at)
        text(shortcut, "callback_id", 255, at)
        if shortcut.get("type") not in ("message", "global"):
            note(f"{at}/type", "Must be message or global")
