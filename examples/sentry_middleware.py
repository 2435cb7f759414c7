"""Failures that are not retried, sent to Sentry: grouped by taskq's fingerprint, without arguments.

    pip install sentry-sdk
    SENTRY_DSN=https://… taskq worker -A examples.sentry_middleware:app

Sentry's own integrations look for exceptions in this process. What is told here is what the store has taken note of,
once a task, whether it ran on the loop, in a thread or in a process of its own.
"""

from __future__ import annotations

import os

import sentry_sdk

from taskq import App, Failure, TaskContext
from taskq.contrib import ErrorHook

sentry_sdk.init(dsn=os.environ.get("SENTRY_DSN"), default_integrations=False)


def report(context: TaskContext, failure: Failure) -> None:
    """Tell Sentry of a failure; its client sends from a thread of its own, so this is quick."""
    with sentry_sdk.new_scope() as scope:
        scope.fingerprint = [context.name, failure.fingerprint]
        scope.set_tag("task", context.name)
        scope.set_tag("queue", context.queue)
        scope.set_context(
            "task",
            {"id": context.id, "attempt": context.attempt, "tenant": context.tenant, "worker": context.worker_id},
        )
        scope.set_extra("traceback", failure.traceback)
        scope.capture_message(f"{failure.type}: {failure.message}", level="error")


app = App()
app.add_middleware(ErrorHook(report))


@app.task(name="divide")
def divide(x: float, y: float) -> float:
    """Fail where `y` is 0."""
    return x / y
