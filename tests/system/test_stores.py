"""Stores that are killed under load: producers and workers go on by themselves, and what was acknowledged is done."""

from __future__ import annotations

import pytest

from tests.servers import Server, wait_until
from tests.system.support import PATIENCE, Site

pytestmark = pytest.mark.timeout(180)


def test_a_store_that_is_killed_and_comes_back_loses_nothing_acknowledged(site: Site, server: Server) -> None:
    worker = site.worker(lease=5.0)
    site.until_serving(worker)
    producers = [site.start("jobs.py", str(first)) for first in (0, 1_000_000)]
    site.until_witnessed("quick", 200)
    for _ in range(2):
        acknowledged = site.witnessed("acknowledged").total()
        server.kill()
        server.restart()
        site.until_witnessed("acknowledged", acknowledged + 100)
    site.touch("enough")
    for producer in producers:
        assert producer.wait(PATIENCE) == 0
    acknowledged_ids = set(site.witnessed("acknowledged"))

    def is_all_done() -> bool:
        return acknowledged_ids <= set(site.witnessed("quick"))

    wait_until(is_all_done, "all that was acknowledged has run", PATIENCE)
    assert site.end(worker) == 0


def test_a_worker_that_dies_while_its_store_is_away_is_replaced_when_it_is_back(site: Site, server: Server) -> None:
    worker = site.worker(lease=5.0)
    children = site.until_serving(worker)
    server.kill()
    children[0].kill()
    wait_until(lambda: "could not be reached" in site.log or "refused" in site.log, "a new one has tried", PATIENCE)
    assert worker.poll() is None
    server.restart()
    wait_until(lambda: len(site.workers() - {children[0].pid}) == 2, "two serve again", PATIENCE)
    [handle] = site.enqueue("quick", range(1))
    assert handle.result(PATIENCE) == 0
    assert site.end(worker) == 0
