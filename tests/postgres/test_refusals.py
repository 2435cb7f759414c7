"""What the server refuses: nothing has happened then, unless an answer was lost before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from taskq.domain.message import Message
from taskq.errors import NotApplied, OutcomeUnknown, TaskqError
from taskq.ports import BackendOptions
from taskq.testing.conformance import Bench
from taskq_postgres import PostgresBackend, create_backend
from taskq_postgres.errors import LostConnection, map_errors


@pytest.mark.parametrize(
    "error",
    [errors.QueryCanceled, errors.DiskFull, errors.OutOfMemory, errors.InsufficientPrivilege, errors.NotNullViolation],
)
async def test_what_was_rolled_back_is_not_applied(error: type[psycopg.Error]) -> None:
    with pytest.raises(NotApplied, match="because"), map_errors():
        raise error("because")


async def test_a_commit_whose_end_the_server_does_not_know_is_said_again() -> None:
    with pytest.raises(LostConnection) as caught, map_errors():
        raise errors.StatementCompletionUnknown("nobody knows")
    assert caught.value.is_applied


async def test_what_the_driver_cannot_explain_is_neither() -> None:
    with pytest.raises(TaskqError) as caught, map_errors():
        raise psycopg.ProgrammingError("odd")
    assert not isinstance(caught.value, NotApplied)


async def test_a_statement_that_the_server_cancels_has_changed_nothing(postgres_url: str) -> None:
    async with create_backend(f"{postgres_url}?options=-c%20statement_timeout%3D20", BackendOptions()) as backend:
        with psycopg.connect(postgres_url) as holder:
            holder.execute("lock table taskq.queue in access exclusive mode")
            with pytest.raises(NotApplied, match="statement timeout"):
                await backend.queues.pause("queue")


async def test_a_refusal_after_a_lost_answer_leaves_the_outcome_open(backend: PostgresBackend) -> None:
    outcomes: Iterator[Exception] = iter(
        [LostConnection("cut", is_applied=True), NotApplied("no space left on device")]
    )

    async def attempt() -> None:
        raise next(outcomes)

    with pytest.raises(OutcomeUnknown, match="no space left"):
        await backend._store.repeat(attempt)


UNSTORABLE: list[dict[str, Any]] = [
    {"tenant": "a\0b"},
    {"name": "a\0b"},
    {"group": "a\0b"},
    {"tenant": "\ud800"},
    {"id": "nonsense"},
    {"id": "01A202C1-7890-7904-8239-AEED5275F700"},
]


@pytest.mark.parametrize("fields", UNSTORABLE)
async def test_a_message_that_cannot_be_stored_keeps_the_whole_batch_out(
    bench: Bench, backend: PostgresBackend, postgres_url: str, fields: dict[str, Any]
) -> None:
    batch: list[Message] = [bench.message() for _ in range(1000)] + [bench.message(**fields)]
    with pytest.raises(NotApplied):
        await backend.broker.enqueue(batch)
    with psycopg.connect(postgres_url) as connection:
        with pytest.raises(NotApplied):
            backend.enqueue_in(connection, batch[-2:])
        connection.execute("select 1")
    assert await bench.counts() == {}
