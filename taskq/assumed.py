"""What an application takes where its code says nothing: that of a configuration which was read before it was made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taskq.config import MIB, AuditRetention, Settings, backend_url
from taskq.crypto import Crypto, crypto_from_environment
from taskq.domain.autoscale import Autoscale
from taskq.domain.message import DEFAULT_RETENTION
from taskq.ports import BackendOptions, Clock, SystemClock

if TYPE_CHECKING:
    from taskq.webhooks import Webhooks


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What is assumed: plain data, because the processes of process tasks are told of it too. Durations are seconds.

    >>> Assumed(durability="disk").options("shop", None, None).durability
    'disk'
    >>> Assumed(durability="disk").options("shop", "process", None).durability
    'process'
    """

    url: str | None = field(default=None, repr=False)
    """Of the backend; None: as TASKQ_BACKEND says."""
    durability: str = "process"
    pool_size: int = 4
    connect_timeout: float = 5.0
    command_timeout: float = 10.0
    max_payload: int = MIB
    max_result: int = 4 * MIB
    retention: float = DEFAULT_RETENTION
    """How long what has ended is kept, of a task that does not say."""
    audit: AuditRetention = field(default_factory=AuditRetention)
    """How much of the audit trail is kept."""
    autoscale: Autoscale = field(default_factory=Autoscale)
    """How many workers there may be, and groups of queues."""
    variables: Mapping[str, str] | None = field(default=None, repr=False)
    """Takes the place of the variables TASKQ_CRYPTO__… and TASKQ_WEBHOOKS__…; None: those of the environment."""

    @property
    def settings(self) -> Settings:
        """The settings of an application that was given none."""
        return Settings(max_payload=self.max_payload, max_result=self.max_result)

    def url_of(self, given: str | None) -> str:
        """The URL of the backend of an application; what it was given itself goes before (taskq.config.backend_url)."""
        return backend_url(self.url if given in (None, "") else given)

    def options(self, namespace: str, durability: str | None, clock: Clock | None) -> BackendOptions:
        """How the stores of an application are opened; what it was given itself goes before."""
        return BackendOptions(
            namespace=namespace,
            durability=self.durability if durability is None else durability,
            pool_size=self.pool_size,
            connect_timeout=self.connect_timeout,
            command_timeout=self.command_timeout,
            clock=clock or SystemClock(),
        )

    def crypto(self) -> Crypto | None:
        """The keys, None where there are none."""
        return crypto_from_environment() if self.variables is None else crypto_from_environment(self.variables)

    def webhooks(self) -> Webhooks | None:
        """How webhooks are called; None: as the environment says."""
        if self.variables is None:
            return None
        from taskq.webhooks import webhooks_from_environment  # as few use it, `import taskq` does without it

        return webhooks_from_environment(self.variables)


_everywhere = Assumed()
_here: ContextVar[Assumed | None] = ContextVar("assumed", default=None)


def assumed() -> Assumed:
    """What is assumed now, for applications that are made from here on."""
    return _here.get() or _everywhere


def assume(what: Assumed) -> Assumed:
    """Assume something from now on, in all of this process; returns what was assumed before."""
    global _everywhere
    before, _everywhere = _everywhere, what
    return before


@contextmanager
def assuming(what: Assumed) -> Iterator[None]:
    """Assume something meanwhile, in this thread or task alone.

    >>> from taskq import App
    >>> with assuming(Assumed(url="redis://cache")):
    ...     App().url
    'redis://cache'
    >>> App("memory://").url
    'memory://'
    """
    token = _here.set(what)
    try:
        yield
    finally:
        _here.reset(token)
