"""Building workflows: names, edges, workflows within workflows, and what a store is told of them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskq import App, CyclicDependency, FlowState, TaskNotFound, Workflow, group
from taskq.domain.workflow import Edge, OnParentFailure
from taskq.flows.run import NodeRecord
from taskq.testing.clock import VirtualClock
from tests.unit.flows import Tasks, graph_of, parents_in, payloads_of, tasks_of
from tests.unit.support import count, headers_of, payload_of


@pytest.fixture
def tasks(app: App) -> Tasks:
    """Tasks to build workflows of."""
    return tasks_of(app)


async def test_an_output_makes_an_edge_and_so_does_after(tasks: Tasks) -> None:
    flow = Workflow("sums")
    first = flow.add(tasks.add.s(1, 2), name="first")
    second = flow.add(tasks.add.s(first.output, y=first.output), name="second")
    third = flow.add(tasks.add.s(3, 4), after=second, name="third")
    flow.add(tasks.total.s([third.output, 1]), after=[first, second, third], name="last")
    flow.add(tasks.add.s(5, 6), name="beside").after(first, second)
    assert repr(flow) == "Workflow('sums', 5 tasks)"
    assert await graph_of(flow) == {
        "first": [],
        "second": ["first"],
        "third": ["second"],
        "last": ["first", "second", "third"],
        "beside": ["first", "second"],
    }


async def test_the_record_of_a_run(tasks: Tasks) -> None:
    flow = Workflow("sums", metadata={"by": "night"})
    flow.add(tasks.add.s(flow.add(tasks.add.s(1, 2)).output, 3))
    run = await flow.aenqueue()
    record = await run.ainfo()
    assert (record.id, record.kind, record.name, record.state) == (run.id, "workflow", "sums", FlowState.RUNNING)
    assert record.metadata == {"by": "night"}
    progress = await run.aprogress()
    assert (progress.total, progress.pending, progress.completed, progress.fraction) == (2, 2, 0, 0.0)
    assert repr(run) == f"WorkflowRun({run.id!r})"


async def test_each_policy_is_that_of_its_edge(tasks: Tasks) -> None:
    flow = Workflow()
    one, two = flow.add(tasks.add.s(1, 2), name="one"), flow.add(tasks.add.s(1, 2), name="two")
    flow.add(tasks.add.s(one.output, 0), after=two, on_parent_failure="run", name="run")
    flow.add(tasks.add.s(1, 2), name="mixed").after(one, on_parent_failure="fail").after(two)
    flow.add(tasks.add.s(one.output, 0), name="changed").after(one, on_parent_failure=OnParentFailure.RUN)
    policies = {node.name: [edge.on_failure.value for edge in node.record.parents] for node in await _nodes(flow)}
    assert policies == {
        "one": ["cancel"],
        "two": ["cancel"],
        "run": ["run", "run"],
        "mixed": ["fail", "cancel"],
        "changed": ["run"],
    }


async def test_a_signature_may_say_its_policy_itself(tasks: Tasks) -> None:
    """In a chain there is no other place for it."""
    flow = Workflow()
    one = flow.add(tasks.add.s(1, 2), name="one")
    tidy = tasks.add.options(on_parent_failure="run").s(3, 4)
    flow.add(tidy, after=one, name="said")
    flow.add(tidy, after=one, on_parent_failure="fail", name="overruled")
    policies = {node.name: [edge.on_failure.value for edge in node.record.parents] for node in await _nodes(flow)}
    assert policies == {"one": ["cancel"], "said": ["run"], "overruled": ["fail"]}


async def test_the_first_tasks_of_a_workflow_within_say_their_policies_themselves(tasks: Tasks) -> None:
    inner, flow = Workflow("inner"), Workflow()
    inner.add(tasks.add.options(on_parent_failure="run").s(3, 4), name="tidy")
    inner.add(tasks.add.s(3, 4), name="plain")
    one = flow.add(tasks.add.s(1, 2), name="one")
    flow.add(inner, after=one, name="said")
    flow.add(inner, after=one, on_parent_failure="fail", name="overruled")
    flow.add(inner, name="later").after(one)
    policies = {node.name: [edge.on_failure.value for edge in node.record.parents] for node in await _nodes(flow)}
    assert policies == {
        "one": ["cancel"],
        "said/tidy": ["run"],
        "said/plain": ["cancel"],
        "overruled/tidy": ["fail"],
        "overruled/plain": ["fail"],
        "later/tidy": ["run"],
        "later/plain": ["cancel"],
    }


async def test_who_waits_for_the_same_again_keeps_its_policy_unless_another_is_said(tasks: Tasks) -> None:
    flow, inner = Workflow(), Workflow("inner")
    one, two = flow.add(tasks.add.s(1, 2), name="one"), flow.add(tasks.add.s(1, 2), name="two")
    flow.add(tasks.add.s(1, 2), after=one, on_parent_failure="run", name="kept").after(one, two)
    said = flow.add(tasks.add.s(1, 2), after=one, on_parent_failure="run", name="said")
    said.after(one, two, on_parent_failure="cancel")
    inner.add(tasks.add.s(1, 2), after=one, on_parent_failure="run")
    flow.add(inner, after=[one, two])
    policies = {node.name: [edge.on_failure.value for edge in node.record.parents] for node in await _nodes(flow)}
    assert policies == {
        "one": ["cancel"],
        "two": ["cancel"],
        "kept": ["run", "cancel"],
        "said": ["cancel", "cancel"],
        "inner/add": ["run", "cancel"],
    }


async def test_names_are_those_of_the_tasks_with_a_number(tasks: Tasks) -> None:
    flow = Workflow()
    for name in (None, None, "add-3", None, "mine"):
        flow.add(tasks.add.s(1, 2), name=name)
    assert list(await graph_of(flow)) == ["add", "add-2", "add-3", "add-4", "mine"]


async def test_options_of_signatures_are_those_of_the_tasks(app: App, tasks: Tasks) -> None:
    flow = Workflow()
    signature = tasks.add.s(1, 2).options(queue="slow", priority="high", delay=timedelta(minutes=1))
    flow.add(signature.options(metadata={"a": 1}, timeout=7, tenant="acme", retention=50))
    [node] = await _nodes(flow)
    record, headers = node.record, headers_of(node.record)
    assert (record.queue, record.priority.name, record.tenant) == ("slow", "HIGH", "acme")
    assert (headers.metadata, headers.timeout, headers.node) == ({"a": 1}, 7, "add")


async def test_a_run_is_kept_as_long_as_what_is_kept_longest(app: App, clock: VirtualClock, tasks: Tasks) -> None:
    flow = Workflow()
    for retention in (0, 50, 20):
        flow.add(tasks.add.options(retention=retention).s(1, 2))
    run = await flow.aenqueue()
    await run.acancel()
    for seconds in (40, 20):
        assert await run.astatus() is FlowState.CANCELLED
        clock.advance(seconds)
        await (await app.backend()).maintenance.prune()
    with pytest.raises(TaskNotFound, match=f"no record of workflow or batch {run.id}: it never existed, or its"):
        await run.astatus()


async def test_one_workflow_has_many_runs(app: App, tasks: Tasks) -> None:
    flow = Workflow()
    first = flow.add(tasks.add.s(1, 2))
    runs = [await flow.aenqueue()]
    flow.add(tasks.add.s(first.output, 1))
    runs.append(await flow.aenqueue())
    assert [(await run.aprogress()).total for run in runs] == [1, 2]
    assert runs[0].id != runs[1].id
    assert await count(app) == 3


async def test_a_workflow_within_another(tasks: Tasks) -> None:
    inner = Workflow("inner")
    heads = [inner.add(tasks.add.s(n, n), name=f"head{n}") for n in range(2)]
    middle = inner.add(tasks.total.s([head.output for head in heads]), name="middle")
    for n in range(2):
        inner.add(tasks.add.s(middle.output, n), name=f"tail{n}")
    flow = Workflow("outer")
    before = flow.add(tasks.add.s(1, 2), name="before")
    node = flow.add(inner, after=before, on_parent_failure="fail")
    assert repr(node) == "Node('inner')"
    flow.add(tasks.add.s(1, 2), after=node, name="after")
    flow.add(tasks.add.s(node.output["tail0"], node.output["tail1"]), name="uses")
    run = await flow.aenqueue()
    assert await parents_in(run) == {
        "before": [],
        "inner/head0": ["before"],
        "inner/head1": ["before"],
        "inner/middle": ["inner/head0", "inner/head1"],
        "inner/tail0": ["inner/middle"],
        "inner/tail1": ["inner/middle"],
        "after": ["inner/tail0", "inner/tail1"],
        "uses": ["inner/tail0", "inner/tail1"],
    }
    [head] = [node for node in await run.anodes() if node.name == "inner/head0"]
    assert [edge.on_failure for edge in head.record.parents] == [OnParentFailure.FAIL]
    assert len(inner) == 5  # as it was
    assert next(iter(await graph_of(inner))) == "head0"


async def test_one_within_one_within_another(tasks: Tasks) -> None:
    inmost, inner, flow = Workflow("inmost"), Workflow("inner"), Workflow("outer")
    inmost.add(tasks.add.s(inmost.add(tasks.add.s(1, 2)).output, 3))
    node = inner.add(inmost, after=inner.add(tasks.add.s(4, 5)))
    inner.add(tasks.add.s(node.output, 0), name="last")
    outer = flow.add(inner)
    flow.add(tasks.add.s(outer.output, 0), name="end")
    assert await graph_of(flow) == {
        "inner/add": [],
        "inner/inmost/add": ["inner/add"],
        "inner/inmost/add-2": ["inner/inmost/add"],
        "inner/last": ["inner/inmost/add-2"],
        "end": ["inner/last"],
    }


async def test_the_same_within_another_twice_and_beside_its_like(tasks: Tasks) -> None:
    inner = Workflow("part")
    inner.add(tasks.add.s(1, 2))
    flow = Workflow("outer")
    flow.add(tasks.add.s(1, 2))
    flow.add(tasks.add.s(1, 2), name="part")
    nodes = [flow.add(inner), flow.add(inner), flow.add(inner, name="mine")]
    nodes[1].after(nodes[0])
    assert await graph_of(flow) == {
        "add": [],
        "part": [],
        "part-2/add": [],
        "part-3/add": ["part-2/add"],
        "mine/add": [],
    }


async def test_names_that_look_like_those_of_another_workflow(tasks: Tasks) -> None:
    inner = Workflow("part")
    inner.add(tasks.add.s(1, 2))
    flow = Workflow("outer")
    flow.add(tasks.add.s(1, 2), name="part/add")
    flow.add(inner)
    assert list(await graph_of(flow)) == ["part/add", "part-2/add"]


async def test_what_is_added_within_may_use_outputs_of_what_is_around(tasks: Tasks) -> None:
    flow, inner = Workflow("outer"), Workflow("inner")
    first, other = flow.add(tasks.add.s(1, 2), name="first"), flow.add(tasks.add.s(3, 4), name="other")
    inner.add(tasks.add.s(first.output, 1))
    flow.add(inner, after=other)
    assert await graph_of(flow) == {"first": [], "other": [], "inner/add": ["first", "other"]}


async def test_what_changes_within_later_changes_nothing_around(tasks: Tasks) -> None:
    flow, inner = Workflow("outer"), Workflow("inner")
    node = inner.add(tasks.add.s(1, 2))
    flow.add(inner)
    node.after(inner.add(tasks.add.s(3, 4)))
    assert await graph_of(flow) == {"inner/add": []}


async def test_a_task_may_wait_for_what_was_added_after_it(tasks: Tasks) -> None:
    flow = Workflow()
    late = flow.add(tasks.add.s(1, 2), name="late")
    late.after(flow.add(tasks.add.s(1, 2), name="early"))
    assert await graph_of(flow) == {"early": [], "late": ["early"]}


async def test_tasks_are_stored_as_they_were_added(tasks: Tasks) -> None:
    flow = Workflow()
    for number in range(3):
        flow.add(tasks.add.s(flow.add(tasks.add.s(1, 2), name=f"a{number}").output, 0), name=f"b{number}")
    assert list(await graph_of(flow)) == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_a_loop_is_named_and_nothing_stored(app: App, tasks: Tasks) -> None:
    flow = Workflow("round")
    first = flow.add(tasks.add.s(1, 2), name="first")
    second = flow.add(tasks.add.s(first.output, 1), name="second")
    third = flow.add(tasks.add.s(second.output, 1), name="third")
    first.after(third)
    flow.add(tasks.add.s(third.output, 1), name="behind")
    with pytest.raises(CyclicDependency, match="round: its tasks wait for each other: first → third → second → first"):
        await flow.aenqueue()
    assert await count(app) == 0


async def test_a_task_that_waits_for_itself(tasks: Tasks) -> None:
    flow = Workflow()
    node = flow.add(tasks.add.s(1, 2))
    node.after(node)
    with pytest.raises(CyclicDependency) as caught:
        await flow.aenqueue()
    assert caught.value.loop == ["add", "add"]


async def test_a_loop_within_and_one_through_what_is_within(tasks: Tasks) -> None:
    inner = Workflow("inner")
    one, two = inner.add(tasks.add.s(1, 2), name="one"), inner.add(tasks.add.s(1, 2), name="two")
    around = Workflow()
    first = around.add(tasks.add.s(1, 2), name="first")
    first.after(around.add(inner, after=first))
    with pytest.raises(CyclicDependency, match="inner/one → first"):
        await around.aenqueue()
    one.after(two)
    two.after(one)
    flow = Workflow()
    flow.add(tasks.add.s(1, 2), after=flow.add(inner))
    with pytest.raises(CyclicDependency, match="inner/one → inner/two → inner/one"):
        await flow.aenqueue()


async def test_a_task_of_a_workflow_may_wait_for_one_outside(tasks: Tasks) -> None:
    outside = [await tasks.add.aenqueue(1, 2) for _ in range(2)]
    ids = [handle.id for handle in outside]
    flow = Workflow()
    alone = tasks.add.options(depends_on=[*outside, outside[0]], on_parent_failure="run")
    first = flow.add(alone.s(1, 2), name="first")
    flow.add(tasks.add.options(depends_on=ids[1]).s(first.output, 3), name="second")
    run = await flow.aenqueue()
    assert await parents_in(run) == {"first": ids, "second": ["first", ids[1]]}
    nodes = {node.name: node.record for node in await run.anodes()}
    assert nodes["first"].parents[1:] == tuple(Edge(id, OnParentFailure.RUN) for id in ids)
    assert headers_of(nodes["second"]).parents == ["first", ids[1]]
    assert payload_of(nodes["second"]) == {"x": ["o", 0], "y": 3}


async def test_outputs_in_payloads(tasks: Tasks) -> None:
    flow = Workflow()
    first, second = flow.add(tasks.add.s(1, 2), name="first"), flow.add(tasks.add.s(3, 4), name="second")
    take = tasks.take.s({"a": second.output}, [first.output, 7], n=(second.output, first.output))
    flow.add(take, after=first, name="last")
    assert (await payloads_of(flow))["last"] == {
        "values": ["l", [["d", {"a": ["o", 1]}], ["l", [["o", 0], ["v", 7]]]]],
        "n": ["l", [["o", 1], ["o", 0]]],
    }


async def test_more_ends_than_a_record_has_room_for(app: App, tasks: Tasks) -> None:
    """Of as many whoever asks by the id looks for the tasks themselves."""
    few, many = group(tasks.add.s(n, n) for n in range(100)), group(tasks.add.s(n, n) for n in range(101))
    specs = [(await (await flow.aenqueue()).ainfo()).spec for flow in (few, many)]
    assert b'"add-100"' in specs[0]
    assert len(specs[1]) < 100


def test_a_blocking_enqueue(app: App, tasks: Tasks) -> None:
    flow = Workflow()
    flow.add(tasks.add.s(1, 2))
    run = flow.enqueue()
    assert (run.status(), run.progress().total) == (FlowState.RUNNING, 1)
    assert [node.name for node in run.nodes()] == ["add"]
    assert (run.info().name, run.failed()) == ("workflow", [])
    assert run.cancel("not today")
    assert run.retry() == 1
    app.close()


async def _nodes(flow: Workflow) -> list[NodeRecord]:
    return await (await flow.aenqueue()).anodes()
