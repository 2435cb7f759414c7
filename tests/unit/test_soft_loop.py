"""SoftTimeout at the await of a coroutine, wherever that is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq import SoftTimeout
from taskq.runtime.soft_loop import SoftTimed
from tests.unit.soft import NEVER, Soft, forever, nested, turns


async def test_it_is_raised_at_the_await_and_can_be_caught_there() -> None:
    async def inner() -> str:
        try:
            await nested(5)
        except SoftTimeout as error:
            return str(error)
        return "never"

    async def outer() -> str:
        return await inner()

    soft = Soft(outer())
    await turns()
    soft.interrupt()
    assert await soft.task == "the soft timeout of the task is over"
    assert soft.task.cancelling() == 0


async def test_code_that_takes_every_os_error_for_a_broken_line_lets_it_through() -> None:
    async def client() -> str:
        try:
            await forever()
        except OSError:
            return "the line is broken"
        return "never"

    soft = Soft(client())
    await turns()
    soft.interrupt()
    with pytest.raises(SoftTimeout):
        await soft.task


async def test_one_that_is_not_caught_leaves_as_itself_and_not_as_a_cancellation() -> None:
    soft = Soft(nested(2))
    await turns()
    soft.interrupt()
    with pytest.raises(SoftTimeout) as caught:
        await soft.task
    assert caught.type is SoftTimeout
    assert not isinstance(caught.value, asyncio.CancelledError)
    assert "forever" in [entry.name for entry in caught.traceback]


async def test_what_follows_is_not_disturbed() -> None:
    async def code() -> list[str]:
        did = []
        try:
            try:
                await forever()
            finally:
                await turns()
                did.append("tidied up")
        except SoftTimeout:
            await turns()
            did.append("stored")
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0):
                await forever()
        assert not isinstance(caught.value, SoftTimeout)
        return did

    soft = Soft(code())
    await turns()
    soft.interrupt()
    assert await soft.task == ["tidied up", "stored"]


async def test_the_time_itself_ends_it() -> None:
    with pytest.raises(SoftTimeout):
        await SoftTimed(forever(), 0.001)


async def test_one_that_ends_before_hears_nothing() -> None:
    async def quick() -> int:
        await turns()
        return 3

    soft = Soft(quick())
    assert await soft.task == 3
    soft.interrupt()
    await turns()
    with pytest.raises(ValueError, match="its own"):
        await SoftTimed(_fails(), NEVER)


async def _fails() -> None:
    raise ValueError("its own")


async def test_a_loop_that_only_lets_others_run_is_ended_too() -> None:
    async def busy() -> None:
        while True:  # noqa: ASYNC110 - it is to wait for nothing
            await asyncio.sleep(0)

    soft = Soft(busy())
    await turns()
    soft.interrupt()
    with pytest.raises(SoftTimeout):
        await soft.task


async def test_one_that_is_closed_closes_its_coroutine() -> None:
    closed = []

    async def code() -> None:
        try:
            await forever()
        finally:
            closed.append(True)

    async def begun() -> Any:
        return await SoftTimed(code(), NEVER)

    coroutine = begun()
    coroutine.send(None)
    coroutine.close()
    assert closed == [True]
