"""Keeps what is logged while a task runs with the task's record, for tasks that want it (`capture_logs=`)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache

from taskq.context import current_or_none
from taskq.runtime.run import Run

LONGEST = 2000
"""Characters of a message that are kept."""


class Capture(logging.Handler):
    """Hands records to the runs during which they are logged, in whatever thread, loop or child process.

    Arguments:
        find: the run of a task's id that this worker holds.
    """

    def __init__(self, find: Callable[[str], Run | None]) -> None:
        super().__init__()
        self._find = find

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        run = self._run_of(record)
        if run is None or run.lines is None or record.levelno < _level(run.task.declared.capture_logs):
            return
        try:
            line = _line(record, run.delivery.attempt)
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)
            return
        run.lines.append(line)

    def _run_of(self, record: logging.LogRecord) -> Run | None:
        """The run during which something is logged; a child process says which in the record."""
        context = current_or_none()
        if context is not None:
            run = self._find(context.id)
            return run if run is not None and run.delivery.fence == context.fence else None
        id = getattr(record, "taskq", {}).get("task_id")
        # What the worker itself says of a task is not said by the task.
        return None if id is None or record.name.startswith("taskq.worker") else self._find(id)


@cache
def _level(name: str | None) -> int:
    return logging.getLevelNamesMapping()[name or "DEBUG"]


def _line(record: logging.LogRecord, attempt: int) -> str:
    """A record as a line of JSON: never with the locals of a traceback."""
    message = record.getMessage()
    fields = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "attempt": attempt,
        "message": message if len(message) <= LONGEST else f"{message[: LONGEST - 1]}…",
    }
    return json.dumps(fields)


@contextmanager
def capturing(find: Callable[[str], Run | None], is_wanted: bool) -> Iterator[None]:
    """Keep what is logged meanwhile.

    Arguments:
        find: the run of a task's id that this worker holds.
        is_wanted: whether any task wants it; where none does, nothing is put in the way of the log.
    """
    if not is_wanted:
        yield
        return
    handler = Capture(find)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
