"""Rules about what is set for a queue at run time: its size, its own limits, defaults; and moving what has ended."""

from __future__ import annotations

import asyncio

import pytest

from taskq.domain.limits import Rate, Slots
from taskq.domain.outcome import Bury, Complete, Release, Retry
from taskq.domain.state import TaskState
from taskq.ports import Enqueued, EnqueueStatus, Fill, QueueConfig, QueueSettings, TaskQuery
from taskq.testing.conformance.bench import FAILURE, LONG, Bench, moved
from taskq.testing.conformance.kit import Kit

CREATED, DUPLICATE, FULL = EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE, EnqueueStatus.FULL


async def end_one(bench: Bench, state: TaskState) -> str:
    """A task that has ended; returns its id."""
    if state is TaskState.CANCELLED:
        task = await bench.put()
        await bench.backend.broker.cancel([task.id])
        return task.id
    delivery = await bench.running()
    await bench.apply(delivery, Bury("rejected", FAILURE))
    return delivery.id


class SettingsRules(Kit):
    """What is set is kept, and can be taken back."""

    async def test_a_queue_of_which_nothing_is_set_has_the_defaults(self, bench: Bench) -> None:
        assert await bench.backend.queues.settings(bench.queue) == QueueSettings()

    async def test_what_is_set_is_kept_and_the_rest_stays(self, bench: Bench) -> None:
        queues = bench.backend.queues
        retry = {"strategy": "fixed", "delay": 2.0}
        await queues.configure(bench.queue, QueueConfig(max_size=10, workers=3, retry=retry, timeout=1.5))
        await queues.configure(bench.queue, QueueConfig(rate=Rate("", 2.5, 4.0), weight=2.0, expires=60.0))
        await queues.configure(bench.queue, QueueConfig(max_finished=7, warn_at=0.5, soft_timeout=1.0))
        settings = await queues.settings(bench.queue)
        assert settings.rate is not None
        assert settings.rate[1:] == Rate("", 2.5, 4.0)[1:]
        assert settings == QueueSettings(
            max_finished=7,
            max_size=10,
            warn_at=0.5,
            workers=3,
            rate=settings.rate,
            weight=2.0,
            retry=retry,
            timeout=1.5,
            soft_timeout=1.0,
            expires=60.0,
        )

    async def test_what_is_set_can_be_taken_back(self, bench: Bench) -> None:
        queues = bench.backend.queues
        await queues.configure(
            bench.queue, QueueConfig(max_size=1, workers=1, rate=Rate("", 1.0, 1.0), retry={"strategy": "none"})
        )
        await queues.configure(
            bench.queue, QueueConfig(max_size="default", workers="default", rate="default", retry="default")
        )
        assert await queues.settings(bench.queue) == QueueSettings()

    async def test_tasks_that_say_nothing_expire_as_their_queue_says(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(expires=bench.short))
        silent = await bench.put()
        own = await bench.put(expires=LONG)
        assert (await bench.record(silent.id)).expires_at is not None
        await bench.lapse()
        await bench.backend.maintenance.expire()
        assert [await bench.state(task.id) for task in (silent, own)] == [TaskState.EXPIRED, TaskState.PENDING]

    async def test_the_settings_tell_of_a_pause(self, bench: Bench) -> None:
        await bench.backend.queues.pause(bench.queue, "maintenance")
        settings = await bench.backend.queues.settings(bench.queue)
        assert (settings.paused_reason, settings.paused_until) == ("maintenance", None)
        await bench.backend.queues.resume(bench.queue)
        assert await bench.backend.queues.settings(bench.queue) == QueueSettings()

    async def test_a_task_that_says_nothing_lives_as_long_as_its_queue_says(self, bench: Bench) -> None:
        queues = bench.backend.queues
        await queues.configure(bench.queue, QueueConfig(expires=LONG))
        silent, own = await bench.put(), await bench.put(expires=2 * LONG)
        await queues.configure(bench.queue, QueueConfig(expires="default"))
        ever = await bench.put()
        lives = [await self._seconds_to_live(bench, task.id) for task in (silent, own, ever)]
        assert lives == [pytest.approx(LONG, rel=0.001), pytest.approx(2 * LONG, rel=0.001), None]

    @staticmethod
    async def _seconds_to_live(bench: Bench, id: str) -> float | None:
        record = await bench.record(id)
        return None if record.expires_at is None else (record.expires_at - record.created_at).total_seconds()

    async def test_a_queue_s_time_to_live_ends_its_tasks(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(expires=bench.kit.tick))
        task = await bench.put()
        await bench.pass_time(bench.kit.tick)
        assert await bench.take() == []
        await bench.backend.maintenance.expire()
        assert await bench.state(task.id) is TaskState.EXPIRED


class StandingRules(Kit):
    """How a queue stands is known without reading its tasks."""

    async def test_what_waits_is_counted_by_its_priority(self, bench: Bench) -> None:
        assert bench.queue not in await bench.backend.queues.standings()
        for priority, number in ((0, 1), (1, 3), (3, 2)):
            await bench.put_many(number, priority=priority)
        await bench.put(priority=1, group="acme")
        await bench.put(delay=LONG, priority=2)
        await bench.fetch(1)
        standing = (await bench.backend.queues.standings())[bench.queue]
        assert (standing.arrived, standing.pending) == (8, (1, 4, 0, 1))

    async def test_what_came_in_only_grows(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.apply(delivery, Bury("rejected", FAILURE))
        assert await self._arrived(bench) == 1
        await bench.backend.inspector.redrive([delivery.id])
        assert await self._arrived(bench) == 2
        again = await bench.take_one()
        await bench.apply(again, Retry(0.0, FAILURE))
        await bench.apply(await bench.take_one(), Complete())
        assert await self._arrived(bench) == 2

    @staticmethod
    async def _arrived(bench: Bench) -> int:
        return (await bench.backend.queues.standings())[bench.queue].arrived

    async def test_it_is_known_for_how_long_the_oldest_is_ready(self, bench: Bench) -> None:
        await bench.put(priority=3, delay=LONG)
        assert (await bench.backend.queues.standings())[bench.queue].oldest is None
        await bench.put(priority=1)
        await bench.pass_time(self.tick)
        await bench.put(priority=3)
        standing = (await bench.backend.queues.standings())[bench.queue]
        assert standing.oldest is not None
        assert standing.oldest >= self.tick * 0.9
        await bench.fetch(2)
        assert (await bench.backend.queues.standings())[bench.queue].oldest is None

    async def test_what_a_limit_keeps_back_waits_but_is_not_ready(self, bench: Bench) -> None:
        await bench.put_many(3, priority=2, limits=(Slots("one", 1),))
        await bench.fetch(3)
        standing = (await bench.backend.queues.standings())[bench.queue]
        assert (standing.pending, standing.oldest) == ((0, 0, 2, 0), None)

    async def test_what_came_back_is_ready_for_as_long_as_it_was(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.pass_time(self.tick)
        await bench.apply(delivery, Release())
        standing = (await bench.backend.queues.standings())[bench.queue]
        assert standing.pending == (0, 1, 0, 0)
        assert standing.oldest is not None
        assert standing.oldest >= self.tick * 0.9


class CapacityRules(Kit):
    """A queue holds as many waiting tasks as it may, and says so when it is full."""

    async def test_beyond_its_size_a_queue_refuses(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=3, warn_at=1.0))
        messages = [bench.message() for _ in range(5)]
        answers = await bench.backend.broker.enqueue(messages)
        assert [answer.status for answer in answers] == [CREATED] * 3 + [FULL] * 2
        assert answers[-1] == Enqueued(messages[-1].id, FULL, Fill(3, 3))
        assert await bench.counts() == {TaskState.PENDING: 3}

    async def test_delayed_tasks_count_and_running_ones_do_not(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=2))
        await bench.put(delay=LONG)
        await bench.put()
        assert await bench.enqueue(bench.message()) == [FULL]
        delivery = await bench.take_one()
        assert await bench.enqueue(bench.message()) == [CREATED]
        assert await bench.enqueue(bench.message()) == [FULL]
        await bench.apply(delivery, Complete())
        assert await bench.enqueue(bench.message()) == [FULL]

    async def test_one_that_is_refused_is_refused_as_often_as_it_is_said(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        await bench.put()
        refused = bench.message()
        assert await bench.enqueue(refused, refused) == [FULL, FULL]

    async def test_what_is_known_already_is_no_more(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        task = await bench.put()
        assert await bench.enqueue(task) == [DUPLICATE]

    async def test_all_or_none_where_there_is_not_room_for_all(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=2))
        messages = [bench.message() for _ in range(3)]
        assert await bench.enqueue(*messages, atomic=True) == [FULL] * 3
        assert await bench.counts() == {}
        assert await bench.enqueue(*messages[:2], atomic=True) == [CREATED] * 2

    async def test_other_queues_have_room(self, bench: Bench) -> None:
        there = bench.apart("there")
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        await bench.put()
        await there.put_many(3)

    async def test_what_comes_back_is_never_refused(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=1))
        await bench.put()
        await bench.apply(delivery, Bury("rejected", FAILURE))
        assert moved(await bench.backend.inspector.redrive([delivery.id])) == [True]

    async def test_past_its_warning_level_a_queue_says_how_full_it_is(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(max_size=4, warn_at=0.5))
        answers = [(await bench.backend.broker.enqueue([bench.message()]))[0] for _ in range(3)]
        assert [answer.fill for answer in answers] == [None, Fill(2, 4), Fill(3, 4)]


class QueueLimitRules(Kit):
    """Limits of a queue itself."""

    async def test_no_more_of_a_queue_run_at_once_than_may(self, bench: Bench) -> None:
        ids = await bench.put_many(5)
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers=2))
        deliveries = await bench.take(5)
        assert [delivery.id for delivery in deliveries] == ids[:2]
        assert not any(delivery.is_limited for delivery in deliveries)
        assert await bench.take(5) == []
        await bench.apply(deliveries[0], Complete())
        assert await bench.take_ids(5) == ids[2:3]
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers="default"))
        assert await bench.take_ids(5) == ids[3:]

    async def test_those_that_ran_before_the_limit_count(self, bench: Bench) -> None:
        running = await bench.running()
        await bench.put()
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers=1))
        assert await bench.take() == []
        await bench.apply(running, Complete())
        assert len(await bench.take()) == 1

    async def test_a_lost_lease_makes_room(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers=1))
        lost = await bench.lost()
        assert await bench.take_ids() == [lost.id]

    async def test_another_queue_of_the_same_claim_is_served(self, bench: Bench) -> None:
        there = bench.apart("there")
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers=1))
        first, *_ = await bench.put_many(3)
        others = await there.put_many(3)
        assert await bench.take_ids(4, queues=[bench.queue, there.queue]) == [first, *others]

    async def test_an_end_wakes_who_waits_for_a_full_queue(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers=1))
        running = await bench.running()
        [waits] = await bench.put_many(1)
        assert await bench.take() == []
        waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], LONG))
        await bench.let_wait()
        await bench.apply(running, Complete())
        while not await bench.finish(waiting) or not (ids := await bench.take_ids()):
            waiting = asyncio.create_task(bench.backend.broker.wait([bench.queue], LONG))
        assert ids == [waits]

    async def test_a_queue_keeps_its_rate(self, bench: Bench) -> None:
        rate = Rate("", 1 / LONG, 2.0)
        await bench.backend.queues.configure(bench.queue, QueueConfig(rate=rate))
        ids = await bench.put_many(4)
        assert await bench.take_ids(4) == ids[:2]
        fetched = await bench.fetch(4)
        assert fetched.deliveries == []
        assert fetched.next_due is not None
        assert fetched.next_due <= LONG
        await bench.backend.queues.configure(bench.queue, QueueConfig(rate="default"))
        assert await bench.take_ids(4) == ids[2:]

    async def test_a_queue_that_its_limits_close_does_not_keep_a_worker_spinning(self, bench: Bench) -> None:
        await bench.backend.queues.configure(bench.queue, QueueConfig(workers=1))
        await bench.running()
        await bench.put()
        hints = 0
        while await bench.backend.broker.wait([bench.queue], bench.kit.tick):
            assert await bench.take() == []
            hints += 1
            assert hints < 10, "hints without end of a task that nobody may take"


class MovingRules(Kit):
    """What has ended is given another queue, or forgotten."""

    @pytest.mark.parametrize("state", [TaskState.DEAD, TaskState.CANCELLED])
    async def test_a_task_is_redriven_to_another_queue(self, bench: Bench, state: TaskState) -> None:
        there = bench.beside("there")
        ended = await end_one(bench, state)
        assert moved(await bench.backend.inspector.redrive([ended], there.queue)) == [True]
        assert (await bench.record(ended)).queue == there.queue
        assert await bench.counts() == {}
        assert await there.counts() == {TaskState.PENDING: 1}
        delivery = await there.take_one()
        assert (delivery.id, delivery.queue) == (ended, there.queue)
        await there.apply(delivery, Complete())
        assert await there.counts() == {TaskState.COMPLETED: 1}

    @pytest.mark.parametrize("state", [TaskState.DEAD, TaskState.CANCELLED])
    async def test_a_task_that_has_ended_is_discarded(self, bench: Bench, state: TaskState) -> None:
        ended = await end_one(bench, state)
        kept = await bench.put()
        inspector = bench.backend.inspector
        assert await inspector.discard([ended, kept.id, ended]) == 1
        assert await inspector.discard([ended]) == 0
        assert await inspector.get(ended) is None
        assert await bench.counts() == {TaskState.PENDING: 1}
        assert (await inspector.list(TaskQuery(queue=bench.queue, state=state))).records == []
        message = bench.message(id=ended)
        assert await bench.enqueue(message) == [DUPLICATE]
