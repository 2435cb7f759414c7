"""Whether a Redis server is fit to be trusted with tasks."""

from __future__ import annotations

from collections.abc import Mapping

from hiredis import ReplyError

from taskq.errors import ConfigError, UnsafeStore
from taskq.ports import BackendOptions
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
    _check_version(facts, where)
    if facts.get("role") == "slave":
        raise UnsafeStore(f"{where} is a replica: write the address of its master, or of the sentinels")
    warnings = _eviction(facts, where) + _persistence(facts, options, where)
    if not has_config:
        warnings.append(
            f"{where} does not allow CONFIG GET: appendfsync and hash-max-listpack-value could not be checked"
        )
    elif int(facts.get("hash-max-listpack-value", LISTPACK_VALUE)) < LISTPACK_VALUE:
        warnings.append(
            f"{where} has hash-max-listpack-value {facts['hash-max-listpack-value']}: a waiting task takes twice the "
            f"memory that it needs; set it to {LISTPACK_VALUE}"
        )
    return warnings


def version_of(facts: Facts) -> tuple[int, ...]:
    """The version of Redis that the server is, or that it is compatible with.

    >>> version_of({"redis_version": "7.0.15"})
    (7, 0, 15)
    """
    return tuple(int(part) for part in facts.get("redis_version", "0").split(".")[:3] if part.isdecimal())


def _check_version(facts: Facts, where: str) -> None:
    valkey = facts.get("valkey_version")
    if valkey is not None:
        version = tuple(int(part) for part in valkey.split(".")[:3] if part.isdecimal())
        if version < OLDEST_VALKEY:
            raise UnsafeStore(f"{where} is Valkey {valkey}: taskq needs 7.2 or newer")
    elif version_of(facts) < OLDEST_REDIS:
        raise UnsafeStore(f"{where} is Redis {facts.get('redis_version', '?')}: taskq needs 7.0 or newer")


def _eviction(facts: Facts, where: str) -> list[str]:
    policy = facts.get("maxmemory-policy", "noeviction")
    if policy in ("noeviction", ""):
        return []
    if int(facts.get("maxmemory", "0")) > 0:
        raise UnsafeStore(
            f"{where} may evict tasks when its memory is full (maxmemory-policy {policy}): "
            "set `maxmemory-policy noeviction`; taskq then refuses new tasks and still drains"
        )
    return [f"{where} has maxmemory-policy {policy}, harmless only while maxmemory is 0: set it to noeviction"]


def _persistence(facts: Facts, options: BackendOptions, where: str) -> list[str]:
    if facts.get("appendonly") != "yes":
        advice = f"{where} keeps no append-only file: a restart loses every task; set `appendonly yes`"
        if options.durability != "process":
            raise UnsafeStore(f"{advice} (durability={options.durability!r} was asked for)")
        return [advice]
    fsync = facts.get("appendfsync", "")
    if options.durability == "disk" and fsync not in ("always", "") and version_of(facts) < FIRST_WAITAOF:
        raise UnsafeStore(
            f"{where} cannot say when a task is on its disk (durability='disk'): set `appendfsync always`, "
            "or run Redis 7.2 or newer"
        )
    if options.durability == "process" and fsync == "no":
        return [f"{where} leaves it to the system when tasks reach its disk: set `appendfsync everysec`"]
    return []
