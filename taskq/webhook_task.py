"""The task that calls a webhook: it waits for the task that it tells of, and runs however that has ended."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple

import msgspec

from taskq.backends import Stores
from taskq.context import MOST_CHECKPOINT, TaskContext
from taskq.crypto import key_of
from taskq.domain.envelope import unseal
from taskq.domain.record import TaskRecord
from taskq.domain.retry import Exponential, FailedRun, RetryStrategy
from taskq.domain.state import TaskState
from taskq.errors import ConfigError, CorruptRecord, InvalidOption, Reject, Retry, Snooze, TaskNotFound, TaskqError
from taskq.handle import TaskHandle
from taskq.headers import decode_headers
from taskq.options import TaskOptions
from taskq.outbound.urls import Target, read_url
from taskq.webhooks import Webhooks

NAME = "taskq.webhook"
MOST_RESULT = 256 * 1024
"""Bytes of a result that are sent along."""
LONGEST_WAIT = 86_400.0
"""Seconds that the far side may put a call off."""
LOOK_AGAIN = 60.0
"""Seconds between two looks whether a task that was started anew, before its end was told, has ended."""
OPTIONS = TaskOptions(timeout=30, retry=Exponential(5, 5, jitter="equal", max_retries=9, max_delay=12 * 3600))
"""Ten calls within two days, the first five within a quarter of an hour."""


class WebhookFailed(TaskqError):
    """The far side did not take a call."""


class Call(NamedTuple):
    """A call that is to be made."""

    url: str
    target: Target
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"Call({self.target})"  # neither the URL, which may hold a secret, nor what is told


Post = Callable[[Call], Awaitable[tuple[int, Mapping[str, str]]]]
"""Makes a call, and gives the status and the headers of the answer, which are named in lower case."""


class WebhookCaller:
    """Calls webhooks.

    Arguments:
        stores: where the tasks are of which is told.
        webhooks: how; None: there are no secrets here.
        post: makes the calls; None: by HTTP.
    """

    def __init__(self, stores: Stores, webhooks: Webhooks | None, post: Post | None = None) -> None:
        self._stores = stores
        self._webhooks = webhooks
        self._post = post

    async def run(self, ctx: TaskContext, url: str, task: str) -> int:
        """Call a webhook, and tell it of the end of a task.

        Arguments:
            ctx: of the call's own run.
            url: what is called.
            task: the id of the task.

        Returns:
            The status of the answer.
        """
        webhooks = self._webhooks
        if webhooks is None:
            raise ConfigError("this worker has no secret to sign webhooks with: give it Settings(webhooks=Webhooks(…))")
        target = _target(url, webhooks)
        body = await self._body(ctx, task)
        headers = {"content-type": "application/json", "user-agent": "taskq", **webhooks.headers(ctx.id, body)}
        post = self._post or partial(_by_http, webhooks)
        status, answered = await post(Call(url, target, headers, body))
        if 200 <= status < 300:
            return status
        if status == 410:
            raise Reject(f"{target.host} wants no more calls: it has answered 410")
        if status in (429, 503) and (delay := retry_after(answered.get("retry-after", ""))) is not None:
            # Not sooner than it would be otherwise: else ten calls would be over before a receiver is back.
            assert isinstance(OPTIONS.retry, RetryStrategy)
            usual = OPTIONS.retry.next_delay(ctx.attempt, FailedRun("WebhookFailed"), random.random)
            delay = max(delay, usual or 0.0)
            raise Retry(delay=delay, reason=f"{target.host} has answered {status}, and asks to be called again later")
        why = ", and redirects are not followed" if 300 <= status < 400 else ""
        raise WebhookFailed(f"{target.host} has answered {status}{why}")

    async def _body(self, ctx: TaskContext, task: str) -> bytes:
        """What is told: the same each time, whatever has become of the task since, for its receiver may know the id."""
        if isinstance(ctx.last_checkpoint, str):
            return ctx.last_checkpoint.encode()
        body = msgspec.json.encode(await self._about(task))
        if 2 * len(body) < MOST_CHECKPOINT:
            ctx.checkpoint(body.decode())
        return body

    async def _about(self, id: str) -> dict[str, Any]:
        """What is told of a task."""
        handle: TaskHandle[Any] = TaskHandle(id, self._stores)
        try:
            record = await handle.ainfo()
        except TaskNotFound:  # it was to be forgotten at once
            return {"type": "task.ended", "timestamp": None, "data": {"id": id}}
        if not record.state.is_final:
            raise Snooze(LOOK_AGAIN)
        data = _plain(record)
        if record.state is TaskState.COMPLETED:
            data |= await self._result(handle, record)
        return {"type": f"task.{record.state.value}", "timestamp": _text(record.completed_at), "data": data}

    async def _result(self, handle: TaskHandle[Any], record: TaskRecord) -> dict[str, Any]:
        if record.result is not None and key_of(record.result) is not None:
            return {"result_left_out": "it is encrypted"}
        try:
            result = msgspec.json.encode(await handle.aresult(0))
        except TaskNotFound:
            return {"result_left_out": "it is no longer kept"}
        if len(result) > MOST_RESULT:
            return {"result_left_out": f"it takes {len(result):,} bytes"}
        return {"result": msgspec.Raw(result)}


def _target(url: str, webhooks: Webhooks) -> Target:
    try:
        return read_url("on_complete_url", url, webhooks.ports)
    except InvalidOption as error:  # a port that is not allowed here is as an address that is not
        raise Reject(str(error)) from None


async def _by_http(webhooks: Webhooks, call: Call) -> tuple[int, Mapping[str, str]]:
    try:
        from taskq.outbound.client import AddressRefused, post
    except ModuleNotFoundError as error:
        raise ConfigError('webhooks need a package that is not installed: pip install "pytaskq[webhooks]"') from error
    try:
        answer = await post(call.target, call.body, call.headers, webhooks.allowed)
    except AddressRefused as error:
        raise Reject(str(error)) from None
    return answer.status, answer.headers


def payload_of(url: str, task: str) -> bytes:
    """The arguments of a call."""
    return msgspec.json.encode({"url": url, "task": task})


def retry_after(text: str) -> float | None:
    """The seconds that a Retry-After asks for, at most a day; None where it says nothing that can be read.

    >>> retry_after("120"), retry_after("soon"), retry_after("Thu, 01 Jan 1970 00:00:00 GMT")
    (120.0, None, 0.0)
    """
    if text.isascii() and text.isdigit():
        return min(LONGEST_WAIT, float(text[:9]))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return min(LONGEST_WAIT, max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _plain(record: TaskRecord) -> dict[str, Any]:
    """What everybody may know of a task: its arguments are not told."""
    try:
        metadata = dict(decode_headers(unseal(record.id, record.name, record.body)[1]).metadata or {})
    except CorruptRecord:
        metadata = {}
    failure = record.failure
    return {
        "id": record.id,
        "name": record.name,
        "queue": record.queue,
        "tenant": record.tenant,
        "state": record.state.value,
        "attempt": record.attempt,
        "reason": record.reason,
        "created_at": _text(record.created_at),
        "completed_at": _text(record.completed_at),
        "metadata": metadata,
        "failure": None if failure is None else {"type": failure.type, "message": failure.message},
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
