"""What people write for rates, queues with weights, and durations, in files, variables and arguments alike."""

from __future__ import annotations

from collections.abc import Mapping

from taskq.config import shown
from taskq.domain.spans import parse_duration
from taskq.errors import ConfigError
from taskq.limits import RateLimit


def parse_rate(text: str) -> float:
    """Starts a second, as in --rate.

    Raises:
        InvalidOption: it is no rate.

    >>> parse_rate("50/s"), parse_rate("90/m"), parse_rate("2.5")
    (50.0, 1.5, 2.5)
    """
    try:
        rate: float | str = float(text)
    except ValueError:  # it says per what
        rate = text
    return RateLimit(rate).per_second


def parse_queues(text: str, where: str = "-Q ") -> Mapping[str, float | None]:
    """Queues with their weights, as in -Q.

    Arguments:
        text: names with commas between them, each with or without a weight.
        where: it was said; a refusal begins with it.

    Raises:
        ConfigError: a weight is no number, or a queue is named twice, or not at all.

    >>> parse_queues("high=3,default")
    {'high': 3.0, 'default': None}
    """
    queues: dict[str, float | None] = {}
    for part in text.split(","):
        name, mark, weight = part.strip().partition("=")
        if not name:
            raise ConfigError(f"{where}{text!r}: a queue without a name; they are written high=3,default")
        if name in queues:
            raise ConfigError(f"{where}{text!r}: the queue {name} is named twice")
        try:
            queues[name] = float(weight) if mark else None
        except ValueError:
            raise ConfigError(f"{where}{text!r}: the weight of {name} must be a number, not {weight!r}") from None
    return queues


def parse_seconds(value: object) -> object:
    """The seconds of a text such as 30s, 5m or 7d; what is no text stays what it is.

    Raises:
        ValueError: it is no duration.

    >>> parse_seconds("1h30m"), parse_seconds(30)
    (5400.0, 30)
    """
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value.strip()).total_seconds()
    except ValueError:
        raise ValueError(f"must be seconds, or text such as 30s, 5m, 7d, not {shown(value)}") from None
