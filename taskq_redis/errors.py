"""The one place where what Redis and the network say becomes an error of taskq."""

from __future__ import annotations

from enum import Enum, auto

from hiredis import ReplyError

from taskq.errors import BackendUnavailable, ConfigError, OutcomeUnknown, TaskqError, UnsafeStore


class ConnectionLost(Exception):
    """A connection could not be made, or broke."""

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        """Whether the server may have seen the command."""


class Verdict(Enum):
    """What to do about an error reply."""

    WAIT = auto()
    """The server cannot serve now, and did nothing: try again after a pause."""
    ELSEWHERE = auto()
    """Another node serves this slot: find it, and try again."""
    ASK = auto()
    """Another node serves this key while its slot is being moved."""
    LOAD = auto()
    """The node does not know the script."""
    GIVE_UP = auto()
    """Trying again would not help."""


_VERDICTS = {
    "LOADING": Verdict.WAIT,
    "BUSY": Verdict.WAIT,
    "TRYAGAIN": Verdict.WAIT,
    "CLUSTERDOWN": Verdict.WAIT,
    "MISCONF": Verdict.WAIT,
    "NOREPLICAS": Verdict.WAIT,
    "READONLY": Verdict.ELSEWHERE,
    "MASTERDOWN": Verdict.ELSEWHERE,
    "UNBLOCKED": Verdict.ELSEWHERE,
    "MOVED": Verdict.ELSEWHERE,
    "ASK": Verdict.ASK,
    "NOSCRIPT": Verdict.LOAD,
}


def code_of(error: ReplyError) -> str:
    """The first word of an error reply.

    >>> code_of(ReplyError("MOVED 17 10.0.0.1:6379"))
    'MOVED'
    """
    return str(error).partition(" ")[0]


def judge(error: ReplyError) -> Verdict:
    """What to do about an error reply.

    >>> judge(ReplyError("LOADING Redis is loading the dataset in memory")).name
    'WAIT'
    """
    return _VERDICTS.get(code_of(error), Verdict.GIVE_UP)


def map_error(error: Exception, what: str, *, was_sent: bool) -> TaskqError:
    """The error of taskq for one of Redis or of the network.

    Arguments:
        error: a ReplyError, a ConnectionLost or an OSError.
        what: the operation and the node, for the message.
        was_sent: whether a try of this operation may have been applied though its reply was lost.
    """
    if isinstance(error, ReplyError):
        return _map_reply(error, what, was_sent=was_sent)
    if was_sent:
        return OutcomeUnknown(f"{what}: the reply was lost ({error}); it may or may not have been applied")
    return BackendUnavailable(f"{what}: Redis could not be reached ({error})")


def regressed(what: str) -> UnsafeStore:
    """The error of a store that is not the one that was opened."""
    return UnsafeStore(
        f"{what}: the store is not the one that this process opened: it came back empty, or from an older copy. "
        "Nothing is claimed until somebody has looked; to go on with the store as it is, restart the workers"
    )


def _map_reply(error: ReplyError, what: str, *, was_sent: bool) -> TaskqError:
    code = code_of(error)
    if code == "TASKQEPOCH":
        return regressed(what)
    if code == "OOM" and not was_sent:
        return BackendUnavailable(
            f"{what}: Redis is at its maxmemory and takes no new task; nothing was stored. "
            "Raise maxmemory, or let the workers drain the queues"
        )
    if code in ("NOAUTH", "WRONGPASS", "NOPERM"):
        return ConfigError(f"{what}: Redis refuses this user ({code}): look at the user name and password of the URL")
    if judge(error) is not Verdict.GIVE_UP and not was_sent:
        return BackendUnavailable(f"{what}: Redis cannot serve now ({error})")
    return OutcomeUnknown(f"{what}: Redis answered with an error ({error})")
