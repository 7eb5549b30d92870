"""What a user should know of a persona before the first answer, and the bar that shows its index being built."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from persona.opening import Tell
from persona.pipeline import Fireside, why_uncalibrated
from persona.settings import Settings


def notes(fireside: Fireside) -> list[str]:
    """What a user should know before the first answer, a sentence each."""
    out: list[str] = []
    why = why_uncalibrated(fireside.card, fireside.corpus, fireside.policy.coefficients)
    if why:
        out.append(
            f"The persona '{fireside.card.id}' is not calibrated: {why}. So it uses a cautious threshold "
            f"({fireside.policy.threshold:g}). Run `fireside eval calibrate` to fit one."
        )
    if fireside.model_problem:
        out.append(f"{fireside.model_problem} Until then the `quotes` voice answers.")
    return out


def what_a_model_adds(settings: Settings) -> list[str]:
    """One line on what a chat model would add, where none is set; nothing is ever fetched unasked."""
    if settings.voice == "quotes" or settings.chat_model or settings.model_url:
        return []
    return [
        "Answers are quotations. A chat model would put them into its own words, each checked against the talks: "
        "see `fireside model list`."
    ]


@contextmanager
def progress_bar() -> Generator[Tell]:
    """A bar on stderr that appears with the first thing to embed; where stderr is no terminal, one line."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("Reading the talks…", total=None)

    def show(done: int, total: int) -> None:
        if not total:
            return
        if not done:
            if console.is_terminal:
                bar.start()
            else:
                print("Reading the talks…", file=sys.stderr, flush=True)
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()
