"""A user's mistakes outside of the options: each is told in one clear line, and none as a traceback of our own."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from taskq import App, BackendUnavailable, ConfigError, InvalidOption, InvalidPayload
from taskq.frames import summary, where_raised
from taskq.lifespan import life_of
from tests.unit.support import count

SECRET = "hunter-2"
APPLICATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a backend that is no text": ({"backend": 123}, "backend must be the text of a URL, such as .*, not of type int"),
    "a backend in bytes": (
        {"backend": f"redis://:{SECRET}@h".encode()},
        "backend must be the text .* not of type bytes",
    ),
    "no closing bracket": ({"backend": f"redis://:{SECRET}@[::1"}, "backend: the host of the redis:// URL cannot be"),
    "a letter that is another": ({"backend": f"redis://:{SECRET}@h\u2100st"}, "backend: the host of the redis:// URL"),
    "a bracket in a password": (
        {"backend": f"postgresql://:{SECRET}[@h"},
        "backend: the host of the postgresql:// URL",
    ),
    "results that are no text": ({"results": 3}, "results must be the text of a URL"),
    "results with a bracket": (
        {"results": f"redis://:{SECRET}@[::1"},
        "results: the host of the redis:// URL cannot be",
    ),
    "durability": ({"durability": "forever"}, "durability must be process, disk or replica, not 'forever'"),
    "durability of another type": ({"durability": ["disk"]}, "durability must be process, disk or replica, not "),
    "lifespan": ({"lifespan": 3}, "lifespan must be a function of the application .*, not 3"),
    "settings": ({"settings": 3}, r"settings must be taskq.config.Settings\(…\), not 3"),
    "settings that are false": ({"settings": {}}, r"settings must be taskq.config.Settings\(…\), not {}"),
    "routes": ({"routes": 3}, "routes must be a mapping of task names to queues, or a function, not 3"),
    "routes that are false": ({"routes": []}, r"routes must be a mapping .*, not \[\]"),
    "routes of no text": ({"routes": {5: "mail"}}, "routes must be a mapping of task names to queues"),
}


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_that_cannot_be(name: str) -> None:
    options, message = APPLICATIONS[name]
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        App(**options)
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_route_to_a_queue_that_cannot_be() -> None:
    with pytest.raises(InvalidOption, match="queue 'a b'"):
        App("memory://", routes={"*": "a b"})


def test_a_function_of_the_routes_that_raises() -> None:
    app = App("memory://", routes=lambda name: {"mail.send": "mail"}[name])
    with pytest.raises(InvalidOption, match=r"^the function of the routes raised KeyError for mail\.receive$"):
        app.enqueue("mail.receive")


def test_a_backend_that_is_set_afterwards_is_checked_too() -> None:
    app = App("memory://")
    with pytest.raises(ConfigError, match="backend: the host of the redis:// URL cannot be read"):
        app.url = f"redis://:{SECRET}@[::1"
    assert app.url == "memory://"


def test_no_results_of_their_own() -> None:
    assert not App("memory://", results="").stores.has_detached_results


# ------------------------------------------------------------ tasks


@pytest.mark.parametrize("given", ["mail.send", 5])
def test_a_task_that_is_no_function(given: Any) -> None:
    app = App("memory://")
    with pytest.raises(ConfigError, match=r"is no function; options are given by name, @app.task\(name=…\)"):
        app.task(given)
    with pytest.raises(ConfigError, match="is no function"):
        app.task(name="job")(given)
    assert len(app.tasks) == 0


def unreadable(x: int) -> None: ...
def failing(x: int) -> None: ...
def mangled(__y: int) -> None: ...
def many_mangled(*__y: int) -> None: ...
def reserved(__init__: int) -> None: ...


unreadable.__annotations__["x"] = "int |"
failing.__annotations__["x"] = "1 / 0"
SIGNATURES: dict[str, tuple[Callable[..., Any], str]] = {
    "a syntax error": (unreadable, r"an annotation cannot be resolved at run time \(SyntaxError: .*'int \|'\)$"),
    "an annotation that fails": (failing, r"an annotation cannot .* \(ZeroDivisionError: division by zero\)$"),
    "two underscores": (mangled, "parameter __y: a name cannot begin with two underscores"),
    "two underscores before many": (many_mangled, "parameter __y: a name cannot begin with two underscores"),
    "a name of Python's own": (reserved, "parameter __init__: a name cannot begin with two underscores"),
    "no signature": (max, "its function has no signature that can be read"),
}


@pytest.mark.parametrize("name", SIGNATURES)
async def test_a_signature_that_cannot_be_carried(app: App, name: str) -> None:
    function, message = SIGNATURES[name]
    task = app.task(name="job")(function)
    with pytest.raises(ConfigError, match=f"^task job: {message}") as caught:
        await task.aenqueue(1)
    assert len(str(caught.value).splitlines()) == 1


ITEMS: dict[str, tuple[Any, str]] = {
    "a number": ([1], "item 0: job: give the arguments as a tuple, such as (1,), or as a mapping by name, not as int"),
    "a text": ([(1,), "ab"], "item 1: job: give the arguments as a tuple, such as ('ab',), or"),
    "a list": ([[1]], "not as list"),
    "nothing": ([None], "not as NoneType"),
    "keys that are no text": ([{1: 2}], "item 0: job: the payload must be an object, parameter name → value"),
    "no items": (5, "job: the items must be tuples or mappings, one for each task, not int"),
}


@pytest.mark.parametrize("name", ITEMS)
async def test_items_that_are_no_arguments(app: App, name: str) -> None:
    items, message = ITEMS[name]

    @app.task(name="job")
    def job(x: Any, y: Any = 0) -> None: ...

    with pytest.raises(InvalidPayload) as caught:
        await job.aenqueue_many(items)
    assert message in str(caught.value)
    assert await count(app) == 0


async def test_an_error_of_the_generator_of_items_is_its_own(app: App) -> None:
    @app.task(name="job")
    def job(x: int) -> None: ...

    with pytest.raises(TypeError, match="unsupported operand"):
        await job.aenqueue_many((n + "x",) for n in range(3))  # type: ignore[operator]


@pytest.mark.parametrize("name", [5, None, ["a"], {}])
async def test_a_task_s_name_that_is_no_text(app: App, name: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^task must be text, not "):
        await app.aenqueue(name)


# ------------------------------------------------------------ lifespans


def plain() -> Any: ...
async def coroutine(app: App) -> Any: ...


async def generator(app: App) -> AsyncIterator[None]:
    yield None


@asynccontextmanager
async def raising(app: App) -> AsyncIterator[None]:
    raise ValueError("no such\nhost")
    yield None


LIFESPANS: dict[str, tuple[Callable[..., Any], str]] = {
    "raises": (raising, r"the lifespan raised ValueError: no such\nhost (.*test_mistakes\.py:\d+)"),
    "takes no application": (plain, r"the lifespan raised TypeError: plain\(\) takes 0 positional"),
    "a generator": (
        generator,
        "lifespan=generator gives no async context manager: put @contextlib.asynccontextmanager",
    ),
    "a coroutine": (coroutine, "lifespan=coroutine gives no async context manager: "),
    "nothing": (lambda app: None, "lifespan=.*<lambda> gives no async context manager: "),
}


@pytest.mark.parametrize("name", LIFESPANS)
async def test_a_lifespan_that_does_not_begin(name: str) -> None:
    lifespan, message = LIFESPANS[name]
    with pytest.raises(ConfigError, match=f"^{message}"):
        async with life_of(App("memory://", lifespan=lifespan)):
            raise AssertionError("it has not begun")


async def test_a_store_that_is_away_when_a_lifespan_begins_is_no_mistake() -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        raise BackendUnavailable("away")
        yield None

    with pytest.raises(BackendUnavailable, match=r"^away$"):
        async with life_of(App("memory://", lifespan=lifespan)):
            raise AssertionError("it has not begun")


async def test_what_is_raised_inside_of_a_lifespan_or_at_its_end_is_not_changed() -> None:
    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[str]:
        yield "state"
        raise LookupError("at the end")

    given: Callable[[App], AbstractAsyncContextManager[Any]] = functools.partial(lifespan)
    app = App("memory://", lifespan=given)
    with pytest.raises(KeyError, match="inside"):
        async with life_of(app):
            raise KeyError("inside")
    with pytest.raises(LookupError, match="at the end"):
        async with life_of(app) as state:
            assert state == "state"


# ------------------------------------------------------------ where it was


def caught_of(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError


def line_of(function: Callable[[], Any]) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno}"


def test_the_place_of_an_error_is_the_user_s_own_line() -> None:
    in_taskq: Callable[[], Any] = lambda: App("memory://").task(quue="x")  # type: ignore[call-overload]  # noqa: E731
    in_the_library: Callable[[], Any] = lambda: functools.reduce(__import__("json").loads, [1, 2])  # noqa: E731
    in_importlib: Callable[[], Any] = lambda: __import__("importlib").import_module("no_such_module")  # noqa: E731
    for function in (in_taskq, in_the_library, in_importlib):
        assert where_raised(caught_of(function)) == line_of(function)


def test_the_place_of_a_syntax_error_is_in_its_file() -> None:
    error = caught_of(lambda: compile("x = 1\ndef (:\n", "/srv/site.py", "exec"))
    assert where_raised(error) == "/srv/site.py:2"
    assert summary(error) == "SyntaxError: invalid syntax (/srv/site.py:2)"
    evaluated: Callable[[], Any] = lambda: eval("1 +")  # noqa: E731, S307
    assert where_raised(caught_of(evaluated)) == line_of(evaluated)


def test_an_error_without_a_place_or_without_words() -> None:
    class Silent(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert where_raised(ValueError("x")) == ""
    assert summary(ValueError("x")) == "ValueError: x"
    assert summary(KeyError()) == "KeyError"
    assert summary(Silent()) == "Silent"
