"""The conformance kit on the memory backend, whose clock is turned by hand."""

from __future__ import annotations

import pytest

from taskq.ports import Backend, BackendOptions
from taskq.testing.clock import VirtualClock
from taskq.testing.conformance import CloneWakingRules, FreshBackend, VirtualTimeConformance
from taskq_memory import create_backend


class TestMemoryBackend(VirtualTimeConformance, CloneWakingRules):
    """taskq_memory."""

    clock = VirtualClock()
    examples = 100

    @pytest.fixture
    def fresh_backend(self) -> FreshBackend:
        return lambda: create_backend("memory://", BackendOptions(clock=self.clock))

    async def pass_time(self, backend: Backend, seconds: float) -> None:
        self.clock.advance(seconds)
