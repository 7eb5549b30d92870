from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bot.scripted import Scripted
from tests.bot.slack.running import Bot, running
from tests.slack_fake import FakeSlack


@pytest.fixture
async def fake() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as made:
        yield made


@pytest.fixture(params=["socket", "http"])
async def bot(fake: FakeSlack, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bot]:
    async with running(fake, Scripted(), tmp_path, mode=request.param) as made:
        yield made
