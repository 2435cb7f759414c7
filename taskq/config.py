"""Settings: one frozen value for each component, each checking its own."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from taskq.domain.lease import LEASE
from taskq.domain.message import DEFAULT_QUEUE
from taskq.errors import ConfigError, InvalidOption

MIB = 1024 * 1024
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
    if isinstance(value, str) and _IDENTIFIER.fullmatch(value):
        return value
    raise InvalidOption(f"{kind} {str(value)[:60]!r}: use 1 to 200 of the characters A-Z a-z 0-9 _ . -")


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

    def __post_init__(self) -> None:
        _require(self.max_payload > 0, "max_payload must be over 0 bytes", self.max_payload)
        _require(self.max_result > 0, "max_result must be over 0 bytes", self.max_result)


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
    taskq.errors.ConfigError: concurrency must be from 1 to 10,000, not 0
    """

    queues: Mapping[str, float] = field(default_factory=lambda: {DEFAULT_QUEUE: 1.0})
    """The queues to serve, each with its weight."""
    concurrency: int = 100
    """Loop tasks at once."""
    threads: int = field(default_factory=lambda: 4 * cores())
    """Thread tasks at once."""
    processes: int = field(default_factory=lambda: cores())
    """Process tasks at once."""
    name: str = field(default_factory=socket.gethostname)
    """A stable name, beside the random id of each start."""
    lease: float = LEASE
    """How long a claim holds without being extended: a task whose worker died runs again after that."""
    heartbeat: float = LEASE / 3
    """Between two extensions of everything that the worker holds; less than half a lease."""
    shutdown_timeout: float = 30.0
    """How long running tasks may take to end when the worker stops; then they are cancelled and given back."""
    poll: float = 5.0
    """The longest that an idle worker waits for a hint before it looks by itself."""

    max_tasks: int | None = None
    """Runs after which the process makes room for a fresh one."""
    max_memory: int | None = None
    """Resident memory in MiB after which the process makes room for a fresh one."""

    def __post_init__(self) -> None:
        _require(bool(self.queues), "a worker needs at least one queue", self.queues)
        for queue, weight in self.queues.items():
            check_identifier("queue", queue)
            _require(0 < weight <= 1000, f"the weight of queue {queue} must be over 0 and at most 1000", weight)
        _require(1 <= self.concurrency <= 10_000, "concurrency must be from 1 to 10,000", self.concurrency)
        _require(1 <= self.threads <= 1_000, "threads must be from 1 to 1,000", self.threads)
        _require(1 <= self.processes <= 256, "processes must be from 1 to 256", self.processes)
        _require(self.heartbeat * 2 < self.lease, "a lease must be longer than two heartbeats", self.lease)
        _require(0 < self.shutdown_timeout <= 86_400, "shutdown_timeout must be over 0", self.shutdown_timeout)
        _require(self.max_tasks is None or self.max_tasks > 0, "max_tasks must be over 0", self.max_tasks)
        _require(self.max_memory is None or self.max_memory > 0, "max_memory must be over 0 MiB", self.max_memory)
        _require(0.05 <= self.poll <= 60, "poll must be from 0.05 to 60 seconds", self.poll)


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

    >>> backend_url("redis://localhost")
    'redis://localhost'
    """
    return given or os.environ.get("TASKQ_BACKEND") or "memory://"


def _require(holds: bool, rule: str, value: object) -> None:
    if not holds:
        raise ConfigError(f"{rule}, not {value!r}")
