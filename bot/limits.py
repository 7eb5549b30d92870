"""How often a user, a channel and all together may ask."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from limits import RateLimitItem, parse
from limits.storage import MovingWindowSupport, Storage
from limits.strategies import MovingWindowRateLimiter

Clock = Callable[[], float]


class Limits:
    """Moving windows in memory. Each limit is written as the `limits` library has it: "12/minute"."""

    def __init__(
        self,
        per_user: str = "12/minute",
        per_channel: str = "40/minute",
        overall: str = "600/minute",
        clock: Clock = time.monotonic,
    ) -> None:
        """`clock` gives seconds; ValueError if a limit can't be read."""
        self._clock = clock
        self._memory = _Memory(clock)
        self._windows = MovingWindowRateLimiter(self._memory)
        self._user, self._channel, self._overall = (parse(text) for text in (per_user, per_channel, overall))

    def hit(self, user: str, channel: str) -> float:
        """Counts one question and gives 0; where a limit stands against it, the seconds to wait, and nothing is counted.

        It never waits itself, so that nothing comes between the look and the count.
        """
        counted: list[tuple[RateLimitItem, str]] = [
            (self._user, f"user {user}"),
            (self._channel, f"channel {channel}"),
            (self._overall, "all"),
        ]
        wait = max((self._wait(item, name) for item, name in counted), default=0.0)
        if wait <= 0:
            for item, name in counted:
                self._windows.hit(item, name)
        return max(wait, 0.0)

    @property
    def remembered(self) -> int:
        """How many users, channels and so on are being counted."""
        return len(self._memory)

    def _wait(self, item: RateLimitItem, name: str) -> float:
        if self._windows.test(item, name):
            return 0.0
        return max(self._windows.get_window_stats(item, name).reset_time - self._clock(), 0.01)


class _Hits(NamedTuple):
    times: deque[float]  # oldest first
    expiry: float


class _Memory(Storage, MovingWindowSupport):
    """The library's own memory storages read the wall clock, and start a thread or a task for each hit."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._hits: dict[str, _Hits] = {}  # in the order of the last hit

    def __len__(self) -> int:
        return len(self._hits)

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        _, count = self.get_moving_window(key, limit, expiry)
        if count + amount > limit:
            return False
        hits = self._hits.pop(key, None) or _Hits(deque(), expiry)
        hits.times.extend([self._clock()] * amount)
        self._hits[key] = hits
        self._tidy()
        return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = self._clock()
        times = self._hits[key].times if key in self._hits else deque[float]()
        while times and times[0] <= now - expiry:
            times.popleft()
        return (times[0] if times else now), len(times)

    def _tidy(self) -> None:
        """Lets those go who have long been silent; the first key was hit longest ago."""
        now = self._clock()
        while self._hits:
            key, hits = next(iter(self._hits.items()))
            if hits.times and hits.times[-1] > now - hits.expiry:
                return
            del self._hits[key]

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        raise NotImplementedError("moving windows alone")

    def get(self, key: str) -> int:
        return len(self._hits[key].times) if key in self._hits else 0

    def get_expiry(self, key: str) -> float:
        return self._clock()

    def check(self) -> bool:
        return True

    def reset(self) -> int:
        count = len(self._hits)
        self._hits.clear()
        return count

    def clear(self, key: str) -> None:
        self._hits.pop(key, None)
