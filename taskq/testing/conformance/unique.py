"""Rules about unique keys: one task holds a key, the next call finds that task, and no key survives its owner."""

from __future__ import annotations

from typing import Any

import pytest

from taskq.domain.message import Message
from taskq.domain.outcome import Bury, Complete, Retry, Settlement
from taskq.domain.state import TaskState
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import Edge
from taskq.ports import Enqueued, EnqueueStatus, QueueConfig, Redriven, RedriveStatus
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, new_id
from taskq.testing.conformance.kit import Kit
from taskq.testing.conformance.settle import SETTLEMENTS, name_of

CREATED, DUPLICATE, REPLACED = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.REPLACED


def key(bench: Bench, until: Until = Until.DONE, ttl: float | None = None) -> UniqueKey:
    """The key of this bench."""
    return UniqueKey(f"key-{bench.queue}", until, ttl)


async def send(bench: Bench, message: Message) -> Enqueued:
    """Enqueue one message."""
    [answer] = await bench.backend.broker.enqueue([message])
    return answer


async def dead(bench: Bench) -> str:
    """A task that was buried; returns its id."""
    delivery = await bench.running(unique=key(bench))
    await bench.apply(delivery, Bury("rejected", FAILURE))
    return delivery.id


class UniqueRules(Kit):
    """Who holds a key, and until when."""

    async def test_a_second_call_finds_the_task_of_the_first(self, bench: Bench) -> None:
        first = await bench.put(unique=key(bench))
        assert await send(bench, bench.message(unique=key(bench))) == Enqueued(first.id, DUPLICATE)
        assert await bench.counts() == {TaskState.PENDING: 1}
        assert (await bench.record(first.id)).unique == key(bench)

    async def test_two_in_one_call_make_one_task(self, bench: Bench) -> None:
        messages = [bench.message(unique=key(bench)) for _ in range(3)]
        answers = await bench.backend.broker.enqueue(messages)
        assert list(answers) == [
            Enqueued(messages[0].id, CREATED),
            Enqueued(messages[0].id, DUPLICATE),
            Enqueued(messages[0].id, DUPLICATE),
        ]

    async def test_one_that_is_refused_holds_no_key_against_the_next_of_its_call(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        await bench.put()
        beside, missing = f"{bench.queue}-beside", new_id(bench.backend.shard_of(bench.queue))
        full = [bench.message(unique=key(bench)) for _ in range(2)]
        lost = [bench.message(unique=UniqueKey("other"), parents=(Edge(missing),)) for _ in range(2)]
        fits = [bench.message(queue=beside, unique=one) for one in (key(bench), key(bench), UniqueKey("other"))]
        answers = await bench.backend.broker.enqueue([*full, *lost, *fits])
        assert [(answer.id, answer.status) for answer in answers[:4]] == [
            *((message.id, EnqueueStatus.FULL) for message in full),
            *((missing, EnqueueStatus.NO_PARENT) for _ in lost),
        ]
        if bench.backend.shard_of(beside) == bench.backend.shard_of(bench.queue):  # keys are held within a shard
            assert [(answer.id, answer.status) for answer in answers[4:]] == [
                (fits[0].id, CREATED),
                (fits[0].id, DUPLICATE),
                (fits[2].id, CREATED),
            ]

    async def test_a_repeat_after_a_lost_reply_is_no_second_task(self, bench: Bench) -> None:
        message = bench.message(unique=key(bench))
        assert [(await send(bench, message)).status for _ in range(2)] == [CREATED, DUPLICATE]

    async def test_who_is_known_is_a_duplicate_of_itself_whoever_holds_the_key(self, bench: Bench) -> None:
        first = await bench.put(unique=key(bench, Until.START))
        await bench.take_one()
        await bench.put(unique=key(bench, Until.START))
        assert await send(bench, first) == Enqueued(first.id, DUPLICATE)

    @pytest.mark.parametrize("until", [Until.START, Until.DONE])
    async def test_a_running_task_keeps_its_key_or_gives_it_back_as_it_says(self, bench: Bench, until: Until) -> None:
        first = await bench.running(unique=key(bench, until))
        answer = await send(bench, bench.message(unique=key(bench, until)))
        assert answer.status is (CREATED if until is Until.START else DUPLICATE)
        record = await bench.record(first.id)
        assert (record.state, record.fence) == (TaskState.RUNNING, 1)

    async def test_a_key_is_held_through_retries(self, bench: Bench) -> None:
        first = await bench.running(unique=key(bench))
        await bench.apply(first, Retry(LONG, FAILURE))
        assert await send(bench, bench.message(unique=key(bench))) == Enqueued(first.id, DUPLICATE)

    @pytest.mark.parametrize("settlement", SETTLEMENTS, ids=name_of)
    async def test_a_key_is_free_when_its_task_has_ended(self, bench: Bench, settlement: Settlement) -> None:
        first = await bench.running(unique=key(bench))
        record = await bench.apply(first, settlement)
        answer = await send(bench, bench.message(unique=key(bench)))
        assert answer.status is (CREATED if record.state.is_final else DUPLICATE)

    async def test_a_key_is_free_when_its_task_was_cancelled_expired_or_purged(self, bench: Bench) -> None:
        for end in ("cancel", "expire", "purge"):
            there = bench.apart(end)
            first = await there.put(unique=key(there), expires=bench.short if end == "expire" else None)
            if end == "cancel":
                await bench.backend.broker.cancel([first.id])
            elif end == "purge":
                await bench.backend.inspector.purge(there.queue)
            else:
                await bench.lapse()
                await bench.backend.maintenance.expire()
            assert (await send(there, there.message(unique=key(there)))).status is CREATED, end

    async def test_a_key_is_free_when_poison_ended_its_task(self, bench: Bench) -> None:
        lost = await bench.lost(unique=key(bench), max_lost_leases=1)
        assert await bench.state(lost.id) is TaskState.DEAD
        assert (await send(bench, bench.message(unique=key(bench)))).status is CREATED

    async def test_a_window_outlasts_its_task_and_ends_by_itself(self, bench: Bench) -> None:
        unique = key(bench, Until.TTL, bench.kit.tick * 3)
        first = await bench.running(unique=unique)
        await bench.apply(first, Complete())
        assert await send(bench, bench.message(unique=unique)) == Enqueued(first.id, DUPLICATE)
        await bench.pass_time(bench.kit.tick * 3.1)
        assert (await send(bench, bench.message(unique=unique))).status is CREATED

    async def test_a_key_with_a_time_is_free_after_it_though_its_task_waits(self, bench: Bench) -> None:
        unique = key(bench, Until.DONE, bench.kit.tick)
        await bench.put(unique=unique)
        await bench.pass_time(bench.kit.tick * 1.1)
        assert (await send(bench, bench.message(unique=unique))).status is CREATED

    async def test_who_has_lost_a_key_does_not_give_it_back_for_its_new_holder(self, bench: Bench) -> None:
        unique = key(bench, Until.DONE, bench.kit.tick)
        first = await bench.running(unique=unique)
        await bench.pass_time(bench.kit.tick * 1.1)
        second = await send(bench, bench.message(unique=key(bench)))
        assert second.status is CREATED
        await bench.apply(first, Complete())
        assert await send(bench, bench.message(unique=key(bench))) == Enqueued(second.id, DUPLICATE)

    async def test_a_window_does_not_outlast_the_record(self, bench: Bench) -> None:
        unique = key(bench, Until.TTL, LONG)
        first = await bench.running(unique=unique, retention=0.0)
        await bench.apply(first, Complete())
        await bench.lapse()
        await bench.backend.maintenance.prune()
        assert (await send(bench, bench.message(unique=unique))).status is CREATED

    async def test_other_keys_are_other_tasks(self, bench: Bench) -> None:
        await bench.put(unique=key(bench))
        await bench.put(unique=UniqueKey(f"other-{bench.queue}"))
        await bench.put()


class HolderRules(Kit):
    """Who holds a unique key can be asked."""

    async def test_the_holder_of_a_key_is_told_while_it_holds_it(self, bench: Bench) -> None:
        unique, inspector = key(bench), bench.backend.inspector
        assert await inspector.holder(bench.queue, unique) is None
        task = await bench.put(unique=unique)
        assert await inspector.holder(bench.queue, unique) == task.id
        delivery = await bench.take_one()
        assert await inspector.holder(bench.queue, unique) == task.id
        await bench.apply(delivery, Complete())
        assert await inspector.holder(bench.queue, unique) is None

    async def test_the_holder_of_a_key_is_told_until_its_time_is_over(self, bench: Bench) -> None:
        unique = key(bench, Until.TTL, LONG)
        delivery = await bench.running(unique=unique)
        await bench.apply(delivery, Complete())
        assert await bench.backend.inspector.holder(bench.queue, unique) == delivery.id


class RedrivenKeyRules(Kit):
    """What becomes of a key when its task is started anew."""

    async def test_a_redriven_task_takes_its_key_again(self, bench: Bench) -> None:
        first = await dead(bench)
        assert await bench.backend.inspector.redrive([first]) == [Redriven(RedriveStatus.MOVED)]
        assert await send(bench, bench.message(unique=key(bench))) == Enqueued(first, DUPLICATE)

    async def test_a_redrive_is_refused_while_another_holds_the_key(self, bench: Bench) -> None:
        first = await dead(bench)
        second = await bench.put(unique=key(bench))
        assert await bench.backend.inspector.redrive([first]) == [Redriven(RedriveStatus.HELD, second.id)]
        assert await bench.state(first) is TaskState.DEAD

    async def test_of_two_redriven_with_one_key_one_waits(self, bench: Bench) -> None:
        ids = [await dead(bench) for _ in range(2)]
        answers = await bench.backend.inspector.redrive(sorted(ids))
        assert answers == [Redriven(RedriveStatus.MOVED), Redriven(RedriveStatus.HELD, sorted(ids)[0])]


class ReplaceRules(Kit):
    """A newer call takes the place of the arguments of the one that waits."""

    async def test_the_waiting_task_takes_the_arguments(self, bench: Bench) -> None:
        unique = key(bench, Until.START)
        first = await bench.put(unique=unique)
        newer = self._newer(first, unique)
        assert await send(bench, newer) == Enqueued(first.id, REPLACED)
        assert await send(bench, newer) == Enqueued(first.id, REPLACED)
        record = await bench.record(first.id)
        assert (record.state, record.body) == (TaskState.PENDING, newer.body)
        assert (await bench.take_one()).body == newer.body

    async def test_it_is_put_off_where_the_newer_call_says_so(self, bench: Bench) -> None:
        unique = key(bench, Until.START)
        first = await bench.put(unique=unique)
        await send(bench, self._newer(first, unique)._replace(delay=LONG))
        assert await bench.state(first.id) is TaskState.SCHEDULED
        assert await bench.take() == []

    async def test_a_scheduled_task_is_put_off_again(self, bench: Bench) -> None:
        unique = key(bench, Until.START)
        first = await bench.put(unique=unique, delay=bench.kit.tick)
        await send(bench, self._newer(first, unique)._replace(delay=LONG))
        await bench.pass_time(bench.kit.tick * 1.1)
        assert await bench.take() == []

    async def test_it_is_put_off_no_longer_than_it_may_wait(self, bench: Bench) -> None:
        unique = key(bench, Until.START)
        first = await bench.put(unique=unique, delay=bench.short, longest_wait=bench.kit.tick)
        await send(bench, self._newer(first, unique)._replace(delay=LONG))
        await bench.pass_time(bench.kit.tick * 1.1)
        assert (await bench.take_one()).id == first.id

    @pytest.mark.parametrize("state", [TaskState.RUNNING, TaskState.COMPLETED])
    async def test_a_task_that_has_begun_is_never_touched(self, bench: Bench, state: TaskState) -> None:
        unique = key(bench, Until.START)
        first = await bench.running(unique=unique)
        if state is TaskState.COMPLETED:
            await bench.apply(first, Complete())
        before = await bench.record(first.id)
        message = bench.message(id=first.id, body=b"newer", unique=unique, replaces=True)
        assert await send(bench, message) == Enqueued(first.id, DUPLICATE)
        assert await bench.record(first.id) == before

    async def test_without_the_key_nothing_is_replaced(self, bench: Bench) -> None:
        first = await bench.put()
        unique = key(bench, Until.START)
        assert await send(bench, self._newer(first, unique)) == Enqueued(first.id, DUPLICATE)
        assert (await bench.record(first.id)).body == first.body

    @staticmethod
    def _newer(first: Message, unique: UniqueKey, **fields: Any) -> Message:
        return first._replace(body=b'1 00000000 0\n{"n":2}', unique=unique, replaces=True, **fields)
