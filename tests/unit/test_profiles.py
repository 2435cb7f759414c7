"""What is told of frames, what is kept of profiles, and for how long."""

from __future__ import annotations

import random
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest

from taskq import App, profiles
from taskq.domain.profile import OTHERS, Profile, Stack, collapsed
from taskq.ports import DOCUMENT_LIMIT, Documents
from taskq.profiles import KEPT, MOST_KEPT, ProfileInfo, ProfileState, pack, unpack
from taskq.runtime import sampler
from taskq.runtime.sampler import Costs, Labels, label_of, place_of, sample

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def burn_until(stop: threading.Event, secret: str) -> None:
    assert secret
    while not stop.is_set():
        sum(range(100))


@pytest.mark.parametrize(
    ("file", "module", "place"),
    [
        ("/home/ann/shop/pictures.py", "shop.pictures", "shop/pictures.py"),
        ("/home/ann/shop/__init__.py", "shop", "shop/__init__.py"),
        ("/home/ann/run.py", "__main__", "run.py"),
        ("/home/ann/made.py", "of.another.name", "made.py"),
        ("<string>", "shop", "<string>"),
        ("", "", ""),
    ],
)
def test_no_file_names_what_is_above_its_package(file: str, module: str, place: str) -> None:
    assert place_of(file, module) == place


def test_a_name_breaks_no_line_apart() -> None:
    code = compile("1", "/x/a;b\n\x1b[31m.py", "exec")
    assert label_of(code, 3, "shop") == "<module> (a:b??[31m.py:3)"


def test_the_busy_thread_is_hot_and_its_arguments_are_not_told() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=burn_until, args=(stop, "s3cret"), name="pool_17")
    thread.start()
    idle = threading.Thread(target=stop.wait, name="idler")
    idle.start()
    try:
        profile = sample(0.5, threading.Event())
    finally:
        stop.set()
        thread.join()
        idle.join()
    by_cpu, by_wall = collapsed(profile), collapsed(profile, "wall")
    hottest = by_cpu.splitlines()[0]
    assert hottest.startswith("pool;")
    assert "burn_until (tests/unit/test_profiles.py:" in hottest
    assert "idler;" in by_wall
    assert "s3cret" not in by_wall
    assert "taskq-profile" not in by_wall, "the thread that looks is not looked at"
    assert 0 < profile.samples <= 51


def test_it_ends_at_once_when_it_is_told() -> None:
    stop = threading.Event()
    stop.set()
    assert sample(60.0, stop).samples == 0


def test_where_the_host_tells_no_costs_all_are_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_seconds_of", lambda native_id: None)
    costs = Costs()
    assert not costs.are_known
    assert costs.since(1) == 0.0


def test_a_thread_that_is_gone_costs_nothing() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    assert Costs().since(thread.native_id) == 0.0


def test_labels_and_depth_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_MOST_LABELS", 5)
    monkeypatch.setattr(sampler, "_MOST_FRAMES", 30)
    labels = Labels()

    def deep(depth: int) -> tuple[str, ...]:
        return deep(depth - 1) if depth else labels.of(sys._getframe())

    assert len(deep(100)) == 30
    assert len(labels._known) <= 5


def large(stacks: int) -> Profile:
    dice = random.Random(1)
    names = [f"{dice.randbytes(40).hex()} (shop.py:{number})" for number in range(stacks)]
    return Profile(60.0, 6000, tuple(Stack(("pool", name), stacks - n, 0.01) for n, name in enumerate(names)))


def test_a_profile_is_read_as_it_was_written() -> None:
    profile = large(100)
    assert unpack(pack(profile)) == profile


def test_what_is_too_large_is_cut_to_its_hottest_stacks() -> None:
    profile = large(6000)
    data = pack(profile)
    assert len(data) <= DOCUMENT_LIMIT
    found = unpack(data)
    assert found.stacks[0] == profile.stacks[0]
    assert found.stacks[-1].frames == (OTHERS,)
    assert sum(stack.samples for stack in found.stacks) == sum(stack.samples for stack in profile.stacks)


async def _documents(app: App) -> Documents:
    return (await app.backend()).documents


def info(number: int, age: timedelta = timedelta(0)) -> ProfileInfo:
    return ProfileInfo(f"{number:04}", "w1", "n", "ann", 1.0, NOW - age + timedelta(seconds=number))


async def test_the_newest_are_kept_and_for_a_day() -> None:
    async with App("memory://") as app:
        documents = await _documents(app)
        for number in range(MOST_KEPT + 5):
            await profiles.write(documents, info(number))
            await profiles.save(documents, f"{number:04}", large(2))
        await profiles.tidy(documents, NOW)
        kept = [one.id for one in await profiles.newest(documents)]
        assert kept == [f"{number:04}" for number in range(MOST_KEPT + 4, 4, -1)]
        assert await profiles.load(documents, "0004") is None
        assert await profiles.load(documents, "0005") is not None
        await profiles.tidy(documents, NOW + KEPT + timedelta(seconds=24))
        assert [one.id for one in await profiles.newest(documents)] == ["0024"]


async def test_what_is_forgotten_meanwhile_leaves_nothing_behind() -> None:
    async with App("memory://") as app:
        documents = await _documents(app)
        await profiles.save(documents, "0001", large(2))
        assert await profiles.load(documents, "0001") is None
        assert await profiles.get(documents, "0001") is None


async def test_what_was_seen_says_how_much() -> None:
    async with App("memory://") as app:
        documents = await _documents(app)
        await profiles.write(documents, info(1))
        await profiles.save(documents, "0001", large(2), "the worker stopped")
        found = await profiles.get(documents, "0001")
        assert found is not None
        assert (found.state, found.took, found.samples, found.reason) == (
            *(ProfileState.DONE, 60.0, 6000, "the worker stopped"),
        )
