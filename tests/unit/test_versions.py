"""Payload versions: which steps may be declared, how arguments are lifted, and what travels with them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from taskq import App, Concurrency, InvalidOption, InvalidPayload, Task, Unique
from taskq.errors import CorruptRecord
from taskq.headers import decode_headers
from taskq.ports import EnqueueStatus
from taskq.versions import lift
from tests.unit.support import headers_of, payload_of, record_of


def one(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "seen": [*old.get("seen", []), 1]}


def two(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "seen": [*old.get("seen", []), 2]}


async def awaited(old: dict[str, Any]) -> dict[str, Any]:
    return old


@pytest.fixture
def job(app: App) -> Task[..., None]:
    @app.task(name="job", version=3, queue="jobs", upcast={1: one, 2: two})
    def job(seen: list[int]) -> None: ...

    return job


@pytest.mark.parametrize("version", [0, -1, 1.0, True, "2", None, 1_000_001])
def test_a_version_out_of_range(app: App, version: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^version must be a whole number from 1 to 1,000,000, not "):
        app.task(name="bad", version=version)


@pytest.mark.parametrize(
    ("version", "upcast", "message"),
    [
        (1, {1: one}, "a step leads from a version from 1 to 0, not from 1"),
        (3, {1: one, 3: one}, "a step leads from a version from 1 to 2, not from 3"),
        (3, {0: one}, "not from 0"),
        (3, {"1": one}, "not from '1'"),
        (3, {True: one}, "not from True"),
        (3, {1: one}, "2 is missing"),
        (4, {1: one, 3: one}, "2 is missing"),
        (2, {1: None}, "the step from version 1 must be a plain function"),
        (2, {1: awaited}, "the step from version 1 must be a plain function"),
        (2, [one], "must be a mapping of a version to a function"),
    ],
)
def test_steps_that_lead_nowhere(app: App, version: int, upcast: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=r"^upcast") as caught:
        app.task(name="bad", version=version, upcast=upcast)
    assert message in str(caught.value)
    assert app.tasks.find("bad") is None


def test_steps_need_not_begin_at_the_first_version(app: App) -> None:
    app.task(name="a", version=3, upcast={2: two})(lambda: None)
    app.task(name="b", version=3)(lambda: None)


def test_arguments_go_through_every_step_that_they_need() -> None:
    steps = {1: one, 2: two}
    assert lift("job", b'{"x":1}', 1, 3, steps) == b'{"x":1,"seen":[1,2]}'
    assert lift("job", b'{"x":1}', 2, 3, steps) == b'{"x":1,"seen":[2]}'
    assert lift("job", b'{"x":1}', 3, 3, steps) == b'{"x":1}'


def _raises(old: dict[str, Any]) -> dict[str, Any]:
    raise KeyError("to")


@pytest.mark.parametrize(
    ("payload", "steps", "message"),
    [
        (b"{}", {2: two}, "job: these are arguments of version 1, and there is no upcast from version 1 to 2"),
        (b"{}", {1: one}, "job: these are arguments of version 1, and there is no upcast from version 2 to 3"),
        (b"{}", {1: one, 2: _raises}, "job: the upcast from version 2 to 3 raised KeyError: 'to'"),
        (b"{}", {1: lambda old: None, 2: two}, "job: the upcast from version 1 to 2 gave no dict of arguments by name"),
        (b"{}", {1: one, 2: lambda old: {1: 2}}, "job: the upcast from version 2 to 3 gave no dict"),
        (b"{}", {1: one, 2: lambda old: {"x": object()}}, "parameter x: cannot be written as JSON"),
        (b"{}", {1: one, 2: lambda old: {"x": float("nan")}}, "parameter x: NaN and infinity"),
        (b"[1]", {1: one, 2: two}, "job: the payload is no JSON object"),
        (b"", {1: one, 2: two}, "job: the payload is no JSON object"),
        (b"[" * 100_000, {1: one, 2: two}, "job: the payload is no JSON object"),
    ],
)
def test_what_cannot_be_lifted_says_which_step(payload: bytes, steps: Any, message: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        lift("job", payload, 1, 3, steps)
    assert message in str(caught.value)


def test_what_is_richer_than_json_is_written_as_json() -> None:
    lifted = lift("job", b"{}", 1, 2, {1: lambda old: {"at": datetime(2026, 11, 1)}})  # noqa: DTZ001
    assert lifted == b'{"at":"2026-11-01T00:00:00"}'


async def test_the_version_travels_with_the_task_but_for_the_first(app: App, job: Task[..., None]) -> None:
    @app.task(name="first")
    def first() -> None: ...

    record = await record_of(app, await job.aenqueue([]))
    assert b'"version":3' in record.body
    assert headers_of(record).version == 3
    first_record = await record_of(app, await first.aenqueue())
    assert b"version" not in first_record.body
    assert headers_of(first_record).version == 1


async def test_who_enqueues_by_name_says_the_version(app: App) -> None:
    assert headers_of(await record_of(app, await app.aenqueue("elsewhere", {"x": 1}))).version == 1
    record = await record_of(app, await app.aenqueue("elsewhere", {"x": 1}, version=4))
    assert (headers_of(record).version, payload_of(record)) == (4, {"x": 1})
    with pytest.raises(InvalidOption, match="version must be a whole number"):
        await app.aenqueue("elsewhere", version=0)


async def test_by_name_a_task_that_is_registered_takes_its_own_version(app: App, job: Task[..., None]) -> None:
    for said in ({}, {"version": 3}):
        record = await record_of(app, await app.aenqueue("job", {"seen": []}, **said))  # type: ignore[arg-type]
        assert headers_of(record).version == 3
    with pytest.raises(InvalidPayload, match="parameter to"):
        await app.aenqueue("job", {"to": "a"})


async def test_by_name_arguments_of_another_version_are_left_to_the_worker(app: App, job: Task[..., None]) -> None:
    record = await record_of(app, await app.aenqueue("job", {"to": "a"}, version=1, priority="high"))
    assert (headers_of(record).version, payload_of(record), record.queue) == (1, {"to": "a"}, "jobs")


def lifted(old: dict[str, Any]) -> dict[str, Any]:
    return {"recipients": [old["to"]]}


def post(recipients: list[str], cc: str = "") -> None: ...


async def test_keys_speak_of_what_old_arguments_are_lifted_to(app: App) -> None:
    options: dict[str, Any] = {"unique": Unique(), "concurrency": Concurrency(1, key="recipients")}
    job = app.task(name="post", version=2, upcast={1: lifted}, **options)(post)
    anna, berta = [await app.aenqueue("post", {"to": to}, version=1) for to in ("anna", "berta")]
    assert anna.id != berta.id
    assert (await job.aenqueue(["anna"])).id == anna.id
    old, other = (await record_of(app, anna)).limits, (await record_of(app, berta)).limits
    assert old != other
    job.terms = replace(job.terms, unique=None)
    assert (await record_of(app, await job.aenqueue(["anna"]))).limits == old


@pytest.mark.parametrize("version", [1, 3])
async def test_arguments_that_cannot_be_lifted_here_have_no_keys(app: App, version: int) -> None:
    app.task(name="post", version=2, unique=Unique(key="recipients"), concurrency=Concurrency(1, key="cc"))(post)
    for _ in range(2):
        handle = await app.aenqueue("post", {"to": "anna"}, version=version)
        assert handle.enqueued is EnqueueStatus.CREATED
        record = await record_of(app, handle)
        assert (record.unique, record.limits) == (None, ())


def test_a_call_that_is_checked_against_the_function_is_of_its_version(job: Task[..., None]) -> None:
    job.options(version=3)
    with pytest.raises(InvalidOption, match=r"^job.options\(\): its arguments are of version 3"):
        job.options(version=1)


@pytest.mark.parametrize("version", ["0", "-3", "true", '"2"', "1.5"])
def test_a_version_that_cannot_be_is_a_damaged_record(version: str) -> None:
    with pytest.raises(CorruptRecord):
        decode_headers(f'{{"version":{version}}}'.encode())
