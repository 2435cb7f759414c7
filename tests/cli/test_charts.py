"""`taskq metrics`: charts in the terminal of what the store keeps."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from uuid import uuid4

import pytest

from taskq import App
from taskq.cli.metrics import BARS, WIDTH
from taskq.domain.figures import Figures
from taskq.rollups import Moment, roll_up, write_moments
from tests.cli.support import Shell, taskq
from tests.cli.terminal import Terminal


@pytest.fixture
def kept(redis_url: str) -> str:
    """The URL of a store with figures of the last minutes."""
    sent = Figures({"completed": 600, "dead": 30})
    sent.time("duration", 0.2)
    sent.time("wait", 90.0)
    shown, mail = Figures({"completed": 60}), Figures(levels={"oldest": 4.0})

    async def leave() -> None:
        async with App(redis_url) as app:
            metrics = (await app.backend()).metrics
            moments = [
                Moment(ago, {"run send mail": sent, "run show web": shown, "queue mail": mail}) for ago in (1200, 300)
            ]
            await metrics.leave(uuid4().hex, write_moments(moments))
            assert (await roll_up(metrics)).taken == 1

    asyncio.run(leave())
    return redis_url


def test_a_row_for_each_figure(kept: str) -> None:
    result = taskq("metrics", "--backend", kept, "--range", "30m")
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["of", "figure", "chart", "most", "last"]
    assert [row[5:].split("  ")[0].strip() for row in rows] == [
        *("throughput", "failures"),
        *("wait p95", "duration p95", "oldest age"),
    ]
    assert [row.rsplit("  ", 1)[1].strip() for row in rows] == ["11/s", "0.5/s", *rows_of_times(rows)]
    assert all(sum(letter in BARS for letter in row) == 2 for row in rows), "two stretches of which something is known"


def rows_of_times(rows: list[str]) -> list[str]:
    """What the last of each duration is: sketches tell it to within a tenth."""
    told = [row.rsplit("  ", 1)[1].strip() for row in rows[2:]]
    assert (told[0].endswith(" s"), told[1].endswith(" ms"), told[2]) == (True, True, "4.0 s")
    return told


def test_by_task_and_by_queue(kept: str) -> None:
    tasks = taskq("metrics", "--backend", kept, "--by", "task").stdout.splitlines()[1:]
    assert [row.split()[0] for row in tasks] == ["send"] * 4 + ["show"] * 2
    queues = taskq("metrics", "--backend", kept, "--by", "queue").stdout.splitlines()[1:]
    assert {row.split()[0] for row in queues} == {"mail"}
    one = taskq("metrics", "--backend", kept, "--task", "send", "--queue", "mail").stdout.splitlines()[1:]
    assert {row.split("  ")[0] for row in one} == {"send mail"}


def test_as_json(kept: str) -> None:
    told = json.loads(taskq("metrics", "--backend", kept, "--range", "1h", "--step", "60s", "--json").stdout)
    assert (told["step"], told["number"]) == (60, 1)
    [panel] = told["panels"]
    assert (panel["task"], panel["queue"], len(panel["points"])) == (None, None, 2)
    assert {"at", "throughput", "failures", "wait_p95", "duration_p95", "oldest"} == set(panel["points"][0])


def test_where_nothing_is_known(tmp_path: Path) -> None:
    result = taskq("metrics", "--backend", f"memory://?snapshot={tmp_path}/tasks")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "nothing is known of that time: a worker or a beat that lives leaves figures" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--range", "soon"), "'soon' is no duration"),
        (("--range", "0"), "must be before until"),
        (("--by", "tenant"), "'tenant' is not one of"),
        (("--queue", "a b"), "queue 'a b': use 1 to 200"),
        (("--step", "2d"), "step must be from 1 to 86,400 seconds"),
    ],
)
def test_mistakes(kept: str, words: tuple[str, ...], said: str) -> None:
    result = taskq("metrics", "--backend", kept, *words)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_it_is_drawn_anew_on_a_terminal(shell: Shell, kept: str) -> None:
    with Terminal(shell.folder, "metrics", "--backend", kept, "--watch", "1s") as terminal:
        terminal.until_it_says("throughput")
        terminal.type("q")
        assert terminal.until_it_ends() == 0
    assert WIDTH == 40
