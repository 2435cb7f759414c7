"""Calls of tasks by name, whether they are registered here or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from taskq.config import check_identifier
from taskq.crypto import Crypto
from taskq.domain.message import Message
from taskq.options import CallKeywords, CallOptions, TaskOptions
from taskq.payload import plain_payload
from taskq.registry import TaskRegistry
from taskq.submitter import StoreSubmitter, stands_for_unknown
from taskq.task import Task
from taskq.terms import terms_of_version
from taskq.versions import FIRST, check_version

STRANGERS = 256
"""Names that are kept of tasks which are enqueued by name and not registered here."""


class ByName:
    """The tasks of an application by name; of others as much as is known without them.

    Arguments:
        tasks: those that are registered here.
        submitter: what enqueues them.
        retention: seconds for which the end is kept of one that is not registered.
    """

    def __init__(self, tasks: TaskRegistry, submitter: StoreSubmitter, retention: float) -> None:
        self._tasks = tasks
        self._retention = retention
        self._submitter = submitter
        self._stranger = lru_cache(STRANGERS)(self._make_stranger)

    def call(self, name: str, payload: Mapping[str, Any] | None, options: CallKeywords) -> tuple[Task[..., Any], bytes]:
        """The task with the options of a call, and its encoded arguments.

        Raises:
            InvalidOption: the name cannot be one, or an option is unknown or out of its range.
            InvalidPayload: the arguments do not fit.
        """
        check_identifier("task", name)
        payload = {} if payload is None else payload
        task, version = self._tasks.find(name), options.get("version")
        if version is not None:
            check_version(version)
        if task is not None and version in (None, task.declared.version):
            return task.options(**options), task.codec.encode_object(payload)
        if task is None:
            stranger = self._stranger(name, version or FIRST)
        else:
            stranger = self._make_stranger(name, version or FIRST, task)
        return stranger.options(**options), plain_payload(name, payload)

    def message(
        self, name: str, payload: Mapping[str, Any], options: CallKeywords, id_in: Callable[[int], str]
    ) -> Message:
        """The message of a call, with an id that is given for the shard where it is to be kept."""
        task, encoded = self.call(name, payload, options)
        return self._submitter.written(task, encoded, task.call_options, id_in)

    def queue_of(self, name: str) -> str:
        """The queue that calls go to which name none."""
        return self._submitter.queue_of(self._tasks.find(name) or self._stranger(name, FIRST))

    def crypto_for(self, name: str, options: CallKeywords) -> Crypto | None:
        """The keys to encrypt the arguments of a call with, None where they are not to be.

        Raises:
            ConfigError: they are to be, and there are none.
        """
        task = self._tasks.find(name) or self._stranger(name, FIRST)
        return self._submitter.crypto_for(task, CallOptions(**options))

    def _make_stranger(self, name: str, version: int, ours: Task[..., Any] | None = None) -> Task[..., Any]:
        """A task whose signature is not known here: of another application, or another version of one of ours."""
        declared = TaskOptions(timeout=None, retention=self._retention) if ours is None else ours.declared
        options = replace(declared, version=version, upcast={}, executor=None)
        stranger: Task[..., Any] = Task(name, stands_for_unknown, options, self._submitter)
        if ours is not None:
            stranger.terms = terms_of_version(ours.terms, version, declared)
        return stranger
