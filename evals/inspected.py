"""Runs benches through Inspect AI: its logs, its epochs, its way to go on after a kill."""

# Inspect's own types are looser than ours.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from inspect_ai import eval_set

from evals.bench import Bench
from evals.cases import Case
from evals.runs import RunInfo
from evals.tasks import MODEL, the_task
from persona.errors import InputError

_AT_ONCE = 1  # the line answers one question at a time, and Inspect costs less a sample the fewer there are under way
_BUFFERED = 50  # samples between two writes of the log; a kill loses none of them, Inspect keeps them beside it


def run_systems(
    benches: Mapping[str, Bench], cases: Sequence[Case], info: RunInfo, folder: Path, asked: Callable[[int], None]
) -> bool:
    """Asks every system the cases, logs in `folder`, and tells how many replies there are. What an earlier try has logged
    is not asked again. False if it was interrupted."""
    count = 0

    def heard(_id: str, _milliseconds: float) -> None:
        nonlocal count
        count += 1
        asked(count)

    tasks = [the_task(bench, cases, system, heard) for system, bench in benches.items()]
    try:
        # Inspect prints to stdout, which is for results alone.
        with contextlib.redirect_stdout(sys.stderr):
            done, logs = eval_set(
                tasks,
                log_dir=str(folder),
                model=MODEL,
                epochs=info.epochs,
                display="none",
                log_level="error",
                log_realtime=False,
                log_buffer=_BUFFERED,
                max_samples=_AT_ONCE,
                max_tasks=1,
                retry_attempts=0,
                retry_immediate=False,
                fail_on_error=True,
                continue_on_fail=True,
                ctl_server=False,
                log_dir_allow_dirty=True,
                metadata=info.model_dump(mode="json"),
            )
    except OSError as exc:
        raise InputError(f"Can't write the run to '{folder}': {exc.strerror}. Free space, or set --data-dir.") from None
    return done and all(log.status == "success" for log in logs)
