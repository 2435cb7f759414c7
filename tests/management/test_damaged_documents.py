"""What the store holds and this release cannot read is told in a line, and holds up nothing else."""

from __future__ import annotations

import logging
import zlib
from datetime import UTC, datetime

import pytest

from taskq import App, profiles
from taskq.documents import Shelf, Unreadable
from taskq.domain.profile import Profile
from taskq.management import Management
from taskq.management.job_runner import JobRunner
from taskq.management.jobs import KIND, JobState
from taskq.profiles import DATA, ProfileInfo
from taskq.profiles import KIND as PROFILE
from tests.management.test_job_runner import later
from tests.management.test_jobs import put

DAMAGED = (b"", b"\xff\xfe", b"no JSON", b"[]", b'{"id": "x"}', b'{"id": 1}')
RULE = "in the store cannot be read, a later release or somebody by hand has written it: "


@pytest.mark.parametrize("data", DAMAGED)
async def test_a_job_that_cannot_be_read(
    app: App, management: Management, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    await put(app, 2)
    job = await management.jobs.start("cancel", "", confirmed=2)
    documents = (await app.backend()).documents
    id = f"damaged{DAMAGED.index(data)}-{job.id}"
    assert await documents.put(KIND, id, data)
    with caplog.at_level(logging.WARNING):
        assert [one.id for one in await management.jobs.list()] == [job.id]
        await JobRunner(app, "beat", later).tick()
    assert (await management.jobs.get(job.id)).state is JobState.DONE
    told = [record.getMessage() for record in caplog.records if record.name == "taskq.documents"]
    assert [line.partition(RULE)[0] for line in told] == [f"the job {id} "], "once, however often it is looked at"
    for act in (management.jobs.get, management.jobs.cancel, management.jobs.run):
        with pytest.raises(Unreadable, match=f"the job {id} in the store cannot be read") as refusal:
            await act(id)
        assert "\n" not in str(refusal.value)
    await management.jobs.start("cancel", "", confirmed=0)
    assert (await documents.get(KIND, id)) is not None, "who cannot read it does not forget it either"


@pytest.mark.parametrize("data", DAMAGED)
async def test_a_profile_that_cannot_be_read(
    app: App, management: Management, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    documents = (await app.backend()).documents
    whole = ProfileInfo("p1", "w1", "n", "bob", 60.0, datetime.now(UTC))
    await profiles.write(documents, whole)
    assert await documents.put(PROFILE, "p2", data)
    with caplog.at_level(logging.WARNING):
        assert [one.id for one in await management.workers.profiles()] == ["p1"]
    for act in (management.workers.profiled, management.workers.download):
        with pytest.raises(Unreadable, match="the profile p2 in the store cannot be read"):
            await act("p2")


@pytest.mark.parametrize("data", [*DAMAGED, zlib.compress(b"[1,1,true,[],[[[7],1,0.5]]]")])
async def test_what_was_seen_cannot_be_read(app: App, management: Management, data: bytes) -> None:
    documents = (await app.backend()).documents
    await profiles.write(documents, ProfileInfo("p1", "w1", "n", "bob", 60.0, datetime.now(UTC)))
    await profiles.save(documents, "p1", Profile(1.0, 0, ()))
    assert await documents.put(DATA, "p1", data, 1)
    with pytest.raises(Unreadable, match="the profile p1 in the store cannot be read"):
        await management.workers.download("p1")


async def test_a_change_is_made_on_the_newest(app: App) -> None:
    documents = (await app.backend()).documents
    shelf = Shelf("number", int, "number")
    assert await shelf.put(documents, "n", 1)
    asked: list[int] = []

    def doubled(number: int) -> int:
        asked.append(number)
        return 2 * number

    class Overtaken:
        """Documents that somebody else writes first, once."""

        def __getattr__(self, name: str) -> object:
            return getattr(documents, name)

        async def put(self, kind: str, id: str, data: bytes, version: int = 0) -> bool:
            if version == 1:
                assert await documents.put(kind, id, b"5", 1)
            return await documents.put(kind, id, data, version)

    assert await shelf.change(Overtaken(), "n", doubled) == 10  # type: ignore[arg-type]
    assert asked == [1, 5]
    assert await shelf.change(documents, "n", lambda _: None) is None
    assert await shelf.change(documents, "nothing", doubled) is None
