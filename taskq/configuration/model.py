"""The sections of the configuration, each key with its default. Durations are seconds, or text such as 30s and 7d.

What WorkerOptions, queue_config, Crypto and Webhooks check of their own is asked of them, and not written again here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from taskq.backends import check_scheme
from taskq.config import MIB, WorkerOptions, check_identifier, check_url
from taskq.configuration.alerts import Alerts
from taskq.configuration.autoscale import Autoscale
from taskq.configuration.retention import Retention
from taskq.configuration.secrets import NEW_SECRET, weakness
from taskq.configuration.section import (
    Duration,
    Number,
    Port,
    Seconds,
    Secrets,
    Section,
    Texts,
    Whole,
    asked,
    listed,
    plain,
    refused,
)
from taskq.configuration.values import parse_queues, parse_rate
from taskq.crypto import Crypto as Keys
from taskq.domain.message import DEFAULT_QUEUE
from taskq.domain.retry import DEFAULT_RETRY
from taskq.errors import TaskqError
from taskq.options import check_soft_timeout
from taskq.outbound.addresses import Networks
from taskq.outbound.urls import PORTS, read_url
from taskq.ports.queues import DEFAULT_MAX_FINISHED, DEFAULT_MAX_SIZE, DEFAULT_WARN_AT
from taskq.queue_settings import queue_config
from taskq.webhooks import Webhooks as Signing


class Tls(Section):
    """How the server speaks TLS."""

    cert: str = Field(min_length=1)
    """The file with its certificate, PEM."""
    key: str = Field(min_length=1)
    """The file with the key of the certificate, PEM."""
    client_ca: str | None = None
    """The file with the authorities whose certificates clients must show; None: they show none."""


class Server(Section):
    """Where the server listens. A port 0 is any that is free."""

    host: str = "0.0.0.0"
    port: Port = 8080
    admin_port: Port = 8081
    grpc_port: Port = 9090
    tls: Tls | None = None


class Backend(Section):
    """The store, for applications whose code names none."""

    url: str = Field(default="memory://", repr=False)
    durability: Literal["process", "disk", "replica"] = "process"
    """What an acknowledged task survives."""
    pool_size: Whole = Field(default=4, ge=1, le=1_000)
    """The most connections."""
    connect_timeout: Duration = 5.0
    command_timeout: Duration = 10.0
    max_payload: Whole = Field(default=MIB, ge=1)
    """Bytes of the arguments of a task."""
    max_result: Whole = Field(default=4 * MIB, ge=1)
    """Bytes of a result."""

    @field_validator("url")
    @classmethod
    def _can_be_opened(cls, url: str) -> str:
        asked(lambda: check_scheme(check_url("the URL", url)))
        return url


class Queue(Section):
    """What is set for a queue, in the store; a key that is not said is left as it is there (docs/queues.md)."""

    workers: Whole | None = None
    """The most of its tasks at once in the whole fleet; None: no limit."""
    weight: Number | None = None
    """How often it is served by workers that give it no weight; None: as one of weight 1."""
    max_size: Whole | None = DEFAULT_MAX_SIZE
    warn_at: Number | None = DEFAULT_WARN_AT
    max_finished: Whole | None = DEFAULT_MAX_FINISHED
    rate_limit: str | Number | None = None
    """Starts in a time in the whole fleet, such as 100/s; None: no limit."""
    max_retries: Whole | None = DEFAULT_RETRY.max_retries
    retry_strategy: str | dict[str, Any] | None = "exponential"
    """Also linear, fixed, none, or a whole policy as in docs/retries.md."""
    timeout: Seconds | None = 300.0
    soft_timeout: Seconds | None = None
    expires: Seconds | None = None

    @field_validator("workers", "weight", "max_size", "warn_at", "max_finished", "timeout", "soft_timeout", "expires")
    @classmethod
    def _can_be_set(cls, value: Any, info: ValidationInfo) -> Any:
        asked(lambda: queue_config(**{str(info.field_name): value}))
        return value

    @field_validator("rate_limit")
    @classmethod
    def _is_rate(cls, value: Any) -> Any:
        asked(lambda: queue_config(rate=value))
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        asked(lambda: queue_config(retry=self.retry))
        asked(lambda: check_soft_timeout(self.soft_timeout, self.timeout))
        return self

    @property
    def retry(self) -> dict[str, Any] | None:
        """The policy of its tasks, None where nothing is said of it."""
        said = self.model_fields_set
        strategy = self.retry_strategy if "retry_strategy" in said else None
        retries = self.max_retries if "max_retries" in said else None
        if strategy is None and retries is None:
            return None
        policy = dict(strategy) if isinstance(strategy, dict) else {"strategy": strategy or "exponential"}
        return policy if retries is None else {**policy, "max_retries": retries}

    @property
    def settings(self) -> dict[str, Any]:
        """What was said, as Queues.configure takes it."""
        said = {name: getattr(self, name) for name in self.model_fields_set if name in _AS_THEY_ARE}
        found = {**said, "rate": self.rate_limit, "retry": self.retry}
        return {name: value for name, value in sorted(found.items()) if value is not None}


_AS_THEY_ARE = ("workers", "weight", "max_size", "warn_at", "max_finished", "timeout", "soft_timeout", "expires")


def _rate(value: object) -> object:
    """Starts a second."""
    if not isinstance(value, str):
        return value
    try:
        return parse_rate(value)
    except TaskqError as error:
        raise refused(str(error)) from None


def _queues(value: object) -> object:
    """Queues with their weights, from a text, a list or a table."""
    if isinstance(value, list):
        return dict.fromkeys(map(str, value))
    if not isinstance(value, str):
        return value
    try:
        return dict(parse_queues(value, where=""))
    except TaskqError as error:
        raise refused(str(error)) from None


def _usual_queues() -> dict[str, float | None]:
    return {DEFAULT_QUEUE: None}


class Shown(Section):
    """What a process shows to who watches over it."""

    metrics_port: Port | None = None
    """Where it shows its metrics and its health; None: nowhere."""
    health_file: str | None = Field(default=None, min_length=1)
    """To which it writes its health while it lives."""


class Worker(Shown):
    """What `taskq worker` is told (taskq.config.WorkerOptions); its own options go before."""

    queues: Annotated[dict[str, Number | None], BeforeValidator(_queues)] = Field(default_factory=_usual_queues)
    concurrency: Whole = 100
    threads: Whole | None = None
    """None: 4 × cores."""
    children: Whole | None = None
    """Process tasks at once; None: as many as cores."""
    processes: Whole = Field(default=1, ge=0, le=256)
    """Worker processes under a supervisor; 0: one without."""
    transactions: Whole = 10
    name: str | None = None
    """None: that of the host."""
    lease: Seconds = 30.0
    heartbeat: Seconds | None = None
    """None: a third of the lease."""
    shutdown_timeout: Seconds = 30.0
    poll: Seconds = 6.0
    max_tasks: Whole | None = None
    max_memory: Whole | None = None
    rate: Annotated[Number | None, BeforeValidator(_rate)] = None
    """Starts in a time, such as 50/s; the processes share them."""
    max_rss: Whole | None = None
    max_loop_lag: Seconds | None = 1.0
    max_backend_latency: Seconds | None = 5.0
    beat: bool = False
    compare: bool = True

    @field_validator("*")
    @classmethod
    def _can_be(cls, value: Any, info: ValidationInfo) -> Any:
        name = str(info.field_name)
        if name not in ("processes", "heartbeat", "lease", *Shown.model_fields) and value is not None:
            asked(lambda: WorkerOptions(**{{"children": "processes"}.get(name, name): value}))
        if name in ("heartbeat", "lease") and value is not None:
            # Each by itself; whether they fit together is seen where both are known.
            given = {"lease": value, "heartbeat": value / 3} if name == "lease" else {"lease": 3 * value, name: value}
            asked(lambda: WorkerOptions(**given))
        return value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.heartbeat is None:
            self.__dict__["heartbeat"] = self.lease / 3
        asked(lambda: WorkerOptions(**self.options))
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What a worker process is told, as WorkerOptions takes it; what is left to the host is left out."""
        said = {name: getattr(self, name) for name in type(self).model_fields if name not in Shown.model_fields}
        said["processes"], _ = said.pop("children"), said.pop("processes")
        if self.rate is not None:
            said["rate"] = self.rate / max(1, self.processes)
        own = {"threads", "processes", "name"}
        return {name: value for name, value in said.items() if not (name in own and value is None)}


class Scheduler(Shown):
    """The beat."""

    tick: Seconds = Field(default=1.0, ge=0.05, le=60)
    """The longest time until a beat sees that a schedule was changed."""


class Auth(Section):
    """Who the server lets in."""

    jwt_secret: SecretStr | None = None
    """What bearer tokens are signed with (HS256); it has no default."""
    jwks_url: str | None = Field(default=None, repr=False)
    """Where the public keys are that bearer tokens are signed with."""
    roles: dict[str, Literal["viewer", "submitter", "operator", "admin"]] = Field(default_factory=dict)
    """What roles of a token mean here; one of our own names means itself."""

    @field_validator("jwt_secret")
    @classmethod
    def _is_strong(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and (why := weakness(secret.get_secret_value())) is not None:
            raise refused(f"the secret {why}; make one with {NEW_SECRET}")
        return secret

    @field_validator("jwks_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        parts = urlsplit(url or "https://")
        if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in ("localhost", "127.0.0.1")):
            raise refused("must begin with https://: whoever can change what it answers decides who comes in")
        return url


class Monitoring(Section):
    """What is told to those who watch."""

    metrics_port: Port = 2112
    """Of the server; those of workers and beats are said in their sections."""
    metrics_host: str = Field(default="0.0.0.0", min_length=1)
    """Where metrics are listened for, by all of them."""
    enable_profiling: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "console"
    otel: bool = False
    """Whether tasks are traced with OpenTelemetry (docs/telemetry.md)."""

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: Any) -> Any:
        return level.upper() if isinstance(level, str) else level


class Crypto(Section):
    """The keys to encrypt with (docs/encryption.md)."""

    keys: dict[str, SecretStr] = Field(default_factory=dict)
    active: str | None = None
    encrypt_all: bool = False
    digest_key: SecretStr | None = None

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.keys or self.active is not None or self.encrypt_all or self.digest_key is not None:
            keys = {name: plain(key) for name, key in self.keys.items()}
            digest_key = plain(self.digest_key)
            asked(lambda: Keys(keys, self.active, encrypt_all=self.encrypt_all, digest_key=digest_key))
        return self


class Webhooks(Section):
    """How webhooks are signed, and what they may call (docs/webhooks.md)."""

    secrets: Secrets = Field(default_factory=list)
    allow: Texts = Field(default_factory=list)
    ports: Annotated[list[Whole], BeforeValidator(listed)] = Field(default_factory=lambda: sorted(PORTS.values()))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        asked(lambda: Networks(self.allow))
        if self.secrets:
            secrets = [plain(secret) for secret in self.secrets]
            asked(lambda: Signing(secrets, allow=self.allow, ports=self.ports))
        return self


Said = tuple[Mapping[str, Any], ...]
said: ContextVar[Said] = ContextVar("said", default=())
"""What each source says, the one that goes before first."""


class Sections(BaseSettings):
    """All sections."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    app: str | None = None
    """The application, as module:app."""
    server: Server = Server()
    backend: Backend = Backend()
    queues: dict[str, Queue] = Field(default_factory=dict)
    worker: Worker = Worker()
    scheduler: Scheduler = Scheduler()
    retention: Retention = Retention()
    auth: Auth = Auth()
    alerts: Alerts = Alerts()
    autoscale: Autoscale = Autoscale()
    monitoring: Monitoring = Monitoring()
    crypto: Crypto = Crypto()
    webhooks: Webhooks = Webhooks()

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources, the one that goes before first (see pydantic_settings)."""
        return tuple(InitSettingsSource(settings_cls, dict(each)) for each in said.get())

    @model_validator(mode="before")
    @classmethod
    def _may_be_empty(cls, told: Any) -> Any:
        """In YAML a section without any key is null."""
        return {key: value for key, value in told.items() if value is not None} if isinstance(told, dict) else told

    @field_validator("queues")
    @classmethod
    def _are_names(cls, queues: dict[str, Queue]) -> dict[str, Queue]:
        for queue in queues:
            asked(partial(check_identifier, "queue", queue))
        return queues

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        server, taken = self.server, dict[int, str]()
        ports = {f"server.{name}": getattr(server, name) for name in ("port", "admin_port", "grpc_port")}
        for key, port in {**ports, "monitoring.metrics_port": self.monitoring.metrics_port}.items():
            if port and port in taken:
                raise refused(f"{taken[port]} and {key} are both {port}")
            taken[port] = key
        return self

    @model_validator(mode="after")
    def _alerts_can_be_posted(self) -> Self:
        hook = self.alerts.webhook
        if hook is not None and self.webhooks.secrets:  # else the code of the application says which ports there are
            asked(lambda: read_url("alerts.webhook.url", hook.url, self.webhooks.ports))
        return self
