"""SoftTimeout beside the other means of asyncio, whatever happens in the same turn of the loop."""

from __future__ import annotations

import asyncio

import pytest

from taskq import SoftTimeout
from tests.unit.soft import NEVER, Soft, forever, turns


async def test_it_goes_through_a_timeout_block_that_is_not_over() -> None:
    async def code() -> bool:
        block = asyncio.timeout(NEVER)
        with pytest.raises(SoftTimeout):
            async with block:
                await forever()
        return block.expired()

    soft = Soft(code())
    await turns()
    soft.interrupt()
    assert await soft.task is False


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_timeout_block_that_is_over_in_the_same_turn_is_heard_first(is_first: bool) -> None:
    seen: list[str] = []
    blocks: list[asyncio.Timeout] = []

    async def code() -> None:
        try:
            async with asyncio.timeout(NEVER) as block:
                blocks.append(block)
                await forever()
        except TimeoutError as error:
            seen.append(type(error).__name__)
        try:
            await forever()
        except SoftTimeout:
            seen.append("SoftTimeout")

    soft = Soft(code())
    await turns()
    # What `asyncio.Timeout` does when its time has come; its own timer would take another turn.
    steps = [soft.interrupt, blocks[0]._on_timeout]  # type: ignore[attr-defined]
    for step in steps if is_first else reversed(steps):
        step()
    await soft.task
    assert seen == ["TimeoutError", "SoftTimeout"]
    assert soft.task.cancelling() == 0


async def test_what_a_timeout_block_has_cancelled_tidies_up_in_peace() -> None:
    seen: list[str] = []
    blocks: list[asyncio.Timeout] = []
    is_tidy = asyncio.Event()

    async def child() -> None:
        try:
            await forever()
        finally:
            seen.append("tidies up")
            await is_tidy.wait()
            seen.append("is tidy")

    async def code() -> None:
        try:
            async with asyncio.timeout(NEVER) as block:
                blocks.append(block)
                await asyncio.create_task(child())
        except TimeoutError as error:
            seen.append(type(error).__name__)
        try:
            await forever()
        except SoftTimeout:
            seen.append("SoftTimeout")

    soft = Soft(code())
    await turns()
    blocks[0]._on_timeout()  # type: ignore[attr-defined]
    await turns()
    soft.interrupt()
    await turns()
    is_tidy.set()
    await soft.task
    assert seen == ["tidies up", "is tidy", "TimeoutError", "SoftTimeout"]


async def test_a_task_group_that_is_waited_for_ends_its_tasks_first() -> None:
    ended = []

    async def child() -> None:
        try:
            await forever()
        except asyncio.CancelledError as error:
            await turns()
            ended.append(type(error))
            raise

    async def code() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(child())

    soft = Soft(code())
    await turns()
    soft.interrupt()
    with pytest.raises(SoftTimeout) as caught:
        await soft.task
    assert caught.type is SoftTimeout
    assert ended == [asyncio.CancelledError] * 2


@pytest.mark.parametrize("is_caught", [True, False])
async def test_in_the_body_of_a_task_group(is_caught: bool) -> None:
    ended = []

    async def child() -> None:
        try:
            await forever()
        finally:
            ended.append(True)

    async def code() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await forever()
        except* SoftTimeout:
            if not is_caught:
                raise
        return "half of it"

    soft = Soft(code())
    await turns()
    soft.interrupt()
    if is_caught:
        assert await soft.task == "half of it"
    else:
        with pytest.raises(SoftTimeout):
            await soft.task
    assert ended == [True]


async def test_other_errors_of_a_group_are_not_hidden() -> None:
    async def child() -> None:
        try:
            await forever()
        finally:
            raise ValueError("on its way out")

    async def code() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await forever()

    soft = Soft(code())
    await turns()
    soft.interrupt()
    with pytest.raises(BaseExceptionGroup) as caught:
        await soft.task
    assert caught.value.subgroup(ValueError) is not None


async def test_a_task_that_is_awaited_is_cancelled_and_waited_for() -> None:
    seen = []

    async def other() -> None:
        try:
            await forever()
        finally:
            await turns()
            seen.append("other has ended")

    async def code() -> None:
        try:
            await asyncio.create_task(other())
        except SoftTimeout:
            seen.append("caught")

    soft = Soft(code())
    await turns()
    soft.interrupt()
    await soft.task
    assert seen == ["other has ended", "caught"]


async def test_a_task_that_will_not_be_cancelled_only_puts_it_off() -> None:
    async def stubborn() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            return "its result"
        return "never"

    async def code() -> list[str]:
        seen = [await asyncio.create_task(stubborn())]
        try:
            await forever()
        except SoftTimeout:
            seen.append("SoftTimeout")
        return seen

    soft = Soft(code())
    await turns()
    soft.interrupt()
    assert await soft.task == ["its result", "SoftTimeout"]


async def test_what_is_shielded_goes_on_and_what_is_not_ends() -> None:
    shielded = asyncio.create_task(forever())
    waited_for = asyncio.create_task(forever())

    async def code() -> None:
        with pytest.raises(SoftTimeout):
            await asyncio.shield(shielded)

    async def waits() -> None:
        with pytest.raises(SoftTimeout):
            await asyncio.wait_for(waited_for, NEVER)

    for soft in (Soft(code()), Soft(waits())):
        await turns()
        soft.interrupt()
        await soft.task
    assert not shielded.done()
    assert waited_for.cancelled()
    shielded.cancel()


async def test_a_lock_that_is_released_in_the_same_turn_goes_to_the_next_who_waits() -> None:
    lock = asyncio.Lock()
    await lock.acquire()

    async def code() -> None:
        async with lock:
            await forever()

    async def next_one() -> str:
        async with lock:
            return "has the lock"

    soft = Soft(code())
    await turns()
    other = asyncio.create_task(next_one())
    await turns()
    soft.interrupt()
    lock.release()
    with pytest.raises(SoftTimeout):
        await soft.task
    assert await other == "has the lock"


async def test_what_was_handed_over_already_is_not_lost() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    seen = []

    async def code() -> None:
        try:
            seen.append(await queue.get())
            seen.append(await queue.get())
        except SoftTimeout:
            seen.append("SoftTimeout")

    soft = Soft(code())
    await turns()
    queue.put_nowait("item")
    soft.interrupt()
    await soft.task
    assert seen == ["item", "SoftTimeout"]


@pytest.mark.parametrize("is_first", [True, False])
async def test_who_is_cancelled_for_good_is_left_alone_afterwards(is_first: bool) -> None:
    seen: list[object] = []
    is_told = False

    async def code() -> None:
        try:
            await forever()
        except asyncio.CancelledError as error:
            seen.append(type(error))
            await turns()
            await asyncio.shield(asyncio.create_task(turns()))
            seen.append("tidied up")
            raise

    def cancel() -> None:
        nonlocal is_told
        is_told = True
        soft.task.cancel()

    soft = Soft(code(), lambda: not is_told)
    await turns()
    for step in (cancel, soft.interrupt) if is_first else (soft.interrupt, cancel):
        step()
    with pytest.raises(asyncio.CancelledError):
        await soft.task
    assert seen == [asyncio.CancelledError, "tidied up"]
