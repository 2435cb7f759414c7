"""Start-up: which URLs are read, which servers are trusted, what an acknowledged task survives."""

from __future__ import annotations

import asyncio

import pytest
import redis

from taskq.domain.outcome import Complete
from taskq.errors import BackendUnavailable, ConfigError, OutcomeUnknown, SchemaMismatch, UnsafeStore
from taskq.ports import BackendOptions, EnqueueStatus
from taskq.testing.conformance import Bench, Kit
from taskq_redis import RedisBackend, create_backend
from taskq_redis.checks import judge
from taskq_redis.connection import Address
from taskq_redis.urls import parse
from tests.redis.helpers import until
from tests.servers import RedisServer, free_port

SOUND = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "hash-max-listpack-value": "1024",
}


class TestUrls:
    """The forms of a URL."""

    def test_the_forms(self) -> None:
        assert parse("redis://").addresses == (Address("localhost", 6379),)
        assert parse("redis://[::1]:7000/3").addresses == (Address("::1", 7000),)
        assert parse("redis://u:p%40@h").login[:3] == ("u", "p@", 0)
        assert parse("rediss://h").login.tls is not None
        cluster = parse("redis+cluster://a:1,b:2?shards=4")
        assert (cluster.kind, cluster.addresses, cluster.shards) == ("cluster", (Address("a", 1), Address("b", 2)), 4)
        sentinel = parse("redis+sentinel://:pw@a,b:5/main/2")
        assert (sentinel.addresses, sentinel.service) == ((Address("a", 26379), Address("b", 5)), "main")
        assert (sentinel.login.password, sentinel.login.database) == ("pw", 2)

    @pytest.mark.parametrize(
        "url",
        [
            *("http://h", "redis+x://h", "redis://h:port", "redis://h/x", "redis://h/1/2", "redis+cluster://h/1"),
            *("redis+sentinel://h", "redis://h?shards=0", "redis://h?shards=257", "redis://h?shard=4"),
            *("rediss://h?ssl_ca_certs=/nowhere", "redis://h:0"),
        ],
    )
    def test_what_is_wrong_is_refused(self, url: str) -> None:
        with pytest.raises(ConfigError):
            parse(url)

    def test_no_representation_holds_the_password(self) -> None:
        with pytest.raises(ConfigError) as caught:
            parse("redis://u:secret@h/x")
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(parse("redis://u:secret@h"))

    def test_a_wrong_option_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="durability"):
            create_backend("redis://h", BackendOptions(durability="forever"))
        with pytest.raises(ConfigError, match="namespace"):
            create_backend("redis://h", BackendOptions(namespace="a{b"))


class TestJudgement:
    """What follows from what a server says."""

    @pytest.mark.parametrize(
        ("said", "durability", "words"),
        [
            ({"redis_version": "6.2.14"}, "process", "7.0 or newer"),
            ({"redis_version": "7.2.4", "valkey_version": "7.1.0"}, "process", "7.2 or newer"),
            ({"role": "slave"}, "process", "replica"),
            ({"maxmemory": "100", "maxmemory-policy": "allkeys-lru"}, "process", "noeviction"),
            ({"appendonly": "no"}, "disk", "appendonly yes"),
            ({"appendonly": "no"}, "replica", "appendonly yes"),
            ({"appendfsync": "everysec"}, "disk", "appendfsync always"),
        ],
    )
    def test_unsafe(self, said: dict[str, str], durability: str, words: str) -> None:
        with pytest.raises(UnsafeStore, match=words):
            judge(SOUND | said, True, BackendOptions(durability=durability), "Redis")

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ({"maxmemory-policy": "allkeys-lru"}, "noeviction"),
            ({"appendonly": "no"}, "appendonly yes"),
            ({"appendfsync": "no"}, "everysec"),
            ({"hash-max-listpack-value": "64"}, "1024"),
        ],
    )
    def test_warned(self, said: dict[str, str], words: str) -> None:
        [warning] = judge(SOUND | said, True, BackendOptions(), "Redis")
        assert words in warning

    def test_sound(self) -> None:
        assert judge(SOUND, True, BackendOptions(), "Redis") == []
        assert judge(SOUND | {"appendfsync": "always"}, True, BackendOptions(durability="disk"), "Redis") == []
        assert judge(SOUND | {"redis_version": "7.2.4"}, True, BackendOptions(durability="disk"), "Redis") == []
        [warning] = judge(SOUND, False, BackendOptions(), "Redis")
        assert "could not be checked" in warning


class TestServers:
    """The same, of real servers."""

    async def test_a_sound_server(self, backend: RedisBackend) -> None:
        assert await backend.check() == []
        assert await backend.migrate() == []

    async def test_a_cluster(self, redis_cluster_url: str, options: BackendOptions) -> None:
        async with create_backend(redis_cluster_url, options) as backend:
            assert await backend.check() == []

    async def test_a_server_that_evicts_is_refused(self, backend: RedisBackend, outside: redis.Redis) -> None:
        outside.config_set("maxmemory", "100mb")
        outside.config_set("maxmemory-policy", "volatile-lru")
        try:
            with pytest.raises(UnsafeStore, match="noeviction"):
                await backend.check()
        finally:
            outside.config_set("maxmemory", "0")
            outside.config_set("maxmemory-policy", "noeviction")

    async def test_a_server_that_is_away(self) -> None:
        async with create_backend(f"redis://127.0.0.1:{free_port()}", BackendOptions()) as backend:
            with pytest.raises(BackendUnavailable):
                await backend.check()

    async def test_a_user_without_rights(self, backend: RedisBackend, outside: redis.Redis, redis_url: str) -> None:
        outside.acl_setuser("limited", enabled=True, passwords=["+pw"], keys=["taskq:*"], channels=["nothing"],
                            categories=["+@all"], commands=["-config"])  # fmt: skip
        try:
            async with create_backend(redis_url.replace("//", "//limited:pw@"), BackendOptions()) as limited:
                [warning] = await limited.check()
                delivery = await Bench(Kit(), limited).running()
                waiting = asyncio.create_task(limited.results.wait(delivery.id, 60.0))
                await until(lambda: outside.hget(limited._store.keys[0].task(delivery.id), "aw"))
                await Bench(Kit(), limited).apply(delivery, Complete(b"5"))
                assert await asyncio.wait_for(waiting, 10.0) is not None
                assert "could not be checked" in warning
            async with create_backend(redis_url.replace("//", "//limited:no@"), BackendOptions()) as stranger:
                with pytest.raises(ConfigError, match="WRONGPASS") as caught:
                    await stranger.migrate()
                assert "limited:no" not in str(caught.value)
        finally:
            outside.acl_deluser("limited")

    async def test_another_schema_is_refused(self, backend: RedisBackend, outside: redis.Redis) -> None:
        outside.hset(backend._store.keys[0].meta, mapping={"version": 99, "shards": 1, "epoch": "x"})
        with pytest.raises(SchemaMismatch, match="99"):
            await backend.migrate()


class TestDurability:
    """What an acknowledged task survives."""

    async def test_replica_without_one_is_an_unknown_outcome(self, redis_url: str) -> None:
        options = BackendOptions(namespace="alone", durability="replica", command_timeout=0.2)
        async with create_backend(redis_url, options) as backend:
            bench = Bench(Kit(), backend)
            with pytest.raises(OutcomeUnknown, match="no replica"):
                await bench.put()

    async def test_replica_with_one(self) -> None:
        with (
            RedisServer() as master,
            RedisServer(config={"replicaof": f"127.0.0.1 {master.port}", "repl-diskless-sync-delay": "0"}) as replica,
            redis.Redis(port=replica.port) as copy,
        ):
            async with create_backend(master.url, BackendOptions(durability="replica")) as backend:
                assert await backend.check() == []
                bench = Bench(Kit(), backend)
                message = await bench.put()
                assert await bench.enqueue(message) == [EnqueueStatus.DUPLICATE]
                assert copy.exists(backend._store.keys[0].task(message.id)) == 1

    async def test_disk(self) -> None:
        with RedisServer(config={"appendfsync": "always"}) as server:
            async with create_backend(server.url, BackendOptions(durability="disk")) as backend:
                assert await backend.check() == []
                bench = Bench(Kit(), backend)
                message = await bench.put()
                assert await bench.enqueue(message) == [EnqueueStatus.DUPLICATE]

    async def test_disk_without_a_file_cannot_be_confirmed(self) -> None:
        with RedisServer(config={"appendonly": "no"}) as server:
            async with create_backend(server.url, BackendOptions(durability="disk")) as backend:
                with pytest.raises(UnsafeStore, match="cannot confirm"):
                    await Bench(Kit(), backend).put()
