"""What can be set about alerts: the bounds of each rule, and who is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from taskq.config import check_identifier, is_number, is_whole, require
from taskq.domain.alerts import DEFAULTS, OF_QUEUES, Bounds, Rule
from taskq.errors import ConfigError, InvalidOption
from taskq.outbound.urls import ANY_PORT, read_url

Tls = Literal["starttls", "tls", "none"]
HIGHEST = 1e12
"""The most that may be said for `above`."""
LONGEST = 7 * 86_400.0
"""Seconds that any time of alerts may be."""
SOONEST = 60.0
"""Seconds before which nobody is told again."""
REMIND_AFTER = 4 * 3600.0
SUBMISSION = 587
"""The port by which mails are handed in (RFC 6409)."""
SAID = ("above", "hold_for", "clear_after", "enabled", "queues")
"""What may be said of a rule."""
MOST_RECIPIENTS = 100
OURS = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """Where alerts are posted, signed with the secrets of the application's webhooks and by their rules.

    Arguments:
        url: may hold a secret; it is not shown.
        headers: beside those of the signature; they may hold secrets.

    Raises:
        ConfigError: the URL or a header cannot be one.

    >>> WebhookOptions("https://example.com/alerts?key=hush")
    WebhookOptions()
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        try:
            read_url("alerts.webhook.url", self.url, ANY_PORT)
        except InvalidOption as error:
            raise ConfigError(str(error)) from None
        for name, value in self.headers.items():
            fits = all(part.isascii() and part.isprintable() for part in (name, value)) and name and " " not in name
            if not fits or ":" in name:  # the value may be a secret
                raise ConfigError(f"alerts.webhook.headers: {name!r} must be a header's name, and its value plain text")
            if name.lower() in OURS or name.lower().startswith("webhook-"):
                raise ConfigError(f"alerts.webhook.headers: {name} is written by taskq: leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailOptions:
    """By which server mails about alerts go, from whom, and to whom.

    Arguments:
        host, port: of the SMTP server.
        sender: the address that they come from.
        to: addresses.
        user, password: with which to log in; "": without.
        tls: "starttls"; "tls" from the first byte on; or "none", which is only for a server on this host.

    Raises:
        ConfigError: a value is out of its range; no message shows the password.

    >>> EmailOptions(host="mail.example.com", sender="taskq@example.com", to=("ops@example.com",)).port
    587
    """

    host: str
    sender: str
    to: tuple[str, ...]
    port: int = SUBMISSION
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Tls = "starttls"

    def __post_init__(self) -> None:
        given: object = self.to
        object.__setattr__(self, "to", (given,) if isinstance(given, str) else tuple(self.to))
        require(is_plain(self.host), "alerts.email.host must be a host name or an address", self.host)
        port: object = self.port
        in_range = is_whole(port) and port in ANY_PORT
        require(in_range, "alerts.email.port must be from 1 to 65,535", self.port)
        require(self.tls in get_args(Tls), f"alerts.email.tls must be one of {', '.join(get_args(Tls))}", self.tls)
        for option, address in (("from", self.sender), *(("to", one) for one in self.to)):
            fits = is_plain(address) and "@" in address[1:-1]
            require(fits, f"alerts.email.{option} must be an address such as ops@example.com", address)
        enough = 0 < len(self.to) <= MOST_RECIPIENTS
        require(enough, f"alerts.email.to must have 1 to {MOST_RECIPIENTS} addresses", len(self.to))
        if self.password and self.tls == "none":
            raise ConfigError("alerts.email: a password is sent only over TLS: say tls = starttls, or tls")
        if bool(self.password) != bool(self.user):
            raise ConfigError("alerts.email: user and password go together")


def bounds_of(rule: Rule | str, **said: Any) -> Bounds:
    """The bounds of a rule, as far as something is said other than its defaults.

    Arguments:
        rule: its name.
        said: `above` in the unit of the rule (docs/alerts.md), `hold_for` and `clear_after` in seconds, `enabled`,
            `queues`; files say `for` of `hold_for`.

    Raises:
        ConfigError: there is no such rule, or a value is out of its range.

    >>> bounds_of("oldest_age", above=60)
    Bounds(above=60, hold_for=30.0, clear_after=60.0, enabled=True, queues=())
    """
    what = f"alerts.rules.{rule}"
    require(rule in tuple(Rule), f"alerts.rules has only {', '.join(Rule)}", str(rule))
    unknown = said.keys() - set(SAID)
    require(not unknown, f"{what} has only {', '.join(SAID)}", ", ".join(sorted(unknown)))
    for option, value in said.items():
        check_bound(option, value, f"{what}.{option}")
    bounds = replace(DEFAULTS[Rule(rule)], **said)
    is_about_queues = rule in OF_QUEUES or not bounds.queues
    require(is_about_queues, f"{what} is about no queue: it must have no queues", bounds.queues)
    return replace(bounds, queues=tuple(bounds.queues))


def check_bound(option: str, value: Any, name: str) -> None:
    """Refuse what cannot be said of any rule.

    Arguments:
        option: one of those of `bounds_of`.
        name: by which whoever says it knows the option.

    Raises:
        ConfigError: the value is out of its range.

    >>> check_bound("hold_for", 0, "for")
    """
    match option:
        case "above":
            in_range = is_number(value) and 0 <= value <= HIGHEST
            require(in_range, f"{name} must be from 0 to a million millions", value)
        case "hold_for" | "clear_after":
            in_range = is_number(value) and 0 <= value <= LONGEST
            require(in_range, f"{name} must be from 0 to {LONGEST:,.0f} seconds", value)
        case "enabled":
            require(isinstance(value, bool), f"{name} must be True or False", value)
        case _:
            require(isinstance(value, list | tuple), f"{name} must be a list of queues", value)
            for queue in value:
                check_identifier("queue", queue)


def check_remind_after(seconds: object) -> None:
    """Refuse what cannot be the time after which an alert is told again.

    Raises:
        ConfigError: it is neither 0, which is never, nor in its range.

    >>> check_remind_after(0)
    """
    in_range = is_number(seconds) and (seconds == 0 or SOONEST <= seconds <= LONGEST)
    rule = f"alerts.remind_after must be from {SOONEST:.0f} to {LONGEST:,.0f} seconds, or 0 for never"
    require(in_range, rule, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOptions:
    """What holds about alerts.

    Arguments:
        enabled: whether this process looks whether there is a reason for one.
        rules: bounds other than the defaults (`bounds_of`).
        webhook, email: who is told; None: nobody in that way.
        remind_after: seconds after which an alert that nobody has acknowledged is told again; 0: never.

    Raises:
        ConfigError: there is no such rule, or a value is out of its range.

    >>> AlertOptions(rules={"oldest_age": bounds_of("oldest_age", above=60)}).bounds(Rule.OLDEST_AGE).above
    60
    """

    enabled: bool = True
    rules: Mapping[Rule | str, Bounds] = field(default_factory=dict)
    webhook: WebhookOptions | None = None
    email: EmailOptions | None = None
    remind_after: float = REMIND_AFTER

    def __post_init__(self) -> None:
        for rule in self.rules:
            require(rule in tuple(Rule), f"alerts.rules has only {', '.join(Rule)}", str(rule))
        check_remind_after(self.remind_after)

    def bounds(self, rule: Rule) -> Bounds:
        """What holds for a rule."""
        return self.rules.get(rule, DEFAULTS[rule])

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways, beside events and the log, by which somebody is told."""
        ways = {WEBHOOK: self.webhook, EMAIL: self.email}
        return tuple(way for way, options in ways.items() if options is not None)


WEBHOOK, EMAIL = "webhook", "email"


def is_plain(value: object) -> bool:
    """Whether a value is one word of ASCII that may stand in a header."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != "" and " " not in value
