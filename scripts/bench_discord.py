"""Measures the bot in a full house (`make bench-discord`): many people ask within seconds, in many channels.

    python scripts/bench_discord.py                                        200 people in 20 channels within 10 s
    python scripts/bench_discord.py --people 20 --channels 4 --json OUT    fewer; the figures go to OUT as well

Discord is tests/discord_fake. Every other person mentions the bot, the rest use /ask. See scripts/full_house.py.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bot.discord.rendering import reading
from scripts import full_house
from scripts.bots import REPLY_SECONDS, in_a_sentence
from scripts.demo_discord import connected
from scripts.full_house import PLACE, REFUSALS, Figures, House, Sizes, figures_of, rush, spread
from tests.discord_fake import Channel, FakeDiscord, Interaction, Message

if TYPE_CHECKING:
    from bot.running import Parts

SETTLES = 3.0  # seconds after the start: the library waits for its servers for two


class Asked(NamedTuple):
    """A question: a message, or an interaction (a `full_house.Asked`)."""

    at: float  # of the fake's clock
    channel: Channel
    question: Message | Interaction

    @property
    def replies(self) -> list[Message]:
        """What the bot has posted as its reply, in whatever state; a long one is several messages."""
        if isinstance(self.question, Interaction):
            return [m for m in self.question.messages if not m.loading and not m.deleted]
        return [m for m in self.channel.messages.values() if m.reply_to is self.question]

    @property
    def outcome(self) -> str:
        """ "answered", "refused", or "" as long as it is neither."""
        replies = self.replies
        if any(m.components for m in replies):  # a whole reply has buttons
            return "answered"
        return "refused" if any(reading(m.content).startswith(REFUSALS) for m in replies) else ""

    @property
    def told_place(self) -> bool:
        """Whether the person was told their place in the queue."""
        return any(PLACE.search(state.content) for m in self.replies for state in m.edits)

    @property
    def newest(self) -> str:
        """What the newest of the bot's messages reads."""
        return reading(self.replies[-1].content)

    @property
    def done(self) -> float:
        """Seconds to the last that has come of an answer."""
        return self.replies[-1].edits[-1].at - self.at


async def measure(voice: str, data: Path, sizes: Sizes) -> Figures:
    """Starts the bot, has everyone ask, and gives the figures. `voice` "fake" answers by a script, after a moment."""
    fake = FakeDiscord()
    channels = [fake.channel(fake.guild, f"room-{number}") for number in range(sizes.channels)]
    people = [fake.user(f"person{number}") for number in range(sizes.people)]
    for person in people:
        fake.join(fake.guild, person)

    async def ask(number: int, text: str) -> Asked:
        person, channel, at = people[number], channels[number % len(channels)], fake.now()
        if number // len(channels) % 2:
            return Asked(at, channel, await fake.command(person, channel, "ask", {"question": text}))
        return Asked(at, channel, await fake.say(person, channel, text, mention_bot=True))

    await fake.start()
    with tempfile.TemporaryDirectory() as temporary:
        notes = Path(temporary) / "lag.json"
        command = full_house.command("scripts.bench_discord", notes, voice)
        try:
            async with connected(fake, command, {"FIRESIDE_DATA_DIR": str(data)}) as process:
                # A question would count towards the limits of those that are measured.
                with in_a_sentence():
                    await (await fake.command(fake.alice, fake.general, "status")).reply(REPLY_SECONDS)
                rushed = await rush(process, sizes, ask, settle=0 if voice == "fake" else SETTLES)
        finally:
            await fake.stop()
        defers = [a.question.acknowledged_after for a in rushed.asked if isinstance(a.question, Interaction)]
        own = {"typing_ms": spread(first_typing(rushed.asked, fake.typing)), "defer_ms": spread(defers)}
        return figures_of(voice, sizes, rushed, notes, own)


def first_typing(asked: Sequence[Asked], typing: Sequence[tuple[Channel, float]]) -> list[float | None]:
    """Seconds until each mention's indicator, None without one: in a channel each takes the first after it that is left."""
    left = sorted(typing, key=lambda seen: seen[1])
    out: list[float | None] = []
    for one in sorted((a for a in asked if isinstance(a.question, Message)), key=lambda a: a.at):
        found = next((seen for seen in left if seen[0] is one.channel and seen[1] >= one.at), None)
        if found is not None:
            left.remove(found)
        out.append(None if found is None else found[1] - one.at)
    return out


async def serve(parts: Parts) -> None:
    """As `fireside discord`."""
    from bot.discord import run

    token = run.check_token(parts.settings)
    run.quiet()
    run.point_at(parts.settings)
    await run.serve(parts, token)


LINES = (
    ("typing_ms", "to the typing indicator", "ms"),
    ("defer_ms", "to the defer of a command", "ms"),
)
HOUSE = House("Discord", measure, serve, LINES)


if __name__ == "__main__":
    sys.exit(full_house.main(HOUSE))
