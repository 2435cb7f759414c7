"""What the core asks of a store: small, asynchronous, batch-first protocols. An adapter stores, fences and counts."""

from taskq.domain.tenants import Quota
from taskq.ports.annotations import Annotations
from taskq.ports.backend import Backend, BackendOptions, Capability, ErasableBackend
from taskq.ports.broker import (
    Broker,
    CancelStatus,
    Enqueued,
    EnqueueStatus,
    Extension,
    Fetched,
    Fill,
    Parent,
    Settled,
    SettleStatus,
)
from taskq.ports.clock import Clock, SystemClock
from taskq.ports.diagnosis import MOST_RECORDS, Damage, Diagnosis, Finding, FindingStatus
from taskq.ports.documents import DOCUMENT_LIMIT, Document, DocumentPage, Documents
from taskq.ports.events import Event, EventBus
from taskq.ports.flows import FlowPage, Flows, MemberPage, NewFlow
from taskq.ports.inspector import Inspector, Page, Redriven, RedriveStatus, TaskQuery
from taskq.ports.journal import Entry, Journal
from taskq.ports.maintenance import Maintenance, Reaped
from taskq.ports.metrics import FigureRow, Left, MetricsStore
from taskq.ports.overrides import Overrides
from taskq.ports.queues import GateState, QueueConfig, QueueControl, QueueSettings, Standing
from taskq.ports.registry import MOST_NAMES, Order, WorkerCommand, WorkerInfo, WorkerRegistry, WorkerState
from taskq.ports.results import Finished, ResultStore
from taskq.ports.scheduler import Change, Committed, DueSchedules, ScheduleEntry, Scheduler
from taskq.ports.search import Counted, EndedQuery, Found, Key, Place, Search, Values
from taskq.ports.tenants import TenantLoad, TenantPage, Tenants

__all__ = [
    "DOCUMENT_LIMIT",
    "MOST_NAMES",
    "MOST_RECORDS",
    "Annotations",
    "Backend",
    "BackendOptions",
    "Broker",
    "CancelStatus",
    "Capability",
    "Change",
    "Clock",
    "Committed",
    "Counted",
    "Damage",
    "Diagnosis",
    "Document",
    "DocumentPage",
    "Documents",
    "DueSchedules",
    "EndedQuery",
    "EnqueueStatus",
    "Enqueued",
    "Entry",
    "ErasableBackend",
    "Event",
    "EventBus",
    "Extension",
    "Fetched",
    "FigureRow",
    "Fill",
    "Finding",
    "FindingStatus",
    "Finished",
    "FlowPage",
    "Flows",
    "Found",
    "GateState",
    "Inspector",
    "Journal",
    "Key",
    "Left",
    "Maintenance",
    "MemberPage",
    "MetricsStore",
    "NewFlow",
    "Order",
    "Overrides",
    "Page",
    "Parent",
    "Place",
    "QueueConfig",
    "QueueControl",
    "QueueSettings",
    "Quota",
    "Reaped",
    "RedriveStatus",
    "Redriven",
    "ResultStore",
    "ScheduleEntry",
    "Scheduler",
    "Search",
    "SettleStatus",
    "Settled",
    "Standing",
    "SystemClock",
    "TaskQuery",
    "TenantLoad",
    "TenantPage",
    "Tenants",
    "Values",
    "WorkerCommand",
    "WorkerInfo",
    "WorkerRegistry",
    "WorkerState",
]
