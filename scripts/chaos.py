"""Asks the bot thousands of questions while everything around it breaks; says whether it kept its promises (`make chaos`).

    python scripts/chaos.py                                    both platforms, 25 minutes
    python scripts/chaos.py --seconds 60 --platform discord    a shorter one; --questions: at most so many a phase
    python scripts/chaos.py --json OUT --seed 7                the figures go to OUT as well; another course of events

The bot is `fireside discord` or `fireside slack` in a process of its own, over real sockets: against tests/discord_fake or
tests/slack_fake, a real Chroma server with the bundled persona's index, and a chat model's server that misbehaves. A phase
for each kind of trouble, and a last one for all of them at once. Everything is on 127.0.0.1. Exit code 1 where a promise is
broken: every question is answered once, or its asker is told why not; what was acknowledged is kept; the index is whole; no
process ends by itself, or takes longer than ten seconds to stop; memory stays flat. One thing is counted, and breaks no
promise: a reply that came again because the platform failed once it had shown it to its asker alone, where no look finds it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bot.store import FILE, Store
from persona.errors import FiresideError, InputError
from persona.settings import load_settings
from scripts.bots import bot_command, scratch
from scripts.chaos_house import HOUSES, Asked, House
from scripts.chaos_parts import Bot, ModelServer, Mood
from scripts.full_house import questions, spread
from scripts.running import exit_code
from tests.discord_fake import NotOffered as NotOnDiscord
from tests.servers import ChromaServer
from tests.slack_fake import NotOffered as NotOnSlack

if TYPE_CHECKING:
    from scripts.bench_model import Measured, Report

Figures = dict[str, Any]
SECONDS = 1500.0  # of asking, both platforms together; starts and ends take about a minute
AT_ONCE = 24  # questions that are open at the same time
EVERY = 0.5  # seconds after which another one is asked, however many are open
MOST_OPEN = 160  # below the queue's length: who is refused because it is full learns nothing about the bot
LOOK = 0.1  # seconds between two looks at what has come of the questions
PATIENCE = 60.0  # seconds after a phase that its last questions have
STEADY = ("calm", "gateway", "errors", "chroma", "model", "disk")  # in one process; the others kill it
PHASES = (*STEADY, "kill", "everything")
STARTS = 20  # tries
LEFT_OUT = 0.1  # of a process's questions: what is loaded with the first ones is no leak
ENOUGH = 2000  # questions from which on a slope tells a leak from memories that fill up
FLAT = 10.0  # MB per 1,000 questions
PERSONA = "ilya"
SEARCHED = 4
MODES: tuple[Mood, ...] = ("hangs", "refuses", "garbles")
# What somebody does who can't be reached, or who no longer sees a button, is no mistake of the bot's.
UNDONE = (AssertionError, NotOnDiscord, NotOnSlack, TimeoutError)


class Sizes(NamedTuple):
    """How long all phases of a platform take together (seconds), how many are asked in one at most, and the seed."""

    seconds: float
    questions: int
    seed: int


class Weight(NamedTuple):
    """What a process held after so many questions."""

    process: int
    answered: int
    megabytes: float


class Chaos:
    """One platform's house, with all that its bot depends on."""

    def __init__(self, house: House, data: Path, sizes: Sizes, command: Sequence[str] = ()) -> None:
        """`command` starts the bot (by default as `fireside` does)."""
        self.house, self.sizes, self.data = house, sizes, data
        self.dice = random.Random(sizes.seed)
        self._command = command or bot_command(house.platform)
        self.chroma = ChromaServer(data / "index" / PERSONA)
        self.model = ModelServer(random.Random(sizes.seed))
        self.bot: Bot = Bot([], {}, house.up)
        self.asked: list[Asked] = []
        self.weights: list[Weight] = []
        self._texts = texts(self.dice)
        self._open: list[Asked] = []
        self._full = False  # the disk
        self._was_full = 0.0  # when it last was (monotonic clock)
        self._closed = 0
        self._since: dict[int, int] = {}  # questions that were closed when a process started

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncGenerator[None]:
        """All of it runs, and the bot is connected."""
        many = "1000000/minute"
        limits = dict.fromkeys(("FIRESIDE_LIMIT_USER", "FIRESIDE_LIMIT_CHANNEL", "FIRESIDE_LIMIT_OVERALL"), many)
        await self.house.start()
        try:
            async with self.model.serving():
                environ = {
                    "FIRESIDE_DATA_DIR": str(self.data),
                    "FIRESIDE_PERSONA": PERSONA,
                    "FIRESIDE_VOICE": "model",
                    "FIRESIDE_CHROMA_URL": self.chroma.url,
                    "FIRESIDE_MODEL_URL": self.model.url,
                    **limits,
                    **self.house.environ,
                }
                self.bot = Bot(self._command, environ, self.house.up)
                try:
                    await asyncio.to_thread(self.chroma.start)
                    await self.bot.start()
                    yield
                finally:
                    await self.bot.close()
                    self.chroma.stop(signal.SIGKILL)
        finally:
            await self.house.stop()

    async def phase(self, name: str, seconds: float) -> Figures:
        """Everyone asks while things go wrong in one way; then all is mended, and the rest is waited for."""
        first = len(self.asked)
        trouble = [asyncio.create_task(work) for work in self._troubles(name, seconds)]
        beside = [asyncio.create_task(self._live()), asyncio.create_task(self._acknowledge())]
        try:
            await self._ask_for(seconds)
            await _ended(trouble)
            await self._mend()
            late = time.monotonic() + PATIENCE
            while self._open and time.monotonic() < late:
                self.bot.pid  # noqa: B018  (says so where it has ended)
                await asyncio.sleep(LOOK)
        finally:
            await _ended([*trouble, *beside], cancel=True)
        mine = self.asked[first:]
        self._open.clear()
        return {"phase": name, **outcomes(mine)}

    async def restart(self) -> None:
        """Stops the bot as a deployment does, and starts it again."""
        await self.bot.stop()
        await self.bot.start()

    async def _ask_for(self, seconds: float) -> None:
        begun = last = time.monotonic()
        asked = 0
        while time.monotonic() < begun + seconds and asked < self.sizes.questions:
            now = time.monotonic()
            if len(self._open) < AT_ONCE or (now > last + EVERY and len(self._open) < MOST_OPEN):
                last = now
                number = len(self.asked)
                made = await self.house.ask(number, self._texts[number % len(self._texts)])
                self.asked.append(made)
                self._open.append(made)
                asked += 1
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(0.02)

    async def _live(self) -> None:
        """Looks at what has come of the questions, and at what the process holds."""
        while True:
            await self.house.tick()
            for one in list(self._open):
                if one.outcome:
                    one.seconds = time.monotonic() - one.begun
                    self._open.remove(one)
                    self._closed += 1
                await asyncio.sleep(0)
            with contextlib.suppress(FiresideError):  # it is being started again
                if (megabytes := self.bot.memory) is not None:
                    answered = self._closed - self._since.setdefault(self.bot.pid, self._closed)
                    self.weights.append(Weight(self.bot.pid, answered, megabytes))
            await asyncio.sleep(LOOK)

    async def _acknowledge(self) -> None:
        """Somebody gives feedback, and an admin changes a setting, again and again."""
        while True:
            for act in (self.house.opinion, self.house.setting):
                with contextlib.suppress(*UNDONE):
                    await act()
                await asyncio.sleep(0.5)

    async def _mend(self) -> None:
        self.house.clear()
        self.model.mood = "fine"
        if not self.chroma.runs:
            await asyncio.to_thread(self.chroma.start)
        self.bot.fill_disk(False)

    def _troubles(self, name: str, seconds: float) -> list[Any]:
        kinds: dict[str, Callable[[float], Awaitable[None]]] = {
            "gateway": self._gateway,
            "errors": self._errors,
            "chroma": self._chroma,
            "model": self._model,
            "disk": self._disk,
            "kill": self._kill,
        }
        chosen = kinds if name == "everything" else {key: kinds[key] for key in (name,) if key in kinds}
        end = time.monotonic() + seconds
        return [work(end) for work in chosen.values()]

    async def _gateway(self, end: float) -> None:
        """The connection breaks, is ended, may not be resumed."""
        while await self._pause(end, 0.5, 4.0):
            await self.house.shake(self.dice)

    async def _errors(self, end: float) -> None:
        """429 and 5xx, before the work or after it."""
        while await self._pause(end, 0.02, 0.2):
            self.house.rain(self.dice)
        self.house.clear()

    async def _chroma(self, end: float) -> None:
        """Chroma's server is ended, killed, or hangs; and comes back."""
        while await self._pause(end, 1.0, 4.0):
            if self.dice.random() < 0.4:
                self.chroma.pause()
                await self._pause(end, 1.0, 8.0)
                self.chroma.pause(False)
            else:
                await asyncio.to_thread(self.chroma.stop, self.dice.choice((signal.SIGTERM, signal.SIGKILL)))
                await self._pause(end, 0.5, 3.0)
                await asyncio.to_thread(self.chroma.start)

    async def _model(self, end: float) -> None:
        """The chat model's server hangs, refuses, or sends what is none of its language."""
        while await self._pause(end, 0.5, 3.0):
            self.model.mood = self.dice.choice(MODES)
            await self._pause(end, 1.0, 5.0)
            self.model.mood = "fine"

    async def _disk(self, end: float) -> None:
        """The disk fills up, and has room again."""
        while await self._pause(end, 0.5, 3.0):
            with contextlib.suppress(FiresideError, ProcessLookupError):  # it is being started again
                self.bot.fill_disk(True)
                self._full = True
                await self._pause(end, 1.0, 4.0)
                self._full, self._was_full = False, time.monotonic()
                self.bot.fill_disk(False)

    async def _kill(self, end: float) -> None:
        """The process is killed, or stopped, at any moment; and started again."""
        longest = min(6.0, (end - time.monotonic()) / 2)
        while await self._pause(end, 0.3, longest):
            if self.dice.random() < 0.7:
                self._excuse()
                await self.bot.kill()
            else:
                await self.bot.stop()
            await self._pause(end, 0.0, 1.0)
            await self.bot.start(STARTS)  # what it can't do without may be away

    def _excuse(self) -> None:
        """A kill follows. A command that came while the disk was full is noted nowhere, and no platform tells it again."""
        for one in self._open:
            if one.kind == "command" and (self._full or one.begun < self._was_full):
                one.excused = True

    async def _pause(self, end: float, least: float, most: float) -> bool:
        """A pause of random length; False where the phase ends before it does."""
        length = self.dice.uniform(least, most)
        left = end - time.monotonic()
        await asyncio.sleep(max(0.0, min(length, left)))
        return length < left


def texts(dice: random.Random) -> list[str]:
    """What is asked: one in `SEARCHED` is looked up in the talks, which takes long; the others are about the bot."""
    from evals.cases import load_cases

    about = [case.question for case in load_cases() if case.suite in ("greeting", "identity") and not case.history]
    looked_up = questions(len(about) // (SEARCHED - 1))
    mixed = [*about, *looked_up]
    dice.shuffle(mixed)
    return mixed


async def run(
    house: House,
    data: Path,
    sizes: Sizes,
    tell: Callable[[str], None],
    names: Sequence[str] = PHASES,
    command: Sequence[str] = (),
) -> Figures:
    """Phases on one platform; what each came to, and the promises that were broken. See Chaos for `command`."""
    chaos = Chaos(house, data, sizes, command)
    broken: list[str] = []
    phases: list[Figures] = []
    async with chaos.ready():
        before = count(chaos.chroma.url)
        await house.settle_in()
        for name in names:
            tell(f"{house.platform}: {name}…")
            phases.append(await chaos.phase(name, sizes.seconds / len(names)))
            if name in STEADY:
                await _quoting(house, broken, f"after '{name}'")
        await chaos.restart()
        await _quoting(house, broken, "in the end")
        if (after := count(chaos.chroma.url)) != before:
            broken.append(f"the index had {before} rows, and has {after}")
        await chaos.bot.stop()
        store = await Store.open(data / FILE)
        broken += [f"lost: {what}" for what in await house.lost(store)]
        await store.close()
    total = outcomes(chaos.asked)
    for key, what in _PROMISED.items():
        if total[key]:
            kinds = ", ".join(f"{kind}: {number}" for kind, number in total[f"{key}_kinds"].items())
            broken.append(f"{total[key]} questions {what} ({kinds})")
    broken += chaos.bot.broken
    broken += [f"{house.platform} would refuse what the bot sent: {v}" for v in dict.fromkeys(house.violations)]
    slope, over = slope_of(chaos.weights)
    if slope is not None and over >= ENOUGH and slope > FLAT:
        broken.append(f"memory grows by {slope:.1f} MB per 1,000 questions")
    return {
        "platform": house.platform,
        "phases": [*phases, {"phase": "all", **total}],
        "acknowledged": house.acknowledged,
        "index_rows": before,
        "starts": chaos.bot.starts,
        "kills": chaos.bot.kills,
        "stop_s": spread(chaos.bot.stops, unit=1.0),
        "model_asked": chaos.model.asked,
        "memory_mb_per_1000": None if slope is None else round(slope, 2),
        "memory_over_questions": over,
        "memory_mb": course(chaos.weights),
        "broken": broken,
        "log": list(chaos.bot.log)[-40:] if broken else [],
    }


_PROMISED = {"unanswered": "were left without a word", "twice": "were answered twice"}


def outcomes(asked: list[Asked]) -> Figures:
    """What became of questions: answered; told why not by the bot, or by the platform; neither; and those answered twice."""
    found = Counter(one.outcome or ("excused" if one.excused else "unanswered") for one in asked)
    names = ("answered", "told", "platform", "excused", "unanswered")
    return {
        "asked": len(asked),
        **{name: found[name] for name in names},
        "twice": sum(one.twice for one in asked),
        "again": sum(one.again for one in asked),
        "unanswered_kinds": Counter(one.kind for one in asked if not (one.outcome or one.excused)),
        "twice_kinds": Counter(one.kind for one in asked if one.twice),
        "seconds": spread((one.seconds for one in asked if one.seconds is not None), unit=1.0),
    }


def slope_of(weights: list[Weight]) -> tuple[float | None, int]:
    """MB that the process which answered most grew by per 1,000 questions, and how many that is measured over."""
    import numpy as np

    most = max(weights, key=lambda weight: weight.answered, default=None)
    if most is None:
        return None, 0
    mine = [w for w in weights if w.process == most.process and w.answered >= LEFT_OUT * most.answered]
    over = most.answered - mine[0].answered
    if over < 2:
        return None, over
    slope, _ = np.polyfit([w.answered for w in mine], [w.megabytes for w in mine], 1)
    return float(slope) * 1000, over


def course(weights: list[Weight]) -> list[tuple[int, float]]:
    """Questions and MB at ten moments of the process that answered most."""
    most = max(weights, key=lambda weight: weight.answered, default=None)
    mine = [weight for weight in weights if most is not None and weight.process == most.process]
    return [(mine[at].answered, mine[at].megabytes) for at in (len(mine) * n // 10 for n in range(10)) if mine]


def count(url: str) -> int:
    """The rows of the index, as Chroma's server tells anybody who asks."""
    asking = http.client.HTTPConnection(url.removeprefix("http://"), timeout=PATIENCE)

    def told(path: str) -> Any:
        asking.request("GET", f"/api/v2/tenants/default_tenant/databases/default_database/collections{path}")
        return json.loads(asking.getresponse().read())

    with contextlib.closing(asking):
        return sum(int(told(f"/{collection['id']}/count")) for collection in told(""))


async def _quoting(house: House, broken: list[str], when: str) -> None:
    found = False
    for _ in range(3):
        with contextlib.suppress(*UNDONE):
            found = found or await house.quoted()
    if not found:
        broken.append(f"no quotation was found {when}")


async def _ended(tasks: list[asyncio.Task[None]], *, cancel: bool = False) -> None:
    pending = set(tasks)
    while pending:
        for task in pending if cancel else ():
            task.cancel()  # again and again: until 3.12 asyncio.wait_for can swallow it
        _, pending = await asyncio.wait(pending, timeout=0.5 if cancel else None)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def shown(figures: Figures) -> Measured:
    """A platform's figures as a table."""
    from scripts.bench_model import Measured

    rows: list[tuple[str, str]] = []
    for part in figures["phases"]:
        times = part["seconds"]
        took = f"p50 {times['p50']:.1f} s, p99 {times['p99']:.1f} s" if "p50" in times else "no time"
        told = f"told why {part['told'] + part['platform']}"
        wrong = f"unanswered {part['unanswered']}, twice {part['twice']}"
        if part["excused"]:
            wrong += f", killed with a full disk {part['excused']}"
        if part["again"]:
            wrong += f", told again as a private reply's confirmation was lost {part['again']}"
        rows.append((part["phase"], f"asked {part['asked']}, answered {part['answered']}, {told}, {wrong}; {took}"))
    stops = figures["stop_s"]
    slope = figures["memory_mb_per_1000"]
    rows += [
        ("acknowledged, and kept", str(figures["acknowledged"])),
        ("killed, started", f"{figures['kills']}, {figures['starts']}"),
        ("from SIGTERM to the end", f"at most {stops['max']:.1f} s" if "max" in stops else "never"),
        (
            "memory",
            "not measured"
            if slope is None
            else f"{slope:+.1f} MB per 1,000 questions, over {figures['memory_over_questions']}",
        ),
        *(("BROKEN", what) for what in figures["broken"]),
    ]
    return Measured(f"Chaos on {figures['platform'].capitalize()}", rows, {figures["platform"]: figures})


@contextlib.contextmanager
def indexed(data: Path) -> Generator[Path]:
    """A data folder to throw away, with the bundled persona's index: that of `data`, brought up to date, or a new one."""
    with scratch(data) as folder:
        command = [sys.executable, "-m", "bot", "--data-dir", str(folder), "--persona", PERSONA, "index"]
        done = subprocess.run(  # noqa: S603
            command, check=False, capture_output=True, text=True, cwd=Path(__file__).parent.parent
        )
        if done.returncode:
            raise FiresideError(f"The index can't be built: {done.stderr.strip()}")
        yield folder


def chaos(platforms: list[str], names: Sequence[str], data: Path, sizes: Sizes, report: Report) -> list[str]:
    """All of it; the promises that were broken."""
    from scripts.bench import machine
    from scripts.bench_model import Measured

    about = dict(machine())
    report.add(Measured("Machine", list(about.items()), {"machine": about, "seed": sizes.seed}))
    broken: list[str] = []
    for platform in platforms:
        with indexed(data) as folder:
            figures = asyncio.run(run(HOUSES[platform](), folder, sizes, _tell, names))
        report.add(shown(figures))
        broken += figures["broken"]
    return broken


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Break everything around the bot, and see whether it keeps its promises."
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of asking, in all (default: %(default)s)")
    parser.add_argument("--questions", type=int, default=10_000, help="at most, a phase (default: %(default)s)")
    parser.add_argument("--platform", choices=sorted(HOUSES), help="(default: one after the other)")
    parser.add_argument("--phase", choices=PHASES, action="append", help="(default: all of them)")
    parser.add_argument("--seed", type=int, default=0, help="another course of events (default: %(default)s)")
    parser.add_argument("--data-dir", type=Path, help="folder with a built index, which is copied (default: yours)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    broken: list[str] = []

    def work() -> None:
        if options.seconds <= 0 or options.questions <= 0:
            raise InputError("--seconds and --questions have to be more than 0.")
        from rich.console import Console

        from scripts.bench_model import Report

        platforms = [options.platform] if options.platform else sorted(HOUSES)
        sizes = Sizes(options.seconds / len(platforms), options.questions, options.seed)
        data = options.data_dir or load_settings().data_dir
        broken.extend(chaos(platforms, options.phase or PHASES, data, sizes, Report(options.json, Console())))

    return exit_code(work) or int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
