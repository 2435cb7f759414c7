"""What a user may get wrong in a workflow: each mistake is refused with what is wrong, and where; nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq import (
    App,
    ConfigError,
    Debounce,
    DuplicateTask,
    InvalidOption,
    InvalidPayload,
    KeepLatest,
    ParentNotFound,
    PayloadTooLarge,
    QueueFull,
    RateLimit,
    TaskContext,
    TaskqError,
    Unique,
    Workflow,
    WouldBlock,
)
from taskq.flows.run import WorkflowRun
from taskq.ports import QueueConfig
from tests.unit.flows import Tasks, tasks_of
from tests.unit.support import count

UNKNOWN = "01980000-0000-7000-8000-000000000000"
OPTIONS_OF_ONE = (
    *({"idempotency_key": "k"}, {"connection": object()}, {"block": 3}),
    {"on_complete_url": "https://example.com/"},
)
OPTIONS = ("delay", "expires", "queue", "tenant", "idempotency_key", "unique_key", "priority", "timeout", "retry")


@pytest.fixture
def tasks(app: App) -> Tasks:
    """Tasks to build workflows of."""
    return tasks_of(app)


@pytest.mark.parametrize("what", [5, None, "add", [], lambda: 0])
def test_what_is_neither_a_signature_nor_a_workflow(tasks: Tasks, what: Any) -> None:
    with pytest.raises(ConfigError, match=r"a workflow is made of task\.s\(…\) and of workflows, not of "):
        Workflow().add(what)


def test_a_task_in_the_place_of_its_signature(tasks: Tasks) -> None:
    wrong: Any = tasks.add
    with pytest.raises(ConfigError, match=r"made of task\.s\(…\) and of workflows, not of Task\('add'\)"):
        Workflow().add(wrong)


@pytest.mark.parametrize(
    "wrong", [5, None, "add", UNKNOWN, [5], lambda flow, node: node.output, lambda flow, node: [node.output]]
)
def test_what_nothing_can_run_after(tasks: Tasks, wrong: Any) -> None:
    flow = Workflow()
    node = flow.add(tasks.add.s(1, 2))
    given = wrong(flow, node) if callable(wrong) else wrong
    with pytest.raises(ConfigError, match=r"after must be what Workflow\.add has given, one or several, not "):
        flow.add(tasks.add.s(1, 2), after=given)
    with pytest.raises(ConfigError, match=r"after must be what Workflow\.add has given, one or several, not "):
        node.after(given)
    assert len(flow) == 1


@pytest.mark.parametrize("policy", ["retry", 5, []])
def test_no_such_policy(tasks: Tasks, policy: Any) -> None:
    flow = Workflow()
    node = flow.add(tasks.add.s(1, 2))
    inner = Workflow("inner")
    inner.add(tasks.add.s(1, 2))
    for use in (
        lambda: flow.add(tasks.add.s(1, 2), on_parent_failure=policy),
        lambda: flow.add(inner, on_parent_failure=policy),
        lambda: node.after(node, on_parent_failure=policy),
        lambda: tasks.add.options(on_parent_failure=policy),
    ):
        with pytest.raises(InvalidOption, match="on_parent_failure must be cancel, run or fail, not "):
            use()
    assert len(flow) == 1


@pytest.mark.parametrize("name", ["", 5, "a\n", "x" * 256])
def test_no_name(tasks: Tasks, name: Any) -> None:
    with pytest.raises(InvalidOption, match="the name of a workflow must have 1 to 255 printable characters, not "):
        Workflow(name)
    with pytest.raises(InvalidOption, match="the name of a node must have 1 to 255 printable characters, not "):
        Workflow().add(tasks.add.s(1, 2), name=name)


def test_a_name_that_is_taken(tasks: Tasks) -> None:
    flow, inner = Workflow("outer"), Workflow("part")
    inner.add(tasks.add.s(1, 2))
    flow.add(tasks.add.s(1, 2), name="mine")
    flow.add(inner)
    for what, name in ((tasks.add.s(1, 2), "mine"), (tasks.add.s(1, 2), "part/add"), (inner, "mine"), (inner, "part")):
        with pytest.raises(InvalidOption, match=f"workflow outer: there is a task named '{name}' already"):
            flow.add(what, name=name)


@pytest.mark.parametrize("metadata", [5, "a", [1], {"a": object()}, {"a": float("nan")}, {"a": [float("inf")]}])
def test_no_metadata(metadata: Any) -> None:
    with pytest.raises(InvalidOption, match=r"workflow nightly: (the )?metadata (must be|cannot be w|holds N)"):
        Workflow("nightly", metadata=metadata)


async def test_one_without_tasks(tasks: Tasks) -> None:
    empty = Workflow("empty")
    with pytest.raises(ConfigError, match="workflow empty has no task: give it at least one"):
        await empty.aenqueue()
    with pytest.raises(ConfigError, match="workflow outer cannot take in workflow empty, which has no task"):
        Workflow("outer").add(empty)


def test_one_within_itself(tasks: Tasks) -> None:
    flow = Workflow("round")
    flow.add(tasks.add.s(1, 2))
    with pytest.raises(ConfigError, match="workflow round cannot take in itself"):
        flow.add(flow)
    assert len(flow) == 1


async def test_tasks_of_two_applications(app: App, tasks: Tasks) -> None:
    flow = Workflow("mixed")
    flow.add(tasks.add.s(1, 2))
    flow.add(tasks_of(App("memory://")).add.s(1, 2))
    with pytest.raises(ConfigError, match="workflow mixed has tasks of several applications"):
        await flow.aenqueue()
    assert await count(app) == 0


async def test_the_output_of_a_task_of_another_workflow(app: App, tasks: Tasks) -> None:
    other, flow = Workflow("other"), Workflow("mine")
    strange = other.add(tasks.add.s(1, 2), name="strange")
    flow.add(tasks.add.s(1, 2), after=strange)
    with pytest.raises(ConfigError, match="workflow mine: add waits for strange, of another workflow: add that one to"):
        await flow.aenqueue()
    inner = Workflow("inner")
    within = inner.add(tasks.add.s(1, 2), name="within")
    around = Workflow("around")
    around.add(inner)
    around.add(tasks.add.s(within.output, 2))
    with pytest.raises(ConfigError, match="workflow around: add waits for within, of another workflow"):
        await around.aenqueue()
    assert await count(app) == 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t, o: t.add.s(o, "x"), "parameter y: expected `int`, got `str`"),
        (lambda t, o: t.add.s("x", 1), "parameter x: expected `int`, got `str`"),
        (lambda t, o: t.add.s(o), "parameter y is missing"),
        (lambda t, o: t.add.s(o, z=1), "parameter y is missing"),
        (lambda t, o: t.add.s(o, 1, z=1), "parameter z is not in its signature"),
        (lambda t, o: t.add.s(1, 1, z=o), "parameter z is not in its signature"),
        (lambda t, o: t.add.s(1, 2, o), "takes 2 positional arguments, 3 were given"),
        (lambda t, o: t.add.s(1, x=o), "parameter x was given twice"),
        (lambda t, o: t.total.s([o, float("nan")]), "parameter numbers: NaN and infinity cannot be written as JSON"),
        (lambda t, o: t.take.s(n=[o, {"a": float("inf")}]), "parameter n: NaN and infinity cannot be written as JSON"),
        (lambda t, o: t.take.s(n=[o, object()]), "parameter n: cannot be written as JSON: a value of type object is"),
        (lambda t, o: t.take.s(n=[o, "\ud800"]), "parameter n: cannot be written as JSON: "),
        (lambda t, o: t.take.s(n={(1, 2): object(), "a": o}), "parameter n: cannot be written as JSON: "),
        (lambda t, o: t.take.s(n={o}), "parameter n: cannot be written as JSON: a value of type Output is not JSON"),
        (lambda t, o: t.take.s(n={o: 1}), "parameter n: cannot be written as JSON: a value of type Output is not JSON"),
        (lambda t, o: t.take.s(n=_nested(o, 70)), "parameter n: nested deeper than 64 levels, or referring to itself"),
        (lambda t, o: t.take.s(n=_nested(o, 50_000)), "parameter n: nested deeper than 64 levels, or referring to its"),
        (lambda t, o: t.take.s(n=_endless(o)), "parameter n: nested deeper than 64 levels, or referring to itself"),
        (lambda t, o: t.take.s(n=_endless(1)), "parameter n: nested deeper than 64 levels, or referring to itself"),
    ],
)
async def test_arguments_that_do_not_fit(app: App, tasks: Tasks, call: Callable[[Tasks, Any], Any], said: str) -> None:
    flow = Workflow("sums")
    first = flow.add(tasks.add.s(1, 2))
    flow.add(call(tasks, first.output), name="wrong")
    with pytest.raises(InvalidPayload) as caught:
        await flow.aenqueue()
    assert str(caught.value).startswith("workflow sums, wrong: ")
    assert said in str(caught.value)
    assert await count(app) == 0


async def test_the_parameter_at_fault_is_told(tasks: Tasks) -> None:
    flow = Workflow()
    flow.add(tasks.add.s(1, "x"))
    with pytest.raises(InvalidPayload) as caught:
        await flow.aenqueue()
    assert caught.value.parameter == "y"


async def test_what_the_worker_fills_in_is_no_argument(app: App, tasks: Tasks) -> None:
    @app.task(name="looks")
    def looks(ctx: TaskContext, x: int) -> None: ...

    flow = Workflow()
    flow.add(looks.s(1, ctx=flow.add(tasks.add.s(1, 2)).output))
    with pytest.raises(InvalidPayload, match="looks: parameter ctx is filled in by the worker"):
        await flow.aenqueue()


def test_a_node_in_the_place_of_its_output(tasks: Tasks) -> None:
    flow = Workflow()
    node = flow.add(tasks.add.s(1, 2), name="first")
    wrong: Any = node
    for signature in (tasks.add.s(wrong, 1), tasks.add.s(1, y=wrong)):
        with pytest.raises(ConfigError, match=r"add: an argument is the node 'first': give its \.output"):
            flow.add(signature)


async def test_arguments_that_take_too_much(app: App, tasks: Tasks) -> None:
    flow = Workflow()
    flow.add(tasks.take.s(flow.add(tasks.add.s(1, 2)).output, "x" * app.settings.max_payload))
    with pytest.raises(PayloadTooLarge):
        await flow.aenqueue()
    assert await count(app) == 0


@pytest.mark.parametrize("use", [lambda t, o: t.add.enqueue(o, 1), lambda t, o: t.take.enqueue([o])])
def test_an_output_is_no_argument_of_a_task_by_itself(tasks: Tasks, use: Callable[[Tasks, Any], Any]) -> None:
    output = Workflow().add(tasks.add.s(1, 2)).output
    with pytest.raises(InvalidPayload, match="Output"):
        use(tasks, output)


@pytest.mark.parametrize(
    "option",
    [
        "delay",
        "expires",
        "queue",
        "tenant",
        "idempotency_key",
        "unique_key",
        "priority",
        "timeout",
        "retry",
        "metadata",
        "depends_on",
        "encrypt",
    ],
)
def test_an_output_is_no_option(tasks: Tasks, option: Any) -> None:
    output = Workflow().add(tasks.add.s(1, 2)).output
    with pytest.raises(InvalidOption, match=rf"{option} must .*not Output\('add'\)"):
        tasks.add.s(1, 2).options(**{option: output})


async def test_an_output_within_an_option(tasks: Tasks) -> None:
    flow = Workflow()
    flow.add(tasks.add.options(metadata={"a": flow.add(tasks.add.s(1, 2)).output}).s(1, 2))
    with pytest.raises(InvalidPayload, match=r"add: the metadata cannot be written as JSON: .*Output"):
        await flow.aenqueue()


def test_no_such_option(tasks: Tasks) -> None:
    with pytest.raises(InvalidOption, match=r"add\.options\(\) has no option dealy"):
        tasks.add.s(1, 2).options(dealy=3)


@pytest.mark.parametrize("option", OPTIONS_OF_ONE)
async def test_options_that_would_not_be_kept(app: App, tasks: Tasks, option: dict[str, Any]) -> None:
    flow = Workflow("nightly")
    flow.add(tasks.add.options(**option).s(1, 2), name="mine")
    [name] = option
    with pytest.raises(InvalidOption, match=f"nightly, mine: the option {name} is for a task that is enqueued by"):
        await flow.aenqueue()
    assert await count(app) == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"unique": Unique(key="x")},
        {"unique": Unique(key=("y", "x.part"))},
        {"unique": Unique()},
        {"unique": Unique(key=lambda **given: given)},
        {"unique": KeepLatest(key="x")},
        {"rate_limit": RateLimit("5/s", key="x")},
    ],
)
async def test_an_output_in_a_key(app: App, tasks: Tasks, asked: dict[str, Any]) -> None:
    @app.task(name="limited", **asked)
    def limited(x: Any, y: int = 0) -> None: ...

    flow = Workflow("sums")
    flow.add(limited.s(flow.add(tasks.add.s(1, 2)).output))
    with pytest.raises(InvalidOption, match="sums, limited: limited: a key of its limits, or its unique key, is made"):
        await flow.aenqueue()
    assert await count(app) == 0


@pytest.mark.parametrize(
    "asked",
    [
        {"unique": Unique(key="y")},
        {"unique": KeepLatest()},
        {"unique": Debounce(5)},
        {"unique": Unique(key="x"), "unique_key": "mine"},
        {"rate_limit": (RateLimit("5/s"), RateLimit("5/m", key="y"), RateLimit("50/m", key="tenant"))},
    ],
)
async def test_an_output_beside_a_key(app: App, tasks: Tasks, asked: dict[str, Any]) -> None:
    unique_key = asked.pop("unique_key", None)

    @app.task(name="limited", **asked)
    def limited(x: int, y: int = 0) -> None: ...

    flow = Workflow()
    flow.add(limited.options(unique_key=unique_key).s(flow.add(tasks.add.s(1, 2)).output))
    assert (await (await flow.aenqueue()).aprogress()).total == 2


async def test_what_the_store_refuses_leaves_nothing(app: App, tasks: Tasks) -> None:
    @app.task(name="once", unique=Unique(key="x"))
    def once(x: int) -> None: ...

    backend = await app.backend()
    await backend.queues.configure("small", QueueConfig(max_size=1))
    await once.aenqueue(1)
    refused: list[tuple[Any, type[TaskqError]]] = [
        (once.s(1), DuplicateTask),
        (tasks.add.options(depends_on=UNKNOWN).s(1, 2), ParentNotFound),
        (tasks.add.options(queue="small").s(1, 2), QueueFull),
    ]
    for signature, error in refused:
        flow = Workflow()
        for number in range(250):  # several batches
            flow.add(tasks.add.s(number, 0))
        flow.add(tasks.add.options(queue="small").s(1, 2))
        flow.add(signature)
        with pytest.raises(error):
            await flow.aenqueue()
        assert await count(app) == 1
        assert (await backend.flows.list()).records == []


async def test_a_blocking_enqueue_in_a_loop(tasks: Tasks) -> None:
    flow = Workflow()
    flow.add(tasks.add.s(1, 2))
    with pytest.raises(WouldBlock, match=r"await workflow\.aenqueue\(\)"):
        flow.enqueue()


async def test_a_run_of_which_there_is_no_record(app: App) -> None:
    run = app.find_workflow(UNKNOWN)
    for look in (run.ainfo, run.astatus, run.aprogress, run.aresult, run.aretry, run.anodes, run.afailed):
        with pytest.raises(TaskqError, match=f"no record of workflow or batch {UNKNOWN}: it never existed, or its"):
            await look()
    assert await run.acancel() is False


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda run: run.aresult("soon"), "timeout must be a number of seconds or None, not 'soon'"),
        (lambda run: run.aresult(float("nan")), "timeout must be a number of seconds or None, not nan"),
        (lambda run: run.acancel(5), "the reason of a cancel must be text, not 5"),
        (lambda run: run.afailed("x"), "limit must be a whole number from 1, not 'x'"),
        (lambda run: run.afailed(0), "limit must be a whole number from 1, not 0"),
    ],
)
async def test_what_cannot_be_asked_of_a_run(tasks: Tasks, use: Callable[[WorkflowRun[Any]], Any], said: str) -> None:
    flow = Workflow()
    flow.add(tasks.add.s(1, 2))
    run = await flow.aenqueue()
    with pytest.raises(InvalidOption, match=said):
        await use(run)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def _endless(value: Any) -> list[Any]:
    items = [value]
    items += [items, items]
    return items
