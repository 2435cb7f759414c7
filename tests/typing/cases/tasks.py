"""Tasks keep the types of their functions. A line marked `# error` is one that both type checkers refuse."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from taskq import App, Exponential, Task, TaskContext, TaskHandle, TaskState
from taskq.domain.record import Progress, TaskRecord
from taskq.task import AsyncTask

app = App("memory://")


@app.task
def add(x: int, y: int = 1) -> int:
    return x + y


@app.task(name="mail.send", queue="mail", priority="high", retry=Exponential(max_retries=5))
def send(ctx: TaskContext, to: str, *, subject: str = "") -> datetime | None:
    return None


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(timeout=5)
async def crawl(ctx: TaskContext, url: str, depth: int = 1) -> list[str]:
    return [url]


@app.task
def nothing() -> None: ...


@app.task()
def total(*numbers: float, **named: int) -> float:
    return sum(numbers)


def renamed(old: dict[str, Any]) -> dict[str, Any]:
    return {"to": old["a"]}


@app.task(version=2, upcast={1: renamed}, encrypt=True)
async def hide(to: str) -> int:
    return len(to)


def what_a_task_is() -> None:
    assert_type(hide.name, str)
    keeps_result: Task[..., int] = add
    is_async: AsyncTask[..., bytes] = fetch
    assert_type(add.name, str)
    loses_result: Task[..., str] = add  # error
    print(keeps_result, is_async, loses_result)


def a_plain_call() -> None:
    assert_type(add(1, 2), int)
    assert_type(add(1), int)
    assert_type(send("a@b.c"), datetime | None)
    assert_type(total(1.0, 2, named=3), float)
    nothing()
    add("x")  # error
    add()  # error
    add(1, z=2)  # error
    send()  # error
    send("a@b.c", "subject")  # error
    total("x")  # error
    total(named="x")  # error


async def a_plain_call_of_an_async_task() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await crawl("u", 2), list[str])
    await fetch(1)  # error
    await crawl("u", "deep")  # error


def enqueue() -> None:
    assert_type(add.enqueue(1, 2), TaskHandle[int])
    assert_type(add.delay(1, y=2), TaskHandle[int])
    assert_type(send.enqueue("a@b.c", subject="s"), TaskHandle[datetime | None])
    assert_type(fetch.enqueue("u"), TaskHandle[bytes])
    assert_type(fetch.delay("u"), TaskHandle[bytes])
    assert_type(crawl.enqueue("u"), TaskHandle[list[str]])
    assert_type(nothing.enqueue(), TaskHandle[None])
    add.enqueue("x")  # error
    add.enqueue()  # error
    add.enqueue(1, 2, 3)  # error
    add.enqueue(1, z=2)  # error
    add.delay("x")  # error
    send.enqueue(1)  # error
    send.enqueue("a@b.c", subject=1)  # error
    fetch.enqueue(1)  # error
    crawl.enqueue("u", depth="deep")  # error
    nothing.enqueue(1)  # error


async def aenqueue() -> None:
    assert_type(await add.aenqueue(1), TaskHandle[int])
    assert_type(await fetch.aenqueue("u"), TaskHandle[bytes])
    assert_type(await crawl.aenqueue("u", depth=2), TaskHandle[list[str]])
    await add.aenqueue("x")  # error
    await fetch.aenqueue()  # error
    await send.aenqueue(to=1)  # error


def many() -> None:
    assert_type(add.enqueue_many([(1, 2), {"x": 3}]), list[TaskHandle[int]])
    assert_type(fetch.enqueue_many([("u",)]), list[TaskHandle[bytes]])
    add.enqueue_many(1)  # error
    add.enqueue_many([1])  # error
    add.enqueue_many([(1, 2)], atomic="yes")  # error


async def many_in_a_loop() -> None:
    assert_type(await add.aenqueue_many([(1, 2)], atomic=True), list[TaskHandle[int]])
    assert_type(await fetch.aenqueue_many([("u",)]), list[TaskHandle[bytes]])


def options() -> None:
    assert_type(add.options(delay=60, priority="critical").enqueue(1, 2), TaskHandle[int])
    assert_type(fetch.options(tenant="acme").enqueue("u"), TaskHandle[bytes])
    assert_type(add.options(queue="slow")(1), int)
    add.options(delay=60).enqueue("x")  # error
    fetch.options(delay=60).options(queue="q").enqueue(1)  # error


def results() -> None:
    handle = add.enqueue(1)
    assert_type(handle.result(), int)
    assert_type(handle.result(timeout=5), int)
    assert_type(fetch.enqueue("u").result(), bytes)
    assert_type(handle.status(), TaskState)
    assert_type(handle.wait(5), TaskState)
    assert_type(handle.cancel(), bool)
    assert_type(handle.progress(), Progress | None)
    assert_type(handle.info(), TaskRecord)
    assert_type(handle.id, str)
    wrong: str = handle.result()  # error
    also: bytes = crawl.enqueue("u").result()  # error
    handle.result("soon")  # error
    print(wrong, also)


async def results_in_a_loop() -> None:
    handle = await fetch.aenqueue("u")
    assert_type(await handle.aresult(timeout=5), bytes)
    assert_type(await handle.astatus(), TaskState)
    assert_type(await handle.await_(), TaskState)
    assert_type(await handle.acancel("why"), bool)
    assert_type(await handle.aprogress(), Progress | None)
    assert_type(await handle.ainfo(), TaskRecord)
    wrong: str = await handle.aresult()  # error
    print(wrong)


def by_name() -> None:
    handle = app.enqueue("mail.send", {"to": "a@b.c"}, delay=5)
    n: int = handle.result()  # what is not imported is not known
    app.enqueue(send)  # error
    app.enqueue("mail.send", ["a@b.c"])  # error
    print(n)


def declarations() -> None:
    App(1)  # error
    App("memory://", nonsense=1)  # error
    app.task(name=1)  # error
    app.task(3)  # error
