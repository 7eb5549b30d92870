"""How many cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu


def usable(quota: Path = _QUOTA) -> int:
    """The cores that this process may run on, at least 1: those that it is bound to, and no more than its container's
    share. More threads than that would spin for each other's turn."""
    try:
        bound = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        bound = os.cpu_count() or 1
    try:
        allowed, period = quota.read_text(encoding="ascii").split()
        share = math.ceil(int(allowed) / int(period))
    except (OSError, ValueError):  # no container, or "max"
        share = bound
    return max(1, min(bound, share))
