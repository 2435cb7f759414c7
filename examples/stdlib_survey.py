"""Survey Python's standard library: one task for each of its files, summed into a table.

python examples/stdlib_survey.py                                  everything in this process
python examples/stdlib_survey.py --backend redis://localhost      on Redis, with worker processes of its own
python examples/stdlib_survey.py --backend postgres://localhost/db
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from taskq import App, Fixed, NoRetry, TaskContext, TaskFailed, TaskHandle, TaskState
from taskq.backends import redact
from taskq.config import WorkerOptions
from taskq.errors import TaskqError
from taskq.runtime.worker import Worker

app = App()  # the backend is TASKQ_BACKEND, or memory

# Files that the standard library ships because they are not Python, to test its own parsers.
NOT_PYTHON = ("tokenizedata", "lib2to3")
AT_ONCE = 64
HERE = Path(__file__).resolve()


@dataclass(frozen=True)
class Figures:
    """What one file holds."""

    module: str
    lines: int
    functions: int
    classes: int
    longest_name: str
    longest_lines: int


@app.task(name="survey.measure", executor="process", retry=NoRetry(), timeout=60)
def measure(path: str, module: str) -> Figures:
    """Parse one file and count what it holds: work for the processor, so it runs in a process."""
    source = Path(path).read_bytes()
    tree = ast.parse(source, path)
    longest, lines, functions, classes = "", 0, 0, 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > lines:
                longest, lines = node.name, length
        elif isinstance(node, ast.ClassDef):
            classes += 1
    return Figures(module, source.count(b"\n"), functions, classes, longest, lines)


@app.task(name="survey.flaky", retry=Fixed(0.2, max_retries=5))
async def flaky(ctx: TaskContext) -> int:
    """Fails twice, then succeeds."""
    if ctx.attempt < 3:
        raise ConnectionError(f"attempt {ctx.attempt} was to fail")
    return ctx.attempt


@app.task(name="survey.delayed")
async def delayed(enqueued_at: float) -> float:
    """The seconds between its enqueue and its run."""
    return time.time() - enqueued_at


def library_files() -> list[tuple[str, str]]:
    """Each Python file of this interpreter's standard library, with its module's name."""
    root = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "dist-packages", "__pycache__", *NOT_PYTHON}
    found = sorted(path for path in root.rglob("*.py") if not skipped & set(path.relative_to(root).parts))
    return [(str(path), ".".join(path.relative_to(root).with_suffix("").parts)) for path in found]


async def survey(console: Console, limit: int | None) -> int:
    """Enqueue everything, show how far it is, print the tables; returns the exit status."""
    with tempfile.TemporaryDirectory(prefix="taskq-demo-") as folder:
        broken = Path(folder) / "broken.py"
        broken.write_text("def unfinished(:\n")
        files = library_files()[:limit]
        started_at = time.monotonic()
        handles = await measure.aenqueue_many([*files, (str(broken), "broken")])
        enqueued_in = time.monotonic() - started_at
        retried = await flaky.aenqueue()
        later = await delayed.options(delay=2, priority="high").aenqueue(time.time())
        console.print(f"enqueued {len(handles) + 2:,} tasks in {enqueued_in:.2f} s")
        figures, failed = await collect(handles, console)
        attempts, waited = await retried.aresult(60), await later.aresult(60)
        took = time.monotonic() - started_at
    console.print(longest_functions(figures), longest_modules(figures))
    dead = [handle for handle in failed if await handle.astatus() is TaskState.DEAD]
    for handle in dead:
        await show_dead_letter(handle, console)
    console.print(counts(figures, dead, attempts, waited, took))
    return 0 if len(dead) == 1 and len(figures) == len(files) else 1


async def collect(
    handles: Sequence[TaskHandle[Figures]], console: Console
) -> tuple[list[Figures], list[TaskHandle[Figures]]]:
    """Wait for every task, some at once, with a progress bar."""
    figures: list[Figures] = []
    failed: list[TaskHandle[Figures]] = []
    gate = asyncio.Semaphore(AT_ONCE)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("parsing", total=len(handles))

        async def one(handle: TaskHandle[Figures]) -> None:
            async with gate:
                try:
                    figures.append(await handle.aresult(300))
                except TaskFailed:
                    failed.append(handle)
            progress.advance(bar)

        await asyncio.gather(*map(one, handles))
    return figures, failed


def longest_functions(figures: Sequence[Figures]) -> Table:
    """The ten longest functions."""
    table = Table("function", "lines", title="Longest functions")
    for one in sorted(figures, key=lambda one: -one.longest_lines)[:10]:
        table.add_row(f"{one.module}.{one.longest_name}", f"{one.longest_lines:,}")
    return table


def longest_modules(figures: Sequence[Figures]) -> Table:
    """The ten longest modules."""
    table = Table("module", "lines", "functions", "classes", title="Longest modules")
    for one in sorted(figures, key=lambda one: -one.lines)[:10]:
        table.add_row(one.module, f"{one.lines:,}", f"{one.functions:,}", f"{one.classes:,}")
    return table


async def show_dead_letter(handle: TaskHandle[Figures], console: Console) -> None:
    """One task of the dead-letter queue, with its traceback."""
    record = await handle.ainfo()
    console.print(f"\n[bold]dead letter[/bold] {record.id} ({record.name}): {record.reason}", highlight=False)
    console.print((record.failure.traceback if record.failure else "").rstrip(), style="dim", markup=False)


def counts(figures: Sequence[Figures], dead: Sequence[object], attempts: int, waited: float, took: float) -> Table:
    """What ran, and how it ended."""
    table = Table("what", "count", title=f"{len(figures):,} files in {took:.1f} s on {redact(app.url)}")
    table.add_row("lines", f"{sum(one.lines for one in figures):,}")
    table.add_row("functions", f"{sum(one.functions for one in figures):,}")
    table.add_row("classes", f"{sum(one.classes for one in figures):,}")
    table.add_row("completed", f"{len(figures) + 2:,}")
    table.add_row("in the dead-letter queue", f"{len(dead):,}")
    table.add_row("attempts of the task that fails twice", f"{attempts}")
    table.add_row("seconds that the delayed task waited", f"{waited:.2f}")
    return table


async def survey_with_workers(console: Console, arguments: argparse.Namespace) -> int:
    """The survey, and its workers: in this process where the store is, else `taskq worker` with its own processes."""
    if app.url.startswith("memory:"):
        async with Worker(app, WorkerOptions(queues={"default": 1})).running():
            return await survey(console, arguments.limit)
    command = ["-m", "taskq", "worker", "-A", f"{HERE.stem}:app", "-P", str(arguments.processes), "--children", "1"]
    environment = {**os.environ, "TASKQ_BACKEND": app.url}
    process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=HERE.parent, env=environment)
    surveying = asyncio.create_task(survey(console, arguments.limit))
    ending = asyncio.create_task(process.wait())
    try:
        await asyncio.wait({surveying, ending}, return_when=asyncio.FIRST_COMPLETED)
        if surveying.done():
            return await surveying
        # Nobody is left to run what waits.
        print(f"stdlib_survey: the workers ended with status {await ending} before the survey did", file=sys.stderr)
        return 1
    finally:
        await end(surveying)
        if process.returncode is None:
            process.terminate()
        await ending


async def end(task: asyncio.Task[int]) -> None:
    """Cancel what still runs, and wait until it has ended."""
    task.cancel()
    await asyncio.wait({task})


async def main(arguments: argparse.Namespace) -> int:
    """Prepare the store, run the survey with its workers."""
    async with app:
        await (await app.backend()).migrate()
        return await survey_with_workers(Console(), arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default=app.url, help="redis://…, postgres://…; default: memory")
    parser.add_argument("--processes", type=int, default=2, help="worker processes, on a store that they can share")
    parser.add_argument("--limit", type=int, help="only so many files")
    arguments = parser.parse_args()
    app.url = arguments.backend
    try:
        sys.exit(asyncio.run(main(arguments)))
    except TaskqError as error:
        sys.exit(f"stdlib_survey: {error}")
