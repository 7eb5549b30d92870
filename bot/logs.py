"""The log: to stderr, a line for each event, for a person or (JSON) for a machine; no secret gets through.

A line holds a constant message and facts beside it (`extra`): never what somebody wrote, nor who they are.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from pydantic import SecretStr

from persona.settings import Settings

OURS = "fireside"
HIDDEN = "[hidden]"
_SHORTEST = 8  # characters: a shorter "secret" would hide half of the log
TOKENS = re.compile(
    r"(?:xox[a-z]|xapp|xwfp)(?:\.xox[a-z])?-[\w.-]{6,}"  # Slack
    r"|hf_[A-Za-z0-9]{16,}"
    r"|(?<![\w.-])[\w-]{23,30}\.[\w-]{6,7}\.[\w-]{27,}"  # Discord: who, since when, and what proves it
    r"|(?i:\bbearer\s+[\w.~+/=-]{8,})"
    # Who has one of these addresses may write as the bot.
    r"|(?<=/webhooks/)\d+/[\w-]{20,}|(?<=/interactions/)\d+/[\w-]{20,}"
    r"|(?<=hooks\.slack\.com/)[\w/-]+|(?<=ticket=)[\w-]+"
)
_UNSEEN = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_GIVEN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def set_up(settings: Settings, stream: TextIO | None = None) -> None:
    """Has all that is logged written to `stream` (stderr), in the settings' format and from their level on; of libraries
    warnings and errors alone. Called again, it changes both."""
    handler = logging.StreamHandler(stream or sys.stderr)
    secrets = _secrets(settings)
    handler.setFormatter(JsonLine(secrets) if settings.log_format == "json" else OneLine(secrets))
    handler.addFilter(_concerns)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(OURS).setLevel(settings.log_level.upper())


class Redacted(logging.Formatter):
    """Hides tokens wherever they stand: in the message, its arguments, facts and errors. `secrets` are hidden too, whatever
    they look like."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        super().__init__()
        known = sorted((s for s in secrets if len(s) >= _SHORTEST), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def clean(self, value: object) -> str:
        """A value as one line of text without secrets."""
        text = str(value)
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _UNSEEN.sub(" ", TOKENS.sub(HIDDEN, text)).strip()

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        """What stands beside the message; numbers and truth values stay what they are."""
        given = {key: value for key, value in vars(record).items() if key not in _GIVEN}
        return {k: v if isinstance(v, bool | int | float | None) else self.clean(v) for k, v in given.items()}

    def message(self, record: logging.LogRecord) -> str:
        """The message; one whose arguments don't fit it stands as it is."""
        try:
            return self.clean(record.getMessage())
        except (TypeError, ValueError, KeyError):
            return self.clean(record.msg)


class OneLine(Redacted):
    """Log lines for a person: an error is its name and message, never a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level where it is no mere news, message, facts, error."""
        at = datetime.fromtimestamp(record.created).astimezone()
        parts = [f"{at:%H:%M:%S}"]
        if record.levelno >= logging.WARNING:
            parts.append(f"{record.levelname.lower()}:")
        parts.append(self.message(record))
        parts += (f"{key}={value}" for key, value in self.facts(record).items())
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            parts.append(
                f"({type(error).__name__}: {self.clean(error)})" if str(error) else f"({type(error).__name__})"
            )
        return " ".join(parts)


class JsonLine(Redacted):
    """Log lines for a machine: JSON objects."""

    def format(self, record: logging.LogRecord) -> str:
        """`ts` (UTC), `level`, `logger`, `message`, the facts; of an error `error` (its type), `error_message` and `at`."""
        line: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            line |= {"error": type(error).__name__, "error_message": self.clean(error), "at": where(error)}
        # What a library calls like one of these keys doesn't replace it.
        return json.dumps(self.facts(record) | line, ensure_ascii=False, default=str)


def _concerns(record: logging.LogRecord) -> bool:
    # By the logger's name: some libraries set a level of their own, which the root's doesn't overrule.
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == OURS


def note_mistake(log: logging.Logger, error: BaseException) -> None:
    """Logs a mistake of ours by its kind and place alone: its message may hold what somebody wrote."""
    log.error("A mistake while answering.", extra={"error": type(error).__name__, "at": where(error)})


def where(error: BaseException) -> str:
    """The place in the code that an error comes from ("pipeline.py:210"); empty if it was not raised."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _secrets(settings: Settings) -> list[str]:
    values = [getattr(settings, name) for name in type(settings).model_fields]
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]
