"""Random runs: the backend against the model."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from taskq.testing.conformance.kit import FreshBackend, Kit


class RandomRules(Kit):
    """Whatever is done in whatever order, the store and the model agree."""

    examples: ClassVar[int] = 25
    """Random runs; raise it for a run through the night."""
    steps: ClassVar[int] = 30
    """Commands in one of them."""
    shrinks: ClassVar[bool] = False
    """Whether a failing run is made small, which takes minutes; the run that failed is the first of the next try."""

    async def test_random_commands_agree_with_the_model(self, fresh_backend: FreshBackend) -> None:
        # Imported here: hypothesis takes a while, and those who only use the fixtures need not have it.
        from taskq.testing.conformance.machine import run_machine

        # The machine owns an event loop, so it needs a thread without one.
        await asyncio.to_thread(run_machine, self, fresh_backend)
