from pathlib import Path

import pytest

from persona.cores import usable


@pytest.mark.parametrize(("told", "cores"), [("100000 100000\n", 1), ("1000 100000\n", 1)])
def test_a_containers_share_counts(tmp_path: Path, told: str, cores: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(told)
    assert usable(quota) == cores


@pytest.mark.parametrize("told", ["max 100000\n", "", "999900000 100000\n"])
def test_without_a_share_the_machines_cores_count(tmp_path: Path, told: str) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(told)
    assert usable(quota) == usable(tmp_path / "none") >= 1
