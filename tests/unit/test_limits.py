"""Rate, concurrency and breaker as a task declares them, and what keys make of its arguments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from taskq import (
    App,
    Breaker,
    CapabilityMissing,
    Concurrency,
    Debounce,
    InvalidOption,
    KeepLatest,
    RateLimit,
    Unique,
)
from taskq.domain.limits import Circuit, Rate, Slots
from taskq.ports import Capability
from taskq_memory import MemoryBackend
from tests.unit.support import limits_of

WHOLE = "a concurrency limit must be a whole number from 1 to 1,000,000, not "
IN_DAY = "must be over 0 and at most 86,400 s, not "
KEY = "key must be the name of a parameter, a tuple of names, or a plain function of the arguments, not "
MISTAKES: list[tuple[Callable[..., Any], dict[str, list[Any]], str]] = [
    (RateLimit, {"rate": ["", "5", "m", "-1/s", "5/0.1y", None, []]}, 'a rate must be like "100/m"'),
    (RateLimit, {"rate": ["5/ms", "5/month", "5/hello", "5/0s", "5/0.0m"]}, 'a rate must be like "100/m"'),
    (RateLimit, {"rate": [0, -1.0, 1e7, "0/s", "1/9999999999s"]}, "a rate must be from one in"),
    (RateLimit, {"rate": [10**400, -(10**400), math.inf, math.nan]}, "a rate must be from one in"),
    (RateLimit, {"burst": [0, 0.5, 1e10, math.nan, "2", True]}, "burst must be from 1"),
    (RateLimit, {"adaptive": ["yes", 1, None]}, "adaptive must be True or False, not "),
    (Concurrency, {"limit": [0, -1, 1_000_001, 1.5, "3", True, None]}, WHOLE),
    (Breaker, {"failure_rate": [0, 1.1, math.nan, "1"]}, "failure_rate must be over 0 and at most 1"),
    (Breaker, {"window": [0, 86_401, "5"]}, f"window {IN_DAY}"),
    (Breaker, {"cooldown": [0, 86_401, "5"]}, f"cooldown {IN_DAY}"),
    (Breaker, {"least": [0, 1.5, 10_001]}, "least must be from 1 to 10,000, not "),
    (Breaker, {"probes": [0, 1.5, 10_001]}, "probes must be from 1 to 10,000, not "),
    (Debounce, {"delay": [0, -1, "5", None]}, "delay must be over 0 s and at most ten years"),
    (Debounce, {"longest": [0, 4, "6"]}, "longest must be at least the delay and at most ten years"),
    (Unique, {"until": ["end", None, 5]}, "until must be start, done or ttl, not "),
    (Unique, {"until": ["ttl"]}, r'Unique\(until="ttl"\) needs a ttl'),
    (Unique, {"ttl": [0, -1, math.inf, "60"]}, "ttl must be over 0 s and at most ten years"),
    (Unique, {"on_duplicate": ["ignore", None]}, "on_duplicate must be return or raise, not "),
    *((kind, {"key": [5, ("x", 5), ["x"]]}, KEY) for kind in (Unique, KeepLatest, Debounce, RateLimit, Concurrency)),
    *((kind, {"name": ["a b", ""]}, "limit '") for kind in (RateLimit, Concurrency, Breaker)),
]
LEAST: dict[Callable[..., Any], dict[str, Any]] = {
    RateLimit: {"rate": 1},
    Concurrency: {"limit": 1},
    Debounce: {"delay": 5},
}


@pytest.mark.parametrize(("kind", "mistakes", "message"), MISTAKES)
def test_a_limit_out_of_range_is_refused_where_it_is_made(
    kind: Callable[..., Any], mistakes: dict[str, list[Any]], message: str
) -> None:
    [(option, values)] = mistakes.items()
    for value in values:
        with pytest.raises(InvalidOption, match=f"^{message}"):
            kind(**{**LEAST.get(kind, {}), option: value})


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("rate_limit", "100/m", "rate_limit must be a RateLimit, or a tuple of such"),
        ("rate_limit", (RateLimit(1), Concurrency(1)), "rate_limit must be a RateLimit, or a tuple of such"),
        ("rate_limit", [RateLimit(1)], "rate_limit must be a RateLimit, or a tuple of such"),
        ("concurrency", 5, "concurrency must be a Concurrency, or a tuple of such"),
        ("breaker", True, "breaker must be a Breaker"),
        ("unique", "x", "unique must be Unique, Debounce or KeepLatest"),
        ("unique", Unique, "unique must be Unique, Debounce or KeepLatest"),
    ],
)
def test_a_task_s_option_that_is_no_limit(app: App, option: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=f"^{message}"):
        app.task(name="bad", **{option: value})
    assert app.tasks.find("bad") is None


def _anything(**values: Any) -> None: ...


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        ("100/s", Rate("job", 100.0, 10.0)),
        ("60/m", Rate("job", 1.0, 1.0)),
        ("5/10 seconds", Rate("job", 0.5, 1.0)),
        ("3/d", Rate("job", 3 / 86_400, 1.0)),
        ("2/second", Rate("job", 2.0, 1.0)),
        ("30/min", Rate("job", 0.5, 1.0)),
        ("7200/2 hours", Rate("job", 1.0, 1.0)),
        ("86400 / day", Rate("job", 1.0, 1.0)),
        (2000, Rate("job", 2000.0, 200.0)),
    ],
)
async def test_a_rate_is_so_many_a_second_and_its_burst_a_tenth_of_that(
    app: App, rate: str | float, expected: Rate
) -> None:
    assert await limits_of(app, _anything, rate_limit=RateLimit(rate)) == (expected,)


async def test_a_task_carries_all_its_limits_a_breaker_first_and_what_is_used_up_last(app: App) -> None:
    limits = await limits_of(
        app,
        _anything,
        rate_limit=(RateLimit("1/s", burst=3), RateLimit(5, name="mail", adaptive=True)),
        concurrency=(Concurrency(2), Concurrency(1, name="printer")),
        breaker=Breaker(failure_rate=0.25, window=10, least=4, cooldown=5, probes=2, name="far"),
        unique=KeepLatest(),
    )
    circuit, two, one, latest, *rates = limits
    assert circuit == Circuit("far", 0.25, 10, 4, 5, 2)
    assert (two, one) == (Slots("job", 2), Slots("printer", 1))
    assert isinstance(latest, Slots)
    assert (latest.key.startswith("job:latest:"), latest.limit) == (True, 1)
    assert rates == [Rate("job", 1.0, 3.0), Rate("mail", 5.0, 1.0, adaptive=True)]


@pytest.mark.parametrize("named", [{}, {"name": "relay"}])
@pytest.mark.parametrize("keys", [(None, None), ("sender", "to"), ((), ()), (None, "to")])
async def test_two_limits_of_a_task_count_apart_also_where_their_values_are_equal(
    app: App, keys: tuple[Any, Any], named: dict[str, Any]
) -> None:
    def post(sender: str, to: str) -> None: ...

    rates, slots = (
        tuple(kind(number, key=key, **named) for number, key in enumerate(keys, 1)) for kind in (RateLimit, Concurrency)
    )
    limits = await limits_of(app, post, "anna", "anna", rate_limit=rates, concurrency=slots)
    assert len({limit.gate for limit in limits}) == 4


async def test_the_first_limit_of_a_name_counts_under_it_alone(app: App) -> None:
    rates = (RateLimit(1), RateLimit(2, key="x"), RateLimit(3), RateLimit(4, name="far"))
    limits = await limits_of(app, _takes_x, rate_limit=rates)
    assert [limit.key.partition(":")[0] for limit in limits] == ["job", "job", "job#2", "far"]


async def test_what_asks_for_nothing_carries_nothing(app: App) -> None:
    assert await limits_of(app, _anything, unique=Unique()) == ()


# ---------------------------------------------------------------- several shards


@pytest.fixture
def shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that keeps the queue "far" in a shard of its own."""
    monkeypatch.setattr(MemoryBackend, "capabilities", frozenset({Capability.VIRTUAL_TIME}))
    monkeypatch.setattr(MemoryBackend, "shard_of", lambda self, queue: int(queue == "far"))


@pytest.mark.parametrize(
    "options",
    [
        {"rate_limit": RateLimit(1)},
        {"concurrency": Concurrency(1, key="x")},
        {"breaker": Breaker()},
        {"unique": Unique()},
        {"unique": KeepLatest()},
    ],
    ids=lambda options: next(iter(options)),
)
async def test_no_limit_is_counted_in_two_shards(app: App, shards: None, options: dict[str, Any]) -> None:
    job = app.task(name="job", **options)(_takes_x)
    await job.aenqueue()
    await job.options(queue="near").aenqueue()
    with pytest.raises(CapabilityMissing, match=r"^job has limits or a unique key, .*'default' lies: queue 'far'"):
        await job.options(queue="far").aenqueue()


async def test_a_name_is_shared_within_one_shard(app: App, shards: None) -> None:
    tasks = [
        app.task(name=f"job-{queue}", queue=queue, concurrency=Concurrency(1, name=name))(_takes_x)
        for queue, name in (("near", "printer"), ("nearby", "printer"), ("far", "other"))
    ]
    for task in tasks:
        await task.aenqueue()
    far = app.task(name="job-too-far", queue="far", concurrency=Concurrency(1, name="printer"))(_takes_x)
    with pytest.raises(CapabilityMissing, match=r"^job-near has limits .* queue 'far' of job-too-far lies in another"):
        await far.aenqueue()


async def test_arguments_of_another_version_are_counted_where_their_task_is_at_home(app: App, shards: None) -> None:
    app.task(name="job", version=2, upcast={1: dict}, concurrency=Concurrency(1))(_takes_x)
    await app.aenqueue("job", {}, version=1)
    with pytest.raises(CapabilityMissing, match="queue 'far' of job lies in another shard"):
        await app.aenqueue("job", {}, version=1, queue="far")


async def test_a_call_s_own_key_is_kept_where_its_task_is_at_home(app: App, shards: None) -> None:
    job = app.task(name="job")(_takes_x)
    await job.options(queue="far").aenqueue()
    with pytest.raises(CapabilityMissing, match="queue 'far' of job lies in another shard"):
        await job.options(queue="far", unique_key="o-17").aenqueue()
    await app.aenqueue("elsewhere", {}, queue="far", unique_key="o-17")


async def test_what_is_counted_by_tenant_is_at_home_where_the_routes_send_the_tenant(shards: None) -> None:
    routes = {"acme": "far"}
    app = App("memory://", routes=lambda name, *, tenant: routes.get(tenant))
    by_tenant: list[dict[str, Any]] = [
        {"rate_limit": RateLimit(1, key="tenant")},
        {"concurrency": Concurrency(1, key=("tenant", "x"))},
        {"unique": Unique()},
    ]
    async with app:
        for number, options in enumerate(by_tenant):
            job = app.task(name=f"job-{number}", **options)(_takes_x)
            for tenant in ("acme", "other"):
                await job.options(tenant=tenant).aenqueue()
            with pytest.raises(CapabilityMissing, match="'far' lies: queue 'near'"):
                await job.options(tenant="acme", queue="near").aenqueue()
        whole = app.task(name="whole", rate_limit=RateLimit(1))(_takes_x)
        await whole.options(tenant="other").aenqueue()
        with pytest.raises(CapabilityMissing, match="'default' lies: queue 'far'"):
            await whole.options(tenant="acme").aenqueue()


def _takes_x(x: int = 0) -> None: ...
