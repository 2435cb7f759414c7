"""Whether the dicts of a memory store agree with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from taskq.ports.diagnosis import MOST_RECORDS, Damage, Finding, damaged, reach
from taskq_memory.ailments import Ailments
from taskq_memory.store import Store


class MemoryDiagnosis:
    """See taskq.ports.Diagnosis. All is looked at in one step, under the lock of the store: it is never too much."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def servers(self) -> Sequence[Finding]:
        """There is none."""
        return []

    async def examine(self, most: int | None = MOST_RECORDS) -> Sequence[Finding]:
        """Compare all records with what they are found by."""
        with self._store.lock:
            found: dict[Damage, set[str]] = {}
            for ailment in Ailments(self._store).all():
                found.setdefault(ailment.damage, set()).add(ailment.id)
            number = len(self._store.tasks)
        return [*(damaged(kind, ids) for kind, ids in found.items()), reach(number, number)]

    async def repair(self, most: int | None = MOST_RECORDS) -> Mapping[Damage, int]:
        """Mend all that is wrong."""
        with self._store.lock:
            mended: Counter[Damage] = Counter()
            # Places are cleared first, for that may leave a task without one; the numbers come last.
            for kind in sorted(Damage, key=lambda kind: kind is not Damage.MISPLACED):
                for ailment in [each for each in Ailments(self._store).all() if each.damage is kind]:
                    ailment.mend()
                    mended[kind] += 1
            if mended:
                self._store.note_change()
        return dict(mended)
