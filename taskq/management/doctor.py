"""The doctor: what an operator asks before anything else, and the mending of what is damaged in a store."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import NamedTuple

from taskq.backends import create_backend, redact
from taskq.errors import ConfigError, TaskqError, UnsafeStore
from taskq.management import fleet
from taskq.management.access import Permission
from taskq.management.audit import AuditTrail
from taskq.management.desk import Desk
from taskq.ports import MOST_RECORDS, Backend, Finding, FindingStatus

_ORDER = (FindingStatus.FAULT, FindingStatus.WARNING, FindingStatus.OK)


class Repaired(NamedTuple):
    """What was mended of one kind of damage."""

    check: str
    """As in the finding of it."""
    number: int


class DoctorDesk(Desk):
    """Examines the stores, the fleet and the tasks of an application, and mends what is damaged."""

    async def examine(self, deep: bool = False) -> Sequence[Finding]:
        """Look at everything, and say what to do about it; what is worst comes first.

        A store that is away, or refuses, is a finding and no error.

        Arguments:
            deep: look at all records, however many there are; else at the first 100,000.

        Raises:
            Forbidden: they may not look at the fleet.

        >>> import asyncio
        >>> from taskq import App
        >>> from taskq.management import Actor
        >>> desk = DoctorDesk(App("memory://"), Actor("vic", ["viewer"]))
        >>> [finding.check for finding in asyncio.run(desk.examine())]
        ['workers', 'store', 'records', 'queues']
        """
        self.actor.require(Permission.READ_FLEET)
        found = [*await self._store(_most(deep)), *await self._results(), *self._tasks()]
        return sorted(found, key=lambda finding: _ORDER.index(finding.status))

    async def repair(self, deep: bool = False) -> Sequence[Repaired]:
        """Mend what can be mended, as the records have it; noted in the audit trail, with how many of each kind.

        It may be said at any time, while workers run, and twice.

        Arguments:
            deep: as for `examine`.

        Raises:
            Forbidden: they may not change the configuration.
            BackendUnavailable: the store cannot be reached.
        """
        backend = await self.look(Permission.CONFIGURE)
        most, on = _most(deep), {"namespace": self.app.namespace}
        found = {each.check: each.number for each in await backend.diagnosis.examine(most) if each.is_repairable}
        if not found:
            return []
        async with self.act(Permission.CONFIGURE, "doctor.repair", on, before=found):
            mended = {str(kind): number for kind, number in (await backend.diagnosis.repair(most)).items()}
            await AuditTrail(backend).note(self.actor, "doctor.repair.done", on, after=mended)
        return [Repaired(check, number) for check, number in sorted(mended.items())]

    async def _store(self, most: int | None) -> list[Finding]:
        """What is found in the store of the tasks."""
        unsafe = ""
        warnings: list[str] = []
        try:
            backend = await self.app.backend()
            warnings = await backend.check()
        except UnsafeStore as error:
            unsafe = str(error)
        except TaskqError as error:
            return [_fault("store", str(error))]
        found = [
            *await _or_fault("store", backend.diagnosis.servers()),
            *await _or_fault("records", backend.diagnosis.examine(most)),
            *await _or_fault("queues", fleet.examine(backend)),
        ]
        # Servers say again, by names of their own, what keeps a store from being trusted.
        said = {finding.detail for finding in found}
        if unsafe and unsafe not in said:
            found.append(_fault("store", unsafe))
        found += [
            Finding(check="store", status=FindingStatus.WARNING, detail=warning)
            for warning in warnings
            if not any(warning in detail for detail in said)
        ]
        return [Finding(check="store", detail=f"{redact(self.app.url)} answers"), *found]

    async def _results(self) -> list[Finding]:
        """What is found in the store of the results, where that is another."""
        url = self.app.stores.results_url
        if url is None:
            return []
        try:
            async with create_backend(url, self.app.stores.impatient_options) as backend:
                return await _results_of(backend, url)
        except TaskqError as error:
            return [_fault("results", str(error))]

    def _tasks(self) -> list[Finding]:
        """Whether the tasks of the application can be used."""
        found = []
        for task in self.app.tasks:
            try:
                _ = task.codec
            except ConfigError as error:
                found.append(_fault("task", str(error)))
        if len(self.app.tasks):
            found.append(Finding(check="tasks", detail=f"{len(self.app.tasks)} are registered"))
        return found


async def _results_of(backend: Backend, url: str) -> list[Finding]:
    warnings = await backend.check()
    servers = [replace(each, check=f"results.{each.check}") for each in await backend.diagnosis.servers()]
    wrong = [finding for finding in servers if finding.status is not FindingStatus.OK]
    rest = [warning for warning in warnings if not any(warning in finding.detail for finding in wrong)]
    found = [Finding(check="results", status=FindingStatus.WARNING, detail=warning) for warning in rest]
    return [*(found or [Finding(check="results", detail=f"{redact(url)} answers")]), *wrong]


def _most(deep: bool) -> int | None:
    return None if deep else MOST_RECORDS


def _fault(check: str, detail: str) -> Finding:
    return Finding(check=check, status=FindingStatus.FAULT, detail=detail)


async def _or_fault(check: str, looking: Awaitable[Sequence[Finding]]) -> Sequence[Finding]:
    """What was found; where the store refuses to say it, that."""
    try:
        return await looking
    except TaskqError as error:
        return [_fault(check, str(error))]
