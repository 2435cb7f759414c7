"""Count what the files of Python's own library hold, every night: a workflow of a few hundred tasks.

    python -m examples.nightly_etl                        once and at once, everything in this process
    TASKQ_BACKEND=redis://localhost python -m examples.nightly_etl --files 500 --out report.json
    taskq worker -A examples.nightly_etl:app --beat       at three every night

    list_modules ──► parse (one task a file) ──► count ──► write_report

One of the files is no Python at all. Its task fails; those that count run all the same, and the report names it.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import sysconfig
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from taskq import App, Cron, NoRetry, Workflow
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

app = App()  # the backend is TASKQ_BACKEND, or memory
LIBRARY = sysconfig.get_paths()["stdlib"]
LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests"}


@dataclass(frozen=True)
class Figures:
    """What one file holds."""

    package: str
    functions: int
    classes: int
    imports: int


@dataclass(frozen=True)
class Counts:
    """What the packages hold, and which files could not be read."""

    packages: dict[str, dict[str, int]]
    unreadable: list[str]


@app.task(name="etl.list_modules")
def list_modules(roots: list[str], most: int) -> list[str]:
    """Exactly `most` Python files, evenly picked from all that are below the roots, the last one among them."""
    found: list[Path] = []
    for root in map(Path, roots):
        found += sorted(path for path in root.rglob("*.py") if not LEFT_OUT & set(path.relative_to(root).parts))
    return [str(found[len(found) * (place + 1) // most - 1]) for place in range(most)]


# What cannot be parsed today cannot be parsed in a minute, so it is not tried again, and is no letter for anybody.
@app.task(name="etl.parse", executor="process", retry=NoRetry(), dead_letter=False, timeout=60)
def parse(path: str) -> Figures:
    """Count what one file holds: work for the processor, so it runs in a process."""
    kinds = Counter(type(node) for node in ast.walk(ast.parse(Path(path).read_bytes(), path)))
    functions = kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef]
    imports = kinds[ast.Import] + kinds[ast.ImportFrom]
    return Figures(package_of(path), functions, kinds[ast.ClassDef], imports)


@app.task(name="etl.count")
def count(paths: list[str], figures: list[Figures | None]) -> Counts:
    """Add up what belongs to one package; of a file that could not be parsed there is None."""
    packages: dict[str, Counter[str]] = {}
    for one in figures:
        if one is not None:
            own = packages.setdefault(one.package, Counter())
            own.update(files=1, functions=one.functions, classes=one.classes, imports=one.imports)
    unreadable = [path for path, one in zip(paths, figures, strict=True) if one is None]
    return Counts({name: dict(own) for name, own in sorted(packages.items())}, unreadable)


@app.task(name="etl.write_report")
def write_report(out: str, counts: Counts) -> str:
    """Write the report as JSON, whole or not at all: this may run a second time, as any task may."""
    draft = Path(f"{out}.draft")
    draft.write_text(json.dumps(asdict(counts), indent=2))
    draft.replace(out)
    return out


def package_of(path: str) -> str:
    """The package, or the module at the top, to which a file of the library belongs."""
    inside = Path(path).is_relative_to(LIBRARY)
    return (Path(path).relative_to(LIBRARY).parts[0] if inside else Path(path).name).removesuffix(".py")


def nightly_workflow(roots: list[str], most: int, out: str) -> Workflow:
    """The workflow; how many files there will be is fixed here, which ones is for its first task to say."""
    flow = Workflow("nightly etl", metadata={"files": most})
    paths = flow.add(list_modules.s(roots, most))
    figures = [flow.add(parse.s(paths.output[place]), name=f"parse {place}") for place in range(most)]
    # It runs without the files that cannot be parsed, but not without the list of them.
    counts = flow.add(count.s(paths.output, [one.output for one in figures]), on_parent_failure="run")
    counts.after(paths, on_parent_failure="cancel")
    flow.add(write_report.s(out, counts.output))
    return flow


@app.periodic(Cron("0 3 * * *", timezone="Europe/Berlin"), misfire="latest")
@app.task(name="etl.nightly")
async def nightly(roots: list[str] | None = None, most: int = 300, out: str = "report.json") -> str:
    """Begin tonight's run; returns its id."""
    return (await nightly_workflow(roots or [LIBRARY], most, out).aenqueue()).id


async def main(most: int, folder: Path, out: str) -> None:
    """Run it once, with a worker in this process."""
    async with app:
        await (await app.backend()).migrate()
        async with Worker(app, WorkerOptions(poll=0.5)).running():
            started = await nightly.aenqueue([LIBRARY, str(folder)], most, out)
            run = app.find_workflow(await started.aresult(60))
            await run.aresult(240)
            progress, failed = await run.aprogress(), await run.afailed()
    print(f"{progress.total} tasks, {progress.completed} completed, {progress.failed} failed: {out}")
    for record in failed:
        print(f"{record.name}: {record.failure.type if record.failure else record.reason}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--out", default="", help="where the report goes; default: a folder that is gone at the end")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taskq-etl-") as name:
        (Path(name) / "broken.py").write_text("def unfinished(:\n")
        report = arguments.out or f"{name}/report.json"
        asyncio.run(main(arguments.files, Path(name), report))
        packages = json.loads(Path(report).read_text())["packages"]
        largest = sorted(packages, key=lambda package: -packages[package]["functions"])[:5]
        print("\n".join(f"{package}: {packages[package]}" for package in largest))
