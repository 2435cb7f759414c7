"""When a failed task runs again: the retry strategies, plain frozen values without a clock or a dice of their own.

The delays follow M. Brooker, "Exponential Backoff and Jitter" (AWS Architecture Blog, 2015): *full* jitter draws
from [0, delay), *equal* jitter from [delay/2, delay).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from typing import Any, Literal, Protocol, runtime_checkable

from taskq.errors import InvalidOption

Jitter = bool | Literal["full", "equal"]
Random = Callable[[], float]
"""Draws a number from [0, 1)."""

LONGEST = 10 * 365 * 86_400.0
"""Ten years in seconds: no delay is longer, so that a large exponent never overflows an instant."""


@dataclass(frozen=True, slots=True)
class FailedRun:
    """What a strategy is told of the run that failed."""

    type: str
    """The name of the exception's class."""
    message: str = ""
    age: float = 0.0
    """Seconds from the enqueue to the end of this run, by the store's clock."""
    retry_after: float | None = None
    """The seconds that the task itself asked for (taskq.Retry); they take the place of the strategy's own delay."""


@runtime_checkable
class RetryStrategy(Protocol):
    """Decides whether and when a failed task runs again."""

    def next_delay(self, attempt: int, failure: FailedRun, random: Random) -> float | None:
        """The seconds to wait before the next attempt, or None to give up.

        Arguments:
            attempt: the number of the attempt that failed, from 1.
            failure: what went wrong, how old the task is, and the delay that it asked for itself.
            random: a source of numbers from [0, 1), for jitter.

        Returns:
            Seconds; where the task asked for a delay of its own, any number stands for "yes, by then".
        """
        ...


def _jittered(delay: float, jitter: Jitter, random: Random) -> float:
    if jitter is False:
        return delay
    if jitter == "equal":
        return delay / 2 + random() * delay / 2
    return random() * delay


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise InvalidOption(f"{rule}, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_range(seconds: float) -> bool:
    return _is_number(seconds) and 0 <= seconds <= LONGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    max_retries: int = 3
    max_delay: float = 600.0
    jitter: Jitter = False
    deadline: float | None = None

    def __post_init__(self) -> None:
        is_whole = _is_number(self.max_retries) and isinstance(self.max_retries, int)
        in_range = is_whole and 0 <= self.max_retries <= 1000
        _require(in_range, "max_retries must be from 0 to 1000", self.max_retries)
        _require(_in_range(self.max_delay), "max_delay must be from 0 to ten years", self.max_delay)
        is_jitter = isinstance(self.jitter, bool) or self.jitter in ("full", "equal")
        _require(is_jitter, "jitter must be a bool, full or equal", self.jitter)
        in_time = self.deadline is None or (_is_number(self.deadline) and 0 < self.deadline < float("inf"))
        _require(in_time, "deadline must be over 0 seconds", self.deadline)

    def _base_delay(self, attempt: int) -> float:
        raise NotImplementedError  # pragma: no cover - abstract

    def next_delay(self, attempt: int, failure: FailedRun, random: Random) -> float | None:
        """The seconds to wait before the next attempt, or None to give up (see RetryStrategy)."""
        if attempt > self.max_retries:
            return None
        delay = failure.retry_after
        if delay is None:
            delay = _jittered(min(self._base_delay(attempt), self.max_delay), self.jitter, random)
        if self.deadline is not None and failure.age + delay > self.deadline:
            return None
        return delay


@dataclass(frozen=True, slots=True)
class Fixed(_Limits):
    """The same delay before each retry; `max_delay` is ten years, so that what is asked for is what happens.

    >>> [Fixed(5).next_delay(n, FailedRun("E"), lambda: 0.5) for n in (1, 2, 3, 4)]
    [5, 5, 5, None]
    """

    delay: float = 1.0
    max_delay: float = field(default=LONGEST, kw_only=True)

    def __post_init__(self) -> None:
        _Limits.__post_init__(self)
        _require(_in_range(self.delay), "delay must be from 0 to ten years", self.delay)

    def _base_delay(self, attempt: int) -> float:
        return self.delay


@dataclass(frozen=True, slots=True)
class Linear(_Limits):
    """A delay that grows by `base` seconds with each attempt.

    >>> [Linear(2).next_delay(n, FailedRun("E"), lambda: 0.5) for n in (1, 2, 3)]
    [2, 4, 6]
    """

    base: float = 1.0

    def __post_init__(self) -> None:
        _Limits.__post_init__(self)
        _require(_in_range(self.base), "base must be from 0 to ten years", self.base)

    def _base_delay(self, attempt: int) -> float:
        return self.base * attempt


@dataclass(frozen=True, slots=True)
class Exponential(_Limits):
    """A delay that grows by `factor` with each attempt: base, base·factor, base·factor², …

    >>> [Exponential(1, 2, jitter=False).next_delay(n, FailedRun("E"), lambda: 0.5) for n in (1, 2, 3)]
    [1, 2, 4]
    >>> Exponential(8, 2, jitter="equal").next_delay(1, FailedRun("E"), lambda: 0.5)
    6.0
    """

    base: float = 1.0
    factor: float = 2.0
    jitter: Jitter = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _Limits.__post_init__(self)
        _require(_in_range(self.base), "base must be from 0 to ten years", self.base)
        _require(_is_number(self.factor) and 1 <= self.factor <= 1000, "factor must be from 1 to 1000", self.factor)

    def _base_delay(self, attempt: int) -> float:
        try:
            return self.base * self.factor ** (attempt - 1)
        except OverflowError:
            return LONGEST


@dataclass(frozen=True, slots=True)
class NoRetry(_Limits):
    """One attempt, no retry.

    >>> NoRetry().next_delay(1, FailedRun("E"), lambda: 0.5) is None
    True
    """

    max_retries: int = field(default=0, kw_only=True)

    def _base_delay(self, attempt: int) -> float:
        return 0.0


BuiltinRetry = Fixed | Linear | Exponential | NoRetry
_BY_NAME: Mapping[str, type[BuiltinRetry]] = {
    "fixed": Fixed,
    "linear": Linear,
    "exponential": Exponential,
    "none": NoRetry,
}
_NAMES = {cls: name for name, cls in _BY_NAME.items()}

DEFAULT_RETRY = Exponential()


def to_dict(policy: BuiltinRetry) -> dict[str, Any]:
    """A built-in policy as plain data, for those who enqueue by name.

    >>> to_dict(Fixed(5, max_retries=1))["strategy"]
    'fixed'
    """
    return {"strategy": _NAMES[type(policy)], **asdict(policy)}


def from_dict(data: Mapping[str, Any]) -> BuiltinRetry:
    """Read what `to_dict` wrote, or what a person wrote by hand.

    Raises:
        InvalidOption: the strategy or one of its fields is unknown, or a value is out of range.

    >>> from_dict({"strategy": "linear", "base": 3}).next_delay(2, FailedRun("E"), lambda: 0.0)
    6
    >>> from_dict({"strategy": "sometimes"})
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: retry strategy 'sometimes' is not one of exponential, fixed, linear, none
    """
    fields = dict(data)
    name = fields.pop("strategy", "exponential")
    policy = _BY_NAME.get(name) if isinstance(name, str) else None
    if policy is None:
        raise InvalidOption(f"retry strategy {name!r} is not one of {', '.join(sorted(_BY_NAME))}")
    known = [each.name for each in dataclass_fields(policy)]
    for strange in fields.keys() - set(known):
        near = difflib.get_close_matches(str(strange), known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"they are {', '.join(known)}"
        raise InvalidOption(f"retry policy {name!r} has no field {strange!r}; {hint}")
    return policy(**fields)
