"""Arguments that are results of other tasks: what they are before the run, in the payload, and at the run."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from taskq import InvalidPayload, TaskContext
from taskq.inputs import GONE, Output, PartialCodec, filled, outputs_in, template_of, with_outputs

ID = UUID(int=7)


class Colour(Enum):
    RED = "red"


class Point(BaseModel):
    x: int


def encoded(function: Any, *args: Any, **kwargs: Any) -> tuple[Any, list[str]]:
    """The payload of a call whose sources are places already."""
    payload, inputs = PartialCodec(function, "job", injected=TaskContext).encode_with(args, kwargs, int)
    return msgspec.json.decode(payload), inputs


def takes(x: int, y: list[Any] = [], *rest: int, ctx: TaskContext, **more: Any) -> None: ...  # noqa: B006


def test_parts() -> None:
    output = Output[Any]("a")
    assert repr(output["rows"][0]) == repr(output.rows[0]) == "Output('a')['rows'][0]"
    assert template_of(output.rows[-1].source.path, lambda source: 3) == ["o", 3, "rows", -1, "source", "path"]


@pytest.mark.parametrize("key", [None, 1.5, True, slice(1, 2), (1, 2), Output("b")])
def test_what_is_no_part(key: Any) -> None:
    with pytest.raises(InvalidPayload, match=r"Output\('a'\): a part of it is a key or an index, not "):
        Output("a")[key]


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (list, "cannot be gone through"),
        (lambda output: 1 in output, "cannot be gone through"),
        (lambda output: [*output], "cannot be gone through"),
        (bool, "is neither true nor false"),
        (lambda output: output and 1, "is neither true nor false"),
        (len, "has no length"),
        (lambda output: f"s3://{output}", "cannot be part of a text"),
        ("{:>5}".format, "cannot be part of a text"),
    ],
)
def test_what_nobody_knows_before_the_run(use: Any, what: str) -> None:
    with pytest.raises(InvalidPayload, match=rf"Output\('a'\)\['b'\] {what} here, before the run: let a task do that"):
        use(Output("a")["b"])


def test_nothing_else_is_taken_for_a_part() -> None:
    with pytest.raises(AttributeError, match="'Output' object has no attribute '_rows'"):
        _ = Output("a")._rows


def test_where_outputs_are_looked_for() -> None:
    one, two, three = Output[Any]("a"), Output[Any]("b"), Output[Any]("c")
    assert outputs_in([one, {"k": (two, [three])}, "text", 7, {one: 1}]) == [one, two, three]
    assert outputs_in({"plain": [1, {}]}) == []


def test_values_that_hold_themselves() -> None:
    endless: list[Any] = [Output("a")]
    endless += [endless, endless]
    assert len(outputs_in(endless)) == 1
    with pytest.raises(RecursionError):
        template_of(endless, lambda source: 0)


def test_outputs_of_others_in_their_place() -> None:
    plain = [1, {"a": (2,)}]
    moved: Any = with_outputs({"k": (Output("a")["b"], 3), "plain": plain}, str.upper)
    assert repr(moved) == "{'k': [Output('A')['b'], 3], 'plain': [1, {'a': (2,)}]}"
    assert moved["plain"] is plain


def test_payloads() -> None:
    assert encoded(takes, Output(0)) == ({"x": ["o", 0]}, ["x"])
    assert encoded(takes, 1, [Output(2)["a"], [3]]) == ({"x": 1, "y": ["l", [["o", 2, "a"], ["v", [3]]]]}, ["y"])
    assert encoded(takes, 1, [], 5, Output(1)) == ({"x": 1, "y": [], "rest": ["l", [["v", 5], ["o", 1]]]}, ["rest"])
    assert encoded(takes, Output(0), b={"c": Output(1)}, d=4) == (
        {"x": ["o", 0], "b": ["d", {"c": ["o", 1]}], "d": 4},
        ["b", "x"],
    )


def test_rich_values_beside_outputs() -> None:
    def job(values: list[Any], colours: dict[Colour, int], ids: dict[UUID, int], more: Any) -> None: ...

    now = datetime(2026, 1, 2, tzinfo=UTC)
    values = [Output(0), now, Decimal("1.5"), ID, Colour.RED, Point(x=1), b"ab"]
    payload, inputs = encoded(job, values, {Colour.RED: Output(1)}, {ID: Output(2)}, {3: Output(0)})
    assert inputs == ["colours", "ids", "more", "values"]
    whole = msgspec.json.decode(filled(msgspec.json.encode(payload), inputs, ["first", 5, 6]))
    assert whole == {
        "values": ["first", "2026-01-02T00:00:00Z", "1.5", str(ID), "red", {"x": 1}, "YWI="],
        "colours": {"red": 5},
        "ids": {str(ID): 6},
        "more": {"3": "first"},
    }


@pytest.mark.parametrize(
    "hint", [int, str | None, list[int], Point, dict[str, Point], Any, None, Colour, UUID, bytes, tuple[int, ...]]
)
def test_an_output_stands_for_a_value_of_any_type(hint: Any) -> None:
    def job(x: Any, y: int) -> None: ...

    job.__annotations__["x"] = hint
    assert encoded(job, Output(0), 3) == ({"x": ["o", 0], "y": 3}, ["x"])
    with pytest.raises(InvalidPayload, match="job: parameter y: expected `int`, got `str`"):
        encoded(job, Output(0), "x")
    with pytest.raises(InvalidPayload, match="job: parameter y is missing"):
        encoded(job, Output(0))


def test_the_rules_of_models_hold_beside_outputs() -> None:
    def job(point: Point, other: int) -> None: ...

    assert encoded(job, {"x": 1}, Output(0)) == ({"point": {"x": 1}, "other": ["o", 0]}, ["other"])
    with pytest.raises(InvalidPayload, match="job: parameter point: x: input should be a valid integer"):
        encoded(job, {"x": "y"}, Output(0))


@pytest.mark.parametrize(
    ("template", "value"),
    [
        (["o", 1], {"rows": [5, 6]}),
        (["o", 1, "rows", 1], 6),
        (["o", 1, "rows", -1], 6),
        (["o", 0, 0], "f"),
        (["o", 2], None),
        (["l", [["v", ["o", 1]], ["l", []]]], [["o", 1], []]),
        (["d", {"a": ["v", None], "b": ["o", 0]}], {"a": None, "b": "first"}),
    ],
)
def test_templates_are_filled_in(template: Any, value: Any) -> None:
    payload = msgspec.json.encode({"x": template, "y": ["o", 0]})
    whole = filled(payload, ["x"], ["first", {"rows": [5, 6]}, None])
    assert msgspec.json.decode(whole) == {"x": value, "y": ["o", 0]}


def test_a_result_that_is_no_longer_kept() -> None:
    payload = b'{"x":["l",[["o",0],["o",1]]]}'
    assert filled(payload, ["x"], [1, None]) == b'{"x":[1,null]}'
    with pytest.raises(InvalidPayload, match="parameter x: the result that it is made of is no longer kept"):
        filled(payload, ["x"], [1, GONE])


@pytest.mark.parametrize(
    ("path", "part"), [(["colums"], "'colums'"), (["rows", 2], "2"), (["rows", "a"], "'a'"), (["rows", 0, 0], "0")]
)
def test_a_part_that_a_result_has_not(path: list[Any], part: str) -> None:
    payload = msgspec.json.encode({"x": ["o", 0, *path]})
    with pytest.raises(InvalidPayload, match=f"x: the result that it is made of has no part {part}") as caught:
        filled(payload, ["x"], [{"rows": [5, 6]}])
    assert caught.value.parameter == "x"
