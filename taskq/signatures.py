"""Calls that are written down to be made later, as parts of a workflow or of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

R_co = TypeVar("R_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Signature(Generic[R_co]):
    """A task with arguments: `task.s(…)`.

    Attributes:
        task: the Task that is called, with its options.
        args, kwargs: its arguments; outputs of other tasks may be among them.
        is_immutable: whether a chain leaves the arguments as they are.
    """

    task: Any
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None
    is_immutable: bool = False

    def options(self, **options: Any) -> Signature[R_co]:
        """The same with options of the call; see taskq.options.CallOptions.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.s(1, 2).options(queue="slow").task.queue
        'slow'
        """
        return replace(self, task=self.task.options(**options))

    def behind(self, value: object) -> Signature[R_co]:
        """The same with one argument more, before the others."""
        return replace(self, args=(value, *self.args))

    def __repr__(self) -> str:
        named = [f"{name}={value!r}" for name, value in (self.kwargs or {}).items()]
        return f"{self.task.name}.s({', '.join([*map(repr, self.args), *named])})"


class Signable(Generic[R_co]):
    """What gives signatures: a task."""

    def s(self, /, *args: Any, **kwargs: Any) -> Signature[R_co]:
        """This call, written down: for workflows, chains, groups, chords and the callbacks of batches.

        Arguments:
            args, kwargs: as the function takes them; in a chain the result of the one before is put before them.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.s(1, y=2)
        add.s(1, y=2)
        """
        return Signature(self, args, kwargs)

    def si(self, /, *args: Any, **kwargs: Any) -> Signature[R_co]:
        """The same, to whose arguments a chain adds nothing.

        >>> from taskq import App
        >>> @App("memory://").task(name="add")
        ... def add(x: int, y: int) -> int:
        ...     return x + y
        >>> add.si(1, 2).is_immutable
        True
        """
        return replace(self.s(*args, **kwargs), is_immutable=True)
