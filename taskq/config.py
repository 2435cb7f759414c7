"""Settings: one frozen value for each component, each checking its own."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard

from taskq.crypto import Crypto
from taskq.domain.lease import LEASE
from taskq.domain.message import DAY, DEFAULT_QUEUE
from taskq.domain.retry import LONGEST
from taskq.errors import ConfigError, InvalidOption

if TYPE_CHECKING:
    from taskq.webhooks import Webhooks

MIB = 1024 * 1024
SLOWEST = 1 / LONGEST
"""Starts a second of the slowest worker."""
LOOK_EVERY = 1.0
"""Seconds until a beat looks again, because a schedule may have been changed meanwhile."""
MOST_TAGS, LONGEST_TAG = 20, 100
_SHOWN = 100
"""The most characters of a refused value that its refusal shows."""
_IDENTIFIER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


def check_identifier(kind: str, value: object) -> str:
    """Return the name of a queue, task, tenant or group if it is fit to be one.

    Raises:
        InvalidOption: it has characters that could mean something in a key, a log line or a shell.

    >>> check_identifier("queue", "mail.high")
    'mail.high'
    >>> check_identifier("queue", "mail high")
    Traceback (most recent call last):
        ...
    taskq.errors.InvalidOption: queue 'mail high': use 1 to 200 of the characters A-Z a-z 0-9 _ . -
    """
    if not isinstance(value, str):
        raise InvalidOption(f"{kind} must be text, not {shown(value)}")
    if not _IDENTIFIER.fullmatch(value):
        raise InvalidOption(f"{kind} {value[:60]!r}: use 1 to 200 of the characters A-Z a-z 0-9 _ . -")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number; True and False are none. Of what is not finite its range has to say no.

    >>> is_number(1.5), is_number(True)
    (True, False)
    """
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number.

    >>> is_whole(2), is_whole(2.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, int) and not isinstance(value, bool)


def is_label(value: object) -> TypeGuard[str]:
    """Whether a value is text of 1 to 255 characters that can be shown in a line.

    >>> is_label("order 17"), is_label(17)
    (True, False)
    """
    return isinstance(value, str) and 0 < len(value) <= 255 and value.isprintable()


def check_tags(tags: Any) -> None:
    """Refuse what is no collection of tags.

    Raises:
        InvalidOption: it is none, there are more than MOST_TAGS, or one cannot be shown in a line.

    >>> check_tags(["vip", "order:17"])
    """
    is_some = isinstance(tags, Sequence) and not isinstance(tags, str | bytes)
    if not is_some or len(tags) > MOST_TAGS or not all(is_label(tag) and len(tag) <= LONGEST_TAG for tag in tags):
        rule = f"a list of at most {MOST_TAGS} texts, each of 1 to {LONGEST_TAG} printable characters"
        raise InvalidOption(f"tags must be {rule}, not {shown(tags)}")


def shown(value: object) -> str:
    """A value that was refused as its refusal shows it: in short, whatever its own code does.

    >>> shown("x"), len(shown("x" * 1000))
    ("'x'", 100)
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - a hostile __repr__, or an int too long to be written
        return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRetention:
    """How much of the audit trail is kept: what is older, or too much, is forgotten, and the trail says so.

    Raises:
        ConfigError: a value is out of its range.

    >>> AuditRetention().most
    100000
    >>> AuditRetention(most=10)
    Traceback (most recent call last):
        ...
    taskq.errors.ConfigError: most must be a whole number from 1,000 to 10,000,000, not 10
    """

    age: timedelta = timedelta(days=90)
    """How old entries become."""
    most: int = 100_000
    """How many are kept."""

    def __post_init__(self) -> None:
        age: object = self.age
        is_span = isinstance(age, timedelta) and timedelta(hours=1) <= age <= timedelta(seconds=LONGEST)
        require(is_span, "age must be a timedelta of an hour to ten years", age)
        in_range = is_whole(self.most) and 1000 <= self.most <= 10_000_000
        require(in_range, "most must be a whole number from 1,000 to 10,000,000", self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What an App can be told beside its backend.

    Raises:
        ConfigError: a value is out of its range; the message says which.

    >>> Settings(max_payload=64 * 1024).max_result
    4194304
    """

    max_payload: int = MIB
    """The most bytes that the encoded arguments of a task may take."""
    max_result: int = 4 * MIB
    """The most bytes that an encoded result may take."""
    crypto: Crypto | None = None
    """The keys to encrypt with; None: those of the environment (docs/encryption.md)."""
    webhooks: Webhooks | None = None
    """How webhooks are called; None: as TASKQ_WEBHOOKS__… say (docs/webhooks.md)."""
    audit: AuditRetention | None = None
    """How much of the audit trail is kept; None: as the configuration says (docs/management.md)."""

    def __post_init__(self) -> None:
        _whole("max_payload", self.max_payload)
        _whole("max_result", self.max_result)
        if not isinstance(self.crypto, Crypto | None):
            raise ConfigError("crypto must be taskq.crypto.Crypto(…)")  # what it is instead may hold keys
        if self.webhooks is not None and not hasattr(self.webhooks, "allowed"):  # `import taskq` does without its class
            raise ConfigError("webhooks must be taskq.webhooks.Webhooks(…)")  # as above
        is_retention = isinstance(self.audit, AuditRetention | None)
        require(is_retention, "audit must be taskq.config.AuditRetention(…)", self.audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker process can be told. Durations are seconds.

    Raises:
        ConfigError: a value is out of its range; the message says which.
        InvalidOption: the name of a queue cannot be one.

    >>> WorkerOptions(queues={"high": 3, "default": 1}, concurrency=20).lease
    30.0
    >>> WorkerOptions(concurrency=0)
    Traceback (most recent call last):
        ...
    taskq.errors.ConfigError: concurrency must be a whole number from 1 to 10,000, not 0
    """

    queues: Mapping[str, float | None] = field(default_factory=lambda: {DEFAULT_QUEUE: None})
    """The queues to serve, each with its weight; None: the one that is set for the queue, else 1."""
    concurrency: int = 100
    """Loop tasks at once."""
    threads: int = field(default_factory=lambda: 4 * cores())
    """Thread tasks at once."""
    processes: int = field(default_factory=lambda: cores())
    """Process tasks at once."""
    transactions: int = 10
    """Connections that loop tasks may have at once for `ctx.transaction()`; a thread may have one each."""
    name: str = field(default_factory=socket.gethostname)
    """A stable name, beside the random id of each start."""
    lease: float = LEASE
    """How long a claim holds without being extended: a task whose worker died runs again after that."""
    heartbeat: float = LEASE / 3
    """Between two extensions of everything that the worker holds; less than half a lease."""
    shutdown_timeout: float = 30.0
    """How long running tasks may take to end when the worker stops; then they are cancelled and given back."""
    poll: float = 6.0
    """The longest that an idle worker waits for a hint before it looks by itself."""

    max_tasks: int | None = None
    """Runs after which the process makes room for a fresh one."""
    max_memory: int | None = None
    """Resident memory in MiB after which the process makes room for a fresh one."""

    rate: float | None = None
    """Starts a second of this worker alone, whatever it runs; None: as many as it can."""
    max_rss: int | None = None
    """Resident memory in MiB over which the worker takes no tasks until it has fallen again; None: any."""
    max_loop_lag: float | None = 1.0
    """How late the event loop may be with what is due before the worker takes no tasks; None: however late."""
    max_backend_latency: float | None = 5.0
    """How long the store may take to answer before the worker takes no tasks; None: however long."""
    beat: bool = False
    """Whether the worker has schedules fire, too."""
    look_every: float = LOOK_EVERY
    """The longest time until such a worker sees that a schedule was changed."""
    compare: bool = True
    """Whether the worker pauses where its runs fail and those of the same tasks elsewhere do not."""
    profiling: bool = False
    """Whether the worker takes profiles of itself when an operator asks for one."""

    def __post_init__(self) -> None:
        queues: object = self.queues
        is_some = isinstance(queues, Mapping) and bool(queues)
        require(is_some, "queues must be a mapping of at least one queue to its weight", queues)
        for queue, weight in self.queues.items():
            check_identifier("queue", queue)
            in_range = weight is None or (is_number(weight) and 0 < weight <= 1000)
            require(in_range, f"the weight of queue {queue} must be over 0 and at most 1,000", weight)
        _whole("concurrency", self.concurrency, 10_000)
        _whole("threads", self.threads, 1_000)
        _whole("processes", self.processes, 256)
        _whole("transactions", self.transactions, 10_000)
        require(is_label(self.name), "name must have 1 to 255 printable characters", self.name)
        for option in ("lease", "heartbeat", "shutdown_timeout"):
            _seconds(option, getattr(self, option))
        require(self.heartbeat * 2 < self.lease, "a lease must be longer than two heartbeats", self.lease)
        for option in ("max_tasks", "max_memory", "max_rss"):
            if getattr(self, option) is not None:
                _whole(option, getattr(self, option))
        if self.max_memory is not None and self.max_rss is not None:
            rule = f"max_memory must be below max_rss ({self.max_rss} MiB), at which no task is begun any more"
            require(self.max_memory < self.max_rss, rule, self.max_memory)
        for option in ("max_loop_lag", "max_backend_latency"):
            if getattr(self, option) is not None:
                _seconds(option, getattr(self, option))
        rate_in_range = self.rate is None or (is_number(self.rate) and SLOWEST <= self.rate <= 1e6)
        require(rate_in_range, "rate must be from one start in ten years to a million a second", self.rate)
        require(isinstance(self.compare, bool), "compare must be True or False", self.compare)
        look_in_range = is_number(self.look_every) and 0.05 <= self.look_every <= 60
        require(look_in_range, "look_every must be from 0.05 to 60 seconds", self.look_every)
        require(isinstance(self.profiling, bool), "profiling must be True or False", self.profiling)
        require(is_number(self.poll) and 0.05 <= self.poll <= 60, "poll must be from 0.05 to 60 seconds", self.poll)


def cores() -> int:
    """The processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def resident_mib() -> float:
    """The resident memory of this process in MiB; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    except OSError:  # not Linux
        return 0.0


def backend_url(given: str | None) -> str:
    """The URL of the backend: what was given, else TASKQ_BACKEND, else the one in memory.

    Raises:
        ConfigError: it is none (see check_url).

    >>> backend_url("redis://localhost")
    'redis://localhost'
    """
    return check_url("backend", os.environ.get("TASKQ_BACKEND") or "memory://" if given in (None, "") else given)


def check_url(option: str, value: object) -> str:
    """Return the URL of a store if its parts can be told apart; what they mean is the backend's own affair.

    Raises:
        ConfigError: they cannot; the message holds nothing of the URL but its scheme, for it may have a password.

    >>> check_url("backend", "redis://:secret@[::1")
    Traceback (most recent call last):
        ...
    taskq.errors.ConfigError: backend: the host of the redis:// URL cannot be read; an IPv6 address is written [::1]
    """
    if not isinstance(value, str):
        kind = type(value).__name__
        raise ConfigError(f"{option} must be the text of a URL, such as redis://localhost:6379/0, not of type {kind}")
    from urllib.parse import urlsplit  # `import taskq` does without it

    try:
        urlsplit(value)
    except ValueError:
        scheme = value.partition("://")[0]
        raise ConfigError(
            f"{option}: the host of the {scheme}:// URL cannot be read; an IPv6 address is written [::1]"
        ) from None
    return value


def _whole(name: str, value: object, most: int | None = None) -> None:
    in_range = is_whole(value) and value >= 1 and (most is None or value <= most)
    require(in_range, f"{name} must be a whole number {'over 0' if most is None else f'from 1 to {most:,}'}", value)


def _seconds(name: str, value: object) -> None:
    in_range = is_number(value) and 0 < value <= DAY
    require(in_range, f"{name} must be over 0 and at most {DAY:,.0f} seconds", value)


def require(holds: bool, rule: str, value: object) -> None:
    """Refuse a value.

    Raises:
        ConfigError: the rule does not hold; the message shows the value.
    """
    if not holds:
        raise ConfigError(f"{rule}, not {shown(value)}")
