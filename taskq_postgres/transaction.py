"""Enqueue inside the caller's own transaction: one statement with one parameter of text, for any driver.

Drivers are told apart by the name of their module, so that none is imported that is not there.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg.rows import tuple_row

from taskq.domain.message import Message
from taskq.errors import ConfigError, SchemaMismatch
from taskq.ports import Enqueued
from taskq_postgres.broker import enqueued, refuse_unstorable, special_of
from taskq_postgres.errors import MIGRATE
from taskq_postgres.statements import with_schema

_MISSING = {"3F000", "42883", "42P01"}
"""Of SQLSTATE: no such schema, function, table."""
_PLAIN = (
    "id", "name", "queue", "group", "delay", "eta", "expires", "max_lost_leases", "dead_letter", "retention", "tenant",
    "digest",
)  # fmt: skip
STATEMENT = "select {schema}.enqueue_json_v1(%s)"


def enqueue(schema: str, connection: Any, messages: Sequence[Message]) -> list[Enqueued]:
    """Enqueue on a synchronous connection.

    Raises:
        ConfigError: it is no connection that we know, or not within a transaction.
    """
    if not messages:
        return []
    if _is_async(connection):
        raise ConfigError("this connection is asynchronous: enqueue with the a-twin, such as `await add.aenqueue(…)`")
    with _told_of_a_missing_schema():
        return enqueued(messages, _letters(schema, connection, to_json(messages)))


def _letters(schema: str, connection: Any, items: str) -> Any:
    driver = _driver(connection)
    if driver == "psycopg":
        owner = _psycopg(connection)
        with owner.cursor(row_factory=tuple_row) as cursor:
            letters = cursor.execute(_statement(schema, "%s"), (items,)).fetchone()[0]
    elif driver == "sqlalchemy":
        letters = _sqlalchemy(connection).exec_driver_sql(_statement(schema, "%s"), (items,)).scalar()
    elif driver == "django":
        if connection.get_autocommit():
            raise _no_transaction()
        with connection.cursor() as cursor:
            cursor.execute(_statement(schema, "%s"), [items])
            letters = cursor.fetchone()[0]
    else:
        raise _unknown(connection)
    return letters


async def aenqueue(schema: str, connection: Any, messages: Sequence[Message]) -> list[Enqueued]:
    """Enqueue on an asynchronous connection; on a synchronous one it blocks for as long as the statement takes.

    Raises:
        ConfigError: it is no connection that we know, or not within a transaction.
    """
    if not messages:
        return []
    if not _is_async(connection):
        return enqueue(schema, connection, messages)
    with _told_of_a_missing_schema():
        return enqueued(messages, await _aletters(schema, connection, to_json(messages)))


async def _aletters(schema: str, connection: Any, items: str) -> Any:
    driver = _driver(connection)
    if driver == "psycopg":
        owner = _psycopg(connection)
        async with owner.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_statement(schema, "%s"), (items,))
            letters = (await cursor.fetchone())[0]
    elif driver == "asyncpg":
        if not connection.is_in_transaction():
            raise _no_transaction()
        letters = await connection.fetchval(_statement(schema, "$1"), items)
    elif driver == "sqlalchemy":
        letters = await _sqlalchemy_async(connection, schema, items)
    else:
        raise _unknown(connection)
    return letters


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


def _is_async(connection: Any) -> bool:
    """Whether its methods are coroutines: all of asyncpg's, and what psycopg and SQLAlchemy name so."""
    names = {base.__name__ for base in type(connection).__mro__}
    return _driver(connection) == "asyncpg" or any(name.lower().startswith("async") for name in names)


def _statement(schema: str, placeholder: str) -> str:
    return with_schema(STATEMENT, schema).replace("%s", placeholder)


def _sqlalchemy(owner: Any) -> Any:
    """The Connection of a Session, or the Connection itself."""
    connection = owner.connection() if hasattr(owner, "add") else owner
    _refuse_isolation_level(connection)
    return connection


async def _sqlalchemy_async(owner: Any, schema: str, items: str) -> Any:
    connection = await owner.connection() if hasattr(owner, "add") else owner
    _refuse_isolation_level(connection.sync_connection)
    placeholder = "$1" if connection.dialect.driver == "asyncpg" else "%s"
    return (await connection.exec_driver_sql(_statement(schema, placeholder), (items,))).scalar()


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
        "the connection commits each statement by itself: open a transaction around enqueue_in, "
        "or enqueue without a connection"
    )


def _unknown(connection: Any) -> ConfigError:
    kind = type(connection)
    return ConfigError(
        f"{kind.__module__}.{kind.__qualname__} is no connection that enqueue_in knows: pass one of psycopg, asyncpg, "
        "SQLAlchemy or Django"
    )
