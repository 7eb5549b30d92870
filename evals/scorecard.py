"""Writes the figures of a run into the README, between two marks, so that no figure there is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.run import Figure
from persona.errors import InputError

BEGIN = "<!-- scores: written by `fireside eval run --readme README.md` -->"
END = "<!-- end of scores -->"


def render(
    figures: Sequence[Figure], measures: Mapping[str, float | None], lengths: Mapping[str, float], threshold: float
) -> str:
    """The table in Markdown; times are left out, they depend on the machine."""
    lines = ["| On the *test* split | Share | 95% interval | n |", "|---|---:|---:|---:|"]
    lines += [f"| {f.name} | {f} | {f.interval} | {f.of} |" for f in figures]
    lines += [f"| {name} | {'n/a' if value is None else f'{value:.3f}'} | | |" for name, value in measures.items()]
    lines.append(f"| median length of an answer | {lengths['median answer, characters']:.0f} characters | | |")
    return "\n".join(lines) + f"\n\nThreshold {threshold:.4g}, not certified.\n"


def write(
    readme: Path,
    figures: Sequence[Figure],
    measures: Mapping[str, float | None],
    lengths: Mapping[str, float],
    threshold: float,
) -> None:
    """Replaces the table in a README; InputError if its marks are missing."""
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise InputError(f"'{readme}' has no place for the table. Add the lines '{BEGIN}' and '{END}'.")
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    readme.write_text(f"{before}{BEGIN}\n{render(figures, measures, lengths, threshold)}{END}{after}", encoding="utf-8")
