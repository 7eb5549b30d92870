"""The suites as Inspect tasks: `inspect eval evals/tasks.py -T split=test -T suites=near_miss` runs what `fireside eval run`
runs, and `inspect view` shows the log.

The line is a solver under the model "none/none": what answers is the persona, not a model of Inspect's. A reply stands
whole in the sample's metadata, so that figures are made from logs alone.
"""

# Inspect's decorators hide the types of what they wrap.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import anyio
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Metric, SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from evals.bench import Bench, came_out, generated
from evals.cases import FOLDER, Case, load_cases, suites_of
from evals.opening import bench_of
from persona.settings import Settings, load_settings
from persona.types import Reply

MODEL = "none/none"
Heard = Callable[[str, float], None]  # is told a case's id, and the milliseconds that its reply took


@task
def reliability(
    system: str = "fireside",
    split: str = "test",
    suites: str = "",
    cases: str = "",
    limit: int = 0,
    threshold: float | None = None,
    persona: str = "",
    data_dir: str = "",
) -> Task:
    """Cases of a split through one system: `fireside`, `no-retrieval`, `plain-rag`, `always-answers`, `always-abstains`.

    `suites`: names parted by commas; all if empty. `limit`: the first so many of each suite; all if 0.
    """
    folder = Path(cases) if cases else FOLDER
    bench = opened(system, threshold, persona, data_dir, folder)
    names = [s for s in suites.split(",") if s]
    loaded = load_cases(folder)
    chosen = suites_of(loaded, split=split, suites=names, limit=limit, generated=generated(loaded))
    return the_task(bench, chosen, system)


@lru_cache(maxsize=4)
def opened(system: str, threshold: float | None, persona: str, data_dir: str, cases: Path) -> Bench:
    """The bench of a system, opened once a process."""
    given: dict[str, object] = {}
    if persona:
        given["persona"] = persona
    if data_dir:
        given["data_dir"] = Path(data_dir)
    settings: Settings = load_settings(given)
    return bench_of(settings, system, threshold, cases)


def the_task(bench: Bench, cases: Sequence[Case], system: str, heard: Heard = lambda _id, _ms: None) -> Task:
    """The task that asks a bench these cases."""
    samples = [
        Sample(
            id=case.id,
            input=case.question,
            target=[str(d) for d in case.decisions],
            metadata={
                "suite": case.suite,
                "section": case.section,
                "case": case.model_dump(mode="json", exclude_defaults=True),
            },
        )
        for case in cases
        if bench.asks(case)
    ]
    return Task(
        name=f"reliability-{system}",
        dataset=MemoryDataset(samples, name="fireside"),
        solver=the_line(bench, heard),
        scorer=outcomes(),
    )


@solver
def the_line(bench: Bench, heard: Heard = lambda _id, _ms: None) -> Solver:
    """Asks the bench; the model of Inspect's is left alone."""
    one_at_a_time = anyio.CapacityLimiter(1)

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        case = Case.model_validate(state.metadata["case"])
        result = await anyio.to_thread.run_sync(bench.ask, case, limiter=one_at_a_time)
        state.metadata["reply"] = result.reply.model_dump(mode="json", exclude_defaults=True)
        state.metadata["milliseconds"] = round(result.milliseconds, 2)
        state.metadata["quotations"] = list(result.quotations)
        state.output = ModelOutput.from_content("fireside", result.reply.text)
        state.completed = True
        heard(case.id, result.milliseconds)
        return state

    return solve


@metric
def shares() -> Metric:
    """Over all suites: the share that came out right, of the answerables those right and refused, of the unanswerables
    those answered. NaN where there are none."""

    def measure(scores: list[SampleScore]) -> Value:
        rows = [(s.sample_metadata or {}, s.score.metadata or {}) for s in scores]
        answerable = [score for sample, score in rows if sample.get("suite") == "answerable"]
        nothing = [score for _, score in rows if score.get("unanswerable")]
        return {
            "right": _share([score["outcome"] == "right" for _, score in rows]),
            "answerable right": _share([score["outcome"] == "right" for score in answerable]),
            "answerable refused": _share([score["outcome"] == "withheld" for score in answerable]),
            "false answers": _share([score["decision"] == "answer" for score in nothing]),
        }

    return measure


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else float("nan")


@scorer(metrics=[shares()])
def outcomes() -> Scorer:
    """1.0 for a right reply, else 0.0; the outcome and the decision stand in the score's metadata."""

    async def score(state: TaskState, target: Target) -> Score:
        case = Case.model_validate(state.metadata["case"])
        reply = Reply.model_validate(state.metadata["reply"])
        outcome = came_out(case, reply)
        return Score(
            value=1.0 if outcome == "right" else 0.0,
            answer=reply.decision.value,
            explanation=f"{outcome}: {reply.decision.value} ({reply.reason.value}), confidence {reply.confidence:.2f}",
            metadata={"outcome": outcome, "decision": reply.decision.value, "unanswerable": case.unanswerable},
        )

    return score
