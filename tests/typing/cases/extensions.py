"""What users write themselves. A line marked `# error` is one that both type checkers refuse."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from taskq import App, FailedRun, Middleware, RetryStrategy, TaskContext
from taskq.domain.outcome import Outcome
from taskq.domain.retry import Random
from taskq.middleware import CallNext, Draft


class Doubling:
    def next_delay(self, attempt: int, failure: FailedRun, random: Random) -> float | None:
        return 2.0**attempt if attempt < 5 else None


class Nonsense:
    def next_delay(self, attempt: str) -> float:
        return 1.0


good: RetryStrategy = Doubling()
bad: RetryStrategy = Nonsense()  # error


class Timing(Middleware):
    def on_enqueue(self, draft: Draft) -> None:
        draft.metadata["seen"] = True
        draft.queue = 3  # error

    async def around_run(self, context: TaskContext, call_next: CallNext) -> Outcome:
        context.progress(0.5, "half", rows=7)
        context.progress("half")  # error
        return await call_next()


class WrongAround(Middleware):
    async def around_run(self, context: TaskContext, call_next: CallNext) -> int:  # error
        return 1


@asynccontextmanager
async def lifespan(app: App) -> AsyncGenerator[dict[str, int]]:
    yield {"answer": 42}


def not_a_lifespan(app: str) -> int:
    return 3


app = App("memory://", lifespan=lifespan, routes={"mail.*": "mail"})
app.add_middleware(Timing())
routed = App("memory://", routes=lambda name: None)
wrong = App("memory://", lifespan=not_a_lifespan)  # error
