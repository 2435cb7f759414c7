"""The section `alerts`: which of them are looked for, and who is told. What can be is decided by taskq.alert_rules."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from taskq import alert_rules
from taskq.alert_rules import REMIND_AFTER, SUBMISSION, AlertOptions, EmailOptions, Tls, WebhookOptions
from taskq.configuration.section import Number, Seconds, Section, Texts, Whole, asked, plain
from taskq.domain.alerts import Bounds
from taskq.domain.alerts import Rule as Kind


class Rule(Section):
    """One alert."""

    enabled: bool = True
    above: Number | None = None
    """What is too much; None: what the rule itself counts as such."""
    for_: Seconds | None = Field(default=None, alias="for")
    """How long it must have been so; None: as the rule itself says."""
    clear_after: Seconds | None = None
    """How long it must not have been so any more until the alert is over; likewise."""
    queues: Texts | None = None
    """In which queues; None: in all."""

    @field_validator("*")
    @classmethod
    def _can_be(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if value is not None:
            option = "hold_for" if name == "for_" else name
            asked(partial(alert_rules.check_bound, option, value, name.removesuffix("_")))
        return value

    def bounds(self, rule: str) -> Bounds:
        """The bounds of a rule of which this is said.

        Raises:
            ConfigError: it cannot be said of that rule.
        """
        said = {"above": self.above, "hold_for": self.for_, "clear_after": self.clear_after, "queues": self.queues}
        given: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
        return alert_rules.bounds_of(rule, enabled=self.enabled, **given)


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

    @field_validator("*")
    @classmethod
    def _can_be(cls, said: Rule, info: ValidationInfo) -> Rule:
        asked(partial(said.bounds, str(info.field_name)))
        return said


class Webhook(Section):
    """The URL that is told of alerts."""

    url: str = Field(repr=False)
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        asked(partial(WebhookOptions, url))
        return url

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        asked(lambda: self.options)
        return self

    @property
    def options(self) -> WebhookOptions:
        """The same, as who tells takes it."""
        return WebhookOptions(self.url, {name: plain(value) for name, value in self.headers.items()})


class Email(Section):
    """Who gets alerts by mail, and by which server."""

    host: str
    port: Whole = SUBMISSION
    user: str | None = None
    password: SecretStr | None = None
    from_: str = Field(alias="from")
    to: Texts
    tls: Tls = "starttls"
    """How the server is spoken to; none is for one on this host."""

    @field_validator("host", "port", "from_", "to")
    @classmethod
    def _can_be(cls, value: Any, info: ValidationInfo) -> Any:
        usual: dict[str, Any] = {"host": "localhost", "sender": "a@b.c", "to": ("a@b.c",)}
        name = "sender" if info.field_name == "from_" else str(info.field_name)
        asked(lambda: EmailOptions(**{**usual, name: value}))
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        asked(lambda: self.options)
        return self

    @property
    def options(self) -> EmailOptions:
        """The same, as who tells takes it."""
        return EmailOptions(
            host=self.host,
            port=self.port,
            sender=self.from_,
            to=tuple(self.to),
            user=self.user or "",
            password=plain(self.password) or "",
            tls=self.tls,
        )


class Alerts(Section):
    """Alerts."""

    enabled: bool = True
    rules: Rules = Rules()
    webhook: Webhook | None = None
    email: Email | None = None
    remind_after: Seconds = REMIND_AFTER
    """After which an alert that nobody has acknowledged is told again; 0: never."""

    @field_validator("remind_after")
    @classmethod
    def _can_be(cls, seconds: float) -> float:
        asked(partial(alert_rules.check_remind_after, seconds))
        return seconds

    @property
    def options(self) -> AlertOptions:
        """The same, as who looks takes it."""
        return AlertOptions(
            enabled=self.enabled,
            rules={rule: getattr(self.rules, rule).bounds(rule) for rule in Kind},
            webhook=None if self.webhook is None else self.webhook.options,
            email=None if self.email is None else self.email.options,
            remind_after=self.remind_after,
        )
