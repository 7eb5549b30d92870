"""Who may import whom: bot → persona ← evals, and each heavy library is known in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
CLI = ("bot/cli.py", "bot/commands.py")  # `fireside eval`: the one way from the bot to the evals, taken when it is run
PACKAGES = ("persona", "bot", "evals")
SOURCES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


class Import(NamedTuple):
    module: str
    line: int
    inside: bool  # inside a function: only when it is called


def imports(path: Path) -> Iterator[Import]:
    yield from _walk(ast.parse(path.read_text(encoding="utf-8"), str(path)), inside=False)


def _walk(node: ast.AST, *, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, inside)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            yield Import(child.module or "", child.lineno, inside)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _walk(child, inside=inside or function)


def top(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_run_towards_persona(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {"persona": {"persona"}, "bot": {"bot", "persona"}, "evals": {"evals", "persona"}}[package]
    for found in imports(path):
        if top(found.module) in PACKAGES and top(found.module) not in allowed:
            assert name(path) in CLI, f"{name(path)}:{found.line} imports {found.module}"
            assert top(found.module) == "evals"
            assert found.inside, f"{name(path)}:{found.line} imports {found.module} outside a function"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_no_code_imports_the_tests(path: Path) -> None:
    assert not [found for found in imports(path) if top(found.module) in ("tests", "pytest", "hypothesis")]


@pytest.mark.parametrize(
    "library", ["bm25s", "chromadb", "discord", "limits", "llama_cpp", "PIL", "slack_bolt", "sqlalchemy"]
)
def test_one_place_knows(library: str) -> None:
    importers = [p for p in SOURCES if any(top(i.module) == library for i in imports(p))]
    # A module, or a folder made for it: what the library's objects do not leave.
    places = {p if p.parent.parent == ROOT else p.parent for p in importers}
    assert len(places) <= 1, [name(p) for p in importers]


@pytest.mark.parametrize("library", ["discord", "slack_bolt", "slack_sdk", "aiohttp", "sklearn", "inspect_ai"])
def test_persona_runs_without(library: str) -> None:
    assert not [
        name(p) for p in SOURCES if name(p).startswith("persona/") for i in imports(p) if top(i.module) == library
    ]


@pytest.mark.parametrize("library", ["sklearn", "inspect_ai"])
def test_the_bot_runs_without(library: str) -> None:
    assert not [name(p) for p in SOURCES if name(p).startswith("bot/") for i in imports(p) if top(i.module) == library]
