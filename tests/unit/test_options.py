"""Each option reaches the store; each option out of its range is refused by name."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

from taskq import (
    App,
    Exponential,
    Fixed,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    NoRetry,
    Priority,
    Task,
    TaskState,
    options,
)
from taskq.domain.retry import from_dict
from taskq.options import CallOptions, TaskOptions
from taskq.ports import EnqueueStatus
from taskq.testing.clock import VirtualClock
from tests.unit.support import claim, count, headers_of, record_of

TEN_YEARS = 10 * 365 * 86_400


@pytest.fixture
def job(app: App) -> Task[..., int]:
    @app.task(name="job")
    def job(x: int = 0) -> int:
        return x

    return job


async def test_what_the_decorator_says_reaches_the_store(app: App) -> None:
    @app.task(
        name="job", queue="slow", priority="high", expires=60, retention=120, dead_letter=False, max_lost_leases=7
    )
    def job() -> None: ...

    record = await record_of(app, await job.aenqueue())
    assert (record.queue, record.priority, record.retention) == ("slow", Priority.HIGH, 120)
    assert (record.dead_letter, record.max_lost_leases) == (False, 7)
    assert record.expires_at == record.created_at + timedelta(seconds=60)


async def test_what_the_call_says_goes_first(app: App) -> None:
    @app.task(name="job", queue="slow", priority=Priority.HIGH, expires=60, retention=120)
    def job() -> None: ...

    said = job.options(queue="fast", priority=0, expires=timedelta(minutes=2), retention=0, tenant="acme")
    record = await record_of(app, await said.aenqueue())
    assert (record.queue, record.priority, record.retention, record.tenant) == ("fast", Priority.LOW, 0, "acme")
    assert record.expires_at == record.created_at + timedelta(minutes=2)


async def test_what_the_worker_reads_travels_in_the_headers(app: App, job: Task[..., int]) -> None:
    said = job.options(metadata={"a": [1, None]}, timeout=5, retry=Fixed(3, max_retries=1))
    headers = headers_of(await record_of(app, await said.aenqueue()))
    assert (headers.metadata, headers.timeout) == ({"a": [1, None]}, 5)
    assert headers.retry is not None
    assert from_dict(headers.retry) == Fixed(3, max_retries=1)
    assert headers_of(await record_of(app, await job.aenqueue())).metadata == {}


async def test_options_add_up_and_leave_the_task_as_it_was(app: App, job: Task[..., int]) -> None:
    slow = job.options(queue="slow")
    both = slow.options(priority=3)
    record = await record_of(app, await both.aenqueue())
    assert (record.queue, record.priority) == ("slow", Priority.CRITICAL)
    assert (await record_of(app, await slow.aenqueue())).priority is Priority.NORMAL
    assert (await record_of(app, await job.aenqueue())).queue == "default"


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)])
async def test_a_delayed_task_becomes_due(app: App, clock: VirtualClock, job: Task[..., int], delay: Any) -> None:
    handle = await job.options(delay=delay).aenqueue()
    record = await record_of(app, handle)
    assert record.state is TaskState.SCHEDULED
    assert record.due_at == record.created_at + timedelta(seconds=90)
    clock.advance(90)
    assert (await claim(app)).id == handle.id


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30))])
async def test_a_task_with_an_eta_becomes_due(app: App, clock: VirtualClock, job: Task[..., int], zone: Any) -> None:
    eta = datetime.fromtimestamp(clock.now() + 90, zone)
    record = await record_of(app, await job.options(eta=eta).aenqueue())
    assert (record.state, record.due_at) == (TaskState.SCHEDULED, eta)


@pytest.mark.parametrize("past", [{"delay": 0}, {"delay": timedelta()}, {"eta": datetime(1, 1, 1, tzinfo=UTC)}])
async def test_what_is_due_already_is_ready(app: App, job: Task[..., int], past: dict[str, Any]) -> None:
    assert (await record_of(app, await job.options(**past).aenqueue())).state is TaskState.PENDING


async def test_the_same_key_makes_one_task(app: App, job: Task[..., int]) -> None:
    keyed = job.options(idempotency_key="o-17")
    first = await keyed.aenqueue(1)
    again = await keyed.aenqueue(1)
    assert (first.id, first.enqueued, again.enqueued) == (again.id, EnqueueStatus.CREATED, EnqueueStatus.DUPLICATE)
    assert await count(app) == 1


async def test_the_same_key_with_another_payload_is_a_conflict(app: App, job: Task[..., int]) -> None:
    keyed = job.options(idempotency_key="o-17")
    await keyed.aenqueue(1)
    with pytest.raises(IdempotencyConflict, match="job: this idempotency key was used before with other arguments"):
        await keyed.aenqueue(2)
    assert await count(app) == 1


async def test_a_key_holds_for_its_task_and_tenant(app: App, job: Task[..., int]) -> None:
    @app.task(name="other")
    def other(x: int) -> None: ...

    calls: list[Task[..., Any]] = [job, job.options(tenant="a"), job.options(tenant="b"), other]
    ids = {(await call.options(idempotency_key="k").aenqueue(1)).id for call in calls}
    assert len(ids) == 4


async def test_a_key_holds_for_its_namespace() -> None:
    ids = set()
    for namespace in ("one", "two"):
        ids.add((await App("memory://", namespace=namespace).aenqueue("job", idempotency_key="k")).id)
    assert len(ids) == 2


@pytest.mark.parametrize("value", ["critical", "CRITICAL", 3, Priority.CRITICAL])
async def test_a_priority_by_name_and_by_number(app: App, job: Task[..., int], value: Any) -> None:
    assert (await record_of(app, await job.options(priority=value).aenqueue())).priority is Priority.CRITICAL


BAD_DURATIONS = [
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    1e18,
    TEN_YEARS + 1,
    "5",
    True,
    [],
    timedelta(-1),
    timedelta.max,
]
BAD_NAMES: list[Any] = ["", " ", "x" * 201, "a/b", "../x", "a\0b", "a\nb", "*", "{x}", "a:b", "😀", 5, b"a"]
BAD_CALLS: list[tuple[str, list[Any], str]] = [
    ("queue", BAD_NAMES, "queue "),
    ("tenant", [*(name for name in BAD_NAMES if name), None, 0, False, []], "tenant "),
    ("priority", [-1, 4, 10**9, "1", "urgent", "", True, 1.0, 1.5, [], object()], "priority must be low, normal"),
    ("delay", BAD_DURATIONS, "delay must be at least 0 s and at most ten years"),
    ("expires", [*BAD_DURATIONS, 0], "expires must be over 0 s and at most ten years"),
    ("timeout", [*BAD_DURATIONS, 0], "timeout must be over 0 s and at most ten years"),
    ("retention", BAD_DURATIONS, "retention must be at least 0 s and at most ten years"),
    ("eta", [datetime(2026, 1, 1), "2026-01-01T00:00:00Z", 5, "2026-02-30"], "eta must be a datetime with a time zone"),  # noqa: DTZ001
    ("eta", [datetime(9999, 12, 31, tzinfo=timezone(timedelta(hours=-12)))], "eta must be within ten years"),
    ("retry", [5, "fixed", lambda: 1, Exponential], "retry must be a built-in strategy"),
    ("idempotency_key", ["", "x" * 256, "a\nb", "a\0b", "\x7f", "\ud800", 5, True, b"k"], "idempotency_key must have"),
    ("metadata", [5, "x", [("a", 1)]], "metadata must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("option", "values", "message"), BAD_CALLS)
def test_a_call_s_option_out_of_range(job: Task[..., int], option: str, values: list[Any], message: str) -> None:
    for value in values:
        with pytest.raises(InvalidOption, match=f"^{message}"):
            job.options(**{option: value})


NO_STRATEGY = SimpleNamespace(next_delay=5)
BAD_DECLARATIONS: list[tuple[str, list[Any], str]] = [
    ("queue", BAD_NAMES, "queue "),
    ("priority", [-1, 4, "1", True, 1.5, None], "priority must be low, normal, high, critical"),
    ("timeout", [*BAD_DURATIONS, 0], "timeout must be over 0 s"),
    ("expires", [*BAD_DURATIONS, 0], "expires must be over 0 s"),
    ("retention", BAD_DURATIONS, "retention must be at least 0 s"),
    (
        "max_lost_leases",
        [0, -1, 1001, 10**400, "3", True, None, 1.5, 2.0, math.nan, math.inf],
        "max_lost_leases must be a whole number from 1 to 1,000, not ",
    ),
    ("encrypt", ["no", "", 0, 1, []], "encrypt must be True, False or None, not "),
    ("dead_letter", ["no", "", 0, 1, None, []], "dead_letter must be True or False, not "),
    ("executor", ["fork", "", 1, []], "executor must be async, thread or process"),
    ("retry", [5, "fixed", lambda: 1, Exponential, NO_STRATEGY], "retry must be a retry strategy, such as Fixed"),
    ("retry_on", [ValueError, ("ValueError",), [ValueError], (int,), None], "retry_on must be a tuple of exception"),
    ("no_retry_on", [ValueError, (ValueError(),)], "no_retry_on must be a tuple of exception classes"),
]  # fmt: skip


@pytest.mark.parametrize(("option", "values", "message"), BAD_DECLARATIONS)
def test_a_task_s_option_out_of_range(app: App, option: str, values: list[Any], message: str) -> None:
    for value in values:
        with pytest.raises(InvalidOption, match=f"^{message}"):
            app.task(name="bad", **{option: value})
    assert app.tasks.find("bad") is None


def test_what_an_option_got_is_shown_in_short(job: Task[..., int]) -> None:
    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    hostile: Any = Hostile()
    with pytest.raises(InvalidOption, match=r"^timeout must be .*, not a Hostile$"):
        job.options(timeout=hostile)
    with pytest.raises(InvalidOption, match=r"^metadata must be a mapping, not ") as caught:
        job.options(metadata=["x"] * 10_000)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 300
    with pytest.raises(InvalidOption, match=r"^queue must be text, not 5$"):
        job.options(queue=5)  # type: ignore[arg-type]


def test_an_option_that_there_is_not(app: App, job: Task[..., int]) -> None:
    with pytest.raises(InvalidOption, match=r"^job.options\(\) has no option countdown, quue$"):
        job.options(quue="x", countdown=5)  # type: ignore[call-arg]
    with pytest.raises(InvalidOption, match=r"^@app.task\(\) has no option max_retries$"):
        app.task(name="bad", max_retries=5)  # type: ignore[call-overload]


def test_a_delay_or_an_eta_but_not_both(job: Task[..., int]) -> None:
    with pytest.raises(InvalidOption, match="give delay or eta, not both"):
        job.options(delay=5, eta=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": math.nan}, {"a": "\ud800"}, {("a", 1): 1}])
async def test_metadata_that_is_no_json(app: App, job: Task[..., int], metadata: Any) -> None:
    with pytest.raises(InvalidPayload, match="job: the metadata cannot be written as JSON"):
        await job.options(metadata=metadata).aenqueue()
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(InvalidPayload, match="nested deeper than 64"):
        await job.options(metadata={"a": deep}).aenqueue()
    assert await count(app) == 0


def test_where_a_function_may_run(app: App) -> None:
    def blocking() -> None: ...
    async def on_loop() -> None: ...

    assert app.task(name="a")(blocking).executor == "thread"
    assert app.task(name="b")(on_loop).executor == "async"
    with pytest.raises(InvalidOption, match='executor="async" needs an `async def`'):
        app.task(name="c", executor="async")(blocking)
    with pytest.raises(InvalidOption, match='executor="thread" needs a plain `def`'):
        app.task(name="d", executor="thread")(on_loop)
    with pytest.raises(InvalidOption, match='executor="process" needs a function at the top of its module'):
        app.task(name="e", executor="process")(blocking)


def test_which_errors_are_tried_again() -> None:
    options = TaskOptions(retry_on=(OSError,), no_retry_on=(FileNotFoundError,), retry=NoRetry())
    assert options.should_retry(ConnectionError())
    assert not options.should_retry(FileNotFoundError())
    assert not options.should_retry(ValueError())
    assert not options.should_retry(asyncio.CancelledError())
    assert TaskOptions().should_retry(asyncio.CancelledError())
    assert not TaskOptions().should_retry(SystemExit())
    assert not TaskOptions(no_retry_on=(asyncio.CancelledError,)).should_retry(asyncio.CancelledError())


def test_every_duration_may_be_as_long_as_ten_years() -> None:
    CallOptions(delay=TEN_YEARS, expires=TEN_YEARS, timeout=TEN_YEARS, retention=TEN_YEARS)
    TaskOptions(timeout=None, expires=None, retention=0)


@pytest.mark.parametrize("namespace", BAD_NAMES)
def test_a_namespace_that_cannot_be(namespace: Any) -> None:
    with pytest.raises(InvalidOption, match="namespace "):
        App("memory://", namespace=namespace)


def test_options_share_what_reads_the_signature(job: Task[..., int]) -> None:
    once, twice = job.options(delay=1), job.options(delay=1).options(priority="high")
    codec = twice.codec
    assert once.codec is codec
    assert job.codec is codec


async def test_a_task_that_is_not_known_here_is_made_once_for_each_name(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    begin = Task.__init__

    def counted(self: Task[..., Any], name: str, *more: Any) -> None:
        made.append(name)
        begin(self, name, *more)

    monkeypatch.setattr(Task, "__init__", counted)
    for number in range(3):
        record = await record_of(app, await app.aenqueue("elsewhere", {"x": number}, tenant=f"t{number}"))
        assert record.tenant == f"t{number}"
    await app.aenqueue("elsewhere.too")
    assert made == ["elsewhere", "elsewhere.too"]

    @app.task(name="elsewhere")
    def known(x: int) -> None: ...

    with pytest.raises(InvalidPayload):
        await app.aenqueue("elsewhere", {"x": "one"})


async def test_a_call_may_expire_at_an_instant(app: App, job: Task[..., int]) -> None:
    instant = datetime.now(timezone(timedelta(hours=2))) + timedelta(hours=1)
    record = await record_of(app, await job.options(expires=instant).aenqueue())
    assert record.expires_at is not None
    assert timedelta(minutes=59) < record.expires_at - record.created_at <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("expires", "message"),
    [
        (datetime(2026, 3, 6, 12), "expires must have a time zone"),  # noqa: DTZ001 - it is what is refused
        (datetime(2020, 1, 1, tzinfo=UTC), "expires must lie ahead, not 2020-01-01 00:00:00"),
        (datetime(9999, 1, 1, tzinfo=UTC), "expires must be over 0 s and at most ten years"),
    ],
)
def test_an_instant_to_expire_at_lies_ahead(job: Task[..., int], expires: datetime, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        job.options(expires=expires)


async def test_an_instant_that_has_passed_since_is_refused_too(
    app: App, job: Task[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = job.options(expires=datetime.now(UTC) + timedelta(hours=1))
    later = time.time() + 7200
    monkeypatch.setattr(options, "time", SimpleNamespace(time=lambda: later))
    with pytest.raises(InvalidOption, match="expires must lie ahead"):
        await soon.aenqueue()
    assert await count(app) == 0


def test_a_soft_timeout_is_less_than_the_timeout(app: App) -> None:
    with pytest.raises(InvalidOption, match="soft_timeout must be less than the timeout of 30 s, not 30"):
        TaskOptions(timeout=30, soft_timeout=30)
    TaskOptions(timeout=None, soft_timeout=30)
    task = app.task(name="mail.send", timeout=30, soft_timeout=25)(_send)
    with pytest.raises(InvalidOption, match="soft_timeout must be less than the timeout of 30 s, not 40"):
        task.options(soft_timeout=40)
    with pytest.raises(InvalidOption, match="soft_timeout must be less than the timeout of 5 s, not 6"):
        task.options(soft_timeout=6, timeout=5)
    task.options(soft_timeout=40, timeout=50)


async def test_the_soft_timeout_of_a_call_travels_in_the_headers(app: App) -> None:
    handle = await app.aenqueue("elsewhere", {}, soft_timeout=400)
    assert headers_of(await record_of(app, handle)).soft_timeout == 400


def _send() -> None: ...
