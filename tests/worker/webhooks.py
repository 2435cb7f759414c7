"""What the tests of webhooks share: a task to be told of, and when a call is repeated."""

from __future__ import annotations

from typing import Any

from taskq import App, NoRetry, Task
from taskq.domain.record import TaskRecord


def add_task(app: App, **options: Any) -> Task[..., Any]:
    """A task that fails where there is nothing to add."""

    async def add(x: int, y: int) -> int:
        if x == y == 0:
            raise ValueError("nothing to add")
        return x + y

    made: Task[..., Any] = app.task(name="add", retry=NoRetry(), **options)(add)
    return made


def seconds_put_off(record: TaskRecord) -> float:
    """Seconds from the last attempt to the next."""
    assert record.due_at is not None
    return (record.due_at - record.attempts[-1].ended_at).total_seconds()
