"""Every value with who said it; secrets are masked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from taskq.backends import redact
from taskq.configuration.loading import Configuration
from taskq.configuration.sources import Key, Origin

if TYPE_CHECKING:
    from pydantic import BaseModel

MASK = "***"


@dataclass(frozen=True, slots=True)
class Value:
    """One value."""

    key: str
    value: Any = field(repr=False)
    """As it is."""
    shown: Any
    """As anybody may see it: plain JSON data."""
    origin: Origin


def values(configuration: Configuration, section: str = "") -> list[Value]:
    """All values, in the order of the sections.

    Arguments:
        configuration: whose.
        section: only those of this section, such as "worker" or "queues.mail"; "": all.
    """
    found = [_value(configuration, key, value) for key, value in _leaves(configuration.sections, ())]
    return [value for value in found if not section or value.key == section or value.key.startswith(f"{section}.")]


def text_of(value: Value) -> str:
    """A value as people read it."""
    shown = value.shown
    if value.key == "worker.rate" and shown is not None:
        return f"{shown:g}/s"
    if value.key == "worker.queues":
        return ",".join(name if weight is None else f"{name}={weight:g}" for name, weight in shown.items())
    if isinstance(shown, float):
        return f"{shown:g}"
    return shown if isinstance(shown, str) else "-" if shown is None else json.dumps(shown)


def _value(configuration: Configuration, key: Key, value: Any) -> Value:
    dotted = ".".join(key)
    return Value(dotted, value, _masked(dotted, value), configuration.origin(key))


def _leaves(section: BaseModel, key: Key) -> Iterator[tuple[Key, Any]]:
    """The values of a section and of those below it."""
    for name, known in type(section).model_fields.items():
        value, below = getattr(section, name), (*key, known.alias or name)
        yield from _below(value, below)


def _below(value: Any, key: Key) -> Iterator[tuple[Key, Any]]:
    from pydantic import BaseModel, SecretStr

    if isinstance(value, BaseModel):
        yield from _leaves(value, key)
    elif isinstance(value, Mapping) and value and all(isinstance(one, BaseModel | SecretStr) for one in value.values()):
        for name, one in value.items():
            yield from _below(one, (*key, name))
    else:
        yield key, value


def _masked(key: str, value: Any) -> Any:
    from pydantic import SecretStr

    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_masked(key, each) for each in value]
    if key == "alerts.webhook.url":  # of many services the path is the password
        parts = urlsplit(value)
        return f"{parts.scheme}://{parts.hostname}/{MASK}"
    return redact(value) if isinstance(value, str) and "://" in value else value
