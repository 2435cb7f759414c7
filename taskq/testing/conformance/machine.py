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

from taskq.domain.limits import Slots
from taskq.domain.message import Delivery, Priority
from taskq.domain.outcome import Bury, Cancel, Complete, Crash, Fail, Release, Retry, Settlement, Snooze
from taskq.domain.record import Failure
from taskq.domain.unique import UniqueKey, Until
from taskq.domain.workflow import OnParentFailure
from taskq.testing.conformance import commands as do
from taskq.testing.conformance.agreement import agree, distinct
from taskq.testing.conformance.bench import LONG, SILENCE, Hooks
from taskq.testing.conformance.kit import FreshBackend
from taskq.testing.conformance.model import QueueModel
from taskq.testing.conformance.remembered import Choice, Command, Memory, Step
from taskq.testing.conformance.soundness import unsound

Answer = TypeVar("Answer")

QUEUES = ("images", "mail")
_QUICK = {Phase.explicit, Phase.reuse, Phase.generate}
MOST_TASKS = 14

digests = st.sampled_from([None, None, "one", "another", ""])
# In the model everything happens at a whole second and a bit and ends at a half: nothing ends in the very moment in
# which it is looked at.
spans = st.sampled_from([0.5, 5.5, 60.5, LONG + 0.5])
queue = st.sampled_from(QUEUES)
recent = st.integers(0, 2) | st.integers(0, 15)
picks = st.lists(recent, min_size=1, max_size=3).map(tuple)
live = st.builds(Choice, recent, st.just(True), st.just(0), st.just(""))
forged = st.builds(Choice, recent, st.booleans(), st.sampled_from([0, 1, -1]), st.sampled_from(["", "nobody"]))
choices = live | live | forged
failures = st.builds(Failure, st.sampled_from(["ValueError", "OSError"]), st.just("no"))
verdicts: st.SearchStrategy[Settlement] = st.one_of(
    st.builds(Complete, st.sampled_from([b"null", b"1"])),
    st.builds(Retry, spans, failures),
    st.builds(Snooze, spans, st.none() | failures),
    st.just(Release()),
    st.builds(Bury, st.just("rejected"), failures),
    st.builds(Fail, st.just("exhausted"), failures),
    st.builds(Cancel, st.sampled_from(["", "by itself"])),
    st.builds(Crash, failures),
)
PLAIN = {"delay": None, "expires": None, "retention": LONG, "max_lost_leases": 2, "limits": (), "unique": None}
plain = {
    "body": st.just(b""),
    "priority": st.sampled_from([Priority.NORMAL, Priority.HIGH]),
    "group": st.just(""),
    "delay": st.none(),
    "expires": st.none(),
    "max_lost_leases": st.just(2),
    "dead_letter": st.booleans(),
    "retention": st.just(LONG + 0.5),
    "digest": st.just(""),
    "limits": st.just(()),
    "unique": st.none(),
}
special = {
    "body": st.sampled_from([b"", b"\x00\xff"]),
    "priority": st.sampled_from(Priority),
    "group": st.sampled_from(["", "tenant"]),
    "delay": st.none() | spans,
    "expires": st.none() | spans,
    "max_lost_leases": st.integers(1, 3),
    "retention": spans,
    "digest": st.sampled_from(["", "one"]),
}
ONE, TWO = Slots("one", 1), Slots("two", 2)
bound = {
    "limits": st.sampled_from([(), (ONE,), (ONE,), (TWO,), (ONE, TWO)]),
    "unique": st.none() | st.sampled_from([UniqueKey("k"), UniqueKey("k", Until.START), UniqueKey("l", Until.START)]),
    "priority": st.sampled_from(Priority),
}
terms = (
    st.fixed_dictionaries(plain)
    | st.fixed_dictionaries({**plain, **special})
    | st.fixed_dictionaries({**plain, **bound})
    | st.fixed_dictionaries({**plain, **special, **bound})
)
queues = st.sampled_from([QUEUES, QUEUES[::-1], QUEUES[:1], QUEUES[1:]])
enqueues: st.SearchStrategy[Command] = st.builds(do.Enqueue, queue, terms, st.integers(1, 3))
fetches: st.SearchStrategy[Command] = st.builds(
    do.Fetch, st.sampled_from(["worker-1", "worker-2"]), queues, st.integers(1, 3), spans
)
ends: st.SearchStrategy[Command] = st.builds(do.Settle, st.tuples(st.tuples(live, verdicts)))
settles: st.SearchStrategy[Command] = st.builds(
    do.Settle, st.lists(st.tuples(choices, verdicts), min_size=1, max_size=3).map(tuple)
)
words: st.SearchStrategy[Command] = st.one_of(
    st.builds(do.Extend, st.lists(choices, min_size=1, max_size=3).map(tuple), spans),
    st.builds(do.CancelSome, picks, st.sampled_from(["", "enough"]), st.sampled_from([True, True, False])),
    st.builds(do.Annotate, choices, st.sampled_from(["progress", "checkpoint", "log"])),
)
repeats: st.SearchStrategy[Command] = st.one_of(
    st.builds(do.EnqueueAgain, recent, digests),
    st.builds(do.EnqueueChild, choices),
    st.builds(do.EnqueueBehind, picks, st.sampled_from(OnParentFailure), st.none() | spans),
    st.builds(do.EnqueueBehind, picks, st.sampled_from(OnParentFailure), st.none()),
    st.builds(do.FetchAgain, recent, spans),
    st.builds(do.Redrive, picks),
)
upkeep: st.SearchStrategy[Command] = st.one_of(
    st.builds(do.Reap, st.sampled_from([10.0, 100.0, SILENCE, SILENCE])),
    st.builds(do.Upkeep, st.sampled_from(["promote", "expire", "prune"])),
    st.builds(do.Upkeep, st.sampled_from(["promote", "expire", "prune"])),
    st.builds(do.Steer, st.sampled_from(["pause", "resume", "resume", "purge"]), queue),
    st.builds(do.Configure, queue, st.sampled_from([None, None, 1, 2]), st.sampled_from([None, None, None, 1, 3])),
)
single = st.tuples(recent)
# What is sent at once is about one task each: a batch is no one step. Maintenance is left out, for it may pass over
# what another command holds at that moment.
singles: st.SearchStrategy[Command] = st.one_of(
    fetches,
    ends,
    st.builds(do.Settle, st.tuples(st.tuples(choices, verdicts))),
    st.builds(do.Extend, st.tuples(choices), spans),
    st.builds(do.CancelSome, single, st.sampled_from(["", "enough"]), st.booleans()),
    st.builds(do.Annotate, choices, st.sampled_from(["progress", "checkpoint", "log"])),
    st.builds(do.EnqueueAgain, recent, digests),
    st.builds(do.EnqueueChild, choices),
    st.builds(do.EnqueueBehind, single, st.sampled_from(OnParentFailure), st.none()),
    st.builds(do.Redrive, single),
)


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
        may_be_at_once = len(self.models) == 1 and not self.models[0].sizes
        for together in [commands] if may_be_at_once else [[command] for command in commands]:
            self.send(together)

    @invariant()
    def counts_agree(self) -> None:
        """The store counts as the model does."""
        found = self.ask(self.memory.backend.inspector.counts())
        counts = {name: dict(states) for name, states in found.items() if states}
        self.believe(lambda model: _same(counts, model.counts()))

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
