"""Carries out the Dockerfile without Docker: each stage in a folder of its own that begins as a bare Debian, RUN by chroot.

Then runs the image as docker-compose.yml does: its uid, no capabilities, read-only root, /tmp in memory without exec, /data.
Needs root and debootstrap. It knows what our Dockerfile uses, no more, and keeps no layers: a stage that is there is kept.

    sudo python3 deploy/rehearse.py build FOLDER
    sudo python3 deploy/rehearse.py run FOLDER ask "What did he say about reliability?"

PIP_CERT and CMAKE_BUILD_PARALLEL_LEVEL are handed to the build, settings and tokens to the run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CONTEXT = Path(__file__).resolve().parents[1]
BASE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
CACHE = re.compile(r"--mount=type=cache,target=(\S+)\s+")
WEAK = "setpriv --reuid {0} --regid {1} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all"


@dataclass
class Stage:
    """One FROM: its folder, and what holds in it."""

    root: Path
    made: bool
    env: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    args: dict[str, str] = field(default_factory=dict[str, str])
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list[str])


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(name, rest) of each instruction, continued lines joined."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def build(folder: Path) -> Stage:
    """Carries out all stages; the last one is the image."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / "base"
    if not base.exists():
        unfinished = folder / "base.unfinished"
        do("debootstrap", "--variant=minbase", BASE, str(unfinished), MIRROR)
        unfinished.rename(base)
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, rest in instructions((CONTEXT / "Dockerfile").read_text(encoding="utf-8")):
        if name == "FROM":
            if stage:
                (stage.root / ".made").touch()
            source, _, label = rest.partition(" AS ")
            label = label or "image"
            root = folder / label
            before = stages.get(source)
            made = (root / ".made").exists()
            if not made:
                shutil.rmtree(root, ignore_errors=True)
                do("cp", "-a", str(before.root if before else base), str(root))
                (root / ".made").unlink(missing_ok=True)
            stage = Stage(root, made)
            if before:
                stage.env, stage.workdir, stage.user = dict(before.env), before.workdir, before.user
            stages[label] = stage
        elif stage:
            carry_out(stage, name, rest, stages, folder / "cache")
    assert stage
    (stage.root / ".made").touch()
    return stage


def carry_out(stage: Stage, name: str, rest: str, stages: Mapping[str, Stage], cache: Path) -> None:
    """One instruction. What only sets something is carried out in a stage that is there, too."""
    if name == "ARG":
        key, _, value = rest.partition("=")
        stage.args[key] = os.environ.get(key, value)
    elif name == "ENV":
        for pair in shlex.split(rest):
            key, _, value = pair.partition("=")
            stage.env[key] = value.replace("$PATH", stage.env["PATH"])
    elif name == "WORKDIR":
        stage.workdir = rest
        (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
    elif name == "USER":
        stage.user = rest
    elif name == "ENTRYPOINT":
        stage.entrypoint = json.loads(rest)
    elif name == "COPY" and not stage.made:
        copy(stage, rest.split(), stages)
    elif name == "RUN" and not stage.made:
        print(f"[{stage.root.name}] {rest[:100]}", flush=True)
        mounts = [f"--bind {shlex.quote(str(kept(cache, target)))} {target}" for target in CACHE.findall(rest)]
        run_in(stage, CACHE.sub("", rest), mounts)


def kept(cache: Path, target: str) -> Path:
    """The folder behind a cache mount."""
    place = cache / target.strip("/").replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    return place


def copy(stage: Stage, words: Sequence[str], stages: Mapping[str, Stage]) -> None:
    """COPY, from another stage or from what .dockerignore lets through."""
    sources, target = list(words[:-1]), words[-1]
    origin = CONTEXT
    if sources[0].startswith("--from="):
        origin = stages[sources.pop(0).removeprefix("--from=")].root
    place = stage.root / str(Path(stage.workdir) / target).lstrip("/")
    for source in sources:
        path = origin / source.lstrip("/")
        if path.is_dir():
            hidden = shutil.ignore_patterns("__pycache__", "*.pyc", ".*") if origin == CONTEXT else None
            shutil.copytree(path, place, symlinks=True, ignore=hidden, dirs_exist_ok=True)
        else:
            into = place / path.name if target.endswith("/") or place.is_dir() else place
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, into)


def run_in(stage: Stage, command: str, mounts: Sequence[str]) -> None:
    """RUN: a shell in the stage's folder, as root, with the network."""
    env = stage.env | stage.args | handed_in("CMAKE_BUILD_PARALLEL_LEVEL")
    steps = ["mount -t proc proc proc", "mount --rbind /dev dev"]
    if cert := os.environ.get("PIP_CERT"):
        (stage.root / "run/pip.crt").write_bytes(Path(cert).read_bytes())
        env["PIP_CERT"] = "/run/pip.crt"
    shutil.copy2("/etc/resolv.conf", stage.root / "etc/resolv.conf")
    for mount in mounts:
        path = mount.split()[-1].lstrip("/")
        (stage.root / path).mkdir(parents=True, exist_ok=True)
        steps.append(mount.replace(f" /{path}", f" {path}").replace("--bind", "mount --bind"))
    inside = shlex.join(["env", "-i", *pairs(env), "sh", "-c", f"cd {stage.workdir} && {command}"])
    steps.append(f"exec chroot . {inside}")
    unshared(stage.root, steps)


def run(stage: Stage, folder: Path, arguments: Sequence[str]) -> int:
    """The image as a hardened container: its uid and environment, read-only root, /tmp in memory without exec, no rights."""
    data = folder / "data"
    uid, _, gid = stage.user.partition(":")
    if not data.exists():
        shutil.copytree(stage.root / "data", data)
        for place in (data, *data.rglob("*")):
            os.chown(place, int(uid), int(gid))
        data.chmod(0o700)
    shutil.copy2("/etc/resolv.conf", stage.root / "etc/resolv.conf")
    weak = WEAK.format(uid, gid)
    command = shlex.join(arguments if arguments and arguments[0].startswith("/") else [*stage.entrypoint, *arguments])
    environment = shlex.join(
        ["env", "-i", *pairs(stage.env | handed_in("FIRESIDE_", "DISCORD_", "SLACK_", "MODEL_", "HF_"))]
    )
    steps = [
        "mount --bind . .",
        'cd "$PWD"',  # into the mount
        "mount -t proc proc proc",
        "mount --rbind /dev dev",
        "mount -t tmpfs -o size=256m,mode=1777,noexec,nosuid,nodev tmpfs tmp",
        f"mount --bind {shlex.quote(str(data.resolve()))} data",
        "mount -o remount,bind,ro .",
        f"exec chroot . {environment} {weak} sh -c {shlex.quote(f'cd {stage.workdir} && exec {command}')}",
    ]
    return unshared(stage.root, steps, check=False)


def unshared(root: Path, steps: Sequence[str], *, check: bool = True) -> int:
    """Runs shell steps in mounts and processes of their own, beginning in a folder."""
    script = "\n".join([f"cd {shlex.quote(str(root.resolve()))}", *steps])
    return do("unshare", "--mount", "--pid", "--fork", "sh", "-ec", script, check=check)


def do(*command: str, check: bool = True) -> int:
    """Runs a command, gives its exit status."""
    return subprocess.run(command, check=check).returncode  # noqa: S603 (the commands are our own)


def handed_in(*prefixes: str) -> dict[str, str]:
    """What is handed in of our own environment."""
    return {key: value for key, value in os.environ.items() if key.startswith(prefixes)}


def pairs(env: Mapping[str, str]) -> list[str]:
    """As `env` takes them."""
    return [f"{key}={value}" for key, value in env.items()]


def main() -> int:
    """See the module's text."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("build", "run"):
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[2])
    image = build(folder)
    return run(image, folder, sys.argv[3:]) if sys.argv[1] == "run" else 0


if __name__ == "__main__":
    sys.exit(main())
