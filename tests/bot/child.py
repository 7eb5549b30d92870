"""A bot in a process of its own whose persona takes its time: `python -m tests.bot.child discord SECONDS`.

Settings come from the environment, as for `fireside discord`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from typing import Any

from bot.running import Parts
from persona.pipeline import Answered
from persona.settings import load_settings
from persona.types import Question
from tests.bot.scripted import Scripted


class Slow(Scripted):
    """Answers after so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def stream(self, question: Question, *, user: str = "", seed: int = 0) -> AsyncGenerator[str | Answered]:
        await asyncio.sleep(self._seconds)
        async for part in super().stream(question, user=user, seed=seed):
            yield part


def main(platform: str, seconds: float) -> None:
    settings = load_settings()

    def opened(_name: str = "") -> Any:
        return Slow(seconds)

    parts = Parts(settings, opened, opened, load_settings)
    if platform == "discord":
        from bot.discord.run import run
    else:
        from bot.slack.run import run
    run(parts)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
