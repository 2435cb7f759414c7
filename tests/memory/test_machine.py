"""Runs of the machine that random commands found, each told again step by step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from taskq.ports import Backend, BackendOptions
from taskq.testing.clock import VirtualClock
from taskq.testing.conformance import BackendConformance
from taskq.testing.conformance import commands as do
from taskq.testing.conformance.drawn import PLAIN
from taskq.testing.conformance.machine import QueueMachine
from taskq_memory import create_backend
from taskq_memory.backend import MemoryBackend


class Kit(BackendConformance):
    """A store whose clock is turned by hand."""

    clock = VirtualClock()

    async def pass_time(self, backend: Backend, seconds: float) -> None:
        self.clock.advance(seconds)


@contextmanager
def machine() -> Iterator[QueueMachine]:
    def fresh() -> Backend:
        return create_backend("memory://", BackendOptions(clock=Kit.clock))

    attributes = {"kit": Kit(), "fresh_backend": staticmethod(fresh)}
    started = type("Machine", (QueueMachine,), attributes)()
    try:
        yield started
    finally:
        started.teardown()


def claim(lease: float = 900.0) -> do.Fetch:
    return do.Fetch("worker-1", ("mail",), 1, lease)


def test_what_becomes_due_between_two_commands_comes_after_what_the_first_made_ready() -> None:
    with machine() as run:
        run.send([do.Enqueue("mail", {**PLAIN, "delay": 0.5})])
        run.send([do.Enqueue("mail", PLAIN, 2)])
        run.let_time_pass(1.0)
        run.send([do.Upkeep("expire")])
        for _ in range(3):
            run.send([claim()])


def test_what_becomes_due_between_two_commands_was_ready_before_what_the_second_makes_ready() -> None:
    with machine() as run:
        run.send([do.Enqueue("mail", {**PLAIN, "delay": 0.5})])
        run.let_time_pass(1.0)
        run.send([do.Enqueue("mail", PLAIN)])
        for lease in (60.5, 0.5):
            run.send([claim(lease)])
        run.let_time_pass(100.0)
        for _ in range(2):
            run.send([do.Reap(1000.0)])
        for _ in range(2):
            run.send([claim()])


def test_a_store_that_is_not_sound_after_its_run_fails() -> None:
    with pytest.raises(AssertionError, match=r"places\.missing"), machine() as run:
        run.send([do.Enqueue("mail", PLAIN)])
        backend = run.memory.backend
        assert isinstance(backend, MemoryBackend)
        backend._store.lanes.clear()
