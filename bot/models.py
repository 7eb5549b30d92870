"""`fireside model`: chat models (GGUF files for llama.cpp) to choose from, to fetch and to look at."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, cast

import typer

from persona.errors import InputError

if TYPE_CHECKING:
    from bot.commands import Start
    from persona.hub import Record, Row, Table, Tell
    from persona.llama.vetting import ModelFacts
    from persona.settings import Settings

_UNVERIFIED = "not verified by us"
_STEP = 10  # percent between two lines of progress where there is no terminal

app = typer.Typer(help="Chat models: which there are, fetch one, look at one.", no_args_is_help=True)


@app.command("list")
def list_models(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects instead of a table.")] = False,
) -> None:
    """Show the models that suit this bot, and those that are here already."""
    from bot.commands import emit
    from persona.hub import catalog

    settings, folder = _settings(ctx)
    table = catalog()
    entries = list(_entries(settings, folder, table))
    if as_json:
        emit(json.dumps([entry._asdict() for entry in entries], ensure_ascii=False, indent=1))
        return
    widths = [max(map(len, column)) for column in zip(*(entry.cells for entry in entries), strict=True)]
    for entry in entries:
        cells = (cell.ljust(width) for cell, width in zip(entry.cells, widths, strict=True))
        emit("  ".join(("*" if entry.set else " ", *cells)).rstrip())
    _say_what_next(settings, table)


@app.command()
def pull(
    ctx: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="NAME|hf:REPO/FILE|URL|PATH", help="What to fetch; a file of yours stays put."),
    ] = None,
) -> None:
    """Fetch a chat model into the data folder, go on where a pull was cut off, and check it."""
    from bot.commands import emit, say
    from persona.hub import Hub, catalog, locate, shown_bytes
    from persona.hub import pull as fetch

    table = catalog()
    if target is None:
        raise InputError(f"Which model? Try `fireside model pull {table.default}`, or see `fireside model list`.")
    settings, folder = _settings(ctx)
    source = locate(target, table)
    if isinstance(source, Path):
        path, setting = source, str(source.absolute())
    else:
        token = settings.hf_token.get_secret_value() if settings.hf_token else None
        with _progress(source.name) as tell:
            done = fetch(source, folder, Hub(os.environ.get("HF_ENDPOINT") or None, token), tell)
        row = table.find(target)
        path, setting = done.path, row.name if row else source.name
        state = "pulled" if done.fetched else "already here"
        emit(f"{path}: {state}, {shown_bytes(done.record.size)}, {_origin(done.record)}.")
    from persona.llama.vetting import vet

    facts = vet(path)
    emit(f"{facts.name}: {_kind(facts)}, {facts.context:,} tokens of context.")
    for note in facts.notes:
        say(note)
    emit(f"To use it, set FIRESIDE_CHAT_MODEL={setting}")


@app.command()
def info(
    ctx: typer.Context,
    target: Annotated[
        str | None, typer.Argument(metavar="NAME|PATH", help="A model that is here; else the one that is set.")
    ] = None,
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Measure how fast it is here.")] = True,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Measure with so many threads; else one fewer than there are cores.")
    ] = None,
) -> None:
    """Show what a chat model is, what runs it, what memory it takes and how fast it is here."""
    from bot.commands import emit, say
    from persona.hub import catalog, read_record, resolve
    from persona.llama.vetting import measure, vet

    settings, folder = _settings(ctx)
    table = catalog()
    wanted = target or settings.chat_model
    if not wanted:
        emit(
            "No chat model is set: answers are the speaker's own words. One would phrase them, with sources; "
            f"to get one, run `fireside model pull {table.default}`."
        )
        return
    path = resolve(wanted, folder, table)
    facts = vet(path)
    for name, says in _facts(facts, read_record(path)):
        emit(f"{name:<9} {says}")
    if speed:
        say("Measuring its speed…")
        took = measure(facts, threads=threads)
        emit(f"{'speed':<9} reads {took.prompt:,.0f} tokens/s, writes {took.writing:,.1f} tokens/s")
    for note in facts.notes:
        say(note)


class Entry(NamedTuple):
    """A line of `fireside model list`; `path` is None where the model is not here, `set` says that it is the one in use."""

    name: str
    source: str | None
    licence: str | None
    parameters: str | None
    size: int
    verified: bool
    path: str | None
    sha256: str | None
    set: bool
    note: str

    @property
    def cells(self) -> tuple[str, ...]:
        """What a person reads of it."""
        from persona.hub import shown_bytes

        about = "" if self.path else "about "
        state = "verified" if self.verified else _UNVERIFIED
        here = "here" if self.path else "-"
        return (
            self.name,
            self.parameters or "",
            about + shown_bytes(self.size),
            self.licence or "",
            here,
            state,
            self.note,
        )


def _settings(ctx: typer.Context) -> tuple[Settings, Path]:
    """The settings, and the models folder."""
    from persona.hub import MODELS

    settings = cast("Start", ctx.obj).settings()
    return settings, settings.data_dir / MODELS


def _entries(settings: Settings, folder: Path, table: Table) -> Iterator[Entry]:
    from persona.errors import HubError
    from persona.hub import held, resolve

    here = {found.path: found for found in held(folder)}
    chosen: Path | None = None
    if settings.chat_model:
        try:
            chosen = resolve(settings.chat_model, folder, table).absolute()
        except HubError:  # `info` says what is wrong with it
            chosen = None
    for row in table.models:
        found = here.get(folder / row.source.name)
        if found and found.record and found.record.source != str(row.source):
            found = None  # another repository's file of the same name: listed below
        if found:
            del here[found.path]
        yield _entry(
            row, found.path if found else None, found.size if found else row.size, found and found.record, chosen
        )
    for found in here.values():
        yield _entry(None, found.path, found.size, found.record, chosen)
    if chosen and chosen.parent != folder.absolute():
        yield _entry(None, chosen, chosen.stat().st_size, None, chosen)


def _entry(row: Row | None, path: Path | None, size: int, record: Record | None, chosen: Path | None) -> Entry:
    return Entry(
        name=row.name if row else path.name if path else "",
        source=str(row.source) if row else record.source if record else None,
        licence=row.licence if row else None,
        parameters=row.parameters if row else None,
        size=size,
        verified=record.verified if record else bool(row and row.verified),
        path=str(path) if path else None,
        sha256=record.sha256 if record else None,
        set=path is not None and path.absolute() == chosen,
        note=row.note if row else "",
    )


def _say_what_next(settings: Settings, table: Table) -> None:
    from bot.commands import say

    if settings.chat_model:
        say(f"* is in use (FIRESIDE_CHAT_MODEL={settings.chat_model}).")
    else:
        say(f"None is in use. To fetch one, run `fireside model pull {table.default}` or another name of the list.")
    say(f"'{_UNVERIFIED}': the name stands in our table, and no pull here has confirmed it by the hub's checksum.")


def _facts(facts: ModelFacts, record: Record | None) -> Iterator[tuple[str, str]]:
    from persona.hub import shown_bytes
    from persona.llama.vetting import backend

    runs = backend()
    yield "name", facts.name
    yield "file", f"{facts.path}, {shown_bytes(facts.path.stat().st_size)}"
    yield (
        "source",
        f"{record.source}, {_origin(record)}" if record else "not pulled by fireside, so nothing is known of it",
    )
    yield "model", f"{_kind(facts)}, {facts.layers} layers of width {facts.width:,}, {facts.vocabulary:,} tokens known"
    yield "context", f"{facts.context:,} tokens, as trained"
    yield "template", "its own" if facts.template else "none: ChatML is used"
    yield "prefixes", "computed once for all who share one" if facts.rolls_back else "computed anew each time"
    yield "backend", f"llama.cpp {'with a GPU' if runs.gpu else 'on the CPU'} ({runs.features})"
    for device in runs.devices:
        yield "device", f"{device.name}: {device.description}, {shown_bytes(device.total)} of memory"
    yield (
        "memory",
        f"{shown_bytes(facts.size)} for the weights, {shown_bytes(facts.cache * 1000)} for 1,000 tokens of context",
    )


def _kind(facts: ModelFacts) -> str:
    if facts.parameters >= 10**9:
        count = f"{facts.parameters / 10**9:.1f} billion"
    else:
        count = f"{facts.parameters / 10**6:.1f} million"
    return f"{facts.architecture}, {facts.quantisation}, {count} parameters"


def _origin(record: Record) -> str:
    checked = "as the hub announced" if record.verified else "which nobody announced, so it is not verified"
    commit = f"commit {record.revision[:12]}, " if record.revision else ""
    return f"{commit}sha256 {record.sha256}, {checked}"


@contextmanager
def _progress(name: str) -> Generator[Tell]:
    """A bar on stderr that shows a download; where stderr is no terminal, a line at each tenth of it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(name)
        return
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total or None)

        yield show


class _Lines:
    """Progress where it can't be drawn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Says how much is there when another tenth has come; at the start, how much it will be."""
        from persona.hub import shown_bytes

        percent = done * 100 // total if total else 0
        if self._next is None or (total and percent >= self._next):
            of = f"{percent}% of {shown_bytes(total)}" if total else "of unknown size"
            print(f"Fetching {self._name}: {of}", file=sys.stderr, flush=True)
            self._next = (percent // _STEP + 1) * _STEP
