"""What Inspect leaves open is let go within the test that expects it, never in a later one."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _streams_let_go(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.node.get_closest_marker("filterwarnings"):
        gc.collect()
