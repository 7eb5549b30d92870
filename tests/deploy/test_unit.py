"""The systemd unit."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from persona.errors import ConfigError
from persona.settings import PREFIX, setting_names
from tests.deploy import UNIT, text

EXPOSED = 20  # systemd's measure times ten: 100 is without any hardening
LINES = [line for line in text(UNIT).splitlines() if "=" in line and not line.startswith("#")]
KEYS = dict(line.split("=", 1) for line in LINES)


def values(key: str) -> list[str]:
    return [line.split("=", 1)[1] for line in LINES if line.startswith(f"{key}=")]


@pytest.fixture
def analyse() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("no systemd here")
    return found


def test_systemd_understands_it(analyse: str, tmp_path: Path):
    installed = tmp_path / UNIT.name.replace("@", "@discord")
    installed.write_text(text(UNIT).replace("/opt/fireside/bin/fireside", "/bin/true"), encoding="utf-8")
    done = subprocess.run([analyse, "verify", str(installed)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if installed.name in line] == []


def test_systemd_finds_little_exposed(analyse: str, tmp_path: Path):
    installed = tmp_path / UNIT.name.replace("@", "@discord")
    shutil.copy(UNIT, installed)
    command = [analyse, "security", "--offline=true", f"--threshold={EXPOSED}", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_runs_without_root_and_writes_its_own_state_alone():
    assert KEYS["DynamicUser"] == KEYS["NoNewPrivileges"] == KEYS["PrivateTmp"] == "yes"
    assert KEYS["ProtectSystem"] == "strict"
    assert KEYS["StateDirectory"] == "fireside/%i"
    assert "ReadWritePaths" not in KEYS


def test_the_data_folder_is_the_state_folder():
    environment = dict(pair.split("=", 1) for line in values("Environment") for pair in line.split())
    assert environment["FIRESIDE_DATA_DIR"] == f"/var/lib/{KEYS['StateDirectory']}"
    known = {PREFIX + name.upper() for name in setting_names()}
    assert not [key for key in environment if key.startswith(PREFIX) and key not in known]


def test_tokens_come_from_a_file():
    assert values("EnvironmentFile") == ["/etc/fireside/%i.env"]
    assert not re.search(r"(?i)(token|secret|password)=", "\n".join(LINES))


def test_it_is_started_anew_save_where_the_settings_are_wrong():
    assert KEYS["Restart"] == "on-failure"
    assert KEYS["RestartPreventExitStatus"] == str(ConfigError.exit_code)


def test_what_is_answered_may_be_finished():
    assert 10 < int(KEYS["TimeoutStopSec"]) <= 30


def test_a_hangup_reads_the_settings_anew():
    assert KEYS["ExecReload"] == "/bin/kill -HUP $MAINPID"
