"""What can be set for a queue at run time: each value checked before a store keeps it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from taskq.config import is_number, is_whole, shown
from taskq.domain.limits import Rate
from taskq.domain.retry import LONGEST, BuiltinRetry, from_dict, to_dict
from taskq.errors import InvalidOption
from taskq.limits import RateLimit
from taskq.ports import QueueConfig

DEFAULT = "default"
"""Takes back what was set."""


def queue_config(**settings: Any) -> QueueConfig:
    """What is to be set for a queue; a setting that is not given, or None, stays as it is, and "default" takes it back.

    Arguments:
        max_finished: finished tasks to keep.
        max_size: waiting tasks that it may hold.
        warn_at: the share of `max_size` at which it gives warning, over 0 and at most 1.
        workers: the most of its tasks that run at once in the whole fleet.
        rate: how many of its tasks start in a time, in the whole fleet: "100/s", starts a second, or a RateLimit
            without key, name and adaptive.
        weight: how often it is served by workers that give it no weight of their own, over 0 and at most 1,000.
        retry: a built-in retry policy, or one as plain data (taskq.domain.retry.from_dict), for tasks without one.
        timeout: seconds that a run may take, for tasks that say nothing themselves.
        soft_timeout: seconds after which a run is asked to end, less than `timeout`; likewise.
        expires: seconds after which a task that nobody has begun is of no use; likewise.

    Raises:
        InvalidOption: settings are unknown, or values out of their ranges; the message names all of them.

    >>> queue_config(max_size=500, rate="90/m", retry="default").rate
    Rate(key='', per_second=1.5, burst=1.0, adaptive=False)
    >>> queue_config(max_sise=500)
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: there is no setting 'max_sise', did you mean 'max_size'?
    """
    return QueueConfig(**read_settings(_READERS, settings))


Reader = Callable[[str, Any], Any]
"""Checks the value of a setting, and gives it as it is kept."""


def read_settings(readers: Mapping[str, Reader], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are kept; None and "default" stay what they are.

    Raises:
        InvalidOption: settings are unknown, or values out of their ranges; the message names all of them.

    >>> read_settings({"running": whole(10)}, {"running": 5})
    {'running': 5}
    """
    checked: dict[str, Any] = {}
    complaints: list[str] = []
    for name, value in settings.items():
        try:
            read = _reader(readers, name)
            checked[name] = value if value is None or value == DEFAULT else read(name, value)
        except InvalidOption as error:
            complaints.append(str(error) + _nearly_default(value))
    if complaints:
        raise InvalidOption("; ".join(complaints))
    return checked


def _reader(readers: Mapping[str, Reader], name: str) -> Reader:
    reader = readers.get(name)
    if reader is None:
        near = difflib.get_close_matches(name, readers, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(readers)}"
        raise InvalidOption(f"there is no setting {name!r}, {hint}")
    return reader


def _nearly_default(value: object) -> str:
    is_near = isinstance(value, str) and difflib.get_close_matches(value, [DEFAULT])
    return f" (did you mean {DEFAULT!r}?)" if is_near else ""


def whole(most: int) -> Callable[[str, Any], int]:
    """Reads a whole number from 1 to `most`."""

    def read(name: str, value: Any) -> int:
        if not (is_whole(value) and 1 <= value <= most):
            raise InvalidOption(f"{name} must be a whole number from 1 to {most:,}, not {shown(value)}")
        return value

    return read


def number(most: float, text: str) -> Callable[[str, Any], float]:
    """Reads a number over 0 and up to `most`, which is called `text`."""

    def read(name: str, value: Any) -> float:
        if not (is_number(value) and 0 < value <= most):
            raise InvalidOption(f"{name} must be over 0 and at most {text}, not {shown(value)}")
        return float(value)

    return read


def starts(name: str, value: Any) -> Rate:
    """Reads how many may start in a time."""
    limit = value if isinstance(value, RateLimit) else RateLimit(value)
    if limit.key is not None or limit.name is not None or limit.adaptive:
        raise InvalidOption(f"{name} is one for all of its tasks: without key, name and adaptive")
    return limit.limit("")


def _retry(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, BuiltinRetry):
        return to_dict(value)
    if not isinstance(value, Mapping):
        example = '{"strategy": "fixed", "delay": 5}'
        raise InvalidOption(f"{name} must be a built-in policy, or plain data such as {example}, not {shown(value)}")
    from_dict(value)
    return dict(value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "max_finished": whole(1_000_000_000),
    "max_size": whole(1_000_000_000),
    "warn_at": number(1.0, "1"),
    "workers": whole(1_000_000),
    "rate": starts,
    "weight": number(1000.0, "1,000"),
    "retry": _retry,
    "timeout": number(LONGEST, "ten years of seconds"),
    "soft_timeout": number(LONGEST, "ten years of seconds"),
    "expires": number(LONGEST, "ten years of seconds"),
}
