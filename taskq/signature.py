"""The parameters and annotations of a task's function, or in one line why they cannot be had."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from taskq.errors import ConfigError


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
