"""`fireside eval`: run, report, compare, calibrate, external, cases."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from evals import calibrate as calibration
from evals import cases as case_files
from evals import fit as fitting
from evals import scorecard
from evals.baselines import BASELINES
from evals.bench import Bench, generated
from evals.metrics import Interval
from evals.opening import LINE, NO_RETRIEVAL, open_line, over
from evals.run import Figure, figures, intervals, lengths_and_times, measures, pass_all, run, save
from evals.runs import Run
from persona.card import load_card
from persona.corpus import load_corpus
from persona.errors import ConfigError, InputError
from persona.llama import JUDGE_HEAD, JUDGE_MODEL, LlamaEmbedder, LlamaJudge
from persona.models import AS_FITTED, blank, load_calibration, load_coefficients
from persona.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Measure how often it is wrong, and how often it refuses for nothing.")
err = Console(stderr=True)
# A table that is piped to a file has no terminal to fit in.
out = Console() if sys.stdout.isatty() else Console(width=160)

NAMES = {"plain": "plain RAG", "always-answers": "always answers", "always-abstains": "always “I don't know”"}
QUICK = 40  # cases of each suite in the quick run
Folder = Annotated[Path, typer.Option("--cases", help="Folder with case files.")]
Split = Annotated[str, typer.Option("--split", help="fit, certify, test or all.")]


def _settings(ctx: typer.Context) -> Settings:
    """The settings that the options before `eval` made; those of files and environment where these commands run alone."""
    given = getattr(ctx.obj, "settings", None)
    settings = given() if callable(given) else None
    return settings if isinstance(settings, Settings) else load_settings()


@contextlib.contextmanager
def _bar(title: str, total: int | None) -> Generator[Callable[[int, int], None]]:
    """A bar on stderr; what it gives is told how much is done, of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _table(
    run_: Run, found: Sequence[Figure], spread: Mapping[str, Interval | None], beside: Mapping[str, Sequence[Figure]]
) -> Table:
    title = f"{run_.info.id}: threshold {run_.info.threshold:.3f}, {run_.info.risk}"
    table = Table("figure", "share", "95% interval", "n", *beside, title=title)
    for number, figure in enumerate(found):
        if figure.of:
            others = [str(row[number]) for row in beside.values()]
            table.add_row(figure.name, str(figure), figure.interval, str(figure.of), *others)
    for name, value in measures(run_.results).items():
        between = spread[name]
        shown = f"{between.low:.3f} to {between.high:.3f}" if between else ""
        table.add_row(name, "n/a" if value is None else f"{value:.3f}", shown)
    for name, value in lengths_and_times(run_.results).items():
        table.add_row(name, f"{value:.0f}")
    return table


@app.command("run")
def run_command(
    ctx: typer.Context,
    suites: Annotated[list[str] | None, typer.Argument(help="Suites to run; all if none is named.")] = None,
    split: Split = "test",
    cases: Folder = case_files.FOLDER,
    voice: Annotated[str | None, typer.Option("--voice", help="auto, quotes or model.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Chat model of the model voice.")] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Instead of the calibrated one.")] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Ask the baselines the same cases.")] = False,
    retrieval: Annotated[bool, typer.Option("--retrieval/--no-retrieval", help="Off: nothing is found.")] = True,
    epochs: Annotated[int, typer.Option(min=1, max=100, help="Times that each case is asked.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Cases of each suite at most; 0: all.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help=f"The first {QUICK} cases of each suite.")] = False,
    seed: Annotated[int, typer.Option(help="For voices that sample.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Don't go on with an interrupted run.")] = False,
    save_to: Annotated[Path | None, typer.Option("--save", help="Write every reply to this file (JSON lines).")] = None,
    readme: Annotated[Path | None, typer.Option("--readme", help="Write the table into this README.")] = None,
) -> None:
    """Ask every case and print a table of how the replies came out.

    A run that was interrupted goes on where it stopped when the same one is asked for again.
    """
    from evals import store
    from evals.inspected import run_systems

    settings = _with_voice(_settings(ctx), voice, model)
    limit = QUICK if quick else limit
    loaded = case_files.load_cases(cases)
    chosen = case_files.suites_of(loaded, split=split, suites=suites or (), limit=limit, generated=generated(loaded))
    fireside = open_line(settings, threshold)
    main = LINE if retrieval else NO_RETRIEVAL
    systems = [main, *(BASELINES if baselines else ())]
    benches = {name: over(fireside, name, cases) for name in systems}
    info = store.describe(
        benches[main],
        chosen,
        split=split,
        suites=suites or (),
        systems=systems,
        epochs=epochs,
        limit=limit,
        seed=seed,
        persona=settings.persona,
    )
    runs = settings.data_dir / "runs"
    folder = None if fresh else store.unfinished(info, runs)
    if folder is not None:
        err.print(f"Going on with the interrupted run {folder.name}.")
    folder = folder or store.begin(info, runs)
    total = epochs * sum(bench.asks(c) for bench in benches.values() for c in chosen)
    with _bar("Asking…", total) as tell:
        done = run_systems(benches, chosen, store.read_info(folder), folder, lambda asked: tell(asked, total))
    if not done:
        err.print(f"The run {folder.name} was interrupted. Ask for the same run again: it goes on where it stopped.")
        raise typer.Exit(1)
    _show(folder, main, save_to, readme)


def _with_voice(settings: Settings, voice: str | None, model: str | None) -> Settings:
    """The settings with another voice or chat model; a model that is named has to write."""
    given = {"voice": voice or ("model" if model else None), "chat_model": model}
    changed = {key: value for key, value in given.items() if value is not None}
    if changed.get("voice") not in (None, "auto", "quotes", "model"):
        raise InputError(f"No voice '{voice}'. Use auto, quotes or model.")
    if model is not None and voice == "quotes":
        raise InputError("Both --voice quotes and --model were given, and that voice needs no model. Leave one out.")
    return settings.model_copy(update=changed)


def _show(folder: Path, main: str, save_to: Path | None, readme: Path | None) -> None:
    from evals import store

    loaded = store.load(folder, main)
    found, spread, beside = figures(loaded.results), intervals(loaded.results), beside_of(folder, main)
    out.print(_table(loaded, found, spread, beside))
    if main == NO_RETRIEVAL:
        claiming = sum(bool(r.reply.claims) for r in loaded.results)
        out.print(f"With retrieval off, {claiming} of {len(loaded.results)} replies claim something of the talks.")
    if loaded.info.epochs > 1:
        out.print(f"{(k := pass_all(loaded.results)).name}: {k} of {k.of} cases")
    out.print(f"Run {folder.name}. `fireside eval report {folder.name}` shows every failed case.")
    if save_to is not None:
        save(loaded.results, save_to)
    made = scorecard.scores(loaded, found, spread, beside)
    if main == LINE and not loaded.info.suites and loaded.info.limit is None:
        scorecard.save(folder, loaded, made)  # the bots show the latest whole run
    if readme is not None:
        scorecard.write(readme, loaded, made)


def beside_of(folder: Path, main: str) -> dict[str, list[Figure]]:
    """The figures of the other systems of a run."""
    from evals import store

    others = [s for s in store.read_info(folder).systems if s != main]
    return {NAMES.get(system, system): figures(store.load(folder, system).results) for system in others}


@app.command("report")
def report_command(
    ctx: typer.Context,
    run_name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id; the newest if left out.")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder for the files; the run's own if left out.")] = None,
    readme: Annotated[Path | None, typer.Option("--readme", help="Write the run's table into this README.")] = None,
) -> None:
    """Write a run as one HTML page, with its plots beside it as PNGs."""
    from evals import report, store

    settings = _settings(ctx)
    folder = store.find(run_name, settings.data_dir / "runs")
    info = store.read_info(folder)
    main = info.systems[0]
    loaded = store.load(folder, main)
    found, beside = figures(loaded.results), beside_of(folder, main)
    if readme is not None:
        scorecard.write(readme, loaded, scorecard.scores(loaded, found, intervals(loaded.results), beside))
    written = report.write(loaded, found, measures(loaded.results), to or folder, beside=beside)
    for path in written:
        out.print(str(path), soft_wrap=True)


@app.command("compare")
def compare_command(
    ctx: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A run's id.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another run's id.")],
    system_a: Annotated[str | None, typer.Option(help="System of run A; its first if left out.")] = None,
    system_b: Annotated[str | None, typer.Option(help="System of run B; its first if left out.")] = None,
) -> None:
    """Compare two runs case by case: paired differences, with intervals and McNemar's test."""
    from evals import compare, store

    runs = _settings(ctx).data_dir / "runs"
    folders = [store.find(name, runs) for name in (first, second)]
    systems = [
        given or store.read_info(folder).systems[0] for given, folder in zip((system_a, system_b), folders, strict=True)
    ]
    a, b = (store.load(folder, system) for folder, system in zip(folders, systems, strict=True))
    found = compare.compare(a.results, b.results, seed=a.info.seed)
    table = Table("", "A", "B", "B - A", "95% interval", "only A", "only B", "p", "n")
    for row in found:
        interval = f"{row.interval.low:+.1%} to {row.interval.high:+.1%}" if row.interval else "n/a"
        table.add_row(
            row.name,
            f"{row.first:.1%}",
            f"{row.second:.1%}",
            f"{row.second - row.first:+.1%}",
            interval,
            str(row.only_first),
            str(row.only_second),
            "<0.001" if row.p < 0.001 else f"{row.p:.3f}",
            str(row.of),
        )
    out.print(table)
    out.print(f"A: {folders[0].name} ({systems[0]}); B: {folders[1].name} ({systems[1]}).")
    for row in found:
        out.print(f"{row.name}: {row.verdict}")


@app.command("external")
def external_command(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(help="The set: a folder, or a file.")],
    kind: Annotated[str, typer.Option("--format", help="clapnq, mtrag or jsonl.")] = "jsonl",
    closed: Annotated[bool, typer.Option("--closed", help="Index only the passages that answer a question.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Questions of each kind at most; 0: all.")] = 0,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="Instead of the persona's.")] = None,
    readme: Annotated[Path | None, typer.Option("--readme", help="Write the figures into this README.")] = None,
) -> None:
    """Answer or abstain on a set that nobody here wrote: its own passages stand in a temporary index."""
    from evals import external

    settings = _settings(ctx)
    loaded = external.load(kind, path)
    if closed:
        loaded = loaded.closed()
    card = load_card(settings.persona)
    known = load_calibration(card.calibration) if card.calibration else None
    if threshold is None:
        if known is None:
            raise ConfigError(f"The persona card '{card.path}' names no calibration file. Give --threshold.")
        threshold = known.threshold
    scale = known.scale if known else AS_FITTED
    embedder, judge = LlamaEmbedder(), LlamaJudge()
    with _bar("Reading and asking…", None) as tell:
        fitted = load_coefficients()
        score = external.evaluate(
            loaded, embedder, fitted, threshold, tell, limit=limit or None, judge=judge, scale=scale
        )
    embedder.close()
    judge.close()
    title = f"{score.name}: {score.questions} questions, {score.passages} passages, {score.skipped} skipped"
    table = Table("figure", "value", "95% interval", "n", title=title)
    rows = external.table(score)
    for name, value, interval, of in rows:
        table.add_row(name, value, interval, str(of))
    out.print(table)
    if readme is not None:
        systems = {
            system.name: [
                (name.removeprefix(f"{system.name}, "), value, of)
                for name, value, _, of in rows
                if name.startswith(f"{system.name}, ")
            ]
            for system in score.systems
        }
        scorecard.write_external(
            readme, f"{score.name}, {score.mode}", {"passages": score.passages, "systems": systems}
        )


@app.command("calibrate")
def calibrate_command(
    ctx: typer.Context,
    cases: Folder = case_files.FOLDER,
    fit: Annotated[bool, typer.Option("--fit/--no-fit", help="Fit the coefficients on *fit* first.")] = True,
    half_taught: Annotated[
        list[Path] | None,
        typer.Option(
            "--judge", help="Folder with a judge to fit with that knows the first half of *fit*; again for the second."
        ),
    ] = None,
    max_risk: Annotated[
        float | None, typer.Option("--max-risk", help="Certify a threshold for this risk and use it, e.g. 0.05.")
    ] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="With which the risk is certified.")] = 0.95,
    max_false: Annotated[
        float, typer.Option("--max-false", min=0, max=1, help="Share of unanswerable questions that may be answered.")
    ] = calibration.MAX_FALSE,
) -> None:
    """Fit on *fit*; choose and certify thresholds on *certify*; write the coefficients and the persona's calibration."""
    if max_risk is not None and not 0 < max_risk < 1:
        raise InputError(f"--max-risk {max_risk:g} is no share between 0 and 1. Write 0.05 for 5%.")
    if not 0.5 <= confidence < 1:
        raise InputError(f"--confidence {confidence:g} is not from 0.5 to below 1. Write 0.95 for 95%.")
    settings = _settings(ctx)
    loaded = case_files.load_cases(cases)
    if fit:
        files = [(folder / JUDGE_MODEL.name, folder / JUDGE_HEAD.name) for folder in half_taught or ()]
        if not files and cases.resolve() == case_files.FOLDER.resolve():
            raise InputError(
                "The bundled judge was trained on all of these fit cases, so it can't be weighed on them. Give --judge "
                "FOLDER with that of the second lesson (persona/weights/README.md), or --no-fit to choose thresholds alone."
            )
        if len(files) > 2:
            raise InputError(
                f"--judge stands {len(files)} times. Give it once or twice: the first half's, the second half's."
            )
        for file in chain.from_iterable(files):
            if not file.is_file():
                raise InputError(
                    f"--judge: no '{file.name}' in '{file.parent}'. "
                    "Make it with scripts.judge.export (persona/weights/README.md)."
                )
        embedder, judge = LlamaEmbedder(), LlamaJudge()
        halves = {half: LlamaJudge(*pair) for half, pair in enumerate(files, 1)}
        blank_line = open_line(settings, 0.0, blank(embedder.fingerprint), judge)
        with _bar("Fitting…", None) as tell:
            fitted = fitting.fit(blank_line, loaded, tell, halves)
        blank_line.close()
        for one in halves.values():
            one.close()
        fitting.write(fitted)
        load_coefficients.cache_clear()
    fireside = open_line(settings).at(0.0, AS_FITTED)
    path = fireside.card.calibration
    if path is None:
        raise ConfigError(f"The persona card '{fireside.card.path}' names no calibration file. Add `calibration = …`.")
    chosen = case_files.suites_of(loaded, split="certify", suites=("answerable", *case_files.UNANSWERABLE))
    with _bar("Asking…", len(chosen)) as tell:
        fireside = fireside.at(0.0, calibration.fit_scale(calibration.scored(run(Bench(fireside), chosen, tell))))
    with _bar("Asking again…", len(chosen)) as tell:
        results = run(Bench(fireside), chosen, tell)
    value = calibration.calibration(fireside, results, max_false, max_risk, confidence)
    calibration.write(value, path)
    table = Table("risk", "certified", "threshold", "answers", "wrong", "upper bound", title=calibration.MEANING)
    for level in value.levels:
        table.add_row(
            f"{level.risk:.0%}",
            "yes" if level.certified else "not certified",
            f"{level.threshold:.3f}" if level.threshold is not None else "-",
            str(level.answers) if level.threshold is not None else "-",
            str(level.errors) if level.threshold is not None else "-",
            f"{level.bound:.1%}" if level.bound is not None else "-",
        )
    out.print(table)
    lacks = calibration.wanting(calibration.mixed(calibration.scored(results)), value.levels, confidence)
    if lacks is not None:
        found = f"{lacks.errors} of the surest {lacks.answers} answers are wrong"
        needed = "no number of cases would do" if lacks.cases is None else f"about {lacks.cases:,} answers would do"
        out.print(f"The next level, {lacks.risk:.0%}, is not certified: {found}; with that share of errors {needed}.")
    out.print(f"Threshold {value.threshold} ({value.risk}), chosen on certify: {value.chosen}")


@app.command("ablation")
def ablation_command(
    ctx: typer.Context,
    sets: Annotated[
        list[Path] | None, typer.Option("--external", help="A set to score too; may be given more than once.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", help="Of the sets: clapnq, mtrag or jsonl.")] = "clapnq",
    cases: Folder = case_files.FOLDER,
    readme: Annotated[Path | None, typer.Option("--readme", help="Write the figures into this README.")] = None,
) -> None:
    """What each kind of evidence brings: similarity alone, with words, with late interaction, with the judge."""
    from evals import ablation, external

    loaded = case_files.load_cases(cases)
    others = [external.load(kind, path) for path in sets or ()]
    fireside = open_line(_settings(ctx), 0.0)
    with _bar("Fitting and asking…", None) as tell:
        rows = ablation.ablate(fireside, loaded, others, tell)
    fireside.close()
    table = Table("figure", *(row.name for row in rows))
    for place, figure in enumerate(rows[0].figures):
        table.add_row(f"{figure.name} (n = {figure.of})", *(str(row.figures[place]) for row in rows))
    shown: list[tuple[str, list[float | None]]] = [
        ("AUROC of the confidence", [row.auroc for row in rows]),
        ("coverage at 5% false answers", [row.coverage for row in rows]),
    ]
    for place, (name, *_) in enumerate(rows[0].external):
        shown.append((f"{name}: AUROC", [row.external[place][1] for row in rows]))
        shown.append((f"{name}: coverage at 5% false answers", [row.external[place][2] for row in rows]))
    for name, values in shown:
        table.add_row(name, *("n/a" if v is None else f"{v:.3f}" for v in values))
    out.print(table)
    if readme is not None:
        scorecard.write_ablation(readme, rows)


@app.command("judge")
def judge_command(
    file: Annotated[Path, typer.Argument(help="Questions with their paragraphs, as SQuAD 2.0 has them (JSON).")],
    articles: Annotated[int, typer.Option(min=0, help="The last articles alone; 0: all.")] = 0,
) -> None:
    """How well the judge alone tells answerable questions from near-misses, each against its own paragraph."""
    from evals import judging

    judge = LlamaJudge()
    with _bar("Judging…", None) as tell:
        found = judging.evaluate(judge, judging.load(file, articles), tell)
    judge.close()
    table = Table("figure", "value", "n")
    for name, value, of in found:
        table.add_row(name, "n/a" if value is None else f"{value:.3f}", str(of))
    out.print(table)


@app.command("claims")
def claims_command(
    ctx: typer.Context,
    fit: Annotated[bool, typer.Option("--fit", help="Fit the judge of claims on the *fit* ones first.")] = False,
    readme: Annotated[Path | None, typer.Option("--readme", help="Write the figures into this README.")] = None,
) -> None:
    """What the gate behind the chat model catches: lies of a model's making, and true claims that it loses."""
    from evals import claims
    from persona.support import load_support

    fireside = open_line(_settings(ctx))
    if fit:
        with _bar("Comparing claims…", None) as tell:
            claims.write(claims.fit_support(fireside, claims.read(fireside, claims.load_claims("fit"), tell)))
        load_support.cache_clear()
    model = load_support()
    held = claims.load_claims("test")
    with _bar("Comparing claims…", None) as tell:
        compared = claims.read(fireside, held, tell)
    table = Table("claims of test sections", "n", "share (95% interval)")
    rows = [*claims.score(model, compared), *claims.structural(fireside, model, held[:STRUCTURAL])]
    for row in rows:
        table.add_row(row.name, str(row.of), row.share)
    out.print(table)
    out.print(f"Threshold {model.threshold}, fitted on *fit*: {model.fitted}")
    if readme is not None:
        scorecard.write_claims(readme, rows)
    fireside.close()


STRUCTURAL = 20  # passages that each structural lie is told about


@app.command("cases")
def cases_command(
    ctx: typer.Context,
    cases: Folder = case_files.FOLDER,
    from_feedback: Annotated[
        bool, typer.Option("--from-feedback", help="Make cases of what users disliked (👎), to review.")
    ] = False,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where those of --from-feedback are added; else stdout.")
    ] = None,
) -> None:
    """Count the cases and check them: evidence that stands nowhere, repeats, leaks between the splits."""
    if from_feedback:
        _cases_of_feedback(_settings(ctx), file)
        return
    if file is not None:
        raise InputError(
            f"'{file}' was given, and only --from-feedback writes a file. Use --cases for a folder to check."
        )
    settings = _settings(ctx)
    card = load_card(settings.persona)
    loaded = case_files.load_cases(cases)
    made = generated(loaded)
    table = Table("suite", *case_files.SPLITS)
    for suite in dict.fromkeys(c.suite for c in (*loaded, *made)):
        counts = [sum(c.suite == suite and c.split == split for c in (*loaded, *made)) for split in case_files.SPLITS]
        table.add_row(suite, *map(str, counts))
    out.print(table)
    problems = case_files.lint(loaded, load_corpus(card.catalog, card.aliases), cases)
    for problem in problems:
        err.print(problem)
    out.print(f"{len(loaded)} cases, {len(made)} generated ones, {len(problems)} problems")
    if problems:
        raise typer.Exit(1)


def _cases_of_feedback(settings: Settings, file: Path | None) -> None:
    from evals import feedback

    found = feedback.disliked(settings.data_dir / feedback.STORE)
    for each in found:
        err.print(f"{each.case.id}: {each.decision}: {each.text}", markup=False, highlight=False, soft_wrap=True)
        if each.comment:
            err.print(f"  the user: {each.comment}", markup=False, highlight=False, soft_wrap=True)
    if file is None:
        for each in found:
            print(feedback.line_of(each.case))
    else:
        new = feedback.append([each.case for each in found], file)
        out.print(f"{new} new of {len(found)} cases in {file}.", soft_wrap=True)
    err.print(
        "Review each: suite, decisions, split, and for an answer its facts and evidence." if found else "No 👎 so far."
    )
