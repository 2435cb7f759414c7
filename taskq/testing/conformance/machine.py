"""The model-based test: random commands, one by one and at once, to a backend and to the model, which must agree."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from copy import deepcopy
from itertools import permutations
from typing import Any, ClassVar, Protocol, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from taskq.domain.message import Delivery
from taskq.testing.conformance import commands as do
from taskq.testing.conformance.agreement import agree, distinct
from taskq.testing.conformance.bench import LONG, SILENCE, Hooks
from taskq.testing.conformance.drawn import (
    PLAIN,
    QUEUES,
    ends,
    enqueues,
    fetches,
    repeats,
    settles,
    singles,
    upkeep,
    words,
)
from taskq.testing.conformance.kit import FreshBackend
from taskq.testing.conformance.model import QueueModel
from taskq.testing.conformance.remembered import Command, Memory, Step
from taskq.testing.conformance.soundness import unsound

Answer = TypeVar("Answer")

_QUICK = {Phase.explicit, Phase.reuse, Phase.generate}
MOST_TASKS = 14


class Settings(Hooks, Protocol):
    """What the machine asks of the class that runs the tests."""

    @property
    def examples(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def shrinks(self) -> bool: ...


class _Driver(RuleBasedStateMachine):
    """One store and the models that explain all that it has answered: one, unless commands went out at once."""

    kit: ClassVar[Settings]
    fresh_backend: ClassVar[FreshBackend]

    def __init__(self) -> None:
        super().__init__()
        self.models = [QueueModel()]
        self.runner = asyncio.Runner()
        self.opened = type(self).fresh_backend()
        backend = self.ask(self.opened.__aenter__())
        self.memory = Memory(backend, self.kit.tick / 50)
        self.moment = 0.001 if self.memory.is_virtual else self.kit.tick / 50
        self.origin: float | None = None
        self.log: list[str] = []

    def teardown(self) -> None:
        """Close the store, which must be sound after all that."""
        try:
            found = self.ask(unsound(self.memory.backend))
            assert not found, "\n".join([*map(str, found), "Sent:", *self.log])
        finally:
            self.ask(self.opened.__aexit__(None, None, None))
            self.runner.close()

    def send(self, drawn: Sequence[Command]) -> None:
        """Send commands, all at once, and keep the models that explain the answers."""
        self.pass_time(self.moment)
        self.memory.live = self.live()
        self.memory.are_many = len(drawn) > 1
        self.log.append(" at once with ".join(map(str, drawn)))
        steps = [step for command in drawn if (step := command.bind(self.memory))]
        self.clear_up(steps)
        answers = self.ask(_gather(steps))
        candidates = [
            (model if len(steps) < 2 else deepcopy(model), order)
            for model in self.models
            for order in permutations(range(len(steps)))
        ]
        self.models = [model for model, _ in candidates]
        orders = {id(model): order for model, order in candidates}

        def explain(model: QueueModel) -> None:
            model.instant += 1
            for n in orders[id(model)]:
                model.step += 1
                steps[n].explain(model, answers[n])

        self.believe(explain)
        for step in steps if len(steps) > 1 else []:
            if step.is_said_again:
                self.follow(step)
        if self.memory.must_lapse:
            self.pass_time(3 * self.moment)
            self.memory.must_lapse = False

    def live(self) -> list[Delivery]:
        """The runs that may still write, as far as is known."""
        return [delivery for delivery in self.memory.deliveries if self.models[0].annotated(delivery)]

    def provide_task(self) -> None:
        """See to it that there is a task to claim, unless there are many that wait for something else."""
        if len(self.memory.messages) < MOST_TASKS and not self.models[0].has_work():
            self.send([do.Enqueue(QUEUES[0], PLAIN)])

    def provide_run(self) -> None:
        """See to it that there is a run that may write, if there is a task to claim."""
        if not self.live():
            self.provide_task()
            self.send([do.Fetch("worker-1", QUEUES, 1, LONG)])

    def clear_up(self, steps: Sequence[Step]) -> None:
        """End what has expired and make ready what is due, unless the one command does so by itself."""
        promotes = steps[0].promotes if len(steps) == 1 else frozenset()
        if any(model.has_expired() for model in self.models):
            self.follow(do.Upkeep("expire").bind(self.memory))
        if any(not model.due_queues() <= promotes - model.paused for model in self.models):
            self.follow(do.Upkeep("promote").bind(self.memory))

    def follow(self, step: Step | None) -> None:
        """Send one command between two others, in an instant of its own by the count and by the store's clock."""
        assert step is not None
        [answer] = self.ask(_gather([step]))

        def explain(model: QueueModel) -> None:
            model.instant += 1
            model.step += 1
            step.explain(model, answer)

        self.believe(explain)
        self.pass_time(self.moment)

    def believe(self, look: Any) -> None:
        """Drop the models that cannot explain what was seen; one must be left."""
        kept: list[QueueModel] = []
        first: AssertionError | None = None
        for model in self.models:
            try:
                look(model)
            except AssertionError as error:
                first = first or error
            else:
                kept.append(model)
        if first is not None and not kept:
            # Hypothesis tells the steps too, unless they happen to go well when it does them again.
            first.add_note("\n".join(["Sent until then:", *self.log]))
            raise first
        self.models = distinct(kept)

    def pass_time(self, seconds: float) -> None:
        """Let time pass in the store and in the models."""
        self.ask(self.kit.pass_time(self.memory.backend, seconds))
        for model in self.models:
            model.now += seconds

    def ask(self, command: Coroutine[Any, Any, Answer]) -> Answer:
        """The answer of the store, in the machine's own loop."""
        return self.runner.run(command)


class QueueMachine(_Driver):
    """What may be done, and what must agree after each step.

    What is drawn must not depend on what the store has answered: commands that were sent at once are answered
    now in this order and now in that.
    """

    @rule(command=enqueues)
    def enqueue(self, command: Command) -> None:
        """New messages."""
        if len(self.memory.messages) < MOST_TASKS:
            self.send([command])

    @rule(command=fetches)
    def fetch(self, command: Command) -> None:
        """A new claim, of a new task where there is no other."""
        self.provide_task()
        self.send([command])

    @rule(command=ends)
    def end(self, command: Command) -> None:
        """The verdict on a run that may still write."""
        self.provide_run()
        self.send([command])

    @rule(command=settles)
    def settle(self, command: Command) -> None:
        """Verdicts on old and new runs."""
        self.send([command])

    @rule(command=words)
    def speak(self, command: Command) -> None:
        """What is said of a run."""
        self.provide_run()
        self.send([command])

    @rule(command=repeats)
    def repeat(self, command: Command) -> None:
        """What was said before, or starts something anew."""
        self.send([command])

    @rule(command=upkeep)
    def maintain(self, command: Command) -> None:
        """What keeps the store tidy."""
        self.send([command])

    @precondition(lambda self: self.memory.is_virtual)
    @rule(seconds=st.sampled_from([1.0, 1.0, 10.0, 10.0, 100.0, 1000.0, 100_000.0]))
    def let_time_pass(self, seconds: float) -> None:
        """Turn the store's clock."""
        self.pass_time(seconds)

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0, 1000.0]))
    def lose_leases(self, seconds: float) -> None:
        """Take away what has lapsed, at the least the lease of a new claim."""
        self.provide_task()
        self.send([do.Fetch("worker-2", QUEUES, 1, 0.5)])
        if self.memory.is_virtual:
            self.pass_time(seconds)
        self.send([do.Reap(SILENCE)])

    @rule(commands=st.lists(singles, min_size=2, max_size=3))
    def at_once(self, commands: list[Command]) -> None:
        """Several commands at once: some order of them must explain all answers.

        While more than one order explains those before, they go out one after the other: the models would multiply.
        """
        self.provide_task()
        self.provide_run()
        # A worker claims once at a time.
        claims = {command.worker: command for command in commands if isinstance(command, do.Fetch)}
        others = [command for command in commands if not isinstance(command, do.Fetch)]
        commands = [*claims.values(), *others]
        # A size is kept exactly by those who come one after the other.
        first = self.models[0]
        may_be_at_once = len(self.models) == 1 and not first.sizes and not first.quota_of("tenant").unfinished
        for together in [commands] if may_be_at_once else [[command] for command in commands]:
            self.send(together)

    @invariant()
    def counts_agree(self) -> None:
        """The store counts as the model does."""
        found = self.ask(self.memory.backend.inspector.counts())
        counts = {name: dict(states) for name, states in found.items() if states}
        self.believe(lambda model: _same(counts, model.counts()))

    @invariant()
    def loads_agree(self) -> None:
        """The store counts what a tenant has as the model does."""
        [load] = self.ask(self.memory.backend.tenants.loads(["tenant"]))
        self.believe(lambda model: _same(load.unfinished, len(model.of_tenant("tenant"))))

    @invariant()
    def records_agree(self) -> None:
        """The store has of each task what the model has."""
        ids = [message.id for message in self.memory.messages]
        records = self.ask(self.memory.backend.inspector.get_many(ids))
        if self.origin is None and self.memory.is_virtual:
            known = [(record, self.models[0].tasks.get(record.id)) for record in records if record]
            self.origin = next((r.created_at.timestamp() - t.created_at for r, t in known if t), None)

        def look(model: QueueModel) -> None:
            for id, record in zip(ids, records, strict=True):
                agree(record, model.tasks.get(id), self.origin)

        self.believe(look)


async def _gather(steps: Sequence[Step]) -> list[Any]:
    return await asyncio.gather(*(step.send() for step in steps))


def _same(found: Any, expected: Any) -> None:
    assert found == expected


def run_machine(kit: Settings, fresh_backend: FreshBackend) -> None:
    """Run the machine, each example on a fresh backend.

    Arguments:
        kit: how time passes, and how many examples of how many steps to run.
        fresh_backend: opens a backend on an empty namespace.
    """
    machine = type("QueueMachine", (QueueMachine,), {"kit": kit, "fresh_backend": staticmethod(fresh_backend)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=kit.examples,
            stateful_step_count=kit.steps,
            deadline=None,
            phases=[phase for phase in Phase if phase in _QUICK or kit.shrinks],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
