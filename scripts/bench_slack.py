"""Measures the bot in a full house (`make bench-slack`): many people ask within seconds, in many channels.

    python scripts/bench_slack.py                                        200 people in 20 channels within 10 s
    python scripts/bench_slack.py --people 20 --channels 4 --json OUT    fewer; the figures go to OUT as well

Slack is tests/slack_fake, in Socket Mode. Every other person mentions the bot, the rest use `/fireside ask`. See
scripts/full_house.py.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bot.slack.rendering import reading
from scripts import full_house
from scripts.bots import REPLY_SECONDS, in_a_sentence
from scripts.demo_slack import COMMAND, connected
from scripts.full_house import PLACE, REFUSALS, Figures, House, Sizes, figures_of, rush, spread
from tests.slack_fake import Channel, Delivery, FakeSlack, Message, Person

if TYPE_CHECKING:
    from bot.running import Parts

LATEST_ACK = 1000.0  # ms; Slack itself waits for three seconds


class Asked(NamedTuple):
    """A question: a message, or a command (a `full_house.Asked`)."""

    at: float  # of the fake's clock
    person: Person
    channel: Channel
    question: Message | Delivery

    @property
    def deliveries(self) -> list[Delivery]:
        """What the bot was sent: a command, or a mention, which comes as two events."""
        if isinstance(self.question, Delivery):
            return [self.question]
        told = (*self.person.fake.events("app_mention"), *self.person.fake.events("message"))
        where = (self.channel.id, self.question.ts)
        return [d for d in told if (d.payload["event"].get("channel"), d.payload["event"].get("ts")) == where]

    @property
    def replies(self) -> list[Message]:
        """What the bot has posted as its reply, in whatever state."""
        if isinstance(self.question, Delivery):
            return [m for m in self.channel.ephemerals if m.only_for is self.person.user]
        bot = self.person.fake.bot
        return [m for m in self.channel.thread(self.question) if m.user is bot]

    @property
    def outcome(self) -> str:
        """ "answered", "refused", or "" as long as it is neither."""
        replies = self.replies
        if any(m.buttons for m in replies):  # a whole reply has buttons
            return "answered"
        return "refused" if any(reading(m.text).startswith(REFUSALS) for m in replies) else ""

    @property
    def told_place(self) -> bool:
        """Whether the person was told their place in the queue."""
        texts = [text for m in self.replies for text in (m.text, *(edit.text for edit in m.edits))]
        return any(map(PLACE.search, [*texts, *(status for status, _ in self.statuses)]))

    @property
    def newest(self) -> str:
        """What the newest of the bot's messages reads."""
        return reading(self.replies[-1].text)

    @property
    def done(self) -> float:
        """Seconds to the last that has come of an answer."""
        last = self.replies[-1]
        return (last.edits[-1].at if last.edits else float(last.ts)) - self.at

    @property
    def statuses(self) -> list[tuple[str, float]]:
        """What stood beside the app's name in the thread, and since when."""
        if isinstance(self.question, Delivery):
            return []
        key = (self.channel.id, self.question.ts)
        return [(status, at) for channel, ts, status, _, at in self.person.fake.statuses if (channel, ts) == key]


async def measure(voice: str, data: Path, sizes: Sizes) -> Figures:
    """Starts the bot, has everyone ask, and gives the figures. `voice` "fake" answers by a script, after a moment."""
    fake = FakeSlack()
    people = [fake.person(f"Person{number}") for number in range(sizes.people)]
    channels = [fake.channel(f"room-{number}") for number in range(sizes.channels)]

    async def ask(number: int, text: str) -> Asked:
        person, channel, at = people[number], channels[number % len(channels)], fake.now()
        if number // len(channels) % 2:
            return Asked(at, person, channel, await person.command(COMMAND, f"ask {text}", channel))
        return Asked(at, person, channel, await person.say(channel, f"{fake.bot.mention} {text}"))

    await fake.start()
    with tempfile.TemporaryDirectory() as temporary:
        notes = Path(temporary) / "lag.json"
        command = full_house.command("scripts.bench_slack", notes, voice)
        try:
            async with connected(fake, command, {"FIRESIDE_DATA_DIR": str(data)}) as process:
                # A question would count towards the limits of those that are measured.
                visitor = fake.person("Visitor")
                with in_a_sentence():
                    await visitor.command(COMMAND, "help")
                    await fake.until(lambda: fake.ephemerals(visitor), REPLY_SECONDS)
                rushed = await rush(process, sizes, ask)
        finally:
            await fake.stop()
        return figures_of(voice, sizes, rushed, notes, own_figures(rushed.asked))


def own_figures(asked: Sequence[Asked]) -> Figures:
    """Seconds from the arrival of each envelope to its acknowledgement, by the fake, and to the status of each mention;
    a command shows no sign before its reply."""
    deliveries = [delivery for one in asked for delivery in one.deliveries]
    return {
        "ack_ms": spread([d.acked_at - d.tries[0].at if d.acked_at and d.tries else None for d in deliveries]),
        "status_ms": spread(
            [next((at - a.at for _, at in a.statuses), None) for a in asked if isinstance(a.question, Message)]
        ),
    }


def targets(figures: Figures) -> dict[str, bool]:
    """What Slack alone asks for."""
    acks = figures["ack_ms"]
    return {f"each ack within {LATEST_ACK / 1000:g} s": not acks["missing"] and acks.get("max", 0.0) <= LATEST_ACK}


async def serve(parts: Parts) -> None:
    """As `fireside slack`."""
    from bot.slack import run

    await run.serve(parts, run.check_tokens(parts.settings))


LINES = (
    ("ack_ms", "to the ack of an envelope", "ms"),
    ("status_ms", "to the status, of mentions", "ms"),
)
HOUSE = House("Slack", measure, serve, LINES, targets)


if __name__ == "__main__":
    sys.exit(full_house.main(HOUSE))
