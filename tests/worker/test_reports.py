"""What processes under one supervisor tell it: one target, whose counts never go back."""

from __future__ import annotations

import os

import pytest

from taskq.domain.figures import Figures, Frame
from taskq.domain.health import Health
from taskq.runtime import reports as reporting
from taskq.runtime.reports import Reports
from taskq.variables import REPORTS
from tests.servers import wait_until

WELL = Health(True, True, {"loop": "turns"})


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells every hundredth of a second."""
    monkeypatch.setattr(reporting, "EVERY", 0.01)


def counted(number: float, level: float = 1) -> Frame:
    return {"run a q": Figures({"completed": number}, levels={"l": level}), "queue q": Figures({"came": number})}


def connected(reports: Reports, index: int, frame: Frame, monkeypatch: pytest.MonkeyPatch) -> reporting.Reporter:
    """A process that tells this."""
    hears, tells = os.pipe()
    reports.listen(index, hears)
    monkeypatch.setenv(REPORTS, str(tells))
    showing = reporting.reporting()
    assert showing is not None
    assert REPORTS not in os.environ
    return showing(lambda: dict(frame), lambda: WELL)


def completed(reports: Reports) -> float:
    return reports.frame().get("run a q", Figures()).counts.get("completed", 0)


def test_a_process_without_such_a_supervisor_tells_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REPORTS, raising=False)
    assert reporting.reporting() is None


def test_several_processes_add_up_and_what_they_counted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    reports, frame = Reports(), counted(1)
    with connected(reports, 0, frame, monkeypatch), connected(reports, 1, counted(10), monkeypatch):
        wait_until(lambda: completed(reports) == 11, "both are heard")
        frame["run a q"] = Figures({"completed": 5}, levels={"l": 1})
        wait_until(lambda: completed(reports) == 15, "what is newer is heard")
        assert reports.frame()["run a q"].levels == {"l": 2}
        assert reports.health().checks == {"0.loop": "turns", "1.loop": "turns"}
    reports.retire(0)
    assert completed(reports) == 15
    assert reports.frame()["run a q"].levels == {"l": 1}
    with connected(reports, 0, counted(100), monkeypatch):
        wait_until(lambda: completed(reports) == 115, "the one that took its place is heard")
    for index in (0, 1, 2):
        reports.retire(index)
    assert completed(reports) == 115
    assert reports.health() == Health(True, False)


def test_of_the_store_each_tells_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = Reports()
    with connected(reports, 0, counted(7), monkeypatch), connected(reports, 1, counted(7), monkeypatch):
        wait_until(lambda: completed(reports) == 14, "both are heard")
        assert reports.frame()["queue q"].counts == {"came": 7}
    reports.retire(0)
    reports.retire(1)
    assert "queue q" not in reports.frame()


@pytest.mark.parametrize("said", [b"\x00\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x01x", b"\x00\x00\x00\x09x"])
def test_what_is_no_report_is_not_listened_to(said: bytes) -> None:
    hears, tells = os.pipe()
    reports = Reports()
    reports.listen(0, hears)
    os.write(tells, said)
    os.close(tells)
    reports.retire(0)
    assert reports.frame() == {}


def test_a_process_whose_supervisor_has_gone_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    hears, tells = os.pipe()
    os.close(hears)
    monkeypatch.setenv(REPORTS, str(tells))
    showing = reporting.reporting()
    assert showing is not None
    with showing(dict, lambda: WELL) as reporter:
        reporter._thread.join(10)
        assert not reporter._thread.is_alive()


def test_a_process_that_has_fallen_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "BLOCKED", 0.05)
    hears, tells = os.pipe()
    reports = Reports()
    reports.listen(0, hears)
    try:
        wait_until(lambda: not reports.health().is_live, "nobody has heard of it")
        assert "has been silent for" in reports.health().checks["0.process"]
    finally:
        os.close(tells)
        reports.retire(0)


def test_what_cannot_be_told_is_logged_and_told_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = iter([ZeroDivisionError()])

    def health() -> Health:
        for fault in faults:
            raise fault
        return WELL

    hears, tells = os.pipe()
    reports = Reports()
    reports.listen(0, hears)
    monkeypatch.setenv(REPORTS, str(tells))
    showing = reporting.reporting()
    assert showing is not None
    with showing(lambda: counted(3), health):
        wait_until(lambda: completed(reports) == 3, "it is heard all the same")
    assert "could not be told to its supervisor: ZeroDivisionError" in caplog.text
    reports.retire(0)


def test_only_what_has_changed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A series that is the same object as before costs nothing, however often it is told of."""
    hears, tells = os.pipe()
    frame = counted(1)
    reporter = reporting.Reporter(tells, lambda: reporting.Report(dict(frame), WELL))
    with os.fdopen(hears, "rb") as pipe:

        def told() -> reporting.Report:
            reporter._tell()
            report = reporting._read(pipe)
            assert report is not None
            return report

        assert told() == (frame, WELL, [])
        assert told() == ({}, WELL, [])
        frame["run a q"] = Figures({"completed": 2})
        assert told() == ({"run a q": Figures({"completed": 2})}, WELL, [])
        del frame["queue q"]
        assert told() == ({}, WELL, ["queue q"])
        reporter._pipe.close()


def test_what_is_there_no_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    reports, frame = Reports(), counted(1)
    with connected(reports, 0, frame, monkeypatch):
        wait_until(lambda: "queue q" in reports.frame(), "it is heard")
        del frame["queue q"]
        wait_until(lambda: "queue q" not in reports.frame(), "that it is gone is heard")
        assert completed(reports) == 1
    reports.retire(0)
