"""What blocks, in a thread of its own: the default executor of the loop is that of user tasks, who may fill it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")


async def aside(name: str, call: Callable[[], R]) -> R:
    """Call something in a thread that holds up no end of the process; whoever waits for it may be cancelled.

    Arguments:
        name: of the thread.
        call: goes on to its end, whoever waits; who calls sees to it that there are not many.

    >>> asyncio.run(aside("taskq-example", threading.current_thread)).name
    'taskq-example'
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[R] = loop.create_future()

    def tell(result: R | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits for it
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=work, name=name, daemon=True).start()
    return await done
