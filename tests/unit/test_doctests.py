"""The examples in the docstrings of what users import run; and every part of it has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import taskq
import taskq.configuration
import taskq.contrib
import taskq.outbound
import taskq.runtime
from taskq import App, Middleware, Task, TaskContext, TaskHandle, errors
from taskq.config import Settings, WorkerOptions
from taskq.dead_letters import DeadLetters
from taskq.queues import Queues
from taskq.task import AsyncTask

MODULES = [
    module.name
    for package in (taskq, taskq.configuration, taskq.contrib, taskq.outbound, taskq.runtime)
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if not module.ispkg and module.name != "taskq.__main__"
]
CLASSES: tuple[type[Any], ...] = (
    App,
    Task,
    TaskHandle,
    TaskContext,
    Middleware,
    Settings,
    WorkerOptions,
    DeadLetters,
    Queues,
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


def public() -> Iterator[tuple[str, str]]:
    """Every method that a user may call, with its docstring."""
    for kind in CLASSES:
        yield kind.__name__, kind.__doc__ or ""
        for name, value in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(value):
                yield f"{kind.__name__}.{name}", value.__doc__ or ""


@pytest.mark.parametrize(("name", "text"), [pytest.param(*each, id=each[0]) for each in public()])
def test_each_part_has_an_example(name: str, text: str) -> None:
    assert ">>> " in text, name


def test_an_async_task_s_methods_refer_to_those_of_a_task() -> None:
    for name, value in vars(AsyncTask).items():
        if inspect.isfunction(value):
            assert value.__doc__ == f"See Task.{name}."


def test_the_signals_that_a_task_raises_have_examples() -> None:
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.TaskSignal) and kind is not errors.TaskSignal:
            assert ">>> " in (kind.__doc__ or ""), kind
