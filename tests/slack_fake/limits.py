"""What Block Kit takes: kinds, names, lengths, counts. What breaks it is told as Slack tells it."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from tests.slack_fake.world import Json

MESSAGE, MODAL, HOME = "message", "modal", "home"
_ALL = (MESSAGE, MODAL, HOME)
TEXT, UPDATE_TEXT, MARKDOWN, ALL_TEXT, BLOCK_TEXT = 40_000, 4_000, 12_000, 12_000, 16
_BLOCKS = {MESSAGE: 50, MODAL: 100, HOME: 100}
_MENU = "placeholder action_id confirm focus_on_load"
_ENTRY = "placeholder action_id initial_value dispatch_action_config focus_on_load"
_DATES = "action_id placeholder confirm focus_on_load"
_ROOM = "response_url_enabled filter default_to_current_conversation"
_PRESSED = "actions section"  # the blocks that an element may stand in
_CHOSEN = f"{_PRESSED} input"

# required | optional fields | surfaces
_BLOCK_FIELDS: dict[str, tuple[str, str, Collection[str]]] = {
    "section": ("", "text fields accessory expand", _ALL),
    "divider": ("", "", _ALL),
    "header": ("text", "level", _ALL),
    "context": ("elements", "", _ALL),
    "actions": ("elements", "", _ALL),
    "image": ("alt_text", "image_url slack_file title", _ALL),
    "input": ("label element", "hint optional dispatch_action", _ALL),
    "rich_text": ("elements", "", _ALL),
    "video": (
        "alt_text title thumbnail_url video_url",
        "author_name description provider_icon_url provider_name title_url",
        _ALL,
    ),
    "markdown": ("text", "", (MESSAGE,)),
    "context_actions": ("elements", "", (MESSAGE,)),
    "table": ("rows", "column_settings", (MESSAGE,)),
    "plan": ("title", "tasks", (MESSAGE,)),
    "task_card": ("task_id title status", "details output sources", (MESSAGE,)),
    "alert": ("text", "level", (MESSAGE, MODAL)),
    "card": ("", "hero_image icon title subtitle body actions", (MESSAGE,)),
    "carousel": ("elements", "", (MESSAGE,)),
    "container": (
        "child_blocks",
        "title rich_text_title subtitle width icon is_collapsible default_collapsed has_header_divider",
        (MESSAGE,),
    ),
}
# required | optional fields | the blocks it may stand in
_ELEMENT_FIELDS: dict[str, tuple[str, str, str]] = {
    "button": ("text", "action_id url value style confirm accessibility_label agent_prompt", _PRESSED),
    "static_select": ("", f"{_MENU} options option_groups initial_option", _CHOSEN),
    "multi_static_select": ("", f"{_MENU} options option_groups initial_options max_selected_items", _CHOSEN),
    "external_select": ("", f"{_MENU} initial_option min_query_length", _CHOSEN),
    "multi_external_select": ("", f"{_MENU} initial_options min_query_length max_selected_items", _CHOSEN),
    "users_select": ("", f"{_MENU} initial_user", _CHOSEN),
    "multi_users_select": ("", f"{_MENU} initial_users max_selected_items", _CHOSEN),
    "conversations_select": ("", f"{_MENU} initial_conversation {_ROOM}", _CHOSEN),
    "multi_conversations_select": ("", f"{_MENU} initial_conversations max_selected_items {_ROOM}", _CHOSEN),
    "channels_select": ("", f"{_MENU} initial_channel response_url_enabled", _CHOSEN),
    "multi_channels_select": ("", f"{_MENU} initial_channels max_selected_items", _CHOSEN),
    "overflow": ("options", "action_id confirm", _PRESSED),
    "radio_buttons": ("options", "action_id initial_option confirm focus_on_load", _CHOSEN),
    "checkboxes": ("options", "action_id initial_options confirm focus_on_load", _CHOSEN),
    "datepicker": ("", f"{_DATES} initial_date", _CHOSEN),
    "timepicker": ("", f"{_DATES} initial_time timezone", _CHOSEN),
    "datetimepicker": ("", "action_id initial_date_time confirm focus_on_load", "actions input"),
    "plain_text_input": ("", f"{_ENTRY} multiline min_length max_length", "input"),
    "number_input": ("is_decimal_allowed", f"{_ENTRY} min_value max_value", "input"),
    "email_text_input": ("", _ENTRY, "input"),
    "url_text_input": ("", _ENTRY, "input"),
    "rich_text_input": ("", _ENTRY, "input"),
    "file_input": ("", "action_id filetypes max_files", "input"),
    "image": ("alt_text", "image_url slack_file", "section context"),
    "plain_text": ("text", "emoji", "context"),
    "mrkdwn": ("text", "verbatim", "context"),
    "feedback_buttons": ("positive_button negative_button", "action_id", "context_actions"),
    "icon_button": ("icon text", "action_id value confirm accessibility_label visible_to_user_ids", "context_actions"),
}
_COUNTS = {"context": 10, "actions": 25, "context_actions": 5, "carousel": 10}
_LENGTHS = {
    "action_id": 255,
    "block_id": 255,
    "value": 2000,
    "url": 3000,
    "image_url": 3000,
    "accessibility_label": 75,
    "alt_text": 2000,
    "callback_id": 255,
    "private_metadata": 3000,
    "external_id": 255,
    "agent_prompt": 4000,
}
_SCHEMES = {"image_url": "https?", "url": "[a-z][a-z+.-]*"}
_VIEW_FIELDS = {
    MODAL: (
        "type title blocks close submit private_metadata callback_id clear_on_close notify_on_close external_id"
        " submit_disabled"
    ),
    HOME: "type blocks private_metadata callback_id external_id",
}


def check_blocks(blocks: Any, surface: str = MESSAGE, at: str = "/blocks") -> list[str]:
    """What is wrong with the blocks of a message, a modal or a home tab; none: an empty list."""
    checker = _Checker(surface)
    checker.blocks(blocks, at)
    return checker.problems


def check_view(view: Any, *, home: bool = False) -> list[str]:
    """What is wrong with a modal, or with a home tab."""
    surface = HOME if home else MODAL
    checker = _Checker(surface)
    if not isinstance(view, dict):
        return ["[ERROR] must be an object [json-pointer:/view]"]
    if view.get("type") != surface:
        checker.note("/view/type", f"must be {surface}")
    checker.fields(view, "type blocks" + ("" if home else " title"), _VIEW_FIELDS[surface], "/view")
    for name in ("title", "close", "submit"):
        checker.plain(view, name, 24, "/view")
    checker.blocks(view.get("blocks"), "/view/blocks")
    blocks = view.get("blocks") if isinstance(view.get("blocks"), list) else []
    if not home and "submit" not in view and any(isinstance(b, dict) and b.get("type") == "input" for b in blocks):
        checker.note("/view/submit", "missing required field: submit (a view with input blocks has one)")
    return checker.problems


def total_text(blocks: list[Json]) -> int:
    """What all texts of a message count together. That there is a limit, and that a block adds to it, is undocumented: 50
    blocks with 9,597 characters were accepted, 45 with 11,341 refused (bolt-js issue 2867)."""

    def count(part: Any) -> int:
        if isinstance(part, list):
            return sum(map(count, part))
        if not isinstance(part, dict):
            return 0
        return sum(len(v) if k == "text" and isinstance(v, str) else count(v) for k, v in part.items())

    return count(blocks) + BLOCK_TEXT * sum(block.get("type") != "markdown" for block in blocks)


class _Checker:
    def __init__(self, surface: str) -> None:
        self.surface = surface
        self.problems: list[str] = []

    def note(self, at: str, message: str) -> None:
        self.problems.append(f"[ERROR] {message} [json-pointer:{at}]")

    def fields(self, part: Json, required: str, known: str, at: str) -> None:
        for name in required.split():
            if part.get(name) is None:
                self.note(at, f"missing required field: {name}")
        for name, value in part.items():
            if name not in known.split() and name not in required.split():
                self.note(at, f"no more properties are allowed: {name}")
            elif name in _LENGTHS and isinstance(value, str):
                self.length(
                    value, _LENGTHS[name], f"{at}/{name}", least=int(name in ("action_id", "block_id", "alt_text"))
                )
            elif name in _LENGTHS:
                self.note(f"{at}/{name}", "must be a string")
            if name in _SCHEMES and isinstance(value, str) and not re.match(rf"{_SCHEMES[name]}:\S+$", value, re.I):
                self.note(f"{at}/{name}", "must be a valid URL")

    def length(self, value: str, most: int, at: str, least: int = 0) -> None:
        if len(value) > most:
            self.note(at, f"must be less than {most + 1} characters")
        if len(value) < least:
            self.note(at, f"must be more than {least - 1} characters")

    def items(self, part: Json, name: str, most: int, at: str, least: int = 1) -> list[Any]:
        value = part.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.note(f"{at}/{name}", "must be an array")
            return []
        if not least <= len(value) <= most:
            self.note(f"{at}/{name}", f"must have between {least} and {most} items (has {len(value)})")
        return value

    def text(self, value: Any, most: int, at: str, kinds: Collection[str] = ("plain_text", "mrkdwn")) -> None:
        if value is None:
            return
        if not isinstance(value, dict) or value.get("type") not in kinds:
            self.note(at, f"must be a text object ({' or '.join(kinds)})")
            return
        self.fields(value, "type text", "emoji" if value["type"] == "plain_text" else "verbatim", at)
        if not isinstance(value.get("text"), str):
            self.note(f"{at}/text", "must be a string")
        else:
            self.length(value["text"], most, f"{at}/text", least=1)

    def plain(self, part: Json, name: str, most: int, at: str) -> None:
        self.text(part.get(name), most, f"{at}/{name}", ("plain_text",))

    def blocks(self, blocks: Any, at: str) -> None:
        if not isinstance(blocks, list):
            self.note(at, "must be an array")
            return
        if len(blocks) > _BLOCKS[self.surface]:
            self.note(at, f"no more than {_BLOCKS[self.surface]} items allowed (has {len(blocks)})")
        ids = [b.get("block_id") for b in blocks if isinstance(b, dict) and b.get("block_id")]
        for name in {n for n in ids if ids.count(n) > 1}:
            self.note(at, f"block_id already exists: {name}")
        if sum(isinstance(b, dict) and b.get("type") == "table" for b in blocks) > 1:
            self.note(at, "only one table is allowed")
        for number, block in enumerate(blocks):
            self.block(block, f"{at}/{number}")
        written = [b["text"] for b in blocks if isinstance(b, dict) and b.get("type") == "markdown" and "text" in b]
        if sum(len(t) for t in written if isinstance(t, str)) > MARKDOWN:
            self.note(at, f"markdown blocks must be less than {MARKDOWN + 1} characters together")

    def block(self, block: Any, at: str) -> None:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind not in _BLOCK_FIELDS:
            self.note(at, f"unsupported type: {kind}")
            return
        required, optional, surfaces = _BLOCK_FIELDS[kind]
        if self.surface not in surfaces:
            self.note(at, f"unsupported type in a {self.surface}: {kind}")
        self.fields(block, f"type {required}", f"block_id {optional}", at)
        if (check := getattr(self, f"_{kind}", None)) is not None:
            check(block, at)
        if kind in _COUNTS:
            self._elements(kind, self.items(block, "elements", _COUNTS[kind], at), at)

    def _elements(self, kind: str, elements: list[Any], at: str) -> None:
        for number, element in enumerate(elements):
            if kind == "carousel":
                self.block(element, f"{at}/elements/{number}")
            else:
                self.element(element, kind, f"{at}/elements/{number}")
        ids = [e.get("action_id") for e in elements if isinstance(e, dict) and e.get("action_id")]
        for name in {n for n in ids if ids.count(n) > 1}:
            self.note(at, f"action_id already exists in the block: {name}")

    def _section(self, block: Json, at: str) -> None:
        if not block.get("text") and not block.get("fields"):
            self.note(at, "missing required field: text or fields")
        self.text(block.get("text"), 3000, f"{at}/text")
        for number, field in enumerate(self.items(block, "fields", 10, at)):
            self.text(field, 2000, f"{at}/fields/{number}")
        if block.get("accessory") is not None:
            self.element(block["accessory"], "section", f"{at}/accessory")

    def _header(self, block: Json, at: str) -> None:
        self.plain(block, "text", 150, at)

    def _markdown(self, block: Json, at: str) -> None:
        if not isinstance(block.get("text"), str):
            self.note(f"{at}/text", "must be a string")
        else:
            self.length(block["text"], MARKDOWN, f"{at}/text", least=1)

    def _image(self, part: Json, at: str) -> None:
        if ("image_url" in part) == ("slack_file" in part):
            self.note(at, "must have exactly one of image_url, slack_file")
        self.plain(part, "title", 2000, at)

    def _input(self, block: Json, at: str) -> None:
        self.plain(block, "label", 2000, at)
        self.plain(block, "hint", 2000, at)
        self.element(block.get("element"), "input", f"{at}/element")

    def _alert(self, block: Json, at: str) -> None:
        self.text(block.get("text"), 3000, f"{at}/text")

    def _card(self, block: Json, at: str) -> None:
        for name, most in (("title", 150), ("subtitle", 150), ("body", 200)):
            self.text(block.get(name), most, f"{at}/{name}")
        for number, element in enumerate(self.items(block, "actions", 3, at)):
            self.element(element, "actions", f"{at}/actions/{number}")

    def _container(self, block: Json, at: str) -> None:
        self.plain(block, "title", 150, at)
        for number, child in enumerate(self.items(block, "child_blocks", 10, at)):
            self.block(child, f"{at}/child_blocks/{number}")

    def _table(self, block: Json, at: str) -> None:
        for number, row in enumerate(self.items(block, "rows", 100, at)):
            if not isinstance(row, list) or not 1 <= len(row) <= 20:
                self.note(f"{at}/rows/{number}", "must have between 1 and 20 cells")
        self.items(block, "column_settings", 20, at)

    def element(self, part: Any, block: str, at: str) -> None:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _ELEMENT_FIELDS or block not in _ELEMENT_FIELDS[kind][2].split():
            self.note(at, f"unsupported type in {block}: {kind}")
            return
        if kind in ("plain_text", "mrkdwn"):
            self.text(part, 3000, at)
            return
        required, optional, _ = _ELEMENT_FIELDS[kind]
        self.fields(part, f"type {required}", optional, at)
        self.plain(part, "placeholder", 150, at)
        self._confirm(part.get("confirm"), f"{at}/confirm")
        if kind == "image":
            self._image(part, at)
        elif kind in ("button", "icon_button"):
            self.plain(part, "text", 75, at)
            if part.get("style", "primary") not in ("primary", "danger"):
                self.note(f"{at}/style", "must be primary or danger")
            self.items(part, "visible_to_user_ids", 10, at)
        elif kind == "feedback_buttons":
            for name in ("positive_button", "negative_button"):
                button = part.get(name) or {}
                self.fields(button, "text value", "accessibility_label", f"{at}/{name}")
                self.plain(button, "text", 75, f"{at}/{name}")
        self._choices(part, kind, at)

    def _choices(self, part: Json, kind: str, at: str) -> None:
        if kind in ("static_select", "multi_static_select") and ("options" in part) == ("option_groups" in part):
            self.note(at, "must have exactly one of options, option_groups")
        most = {"overflow": 5, "radio_buttons": 10, "checkboxes": 10}.get(kind, 100)
        self._options(part, kind, most, at)
        for number, group in enumerate(self.items(part, "option_groups", 100, at)):
            self.plain(group, "label", 75, f"{at}/option_groups/{number}")
            self._options(group, kind, 100, f"{at}/option_groups/{number}")
        initial = part.get("initial_option")
        if initial is not None and "options" in part and initial not in part["options"]:
            self.note(f"{at}/initial_option", "must be one of the options")
        for name in ("min_length", "max_length"):
            if not 0 <= int(part.get(name) or 0) <= 3000:
                self.note(f"{at}/{name}", "must be between 0 and 3000")

    def _options(self, part: Json, kind: str, most: int, at: str) -> None:
        marked = ("plain_text", "mrkdwn") if kind in ("radio_buttons", "checkboxes") else ("plain_text",)
        for number, option in enumerate(self.items(part, "options", most, at)):
            self.option(option, f"{at}/options/{number}", marked, url=kind == "overflow")

    def option(self, option: Any, at: str, kinds: Collection[str] = ("plain_text",), *, url: bool = False) -> None:
        if not isinstance(option, dict):
            self.note(at, "must be an option object")
            return
        if len(str(option.get("value", ""))) > 150:
            self.note(f"{at}/value", "must be less than 151 characters")
        self.fields(option, "text value", "description" + (" url" if url else ""), at)
        self.text(option.get("text"), 75, f"{at}/text", kinds)
        self.text(option.get("description"), 75, f"{at}/description", kinds)

    def _confirm(self, value: Any, at: str) -> None:
        if value is None:
            return
        self.fields(value, "title text confirm deny", "style", at)
        for name, most in (("title", 100), ("confirm", 30), ("deny", 30)):
            self.plain(value, name, most, at)
        self.text(value.get("text"), 300, f"{at}/text")


def check_options(answer: Json) -> list[str]:
    """What is wrong with the options that answer a block_suggestion."""
    checker = _Checker(MODAL)
    checker._choices(answer, "external", "")
    if ("options" in answer) == ("option_groups" in answer):
        checker.note("", "must have exactly one of options, option_groups")
    # an empty list is a fair answer: nothing was found
    return [p for p in checker.problems if "(has 0)" not in p]
