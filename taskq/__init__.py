"""taskq: a distributed task queue. Decorate a function, enqueue it from sync or async code, and workers run it."""

from taskq.app import App
from taskq.context import TaskContext, current
from taskq.domain.message import Priority
from taskq.domain.record import Attempt, Failure, Progress, TaskRecord
from taskq.domain.retry import Exponential, FailedRun, Fixed, Linear, NoRetry, RetryStrategy
from taskq.domain.state import TaskState
from taskq.errors import (
    BackendUnavailable,
    Cancel,
    CapabilityMissing,
    ConfigError,
    IdempotencyConflict,
    InvalidOption,
    InvalidPayload,
    LeaseLost,
    NotApplied,
    OutcomeUnknown,
    PayloadTooLarge,
    QueueFull,
    Reject,
    ResultTimeout,
    Retry,
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
    WouldBlock,
)
from taskq.handle import TaskHandle
from taskq.middleware import Middleware
from taskq.task import Task

__version__ = "0.1.0.dev0"

__all__ = [
    "App",
    "Attempt",
    "BackendUnavailable",
    "Cancel",
    "CapabilityMissing",
    "ConfigError",
    "Exponential",
    "FailedRun",
    "Failure",
    "Fixed",
    "IdempotencyConflict",
    "InvalidOption",
    "InvalidPayload",
    "LeaseLost",
    "Linear",
    "Middleware",
    "NoRetry",
    "NotApplied",
    "OutcomeUnknown",
    "PayloadTooLarge",
    "Priority",
    "Progress",
    "QueueFull",
    "Reject",
    "ResultTimeout",
    "Retry",
    "RetryStrategy",
    "SchemaMismatch",
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
    "UnsafeStore",
    "WouldBlock",
    "__version__",
    "current",
]
