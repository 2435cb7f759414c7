"""Whether a Redis server is fit to be trusted with tasks."""

from __future__ import annotations

from collections.abc import Mapping

from hiredis import ReplyError

from taskq.errors import ConfigError, UnsafeStore
from taskq.ports import BackendOptions, Finding, FindingStatus
from taskq_redis.connection import Connection

OLDEST_REDIS = (7, 0)
OLDEST_VALKEY = (7, 2)
FIRST_WAITAOF = (7, 2)
LISTPACK_VALUE = 1024
DURABILITIES = ("process", "disk", "replica")
_WANTED = ("maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "hash-max-listpack-value")

Facts = Mapping[str, str]


def check_durability_name(options: BackendOptions) -> None:
    """Refuse a durability that nobody has defined.

    Raises:
        ConfigError: it is none of DURABILITIES.
    """
    if options.durability not in DURABILITIES:
        raise ConfigError(f"durability={options.durability!r} is not one of {', '.join(DURABILITIES)}")


async def look(connection: Connection, timeout: float) -> tuple[Facts, bool]:
    """What a server says of itself, by INFO and CONFIG GET; and whether CONFIG was allowed."""
    text: bytes = await connection.execute("INFO", timeout=timeout)
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    facts = {name: value for name, separator, value in lines if separator}
    facts["maxmemory-policy"] = facts.get("maxmemory_policy", "")
    facts["appendonly"] = "yes" if facts.get("aof_enabled") == "1" else "no"
    try:
        for name in _WANTED:
            reply = await connection.execute("CONFIG", "GET", name, timeout=timeout)
            facts.update({key.decode(): value.decode() for key, value in zip(reply[::2], reply[1::2], strict=True)})
    except ReplyError:
        return facts, False
    return facts, True


def judge(facts: Facts, has_config: bool, options: BackendOptions, where: str) -> list[str]:
    """The warnings that follow from what a server says.

    Raises:
        UnsafeStore: it would lose acknowledged tasks as it is configured.
    """
    found = findings(facts, has_config, options, where)
    for finding in found:
        if finding.status is FindingStatus.FAULT:
            raise UnsafeStore(finding.detail)
    return [finding.detail for finding in found if finding.status is FindingStatus.WARNING]


def findings(facts: Facts, has_config: bool, options: BackendOptions, where: str) -> list[Finding]:
    """The same as findings, one for each thing that decides whether a server may be trusted."""
    found = [_version(facts, where)]
    if facts.get("role") == "slave":
        found.append(
            _fault("redis.role", f"{where} is a replica: write the address of its master, or of the sentinels")
        )
    found += [_eviction(facts, where), _persistence(facts, options, where)]
    if not has_config:
        what = "appendfsync and hash-max-listpack-value could not be checked"
        found.append(_warning("redis.config", f"{where} does not allow CONFIG GET: {what}"))
    elif int(facts.get("hash-max-listpack-value", LISTPACK_VALUE)) < LISTPACK_VALUE:
        value = facts["hash-max-listpack-value"]
        cost = "a waiting task takes twice the memory that it needs"
        found.append(
            _warning(
                "redis.listpack", f"{where} has hash-max-listpack-value {value}: {cost}; set it to {LISTPACK_VALUE}"
            )
        )
    return found


def version_of(facts: Facts) -> tuple[int, ...]:
    """The version of Redis that the server is, or that it is compatible with.

    >>> version_of({"redis_version": "7.0.15"})
    (7, 0, 15)
    """
    return tuple(int(part) for part in facts.get("redis_version", "0").split(".")[:3] if part.isdecimal())


def _version(facts: Facts, where: str) -> Finding:
    valkey = facts.get("valkey_version")
    if valkey is not None:
        version = tuple(int(part) for part in valkey.split(".")[:3] if part.isdecimal())
        if version < OLDEST_VALKEY:
            return _fault("redis.version", f"{where} is Valkey {valkey}: taskq needs 7.2 or newer")
        return Finding(check="redis.version", detail=f"{where} is Valkey {valkey}")
    redis = facts.get("redis_version", "?")
    if version_of(facts) < OLDEST_REDIS:
        return _fault("redis.version", f"{where} is Redis {redis}: taskq needs 7.0 or newer")
    return Finding(check="redis.version", detail=f"{where} is Redis {redis}")


def _eviction(facts: Facts, where: str) -> Finding:
    policy = facts.get("maxmemory-policy", "noeviction")
    if policy in ("noeviction", ""):
        return Finding(check="redis.eviction", detail=f"{where} evicts nothing")
    if int(facts.get("maxmemory", "0")) > 0:
        return _fault(
            "redis.eviction",
            f"{where} may evict tasks when its memory is full (maxmemory-policy {policy}): "
            "set `maxmemory-policy noeviction`; taskq then refuses new tasks and still drains",
        )
    harmless = "harmless only while maxmemory is 0: set it to noeviction"
    return _warning("redis.eviction", f"{where} has maxmemory-policy {policy}, {harmless}")


def _persistence(facts: Facts, options: BackendOptions, where: str) -> Finding:
    check = "redis.persistence"
    if facts.get("appendonly") != "yes":
        advice = f"{where} keeps no append-only file: a restart loses every task; set `appendonly yes`"
        if options.durability != "process":
            return _fault(check, f"{advice} (durability={options.durability!r} was asked for)")
        return _warning(check, advice)
    fsync = facts.get("appendfsync", "")
    if options.durability == "disk" and fsync not in ("always", "") and version_of(facts) < FIRST_WAITAOF:
        return _fault(
            check,
            f"{where} cannot say when a task is on its disk (durability='disk'): set `appendfsync always`, "
            "or run Redis 7.2 or newer",
        )
    if options.durability == "process" and fsync == "no":
        return _warning(check, f"{where} leaves it to the system when tasks reach its disk: set `appendfsync everysec`")
    return Finding(check=check, detail=f"{where} keeps an append-only file ({fsync or 'appendfsync unknown'})")


def _fault(check: str, detail: str) -> Finding:
    return Finding(check=check, status=FindingStatus.FAULT, detail=detail)


def _warning(check: str, detail: str) -> Finding:
    return Finding(check=check, status=FindingStatus.WARNING, detail=detail)
