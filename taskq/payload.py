"""Arguments and results: checked against a function's annotations, and carried as JSON.

A payload is a JSON object of parameter name → value, however the arguments were passed, so that a function may
change the order of its parameters while tasks wait, and an operator can read what a task was given. Values for
`*args` stand under the parameter's own name as a list.

Plain types are checked by msgspec; pydantic is loaded only where an annotation needs it.
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

import msgspec

from taskq.errors import ConfigError, InvalidPayload

R = TypeVar("R")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_PARAMETER = re.compile(r" - at `\$\.(\w+)([^`]*)`")


class Codec(Generic[R]):
    """Encodes and decodes the arguments and the result of one function.

    Arguments:
        function: whose signature counts.
        name: the task's name, for messages.
        injected: a type; a parameter annotated with it is no argument.

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
        hints = _hints(function, name)
        parameters = dict(inspect.signature(function).parameters)
        self.injected = next((p for p in parameters if injected and hints.get(p) is injected), None)
        positional = [p.name for p in parameters.values() if p.kind in _POSITIONAL]
        self._injected_index = positional.index(self.injected) if self.injected in positional else None
        if self.injected is not None:
            del parameters[self.injected]
        self._positional = [p.name for p in parameters.values() if p.kind in _POSITIONAL]
        self._positional_only = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_ONLY]
        self._var_positional = next((p.name for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
        self._var_keyword = next((p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
        self._rich: dict[str, Any] = {}
        fields = [self._field(p, hints.get(p.name, Any)) for p in parameters.values() if p.kind is not p.VAR_KEYWORD]
        self._struct = msgspec.defstruct("Payload", fields, kw_only=True, forbid_unknown_fields=not self._var_keyword)
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=_decode_rich)
        self._keyword_type = dict[str, hints.get(self._var_keyword or "", Any)]  # type: ignore[misc]
        self._result_type: Any = hints.get("return", Any)
        if self._result_type is not None and _needs_pydantic(self._result_type):
            self._rich["return"] = _adapter(self._result_type)

    # ------------------------------------------------------------ arguments

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The payload of a call.

        Raises:
            InvalidPayload: the arguments do not fit the signature; the message names the parameter.
        """
        named = self._bind(args, kwargs)
        try:
            if self._rich:
                named = self._dump_rich(named)
            msgspec.convert(named, self._struct, strict=True, from_attributes=True, dec_hook=_decode_rich)
            payload = msgspec.json.encode(named, enc_hook=_encode_rich)
            # What was written must be what the worker can read: an instance may hold what its class forbids.
            self._decoder.decode(payload)
        except msgspec.ValidationError as error:
            raise self._refusal(error) from None
        except RecursionError:
            raise InvalidPayload(f"{self._name}: the arguments are nested too deep, or refer to themselves") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidPayload(f"{self._name}: the arguments cannot be written as JSON: {error}") from None
        if b"null" in payload:
            self._refuse_not_finite(named)
        return payload

    def decode(self, payload: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The call of a payload, as (args, kwargs).

        Raises:
            InvalidPayload: an older or newer producer wrote what this signature does not accept.
        """
        try:
            found = self._decoder.decode(payload)
            extra = self._decode_extra(payload) if self._var_keyword else {}
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise self._refusal(error) from None
        values = {
            name: value for name in self._struct.__struct_fields__ if (value := getattr(found, name)) is not _UNSET
        }
        if self._rich:
            values = self._load_rich(values)
        return self._call(values, extra)

    def inject(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], value: Any
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same call with the injected parameter filled in; unchanged where the function has none."""
        if self.injected is None:
            return args, kwargs
        index = self._injected_index
        if index is not None and index < len(args):
            return (*args[:index], value, *args[index:]), kwargs
        return args, {**kwargs, self.injected: value}

    def _call(self, values: dict[str, Any], extra: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._var_positional is None:
            if not self._positional_only:
                return (), {**values, **extra}
            args = tuple(values.pop(name) for name in self._positional_only if name in values)
            return args, {**values, **extra}
        rest = values.pop(self._var_positional, None) or []
        args = tuple(values.pop(name) for name in self._positional if name in values)
        return (*args, *rest), {**values, **extra}

    def _decode_extra(self, payload: bytes) -> dict[str, Any]:
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        own = set(self._struct.__struct_fields__)
        raw = {name: value for name, value in fields.items() if name not in own}
        decoded: dict[str, Any] = msgspec.json.decode(
            msgspec.json.encode(raw), type=self._keyword_type, dec_hook=_decode_rich
        )
        return decoded

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        named = dict(zip(self._positional, args, strict=False))
        if len(args) > len(self._positional):
            if self._var_positional is None:
                raise InvalidPayload(
                    f"{self._name}: takes {len(self._positional)} positional arguments, {len(args)} were given"
                )
            named[self._var_positional] = list(args[len(self._positional) :])
        for name, value in kwargs.items():
            if name in named or name == self._var_positional or name in self._positional_only:
                raise InvalidPayload(f"{self._name}: parameter {name} was given twice", parameter=name)
            named[name] = value
        return named

    def _field(self, parameter: inspect.Parameter, hint: Any) -> tuple[str, Any] | tuple[str, Any, Any]:
        if _needs_pydantic(hint):
            self._rich[parameter.name] = _adapter(hint)
            hint = Any
        if parameter.kind is parameter.VAR_POSITIONAL:
            return (parameter.name, list[hint] | msgspec.UnsetType, _UNSET)
        if parameter.default is parameter.empty:
            return (parameter.name, hint)
        # A default is not written into the payload: the worker's own counts.
        return (parameter.name, hint | msgspec.UnsetType if hint is not Any else Any, _UNSET)

    def _dump_rich(self, named: dict[str, Any]) -> dict[str, Any]:
        return {
            name: self._through(name, lambda a, v: a.dump_python(a.validate_python(v), mode="json"), value)
            for name, value in named.items()
        }

    def _load_rich(self, values: dict[str, Any]) -> dict[str, Any]:
        return {name: self._through(name, lambda a, v: a.validate_python(v), value) for name, value in values.items()}

    def _through(self, name: str, use: Callable[[Any, Any], Any], value: Any) -> Any:
        adapter = self._rich.get(name)
        if adapter is None:
            return value
        try:
            return use(adapter, value)
        except ValueError as error:
            raise InvalidPayload(f"{self._name}: parameter {name}: {_pydantic_text(error)}", parameter=name) from None

    def _refuse_not_finite(self, named: dict[str, Any]) -> None:
        for name, value in named.items():
            if _has_not_finite(value):
                raise InvalidPayload(
                    f"{self._name}: parameter {name}: NaN and infinity cannot be written as JSON", parameter=name
                )

    def _refusal(self, error: Exception) -> InvalidPayload:
        text = str(error)
        if isinstance(error, RecursionError):
            return InvalidPayload(f"{self._name}: the payload is nested too deep")
        if found := _PARAMETER.search(text):
            name, path = found[1], found[2]
            reason = text[: found.start()]
            return InvalidPayload(f"{self._name}: parameter {name}{path}: {_lower(reason)}", parameter=name)
        if found := re.search(r"field `(\w+)`", text):
            kind = "is missing" if "missing" in text else "is not in its signature"
            return InvalidPayload(f"{self._name}: parameter {found[1]} {kind}", parameter=found[1])
        return InvalidPayload(f"{self._name}: {_lower(text)}")

    # ------------------------------------------------------------ result

    def encode_result(self, value: Any) -> bytes:
        """A result as JSON.

        Raises:
            InvalidPayload: the value cannot be written as JSON.
        """
        if value is None:
            return b"null"
        try:
            if "return" in self._rich:
                value = self._rich["return"].dump_python(value, mode="json")
            data = msgspec.json.encode(value, enc_hook=_encode_rich)
        except RecursionError:
            raise InvalidPayload(f"{self._name}: the result is nested too deep, or refers to itself") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidPayload(f"{self._name}: the result cannot be written as JSON: {error}") from None
        if b"null" in data and _has_not_finite(value):
            raise InvalidPayload(f"{self._name}: the result holds NaN or infinity, which JSON cannot hold")
        return data

    def decode_result(self, data: bytes) -> R:
        """A result as what the annotation says.

        Raises:
            InvalidPayload: the stored result does not fit the annotation.
        """
        try:
            if "return" in self._rich:
                return typing.cast("R", self._rich["return"].validate_json(data))
            kind = Any if self._result_type is typing.NoReturn else self._result_type
            return typing.cast("R", msgspec.json.decode(data, type=kind, dec_hook=_decode_rich))
        except (msgspec.MsgspecError, ValueError) as error:
            raise InvalidPayload(f"{self._name}: the result does not fit its annotation: {error}") from None


def plain_payload(name: str, payload: Mapping[str, Any]) -> bytes:
    """The payload of a task whose signature is not known here.

    Raises:
        InvalidPayload: it is no plain JSON data.

    >>> plain_payload("mail.send", {"to": "a"})
    b'{"to":"a"}'
    """
    if not _is_object(payload):
        raise InvalidPayload(f"{name}: the payload must be an object, parameter name → value")
    try:
        data = msgspec.json.encode(dict(payload))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidPayload(f"{name}: the payload cannot be written as JSON: {error}") from None
    if b"null" in data and _has_not_finite(dict(payload)):
        raise InvalidPayload(f"{name}: NaN and infinity cannot be written as JSON")
    return data


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


_UNSET: Any = msgspec.UNSET


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"task {name}: an annotation cannot be resolved at run time ({error}); "
            "import the name outside of `if TYPE_CHECKING`"
        ) from None


def _needs_pydantic(hint: Any) -> bool:
    """Whether an annotation says something that only pydantic understands, or that msgspec cannot tell apart."""
    if _has_constraints(hint):
        return True
    try:
        msgspec.json.Decoder(hint)
    except TypeError:
        return True
    return False


def _has_constraints(hint: Any) -> bool:
    if get_origin(hint) is Annotated and not all(isinstance(extra, msgspec.Meta) for extra in get_args(hint)[1:]):
        return True
    if get_origin(hint) is None and not isinstance(hint, UnionType):
        return False
    return any(_has_constraints(part) for part in get_args(hint))


@lru_cache(maxsize=1024)
def _adapter(hint: Any) -> Any:
    try:
        from pydantic import TypeAdapter  # loaded only where an annotation needs it
    except ImportError:
        raise ConfigError(f'the annotation {hint} needs pydantic: pip install "pydantic>=2.7"') from None
    return TypeAdapter(hint)


def _decode_rich(hint: type, value: Any) -> Any:
    """Read a value of a type that msgspec does not know: a pydantic model, or anything pydantic has a schema for."""
    if isinstance(value, hint):
        return value
    if not hasattr(hint, "__get_pydantic_core_schema__"):
        raise msgspec.ValidationError(f"Expected `{hint.__name__}`, got `{type(value).__name__}`")
    try:
        return _adapter(hint).validate_python(value)
    except ValueError as error:
        raise msgspec.ValidationError(_pydantic_text(error)) from None


def _encode_rich(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"a value of type {type(value).__name__} is not JSON; pass plain data, or annotate the parameter")


def _pydantic_text(error: ValueError) -> str:
    details = getattr(error, "errors", None)
    if details is None:
        return str(error)
    first = details(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {_lower(first['msg'])}" if where else _lower(first["msg"])


def _has_not_finite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(_has_not_finite(item) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(_has_not_finite(item) for item in value)
    return False


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
