"""The settings' example: real keys, no values."""

from __future__ import annotations

import re

import pytest

from persona.settings import PREFIX, SECRETS, load_settings, setting_names
from tests.deploy import COMPOSE, CUDA, EXAMPLE, text

LINES = [line for line in text(EXAMPLE).splitlines() if line and not line.startswith("#")]
KEYS = [line.partition("=")[0] for line in LINES]


def test_it_has_no_values():
    assert [line for line in LINES if not re.fullmatch(r"[A-Z_]+=", line)] == []


def test_it_has_every_secret():
    assert set(SECRETS) <= set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_a_setting_or_compose_reads_it(key: str):
    known = {PREFIX + name.upper() for name in setting_names()} | set(SECRETS)
    assert key in known or f"${{{key}:-" in text(COMPOSE)
    assert KEYS.count(key) == 1


def test_all_that_compose_reads_is_in_it():
    read = re.findall(r"\$\{(\w+)", text(COMPOSE) + text(CUDA))
    assert set(read) <= set(KEYS)


def test_an_unchanged_copy_changes_nothing():
    filled = dict.fromkeys(KEYS, "")
    assert load_settings(environ=filled, places=[]) == load_settings(environ={}, places=[])


def test_git_does_not_take_the_copy():
    assert ".env" in text(EXAMPLE.parent / ".gitignore").splitlines()
