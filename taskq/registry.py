"""The tasks of an application by name; names are looked up here and never imported from data."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from taskq.errors import ConfigError, TaskNotRegistered
from taskq.task import Task

_SCRIPTS = ("__main__", "__mp_main__")


class TaskRegistry:
    """The tasks of one application."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._loads: dict[str, _Load | None] = {}
        self._own: dict[str, Callable[[], Task[..., Any]]] = {}

    def add_own(self, name: str, task: Callable[[], Task[..., Any]]) -> None:
        """Register a task of taskq's own, which workers find and nobody is shown, made when it is asked for."""
        self._own[name] = task

    def add(self, task: Task[..., Any]) -> None:
        """Register a task.

        The task of a module that is loaded again (`importlib.reload`, a child process that imports the script of its
        worker, a function typed anew in a session) takes the place of its predecessor.

        Raises:
            ConfigError: another function has that name already, or it is that of a task of taskq's own.
        """
        if task.name in self._own:
            raise ConfigError(f"{task.name!r} is a task of taskq's own: give yours another with @app.task(name=…)")
        other = self._tasks.get(task.name)
        if other is not None and other.function is not task.function:
            self._check_is_reload(other, task)
        self._tasks[task.name] = task
        self._loads[task.name] = _load(task.function)

    def _check_is_reload(self, before: Task[..., Any], after: Task[..., Any]) -> None:
        first, second = _origin(before.function), _origin(after.function)
        if first != second:
            raise ConfigError(
                f"two functions want the task name {after.name!r}: {'.'.join(first)} and {'.'.join(second)}; "
                "give one of them another with @app.task(name=…)"
            )
        load = _load(after.function)
        if load is not None and load.is_same(self._loads[after.name]):
            raise ConfigError(
                f"two functions want the task name {after.name!r}: {'.'.join(first)} was made twice, in a factory, a "
                "loop or two places of its module; give each a name of its own with @app.task(name=…)"
            )

    def find(self, name: str) -> Task[..., Any] | None:
        """The task of that name, None where there is none."""
        task = self._tasks.get(name)
        if task is None and name in self._own:
            return self._own[name]()
        return task

    def get(self, name: str) -> Task[..., Any]:
        """The task of that name.

        Raises:
            TaskNotRegistered: there is none; the message names the nearest.
        """
        task = self.find(name)
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
    """The name by which a module can be imported, also for the one that runs as a script.

    A child process runs the script of its parent again, as `__mp_main__`.
    """
    if module not in _SCRIPTS:
        return module
    main = sys.modules[module]
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


class _Load(NamedTuple):
    """One execution of a module: it has a new spec each time it is loaded; one that runs as a script has none."""

    module: str
    spec: ModuleSpec | None
    file: str

    def is_same(self, other: _Load | None) -> bool:
        # Two specs of one module may well be equal.
        return other is not None and self[::2] == other[::2] and self.spec is other.spec


def _load(function: Callable[..., Any]) -> _Load | None:
    """The load of its module that a function comes from, None where it may be made as often as one likes."""
    module = sys.modules.get(function.__module__)
    if module is None or not hasattr(module, "__file__"):  # an interactive session
        return None
    code = getattr(inspect.unwrap(function), "__code__", None)
    return _Load(function.__module__, module.__spec__, getattr(code, "co_filename", ""))


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    return importable_module(function.__module__), function.__qualname__
