"""What Postgres keeps of schedules, where its own way with time matters."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskq.ports import BackendOptions, Change, ScheduleEntry
from taskq_postgres import create_backend


@pytest.mark.parametrize("timezone", ["Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("instant", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)])
async def test_the_ends_of_the_calendar_are_read_whatever_the_zone_of_the_session(
    postgres_url: str, timezone: str, instant: datetime
) -> None:
    entry = ScheduleEntry(name="far", queue="default", spec=b"{}", state=b"", next_at=instant)
    async with create_backend(f"{postgres_url}?options=-c%20TimeZone%3D{timezone}", BackendOptions()) as backend:
        scheduler = backend.scheduler
        assert scheduler is not None
        assert [done.is_applied for done in await scheduler.commit([Change(entry)])] == [True]
        assert [found.next_at for found in await scheduler.entries()] == [instant]
        due = await scheduler.claim_due()
        assert [found.next_at for found, _ in due.entries] == ([instant] if instant.year == 1 else [])
