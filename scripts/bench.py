"""Measures this machine: every performance figure of the README in one run (`make bench`).

    python scripts/bench.py                            in a temporary folder, the building of the index included
    python scripts/bench.py --only start question      these sections alone
    python scripts/bench.py --growth 1000 --json OUT   the corpus up to 1000 times as big; every figure goes to OUT as well
    python scripts/bench.py --readme README.md         and the README's section on performance is written anew

It runs the real command line in fresh processes, prints one table, and asserts nothing: a figure is only worth comparing
with another one of the same quiet machine, so the load stands beside it. The model's and the platforms' benchmarks run in
modest sizes here; `make bench-model`, `make bench-discord` and `make bench-slack` run the whole of them.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

from evals.cases import Case, load_cases
from evals.scorecard import replace_section, section
from persona.card import load_card
from persona.corpus import load_corpus
from persona.errors import FiresideError, InputError
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
BEGIN = "<!-- performance: written by `make bench README=README.md` -->"
END = "<!-- end of performance -->"
README = {  # figure of the README → row
    "building the index": "fireside index",
    "start to the first answer": "start to first answer",
    "memory, one question": "peak memory, one question",
    "memory, 60 questions": "peak memory, 60 questions",
    "a question": "a question",
    "retrieval": "retrieve",
    "the evaluation harness, a case": "a case through Inspect",
    "embedding": "embedding, threads",
    "retrieval, 10 times the corpus": "search, 10 ×",
    "retrieval, 100 times the corpus": "search, 100 ×",
    "retrieval, 1000 times the corpus": "search, 1000 ×",
    "memory, 10 times the corpus": "resident memory, 10 ×",
    "memory, 100 times the corpus": "resident memory, 100 ×",
    "memory, 1000 times the corpus": "resident memory, 1000 ×",
    "8 askers, against the high-level API": "tokens a second, 8 askers",
    "8 askers, against llama_cpp.server": "tokens a second, beside llama_cpp.server",
    "first token, against the high-level API": "first token, 8 askers",
    "first token, against llama_cpp.server": "first token, beside llama_cpp.server",
    "one asker, against the high-level API": "one asker",
    "event-loop lag, 8 conversations": "event-loop lag, 8 decode",
    "memory over many requests": "memory after many requests",
    "Discord, to the answer": "Discord, to the answer",
    "Discord, event-loop lag": "Discord, event-loop lag",
    "Slack, to the answer": "Slack, to the answer",
    "Slack, event-loop lag": "Slack, event-loop lag",
}

MODEL_SIZES = "--shape 125m --askers 8 --prefix 300 --own 24 --generated 32 --rounds 2 --soak 100".split()
HOUSE_SIZES = "--people 40 --channels 8 --seconds 5".split()

Row = tuple[str, str]
Figures = dict[str, Any]


class Options(NamedTuple):
    """Of a run: the data folder, the threads of the embedding, and how many times the corpus is grown."""

    data: Path
    threads: int
    growth: int


Section = Callable[[Options], Figures]


class Line(NamedTuple):
    """A row of the table: its name, the path of its figure, the unit, the path of what it is compared with, what that is."""

    name: str
    path: str
    unit: str
    beside: str = ""
    to: str = ""


class Ran(NamedTuple):
    """What one run of the command line printed, how long it took, and the most memory that it held."""

    stdout: str
    seconds: float
    megabytes: float


def fireside(arguments: Sequence[str], data: Path) -> Ran:
    """Runs `fireside` in a fresh process; FiresideError with its last line if it fails."""
    return python(["-m", "bot", *arguments], f"fireside {arguments[0]}", {"FIRESIDE_DATA_DIR": str(data)})


def python(
    arguments: Sequence[str], name: str, environ: Mapping[str, str] | None = None, *, heard: bool = False
) -> Ran:
    """Runs Python in a fresh process; FiresideError with its last line if it fails. `heard`: its stderr shows."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 (our own interpreter and command line)
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**os.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=None if heard else err,
        )
        _, status, used = os.wait4(process.pid, 0)  # unlike process.wait(), tells the memory of this very child
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode(), err.read().decode().strip()
    if process.returncode:
        last = stderr.splitlines()[-1] if stderr else "it said nothing more"
        raise FiresideError(f"`{name}` failed with exit code {process.returncode}: {last}")
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


def start(options: Options) -> Figures:
    """The index, and from a fresh process to the first answer."""
    index = fireside(["index"], options.data)
    ran = [fireside(["ask", FIRST_QUESTION, "--json"], options.data) for _ in range(STARTS)]
    return {
        "index_s": index.seconds,
        "first_answer_s": spread([r.seconds for r in ran]),
        "peak_mb": max(r.megabytes for r in ran),
    }


def question(options: Options) -> Figures:
    """Milliseconds a question by step, as the replies report them, in one warm process."""
    cases = sample([c for c in load_cases() if c.suite != "quote"], QUESTIONS)
    with tempfile.TemporaryDirectory() as temporary:
        batch = Path(temporary) / "questions.jsonl"
        # The first one warms up, and isn't counted.
        lines = [json.dumps({"id": "warm-up", "question": FIRST_QUESTION}), *(_line(c) for c in cases)]
        batch.write_text("\n".join(lines), encoding="utf-8")
        ran = fireside(["ask", "--batch", str(batch)], options.data)
    times = [Reply.model_validate_json(line).timings_ms for line in ran.stdout.splitlines()][1:]
    steps = {f"{step}_ms": spread([getattr(t, step) for t in times]) for step in Timings.model_fields}
    whole = spread([sum(t.model_dump().values()) for t in times])
    return {**steps, "whole_ms": whole, "peak_mb": ran.megabytes}


def sample(cases: Sequence[Case], size: int) -> list[Case]:
    """Cases at even distances: every file and suite by its share, the same ones in each run."""
    size = min(size, len(cases))
    return [cases[i * len(cases) // size] for i in range(size)]


def _line(case: Case) -> str:
    history = [turn.model_dump() for turn in case.history]
    return json.dumps({"id": case.id, "question": case.question, "history": history})


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile, least and most."""
    ordered = sorted(values)
    late = ordered[int(0.95 * (len(ordered) - 1))]
    return {"p50": statistics.median(ordered), "p95": late, "min": ordered[0], "max": ordered[-1]}


def embedding(options: Options) -> Figures:
    """Passages a second on one thread and on several: in turns, so that both meet the same load."""
    card = load_card(load_settings().persona)
    texts = [passage_text(p) for p in load_corpus(card.catalog, card.aliases).passages][:PASSAGES]
    embedders = {n: LlamaEmbedder(threads=n) for n in (1, options.threads)}
    rates: dict[int, list[float]] = {n: [] for n in embedders}
    for _ in range(ROUNDS):
        for n, embedder in embedders.items():
            begun = time.perf_counter()
            embedder.embed(texts)
            rates[n].append(len(texts) / (time.perf_counter() - begun))
    for embedder in embedders.values():
        embedder.close()
    one, several = (statistics.median(rates[n]) for n in (1, options.threads))
    return {"threads": options.threads, "one_thread": one, "several_threads": several}


def harness(options: Options) -> Figures:
    """What the evaluation harness costs beside the replies: the same cases in a plain loop and through Inspect, in turns.

    They are asked of a baseline that answers at once, or the replies' own ups and downs would hide it.
    """
    from evals import store
    from evals.bench import LINE_ONLY
    from evals.inspected import run_systems
    from evals.opening import open_line, over
    from evals.run import run

    cases = sample([c for c in load_cases() if c.suite not in LINE_ONLY], HARNESS_CASES)
    bench = over(open_line(load_settings({"data_dir": options.data})), INSTANT)
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
    each = [statistics.median(times[1:]) / len(cases) * 1000 for times in (plain, logged)]
    return {"plain_ms": each[0], "inspect_ms": each[1]}


def growth(options: Options) -> Figures:
    """How searching grows with the corpus: see scripts/bench_growth.py."""
    from scripts.bench_growth import grow

    return grow(options.growth)


def model(_: Options) -> Figures:
    """The chat engine beside llama-cpp-python's own ways to serve."""
    served = () if find_spec("sse_starlette") else ("--skip-server",)
    return script("bench_model", [*MODEL_SIZES, *served])


def discord(options: Options) -> Figures:
    """The Discord bot in a small full house."""
    return script("bench_discord", [*HOUSE_SIZES, "--data-dir", str(options.data)])


def slack(options: Options) -> Figures:
    """The Slack bot in a small full house."""
    return script("bench_slack", [*HOUSE_SIZES, "--data-dir", str(options.data)])


def script(name: str, arguments: Sequence[str]) -> Figures:
    """The figures of another benchmark, run in a process of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "figures.json"
        python(["-m", f"scripts.{name}", *arguments, "--json", str(file)], name)
        return json.loads(file.read_text(encoding="utf-8"))


SECTIONS: Mapping[str, Section] = {
    made.__name__: made for made in (start, question, harness, embedding, growth, model, discord, slack)
}


def _house(platform: str) -> Iterator[Line]:
    name = platform.casefold()
    yield Line(f"{platform}, answered", f"{name}.answered", "", f"{name}.people", "asked")
    yield Line(f"{platform}, to the answer", f"{name}.answer_s.p50", "s", f"{name}.answer_s.max", "the last")
    lag = f"{name}.loop_lag_ms"
    yield Line(f"{platform}, event-loop lag", f"{lag}.p99", "ms, p99", f"{lag}.p50", "median")
    before, after = (f"{name}.rss_{when}_mb" for when in ("before", "after"))
    yield Line(f"{platform}, memory after it", after, "MB", before, "before")


def _growth() -> Iterator[Line]:
    figures = (
        ("passages", "passages", ""),
        ("rows of the index", "rows", ""),
        ("building it", "build_s", "s"),
        ("index on disk", "disk_mb", "MB"),
        ("opening it", "open_s", "s"),
        ("search", "search_ms.p50", "ms"),
        ("search, 95th percentile", "search_ms.p95", "ms"),
        ("dense", "dense_ms.p50", "ms"),
        ("lexical", "lexical_ms.p50", "ms"),
        ("late interaction", "late_ms.p50", "ms"),
        ("resident memory", "resident_mb", "MB"),
    )
    for says, key, unit in figures:
        yield Line(f"{says}, 1 ×", f"growth.1.{key}", unit)
        for times in (10, 100, 1000):
            yield Line(f"{says}, {times} ×", f"growth.{times}.{key}", unit, f"growth.1.{key}", "1 ×")


SERIAL, SERVER = "high-level API, one after another", "llama_cpp.server"
LINES = (
    Line("fireside index", "start.index_s", "s"),
    Line("start to first answer", "start.first_answer_s.p50", "s", "start.first_answer_s.min", "the fastest"),
    Line("peak memory, one question", "start.peak_mb", "MB"),
    *(
        Line(step, f"question.{step}_ms.p50", "ms", "question.whole_ms.p50", "a question")
        for step in Timings.model_fields
    ),
    Line("a question", "question.whole_ms.p50", "ms"),
    Line("a question, 95th percentile", "question.whole_ms.p95", "ms", "question.whole_ms.p50", "median"),
    Line(f"peak memory, {QUESTIONS} questions", "question.peak_mb", "MB", "start.peak_mb", "one question"),
    Line("a case through Inspect", "harness.inspect_ms", "ms", "question.whole_ms.p50", "a question"),
    Line("embedding, threads", "embedding.several_threads", "passages/s", "embedding.one_thread", "one thread"),
    *_growth(),
    Line("tokens a second, 8 askers", "model.throughput.engine", "", "model.throughput.serial", SERIAL),
    Line("tokens a second, beside llama_cpp.server", "model.throughput.engine", "", "model.throughput.server", SERVER),
    Line("first token, 8 askers", "model.first_token_s.engine.mean", "s", "model.first_token_s.serial.mean", SERIAL),
    Line(
        "first token, beside llama_cpp.server",
        *("model.first_token_s.engine.mean", "s", "model.first_token_s.server.mean", SERVER),
    ),
    Line("one asker", "model.single_vs_bare", "× the high-level API's tokens/s"),
    Line("event-loop lag, 8 decode", "model.loop_lag_ms.p99", "ms, p99", "model.loop_lag_ms.p50", "median"),
    Line("memory after many requests", "model.soak.rss_after_mb", "MB", "model.soak.rss_before_mb", "before"),
    *_house("Discord"),
    *_house("Slack"),
)


def looked_up(figures: Figures, path: str) -> float | None:
    """The number at a path of keys such as "start.index_s"; None if it wasn't measured."""
    found: Any = figures
    for key in path.split("."):
        found = cast("Figures", found).get(key) if isinstance(found, dict) else None
    return found


def table(figures: Figures) -> Iterator[tuple[str, str, str, str]]:
    """Of each figure that was measured its row: name, figure, what it is compared with, ratio of the two."""
    for line in LINES:
        value = looked_up(figures, line.path)
        if value is None:
            continue
        beside = looked_up(figures, line.beside) if line.beside else None
        compared = f"{line.to}: {_rounded(beside)}" if beside is not None else ""
        ratio = f"{_rounded(value / beside)} ×" if beside else ""
        yield line.name, f"{_rounded(value)} {line.unit}".strip(), compared, ratio


def readme_table(figures: Figures) -> str:
    """The README's section: the machine, and a row for each of its figures that was measured."""
    told = figures["machine"]
    rows = {name: rest for name, *rest in table(figures)}
    cores, load = told["cores, memory"].replace(",", " cores,"), told["load before (1 minute)"]
    lines = [
        f"On {cores} of {told['CPU']}; load before it {load}.",
        "",
        "| figure | here | beside it | ratio |",
        "|---|---:|---|---:|",
        *(f"| {says} | {' | '.join(rows[row])} |" for says, row in README.items() if row in rows),
    ]
    return "\n".join(lines) + "\n"


def _rounded(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def bench(sections: Mapping[str, Section], options: Options, save: Callable[[Figures], None]) -> int:
    """The sections in turn, nothing else of ours beside a measurement, and then the table; `save` is called after each. One
    that fails is said, and the others go on. Returns the exit code."""
    figures: Figures = {"machine": dict(machine())}
    code = 0
    try:
        for name, section in sections.items():
            say(f"Measuring: {name}")
            try:
                figures[name] = section(options)
            except FiresideError as exc:
                say(str(exc))
                code = exc.exit_code
            save(figures)
    finally:
        show(figures)
    return code


def show(figures: Figures) -> None:
    """Prints the machine, and the table."""
    from rich.console import Console
    from rich.table import Table

    for name, told in figures["machine"].items():
        print(f"{name:<24} {told}")
    found = Table("", "figure", "beside", "ratio", box=None, padding=(0, 2))
    for row in table(figures):
        found.add_row(*row)
    Console(width=140).print(found)


def say(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


def writer(file: Path | None) -> Callable[[Figures], None]:
    """What writes all figures to a file. InputError if it can't be written, before anything is measured."""

    def save(figures: Figures) -> None:
        if file is None:
            return
        rows = [dict(zip(("row", "figure", "beside", "ratio"), row, strict=True)) for row in table(figures)]
        try:
            file.write_text(
                json.dumps({**figures, "table": rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
        except OSError as exc:
            raise InputError(f"Can't write '{file}': {exc.strerror}. Give another path for --json.") from exc

    save({"machine": {}})
    return save


def published(save: Callable[[Figures], None], readme: Path | None) -> Callable[[Figures], None]:
    """`save`, and the README's section with it. InputError if there is no place for it, before anything is measured."""
    if readme is None:
        return save
    section(readme, BEGIN, END)

    def both(figures: Figures) -> None:
        save(figures)
        replace_section(readme, BEGIN, END, readme_table(figures))

    return both


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure Fireside on this machine (Linux or macOS).")
    parser.add_argument("--data-dir", type=Path, help="folder with a built index (default: a temporary one)")
    threads = max(2, min(4, (os.cpu_count() or 2) - 1))
    parser.add_argument("--threads", type=int, default=threads, help="of the embedding (default: %(default)s)")
    parser.add_argument("--growth", type=int, choices=(1, 10, 100, 1000), default=100, help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections (default: all)")
    parser.add_argument("--json", type=Path, help="write every figure to this file, too")
    parser.add_argument("--readme", type=Path, help="write its section on performance anew")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            data = given.data_dir.absolute() if given.data_dir else Path(temporary)
            sections = {name: SECTIONS[name] for name in SECTIONS if name in given.only}
            return bench(
                sections, Options(data, given.threads, given.growth), published(writer(given.json), given.readme)
            )
    except FiresideError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    except KeyboardInterrupt:
        say("Stopped. The figures that stand above hold.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
