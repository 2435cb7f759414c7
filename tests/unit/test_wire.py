"""The words between a worker and its child processes."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from taskq import SoftTimeout
from taskq.assumed import Assumed
from taskq.domain.message import Delivery
from taskq.domain.outcome import VERSION, CancelledRun, Failed, Outcome, Rejected, Snoozed, Succeeded, Unknown
from taskq.domain.record import DeadReason, Failure, Progress
from taskq.runtime.soft_child import SIGNAL, Interrupted
from taskq.runtime.wire import (
    Assignment,
    Begun,
    Ended,
    Forwarder,
    Frames,
    Link,
    Logged,
    Progressed,
    Setup,
    ToChild,
    ToWorker,
    frame,
    to_child,
    to_worker,
)

FAILURE = Failure("ValueError", "no", "Traceback…", "0f")
OUTCOMES: list[Outcome] = [
    Succeeded(b'{"x":1}'),
    Failed(FAILURE),
    Failed(FAILURE, retryable=False, retry_after=5.0),
    Snoozed(2.5),
    Rejected(FAILURE),
    Rejected(FAILURE, DeadReason.UNDECODABLE),
    CancelledRun("enough"),
    Unknown(lack=VERSION, what="version 3"),
    Rejected(FAILURE, DeadReason.TAMPERED),
]
DELIVERY = Delivery("5b", "f", b"\x00", "default", 1, fence=3, attempt=2, lost_leases=0, worker="w", tenant="t")


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    [body] = Frames().feed(frame(Ended.of(outcome)))
    word = to_worker.decode(body)
    assert isinstance(word, Ended)
    assert word.outcome == outcome
    assert type(word.outcome) is type(outcome)


def test_words_come_back_as_they_were_however_they_are_cut() -> None:
    to_the_worker: list[ToWorker] = [Begun("5b", 3), Progressed("5b", 3, Progress(0.5, "half", b'{"n":1}'))]
    to_the_worker += [Logged("a.b", 20, "text", {"task_id": "5b"}, None)]
    to_the_child: list[ToChild] = [
        Setup(("a", "b"), (30, 20), "redis://h", Assumed(pool_size=7, variables={"TASKQ_CRYPTO__ACTIVE": "k"})),
        Assignment("m", "f", DELIVERY, b"[]", b"", 1.5),
    ]
    data = b"".join([*(frame(word) for word in to_the_worker), *(frame(word) for word in to_the_child)])
    for size in (1, 3, 7, len(data)):
        frames = Frames()
        bodies = [body for start in range(0, len(data), size) for body in frames.feed(data[start : start + size])]
        assert [to_worker.decode(body) for body in bodies[:3]] == to_the_worker
        assert [to_child.decode(body) for body in bodies[3:]] == to_the_child


def test_a_field_that_is_no_json_is_shown_as_text() -> None:
    [body] = Frames().feed(frame(Logged("a", 20, "text", {"what": object}, None)))
    word = to_worker.decode(body)
    assert isinstance(word, Logged)
    assert "object" in word.fields["what"]


# ------------------------------------------------------------ what may be left out


@pytest.fixture
def line() -> Iterator[tuple[Link, socket.socket]]:
    """The child's end of a line, and the worker's, who hears nothing before the test reads it."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        ours.settimeout(30.0)
        yield Link(theirs), ours


def heard(ours: socket.socket) -> Iterator[ToWorker]:
    """What has been said, up to the end of a run."""
    frames = Frames()
    while data := ours.recv(1 << 16):
        for word in map(to_worker.decode, frames.feed(data)):
            yield word
            if isinstance(word, Ended):
                return


def progressed(percent: int, data: bytes = b"{}") -> Progressed:
    return Progressed("5b", 1, Progress(percent / 100, "", data))


@pytest.mark.parametrize("size", [10, 1_000_000], ids=["small", "larger than the line"])
def test_an_offer_never_waits_and_the_newest_arrives_whole(line: tuple[Link, socket.socket], size: int) -> None:
    link, ours = line
    link.send(Begun("5b", 1))
    filling = b"x" * size
    offers = [progressed(number % 100, b"%d %b" % (number, filling)) for number in range(max(4, 100_000 // size))]
    for offer in offers:
        link.offer(offer)
    ending = threading.Thread(target=link.send, args=(Ended.of(Succeeded()),))
    ending.start()
    begun, *between, ended = heard(ours)
    ending.join()
    assert begun == Begun("5b", 1)
    assert isinstance(ended, Ended)
    assert between == [offer for offer in offers if offer in between]
    assert between[-1] == offers[-1]
    assert len(between) < len(offers)


def test_an_offer_goes_out_as_soon_as_there_is_room_again(line: tuple[Link, socket.socket]) -> None:
    link, ours = line
    large, newest = progressed(1, b"x" * 1_000_000), progressed(2)
    link.offer(large)
    ours.setblocking(False)
    frames, found = Frames(), list[ToWorker]()
    while not found:
        with contextlib.suppress(BlockingIOError):
            while True:
                found += map(to_worker.decode, frames.feed(ours.recv(1 << 16)))
        link.offer(newest)
    assert found == [large, newest]


def test_an_offer_does_not_wait_for_another_thread_that_speaks(line: tuple[Link, socket.socket]) -> None:
    link, ours = line
    with link._lock:
        link.offer(progressed(1))
        link.offer(progressed(2))
    link.send(Ended.of(Succeeded()))
    assert list(heard(ours)) == [progressed(2), Ended.of(Succeeded())]


def test_an_offer_to_a_worker_that_is_gone_is_no_error(line: tuple[Link, socket.socket]) -> None:
    link, ours = line
    ours.close()
    link.offer(progressed(1))
    link.send(Begun("5b", 1))


# ------------------------------------------------------------ under a soft timeout


@pytest.fixture
def no_handler() -> Iterator[None]:
    """The signal means afterwards what it meant before."""
    before = signal.getsignal(SIGNAL)
    yield
    signal.signal(SIGNAL, before)


SAYS: dict[str, Callable[[Link, str], None]] = {
    "a word": lambda link, text: link.send(Logged("a", logging.INFO, text, {}, None)),
    "a record": lambda link, text: Forwarder(link).emit(logging.LogRecord("a", logging.INFO, "", 0, text, None, None)),
}


@pytest.mark.usefixtures("no_handler")
@pytest.mark.parametrize("kind", SAYS)
def test_a_soft_timeout_breaks_no_word_in_the_middle_and_comes_after_it(
    line: tuple[Link, socket.socket], kind: str
) -> None:
    link, ours = line
    found: list[ToWorker] = []

    def interrupt_and_hear(soft: Interrupted) -> None:
        ours.recv(1, socket.MSG_PEEK)  # the word has been begun, and is larger than the line
        soft.interrupt()
        found.extend(heard(ours))

    with pytest.raises(SoftTimeout), Interrupted(3600.0) as soft:
        hearing = threading.Thread(target=interrupt_and_hear, args=(soft,), daemon=True)
        hearing.start()
        SAYS[kind](link, "x" * 1_000_000)
    link.send(Ended.of(Succeeded()))
    hearing.join(30.0)
    assert found == [Logged("a", logging.INFO, "x" * 1_000_000, {}, None), Ended.of(Succeeded())]


class InterruptedLine:
    """A line at which the time is over right after something was sent."""

    def __init__(self, line: socket.socket, soft: Interrupted) -> None:
        self._line = line
        self._soft = soft

    def send(self, data: bytes, flags: int) -> int:
        sent = self._line.send(data, flags)
        self._soft.interrupt()
        return sent


@pytest.mark.usefixtures("no_handler")
def test_a_soft_timeout_does_not_keep_an_offer_from_being_noted_as_sent(
    line: tuple[Link, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    link, ours = line
    with pytest.raises(SoftTimeout), Interrupted(3600.0) as soft, monkeypatch.context() as patched:
        patched.setattr(link, "_line", InterruptedLine(link._line, soft))
        link.offer(progressed(1))
    link.send(Ended.of(Succeeded()))
    assert list(heard(ours)) == [progressed(1), Ended.of(Succeeded())]
