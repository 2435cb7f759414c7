"""Webhooks under a harness: noted, and not called."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any, NamedTuple

from taskq.app import App
from taskq.outbound.urls import ANY_PORT
from taskq.task import Task
from taskq.webhook_task import NAME, OPTIONS, Call, WebhookCaller
from taskq.webhooks import Webhooks

_SECRET = "whsec_" + b64encode(bytes(32)).decode()


class CalledWebhook(NamedTuple):
    """A call that a worker would have made."""

    url: str
    type: str
    """Such as "task.completed"."""
    data: dict[str, Any]
    """What is told of the task."""


def recording_task(app: App, calls: list[CalledWebhook]) -> Task[..., int]:
    """The task that calls webhooks, but notes each call, and is content with it."""

    async def post(call: Call) -> tuple[int, dict[str, str]]:
        body = json.loads(call.body)
        calls.append(CalledWebhook(call.url, body["type"], body["data"]))
        return 204, {}

    webhooks = app.settings.webhooks or Webhooks([_SECRET], ports=ANY_PORT)
    caller = WebhookCaller(app.stores, webhooks, post)
    own = app.tasks.get(NAME)
    return Task(NAME, caller.run, OPTIONS, own.submitter)
