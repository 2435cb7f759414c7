"""Crawl a site politely: no page twice, so many a second, slower when the site asks for it, and a report at the end.

    python -m examples.crawler                            a site of 60 pages, served and crawled in this process
    TASKQ_BACKEND=redis://localhost python -m examples.crawler --pages 200

Pages are added to the batch by the task that has found them, so nobody knows beforehand how many there will be; the
report comes when all have ended. Some links of the site are dead, and some pages say 429 at first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from taskq import App, Exponential, RateLimit, TaskContext, Throttled, Unique
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

app = App()  # the backend is TASKQ_BACKEND, or memory
NOT_TWICE = Unique(key="url", until="ttl", ttl=3600)  # "done" would let a page that was fetched be fetched again
POLITE = RateLimit("100/s", burst=5, adaptive=True)


class DeadLink(Exception):
    """There is no such page."""


class Links(HTMLParser):
    """The links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


@app.task(
    name="crawler.fetch", unique=NOT_TWICE, rate_limit=POLITE, dead_letter=False, timeout=30,
    retry=Exponential(max_retries=3, base=0.5), no_retry_on=(DeadLink,),
)  # fmt: skip
def fetch(ctx: TaskContext, url: str, found_on: str = "") -> int:
    """Fetch a page and add those that it links to; returns how many links it has."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            text = response.read().decode()
    except urllib.error.HTTPError as error:
        if error.code == 429:  # no attempt is used up, and the limit for all pages slows down
            raise Throttled(retry_after=float(error.headers["Retry-After"])) from None
        if error.code == 404:
            raise DeadLink(f"{url}, linked from {found_on}") from None
        raise
    links = Links()
    links.feed(text)
    # Those that are there already are found by their keys, and counted once.
    app.find_batch(ctx.flow).enqueue_many(fetch, [(urljoin(url, link), url) for link in links.found])
    return len(links.found)


@app.task(name="crawler.report")
def report(ctx: TaskContext, out: str) -> None:
    """Tell what has become of the crawl: by then all its pages have ended."""
    batch = app.find_batch(ctx.flow)
    progress = batch.progress()
    dead = sorted(record.failure.message for record in batch.failed() if record.failure)
    draft = Path(f"{out}.draft")
    draft.write_text(json.dumps({"pages": progress.completed, "dead": dead}, indent=2))
    draft.replace(out)


class Site(BaseHTTPRequestHandler):
    """Pages that link to each other; every seventh has a dead link too, every tenth is too busy at first."""

    pages = 60
    busy: set[int]

    def do_GET(self) -> None:
        name = self.path.removeprefix("/page/")
        if not name.isdigit() or int(name) >= self.pages:
            self._answer(404)
        elif int(name) in self.busy:
            self.busy.discard(int(name))
            self._answer(429, retry_after="1")
        else:
            self._answer(200, self._text(int(name)).encode())

    def _text(self, page: int) -> str:
        linked = {(2 * page + 1) % self.pages, (2 * page + 2) % self.pages, (page * page) % self.pages}
        dead = [f"/gone/{page}"] if page % 7 == 0 else []
        return "".join(f'<a href="{link}">on</a>' for link in [*(f"/page/{n}" for n in sorted(linked)), *dead])

    def _answer(self, status: int, body: bytes = b"", retry_after: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(pages: int) -> Iterator[str]:
    """A site of its own, on a free port of this host; gives the address of its first page."""
    handler = type("OneSite", (Site,), {"pages": pages, "busy": set(range(0, pages, 10))})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/page/0"
        finally:
            server.shutdown()
            thread.join()


async def crawl(start: str, out: Path) -> None:
    """Crawl from a page, with a worker in this process, until there is a report."""
    async with app, asyncio.timeout(120):
        await (await app.backend()).migrate()
        async with Worker(app, WorkerOptions(poll=0.5)).running():
            async with app.batch(name="crawl", on_complete=report.s(str(out))) as batch:
                await batch.aenqueue(fetch, start)
            while not await asyncio.to_thread(out.exists):  # noqa: ASYNC110 - any worker may run the report
                await asyncio.sleep(0.05)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taskq-crawler-") as folder, served(arguments.pages) as first:
        asyncio.run(crawl(first, Path(folder) / "report.json"))
        found = json.loads((Path(folder) / "report.json").read_text())
    print(f"{found['pages']} pages, {len(found['dead'])} dead links:", *found["dead"], sep="\n")
