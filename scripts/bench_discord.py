"""Measures the bot in a full house (`make bench-discord`): many people ask within seconds, in many channels.

    python scripts/bench_discord.py                                        200 people in 20 channels within 10 s
    python scripts/bench_discord.py --people 20 --channels 4 --json OUT    fewer; the figures go to OUT as well

The bot runs in a process of its own, over real sockets, against tests/discord_fake. Every other person mentions it, the rest
use /ask. It asserts nothing: it says which targets were reached. Like any benchmark it wants the machine for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from bot.desk import BROKEN
from bot.discord.rendering import reading
from bot.host import FULL, NOT_HERE, TOO_FAST
from persona.errors import InputError
from persona.settings import load_settings
from scripts.demo_discord import REPLY_SECONDS, connected, in_a_sentence, scratch
from scripts.running import exit_code
from tests.discord_fake import Channel, FakeDiscord, Interaction, Message

Figures = dict[str, Any]

if TYPE_CHECKING:
    from bot.running import Parts
    from persona.pipeline import Answered, Fireside
    from persona.types import Question
    from scripts.bench_model import Measured, Report

NAP = 0.005  # seconds that the task sleeps whose lateness is the loop's lag
LOOK = 0.1  # seconds between two looks at who has been answered
LATEST = 50.0  # ms of lag, p99
FAKE_PACE = 0.05  # seconds that an answer of the fake voice takes
SETTLES = 3.0  # seconds after the start: the library waits for its servers for two
REFUSALS = tuple(text.partition("{")[0] for text in (FULL, TOO_FAST, NOT_HERE, BROKEN))
_PLACE = re.compile(r"number \d+ in the queue")


class Sizes(NamedTuple):
    """How many ask, where, within how many seconds; and for how many more each is waited for."""

    people: int = 200
    channels: int = 20
    seconds: float = 10.0
    patience: float = 300.0


class Asked(NamedTuple):
    """A question: a message, or an interaction."""

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
        return any(_PLACE.search(state.content) for m in self.replies for state in m.edits)

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
    await fake.start()
    with tempfile.TemporaryDirectory() as temporary:
        notes = Path(temporary) / "lag.json"
        command = [sys.executable, "-m", "scripts.bench_discord", "--bot", str(notes), "--voice", voice]
        try:
            async with connected(fake, command, {"FIRESIDE_DATA_DIR": str(data)}) as process:
                # A question would count towards the limits of those that are measured.
                with in_a_sentence():
                    await (await fake.command(fake.alice, fake.general, "status")).reply(REPLY_SECONDS)
                await asyncio.sleep(0 if voice == "fake" else SETTLES)
                before, begun = memory(process.pid), time.monotonic()
                texts, dice = questions(sizes.people), random.Random(0)
                moments = sorted(dice.uniform(0, sizes.seconds) for _ in people)

                async def ask(number: int) -> Asked:
                    await asyncio.sleep(begun + moments[number] - time.monotonic())
                    channel, at = channels[number % len(channels)], fake.now()
                    if number // len(channels) % 2:
                        made = await fake.command(people[number], channel, "ask", {"question": texts[number]})
                        return Asked(at, channel, made)
                    return Asked(at, channel, await fake.say(people[number], channel, texts[number], mention_bot=True))

                asked = await asyncio.gather(*map(ask, range(sizes.people)))
                late = time.monotonic() + sizes.patience
                while time.monotonic() < late and process.returncode is None and not all(a.outcome for a in asked):
                    await asyncio.sleep(LOOK)
                after, ended = memory(process.pid), time.monotonic()
        finally:
            await fake.stop()
        lags = [(at, late) for at, late in json.loads(notes.read_text(encoding="utf-8")) if begun <= at <= ended]
    return {
        "people": sizes.people,
        "channels": sizes.channels,
        "seconds": sizes.seconds,
        "voice": voice,
        **outcomes(asked),
        "typing_ms": spread(first_typing(asked, fake.typing)),
        "defer_ms": spread([a.question.acknowledged_after for a in asked if isinstance(a.question, Interaction)]),
        "answer_s": spread([a.done for a in asked if a.outcome == "answered"], unit=1.0),
        "loop_lag_ms": spread([late for _, late in lags], unit=1.0),
        # The calm while the last ones are answered would hide the rush.
        "loop_lag_asking_ms": spread([late for at, late in lags if at <= begun + sizes.seconds], unit=1.0),
        "rss_before_mb": before,
        "rss_after_mb": after,
    }


def questions(number: int) -> list[str]:
    """So many questions out of evals/cases that stand for themselves, at even distances; few of them twice."""
    from evals.cases import load_cases

    cases = [c for c in load_cases() if not c.history and c.suite in ("answerable", "near_miss", "off_topic")]
    return [cases[i * len(cases) // number].question for i in range(number)]


def outcomes(asked: Sequence[Asked]) -> Figures:
    """How many were answered, were told their place (most of them are answered later), were refused, heard nothing."""
    told = sum(a.told_place for a in asked)
    silent = sum(not a.outcome and not a.told_place for a in asked)
    waits = sum(not a.outcome and a.told_place for a in asked)
    refused = [a for a in asked if a.outcome == "refused"]
    texts = Counter(reading(a.replies[-1].content).partition(".")[0] for a in refused)
    return {
        "answered": sum(a.outcome == "answered" for a in asked),
        "told_place": told,
        "still_waiting": waits,
        "refused": len(refused),
        "refusals": dict(texts),
        "silent": silent,
    }


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


def spread(values: Iterable[float | None], unit: float = 1000.0) -> Figures:
    """p50, p99 and maximum, times `unit`; and how many there are, and lack."""
    import numpy as np

    values = list(values)
    there = [value * unit for value in values if value is not None]
    figures: Figures = {"n": len(there), "missing": len(values) - len(there)}
    if there:
        p50, p99 = (float(p) for p in np.percentile(there, [50, 99]))
        figures |= {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(max(there), 2)}
    return figures


def memory(process: int) -> float | None:
    """MB that a process holds; None where the system has no /proc to tell it."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def shown(figures: Figures) -> Measured:
    """The figures as a table."""
    from scripts.bench_model import Measured

    def line(name: str, unit: str) -> str:
        part = figures[name]
        if "p50" not in part:
            return "none"
        told = ", ".join(f"{key} {part[key]:.1f}" for key in ("p50", "p99", "max"))
        return f"{told} {unit} ({part['n']}{' of ' + str(part['n'] + part['missing']) if part['missing'] else ''})"

    def megabytes(value: float | None) -> str:
        return "the system does not tell" if value is None else f"{value:.0f} MB"

    rows = [
        ("to the typing indicator", line("typing_ms", "ms")),
        ("to the defer of a command", line("defer_ms", "ms")),
        ("to the answer", line("answer_s", "s")),
        ("event-loop lag", line("loop_lag_ms", "ms")),
        ("while they ask", line("loop_lag_asking_ms", "ms")),
        ("memory before, after", ", ".join(megabytes(figures[f"rss_{when}_mb"]) for when in ("before", "after"))),
        ("answered", str(figures["answered"])),
        ("told their place", f"{figures['told_place']}, {figures['still_waiting']} of them not answered in time"),
        ("refused", f"{figures['refused']}{_listed(figures['refusals'])}"),
        ("silent", str(figures["silent"])),
    ]
    title = (
        f"{figures['people']} people in {figures['channels']} channels within {figures['seconds']:g} s, "
        f"voice: {figures['voice']}"
    )
    return Measured(title, rows, figures)


def _listed(refusals: dict[str, int]) -> str:
    return f" ({', '.join(f'{text}: {number}' for text, number in refusals.items())})" if refusals else ""


def verdicts(figures: Figures) -> list[tuple[str, str]]:
    """Each target, and whether it was reached."""
    lags = [figures[name].get("p99", LATEST + 1) for name in ("loop_lag_ms", "loop_lag_asking_ms")]
    reached = {
        f"event-loop lag p99 at most {LATEST:.0f} ms": max(lags) <= LATEST,
        "everyone answered or told their place": not figures["refused"] and not figures["silent"],
    }
    return [(says, "reached" if whether else "missed") for says, whether in reached.items()]


def bench(voice: str, data: Path, sizes: Sizes, report: Report) -> None:
    """Machine, figures, targets."""
    from scripts.bench import machine
    from scripts.bench_model import Measured

    about = dict(machine())
    report.add(Measured("Machine", list(about.items()), {"machine": about}))
    report.add(shown(asyncio.run(measure(voice, data, sizes))))
    told = verdicts(report.figures)
    report.add(Measured("Targets", list(told), {"targets": dict(told)}))


def serve(voice: str, notes: Path) -> None:
    """The bot's process: as `fireside discord`, beside a task that notes how late it is woken."""
    from bot.discord.run import check_token, point_at, quiet
    from bot.logs import set_up
    from bot.running import Parts
    from persona.opening import open_fireside

    settings = load_settings(None if voice == "fake" else {"voice": voice})
    token = check_token(settings)
    set_up(settings)
    quiet()
    point_at(settings)

    def opened(_other: str = "") -> Fireside:
        return cast("Fireside", Echo()) if voice == "fake" else open_fireside(settings)

    lags = asyncio.run(_serve(Parts(settings, opened, opened, lambda: settings), token))
    notes.write_text(json.dumps(lags), encoding="utf-8")


async def _serve(parts: Parts, token: str) -> list[tuple[float, float]]:
    """When the task was to be woken next, by the monotonic clock, and how many milliseconds late it was; until the end."""
    from bot.discord import run

    lags: list[tuple[float, float]] = []

    async def probe() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(NAP)
            lags.append((begun, (time.monotonic() - begun - NAP) * 1000))

    probing = asyncio.create_task(probe())
    try:
        await run.serve(parts, token)
    finally:
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing
    return lags


class Echo:
    """As much of a Fireside as an answer needs, without a corpus or a model: it repeats the question, after a moment."""

    writer = None

    def __init__(self) -> None:
        from persona.card import load_card

        self.card = load_card("ilya")

    async def stream(self, question: Question, *, user: str, seed: int) -> AsyncGenerator[Answered]:
        """The one answer that there is."""
        from persona.pipeline import Answered
        from persona.types import Reason, Reply, Trace

        del user, seed
        await asyncio.sleep(FAKE_PACE)
        reply = Reply(
            id=question.id,
            question=question.text,
            decision=Reason.SUPPORTED.decision,
            reason=Reason.SUPPORTED,
            text=f"You asked: {question.text}",
            confidence=1.0,
            threshold=0.5,
            risk="not certified",
            voice="quotes",
        )
        yield Answered(reply, Trace())


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure the Discord bot in a full house.")
    standard = Sizes()
    parser.add_argument("--people", type=int, default=standard.people, help="who ask (default: %(default)s)")
    parser.add_argument("--channels", type=int, default=standard.channels, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=standard.seconds, help="all ask in (default: %(default)s)")
    parser.add_argument(
        "--patience", type=float, default=standard.patience, help="seconds for their answers (default: %(default)s)"
    )
    parser.add_argument(
        "--voice",
        choices=("quotes", "model", "fake"),
        default="quotes",
        help="who answers; fake: a script, to try the rest (default: %(default)s)",
    )
    parser.add_argument("--data-dir", type=Path, help="folder with a built index, which is copied (default: yours)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--bot", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()

    def work() -> None:
        if options.bot:
            serve(options.voice, options.bot)
            return
        sizes = Sizes(options.people, options.channels, options.seconds, options.patience)
        if min(sizes) <= 0:
            raise InputError("--people, --channels, --seconds and --patience have to be more than 0.")
        from rich.console import Console

        from scripts.bench_model import Report

        with scratch(options.data_dir or load_settings().data_dir) as data:
            bench(options.voice, data, sizes, Report(options.json, Console()))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
