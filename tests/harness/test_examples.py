"""The examples of workflows and batches, step by step."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from examples import batch_import, crawler, nightly_etl
from taskq.testing import Harness


async def test_the_report_is_written_each_night(tmp_path: Path) -> None:
    async with Harness(nightly_etl.app) as harness:
        started = await nightly_etl.nightly.aenqueue([str(tmp_path)], 4, str(tmp_path / "report.json"))
        for place, text in enumerate(["def f(): ...", "class C:\n    async def g(): ...", "import os", "def ("]):
            (tmp_path / f"{place}.py").write_text(text)
        await harness.run_until_idle()
        run = nightly_etl.app.find_workflow(await started.aresult(0))
        assert await run.aresult(0) == str(tmp_path / "report.json")
        states = Counter(node.record.state.value for node in await run.anodes())
        assert states == {"completed": 6, "failed": 1}
        [schedule] = await nightly_etl.app.schedules.alist()
        assert schedule.name == "etl.nightly"
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["packages"]["1"] == {"files": 1, "functions": 1, "classes": 1, "imports": 0}
    assert report["unreadable"] == [str(tmp_path / "3.py")]


async def test_it_begins_at_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text("import os")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nightly_etl, "LIBRARY", str(tmp_path))
    async with Harness(nightly_etl.app) as harness:
        await harness.advance(days=1)
        assert len(harness.enqueued(nightly_etl.nightly)) == 1
    assert json.loads((tmp_path / "report.json").read_text())["packages"]["one"]["files"] == 300


async def test_without_its_list_of_files_nothing_is_counted(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    async with Harness(nightly_etl.app) as harness:
        run = await nightly_etl.nightly_workflow([str(tmp_path)], 3, str(out)).aenqueue()
        await harness.advance(minutes=5)  # there is no file, and it looks again and again
        assert {record.state.value for record in await run.afailed()} == {"dead", "cancelled"}
        assert (await run.aprogress()).completed == 0
    assert not out.exists()


async def test_no_page_is_fetched_twice(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    with crawler.served(20) as start:
        async with Harness(crawler.app) as harness:
            async with crawler.app.batch(on_complete=crawler.report.s(str(out))) as batch:
                await batch.aenqueue(crawler.fetch, start)
            await harness.advance(minutes=2)
            progress = await batch.aprogress()
            assert (progress.total, progress.completed, progress.failed) == (23, 20, 3)
            assert (await batch.astatus()).value == "failed"
            busy = await harness.enqueued(crawler.fetch)[0].handle.ainfo()
            assert busy.attempt == 1, "a 429 is no attempt"
    assert json.loads(out.read_text())["pages"] == 20


async def test_bad_rows_are_listed_mended_and_tried_again(tmp_path: Path) -> None:
    table, database = tmp_path / "items.csv", str(tmp_path / "shop.db")
    with batch_import.opened(database) as shop:
        shop.executescript(batch_import.TABLES)
    bad = batch_import.make_table(table, 500)
    async with Harness(batch_import.app) as harness:
        batch = await batch_import.fill(table, database)
        await harness.run_until_idle()
        assert (await batch.aprogress()).failed == len(bad) == 6
        assert len(batch_import.notes(database, "alarm")) == 1
        assert len(batch_import.notes(database, "bad")) == 6
        assert batch_import.notes(database, "success") == []
        batch_import.mend(database, bad)
        assert await batch.aretry() == 6
        await harness.run_until_idle()
        assert batch_import.notes(database, "success") == ["500 rows of items.csv, worth 123523.11"]
        assert len(batch_import.notes(database, "complete")) == 1
