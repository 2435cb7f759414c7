"""Annotations: what a run says of itself."""

from __future__ import annotations

from taskq.domain.outcome import Complete, Retry
from taskq.domain.record import LOG_LIMIT, Progress
from taskq.testing.conformance.bench import FAILURE, Bench, new_id
from taskq.testing.conformance.kit import Kit


class AnnotationRules(Kit):
    """Progress, checkpoint and log of a running task; fencing.py tries the refused ones."""

    async def test_progress_is_replaced(self, bench: Bench) -> None:
        delivery = await bench.running()
        for progress in (Progress(0.25, "first"), Progress(0.5, "zweite Hälfte", b'{"rows":17}')):
            assert await bench.backend.annotations.progress(delivery, progress)
            assert (await bench.record(delivery.id)).progress == progress

    async def test_progress_stays_until_the_next_run_replaces_it(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.backend.annotations.progress(delivery, Progress(0.5, "half"))
        await bench.apply(delivery, Retry(0.0, FAILURE))
        again = await bench.take_one()
        assert (await bench.record(again.id)).progress == Progress(0.5, "half")

    async def test_a_checkpoint_is_replaced_and_found_by_the_next_attempt(self, bench: Bench) -> None:
        delivery = await bench.running()
        for data in (b"first", bytes(range(256))):
            assert await bench.backend.annotations.checkpoint(delivery, data)
        await bench.apply(delivery, Retry(0.0, FAILURE))
        await bench.take_one()
        assert (await bench.record(delivery.id)).checkpoint == bytes(range(256))

    async def test_lines_are_appended_to_the_log(self, bench: Bench) -> None:
        delivery = await bench.running()
        assert await bench.backend.annotations.log(delivery, ["one", "zwei: ü"])
        assert await bench.backend.annotations.log(delivery, [])
        assert await bench.backend.annotations.log(delivery, ["three", ""])
        assert (await bench.record(delivery.id)).logs == ("one", "zwei: ü", "three", "")

    async def test_the_newest_lines_are_kept(self, bench: Bench) -> None:
        delivery = await bench.running()
        lines = [f"line {n}" for n in range(LOG_LIMIT + 7)]
        await bench.backend.annotations.log(delivery, lines[:60])
        await bench.backend.annotations.log(delivery, lines[60:])
        assert list((await bench.record(delivery.id)).logs) == lines[7:]

    async def test_a_lost_run_that_nobody_has_claimed_still_writes(self, bench: Bench) -> None:
        delivery = await bench.lost()
        assert await bench.backend.annotations.progress(delivery, Progress(0.5))
        assert await bench.backend.annotations.checkpoint(delivery, b"x")
        assert await bench.backend.annotations.log(delivery, ["late"])
        record = await bench.record(delivery.id)
        assert (record.progress, record.checkpoint, record.logs) == (Progress(0.5), b"x", ("late",))

    async def test_what_was_written_outlives_the_run(self, bench: Bench) -> None:
        delivery = await bench.running()
        await bench.backend.annotations.progress(delivery, Progress(1.0, "done"))
        await bench.backend.annotations.log(delivery, ["done"])
        record = await bench.apply(delivery, Complete())
        assert (record.progress, record.logs) == (Progress(1.0, "done"), ("done",))

    async def test_a_task_without_a_record_takes_no_annotation(self, bench: Bench) -> None:
        delivery = (await bench.running())._replace(id=new_id(bench.backend.shard_of(bench.queue)))
        assert not await bench.backend.annotations.progress(delivery, Progress(0.5))
        assert not await bench.backend.annotations.checkpoint(delivery, b"x")
        assert not await bench.backend.annotations.log(delivery, ["x"])
