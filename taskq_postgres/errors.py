"""The one place where psycopg's errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from taskq.errors import BackendUnavailable, NotApplied, SchemaMismatch, TaskqError

RETRYABLE_STATES = ("08", "57P0", "53300", "40001", "40003", "40P01", "55P03", "25006")
"""SQLSTATEs, or their beginnings, after which the same call may succeed."""
ROLLED_BACK = ("53300", "40001", "40P01", "55P03", "25006", "57P03")
"""Of these, the ones that say that nothing was changed."""
CONTENTION = ("40001", "40P01", "55P03", "23505")
"""Those that come of two calls getting into each other's way; the connection is as good as before."""
MIGRATE = "run: taskq migrate"


class LostConnection(Exception):
    """What the retry loop catches: the call may be said again.

    Attributes:
        is_applied: whether the call may have been applied.
        is_suspect: whether the connection, and with it every other one, may be broken.
        detail: what happened, without anything secret.
    """

    def __init__(self, detail: str, *, is_applied: bool, is_suspect: bool = True) -> None:
        super().__init__(detail)
        self.detail = detail
        self.is_applied = is_applied
        self.is_suspect = is_suspect


class NoPartition(Exception):
    """The day of a finished task has no partition yet."""


@contextmanager
def map_errors(*, was_sent: bool = True) -> Iterator[None]:
    """Translate what psycopg raises inside.

    Arguments:
        was_sent: whether a command may have reached the server.

    Raises:
        LostConnection: saying it again may help.
        SchemaMismatch: a table or function is not there.
        BackendUnavailable: the server refuses us, and will again.
        NotApplied: a value is none that Postgres can hold, or the server has refused the statement: out of disk,
            cancelled, and the like. Whatever it refuses it has rolled back.
        TaskqError: anything else.
    """
    try:
        yield
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedFunction, errors.UndefinedColumn) as error:
        # What is missing is named by the server: no value is part of it.
        what = error.diag.message_primary or "something is not there"
        raise SchemaMismatch(f"the schema is missing or older than this release ({what}): {MIGRATE}") from error
    except errors.CheckViolation as error:
        if "no partition of relation" in str(error):
            raise NoPartition from error
        raise NotApplied(_describe(error)) from error
    except psycopg.DataError as error:
        raise NotApplied(_describe(error)) from error
    except errors.UniqueViolation as error:
        # Two who add the same row at once: the second finds it there.
        raise LostConnection(_describe(error), is_applied=False, is_suspect=False) from error
    except psycopg.Error as error:
        if is_retryable(error):
            state = error.sqlstate or ""
            raise LostConnection(
                _describe(error),
                is_applied=was_sent and not state.startswith(ROLLED_BACK),
                is_suspect=state not in CONTENTION,
            ) from error
        if isinstance(error, psycopg.OperationalError) and not was_sent:
            raise BackendUnavailable(_describe(error)) from error
        kind = TaskqError if error.sqlstate is None else NotApplied
        raise kind(_describe(error)) from error
    except UnicodeEncodeError as error:
        raise NotApplied(f"a text holds what Postgres cannot: {error.reason}") from error
    except OSError as error:
        raise LostConnection(type(error).__name__, is_applied=was_sent) from error


def is_retryable(error: psycopg.Error) -> bool:
    """Whether the same call may succeed when it is said again."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(RETRYABLE_STATES)


def _describe(error: psycopg.Error) -> str:
    """What the server said; a message of libpq names hosts and users, but never the password."""
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split())
