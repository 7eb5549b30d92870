"""Asks a database of known vulnerabilities about every version in constraints.txt (`make audit`).

Options go to pip-audit. Exit code 1 where a vulnerability is known. Where no database answers (no network, a mirror of PyPI)
a sentence says so and the exit code is 0; pip-audit by itself says "No known vulnerabilities found" there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
# The file names every package of every extra: nothing has to be resolved, and no pip be run.
AUDIT = (
    sys.executable,
    "-m",
    "pip_audit",
    "--no-deps",
    "--disable-pip",
    "--format",
    "json",
    "--progress-spinner",
    "off",
)
_REASON = 200  # characters


def audit(options: Sequence[str]) -> int:
    """Prints what is known; 1 if anything is, else 0."""
    if not {"-r", "--requirement"} & set(options):
        options = ["-r", str(CONSTRAINTS), *options]
    done = subprocess.run([*AUDIT, *options], capture_output=True, text=True, check=False)  # noqa: S603 (our own interpreter)
    try:
        rows: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except ValueError:
        lines = done.stderr.strip().splitlines() or ["pip-audit said nothing"]
        print(f"Not audited: no database of vulnerabilities can be reached ({lines[-1][:_REASON]}).", file=sys.stderr)
        return 0
    unknown = [row["name"] for row in rows if "skip_reason" in row]
    asked = [row for row in rows if "skip_reason" not in row]
    if not asked:
        print(f"Not audited: the database that was asked knows none of {len(unknown)} packages.", file=sys.stderr)
        return 0
    found = [(row, vulnerability) for row in asked for vulnerability in row["vulns"]]
    for row, vulnerability in found:
        mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{row['name']} {row['version']}: {vulnerability['id']}, mended in {mended}")
    print(f"{len(asked)} packages audited, {len(found)} known vulnerabilities.", file=sys.stderr)
    if unknown:
        print(f"The database doesn't know {', '.join(unknown)}.", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(audit(sys.argv[1:]))
