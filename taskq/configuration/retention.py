"""The section `retention`: how long what is over is kept."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, model_validator

from taskq.config import AuditRetention
from taskq.configuration.section import Duration, Number, Section, Whole, asked
from taskq.domain.message import DAY
from taskq.errors import ConfigError
from taskq.ports.queues import DEFAULT_MAX_FINISHED

_AUDIT = AuditRetention()


class Retention(Section):
    """How long what has ended is kept."""

    age: Duration = 7 * DAY
    """Of a task that does not say so itself."""
    max_finished: Whole = Field(default=DEFAULT_MAX_FINISHED, ge=1, le=1_000_000_000)
    """Of each queue that is named under `queues` and does not say so itself."""
    audit_days: Number = Field(default=_AUDIT.age / timedelta(days=1), gt=0)
    """How old entries of the audit trail become."""
    audit_entries: Whole = _AUDIT.most
    """How many of them are kept."""

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        asked(lambda: self.audit)
        return self

    @property
    def audit(self) -> AuditRetention:
        """How much of the audit trail is kept.

        Raises:
            ConfigError: a value is out of its range.
        """
        if not 1 / 24 <= self.audit_days <= 3650:
            raise ConfigError(f"audit_days must be from an hour (1/24) to 3,650 days, not {self.audit_days:g}")
        if not 1000 <= self.audit_entries <= 10_000_000:
            raise ConfigError(f"audit_entries must be from 1,000 to 10,000,000, not {self.audit_entries}")
        return AuditRetention(age=timedelta(days=self.audit_days), most=self.audit_entries)
