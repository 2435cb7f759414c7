"""Metrics: what is shown of which figures, under which names and labels, and that there are never too many."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from taskq import App
from taskq.domain.figures import MOST_SERIES, Figures, Frame, add
from taskq.telemetry.prometheus import FiguresCollector, instrument, registry_of

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def shown(frame: Mapping[str, Figures]) -> Samples:
    """What a scrape gives, as a parser of the format reads it."""
    text = generate_latest(registry_of(lambda: frame)).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, metric: str, **labels: str) -> float | None:
    return samples.get((metric, frozenset(labels.items())))


def ran(**counts: float) -> Figures:
    return Figures({**counts, "duration.seconds": 1.5}, {"duration": {0: 1, 8: 2, 150: 1}, "wait": {-80: 4}})


def test_counts_by_task_queue_and_status() -> None:
    samples = shown({"run mail.send mail": ran(submitted=5, completed=3, dead=1, retried=2, snoozed=1)})
    mail = {"task": "mail.send", "queue": "mail"}
    assert value(samples, "taskq_tasks_submitted_total", **mail) == 5
    assert value(samples, "taskq_tasks_ended_total", **mail, status="completed") == 3
    assert value(samples, "taskq_tasks_ended_total", **mail, status="dead") == 1
    assert value(samples, "taskq_tasks_ended_total", **mail, status="failed") == 0
    assert value(samples, "taskq_tasks_retried_total", **mail) == 2
    assert value(samples, "taskq_tasks_returned_total", **mail, reason="snoozed") == 1


def test_a_process_that_only_enqueues_shows_no_ends() -> None:
    samples = shown({"run mail.send mail": Figures({"submitted": 5})})
    assert [name for name, _ in samples] == ["taskq_tasks_submitted_total"]


def test_durations_are_histograms_with_their_sum() -> None:
    samples = shown({"run a q": ran()})
    labels = {"task": "a", "queue": "q"}
    bucket = "taskq_task_duration_seconds_bucket"
    found = [value(samples, bucket, **labels, le=le) for le in ("0.001", "0.002", "0.004", "1048.58", "+Inf")]
    assert found == [1, 3, 3, 4, 4]
    assert value(samples, "taskq_task_duration_seconds_sum", **labels) == 1.5
    assert value(samples, "taskq_task_duration_seconds_count", **labels) == 4


def test_what_stands_in_the_store() -> None:
    queue = Figures({"came": 9}, levels={"pending.3": 2, "state.dead": 4, "oldest": 1.5, "dead": 4, "to_drain": 60})
    frame = {
        "queue mail": queue,
        "limit mail.send rate": Figures(levels={"saturation": 0.5}),
        "breaker mail.send": Figures(levels={"open": 1}),
        "schedule nightly": Figures(levels={"late": 3}),
        "fleet": Figures(levels={"workers": 2, "workers.idle": 2}),
    }
    samples = shown(frame)
    assert value(samples, "taskq_queue_arrived_total", queue="mail") == 9
    assert value(samples, "taskq_queue_pending", queue="mail", priority="critical") == 2
    assert value(samples, "taskq_queue_tasks", queue="mail", state="dead") == 4
    assert value(samples, "taskq_queue_oldest_seconds", queue="mail") == 1.5
    assert value(samples, "taskq_queue_seconds_to_drain", queue="mail") == 60
    assert value(samples, "taskq_limit_saturation_ratio", limit="mail.send", kind="rate") == 0.5
    assert value(samples, "taskq_breaker_open", task="mail.send") == 1
    assert value(samples, "taskq_schedule_late_seconds", schedule="nightly") == 3
    assert value(samples, "taskq_workers", state="idle") == 2


def test_the_share_of_the_slots_is_that_of_all_processes() -> None:
    samples = shown({"process": Figures(levels={"slots.async": 8, "running.async": 2, "slots.thread": 0})})
    assert value(samples, "taskq_worker_utilisation_ratio", executor="async") == 0.25
    assert value(samples, "taskq_worker_utilisation_ratio", executor="thread") is None


def test_labels_are_bounded_and_the_rest_is_other() -> None:
    frame: Frame = {}
    add(frame, {f"run task{n} mail": ran(completed=1) for n in range(MOST_SERIES + 50)})
    samples = shown(frame)
    tasks = {dict(labels)["task"] for name, labels in samples if name == "taskq_tasks_ended_total"}
    assert len(tasks) == MOST_SERIES + 1
    assert value(samples, "taskq_tasks_ended_total", task="other", queue="other", status="completed") == 50


async def test_a_process_shows_what_it_enqueues_beside_its_own_metrics() -> None:
    registry = CollectorRegistry()
    async with App("memory://") as app:
        collector = instrument(app, registry)
        await app.aenqueue("mail.send", {})
        assert not list(collector.describe())
        mail = {"task": "mail.send", "queue": "default"}
        assert registry.get_sample_value("taskq_tasks_submitted_total", mail) == 1
        registry.unregister(collector)


async def test_duplicates_are_not_counted_as_submitted() -> None:
    async with App("memory://") as app:

        @app.task(name="add")
        def add_up(x: int) -> int:
            return x

        for _ in range(3):
            await add_up.options(idempotency_key="one").aenqueue(1)
        await add_up.aenqueue_many([(1,), (2,)])
        assert app.stores.submitted.numbers == {("add", "default"): 3}


@pytest.mark.parametrize("name", ["a b", 'quote"', "back\\slash", "new\nline", "ünïcode"])
def test_any_name_is_written_so_that_it_can_be_read(name: str) -> None:
    collector = FiguresCollector(lambda: {f"schedule {name.replace(' ', '_')}": Figures(levels={"late": 1})})
    registry = CollectorRegistry()
    registry.register(collector)
    [family] = text_string_to_metric_families(generate_latest(registry).decode())
    assert family.samples[0].labels == {"schedule": name.replace(" ", "_")}


def test_nothing_else_is_shown_for_a_frame_without_anything() -> None:
    assert shown({}) == {}
