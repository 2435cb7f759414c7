"""A store is looked at before the first task goes there: what is acknowledged must not be lost."""

from __future__ import annotations

from typing import Any

import pytest

from taskq import App
from taskq.errors import UnsafeStore
from taskq.ports import Capability


class Checks:
    """How often a store was looked at, and what it says."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None


@pytest.fixture
def app() -> App:
    return App("memory://")


@pytest.fixture
def checks(app: App, monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Make the store one that other processes share."""
    checks = Checks()
    backend: Any = type(app.stores.root)

    async def check(self: Any) -> list[str]:
        checks.count += 1
        if checks.error is not None:
            raise checks.error
        return []

    monkeypatch.setattr(backend, "check", check)
    monkeypatch.setattr(backend, "capabilities", backend.capabilities | {Capability.SHARED})
    return checks


async def test_one_that_would_lose_tasks_is_given_none(app: App, checks: Checks) -> None:
    @app.task
    async def quick() -> None: ...

    checks.error = UnsafeStore("it evicts")
    for _ in range(2):
        with pytest.raises(UnsafeStore, match="it evicts"):
            await quick.aenqueue()
    assert await (await app.backend()).inspector.counts() == {}
    checks.error = None
    await quick.aenqueue()
    assert checks.count == 3
    await app.aclose()


async def test_one_that_is_fit_is_looked_at_once(app: App, checks: Checks) -> None:
    @app.task
    async def quick() -> None: ...

    for _ in range(3):
        await quick.aenqueue_many([()] * 10)
    assert checks.count == 1
    await app.aclose()
