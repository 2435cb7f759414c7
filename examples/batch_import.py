"""Import a table of which some rows are bad: alarm at the first, a list of all of them, mend them, try those again.

    python -m examples.batch_import                       3,000 rows, everything in this process
    TASKQ_BACKEND=redis://localhost python -m examples.batch_import --rows 10000

A row is a task, so what is bad of one keeps up no other, and what was mended is tried by itself. A price that cannot be
read is looked up in a table of corrections, to which somebody adds what is right; then the batch is retried.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from taskq import App, Batch, NoRetry, TaskContext
from taskq.config import WorkerOptions
from taskq.runtime.worker import Worker

app = App()  # the backend is TASKQ_BACKEND, or memory
BAD_PRICES = ("n/a", "12,50", "", "-4.00")
TABLES = """
create table item (sku text primary key, cents integer not null);
create table correction (sku text primary key, price text not null);
create table note (kind text not null, said text not null);
"""


def opened(database: str) -> closing[sqlite3.Connection]:
    """The shop's own database: each statement is a transaction, and waits for those of others."""
    connection = sqlite3.connect(database, timeout=30, isolation_level=None)
    connection.execute("pragma synchronous = off")  # it lasts no longer than the example
    return closing(connection)


@app.task(name="import.load_row", retry=NoRetry())
def load_row(database: str, sku: str, price: str) -> int:
    """Store a row; running a second time it stores the same again."""
    with opened(database) as shop:
        corrected = shop.execute("select price from correction where sku = ?", (sku,)).fetchone()
        cents = cents_of(corrected[0] if corrected else price)
        shop.execute("insert into item values (?, ?) on conflict do update set cents = excluded.cents", (sku, cents))
    return cents


def cents_of(price: str) -> int:
    """What a price says, in cents; a ValueError where it says none."""
    if not re.fullmatch(r"[0-9]+\.[0-9]{2}", price):
        raise ValueError(f"not a price: {price!r}")
    return int(price.replace(".", ""))


@app.task(name="import.alarm")
def alarm(database: str) -> None:
    """The first row was bad: somebody should know before all others are through."""
    note(database, "alarm", "a row could not be imported")


@app.task(name="import.list_bad")
def list_bad(ctx: TaskContext, database: str) -> None:
    """All rows are through, some of them perhaps in vain: a line for each of those."""
    bad = app.find_batch(ctx.flow).failed()
    for record in bad:
        note(database, "bad", record.failure.message if record.failure else str(record.reason))
    note(database, "complete", f"{len(bad)} rows of {ctx.metadata['file']} could not be imported")


@app.task(name="import.done")
def done(ctx: TaskContext, database: str) -> None:
    """All rows are in."""
    with opened(database) as shop:
        number, cents = shop.execute("select count(*), sum(cents) from item").fetchone()
    note(database, "success", f"{number} rows of {ctx.metadata['file']}, worth {cents / 100:.2f}")


def note(database: str, kind: str, said: str) -> None:
    """Take down what happened, for whoever looks."""
    with opened(database) as shop:
        shop.execute("insert into note values (?, ?)", (kind, said))


def notes(database: str, kind: str) -> list[str]:
    """What was taken down of a kind."""
    with opened(database) as shop:
        return [said for (said,) in shop.execute("select said from note where kind = ? order by said", (kind,))]


def make_table(path: Path, rows: int) -> list[str]:
    """Write the same table each time; returns the SKUs of its bad rows."""
    bad = {f"sku-{row:05}": BAD_PRICES[row // 97 % 4] for row in range(rows) if row % 97 == 13}
    with path.open("w", newline="") as file:
        written = csv.writer(file)
        written.writerow(["sku", "price"])
        skus = [f"sku-{row:05}" for row in range(rows)]
        written.writerows([sku, bad.get(sku, f"{row % 500}.{row % 100:02}")] for row, sku in enumerate(skus))
    return list(bad)


async def fill(table: Path, database: str) -> Batch:
    """Enqueue a task for each row of a table, counted together."""
    callbacks = {"on_failure": alarm.s(database), "on_complete": list_bad.s(database), "on_success": done.s(database)}
    with table.open(newline="") as file:
        async with app.batch(**callbacks, metadata={"file": table.name}, name="import") as batch:
            for row in csv.DictReader(file):
                await batch.aenqueue(load_row, database, row["sku"], row["price"])
    return batch


def mend(database: str, skus: list[str]) -> None:
    """What somebody does who has looked the right prices up."""
    with opened(database) as shop:
        shop.executemany("insert or replace into correction values (?, '9.99')", [(sku,) for sku in skus])


async def until_noted(batch: Batch, database: str, kind: str) -> str:
    """Show how far the batch is until a callback of it has run."""
    while not (found := notes(database, kind)):
        progress = await batch.aprogress()
        print(f"\r{progress.fraction:.0%}, {progress.failed} failed", end="", flush=True)
        await asyncio.sleep(0.1)  # to be seen by people; a batch that has ended may still wait for its callback
    print(f"\r{kind}: {found[0]}")
    return found[0]


async def main(rows: int, folder: Path) -> None:
    """Import, mend half of what is bad, retry, mend the rest, retry, with a worker in this process."""
    table, database = folder / "items.csv", str(folder / "shop.db")
    with opened(database) as shop:
        shop.executescript(TABLES)
    bad = make_table(table, rows)
    async with app, asyncio.timeout(240):
        await (await app.backend()).migrate()
        async with Worker(app, WorkerOptions(poll=0.5)).running():
            batch = await fill(table, database)
            await until_noted(batch, database, "complete")
            for some in (bad[::2], bad[1::2]):
                mend(database, some)
                print(f"{len(some)} rows mended, {await batch.aretry()} tried again")
                await batch.await_()
            await until_noted(batch, database, "success")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=3000)
    with tempfile.TemporaryDirectory(prefix="taskq-import-") as name:
        asyncio.run(main(parser.parse_args().rows, Path(name)))
