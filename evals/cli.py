"""`fireside eval`: lint the cases, fit, calibrate, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from evals import calibrate as calibration
from evals import cases as case_files
from evals import fit as fitting
from evals import scorecard
from evals.run import figures, lengths_and_times, measures, run, save
from evals.runs import Result
from persona.card import load_card
from persona.corpus import load_corpus
from persona.decision import Policy
from persona.errors import ConfigError, InputError
from persona.index import PassageIndex
from persona.llama import LlamaEmbedder
from persona.models import blank, load_coefficients
from persona.pipeline import NOT_CERTIFIED, Fireside, build, policy_of
from persona.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Measure how often it is wrong, and how often it refuses for nothing.")
err = Console(stderr=True)
out = Console()

MAX_FALSE = 0.28
Folder = Annotated[Path, typer.Option("--cases", help="Folder with case files.")]
Split = Annotated[str, typer.Option("--split", help="fit, certify, test or all.")]


def _settings(ctx: typer.Context) -> Settings:
    """The settings that the options before `eval` made; the plain ones where these commands run by themselves."""
    given = getattr(ctx.obj, "settings", None)
    settings = given() if callable(given) else None
    return settings if isinstance(settings, Settings) else Settings()


def _open(settings: Settings, threshold: float | None = None, *, fitted: bool = True) -> Fireside:
    """The persona of the settings; `threshold` instead of the calibrated one; not `fitted`: without any coefficients."""
    card = load_card(settings.persona)
    corpus = load_corpus(card.catalog, card.aliases)
    embedder = LlamaEmbedder()
    folder = None if settings.chroma_url else settings.data_dir / "index" / card.id
    index = PassageIndex(card.id, folder=folder, url=settings.chroma_url)
    if not index.is_current(corpus, embedder):
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("Reading the talks…", total=None)
            build(corpus, index, embedder, lambda done, total: bar.update(task, completed=done, total=total))
    coefficients = load_coefficients() if fitted else blank(embedder.fingerprint)
    fixed = None if threshold is None else Policy(coefficients, threshold, NOT_CERTIFIED)
    policy = fixed or policy_of(card, corpus, coefficients)
    return Fireside(card, corpus, index, embedder, coefficients, policy)


def _run(fireside: Fireside, chosen: list[case_files.Case]) -> list[Result]:
    if not chosen:
        raise InputError("No case fits that suite and split. `fireside eval cases` lists what there is.")
    with Progress(console=err, transient=True) as bar:
        task = bar.add_task("Asking…", total=len(chosen))
        return run(fireside, chosen, lambda done, _: bar.update(task, completed=done))


def _table(results: list[Result], fireside: Fireside) -> Table:
    table = Table(
        "figure",
        "share",
        "95% interval",
        "n",
        title=f"threshold {fireside.policy.threshold:.3f}, {fireside.policy.risk}",
    )
    for figure in figures(results, fireside.corpus):
        table.add_row(figure.name, str(figure), figure.interval, str(figure.of))
    for name, value in measures(results).items():
        table.add_row(name, "n/a" if value is None else f"{value:.3f}", "", "")
    for name, value in lengths_and_times(results).items():
        table.add_row(name, f"{value:.0f}", "", "")
    return table


@app.command("run")
def run_command(
    ctx: typer.Context,
    suites: Annotated[list[str] | None, typer.Argument(help="Suites to run; all if none is named.")] = None,
    split: Split = "test",
    cases: Folder = case_files.FOLDER,
    save_to: Annotated[Path | None, typer.Option("--save", help="Write every reply to this file (JSON lines).")] = None,
    readme: Annotated[Path | None, typer.Option("--readme", help="Write the table into this README.")] = None,
) -> None:
    """Ask every case and print a table of how the replies came out."""
    known = {c.suite for c in case_files.load_cases(cases)}
    for suite in suites or []:
        if suite not in known:
            raise InputError(f"No suite '{suite}'. Use some of: {', '.join(sorted(known))}.")
    if split not in (*case_files.SPLITS, "all"):
        raise InputError(f"No split '{split}'. Use fit, certify, test or all.")
    fireside = _open(_settings(ctx))
    chosen = case_files.load_cases(cases, split=None if split == "all" else split, suites=suites or ())
    results = _run(fireside, chosen)
    out.print(_table(results, fireside))
    if save_to is not None:
        save(results, save_to)
    if readme is not None:
        scorecard.write(
            readme,
            figures(results, fireside.corpus),
            measures(results),
            lengths_and_times(results),
            fireside.policy.threshold,
        )


@app.command("calibrate")
def calibrate_command(
    ctx: typer.Context,
    cases: Folder = case_files.FOLDER,
    fit: Annotated[bool, typer.Option("--fit/--no-fit", help="Fit the coefficients on *fit* first.")] = True,
    max_false: Annotated[
        float, typer.Option("--max-false", min=0, max=1, help="Share of unanswerable questions that may be answered.")
    ] = MAX_FALSE,
) -> None:
    """Fit on *fit*, choose the threshold on *certify*; writes the coefficients and the persona's calibration."""
    settings = _settings(ctx)
    loaded = case_files.load_cases(cases)
    if fit:
        blank_line = _open(settings, 0.0, fitted=False)
        with Progress(console=err, transient=True) as bar:
            task = bar.add_task("Fitting…", total=None)
            fitted = fitting.fit(blank_line, loaded, lambda done, of: bar.update(task, completed=done, total=of))
        blank_line.close()
        fitting.write(fitted)
        load_coefficients.cache_clear()
    fireside = _open(settings, 0.0)
    path = fireside.card.calibration
    if path is None:
        raise ConfigError(f"The persona card '{fireside.card.path}' names no calibration file. Add `calibration = …`.")
    results = _run(fireside, [c for c in loaded if c.split == "certify"])
    value = calibration.calibration(fireside, results, max_false)
    calibration.write(value, path)
    out.print(f"Threshold {value.threshold} ({value.risk}), chosen on certify: {value.chosen}")


@app.command("cases")
def cases_command(ctx: typer.Context, cases: Folder = case_files.FOLDER) -> None:
    """Count the cases and check them: evidence that stands nowhere, repeats, leaks between the splits."""
    settings = _settings(ctx)
    card = load_card(settings.persona)
    loaded = case_files.load_cases(cases)
    table = Table("suite", *case_files.SPLITS)
    for suite in dict.fromkeys(c.suite for c in loaded):
        counts = [sum(c.suite == suite and c.split == split for c in loaded) for split in case_files.SPLITS]
        table.add_row(suite, *map(str, counts))
    out.print(table)
    problems = case_files.lint(loaded, load_corpus(card.catalog, card.aliases), cases)
    for problem in problems:
        err.print(problem)
    out.print(f"{len(loaded)} cases, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)
