"""SoftTimeout in a child process, in this one: raised once in what it is meant for, and not afterwards."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from taskq import SoftTimeout
from taskq.runtime.soft_child import SIGNAL, Interrupted

NEVER = 3600.0
LONG = 30.0
"""Seconds after which a test has failed."""


@pytest.fixture(autouse=True)
def no_handler() -> Iterator[None]:
    """The signal means afterwards what it meant before."""
    before = signal.getsignal(SIGNAL)
    yield
    signal.signal(SIGNAL, before)


def test_it_interrupts_what_waits_in_the_system() -> None:
    ours, theirs = os.pipe()
    with pytest.raises(SoftTimeout), Interrupted(0.01):
        os.read(ours, 1)
    os.close(ours)
    os.close(theirs)


def test_it_may_be_caught_and_comes_once() -> None:
    with Interrupted(NEVER) as soft:
        with pytest.raises(SoftTimeout):
            _interrupt(soft)
        _interrupt(soft)


def test_a_signal_of_somebody_else_is_none() -> None:
    with Interrupted(NEVER):
        os.kill(os.getpid(), SIGNAL)


def test_one_that_comes_late_does_not_reach_what_follows() -> None:
    with Interrupted(NEVER) as first:
        pass
    with Interrupted(NEVER):
        _interrupt(first)
    _interrupt(first)


def test_without_a_time_nothing_is_touched() -> None:
    before = signal.getsignal(SIGNAL)
    with Interrupted(None):
        assert signal.getsignal(SIGNAL) is before


def _interrupt(soft: Interrupted) -> None:
    """Say from another thread that the time is over, and wait until that has been heard, if it is to be."""
    thread = threading.Thread(target=soft.interrupt)
    thread.start()
    thread.join(LONG)
