"""From an exception to what is stored of it: text, cut to a bound, with a fingerprint."""

from __future__ import annotations

import asyncio
import inspect
import os
import traceback
from dataclasses import replace
from types import TracebackType
from typing import Any

from taskq.domain.fingerprint import fingerprint, place
from taskq.domain.outcome import CancelledRun, Failed, Outcome, Rejected, Snoozed, Succeeded
from taskq.domain.record import DeadReason, Failure
from taskq.errors import (
    Cancel,
    InvalidPayload,
    KeyMissing,
    LeaseLost,
    Reject,
    Retry,
    Snooze,
    Tampered,
    TaskSignal,
    Throttled,
)
from taskq.runtime.opening import unknown_key
from taskq.task import Task

MAX_MESSAGE = 10_000
MAX_TRACEBACK = 50_000
MAX_FRAMES = 50
"""The innermost frames are kept of each traceback: the one that raised is the last."""
TOP_FRAMES = 3
_STANDARD_LIBRARY = os.path.dirname(os.__file__).replace("\\", "/") + "/"
_COMPREHENSIONS = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})
"""They have had no frame of their own since Python 3.12."""
NOTE = 60
"""Characters that the note takes which stands for what was cut."""


def describe(error: BaseException, skip: str = "taskq/runtime/") -> Failure:
    """An exception as text; it never raises, whatever the exception's own methods do.

    Arguments:
        error: what was raised.
        skip: frames of files with this in their path are the worker's own, and left out at the top.
    """
    kind = type(error).__qualname__
    message = _text(error)
    try:
        shown = _own_frames(error.__traceback__, skip)
        lines = traceback.TracebackException(type(error), error, shown, limit=-MAX_FRAMES, compact=True).format()
        trace = "".join(lines)
    except Exception:  # noqa: BLE001 - a hostile __str__ or __cause__ must not hide the failure
        trace = ""
    name = fingerprint(kind, message, _places(error.__traceback__, skip))
    return Failure(kind, _cut(message, MAX_MESSAGE), _cut(trace, MAX_TRACEBACK), name)


def outcome_of(task: Task[..., Any], error: BaseException) -> Outcome:
    """What an exception that left the task's function means."""
    match error:
        case Retry():
            return Failed(describe(error), retry_after=error.delay)
        case Snooze():
            return Snoozed(error.delay)
        case Throttled():
            return Snoozed(error.retry_after, throttled=True)
        case Reject():
            return Rejected(describe(error))
        case Cancel():
            return CancelledRun(_cut(error.reason, MAX_MESSAGE))
        case asyncio.CancelledError():
            said = replace(describe(error), message="the task cancelled itself: a CancelledError left its function")
            return Failed(said, retryable=task.declared.should_retry(error))
        case TaskSignal() | LeaseLost():
            return Failed(describe(error))
        case _:
            return Failed(describe(error), retryable=task.declared.should_retry(error))


def result_of(task: Task[..., Any], value: object) -> Outcome:
    """What a value that the task's function returned means: a failure where it cannot be written as JSON.

    It is not retried: the function did its work, and would only do it again.
    """
    if inspect.iscoroutine(value):
        value.close()
        text = f"{task.name}: it returned a coroutine, which nobody awaits: only an `async def` is awaited"
        return Failed(Failure("InvalidResult", text), retryable=False)
    try:
        return Succeeded(task.codec.encode_result(value))
    except InvalidPayload as error:
        return Failed(Failure("InvalidResult", _cut(str(error), MAX_MESSAGE)), retryable=False)


def undecodable(error: Exception) -> Outcome:
    """A payload that the task cannot take: no attempt can succeed, but where the key for it is not here."""
    if isinstance(error, KeyMissing):
        return unknown_key(error)
    reason = DeadReason.TAMPERED if isinstance(error, Tampered) else DeadReason.UNDECODABLE
    kind = "InvalidPayload" if isinstance(error, InvalidPayload) else type(error).__name__
    # The user's own code has a traceback worth keeping: an upcast that raised.
    trace = "" if error.__cause__ is None else describe(error.__cause__, skip="taskq/versions.py").traceback
    return Rejected(Failure(kind, _cut(str(error), MAX_MESSAGE), trace), reason)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a hostile __str__
        return "(its message cannot be shown)"


def _cut(text: str, limit: int) -> str:
    """The text as what can be stored, without its middle where it is too long: a traceback's end says the most."""
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(clean) <= limit:
        return clean
    kept = (limit - NOTE) // 2
    return f"{clean[:kept]}\n… ({len(clean) - 2 * kept:,} characters left out) …\n{clean[-kept:]}"


def _own_frames(trace: TracebackType | None, skip: str) -> TracebackType | None:
    """The traceback from the first frame that is the user's own."""
    shown = trace
    while shown is not None and skip in shown.tb_frame.f_code.co_filename.replace("\\", "/"):
        shown = shown.tb_next
    return shown or trace


def _places(trace: TracebackType | None, skip: str) -> tuple[str, ...]:
    """Where the innermost frames are, but for those that come and go with releases of Python and of taskq."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(trace)]
    kept = [code for code in codes if _is_lasting(code.co_filename.replace("\\", "/"), code.co_name, skip)]
    return tuple(place(code.co_filename, code.co_name) for code in kept[-TOP_FRAMES:])


def _is_lasting(file: str, function: str, skip: str) -> bool:
    is_library = file.startswith(_STANDARD_LIBRARY) and "-packages/" not in file
    return not (is_library or skip in file or file.startswith("<frozen ") or function in _COMPREHENSIONS)
