"""Whether a Postgres store is sound: its server, and whether its tables agree with each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from taskq.ports.diagnosis import MOST_RECORDS, Damage, Finding, damaged, reach
from taskq_postgres import servers
from taskq_postgres.record import is_id
from taskq_postgres.store import Row, Store

PAGE = 2000
"""Rows that one statement looks at."""
_FIRST = "00000000-0000-0000-0000-000000000000"
_MENDS: Mapping[Damage, Sequence[str]] = {
    Damage.UNPLACED: ("mend_places_missing",),
    Damage.MISPLACED: ("mend_places_left", "mend_rooms"),
    Damage.UNLEASED: ("lock_tasks", "mend_leases_missing"),
    Damage.UNTOLD: ("lock_parents", "mark_parents", "mend_parents"),
    Damage.UNLIMITED: ("lock_tasks", "mend_limits_missing"),
    Damage.OVERLIMITED: ("lock_gates", "mend_limits_left"),
    Damage.KEYLESS: ("lock_tasks", "mend_unique_missing"),
    Damage.OVERKEYED: ("lock_ended", "mend_unique_left"),
    Damage.OVERFOUND: ("mend_tags",),
    Damage.MISTALLIED: ("lock_flows", "mend_flows", "look_at_flows"),
}
"""The statements of a repair, in one transaction; what locks comes first, so that what mends sees all from before."""

Found = dict[Damage, set[str]]


class PostgresDiagnosis:
    """See taskq.ports.Diagnosis."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def servers(self) -> Sequence[Finding]:
        """What the server says of itself."""
        return await servers.examine(self._store)

    async def examine(self, most: int | None = MOST_RECORDS) -> Sequence[Finding]:
        """Compare the tables with each other."""
        found, looked_at = await self._walk(most)
        about = await self._about()
        left_out = []
        if most is None or about <= most:
            wrong = await self._read_all("examine_counts")
            found[Damage.MISCOUNTED] = {str(queue) for queue, *_ in wrong}
            found[Damage.OVERFOUND] = {str(id) for (id,) in await self._read_all("examine_tags")}
            looked_at = about = about + sum(int(too_few) for *_, too_few in wrong)
        else:
            left_out.append("what has ended, and what queues count, was not looked at")
        return [*(damaged(kind, ids) for kind, ids in found.items() if ids), reach(looked_at, about, left_out)]

    async def repair(self, most: int | None = MOST_RECORDS) -> Mapping[Damage, int]:
        """Mend what is wrong."""
        found, _ = await self._walk(most)
        is_whole = most is None or await self._about() <= most
        if is_whole:
            found[Damage.OVERFOUND] = {str(id) for (id,) in await self._read_all("examine_tags")}
        mended: Counter[Damage] = Counter()
        for kind, ids in found.items():
            for page in _pages(sorted(ids)):
                mended[kind] += await self._mend(kind, page)
        if is_whole:
            mended[Damage.MISCOUNTED] = await self._store.repeat(self._count_anew)
        return {kind: number for kind, number in mended.items() if number}

    async def _mend(self, kind: Damage, ids: Sequence[str]) -> int:
        """Run the statements of a repair; returns how many were mended."""
        names = {"ids": [id for id in ids if is_id(id)], "keys": ids}

        async def attempt() -> int:
            async with self._store.transaction() as run:
                answers = {name: await run(name, names) for name in _MENDS[kind]}
            return sum(int(rows[0][0]) for name, rows in answers.items() if name.startswith("mend_"))

        return await self._store.repeat(attempt)

    async def _about(self) -> int:
        """How many records there are, as they are counted."""
        return int(await self._store.value("records", reads=True))

    async def _read_all(self, name: str) -> list[Row]:
        """The rows of a statement that reads all there is."""

        async def attempt() -> list[Row]:
            async with self._store.transaction(is_long=True) as run:
                return await run(name)

        return await self._store.repeat(attempt, reads=True)

    async def _count_anew(self) -> int:
        """Add to each count what it lacks; returns of how many queues."""
        async with self._store.transaction(is_long=True) as run:
            await run("lock_counts")
            wrong = await run("examine_counts")
            if wrong:
                await run("mend_counts", [list(column) for column in zip(*wrong, strict=True)])
        return len({queue for queue, *_ in wrong})

    async def _walk(self, most: int | None) -> tuple[Found, int]:
        """What is wrong, and how many live tasks were looked at."""
        found: Found = defaultdict(set)
        looked_at = await self._walk_tasks(found, most)
        for name in ("examine_left", "examine_flows"):
            for row in await self._store.run(name, reads=True):
                kind, id = row if name == "examine_left" else (Damage.MISTALLIED, row[0])
                found[Damage(kind)].add(id)
        found[Damage.OVERKEYED] = await self._walk_keys(most)
        return found, looked_at

    async def _walk_tasks(self, found: Found, most: int | None) -> int:
        after, looked_at = _FIRST, 0
        while most is None or looked_at < most:
            rows = await self._store.run("examine", (after, PAGE), reads=True)
            page = [id for kind, id in rows if kind is None]
            for kind, id in rows:
                if kind is not None:
                    found[Damage(kind)].add(id)
            looked_at += len(page)
            if len(page) < PAGE:
                break
            after = max(page)
        return looked_at

    async def _walk_keys(self, most: int | None) -> set[str]:
        """The unique keys of tasks that are over."""
        after, looked_at, free = "", 0, set[str]()
        while most is None or looked_at < most:
            rows = await self._store.run("examine_keys", (after, PAGE), reads=True)
            free |= {key for key, is_held in rows if not is_held}
            looked_at += len(rows)
            if len(rows) < PAGE:
                break
            after = rows[-1][0]
        return free


def _pages(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[at : at + PAGE] for at in range(0, len(ids), PAGE)]
