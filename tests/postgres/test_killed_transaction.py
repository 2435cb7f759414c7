"""A worker that is killed at each step of a task's transaction: the effect and the completion are there, or neither is.

Once somebody else has finished the task there is one effect.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from taskq import TaskState
from tests.postgres.effects import effects, impatient, make_effects
from tests.postgres.killed import STEPS, application

ROOT = Path(__file__).parents[2]
IN_THREADS = ("noted", "before the commit", "after the commit")


@pytest.mark.parametrize(
    ("kind", "step"), [*(("async", step) for step in STEPS), *(("thread", step) for step in IN_THREADS)]
)
async def test_an_effect_is_there_once(postgres_url: str, kind: str, step: str) -> None:
    make_effects(postgres_url)
    app = application(postgres_url, lambda name: None)
    async with app:
        handle = await app.aenqueue(kind)
        command = [sys.executable, "-m", "tests.postgres.killed", postgres_url, step]
        killed = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
        assert await asyncio.wait_for(killed.wait(), 60) == -signal.SIGKILL
        is_done = step == "after the commit"
        assert (effects(postgres_url), await handle.astatus()) == (
            (["once"], TaskState.COMPLETED) if is_done else ([], TaskState.RUNNING)
        )
        async with impatient(app):
            assert await handle.aresult(60) == "both"
        assert effects(postgres_url) == ["once"]
        record = await handle.ainfo()
    assert (record.fence, record.lost_leases) == ((1, 0) if is_done else (2, 1))
