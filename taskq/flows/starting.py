"""Tasks that start a workflow: a schedule fires one, or whoever knows its name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Unpack, cast, overload

from taskq import blocking
from taskq.config import shown
from taskq.context import TaskContext, current_or_none
from taskq.errors import ConfigError
from taskq.flows.run import WorkflowRun
from taskq.flows.view import checked_id
from taskq.flows.workflow import Workflow
from taskq.options import TaskKeywords
from taskq.registry import default_name
from taskq.submitter import StoreSubmitter
from taskq.task import AsyncTask, Task

P = ParamSpec("P")
_Coming = Coroutine[Any, Any, Workflow]


class WorkflowMethods:
    """What an application does with workflows."""

    _submitter: StoreSubmitter
    task: Callable[..., Any]
    """See App.task."""

    @overload
    def workflow(self, function: Callable[Concatenate[TaskContext, P], _Coming], /) -> AsyncTask[P, str]: ...
    @overload
    def workflow(self, function: Callable[P, _Coming], /) -> AsyncTask[P, str]: ...
    @overload
    def workflow(self, function: Callable[Concatenate[TaskContext, P], Workflow], /) -> Task[P, str]: ...
    @overload
    def workflow(self, function: Callable[P, Workflow], /) -> Task[P, str]: ...
    @overload
    def workflow(self, /, *, name: str | None = None, **options: Unpack[TaskKeywords]) -> _Decorator: ...
    def workflow(self, function: Any = None, /, *, name: str | None = None, **options: Any) -> Any:
        """Register a function that gives a workflow as a task that starts one; used with or without options.

        The result of the task is the id of the run. However often the task is tried, it starts one run.

        Arguments:
            function: a `def` or an `async def` that gives a Workflow; a parameter annotated with TaskContext is filled
                in by the worker.
            name, options: of the task; see App.task.

        Returns:
            A Task, to be enqueued or given a schedule like any other; with options a decorator that gives one.

        Raises:
            InvalidOption, ConfigError: see App.task.

        >>> from taskq import App, Workflow, chain
        >>> app = App("memory://")
        >>> @app.task(name="add")
        ... def add(x: int, y: int) -> int: ...
        >>> @app.workflow(name="sums")
        ... def sums(first: int) -> Workflow:
        ...     return chain(add.s(first, 1), add.s(2))
        >>> sums.enqueue(5).info().name
        'sums'
        """

        def register(function: Callable[..., Any]) -> Task[..., str]:
            if not inspect.isroutine(function):
                how = "options are given by name, @app.workflow(name=…)"
                raise ConfigError(f"{shown(function)} is no function that gives a workflow; {how}")
            known_as = default_name(function) if name is None else name
            return cast("Task[..., str]", self.task(name=known_as, **options)(starts(function, known_as)))

        return register if function is None else register(function)

    def find_workflow(self, id: str) -> WorkflowRun[Any]:
        """The run of a workflow of an id; nothing is asked of the store.

        Raises:
            InvalidOption: that is no id.

        >>> from taskq import App
        >>> App("memory://").find_workflow("01980000-0000-7000-8000-000000000000")
        WorkflowRun('01980000-0000-7000-8000-000000000000')
        """
        return WorkflowRun(checked_id(id, "workflow"), self._submitter.stores)


class _Decorator:
    """What `@app.workflow(…)` with options gives: typed by what it is put on."""

    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], _Coming], /) -> AsyncTask[P, str]: ...
    @overload
    def __call__(self, function: Callable[P, _Coming], /) -> AsyncTask[P, str]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], Workflow], /) -> Task[P, str]: ...
    @overload
    def __call__(self, function: Callable[P, Workflow], /) -> Task[P, str]: ...
    def __call__(self, function: Any, /) -> Any:
        raise NotImplementedError  # pragma: no cover - for type checkers only


def starts(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function that enqueues the workflow which another gives, and gives the id of its run.

    Within its own task the run is that of the task, which starts it once, however often it is tried. Another task that
    calls it may do so several times, and starts one each time.

    Arguments:
        function: a `def` or an `async def` that gives a Workflow.
        name: that of the task.

    >>> from taskq import App, chain
    >>> @App("memory://").task(name="add")
    ... def add(x: int, y: int) -> int: ...
    >>> len(starts(lambda x: chain(add.s(x, 1)), "sums")(2))
    36
    """

    @functools.wraps(function)
    async def start(*args: Any, **kwargs: Any) -> str:
        return await _enqueued(function, name, await function(*args, **kwargs))

    @functools.wraps(function)
    def start_here(*args: Any, **kwargs: Any) -> str:
        enqueuing = _enqueued(function, name, function(*args, **kwargs))
        return blocking.run(enqueuing, f"{function.__name__}()", f"asyncio.to_thread({function.__name__}, …)")

    wrapper = start if inspect.iscoroutinefunction(function) else start_here
    wrapper.__annotations__ = {**function.__annotations__, "return": str}
    return wrapper


async def _enqueued(function: Callable[..., Any], name: str, given: object) -> str:
    if not isinstance(given, Workflow):
        raise ConfigError(f"{function.__name__} is declared to give a workflow, and has given {shown(given)}")
    context = current_or_none()
    if context is None or context.name != name:
        return (await given.aenqueue()).id
    return (await given.astart_for(context.id, context.origin)).id
