"""A job that rests between two steps stays its runner's, and ends when it is told to."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from taskq import App
from taskq.errors import NotApplied
from taskq.management import Management
from taskq.management.jobs import SILENCE, JobState
from tests.management.test_jobs import edit, put

Meanwhile = Callable[[], Awaitable[None]]


class Rest:
    """Stands in the place of sleep: time passes at once, and something may happen meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        self.meanwhile: Meanwhile | None = None
        self._real = time.monotonic
        monkeypatch.setattr("taskq.management.jobs.rest", self.sleep)
        monkeypatch.setattr("taskq.management.jobs.time", self)

    def monotonic(self) -> float:
        """What it would be."""
        return self._real() + sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        if self.meanwhile is not None:
            await self.meanwhile()


async def test_who_rests_long_says_that_it_is_there(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = Rest(monkeypatch)
    await put(app, 3)
    job = await management.jobs.start("cancel", "", confirmed=3, rate=0.01)

    async def look() -> None:
        assert await management.jobs.waiting() == []
        # As if this piece of the rest, and the one before it, had taken their time.
        await edit(app, job.id, seen_at=datetime.now(UTC) - SILENCE / 2)

    rests.meanwhile = look
    assert (await management.jobs.run(job.id)).answers == {"cancelled": 3}
    assert 190 <= sum(rests.slept) <= 200
    assert max(rests.slept) <= SILENCE.total_seconds() / 2


async def test_who_rests_is_told_to_end(app: App, management: Management, monkeypatch: pytest.MonkeyPatch) -> None:
    rests = Rest(monkeypatch)
    await put(app, 3)
    job = await management.jobs.start("cancel", "", confirmed=3, rate=0.01)

    async def cancel() -> None:
        await management.jobs.cancel(job.id)

    rests.meanwhile = cancel
    done = await management.jobs.run(job.id)
    assert (done.state, done.done) == (JobState.CANCELLED, 1)
    assert sum(rests.slept) <= SILENCE.total_seconds()


async def test_who_was_overtaken_while_it_rests_stops(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests = Rest(monkeypatch)
    await put(app, 3)
    job = await management.jobs.start("cancel", "", confirmed=3, rate=0.01)

    async def overtake() -> None:
        await edit(app, job.id, runner="other")

    rests.meanwhile = overtake
    with pytest.raises(NotApplied, match=f"somebody else has gone on with the job {job.id}"):
        await management.jobs.run(job.id)
    assert (await management.jobs.get(job.id)).done == 1
