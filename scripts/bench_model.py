"""Measures the chat engine beside llama-cpp-python's own ways to serve (`make bench-model`): same weights, same prompts.

    python scripts/bench_model.py                          a model of random weights and a real shape, written on first use
    python scripts/bench_model.py --model FILE --json OUT  a real one; the figures go to OUT as well

Askers share a prefix and go on in their own words. The contenders take turns, so that a noisy machine slows all of them:
the engine, the high-level API called one after another, `llama_cpp.server`, and `llama-server` where one is on the PATH.
Like any benchmark it wants the machine for itself. It asserts nothing: it says which targets were reached.
"""

# llama_cpp is a ctypes binding: its functions and structures have no useful static types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import argparse
import asyncio
import gc
import http.client
import json
import os
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from rich.console import Console
from rich.table import Table

from persona.errors import InputError, ModelError
from persona.llama.engine import Engine, EngineOptions
from persona.types import Message, Sampling
from scripts.bench import machine
from scripts.random_gguf import SHAPES, TYPES, write_gguf
from scripts.running import exit_code

PAIRS = 5  # of single askers
NAP = 0.005  # seconds that the task sleeps whose lateness is the loop's lag
LATEST = 30.0  # ms of lag, p99
FLAT = 16.0  # MB that memory may grow over the soak: allocators breathe
SOAK_TOKENS = 8
TRIES = 100  # at a text of exactly so many tokens
START_SECONDS, SILENCE_SECONDS = 300.0, 900.0  # of a server
PORT = "{port}"  # stands for a server's port in its command line, which is made before the port is known
# Each begins with a letter of its own: two askers' words part at once, whatever the tokens.
WORDS = """answer belief context data engine future gradient history idea jump knowledge language model network order
    prediction question reason sequence token understanding vector world xenon year zero""".split()
# What the random model may write: ASCII that no merge joins, so that text and tokens tell the same, and no end of text.
LETTERS = [b for b in range(ord(" "), ord("~") + 1) if not chr(b).islower()]
SHARPER = 4.0  # times the random logits: far above the zeros of the tokens that it may not write

Figures = dict[str, Any]


class Prompt(NamedTuple):
    """A prompt as text and as the tokens that llama.cpp makes of it."""

    text: str
    tokens: tuple[int, ...]


class Answer(NamedTuple):
    """What one asker got: text, tokens, and the seconds from when all had asked to the first text and to the end."""

    text: str
    tokens: int
    first: float
    done: float

    @property
    def pace(self) -> float:
        """Tokens a second once the first was there."""
        return (self.tokens - 1) / max(self.done - self.first, 1e-6)


class Turn(NamedTuple):
    """One contender's answers to all askers."""

    answers: list[Answer]

    @property
    def rate(self) -> float:
        """Tokens a second, of all askers together."""
        return sum(a.tokens for a in self.answers) / max(a.done for a in self.answers)

    @property
    def first(self) -> float:
        """Mean seconds to the first text."""
        return statistics.fmean(a.first for a in self.answers)


def sampling(tokens: int, seed: int = 0) -> Sampling:
    """How every contender writes so many tokens, at most."""
    return Sampling(max_tokens=tokens, seed=seed, temperature=1.0, top_k=20, top_p=0.8, min_p=0.0)


def _wanted(tokens: int, seed: int) -> dict[str, Any]:
    """The same as the high-level API and the servers take it."""
    same = sampling(tokens, seed).model_dump(exclude={"stop", "deadline"})
    return same | {"stream": True, "repeat_penalty": 1.0}


class Contender(Protocol):
    """A way to serve a model; `name` is its key among the figures."""

    name: str

    def ask(self, prompts: Sequence[Prompt], tokens: int) -> list[Answer]:
        """Everyone's answer of at most so many tokens, all asked at once; each prompt's place is its seed."""
        ...


class Ours:
    """The engine, asked by as many tasks as there are prompts."""

    name = "engine"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def ask(self, prompts: Sequence[Prompt], tokens: int) -> list[Answer]:
        """See `Contender.ask`."""
        return asyncio.run(self._all(prompts, tokens))

    def lag(self, prompts: Sequence[Prompt], tokens: int) -> list[float]:
        """Milliseconds by which a task that sleeps on the same event loop is late, while the prompts are answered."""
        return asyncio.run(self._late(prompts, tokens))

    async def _all(self, prompts: Sequence[Prompt], tokens: int) -> list[Answer]:
        begun = time.perf_counter()
        return await asyncio.gather(*(self._one(i, p, tokens, begun) for i, p in enumerate(prompts)))

    async def _one(self, seed: int, prompt: Prompt, tokens: int, begun: float) -> Answer:
        clock = _Clock(begun)
        written = 0
        stream = self.engine.complete(prompt.tokens, sampling(tokens, seed), user=f"asker {seed}")
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                clock.hear(piece.text)
                written = piece.tokens
        return clock.answer(written)

    async def _late(self, prompts: Sequence[Prompt], tokens: int) -> list[float]:
        late: list[float] = []
        answers = asyncio.create_task(self._all(prompts, tokens))
        while not answers.done():
            begun = time.perf_counter()
            await asyncio.sleep(NAP)
            late.append((time.perf_counter() - begun - NAP) * 1000)
        await answers
        return late


class _Clock:
    """Takes an answer's times as its pieces come in."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._first: float | None = None
        self.text = ""

    def hear(self, text: str) -> None:
        self.text += text
        if text and self._first is None:
            self._first = time.perf_counter() - self._begun

    def answer(self, tokens: int) -> Answer:
        done = time.perf_counter() - self._begun
        return Answer(self.text, tokens, done if self._first is None else self._first, done)


class Serial:
    """llama-cpp-python's high-level API, which holds one sequence: one asker after another."""

    name = "serial"

    def __init__(self, path: Path, context: int, threads: int) -> None:
        from llama_cpp import Llama

        try:
            self.llama = Llama(
                str(path), n_ctx=context, n_threads=threads, n_threads_batch=threads, n_gpu_layers=-1, verbose=False
            )
        except ValueError as exc:
            raise ModelError(
                f"llama-cpp-python can't open '{path.name}': {exc}. Ask for fewer askers or tokens."
            ) from exc

    def ask(self, prompts: Sequence[Prompt], tokens: int) -> list[Answer]:
        """See `Contender.ask`; who waits for others waits for a first token."""
        begun = time.perf_counter()
        return [self._one(i, p, tokens, begun) for i, p in enumerate(prompts)]

    def _one(self, seed: int, prompt: Prompt, tokens: int, begun: float) -> Answer:
        clock = _Clock(begun)
        ended = None
        for chunk in self.llama.create_completion(list(prompt.tokens), **_wanted(tokens, seed)):
            assert isinstance(chunk, dict)
            clock.hear(chunk["choices"][0]["text"])
            ended = chunk["choices"][0]["finish_reason"] or ended
        answer = clock.answer(tokens)
        return answer if ended == "length" else answer._replace(tokens=self.written(answer.text))

    def written(self, text: str) -> int:
        """How many tokens a text took that ended by itself; the end is one too."""
        return len(self.tokens(text, begin=False)) + 1

    def tokens(self, text: str, *, begin: bool = True) -> tuple[int, ...]:
        """A text's tokens; `begin`: as a prompt's, with the model's begin-of-text token if it wants one."""
        return tuple(self.llama.tokenize(text.encode(), begin, special=True))

    def text(self, tokens: Sequence[int]) -> str:
        """The tokens' text."""
        return self.llama.detokenize(list(tokens)).decode("utf-8", "replace")

    @property
    def longest(self) -> int | None:
        """The most tokens that the model was trained on, where its file says so."""
        found = self.llama.metadata.get(f"{self.llama.metadata.get('general.architecture')}.context_length")
        return int(found) if found else None

    def close(self) -> None:
        """Frees the model."""
        self.llama.close()


class Served:
    """A server on this machine with OpenAI's completions, asked over as many connections as there are prompts."""

    def __init__(self, name: str, port: int, written: Callable[[str], int]) -> None:
        self.name = name
        self._port = port
        self._written = written

    def ask(self, prompts: Sequence[Prompt], tokens: int) -> list[Answer]:
        """See `Contender.ask`. ModelError if the server fails."""
        pool = ThreadPoolExecutor(len(prompts))
        begun = time.perf_counter()
        asked = [pool.submit(self._one, i, p, tokens, begun) for i, p in enumerate(prompts)]
        try:
            return [a.result() for a in asked]
        except (OSError, ValueError, LookupError, http.client.HTTPException) as exc:
            why = str(exc) or type(exc).__name__
            raise ModelError(
                f"{self.name} stopped answering: {why}. Try again, or leave it out: --skip-server."
            ) from exc
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # after Ctrl-C the threads end with the server

    def _one(self, seed: int, prompt: Prompt, tokens: int, begun: float) -> Answer:
        body = json.dumps({"prompt": prompt.text, **_wanted(tokens, seed)})
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=SILENCE_SECONDS)
        clock = _Clock(begun)
        ended = None
        with closing(connection):
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    raise http.client.HTTPException(f"HTTP status {response.status}")
                for chunk in _events(response):
                    for choice in chunk["choices"]:
                        clock.hear(choice["text"])
                        ended = choice["finish_reason"] or ended
        answer = clock.answer(tokens)
        if ended is None:
            raise http.client.HTTPException("the stream broke off")
        return answer if ended == "length" else answer._replace(tokens=self._written(answer.text))


def _events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of server-sent events."""
    for line in lines:
        kind, _, data = line.strip().partition(b": ")
        if kind == b"data" and data != b"[DONE]":
            yield json.loads(data)


@contextmanager
def serving(
    name: str, command: Sequence[str], environ: Mapping[str, str], written: Callable[[str], int]
) -> Generator[Served]:
    """A server in a process of its own, as long as it is needed. `PORT` in the command and among the values of `environ`
    stands for its port; `written` counts a text's tokens. ModelError if it does not come up."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    inherited = {k: v for k, v in os.environ.items() if k != "CONFIG_FILE"}  # llama_cpp.server would heed nothing else
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 (our own command line)
            [str(port) if part == PORT else part for part in command],
            env=inherited | {k: str(port) if v == PORT else v for k, v in environ.items()},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is ours to handle: it would print a traceback
        )
        try:
            late = time.monotonic() + START_SECONDS
            while not _ready(port):
                if process.poll() is not None or time.monotonic() > late:
                    log.seek(0)
                    last = next(reversed(log.read().decode("utf-8", "replace").strip().splitlines()), "it said nothing")
                    raise ModelError(f"{name} does not start: {last}. Repair it, or leave it out: --skip-server.")
                time.sleep(0.05)
            yield Served(name, port, written)
        finally:
            process.kill()
            process.wait()


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v1/models")
        with connection.getresponse() as response:
            return response.status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def opened(path: Path, options: EngineOptions) -> Generator[Engine]:
    """An engine, freed at the end."""
    engine = Engine(path, options)
    try:
        yield engine
    finally:
        engine.shutdown()


class Prompts:
    """Texts of exactly so many tokens, no two alike: their tokens are the same whoever tokenises them."""

    def __init__(self, serial: Serial, prefix: int, own: int) -> None:
        self._serial = serial
        self._own = own
        self._random = random.Random(0)
        self.prefix = self._longer(Prompt("", ()), prefix)

    def shared(self, askers: int) -> list[Prompt]:
        """One for each asker: the shared prefix, and then their own words."""
        return [self._longer(self.prefix, self._own) for _ in range(askers)]

    def fresh(self) -> Prompt:
        """One as long as a shared one that begins like no other."""
        return self._longer(Prompt("", ()), len(self.prefix.tokens) + self._own)

    def words(self, number: int) -> str:
        """So many words of no meaning."""
        return " ".join(self._random.choices(WORDS, k=number))

    def _longer(self, base: Prompt, more: int) -> Prompt:
        length = len(base.tokens) + more
        for _ in range(TRIES):
            tokens = self._serial.tokens(f"{base.text} {self.words(more)}")[:length]
            text = self._serial.text(tokens)
            if (
                len(tokens) == length
                and tokens[: len(base.tokens)] == base.tokens
                and self._serial.tokens(text) == tokens
            ):
                return Prompt(text, tokens)
        raise InputError(f"This model's tokens make no text of exactly {length} tokens. Try another --prefix or --own.")


def model_file(shape: str, kind: str, folder: Path) -> Path:
    """The random model of this shape and type in the folder, written if it isn't there; its letters are `LETTERS`.
    InputError if the folder can't hold it."""
    path = folder / f"noise-{shape}-{kind}.gguf"
    if path.exists():
        return path
    say(f"Writing '{path}' (once)")
    part = path.with_suffix(f".{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            write_gguf(part, SHAPES[shape], kind)
            _only_letters(part, kind)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        why = exc.strerror or exc  # numpy's own, where the disk is full, has none
        raise InputError(f"Can't write a model into '{folder}': {why}. Give another --folder.") from exc
    return path


def _only_letters(path: Path, kind: str) -> None:
    """Leaves the output layer only the rows of the letters. With all rows most tokens of a padded vocabulary would write
    no text, and nobody could see when the first one came; and some would end the text early."""
    from gguf import GGUFReader
    from gguf.quants import dequantize, quantize

    reader = GGUFReader(path, "r+")
    rows = next(t.data for t in reader.tensors if t.name == "output.weight")
    quantisation, _ = TYPES[kind]
    letters = quantize(dequantize(rows[LETTERS], quantisation) * np.float32(SHARPER), quantisation)
    rows[:] = 0
    rows[LETTERS] = letters.view(rows.dtype).reshape(len(LETTERS), -1)
    reader.data.flush()


def say(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


class Settings(NamedTuple):
    """The sizes of a run."""

    askers: int
    prefix: int
    own: int
    generated: int
    rounds: int
    threads: int
    soak: int

    @property
    def context(self) -> int:
        """Tokens of each contender's context: enough for all askers, had they nothing in common, and for two turns."""
        return max(self.askers, 3) * (self.prefix + self.own + self.generated + 64)


class Measured(NamedTuple):
    """A section of the report: its lines, and its figures by their keys."""

    title: str
    rows: list[tuple[str, ...]]
    figures: Figures


def contest(contenders: Sequence[Contender], prompts: Prompts, settings: Settings) -> Measured:
    """All askers at once, each contender in turn, in each round another one first. Ratios are medians of the rounds'."""
    for contender in contenders:
        say(f"Warming up: {contender.name}")
        contender.ask(prompts.shared(settings.askers), 1)
    turns: dict[str, list[Turn]] = {c.name: [] for c in contenders}
    for number in range(settings.rounds):
        asked = prompts.shared(settings.askers)
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            turns[contender.name].append(Turn(contender.ask(asked, settings.generated)))
            say(
                f"Round {number + 1} of {settings.rounds}: {contender.name} {turns[contender.name][-1].rate:.1f} tokens/s"
            )
    ours = turns["engine"]
    figures: Figures = {"throughput": {}, "first_token_s": {}}
    rows = [("", "tokens/s", "ratio", "first token, mean", "last", "ratio")]
    for name, theirs in turns.items():
        rate = statistics.median(t.rate for t in theirs)
        mean = statistics.median(t.first for t in theirs)
        last = statistics.median(max(a.first for a in t.answers) for t in theirs)
        figures["throughput"][name] = round(rate, 2)
        figures["first_token_s"][name] = {"mean": round(mean, 3), "max": round(last, 3)}
        ratios = ("", "")
        if theirs is not ours:
            faster = _ratio((a.rate, b.rate) for a, b in zip(ours, theirs, strict=True))
            sooner = _ratio((a.first, b.first) for a, b in zip(ours, theirs, strict=True))
            figures[f"throughput_vs_{name}"], figures[f"first_token_vs_{name}"] = round(faster, 3), round(sooner, 3)
            ratios = (f"{faster:.2f} ×", f"{sooner:.2f} ×")
        rows.append((name, f"{rate:.1f}", ratios[0], f"{mean:.2f} s", f"{last:.2f} s", ratios[1]))
    title = (
        f"{settings.askers} askers, {settings.prefix} tokens shared and {settings.own} own, {settings.generated} generated, "
        f"warm, rounds: {settings.rounds}"
    )
    return Measured(title, rows, figures)


def lag(ours: Ours, prompts: Prompts, settings: Settings) -> Measured:
    """How late the event loop is while all askers' answers are decoded."""
    late = ours.lag(prompts.shared(settings.askers), settings.generated)
    p50, p99 = (float(p) for p in np.percentile(late, [50, 99]))
    figures = {"p50": round(p50, 2), "p99": round(p99, 2), "max": round(max(late), 2)}
    row = ("p50, p99, max", ", ".join(f"{ms:.1f} ms" for ms in figures.values()))
    return Measured(f"Event-loop lag while {settings.askers} decode", [row], {"loop_lag_ms": figures})


def second_question(ours: Ours, prompts: Prompts, settings: Settings) -> Measured:
    """The tokens that the engine decodes for a conversation's second question, beside those that it had not seen."""
    return asyncio.run(_second_question(ours.engine, prompts, settings))


async def _second_question(engine: Engine, prompts: Prompts, settings: Settings) -> Measured:
    talk = [Message("system", prompts.prefix.text), Message("user", prompts.words(8))]
    first = engine.vocabulary.prompt(talk)
    answer, written = "", 0
    async with aclosing(engine.complete(first, sampling(settings.generated))) as pieces:
        async for piece in pieces:
            answer, written = answer + piece.text, piece.tokens
    second = engine.vocabulary.prompt([*talk, Message("assistant", answer), Message("user", prompts.words(8))])
    before = engine.load().decoded
    async with aclosing(engine.complete(second, sampling(1))) as pieces:
        async for _ in pieces:
            pass
    decoded = engine.load().decoded - before
    new = len(second) - len(first) - (written - 1)  # the answer's last token had been written, but not read
    row = ("prefilled, new, in all", f"{decoded}, {new}, {len(second)} tokens")
    figures = {"second_question": {"new_tokens": new, "decoded": decoded}}
    return Measured("A conversation's second question", [row], figures)


def single(ours: Ours, serial: Serial, prompts: Prompts, settings: Settings, state: str, key: str) -> Measured:
    """One asker and a prompt that is new to both, in pairs of which each goes first in turn. `state` says what else is in
    the engine's cache; the ratio of the whole answers' tokens/s goes under `key`."""
    pairs: list[tuple[Answer, Answer]] = []
    for number in range(PAIRS):
        prompt = [prompts.fresh()]
        order: list[Contender] = [ours, serial] if number % 2 else [serial, ours]
        answers = {c.name: c.ask(prompt, settings.generated)[0] for c in order}
        pairs.append((answers["engine"], answers["serial"]))
        say(f"One asker, {state}: {number + 1} of {PAIRS}")
    times = {
        "first token, s": [(a.first, b.first) for a, b in pairs],
        "decoding, tokens/s": [(a.pace, b.pace) for a, b in pairs],
        "whole, tokens/s": (whole := [(a.tokens / a.done, b.tokens / b.done) for a, b in pairs]),
    }
    rows = [("", "engine", "high-level API", "ratio")]
    for name, both in times.items():
        mine, theirs = (statistics.median(column) for column in zip(*both, strict=True))
        rows.append((name, f"{mine:.2f}", f"{theirs:.2f}", f"{_ratio(both):.2f} ×"))
    length = settings.prefix + settings.own
    title = f"One asker, {state}: {length} new tokens, {settings.generated} generated, medians of {PAIRS} pairs"
    return Measured(title, rows, {key: round(_ratio(whole), 3)})


def _ratio(pairs: Iterable[tuple[float, float]]) -> float:
    """The median of ours by theirs."""
    return statistics.median(ours / theirs for ours, theirs in pairs)


def soak(path: Path, settings: Settings) -> Measured:
    """The process's memory before and after many short requests of the model in `path`, each of another user."""
    options = EngineOptions(context=2048, parallel=settings.askers, threads=settings.threads)
    with opened(path, options) as engine:
        numbers = count()
        asyncio.run(_requests(engine, numbers, max(settings.askers, settings.soak // 10), settings.askers))  # warm
        before = resident()
        asyncio.run(_requests(engine, numbers, settings.soak, settings.askers))
        after = resident()
    row = ("before, after", f"{before:.1f} MB, {after:.1f} MB")
    figures = {"requests": settings.soak, "rss_before_mb": round(before, 1), "rss_after_mb": round(after, 1)}
    return Measured(f"Memory over {settings.soak} short requests (tiny model)", [row], {"soak": figures})


async def _requests(engine: Engine, numbers: Iterator[int], total: int, at_once: int) -> None:
    left = iter(range(total))

    async def ask() -> None:
        for _ in left:
            number = next(numbers)
            words = random.Random(number).choices(WORDS, k=4)
            prompt = engine.vocabulary.tokens(" ".join(words))
            stream = engine.complete(prompt, sampling(SOAK_TOKENS, number), user=f"asker {number}")
            async with aclosing(stream) as pieces:
                async for _piece in pieces:
                    pass

    await asyncio.gather(*(ask() for _ in range(at_once)))


def resident() -> float:
    """MB of memory that this process holds; where the system doesn't tell, the most that it ever held."""
    gc.collect()
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Target(NamedTuple):
    """A figure to reach, and whether the value under its key reaches it."""

    says: str
    key: str
    reached: Callable[[Any], bool]


def _at_least(limit: float) -> Callable[[float], bool]:
    return limit.__le__


def _at_most(limit: float) -> Callable[[float], bool]:
    return limit.__ge__


def _only_new(second: Mapping[str, int]) -> bool:
    return second["decoded"] <= second["new_tokens"]


def _prompt_loop(lag: Mapping[str, float]) -> bool:
    return lag["p99"] <= LATEST


def _flat(soaked: Mapping[str, float]) -> bool:
    return soaked["rss_after_mb"] - soaked["rss_before_mb"] <= FLAT


TARGETS = (
    Target("tokens/s at least 1.5 × the high-level API's", "throughput_vs_serial", _at_least(1.5)),
    Target("tokens/s at least 1.5 × llama_cpp.server's", "throughput_vs_server", _at_least(1.5)),
    Target("mean first token at most 0.25 × the high-level API's", "first_token_vs_serial", _at_most(0.25)),
    Target("mean first token at most 0.25 × llama_cpp.server's", "first_token_vs_server", _at_most(0.25)),
    Target("one asker within 10% of the bare high-level API", "single_vs_bare", _at_least(0.9)),
    Target("a second question prefills only what is new", "second_question", _only_new),
    Target(f"event-loop lag p99 at most {LATEST:.0f} ms", "loop_lag_ms", _prompt_loop),
    Target(f"memory flat over the requests (within {FLAT:.0f} MB)", "soak", _flat),
)


def verdicts(figures: Figures) -> Iterator[tuple[str, str]]:
    """Each target, and whether it was reached."""
    for target in TARGETS:
        if target.key in figures:
            yield target.says, "reached" if target.reached(figures[target.key]) else "missed"
        else:
            yield target.says, "not measured"


class Report:
    """Prints each section as soon as it is measured, and keeps the JSON file, if there is one, up to date."""

    def __init__(self, file: Path | None, console: Console) -> None:
        self.figures: Figures = {}
        self._file = file
        self._console = console

    def add(self, measured: Measured) -> None:
        """Prints the section and saves its figures. InputError if the file can't be written."""
        self.figures |= measured.figures
        self.show(measured.title, measured.rows)
        if self._file is None:
            return
        try:
            self._file.write_text(json.dumps(self.figures, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as exc:
            raise InputError(f"Can't write '{self._file}': {exc.strerror}. Give another path for --json.") from exc

    def show(self, title: str, rows: Iterable[tuple[str, ...]]) -> None:
        """Prints a table without lines."""
        self._console.print(f"[bold]{title}[/bold]", highlight=False)
        table = Table(box=None, show_header=False, padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        self._console.print(table)
        self._console.print()


def described(path: Path, shape: str | None, settings: Settings, llama_server: str | None) -> Measured:
    """The machine, the software and the sizes."""
    import llama_cpp

    about = dict(machine()) | {"llama.cpp": llama_cpp.llama_print_system_info().decode().strip(" |\n")}
    if llama_server:
        about["llama-server"] = _version(llama_server)
    sizes: Figures = {"model": path.name, "shape": shape} if shape else {"model": path.name}
    sizes["threads"] = settings.threads
    return Measured("Machine", [*about.items(), *((k, str(v)) for k, v in sizes.items())], {"machine": about, **sizes})


def _version(llama_server: str) -> str:
    try:
        told = subprocess.run(  # noqa: S603 (the PATH's own llama-server)
            [llama_server, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise ModelError(f"'{llama_server}' does not run: {exc}. Repair it, or leave it out: --skip-server.") from exc
    lines = (told.stdout + told.stderr).splitlines()
    return next((line for line in lines if line.startswith("version")), "unknown")


def servers(
    path: Path, settings: Settings, llama_server: str | None
) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, command line and environment of each server to compare with, set like the engine where they differ from it."""
    context, threads = str(settings.context), str(settings.threads)
    own = [sys.executable, "-m", "llama_cpp.server", "--model", str(path), "--n_ctx", context, "--n_gpu_layers", "-1"]
    own += ["--n_threads", threads, "--n_threads_batch", threads, "--verbose", "false"]
    # By default it keeps logits of the whole context (gigabytes), and a new request cuts one that is being answered.
    own += ["--logits_all", "false", "--interrupt_requests", "false"]
    yield "server", own, {"HOST": "127.0.0.1", "PORT": PORT}
    if llama_server:
        other = [llama_server, "-m", str(path), "-c", context, "-np", str(settings.askers), "-ngl", "999"]
        yield "llama_server", [*other, "-t", threads, "-tb", threads, "--host", "127.0.0.1", "--port", PORT], {}


def bench(
    path: Path, shape: str | None, settings: Settings, report: Report, *, folder: Path, skip_server: bool
) -> None:
    """Everything, in turn; nothing else of ours runs beside a measurement."""
    llama_server = None if skip_server else shutil.which("llama-server")
    report.add(described(path, shape, settings, llama_server))
    options = EngineOptions(context=settings.context, parallel=settings.askers, threads=settings.threads)
    # The engine comes first: it says best what is wrong with a model.
    with opened(path, options) as engine, closing(Serial(path, settings.context, settings.threads)) as serial:
        length = settings.prefix + settings.own + settings.generated
        if serial.longest and length > serial.longest:
            raise InputError(
                f"{path.name} takes {serial.longest} tokens; {length} are asked for. Give a smaller --prefix."
            )
        ours = Ours(engine)
        prompts = Prompts(serial, settings.prefix, settings.own)
        with ExitStack() as stack:
            others: list[Contender] = []
            for name, command, environ in () if skip_server else servers(path, settings, llama_server):
                say(f"Starting: {name}")
                others.append(stack.enter_context(serving(name, command, environ, serial.written)))
            report.add(contest([ours, serial, *others], prompts, settings))
        report.add(lag(ours, prompts, settings))
        report.add(second_question(ours, prompts, settings))
        # The cells of talks that rest are read past in each step: what that costs is told apart.
        load = engine.load()
        state = f"{load.cells} cells of other talks in the cache, {load.aside} tokens put aside"
        report.add(single(ours, serial, prompts, settings, state, "single_vs_bare_full_cache"))
        # Here is room for one talk: each takes the cells of the one before.
        with opened(path, EngineOptions(context=length + 64, parallel=1, threads=settings.threads)) as alone:
            report.add(single(Ours(alone), serial, prompts, settings, "the cache to itself", "single_vs_bare"))
    if settings.soak:
        report.add(soak(model_file("tiny", "F32", folder), settings))
    report.show("Targets", verdicts(report.figures))


def _number(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Measure the chat engine beside llama-cpp-python's own ways to serve.")
    positive = _number(1)
    parser.add_argument("--model", type=Path, help="a chat model (GGUF) to measure instead of random weights")
    parser.add_argument("--shape", choices=SHAPES, default="1b", help="of the random weights (default: %(default)s)")
    parser.add_argument("--type", choices=TYPES, default="Q8_0", help="of the random weights (default: %(default)s)")
    cache = Path(tempfile.gettempdir()) / "fireside-bench"
    parser.add_argument("--folder", type=Path, default=cache, help="keeps the random weights (default: %(default)s)")
    parser.add_argument("--askers", type=positive, default=8)
    parser.add_argument("--prefix", type=positive, default=1000, help="tokens that all prompts begin with")
    parser.add_argument("--own", type=positive, default=24, help="tokens of each prompt that are its own")
    parser.add_argument("--generated", type=_number(2), default=128, help="tokens of each answer, at most")
    parser.add_argument("--rounds", type=positive, default=3)
    threads = max(1, (os.cpu_count() or 2) - 1)
    parser.add_argument("--threads", type=positive, default=threads, help="of each contender (default: %(default)s)")
    parser.add_argument("--soak", type=_number(0), default=1000, help="short requests for the memory's growth; 0: none")
    parser.add_argument("--skip-server", action="store_true", help="leave llama_cpp.server and llama-server out")
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    given = parser.parse_args(arguments)
    settings = Settings(*(getattr(given, name) for name in Settings._fields))

    def work() -> None:
        path = given.model or model_file(given.shape, given.type, given.folder)
        shape = None if given.model else given.shape
        report = Report(given.json, Console())
        bench(path, shape, settings, report, folder=given.folder, skip_server=given.skip_server)

    try:
        return exit_code(work)
    except KeyboardInterrupt:
        say("Stopped. The figures that stand above hold.")
        return 130


if __name__ == "__main__":
    sys.exit(main())
