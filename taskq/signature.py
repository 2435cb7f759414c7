"""The parameters and annotations of a task's function, or in one line why they cannot be had."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskq.errors import ConfigError

_WITHOUT_PARTS = (str, bytes, int, float)


def annotations_of(function: Callable[..., Any], name: str) -> dict[str, Any]:
    """What each parameter, and "return", is annotated with.

    Arguments:
        function: whose annotations count.
        name: the task's name, for messages.

    Raises:
        ConfigError: an annotation that is text stands for nothing.

    >>> def add(x: int, y: "int") -> int: ...
    >>> annotations_of(add, "add")["y"]
    <class 'int'>
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        why = f"({error}); import the name outside of `if TYPE_CHECKING`"
    except Exception as error:  # noqa: BLE001 - text is evaluated, which may raise anything
        why = f"({type(error).__name__}: {error})"
    raise ConfigError(f"task {name}: an annotation cannot be resolved at run time {why}") from None


def parameters_of(function: Callable[..., Any], name: str) -> dict[str, inspect.Parameter]:
    """The parameters by name, in their order.

    Arguments:
        function: whose signature counts.
        name: the task's name, for messages.

    Raises:
        ConfigError: it has no signature, or a parameter whose name no field of a payload can have.

    >>> def add(x, *, y=1): ...
    >>> list(parameters_of(add, "add"))
    ['x', 'y']
    """
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        raise ConfigError(f"task {name}: its function has no signature that can be read") from None
    for parameter in parameters.values():
        # They are the fields of a class, where Python keeps such names for itself.
        if parameter.name.startswith("__") and parameter.kind is not parameter.VAR_KEYWORD:
            raise ConfigError(f"task {name}: parameter {parameter.name}: a name cannot begin with two underscores")
    return parameters


def missing_part(annotation: Any, path: Sequence[str]) -> str | None:
    """The first part of a path that no value of an annotation has; None where one may have all of them.

    >>> class User(typing.NamedTuple):
    ...     id: int
    >>> missing_part(User | None, ["id"]), missing_part(User, ["ID"]), missing_part(User, ["id", "x"])
    (None, 'ID', 'x')
    >>> missing_part(dict[str, Any], ["id"]) is None
    True
    """
    for part in path:
        parts = _parts_of(annotation)
        if parts is None:
            return None
        if part not in parts:
            return part
        annotation = parts[part]
    return None


def _parts_of(annotation: Any) -> Mapping[str, Any] | None:
    """The annotations of the parts by name, None where it may have any."""
    if isinstance(annotation, typing.NewType):
        return _parts_of(annotation.__supertype__)
    arguments = typing.get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _parts_of(arguments[0])
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        found = [_parts_of(one) for one in arguments if one is not type(None)]
        known = [parts for parts in found if parts is not None]
        return {name: Any for parts in known for name in parts} if len(known) == len(found) > 1 else found[0]
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, _WITHOUT_PARTS):
        return {}
    if not getattr(annotation, "__annotations__", None):
        return None
    try:
        return typing.get_type_hints(annotation, include_extras=True)
    except Exception:  # noqa: BLE001 - it speaks of what is defined later, or is evaluated and raises anything
        return None
