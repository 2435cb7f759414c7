"""Figures as Prometheus scrapes them (prometheus-client, the extra `metrics`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from taskq.app import App
from taskq.domain.figures import (
    BREAKER,
    FLEET,
    GROUP,
    LIMIT,
    PROCESS,
    QUEUE,
    RUN,
    SCHEDULE,
    SECONDS,
    TENANT,
    Figures,
    series,
)
from taskq.domain.message import Priority
from taskq.domain.sketch import PER_OCTAVE, bound, cumulative

BOUNDS = tuple(range(0, 21 * PER_OCTAVE, PER_OCTAVE))
"""Buckets of a histogram: 1 ms and its doubles, up to 17 minutes."""
_RUN, _QUEUE, _EXECUTOR, _LIMIT = ("task", "queue"), ("queue",), ("executor",), ("limit", "kind")


class Counter(NamedTuple):
    """A metric of counts.

    Attributes:
        figures: which count stands for which value of the last label, or () where there is one count and no such label.
    """

    kind: str
    name: str
    help: str
    labels: Sequence[str]
    figures: Mapping[str, str]


class Gauge(NamedTuple):
    """A metric of levels.

    Attributes:
        prefix: of the names of its levels; what comes after it is the value of the last label, if there is one.
    """

    kind: str
    name: str
    help: str
    labels: Sequence[str]
    prefix: str


class Histogram(NamedTuple):
    """A metric of durations."""

    kind: str
    name: str
    help: str
    labels: Sequence[str]
    sketch: str


_ENDS = {name: name for name in ("completed", "dead", "failed", "cancelled")}
_RETURNS = {name: name for name in ("snoozed", "released", "crashed")}
COUNTERS = (
    Counter(RUN, "taskq_tasks_submitted", "Tasks that this process has enqueued.", _RUN, {"submitted": ""}),
    Counter(RUN, "taskq_tasks_ended", "Runs after which the task was over.", (*_RUN, "status"), _ENDS),
    Counter(RUN, "taskq_tasks_retried", "Runs that failed and are tried again.", _RUN, {"retried": ""}),
    Counter(RUN, "taskq_tasks_returned", "Runs given back without an attempt.", (*_RUN, "reason"), _RETURNS),
    Counter(TENANT, "taskq_tenant_tasks_ended", "The same by tenant.", ("tenant", "status"), _ENDS),
    Counter(QUEUE, "taskq_queue_arrived", "Tasks that came into the queue, from anywhere.", _QUEUE, {"came": ""}),
)
GAUGES = (
    Gauge(PROCESS, "taskq_worker_slots", "Tasks that may run at once in this process.", _EXECUTOR, "slots."),
    Gauge(PROCESS, "taskq_worker_running", "Tasks that run in this process.", _EXECUTOR, "running."),
    Gauge(PROCESS, "taskq_worker_utilisation_ratio", "Share of the slots that are taken.", _EXECUTOR, "taken."),
    Gauge(PROCESS, "taskq_worker_processes", "Worker processes behind this target.", (), "processes"),
    Gauge(PROCESS, "taskq_worker_under_pressure", "Processes that take no tasks by their own decision.", (), "pressed"),
    Gauge(QUEUE, "taskq_queue_pending", "Tasks that are ready, by priority.", ("queue", "priority"), "pending."),
    Gauge(QUEUE, "taskq_queue_tasks", "Tasks by state.", ("queue", "state"), "state."),
    Gauge(QUEUE, "taskq_queue_oldest_seconds", "For how long the first task is ready.", _QUEUE, "oldest"),
    Gauge(QUEUE, "taskq_queue_arrival_rate", "Tasks that come in a second.", _QUEUE, "arrival"),
    Gauge(QUEUE, "taskq_queue_drain_rate", "Tasks that are done with a second.", _QUEUE, "drain"),
    Gauge(QUEUE, "taskq_queue_seconds_to_drain", "Until it is empty, at this pace.", _QUEUE, "to_drain"),
    Gauge(QUEUE, "taskq_desired_workers", "Workers that the queue needs (docs/autoscale.md).", _QUEUE, "desired"),
    Gauge(GROUP, "taskq_group_desired_workers", "Workers that the group of queues needs.", ("group",), "desired"),
    Gauge(QUEUE, "taskq_queue_paused", "Whether it is paused.", _QUEUE, "paused"),
    Gauge(QUEUE, "taskq_queue_size_limit", "Waiting tasks that it may hold.", _QUEUE, "max_size"),
    Gauge(QUEUE, "taskq_dead_letters", "Dead letters of the queue.", _QUEUE, "dead"),
    Gauge(FLEET, "taskq_workers", "Workers that live, by state.", ("state",), "workers."),
    Gauge(LIMIT, "taskq_limit_saturation_ratio", "Share of the limit that is used up.", _LIMIT, "saturation"),
    Gauge(BREAKER, "taskq_breaker_open", "1 open, 0.5 lets probes through, 0 closed.", ("task",), "open"),
    Gauge(SCHEDULE, "taskq_schedule_late_seconds", "For how long its next fire is due.", ("schedule",), "late"),
)
HISTOGRAMS = (
    Histogram(RUN, "taskq_task_duration_seconds", "How long runs take.", _RUN, "duration"),
    Histogram(RUN, "taskq_task_wait_seconds", "From being ready to the start of the run.", _RUN, "wait"),
    Histogram(PROCESS, "taskq_event_loop_lag_seconds", "How late the event loop is.", (), "loop_lag"),
    Histogram(PROCESS, "taskq_store_latency_seconds", "How long the store takes to answer.", (), "store_latency"),
)
Frames = Callable[[], Mapping[str, Figures]]


class FiguresCollector(Collector):
    """Shows frames: of this process, of those that it watches over, of the store.

    Arguments:
        frames: each is asked for at each scrape, from the thread that answers it.

    >>> frame = {"run mail.send mail": Figures({"submitted": 3})}
    >>> next(iter(FiguresCollector(lambda: frame).collect())).samples[0].labels
    {'task': 'mail.send', 'queue': 'mail'}
    """

    def __init__(self, *frames: Frames) -> None:
        self._frames = frames

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment; those without a sample are left out."""
        by_kind: dict[str, list[tuple[list[str], Figures]]] = {}
        for frame in self._frames:
            for name, figures in frame().items():
                kind, *names = name.split(" ")
                by_kind.setdefault(kind, []).append((names, _with_shares(figures) if kind == PROCESS else figures))
        made: Iterable[Metric] = (
            *(_counter(each, by_kind.get(each.kind, ())) for each in COUNTERS),
            *(_gauge(each, by_kind.get(each.kind, ())) for each in GAUGES),
            *(_histogram(each, by_kind.get(each.kind, ())) for each in HISTOGRAMS),
        )
        return (metric for metric in made if metric.samples)

    def describe(self) -> Iterable[Metric]:
        """Nothing: which there are is not known before."""
        return ()


def registry_of(*frames: Frames) -> CollectorRegistry:
    """A registry of these frames alone."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(FiguresCollector(*frames))
    return registry


def _with_shares(process: Figures) -> Figures:
    """The figures of processes, with the share of their slots that is taken."""
    levels = process.levels
    kinds = [name.removeprefix("slots.") for name, slots in levels.items() if name.startswith("slots.") and slots]
    taken = {f"taken.{kind}": levels.get(f"running.{kind}", 0) / levels[f"slots.{kind}"] for kind in kinds}
    return Figures(process.counts, process.sketches, {**levels, **taken})


def instrument(app: App, registry: CollectorRegistry = REGISTRY) -> FiguresCollector:
    """Show how many tasks a process has enqueued, beside its own metrics; workers show theirs by --metrics-port.

    Arguments:
        app: the application.
        registry: where the process registers its metrics.

    Returns:
        The collector, to be unregistered.

    >>> from taskq import App
    >>> app, registry = App("memory://"), CollectorRegistry()
    >>> _ = instrument(app, registry)
    >>> _ = app.enqueue("mail.send", {})
    >>> registry.get_sample_value("taskq_tasks_submitted_total", {"task": "mail.send", "queue": "default"})
    1
    """

    def submitted() -> Mapping[str, Figures]:
        numbers = dict(app.stores.submitted.numbers)
        return {series(RUN, *names): Figures({"submitted": number}) for names, number in numbers.items()}

    collector = FiguresCollector(submitted)
    registry.register(collector)
    return collector


_Found = Sequence[tuple[list[str], Figures]]


def _counter(counter: Counter, found: _Found) -> Metric:
    metric = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
    for names, figures in found:
        for figure, value in counter.figures.items():
            # From 0 on where it runs, so that the first one is seen as a step.
            if figure in figures.counts or figures.sketches:
                metric.add_metric([*names, value] if value else names, figures.counts.get(figure, 0.0))
    return metric


def _gauge(gauge: Gauge, found: _Found) -> Metric:
    metric = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for names, figures in found:
        if not gauge.prefix.endswith("."):
            if (level := figures.levels.get(gauge.prefix)) is not None:
                metric.add_metric(names, level)
            continue
        for figure, level in figures.levels.items():
            if figure.startswith(gauge.prefix):
                value = figure.removeprefix(gauge.prefix)
                shown = Priority(int(value)).name.lower() if gauge.labels[-1] == "priority" else value
                metric.add_metric([*names, shown], level)
    return metric


def _histogram(histogram: Histogram, found: _Found) -> Metric:
    metric = HistogramMetricFamily(histogram.name, histogram.help, labels=histogram.labels)
    for names, figures in found:
        if sketch := figures.sketches.get(histogram.sketch):
            counts = zip(BOUNDS, cumulative(sketch, BOUNDS), strict=True)
            buckets = [(f"{bound(bucket):g}", float(count)) for bucket, count in counts]
            whole = float(sum(sketch.values()))
            metric.add_metric(names, [*buckets, ("+Inf", whole)], figures.counts.get(histogram.sketch + SECONDS, 0.0))
    return metric
