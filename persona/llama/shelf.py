"""Conversations that rest, put aside: their tokens, and what llama.cpp's cache held of them.

In the cache they would be read past in each step for somebody else (on a CPU, 4,800 foreign cells halve the speed of a model
of a billion parameters); computed again, a thousand tokens take as long as two hundred that are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_BLOCK = 256


class Resting(NamedTuple):
    """A conversation's tokens, and the bytes of their cells as `llama_state_seq_get_data` gives them."""

    tokens: list[int]
    state: NDArray[np.uint8]


class Shelf:
    """At most `room` tokens of conversations; those that rest longest go first."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._resting: list[Resting] = []

    @property
    def tokens(self) -> int:
        """How many there are."""
        return sum(len(r.tokens) for r in self._resting)

    def put(self, resting: Resting) -> None:
        """Puts a conversation aside, in place of those that it goes on from; one for which there is no room is dropped."""
        if len(resting.tokens) > self.room:
            return
        known = (common_prefix(r.tokens, resting.tokens) == len(r.tokens) for r in self._resting)
        self._resting = [r for r, whole in zip(self._resting, known, strict=True) if not whole]
        self._resting.append(resting)
        while self.tokens > self.room:
            self._resting.pop(0)

    def find(self, prompt: list[int]) -> tuple[Resting | None, int]:
        """What begins most like a prompt, and how many tokens of it; the newest of several."""
        best = max(reversed(self._resting), key=lambda r: common_prefix(r.tokens, prompt), default=None)
        return best, common_prefix(best.tokens, prompt) if best else 0

    def take(self, resting: Resting) -> None:
        """Takes a conversation off the shelf."""
        self._resting = [r for r in self._resting if r is not resting]


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two runs begin with alike."""
    limit = min(len(first), len(second))
    for at in range(0, limit, _BLOCK):  # by blocks: it runs for everyone who waits, in every step
        end = min(at + _BLOCK, limit)
        if first[at:end] != second[at:end]:
            return next(i for i in range(at, end) if first[i] != second[i])
    return limit
