"""The hooks of the kit: which backend to try, and how its time passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

import pytest
import pytest_asyncio

from taskq.ports import Backend
from taskq.testing.conformance.bench import Bench

FreshBackend = Callable[[], AbstractAsyncContextManager[Backend]]
"""Opens a backend on a namespace of its own, which is empty."""


class Kit:
    """What a subclass gives: `fresh_backend`, and for a clock that is turned by hand `pass_time`."""

    pytestmark = pytest.mark.asyncio

    tick: ClassVar[float] = 0.1
    """Seconds of the store's time in which the kit counts; a store with a coarse clock raises it."""
    deadline: ClassVar[float] = 20.0
    """Seconds after which something that must happen counts as not happening."""

    @pytest.fixture
    def fresh_backend(self) -> FreshBackend:
        """A callable that opens a backend on an empty namespace, each time another."""
        pytest.fail(f"{type(self).__name__} gives no fixture `fresh_backend`, which says how to open a backend")

    @pytest_asyncio.fixture
    async def backend(self, fresh_backend: FreshBackend) -> AsyncIterator[Backend]:
        """An opened backend on an empty namespace."""
        async with fresh_backend() as backend:
            yield backend

    @pytest.fixture
    def bench(self, backend: Backend) -> Bench:
        """The backend with a queue of its own."""
        return Bench(self, backend)

    async def pass_time(self, backend: Backend, seconds: float) -> None:
        """Let the store's time pass: by waiting, unless the store's clock can be turned."""
        await asyncio.sleep(seconds)
