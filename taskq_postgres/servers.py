"""What a Postgres says of itself: versions, settings, what holds vacuum back, indexes, bloat, days, clocks."""

from __future__ import annotations

from statistics import median
from time import monotonic, time
from typing import NamedTuple

from taskq.domain.message import DAY, DEFAULT_RETENTION
from taskq.errors import UnsafeStore
from taskq.ports import Finding, FindingStatus
from taskq.ports.diagnosis import SAMPLE
from taskq_postgres import durability, migrate
from taskq_postgres.store import Store

OLDEST = 14
LOOKS = 7
SLOW = 0.1
"""Seconds for an answer from which on a store holds its workers up."""
CLOCK_OFFSET = 2.0
"""Seconds by which a clock may differ without a word: instants that people read and write are off by as much."""
LONG_TRANSACTION = 300.0
"""Seconds after which a transaction, which keeps vacuum from all that was deleted since, is named."""
CROWDED = 0.8
"""The share of max_connections."""
MANY_DEAD = 200_000
LARGE, WIDE = 256 << 20, 64 << 10
"""Bytes of a table, and for each of its live rows, from which on it holds mostly nothing."""
NAMED = 5


class Activity(NamedTuple):
    """A transaction that has been open for long."""

    seconds: float
    pid: str
    state: str
    application: str

    def __str__(self) -> str:
        of = f" of {self.application}" if self.application else ""
        who = "a prepared transaction" if self.state == "prepared" else f"pid {self.pid}"
        return f"{who}{of} ({self.state or 'state unknown'}, {self.seconds / 60:,.0f} min)"


class Table(NamedTuple):
    """How full of what is gone a table is."""

    name: str
    live: int
    dead: int
    size: int
    is_vacuumed: bool


async def examine(store: Store) -> list[Finding]:
    """All findings about the server."""
    settings = {str(name): str(value) for name, value in await store.run("server_settings", reads=True)}
    long = [
        Activity(*row)
        for row in await store.run("server_transactions", (LONG_TRANSACTION, LONG_TRANSACTION), reads=True)
    ]
    indexes = {str(name): bool(is_valid) for name, is_valid in await store.run("server_indexes", reads=True)}
    tables = [Table(*row) for row in await store.run("server_tables", reads=True)]
    return [
        _version(settings),
        _durability(settings, store.options.durability),
        _connections(settings),
        _transactions(long),
        _indexes(indexes),
        _vacuum(settings, tables),
        _bloat(tables),
        await _days(store),
        await _latency(store),
        await _clock(store),
    ]


def _version(settings: dict[str, str]) -> Finding:
    version = settings["server_version"]
    if int(settings["server_version_num"]) // 10_000 >= OLDEST:
        return Finding(check="postgres.version", detail=f"Postgres {version}")
    return _finding("postgres.version", FindingStatus.FAULT, f"Postgres {version}", f"taskq needs {OLDEST} or newer")


def _durability(settings: dict[str, str], wanted: str) -> Finding:
    try:
        warnings = durability.look(settings, wanted)
    except UnsafeStore as unsafe:
        return _finding("postgres.durability", FindingStatus.FAULT, str(unsafe))
    if warnings:
        return _finding("postgres.durability", FindingStatus.WARNING, "; ".join(warnings), "set them to on")
    return Finding(
        check="postgres.durability",
        detail=f"what is committed is on disk (synchronous_commit {settings['synchronous_commit']})",
    )


def _connections(settings: dict[str, str]) -> Finding:
    used = int(settings["connections"])
    most = int(settings["max_connections"]) - int(settings["superuser_reserved_connections"])
    detail = f"{used:,} of {most:,} connections are taken"
    if used <= CROWDED * most:
        return Finding(check="postgres.connections", detail=detail)
    advice = "raise max_connections, run fewer processes, or put PgBouncer in between; each opens up to its pool_size"
    return _finding("postgres.connections", FindingStatus.WARNING, detail, advice)


def _transactions(long: list[Activity]) -> Finding:
    check = "postgres.transactions"
    if not long:
        return Finding(check=check, detail=f"no transaction is older than {LONG_TRANSACTION / 60:.0f} min")
    named = ", ".join(map(str, long[:NAMED])) + (", …" if len(long) > NAMED else "")
    prepared = any(each.state == "prepared" for each in long)
    end = "commit or roll it back: rollback prepared" if prepared else "end them: select pg_terminate_backend(pid)"
    advice = f"nothing that was deleted since can be vacuumed; {end}, and set idle_in_transaction_session_timeout"
    return _finding(check, FindingStatus.WARNING, f"{len(long)} transactions are open for long: {named}", advice)


def _indexes(found: dict[str, bool]) -> Finding:
    missing = sorted(migrate.indexes() - set(found))
    broken = sorted(name for name, is_valid in found.items() if not is_valid)
    if not missing and not broken:
        return Finding(check="postgres.indexes", detail=f"all {len(found)} indexes are there")
    told = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("invalid", broken)) if names]
    return Finding(
        check="postgres.indexes",
        status=FindingStatus.FAULT,
        detail=f"indexes are {'; '.join(told)}",
        advice="make what is missing (`taskq migrate --sql` prints it), `reindex index` what is invalid",
        number=len(missing) + len(broken),
        sample=tuple([*missing, *broken][:SAMPLE]),
    )


def _vacuum(settings: dict[str, str], tables: list[Table]) -> Finding:
    if settings["autovacuum"] != "on":
        return _finding("postgres.autovacuum", FindingStatus.FAULT, "autovacuum is off", "set autovacuum to on")
    off = [table.name for table in tables if not table.is_vacuumed]
    if off:
        advice = f"alter table {off[0]} reset (autovacuum_enabled), and so on"
        return _finding("postgres.autovacuum", FindingStatus.FAULT, f"autovacuum is off for {', '.join(off)}", advice)
    return Finding(check="postgres.autovacuum", detail="autovacuum is on")


def _bloat(tables: list[Table]) -> Finding:
    dead = [table for table in tables if table.dead > max(MANY_DEAD, table.live)]
    wide = [table for table in tables if table.size > LARGE and table.size > WIDE * max(1, table.live)]
    if not dead and not wide:
        rows = ", ".join(f"{table.name} {table.dead:,}" for table in tables if table.dead)
        return Finding(check="postgres.bloat", detail=f"dead rows: {rows or 'none'}")
    told = [f"{table.name} has {table.dead:,} dead rows and {table.live:,} live ones" for table in dead]
    told += [f"{table.name} takes {table.size >> 20:,} MiB for {table.live:,} live rows" for table in wide]
    advice = "end long transactions, see that autovacuum keeps up; in a quiet hour: vacuum full, or pg_repack"
    return _finding("postgres.bloat", FindingStatus.WARNING, "; ".join(told), advice)


async def _days(store: Store) -> Finding:
    rows = await store.run("server_days", (DEFAULT_RETENTION + 2 * DAY,), reads=True)
    there = {str(row[0]) for row in rows}
    missing = sorted({str(name) for row in rows[:1] for name in row[1:3]} - there)
    old = [str(row[0]) for row in rows if row[3]]
    if missing or not rows:
        advice = "any live worker makes them: start one; the first task that ends makes them too"
        return _finding(
            "postgres.days", FindingStatus.WARNING, f"days of finished tasks are missing: {', '.join(missing)}", advice
        )
    if old:
        advice = "a live worker drops them, one at a time, unless somebody reads them in a long transaction"
        return _finding("postgres.days", FindingStatus.WARNING, f"days are kept too long: {', '.join(old)}", advice)
    return Finding(check="postgres.days", detail=f"finished tasks lie in {len(rows)} days")


async def _latency(store: Store) -> Finding:
    spans = []
    for _ in range(LOOKS):
        begin = monotonic()
        await store.run("clock", reads=True)
        spans.append(monotonic() - begin)
    span = median(spans)
    detail = f"a statement takes {span * 1000:.1f} ms"
    if span < SLOW:
        return Finding(check="postgres.latency", detail=detail)
    return _finding("postgres.latency", FindingStatus.WARNING, detail, "look at its load, and the network in between")


async def _clock(store: Store) -> Finding:
    before = time()
    offset = float(await store.value("clock", reads=True)) - (before + time()) / 2
    detail = f"its clock differs from the one here by {abs(offset):.1f} s"
    if abs(offset) <= CLOCK_OFFSET:
        return Finding(check="postgres.clock", detail=detail)
    advice = "run a time service on both: instants given or shown here are off by as much"
    return _finding("postgres.clock", FindingStatus.WARNING, detail, advice)


def _finding(check: str, status: FindingStatus, detail: str, advice: str = "") -> Finding:
    return Finding(check=check, status=status, detail=detail, advice=advice)
