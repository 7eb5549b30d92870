"""What the published API takes: names, lengths, counts. What breaks it is a Problem, told as Discord tells it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from tests.discord_fake.world import COMPONENTS_V2, EPHEMERAL, Json, walk

Path = tuple[str | int, ...]
EMBED = {"title": 256, "description": 4096}
EMBED_FIELDS = (
    "title type description url timestamp color footer image thumbnail video provider author fields flags"
).split()
MESSAGE_FIELDS = (
    "content nonce enforce_nonce tts embeds allowed_mentions message_reference components sticker_ids attachments flags poll"
).split()
EDIT_FIELDS = (
    "content embeds flags allowed_mentions components attachments tts".split()
)  # discord.py sends tts in edits
FOLLOWUP_FIELDS = (
    "content username avatar_url tts embeds allowed_mentions components attachments flags thread_name poll".split()
)
CALLBACK_FIELDS = "tts content embeds allowed_mentions flags components attachments poll".split()
COMMAND_FIELDS = (
    "name name_localizations description description_localizations options default_member_permissions dm_permission"
    " default_permission integration_types contexts type nsfw handler id"
).split()
OPTION_FIELDS = (
    "type name name_localizations description description_localizations required choices options channel_types min_value"
    " max_value min_length max_length autocomplete"
).split()
COMMANDS = {1: 100, 2: 15, 3: 15}  # how many of each type
_FLAGS = 1 << 2 | EPHEMERAL | 1 << 12 | COMPONENTS_V2
_NAME = re.compile(r"[-_'\w]{1,32}")
_BUTTON, _TEXT_INPUT, _ROW, _LABEL = 2, 4, 1, 18
_SELECTS = (3, 5, 6, 7, 8)
_MENU = "custom_id placeholder min_values max_values required disabled"
_FIELDS = {
    _ROW: "components",
    _BUTTON: "style label emoji custom_id sku_id url disabled",
    3: f"{_MENU} options",
    _TEXT_INPUT: "custom_id style label min_length max_length required value placeholder",
    **dict.fromkeys((5, 6, 7, 8), f"{_MENU} channel_types default_values"),
    9: "components accessory",
    10: "content",
    11: "media description spoiler",
    12: "items",
    13: "file spoiler",
    14: "divider spacing",
    17: "components accent_color spoiler",
    _LABEL: "label description component",
}


class Problem(NamedTuple):
    path: Path
    code: str
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path)) or 'body'}: {self.message} ({self.code})"


class Checker:
    """Collects problems."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def note(self, path: Iterable[str | int], code: str, message: str) -> None:
        self.problems.append(Problem(tuple(path), code, message))

    def fields(self, body: Any, known: Collection[str], path: Path = ()) -> bool:
        """Whether `body` is an object; fields that nobody knows are problems."""
        if not isinstance(body, dict):
            self.note(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
            return False
        for name in body:
            if name not in known:
                self.note((*path, name), "UNKNOWN_FIELD", "No such field")
        return True

    def text(self, body: Json, name: str, path: Path, most: int, *, least: int = 0, required: bool = False) -> int:
        """How long the text is (0: none)."""
        value = body.get(name)
        if value is None:
            if required:
                self.note((*path, name), "BASE_TYPE_REQUIRED", "This field is required")
            return 0
        if not isinstance(value, str):
            self.note((*path, name), "STRING_TYPE_CONVERT", "Could not interpret value as string.")
            return 0
        if len(value) > most:
            self.note((*path, name), "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")
        if len(value) < max(least, int(required)):
            self.note((*path, name), "BASE_TYPE_MIN_LENGTH", f"Must be {max(least, 1)} or more in length.")
        return len(value)

    def list(self, body: Json, name: str, path: Path, most: int) -> list[Any]:
        """The items of a list, none if there is none."""
        value = body.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.note((*path, name), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
            return []
        if len(value) > most:
            self.note((*path, name), "BASE_TYPE_BAD_LENGTH", f"Must be between 0 and {most} in length.")
        return value

    def url(self, body: Json, name: str, path: Path, files: Collection[str] | None = None) -> None:
        value = body.get(name)
        if value is None:
            return
        if files is not None and isinstance(value, str) and value.startswith("attachment://"):
            if value.removeprefix("attachment://") not in files:
                self.note((*path, name), "URL_TYPE_INVALID_ATTACHMENT", f"No file named in {value}")
        elif not (isinstance(value, str) and re.fullmatch(r"https?://[^\s]+", value) and len(value) <= 2048):
            self.note((*path, name), "URL_TYPE_INVALID_URL", "Not a well formed URL.")

    def json(self) -> Json:
        """As Discord answers: nested by field."""
        errors: Json = {}
        for path, code, message in self.problems:
            at = errors
            for part in path:
                at = at.setdefault(str(part), {})
            at.setdefault("_errors", []).append({"code": code, "message": message})
        return {"message": "Invalid Form Body", "code": 50035, "errors": errors}


def check_message(checker: Checker, body: Any, known: Collection[str], files: Collection[str], at: Path = ()) -> None:
    """A message to create or edit; `at`: where in the request it stands."""
    if not checker.fields(body, known, at):
        return
    checker.text(body, "content", at, 2000)
    checker.text(body, "nonce", at, 25) if isinstance(body.get("nonce"), str) else None
    flags = body.get("flags") or 0
    if not isinstance(flags, int) or flags & ~_FLAGS:
        checker.note((*at, "flags"), "FLAGS_INVALID", f"These flags can't be set: {flags}")
        flags = 0
    elif flags & EPHEMERAL and known in (MESSAGE_FIELDS, EDIT_FIELDS):
        checker.note((*at, "flags"), "FLAGS_INVALID", "Only an interaction's message is ephemeral")
    _embeds(checker, body, at, files)
    _mentions(checker, body, at)
    _attachments(checker, body, at)
    second = bool(flags & COMPONENTS_V2)
    if second and (body.get("content") or body.get("embeds")):
        checker.note((*at, "flags"), "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", "No content, no embeds")
    check_components(checker, body, at, second=second)
    if (reference := body.get("message_reference")) is not None:
        fields = ("type", "message_id", "channel_id", "guild_id", "fail_if_not_exists")
        checker.fields(reference, fields, (*at, "message_reference"))


def _embeds(checker: Checker, body: Json, at: Path, files: Collection[str]) -> None:
    total = 0
    for number, embed in enumerate(checker.list(body, "embeds", at, 10)):
        path = (*at, "embeds", number)
        if not checker.fields(embed, EMBED_FIELDS, path):
            continue
        total += sum(checker.text(embed, name, path, most) for name, most in EMBED.items())
        checker.url(embed, "url", path)
        colour = embed.get("color")
        if colour is not None and not (isinstance(colour, int) and 0 <= colour <= 0xFFFFFF):
            checker.note((*path, "color"), "NUMBER_TYPE_MAX", "int value should be between 0 and 16777215.")
        _time(checker, embed, path)
        for part, name, most, more in (("footer", "text", 2048, ()), ("author", "name", 256, ("url",))):
            inner = embed.get(part)
            if inner is not None and checker.fields(inner, (name, *more, "icon_url", "proxy_icon_url"), (*path, part)):
                total += checker.text(inner, name, (*path, part), most, required=True)
                checker.url(inner, "url", (*path, part))
                checker.url(inner, "icon_url", (*path, part), files)
        for part in ("image", "thumbnail"):
            known_parts = ("url", "proxy_url", "height", "width", "flags", "description", "content_type", "placeholder")
            if embed.get(part) is not None and checker.fields(embed[part], known_parts, (*path, part)):
                checker.url(embed[part], "url", (*path, part), files)
        for index, item in enumerate(checker.list(embed, "fields", path, 25)):
            place = (*path, "fields", index)
            if checker.fields(item, ("name", "value", "inline"), place):
                total += checker.text(item, "name", place, 256, required=True)
                total += checker.text(item, "value", place, 1024, required=True)
        if not any(
            embed.get(n) for n in "title description footer image thumbnail author fields url timestamp".split()
        ):
            checker.note((*path, "description"), "BASE_TYPE_REQUIRED", "This field is required")
    if total > 6000:
        checker.note((*at, "embeds"), "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def _time(checker: Checker, embed: Json, path: Path) -> None:
    if embed.get("timestamp") is not None:
        try:
            datetime.fromisoformat(embed["timestamp"])
        except (TypeError, ValueError):
            checker.note((*path, "timestamp"), "DATETIME_TYPE_PARSE", "Could not parse. Should be ISO8601.")


def _mentions(checker: Checker, body: Json, at: Path) -> None:
    allowed = body.get("allowed_mentions")
    if allowed is None or not checker.fields(
        allowed, ("parse", "roles", "users", "replied_user"), (*at, "allowed_mentions")
    ):
        return
    path = (*at, "allowed_mentions")
    parse = checker.list(allowed, "parse", path, 3)
    for kind in parse:
        if kind not in ("everyone", "users", "roles"):
            checker.note((*path, "parse"), "BASE_TYPE_CHOICES", f"Value must be one of everyone, users, roles: {kind}")
    for kind in ("users", "roles"):
        if checker.list(allowed, kind, path, 100) and kind in parse:
            checker.note(
                (*path, kind), "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", f"parse has {kind}: nothing else may"
            )


def _attachments(checker: Checker, body: Json, at: Path) -> None:
    known = (
        "id filename title description duration_secs waveform content_type size url proxy_url ephemeral flags is_spoiler"
        " height width"
    ).split()
    for number, item in enumerate(checker.list(body, "attachments", at, 10)):
        path = (*at, "attachments", number)
        if checker.fields(item, known, path):
            checker.text(item, "description", path, 1024)
            checker.text(item, "filename", path, 260)


def check_components(checker: Checker, body: Json, at: Path, *, second: bool = False, modal: bool = False) -> None:
    """Rows of a message or of a modal."""
    rows = checker.list(body, "components", at, 40 if second else 5)
    ids: set[str] = set()
    for number, row in enumerate(rows):
        _component(checker, row, (*at, "components", number), ids, second=second, modal=modal, top=True)
    if not checker.problems and second:
        everything = walk(rows)
        if len(everything) > 40:
            checker.note((*at, "components"), "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", "At most 40 components")
        if sum(len(c["content"]) for c in everything if c["type"] == 10) > 4000:
            checker.note((*at, "components"), "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", "At most 4000 characters")


def _component(
    checker: Checker,
    part: Any,
    path: Path,
    ids: set[str],
    *,
    second: bool,
    modal: bool,
    top: bool = False,
) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _FIELDS:
        checker.note((*path, "type"), "UNION_TYPE_CHOICES", f"No such component: {kind}")
        return
    checker.fields(part, ("type", "id", *_FIELDS[kind].split()), path)
    allowed = {_ROW, _LABEL, 10} if modal else ({_ROW, 9, 10, 12, 13, 14, 17} if second else {_ROW})
    if top and kind not in allowed:
        checker.note((*path, "type"), "UNION_TYPE_CHOICES", f"Can't stand here: {kind}")
    if kind in (_TEXT_INPUT, _LABEL) and not modal:
        checker.note((*path, "type"), "UNION_TYPE_CHOICES", "Text inputs stand in modals")
    if kind in (_BUTTON, _TEXT_INPUT, *_SELECTS):
        _interactive(checker, part, path, ids, modal=modal)
    if kind == _ROW:
        inner = checker.list(part, "components", path, 5)
        if not inner:
            checker.note((*path, "components"), "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
        if len(inner) > 1 and any(isinstance(c, dict) and c.get("type") != _BUTTON for c in inner):
            checker.note(
                (*path, "components"), "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "One select or text input fills a row"
            )
    if kind == 10:
        checker.text(part, "content", path, 4000, required=True)
    if kind == _LABEL:
        checker.text(part, "label", path, 45, required=True)
        checker.text(part, "description", path, 100)
    inner = [(("components", n), c) for n, c in enumerate(part.get("components") or [])]
    inner += [((name,), part[name]) for name in ("component", "accessory") if name in part]
    for where, child in inner:
        _component(checker, child, (*path, *where), ids, second=second, modal=modal)


def _interactive(checker: Checker, part: Json, path: Path, ids: set[str], *, modal: bool) -> None:
    kind = part["type"]
    style = part.get("style")
    linked = kind == _BUTTON and style in (5, 6)
    checker.text(part, "custom_id", path, 100, required=not linked)
    if linked and "custom_id" in part:
        checker.note(
            (*path, "custom_id"), "BUTTON_COMPONENT_CUSTOM_ID_URL_MUTUALLY_EXCLUSIVE", "A link has no custom id"
        )
    name = part.get("custom_id")
    if isinstance(name, str):
        if name in ids:
            checker.note(
                (*path, "custom_id"), "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated"
            )
        ids.add(name)
    if kind == _BUTTON:
        checker.text(part, "label", path, 80)
        if style not in (1, 2, 3, 4, 5, 6):
            checker.note((*path, "style"), "BASE_TYPE_CHOICES", "Value must be one of 1 to 6.")
        if not (part.get("label") or part.get("emoji")) and style != 6:
            checker.note(path, "BUTTON_COMPONENT_LABEL_OR_EMOJI", "A button has a label or an emoji")
        if style == 5:
            checker.url(part, "url", path)
            checker.text(part, "url", path, 512, required=True)
    elif kind == _TEXT_INPUT:
        checker.text(part, "label", path, 45)
        checker.text(part, "placeholder", path, 100)
        checker.text(part, "value", path, 4000)
        if style not in (1, 2):
            checker.note((*path, "style"), "BASE_TYPE_CHOICES", "Value must be one of 1, 2.")
        for limit, low in (("min_length", 0), ("max_length", 1)):
            if part.get(limit) is not None and not low <= part[limit] <= 4000:
                checker.note((*path, limit), "NUMBER_TYPE_MAX", f"int value should be between {low} and 4000.")
    else:
        _select(checker, part, path, modal=modal)


def _select(checker: Checker, part: Json, path: Path, *, modal: bool) -> None:
    checker.text(part, "placeholder", path, 150)
    options = checker.list(part, "options", path, 25)
    if part["type"] == 3 and not options:
        checker.note((*path, "options"), "BASE_TYPE_REQUIRED", "This field is required")
    values: set[str] = set()
    for number, option in enumerate(options):
        place = (*path, "options", number)
        if checker.fields(option, ("label", "value", "description", "emoji", "default"), place):
            checker.text(option, "label", place, 100, required=True)
            checker.text(option, "value", place, 100, required=True)
            checker.text(option, "description", place, 100)
            if option.get("value") in values:
                checker.note((*place, "value"), "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", "Values are used once")
            values.add(option.get("value", ""))
    for limit, low in (("min_values", 0), ("max_values", 1)):
        if part.get(limit) is not None and not low <= part[limit] <= 25:
            checker.note((*path, limit), "NUMBER_TYPE_MAX", f"int value should be between {low} and 25.")
    if options and (part.get("max_values") or 1) > len(options):
        checker.note((*path, "max_values"), "SELECT_COMPONENT_MAX_VALUES", "More than there are options")


def check_modal(checker: Checker, body: Any, at: Path) -> None:
    if not checker.fields(body, ("custom_id", "title", "components"), at):
        return
    checker.text(body, "custom_id", at, 100, required=True)
    checker.text(body, "title", at, 45, required=True)
    if not body.get("components"):
        checker.note((*at, "components"), "BASE_TYPE_REQUIRED", "This field is required")
    check_components(checker, body, at, modal=True)


def check_choices(checker: Checker, body: Any, at: Path, kind: int = 3) -> None:
    """Of an option, or as an autocomplete's answer; `kind`: the option's type."""
    for number, choice in enumerate(checker.list(body, "choices", at, 25)):
        place = (*at, "choices", number)
        if not checker.fields(choice, ("name", "name_localizations", "value"), place):
            continue
        checker.text(choice, "name", place, 100, required=True)
        if kind == 3:
            checker.text(choice, "value", place, 100, required=True)
        elif not isinstance(choice.get("value"), int | float):
            checker.note((*place, "value"), "NUMBER_TYPE_COERCE", f"Value is not a number: {choice.get('value')!r}")


def check_commands(checker: Checker, commands: list[Any]) -> None:
    """All commands of an application, or of a guild."""
    seen: set[tuple[int, str]] = set()
    for number, command in enumerate(commands):
        check_command(checker, command, (number,))
        if isinstance(command, dict):
            key = (command.get("type") or 1, str(command.get("name")))
            if key in seen:
                checker.note((number, "name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", "Names are used once")
            seen.add(key)
    for kind, most in COMMANDS.items():
        if sum(k == kind for k, _ in seen) > most:
            checker.note((), "APPLICATION_COMMANDS_MAX", f"At most {most} commands of type {kind}")


def check_command(checker: Checker, command: Any, at: Path = ()) -> None:
    if not checker.fields(command, COMMAND_FIELDS, at):
        return
    kind = command.get("type") or 1
    if kind == 1:
        _command_name(checker, command, at)
        checker.text(command, "description", at, 100, required=True)
    elif kind in (2, 3):
        checker.text(command, "name", at, 32, required=True)
        if command.get("description") or command.get("options"):
            checker.note(at, "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION", "Context menus have a name alone")
    else:
        checker.note((*at, "type"), "BASE_TYPE_CHOICES", f"No such type: {kind}")
    for name, known in (("contexts", (0, 1, 2)), ("integration_types", (0, 1))):
        given = checker.list(command, name, at, 3)
        if not set(given) <= set(known) or len(set(given)) < len(given) or command.get(name) == []:
            checker.note((*at, name), "BASE_TYPE_CHOICES", f"Value must be some of {known}, each once.")
    permissions = command.get("default_member_permissions")
    if permissions is not None and not str(permissions).isdigit():
        checker.note((*at, "default_member_permissions"), "BITFIELD_TYPE_CONVERT", "Not a set of permissions")
    _options(checker, command, at)
    if _size(command) > 8000:
        checker.note(at, "APPLICATION_COMMAND_TOO_LARGE", "Command exceeds maximum size (8000)")


def _size(item: Json) -> int:
    own = sum(len(str(item.get(name) or "")) for name in ("name", "description"))
    choices = sum(len(str(c.get("name"))) + len(str(c.get("value"))) for c in item.get("choices") or [])
    return own + choices + sum(_size(option) for option in item.get("options") or [] if isinstance(option, dict))


def _command_name(checker: Checker, item: Json, at: Path) -> None:
    checker.text(item, "name", at, 32, required=True)
    name = item.get("name")
    if isinstance(name, str) and (not _NAME.fullmatch(name) or name != name.lower()):
        checker.note((*at, "name"), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")


def _options(checker: Checker, item: Json, at: Path, depth: int = 0) -> None:
    options = checker.list(item, "options", at, 25)
    optional, names = False, set[str]()
    for number, option in enumerate(options):
        path = (*at, "options", number)
        if not checker.fields(option, OPTION_FIELDS, path):
            continue
        kind = option.get("type")
        _command_name(checker, option, path)
        checker.text(option, "description", path, 100, required=True)
        if option.get("name") in names:
            checker.note((*path, "name"), "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Names are used once")
        names.add(str(option.get("name")))
        if kind not in range(1, 12) or (kind in (1, 2) and depth + (kind == 1) > 2):
            checker.note((*path, "type"), "BASE_TYPE_CHOICES", f"No such option here: {kind}")
        if kind in (1, 2):
            _options(checker, option, path, depth + 1)
            continue
        if option.get("required") and optional:
            message = "Required options must be placed before non-required options"
            checker.note((*path, "required"), "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", message)
        optional = optional or not option.get("required")
        check_choices(checker, option, path, kind or 3)
        if option.get("autocomplete") and option.get("choices"):
            checker.note((*path, "autocomplete"), "APPLICATION_COMMAND_AUTOCOMPLETE_WITH_CHOICES", "One or the other")
        for limit, low in (("min_length", 0), ("max_length", 1)):
            if option.get(limit) is not None and not low <= option[limit] <= 6000:
                checker.note((*path, limit), "NUMBER_TYPE_MAX", f"int value should be between {low} and 6000.")
    kinds = {option.get("type") in (1, 2) for option in options if isinstance(option, dict)}
    if len(kinds) > 1:
        checker.note((*at, "options"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", "Sub-commands and options don't mix")
