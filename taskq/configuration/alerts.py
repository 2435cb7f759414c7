"""The section `alerts`: which of them are looked for, and who is told."""

from __future__ import annotations

from functools import partial
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from taskq.config import check_identifier
from taskq.configuration.section import Duration, Number, Section, Texts, asked, refused


class Rule(Section):
    """One alert."""

    enabled: bool = True
    above: Number | None = Field(default=None, ge=0)
    """What is too much; None: what the rule itself counts as such."""
    for_: Duration | None = Field(default=None, alias="for")
    """How long it must have been so; None: as the rule itself says."""
    clear_after: Duration | None = None
    """How long it must not have been so any more until the alert is over; likewise."""
    queues: Texts | None = None
    """In which queues; None: in all."""

    @field_validator("queues")
    @classmethod
    def _are_names(cls, queues: list[str] | None) -> list[str] | None:
        for queue in queues or ():
            asked(partial(check_identifier, "queue", queue))
        return queues


class Rules(Section):
    """All alerts that there are."""

    queue_behind: Rule = Rule()
    """More tasks come than are done."""
    oldest_age: Rule = Rule()
    """Seconds for which the first task of a queue has been ready."""
    no_worker: Rule = Rule()
    """Tasks wait in a queue that no worker serves."""
    dead_letters: Rule = Rule()
    """Tasks that were given up."""
    schedule_late: Rule = Rule()
    """Seconds by which a schedule has fired late, or not at all."""
    worker_lost: Rule = Rule()
    """A worker has gone without a word."""
    breaker_open: Rule = Rule()
    """A breaker holds tasks back."""
    store_away: Rule = Rule()
    """The store does not answer."""
    store_regressed: Rule = Rule()
    """The store came back empty or older, or is not fit to be trusted."""
    store_slow: Rule = Rule()
    """Seconds that the store takes to answer."""


class Webhook(Section):
    """The URL that is told of alerts."""

    url: str = Field(repr=False)
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise refused("must be the URL of a webhook, such as https://hooks.example.com/taskq")
        return url


class Email(Section):
    """Who gets alerts by mail, and by which server."""

    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65_535)
    user: str | None = None
    password: SecretStr | None = None
    from_: str = Field(alias="from", min_length=3)
    to: Texts = Field(min_length=1)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """How the server is spoken to; none is for one on this host."""

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise refused("user and password are given together, or neither")
        if strange := [address for address in (self.from_, *self.to) if "@" not in address]:
            raise refused(f"{strange[0]!r} is no address of mail")
        return self


class Alerts(Section):
    """Alerts."""

    enabled: bool = True
    rules: Rules = Rules()
    webhook: Webhook | None = None
    email: Email | None = None
    remind_after: Duration = 14_400.0
    """After which an alert that nobody has acknowledged is told again; 0: never."""
