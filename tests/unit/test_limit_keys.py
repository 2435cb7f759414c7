"""What a key makes of the arguments of a call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, NewType

import pytest
from pydantic import BaseModel

from taskq import App, Concurrency, ConfigError, Debounce, InvalidOption, KeepLatest, RateLimit, TaskContext, Unique
from tests.unit.support import limits_of, record_of

Number = NewType("Number", int)


class User(BaseModel):
    """An argument with parts."""

    id: int
    name: str = "anna"


@dataclass
class Place:
    """Another."""

    city: str = "Berlin"


async def key_of(key: Any, function: Callable[..., Any], *args: Any, tenant: str = "", **more: Any) -> str:
    """The key of one call in the store, where this is the key of its task's concurrency."""
    app = App("memory://")
    call = app.task(name="job", concurrency=Concurrency(5, key=key))(function)
    [limit] = (await record_of(app, await call.options(tenant=tenant).aenqueue(*args, **more))).limits
    return limit.key


def send(to: str, subject: str = "hello", user: User = User(id=1), place: Place = Place()) -> None: ...  # noqa: B008


async def test_a_key_takes_the_values_that_it_names_and_no_others() -> None:
    one = await key_of("to", send, "a", "x")
    assert one == await key_of("to", send, "a", "y")
    assert one != await key_of("to", send, "b", "x")
    both = await key_of(("to", "subject"), send, "a", "x")
    assert both == await key_of(("to", "subject"), send, subject="x", to="a")
    assert both != await key_of(("to", "subject"), send, "x", "a")
    assert await key_of((), send, "a") == await key_of((), send, "b")


async def test_a_key_goes_into_an_object() -> None:
    first = await key_of("user.id", send, "a", user=User(id=7, name="berta"))
    assert first == await key_of("user.id", send, "a", user=User(id=7))
    assert first != await key_of("user.id", send, "a", user=User(id=8))


async def test_a_key_goes_into_plain_data_as_far_as_there_is_any() -> None:
    def job(order: dict[str, Any]) -> None: ...

    assert await key_of("order.id", job, {"id": 7, "x": 1}) == await key_of("order.id", job, {"id": 7, "x": 2})
    assert await key_of("order.id", job, {"x": 1}) == await key_of("order.id.x", job, {"id": 7})


@pytest.mark.parametrize("path", ["user.nope", "user.id.x", "place.town", "to.domain", "whom.nope", "when.id"])
def test_a_key_that_names_a_part_that_is_none(app: App, path: str) -> None:
    def job(to: str, user: User, place: Place, whom: User | None, when: Annotated[Number, "of days"]) -> None: ...

    with pytest.raises(InvalidOption, match=rf"Concurrency\(key='{path}'\): its parameter '.+' has no part '.+'"):
        app.task(name="job", concurrency=Concurrency(5, key=path))(job)


@pytest.mark.parametrize("path", ["user.id", "whom.id", "who.city", "some.thing", "later.on", "untold.thing"])
def test_a_key_that_names_a_part_that_there_may_be(app: App, path: str) -> None:
    def job(user: User, whom: User | None, who: User | Place, some: list[Any], later: "Later", untold) -> None: ...  # type: ignore[no-untyped-def,name-defined]  # noqa: F821, UP037

    app.task(name="job", concurrency=Concurrency(5, key=path))(job)


async def test_the_function_of_a_key_that_raises_is_named() -> None:
    with pytest.raises(InvalidOption, match="the function of a key raised ZeroDivisionError"):
        await key_of(lambda **given: 1 / 0, send, "a")


async def test_a_tenant_is_that_of_the_call_unless_a_parameter_has_its_name() -> None:
    def bill(tenant: str) -> None: ...

    assert await key_of("tenant", send, "a", tenant="acme") != await key_of("tenant", send, "a", tenant="emca")
    assert await key_of("tenant", send, "a", tenant="acme") == await key_of("tenant", send, "b", tenant="acme")
    assert await key_of("tenant", bill, "x", tenant="acme") == await key_of("tenant", bill, "x", tenant="emca")


async def test_a_function_is_asked_with_all_arguments_by_name_as_plain_data() -> None:
    seen: list[dict[str, Any]] = []

    def domain(**given: Any) -> str:
        seen.append(given)
        return str(given["to"]).partition("@")[2]

    assert await key_of(domain, send, "a@x") == await key_of(domain, send, "b@x")
    assert await key_of(domain, send, "a@x") != await key_of(domain, send, "a@y")
    assert seen[0] == {
        "to": "a@x",
        "subject": "hello",
        "user": {"id": 1, "name": "anna"},
        "place": {"city": "Berlin"},
    }


def rich(
    number: float = 2,
    when: datetime = datetime(2026, 1, 1, tzinfo=UTC),
    cents: Decimal = Decimal("1.50"),
    tags: frozenset[str] = frozenset({"a"}),
    user: User = User(id=1),  # noqa: B008
    place: Place = Place(),  # noqa: B008
    nothing: object = object(),
) -> None: ...


GIVEN: list[dict[str, Any]] = [
    {"number": 2.0},
    {"number": 2},
    {"when": datetime(2026, 1, 1, tzinfo=UTC)},
    {"cents": Decimal("1.50")},
    {"tags": frozenset({"a"})},
    {"user": User(id=1)},
    {"place": Place()},
]


@pytest.mark.parametrize("given", GIVEN, ids=lambda given: next(iter(given)))
async def test_a_default_counts_as_if_it_were_given(given: dict[str, Any]) -> None:
    [name] = given
    assert await key_of(name, rich) == await key_of(name, rich, **given)
    assert await key_of(lambda **all: all, rich) == await key_of(lambda **all: all, rich, **given)


async def test_what_is_equal_as_json_is_one_key() -> None:
    def job(x: Any) -> None: ...

    assert await key_of("x", job, {"a": 1, "b": [2]}) == await key_of("x", job, {"b": (2.0,), "a": 1.0})
    texts = [await key_of("x", job, value) for value in (1, "1", True, 1.5, None, [1], {"1": 1})]
    assert len(set(texts)) == len(texts)


async def test_a_key_in_the_store_tells_nothing_of_the_values() -> None:
    key = await key_of(("to", "user.name"), send, "anna@example.org", user=User(id=1, name="berta"))
    assert re.fullmatch("job:[0-9a-f]{32}", key)


async def test_a_name_is_shared_among_tasks_and_keeps_its_keys_apart(app: App) -> None:
    shared = [
        await limits_of(app, send, "a", name=name, concurrency=Concurrency(limit, key="to", name="far"))
        for name, limit in (("one", 1), ("two", 2))
    ]
    assert [one[0].gate for one in shared] == [shared[0][0].gate] * 2
    own = await limits_of(app, send, "a", name="three", concurrency=Concurrency(1, key="to"))
    assert own[0].gate != shared[0][0].gate


# ---------------------------------------------------------------- what is no key


def anything(**values: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_limit": RateLimit(1, key="z")}, r"task job: RateLimit\(key='z'\): it has no parameter 'z'"),
        ({"concurrency": Concurrency(1, key=("x", "z.id"))}, r"Concurrency\(key='z.id'\): it has no parameter 'z'"),
        ({"unique": Unique(key="z")}, r"task job: Unique\(key='z'\): it has no parameter 'z'"),
        ({"unique": Debounce(1, key="z")}, r"task job: Debounce\(key='z'\): it has no parameter 'z'"),
        ({"unique": KeepLatest(key="z")}, r"task job: KeepLatest\(key='z'\): it has no parameter 'z'"),
    ],
)
def test_a_key_that_names_no_parameter(app: App, options: dict[str, Any], message: str) -> None:
    def job(x: int) -> None: ...

    with pytest.raises(InvalidOption, match=message):
        app.task(name="job", **options)(job)
    app.task(name="any", **options)(anything)


def by_text(ctx: TaskContext | None = None, to: str = "a") -> None: ...


def by_class(ctx: Any = None, to: str = "a") -> None: ...


by_class.__annotations__["ctx"] = TaskContext


@pytest.mark.parametrize("function", [by_text, by_class])
async def test_what_the_worker_fills_in_is_no_argument(app: App, function: Callable[..., Any]) -> None:
    for key in ("ctx", "ctx.tenant"):
        with pytest.raises(InvalidOption, match=r"task job: Unique\(key='ctx.*'\): it has no parameter 'ctx'"):
            app.task(name="job", unique=Unique(key=key))(function)
    assert await key_of(lambda to: to, function) == await key_of(lambda to, **_: to, send, "a")


def test_keys_of_a_function_without_a_signature(app: App) -> None:
    with pytest.raises(ConfigError, match=r"^task job: its function has no signature that can be read$"):
        app.task(name="job", unique=Unique())(max)


def test_a_key_is_made_at_once() -> None:
    async def slow(**_: Any) -> str:
        return "key"

    with pytest.raises(InvalidOption, match=r"^key must be the name of a parameter, a tuple"):
        Unique(key=slow)
