"""What the README shows is what the bot says, and what it tells to type can be typed.

Every command in it (a line of a code block, or inline code that begins with a program) is run, or where that takes a
network, Docker, a token or an hour, parsed by what would read it. A command that nothing here knows fails.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bot.commands import Start, app
from bot.slack.manifest import SCOPES
from bot.store import FILE, Feedback, Store
from persona.errors import ConfigError
from persona.pipeline import Fireside
from persona.settings import SECRETS, load_settings, setting_names
from persona.types import Question, Reason, Reply

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXCHANGE = re.findall(r"^> \*\*(.+?)\*\* {2}\n> (.+)$", README, re.M)
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
IN_TEXT = "make fireside pip pipx uv python3 docker cp chmod export inspect".split()
# Known to parse; run by the tests of what they do. They want a token, a network, a chat model, a terminal, or an hour.
PARSED = {
    ("chat",),
    ("discord",),
    ("slack",),
    ("doctor", "discord"),
    ("doctor", "slack"),
    ("model", "pull"),
    ("model", "info"),
    *(("eval", name) for name in "run report compare calibrate external ablation judge claims".split()),
}


def test_the_first_screen_shows_an_answer_and_an_i_dont_know() -> None:
    assert len(EXCHANGE) >= 2
    assert any("I don't know" in reply for _, reply in EXCHANGE)
    assert any("“" in reply and "I don't know" not in reply for _, reply in EXCHANGE)


@pytest.mark.parametrize(("question", "shown"), EXCHANGE)
async def test_the_exchange_is_real(fireside: Fireside, question: str, shown: str) -> None:
    assert (await fireside.respond(Question(text=question))).text == shown


# Its commands


class Command(NamedTuple):
    """A command as a shell reads it: settings before it, its words, the file that its output goes to."""

    environ: dict[str, str]
    words: tuple[str, ...]
    out: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1:]

    def __str__(self) -> str:
        settings = [f"{name}={value}" for name, value in self.environ.items()]
        return shlex.join([*settings, *self.words, *([">", self.out] if self.out else [])])


def commands_of(line: str) -> Iterator[Command]:
    """The commands of a line, of which && makes several."""
    reader = shlex.shlex(line, posix=True, punctuation_chars="&|>;")
    reader.whitespace_split, reader.commenters = True, "#"
    words = list(reader)
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        yield _command(words[:end])
        words = words[end + 1 :]


def _command(words: list[str]) -> Command:
    out = words.pop(words.index(">") + 1) if ">" in words else ""
    words = [word for word in words if word != ">"]
    assert not {"|", ";", "&", "<"} & set(words), f"the test reads no such line: {words}"
    environ: dict[str, str] = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        environ[name] = value
    return Command(environ, tuple(words), out)


def told() -> list[Command]:
    """All commands of the README, in its order, each once."""
    text = re.sub(r"<!--.*?-->", "", README, flags=re.S)
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines() if line.strip()]
    lines += [code for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)) if _begins_with_a_program(code)]
    return list({str(command): command for line in lines for command in commands_of(line)}.values())


def _begins_with_a_program(code: str) -> bool:
    program, _, rest = code.partition(" ")
    return program in IN_TEXT and bool(rest)


COMMANDS = told()
every_command = pytest.mark.parametrize("command", COMMANDS, ids=str)


class Place(NamedTuple):
    """Where commands are run: a folder that has what the README says it has, and the persona."""

    folder: Path
    fireside: Fireside


@pytest.fixture
def place(tmp_path: Path, fireside: Fireside, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copy(ROOT / ".env.example", tmp_path)
    (tmp_path / ".env").touch()
    (tmp_path / "questions.jsonl").write_text('{"id": "1", "question": "Hello!"}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, fireside)


@every_command
def test_every_command_of_the_readme_can_be_given(command: Command, place: Place, monkeypatch: pytest.MonkeyPatch):
    for name, value in command.environ.items():
        monkeypatch.setenv(name, value)
    load_settings()
    program = command.words[0].removeprefix(".venv/bin/")
    assert program in CHECKS, f"nothing here can tell whether this works: {command}"
    CHECKS[program](command, place)


def fireside_command(command: Command, place: Place) -> None:
    path = parsed(app, command.arguments)
    if path not in RUN:
        assert path in PARSED, f"nothing here can tell whether this works: {command}"
        return
    arguments = list(command.arguments)
    if "--from-feedback" in arguments:  # a bot has to have run
        asyncio.run(_say_bad(place.folder))
        arguments = ["--data-dir", str(place.folder), *arguments]
    done = CliRunner().invoke(app, arguments, obj=Start(opener=lambda _settings: place.fireside))
    assert done.exit_code == 0, done.stderr
    RUN[path](done.stdout)


async def _say_bad(folder: Path) -> None:
    reason, who = Reason.SUPPORTED, {"platform": "slack", "place": "T1", "channel": "C1", "user": "U1", "reply_id": "1"}
    bad = Feedback(**who, good=False, question="Why?", text="So.", decision=reason.decision, reason=reason, corpus="")
    store = await Store.open(folder / FILE)
    await store.add_feedback(bad)
    await store.close()


def parsed(cli: typer.Typer, arguments: Sequence[str]) -> tuple[str, ...]:
    """The command that the arguments name; AssertionError where they can't be given so."""
    group: Any = typer.main.get_command(cli)
    path: list[str] = []
    left = list(arguments)
    context: Any = None
    while True:
        try:
            context = group.make_context(path[-1] if path else "fireside", left, parent=context)
        except Exception as exc:  # usage errors of the library that reads them
            raise AssertionError(f"{shlex.join(arguments)}: {exc}") from exc
        left = [*getattr(context, "_protected_args", ()), *context.args]
        if path == ["eval"]:
            from evals.cli import app as evals_app

            return ("eval", *parsed(evals_app, left))
        if not left or not hasattr(group, "resolve_command"):
            return (*path, *filter(None, [context.params.get("platform")]))
        assert group.get_command(context, left[0]), f"there is no {left[0]}: {shlex.join(arguments)}"
        name, group, left = group.resolve_command(context, left)
        path.append(name)


def _answers(out: str) -> None:
    assert out.strip()


def _one_reply(out: str) -> None:
    replies = [Reply.model_validate_json(line) for line in out.splitlines() if line.startswith("{")]
    assert replies or "[1]" in out


def _quotes(out: str) -> None:
    assert json.loads(out) if out.startswith("[") else "“" in out


def _manifest(out: str) -> None:
    assert yaml.safe_load(out)["oauth_config"]["scopes"]["bot"] == sorted(SCOPES)


# What is run for real, and what its output has to be.
RUN: dict[tuple[str, ...], Callable[[str], None]] = {
    ("ask",): _one_reply,
    ("quote",): _quotes,
    ("index",): _answers,
    ("doctor",): _answers,
    ("model", "list"): _answers,
    ("eval", "cases"): _answers,
    ("slack", "manifest"): _manifest,
}


def make(command: Command, place: Place) -> None:
    """The target is there, and what it runs is too."""
    del place
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in command.arguments:
        found = re.search(rf"^{re.escape(target)}:.*\n((?:\t.*\n)*)", text, re.M)
        assert found, f"no such target: {target}"
        for line in found[1].splitlines():
            recipe = re.sub(r"\$\(if .*\)", "", line.strip().removeprefix("@")).replace("$(BIN)/", "").split()
            if recipe and recipe[0] == "fireside":
                assert parsed(app, recipe[1:])
            elif recipe and recipe[0] == "python" and recipe[1].endswith(".py"):
                assert (ROOT / recipe[1]).is_file()


def pip(command: Command, place: Place) -> None:
    """The files and extras are there."""
    del place
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].keys()
    verb, *rest = command.arguments
    assert verb == "install"
    packages: list[str] = []
    while rest:
        word = rest.pop(0)
        if word == "-c":
            assert (ROOT / rest.pop(0)).is_file()
        elif word == "--no-binary":
            assert rest.pop(0) == "llama-cpp-python"
        elif word.startswith("-"):
            assert word in ("--force-reinstall", "--no-cache-dir"), word
        else:
            packages.append(word)
    for package in packages:
        name, _, extra = package.rstrip("]").partition("[")
        assert name in (".", "llama-cpp-python")
        assert not extra or set(extra.split(",")) <= extras


def installer(command: Command, place: Place) -> None:
    """pipx and uv are not here: what they are to install is."""
    del place
    assert command.arguments[-1] == "."
    assert (ROOT / "constraints.txt").is_file()
    assert "constraints" in str(command)


def python(command: Command, place: Place) -> None:
    assert command.arguments == ("-m", "venv", ".venv")
    assert command.words[0] == "python3"
    assert place.folder.is_dir()


def shell(command: Command, place: Place) -> None:
    """Run as it is, in a folder that has what a checkout has."""
    subprocess.run(command.words, check=True, cwd=place.folder)
    if command.words[0] == "chmod":
        assert stat.S_IMODE((place.folder / ".env").stat().st_mode) == 0o600
    else:
        assert (place.folder / ".env").read_text(encoding="utf-8")


def export(command: Command, place: Place) -> None:
    del place
    name, _, value = command.arguments[0].partition("=")
    assert name in SECRETS
    assert value == "…"


def docker(command: Command, place: Place) -> None:
    """The profiles and services are in the files; what runs in a container of ours can be given so."""
    del place
    compose, *rest = command.arguments
    assert compose == "compose"
    given: dict[str, list[str]] = {"-f": [], "--profile": []}
    while rest[0].startswith("-"):
        given[rest.pop(0)].append(rest.pop(0))
    profiles = given["--profile"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert all((ROOT / name).is_file() for name in given["-f"])
    assert set(profiles) <= {profile for service in services.values() for profile in service.get("profiles", ())}
    verb, *rest = rest
    if verb == "up":
        assert profiles
        assert set(rest) <= {"-d", "--build"}
    else:
        flag, service, *inside = rest
        assert (verb, flag) == ("run", "--rm")
        assert parsed(app, inside or services[service]["command"])


def inspect(command: Command, place: Place) -> None:
    """Parsed by Inspect's own command line; the task takes what is given to it."""
    del place
    from inspect import signature

    from inspect_ai._cli.eval import eval_command

    from evals import tasks

    verb, *rest = command.arguments
    assert verb == "eval"
    given = eval_command.make_context("eval", list(rest)).params
    assert [Path(name).suffix for name in given["tasks"]] == [".py"]
    assert all((ROOT / name).is_file() for name in given["tasks"])
    takes = {
        name
        for task in vars(tasks).values()
        if callable(task) and hasattr(task, "__wrapped__")
        for name in signature(task).parameters
    }
    assert {each.partition("=")[0] for each in given["t"]} <= takes


CHECKS: dict[str, Callable[[Command, Place], None]] = {
    "fireside": fireside_command,
    "make": make,
    "pip": pip,
    "pipx": installer,
    "uv": installer,
    "python3": python,
    "cp": shell,
    "chmod": shell,
    "export": export,
    "docker": docker,
    "inspect": inspect,
}


WRONG = """
fireside sing
fireside quote
fireside ask --loud x
fireside eval run --no-such
make tea
pip install '.[tea]'
docker compose --profile tea up -d
export TEA=…
curl example.org
FIRESIDE_TEA=1 fireside chat
"""


@pytest.mark.parametrize("line", WRONG.strip().splitlines())
def test_a_command_that_can_not_be_given_is_noticed(line: str, place: Place, monkeypatch: pytest.MonkeyPatch):
    (command,) = commands_of(line)
    with pytest.raises((AssertionError, ConfigError)):
        test_every_command_of_the_readme_can_be_given(command, place, monkeypatch)


def test_the_commands_are_found():
    found = set(map(str, COMMANDS))
    assert {"make chat", "fireside index", "chmod 600 .env", "docker compose run --rm chat", "make demo-slack"} <= found
    assert len(found) > 40


def test_the_table_of_settings_names_each_of_them_and_every_secret():
    table = README.partition("### Settings")[2].partition("### ")[0]
    named = {name for cell in re.findall(r"^\| (`.+?`) \|", table, re.M) for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(setting_names()) - {"test_model"}
    assert all(f"`{secret}`" in table for secret in SECRETS)


def test_the_pictures_and_files_that_it_links_to_are_there():
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
