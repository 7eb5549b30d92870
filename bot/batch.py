"""`fireside ask --batch`: questions as JSON lines in, replies as JSON lines out, in the same order."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

from persona.toml import nearest
from persona.types import Question, Reply, Turn

KEYS = ("id", "question", "history")
ROLES = ("user", "assistant")


class BrokenLine(Exception):
    """A line that is no question; the message says why."""


class Line(NamedTuple):
    """A line that holds a question; ``ignored`` are keys that mean nothing here."""

    question: Question
    ignored: tuple[str, ...]


def answer_batch(
    lines: Iterable[bytes],
    answer: Callable[[Question], Reply],
    write: Callable[[str], None],
    warn: Callable[[str], None],
) -> int:
    """Answers each line as it comes; the number of broken ones, each of which `warn` is told about."""
    broken = 0
    told: set[str] = set()
    for number, raw in enumerate(lines, 1):
        try:
            line = read_line(raw, first=number == 1)
        except BrokenLine as exc:
            warn(f"Line {number} is skipped: {exc}")
            broken += 1
            continue
        if line is None:
            continue
        for key in line.ignored:
            if key not in told:
                warn(f"Line {number}: the key '{key}' is ignored.{nearest(key, list(KEYS))}")
                told.add(key)
        write(answer(line.question).model_dump_json())
    return broken


def read_line(raw: bytes, *, first: bool = False) -> Line | None:
    """The question of one line; None for a blank one; BrokenLine says what is wrong."""
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8").strip()
    except UnicodeDecodeError as exc:
        raise BrokenLine(f"it is not UTF-8 text (byte {exc.start + 1}).") from None
    if not text:
        return None
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as exc:
        raise BrokenLine(f"it is not valid JSON ({exc.msg} at column {exc.colno}).") from None
    except (ValueError, RecursionError):
        raise BrokenLine("it is not JSON that can be read (a number too long or brackets too deep).") from None
    table = _table(value, "it")
    for key in ("id", "question"):
        if key not in table:
            close = difflib.get_close_matches(key, [k for k in table if k not in KEYS], n=1)
            raise BrokenLine(f"'{key}' is missing." + (f" Rename '{close[0]}' to it?" if close else ""))
    question = Question(
        id=_id(table["id"]), text=_string(table["question"], "'question'"), history=_history(table.get("history"))
    )
    return Line(question, tuple(key for key in table if key not in KEYS))


def sound(text: str) -> str:
    """The text without half surrogate pairs, which no UTF-8 output can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _id(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return _string(value, "'id'")


def _history(value: object) -> tuple[Turn, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BrokenLine(f"'history' is {_kind(value)}, not a list of turns.")
    turns: list[Turn] = []
    for number, item in enumerate(cast("list[object]", value), 1):
        turn = _table(item, f"turn {number} of 'history'")
        role = turn.get("role")
        if role not in ROLES:
            raise BrokenLine(f"turn {number} of 'history' has the role {role!r}, not 'user' or 'assistant'.")
        content = _string(turn.get("content"), f"the content of turn {number} of 'history'")
        turns.append(Turn(role="user" if role == "user" else "assistant", content=content))
    return tuple(turns)


def _table(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BrokenLine(f"{what} is {_kind(value)}, not an object.")
    return cast("dict[str, Any]", value)


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise BrokenLine(f"{what} is {_kind(value)}, not a text.")
    return sound(value)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"
