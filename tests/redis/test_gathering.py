"""Single messages that share calls: each caller gets an error of its own, and nobody is cancelled by the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskq.domain.outcome import Bury
from taskq.domain.state import TaskState
from taskq.errors import BackendUnavailable, InvalidOption, OutcomeUnknown
from taskq.ports import BackendOptions, EnqueueStatus, SettleStatus
from taskq.testing.conformance import Bench, Kit
from taskq.testing.conformance.bench import FAILURE
from taskq_redis import create_backend
from tests.redis.fake import CREATED, Command, FakeRedis
from tests.redis.helpers import until

SURROGATE = chr(0xD800)


class TestTheEnd:
    """What callers are told whose messages are on their way, or wait for their turn, when the backend is closed."""

    @pytest.mark.parametrize(
        ("answered", "expected"),
        [
            (0, [OutcomeUnknown, BackendUnavailable, BackendUnavailable]),
            (1, [list, OutcomeUnknown, OutcomeUnknown]),
        ],
    )
    async def test_each_is_told_whether_its_message_may_be_stored(self, answered: int, expected: list[type]) -> None:
        answers = iter([CREATED] * answered)

        def answer(command: Command) -> bytes:
            return next(answers, b"")

        async with FakeRedis(answer) as server:
            backend = create_backend(f"redis://127.0.0.1:{server.port}", BackendOptions())
            async with backend:
                await backend.migrate()
                bench = Bench(Kit(), backend)
                calls = [asyncio.create_task(backend.broker.enqueue([bench.message()])) for _ in range(3)]
                await until(lambda: server.seen["EVALSHA"] == 2 + answered)
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == expected
            with pytest.raises(BackendUnavailable):
                await backend.broker.enqueue([bench.message()])
            await until(lambda: server.connected == 0)
            assert server.accepted == 1


class TestTexts:
    """A text that UTF-8 cannot hold."""

    @pytest.mark.parametrize("field", ["tenant", "group", "name"])
    async def test_a_message_that_cannot_be_written_down_fails_alone(self, bench: Bench, field: str) -> None:
        fields: list[dict[str, Any]] = [{}, {}, {field: SURROGATE}, {}]
        messages = [bench.message(**some) for some in fields]
        calls = [bench.backend.broker.enqueue([message]) for message in messages]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [list, list, InvalidOption, list]
        assert await bench.counts() == {TaskState.PENDING: 3}

    async def test_nothing_is_stored_of_a_call_with_such_a_message(self, bench: Bench) -> None:
        messages = [bench.message() for _ in range(150)]
        messages[-1] = messages[-1]._replace(tenant=SURROGATE)
        with pytest.raises(InvalidOption):
            await bench.backend.broker.enqueue(messages)
        assert await bench.counts() == {}
        assert set(await bench.enqueue(*messages[:-1])) == {EnqueueStatus.CREATED}

    async def test_what_a_run_says_of_itself_is_kept_without_it(self, bench: Bench) -> None:
        delivery = await bench.running()
        assert await bench.backend.annotations.log(delivery, [f"line {SURROGATE}"])
        assert await bench.settle(delivery, Bury(f"no {SURROGATE}", FAILURE)) == SettleStatus.APPLIED
        record = await bench.record(delivery.id)
        assert (record.reason, record.logs) == ("no ?", ("line ?",))
        waiting = await bench.put()
        await bench.backend.broker.cancel([waiting.id], f"why {SURROGATE}")
        assert (await bench.record(waiting.id)).reason == "why ?"

    async def test_any_other_argument_is_refused_by_an_error_of_ours(self, bench: Bench) -> None:
        for call in (bench.backend.inspector.purge(SURROGATE), bench.backend.queues.pause("q", SURROGATE)):
            with pytest.raises(InvalidOption):
                await call
