"""The chat engine's benchmark: what it asks of whom, what it writes, and how it ends."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from persona.errors import ModelError
from persona.llama.engine import EngineOptions
from scripts.bench_model import PORT, Ours, Prompt, Prompts, Serial, main, model_file, opened, serving, verdicts

# A completions server that writes two pieces, and for the prompt "stop" says that the second was the last.
SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["prompt"] == "refuse":
            return self.send_error(503)
        self.send_response(200); self.end_headers()
        last = {"stop": "stop", "break": None}.get(asked["prompt"], "length")
        text = f"{asked['prompt']} {asked['seed']} {asked['max_tokens']}"
        for piece, ended in (("", None), (text, None), ("!", last)):
            choice = {"text": piece, "finish_reason": ended}
            self.wfile.write(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\\n\\n")
        self.wfile.write(b": ping\\n\\ndata: [DONE]\\n\\n")

    def log_message(self, *_): pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LOCAL = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the benchmark keeps its models."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    """The tiny model."""
    return model_file("tiny", "Q8_0", folder)


@pytest.fixture
def serial(model: Path) -> Iterator[Serial]:
    """The high-level API on the tiny model."""
    with closing(Serial(model, context=512, threads=1)) as made:
        yield made


def test_a_tiny_run_writes_every_figure(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"
    sizes = "--askers 3 --prefix 40 --own 8 --generated 6 --rounds 2 --threads 1 --soak 20 --shape tiny --skip-server"
    assert main([*sizes.split(), "--folder", str(folder), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert set(found) == {
        *("machine", "model", "shape", "threads", "throughput", "first_token_s", "throughput_vs_serial"),
        *(
            "first_token_vs_serial",
            "loop_lag_ms",
            "second_question",
            "single_vs_bare",
            "single_vs_bare_full_cache",
            "soak",
        ),
    }
    assert "AVX" in found["machine"]["llama.cpp"] or "NEON" in found["machine"]["llama.cpp"]
    assert (found["model"], found["shape"], found["threads"]) == ("noise-tiny-Q8_0.gguf", "tiny", 1)
    assert set(found["throughput"]) == {"engine", "serial"}
    assert all(rate > 0 for rate in found["throughput"].values())
    assert all(0 < t["mean"] <= t["max"] for t in found["first_token_s"].values())
    lag = found["loop_lag_ms"]
    assert lag["p50"] <= lag["p99"] <= lag["max"]
    second = found["second_question"]
    assert second["decoded"] == second["new_tokens"] > 0
    assert found["soak"]["requests"] == 20
    assert found["soak"]["rss_before_mb"] > 0
    printed = capsys.readouterr().out
    assert "3 askers, 40 tokens shared and 8 own, 6 generated" in printed
    assert printed.count("not measured") == 2  # of llama_cpp.server


def test_prompts_share_the_prefix_and_are_the_same_tokens_as_text(serial: Serial) -> None:
    prompts = Prompts(serial, prefix=50, own=9)
    shared = prompts.shared(5)
    assert {len(p.tokens) for p in shared} == {59}
    assert {p.tokens[:50] for p in shared} == {prompts.prefix.tokens}
    assert len({p.tokens for p in shared}) == 5
    assert all(serial.tokens(p.text) == p.tokens for p in shared)
    fresh = prompts.fresh()
    assert len(fresh.tokens) == 59
    assert fresh.tokens[:8] != prompts.prefix.tokens[:8]


@pytest.mark.parametrize("kind", ["F32", "Q4_0"])
def test_the_random_model_writes_letters_and_never_ends(folder: Path, kind: str) -> None:
    with opened(model_file("tiny", kind, folder), EngineOptions(context=512, parallel=2, threads=1)) as engine:
        prompts = [Prompt(text, tuple(engine.vocabulary.tokens(text))) for text in ("Why?", "How so?")]
        answers = Ours(engine).ask(prompts, 200)
    assert [(a.tokens, len(a.text)) for a in answers] == [(200, 200)] * 2
    assert all(a.text.isascii() and a.text.isprintable() and a.text == a.text.upper() for a in answers)
    assert len(set(answers[0].text)) > 1


def test_a_model_is_written_once(folder: Path, model: Path) -> None:
    written = model.stat().st_mtime_ns
    assert model_file("tiny", "Q8_0", folder) == model
    assert model.stat().st_mtime_ns == written
    assert not [p for p in folder.iterdir() if p.suffix != ".gguf"]


def test_who_waits_for_others_waits_for_a_first_token(serial: Serial) -> None:
    first, second = serial.ask(Prompts(serial, 20, 4).shared(2), 5)
    assert first.first <= first.done <= second.first <= second.done
    assert (first.tokens, second.tokens) == (5, 5)


@LOCAL
def test_a_server_is_asked_by_all_at_once_and_its_tokens_are_counted() -> None:
    with serving("server", [sys.executable, "-c", SERVER, PORT], {}, written=len) as server:
        answers = server.ask([Prompt("length", (1,)), Prompt("stop", (2,))], 7)
        assert [a.text for a in answers] == ["length 0 7!", "stop 1 7!"]
        assert [a.tokens for a in answers] == [7, len("stop 1 7!")]
        assert all(0 < a.first <= a.done for a in answers)
        for prompt, why in (("refuse", "HTTP status 503"), ("break", "the stream broke off")):
            with pytest.raises(ModelError, match=f"server stopped answering: {why}.*--skip-server"):
                server.ask([Prompt(prompt, (1,))], 7)


@LOCAL
def test_a_server_that_does_not_start_says_why() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('No module named sse_starlette')"]
    with (
        pytest.raises(ModelError, match=r"server does not start: No module named sse_starlette\. .*--skip-server"),
        serving("server", command, {}, written=len),
    ):
        pass


def test_targets_are_reached_at_their_limits_and_missed_beyond() -> None:
    at = {
        "throughput_vs_serial": 1.5,
        "first_token_vs_serial": 0.25,
        "single_vs_bare": 0.9,
        "second_question": {"new_tokens": 9, "decoded": 9},
        "loop_lag_ms": {"p99": 30.0},
        "soak": {"rss_before_mb": 100.0, "rss_after_mb": 116.0},
    }
    beyond = {
        "throughput_vs_serial": 1.49,
        "first_token_vs_serial": 0.26,
        "single_vs_bare": 0.89,
        "second_question": {"new_tokens": 9, "decoded": 10},
        "loop_lag_ms": {"p99": 30.1},
        "soak": {"rss_before_mb": 100.0, "rss_after_mb": 116.1},
    }
    assert [v for _, v in verdicts(at)].count("reached") == len(at)
    assert [v for _, v in verdicts(beyond)].count("missed") == len(beyond)
    assert {v for _, v in verdicts({})} == {"not measured"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "{tmp}/none.gguf"], "none.gguf'"),
        (["--prefix", "9000"], "takes 8192 tokens; 9010 are asked for"),
        (["--json", "{tmp}/no/folder.json"], "Give another path for --json"),
        (["--folder", "{tmp}/file/models"], "Give another --folder"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], says: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    sizes = "--askers 1 --own 5 --generated 5 --shape tiny --skip-server --threads 1 --folder".split()
    assert main([*sizes, str(folder), *(a.format(tmp=tmp_path) for a in arguments)]) in (1, 2)
    error = capsys.readouterr().err.strip().splitlines()
    assert says in error[-1]
    assert "Traceback" not in "".join(error)


@pytest.mark.parametrize("arguments", [["--askers", "0"], ["--generated", "1"], ["--soak", "-1"], ["--rounds", "x"]])
def test_sizes_that_make_no_sense_are_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
