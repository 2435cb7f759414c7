"""What tasks of a workflow give to each other, on each backend: typed, encrypted, kept apart, to any executor."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from taskq import App, Fixed, TaskContext, TaskState, Workflow, WorkflowFailed, chain
from taskq.crypto import Crypto, key_of
from tests.worker import flows
from tests.worker.flows import Sums, over, sums_of
from tests.worker.support import PATIENCE, adopt, ended, until_state, work

KINDS = ("async", "thread", "process")
KEY = os.urandom(32)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


class Report(BaseModel):
    rows: list[int] = Field(max_length=3)
    at: datetime


@dataclass
class Place:
    name: str
    size: Decimal


@pytest.fixture
def sums(any_app: App) -> Sums:
    """Tasks on each backend."""
    return sums_of(any_app)


def teller(app: App, kind: str, **options: Any) -> Any:
    """A task that tells what it was given by others."""
    if kind == "process":
        return adopt(app, flows.gathers, **options)

    async def on_the_loop(ctx: TaskContext, x: Any = None) -> dict[str, Any]:
        return {"x": x, "parents": dict(ctx.parent_results), "flow": ctx.flow}

    def in_a_thread(ctx: TaskContext, x: Any = None) -> dict[str, Any]:
        return {"x": x, "parents": dict(ctx.parent_results), "flow": ctx.flow}

    function: Any = on_the_loop if kind == "async" else in_a_thread
    return app.task(name=flows.gathers.name, **options)(function)


async def test_typed_results_into_typed_parameters(any_app: App) -> None:
    @any_app.task(name="makes")
    async def makes() -> Report:
        return Report(rows=[1, 2], at=NOW)

    @any_app.task(name="places")
    def places() -> list[Place]:
        return [Place("a", Decimal("1.50"))]

    @any_app.task(name="others")
    def others() -> dict[Colour, tuple[UUID, bytes, datetime, None]]:
        return {Colour.RED: (UUID(int=7), b"\xff", NOW, None)}

    taken: dict[str, list[Any]] = {}

    @any_app.task(name="takes")
    def takes(report: Report, place: list[Place], other: dict[Colour, tuple[UUID, bytes, datetime, None]]) -> Place:
        taken["takes"] = [report, place, other]
        return place[0]

    @any_app.task(name="parts")
    def parts(rows: list[int], at: datetime, size: Decimal, row: int) -> list[Any]:
        taken["parts"] = [rows, at, size, row]
        return [rows, at, size, row]

    flow = Workflow()
    report, place = flow.add(makes.s()), flow.add(places.s())
    flow.add(takes.s(report.output, place.output, flow.add(others.s()).output), name="takes")
    output: Any = report.output
    flow.add(parts.s(output.rows, output["at"], place.output[0].size, output.rows[-1]), name="parts")
    async with work(any_app):
        run = await flow.aenqueue()
        result = await run.aresult(PATIENCE)
        assert await any_app.find_workflow(run.id).aresult(0) == {
            "takes": {"name": "a", "size": "1.50"},
            "parts": [[1, 2], "2026-01-02T03:04:05.678901Z", "1.50", 2],
        }
    assert result["takes"] == Place("a", Decimal("1.50"))
    others_value = {Colour.RED: (UUID(int=7), b"\xff", NOW, None)}
    assert taken["takes"] == [Report(rows=[1, 2], at=NOW), [Place("a", Decimal("1.50"))], others_value]
    assert taken["parts"] == [[1, 2], NOW, Decimal("1.50"), 2]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ({"rows": "x", "at": NOW}, "takes: parameter report: rows: input should be a valid array"),
        ({"rows": [1, 2, 3, 4], "at": NOW}, "takes: parameter report: rows: list should have at most 3 items"),
        (None, "takes: parameter report: "),
        ({"rows": []}, "takes: parameter report: at: field required"),
    ],
)
async def test_a_result_that_does_not_fit(any_app: App, made: Any, why: str) -> None:
    @any_app.task(name="makes")
    async def makes() -> Any:
        return made

    @any_app.task(name="takes")
    async def takes(report: Report) -> None: ...

    async with work(any_app):
        run = await chain(makes.s(), takes.s()).aenqueue()
        assert await over(run) == {"makes": TaskState.COMPLETED, "takes": TaskState.DEAD}
        with pytest.raises(WorkflowFailed, match=why) as caught:
            await run.aresult(0)
    assert caught.value.failed == ["takes"]
    [record] = await run.afailed()
    assert (record.reason, record.attempt) == ("undecodable", 1)


async def test_a_literal_beside_an_output_that_does_not_fit(any_app: App, sums: Sums) -> None:
    """Of a list that is yet to come in parts nobody can say before the run whether it fits."""
    flow = Workflow()
    flow.add(sums.total.s([flow.add(sums.add.s(1, 2)).output, "x"]))
    async with work(any_app):
        run = await flow.aenqueue()
        with pytest.raises(WorkflowFailed, match=r"total: parameter numbers\[1\]: expected `int`, got `str`"):
            await run.aresult(PATIENCE)


async def test_a_part_that_a_result_has_not(any_app: App, sums: Sums) -> None:
    @any_app.task(name="reads")
    async def reads() -> dict[str, list[int]]:
        return {"rows": []}

    async with work(any_app):
        for path, part in ((("rows", 0), "0"), (("colums",), "'colums'")):
            flow = Workflow()
            output: Any = flow.add(reads.s()).output
            for key in path:
                output = output[key]
            flow.add(sums.add.s(output, 1))
            run = await flow.aenqueue()
            with pytest.raises(WorkflowFailed, match=f"add: parameter x: the result that it .* has no part {part}"):
                await run.aresult(PATIENCE)
            assert (await run.afailed())[0].reason == "undecodable"


@pytest.mark.parametrize("kind", KINDS)
async def test_results_of_parents_in_a_workflow_have_its_names(any_app: App, sums: Sums, kind: str) -> None:
    flow, tells = Workflow(), teller(any_app, kind)
    one, two = flow.add(sums.add.s(1, 2), name="one"), flow.add(sums.add.s(3, 4), name="two")
    bad = flow.add(sums.fails.s(), name="bad")
    flow.add(tells.s(two.output), after=[one, bad], on_parent_failure="run", name="tells")
    flow.add(tells.s(), after=one, name="only")
    flow.add(tells.s(), name="alone")
    async with work(any_app):
        run = await flow.aenqueue()
        assert await run.aresult(PATIENCE) == {
            "tells": {"x": 7, "parents": {"one": 3, "two": 7}, "flow": run.id},
            "only": {"x": None, "parents": {"one": 3}, "flow": run.id},
            "alone": {"x": None, "parents": {}, "flow": run.id},
        }


@pytest.mark.parametrize("kind", KINDS)
async def test_results_of_parents_outside_of_a_workflow_have_their_ids(any_app: App, sums: Sums, kind: str) -> None:
    tells = teller(any_app, kind)
    async with work(any_app):
        parents = [await sums.add.aenqueue(n, n) for n in range(2)]
        bad = await sums.fails.aenqueue()
        handle = await tells.options(depends_on=[*parents, bad], on_parent_failure="run").aenqueue()
        given = {"x": None, "parents": {parents[0].id: 0, parents[1].id: 2}, "flow": ""}
        assert await handle.aresult(PATIENCE) == given


async def test_a_parent_of_a_workflow_and_one_outside(any_app: App, sums: Sums) -> None:
    outside = await sums.add.aenqueue(5, 6)
    flow = Workflow()
    inside = flow.add(sums.add.s(1, 2), name="inside")
    flow.add(sums.tells.options(depends_on=outside).s(inside.output), name="both")
    flow.add(sums.tells.options(depends_on=outside).s(), name="one")
    async with work(any_app):
        run = await flow.aenqueue()
        result = await run.aresult(PATIENCE)
    assert result["both"] == {"values": [3], "parents": {"inside": 3, outside.id: 11}, "flow": run.id}
    assert result["one"] == {"values": [], "parents": {outside.id: 11}, "flow": run.id}


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_a_result_too(any_app: App, kind: str) -> None:
    @any_app.task(name="nothing")
    async def nothing() -> None: ...

    tells = teller(any_app, kind)
    async with work(any_app):
        run = await chain(nothing.s(), tells.s()).aenqueue()
        assert await run.aresult(PATIENCE) == {"x": None, "parents": {"nothing": None}, "flow": run.id}


@pytest.mark.parametrize("kind", KINDS)
async def test_encrypted_tasks(any_app: App, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKQ_CRYPTO__KEYS__2026-11", b64encode(KEY).decode())
    any_app.stores.crypto = Crypto({"2026-11": KEY})

    @any_app.task(name="secret", encrypt=True)
    async def secret(text: str) -> str:
        return text.upper()

    tells = teller(any_app, kind, encrypt=True)
    flow = Workflow()
    parts = [flow.add(secret.s(f"hush{n}"), name=f"secret{n}") for n in range(2)]
    flow.add(tells.s([parts[1].output, "psst"]), after=parts[0])
    async with work(any_app):
        run = await flow.aenqueue()
        assert await run.aresult(PATIENCE) == {
            "x": ["HUSH1", "psst"],
            "parents": {"secret0": "HUSH0", "secret1": "HUSH1"},
            "flow": run.id,
        }
    for node in await run.anodes():
        record = node.record
        assert record.result is not None
        assert not any(word in record.body + record.result for word in (b"hush", b"HUSH", b"psst"))
        assert key_of(record.result) == "2026-11"


async def test_a_result_without_its_key_is_waited_for(any_app: App, sums: Sums) -> None:
    any_app.stores.crypto = Crypto({"2026-11": KEY})
    async with work(any_app):
        parent = await sums.add.options(encrypt=True).aenqueue(1, 2)
        await ended(parent)
    any_app.stores.crypto = None
    async with work(any_app):
        child = await sums.tells.options(depends_on=parent).aenqueue()
        record = await until_state(child, TaskState.SCHEDULED)
    assert record.attempt == 0
    any_app.stores.crypto = Crypto({"2026-11": KEY})
    async with work(any_app):
        assert (await child.aresult(PATIENCE))["parents"] == {parent.id: 3}


@pytest.mark.parametrize("kind", KINDS)
async def test_results_on_a_store_of_their_own(store_url: str, redis_url: str, kind: str) -> None:
    app = App(store_url, results=redis_url)
    sums, tells = sums_of(app), teller(app, kind)
    flow = Workflow()
    one, two = flow.add(sums.add.s(1, 2), name="one"), flow.add(sums.add.s(3, 4), name="two")
    bad = flow.add(sums.fails.s(), name="bad")
    flow.add(tells.s([two.output]), after=[one, bad], on_parent_failure="run", name="tells")
    async with work(app):
        run = await flow.aenqueue()
        given = {"x": [7], "parents": {"one": 3, "two": 7}, "flow": run.id}
        assert await run.aresult(PATIENCE) == given
        assert await app.find_workflow(run.id).aresult(0) == given
    # Where the result is elsewhere the record has none of it.
    assert {node.record.result for node in await run.anodes()} <= {None, b"null"}
    await app.aclose()


async def test_a_result_that_was_not_kept(any_app: App, sums: Sums) -> None:
    """A task is not run with None in the place of a result that there was."""
    ran: list[Any] = []

    @any_app.task(name="looks")
    async def looks(value: int | None) -> None:
        ran.append(value)

    backend = await any_app.backend()
    flow = chain(sums.add.options(retention=0).s(1, 2), looks.options(queue="later").s())
    async with work(any_app):
        run = await flow.aenqueue()
        node = (await run.anodes())[1]
        await until_state(any_app.handle(node.record.id), TaskState.PENDING)
    await backend.maintenance.prune()
    async with work(any_app, queues={"later": 1}):
        record = await ended(any_app.handle(node.record.id))
    assert (record.state, record.reason, ran) == (TaskState.DEAD, "undecodable", [])
    assert record.failure is not None
    assert record.failure.message == "looks: parameter value: the result that it is made of is no longer kept"


async def test_results_are_whole_after_retries(any_app: App) -> None:
    @any_app.task(name="flaky")
    async def flaky(ctx: TaskContext, x: int) -> list[int]:
        if ctx.attempt < 3:
            raise ConnectionError
        return [x, ctx.attempt, ctx.parent_results.get("flaky", [0])[0]]

    again = flaky.options(retry=Fixed(0.01, max_retries=5, jitter=False))
    flow = Workflow()
    first: Any = flow.add(again.s(4)).output
    flow.add(again.s(first[0]))
    async with work(any_app):
        assert await (await flow.aenqueue()).aresult(PATIENCE) == [4, 3, 4]


async def test_cached_results(any_app: App) -> None:
    runs: list[int] = []

    @any_app.task(name="doubles", cache=3600)
    async def doubles(x: int) -> int:
        runs.append(x)
        return 2 * x

    async with work(any_app):
        for _ in range(2):
            assert await (await chain(doubles.s(1), doubles.s(), doubles.s()).aenqueue()).aresult(PATIENCE) == 8
    assert runs == [1, 2, 4]
