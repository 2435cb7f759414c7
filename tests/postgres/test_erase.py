"""Taking a namespace away whole, and nothing beside it."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from taskq.errors import SchemaMismatch
from taskq.ports import BackendOptions, ErasableBackend
from taskq.testing.conformance import Bench, Kit
from taskq_postgres import create_backend

SCHEMAS = "select nspname from pg_namespace where nspname like 'taskq%'"


async def filled(url: str, namespace: str) -> None:
    """Put tasks into a namespace."""
    async with create_backend(url, BackendOptions(namespace=namespace)) as backend:
        await backend.migrate()
        bench = Bench(Kit(), backend)
        await bench.enqueue(*(bench.message() for _ in range(3)))


async def erase(url: str, namespace: str) -> None:
    async with create_backend(url, BackendOptions(namespace=namespace)) as backend:
        assert isinstance(backend, ErasableBackend)
        await backend.erase()


def schemas(url: str) -> set[str]:
    with psycopg.connect(url.replace("postgres://", "postgresql://")) as connection:
        return {name for (name,) in connection.execute(SCHEMAS).fetchall()}


async def test_one_namespace_goes_and_its_neighbours_stay(postgres_url: str) -> None:
    for namespace in ("shop", "shop2", "sho"):
        await filled(postgres_url, namespace)
    for _ in range(2):
        await erase(postgres_url, "shop")
        assert schemas(postgres_url) == {"taskq", "taskq_shop2", "taskq_sho"}
    async with create_backend(postgres_url, BackendOptions(namespace="shop")) as backend:
        with pytest.raises(SchemaMismatch):
            await backend.check()


async def test_a_namespace_can_be_made_anew(postgres_url: str) -> None:
    for _ in range(2):
        await filled(postgres_url, "shop")
        await erase(postgres_url, "shop")
    assert schemas(postgres_url) == {"taskq"}


async def test_several_may_do_so_at_once(postgres_url: str) -> None:
    await filled(postgres_url, "shop")
    await asyncio.gather(*(erase(postgres_url, "shop") for _ in range(3)))
    assert schemas(postgres_url) == {"taskq"}
