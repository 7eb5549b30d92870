"""Looks for tokens, keys and passwords in every text file that git tracks (detect-secrets, nothing is sent anywhere).

    python -m scripts.scan_secrets [--root FOLDER] [--accept]

Exit code 1 where there is one that `.secrets.baseline` does not list. `--accept` writes that list anew: look at each line of
the difference before you commit it.
"""

# detect-secrets declares a plugin's constants as abstract properties.
# pyright: reportIncompatibleMethodOverride=false, reportAssignmentType=false

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.settings import transient_settings

from bot.logs import TOKENS
from persona.cores import usable

ROOT = Path(__file__).parents[1]
BASELINE = ".secrets.baseline"
OURS = {"name": "PlatformTokenDetector", "path": Path(__file__).as_uri()}
# detect-secrets has more, for services that nothing here can have a key of; each one costs seconds.
PLUGINS = [
    *({"name": f"{name}Detector"} for name in ("AWSKey", "BasicAuth", "GitHubToken", "GitLabToken", "JwtToken")),
    *({"name": f"{name}Detector"} for name in ("Keyword", "OpenAI", "PrivateKey", "PypiToken", "Slack")),
    {"name": "HexHighEntropyString", "limit": 3.0},
    OURS,
]
# A sha256, or our fingerprints of 16 digits. Slack's signing secrets have 32.
FILTERS = [
    {"path": "detect_secrets.filters.regex.should_exclude_secret", "pattern": ["^(?:[0-9a-f]{16}|[0-9a-f]{64})$"]},
    {"path": "detect_secrets.filters.allowlist.is_line_allowlisted"},
    {"path": "detect_secrets.filters.heuristic.is_templated_secret"},
    {"path": "detect_secrets.filters.heuristic.is_sequential_string"},
]
ADVICE = (
    "Take it out, and have it revoked where it was issued. If it is no secret, run `make secrets ACCEPT=1`, and look at the "
    "difference before you commit it."
)
_HEAD = 8192  # bytes of a file that tell whether it is text
_SKIPPED = (".venv", ".git", "build", "dist")  # where there is no git to ask


class PlatformTokenDetector(RegexBasedDetector):
    """What the log hides: tokens of Slack (app-level ones too), Discord and Hugging Face, webhooks."""

    secret_type = "Token of a platform"  # noqa: S105 (the name of a kind)
    denylist = (re.compile(f"({TOKENS.pattern})"),)


def tracked(root: Path) -> Iterator[str]:
    """The text files that git tracks below a folder, by their paths in it; all of them where git knows nothing of it."""
    git = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    if git.returncode == 0:
        names = git.stdout.split("\0")[:-1]
    else:
        every = (p.relative_to(root) for p in sorted(root.rglob("*")))
        names = [p.as_posix() for p in every if not set(p.parts) & set(_SKIPPED)]
    for name in names:
        path = root / name
        if path.is_file() and name != BASELINE:
            with path.open("rb") as file:
                if b"\0" not in file.read(_HEAD):
                    yield name


def found(root: Path) -> SecretsCollection:
    """What looks like a secret in the text files below a folder."""
    secrets = SecretsCollection(root=str(root))
    get_mapping_from_secret_type_to_class.cache_clear()  # it is kept from before ours was named
    with transient_settings({"plugins_used": PLUGINS, "filters_used": FILTERS}):
        secrets.scan_files(*tracked(root), num_processors=usable())
    return secrets


def main() -> int:
    """0: nothing new; 1: something that the baseline doesn't list."""
    parser = argparse.ArgumentParser(description="Looks for secrets in the files that git tracks.")
    parser.add_argument("--root", type=Path, default=ROOT, help="another folder")
    parser.add_argument("--accept", action="store_true", help="list what is found in the baseline")
    given = parser.parse_args()
    baseline: Path = given.root / BASELINE
    secrets = found(given.root)
    if given.accept:
        listed: dict[str, list[list[str]]] = {}
        for name, secret in secrets:
            listed.setdefault(name, []).append([secret.type, secret.secret_hash])
        baseline.write_text(json.dumps(listed, indent=1) + "\n", encoding="utf-8")
        return 0
    known: dict[str, list[list[str]]] = json.loads(baseline.read_text(encoding="utf-8") if baseline.exists() else "{}")
    new = [(name, s) for name, s in secrets if [s.type, s.secret_hash] not in known.get(name, [])]
    for name, secret in new:
        print(f"{name}:{secret.line_number}: {secret.type}", file=sys.stderr)
    if new:
        print(ADVICE, file=sys.stderr)
    return int(bool(new))


if __name__ == "__main__":
    sys.exit(main())
