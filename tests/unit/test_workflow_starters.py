"""What a user may get wrong in a task that starts a workflow, and what is known of it before any runs."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from taskq import App, ConfigError, InvalidOption, InvalidPayload, TaskContext, Workflow, WouldBlock, chain
from tests.unit.flows import Tasks, tasks_of
from tests.unit.support import count


@pytest.fixture
def tasks(app: App) -> Tasks:
    """Tasks to build workflows of."""
    return tasks_of(app)


class Maker:
    """What is called like a function, and is none."""

    def __call__(self, x: int) -> Workflow:
        raise AssertionError


@pytest.mark.parametrize("wrong", [5, "nightly", Workflow("x"), Maker(), Maker, functools.partial(max, 1)])
@pytest.mark.parametrize("options", [None, {}, {"name": "x"}])
def test_what_is_no_function(app: App, wrong: Any, options: Any) -> None:
    with pytest.raises(ConfigError, match=r"is no function that gives a workflow; options are given by name, @app"):
        app.workflow(wrong) if options is None else app.workflow(**options)(wrong)


def test_a_name_that_is_taken(app: App, tasks: Tasks) -> None:
    with pytest.raises(ConfigError, match="two functions want the task name 'add'"):

        @app.workflow(name="add")
        def add(x: int) -> Workflow:
            raise NotImplementedError


def test_no_such_option(app: App) -> None:
    wrong: Any = {"dealy": 5}
    made: Any = app.workflow(name="x", **wrong)
    with pytest.raises((InvalidOption, TypeError), match="dealy"):
        made(lambda: None)


async def test_its_arguments_are_checked(app: App, tasks: Tasks) -> None:
    @app.workflow(name="sums")
    def sums(ctx: TaskContext, first: int, *, second: int = 1) -> Workflow:
        """Add some numbers."""
        return chain(tasks.add.s(first, second), tasks.add.s(3))

    wrong: Any = sums
    for given in ({"first": "x"}, {}, {"first": 1, "third": 2}, {"first": 1, "ctx": 1}):
        with pytest.raises(InvalidPayload):
            await wrong.aenqueue(**given)
    assert await count(app) == 0
    assert (sums.name, sums.__doc__, sums.function.__name__) == ("sums", "Add some numbers.", "sums")


def test_a_default_name(app: App) -> None:
    @app.workflow
    def nightly() -> Workflow:
        raise NotImplementedError

    @app.workflow()
    async def also() -> Workflow:
        raise NotImplementedError

    assert nightly.name.endswith("nightly")
    assert also.name.endswith("also")


async def test_a_blocking_function_that_is_called_in_a_loop(app: App, tasks: Tasks) -> None:
    @app.workflow(name="sums")
    def sums() -> Workflow:
        return chain(tasks.add.s(1, 2))

    with pytest.raises(WouldBlock, match=r"await asyncio\.to_thread\(sums, …\)"):
        sums()
    assert await count(app) == 0


@pytest.mark.parametrize("key", ["", 5, "a\n", "x" * 256])
async def test_no_key(app: App, tasks: Tasks, key: Any) -> None:
    flow = chain(tasks.add.s(1, 2))
    with pytest.raises(InvalidOption, match="idempotency_key must have 1 to 255 printable characters, not "):
        await flow.aenqueue(idempotency_key=key)
    assert await count(app) == 0
    assert (await (await app.backend()).flows.list()).records == []


async def test_mistakes_under_a_key_leave_it_free(app: App, tasks: Tasks) -> None:
    wrong = chain(tasks.add.s(1, 2), tasks.total.si("x"))
    with pytest.raises(InvalidPayload):
        await wrong.aenqueue(idempotency_key="k")
    with pytest.raises(ConfigError):
        await Workflow("chain").aenqueue(idempotency_key="k")
    run = await chain(tasks.add.s(1, 2)).aenqueue(idempotency_key="k")
    assert (await run.aprogress()).total == 1
