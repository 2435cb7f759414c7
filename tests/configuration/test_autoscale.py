"""Bounds and groups of autoscale, and how long the audit trail is kept, reach all who go by them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from taskq import App
from taskq.config import AuditRetention, Settings
from taskq.domain.autoscale import Autoscale, Group, Scaling
from taskq.domain.figures import desired_workers
from taskq.errors import ConfigError
from taskq.management import Actor, AuditKeeper, Management, Role
from taskq.runtime.store_watch import StoreWatch
from tests.cli.support import taskq
from tests.configuration.conftest import Read

OFFICE = """
autoscale:
  min: 2
  max: 50
  target: 2m
  groups:
    office: {queues: [reports, mail, mail], min: 3, target: 10s}
"""
ANN = Actor("ann", [Role.ADMIN])


def test_a_group_takes_what_it_does_not_say_from_all(read: Read) -> None:
    usual = Scaling(min=2, max=50, target=120.0)
    office = Group(("mail", "reports"), Scaling(min=3, max=50, target=10.0))
    assert read(OFFICE).app().assumed.autoscale == Autoscale(usual, {"office": office})
    assert read("").app().assumed.autoscale == Autoscale()


async def test_all_who_ask_go_by_it(read: Read) -> None:
    async with read(OFFICE).app(backend="memory://") as app:
        for queue in ("mail", "web"):
            await app.aenqueue("mail.send", {}, queue=queue)
        desk = Management(app, ANN).workers.autoscale
        told = {one.group or one.queues: one.desired for one in await desk.each()}
        assert told == {"office": 3, ("web",): 2}
        assert (await desk.group("office")).queues == ("mail", "reports")
        assert (await desk.group("office", Scaling(min=7))).desired == 7
        assert (await desk.hint(["web"])).desired == 2
        watch = StoreWatch(app)
        await watch.tick()
        frame = watch.frame()
        assert {name: desired_workers(frame, name) for name in ("office", "web", "mail", "no")} == {
            "office": 3,
            "web": 2,
            "mail": None,
            "no": None,
        }


async def test_bounds_that_are_said_hold_for_groups_too(read: Read) -> None:
    async with read(OFFICE).app(backend="memory://") as app:
        [office] = await Management(app, ANN).workers.autoscale.each(Scaling(min=9))
        assert (office.group, office.desired) == ("office", 9)


async def test_a_group_that_is_none(read: Read) -> None:
    desk = Management(read(OFFICE).app(backend="memory://"), ANN).workers.autoscale
    with pytest.raises(ConfigError, match=r"autoscale\.groups has no group 'mail'; there are: office"):
        await desk.group("mail")
    with pytest.raises(ConfigError, match="no group 'mail'; there are: none"):
        await Management(App("memory://"), ANN).workers.autoscale.group("mail")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("autoscale: {min: 5, max: 4}", "max must be over 0, and min (5) not over max (4)"),
        ("autoscale: {target: 0s}", "target must be from 0.1 to 86,400 seconds, not 0.0"),
        ("autoscale: {least: 1}", "autoscale.least: there is no such key"),
        ("autoscale: {groups: {a: {queues: []}}}", "autoscale.groups.a.queues"),
        ("autoscale: {groups: {a: {queues: [b c]}}}", "queue 'b c': use 1 to 200"),
        ("autoscale: {groups: {a b: {queues: [c]}}}", "group 'a b': use 1 to 200"),
        (
            "autoscale: {groups: {a: {queues: [c], min: 101}}}",
            "group a: max must be over 0, and min (101) not over max",
        ),
        ("retention: {audit_days: 0.01}", "audit_days must be from an hour (1/24) to 3,650 days, not 0.01"),
        ("retention: {audit_entries: 10}", "audit_entries must be from 1,000 to 10,000,000, not 10"),
    ],
)
def test_what_is_wrong_is_said(wrong: Callable[..., list[str]], text: str, line: str) -> None:
    [said] = wrong(text)
    assert line in said


def test_the_command_goes_by_it(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(f"backend: memory://?snapshot={tmp_path}/tasks\n{OFFICE}")
    monkeypatch.chdir(tmp_path)
    assert taskq("enqueue", "mail.send", "--queue", "web").exit_code == 0
    keda = ("workers", "autoscale", "--format", "keda")
    for words, desired in (
        (("--group", "office"), 3),
        (("--queue", "web"), 2),
        (("--queue", "web", "--min", "4"), 4),
        (("--group", "office", "--min", "0", "--max", "1"), 0),
    ):
        result = taskq(*keda, *words)
        assert (result.exit_code, json.loads(result.stdout)) == (0, {"value": desired}), result.output
    told = json.loads(taskq("autoscale", "--json").stdout)
    assert [(one["group"], one["queues"], one["desired"]) for one in told] == [
        ("office", ["mail", "reports"], 3),
        (None, ["web"], 2),
    ]
    assert taskq("autoscale", "--format", "json").stdout.startswith("[")
    assert "office" in taskq("autoscale", "--group", "office").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--format", "keda"), "--format keda is one number: say of what, with --queue or --group"),
        (("--queue", "a", "--group", "b"), "give --queue or --group, not both"),
        (("--group", "b"), "autoscale.groups has no group 'b'; there are: none"),
        (("--target", "0"), "target must be from 0.1 to 86,400 seconds"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    result = taskq("autoscale", "--backend", f"memory://?snapshot={tmp_path}/tasks", *words)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert said in result.stderr


def test_the_trail_is_kept_as_the_configuration_says(read: Read) -> None:
    found = read("retention: {audit_days: 30, audit_entries: 5000}")
    said = AuditRetention(age=timedelta(days=30), most=5000)
    app = found.app(backend="memory://")
    assert Management(app, ANN).audit.retention == said
    assert AuditKeeper(app, "p1")._retention == said
    own = AuditRetention(age=timedelta(days=1))
    assert Management(found.app(settings=Settings(audit=own)), ANN).audit.retention == own
    assert Management(read("").app(), ANN).audit.retention == AuditRetention()
