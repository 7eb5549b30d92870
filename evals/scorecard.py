"""Writes the figures of a run into the README, between two marks, so that no figure there is typed by hand.

Beside the README, `docs/scores.json` keeps what the table was made from, with the outcome of every case: a test holds the
README to it, and it to what the code does today.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals import plots
from evals.ablation import Row
from evals.claims import Counted
from evals.metrics import Interval
from evals.run import Figure, lengths_and_times, measures
from evals.runs import Run
from persona.errors import InputError

BEGIN = "<!-- scores: written by `make eval` -->"
END = "<!-- end of scores -->"
BEGIN_EXTERNAL = "<!-- external: written by `fireside eval external … --readme README.md` -->"
END_EXTERNAL = "<!-- end of external -->"
BEGIN_ABLATION = "<!-- ablation: written by `fireside eval ablation … --readme README.md` -->"
END_ABLATION = "<!-- end of ablation -->"
BEGIN_CLAIMS = "<!-- claims: written by `fireside eval claims --readme README.md` -->"
END_CLAIMS = "<!-- end of claims -->"
SCORES = Path("docs", "scores.json")
EXTERNAL = Path("docs", "external.json")
ABLATION = Path("docs", "ablation.json")
CLAIMS = Path("docs", "claims.json")
_OWN_TO_A_RUN = {"id", "created", "versions"}  # which differ between two runs of the same


def scores(
    run: Run,
    figures: Sequence[Figure],
    spread: Mapping[str, Interval | None],
    beside: Mapping[str, Sequence[Figure]],
) -> dict[str, Any]:
    """What the table is made from, in JSON, `spread` being the `intervals` of the run; times are left out, they depend on
    the machine."""
    values: dict[str, list[float | None]] = {}
    for name, value in measures(run.results).items():
        between = spread[name] or (None, None)
        values[name] = [None if x is None else round(x, 3) for x in (value, *between)]
    values["median length of an answer, characters"] = [
        lengths_and_times(run.results)["median answer, characters"],
        None,
        None,
    ]
    return {
        "run": run.info.model_dump(mode="json", exclude=_OWN_TO_A_RUN),
        "figures": [[f.name, f.hits, f.of] for f in figures],
        "beside": {name: [[f.name, f.hits, f.of] for f in found] for name, found in beside.items()},
        "measures": values,
        "outcomes": {r.case.id: r.outcome for r in run.results if r.epoch == 1},
    }


def render(made: Mapping[str, Any]) -> str:
    """The table in Markdown, of `scores`."""
    others = {name: {f[0]: Figure(*f) for f in found} for name, found in made["beside"].items()}
    info = made["run"]
    head = "".join(f" {name} |" for name in others)
    lines = [
        f"| On the *{info['split']}* split | Share | 95% interval | n |{head}",
        "|---|---:|---:|---:|" + "---:|" * len(others),
    ]
    for figure in (Figure(*f) for f in made["figures"]):
        if figure.of:
            cells = "".join(f" {found.get(figure.name, 'n/a')} |" for found in others.values())
            lines.append(f"| {figure.name} | {figure} | {figure.interval} | {figure.of} |{cells}")
    blank = " |" * len(others)
    for name, (value, low, high) in made["measures"].items():
        shown = "n/a" if value is None else f"{value:.0f}" if name.endswith("characters") else f"{value:.3f}"
        between = "" if low is None else f"{low:.3f} to {high:.3f}"
        lines.append(f"| {name} | {shown} | {between} | |{blank}")
    return "\n".join(lines) + f"\n\nThreshold {info['threshold']:.4g}, {info['risk']}.\n"


def write(readme: Path, run: Run, made: Mapping[str, Any]) -> None:
    """Replaces the table in a README with that of a run and its `scores`, and writes scores and plots beside it; InputError
    if the marks are missing, and nothing is written then."""
    replace_section(readme, BEGIN, END, render(made))
    save(readme.parent / SCORES.parent, run, made)
    found, subtitle = _pictured(run)
    plots.risk_coverage_png(found, run.info.threshold, subtitle, readme.parent / "docs" / "risk-coverage.png")


def save(folder: Path, run: Run, made: Mapping[str, Any]) -> None:
    """Writes a run's `scores` and their picture into a folder: what the bots show of it (`/reliability`)."""
    _save(folder / SCORES.name, made)
    found, subtitle = _pictured(run)
    plots.reliability_png(found, subtitle, folder / "reliability.png")


def _pictured(run: Run) -> tuple[plots.Answers, str]:
    found = plots.answers(run.results)
    return found, f"{found.asked} questions of {run.info.split}, threshold {run.info.threshold:.2f}, {run.info.risk}"


def render_external(made: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of the external sets in Markdown: a row a figure, a column a system, set by set."""
    lines: list[str] = []
    for name, of_set in made.items():
        systems = list(of_set["systems"])
        lines += ["", f"| {name} ({of_set['passages']} passages) | n |" + "".join(f" {s} |" for s in systems)]
        lines.append("|---|---:|" + "---:|" * len(systems))
        for row, first in enumerate(of_set["systems"][systems[0]]):
            cells = "".join(f" {of_set['systems'][s][row][1]} |" for s in systems)
            counts = dict.fromkeys(str(of_set["systems"][s][row][2]) for s in systems)
            lines.append(f"| {first[0]} | {' / '.join(counts)} |{cells}")
    return "\n".join(lines).strip() + "\n"


def write_external(readme: Path, name: str, of_set: Mapping[str, Any]) -> None:
    """Puts a set's figures into a README, beside those of other sets; InputError if the marks are missing."""
    path = readme.parent / EXTERNAL
    made: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    made[name] = of_set
    made = dict(sorted(made.items()))
    replace_section(readme, BEGIN_EXTERNAL, END_EXTERNAL, render_external(made))
    _save(path, made)


def render_ablation(made: Sequence[Mapping[str, Any]]) -> str:
    """The table of the variants in Markdown: a row a figure, a column a variant."""
    names = "".join(f" {row['name']} |" for row in made)
    lines = [f"| On *test* |{names}", "|---|" + "---:|" * len(made)]
    for place, (name, _, of) in enumerate(made[0]["figures"]):
        cells = "".join(f" {Figure(*row['figures'][place])} |" for row in made)
        lines.append(f"| {name} (n = {of}) |{cells}")
    lines.append(_cells("AUROC of the confidence", [row["auroc"] for row in made], ".3f"))
    lines.append(_cells("coverage at 5% false answers", [row["coverage"] for row in made], ".1%"))
    for place, (name, *_) in enumerate(made[0]["external"]):
        lines.append(_cells(f"{name}: AUROC", [row["external"][place][1] for row in made], ".3f"))
        lines.append(
            _cells(f"{name}: coverage at 5% false answers", [row["external"][place][2] for row in made], ".1%")
        )
    return "\n".join(lines) + "\n"


def _cells(name: str, values: Sequence[float | None], form: str) -> str:
    return f"| {name} |" + "".join(f" {'n/a' if v is None else format(v, form)} |" for v in values)


def write_ablation(readme: Path, rows: Sequence[Row]) -> None:
    """Puts the variants' figures into a README; InputError if the marks are missing."""
    made: list[dict[str, Any]] = [
        {
            "name": row.name,
            "threshold": row.threshold,
            "figures": [[f.name, f.hits, f.of] for f in row.figures],
            "auroc": _short(row.auroc),
            "coverage": _short(row.coverage),
            "external": [[name, _short(a), _short(c)] for name, a, c in row.external],
        }
        for row in rows
    ]
    replace_section(readme, BEGIN_ABLATION, END_ABLATION, render_ablation(made))
    _save(readme.parent / ABLATION, {"variants": made})


def render_claims(made: Sequence[Sequence[Any]]) -> str:
    """The table of caught and lost claims in Markdown; a row is (name, hits, of)."""
    lines = ["| A chat model's claims | Share (95% interval) | n |", "|---|---:|---:|"]
    for name, hits, of in made:
        shown = f"– {name.strip()}" if name.startswith(" ") else name
        lines.append(f"| {shown} | {Counted(name, hits, of).share} | {of} |")
    return "\n".join(lines) + "\n"


def write_claims(readme: Path, rows: Sequence[Counted]) -> None:
    """Puts what the gate caught and lost into a README; InputError if the marks are missing."""
    made = [[row.name, row.hits, row.of] for row in rows]
    replace_section(readme, BEGIN_CLAIMS, END_CLAIMS, render_claims(made))
    _save(readme.parent / CLAIMS, {"rows": made})


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def section(readme: Path, begin: str, end: str) -> str:
    """What stands between two marks of a README; InputError if they are missing."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if begin not in text or end not in text:
        raise InputError(f"'{readme}' has no place for the table. Add the lines '{begin}' and '{end}'.")
    return text.split(begin, 1)[1].split(end, 1)[0].removeprefix("\n")


def replace_section(readme: Path, begin: str, end: str, table: str) -> None:
    """Writes what stands between two marks of a README; InputError if they are missing."""
    section(readme, begin, end)
    before, rest = readme.read_text(encoding="utf-8").split(begin, 1)
    readme.write_text(f"{before}{begin}\n{table}{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def _save(path: Path, made: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
