"""What a Redis server says of itself, beside what decides whether it may be trusted at all (checks.py)."""

from __future__ import annotations

from statistics import median
from time import monotonic, time

from taskq.ports import BackendOptions, Finding, FindingStatus
from taskq_redis import checks
from taskq_redis.checks import Facts
from taskq_redis.connection import Connection

PINGS = 7
SLOW = 0.1
"""Seconds for an answer from which on a store holds its workers up."""
CLOCK_OFFSET = 2.0
"""Seconds by which a clock may differ without a word: instants that people read and write are off by as much."""
NEARLY_FULL, FULL = 0.8, 0.95
"""Shares of maxmemory."""
_MIB = 1 << 20


async def examine(connection: Connection, options: BackendOptions) -> list[Finding]:
    """All findings about one server.

    Raises:
        ReplyError: it refuses to say anything.
        ConnectionLost: it is gone.
    """
    where, timeout = f"Redis at {connection.address}", options.command_timeout
    facts, has_config = await checks.look(connection, timeout)
    return [
        *checks.findings(facts, has_config, options, where),
        *judge(facts, options, where),
        await _latency(connection, timeout, where),
        await _clock(connection, timeout, where),
    ]


def judge(facts: Facts, options: BackendOptions, where: str) -> list[Finding]:
    """What follows from the figures of a server.

    >>> [finding.check for finding in judge({}, BackendOptions(), "Redis")]
    ['redis.memory', 'redis.writes', 'redis.replicas', 'redis.counters']
    """
    return [
        _memory(facts, where),
        _writes(facts, where),
        _replicas(facts, options, where),
        _counters(facts, where),
    ]


def _memory(facts: Facts, where: str) -> Finding:
    used, limit = int(facts.get("used_memory", 0)), int(facts.get("maxmemory", 0))
    if limit == 0:
        total = int(facts.get("total_system_memory", 0))
        detail = f"{where} uses {used // _MIB:,} MiB and has no limit of its own (maxmemory 0)"
        if total and used > NEARLY_FULL * total:
            advice = f"the machine has {total // _MIB:,} MiB: set maxmemory below that, drain queues, or give it more"
            return Finding(check="redis.memory", status=FindingStatus.WARNING, detail=detail, advice=advice)
        return Finding(check="redis.memory", detail=detail)
    detail = f"{where} uses {used // _MIB:,} of {limit // _MIB:,} MiB ({used / limit:.0%})"
    if used <= NEARLY_FULL * limit:
        return Finding(check="redis.memory", detail=detail)
    status = FindingStatus.FAULT if used > FULL * limit else FindingStatus.WARNING
    advice = "a full one refuses new tasks: raise maxmemory, drain queues, or keep finished tasks for less long"
    return Finding(check="redis.memory", status=status, detail=detail, advice=advice)


def _writes(facts: Facts, where: str) -> Finding:
    failed = [
        (what, field)
        for what, field in (
            ("the last write of the append-only file", "aof_last_write_status"),
            ("the last rewrite of the append-only file", "aof_last_bgrewrite_status"),
            ("the last snapshot", "rdb_last_bgsave_status"),
        )
        if facts.get(field, "ok") != "ok"
    ]
    if not failed:
        return Finding(check="redis.writes", detail=f"{where} has written to its disk without errors")
    is_fault = failed[0][1] == "aof_last_write_status"
    return Finding(
        check="redis.writes",
        status=FindingStatus.FAULT if is_fault else FindingStatus.WARNING,
        detail=f"{where}: {' and '.join(what for what, _ in failed)} failed",
        advice="look at its log, and whether its disk is full; what is enqueued now may not survive a restart",
    )


def _replicas(facts: Facts, options: BackendOptions, where: str) -> Finding:
    number = int(facts.get("connected_slaves", 0))
    if number == 0 and options.durability == "replica":
        return Finding(
            check="redis.replicas",
            status=FindingStatus.FAULT,
            detail=f"{where} has no replica, and durability='replica' was asked for: no enqueue is confirmed",
            advice="connect a replica, or ask for another durability",
        )
    rows = [facts.get(f"slave{place}", "") for place in range(number)]
    behind = [row for row in rows if "state=online" not in row]
    if behind:
        return Finding(
            check="redis.replicas",
            status=FindingStatus.WARNING,
            detail=f"{where}: {len(behind)} of {number} replicas are not in step",
            advice="a failover to one of them loses tasks: look at its log and its connection",
        )
    return Finding(check="redis.replicas", detail=f"{where} has {number} replicas")


def _counters(facts: Facts, where: str) -> Finding:
    counted = [
        (number, what, advice)
        for field, what, advice in (
            ("evicted_keys", "keys were evicted", "tasks may be among them: set `maxmemory-policy noeviction`"),
            ("rejected_connections", "connections were rejected", "raise maxclients, or run fewer workers"),
            ("evicted_clients", "clients were closed for memory", "raise maxmemory-clients"),
            (
                "client_output_buffer_limit_disconnections",
                "clients were closed because they read too slowly",
                "raise client-output-buffer-limit, or look for who is overloaded",
            ),
        )
        if (number := int(facts.get(field, 0)))
    ]
    if not counted:
        return Finding(check="redis.counters", detail=f"{where} has evicted nothing and turned away nobody")
    return Finding(
        check="redis.counters",
        status=FindingStatus.WARNING,
        detail=f"{where}, since it started: {', '.join(f'{number:,} {what}' for number, what, _ in counted)}",
        advice="; ".join(advice for *_, advice in counted),
    )


async def _latency(connection: Connection, timeout: float, where: str) -> Finding:
    spans = []
    for _ in range(PINGS):
        begin = monotonic()
        await connection.execute("PING", timeout=timeout)
        spans.append(monotonic() - begin)
    span = median(spans)
    return Finding(
        check="redis.latency",
        status=FindingStatus.OK if span < SLOW else FindingStatus.WARNING,
        detail=f"{where} answers within {span * 1000:.1f} ms",
        advice="" if span < SLOW else "look at its SLOWLOG, its CPU, and the network in between",
    )


async def _clock(connection: Connection, timeout: float, where: str) -> Finding:
    before = time()
    seconds, micros = await connection.execute("TIME", timeout=timeout)
    offset = int(seconds) + int(micros) / 1e6 - (before + time()) / 2
    is_near = abs(offset) <= CLOCK_OFFSET
    return Finding(
        check="redis.clock",
        status=FindingStatus.OK if is_near else FindingStatus.WARNING,
        detail=f"the clock of {where} differs from the one here by {abs(offset):.1f} s",
        advice="" if is_near else "run a time service on both: instants given or shown here are off by as much",
    )
