"""`ctx.transaction()` and its `complete`. A line marked `# error` is one that both type checkers refuse."""

from __future__ import annotations

from typing import assert_type

import psycopg
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from taskq import TaskContext
from taskq.ports.transactions import SettlingBackend
from taskq.transaction import AsyncTransaction, Transaction
from taskq_postgres import PostgresBackend


async def in_the_loop(ctx: TaskContext) -> int:
    async with ctx.transaction(isolation="serializable") as tx:
        assert_type(tx, AsyncTransaction)
        assert_type(await tx.complete(), None)
        tx.complete(3)  # error
        return await tx.complete(3)


def in_a_thread(ctx: TaskContext) -> str:
    with ctx.transaction() as tx:
        assert_type(tx, Transaction)
        assert_type(tx.complete(), None)
        return tx.complete("done")


def returns_another(ctx: TaskContext) -> str:
    with ctx.transaction() as tx:
        return tx.complete(3)  # error


def transactions_of_ones_own(
    ctx: TaskContext,
    connection: psycopg.Connection[tuple[int]],
    aconnection: psycopg.AsyncConnection[tuple[int]],
    session: Session,
    asession: AsyncSession,
) -> None:
    assert_type(ctx.transaction(connection), Transaction)
    assert_type(ctx.transaction(aconnection), AsyncTransaction)
    assert_type(ctx.transaction(session), Transaction)
    assert_type(ctx.transaction(asession), AsyncTransaction)
    ctx.transaction("postgresql://")  # error
    ctx.transaction(isolation="dirty")  # error


def outside_of_a_block(ctx: TaskContext) -> None:
    ctx.transaction().complete(3)  # error


def postgres_settles(backend: PostgresBackend) -> SettlingBackend:
    return backend
