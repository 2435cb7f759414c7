"""Arguments and results: checked against a function's annotations, and carried as JSON.

A payload is a JSON object of parameter name → value, however the arguments were passed, so that a function may
change the order of its parameters while tasks wait, and an operator can read what a task was given. Values for
`*args` stand under the parameter's own name as a list.

Plain types are checked by msgspec; pydantic is loaded only where an annotation, or a value, needs it. Where nothing
is annotated a value arrives as the JSON data that it was written as: a datetime as text, a set as a list.
"""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import GenericAlias
from typing import Any, Generic, TypeVar, get_args, get_origin

import msgspec

from taskq.errors import ConfigError, InvalidPayload
from taskq.headers import MAX_DEPTH, check_depth, holds_not_finite
from taskq.signature import annotations_of, parameters_of

R = TypeVar("R")
Call = tuple[tuple[Any, ...], dict[str, Any]]  # (args, kwargs)
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PATH = re.compile(r" - at `\$\.(\w+)([^`]*)`$")
_UNSET: Any = msgspec.UNSET
_RICH_MODULES = frozenset({"annotated_types", "pydantic", "pydantic_core"})


class Codec(Generic[R]):
    """Encodes and decodes the arguments and the result of one function.

    Arguments:
        function: whose signature counts.
        name: the task's name, for messages.
        injected: a type; a parameter annotated with it is no argument.

    Raises:
        ConfigError: its signature cannot be read, or not be carried as JSON.

    >>> def add(x: int, y: int = 1) -> int: ...
    >>> codec = Codec(add, "add")
    >>> codec.encode((1,), {"y": 2})
    b'{"x":1,"y":2}'
    >>> codec.decode(b'{"x":1}')
    ((), {'x': 1})
    >>> codec.encode(("one",), {})
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidPayload: add: parameter x: expected `int`, got `str`
    """

    def __init__(self, function: Callable[..., Any], name: str, injected: type | None = None) -> None:
        self._name = name
        hints, parameters = annotations_of(function, name), parameters_of(function, name)
        result = hints.pop("return", Any)
        self.injected = next((p for p, hint in hints.items() if injected and injected in (hint, *get_args(hint))), None)
        positional = [p.name for p in parameters.values() if p.kind in _POSITIONAL]
        self._injected_index = positional.index(self.injected) if self.injected in positional else None
        if self.injected is not None:
            del parameters[self.injected]
        self._positional = [p.name for p in parameters.values() if p.kind in _POSITIONAL]
        self._positional_only = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]
        self._defaults = {p.name: p.default for p in parameters.values()}
        self._var_positional = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
        self._var_keyword = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
        self._rich: dict[str, Any] = {}
        fields = [self._field(p, hints.get(p.name, Any)) for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
        self._struct = msgspec.defstruct("Payload", fields, kw_only=True, forbid_unknown_fields=not self._var_keyword)
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=_read_rich)
        extra = self._plain("**", hints.get(self._var_keyword or "", Any))
        self._extra_decoder = msgspec.json.Decoder(extra, dec_hook=_read_rich)
        result = self._plain("return", Any if result in (typing.NoReturn, typing.Never) else result)
        self._result_decoder = msgspec.json.Decoder(result, dec_hook=_read_rich)

    def encode(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
        """The payload of a call.

        Raises:
            InvalidPayload: the arguments do not fit the signature; the message names the parameter.
        """
        named = self.bind(args, kwargs)
        try:
            return self._encode(named)
        except InvalidPayload:
            raise
        except msgspec.ValidationError as error:
            numbers = {name: value for name, value in named.items() if type(value) is float}
            raise self._not_finite(numbers) or self._refusal(error) from None
        except Exception as error:  # an argument's own code may raise anything
            raise self._unwritable(named, error) from error

    def encode_object(self, payload: object) -> bytes:
        """The payload of a call that is given as parameter name → value (see `encode`)."""
        if not isinstance(payload, Mapping) or not all(isinstance(key, str) for key in payload):
            raise InvalidPayload(f"{self._name}: the payload must be an object, parameter name → value")
        return self.encode((), payload)

    def _encode(self, named: dict[str, object]) -> bytes:
        plain = self._dump_rich(named) if self._rich else named
        msgspec.convert(plain, self._struct, strict=True, from_attributes=True, dec_hook=_check_rich)
        payload = msgspec.json.encode(plain, enc_hook=write_rich)
        # What was written must be what the worker can read: an instance may hold what its class forbids.
        (self._read if self._rich or self._var_keyword else self._decoder.decode)(payload)
        check_depth(payload)
        if b"null" in payload and (refusal := self._not_finite(named)) is not None:
            raise refusal
        return payload

    def _not_finite(self, named: Mapping[str, object]) -> InvalidPayload | None:
        """The refusal of numbers for which msgspec writes null, where there are any."""
        name = next((name for name, value in named.items() if _has_not_finite(value)), None)
        return None if name is None else self._refuse(name, "NaN and infinity cannot be written as JSON")

    def decode(self, payload: bytes) -> Call:
        """The call of a payload.

        Raises:
            InvalidPayload: an older or newer producer wrote what this signature does not accept.
        """
        try:
            return self._call(*self._read(payload))
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise self._refusal(error) from None

    def inject(self, args: tuple[Any, ...], kwargs: dict[str, Any], value: object) -> Call:
        """The same call with the injected parameter filled in; unchanged where the function has none."""
        if self.injected is None:
            return args, kwargs
        index = self._injected_index
        if index is not None and index <= len(args):
            return (*args[:index], value, *args[index:]), kwargs
        return args, {**kwargs, self.injected: value}

    def _read(self, payload: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """The values of a payload by name, and those that only `**kwargs` takes."""
        found, names = self._decoder.decode(payload), self._struct.__struct_fields__
        extra = self._read_extra(payload) if self._var_keyword else {}
        values = {name: value for name in names if (value := getattr(found, name)) is not _UNSET}
        if self._rich:
            values = {name: self._through(name, name, _load, value) for name, value in values.items()}
        return values, extra

    def _read_extra(self, payload: bytes) -> dict[str, Any]:
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        for name in self._struct.__struct_fields__:
            fields.pop(name, None)
        extra = {}
        for name, raw in fields.items():
            if name == self.injected:
                raise self._refuse(name, "is filled in by the worker")
            try:
                value = self._extra_decoder.decode(raw)
            except msgspec.ValidationError as error:
                raise self._refuse(name, _lower(str(error))) from None
            extra[name] = self._through(name, "**", _load, value)
        return extra

    def _call(self, values: dict[str, Any], extra: dict[str, Any]) -> Call:
        if not self._positional_only and self._var_positional is None:
            return (), {**values, **extra}
        rest = values.pop(self._var_positional, None) or () if self._var_positional else ()
        names = self._positional if rest else self._positional_only
        # Positions cannot be left out: a default stands where a later one is given.
        count = max((index + 1 for index, name in enumerate(names) if rest or name in values), default=0)
        if self._injected_index is not None and self._injected_index <= len(self._positional_only):
            count = max(count, min(self._injected_index, len(names)))
        args = tuple(values.pop(name, self._defaults[name]) for name in names[:count])
        return (*args, *rest), {**values, **extra}

    def bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        """The arguments of a call by name."""
        named = dict(zip(self._positional, args, strict=False))
        most = len(self._positional)
        if len(args) > most:
            if self._var_positional is None:
                raise InvalidPayload(f"{self._name}: takes {most} positional arguments, {len(args)} were given")
            named[self._var_positional] = list(args[most:])
        for name, value in kwargs.items():
            if name in named:
                raise self._refuse(name, "was given twice")
            if name == self.injected:
                raise self._refuse(name, "is filled in by the worker")
            named[name] = value
        return named

    def _field(self, parameter: inspect.Parameter, hint: Any) -> tuple[Any, ...]:
        is_rest = parameter.kind is parameter.VAR_POSITIONAL
        hint = self._plain(parameter.name, list[hint] if is_rest else hint)
        if parameter.default is parameter.empty and not is_rest:
            return (parameter.name, hint)
        # A default is not written into the payload: the worker's own counts.
        return (parameter.name, hint | msgspec.UnsetType if hint is not Any else Any, _UNSET)

    def _plain(self, name: str, hint: Any) -> Any:
        """What msgspec is to check: the annotation, or Any where pydantic does it in its stead."""
        try:
            if get_origin(hint) is collections.abc.Iterable:
                hint = GenericAlias(collections.abc.Collection, get_args(hint))
            if not _needs_pydantic(hint):
                return hint
            self._rich[name] = _adapter(hint)
        except Exception as error:  # noqa: BLE001 - whatever a library thinks of the annotation
            reason = str(error).partition("\n")[0]
            raise ConfigError(f"task {self._name}: {name}: the annotation {hint} cannot be used: {reason}") from None
        return Any

    def _dump_rich(self, named: dict[str, object]) -> dict[str, object]:
        keys = {name: name if name in self._struct.__struct_fields__ else "**" for name in named}
        checked = {name: self._through(name, keys[name], _check, value) for name, value in named.items()}
        return {name: self._through(name, keys[name], _dump, value) for name, value in checked.items()}

    def _through(self, name: str, key: str, use: Callable[[Any, object], object], value: object) -> object:
        try:
            return use(self._rich[key], value) if key in self._rich else value
        except ValueError as error:
            raise self._refuse(name, _pydantic_text(error)) from None

    def _refuse(self, name: str, why: str) -> InvalidPayload:
        shown = name.encode("utf-8", "backslashreplace").decode()
        shown += "" if why.startswith(("is ", "was ")) else ":"
        return InvalidPayload(f"{self._name}: parameter {shown} {why}", parameter=name)

    def _refusal(self, error: Exception) -> InvalidPayload:
        text = "the payload is nested too deep" if isinstance(error, RecursionError) else str(error)
        if found := _PATH.search(text):
            where, reason = found[1] + found[2], _lower(text[: found.start()])
            return InvalidPayload(f"{self._name}: parameter {where}: {reason}", parameter=found[1])
        if found := re.search(r"field `(.*)`$", text):
            return self._refuse(found[1], "is missing" if "missing" in text else "is not in its signature")
        return InvalidPayload(f"{self._name}: {_lower(text)}")

    def _unwritable(self, named: dict[str, object], error: Exception) -> InvalidPayload:
        for name, value in named.items():
            try:
                check_depth(msgspec.json.encode({name: value}, enc_hook=write_rich))
            except Exception as own:  # noqa: BLE001 - an argument's own code may raise anything
                return self._refuse(name, why_unwritable(own))
        return InvalidPayload(f"{self._name}: the arguments: {why_unwritable(error)}")

    def encode_result(self, value: object) -> bytes:
        """A result as JSON.

        Raises:
            InvalidPayload: the value cannot be written as JSON.
        """
        try:
            plain = _dump(self._rich["return"], value) if "return" in self._rich else value
            data = msgspec.json.encode(plain, enc_hook=write_rich)
            check_depth(data)
            if value is None or b"null" not in data or not _has_not_finite(value):
                return data
        except Exception as error:  # a value's own code may raise anything
            raise InvalidPayload(f"{self._name}: the result: {why_unwritable(error)}") from error
        raise InvalidPayload(f"{self._name}: the result holds NaN or infinity, which JSON cannot hold")

    def decode_result(self, data: bytes) -> R:
        """A result as what the annotation says.

        Raises:
            InvalidPayload: the stored result does not fit the annotation.
        """
        try:
            value = self._result_decoder.decode(data)
            return typing.cast("R", _load(self._rich["return"], value) if "return" in self._rich else value)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            text = _pydantic_text(error)
            raise InvalidPayload(f"{self._name}: the result does not fit its annotation: {text}") from None


def plain_payload(name: str, payload: Mapping[str, Any]) -> bytes:
    """The payload of a task whose signature is not known here.

    Raises:
        InvalidPayload: it is no plain JSON data.

    >>> plain_payload("mail.send", {"to": "a"})
    b'{"to":"a"}'
    """
    return _codec_of_unknown(name).encode_object(payload)


@lru_cache(maxsize=256)
def _codec_of_unknown(name: str) -> Codec[Any]:
    def anything(**payload: Any) -> Any: ...

    return Codec(anything, name)


def _needs_pydantic(hint: object) -> bool:
    """Whether an annotation says something that only pydantic understands, or that msgspec cannot tell apart."""
    with contextlib.suppress(TypeError):
        msgspec.json.Decoder(hint)
        return _has_rules(hint)
    return True


def _has_rules(hint: object, seen: frozenset[object] = frozenset()) -> bool:
    """Whether pydantic's constraints or validators stand anywhere in an annotation, fields of dataclasses included."""
    if dataclasses.is_dataclass(hint) and hint not in seen:
        parts = typing.get_type_hints(hint, include_extras=True).values()
        return hasattr(hint, "__pydantic_validator__") or any(_has_rules(part, seen | {hint}) for part in parts)
    rules = any(_is_rule(extra) for extra in getattr(hint, "__metadata__", ()))
    return rules or any(_has_rules(part, seen) for part in get_args(hint))


def _is_rule(extra: object) -> bool:
    return type(extra).__module__.partition(".")[0] in _RICH_MODULES or hasattr(extra, "__get_pydantic_core_schema__")


@lru_cache(maxsize=1024)
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter  # loaded only where an annotation or a value needs it

    return TypeAdapter(hint)


@lru_cache(maxsize=1)
def _by_either_name() -> dict[str, bool]:
    from pydantic import VERSION  # fields are written by their own names, which aliases hide before 2.11

    return {"by_name": True, "by_alias": True} if tuple(map(int, VERSION.split(".")[:2])) >= (2, 11) else {}


def _check(adapter: Any, value: object) -> object:
    return adapter.validate_python(value, **_by_either_name())


def _load(adapter: Any, value: object) -> object:
    # As JSON, because pydantic's strict models take text for a datetime nowhere else.
    return adapter.validate_json(msgspec.json.encode(value), **_by_either_name())


def _dump(adapter: Any, value: object) -> object:
    return adapter.dump_python(value, mode="json", round_trip=True, warnings=False)


def _check_rich(hint: Any, value: object) -> object:
    """Check an argument of a type that msgspec does not know: a pydantic model, a path, a pattern."""
    return value if isinstance(value, get_origin(hint) or hint) else _use(_check, hint, value)


def _read_rich(hint: Any, value: object) -> object:
    return _use(_load, hint, value)


def _use(use: Callable[[Any, object], object], hint: Any, value: object) -> object:
    try:
        return use(_adapter(hint), value)
    except ValueError as error:
        raise ValueError(_pydantic_text(error)) from None
    except Exception:  # noqa: BLE001 - pydantic does not know the type either
        raise ValueError(f"expected `{hint.__name__}`, got `{type(value).__name__}`") from None


def write_rich(value: Any, mode: str = "json") -> Any:
    """Write a value of a type that msgspec does not know, by the value's own type."""
    kind: Any = type(value)
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode=mode, round_trip=True, warnings=False)
    try:
        plain = _dump(_adapter(kind), value)
    except Exception:  # noqa: BLE001 - pydantic does not know the type either
        plain = value
    if type(plain) is kind or not isinstance(plain, str | int | float | list | dict):
        raise TypeError(f"a value of type {kind.__name__} is not JSON; pass plain data, or annotate the parameter")
    return plain


def _pydantic_text(error: Exception) -> str:
    if not hasattr(error, "errors"):
        return _lower(str(error))
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {_lower(first['msg'])}" if where else _lower(first["msg"])


def _has_not_finite(value: object) -> bool:
    # pydantic writes null for what is not finite, so its models are asked for their Python values.
    return holds_not_finite(msgspec.to_builtins(value, enc_hook=lambda model: write_rich(model, mode="python")))


def why_unwritable(error: Exception) -> str:
    """Why a value cannot be an argument, or a result."""
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_DEPTH} levels, or referring to itself"
    kind = "" if isinstance(error, TypeError | ValueError | OverflowError) else f"{type(error).__name__}: "
    return f"cannot be written as JSON: {kind}{error}"


def _lower(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
