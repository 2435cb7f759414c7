"""Every kind of annotation: a value comes back as what the annotation says."""

from __future__ import annotations

import collections
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Optional, Union

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import InvalidPayload
from taskq.payload import Codec
from tests.unit.shapes import (
    Address,
    Aliased,
    Checked,
    Color,
    Computed,
    Level,
    Model,
    Page,
    Pair,
    Point,
    Positive,
    Record,
    Strict,
    Track,
    WithModel,
    WithRule,
)

ALIASES: dict[str, Any] = {"other": 1, "readAs": 2, "written": 3}
NOW = datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=UTC)


def codec_of(hint: Any) -> Codec[Any]:
    """The codec of a function that takes and returns one value of this annotation."""

    def job(value: Any) -> Any: ...

    job.__annotations__ = {"value": hint, "return": hint}
    return Codec(job, "job")


def carried(hint: Any, value: Any) -> Any:
    """The value as the worker gets it."""
    codec = codec_of(hint)
    args, kwargs = codec.decode(codec.encode((value,), {}))
    assert args == ()
    return kwargs["value"]


def returned(hint: Any, value: Any) -> Any:
    """The value as the caller gets it, if a task returns it."""
    codec = codec_of(hint)
    return codec.decode_result(codec.encode_result(value))


ROUND_TRIPS: list[tuple[Any, Any]] = [
    (int, 0), (int, 2**53 + 1), (int, 10**30), (bool, True), (float, 1.5), (str, "x"), (str, "a\0b"), (str, ""),
    (str, "‮\u200b👩‍👩‍👧 é e\u0301"), (bytes, b"\xff\0"), (bytearray, bytearray(b"x")), (None, None),
    (Optional[int], None), (Optional[int], 3), (int | None, None), (Union[int, str], "x"),  # noqa: UP007, UP045
    (int | float | None, 1.5),
    (Literal["a", 1], "a"), (Literal["a", 1], 1), (Color, Color.RED), (Color | None, Color.RED), (Level, Level.HIGH),
    (Point, Point(1, NOW)), (Track, Track([Point(1)], {1: "x"})), (Address, {"street": "s", "number": 1}),
    (Pair, Pair("k", 1)), (Record, Record("r", 1.5)),
    (datetime, NOW), (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (datetime, datetime(2026, 1, 1)),  # noqa: DTZ001 - a naive one stays naive
    (date, date(2026, 2, 28)), (time, time(1, 2, 3)), (timedelta, timedelta(days=1, microseconds=3)),
    (timedelta, timedelta(days=-1)), (uuid.UUID, uuid.UUID(int=7)), (Decimal, Decimal("1.10")),
    (Decimal, Decimal("1E+30")), (set[int], {1, 2}), (frozenset[str], frozenset("ab")), (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)), (list[int], [1]), (list[list[Decimal]], [[Decimal(1)], []]), (dict[int, str], {1: "a"}),
    (dict[Color, list[Point]], {Color.RED: [Point(1)]}), (dict[uuid.UUID, date], {uuid.UUID(int=1): date(2026, 1, 1)}),
    (Sequence[int], [1]), (Mapping[str, int], {"a": 1}), (AbstractSet[int], {1}), (Iterable[int], [1, 2]),
    (list, [1, "x", None]), (dict, {"a": {"b": [None]}}), (object, {"a": 1}), (Any, [None, True, {"a": 1.5}]),
    ("list[Point]", [Point(1)]), (Annotated[int, "a remark"], 3), (Annotated[int, msgspec.Meta(gt=0)], 3),
    (Model, Model(a=1, note={"x": [1]})), (list[Model], [Model(a=1)]), (Model | None, None), (Model | None, Model(a=1)),
    (Model | int, 3), (Model | int, Model(a=1)), (Model | Point, Point(1)), (dict[str, Model], {"k": Model(a=1)}),
    (tuple[Model, int], (Model(a=1), 2)), (WithModel, WithModel(Model(a=1), Path("a/b"))),
    (Aliased, Aliased(**ALIASES)), (list[Aliased], [Aliased(**ALIASES)]),
    (Aliased | int, Aliased(**ALIASES)), (Computed, Computed(side=3)), (Strict, Strict(at=NOW)),
    (Strict | None, Strict(at=NOW)), (Page[int], Page[int](items=[1])), (Page[Model], Page[Model](items=[Model(a=1)])),
    (Positive, 3), (list[Positive], [3]), (WithRule, WithRule(3)), (list[WithRule], [WithRule(3)]),
    (Checked, Checked(3)), (pydantic.PositiveInt, 3), (str | datetime, "x"), (datetime | uuid.UUID, NOW),
    (datetime | uuid.UUID, uuid.UUID(int=1)),
    (Path, Path("a/b")), (list[Path], [Path("a")]), (Path | None, None), (IPv4Address, ip_address("10.0.0.1")),
    (complex, 1 + 2j), (collections.deque[int], collections.deque([1, 2])),
]  # fmt: skip


@pytest.mark.parametrize(("hint", "value"), ROUND_TRIPS)
def test_a_value_comes_back_as_its_annotation_says(hint: Any, value: Any) -> None:
    for found in (carried(hint, value), returned(hint, value)):
        assert found == value
        assert type(found) is type(value)


json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
zones = st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14))])
points = st.builds(Point, st.integers(-(2**63), 2**63), st.none() | st.datetimes(timezones=zones))
STRATEGIES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, json_data),
    (int, st.integers(-(10**300), 10**300)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (str, st.text()),
    (bytes, st.binary()),
    (datetime, st.datetimes() | st.datetimes(timezones=zones)),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-36_500), timedelta(days=36_500))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (dict[int, set[str]], st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.sets(st.text()))),
    (tuple[date, uuid.UUID] | None, st.none() | st.tuples(st.dates(), st.uuids())),
    (Track, st.builds(Track, st.lists(points), st.dictionaries(st.integers(0, 9), st.text()))),
    (list[Model], st.lists(st.builds(Model, a=st.integers(-(2**53), 2**53), note=json_data))),
    (dict[str, Record], st.dictionaries(st.text(), st.builds(Record, st.text(), st.none() | st.floats(-9, 9)))),
]


@given(st.data())
def test_any_value_comes_back(data: st.DataObject) -> None:
    hint, values = data.draw(st.sampled_from(STRATEGIES))
    value = data.draw(values)
    assert carried(hint, value) == value
    assert returned(hint, value) == value


@given(json_data)
def test_the_same_bytes_are_written_for_the_same_call(value: Any) -> None:
    codec = codec_of(Any)
    payload = codec.encode((value,), {})
    _, kwargs = codec.decode(payload)
    assert codec.encode((), kwargs) == payload


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ((1, 2), [1, 2]),
        ({3}, [3]),
        (b"\xff", "/w=="),
        (NOW, "2026-02-28T23:59:59.123456Z"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        (Color.RED, "red"),
        ({1: "a"}, {"1": "a"}),
        (Point(1), {"x": 1, "at": None}),
        (Model(a=1), {"a": 1, "note": None}),
        (Path("a/b"), "a/b"),
        (collections.OrderedDict(a=1), {"a": 1}),
        ({"__proto__": {"admin": True}, "py/object": "os.system", "$ref": "#"},) * 2,
    ],
)
def test_without_an_annotation_a_value_arrives_as_json_data(value: Any, arrives: Any) -> None:
    assert carried(Any, value) == arrives


@pytest.mark.parametrize(
    ("hint", "value", "arrives"),
    [
        (float, 1, 1.0),
        (list[int], (1, 2), [1, 2]),
        (Point, {"x": 1}, Point(1)),
        (Pair, ("k", 1), Pair("k", 1)),
        (Color, "red", Color.RED),
        (datetime, "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)),
        (Model, {"a": 1}, Model(a=1)),
        (Aliased, ALIASES, Aliased(**ALIASES)),
        (WithModel, {"model": {"a": 1}, "path": "x"}, WithModel(Model(a=1), Path("x"))),
        (Path, "a/b", Path("a/b")),
        (str | datetime, NOW, "2026-02-28T23:59:59.123456Z"),  # text is one of the two that the annotation allows
    ],
)
def test_what_can_be_read_as_the_annotation_is_taken(hint: Any, value: Any, arrives: Any) -> None:
    found = carried(hint, value)
    assert found == arrives
    assert type(found) is type(arrives)


def broken_model() -> Model:
    model = Model(a=1)
    model.a = "x"  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, "1", "value: expected `int`, got `str`"),
        (int, True, "value: expected `int`, got `bool`"),
        (int, 1.5, "value: expected `int`, got `float`"),
        (bool, 1, "value: expected `bool`, got `int`"),
        (str, 1, "value: expected `str`, got `int`"),
        (str, None, "value: expected `str`, got `null`"),
        (int | None, "x", r"value: expected `int \| null`, got `str`"),
        (int | str, 1.5, r"value: expected `int \| str`, got `float`"),
        (Literal["a", "b"], "c", "value: invalid enum value 'c'"),
        (Color, "green", "value: invalid enum value 'green'"),
        (Point, Point("x"), "value.x: expected `int`, got `str`"),  # type: ignore[arg-type]
        (Track, Track([Point(1), Point(2, "x")], {}), r"value.points\[1\].at: invalid RFC3339"),  # type: ignore[arg-type]
        (Address, {"street": "s"}, "value: object missing required field `number`"),
        (Pair, ("k", "v"), r"value\[1\]: expected `int`, got `str`"),
        (Record, Record(1), "value.name: expected `str`, got `int`"),  # type: ignore[arg-type]
        (datetime, "yesterday", "value: invalid RFC3339"),
        (uuid.UUID, "nope", "value: invalid UUID"),
        (Decimal, "one", "value: invalid decimal"),
        (list[int], [1, "x"], r"value\[1\]: expected `int`, got `str`"),
        (list[int], "12", "value: expected `array`, got `str`"),
        (Iterable[int], "12", "value: expected `array`, got `str`"),
        (dict[str, list[int]], {"a": ["x"]}, r"value\[...\]\[0\]: expected `int`, got `str`"),
        (tuple[int, str], (1,), "value: expected `array` of length 2, got 1"),
        (None, 3, "value: expected `null`, got `int`"),
        (Model, {"a": "x"}, "value: a: input should be a valid integer"),
        (Model, 3, "value: input should be a valid dictionary or instance of Model"),
        (Model, broken_model(), "value: a: input should be a valid integer"),
        (list[Model], [Model(a=1), {"a": "x"}], r"value\[1\]: a: input should be a valid integer"),
        (list[Model], [broken_model()], r"value\[0\]: a: input should be a valid integer"),
        (Model | None, "x", "value: input should be"),
        (Model | int, "x", "value: "),
        (Model | int, broken_model(), "value: "),
        (WithModel, WithModel("x", Path("a")), "value.model: input should be an object"),  # type: ignore[arg-type]
        (WithModel, WithModel(Model(a=1), 3), "value.path: "),  # type: ignore[arg-type]
        (Page[int], {"items": ["x"]}, "value: items.0: input should be a valid integer"),
        (Strict, {"at": 3}, "value: at: input should be a valid datetime"),
        (Positive, -1, "value: input should be greater than 0"),
        (list[Positive], [1, -1], "value: 1: input should be greater than 0"),
        (WithRule, WithRule(-1), "value: age: input should be greater than or equal to 0"),
        (list[WithRule], [WithRule(-1)], "value: 0.age: input should be greater than or equal to 0"),
        (Annotated[int, msgspec.Meta(gt=0)], -1, "value: expected `int` >= 1"),
        (str | datetime, [], "value: "),
        (Path, 3, "value: "),
        (dict[tuple[int, int], int], {(1, 2): 3}, "value: cannot be written as JSON"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_parameter(hint: Any, value: Any, message: str) -> None:
    with pytest.raises(InvalidPayload, match=f"^job: parameter {message}") as caught:
        codec_of(hint).encode((value,), {})
    assert caught.value.parameter == "value"


@pytest.mark.parametrize(
    ("hint", "data"),
    [(int, b'"x"'), (None, b"3"), (Model, b"3"), (list[Model], b'[{"a":"x"}]'), (Positive, b"-1"), (Any, b"[" * 9999)],
)  # fmt: skip
def test_a_stored_result_that_does_not_fit_is_refused(hint: Any, data: bytes) -> None:
    with pytest.raises(InvalidPayload, match="job: the result does not fit its annotation: "):
        codec_of(hint).decode_result(data)


def test_a_function_that_never_returns_can_be_a_task() -> None:
    def job() -> NoReturn: ...  # type: ignore[empty-body]

    codec: Codec[Any] = Codec(job, "job")
    assert codec.decode(codec.encode((), {})) == ((), {})
    assert codec.decode_result(b"null") is None


PLAIN = """
import sys
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID
from taskq import App, TaskContext

app = App("memory://")

class Address(TypedDict):
    street: str

@dataclass
class Point:
    x: int

@app.task(name="job")
def job(ctx: TaskContext, a: int, p: Point | None, d: dict[str, list[datetime]], u: UUID | int, m: Decimal,
        l: Literal["x"], t: Address, r: Annotated[str, "a remark"], *rest: float, anything: Any = None) -> list[Point]:
    return []

job.enqueue(1, Point(2), {"a": [datetime.now()]}, UUID(int=1), Decimal(1), "x", {"street": "s"}, "r", 1.0)
job.codec.encode_result([Point(1)])
print("pydantic" in sys.modules)
"""


def test_pydantic_is_not_loaded_for_plain_types() -> None:
    run = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("False\n", "")
