"""What a test sees of its harness: arguments that are yet to come, an end of time, and a harness that is not open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskq import App, ConfigError, TaskContext, Workflow, chord
from taskq.testing import Harness

app = App("redis://nobody.listens.example:1")


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="total")
def total(numbers: list[int], title: str = "") -> int:
    return sum(numbers)


@app.task(name="until", timeout=60)
def until(ctx: TaskContext) -> float:
    return 0.0 if ctx.deadline is None else (ctx.deadline - datetime.now(UTC)).total_seconds()


@app.task(name="for_ever", timeout=None)
def for_ever(ctx: TaskContext) -> bool:
    return ctx.deadline is None


async def test_what_is_yet_to_come_is_shown_as_the_output_of_its_task() -> None:
    flow = Workflow()
    first = flow.add(add.s(1, 2), name="first")
    flow.add(total.s([first.output, 7], title="both"))
    async with Harness(app) as harness:
        await flow.aenqueue()
        assert repr(harness.enqueued(total).one().kwargs) == "{'title': 'both', 'numbers': [Output('first'), 7]}"
        await chord([add.s(1, 1), add.s(2, 2)], total.s()).aenqueue()
        assert repr(harness.enqueued(total)[-1].kwargs["numbers"]).startswith("[Output('")
        assert await harness.run_until_idle() == 5


async def test_one_that_is_not_open_says_so() -> None:
    harness = Harness(app)
    with pytest.raises(ConfigError, match="the harness is not open: async with Harness"):
        harness.enqueued()
    for call in (harness.run_until_idle, harness.advance):
        with pytest.raises(ConfigError, match="the harness is not open: async with Harness"):
            await call()


async def test_what_was_enqueued_is_still_told_afterwards() -> None:
    async with Harness(app) as harness:
        await add.aenqueue(1, 2)
    assert harness.enqueued(add).one().kwargs == {"x": 1, "y": 2}


async def test_one_that_is_opened_again_knows_nothing_of_before() -> None:
    harness = Harness(app)
    async with harness:
        await add.options(on_complete_url="https://example.org", queue="other").aenqueue(1, 2)
        await harness.run_until_idle()
    assert len(harness.webhooks) == 1
    async with harness:
        assert (harness.enqueued(), harness.webhooks) == ([], [])
        await add.options(expires=60).aenqueue(1, 2)
        assert await harness.advance(minutes=2) == 1


async def test_as_many_as_there_are_run_in_one_call() -> None:
    async with Harness(app) as harness:
        await add.aenqueue_many([(1, number) for number in range(10_001)])
        assert await harness.run_until_idle() == 10_001


async def test_a_run_is_told_when_it_ends() -> None:
    async with Harness(app) as harness:
        bounded, free = await until.aenqueue(), await for_ever.aenqueue()
        await harness.run_until_idle()
        assert 0 < await bounded.aresult(0) <= timedelta(minutes=1).total_seconds()
        assert await free.aresult(0)
