"""Writes the figures of a run into the README, between two marks, so that no figure there is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.run import Figure, lengths_and_times, measures
from evals.runs import Run
from persona.errors import InputError

BEGIN = "<!-- scores: written by `make eval` -->"
END = "<!-- end of scores -->"


def render(run: Run, figures: Sequence[Figure], beside: Mapping[str, Sequence[Figure]]) -> str:
    """The table in Markdown; times are left out, they depend on the machine."""
    others = {name: {f.name: f for f in found} for name, found in beside.items()}
    head = "".join(f" {name} |" for name in others)
    lines = [
        f"| On the *{run.info.split}* split | Share | 95% interval | n |{head}",
        "|---|---:|---:|---:|" + "---:|" * len(others),
    ]
    for figure in figures:
        if figure.of:
            cells = "".join(f" {found.get(figure.name, 'n/a')} |" for found in others.values())
            lines.append(f"| {figure.name} | {figure} | {figure.interval} | {figure.of} |{cells}")
    blank = " |" * len(others)
    for name, value in measures(run.results).items():
        lines.append(f"| {name} | {'n/a' if value is None else f'{value:.3f}'} | | |{blank}")
    median = lengths_and_times(run.results)["median answer, characters"]
    lines.append(f"| median length of an answer | {median:.0f} characters | | |{blank}")
    return "\n".join(lines) + f"\n\nThreshold {run.info.threshold:.4g}, {run.info.risk}.\n"


def write(readme: Path, run: Run, figures: Sequence[Figure], beside: Mapping[str, Sequence[Figure]]) -> None:
    """Replaces the table in a README; InputError if its marks are missing."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if BEGIN not in text or END not in text:
        raise InputError(f"'{readme}' has no place for the table. Add the lines '{BEGIN}' and '{END}'.")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}\n{render(run, figures, beside)}{END}{after}", encoding="utf-8")
