"""The soft timeout of a task on the loop: SoftTimeout, thrown into its function at the await where it stands.

What wakes a coroutine that waits is the end of the future it waits for, so that future is cancelled, as `Task.cancel`
does, and the CancelledError that comes of it is exchanged on its way in. It must stay a CancelledError all the same:
asyncio's locks, queues, task groups and `wait_for`, and the drivers of databases, put themselves in order only at one.
So what is thrown is both. Nobody's count of cancellations (`Task.cancelling`) is touched: whoever else cancels
meanwhile, such as an `asyncio.timeout` inside of the task or the worker, goes first, and finds nothing changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar

from taskq.errors import SoftTimeout

R = TypeVar("R")


class CancelledSoftly(SoftTimeout, asyncio.CancelledError):
    """What a coroutine meets at its await; it leaves the task's function as a plain SoftTimeout."""


class SoftTimed(Generic[R]):
    """A coroutine that meets SoftTimeout once, when its time is over.

    Arguments:
        coroutine: of the task's function, not begun.
        seconds: until then, from the beginning of the await.
        is_wanted: asked then; False where the run was told to end already.

    Await it in a task of asyncio, which gives what the coroutine returns, and raises what it raises.

    >>> async def gives_up() -> str:
    ...     try:
    ...         await asyncio.Event().wait()
    ...     except SoftTimeout:
    ...         return "half of it"
    >>> async def example() -> str:
    ...     return await SoftTimed(gives_up(), 0.001)
    >>> asyncio.run(example())
    'half of it'
    """

    def __init__(
        self, coroutine: Coroutine[Any, Any, R], seconds: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> None:
        self._coroutine = coroutine
        self._seconds = seconds
        self._is_wanted = is_wanted
        self._is_due = False
        """Whether the time is over, and the coroutine has not met that yet."""
        self._awaited: Any = None
        """What the coroutine waits for, None while it runs or only lets others run."""
        self._cancelled: Any = None
        """What was cancelled for it to wake up."""
        self._cancellings = 0
        """How many others had asked the task to cancel when the coroutine began to wait."""
        self._task: asyncio.Task[Any]

    def __await__(self) -> Generator[Any, Any, R]:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        timer = asyncio.get_running_loop().call_later(self._seconds, self.interrupt)
        try:
            return (yield from self._drive())
        except CancelledSoftly as thrown:
            raise _plain(thrown) from thrown.__cause__
        except BaseExceptionGroup as group:
            # Of a task group some releases of Python let it out in a group of its own, others by itself.
            rest = group.split(CancelledSoftly)[1]
            if rest is not None:
                raise
            raise SoftTimeout() from group
        finally:
            timer.cancel()

    def _drive(self) -> Generator[Any, Any, R]:
        """Pass on what the coroutine waits for and what comes of it, but for what `_exchanged` makes of that."""
        sent, thrown = None, None
        while True:
            self._awaited = None
            try:
                self._awaited = self._coroutine.send(sent) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration as end:
                result: R = end.value
                return result
            self._cancellings = self._task.cancelling()
            if self._is_due:
                self._wake_up()
            sent, thrown = None, None
            try:
                sent = yield self._awaited
            except GeneratorExit:
                self._coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's
                thrown = error
            thrown = self._exchanged(thrown)

    def interrupt(self) -> None:
        """The time is over."""
        self._is_due = True
        self._wake_up()

    def _wake_up(self) -> None:
        """Cancel what the coroutine waits for.

        What is done already is let through, since its result would be lost (a lock that was handed over, an item out
        of a queue), and so is what others have cancelled and tidies up: the next await has its turn.
        """
        self._is_due, self._cancelled = self._is_wanted(), None
        if self._is_due and self._awaited is not None and not self._is_cancelled_by_others() and self._awaited.cancel():
            self._cancelled = self._awaited

    def _is_cancelled_by_others(self) -> bool:
        """Whether somebody has asked the task to cancel since the coroutine began to wait."""
        return self._task.cancelling() > self._cancellings

    def _exchanged(self, thrown: BaseException | None) -> BaseException | None:
        """What the coroutine is to meet, given what it would meet by itself."""
        if not self._is_due:
            return thrown
        if thrown is None and self._awaited is None:  # it only let others run, and so loses nothing
            is_met = True
        else:
            is_ours = self._cancelled is not None and not self._is_cancelled_by_others()
            is_met = is_ours and isinstance(thrown, asyncio.CancelledError)
        if not is_met:
            return thrown
        self._is_due = False
        return CancelledSoftly()


def _plain(thrown: CancelledSoftly) -> SoftTimeout:
    """The same without the CancelledError in it, which the worker and middleware would take for one."""
    return SoftTimeout(*thrown.args).with_traceback(thrown.__traceback__)
