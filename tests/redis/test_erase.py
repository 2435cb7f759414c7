"""Taking a namespace away whole, and nothing beside it."""

from __future__ import annotations

import pytest
import redis

from taskq.ports import BackendOptions, ErasableBackend
from taskq.testing.conformance import Bench, Kit
from taskq_redis import create_backend
from taskq_redis.transport import SCANNED


async def filled(url: str, namespace: str) -> None:
    """Put tasks and more into a namespace."""
    async with create_backend(url, BackendOptions(namespace=namespace)) as backend:
        bench = Bench(Kit(), backend)
        await bench.enqueue(*(bench.message() for _ in range(3)))
        await backend.documents.put("key", "a", b"{}")
        await backend.journal.append("audit", 1, b"{}")


async def erase(url: str, namespace: str) -> None:
    async with create_backend(url, BackendOptions(namespace=namespace)) as backend:
        assert isinstance(backend, ErasableBackend)
        await backend.erase()


def namespaces(client: redis.Redis) -> set[str]:
    return {key.decode().partition("{")[2].partition(":")[0] for key in client.scan_iter()}


async def test_one_namespace_goes_and_its_neighbours_stay(redis_url: str) -> None:
    for namespace in ("shop", "shop2", "shop_a", "Shop", "sho"):
        await filled(redis_url, namespace)
    with redis.Redis.from_url(redis_url) as client:
        client.set("taskq:{shop", "another's")
        before = client.dbsize()
        of_shop = [key for key in client.scan_iter() if key.startswith(b"taskq:{shop:")]
        for _ in range(2):
            await erase(redis_url, "shop")
            assert client.dbsize() == before - len(of_shop)
        assert namespaces(client) == {"shop", "shop2", "shop_a", "Shop", "sho"}  # the first is the other's key
        assert client.delete("taskq:{shop") == 1


async def test_what_means_more_to_a_pattern_takes_nobody_else_along(redis_url: str) -> None:
    for namespace in ("a*", "ab"):
        await filled(redis_url, namespace)
    await erase(redis_url, "a*")
    with redis.Redis.from_url(redis_url) as client:
        assert namespaces(client) == {"ab"}


async def test_more_keys_than_one_look_sees(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"taskq:{{shop:0}}:task:{number}": "" for number in range(3 * SCANNED)})
        client.mset({f"other:{number}": "" for number in range(3 * SCANNED)})
        await erase(redis_url, "shop")
        assert client.dbsize() == 3 * SCANNED


@pytest.mark.parametrize("times", [1, 2])
async def test_all_shards_of_a_cluster(redis_cluster_url: str, times: int) -> None:
    for namespace in ("shop", "shop2"):
        await filled(redis_cluster_url, namespace)
    for _ in range(times):
        await erase(redis_cluster_url, "shop")
    async with create_backend(redis_cluster_url, BackendOptions(namespace="shop2")) as backend:
        assert await backend.documents.get("key", "a") is not None
    with redis.Redis(port=int(redis_cluster_url.split("?")[0].rpartition(":")[2].strip("/"))) as client:
        assert namespaces(client) == {"shop2"}
