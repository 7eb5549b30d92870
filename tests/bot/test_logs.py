"""What the log lets through, and how its lines look. The tokens are made up, and put together only here."""

from __future__ import annotations

import io
import json
import logging
import random
import string
from collections.abc import Iterator
from typing import Any

import pytest

from bot.logs import HIDDEN, set_up
from persona.errors import ModelError
from persona.settings import Settings, load_settings

RANDOM = random.Random(7)


def letters(count: int) -> str:
    return "".join(RANDOM.choices(string.ascii_letters + string.digits, k=count))


TOKENS = {
    "discord": ".".join((letters(24), letters(6), letters(38))),
    "discord, long": ".".join((letters(26), "G" + letters(5), "-" + letters(20) + "_" + letters(16))),
    "slack bot": "-".join(("xoxb", "123456789012", "1234567890123", letters(24))),
    "slack rotated": "-".join(("xoxe.xoxp", "1", letters(40))),
    "slack app": "-".join(("xapp", "1", "A01234567", "1234567890123", letters(64).lower())),
    "hugging face": "hf" + "_" + letters(34),
    "bearer": "Bearer " + letters(12) + "/+" + letters(12) + "==",
    "webhook": "https://discord.com/api/v10/webhooks/1100000000000000000/" + letters(60) + "/messages/@original",
    "interaction": "/interactions/1100000000000000000/" + letters(60) + "/callback",
    "response url": "https://hooks.slack.com/commands/T01/123/" + letters(24),
    "socket": "wss://wss-primary.slack.com/link/?ticket=" + letters(30) + "&app_id=x",
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("fireside")
    before = (list(root.handlers), root.level, ours.level)
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


def settings(environ: dict[str, str] | None = None, **given: str) -> Settings:
    return load_settings(given, environ=environ or {}, places=[])


def logged(environ: dict[str, str] | None = None, **given: str) -> io.StringIO:
    out = io.StringIO()
    set_up(settings(environ, **given), out)
    return out


def secret_part(token: str) -> str:
    """The longest run of it: what must not be seen."""
    return max("".join(c if c.isalnum() else " " for c in token).split(), key=len)


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_hidden_wherever_it_stands(kind: str, form: str):
    token, log = TOKENS[kind], logging.getLogger("fireside.x")
    out = logged(log_format=form)
    log.warning(f"before {token} after")
    log.warning("before\n%s after", token)
    log.warning("before after", extra={"url": token, "seen": [token]})
    try:
        raise OSError(f"before {token}\tafter")
    except OSError:
        log.exception("before after")
    assert secret_part(token) not in out.getvalue()
    assert out.getvalue().count(HIDDEN) == 5
    assert out.getvalue().count("before") == 5  # each: the message twice, then the error with it
    assert out.getvalue().count("\n") == 4


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_secret_of_the_settings_is_hidden_whatever_it_looks_like(form: str):
    secret = "a plain+secret, " + letters(5)
    out = logged({"SLACK_SIGNING_SECRET": secret, "MODEL_TOKEN": "short"}, log_format=form)
    logging.getLogger("slack").warning("It is '%s'; a short word stays.", secret)
    assert secret not in out.getvalue()
    assert f"It is '{HIDDEN}'; a short word stays." in out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "The file 'persona.settings.py' and 2.31.0 stay, as does https://example.org/webhooks/x.",
        "reply id=1234567890123456789 decision=abstain",
        "the bearer of news, bearer tokens, the xoxb- prefix, hf_short",
        "sha256:6388fdd82f6a57d19e8288815e5e1ca4abbfe6a6f28e9c38435a0fd82a872735",
    ],
)
def test_what_is_no_secret_stays(text: str):
    out = logged()
    logging.getLogger("fireside").info(text)
    assert out.getvalue().endswith(f" {text}\n")


def line(**given: Any) -> dict[str, Any]:
    out = logged(log_format="json")
    logging.getLogger("fireside.host").error("no %s", "reply", **given)
    (text,) = out.getvalue().splitlines()
    return json.loads(text)


def test_a_json_line_has_time_level_logger_message_facts_and_error():
    try:
        raise ModelError("The model is away.\nTry again.")
    except ModelError as exc:
        told = line(
            extra={"id": "m1", "ms": 12, "share": 0.5, "cold": True, "none": None, "path": ("a",)}, exc_info=exc
        )
    assert told.pop("ts").endswith("Z")
    assert told.pop("at").startswith("test_logs.py:")
    assert told == {
        "level": "error",
        "logger": "fireside.host",
        "message": "no reply",
        "id": "m1",
        "ms": 12,
        "share": 0.5,
        "cold": True,
        "none": None,
        "path": "('a',)",
        "error": "ModelError",
        "error_message": "The model is away. Try again.",
    }


def test_facts_do_not_replace_what_every_line_has():
    assert line(extra={"level": "calm", "ts": 0})["level"] == "error"


def test_a_console_line_is_one_line_with_the_error_in_words():
    out = logged()
    log = logging.getLogger("fireside.host")
    log.info("reply", extra={"id": "m1", "ms": 12})
    log.error("It broke:\n\x1b[31mred", exc_info=ValueError("a lamp\nwent out"))
    log.error("It broke.", exc_info=TimeoutError())
    first, second, third = (text.split(" ", 1) for text in out.getvalue().splitlines())
    assert len(first[0]) == len("12:00:00")
    assert first[1] == "reply id=m1 ms=12"
    assert second[1] == "error: It broke: [31mred (ValueError: a lamp went out)"
    assert third[1] == "error: It broke. (TimeoutError)"


def test_libraries_are_heard_from_warnings_on_and_we_from_the_level_set():
    out = logged(log_level="debug")
    logging.getLogger("discord.gateway").setLevel(logging.DEBUG)  # as bm25s does
    for name in ("discord.gateway", "fireside.x"):
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger(name), level)(f"{name} {level}")
    assert [text.split()[-2:] for text in out.getvalue().splitlines()] == [
        ["discord.gateway", "warning"],
        *(["fireside.x", level] for level in ("debug", "info", "warning")),
    ]
    logging.getLogger("discord.gateway").setLevel(logging.NOTSET)


def test_set_up_again_changes_level_and_format_and_doubles_no_line():
    logged(log_level="debug")
    out = logged(log_level="error", log_format="json")
    logging.getLogger("fireside").warning("quiet")
    logging.getLogger("fireside").error("loud")
    (text,) = out.getvalue().splitlines()
    assert json.loads(text)["message"] == "loud"


def test_a_message_that_its_arguments_do_not_fit_stands_as_it_is():
    out, text = logged(), "100% of %s %s"
    logging.getLogger("fireside").info(text, "it")
    assert out.getvalue().endswith(f"{text}\n")
