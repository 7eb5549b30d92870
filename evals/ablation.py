"""Ablation: what each kind of evidence brings, from similarity alone to the whole line.

Every variant has coefficients of its own, fitted on *fit*, and a threshold of its own, chosen on *certify* by the same rule;
then it answers *test*, and sets that nobody here wrote. The last variant is the line as it is shipped: its judge was trained
on *fit*, so its coefficients can't be fitted here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evals import external, fit
from evals.bench import Bench
from evals.calibrate import MAX_FALSE, choose, scored
from evals.cases import UNANSWERABLE, Case, suites_of
from evals.metrics import auroc, coverage_at_false
from evals.run import Figure, run
from evals.runs import Result
from persona.decision import Policy
from persona.models import Coefficients
from persona.pipeline import NOT_CERTIFIED, Fireside

SIMILARITY = ("span_cosine", "best_cosine", "passage_cosine")
READER = ("reader", "reader_least", "reader_plain", "reader_whole", "reader_around", "top_reader", "reader_lead")


def _but(names: Sequence[str], without: Sequence[str]) -> list[str]:
    return [n for n in names if n not in without]


VARIANTS: dict[str, fit.Names | None] = {
    "similarity only": fit.Names(SIMILARITY, ["ranker", *SIMILARITY], judged=False),
    "+ words, kind of answer": fit.Names(
        _but(fit.RANKER_FEATURES, READER), _but(fit.ANSWERABLE_FEATURES, READER), judged=False
    ),
    "+ late interaction": fit.Names(judged=False),
    "+ judge": None,
}


@dataclass(frozen=True)
class Row:
    """A variant's figures on *test*, and on the external sets: (set, AUROC, coverage at `external.FALSE`)."""

    name: str
    threshold: float
    figures: tuple[Figure, ...]
    auroc: float | None
    coverage: float | None
    external: tuple[tuple[str, float | None, float | None], ...]


def ablate(
    fireside: Fireside,
    cases: Sequence[Case],
    sets: Sequence[external.ExternalSet],
    progress: Callable[[int, int], None],
) -> list[Row]:
    """A row for each of VARIANTS; the last is of `fireside` itself."""
    asked = fit.read(fireside, cases, progress)
    rows: list[Row] = []
    for name, names in VARIANTS.items():
        fitted = fit.fit_on(fireside, asked, cases, progress, names) if names else fireside.policy.coefficients
        rows.append(_row(name, fireside, fitted, names is None, cases, sets, progress))
    return rows


def _row(
    name: str,
    fireside: Fireside,
    fitted: Coefficients,
    judged: bool,
    cases: Sequence[Case],
    sets: Sequence[external.ExternalSet],
    progress: Callable[[int, int], None],
) -> Row:
    judge = fireside.judge if judged else None
    line = Fireside(
        fireside.card,
        fireside.corpus,
        fireside.index,
        fireside.embedder,
        fitted,
        Policy(fitted, 0.0, NOT_CERTIFIED),
        judge,
    )
    suites = ("answerable", *UNANSWERABLE)
    on = {split: suites_of(cases, split=split, suites=suites) for split in ("certify", "test")}
    threshold = round(choose(scored(run(Bench(line), on["certify"], progress)), MAX_FALSE).threshold, 4)
    results = run(Bench(line.at(threshold)), on["test"], progress)
    yes = [r.reply.confidence for r in results if r.case.suite == "answerable"]
    no = [r.reply.confidence for r in results if r.case.unanswerable]
    found: list[tuple[str, float | None, float | None]] = []
    for one in sets:
        (score, *_) = external.evaluate(one, fireside.embedder, fitted, threshold, progress, judge=judge).systems
        found.append((f"{one.name}, {one.mode}", score.auroc, score.coverage))
    line.close()
    return Row(
        name,
        threshold,
        figures(results),
        auroc(yes, no),
        coverage_at_false(yes, no, external.FALSE),
        tuple(found),
    )


def figures(results: Sequence[Result]) -> tuple[Figure, ...]:
    """Right of the answerable questions; not withheld of the unanswerable ones, and of the near-misses among them."""
    kinds = {
        "right, of answerable": [r for r in results if r.case.suite == "answerable"],
        "answered or asked back, unanswerable": [r for r in results if r.case.unanswerable],
        "answered or asked back, near-miss": [
            r for r in results if r.case.unanswerable and r.case.suite == "near_miss"
        ],
    }
    return tuple(
        Figure(name, sum(r.outcome == ("right" if name.startswith("right") else "wrong") for r in of), len(of))
        for name, of in kinds.items()
    )
