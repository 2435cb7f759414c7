"""Chains, groups and chords: which task waits for which, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from taskq import App, ConfigError, InvalidPayload, Workflow, chain, chord, group
from tests.unit.flows import Tasks, graph_of, payloads_of, tasks_of
from tests.unit.support import count


@pytest.fixture
def tasks(app: App) -> Tasks:
    """Tasks to build workflows of."""
    return tasks_of(app)


async def test_a_chain(tasks: Tasks) -> None:
    flow = chain(tasks.add.s(1, 2), tasks.add.s(3), tasks.add.s(y=4))
    assert repr(flow) == "Workflow('chain', 3 tasks)"
    assert await graph_of(flow) == {"add": [], "add-2": ["add"], "add-3": ["add-2"]}
    assert await payloads_of(flow) == {
        "add": {"x": 1, "y": 2},
        "add-2": {"x": ["o", 0], "y": 3},
        "add-3": {"x": ["o", 0], "y": 4},
    }


async def test_a_chain_of_one(tasks: Tasks) -> None:
    assert await graph_of(chain(tasks.add.s(1, 2))) == {"add": []}


async def test_arguments_that_a_chain_leaves_as_they_are(tasks: Tasks) -> None:
    flow = chain(tasks.add.s(1, 2), tasks.add.si(3, 4), tasks.add.s(5))
    assert await graph_of(flow) == {"add": [], "add-2": ["add"], "add-3": ["add-2"]}
    assert [(await payloads_of(flow))[name] for name in ("add-2", "add-3")] == [
        {"x": 3, "y": 4},
        {"x": ["o", 0], "y": 5},
    ]


async def test_a_group(tasks: Tasks) -> None:
    for flow in (group(tasks.add.s(n, n) for n in range(3)), group(*[tasks.add.s(n, n) for n in range(3)])):
        assert repr(flow) == "Workflow('group', 3 tasks)"
        assert await graph_of(flow) == {"add": [], "add-2": [], "add-3": []}


async def test_a_group_of_an_iterable_and_of_more(tasks: Tasks) -> None:
    assert len(group([tasks.add.s(1, 1)], tasks.add.s(2, 2))) == 2


async def test_a_chord(tasks: Tasks) -> None:
    flow = chord((tasks.add.s(n, n) for n in range(2)), tasks.total.s())
    assert await graph_of(flow) == {"add": [], "add-2": [], "total": ["add", "add-2"]}
    assert (await payloads_of(flow))["total"] == {"numbers": ["l", [["o", 0], ["o", 1]]]}


async def test_a_chord_whose_body_only_waits(tasks: Tasks) -> None:
    flow = chord([tasks.add.s(1, 1)], tasks.add.si(5, 5))
    assert await graph_of(flow) == {"add": [], "add-2": ["add"]}
    assert (await payloads_of(flow))["add-2"] == {"x": 5, "y": 5}


async def test_a_chord_whose_body_is_a_chain(tasks: Tasks) -> None:
    flow = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], chain(tasks.total.s(), tasks.add.s(3)))
    assert await graph_of(flow) == {
        "add": [],
        "add-2": [],
        "chain/total": ["add", "add-2"],
        "chain/add": ["chain/total"],
    }
    assert (await payloads_of(flow))["chain/total"] == {"numbers": ["l", [["o", 0], ["o", 1]]]}


async def test_a_chord_of_nothing_gives_an_empty_list(tasks: Tasks) -> None:
    """Whoever makes the header from data has none of it on a quiet day."""
    flow = chord([], tasks.total.s())
    assert await payloads_of(flow) == {"total": {"numbers": []}}


async def test_groups_in_a_chain(tasks: Tasks) -> None:
    flow = chain(
        tasks.add.s(1, 2),
        group(tasks.add.s(3), chain(tasks.add.s(4), tasks.add.s(5)), tasks.add.si(6, 7)),
        tasks.total.s(),
        group(tasks.add.s(8), tasks.add.s(9)),
    )
    assert await graph_of(flow) == {
        "add": [],
        "group/add": ["add"],
        "group/chain/add": ["add"],
        "group/chain/add-2": ["group/chain/add"],
        "group/add-2": ["add"],
        "total": ["group/add", "group/chain/add-2", "group/add-2"],
        "group-2/add": ["total"],
        "group-2/add-2": ["total"],
    }
    payloads = await payloads_of(flow)
    assert payloads["group/chain/add"] == {"x": ["o", 0], "y": 4}
    assert payloads["group/add-2"] == {"x": 6, "y": 7}
    assert payloads["total"] == {"numbers": ["l", [["o", 0], ["o", 1], ["o", 2]]]}
    assert payloads["group-2/add-2"] == {"x": ["o", 0], "y": 9}


async def test_a_group_of_groups_gives_lists_in_a_list(tasks: Tasks) -> None:
    pair = group(tasks.add.s(1, 1), tasks.add.s(2, 2))
    expected = ["l", [["l", [["o", 0], ["o", 1]]], ["l", [["o", 2]]]]]
    for flow in (
        chain(group(pair, group(tasks.add.s(3, 3))), tasks.take.s()),
        chord([pair, group(tasks.add.s(3, 3))], tasks.take.s()),
    ):
        assert (await payloads_of(flow))["take"] == {"values": ["l", [expected]]}


async def test_a_group_of_one_gives_a_list(tasks: Tasks) -> None:
    flow = chain(group(tasks.add.s(1, 1)), tasks.total.s())
    assert (await payloads_of(flow))["total"] == {"numbers": ["l", [["o", 0]]]}


async def test_a_workflow_of_several_ends_gives_them_by_name(tasks: Tasks) -> None:
    flow = Workflow("two")
    for name in ("left", "right"):
        flow.add(tasks.add.s(1, 1), name=name)
    followed = chain(flow, tasks.take.s())
    assert (await payloads_of(followed))["take"] == {"values": ["l", [["d", {"left": ["o", 0], "right": ["o", 1]}]]]}


async def test_the_parts_of_a_chain_may_be_used_again(tasks: Tasks) -> None:
    pair = group(tasks.add.s(1), tasks.add.s(2))
    assert len(chain(tasks.add.s(1, 1), pair, tasks.total.s(), pair)) == 6
    assert len(pair) == 2
    with pytest.raises(InvalidPayload, match="workflow group, add: add: parameter y is missing"):
        await pair.aenqueue()


async def test_a_policy_in_a_chain(tasks: Tasks) -> None:
    flow = chain(tasks.add.s(1, 2), tasks.add.options(on_parent_failure="run").si(3, 4))
    _, node = await (await flow.aenqueue()).anodes()
    assert [edge.on_failure.value for edge in node.record.parents] == ["run"]


async def test_a_policy_in_a_link_of_several(tasks: Tasks) -> None:
    """Each of them says its own, however deep it is; those within wait for each other as they did."""
    run, fail = (tasks.add.options(on_parent_failure=policy) for policy in ("run", "fail"))
    links = [
        group(run.si(5, 6), tasks.add.s(1), fail.si(7, 8)),
        chain(chain(run.si(5, 6), tasks.add.s(1)), fail.s(2)),
    ]
    flows = [chain(tasks.add.s(1, 2), link) for link in links] + [chord([tasks.add.s(1, 2)], links[1])]
    policies = [
        [edge.on_failure.value for node in await (await flow.aenqueue()).anodes() for edge in node.record.parents]
        for flow in flows
    ]
    assert policies == [["cancel", "run", "cancel", "fail"]] * 3


@pytest.mark.parametrize("make", [chain, lambda: group([]), lambda: group(iter(()))])
async def test_nothing_at_all(app: App, make: Callable[[], Workflow]) -> None:
    with pytest.raises(ConfigError, match="has no task: give it at least one"):
        await make().aenqueue()


async def test_nothing_within(tasks: Tasks) -> None:
    """A link that holds nothing up would let the next run at once."""
    with pytest.raises(ConfigError, match="workflow chain cannot take in workflow group, which has no task"):
        chain(tasks.add.s(1, 2), group([]), tasks.total.s())
    with pytest.raises(ConfigError, match="workflow chord cannot take in workflow chain, which has no task"):
        chord([tasks.add.s(1, 2), chain()], tasks.total.s())


async def test_a_generator_gives_what_it_has_only_once(app: App, tasks: Tasks) -> None:
    signatures = (tasks.add.s(n, n) for n in range(3))
    assert len(group(signatures)) == 3
    again = group(signatures)
    with pytest.raises(ConfigError, match="a generator gives what it has only once"):
        await again.aenqueue()
    assert await count(app) == 0


@pytest.mark.parametrize("wrong", [5, None, "add", [], lambda tasks: tasks.add])
def test_what_is_no_part_of_a_workflow(tasks: Tasks, wrong: Any) -> None:
    given = wrong(tasks) if callable(wrong) else wrong
    sure = tasks.add.s(1, 2)
    makes: list[Callable[[], Workflow]] = [
        lambda: chain(given),
        lambda: chain(sure, given),
        lambda: group(sure, given),
        lambda: group([sure, given]),
        lambda: chord([sure, given], tasks.total.s()),
        lambda: chord([sure], given),
    ]
    for make in makes:
        with pytest.raises(ConfigError, match=r"a workflow is made of task\.s\(…\) and of workflows, not of "):
            make()


@pytest.mark.parametrize("wrong", [5, None, lambda tasks: tasks.add, lambda tasks: tasks.add.s])
def test_what_there_are_not_several_of(tasks: Tasks, wrong: Any) -> None:
    given = wrong(tasks) if callable(wrong) else wrong
    with pytest.raises(ConfigError, match=r"a group is made of a list, or another iterable, of task\.s\(…\), not of "):
        group(given)
    headers: list[Any] = [given, tasks.add.s(1, 2), group(tasks.add.s(1, 2))]
    for header in headers:
        with pytest.raises(ConfigError, match="a chord is made of a list, or another iterable, of "):
            chord(header, tasks.total.s())


async def test_a_link_that_has_no_use_for_what_comes(tasks: Tasks) -> None:
    flow = chain(tasks.add.s(1, 2), tasks.add.s(3, 4))
    with pytest.raises(InvalidPayload, match="workflow chain, add-2: add: takes 2 positional arguments, 3 were given"):
        await flow.aenqueue()


def test_signatures(tasks: Tasks) -> None:
    signature = tasks.add.s(1, y=2)
    assert repr(signature) == "add.s(1, y=2)"
    assert signature == tasks.add.s(1, y=2)
    assert repr(signature.behind(0)) == "add.s(0, 1, y=2)"
    assert (signature.is_immutable, tasks.add.si(1, 2).is_immutable) == (False, True)
    assert tasks.add.si(1, 2).options(queue="slow").is_immutable
    assert (signature.options(queue="slow").task.queue, tasks.add.queue) == ("slow", "default")
