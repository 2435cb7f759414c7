"""Workflows and batches: tasks that are counted together (taskq.domain.flow)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from taskq.domain.flow import Callback, FlowKind, FlowRecord
from taskq.domain.message import DEFAULT_RETENTION, Message

_NONE: Mapping[Callback, Message] = MappingProxyType({})


class NewFlow(NamedTuple):
    """A flow, as the store is told of it."""

    id: str
    """A UUID in its canonical text form; its last byte says in which shard it is at home."""
    kind: FlowKind = FlowKind.BATCH
    name: str = ""
    spec: bytes = b""
    """What its user says of it, as JSON; opaque to the store."""
    callbacks: Mapping[Callback, Message] = _NONE
    """What is enqueued, under ids that are known already, when a callback is due."""
    is_held: bool = False
    """Whether members may have the flow itself as their parent, and wait until it is closed: so nothing of a workflow
    runs before all of it is stored. One that is not closed within NEVER_CLOSED seconds is cancelled."""
    retention: float = DEFAULT_RETENTION
    """Seconds for which the record is kept while no member has yet to end."""


class FlowPage(NamedTuple):
    """Some flows, the newest first, and where to go on."""

    records: Sequence[FlowRecord]
    next_cursor: str | None = None


class MemberPage(NamedTuple):
    """Ids of some members, those that were enqueued first before the others, and where to go on."""

    ids: Sequence[str]
    next_cursor: str | None = None


class Flows(Protocol):
    """Keeps flows. Members are counted with their own transitions: see Broker.

    A callback is enqueued in the step that makes it due, or by Maintenance.relay.
    """

    async def create(self, flow: NewFlow) -> bool:
        """Store a flow without members; False where its id is known."""
        ...

    async def get(self, id: str) -> FlowRecord | None:
        """All that is known of a flow: a number of reads that does not grow with its members."""
        ...

    async def list(self, limit: int = 50, cursor: str | None = None) -> FlowPage:
        """A page of flows."""
        ...

    async def close(self, id: str) -> bool:
        """No more members come from outside: those that wait for the flow may run, and it ends when all have ended.

        Returns False where it is not known.
        """
        ...

    async def cancel(self, id: str, reason: str = "") -> bool:
        """Cancel all members that have not ended, and have none come; False where it has ended, or is not known."""
        ...

    async def give_up(self, id: str, reason: str = "") -> bool:
        """Cancel a flow that is not closed yet, as one that is not whole; False where it is closed, or not known."""
        ...

    async def reopen(self, id: str) -> bool:
        """Take back that a flow was cancelled: it takes members again, and what becomes of them is told.

        Returns False where it is not known.
        """
        ...

    async def members(
        self, id: str, limit: int = 1000, cursor: str | None = None, *, failed: bool = False
    ) -> MemberPage:
        """A page of members; `failed`: only those that have ended otherwise than COMPLETED."""
        ...

    async def forget(self, id: str) -> bool:
        """Forget a flow of which no member has yet to end; its members stay. False where there is no such one."""
        ...
