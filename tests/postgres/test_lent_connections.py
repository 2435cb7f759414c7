"""`ctx.transaction()`: its connections, its isolation, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from taskq import (
    App,
    CapabilityMissing,
    ConfigError,
    InvalidOption,
    InvalidPayload,
    NoRetry,
    NotApplied,
    SoftTimeout,
    TaskContext,
    WouldBlock,
)
from tests.postgres.effects import Refusals, impatient
from tests.worker.support import Gate, parts, until


@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_a_heartbeat_fails_no_serializable_transaction(app: App, postgres_url: str, kind: str) -> None:
    gate = Gate()

    @app.task(name="async")
    async def in_the_loop(ctx: TaskContext) -> object:
        async with ctx.transaction(isolation="serializable") as tx:
            level = await (await tx.connection.execute("show transaction_isolation")).fetchone()
            ctx.progress(0.5)
            await gate.passed()
            return await tx.complete(level)

    @app.task(name="thread")
    def in_a_thread(ctx: TaskContext) -> object:
        with ctx.transaction(isolation="serializable") as tx:
            level = tx.connection.execute("show transaction_isolation").fetchone()
            ctx.progress(0.5)
            asyncio.run_coroutine_threadsafe(gate.passed(), loop).result()
            return tx.complete(level)

    loop = asyncio.get_running_loop()
    async with impatient(app, lease=30.0, heartbeat=0.1) as worker:
        handle = await app.aenqueue(kind)
        await gate.until_arrived(1)
        registry = (await app.backend()).registry
        [before] = await registry.workers()

        async def has_beaten() -> bool:
            [now] = await registry.workers()
            return now.seen_at > before.seen_at + 0.2

        await until(has_beaten, "heartbeats went by")
        await parts(worker).progress.tick()
        gate.open()
        assert await handle.aresult(30) == ["serializable"]
    assert (await handle.ainfo()).fence == 1


async def test_misuse_is_refused(app: App, postgres_url: str) -> None:
    raised = Refusals()

    async def refused(use: Callable[[], Any]) -> None:
        try:
            await use()
        except Exception as error:
            raised.append(error)

    @app.task
    async def misuses(ctx: TaskContext) -> str:
        async def complete(result: Any) -> None:
            await tx.complete(result)

        async def nest() -> None:
            async with ctx.transaction():
                raise AssertionError

        async def enter_again() -> None:
            async with block:
                raise AssertionError

        async def block_the_loop() -> None:
            with ctx.transaction():
                raise AssertionError

        async def outside() -> None:
            untyped: Any = ctx.transaction()
            untyped.complete(1)

        async def with_a_level(level: Any) -> None:
            ctx.transaction(isolation=level)

        block = ctx.transaction()
        async with block as tx:
            await refused(lambda: complete(object()))
            await refused(lambda: complete("x" * 200))
            await refused(nest)
            await tx.complete("first")
            await refused(lambda: complete("second"))
            await refused(lambda: tx.connection.commit())
        for use in (lambda: complete("late"), enter_again, block_the_loop, outside, lambda: with_a_level("dirty")):
            await refused(use)
        return "ignored"

    async with impatient(app):
        assert await (await misuses.aenqueue()).aresult(30) == "first"
    kinds = [InvalidPayload, NotApplied, NotApplied, NotApplied, psycopg.ProgrammingError]
    kinds += [NotApplied, NotApplied, WouldBlock, NotApplied, InvalidOption]
    assert [type(error) for error in raised] == kinds


async def test_the_wrong_block_for_a_thread_is_refused(app: App) -> None:
    raised = Refusals()

    @app.task
    def enters(ctx: TaskContext) -> str:
        async def main() -> None:
            async with ctx.transaction():
                raise AssertionError

        try:
            asyncio.run(main())
        except ConfigError as error:
            raised.append(error)
        return "refused"

    async with impatient(app):
        assert await (await enters.aenqueue()).aresult(30) == "refused"
    assert "write `with`" in str(raised[0])


async def test_results_that_are_kept_elsewhere(app: App, postgres_url: str) -> None:
    split = App(postgres_url, results="memory://")

    @split.task(retry=NoRetry())
    async def tries(ctx: TaskContext) -> str:
        try:
            ctx.transaction()
        except CapabilityMissing as error:
            return str(error)
        return ""

    async with split, impatient(split):
        assert "keeps them elsewhere" in str(await (await tries.aenqueue()).aresult(30))


async def test_what_a_task_leaves_on_its_connection_is_gone(app: App, postgres_url: str) -> None:
    pids = list[int]()

    @app.task(name="async")
    async def in_the_loop(ctx: TaskContext, changes: bool) -> str:
        async with ctx.transaction() as tx:
            cursor = await tx.connection.execute("select pg_backend_pid(), current_setting('search_path')")
            pid, path = await cursor.fetchone()
            pids.append(pid)
            if changes:
                await tx.connection.execute("set search_path to nowhere")
                tx.connection.row_factory = dict_row
        return str(path)

    @app.task(name="thread")
    def in_a_thread(ctx: TaskContext, changes: bool) -> str:
        with ctx.transaction() as tx:
            pid, path = tx.connection.execute("select pg_backend_pid(), current_setting('search_path')").fetchone()
            pids.append(pid)
            if changes:
                tx.connection.execute("set search_path to nowhere")
                tx.connection.row_factory = dict_row
        return str(path)

    async with impatient(app):
        for kind in ("async", "thread"):
            first = await (await app.aenqueue(kind, {"changes": True})).aresult(30)
            assert await (await app.aenqueue(kind, {"changes": False})).aresult(30) == first
    assert len(set(pids)) == 2


async def test_connections_are_bounded(app: App, postgres_url: str) -> None:
    gate = Gate()

    @app.task
    async def holds(ctx: TaskContext) -> None:
        async with ctx.transaction() as tx:
            await gate.passed()
            await tx.complete()

    async with impatient(app, transactions=2) as worker:
        handles = await holds.aenqueue_many([()] * 6)
        await gate.until_arrived(2)
        await until(lambda: len(parts(worker).executor.runs) == 6, "all are running")
        assert gate.arrived == 2
        gate.open()
        for handle in handles:
            await handle.await_(30)
        assert gate.arrived == 6


async def test_a_soft_timeout_breaks_off_a_long_query_and_is_heard_as_itself(app: App, postgres_url: str) -> None:
    @app.task(soft_timeout=0.2, timeout=60, retry=NoRetry())
    async def patient(ctx: TaskContext) -> str:
        try:
            async with ctx.transaction() as tx:
                await tx.connection.execute("select pg_sleep(600)")
        except SoftTimeout:
            return "broken off"
        return "slept"

    async with impatient(app):
        assert await (await patient.aenqueue()).aresult(30) == "broken off"
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute(
            "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active'"
        ).fetchone() == (0,)
