"""From an exception to the line of the user's own code that it comes from, for messages of one line."""

from __future__ import annotations

import os
import traceback
from types import FrameType

_STANDARD_LIBRARY = os.path.dirname(os.__file__)
_OWN = frozenset({"taskq", "taskq_redis", "taskq_postgres", "taskq_memory", "importlib", "_frozen_importlib"})


def where_raised(error: BaseException) -> str:
    """The place of an error as "file:line", "" where none is known.

    It is that of the innermost frame that is neither taskq's nor importlib's, where there is one a frame of the
    program rather than of a library that it calls; for a SyntaxError the line that cannot be read.

    >>> where_raised(SyntaxError("invalid syntax", ("/srv/site.py", 7, 1, "def (:")))
    '/srv/site.py:7'
    """
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return f"{error.filename}:{error.lineno}"
    frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_foreign(frame)]
    inmost = [f"{frame.f_code.co_filename}:{line}" for frame, line in frames if not _is_of_library(frame)]
    inmost = inmost or [f"{frame.f_code.co_filename}:{line}" for frame, line in frames]
    return inmost[-1] if inmost else ""


def summary(error: BaseException) -> str:
    """An error with its type and its place; it never raises, whatever the error's own methods do.

    >>> summary(ValueError("no such host"))
    'ValueError: no such host'
    """
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:  # noqa: BLE001 - a hostile __str__
        text = ""
    where = where_raised(error)
    return type(error).__name__ + (f": {text}" if text else "") + (f" ({where})" if where else "")


def _is_foreign(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] not in _OWN and not frame.f_code.co_filename.startswith("<")


def _is_of_library(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return "-packages" in file or file.startswith(_STANDARD_LIBRARY)
