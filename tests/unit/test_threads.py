"""The threads of the worker: given up while they run, kept where they have come back."""

from __future__ import annotations

import threading
from typing import Any

from taskq.runtime.threads import ThreadPool
from tests.unit.soft import turns


class Watched(ThreadPool):
    """Says when a job has ended and its thread has said so, which the loop need not have heard."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.told = threading.Event()

    def _tell(self, *end: Any) -> bool:
        is_over = super()._tell(*end)
        self.told.set()
        return is_over


async def test_a_job_that_has_ended_when_it_is_given_up_costs_no_thread() -> None:
    pool = Watched(1)
    before = set(threading.enumerate())
    future = pool.submit(lambda: 1)
    assert pool.told.wait(30)
    pool.abandon(future)
    await turns()
    assert await pool.submit(lambda: 2) == 2
    assert len(set(threading.enumerate()) - before) == 1
    assert pool.stuck == 0
    pool.close()
