"""Every kind of signature: what a call is written as, and what the worker calls the function with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from taskq import ConfigError, InvalidPayload, TaskContext
from taskq.payload import Codec, plain_payload
from tests.unit.shapes import Model

Function = Callable[..., Any]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def codec(function: Function) -> Codec[Any]:
    return Codec(function, "job", injected=TaskContext)


def call(*args: Any, **kwargs: Any) -> Arguments:
    return args, kwargs


def nothing() -> None: ...
def plain(a: int, b: int = 2) -> None: ...
def positional_only(a: int, b: int = 2, /) -> None: ...
def keyword_only(*, a: int, b: int = 2) -> None: ...
def all_kinds(a: int, /, b: int, *rest: int, c: int = 3, **more: str) -> None: ...
def only_rest(*rest: int) -> None: ...
def only_more(**more: int) -> None: ...
def optional_before_rest(a: int = 1, b: int = 2, *rest: int) -> None: ...
def models(*rest: Model, **more: Model) -> None: ...
def unannotated(a, b=None) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "given", "payload", "received"),
    [
        (nothing, call(), b"{}", call()),
        (plain, call(1), b'{"a":1}', call(a=1)),
        (plain, call(1, 3), b'{"a":1,"b":3}', call(a=1, b=3)),
        (plain, call(b=3, a=1), b'{"b":3,"a":1}', call(a=1, b=3)),
        (positional_only, call(1), b'{"a":1}', call(1)),
        (positional_only, call(1, 3), b'{"a":1,"b":3}', call(1, 3)),
        (positional_only, call(a=1), b'{"a":1}', call(1)),
        (keyword_only, call(a=1), b'{"a":1}', call(a=1)),
        (all_kinds, call(1, 2), b'{"a":1,"b":2}', call(1, b=2)),
        (all_kinds, call(1, 2, 8, 9, c=4, d="x"), b'{"a":1,"b":2,"rest":[8,9],"c":4,"d":"x"}',
         call(1, 2, 8, 9, c=4, d="x")),
        (only_rest, call(), b"{}", call()),
        (only_rest, call(1, 2), b'{"rest":[1,2]}', call(1, 2)),
        (only_rest, call(rest=[1, 2]), b'{"rest":[1,2]}', call(1, 2)),
        (only_more, call(x=1), b'{"x":1}', call(x=1)),
        (only_more, call(more=1), b'{"more":1}', call(more=1)),
        (optional_before_rest, call(b=3), b'{"b":3}', call(b=3)),
        (optional_before_rest, call(5), b'{"a":5}', call(a=5)),
        (optional_before_rest, call(1, 2, 3), b'{"a":1,"b":2,"rest":[3]}', call(1, 2, 3)),
        (optional_before_rest, call(rest=[3]), b'{"rest":[3]}', call(1, 2, 3)),
        (models, call(Model(a=1), x=Model(a=2)), b'{"rest":[{"a":1,"note":null}],"x":{"a":2,"note":null}}',
         call(Model(a=1), x=Model(a=2))),
        (unannotated, call([1, {"x": None}]), b'{"a":[1,{"x":null}]}', call(a=[1, {"x": None}])),
    ],
)  # fmt: skip
def test_a_call_arrives_as_it_was_made(
    function: Function, given: Arguments, payload: bytes, received: Arguments
) -> None:
    args, kwargs = given
    written = codec(function).encode(args, kwargs)
    assert written == payload
    assert codec(function).decode(written) == received


def test_a_default_stands_where_only_a_later_position_is_given() -> None:
    assert codec(positional_only_defaults).decode(b'{"b":3}') == call(1, 3)


def positional_only_defaults(a: int = 1, b: int = 2, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "given", "parameter", "message"),
    [
        (nothing, call(1), None, "job: takes 0 positional arguments, 1 were given"),
        (nothing, call(z=1), "z", "job: parameter z is not in its signature"),
        (plain, call(), "a", "job: parameter a is missing"),
        (plain, call(1, 2, 3), None, "job: takes 2 positional arguments, 3 were given"),
        (plain, call(1, a=2), "a", "job: parameter a was given twice"),
        (plain, call(1, "x"), "b", "job: parameter b: expected `int`, got `str`"),
        (keyword_only, call(1), None, "job: takes 0 positional arguments, 1 were given"),
        (keyword_only, call(), "a", "job: parameter a is missing"),
        (all_kinds, call(1, 2, "x"), "rest", "job: parameter rest[0]: expected `int`, got `str`"),
        (all_kinds, call(1, 2, a="x"), "a", "job: parameter a was given twice"),
        (all_kinds, call(1, 2, d=1), "d", "job: parameter d: expected `str`, got `int`"),
        (only_rest, call(1, rest=[1]), "rest", "job: parameter rest was given twice"),
        (only_more, call(**{"a b": "x"}), "a b", "job: parameter a b: expected `int`, got `str`"),
        (models, call(Model(a=1), 3), "rest", "job: parameter rest[1]: input should be a valid dictionary or "
         "instance of Model"),
        (models, call(x=3), "x", "job: parameter x: input should be an object"),
        (plain, call(1, **{"a b": 1}), "a b", "job: parameter a b is not in its signature"),
    ],
)  # fmt: skip
def test_a_call_that_does_not_fit_is_refused(
    function: Function, given: Arguments, parameter: str | None, message: str
) -> None:
    with pytest.raises(InvalidPayload) as caught:
        codec(function).encode(*given)
    assert str(caught.value) == message
    assert caught.value.parameter == parameter


def test_names_that_mean_something_elsewhere_are_only_names() -> None:
    def anything(**more: int) -> None: ...

    names = {
        "self": 1,
        "cls": 2,
        "task_id": 3,
        "_queue": 4,
        "class": 5,
        "": 6,
        "a b": 7,
        "return": 8,
        "name": 9,
        "é": 10,
    }
    assert codec(anything).decode(codec(anything).encode((), names)) == ((), names)


def test_ten_thousand_arguments() -> None:
    args = tuple(range(10_000))
    assert codec(only_rest).decode(codec(only_rest).encode(args, {})) == (args, {})


def test_the_order_of_parameters_may_change_while_tasks_wait() -> None:
    def before(a: int, b: str) -> None: ...
    def after(b: str, a: int, c: float = 0.5) -> None: ...

    assert codec(after).decode(codec(before).encode((1, "x"), {})) == call(a=1, b="x")


def first(ctx: TaskContext, a: int) -> Any: ...
def middle(a: int, ctx: TaskContext, b: int = 2) -> Any: ...
def by_keyword(a: int, *, ctx: TaskContext) -> Any: ...
def alone(ctx: TaskContext, /) -> Any: ...
def last_position(a: int, ctx: TaskContext, /) -> Any: ...
def after_default(a: int = 1, ctx: TaskContext = None, /) -> Any: ...  # type: ignore[assignment]
def before_rest(ctx: TaskContext, a: int, *rest: int) -> Any: ...
def between_rest(a: int, ctx: TaskContext, *rest: int) -> Any: ...
def may_be_none(a: int, ctx: TaskContext | None = None) -> Any: ...
def annotated(a: int, ctx: Annotated[TaskContext, "the running task"]) -> Any: ...
def as_text(a: int, ctx: "TaskContext") -> Any: ...  # noqa: UP037 - a quoted annotation is what is tried


@pytest.mark.parametrize(
    ("function", "given", "received"),
    [
        (first, call(1), call("CTX", a=1)),
        (middle, call(1), call(a=1, ctx="CTX")),
        (middle, call(1, 3), call(a=1, b=3, ctx="CTX")),
        (by_keyword, call(1), call(a=1, ctx="CTX")),
        (alone, call(), call("CTX")),
        (last_position, call(1), call(1, "CTX")),
        (after_default, call(), call(1, "CTX")),
        (before_rest, call(1, 2, 3), call("CTX", 1, 2, 3)),
        (before_rest, call(1), call("CTX", a=1)),
        (between_rest, call(1, 2, 3), call(1, "CTX", 2, 3)),
        (between_rest, call(1), call(a=1, ctx="CTX")),
        (may_be_none, call(1), call(a=1, ctx="CTX")),
        (annotated, call(1), call(a=1, ctx="CTX")),
        (as_text, call(1), call(a=1, ctx="CTX")),
    ],
)
def test_the_context_is_filled_in_and_never_written(function: Function, given: Arguments, received: Arguments) -> None:
    own = codec(function)
    payload = own.encode(*given)
    assert b"ctx" not in payload
    args, kwargs = own.inject(*own.decode(payload), "CTX")
    assert (args, kwargs) == received
    function(*args, **kwargs)  # it is a call that Python takes


def test_the_context_is_no_argument() -> None:
    def greedy(ctx: TaskContext, **more: Any) -> None: ...

    for function in (first, greedy):
        with pytest.raises(InvalidPayload, match="parameter ctx is filled in by the worker"):
            codec(function).encode((), {"a": 1, "ctx": 1})
    with pytest.raises(InvalidPayload, match="parameter ctx is filled in by the worker"):
        codec(greedy).decode(b'{"ctx":1}')


def test_a_method_has_no_self() -> None:
    class Service:
        def run(self, a: int) -> None: ...

    assert codec(Service().run).encode((1,), {}) == b'{"a":1}'


def test_an_annotation_that_only_type_checkers_see_is_a_mistake_of_the_declaration() -> None:
    def hidden(a: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigError, match=r"task job: an annotation cannot be resolved.*'Missing'.*TYPE_CHECKING"):
        codec(hidden)


def test_an_annotation_that_means_nothing_is_a_mistake_of_the_declaration() -> None:
    def strange(a: 3) -> None: ...  # type: ignore[valid-type]

    with pytest.raises(ConfigError, match=r"task job: a: the annotation 3 cannot be used"):
        codec(strange)


@pytest.mark.parametrize("payload", [[1], "x", 3, {1: 2}, {"a": 1, None: 2}])
def test_a_payload_by_name_is_an_object(payload: Any) -> None:
    with pytest.raises(InvalidPayload, match="job: the payload must be an object"):
        plain_payload("job", payload)


def test_a_payload_of_an_unknown_task_is_plain_data() -> None:
    assert plain_payload("job", {"a": [1, {"b": None}]}) == b'{"a":[1,{"b":null}]}'
    with pytest.raises(InvalidPayload, match="job: parameter a: cannot be written as JSON"):
        plain_payload("job", {"a": object()})


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "job: input data was truncated"),
        (b"[]", "job: expected `object`, got `array`"),
        (b"null", "job: expected `object`, got `null`"),
        (b"\xff", r"job: JSON is malformed"),
        (b"\xef\xbb\xbf{}", r"job: JSON is malformed"),
        (b'{"a":NaN}', r"job: JSON is malformed"),
        (b'{"a":"\\ud800"}', "job: "),
        (b'{"a":1.5}', "job: parameter a: expected `int`, got `float`"),
        (b'{"a":1,"c":1}', "job: parameter c is not in its signature"),
        (b'{"b":1}', "job: parameter a is missing"),
        (b'{"a":' + b"9" * 5000 + b"}", "job: parameter a: integer value out of range"),
        (b'{"a":' + b"[" * 100_000, "job: parameter a: expected `int`, got `array`"),
    ],
)
def test_what_another_producer_wrote_is_checked_before_the_run(payload: bytes, message: str) -> None:
    with pytest.raises(InvalidPayload, match=message):
        codec(plain).decode(payload)


@pytest.mark.parametrize("tail", [b"", b"]" * 100_000 + b"}"])
@pytest.mark.parametrize("function", [unannotated, models, only_more])
def test_a_payload_that_nests_without_end_is_refused(function: Function, tail: bytes) -> None:
    with pytest.raises(InvalidPayload):
        codec(function).decode(b'{"a":' + b"[" * 100_000 + tail)
