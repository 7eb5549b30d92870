"""Runs on disk: a folder each, with `run.json` and Inspect's logs, one a system. An interrupted run can be gone on with."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from evals.bench import Bench
from evals.cases import Case
from evals.opening import LINE
from evals.runs import Result, Run, RunInfo
from persona.errors import InputError
from persona.models import COEFFICIENTS
from persona.types import Reply

FORMAT = 1
INFO = "run.json"
DONE = "success"
_VERSIONS = ("fireside", "inspect-ai", "llama-cpp-python", "chromadb", "numpy")


def describe(
    bench: Bench,
    cases: Sequence[Case],
    *,
    split: str,
    suites: Sequence[str],
    systems: Sequence[str],
    epochs: int,
    limit: int,
    seed: int,
    persona: str,
) -> RunInfo:
    """What a run over these cases is made with; its id is new."""
    fireside = bench.fireside
    writer = fireside.writer
    deciding = [
        fireside.corpus.fingerprint,
        hashlib.sha256(COEFFICIENTS.read_bytes()).hexdigest(),
        fireside.embedder.fingerprint,
        f"{fireside.policy.threshold:.6f}",
        fireside.policy.scale.model_dump_json(),
        *systems,
        *([writer.name] if writer else []),
    ]
    config = hashlib.sha256("\n".join(deciding).encode()).hexdigest()[:16]
    asked = hashlib.sha256("\n".join(c.model_dump_json() for c in cases).encode()).hexdigest()[:16]
    now = datetime.now(UTC)
    return RunInfo(
        format=FORMAT,
        id=f"{now:%Y%m%d-%H%M%S}-{split}-{config[:6]}",
        created=now.isoformat(timespec="seconds"),
        split=split,
        suites=tuple(suites),
        systems=tuple(systems),
        epochs=epochs,
        limit=limit or None,
        seed=seed,
        persona=persona,
        voice="quotes" if writer is None else "model",
        model=writer and writer.name,
        threshold=fireside.policy.threshold,
        risk=fireside.policy.risk,
        corpus=fireside.corpus.fingerprint,
        cases=asked,
        config=config,
        versions={"python": platform.python_version(), **{n: metadata.version(n) for n in _VERSIONS}},
    )


def begin(info: RunInfo, runs: Path) -> Path:
    """The folder of a new run, with its record in it."""
    folder = runs / info.id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INFO).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise InputError(f"Can't write the run to '{folder}': {exc.strerror}. Free space, or set --data-dir.") from None
    return folder


def unfinished(info: RunInfo, runs: Path) -> Path | None:
    """The newest run that was asked for the same and did not end; None if there is none."""
    same = {"format", "split", "suites", "systems", "epochs", "limit", "seed", "cases", "config"}
    for folder in sorted(runs.glob("*/"), reverse=True):
        try:
            other = read_info(folder)
        except InputError:
            continue
        if other.model_dump(include=same) == info.model_dump(include=same):
            return None if set(finished(folder)) >= set(info.systems) else folder
    return None


def read_info(folder: Path) -> RunInfo:
    """The record of a run; InputError where there is none that this version reads."""
    path = folder / INFO
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("format") != FORMAT:
            raise InputError(
                f"The run '{folder.name}' was made by another version of Fireside (format {data.get('format')}, "
                f"this one reads {FORMAT}). Run `fireside eval run` anew."
            )
        return RunInfo.model_validate(data)
    except (OSError, ValueError, ValidationError, AttributeError):
        raise InputError(f"'{folder}' holds no run. `fireside eval run` makes one.") from None


def finished(folder: Path) -> dict[str, Path]:
    """The newest complete log of each system."""
    from inspect_ai.log import list_eval_logs, read_eval_log

    out: dict[str, Path] = {}
    for entry in sorted(list_eval_logs(str(folder), recursive=False), key=lambda e: e.name):
        header = read_eval_log(entry, header_only=True)
        if header.status == DONE:
            out[header.eval.task.removeprefix("reliability-")] = Path(entry.name.removeprefix("file://"))
    return out


def find(name: str | None, runs: Path) -> Path:
    """A run's folder by its id or path; the newest finished one where none is named."""
    if name:
        for folder in (runs / name, Path(name)):
            if (folder / INFO).is_file():
                return folder
        known = ", ".join(f.name for f in sorted(runs.glob("*/"), reverse=True)[:5]) or "none"
        raise InputError(f"No run '{name}'. The newest ones: {known}.")
    for folder in sorted(runs.glob("*/"), reverse=True):
        if (folder / INFO).is_file() and LINE in finished(folder):
            return folder
    raise InputError(f"No finished run in '{runs}'. `fireside eval run` makes one.")


def load(folder: Path, system: str = LINE) -> Run:
    """A finished run of one system, in the order of the ids of its cases."""
    from inspect_ai.log import read_eval_log

    info = read_info(folder)
    logs = finished(folder)
    if system not in logs:
        raise InputError(
            f"The run '{folder.name}' has no finished log of '{system}'. Ask for the same `fireside eval run` again: "
            "it goes on where it stopped."
        )
    results: list[Result] = []
    for sample in read_eval_log(str(logs[system])).samples or []:
        if sample.error is not None or "reply" not in sample.metadata:
            raise InputError(
                f"The case '{sample.id}' failed in the run '{folder.name}': "
                f"{sample.error.message if sample.error else 'no reply'}. Run it anew with --fresh."
            )
        score = (sample.scores or {})["outcomes"]
        results.append(
            Result(
                Case.model_validate(sample.metadata["case"]),
                Reply.model_validate(sample.metadata["reply"]),
                (score.metadata or {})["outcome"],
                float(sample.metadata["milliseconds"]),
                sample.epoch,
                (int(sample.metadata["quotations"][0]), int(sample.metadata["quotations"][1])),
            )
        )
    return Run(info, tuple(results), folder)
