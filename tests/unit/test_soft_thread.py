"""SoftTimeout in a thread: raised in the call that it is meant for, and never in what that thread does next."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from taskq import SoftTimeout
from taskq.runtime.soft_thread import Interruptible

ROUNDS = 2_000


class Busy:
    """Runs Python without end, as nothing in C does."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()

    def __call__(self) -> str:
        self.has_begun.set()
        while True:
            pass


def interrupted(function: Callable[[], str], has_begun: threading.Event) -> str:
    """What the function gives in a thread of its own that is interrupted once it has begun."""
    call = Interruptible()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call.run, function)
        has_begun.wait()
        assert call.interrupt()
        assert not call.interrupt()
        return future.result(30)


def test_it_is_raised_in_the_function() -> None:
    busy = Busy()
    with pytest.raises(SoftTimeout, match="the soft timeout of the task is over"):
        interrupted(busy, busy.has_begun)


def test_the_function_may_catch_it() -> None:
    busy = Busy()

    def code() -> str:
        try:
            return busy()
        except SoftTimeout:
            return "half of it"

    assert interrupted(code, busy.has_begun) == "half of it"


def test_one_that_is_over_is_not_interrupted() -> None:
    call = Interruptible()
    assert call.run(lambda: "done") == "done"
    assert not call.interrupt()


def test_one_whose_time_is_over_before_it_begins_does_not_begin() -> None:
    begun: list[None] = []
    call = Interruptible()
    assert not call.interrupt()
    with pytest.raises(SoftTimeout):
        call.run(lambda: begun.append(None))
    assert begun == []


def test_what_the_function_raises_comes_out() -> None:
    def fails() -> None:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        Interruptible().run(fails)


def test_one_that_is_sent_at_the_very_end_is_raised_before_the_next_call() -> None:
    class Late(Interruptible):
        """Is interrupted when its function has ended."""

        def _end(self) -> None:
            sent = threading.Thread(target=self.interrupt)
            sent.start()
            sent.join(30)
            super()._end()

    for _ in range(20):
        call = Late()
        with suppress(SoftTimeout):
            assert call.run(lambda: "done") == "done"
        assert not call.interrupt()
        _look_around()


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads that take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_a_race_at_the_end_never_reaches_the_next_call_of_the_thread(quick_switches: None) -> None:
    """Each call is told to end at about the time when it is interrupted; a leak would be raised in the lines after."""
    rounds = [Round() for _ in range(ROUNDS)]
    turn = threading.Barrier(2)
    leaks, ends = [], Counter[str]()

    def work() -> None:
        for number, each in enumerate(rounds):
            turn.wait(30)
            try:
                ends[each.call.run(each.wait)] += 1
            except SoftTimeout:
                ends["interrupted"] += 1
            try:
                _look_around()
            except SoftTimeout:
                leaks.append(number)

    worker = threading.Thread(target=work)
    worker.start()
    for number, each in enumerate(rounds):
        turn.wait(30)
        each.may_end = True
        _spin(number % 100)
        each.call.interrupt()
    worker.join(60)
    assert not worker.is_alive()
    assert leaks == []
    assert ends.total() == ROUNDS


class Round:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.call = Interruptible()
        self.may_end = False

    def wait(self) -> str:
        while not self.may_end:
            pass
        return "in time"


def _spin(turns: int) -> None:
    for _ in range(turns):
        pass


def _look_around() -> None:
    """Some bytecodes at which an exception that is on its way would be raised."""
    for _ in range(100):
        threading.get_ident()
