"""Reading the configuration again: what takes effect at once, what does not, and a file that is wrong."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from taskq import App
from taskq.config import WorkerOptions
from taskq.configuration import Configuration, load
from taskq.configuration.reload import LOOK_EVERY, Reload
from taskq.ports import Backend
from taskq.runtime.retuning import retune
from taskq.runtime.worker import Worker
from tests.worker.support import until

BEFORE = """
worker: {queues: "a,b", rate: 50/s, concurrency: 10, max_rss: 4000, shutdown_timeout: 5}
queues: {mail: {workers: 3}}
backend: {url: "redis://u:hunter2@h"}
monitoring: {log_level: INFO}
"""


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The level of our logger is as it was."""
    before = logging.getLogger("taskq").level
    caplog.set_level(logging.INFO, "taskq.configuration")
    yield
    logging.getLogger("taskq").setLevel(before)


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    """An open store in memory."""
    async with App("memory://") as app:
        yield await app.backend()


class Site:
    """A file, and what keeps to it."""

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.file = folder / "taskq.yaml"
        self.told: list[WorkerOptions] = []
        self.write(BEFORE)
        self.reload = Reload(self._load(), self._load, backend, self.told.append)

    def _load(self) -> Configuration:
        return load(self.file, environment={}, folder=self.file.parent)

    def write(self, text: str) -> None:
        """Write the file as an editor does, under another name first."""
        other = self.file.with_suffix(".new")
        other.write_text(text)
        os.replace(other, self.file)


@pytest.fixture
def site(tmp_path: Path, backend: Backend) -> Site:
    return Site(tmp_path, backend)


async def test_what_can_take_effect_does(site: Site, backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    assert await site.reload.tick() == LOOK_EVERY
    assert (await backend.queues.settings("mail")).workers == 3
    caplog.clear()
    await site.reload.tick()
    assert (caplog.messages, site.told) == ([], []), "a file that has not changed is left alone"
    changed = BEFORE.replace("50/s", "80/s").replace("workers: 3", "workers: 4").replace("INFO", "DEBUG")
    site.write(changed.replace("concurrency: 10", "concurrency: 20").replace("hunter2", "hunter3"))
    await site.reload.tick()
    assert (await backend.queues.settings("mail")).workers == 4
    assert logging.getLogger("taskq").level == logging.DEBUG
    [options] = site.told
    assert options.rate == 80.0
    levels = {record.message: record.levelname for record in caplog.records}
    assert levels["worker.rate: 50/s → 80/s"] == "INFO"
    assert levels["worker.concurrency: 10 → 20 needs a restart"] == "WARNING"
    assert levels["backend.url has changed, which needs a restart"] == "WARNING"
    assert "hunter" not in caplog.text


async def test_a_file_that_is_wrong_changes_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.reload.tick()
    for text in (BEFORE.replace("rate", "raet").replace("workers: 3", "workers: 0"), "worker: [", "\x00"):
        caplog.clear()
        site.write(text)
        await site.reload.tick()
        [record] = caplog.records
        assert record.levelname == "ERROR"
        assert record.message.startswith("the configuration cannot be used, and stays as it was: taskq.yaml:")
        caplog.clear()
        await site.reload.tick()
        assert caplog.messages == [], "once"
    site.write(BEFORE.replace("raet", "rate"))
    await site.reload.tick()
    assert caplog.messages == ["the configuration was read again: nothing has changed"]


async def test_all_that_is_wrong_is_said(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.reload.tick()
    site.write(BEFORE.replace("rate", "raet").replace("workers: 3", "workers: 0"))
    await site.reload.tick()
    assert "did you mean worker.rate?" in caplog.messages[-1]
    assert "workers must be a whole number" in caplog.messages[-1]
    assert site.told == []
    assert site.reload.configuration.sections.worker.rate == 50.0


async def test_a_file_that_is_gone_and_comes_back(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.reload.tick()
    site.file.unlink()
    await site.reload.tick()
    assert "taskq.yaml cannot be read: No such file or directory" in caplog.messages[-1]
    site.write(BEFORE.replace("50/s", "60/s"))
    await site.reload.tick()
    assert site.told[-1].rate == 60.0


async def test_somebody_asks(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    await site.reload.tick()
    caplog.clear()
    site.reload.ask()
    await site.reload.tick()
    assert caplog.messages == ["the configuration was read again: nothing has changed"]


async def test_the_level_that_a_worker_was_told_stays(site: Site) -> None:
    await site.reload.tick()
    logging.getLogger("taskq").setLevel(logging.ERROR)
    site.write(BEFORE.replace("50/s", "60/s"))
    await site.reload.tick()
    assert logging.getLogger("taskq").level == logging.ERROR


async def test_the_store_is_told_once_it_answers(site: Site, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as away:
        away.setattr(type(backend.documents), "get", fail)
        with pytest.raises(ConnectionError):
            await site.reload.tick()
    await site.reload.tick()
    assert (await backend.queues.settings("mail")).workers == 3


async def test_a_running_worker_keeps_to_it() -> None:
    app = App("memory://")

    @app.task(name="note", queue="a")
    async def note() -> None: ...

    options = WorkerOptions(queues={"a": 1.0, "b": 1.0}, rate=0.01, max_loop_lag=5.0, concurrency=3, poll=0.05)
    worker = Worker(app, options)
    async with worker.running():
        assert worker.parts is not None
        handles = await note.aenqueue_many([()] * 3)
        await until(lambda: worker.parts is not None and worker.parts.settler.settled >= 1, "the first has run")
        assert worker.parts.restraint.pace.allowed() == 0
        wanted = WorkerOptions(queues={"a": 3.0, "b": 1.0}, rate=1000.0, max_rss=1, concurrency=9, max_loop_lag=None)
        retune(worker, wanted)
        assert (worker.options.concurrency, worker.options.max_loop_lag) == (3, None)
        await until(lambda: worker.info.pressure.startswith("memory"), "the new limit of memory presses")
        retune(worker, WorkerOptions(queues={"c": 1.0}, rate=1000.0, max_tasks=3))
        assert worker.options.queues == {"a": 3.0, "b": 1.0}, "other queues need a restart"
        for handle in handles:
            await handle.aresult(timeout=30)
        await until(lambda: worker.wants_restart, "the new limit of runs is reached")


async def test_a_rate_that_is_the_same_has_spent_what_it_has() -> None:
    app = App("memory://")
    worker = Worker(app, WorkerOptions(rate=2.0))
    async with worker.running():
        assert worker.parts is not None
        pace = worker.parts.restraint.pace
        pace.spend(1)
        assert pace.allowed() == 0
        retune(worker, WorkerOptions(rate=2.0, max_rss=4000))
        assert pace.allowed() == 0
        retune(worker, WorkerOptions(rate=None))
        assert pace.allowed() > 1000
