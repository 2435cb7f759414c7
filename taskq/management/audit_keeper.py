"""Keeps the audit trail as short as its retention says, from whichever process is there to do it."""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime, timedelta

from taskq.app import App
from taskq.config import AuditRetention
from taskq.management.access import Actor, Role
from taskq.management.audit import AuditTrail
from taskq.runtime.duty import Duty

DUTY = "audit"
EVERY, ASK_EVERY = 3600.0, 600.0
"""Seconds between two looks at the trail, and between two questions whether the duty is free."""
HELD = 1.5 * EVERY
"""Seconds for which the duty is kept."""
AT_ONCE = 100
"""The trail is cut when it is by a hundredth, or a day, longer than it may be: each cut is an entry of its own."""
KEEPER = Actor("taskq", [Role.ADMIN])
"""By whom the trail says that it was trimmed."""
logger = logging.getLogger("taskq.audit")


class AuditKeeper:
    """Takes the duty where nobody has it, and does it: its tick is for a beat, or any other process that stays.

    Arguments:
        app: whose store it is.
        holder: random for each start of a process.
        retention: how much is kept; None: what the application says.

    >>> import asyncio
    >>> keeper = AuditKeeper(App("memory://"), "p1")
    >>> asyncio.run(keeper.tick())
    3600.0
    """

    def __init__(self, app: App, holder: str, retention: AuditRetention | None = None) -> None:
        self._app = app
        self._duty = Duty(DUTY, holder, HELD, app.backend)
        self._retention = retention or app.settings.audit or app.assumed.audit

    async def tick(self) -> float:
        """Shorten the trail, if that is our duty and it has grown too long; returns the seconds to the next time.

        Raises:
            BackendUnavailable: the store cannot be reached.
        """
        if not await self._duty.take():
            return ASK_EVERY * random.uniform(0.8, 1.2)
        trail, kept = AuditTrail(await self._app.backend()), self._retention
        reach = await trail.reach()
        grace = min(timedelta(days=1), kept.age / AT_ONCE)
        is_old = reach.since is not None and reach.since < datetime.now(UTC) - kept.age - grace
        if is_old or reach.entries > kept.most:
            gone = await trail.trim(KEEPER, kept.age, kept.most - kept.most // AT_ONCE)
            logger.info("%d entries of the audit trail were forgotten: it is kept for %s", gone, kept.age)
        return EVERY

    async def farewell(self) -> None:
        """Leave the duty to another at once."""
        await self._duty.leave()
