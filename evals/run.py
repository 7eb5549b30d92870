"""Runs cases through the line and counts: right, wrong, withheld, by suite, with the questions of this project's figures."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from evals.cases import CONDUCT, Case
from evals.metrics import (
    aurc,
    auroc,
    brier,
    clopper_pearson_upper,
    coverage_at,
    ece,
    risk_coverage,
    truthfulness,
    wilson,
)
from evals.runs import Result
from evals.scoring import Outcome, has_facts, outcome
from persona.corpus import Corpus
from persona.pipeline import Fireside
from persona.types import Citation, Decision, Reason, Reply
from persona.verification import citation_stands


class Figure(NamedTuple):
    """A share with its count; None of 0 is n/a, never 0."""

    name: str
    hits: int
    of: int

    def __str__(self) -> str:
        return f"{self.hits / self.of:.1%}" if self.of else "n/a"

    @property
    def interval(self) -> str:
        """The 95% score interval of the share, as text."""
        found = wilson(self.hits, self.of)
        return f"{found.low:.0%} to {found.high:.0%}" if found else "n/a"


def run(fireside: Fireside, cases: Sequence[Case], progress: Callable[[int, int], None]) -> list[Result]:
    """Asks every case, in order. A quote case is a look-up: found or not."""
    results: list[Result] = []
    for number, case in enumerate(cases, 1):
        begun = time.perf_counter()
        if case.suite == "quote":
            reply = _looked_up(fireside, case)
            came_out: Outcome = _quote_outcome(case, reply)
        else:
            reply = fireside.answer(case.asked()).reply
            came_out = outcome(case, reply)
        results.append(Result(case, reply, came_out, (time.perf_counter() - begun) * 1000))
        progress(number, len(cases))
    return results


def _looked_up(fireside: Fireside, case: Case) -> Reply:
    found = [Citation(**c.model_dump(exclude={"score"})) for c in fireside.lookup.quotes(case.question)]
    empty = fireside.answer(case.model_copy(update={"question": "…"}).asked()).reply
    decision = Decision.ANSWER if found else Decision.ABSTAIN
    text = " ".join(c.quote for c in found)
    return empty.model_copy(update={"decision": decision, "citations": tuple(found), "text": text})


def _quote_outcome(case: Case, reply: Reply) -> Outcome:
    if Decision.ANSWER not in case.decisions:
        return "wrong" if reply.citations else "right"
    good = [c for c in reply.citations if has_facts(case.facts, c.quote)]
    if not reply.citations:
        return "withheld"
    return "right" if good and (case.speaker is None or any(c.speaker == case.speaker for c in good)) else "wrong"


def figures(results: Sequence[Result], corpus: Corpus) -> list[Figure]:
    """The headline figures."""

    def share(name: str, of: Sequence[Result], hit: Callable[[Result], bool]) -> Figure:
        return Figure(name, sum(hit(r) for r in of), len(of))

    def suite(*names: str) -> list[Result]:
        return [r for r in results if r.case.suite in names]

    def answered(r: Result) -> bool:
        return r.reply.decision is Decision.ANSWER

    def right(r: Result) -> bool:
        return r.outcome == "right"

    answerable = suite("answerable")
    nothing = [r for r in results if r.case.unanswerable]
    cited = [c for r in results for c in (*r.reply.citations, *r.reply.nearest) if c.verbatim]
    present = [r for r in suite("quote") if Decision.ANSWER in r.case.decisions]
    absent = [r for r in suite("quote") if Decision.ANSWER not in r.case.decisions]
    return [
        share("answerable: right", answerable, right),
        share("answerable: refused", answerable, lambda r: r.outcome == "withheld"),
        share("right, of the answers given to answerables", [r for r in answerable if answered(r)], right),
        share("false answers, all unanswerables", nothing, answered),
        share("false answers, near-misses", [r for r in nothing if r.case.suite == "near_miss"], answered),
        share("false premise: corrected or refused", suite("false_premise"), right),
        share("ambiguous: asked back", suite("ambiguous"), right),
        share("attribution: right", suite("attribution"), right),
        share("identity and greetings: right", suite("identity", "greeting"), right),
        share("abuse: declined", suite(*(c for c in CONDUCT if c not in ("identity", "greeting"))), right),
        share("quote look-up: found", present, right),
        share("quote look-up: none for absent topics", absent, right),
        Figure("quotations that stand letter for letter", sum(citation_stands(c, corpus) for c in cited), len(cited)),
    ]


def measures(results: Sequence[Result]) -> dict[str, float | None]:
    """What the confidence is worth, on answerable and unanswerable questions together; None is undefined.

    A question that was declined or asked back has no confidence, so those count in coverage only.
    """
    answerable = [r for r in results if r.case.suite == "answerable"]
    nothing = [r for r in results if r.case.unanswerable]
    both = (*answerable, *nothing)
    answers = [r for r in both if r.reply.reason in ANSWERS]
    sure = [r.reply.confidence for r in answers]
    right = [float(r.outcome == "right") for r in answers]
    curve = risk_coverage(sure, [1 - x for x in right], of=len(both))
    kept = [r.outcome if r.reply.decision is Decision.ANSWER else "withheld" for r in both]
    false_answers = sum(r.reply.decision is Decision.ANSWER for r in nothing)
    return {
        "false answers: upper 95% bound": clopper_pearson_upper(false_answers, len(nothing)),
        "truthfulness (+1 right, 0 withheld, -1 wrong)": truthfulness(
            kept.count("right"), kept.count("wrong"), kept.count("withheld")
        ),
        "AUROC, answerable against unanswerable": auroc(_weighed(answerable), _weighed(nothing)),
        "Brier score of the answers": brier(sure, right),
        "expected calibration error": ece(sure, right),
        "area under risk and coverage": aurc(curve),
        "coverage at 10% risk": coverage_at(curve, 0.10) if answers else None,
        "coverage at 5% risk": coverage_at(curve, 0.05) if answers else None,
    }


ANSWERS = (Reason.SUPPORTED, Reason.CORRECTED)
_WITHHELD = (Reason.OUT_OF_CORPUS, Reason.NOT_STATED, Reason.AFTER_THE_TALKS, Reason.UNSUPPORTED)


def _weighed(results: Sequence[Result]) -> list[float]:
    """The confidences of the replies that the threshold decided about."""
    return [r.reply.confidence for r in results if r.reply.reason in (*ANSWERS, *_WITHHELD)]


def lengths_and_times(results: Sequence[Result]) -> dict[str, float]:
    """Median and longest reply (characters), median and 95th percentile of the time for a question (ms)."""
    texts = [len(r.reply.text) for r in results if r.reply.claims]
    times = sorted(r.milliseconds for r in results) or [0.0]
    return {
        "median answer, characters": statistics.median(texts) if texts else 0.0,
        "longest reply, characters": max((len(r.reply.text) for r in results if r.case.suite != "quote"), default=0),
        "median question, ms": statistics.median(times),
        "95th percentile, ms": times[int(0.95 * (len(times) - 1))],
    }


def save(results: Sequence[Result], path: Path) -> None:
    """The run as JSON lines: case, outcome, reply."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for r in results:
            row = {
                "case": r.case.model_dump(mode="json"),
                "outcome": r.outcome,
                "reply": r.reply.model_dump(mode="json"),
                "milliseconds": round(r.milliseconds, 2),
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
