"""From a call to the store: one, many, by name, and what is refused before anything is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskq import (
    App,
    CapabilityMissing,
    ConfigError,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    NotApplied,
    PayloadTooLarge,
    Task,
    TaskContext,
    TaskState,
)
from taskq.config import Settings
from taskq.ports import EnqueueStatus
from tests.unit.support import count, headers_of, payload_of, record_of


@pytest.fixture
def add(app: App) -> Task[..., int]:
    @app.task(name="add")
    def add(x: int, y: int = 1) -> int:
        return x + y

    return add


async def test_aenqueue(app: App, add: Task[..., int]) -> None:
    handle = await add.aenqueue(1, y=2)
    record = await record_of(app, handle)
    assert (record.name, record.queue, record.state) == ("add", "default", TaskState.PENDING)
    assert payload_of(record) == {"x": 1, "y": 2}
    assert handle.enqueued is EnqueueStatus.CREATED
    assert repr(handle) == f"TaskHandle({handle.id!r})"


def test_enqueue_and_delay(app: App, add: Task[..., int]) -> None:
    for handle in (add.enqueue(1, 2), add.delay(1, y=2)):
        assert payload_of(handle.info()) == {"x": 1, "y": 2}
    app.close()


async def test_an_async_task_is_enqueued_alike(app: App) -> None:
    @app.task(name="job")
    async def job(x: int) -> int:
        return x

    assert await job(3) == 3
    assert payload_of(await record_of(app, await job.aenqueue(3))) == {"x": 3}
    handles = await job.aenqueue_many([(1,), (2,)])
    assert [payload_of(await record_of(app, handle)) for handle in handles] == [{"x": 1}, {"x": 2}]


def test_an_async_task_from_blocking_code(app: App) -> None:
    @app.task(name="job")
    async def job(x: int) -> int:
        return x

    for handle in (job.enqueue(1), job.delay(1), *job.enqueue_many([(1,)])):
        assert payload_of(handle.info()) == {"x": 1}
    app.close()


async def test_many_take_tuples_and_mappings_from_any_iterable(app: App, add: Task[..., int]) -> None:
    def items() -> Iterator[Any]:
        yield (1, 2)
        yield {"x": 3}

    handles = await add.aenqueue_many(items())
    assert [payload_of(await record_of(app, handle)) for handle in handles] == [{"x": 1, "y": 2}, {"x": 3}]
    assert await add.aenqueue_many([]) == []


async def test_a_bad_item_is_named_and_nothing_is_stored(app: App, add: Task[..., int]) -> None:
    items: list[Any] = [(1, 2)] * 1000
    items[700] = ("x",)
    with pytest.raises(InvalidPayload, match=r"^item 700: add: parameter x: expected `int`, got `str`$") as caught:
        await add.aenqueue_many(items)
    assert caught.value.parameter == "x"
    assert await count(app) == 0


async def test_ten_thousand_and_one(app: App, add: Task[..., int]) -> None:
    handles = await add.aenqueue_many((number,) for number in range(10_001))
    assert len({handle.id for handle in handles}) == 10_001
    assert await count(app) == 10_001


async def test_many_at_once_all_or_none(app: App, add: Task[..., int]) -> None:
    assert len(await add.aenqueue_many([(1,), (2,)], atomic=True)) == 2
    keyed = add.options(idempotency_key="k")
    await keyed.aenqueue(1)
    with pytest.raises(IdempotencyConflict):
        await keyed.aenqueue_many([(2,)], atomic=True)
    with pytest.raises(InvalidOption, match="one idempotency_key is for one task, not for 2"):
        await keyed.aenqueue_many([(3,), (4,)])
    assert await count(app) == 3


def test_many_from_blocking_code(app: App, add: Task[..., int]) -> None:
    assert [payload_of(handle.info())["x"] for handle in add.enqueue_many([(1,), {"x": 2}])] == [1, 2]
    with pytest.raises(InvalidPayload, match="item 0: add: parameter x is missing"):
        add.enqueue_many([()])
    app.close()


async def test_a_wrong_argument_stores_nothing(app: App, add: Task[..., int]) -> None:
    wrong: Any = "x"
    with pytest.raises(InvalidPayload, match=r"^add: parameter x: expected `int`, got `str`$"):
        await add.aenqueue(wrong)
    with pytest.raises(InvalidPayload, match="add: parameter z is not in its signature"):
        await add.aenqueue(1, z=wrong)
    assert await count(app) == 0


def test_a_wrong_argument_is_refused_in_the_calling_thread(app: App, add: Task[..., int]) -> None:
    wrong: Any = "x"
    for call in (add.enqueue, add.delay):
        with pytest.raises(InvalidPayload, match="add: parameter x"):
            call(wrong)


async def test_arguments_may_have_any_name(app: App) -> None:
    @app.task(name="job")
    def job(**names: int) -> None: ...

    names = {"self": 1, "args": 2, "task": 3, "name": 4, "payload": 5, "queue": 6, "": 7}
    assert payload_of(await record_of(app, await job.aenqueue(**names))) == names
    assert payload_of(await record_of(app, await app.aenqueue("job", names))) == names
    assert job(**names) is None


async def test_by_name_known_here(app: App, add: Task[..., int]) -> None:
    handle = await app.aenqueue("add", {"x": 1}, queue="slow", priority="high")
    record = await record_of(app, handle)
    assert (record.name, record.queue, record.priority.name) == ("add", "slow", "HIGH")
    assert payload_of(record) == {"x": 1}
    with pytest.raises(InvalidPayload, match="add: parameter x: expected `int`, got `str`"):
        await app.aenqueue("add", {"x": "1"})
    with pytest.raises(InvalidPayload, match="add: parameter x is missing"):
        await app.aenqueue("add")


async def test_by_name_unknown_here(app: App) -> None:
    handle = await app.aenqueue("elsewhere.job", {"to": ["a", None]}, tenant="acme")
    record = await record_of(app, handle)
    assert (record.name, record.tenant, payload_of(record)) == ("elsewhere.job", "acme", {"to": ["a", None]})
    assert payload_of(await record_of(app, await app.aenqueue("os.system"))) == {}


def test_by_name_from_blocking_code(app: App, add: Task[..., int]) -> None:
    assert payload_of(app.enqueue("add", {"x": 1}).info()) == {"x": 1}
    assert payload_of(app.enqueue("elsewhere", {"x": "1"}, delay=5).info()) == {"x": "1"}
    app.close()


async def test_by_name_a_positional_only_parameter_and_a_list_of_the_rest(app: App) -> None:
    @app.task(name="job")
    def job(a: int, b: int = 2, /, *rest: int) -> None: ...

    payload = {"a": 1, "b": 3, "rest": [4, 5]}
    assert payload_of(await record_of(app, await app.aenqueue("job", payload))) == payload
    assert job.codec.decode(b'{"a":1,"b":3,"rest":[4,5]}') == ((1, 3, 4, 5), {})


@pytest.mark.parametrize("name", ["add", "elsewhere"])
@pytest.mark.parametrize("payload", [[1], [], "x", 3, {1: 2}, {None: 1}, object()])
async def test_by_name_what_is_no_object(app: App, add: Task[..., int], name: str, payload: Any) -> None:
    with pytest.raises(InvalidPayload, match=f"{name}: the payload must be an object, parameter name → value"):
        await app.aenqueue(name, payload)
    assert await count(app) == 0


@pytest.mark.parametrize("name", ["a..b c", "", "a/b", "${x}", "x" * 1000, ".a", "😀"])
async def test_by_name_what_is_no_name(app: App, name: str) -> None:
    with pytest.raises(InvalidOption, match="task '"):
        await app.aenqueue(name)


@pytest.mark.parametrize("name", ["add", "elsewhere"])
async def test_by_name_with_an_unknown_option(app: App, add: Task[..., int], name: str) -> None:
    with pytest.raises(InvalidOption, match=rf"{name}.options\(\) has no option quue"):
        await app.aenqueue(name, {"x": 1}, quue="slow")  # type: ignore[call-arg]


async def test_too_large_by_a_byte() -> None:
    app = App("memory://", settings=Settings(max_payload=1000))

    @app.task(name="job")
    def job(text: str) -> None: ...

    empty = len(job.codec.encode(("",), {}))
    await job.aenqueue("x" * (1000 - empty))
    with pytest.raises(PayloadTooLarge) as caught:
        await job.aenqueue("x" * (1001 - empty))
    assert str(caught.value).startswith(
        "the arguments and metadata of job take 1,001 bytes, over max_payload (1,000 bytes): "
    )
    assert (caught.value.size, caught.value.limit) == (1001, 1000)
    with pytest.raises(PayloadTooLarge):
        await app.aenqueue("elsewhere", {"text": "é" * 1000})
    with pytest.raises(PayloadTooLarge):
        await job.aenqueue_many([("",), ("x" * 1001,)])
    assert await count(app) == 1


async def test_routes_by_name_pattern_and_function() -> None:
    app = App("memory://", routes={"mail.send": "now", "mail.*": "mail", "*.slow": "slow"})
    by_function = App("memory://", routes=lambda name: "mail" if name.startswith("mail.") else None)

    async def queue(app: App, name: str, **options: Any) -> str:
        return (await record_of(app, await app.aenqueue(name, **options))).queue

    assert await queue(app, "mail.send") == "now"
    assert await queue(app, "mail.slow") == "mail"
    assert await queue(app, "x.slow") == "slow"
    assert await queue(app, "MAIL.x") == "default"
    assert await queue(app, "mail.send", queue="own") == "own"
    assert await queue(by_function, "mail.x") == "mail"
    assert await queue(by_function, "x") == "default"


async def test_a_function_of_the_routes_may_give_tenants_queues_of_their_own() -> None:
    app = App("memory://", routes=lambda name, *, tenant: f"of-{tenant}" if tenant == "acme" else None)

    @app.task(name="send")
    async def send() -> None: ...

    assert (await (await send.options(tenant="acme").aenqueue()).ainfo()).queue == "of-acme"
    assert (await (await send.options(tenant="other").aenqueue()).ainfo()).queue == "default"
    assert (await (await send.aenqueue()).ainfo()).queue == "default"
    await app.aclose()


async def test_a_task_s_own_queue_goes_before_the_routes() -> None:
    app = App("memory://", routes={"*": "routed"})

    @app.task(name="job", queue="own")
    def job() -> None: ...

    assert (await record_of(app, await job.aenqueue())).queue == "own"
    assert (await record_of(app, await job.options(queue="said").aenqueue())).queue == "said"


async def test_a_connection_needs_a_store_in_that_database(app: App, add: Task[..., int]) -> None:
    inside = add.options(connection=object())
    with pytest.raises(CapabilityMissing, match=r"connection=…\) needs the Postgres backend"):
        await inside.aenqueue(1)
    for call in (lambda: inside.enqueue(1), lambda: inside.enqueue_many([(1,)]),
                 lambda: app.enqueue("add", {"x": 1}, connection=object())):  # fmt: skip
        with pytest.raises(CapabilityMissing):
            call()


def test_a_plain_call_runs_here_and_now(app: App) -> None:
    @app.task(name="job")
    def job(a: int, ctx: TaskContext, b: int = 2) -> tuple[int, int, str, int]:
        ctx.progress(0.5)
        return a, b, ctx.id, ctx.attempt

    plain: Any = job
    assert plain(1) == (1, 2, "local", 1)
    assert plain(1, b=3) == (1, 3, "local", 1)
    assert plain(a=1) == (1, 2, "local", 1)
    assert (plain.__name__, plain.__wrapped__) == ("job", job.function)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://x", "no backend for 'nosuch://x': its scheme is none of memory, "),
        ("nonsense", "no backend for 'nonsense'"),
        ("other://me:secret@host", r"no backend for 'other://me:\*\*\*@host'"),
        ("memory://host", "write memory://"),
    ],
)
async def test_a_url_that_means_nothing(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        await App(url).backend()
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, NotApplied)


async def test_each_call_asks_the_routes_anew() -> None:
    queues = iter(["first", "second", "second", "first"])
    app = App("memory://", routes=lambda name: next(queues))

    @app.task(name="job")
    def job() -> None: ...

    taken = [(await record_of(app, await job.aenqueue())).queue for _ in range(4)]
    assert taken == ["first", "second", "second", "first"]


async def test_a_task_that_is_registered_anew_is_enqueued_as_the_new_one() -> None:
    """What is known of calls without options is known of the very task, not of its name."""
    app = App("memory://")

    def plain() -> None: ...

    old = app.task(name="job", retention=10)(plain)
    before = await record_of(app, await old.aenqueue())
    new = app._by_name._make_stranger("job", 7, old)
    after = await record_of(app, await new.aenqueue())
    assert [headers_of(record).version for record in (before, after)] == [1, 7]
