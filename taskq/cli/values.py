"""What is typed for a time, and how what stands in tables is written."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from taskq.domain.spans import parse_duration, parse_instant
from taskq.errors import ConfigError

WIDEST = 80
"""Characters of a text in a table."""
_EITHER = re.compile(r"\d{8}", re.ASCII)


class Seconds(click.ParamType[float]):
    """The type of options that are durations, in seconds: 90, 90s, 2m, 1h30m."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click.ParamType."""
        try:
            return float(value) if isinstance(value, float | int) else parse_duration(value).total_seconds()
        except ValueError:
            self.fail(f"{value!r} is no duration, such as 90s, 15m, 2h, 7d", param, ctx)


SECONDS = Seconds()


def duration(_ctx: click.Context, _param: click.Parameter, given: str | None) -> timedelta | None:
    """The value of an option that is a duration."""
    try:
        return None if given is None else parse_duration(given)
    except ValueError:
        raise click.BadParameter(f"{given!r} is no duration, such as 90s, 15m, 2h, 7d") from None


def instant(_ctx: click.Context, _param: click.Parameter, given: str | None) -> datetime | None:
    """The value of an option that is an instant."""
    try:
        return None if given is None else parse_instant(given, None)
    except ValueError:
        raise click.BadParameter(f"{given!r} is no instant, such as 2030-01-02T03:04") from None


def moment(ctx: click.Context, param: click.Parameter, given: str | None) -> datetime | timedelta | None:
    """The value of an option that is how long ago it was, or an instant."""
    if given is not None and _EITHER.fullmatch(given):
        raise click.BadParameter(
            f"{given!r} may be a date or seconds: write {given[:4]}-{given[4:6]}-{given[6:]}, or {given}s"
        )
    try:
        return None if given is None else parse_duration(given)
    except ValueError:
        return instant(ctx, param, given)


def seconds_of(instant: datetime | None) -> str:
    """An instant to the second, "-" for none."""
    return "-" if instant is None else instant.isoformat(timespec="seconds")


def few(names: Sequence[str]) -> str:
    """The first of some names.

    >>> few(["a", "b", "c", "d", "e"])
    'a,b,c and 2 more'
    """
    return ",".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def shortened(text: str, most: int | None = WIDEST) -> str:
    """A text of which the end is left out where it is longer; None: never.

    >>> shortened("no route to host", 9)
    'no route…'
    """
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def pairs_of(settings: Sequence[str]) -> dict[str, Any]:
    """Settings as they were typed, by their keys: numbers and JSON, and texts such as 100/s.

    Raises:
        ConfigError: something is no KEY=VALUE, or a key is given twice.
    """
    pairs: dict[str, Any] = {}
    for text in settings:
        key, mark, value = text.partition("=")
        if not (key and mark and value):
            raise ConfigError(f"{text!r} is not of the form KEY=VALUE, such as max_size=1000")
        if key in pairs:
            raise ConfigError(f"{key} is given twice")
        pairs[key] = _value(value)
    return pairs


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text  # "100/s", "default"
    return text if value is None else value
