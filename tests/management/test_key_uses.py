"""When a key was used last: noted behind the request, once an hour."""

from __future__ import annotations

from datetime import datetime

import pytest

from taskq import App
from taskq.management import Actor, Keys, Management, Role
from taskq.management.keys import KIND, USE_IS_NOTED_AFTER
from tests.management.conftest import Clock, documents


async def uses(app: App) -> list[datetime | None]:
    return [key.used_at for key in await Management(app, Actor("ann", [Role.ADMIN])).keys.list()]


async def test_the_last_use_is_written_behind_the_request_and_once_an_hour(
    app: App, management: Management, clock: Clock
) -> None:
    made = await management.keys.create("ci", ["viewer"])
    first, verifying = clock.now, Keys(app, clock)
    await verifying.verify(made.text)
    assert await uses(app) == [None]
    await verifying.tick()
    assert await uses(app) == [first]
    [before] = await documents(app)
    clock.advance(seconds=USE_IS_NOTED_AFTER.total_seconds() - 1)
    assert await verifying.verify(made.text) is not None
    await verifying.tick()
    assert await documents(app) == [before]
    clock.advance(seconds=1)
    await verifying.verify(made.text)
    await verifying.tick()
    assert await uses(app) == [clock.now]


async def test_of_several_servers_one_writes_the_last_use(app: App, management: Management, clock: Clock) -> None:
    made = await management.keys.create("ci", ["viewer"])
    servers = [Keys(app, clock) for _ in range(3)]
    for server in servers:
        await server.verify(made.text)
    for server in servers:
        assert await server.tick() > 0
    [document] = await documents(app)
    assert document.version == 2


async def test_who_is_refused_leaves_no_trace(app: App, management: Management) -> None:
    made = await management.keys.create("ci", ["viewer"])
    verifying = Keys(app)
    for text in (made.text[:-1], f"{made.key.prefix}_{'A' * 43}"):
        await verifying.verify(text)
    await verifying.tick()
    assert await uses(app) == [None]


async def test_a_key_that_is_revoked_while_its_use_is_written_stays_revoked(
    app: App, management: Management, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await management.keys.create("ci", ["viewer"])
    verifying = Keys(app)
    await verifying.verify(made.text)
    store = (await app.backend()).documents
    put = store.put

    async def put_late(kind: str, id: str, data: bytes, version: int = 0) -> bool:
        monkeypatch.setattr(store, "put", put)
        await management.keys.revoke(made.key.id)
        return await put(kind, id, data, version)

    monkeypatch.setattr(store, "put", put_late)
    await verifying.tick()
    [key] = await management.keys.list()
    assert key.revoked_at is not None
    assert key.used_at is not None


async def test_the_use_of_a_key_that_was_forgotten_is_no_fault(app: App, management: Management) -> None:
    made, other = [await management.keys.create("ci", ["viewer"]) for _ in range(2)]
    verifying = Keys(app)
    for one in (made, other):
        await verifying.verify(one.text)
    await (await app.backend()).documents.delete(KIND, made.key.id, 1)
    await verifying.tick()
    assert [used is None for used in await uses(app)] == [False]
