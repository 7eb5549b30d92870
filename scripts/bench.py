"""Measures this machine: start, time for a question by step, memory, embedding speed (`make bench`).

    python scripts/bench.py                     in a temporary folder, the building of the index included
    python scripts/bench.py --data-dir FOLDER   with the index in FOLDER

It runs the real command line in fresh processes, prints a plain table, and asserts nothing: a figure is only worth
comparing with another one of the same quiet machine, so the load stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from evals.cases import Case, load_cases
from persona.card import load_card
from persona.corpus import load_corpus
from persona.errors import FiresideError
from persona.index import passage_text
from persona.llama import LlamaEmbedder
from persona.settings import load_settings
from persona.types import Reply, Timings

ROOT = Path(__file__).parent.parent
STARTS = 3
QUESTIONS = 60
FIRST_QUESTION = "Why does reliability matter?"
PASSAGES = 64  # more than the embedder remembers, so that each round computes them anew
ROUNDS = 3
HARNESS_CASES = 600
INSTANT = "always-abstains"

Row = tuple[str, str]


class Ran(NamedTuple):
    """What one run of the command line printed, how long it took, and the most memory that it held."""

    stdout: str
    seconds: float
    megabytes: float


def fireside(arguments: Sequence[str], data: Path) -> Ran:
    """Runs `fireside` in a fresh process; FiresideError with its last line if it fails."""
    command = [sys.executable, "-m", "bot", *arguments]
    environ = {**os.environ, "FIRESIDE_DATA_DIR": str(data)}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and command line)
            command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        _, status, used = os.wait4(process.pid, 0)  # unlike process.wait(), tells the memory of this very child
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(), err.read().decode().strip()
    if process.returncode:
        last = stderr.splitlines()[-1] if stderr else "it said nothing"
        raise FiresideError(f"`fireside {arguments[0]}` failed with exit code {process.returncode}: {last}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB elsewhere
    return Ran(stdout, seconds, used.ru_maxrss * unit / 1e6)


def machine() -> Iterator[Row]:
    """What it runs on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield "CPU", _cpu()
    yield "cores, memory", f"{os.cpu_count()}, {memory / 1e9:.0f} GB"
    yield "load before (1 minute)", f"{os.getloadavg()[0]:.2f}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("llama-cpp-python", "chromadb"))
    yield "software", f"{platform.system()}, Python {platform.python_version()}, {packages}"


def _cpu() -> str:
    """The model's name; Linux tells it in a file, and platform.processor() is often empty there."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine())


def start(data: Path) -> Iterator[Row]:
    """The index, and from a fresh process to the first answer."""
    index = fireside(["index"], data)
    yield "fireside index", f"{index.seconds:.1f} s"
    ran = [fireside(["ask", FIRST_QUESTION, "--json"], data) for _ in range(STARTS)]
    took = sorted(r.seconds for r in ran)
    middle = statistics.median(took)
    yield "start to first answer", f"median {middle:.2f} s, {took[0]:.2f} to {took[-1]:.2f} ({STARTS} starts)"
    yield "peak memory, one question", f"{max(r.megabytes for r in ran):.0f} MB"


def questions(data: Path) -> Iterator[Row]:
    """Milliseconds a question by step, as the replies report them, in one warm process."""
    cases = sample([c for c in load_cases() if c.suite != "quote"], QUESTIONS)
    with tempfile.TemporaryDirectory() as temporary:
        batch = Path(temporary) / "questions.jsonl"
        # The first one warms up, and isn't counted.
        lines = [json.dumps({"id": "warm-up", "question": FIRST_QUESTION}), *(_line(c) for c in cases)]
        batch.write_text("\n".join(lines), encoding="utf-8")
        ran = fireside(["ask", "--batch", str(batch)], data)
    times = [Reply.model_validate_json(line).timings_ms for line in ran.stdout.splitlines()][1:]
    for step in Timings.model_fields:
        yield f"  {step}", _spread([getattr(t, step) for t in times])
    yield "  whole", _spread([sum(t.model_dump().values()) for t in times])
    yield f"peak memory, {len(times)} questions", f"{ran.megabytes:.0f} MB"


def sample(cases: Sequence[Case], size: int) -> list[Case]:
    """Cases at even distances: every file and suite by its share, the same ones in each run."""
    size = min(size, len(cases))
    return [cases[i * len(cases) // size] for i in range(size)]


def _line(case: Case) -> str:
    history = [turn.model_dump() for turn in case.history]
    return json.dumps({"id": case.id, "question": case.question, "history": history})


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    late = ordered[int(0.95 * (len(ordered) - 1))]
    return f"median {statistics.median(ordered):.1f} ms, 95th percentile {late:.1f} ms"


def embedding(threads: int) -> Iterator[Row]:
    """Passages a second on one thread and on several: in turns, so that both meet the same load."""
    card = load_card(load_settings().persona)
    texts = [passage_text(p) for p in load_corpus(card.catalog, card.aliases).passages][:PASSAGES]
    embedders = {n: LlamaEmbedder(threads=n) for n in (1, threads)}
    rates: dict[int, list[float]] = {n: [] for n in embedders}
    for _ in range(ROUNDS):
        for n, embedder in embedders.items():
            begun = time.perf_counter()
            embedder.embed(texts)
            rates[n].append(len(texts) / (time.perf_counter() - begun))
    for embedder in embedders.values():
        embedder.close()
    one, several = (statistics.median(rates[n]) for n in (1, threads))
    yield "embedding, 1 thread", f"{one:.0f} passages/s"
    yield f"embedding, {threads} threads", f"{several:.0f} passages/s: {several / one:.2f} times as many"


def harness(data: Path) -> Iterator[Row]:
    """What the evaluation harness costs beside the replies: the same cases in a plain loop and through Inspect, in turns.

    They are asked of a baseline that answers at once, or the replies' own ups and downs would hide it.
    """
    from evals import store
    from evals.bench import LINE_ONLY
    from evals.inspected import run_systems
    from evals.opening import open_line, over
    from evals.run import run

    cases = sample([c for c in load_cases() if c.suite not in LINE_ONLY], HARNESS_CASES)
    bench = over(open_line(load_settings({"data_dir": data})), INSTANT)
    plain: list[float] = []
    logged: list[float] = []
    for number in range(ROUNDS):
        begun = time.perf_counter()
        run(bench, cases, lambda _done, _all: None)
        plain.append(time.perf_counter() - begun)
        info = store.describe(
            bench, cases, split="all", suites=(), systems=(INSTANT,), epochs=1, limit=0, seed=number, persona="ilya"
        )
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            run_systems({INSTANT: bench}, cases, info, store.begin(info, Path(folder)), lambda _n: None)
            logged.append(time.perf_counter() - begun)
    bench.close()
    # The first round pays for Inspect's imports.
    extra = [(b - a) / len(cases) * 1000 for a, b in zip(plain[1:], logged[1:], strict=True)]
    yield "a case in a plain loop", f"{statistics.median(plain) / len(cases) * 1000:.1f} ms"
    yield "more of it through Inspect", f"{statistics.median(extra):.1f} ms"


def show(title: str, rows: Iterator[Row]) -> None:
    """Prints each row as it is measured."""
    print(title)
    for name, figure in rows:
        print(f"  {name:<30} {figure}", flush=True)
    print()


def bench(data: Path, threads: int) -> None:
    """Everything, in turn: nothing else of ours runs beside a measurement."""
    show("Machine", machine())
    show("Start (fresh process, index built)", start(data))
    show(f"A question, of {QUESTIONS} out of evals/cases", questions(data))
    show(f"Evaluation harness, {HARNESS_CASES} cases, {ROUNDS} rounds", harness(data))
    show(f"Embedding, {PASSAGES} passages, median of {ROUNDS} rounds", embedding(threads))


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure Fireside on this machine (Linux or macOS).")
    parser.add_argument("--data-dir", type=Path, help="folder with a built index (default: a temporary one)")
    threads = max(2, min(4, (os.cpu_count() or 2) - 1))
    parser.add_argument("--threads", type=int, default=threads, help="of the embedding (default: %(default)s)")
    options = parser.parse_args()
    try:
        if options.data_dir:
            bench(options.data_dir.absolute(), options.threads)
        else:
            with tempfile.TemporaryDirectory() as temporary:
                bench(Path(temporary), options.threads)
    except FiresideError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
