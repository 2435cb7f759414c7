"""Jobs that nobody runs are run by a beat."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from taskq import App
from taskq.errors import TaskqError
from taskq.management import Management
from taskq.management.job_runner import GRACE, JobRunner
from taskq.management.jobs import JobDesk, JobState
from tests.management.test_jobs import edit, put


def later() -> datetime:
    """A time at which no job is new."""
    return datetime.now(UTC) + 2 * GRACE


async def test_a_job_that_nobody_runs_is_run(app: App, management: Management) -> None:
    await put(app, 3)
    job = await management.jobs.start("cancel", "", confirmed=3)
    await JobRunner(app, "beat").tick()
    assert (await management.jobs.get(job.id)).done == 0, "who has made it is about to run it"
    await JobRunner(app, "beat", later).tick()
    assert (await management.jobs.get(job.id)).state is JobState.DONE


async def test_a_job_whose_runner_lives_is_left_alone(app: App, management: Management) -> None:
    await put(app, 3)
    job = await management.jobs.start("cancel", "", confirmed=3)
    await edit(app, job.id, runner="other", seen_at=datetime.now(UTC))
    await JobRunner(app, "beat", later).tick()
    assert (await management.jobs.get(job.id)).done == 0
    await edit(app, job.id, seen_at=datetime.now(UTC) - timedelta(minutes=5))
    await JobRunner(app, "beat", later).tick()
    assert (await management.jobs.get(job.id)).state is JobState.DONE


async def test_one_that_fails_holds_up_no_other(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await put(app, 2)
    jobs = [await management.jobs.start("cancel", "", confirmed=2) for _ in range(2)]
    first, run = (await JobDesk(app, management.actor).waiting())[0], JobDesk.run

    async def fails(desk: JobDesk, id: str) -> object:
        if id == first:
            raise TaskqError("away")
        return await run(desk, id)

    monkeypatch.setattr(JobDesk, "run", fails)
    with caplog.at_level(logging.INFO, "taskq.jobs"):
        await JobRunner(app, "beat", later).tick()
    states = {job.id: (await management.jobs.get(job.id)).state for job in jobs}
    assert sorted(states.values()) == [JobState.DONE, JobState.RUNNING]
    assert states[first] is JobState.RUNNING
    assert f"job {first} is left for another try: away" in caplog.text
