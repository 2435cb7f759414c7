"""Arguments that are results of other tasks: written into a payload as references, and filled in before the run.

In the payload such a parameter holds a template, which names the results by their places among the task's parents:

    ["o", 3]                 the result of the fourth parent
    ["o", 3, "rows", 0]      a part of it
    ["l", [template, …]]     a list
    ["d", {key: template}]   an object
    ["v", value]             plain data

Which parameters hold one the headers say, so that no plain value is ever taken for a template.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from taskq.config import shown
from taskq.errors import InvalidPayload
from taskq.headers import MAX_DEPTH, check_depth
from taskq.payload import Codec, why_unwritable, write_rich

R = TypeVar("R")
Place = Callable[[Any], int]
GONE: Any = object()
"""The result of a parent that there was, and that is no longer kept."""
_UNSET: Any = msgspec.UNSET


class Output(Generic[R]):
    """The result of a task of a workflow, before there is one; `output["rows"][0]` is a part of it.

    So is `output.rows`: a result that is an object has its fields by either. It stands for the result as an argument
    only; what is to be known of it here is refused.

    Arguments:
        source: whose result it is.
        path: the keys and indexes that lead to the part.

    >>> Output("a")["rows"][0], Output("a").rows
    (Output('a')['rows'][0], Output('a')['rows'])
    """

    # Private, as every other name is that of a part.
    __slots__ = ("_path", "_source")
    __match_args__ = ("_source", "_path")

    def __init__(self, source: Any, path: tuple[str | int, ...] = ()) -> None:
        self._source = source
        self._path = path

    def __getitem__(self, key: str | int) -> Output[Any]:
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise InvalidPayload(f"{self!r}: a part of it is a key or an index, not {shown(key)}")
        return Output(self._source, (*self._path, key))

    def __getattr__(self, name: str) -> Output[Any]:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self[name]

    def __iter__(self) -> Any:
        raise self._unknown("cannot be gone through")

    def __bool__(self) -> bool:
        raise self._unknown("is neither true nor false")

    def __len__(self) -> int:
        raise self._unknown("has no length")

    def __format__(self, spec: str) -> str:
        raise self._unknown("cannot be part of a text")

    def __repr__(self) -> str:
        return f"Output({self._source!r})" + "".join(f"[{key!r}]" for key in self._path)

    def _unknown(self, what: str) -> InvalidPayload:
        return InvalidPayload(f"{self!r} {what} here, before the run: let a task do that, with it as an argument")


class PartialCodec(Codec[R]):
    """Encodes the arguments of a call of which some are yet to come."""

    def encode_with(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], place: Place) -> tuple[bytes, list[str]]:
        """The payload of a call, and the names of the parameters that hold a template.

        Arguments:
            place: gives the place of a task among the parents.

        Raises:
            InvalidPayload: an argument does not fit.
        """
        named = self.bind(args, kwargs)
        templates = {name: self._template(name, value, place) for name, value in named.items() if outputs_in(value)}
        missing = [name for name in self._required if name not in named]
        unknown = [name for name in templates if name not in self._struct.__struct_fields__ and not self._var_keyword]
        if missing or unknown:
            raise self._refuse((missing or unknown)[0], "is missing" if missing else "is not in its signature")
        plain = self.encode((), {name: value for name, value in named.items() if name not in templates})
        values: dict[str, Any] = msgspec.json.decode(plain, type=dict[str, msgspec.Raw])
        return msgspec.json.encode({**values, **templates}, enc_hook=write_rich), sorted(templates)

    def _template(self, name: str, value: object, place: Place) -> list[Any]:
        try:
            template = template_of(value, place)
            data = msgspec.json.encode(template, enc_hook=write_rich)
            check_depth(data)
        except Exception as error:  # a value's own code may raise anything
            raise self._refuse(name, why_unwritable(error)) from error
        if b"null" in data and (refusal := self._not_finite({name: template})) is not None:
            raise refusal
        return template

    def _field(self, parameter: inspect.Parameter, hint: Any) -> tuple[Any, ...]:
        name, plain, *default = super()._field(parameter, hint)
        if not default:
            self._required.append(name)
        return (name, Any if plain is Any else plain | msgspec.UnsetType, _UNSET)

    @cached_property
    def _required(self) -> list[str]:
        return []


def outputs_in(value: object) -> list[Output[Any]]:
    """The outputs that a value is, or holds in lists, tuples and dicts.

    >>> len(outputs_in([Output("a"), {"x": (Output("b"), 3)}]))
    2
    """
    found: list[Output[Any]] = []
    waiting, seen = [value], set[int]()
    while waiting:
        one = waiting.pop()
        if isinstance(one, Output):
            found.append(one)
        elif isinstance(one, list | tuple | dict) and id(one) not in seen:  # it may hold itself
            seen.add(id(one))
            waiting.extend(reversed(one.values() if isinstance(one, dict) else one))
    return found


def with_outputs(value: Any, other: Callable[[Any], Any]) -> Any:
    """The same value with the outputs of other tasks.

    Arguments:
        other: gives the task in the place of one.

    >>> with_outputs([Output("a")["rows"], 3], str.upper)
    [Output('A')['rows'], 3]
    """
    match value:
        case Output(source, path):
            return Output(other(source), path)
        case list() | tuple() as items if outputs_in(items):
            return [with_outputs(item, other) for item in items]
        case dict() as items if outputs_in(items):
            return {key: with_outputs(item, other) for key, item in items.items()}
        case _:
            return value


def template_of(value: object, place: Place, depth: int = 0) -> list[Any]:
    """What stands in a payload for a value that holds outputs.

    Arguments:
        place: of the task whose output is held, among the parents.
        depth: in how many others the value is.

    Raises:
        RecursionError: it is nested too deep.

    >>> template_of([Output("a"), 7], lambda source: 0)
    ['l', [['o', 0], ['v', 7]]]
    """
    if depth > MAX_DEPTH:
        raise RecursionError
    match value:
        case Output(source, path):
            return ["o", place(source), *path]
        case list() | tuple() as items if outputs_in(items):
            return ["l", [template_of(item, place, depth + 1) for item in items]]
        case dict() as items if outputs_in(items):
            return ["d", {key: template_of(item, place, depth + 1) for key, item in items.items()}]
        case _:
            return ["v", value]


def filled(payload: bytes, inputs: Sequence[str], results: Sequence[Any]) -> bytes:
    """A payload with its templates filled in.

    Arguments:
        payload: as it was stored.
        inputs: the parameters that hold a template.
        results: of the parents, in their order; None of one that has none.

    Raises:
        InvalidPayload: a result is GONE, or has not the part that is asked for.

    >>> filled(b'{"x":["o",0,"rows"],"y":1}', ["x"], [{"rows": 7}])
    b'{"x":7,"y":1}'
    """
    values: dict[str, Any] = msgspec.json.decode(payload)
    for name in inputs:
        values[name] = fill(name, values[name], results)
    return msgspec.json.encode(values)


def fill(name: str, template: Any, results: Sequence[Any]) -> Any:
    """The value of a template.

    Raises:
        InvalidPayload: a result is GONE, or has not the part that is asked for; the message names the parameter.

    >>> fill("x", ["l", [["o", 0], ["v", 7]]], ["first"])
    ['first', 7]
    """
    kind, *rest = template
    if kind == "o":
        value = results[rest[0]]
        if value is GONE:
            raise InvalidPayload(f"parameter {name}: the result that it is made of is no longer kept", parameter=name)
        for key in rest[1:]:
            try:
                value = value[key]
            except (LookupError, TypeError):
                text = f"parameter {name}: the result that it is made of has no part {key!r}"
                raise InvalidPayload(text, parameter=name) from None
        return value
    if kind == "l":
        return [fill(name, item, results) for item in rest[0]]
    if kind == "d":
        return {key: fill(name, item, results) for key, item in rest[0].items()}
    return rest[0]
