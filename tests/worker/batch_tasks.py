"""Tasks of batches for child processes, which find them by importing this module."""

from __future__ import annotations

from taskq import App, TaskContext

app = App("memory://")


@app.task(name="leaf", executor="process")
def leaf(number: int) -> None: ...


@app.task(name="branches", executor="process")
def branches(ctx: TaskContext, number: int) -> None:
    """Add tasks to the batch of this one, from a child process."""
    app.find_batch(ctx.flow).enqueue_many(leaf, [(each,) for each in range(number)])
