"""Migrations: numbered files, forward only, each a transaction under one advisory lock.

For those who run their own: `sql(schema)` gives the text, `sql(schema, from_version)` what comes after a version.
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from psycopg import sql as compose

from taskq.errors import SchemaMismatch
from taskq_postgres.errors import MIGRATE, map_errors
from taskq_postgres.pool import Connection, Pool, close
from taskq_postgres.statements import with_schema
from taskq_postgres.store import Store

LOCK = 7_414_771_310
"""The key of the advisory lock under which a schema is changed."""
LEDGER = """\
create schema if not exists {schema};
create table if not exists {schema}.migration (
    version int primary key, name text not null, checksum text not null, applied_at timestamptz not null default now());
"""


class Migration(NamedTuple):
    """One step."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Tells whether the file is the one that was applied."""
        return sha256(self.text.encode()).hexdigest()[:16]


@cache
def migrations() -> tuple[Migration, ...]:
    """All steps, in their order."""
    folder = files(__package__).joinpath("migrations")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    return tuple(
        Migration(int(name[:4]), name.removesuffix(".sql"), folder.joinpath(name).read_text("utf-8")) for name in names
    )


def newest() -> int:
    """The version that this release makes."""
    return migrations()[-1].version


OLDEST_SPOKEN = 5
"""The oldest version with which this release works."""


def sql(schema: str = "taskq", from_version: int = 0) -> str:
    """The text of the migrations after `from_version`, with the entries in the ledger.

    >>> "create table" in sql("taskq"), sql("taskq", newest())
    (True, '')
    """
    steps = [step for step in migrations() if step.version > from_version]
    if not steps:
        return ""
    ledger = (
        f"insert into {{schema}}.migration (version, name, checksum) values ({step.version}, '{step.name}', "
        f"'{step.checksum}');\n"
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
            cursor = await connection.execute(_query("select version, checksum from {schema}.migration", schema))
            applied: dict[int, str] = dict(await cursor.fetchall())
            refuse_foreign(applied)
            step = next((step for step in migrations() if step.version not in applied), None)
            if step is None:
                return taken
            await connection.execute(_query(step.text, schema))
            await connection.execute(
                _query("insert into {schema}.migration (version, name, checksum) values (%s, %s, %s)", schema),
                (step.version, step.name, step.checksum),
            )
            taken.append(step.name)


def refuse_foreign(applied: dict[int, str]) -> None:
    """Refuse a ledger that is not ours.

    Raises:
        SchemaMismatch: a step differs, or is of a later release.
    """
    known = {step.version: step.checksum for step in migrations()}
    found = max(applied, default=0)
    if found > newest():
        raise SchemaMismatch(
            f"the schema is at version {found}, this release speaks {OLDEST_SPOKEN} to {newest()}: upgrade taskq"
        )
    changed = [version for version, checksum in applied.items() if known.get(version) != checksum]
    if changed:
        raise SchemaMismatch(
            f"migration {changed[0]} was applied with another content: this schema was made by something else"
        )


async def check(store: Store) -> None:
    """Look whether this release speaks the schema's version.

    Raises:
        SchemaMismatch: it does not; the message says what to do.
    """
    applied: dict[int, str] = dict(await store.run("version", reads=True))
    refuse_foreign(applied)
    if max(applied, default=0) < OLDEST_SPOKEN:
        raise SchemaMismatch(
            f"the schema is at version {max(applied, default=0)}, this release speaks {OLDEST_SPOKEN} to {newest()}: "
            f"{MIGRATE}"
        )


def _query(text: str, schema: str) -> compose.SQL:
    return compose.SQL(with_schema(text, schema))
