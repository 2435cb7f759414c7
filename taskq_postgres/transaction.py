"""Enqueue and complete inside the caller's own transaction: a statement with one parameter of text, for any driver.

Drivers are told apart by the name of their module, so that none is imported that is not there.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from psycopg.rows import tuple_row

from taskq.domain.message import Delivery, Message
from taskq.errors import ConfigError, LeaseLost, SchemaMismatch
from taskq.ports import Enqueued
from taskq_postgres.errors import MIGRATE
from taskq_postgres.intake import enqueued, misled, put_in, refuse_unstorable, special_of
from taskq_postgres.record import plain
from taskq_postgres.statements import with_schema

_MISSING = {"3F000", "42883", "42P01"}
"""Of SQLSTATE: no such schema, function, table."""
_PLAIN = (
    "id", "name", "queue", "group", "delay", "eta", "expires", "max_lost_leases", "dead_letter", "retention", "tenant",
    "digest",
)  # fmt: skip
ENQUEUE = "select {schema}.enqueue_json_v1(%s, false)"
ENQUEUE_ALL = "select {schema}.enqueue_json_v1(%s, true)"
"""All or none."""
COMPLETE = "select {schema}.complete_json_v1(%s)"
_REFUSALS = {
    1: "it was settled before",
    2: "its lease was lost, and the task is another run's",
    3: "there is no such task: it has ended and is forgotten, or the connection is one to another database",
}


def enqueue(schema: str, connection: Any, messages: Sequence[Message], *, atomic: bool = False) -> list[Enqueued]:
    """Enqueue on a synchronous connection.

    Raises:
        ConfigError: it is no connection that we know, or not within a transaction.
    """
    if not messages:
        return []
    if is_async(connection):
        raise ConfigError("this connection is asynchronous: enqueue with the a-twin, such as `await add.aenqueue(…)`")
    statement = with_schema(ENQUEUE_ALL if atomic else ENQUEUE, schema)
    answers = enqueued(messages, _value(statement, connection, to_json(messages)))
    while again := misled(messages, answers):
        repeated = [messages[place] for place in again]
        put_in(answers, again, enqueued(repeated, _value(statement, connection, to_json(repeated))))
    return answers


async def aenqueue(
    schema: str, connection: Any, messages: Sequence[Message], *, atomic: bool = False
) -> list[Enqueued]:
    """Enqueue on an asynchronous connection; on a synchronous one it blocks for as long as the statement takes.

    Raises:
        ConfigError: it is no connection that we know, or not within a transaction.
    """
    if not messages:
        return []
    if not is_async(connection):
        return enqueue(schema, connection, messages, atomic=atomic)
    statement = with_schema(ENQUEUE_ALL if atomic else ENQUEUE, schema)
    answers = enqueued(messages, await _avalue(statement, connection, to_json(messages)))
    while again := misled(messages, answers):
        repeated = [messages[place] for place in again]
        put_in(answers, again, enqueued(repeated, await _avalue(statement, connection, to_json(repeated))))
    return answers


class Completion(NamedTuple):
    """A run that is to be completed in a transaction."""

    schema: str
    delivery: Delivery
    result: bytes
    tells: bool
    """Whether somebody in another process waits for its end."""
    patience: float
    """Seconds that may pass without a word from the client once the task is locked."""


def complete(connection: Any, completion: Completion) -> None:
    """Complete a run on a synchronous connection.

    Raises:
        LeaseLost: the run is not the newest of its task, or was settled before; the transaction is to be rolled back.
        ConfigError: it is no connection that we know, or not within a transaction.
    """
    if is_async(connection):
        raise ConfigError("this connection is asynchronous: write `await tx.complete(…)` in an async task")
    _check(completion, _value(with_schema(COMPLETE, completion.schema), connection, _run_json(completion)))


async def acomplete(connection: Any, completion: Completion) -> None:
    """Complete a run on an asynchronous connection; on a synchronous one it blocks for as long as the statement takes.

    Raises:
        LeaseLost, ConfigError: see `complete`.
    """
    if is_async(connection):
        statement = with_schema(COMPLETE, completion.schema)
        _check(completion, await _avalue(statement, connection, _run_json(completion)))
    else:
        complete(connection, completion)


def _run_json(completion: Completion) -> str:
    delivery = completion.delivery
    run = {"id": delivery.id, "fence": delivery.fence, "worker": plain(delivery.worker)}
    terms = {"tells": completion.tells, "idle": round(completion.patience * 1000)}
    return json.dumps({**run, **terms, "result": b64encode(completion.result).decode()})


def _check(completion: Completion, code: int) -> None:
    if code:
        raise LeaseLost(f"run {completion.delivery.fence} of task {completion.delivery.id}: {_REFUSALS[code]}")


def _value(statement: str, connection: Any, text: str) -> Any:
    """The answer to a statement with one parameter of text."""
    driver = _driver(connection)
    with _told_of_a_missing_schema():
        if driver == "psycopg":
            owner = _psycopg(connection)
            with owner.cursor(row_factory=tuple_row) as cursor:
                answer = cursor.execute(statement, (text,)).fetchone()[0]
        elif driver == "sqlalchemy":
            answer = _sqlalchemy(connection).exec_driver_sql(statement, (text,)).scalar()
        elif driver == "django":
            if connection.get_autocommit():
                raise _no_transaction()
            with connection.cursor() as cursor:
                cursor.execute(statement, [text])
                answer = cursor.fetchone()[0]
        else:
            raise _unknown(connection)
    return answer


async def _avalue(statement: str, connection: Any, text: str) -> Any:
    """The same on an asynchronous connection."""
    driver = _driver(connection)
    with _told_of_a_missing_schema():
        if driver == "psycopg":
            owner = _psycopg(connection)
            async with owner.cursor(row_factory=tuple_row) as cursor:
                await cursor.execute(statement, (text,))
                answer = (await cursor.fetchone())[0]
        elif driver == "asyncpg":
            if not connection.is_in_transaction():
                raise _no_transaction()
            answer = await connection.fetchval(statement.replace("%s", "$1"), text)
        elif driver == "sqlalchemy":
            answer = await _sqlalchemy_async(connection, statement, text)
        else:
            raise _unknown(connection)
    return answer


@contextmanager
def _told_of_a_missing_schema() -> Iterator[None]:
    """Say what to do where our schema is not in the caller's database, whose error each driver raises as its own."""
    try:
        yield
    except Exception as error:
        causes = (error, getattr(error, "orig", None), error.__cause__)  # as SQLAlchemy and Django wrap it
        if not any(getattr(cause, "sqlstate", None) in _MISSING for cause in causes):
            raise
        raise SchemaMismatch(f"this database has no schema of taskq, or an older one: {MIGRATE}") from error


def to_json(messages: Sequence[Message]) -> str:
    """The messages as the one parameter.

    Raises:
        NotApplied: one of them is none that Postgres can hold; the caller's transaction is as it was.
    """
    refuse_unstorable(messages)
    return json.dumps([_fields(message) for message in messages])


def _fields(message: Message) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in _PLAIN}
    fields |= {"body": b64encode(message.body).decode(), "priority": int(message.priority)}
    return fields | {"special": special_of(message)}


def _driver(connection: Any) -> str:
    """The driver, by the module of the connection's class or of one that it extends."""
    modules = {base.__module__.partition(".")[0] for base in type(connection).__mro__}
    return next((name for name in ("psycopg", "asyncpg", "sqlalchemy", "django") if name in modules), "")


def is_async(connection: Any) -> bool:
    """Whether a connection's methods are coroutines: all of asyncpg's, and what psycopg and SQLAlchemy name so."""
    names = {base.__name__ for base in type(connection).__mro__}
    return _driver(connection) == "asyncpg" or any(name.lower().startswith("async") for name in names)


def _sqlalchemy(owner: Any) -> Any:
    """The Connection of a Session, or the Connection itself."""
    connection = owner.connection() if hasattr(owner, "add") else owner
    _refuse_isolation_level(connection)
    return connection


async def _sqlalchemy_async(owner: Any, statement: str, text: str) -> Any:
    connection = await owner.connection() if hasattr(owner, "add") else owner
    _refuse_isolation_level(connection.sync_connection)
    if connection.dialect.driver == "asyncpg":
        statement = statement.replace("%s", "$1")
    return (await connection.exec_driver_sql(statement, (text,))).scalar()


def _psycopg(connection: Any) -> Any:
    """The connection itself, or of a cursor, where it is in a transaction or begins one by itself."""
    owner = getattr(connection, "connection", connection)
    if owner.autocommit and owner.info.transaction_status.name == "IDLE":
        raise _no_transaction()
    return owner


def _refuse_isolation_level(connection: Any) -> None:
    """Refuse SQLAlchemy's isolation level AUTOCOMMIT, which its drivers set on their own connections."""
    if connection.connection.dbapi_connection.autocommit:
        raise _no_transaction()


def _no_transaction() -> ConfigError:
    return ConfigError(
        "the connection commits each statement by itself: open a transaction first, or do without the connection"
    )


def _unknown(connection: Any) -> ConfigError:
    kind = type(connection)
    return ConfigError(
        f"{kind.__module__}.{kind.__qualname__} is no connection that taskq knows: pass one of psycopg, asyncpg, "
        "SQLAlchemy or Django"
    )
