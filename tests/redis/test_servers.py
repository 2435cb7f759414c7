"""What the doctor says of Redis servers."""

from __future__ import annotations

import pytest
import redis

from taskq.ports import BackendOptions, Finding, FindingStatus
from taskq_redis import RedisBackend, create_backend, servers
from tests.servers import RedisServer

OPTIONS = BackendOptions()
SOUND = {"used_memory": str(100 << 20), "maxmemory": str(1000 << 20), "connected_slaves": "0"}


async def found(backend: RedisBackend) -> dict[str, Finding]:
    """The findings about the server by their names."""
    return {finding.check: finding for finding in await backend.diagnosis.servers()}


async def test_a_sound_server(backend: RedisBackend) -> None:
    findings = await found(backend)
    wrong = {finding.check for finding in findings.values() if finding.status is not FindingStatus.OK}
    assert wrong <= {"redis.latency"}  # which is for the machine to say
    assert set(findings) == {
        *("redis.version", "redis.eviction", "redis.persistence", "redis.memory", "redis.writes"),
        *("redis.replicas", "redis.counters", "redis.latency", "redis.clock"),
    }


async def test_each_node_of_a_cluster_is_asked_once(redis_cluster_url: str, options: BackendOptions) -> None:
    async with create_backend(redis_cluster_url, options) as backend:
        checks = [finding.check for finding in await backend.diagnosis.servers()]
    assert checks.count("redis.version") == 1


async def test_a_server_that_evicts_is_a_fault_by_its_name(backend: RedisBackend, outside: redis.Redis) -> None:
    outside.config_set("maxmemory", "100mb")
    outside.config_set("maxmemory-policy", "volatile-lru")
    try:
        finding = (await found(backend))["redis.eviction"]
    finally:
        outside.config_set("maxmemory", "0")
        outside.config_set("maxmemory-policy", "noeviction")
    assert finding.status is FindingStatus.FAULT
    assert "set `maxmemory-policy noeviction`" in finding.detail


async def test_a_user_without_rights_is_told_what_could_not_be_checked(
    backend: RedisBackend, outside: redis.Redis, redis_url: str
) -> None:
    outside.acl_setuser(
        "limited", enabled=True, passwords=["+pw"], keys=["taskq:*"], categories=["+@all"], commands=["-config"]
    )
    try:
        async with create_backend(redis_url.replace("//", "//limited:pw@"), OPTIONS) as limited:
            finding = (await found(limited))["redis.config"]
    finally:
        outside.acl_deluser("limited")
    assert finding.status is FindingStatus.WARNING
    assert "could not be checked" in finding.detail


async def test_replicas_are_counted() -> None:
    with RedisServer() as master:
        async with create_backend(master.url, BackendOptions(durability="replica")) as backend:
            finding = (await found(backend))["redis.replicas"]
    assert (finding.status, "no enqueue is confirmed" in finding.detail) == (FindingStatus.FAULT, True)


@pytest.mark.parametrize(
    ("said", "check", "status", "words"),
    [
        ({}, "redis.memory", "ok", "uses 100 of 1,000 MiB (10%)"),
        ({"used_memory": str(900 << 20)}, "redis.memory", "warning", "(90%)"),
        ({"used_memory": str(990 << 20)}, "redis.memory", "fault", "(99%)"),
        ({"maxmemory": "0"}, "redis.memory", "ok", "no limit of its own"),
        ({"maxmemory": "0", "total_system_memory": str(110 << 20)}, "redis.memory", "warning", "no limit of its own"),
        ({"aof_last_write_status": "err"}, "redis.writes", "fault", "append-only file failed"),
        ({"rdb_last_bgsave_status": "err"}, "redis.writes", "warning", "the last snapshot failed"),
        ({"connected_slaves": "1", "slave0": "ip=h,port=1,state=online"}, "redis.replicas", "ok", "1 replicas"),
        ({"connected_slaves": "1", "slave0": "ip=h,port=1,state=wait_bgsave"}, "redis.replicas", "warning", "1 of 1"),
        ({"evicted_keys": "7"}, "redis.counters", "warning", "7 keys were evicted"),
        ({"rejected_connections": "3"}, "redis.counters", "warning", "3 connections were rejected"),
        ({"evicted_clients": "2"}, "redis.counters", "warning", "2 clients were closed"),
    ],
)
def test_what_is_said(said: dict[str, str], check: str, status: str, words: str) -> None:
    findings = {finding.check: finding for finding in servers.judge(SOUND | said, OPTIONS, "Redis")}
    assert (str(findings[check].status), words in findings[check].detail) == (status, True)
    assert bool(findings[check].advice) == (status != "ok")
    assert [each.check for each in findings.values() if str(each.status) != "ok"] == ([check] if status != "ok" else [])
