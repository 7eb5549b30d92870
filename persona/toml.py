"""Reads TOML files into pydantic models; every mistake becomes one sentence that names file and key."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from persona.errors import FiresideError

M = TypeVar("M", bound=BaseModel)
_VALUE = 120  # characters of a wrong value that are shown


def read_toml(path: Path, what: str, error: type[FiresideError]) -> dict[str, Any]:
    """The file's table; `what` names it in errors ("catalog", "persona card")."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"No {what} at '{path}'. Check the path, or restore the file.") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise error(f"Can't read the {what} '{path}': {exc}. Check that it is a readable UTF-8 file.") from None
    except tomllib.TOMLDecodeError as exc:
        raise error(f"The {what} '{path}' is not valid TOML: {exc}. Correct that line.") from None


def parse_toml(path: Path, model: type[M], what: str, error: type[FiresideError]) -> M:
    """The file as a model."""
    try:
        return model.model_validate(read_toml(path, what, error))
    except ValidationError as exc:
        raise error(f"The {what} '{path}' is wrong: {explain(exc, model)}") from None


def explain(exc: ValidationError, model: type[BaseModel]) -> str:
    """The first validation error as a sentence: key, value, what to do."""
    # A mistyped key is also missing: what it was meant to be says more than that.
    first = min(exc.errors(), key=lambda error: error["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'.{nearest(str(first['loc'][-1]), keys_at(model, first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"'{key}' is missing. Add it."
    value, why = repr(first["input"]), first["msg"].removeprefix("Value error, ")
    if len(value) > _VALUE:
        value = f"{value[:_VALUE]}…"
    return f"'{key}' is {value}: {why}. Correct it."


def nearest(key: str, known: list[str]) -> str:
    """A hint with the nearest valid key, or an empty text."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else f" Known keys: {', '.join(sorted(known))}."


def keys_at(model: type[BaseModel], place: Iterable[str | int]) -> list[str]:
    """The keys that a model's table may have at a place, such as ("document", 0)."""
    for part in place:
        info = next((info for name, info in model.model_fields.items() if (info.alias or name) == part), None)
        for kind in (info.annotation, *getattr(info.annotation, "__args__", ())) if info else ():
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return [info.alias or name for name, info in model.model_fields.items()]
