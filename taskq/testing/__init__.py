"""Tests for users of taskq and for those who write a backend; nothing here is imported by the product."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskq.testing.clock import VirtualClock
    from taskq.testing.harness import EnqueuedTask, EnqueuedTasks, Harness

__all__ = ["EnqueuedTask", "EnqueuedTasks", "Harness", "VirtualClock"]

_HOME = {"VirtualClock": "taskq.testing.clock"}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: pytest loads this package at each start."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "taskq.testing.harness")), name)
