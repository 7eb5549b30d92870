"""docker-compose.yml keeps what docs/deploying.md says of it; without an engine nothing here starts a container."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bot.monitoring import Health, Metrics, monitored
from persona.hub import catalog
from persona.settings import PREFIX, SECRETS, load_settings, setting_names
from tests.deploy import COMPOSE, CUDA, ROOT, of, pinned, read, text

FILE = read(COMPOSE)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
BOTS = ("discord", "slack")
ONCE = ("chroma-volume", "model", "chat")  # they end by themselves, or with the terminal
STANDING = sorted(SERVICES.keys() - set(ONCE))
FINISH = 10  # seconds that a bot may take to finish what is in flight

every_service = pytest.mark.parametrize("name", SERVICES)


@pytest.mark.parametrize("path", [COMPOSE, CUDA], ids=lambda path: path.name)
def test_the_file_is_sound_by_the_compose_specification(path: Path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, CUDA)], ids=["cpu", "cuda"])
def test_docker_compose_understands_it(files: tuple[Path, ...]):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here")
    given = [word for path in files for word in ("-f", str(path))]
    command = [docker, "compose", *given, "--profile", "*", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_it_has_the_bots_chroma_the_model_and_a_chat():
    assert {*BOTS, "chroma", "model", "chat"} <= SERVICES.keys()
    for bot in BOTS:
        assert SERVICES[bot]["profiles"] == [bot]
        assert bot in SERVICES["chroma"]["profiles"]


@every_service
def test_a_service_has_no_rights_that_it_does_not_need(name: str):
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", service["user"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    assert any(line.startswith("/tmp:") and "noexec" in line and "size=" in line for line in service["tmpfs"])


@every_service
def test_a_service_is_limited(name: str):
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert limits.keys() >= {"cpus", "memory", "pids"}
    assert SERVICES[name]["logging"]["options"].keys() >= {"max-size", "max-file"}


@every_service
def test_a_service_is_watched_and_started_anew_or_runs_once(name: str):
    service = SERVICES[name]
    assert service["init"] is True
    if name in ONCE:
        assert service["restart"] == "no"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"].keys() >= {"test", "interval", "timeout", "retries", "start_period"}


@every_service
def test_ports_are_bound_to_this_machine(name: str):
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_publish_the_same_port():
    published = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == len(set(published))


@every_service
def test_data_lies_in_named_volumes(name: str):
    for volume in SERVICES[name]["volumes"]:
        assert volume.split(":")[0] in FILE["volumes"]


def test_two_bots_never_share_a_store():
    """Each writes a database of its own."""
    places = [
        volume.split(":")[0] for name in (*BOTS, "chat") for volume in SERVICES[name]["volumes"] if ":/data" in volume
    ]
    own = [place for place in places if place != "models"]
    assert len(own) == len(set(own)) == 3


@every_service
def test_an_image_has_a_version(name: str):
    image, _, tag = SERVICES[name]["image"].partition(":")
    version = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]["version"]
    assert tag == {"fireside": version, "chromadb/chroma": pinned("chromadb")}[image]


@pytest.mark.parametrize("path", [COMPOSE, CUDA], ids=lambda path: path.name)
def test_no_secret_stands_in_it(path: Path):
    assert not [name for name in SECRETS if name in text(path)]
    assert not re.search(r"(?i)(token|secret|password|key)\s*[:=]\s*\S", text(path))


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ("chroma", "chroma-volume")])
def test_secrets_come_from_the_env_file(name: str):
    assert [file["path"] for file in SERVICES[name]["env_file"]] == [".env"]


def test_what_needs_no_secret_gets_none():
    assert not SERVICES["chroma"].get("env_file")
    assert not SERVICES["chroma-volume"]["env_file"]


@every_service
def test_it_sets_only_what_can_be_set(name: str):
    known = {PREFIX + setting.upper() for setting in setting_names()}
    assert SERVICES[name].get("environment", {}).keys() <= known


def test_the_model_is_the_one_that_the_bots_are_told_to_use():
    default = re.escape(catalog().default)
    assert re.fullmatch(rf"\$\{{FIRESIDE_CHAT_MODEL:-{default}\}}", SERVICES["model"]["command"][-1])
    assert "models:/data/models" in SERVICES["model"]["volumes"]
    for name in (*BOTS, "chat"):
        assert "models:/data/models:ro" in SERVICES[name]["volumes"]


@pytest.mark.parametrize("name", BOTS)
def test_a_bot_may_finish_what_it_answers(name: str):
    seconds = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    assert FINISH < seconds <= 3 * FINISH


def test_chroma_is_reached_by_the_bots_alone():
    assert "ports" not in SERVICES["chroma"]
    assert SERVICES["chroma"]["networks"] == ["inside"]
    assert FILE["networks"]["inside"]["internal"] is True
    for name in BOTS:
        assert "inside" in SERVICES[name]["networks"]
        assert SERVICES[name]["environment"]["FIRESIDE_CHROMA_URL"] == "http://chroma:8000"
        assert SERVICES[name]["depends_on"]["chroma"]["condition"] == "service_healthy"


@pytest.mark.parametrize("name", BOTS)
def test_the_port_of_the_monitor_is_the_one_that_is_published_and_asked(name: str):
    service = SERVICES[name]
    port = service["environment"]["FIRESIDE_MONITOR_PORT"]
    assert any(published.endswith(f":{port}") for published in service["ports"])
    assert f"/{port} " in service["healthcheck"]["test"][-1]
    assert port in " ".join(of("EXPOSE")).split()


def test_our_uid_owns_the_data_folder_of_the_image():
    uid = SERVICES["chat"]["user"]
    assert of("USER") == [uid]
    owner = "--owner={} --group={}".format(*uid.split(":"))
    assert any(owner in run and run.endswith("/data /data/models") for run in of("RUN"))


def test_cuda_changes_arguments_that_exist():
    known = {arg.partition("=")[0] for arg in of("ARG")}
    for name, service in read(CUDA)["services"].items():
        assert name in SERVICES
        assert service["build"]["args"].keys() <= known
        assert service["image"] == SERVICES[name]["image"] + "-cuda"
        for base in ("BUILD_BASE", "RUN_BASE"):
            assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-(devel|runtime)-\w+[\d.]+", service["build"]["args"][base])
        assert "-DGGML_CUDA=ON" in service["build"]["args"]["CMAKE_ARGS"]


@contextmanager
def serving(status: int) -> Generator[tuple[int, list[str]]]:
    """A server that answers each request with `status`: its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()


def probe(name: str, port: int) -> int:
    """The exit status of a service's health check, aimed at another port."""
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    command[-1], changed = re.subn(r"(/dev/tcp/127\.0\.0\.1)/\d+", rf"\1/{port}", command[-1].replace("$$", "$"))
    assert changed == 1
    return subprocess.run(command, capture_output=True, timeout=5, check=False).returncode


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.skipif(not shutil.which("bash"), reason="the images have bash")
@pytest.mark.parametrize("name", STANDING)
def test_a_health_check_tells_well_from_ill(name: str):
    with serving(200) as (port, asked):
        assert probe(name, port) == 0
    assert asked == ["/api/v2/heartbeat" if name == "chroma" else "/healthz"]
    assert probe(name, port) != 0  # nobody listens any more
    with serving(503) as (port, asked):
        assert probe(name, port) != 0
    assert asked


@pytest.mark.allow_hosts(["127.0.0.1"])
@pytest.mark.skipif(not shutil.which("bash"), reason="the images have bash")
async def test_a_bot_that_builds_its_index_is_healthy():
    settings = load_settings({"monitor_port": "0"}, environ={}, places=[])
    health = Health()
    async with monitored(settings, Metrics(), health) as port:
        health.down("persona", "its index is being built")
        assert port
        assert await asyncio.to_thread(probe, "discord", port) == 0
