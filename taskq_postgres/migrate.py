"""Migrations: numbered files, forward only, each a transaction under one advisory lock.

For those who run their own: `sql(schema)` gives the text, `sql(schema, from_version)` what comes after a version.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from psycopg import sql as compose

from taskq.errors import SchemaMismatch
from taskq_postgres.errors import MIGRATE, map_errors
from taskq_postgres.pool import Connection, Pool, close
from taskq_postgres.statements import with_constants, with_schema
from taskq_postgres.store import Store

LOCK = 7_414_771_310
"""The key of the advisory lock under which a schema is changed."""
LEDGER = """\
create schema if not exists {schema};
create table if not exists {schema}.migration (
    version int primary key, name text not null, checksum text not null, oldest_speaking int not null,
    applied_at timestamptz not null default now());
"""


APPLIED = "select version, checksum, oldest_speaking from {schema}.migration order by version"
_COMMENT = re.compile(r"--.*")
_TABLE = re.compile(r"create (?:unlogged )?table \{schema\}\.(\w+) \(([^;]*)")
_INDEX = re.compile(r"create (?:unique )?index (\w+) on")
_DROPPED = re.compile(r"drop index \{schema\}\.(\w+)")


class Applied(NamedTuple):
    """A step as the ledger has it."""

    version: int
    checksum: str
    oldest_speaking: int


class Migration(NamedTuple):
    """One step."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Tells whether the file is the one that was applied."""
        return sha256(self.text.encode()).hexdigest()[:16]

    @property
    def oldest_speaking(self) -> int:
        """What the oldest release that works with this step has for its own newest one: the file's first line."""
        return int(self.text.partition("\n")[0].removeprefix("-- oldest speaking: "))


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps, in their order."""
    folder = files(__package__).joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple(
        Migration(int(name[:4]), name.removesuffix(".sql"), with_constants(folder.joinpath(name).read_text("utf-8")))
        for name in names
    )


def newest() -> int:
    """The version that this release makes."""
    return migrations()[-1].version


OLDEST_SPOKEN = 14
"""The oldest version with which this release works."""


@cache
def indexes() -> frozenset[str]:
    """The indexes that a schema must have: those that the migrations make by name, and the primary keys.

    >>> "task_lane" in indexes(), "task_pkey" in indexes()
    (True, True)
    """
    text = _COMMENT.sub("", "\n".join(step.text for step in migrations()))
    keys = {f"{name}_pkey" for name, body in _TABLE.findall(text) if "primary key" in body}
    return frozenset(keys | set(_INDEX.findall(text))) - set(_DROPPED.findall(text))


def sql(schema: str = "taskq", from_version: int = 0) -> str:
    """The text of the migrations after `from_version`, with the entries in the ledger.

    >>> "create table" in sql("taskq"), sql("taskq", newest())
    (True, '')
    """
    steps = [step for step in migrations() if step.version > from_version]
    if not steps:
        return ""
    ledger = (
        f"insert into {{schema}}.migration (version, name, checksum, oldest_speaking) values ({step.version}, "
        f"'{step.name}', '{step.checksum}', {step.oldest_speaking});\n"
        for step in steps
    )
    body = "".join(f"-- {step.name}\n{step.text}\n{entry}\n" for step, entry in zip(steps, ledger, strict=True))
    lock = f"select pg_catalog.pg_advisory_xact_lock({LOCK});\n"
    return with_schema(f"begin;\n{lock}{LEDGER}\n{body}commit;\n", schema)


async def migrate(pool: Pool, schema: str) -> list[str]:
    """Apply what is missing; any number of processes may do so at once.

    Raises:
        SchemaMismatch: an applied step differs from ours, or the schema is newer than this release.
    """
    connection = await pool.connect()
    try:
        with map_errors():
            return await _migrate(connection, schema)
    finally:
        await close(connection)


async def _migrate(connection: Connection, schema: str) -> list[str]:
    taken: list[str] = []
    while True:
        async with connection.transaction():
            await connection.execute("select pg_catalog.pg_advisory_xact_lock(%s)", (LOCK,))
            await connection.execute(_query(LEDGER, schema))
            cursor = await connection.execute(_query(APPLIED, schema))
            applied = [Applied(*row) for row in await cursor.fetchall()]
            refuse_foreign(applied)
            versions = {step.version for step in applied}
            step = next((step for step in migrations() if step.version not in versions), None)
            if step is None:
                return taken
            await connection.execute(_query(step.text, schema))
            await connection.execute(
                _query(
                    "insert into {schema}.migration (version, name, checksum, oldest_speaking) values (%s, %s, %s, %s)",
                    schema,
                ),
                (step.version, step.name, step.checksum, step.oldest_speaking),
            )
            taken.append(step.name)


async def erase(pool: Pool, schema: str) -> None:
    """Drop a schema with all that is in it; one that is not there is no error."""
    connection = await pool.connect()
    try:
        with map_errors():
            async with connection.transaction():
                await connection.execute("select pg_catalog.pg_advisory_xact_lock(%s)", (LOCK,))
                await connection.execute(_query("drop schema if exists {schema} cascade", schema))
    finally:
        await close(connection)


def refuse_foreign(applied: Sequence[Applied]) -> None:
    """Refuse a ledger that is not ours, or that has left this release behind.

    A schema may be ahead of this release: what a later one has only added does not concern us. Each step says which
    release is the oldest that it does not break.

    Raises:
        SchemaMismatch: a step differs, or breaks this release.
    """
    found = max((step.version for step in applied), default=0)
    oldest = max((step.oldest_speaking for step in applied), default=0)
    if oldest > newest():
        raise SchemaMismatch(
            f"the schema is at version {found}, for releases that know {oldest} or later; this one knows {newest()}: "
            "upgrade taskq"
        )
    known = {step.version: step.checksum for step in migrations()}
    changed = [step.version for step in applied if known.get(step.version, step.checksum) != step.checksum]
    if changed:
        raise SchemaMismatch(
            f"migration {changed[0]} was applied with another content: this schema was made by something else"
        )


async def check(store: Store) -> None:
    """Look whether this release speaks the schema's version.

    Raises:
        SchemaMismatch: it does not; the message says what to do.
    """
    applied = [Applied(*row) for row in await store.run("version", reads=True)]
    refuse_foreign(applied)
    found = max((step.version for step in applied), default=0)
    if found < OLDEST_SPOKEN:
        raise SchemaMismatch(
            f"the schema is at version {found}, this release speaks {OLDEST_SPOKEN} to {newest()}: {MIGRATE}"
        )


def _query(text: str, schema: str) -> compose.SQL:
    return compose.SQL(with_schema(text, schema))
