"""taskq: a distributed task queue. Decorate a function, enqueue it from sync or async code, and workers run it."""

from taskq.app import App
from taskq.context import TaskContext, current
from taskq.domain.flow import FlowState
from taskq.domain.message import Priority
from taskq.domain.record import Attempt, Failure, Progress, TaskRecord
from taskq.domain.retry import Exponential, FailedRun, Fixed, Linear, NoRetry, RetryStrategy
from taskq.domain.state import TaskState
from taskq.domain.timing import At, Cron, Every
from taskq.errors import (
    BackendUnavailable,
    Cancel,
    CapabilityMissing,
    ConfigError,
    CyclicDependency,
    DuplicateTask,
    FlowOver,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    NotApplied,
    OutcomeUnknown,
    ParentNotFound,
    PayloadTooLarge,
    QueueFull,
    QuotaExceeded,
    Reject,
    ResultTimeout,
    Retry,
    ScheduleNotFound,
    SchemaMismatch,
    Snooze,
    SoftTimeout,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    TaskNotRegistered,
    TaskqError,
    Throttled,
    UnsafeStore,
    WorkflowFailed,
    WouldBlock,
)
from taskq.flows.batch import Batch
from taskq.flows.canvas import chain, chord, group
from taskq.flows.nodes import Node
from taskq.flows.run import WorkflowRun
from taskq.flows.view import FlowProgress
from taskq.flows.workflow import Workflow
from taskq.handle import TaskHandle
from taskq.limits import Breaker, Concurrency, Debounce, KeepLatest, RateLimit, Unique
from taskq.middleware import Middleware
from taskq.signatures import Signature
from taskq.task import Task

__version__ = "0.1.0.dev0"

__all__ = [
    "App",
    "At",
    "Attempt",
    "BackendUnavailable",
    "Batch",
    "Breaker",
    "Cancel",
    "CapabilityMissing",
    "Concurrency",
    "ConfigError",
    "Cron",
    "CyclicDependency",
    "Debounce",
    "DuplicateTask",
    "Every",
    "Exponential",
    "FailedRun",
    "Failure",
    "Fixed",
    "FlowOver",
    "FlowProgress",
    "FlowState",
    "IdempotencyConflict",
    "InvalidOption",
    "InvalidPayload",
    "KeepLatest",
    "LeaseLost",
    "Linear",
    "Middleware",
    "NoRetry",
    "Node",
    "NotApplied",
    "OutcomeUnknown",
    "ParentNotFound",
    "PayloadTooLarge",
    "Priority",
    "Progress",
    "QueueFull",
    "QuotaExceeded",
    "RateLimit",
    "Reject",
    "ResultTimeout",
    "Retry",
    "RetryStrategy",
    "ScheduleNotFound",
    "SchemaMismatch",
    "Signature",
    "Snooze",
    "SoftTimeout",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskNotFound",
    "TaskNotRegistered",
    "TaskRecord",
    "TaskState",
    "TaskqError",
    "Throttled",
    "Unique",
    "UnsafeStore",
    "Workflow",
    "WorkflowFailed",
    "WorkflowRun",
    "WouldBlock",
    "__version__",
    "chain",
    "chord",
    "current",
    "group",
]
