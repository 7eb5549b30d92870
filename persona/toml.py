"""Reads TOML files into pydantic models; every mistake becomes one sentence that names file and key."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from persona.errors import FiresideError

M = TypeVar("M", bound=BaseModel)


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
    first = exc.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'.{nearest(str(first['loc'][-1]), known_keys(model))}"
    if first["type"] == "missing":
        return f"'{key}' is missing. Add it."
    return f"'{key}' is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}. Correct it."


def nearest(key: str, known: list[str]) -> str:
    """A hint with the nearest valid key, or an empty text."""
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else f" Known keys: {', '.join(sorted(known))}."


def known_keys(model: type[BaseModel]) -> list[str]:
    """The keys of a model and of the models in it."""
    keys: list[str] = []
    for name, info in model.model_fields.items():
        keys.append(info.alias or name)
        for part in (info.annotation, *getattr(info.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys.extend(known_keys(part))
    return keys
