"""From what is said to a configuration that holds, or to all that is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taskq.app import App
from taskq.assumed import Assumed, assuming
from taskq.config import WorkerOptions
from taskq.configuration.findings import WrongConfiguration, findings_of
from taskq.configuration.sources import (
    Key,
    Origin,
    Origins,
    Source,
    file_path,
    of_arguments,
    of_environment,
    of_file,
)

if TYPE_CHECKING:
    from taskq.configuration.model import Sections

SERVER_PORTS = ("port", "admin_port", "grpc_port")
Arguments = Mapping[Key, tuple[str, Any]]
"""By key, the name of the option and its value."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the file, the variables and the arguments say together.

    >>> found = load(environment={"TASKQ_WORKER__LEASE": "1m", "TASKQ_BACKEND": "redis://cache"}, folder="/")
    >>> found.sections.worker.lease, found.sections.server.port
    (60.0, 8080)
    >>> str(found.origin("worker.lease")), str(found.origin("server.port"))
    ('TASKQ_WORKER__LEASE', 'default')
    >>> found.app().url
    'redis://cache'
    """

    sections: Sections
    path: Path | None = None
    """The file; None where there is none."""
    origins: Origins = field(default_factory=Origins, repr=False)
    warnings: tuple[str, ...] = ()
    """What may be a mistake: variables that nobody reads."""

    def origin(self, key: str | Key) -> Origin:
        """Who said the value of a key, with dots or in parts."""
        return self.origins.of(tuple(key.split(".")) if isinstance(key, str) else key)

    def says(self, key: str) -> bool:
        """Whether anybody has said the value of a key; else it is the default."""
        return self.origin(key).kind != "default"

    @property
    def assumed(self) -> Assumed:
        """What applications take of it whose code says nothing."""
        backend = self.sections.backend
        return Assumed(
            url=backend.url if self.says("backend.url") else None,
            durability=backend.durability,
            pool_size=backend.pool_size,
            connect_timeout=backend.connect_timeout,
            command_timeout=backend.command_timeout,
            max_payload=backend.max_payload,
            max_result=backend.max_result,
            retention=self.sections.retention.age,
            audit=self.sections.retention.audit,
            autoscale=self.sections.autoscale.told,
            variables=self._variables(),
        )

    def app(self, **arguments: Any) -> App:
        """An application as it says; `arguments` are those of App, and go before.

        Raises:
            ConfigError, InvalidOption: see App.
        """
        with assuming(self.assumed):
            return App(**arguments)

    @property
    def worker_options(self) -> WorkerOptions:
        """What a worker process is told."""
        look_every, profiling = self.sections.scheduler.tick, self.sections.monitoring.enable_profiling
        return WorkerOptions(**self.sections.worker.options, look_every=look_every, profiling=profiling)

    @property
    def queues(self) -> dict[str, dict[str, Any]]:
        """What is said of each queue, as Queues.configure takes it."""
        found = {queue: dict(said.settings) for queue, said in self.sections.queues.items()}
        if "max_finished" in self.sections.retention.model_fields_set:
            for settings in found.values():
                settings.setdefault("max_finished", self.sections.retention.max_finished)
        return found

    def _variables(self) -> dict[str, str]:
        """The keys and secrets as the variables that Crypto and Webhooks are made of."""
        crypto, webhooks = self.sections.crypto, self.sections.webhooks
        said = {f"CRYPTO__KEYS__{name}": key.get_secret_value() for name, key in crypto.keys.items()}
        if crypto.active is not None:
            said["CRYPTO__ACTIVE"] = crypto.active
        if crypto.digest_key is not None:
            said["CRYPTO__DIGEST_KEY"] = crypto.digest_key.get_secret_value()
        if crypto.encrypt_all:
            said["CRYPTO__ENCRYPT_ALL"] = "true"
        if webhooks.secrets:
            said["WEBHOOKS__SECRETS"] = ",".join(secret.get_secret_value() for secret in webhooks.secrets)
            said["WEBHOOKS__ALLOW"] = ",".join(webhooks.allow)
            said["WEBHOOKS__PORTS"] = ",".join(map(str, webhooks.ports))
        return {f"TASKQ_{name}": value for name, value in said.items()}


def load(
    path: str | Path | None = None,
    *,
    arguments: Arguments | None = None,
    environment: Mapping[str, str] | None = None,
    folder: str | Path | None = None,
) -> Configuration:
    """Read the configuration: arguments before variables, variables before the file, the file before the defaults.

    Arguments:
        path: the file; None: the one of TASKQ_CONFIG, else taskq.yaml, taskq.yml or taskq.toml of the folder, if any.
        arguments: of a command, by key: the name of the option and its value.
        environment: the variables; None: those of this process.
        folder: where to look for the file; None: the current directory.

    Raises:
        WrongConfiguration: keys or values are wrong; it names all of them.
        ConfigError: the file cannot be read.

    >>> load(environment={"TASKQ_WORKER__LAESE": "60", "TASKQ_WORKER__POLL": "never"}, folder="/")
    Traceback (most recent call last):
        ...
    taskq.configuration.findings.WrongConfiguration: TASKQ_WORKER__LAESE: worker.laese: there is no such key, did you \
mean worker.lease?; TASKQ_WORKER__POLL: worker.poll: must be seconds, or text such as 30s, 5m, 7d, not 'never'
    """
    from taskq.configuration.model import Sections  # most processes have no configuration, and do without pydantic

    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else Path(folder)
    found = file_path(path, environment, folder)
    file = of_file(found, _short(found, folder))
    sources = (of_arguments(arguments or {}), of_environment(environment, Sections), file)
    origins = Origins(sources)
    sections = _validated(sources, origins)
    return Configuration(sections, found, origins, (*sources[1].warnings, *_clashes(sections, origins)))


def _clashes(sections: Sections, origins: Origins) -> Iterator[str]:
    """Ports that several kinds of processes are to have: no mistake where each has a host of its own."""
    server, monitoring = sections.server, sections.monitoring
    ports: dict[Key, int | None] = {("server", name): getattr(server, name) for name in SERVER_PORTS}
    ports["monitoring", "metrics_port"] = monitoring.metrics_port
    own: dict[Key, int | None] = {
        ("worker", "metrics_port"): sections.worker.metrics_port,
        ("scheduler", "metrics_port"): sections.scheduler.metrics_port,
    }
    said = {key: port for key, port in {**ports, **own}.items() if port and origins.of(key).kind != "default"}
    for first, second in combinations(said, 2):
        if said[first] == said[second] and second in own:
            pair = " and ".join(f"{'.'.join(key)} ({origins.of(key)})" for key in (first, second))
            yield f"{pair} are both {said[first]}: on one host only one process can have it"


def _validated(sources: tuple[Source, ...], origins: Origins) -> Sections:
    from pydantic import ValidationError

    from taskq.configuration.model import Sections, said

    token = said.set(tuple(source.data for source in sources))
    try:
        return Sections()
    except ValidationError as error:
        wrong = findings_of(error.errors(include_url=False), origins, Sections)
    finally:
        said.reset(token)
    raise WrongConfiguration(wrong, [warning for source in sources for warning in source.warnings])


def _short(path: Path | None, folder: Path) -> str:
    """The name of a file as people know it."""
    return "" if path is None else str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
