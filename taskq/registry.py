"""The tasks of an application by name; names are looked up here and never imported from data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from taskq.errors import ConfigError, TaskNotRegistered
from taskq.task import Task


class TaskRegistry:
    """The tasks of one application."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}

    def add(self, task: Task[..., Any]) -> None:
        """Register a task.

        Raises:
            ConfigError: another function has that name already.
        """
        other = self._tasks.get(task.name)
        if other is not None and _origin(other.function) != _origin(task.function):
            raise ConfigError(
                f"two functions want the task name {task.name!r}: {'.'.join(_origin(other.function))} and "
                f"{'.'.join(_origin(task.function))}; give one of them another with @app.task(name=…)"
            )
        self._tasks[task.name] = task

    def find(self, name: str) -> Task[..., Any] | None:
        """The task of that name, None where there is none."""
        return self._tasks.get(name)

    def get(self, name: str) -> Task[..., Any]:
        """The task of that name.

        Raises:
            TaskNotRegistered: there is none; the message names the nearest.
        """
        task = self._tasks.get(name)
        if task is None:
            import difflib

            near = difflib.get_close_matches(name, self._tasks, 1)
            raise TaskNotRegistered(name, near[0] if near else None)
        return task

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(self._tasks.values())

    def __len__(self) -> int:
        return len(self._tasks)


def default_name(function: Callable[..., Any]) -> str:
    """The importable name of a function: "package.module.function", also when its module runs as a script."""
    if not hasattr(function, "__qualname__"):
        raise ConfigError(f"{function!r} has no name of its own: give it one with @app.task(name=…)")
    qualified = function.__qualname__.replace("<locals>.", "").replace("<lambda>", "lambda")
    return f"{importable_module(function.__module__)}.{qualified}"


def importable_module(module: str) -> str:
    """The name by which a module can be imported, also for the one that runs as a script."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    if main.__spec__ is not None:
        return main.__spec__.name
    return _name_of_script(main)


def _name_of_script(main: ModuleType) -> str:
    file = getattr(main, "__file__", None)
    if file is None:  # an interactive session
        return "__main__"
    from pathlib import Path

    path = Path(file)
    parts = [path.stem]
    folder = path.resolve().parent
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    return importable_module(function.__module__), function.__qualname__
