"""The command as a process of its own: signals, pipes, and what an import brings along."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FIRESIDE = [sys.executable, "-m", "bot"]


def start(folder: Path, *args: str) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "FIRESIDE_DATA_DIR": str(folder)}
    pipe = subprocess.PIPE
    return subprocess.Popen([*FIRESIDE, *args], stdin=pipe, stdout=pipe, stderr=pipe, env=environ)


def test_help_needs_neither_chroma_nor_llama():
    code = (
        "import sys; from typer.testing import CliRunner; from bot.commands import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "print([m for m in ('chromadb', 'llama_cpp', 'numpy', 'pydantic', 'evals', 'prompt_toolkit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_each_line_of_a_batch_is_answered_before_the_next_is_there(data_dir: Path):
    with start(data_dir, "ask", "--batch", "-") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(2):
            process.stdin.write(b'{"id": %d, "question": "Hello!"}\n' % number)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == str(number)
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_in_a_conversation_exits_with_130_and_no_traceback(data_dir: Path):
    with start(data_dir, "chat") as process:
        assert process.stdout is not None
        process.stdout.readline()  # the disclosure: it waits for a question now
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in stderr) == (130, False)


def test_a_reader_that_goes_away_is_met_with_silence(data_dir: Path):
    with start(data_dir, "chat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b"/help\n" * 10)
        process.stdin.close()
        assert process.stderr.read().count(b"\n") == 1  # what a chat model would add
        assert process.wait(60) == 0


def test_output_is_utf8_whatever_the_locale(data_dir: Path):
    environ = {**os.environ, "FIRESIDE_DATA_DIR": str(data_dir), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*FIRESIDE, "quote", "reliability of neural networks"], capture_output=True, env=environ, check=True
    )
    assert "“" in done.stdout.decode("utf-8")


def test_rebuild_starts_from_nothing(tmp_path: Path):
    card = Path(__file__).parents[1] / "data" / "second" / "mara.toml"
    index = [*FIRESIDE, "--data-dir", str(tmp_path), "--persona", str(card), "index"]
    for args in (index, [*index, "--rebuild"]):
        done = subprocess.run(args, capture_output=True, text=True, check=True)
        assert "0 dropped, 0 kept" in done.stdout
        assert done.stderr == "Reading the talks…\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_sentence():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*FIRESIDE, "--version"], check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "No space left" in done.stderr
