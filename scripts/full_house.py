"""The bot in a full house: what the benchmarks of all platforms share.

The bot runs in a process of its own, over real sockets, against the fake of its platform. Nothing is asserted: it is said
which targets were reached. Like any benchmark it wants the machine for itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar, cast

from bot.desk import BROKEN
from bot.host import FULL, NOT_HERE, TOO_FAST
from persona.errors import InputError
from persona.settings import load_settings
from scripts.bots import scratch
from scripts.running import exit_code

if TYPE_CHECKING:
    from bot.running import Parts
    from persona.pipeline import Answered, Fireside
    from persona.settings import Settings
    from persona.types import Question
    from scripts.bench_model import Measured, Report

Figures = dict[str, Any]
NAP = 0.005  # seconds that the task sleeps whose lateness is the loop's lag
LOOK = 0.1  # seconds between two looks at who has been answered
LATEST = 50.0  # ms of lag, p99
FAKE_PACE = 0.05  # seconds that an answer of the fake voice takes
REFUSALS = tuple(text.partition("{")[0] for text in (FULL, TOO_FAST, NOT_HERE, BROKEN))
PLACE = re.compile(r"number \d+ in the queue")


class Sizes(NamedTuple):
    """How many ask, where, within how many seconds; and for how many more each is waited for."""

    people: int = 200
    channels: int = 20
    seconds: float = 10.0
    patience: float = 300.0


class Asked(Protocol):
    """A question, and what has come of it so far."""

    @property
    def outcome(self) -> str:
        """ "answered", "refused", or "" as long as it is neither."""
        ...

    @property
    def told_place(self) -> bool:
        """Whether the person was told their place in the queue."""
        ...

    @property
    def newest(self) -> str:
        """What the newest of the bot's messages reads."""
        ...

    @property
    def done(self) -> float:
        """Seconds to the last that has come of an answer."""
        ...


A = TypeVar("A", bound=Asked)


class Rush(NamedTuple, Generic[A]):
    """What was asked, by when (of the monotonic clock), and how many MB the bot held before and after it."""

    asked: list[A]
    begun: float
    ended: float
    before: float | None
    after: float | None


class House(NamedTuple):
    """A platform's part: its name, what measures there, what serves there as `fireside <name>` does,
    its own lines of the table (a figure's key, what it says, its unit) and its own targets."""

    platform: str
    measure: Callable[[str, Path, Sizes], Awaitable[Figures]]
    serve: Callable[[Parts], Awaitable[None]]
    lines: Sequence[tuple[str, str, str]]
    targets: Callable[[Figures], dict[str, bool]] = lambda _: {}


def command(house: str, notes: Path, voice: str) -> list[str]:
    """What runs the bot with a probe in its event loop; `house` is the script's module."""
    return [sys.executable, "-m", house, "--bot", str(notes), "--voice", voice]


async def rush(
    process: asyncio.subprocess.Process, sizes: Sizes, ask: Callable[[int, str], Awaitable[A]], *, settle: float = 0.0
) -> Rush[A]:
    """Has everyone ask at a moment of their own, and waits until each is answered or refused. `settle`: seconds until the
    bot has done what a start takes."""
    await asyncio.sleep(settle)
    before, begun = memory(process.pid), time.monotonic()
    texts, dice = questions(sizes.people), random.Random(0)
    moments = sorted(dice.uniform(0, sizes.seconds) for _ in texts)

    async def at_its_moment(number: int) -> A:
        await asyncio.sleep(begun + moments[number] - time.monotonic())
        return await ask(number, texts[number])

    asked = await asyncio.gather(*map(at_its_moment, range(sizes.people)))
    late = time.monotonic() + sizes.patience
    while time.monotonic() < late and process.returncode is None and not all(a.outcome for a in asked):
        await asyncio.sleep(LOOK)
    return Rush(asked, begun, time.monotonic(), before, memory(process.pid))


def figures_of(voice: str, sizes: Sizes, rushed: Rush[A], notes: Path, own: Figures) -> Figures:
    """All figures; `own` are the platform's, `notes` what the probe in the bot wrote at its end."""
    lags = [
        (at, late) for at, late in json.loads(notes.read_text(encoding="utf-8")) if rushed.begun <= at <= rushed.ended
    ]
    return {
        "people": sizes.people,
        "channels": sizes.channels,
        "seconds": sizes.seconds,
        "voice": voice,
        **outcomes(rushed.asked),
        **own,
        "answer_s": spread([a.done for a in rushed.asked if a.outcome == "answered"], unit=1.0),
        "loop_lag_ms": spread([late for _, late in lags], unit=1.0),
        # The calm while the last ones are answered would hide the rush.
        "loop_lag_asking_ms": spread([late for at, late in lags if at <= rushed.begun + sizes.seconds], unit=1.0),
        "rss_before_mb": rushed.before,
        "rss_after_mb": rushed.after,
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
    return {
        "answered": sum(a.outcome == "answered" for a in asked),
        "told_place": told,
        "still_waiting": waits,
        "refused": len(refused),
        "refusals": dict(Counter(a.newest.partition(".")[0] for a in refused)),
        "silent": silent,
    }


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


def shown(figures: Figures, lines: Sequence[tuple[str, str, str]]) -> Measured:
    """The figures as a table; `lines` are the platform's own."""
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
        *((says, line(name, unit)) for name, says, unit in lines),
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


def verdicts(figures: Figures, own: dict[str, bool] | None = None) -> list[tuple[str, str]]:
    """Each target, and whether it was reached; `own` are the platform's."""
    lags = [figures[name].get("p99", LATEST + 1) for name in ("loop_lag_ms", "loop_lag_asking_ms")]
    reached = {
        f"event-loop lag p99 at most {LATEST:.0f} ms": max(lags) <= LATEST,
        "everyone answered or told their place": not figures["refused"] and not figures["silent"],
        **(own or {}),
    }
    return [(says, "reached" if whether else "missed") for says, whether in reached.items()]


def bench(house: House, voice: str, data: Path, sizes: Sizes, report: Report) -> None:
    """Machine, figures, targets."""
    from scripts.bench import machine
    from scripts.bench_model import Measured

    async def measured() -> Figures:
        return await house.measure(voice, data, sizes)

    about = dict(machine())
    report.add(Measured("Machine", list(about.items()), {"machine": about}))
    report.add(shown(asyncio.run(measured()), house.lines))
    told = verdicts(report.figures, house.targets(report.figures))
    report.add(Measured("Targets", list(told), {"targets": dict(told)}))


def serve(house: House, voice: str, notes: Path) -> None:
    """The bot's process: as `fireside <platform>`, beside a task that notes how late it is woken."""
    from bot.logs import set_up

    settings = load_settings(None if voice == "fake" else {"voice": voice})
    set_up(settings)
    lags = asyncio.run(_probed(house.serve(_parts(voice, settings))))
    notes.write_text(json.dumps(lags), encoding="utf-8")


def _parts(voice: str, settings: Settings) -> Parts:
    from bot.running import Parts
    from persona.opening import open_fireside

    def opened(_other: str = "") -> Fireside:
        return cast("Fireside", Echo()) if voice == "fake" else open_fireside(settings)

    return Parts(settings, opened, opened, lambda: settings)


async def _probed(serving: Awaitable[None]) -> list[tuple[float, float]]:
    """When the task was to be woken next, by the monotonic clock, and how many milliseconds late it was; until the end."""
    lags: list[tuple[float, float]] = []

    async def probe() -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(NAP)
            lags.append((begun, (time.monotonic() - begun - NAP) * 1000))

    probing = asyncio.create_task(probe())
    try:
        await serving
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


def main(house: House) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=f"Measure the {house.platform} bot in a full house.")
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
            serve(house, options.voice, options.bot)
            return
        sizes = Sizes(options.people, options.channels, options.seconds, options.patience)
        if min(sizes) <= 0:
            raise InputError("--people, --channels, --seconds and --patience have to be more than 0.")
        from rich.console import Console

        from scripts.bench_model import Report

        with scratch(options.data_dir or load_settings().data_dir) as data:
            bench(house, options.voice, data, sizes, Report(options.json, Console()))

    return exit_code(work)
