"""Reading the configuration again while everything runs: what can take effect does, and what cannot is said."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from taskq.config import WorkerOptions
from taskq.configuration.declared import declare
from taskq.configuration.findings import WrongConfiguration
from taskq.configuration.live import differences
from taskq.configuration.loading import Configuration
from taskq.errors import ConfigError
from taskq.ports import Backend

LOOK_EVERY = 2.0
"""Seconds between two looks at the file: a look is one system call."""
ENVIRONMENT = "the environment"
logger = logging.getLogger("taskq.configuration")


class Reload:
    """Keeps a process to its configuration.

    Arguments:
        configuration: as it was read at the start.
        again: reads it again, with the same arguments.
        backend: the store, opened.
        retune: has a worker keep to other options; None where there is no worker.
    """

    def __init__(
        self,
        configuration: Configuration,
        again: Callable[[], Configuration],
        backend: Backend,
        retune: Callable[[WorkerOptions], None] | None = None,
    ) -> None:
        self.configuration = configuration
        """What holds, but for values that need a restart."""
        self._again = again
        self._backend = backend
        self._retune = retune
        self._seen = self._signature()
        self._is_declared = False
        self._is_asked = False

    def ask(self) -> None:
        """Have it read at the next tick, whether the file has changed or not."""
        self._is_asked = True

    async def tick(self) -> float:
        """Look whether the file has changed; returns the seconds to the next look."""
        signature = self._signature()
        if self._is_asked or signature != self._seen:
            # Noted before it is read: what is written meanwhile is seen at the next look.
            self._is_asked, self._seen = False, signature
            self._read()
        if not self._is_declared:
            path, queues = self.configuration.path, self.configuration.queues
            if path is not None:
                await declare(self._backend, queues, str(path))
            elif queues:  # many processes have variables, and each knows of its own alone
                await declare(self._backend, queues, ENVIRONMENT, withdraws=False)
            self._is_declared = True
        return LOOK_EVERY

    def _read(self) -> None:
        try:
            found = self._again()
        except ConfigError as error:
            lines = error.lines if isinstance(error, WrongConfiguration) else (str(error),)
            logger.error("the configuration cannot be used, and stays as it was: %s", "; ".join(lines))
            return
        changes = differences(self.configuration, found)
        for change in changes:
            logger.log(logging.INFO if change.is_live else logging.WARNING, "%s", change)
        if not changes:
            logger.info("the configuration was read again: nothing has changed")
        self._apply(found)

    def _apply(self, found: Configuration) -> None:
        before, self.configuration = self.configuration, found
        level = found.sections.monitoring.log_level
        if level != before.sections.monitoring.log_level:  # else what was told to this worker at run time stays
            logging.getLogger("taskq").setLevel(level)
        self._is_declared = self._is_declared and before.queues == found.queues
        if self._retune is not None:
            self._retune(found.worker_options)

    def _signature(self) -> tuple[int, int, int] | None:
        """What changes when the file does."""
        if self.configuration.path is None:
            return None
        try:
            found = os.stat(self.configuration.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
