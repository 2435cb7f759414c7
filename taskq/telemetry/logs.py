"""Logs: one JSON object or one line a record, with task and worker ids, and never a payload."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal, TextIO

from taskq.context import current_or_none

Format = Literal["json", "console"]


def configure(format: Format = "console", level: str = "INFO", stream: TextIO | None = None) -> None:
    """Log taskq's records, and warnings of everything else, to a stream.

    Arguments:
        format: "json" for machines, "console" for people.
        level: the least level of taskq's own records.
        stream: standard error, if not given.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else ConsoleFormatter())
    handler.addFilter(TaskFields())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("taskq").setLevel(level.upper())


class TaskFields(logging.Filter):
    """Has each record that is logged while a task runs, by whatever logger, say which task it is.

    For handlers of your own: `handler.addFilter(TaskFields())`; the fields are in `record.taskq`.

    >>> record = logging.LogRecord("shop", logging.INFO, "", 0, "sold out", None, None)
    >>> TaskFields().filter(record), hasattr(record, "taskq")
    (True, False)
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """See logging.Filter."""
        context = current_or_none()
        if context is not None:
            record.taskq = {**context.log_fields, **getattr(record, "taskq", {})}
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line, in ASCII: whatever counts as the end of a line elsewhere cannot leave its string."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "taskq", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class ConsoleFormatter(logging.Formatter):
    """One line for a person, and a traceback below it; control characters are shown, not obeyed."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        extra = getattr(record, "taskq", {})
        ids = " ".join(f"{key}={extra[key]}" for key in ("task_id", "worker_id") if key in extra)
        message = record.getMessage() + (f"  [{ids}]" if ids else "")
        lines = [f"{time} {record.levelname:7} {printable(message)}"]
        if record.exc_info:
            # Indented, so that no line of an exception's message passes for a record.
            lines += [f"    {printable(text)}" for text in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


def printable(text: str) -> str:
    r"""The text with each control character shown as its escape.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    if text.isprintable():  # nearly always, and much faster than to look at each character
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
