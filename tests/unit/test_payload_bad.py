"""What cannot be carried is refused at the call, whatever it does to whoever looks at it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import pydantic
import pytest

from taskq import InvalidPayload
from taskq.headers import MAX_DEPTH
from taskq.payload import Codec, plain_payload
from tests.unit.shapes import Measure, Model, Point, Record


def anything(value: Any) -> Any: ...
def number(value: int) -> Any: ...
def text(value: str) -> Any: ...
def items(value: list[Any]) -> Any: ...
def point(value: Point) -> Any: ...
def model(value: Model) -> Any: ...


ANNOTATED = [number, text, items, point, model]


def nested(depth: int, innermost: Any = None, kind: type = list) -> Any:
    value: Any = [] if innermost is None else innermost
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def circular_list() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def circular_dict() -> Any:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


def refused(value: Any, function: Callable[..., Any] = anything) -> InvalidPayload:
    with pytest.raises(InvalidPayload) as caught:
        Codec(function, "job").encode((value,), {})
    assert caught.value.parameter == "value"
    return caught.value


def refused_result(value: Any, function: Callable[..., Any] = anything) -> InvalidPayload:
    with pytest.raises(InvalidPayload, match=r"^job: the result") as caught:
        Codec(function, "job").encode_result(value)
    return caught.value


@pytest.mark.parametrize(
    "value",
    [
        nested(100_000), nested(100_000, kind=dict), nested(100_000, math.nan), nested(500, math.nan),
        nested(MAX_DEPTH), circular_list(), circular_dict(),
        Measure(1.0, nested(100_000)), Model(a=1, note=nested(100)),
    ],
)  # fmt: skip
def test_nesting_without_end(value: Any) -> None:
    for message in (str(refused(value)), str(refused_result(value))):
        assert f"nested deeper than {MAX_DEPTH} levels, or referring to itself" in message
    with pytest.raises(InvalidPayload, match="job: parameter a: nested deeper"):
        plain_payload("job", {"a": value})


def test_the_deepest_nesting_that_may_be() -> None:
    deepest = nested(MAX_DEPTH - 2)
    codec: Codec[Any] = Codec(anything, "job")
    assert codec.decode(codec.encode((deepest,), {})) == ((), {"value": deepest})
    refused([deepest])


def test_brackets_in_text_are_no_nesting() -> None:
    value = ["[" * 1000, '"[{\\', '\\"{', {"[[[": "]"}, *([],) * 1000]
    codec: Codec[Any] = Codec(anything, "job")
    assert codec.decode(codec.encode((value,), {})) == ((), {"value": value})


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda number: number,
        lambda number: [1, {"a": (None, number)}],
        lambda number: {"a": {number}},
        lambda number: Measure(number),
        lambda number: [Measure(1.0, {"deep": [number]})],
        lambda number: Record("r", number),
        lambda number: Model(a=1, note=number),
        lambda number: {"k": Model(a=1, note=[number])},
    ],
)  # fmt: skip
def test_what_is_not_finite_never_becomes_null(wrap: Callable[[float], Any], number: float) -> None:
    assert "NaN and infinity cannot be written as JSON" in str(refused(wrap(number)))
    assert "the result holds NaN or infinity" in str(refused_result(wrap(number)))
    with pytest.raises(InvalidPayload, match="job: parameter a: NaN and infinity"):
        plain_payload("job", {"a": wrap(number)})


def test_what_is_not_finite_is_told_also_where_a_number_is_asked_for() -> None:
    def job(value: float) -> None: ...

    with pytest.raises(InvalidPayload, match="job: parameter value: NaN and infinity cannot be written as JSON"):
        Codec(job, "job").encode((math.nan,), {})


def measure(value: Measure) -> Any: ...
def measures(value: list[Measure]) -> Any: ...
def model_or_none(value: Model | None) -> Any: ...
def model_or_number(value: Model | int) -> Any: ...


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (measure, Measure(math.nan)),
        (measure, Measure(1.0, [math.inf])),
        (measures, [Measure(None), Measure(math.nan)]),
        (model, Model(a=1, note=math.nan)),
        (model_or_none, Model(a=1, note=[math.nan])),
        (model_or_number, Model(a=1, note=[math.nan])),
    ],
)
def test_what_is_not_finite_never_becomes_null_in_annotated_types(function: Callable[..., Any], value: Any) -> None:
    assert "NaN and infinity cannot be written as JSON" in str(refused(value, function))
    assert "the result holds NaN or infinity" in str(refused_result(value, function))


def test_a_float_that_is_not_finite_is_refused_by_its_annotation() -> None:
    def job(value: float) -> None: ...

    for number in (math.nan, math.inf):
        refused(number, job)
    with pytest.raises(InvalidPayload, match="parameter value: number out of range"):
        Codec(job, "job").decode(b'{"value":1e400}')


@pytest.mark.parametrize(
    "value", ["\ud800", {"a": ["x\udfff"]}, {"\ud800": 1}, Measure(1.0, "\ud800"), Model(a=1, note="\ud800")]
)
def test_a_lone_surrogate(value: Any) -> None:
    refused(value)
    refused_result(value)


def test_a_lone_surrogate_in_a_name_can_be_reported() -> None:
    with pytest.raises(InvalidPayload) as caught:
        plain_payload("job", {"\ud800": 1})
    assert "parameter \\ud800: cannot be written as JSON" in str(caught.value)
    str(caught.value).encode("utf-8")


def test_an_integer_that_no_reader_takes() -> None:
    for huge in (10**5000, -(10**5000)):
        refused(huge)
        refused(huge, number)
    refused_result(10**5000)


class HostileGetattr:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"hostile {name}")


class Pretender:
    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: 1


class HostileIter:
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("hostile")


class FalseModel:
    def model_dump(self, **_: Any) -> Any:
        return self


class RaisingModel(pydantic.BaseModel):
    a: int = 1

    @pydantic.model_serializer
    def dump(self) -> Any:
        raise RuntimeError("hostile")


class HostileClass:
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("hostile")


class HostileRepr:
    def __repr__(self) -> str:
        raise RuntimeError("hostile")

    __str__ = __repr__


class FalseDataclass:
    def __dataclass_fields__(self) -> Any:
        raise RuntimeError("hostile")


class HostileNumber(int):
    def __index__(self) -> int:
        raise RuntimeError("hostile")


@dataclasses.dataclass
class HostileField:
    @property
    def x(self) -> int:
        raise RuntimeError("hostile")


class PlainObject:
    x = 1


HOSTILE: list[Callable[[], Any]] = [
    HostileGetattr, Pretender, HostileIter, FalseModel, RaisingModel, HostileClass, HostileRepr, FalseDataclass,
    lambda: HostileNumber(3), PlainObject, object, lambda: (lambda: 1), lambda: (character for character in "ab"),
    lambda: print, lambda: int, lambda: range(3), lambda: Exception("x"), lambda: memoryview(b"x") and pytest,
    lambda: {(1, 2): 3}, lambda: {None: 1}, lambda: [Point(lambda: 1)], lambda: Model(a=1, note=object()),  # type: ignore[arg-type]
]  # fmt: skip


@pytest.mark.parametrize("make", HOSTILE)
def test_what_is_no_data(make: Callable[[], Any]) -> None:
    refused(make())
    refused_result(make())


@pytest.mark.parametrize("make", HOSTILE)
@pytest.mark.parametrize("function", ANNOTATED)
def test_what_is_no_data_where_something_else_is_annotated(
    function: Callable[..., Any], make: Callable[[], Any]
) -> None:
    with pytest.raises(InvalidPayload):
        Codec(function, "job").encode((make(),), {})


def test_a_coroutine_and_an_open_file() -> None:
    async def later() -> None: ...

    coroutine = later()
    with open(__file__, encoding="utf-8") as file:
        for value in (coroutine, file):
            refused(value)
            refused_result(value)
    coroutine.close()


def test_the_cause_of_a_refusal_is_kept() -> None:
    assert isinstance(refused(FalseDataclass()).__cause__, RuntimeError)
