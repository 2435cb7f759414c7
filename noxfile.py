"""The project's commands: `nox -s tests` proves a change; `check`, `demo`, `system` and `bench` do one thing each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nox
import nox.project

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["tests"]
nox.options.error_on_external_run = True

PACKAGES = ("taskq", "taskq_redis", "taskq_postgres", "taskq_memory")
CHECKED = (*PACKAGES, "tests", "examples", "benchmarks", "noxfile.py")
PYTHONS = ("3.11", "3.12", "3.13")
OWN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PORTABLE_TESTS = (
    *("tests/unit", "tests/domain", "tests/memory"),
    *("tests/redis/test_conformance.py::TestRedisBackend", "tests/postgres/test_conformance.py::TestPostgresBackend"),
)
REDIS_SERVER = "/usr/bin/redis-server"
# The tests wait for servers and processes more than they compute, and each process of them has servers of its own.
PYTEST = ("python", "-m", "pytest", "--numprocesses", "4", "--dist", "worksteal")
FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"
DEBIAN_PACKAGES = "redis-server pgbouncer faketime prometheus"


@nox.session
def tests(session: nox.Session) -> None:
    """Run the checks, every test under coverage, and unit tests and kit on the other Pythons of this machine."""
    install(session, "test", "check", editable=True)
    run_checks(session)
    run_tests_under_coverage(session)
    for version in PYTHONS:
        if version != OWN_PYTHON:
            run_portable_tests(session, version)


@nox.session
def check(session: nox.Session) -> None:
    """Lint, check format, types and the rules of import."""
    install(session, "test", "check", editable=True)
    run_checks(session)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the example on the memory backend, or on a private `redis` or `postgres` named first."""
    install(session, "test")
    backend, *rest = session.posargs or ["memory"]
    example = ["python", "examples/stdlib_survey.py"]
    if backend == "memory":
        session.run(*example, *rest)
    else:
        session.run("python", "-m", "tests.servers", backend, "--", *example, "--backend", "{url}", *rest)


@nox.session
def system(session: nox.Session) -> None:
    """Run what needs Debian's packages: the oldest Redis, PgBouncer, a clock that lies, Prometheus."""
    require_debian_packages(session)
    install(session, "test")
    session.run(*PYTEST, "tests/redis/test_conformance.py", env={"TASKQ_TEST_REDIS_SERVER": REDIS_SERVER})
    through_pgbouncer = ["python", "-m", "tests.servers", "pgbouncer", "TASKQ_TEST_POSTGRES_URL={url}", "--"]
    # A pooler in transaction mode passes on no notification, so only the backend that does not listen goes through it.
    session.run(*through_pgbouncer, *PYTEST, "tests/postgres/test_conformance.py", "-k", "Polling")
    session.run("python", "-m", "pytest", "tests/system", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the benchmarks; what follows `--` goes to them."""
    install(session, "test")
    session.run("python", "-m", "benchmarks", *session.posargs)


def install(session: nox.Session, *groups: str, editable: bool = False) -> None:
    """Install the project with all extras and the given dependency groups."""
    pyproject = nox.project.load_toml("pyproject.toml")
    project = ["-e", ".[all]"] if editable else [".[all]"]
    session.install(*project, *nox.project.dependency_groups(pyproject, *groups))


def run_checks(session: nox.Session) -> None:
    """Run every check that is not a test."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    # The files of tests/typing hold errors on purpose; a test compares what the type checkers say of them.
    session.run("mypy", "--explicit-package-bases", "--exclude", "^tests/typing/", *CHECKED)
    session.run("lint-imports", "--cache-dir", str(session.cache_dir / "imports"))


def run_tests_under_coverage(session: nox.Session) -> None:
    """Run the tests but those of the system session, and fail where too little is covered."""
    data = session.cache_dir.resolve() / "coverage"
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    session.env["COVERAGE_FILE"] = str(data / "data")
    # Each process of the tests is measured from its first import on: plugins of pytest import taskq before tests do.
    from_the_start = {"COVERAGE_PROCESS_START": str(Path("pyproject.toml").resolve())}
    session.run(*PYTEST, "--ignore=tests/system", *session.posargs, env=from_the_start)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "json", "--quiet", "-o", str(data / "report.json"))
    session.run("python", "-m", "tests.coverage_gate", str(data / "report.json"))


def run_portable_tests(session: nox.Session, version: str) -> None:
    """Run unit tests and kit on another Python, with the project installed as a user would install it."""
    interpreter = find_python(version)
    if interpreter is None:
        session.warn(f"Python {version} is not on this machine: its run is left out")
        return
    session.log(f"Python {version} found at {interpreter}")
    home = Path(session.virtualenv.location).resolve().with_name(f"tests-{version}")
    session.run(sys.executable, "-m", "virtualenv", "--quiet", "--clear", "-p", interpreter, str(home), external=True)
    groups = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), "test")
    python = str(home / "bin/python")
    session.run(python, "-m", "pip", "install", ".[all]", *groups, external=True, silent=True)
    session.run(python, *PYTEST[1:], *PORTABLE_TESTS, external=True)


def find_python(version: str) -> str | None:
    """Return the path of a Python of this version that runs, None where there is none."""
    return next((path for path in python_candidates(version) if runs(path, version)), None)


def python_candidates(version: str) -> Iterator[str]:
    """Yield where a Python may be: on PATH, then among those that pyenv keeps."""
    if on_path := shutil.which(f"python{version}"):
        yield on_path
    root = os.environ.get("PYENV_ROOT", "~/.pyenv")
    yield from map(str, sorted(Path(root).expanduser().glob(f"versions/{version}*/bin/python"), reverse=True))


def runs(path: str, version: str) -> bool:
    """Say whether the program at `path` is a Python of this version; a shim of pyenv may be there and not run."""
    answer = subprocess.run([path, "--version"], capture_output=True, text=True)
    return answer.returncode == 0 and answer.stdout.startswith(f"Python {version}.")


def require_debian_packages(session: nox.Session) -> None:
    """Fail with the command that installs what is missing."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [
        *([] if Path(REDIS_SERVER).exists() else [REDIS_SERVER]),
        *([] if shutil.which("pgbouncer", path=path) else ["pgbouncer"]),
        *(each for each in ("prometheus", "promtool") if shutil.which(each) is None),
        *([] if list(Path("/").glob(FAKETIME.lstrip("/"))) else [FAKETIME]),
    ]
    if missing:
        session.error(f"missing: {', '.join(missing)}; on Debian: apt-get install {DEBIAN_PACKAGES}")
