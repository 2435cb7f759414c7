"""What a process shows to whoever watches over it: its metrics and its health over HTTP, and its health in a file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from taskq.domain.health import Health
from taskq.errors import ConfigError

FILE_EVERY = 2.0
"""Seconds between two writings of the file."""
PATIENCE = 10.0
"""Seconds that a client may take over one request."""
JSON = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
logger = logging.getLogger("taskq.metrics")

HealthOf = Callable[[], Health]
Desired = Callable[[str], float | None]
AUTOSCALE = "/autoscale/"


def metrics_app(*frames: Any) -> WSGIApplication:
    """What answers a scrape.

    Arguments:
        frames: see taskq.telemetry.prometheus.FiguresCollector.

    Raises:
        ConfigError: prometheus-client is not installed.
    """
    try:
        from prometheus_client import make_wsgi_app
    except ImportError:
        raise ConfigError('metrics need a package that is not installed: pip install "pytaskq[metrics]"') from None
    from taskq.telemetry.prometheus import registry_of

    app: WSGIApplication = make_wsgi_app(registry_of(*frames))
    return app


class Probes:
    """Answers /metrics, /health, /health/live, /health/ready and /autoscale/NAME from a thread of its own.

    Arguments:
        host, port: where to listen; port 0: a free one.
        metrics: answers /metrics.
        health: is asked for each probe, from the thread that answers it.
        desired: how many workers a group of queues, or a queue, needs; None where that is not known.

    Raises:
        ConfigError: nothing can listen there.

    >>> with Probes("127.0.0.1", 0, lambda environ, start: [], lambda: Health(True, True)) as probes:
    ...     probes.port > 0
    True
    """

    def __init__(
        self, host: str, port: int, metrics: WSGIApplication, health: HealthOf, desired: Desired = lambda name: None
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._desired = desired
        kind = _server_kind(host)
        try:
            self._server = make_server(host, port, self._answer, kind, _Handler)
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the port must be from 0 to 65535"
            raise ConfigError(f"metrics cannot be shown at {host}:{port}: {reason}") from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="taskq-probes", daemon=True)

    def __enter__(self) -> Probes:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            return self._metrics(environ, start)
        if path not in ("/health", "/health/live", "/health/ready") and not path.startswith(AUTOSCALE):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, /health, /health/live, /health/ready, /autoscale/NAME\n"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            start("405 Method Not Allowed", [("Allow", "GET, HEAD")])
            return []
        if path.startswith(AUTOSCALE):
            return self._answer_scaler(path.removeprefix(AUTOSCALE), start)
        health = self._health()
        is_well = health.is_live if path == "/health/live" else health.is_live and health.is_ready
        start("200 OK" if is_well else "503 Service Unavailable", list(JSON))
        return [json.dumps(told(health)).encode()]

    def _answer_scaler(self, name: str, start: StartResponse) -> Iterable[bytes]:
        """One number, as the scaler `metrics-api` of KEDA reads it, or an error, at which it waits."""
        desired = self._desired(name)
        start("404 Not Found" if desired is None else "200 OK", list(JSON))
        problem = "nothing is known of such a group or queue here: a beat knows, soon after its start"
        return [json.dumps({"error": problem} if desired is None else {"value": int(desired)}).encode()]


def told(health: Health) -> Mapping[str, Any]:
    """A health as probes are told it.

    >>> told(Health(True, False, {"store": "does not answer"}))
    {'live': True, 'ready': False, 'checks': {'store': 'does not answer'}}
    """
    return {"live": health.is_live, "ready": health.is_ready, "checks": dict(health.checks)}


class HealthFile:
    """Writes the health of a process to a file every few seconds while it lives, and removes the file at the end.

    A probe that has no network looks at its age, and at what it says.

    Arguments:
        path: of the file.
        health: is asked each time.

    Raises:
        ConfigError: it cannot be written.
    """

    def __init__(self, path: Path, health: HealthOf) -> None:
        self._path = path
        self._health = health
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskq-health", daemon=True)
        try:
            self.write()
        except OSError as error:
            raise ConfigError(f"the health file {path} cannot be written: {error.strerror}") from None

    def __enter__(self) -> HealthFile:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def write(self) -> None:
        """Write it once; not that of a process that does not live, for its age tells that."""
        health = self._health()
        if health.is_live:
            beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            beside.write_text(json.dumps(told(health)))
            beside.replace(self._path)

    def _run(self) -> None:
        while not self._stopped.wait(FILE_EVERY):
            try:
                self.write()
            except Exception as error:  # noqa: BLE001 - a thread that ends would count as the death of the process
                reason = error.strerror if isinstance(error, OSError) else type(error).__name__
                logger.warning("the health file %s cannot be written: %s", self._path, reason)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.debug("a client of the metrics has gone away")


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _server_kind(host: str) -> type[_Server]:
    with contextlib.suppress(OSError):
        if socket.getaddrinfo(host, None)[0][0] is socket.AF_INET6:
            return _Server6
    return _Server
