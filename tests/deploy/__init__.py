"""What is shipped: the Dockerfile, the compose files, the systemd unit, the settings' example."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
CUDA = ROOT / "deploy" / "compose.cuda.yml"
DOCKERFILE = ROOT / "Dockerfile"
EXAMPLE = ROOT / ".env.example"
UNIT = ROOT / "deploy" / "fireside@.service"


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A compose file, its merges (<<) carried out."""
    return yaml.safe_load(text(path))


def instructions() -> list[tuple[str, str]]:
    """(name, rest) of each instruction of the Dockerfile."""
    lines = [line for line in text(DOCKERFILE).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined)]


def of(name: str) -> list[str]:
    return [rest for given, rest in instructions() if given == name]


def pinned(package: str) -> str:
    """The version of constraints.txt."""
    found = re.search(rf"^{re.escape(package)}==(.+)$", text(ROOT / "constraints.txt"), re.MULTILINE)
    assert found
    return found[1]
