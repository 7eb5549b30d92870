"""The Dockerfile; deploy/rehearse.py carries it out for real."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy import DOCKERFILE, ROOT, instructions, of, text

STAGES = [rest.partition(" AS ")[2] for rest in of("FROM")]
SOURCES = [
    source for rest in of("COPY") if not rest.startswith("--from=") for source in rest.split()[:-1]
]  # of the checkout


def test_hadolint_finds_nothing():
    found = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if found is None:
        pytest.skip("no hadolint here")
    done = subprocess.run([found, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("source", sorted(set(SOURCES)))
def test_what_is_copied_exists_and_gets_into_the_build(source: str):
    assert (ROOT / source).exists()
    allowed = {line[1:] for line in text(ROOT / ".dockerignore").splitlines() if line.startswith("!")}
    assert source in allowed


def test_nothing_else_gets_into_the_build():
    lines = [line for line in text(ROOT / ".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(SOURCES)


def test_the_image_holds_all_that_the_package_is_made_of():
    wheel = tomllib.loads(text(ROOT / "pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"]} <= set(SOURCES)


def test_stages_are_copied_from_that_exist():
    named = [found[1] for rest in of("COPY") if (found := re.match(r"--from=(\S+)", rest))]
    assert set(named) <= set(STAGES)


def test_llama_cpp_is_built_before_anything_of_ours_is_there():
    """A change to our code must not compile it anew."""
    stage = ""
    copied: dict[str, list[str]] = {}
    for name, rest in instructions():
        if name == "FROM":
            stage = rest.partition(" AS ")[2]
        if name == "COPY":
            copied.setdefault(stage, []).append(rest)
    assert copied["wheel"] == ["--from=pin /src/llama.txt ./"]
    assert copied["pin"] == ["constraints.txt ./"]
    assert re.search(r"^llama_cpp_python==", text(ROOT / "constraints.txt"), re.MULTILINE)


def test_llama_cpp_is_built_for_other_machines_too():
    assert "CMAKE_ARGS=-DGGML_NATIVE=OFF" in of("ARG")


def test_all_is_installed_by_the_constraints_with_both_platforms():
    installs = [rest for rest in of("RUN") if "pip install" in rest]
    assert any("--constraint constraints.txt '.[discord,slack]'" in run for run in installs)
    assert all("--constraint" in run or "--no-deps" in run for run in installs)


def test_bases_have_a_version():
    bases = [arg for arg in of("ARG") if "_BASE=" in arg]
    assert len(bases) == 2
    for base in bases:
        assert re.fullmatch(r"\w+_BASE=[\w/]+:[\w.-]+", base)
        assert not base.endswith(":latest")


def test_the_last_stage_is_no_root_and_has_no_compiler():
    last = instructions()[[index for index, (name, _) in enumerate(instructions()) if name == "FROM"][-1] :]
    assert [rest for name, rest in last if name == "USER"] == ["10001:10001"]
    assert not [rest for name, rest in last if name == "RUN" and re.search("build-essential|cmake|-dev", rest)]
