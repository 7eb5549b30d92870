"""Reads a JSON object while it is being written: each finished element of an array, as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, cast

_LIMIT = 40_000  # characters of an object that never ends


class PartialObject:
    """Fed with pieces of one JSON object's text. `broken` says that it can't become one any more."""

    def __init__(self, array: str) -> None:
        """`array` is the key of the array whose elements are wanted early."""
        self._array = array
        self._text = ""
        self._given = 0
        self._decoder = json.JSONDecoder()
        self.broken = False
        self.head: dict[str, Any] = {}  # the members before the array, as they are completed

    def feed(self, text: str) -> Iterator[Any]:
        """The array's elements that this piece completes."""
        self._text += text
        if len(self._text) > _LIMIT:
            self.broken = True
        if self.broken:
            return
        elements = list(self._elements())
        yield from elements[self._given :]
        self._given = max(self._given, len(elements))

    def value(self) -> dict[str, Any] | None:
        """The whole object, once it is there; None if it is not, or is no object."""
        try:
            found: object = json.loads(self._text)
        except (ValueError, RecursionError):
            return None
        return cast("dict[str, Any]", found) if isinstance(found, dict) else None

    def _elements(self) -> Iterator[Any]:
        at = self._start()
        while at is not None:
            at = self._skip(at, " \t\r\n,")
            if at >= len(self._text) or self._text[at] == "]":
                return
            try:
                element, at = self._decoder.raw_decode(self._text, at)
            except (ValueError, RecursionError):  # not whole yet; if it never will be, `value` says so
                return
            yield element

    def _start(self) -> int | None:
        """Where the array's elements begin: behind the key at the top level of the object."""
        at = self._skip(0, " \t\r\n")
        if at >= len(self._text) or self._text[at] != "{":
            return None
        at += 1
        while True:
            at = self._skip(at, " \t\r\n,")
            try:
                key, at = self._decoder.raw_decode(self._text, at)
                at = self._skip(at, " \t\r\n")
                if at >= len(self._text) or self._text[at] != ":":
                    return None
                at = self._skip(at + 1, " \t\r\n")
                if key == self._array:
                    return at + 1 if at < len(self._text) and self._text[at] == "[" else None
                self.head[str(key)], at = self._decoder.raw_decode(self._text, at)
            except (ValueError, RecursionError):
                return None

    def _skip(self, at: int, letters: str) -> int:
        while at < len(self._text) and self._text[at] in letters:
            at += 1
        return at
