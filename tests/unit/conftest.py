"""An application of each test's own, whose clock is turned by hand."""

from __future__ import annotations

import pytest

from taskq import App
from taskq.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    """The time of the store."""
    return VirtualClock()


@pytest.fixture
def app(clock: VirtualClock) -> App:
    """An application on a memory of its own."""
    return App("memory://", clock=clock)
