"""The commands of `fireside` (Typer). Each imports what it needs when it runs: `fireside --help` stays fast."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer
from typer.core import TyperGroup

from bot.models import app as model_app
from persona.errors import FiresideError, InputError

if TYPE_CHECKING:
    from bot.running import Parts
    from persona.pipeline import Fireside
    from persona.settings import Settings
    from persona.types import Reply

INSTALL_EVALS = "pip install 'fireside[evals]'"
INSTALL_DISCORD = "pip install 'fireside[discord]'"
INSTALL_SLACK = "pip install 'fireside[slack]'"


class _Group(TyperGroup):
    """Shows a FiresideError as its one sentence, and leaves in silence when the reader of the output has gone."""

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except FiresideError as exc:
            say(str(exc))
            raise typer.Exit(exc.exit_code) from None
        except BrokenPipeError:
            # What is buffered still would be written at exit, and complained about.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


@dataclass
class Start:
    """What the commands share: the options before the command, and what opens a persona (tests hand in their own)."""

    given: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    opener: Callable[[Settings], Fireside] | None = None

    def settings(self) -> Settings:
        """The settings with the options laid over them."""
        from persona.settings import load_settings

        return load_settings(self.given)

    def open(self, settings: Settings) -> Fireside:
        """The persona; where its index must be built first, a bar on stderr shows it."""
        if self.opener is not None:
            return self.opener(settings)
        with _no_garbage_sought():
            from bot.opening import progress_bar
            from persona.opening import open_fireside

            with progress_bar() as progress:
                return open_fireside(settings, progress)


@contextlib.contextmanager
def _no_garbage_sought() -> Generator[None]:
    """Nearly all that is made while a persona opens stays: looking through it for garbage loses a third of a second."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


app = typer.Typer(
    name="fireside",
    cls=_Group,
    help="Answers from recorded talks, in the speaker's own words, and says \"I don't know\" when they don't say it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(model_app, name="model")


def say(line: str) -> None:
    """A line for the person, not for the pipe: stderr."""
    print(line, file=sys.stderr, flush=True)


def emit(line: str) -> None:
    """A line of the result: stdout, at once."""
    print(line, flush=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        emit(f"fireside {version('fireside')}")
        raise typer.Exit


@app.callback()
def start(
    ctx: typer.Context,
    persona: Annotated[
        str | None, typer.Option(metavar="NAME|PATH", help="A bundled persona, or a card (.toml).")
    ] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where the index and everything else is kept.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keeps the options that stand before a command."""
    del version
    begun = cast("Start | None", ctx.obj) or Start()
    begun.given = {"persona": persona, "data_dir": data_dir}
    ctx.obj = begun


@app.command()
def chat(ctx: typer.Context) -> None:
    """Talk to it in the terminal; questions piped in are answered one by one."""
    begun = _start(ctx)
    settings = begun.settings()
    fireside = begun.open(settings)
    from bot.opening import notes, what_a_model_adds
    from bot.terminal import converse

    for note in (*notes(fireside), *what_a_model_adds(settings)):
        say(note)
    converse(fireside, settings.data_dir)


@app.command()
def ask(
    ctx: typer.Context,
    question: Annotated[str | None, typer.Argument(help="What you want to know.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One Reply object instead of text.")] = False,
    batch: Annotated[
        str | None,
        typer.Option(metavar="FILE", help='JSON lines {"id", "question", "history"?} in, Reply lines out; - is stdin.'),
    ] = None,
) -> None:
    """Ask one question, or a file of them."""
    begun = _start(ctx)
    if batch is not None:
        if question is not None:
            raise InputError("Both a question and --batch were given. Give one of them.")
        with _lines(batch) as lines:
            _ask_batch(begun, lines)
        return
    if question is None:
        raise InputError('No question was given. Ask one: fireside ask "…", or give a file with --batch.')
    text = _checked(question, "question")
    settings = begun.settings()
    fireside = begun.open(settings)
    from bot.opening import notes
    from bot.rendering import reply_text
    from persona.types import Question

    for note in notes(fireside):
        say(note)
    reply = fireside.answer(Question(text=text)).reply
    emit(reply.model_dump_json() if as_json else reply_text(reply))


@app.command()
def quote(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(help="What the quotations shall be about.")],
    speaker: Annotated[str | None, typer.Option(metavar="NAME", help="Only this speaker's words.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many at most.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="A list of Citation objects instead of text.")] = False,
) -> None:
    """Look up what was really said, word for word."""
    text = _checked(topic, "topic")
    begun = _start(ctx)
    fireside = begun.open(begun.settings())
    name = _speaker(fireside, speaker) if speaker is not None else None
    from bot.rendering import quote_text
    from persona.text import clean

    found = fireside.lookup.quotes(clean(text), name, limit)
    if as_json:
        emit("[" + ",\n ".join(citation.model_dump_json() for citation in found) + "]")
    elif found:
        emit("\n\n".join(quote_text(citation) for citation in found))
    else:
        say("Nothing in the talks is about that. Try other words for it.")


@app.command()
def index(
    ctx: typer.Context,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Start from nothing.")] = False,
) -> None:
    """Read the documents into the index; only what changed is embedded."""
    from bot.opening import progress_bar
    from persona.card import load_card
    from persona.corpus import load_corpus
    from persona.llama import LlamaEmbedder
    from persona.opening import open_index
    from persona.pipeline import build

    settings = _start(ctx).settings()
    card = load_card(settings.persona)
    corpus = load_corpus(card.catalog, card.aliases)
    begun = time.perf_counter()
    target = open_index(settings, card)
    if rebuild:
        if settings.chroma_url:
            raise InputError(
                f"--rebuild deletes an index in a folder, and this one is on the server {settings.chroma_url}. "
                f"Delete the collections '{target.name}-…' there, then run `fireside index`."
            )
        target.wipe()
    with progress_bar() as progress:
        done = build(corpus, target, LlamaEmbedder(threads=settings.threads), progress)
    took = time.perf_counter() - begun
    if done.added or done.dropped:
        what = f"{done.added:,} rows added, {done.dropped:,} dropped, {done.kept:,} kept, in {took:.1f} s"
    else:
        what = f"up to date, {done.kept:,} rows"
    emit(f"Index of '{card.id}' at {target.where}: {what}.")


@app.command("discord")
def on_discord(ctx: typer.Context) -> None:
    """Run the bot on Discord, until Ctrl-C."""
    with _extra("fireside discord", INSTALL_DISCORD):
        from bot.discord.run import run

        run(_parts(ctx))


slack_app = typer.Typer(help="Run the bot on Slack; print the manifest of its app.", invoke_without_command=True)
app.add_typer(slack_app, name="slack")


@slack_app.callback()
def on_slack(ctx: typer.Context) -> None:
    """Run the bot on Slack, until Ctrl-C."""
    if ctx.invoked_subcommand is None:
        with _extra("fireside slack", INSTALL_SLACK):
            from bot.slack.run import run

            run(_parts(ctx))


@slack_app.command("manifest")
def slack_manifest(
    ctx: typer.Context,
    yaml: Annotated[bool, typer.Option("--yaml", help="As YAML; else JSON.")] = False,
    url: Annotated[str | None, typer.Option(help="HTTP mode: where Slack reaches the bot, https://…")] = None,
    name: Annotated[str, typer.Option(help="What the app is called.")] = "Fireside",
) -> None:
    """Print the manifest to create the Slack app from: the scopes and events that the features need."""
    with _extra("fireside slack", INSTALL_SLACK):
        from bot.slack.manifest import manifest, printed
    from persona.card import load_card
    from persona.corpus import load_corpus

    card = load_card(_start(ctx).settings().persona)
    talks = [talk.title for talk in load_corpus(card.catalog, card.aliases).catalog.talk]
    emit(printed(manifest(name, card.disclosure, talks, url=url), "yaml" if yaml else "json"))


@app.command()
def doctor(
    ctx: typer.Context,
    platform: Annotated[str | None, typer.Argument(help="Only this platform: discord or slack.")] = None,
) -> None:
    """Check everything a start needs, and say what to do about each problem."""
    if platform is None:
        from bot.doctor import examine
    elif platform == "discord":
        with _extra("fireside doctor discord", INSTALL_DISCORD):
            from bot.discord.doctor import examine
    elif platform == "slack":
        with _extra("fireside doctor slack", INSTALL_SLACK):
            from bot.slack.doctor import examine
    else:
        raise InputError(f"There is no platform '{platform}'. Give 'discord' or 'slack', or nothing.")

    problems = 0
    for check in examine(_start(ctx).settings):
        emit(check.line)
        problems += check.state == "problem"
    if problems:
        say(f"{problems} problem{'s' if problems > 1 else ''} found.")
        raise typer.Exit(1)


@app.command(
    "eval",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def evaluate(ctx: typer.Context) -> None:
    """Measure how often it is right, wrong and silent."""
    # Its commands import more when they run.
    with _extra("fireside eval", INSTALL_EVALS):
        from evals.cli import app as evals_app

        # The eval commands find the options before `eval` in their ctx.obj.
        run = cast("Callable[..., object]", evals_app)
        code = run(args=list(ctx.args), prog_name="fireside eval", standalone_mode=True, obj=_start(ctx))
    raise typer.Exit(code if isinstance(code, int) else 0)


def _parts(ctx: typer.Context) -> Parts:
    """What a bot of a platform is started with."""
    from bot.logs import set_up
    from bot.opening import notes
    from bot.running import Parts

    begun = _start(ctx)
    settings = begun.settings()
    set_up(settings)

    def opened() -> Fireside:
        fireside = begun.open(settings)
        for note in notes(fireside):
            say(note)
        return fireside

    def other(name: str) -> Fireside:
        # The risk is certified for one persona, and there is one chat model.
        return begun.open(settings.model_copy(update={"persona": name, "voice": "quotes", "risk": None}))

    return Parts(settings, opened, other, begun.settings)


def _start(ctx: typer.Context) -> Start:
    return cast("Start", ctx.obj)


def _checked(text: str, what: str) -> str:
    """The text, if there is something in it and not too much of it."""
    from bot.batch import sound
    from persona.text import clean
    from persona.types import MAX_QUESTION

    text = sound(text)
    if not clean(text):
        raise InputError(f"The {what} is empty. Put it in quotation marks after the command.")
    if len(text) > MAX_QUESTION:
        raise InputError(f"The {what} has {len(text):,} characters, and at most {MAX_QUESTION:,} are read. Shorten it.")
    return text


def _speaker(fireside: Fireside, name: str) -> str:
    found = fireside.lookup.speaker(name.strip()) if name.strip() else None
    if found is None:
        known = ", ".join(fireside.corpus.speakers) or "nobody"
        raise InputError(f"No speaker '{name}' in the talks. Whose words are known: {known}.")
    return found


@contextlib.contextmanager
def _extra(command: str, install: str) -> Generator[None]:
    """Says which packages to install where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing in ("bot", "persona"):
            raise
        raise FiresideError(f"`{command}` needs '{exc.name}', which is missing. Run {install}.") from None


@contextlib.contextmanager
def _lines(path: str) -> Generator[BinaryIO]:
    """The file of a batch, or stdin for "-"."""
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (an error while reading is another one)
    except OSError as exc:
        raise InputError(f"Can't read the batch file '{path}': {exc.strerror}. Check the path.") from None
    with file:
        yield file


def _ask_batch(begun: Start, lines: BinaryIO) -> None:
    settings = begun.settings()
    fireside = begun.open(settings)
    from bot.batch import answer_batch
    from bot.opening import notes
    from persona.types import Question

    for note in notes(fireside):
        say(note)

    def answer(question: Question) -> Reply:
        return fireside.answer(question).reply

    if answer_batch(lines, answer, emit, say):
        raise typer.Exit(1)
