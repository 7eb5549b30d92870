"""A fake Slack, and the bot connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.slack.views import ABOUT, SEARCH
from tests.bot.scripted import Scripted
from tests.bot.slack.running import Bot, running
from tests.slack_fake import FakeSlack


@pytest.fixture
async def fake() -> AsyncIterator[FakeSlack]:
    async with FakeSlack(shortcuts=(ABOUT, SEARCH)) as made:
        yield made


@pytest.fixture
async def bot(fake: FakeSlack, tmp_path: Path) -> AsyncIterator[Bot]:
    async with running(fake, Scripted(), tmp_path) as made:
        yield made


@pytest.fixture(params=["socket", "http"])
async def either(fake: FakeSlack, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bot]:
    """By Socket Mode, and by signed requests."""
    async with running(fake, Scripted(), tmp_path, mode=request.param) as made:
        yield made
