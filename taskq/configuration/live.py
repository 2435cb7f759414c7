"""Which values take effect when the file is read again; all others wait for a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from taskq.configuration.loading import Configuration
from taskq.configuration.show import Value, text_of, values

LIVE: Mapping[str, str] = {
    "worker.queues": "weights of the queues that it serves; others need a restart",
    "worker.shutdown_timeout": "the time that a supervisor gives its processes needs a restart",
    "worker.max_tasks": "",
    "worker.max_memory": "",
    "worker.rate": "",
    "worker.max_rss": "",
    "worker.max_loop_lag": "",
    "worker.max_backend_latency": "",
    "queues.*": "told to the store anew",
    "retention.max_finished": "told to the store anew",
    "monitoring.log_level": "",
}
"""The keys, with * for any, and what is to be said of them."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is another one now. As text it shows no secret."""

    key: str
    before: str
    after: str
    is_live: bool

    def __str__(self) -> str:
        if self.before == self.after:  # a secret
            return f"{self.key} has changed" + ("" if self.is_live else ", which needs a restart")
        return f"{self.key}: {self.before} → {self.after}" + ("" if self.is_live else " needs a restart")


def is_live(key: str) -> bool:
    """Whether a value takes effect when the file is read again.

    >>> is_live("queues.mail.weight"), is_live("worker.concurrency")
    (True, False)
    """
    return any(fnmatchcase(key, pattern) for pattern in LIVE)


def differences(before: Configuration, after: Configuration) -> Sequence[Difference]:
    """What is not as it was, in the order of the keys."""
    then = {value.key: value for value in values(before)}
    now = {value.key: value for value in values(after)}
    keys = dict.fromkeys((*then, *now))
    return [_difference(then.get(key), now.get(key)) for key in keys if not _is_same(then.get(key), now.get(key))]


def _is_same(one: Value | None, other: Value | None) -> bool:
    return one is not None and other is not None and one.value == other.value


def _difference(before: Value | None, after: Value | None) -> Difference:
    some = after or before
    assert some is not None
    takes_effect = is_live(some.key)
    if some.key == "worker.queues" and before is not None and after is not None:
        takes_effect = set(before.value) == set(after.value)
    return Difference(some.key, _text(before), _text(after), takes_effect)


def _text(value: Value | None) -> str:
    return "nothing" if value is None else text_of(value)
