"""Finding a node and keeping one connection to it: nothing leaks, nothing is asked twice, every error is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from taskq.errors import BackendUnavailable, OutcomeUnknown, TaskqError
from taskq.ports import BackendOptions, CancelStatus
from taskq.testing.conformance.bench import new_id
from taskq_redis import RedisBackend, create_backend
from taskq_redis.connection import Address, Login
from taskq_redis.routes import Node
from tests.redis.fake import ONE, Command, FakeRedis
from tests.redis.helpers import until

READONLY = b"-READONLY You can't write against a read only replica.\r\n"
CALLERS = 20
_ATTEMPTS = ("connect", "_open")
Answer = Callable[[Command], bytes | None]


def _no_answer(command: Command) -> bytes:
    return b""


def _backend(server: FakeRedis, form: str = "redis://{}", retry_for: float = 10.0) -> RedisBackend:
    return create_backend(form.format(f"127.0.0.1:{server.port}"), BackendOptions(retry_for=retry_for))


async def _cancel_one(backend: RedisBackend) -> CancelStatus:
    [status] = await backend.broker.cancel([new_id()])
    return status


async def _connected() -> None:
    """Wait until every attempt to connect is over, without asking for its connection."""
    attempts = [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") in _ATTEMPTS]
    await asyncio.gather(*attempts)


class TestConnectionsOfANode:
    """One connection, whoever gives up while it is being made."""

    async def test_a_cancelled_caller_leaves_the_connection_to_the_next(self) -> None:
        async with FakeRedis(_no_answer) as server:
            node = Node(Address("127.0.0.1", server.port), Login(), 5.0)
            for attempt in range(1, 4):
                server.may_greet.clear()
                caller = asyncio.create_task(node.connection())
                await until(lambda: server.accepted == attempt)  # noqa: B023 - it is asked within the round
                caller.cancel()
                await asyncio.gather(caller, return_exceptions=True)
                server.may_greet.set()
                await _connected()
                connection = await node.connection()
                assert (server.accepted, server.connected) == (attempt, 1)
                connection.close()
                await until(lambda: server.connected == 0)
            await node.close()

    async def test_a_connection_that_nobody_waited_for_is_closed_with_its_node(self) -> None:
        async with FakeRedis(_no_answer) as server:
            node = Node(Address("127.0.0.1", server.port), Login(), 5.0)
            (await node.connection()).close()
            server.may_greet.clear()
            caller = asyncio.create_task(node.connection())
            await until(lambda: server.accepted == 2)
            caller.cancel()
            server.may_greet.set()
            await _connected()
            await node.close()
            await until(lambda: server.connected == 0)

    async def test_nothing_is_connected_after_the_end(self) -> None:
        async with FakeRedis(_no_answer) as server:
            backend = _backend(server)
            async with backend:
                await backend.migrate()
                calls = [asyncio.create_task(_cancel_one(backend)) for _ in range(3)]
                waiting = asyncio.create_task(backend.broker.wait(["q"], 60.0))
                await until(lambda: server.seen == {"EVALSHA": 4, "BLPOP": 1})
            answers = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(answer) for answer in answers] == [OutcomeUnknown] * 3
            assert await waiting is True
            with pytest.raises(BackendUnavailable):
                await _cancel_one(backend)
            await until(lambda: server.connected == 0)
            assert server.accepted == 2

    async def test_whoever_pauses_before_the_next_try_is_told_of_the_end(self) -> None:
        async with FakeRedis(lambda command: b"-LOADING not yet\r\n") as server:
            async with _backend(server, retry_for=3600.0) as backend:
                await backend.migrate()
                call = asyncio.create_task(_cancel_one(backend))
                await until(lambda: server.seen["EVALSHA"] > 5)
            with pytest.raises(BackendUnavailable):
                await asyncio.wait_for(call, 5.0)

    async def test_a_backend_may_be_opened_again(self) -> None:
        async with FakeRedis(lambda command: ONE) as server:
            backend = _backend(server)
            for _ in range(2):
                async with backend:
                    assert await _cancel_one(backend) == CancelStatus.CANCELLED
                await until(lambda: server.connected == 0)
            assert server.accepted == 2


class _Replica:
    """Answers three scripts, once all have come, with READONLY; and then becomes a master."""

    def __init__(self) -> None:
        self._refusals = 0

    def __call__(self, command: Command) -> bytes:
        self._refusals += 1
        if self._refusals > 3:
            return ONE
        return READONLY * 3 if self._refusals == 3 else b""


class TestReadOnly:
    """A master that became a replica: its connection is left once, and only errors of taskq are seen."""

    async def test_callers_in_flight_find_the_new_master_together(self) -> None:
        async with FakeRedis(_Replica()) as server, _backend(server) as backend:
            await backend.migrate()
            answers = await asyncio.gather(*(_cancel_one(backend) for _ in range(3)))
            assert answers == [CancelStatus.CANCELLED] * 3
            assert server.accepted == 2

    async def test_callers_in_flight_are_told_by_an_error_of_ours(self) -> None:
        replica = _Replica()

        def answer(command: Command) -> bytes:
            reply = replica(command)
            if reply:
                server.stop_listening()
            return reply

        async with FakeRedis(answer) as server, _backend(server, retry_for=0.2) as backend:
            await backend.migrate()
            answers = await asyncio.gather(*(_cancel_one(backend) for _ in range(3)), return_exceptions=True)
            assert [type(answer) for answer in answers] == [BackendUnavailable] * 3
            assert server.accepted == 1


class TestOneFlight:
    """However many callers have lost their way, the cluster or the sentinel is asked once."""

    async def test_the_map_is_read_once_at_the_start(self) -> None:
        async with FakeRedis(_cluster(lambda command: ONE)) as server:
            route = _backend(server, "redis+cluster://{}?shards=4")._store.transport.route
            nodes = await asyncio.gather(*(route.node(slot) for slot in range(CALLERS)))
            assert {node.address.port for node in nodes} == {server.port}
            assert server.seen == {"CLUSTER": 1}
            await route.close()

    @pytest.mark.parametrize("trouble", [b"-MOVED 1 127.0.0.1:<port>\r\n" * CALLERS, None])
    async def test_the_map_is_read_once_after_a_change(self, trouble: bytes | None) -> None:
        answers = _cluster(_trouble_once(trouble))
        async with FakeRedis(answers) as server, _backend(server, "redis+cluster://{}") as backend:
            await backend.migrate()
            assert server.seen["CLUSTER"] == 1
            assert set(await asyncio.gather(*(_cancel_one(backend) for _ in range(CALLERS)))) == {
                CancelStatus.CANCELLED
            }
            assert server.seen["CLUSTER"] == 2

    async def test_the_sentinel_is_asked_once_after_a_loss(self) -> None:
        answers = _sentinel(_trouble_once(None))
        async with FakeRedis(answers) as server, _backend(server, "redis+sentinel://{}/main") as backend:
            await backend.migrate()
            await asyncio.gather(*(_cancel_one(backend) for _ in range(CALLERS)))
            assert server.seen["SENTINEL"] == 2

    async def test_late_news_of_the_same_change_are_none(self) -> None:
        async with FakeRedis(_cluster(lambda command: ONE)) as server:
            route = _backend(server, "redis+cluster://{}")._store.transport.route
            await route.node(17)
            route.forget(17, Address("127.0.0.1", 1))
            await route.node(17)
            assert server.seen == {"CLUSTER": 1}
            await route.close()

    async def test_a_node_without_a_name_is_where_it_was_asked(self) -> None:
        for host in (b"$-1\r\n", b"$0\r\n\r\n"):
            answers = _cluster(lambda command: ONE, host)
            async with FakeRedis(answers) as server, _backend(server, "redis+cluster://{}") as backend:
                assert await _cancel_one(backend) == CancelStatus.CANCELLED

    async def test_a_refused_login_is_an_error_of_ours(self) -> None:
        async with FakeRedis(lambda command: b"-WRONGPASS no\r\n") as server:
            url = f"redis+cluster://:secret@127.0.0.1:{server.port}"
            async with create_backend(url, BackendOptions()) as backend:
                for call in (backend.migrate(), backend.check(), backend.broker.wait(["q"], 5.0)):
                    with pytest.raises(TaskqError, match="WRONGPASS") as caught:
                        await call
                    assert "secret" not in str(caught.value)


def _cluster(answer: Answer, host: bytes = b"$9\r\n127.0.0.1\r\n") -> Answer:
    """A cluster of the one server, which says `host` of itself."""
    slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n" + host + b":<port>\r\n"
    return lambda command: slots if command[0] == b"CLUSTER" else answer(command)


def _sentinel(answer: Answer) -> Answer:
    """A sentinel that names itself as the master."""
    master = b"*2\r\n$9\r\n127.0.0.1\r\n$5\r\n<port>\r\n"
    return lambda command: master if command[0] == b"SENTINEL" else answer(command)


def _trouble_once(trouble: bytes | None) -> Answer:
    """Once all callers have said what they want they get into trouble; then each is served."""
    waiting = iter([b""] * (CALLERS - 1) + [trouble])
    return lambda command: next(waiting, ONE)
