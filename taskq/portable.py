"""Errors that another process can be shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

_Kind = TypeVar("_Kind", bound=BaseException)


class Portable(Exception):
    """An error that comes through pickle and copy whole, whatever its constructor takes.

    An exception is usually made anew from its `args`, which here are the finished message alone.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _restored, (type(self), self.args, vars(self))


def _restored(kind: type[_Kind], args: tuple[Any, ...], attributes: dict[str, Any]) -> _Kind:
    error = kind.__new__(kind, *args)
    error.args = args  # an OSError with a constructor of its own has none yet
    vars(error).update(attributes)
    return error
