"""The kit itself: what a third party writes, and what it says of a backend that breaks a rule."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = '''
import asyncio
from itertools import count

import pytest

from taskq.ports import Backend, BackendOptions, EnqueueStatus, Settled, SettleStatus
from taskq.testing.clock import VirtualClock
from taskq.testing.conformance import BackendConformance
from taskq_memory.backend import MemoryBackend
from taskq_memory import create_backend


class Broker:
    """Passes everything on; each subclass breaks one rule."""

    def __init__(self, backend):
        self.backend, self.broker = backend, backend.broker

    def __getattr__(self, name):
        return getattr(self.broker, name)


class Whole(Broker):
    """Breaks none."""


class Unfenced(Broker):
    async def settle(self, settled):
        healed = []
        for delivery, settlement in settled:
            record = await self.backend.inspector.get(delivery.id)
            if record is not None:
                delivery = delivery._replace(fence=record.fence, worker=record.worker)
            healed.append(Settled(delivery, settlement))
        return await self.broker.settle(healed)


class Forgetful(Broker):
    numbers = count()

    async def fetch(self, queues, limit, *, request_id, **options):
        return await self.broker.fetch(queues, limit, request_id=f"{request_id}-{next(self.numbers)}", **options)


class Rude(Broker):
    async def extend(self, deliveries, lease):
        return (await self.broker.extend(deliveries, lease))._replace(cancel_wanted=frozenset())


class Boastful(Broker):
    async def settle(self, settled):
        return [SettleStatus.APPLIED for _ in await self.broker.settle(settled)]


class Strict(Broker):
    digests = {}

    async def enqueue(self, messages, **options):
        answers = await self.broker.enqueue(messages, **options)
        for place, message in enumerate(messages):
            if not message.digest and message.id in self.digests:
                answers[place] = answers[place]._replace(status=EnqueueStatus.CONFLICT)
            elif message.digest:
                self.digests[message.id] = message.digest
        return answers


class Busy(Broker):
    """Leaves the lease of a run as it is while somebody else says something: who holds it will say it again."""

    under_way = 0

    async def extend(self, deliveries, lease):
        await asyncio.sleep(0)
        before = dict(self.broker._store.running)
        answer = await self.broker.extend(deliveries, lease)
        if self.under_way:
            self.broker._store.running.update(before)
        return answer

    async def beside(self, call):
        self.under_way += 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.under_way -= 1
        return await call

    async def cancel(self, *given, **options):
        return await self.beside(self.broker.cancel(*given, **options))

    async def enqueue(self, *given, **options):
        return await self.beside(self.broker.enqueue(*given, **options))

    async def fetch(self, *given, **options):
        return await self.beside(self.broker.fetch(*given, **options))


class Results:
    """Tells nobody: who waits looks again, five times as often as a store should be asked."""

    def __init__(self, results):
        self.results = results

    def __getattr__(self, name):
        return getattr(self.results, name)

    async def wait(self, id, timeout):
        while (finished := await self.results.wait(id, 0)) is None and timeout > 0:
            await asyncio.sleep(0.2)
            timeout -= 0.2
        return finished


class TestIt(BackendConformance):
    clock = VirtualClock()

    @pytest.fixture
    def fresh_backend(self):
        def fresh():
            backend = create_backend("memory://", BackendOptions(clock=self.clock))
            backend.broker = BROKER(backend)
            backend.results = RESULTS(backend.results)
            return backend

        return fresh

    async def pass_time(self, backend, seconds):
        self.clock.advance(seconds)


def RESULTS(results):
    return results


BROKER = Whole
'''

RANDOM = "test_random_commands_agree_with_the_model"


def run(folder: Path, text: str, *options: str) -> str:
    """What pytest prints for a module in a project of its own, which runs asyncio tests only where they are marked."""
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    asyncio = ["--asyncio-mode=strict", "-o", "asyncio_default_fixture_loop_scope=function"]
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", *asyncio, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("broker", "rule"),
    [
        ("Unfenced", "test_a_stale_settle_is_refused"),
        ("Forgetful", "test_a_repeated_request_is_handed_the_same_tasks"),
        ("Rude", "test_a_running_task_is_asked"),
        ("Boastful", "test_a_repeated_settlement_is_known_and_changes_nothing"),
        ("Strict", "test_a_message_without_a_key_is_a_duplicate_of_one_with_a_key"),
    ],
)
def test_a_broken_rule_fails_by_its_name_and_in_random_runs(tmp_path: Path, broker: str, rule: str) -> None:
    text = MODULE.replace("BROKER = Whole", f"BROKER = {broker}\nTestIt.examples = 400")
    out = run(tmp_path, text, "-k", f"{rule} or {RANDOM}")
    assert f"FAILED test_it.py::TestIt::{rule}" in out
    assert f"FAILED test_it.py::TestIt::{RANDOM}" in out


def test_a_backend_that_tells_nobody_of_an_end_fails(tmp_path: Path) -> None:
    # Sooner than the usual deadline, to spend less time: a store that is asked once a second has 20 seconds.
    text = MODULE + "\n\nRESULTS = Results\nTestIt.deadline = 4.0\n"
    out = run(tmp_path, text, "-k", "test_each_end_is_told_to_those_who_wait_for_it and Complete")
    assert "who waits is not told" in out
    assert "1 failed" in out


def test_a_whole_backend_passes_in_a_project_of_its_own(tmp_path: Path) -> None:
    out = run(tmp_path, MODULE, "-k", "stale or repeated or asked or told", "-W", "error")
    assert "FAILED" not in out
    assert "ERROR" not in out
    assert "PASSED test_it.py::TestIt::test_a_stale_settle_is_refused" in out


def test_a_backend_may_leave_a_lease_as_it_is_where_another_holds_the_task(tmp_path: Path) -> None:
    out = run(
        tmp_path,
        MODULE.replace("BROKER = Whole", "BROKER = Busy\nTestIt.examples = 400"),
        "-k",
        RANDOM,
        "--hypothesis-seed=3",
    )
    assert "1 passed" in out


def test_a_false_claim_fails(tmp_path: Path) -> None:
    claim = "\nMemoryBackend.capabilities |= {Capability.TRANSACTIONAL_ENQUEUE}\n"
    text = MODULE.replace("import Backend,", "import Backend, Capability,") + claim
    out = run(tmp_path, text, "-k", "test_a_declared_capability_is_there_and_no_other")
    assert "1 failed" in out


def test_without_a_backend_the_kit_says_what_to_give(tmp_path: Path) -> None:
    text = "from taskq.testing.conformance import BackendConformance\n\n\nclass TestIt(BackendConformance):\n    pass\n"
    out = run(tmp_path, text, "-k", "test_an_enqueued_task_is_pending")
    assert "TestIt gives no fixture `fresh_backend`, which says how to open a backend" in out


def test_a_failed_assertion_in_the_kit_shows_its_values(tmp_path: Path) -> None:
    text = MODULE.replace("BROKER = Whole", "BROKER = Boastful")
    out = run(tmp_path, text, "-k", "test_a_task_without_a_record_is_gone")
    assert "- gone" in out
    assert "+ applied" in out


def test_the_start_of_pytest_loads_nothing_heavy() -> None:
    script = "import sys, taskq.testing.plugin; print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = done.stdout.split()
    assert "taskq.testing.plugin" in loaded
    assert {"hypothesis", "taskq.testing.conformance", "taskq.testing.harness", "taskq_memory"}.isdisjoint(loaded)
