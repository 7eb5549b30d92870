"""`fireside model` as a user meets it: results on stdout, progress and notes on stderr, one sentence for each failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from bot.commands import app
from persona.hub import catalog, read_record
from scripts.random_gguf import SHAPES, write_gguf
from tests.hubs import COMMIT, StandInHub

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ROW = catalog().models[0]
OTHER = "maker/model/other.gguf"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "model.gguf").read_bytes()


@pytest.fixture
def hub(weights: bytes) -> Iterator[StandInHub]:
    with StandInHub({f"{ROW.repo}/{ROW.file}": weights, OTHER: weights}) as made:
        yield made


def environ(folder: Path, hub: StandInHub | None = None, **more: str) -> dict[str, str]:
    url = hub.url if hub else "http://127.0.0.1:9"
    return {"FIRESIDE_DATA_DIR": str(folder), "HF_ENDPOINT": url, "HF_TOKEN": "hf_of-a-test", **more}


def run(folder: Path, *args: str, hub: StandInHub | None = None, **more: str) -> Result:
    return CliRunner().invoke(app, ["model", *args], env=environ(folder, hub, **more))


def listed(folder: Path, **more: str) -> dict[str, dict[str, object]]:
    result = run(folder, "list", "--json", **more)
    assert result.exit_code == 0
    return {entry["name"]: entry for entry in json.loads(result.stdout)}


def failed(result: Result) -> str:
    """The one sentence of a failure."""
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    return result.stderr


def test_the_list_names_each_model_and_claims_nothing_that_was_not_verified(tmp_path: Path):
    result = run(tmp_path, "list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [row.name for row in catalog().models]
    assert all("not verified by us" in line for line in lines)
    assert f"`fireside model pull {catalog().default}`" in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_pulled_model_is_listed_as_here_verified_and_in_use(hub: StandInHub, tmp_path: Path):
    run(tmp_path, "pull", ROW.name, hub=hub)
    entry = listed(tmp_path, FIRESIDE_CHAT_MODEL=ROW.name)[ROW.name]
    assert (entry["verified"], entry["set"]) == (True, True)
    assert entry["path"] == str(tmp_path / "models" / ROW.file)
    first = run(tmp_path, "list", FIRESIDE_CHAT_MODEL=ROW.name).stdout.splitlines()[0]
    assert first.startswith(f"*  {ROW.name} ")
    assert "  here  verified  " in first


def test_files_that_stand_in_no_table_are_listed_too(hub: StandInHub, weights: bytes, tmp_path: Path):
    run(tmp_path, "pull", f"hf:{OTHER}", hub=hub)
    (tmp_path / "models" / "mine.gguf").write_bytes(weights)
    (tmp_path / "elsewhere.gguf").write_bytes(weights)
    entries = listed(tmp_path, FIRESIDE_CHAT_MODEL=str(tmp_path / "elsewhere.gguf"))
    assert entries["other.gguf"]["source"] == f"hf:{OTHER}"
    assert (entries["mine.gguf"]["source"], entries["mine.gguf"]["verified"]) == (None, False)
    assert [name for name, entry in entries.items() if entry["set"]] == ["elsewhere.gguf"]


def test_a_setting_that_leads_nowhere_does_not_spoil_the_list(tmp_path: Path):
    assert not any(entry["set"] for entry in listed(tmp_path, FIRESIDE_CHAT_MODEL="nowhere.gguf").values())


def test_a_pull_prints_results_on_stdout_and_progress_on_stderr(hub: StandInHub, weights: bytes, tmp_path: Path):
    result = run(tmp_path, "pull", ROW.name, hub=hub)
    assert result.exit_code == 0
    first, second, third = result.stdout.splitlines()
    assert first.startswith(f"{tmp_path / 'models' / ROW.file}: pulled, ")
    assert f"commit {COMMIT[:12]}, sha256 " in first
    assert first.endswith(", as the hub announced.")
    assert second == "random model: llama, all F32, 0.1 million parameters, 8,192 tokens of context."
    assert third == f"To use it, set FIRESIDE_CHAT_MODEL={ROW.name}"
    progress = result.stderr.splitlines()
    assert all(line.startswith(f"Fetching {ROW.file}: ") for line in progress)
    assert progress[0].startswith(f"Fetching {ROW.file}: 0% of ")
    assert progress[-1].startswith(f"Fetching {ROW.file}: 100% of ")
    assert {request.headers.get("Authorization") for request in hub.requests} == {"Bearer hf_of-a-test"}
    assert (tmp_path / "models" / ROW.file).read_bytes() == weights


def test_a_second_pull_fetches_nothing(hub: StandInHub, weights: bytes, tmp_path: Path):
    run(tmp_path, "pull", ROW.name, hub=hub)
    result = run(tmp_path, "pull", ROW.name, hub=hub)
    assert (result.exit_code, result.stderr, hub.served) == (0, "", len(weights))
    assert ": already here, " in result.stdout


def test_a_url_is_pulled_and_said_to_be_unverified(hub: StandInHub, tmp_path: Path):
    result = run(tmp_path, "pull", f"{hub.url}/files/{OTHER}", hub=hub)
    assert result.exit_code == 0
    assert "which nobody announced, so it is not verified." in result.stdout
    assert result.stdout.endswith("set FIRESIDE_CHAT_MODEL=other.gguf\n")
    assert "Authorization" not in hub.requests[0].headers


def test_a_path_is_vetted_and_left_where_it_is(tmp_path: Path):
    path = write_gguf(tmp_path / "mine.gguf", template=None)
    result = run(tmp_path / "data", "pull", str(path))
    assert result.exit_code == 0
    assert result.stdout.endswith(f"\nTo use it, set FIRESIDE_CHAT_MODEL={path}\n")
    assert "ChatML is used" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_pull_that_was_killed_goes_on_where_it_was(hub: StandInHub, weights: bytes, tmp_path: Path):
    hub.stall_after = len(weights) * 6 // 10 + 1
    command = [sys.executable, "-m", "bot", "model", "pull", ROW.name]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=os.environ | environ(tmp_path, hub)
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if ": 60% of " in line:
                break
        process.kill()
    assert not list((tmp_path / "models").glob("*.gguf"))
    cut, hub.stall_after = hub.served, None
    result = run(tmp_path, "pull", ROW.name, hub=hub)
    assert result.exit_code == 0
    assert result.stderr.startswith(f"Fetching {ROW.file}: 60% of ")
    assert hub.served - cut == len(weights) - cut
    assert (tmp_path / "models" / ROW.file).read_bytes() == weights


def test_a_connection_that_breaks_is_taken_up_again(hub: StandInHub, weights: bytes, tmp_path: Path):
    hub.drop_after = 100_000
    assert run(tmp_path, "pull", ROW.name, hub=hub).exit_code == 0
    assert hub.served == len(weights)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ((401, ""), "The hub refuses 'hf:maker/model/other.gguf' to the token in HF_TOKEN (HTTP 401)."),
        ((403, "GatedRepo"), "'maker/model' is gated (HTTP 403): accept its licence on the hub"),
        ((404, "RepoNotFound"), "The hub shows us no repository 'maker/model' (HTTP 404)."),
        ((500, ""), "The hub answers 'hf:maker/model/other.gguf' with HTTP 500."),
    ],
)
def test_a_refusal_of_the_hub_is_one_sentence(hub: StandInHub, tmp_path: Path, error: tuple[int, str], says: str):
    hub.error = error
    assert failed(run(tmp_path, "pull", f"hf:{OTHER}", hub=hub)).startswith(says)


def test_a_wrong_checksum_is_one_sentence_and_no_model(hub: StandInHub, tmp_path: Path):
    hub.corrupt = True
    result = run(tmp_path, "pull", ROW.name, hub=hub)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1].startswith(f"The checksum of '{ROW.source}' differs")
    assert listed(tmp_path)[ROW.name]["path"] is None


def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path):
    assert "Check the network, then pull again." in failed(run(tmp_path, "pull", ROW.name))


def test_offline_mode_is_respected(hub: StandInHub, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "bot", "model", "pull", ROW.name],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | environ(tmp_path, hub, HF_HUB_OFFLINE="1"),
    )
    assert (done.returncode, done.stdout, hub.requests) == (1, "", [])
    assert done.stderr.startswith(f"'{ROW.source}' can't be fetched while HF_HUB_OFFLINE is set.")
    assert done.stderr.count("\n") == 1


def test_what_was_pulled_and_is_no_chat_model_is_refused_and_named(tmp_path: Path):
    with StandInHub({OTHER: b"<!doctype html>"}) as hub:
        result = run(tmp_path, "pull", f"hf:{OTHER}", hub=hub)
    assert result.exit_code == 1
    assert "is not a GGUF file: it begins with b'<!do'" in result.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("pull",), f"Which model? Try `fireside model pull {catalog().default}`"),
        (("pull", "qwen3-4"), "Did you mean 'qwen3-4b'?"),
        (("pull", "hf:maker/model"), "Write it like hf:OWNER/REPO/FILE.gguf."),
        (("pull", "--fast", "qwen3-4b"), "No such option"),
        (("info", "--threads", "0"), "Invalid value"),
        (("fetch",), "No such command"),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, args: tuple[str, ...], says: str):
    result = run(tmp_path, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr


def test_info_without_a_model_says_what_one_would_add(tmp_path: Path):
    result = run(tmp_path, "info")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("No chat model is set: ")
    assert f"`fireside model pull {catalog().default}`" in result.stdout


def test_info_shows_facts_origin_backend_memory_and_speed(hub: StandInHub, tmp_path: Path):
    run(tmp_path, "pull", ROW.name, hub=hub)
    result = run(tmp_path, "info", "--threads", "1", FIRESIDE_CHAT_MODEL=ROW.name)
    assert result.exit_code == 0
    facts = {line.split()[0]: line for line in result.stdout.splitlines()}
    record = read_record(tmp_path / "models" / ROW.file)
    assert record is not None
    assert record.sha256 in facts["source"]
    assert facts["model"].endswith("2 layers of width 64, 266 tokens known")
    assert facts["memory"].endswith("432.4 kB for the weights, 256.0 kB for 1,000 tokens of context")
    assert "llama.cpp" in facts["backend"]
    assert "CPU" in facts["device"]
    assert facts["speed"].count("tokens/s") == 2
    assert result.stderr == "Measuring its speed…\n"


def test_info_without_speed_is_quick_and_says_nothing_on_stderr(tmp_path: Path):
    path = write_gguf(tmp_path / "mine.gguf")
    result = run(tmp_path, "info", str(path), "--no-speed")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "tokens/s" not in result.stdout
    assert "not pulled by fireside" in result.stdout


def test_each_file_that_will_not_do_is_one_sentence(hub: StandInHub, tmp_path: Path):
    whole = write_gguf(tmp_path / "whole.gguf")
    (tmp_path / "cut.gguf").write_bytes(whole.read_bytes()[:-1000])
    write_gguf(tmp_path / "odd.gguf", architecture="nonesuch")
    write_gguf(tmp_path / "short.gguf", SHAPES["tiny"]._replace(context=512))
    run(tmp_path, "pull", ROW.name, hub=hub)
    (tmp_path / "models" / ROW.file).write_bytes(b"GGUF")
    for target, says in (
        (ROW.name, "has 4 bytes, and had "),
        ("none.gguf", "No model file 'none.gguf'"),
        (str(tmp_path / "cut.gguf"), "is truncated: 1,000 of "),
        (str(tmp_path / "odd.gguf"), "llama.cpp doesn't know the architecture 'nonesuch'"),
        (str(tmp_path / "short.gguf"), "was trained for 512 tokens of context"),
        (str(tmp_path), "is a folder"),
    ):
        assert says in failed(run(tmp_path, "info", target))
