"""What a file says of queues and what people have changed since, on each kind of store."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from taskq.configuration.declared import KIND, declare
from taskq.errors import BackendUnavailable
from taskq.ports import Backend, QueueSettings
from taskq.queues import Queues

FILE, OTHER = "/etc/taskq.yaml", "/srv/taskq.yaml"


async def settings(backend: Backend, queue: str = "mail") -> QueueSettings:
    return await backend.queues.settings(queue)


async def test_what_is_said_is_set(backend: Backend) -> None:
    retry = {"strategy": "fixed", "delay": 5, "max_retries": 2}
    said = {"workers": 3, "rate": "100/m", "retry": retry, "timeout": 60.0, "weight": 2.5, "warn_at": 0.5}
    await declare(backend, {"mail": said, "slow": {"max_size": 10}}, FILE)
    found = await settings(backend)
    assert (found.workers, found.retry, found.timeout, found.weight, found.warn_at) == (3, retry, 60.0, 2.5, 0.5)
    assert found.rate is not None
    assert found.rate.per_second == pytest.approx(100 / 60)
    assert (await settings(backend, "slow")).max_size == 10
    # It holds still, so that saying it no longer takes all of it back.
    await declare(backend, {}, FILE)
    assert await settings(backend) == QueueSettings()
    assert await settings(backend, "slow") == QueueSettings()


async def test_what_was_changed_at_run_time_stays(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "taskq.configuration")
    await declare(backend, {"mail": {"workers": 3, "weight": 2.0}}, FILE)
    await Queues(backend).aconfigure("mail", workers=9)
    await declare(backend, {"mail": {"workers": 3, "weight": 2.0}}, FILE)
    assert (await settings(backend)).workers == 9
    assert caplog.messages[-1] == "queue mail: workers was changed since, and stays; the configuration says 3"
    await declare(backend, {"mail": {"workers": 3, "weight": 4.0}}, FILE)
    found = await settings(backend)
    assert (found.workers, found.weight) == (9, 4.0), "what the file changes is set, and nothing else"
    assert "queue mail is set as the configuration says: weight=4.0" in caplog.messages


async def test_what_the_file_changes_is_set_also_where_it_was_changed_at_run_time(backend: Backend) -> None:
    await declare(backend, {"mail": {"workers": 3}}, FILE)
    await Queues(backend).aconfigure("mail", workers=9)
    await declare(backend, {"mail": {"workers": 4}}, FILE)
    assert (await settings(backend)).workers == 4


async def test_what_is_taken_out_goes_back_unless_it_was_changed(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "taskq.configuration")
    await declare(backend, {"mail": {"workers": 3, "weight": 2.0}}, FILE)
    await Queues(backend).aconfigure("mail", weight=7)
    await declare(backend, {"mail": {}}, FILE)
    found = await settings(backend)
    assert (found.workers, found.weight) == (None, 7.0)
    assert "queue mail: weight is said no longer, but was changed since, and stays" in caplog.messages


async def test_what_people_have_taken_back_stays_so(backend: Backend) -> None:
    await declare(backend, {"mail": {"max_size": 10}}, FILE)
    await Queues(backend).aconfigure("mail", max_size="default")
    await declare(backend, {"mail": {"max_size": 10}}, FILE)
    assert (await settings(backend)).max_size == 1_000_000


async def test_two_files_leave_each_other_alone(backend: Backend) -> None:
    mail, slow = {"mail": {"workers": 3}}, {"slow": {"workers": 4}, "mail": {"workers": 5}}
    await declare(backend, mail, FILE)
    await declare(backend, slow, OTHER)
    for _ in range(2):
        await declare(backend, mail, FILE)
        await declare(backend, slow, OTHER)
        assert (await settings(backend)).workers == 5
        assert (await settings(backend, "slow")).workers == 4


async def test_many_who_start_at_once_agree(backend: Backend) -> None:
    said: dict[str, dict[str, Any]] = {f"q{number}": {"workers": number + 1} for number in range(3)}
    await asyncio.gather(*(declare(backend, said, FILE) for _ in range(5)))
    assert [(await settings(backend, f"q{number}")).workers for number in range(3)] == [1, 2, 3]
    [document] = (await backend.documents.list(KIND)).documents
    before = document.version
    await declare(backend, said, FILE)
    [document] = (await backend.documents.list(KIND)).documents
    assert document.version == before, "nothing is written where nothing has changed"


async def test_two_releases_that_start_at_once_do_not_fight(backend: Backend) -> None:
    old, new = {"mail": {"workers": 1}}, {"mail": {"workers": 2}}
    await asyncio.gather(*(declare(backend, said, FILE) for said in (old, new, old, new)))
    [document] = (await backend.documents.list(KIND)).documents
    last = (await settings(backend)).workers
    assert last in (1, 2)
    assert b'"workers":%d' % (last or 0) in document.data, "what is noted is what holds"


async def test_who_says_nothing_writes_nothing(backend: Backend) -> None:
    await declare(backend, {}, FILE)
    assert (await backend.documents.list(KIND)).documents == []


async def test_a_value_that_does_not_fit_to_what_was_set(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    said: dict[str, dict[str, Any]] = {"mail": {"soft_timeout": 20.0, "workers": 3}, "slow": {"workers": 4}}
    await Queues(backend).aconfigure("mail", timeout=10)
    await declare(backend, said, FILE)
    rule = "soft_timeout must be less than the timeout of 10 s, not 20.0"
    [error] = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert error == f"queue mail cannot be set as the configuration says: {rule}"
    assert ((await settings(backend)).workers, (await settings(backend, "slow")).workers) == (None, 4)
    await Queues(backend).aconfigure("mail", timeout="default")
    await declare(backend, said, FILE)
    assert ((await settings(backend)).soft_timeout, (await settings(backend)).workers) == (20.0, 3)


async def test_what_another_release_has_said(backend: Backend) -> None:
    await declare(backend, {"mail": {"workers": 3}}, FILE)
    [document] = (await backend.documents.list(KIND)).documents
    data = document.data.replace(b'"workers":3', b'"workers":3,"weight":-1')
    assert await backend.documents.put(KIND, document.id, data, document.version)
    await declare(backend, {"mail": {"workers": 3, "weight": 2.0}}, FILE)
    assert (await settings(backend)).weight == 2.0


async def test_a_store_in_which_others_always_come_first(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(*_: object) -> bool:
        return False

    monkeypatch.setattr(type(backend.documents), "put", lose)
    with pytest.raises(BackendUnavailable, match="others write it all the time"):
        await declare(backend, {"mail": {"workers": 3}}, FILE)


async def test_processes_that_are_told_by_variables_do_not_undo_each_other(backend: Backend) -> None:
    await declare(backend, {"mail": {"workers": 5}}, "the environment", withdraws=False)
    await declare(backend, {"mail": {"weight": 2.0}, "slow": {"workers": 1}}, "the environment", withdraws=False)
    found = await settings(backend)
    assert (found.workers, found.weight, (await settings(backend, "slow")).workers) == (5, 2.0, 1)
    await Queues(backend).aconfigure("mail", workers=9)
    await declare(backend, {"mail": {"workers": 5}}, "the environment", withdraws=False)
    assert (await settings(backend)).workers == 9, "it is known as said before, whoever has spoken in between"
    await declare(backend, {"mail": {"workers": 6}}, "the environment", withdraws=False)
    assert (await settings(backend)).workers == 6
