"""Workflows and batches: to cancel, to start anew, whole or in part."""

from __future__ import annotations

from taskq.domain.flow import FlowKind
from taskq.flows.run import WorkflowRun
from taskq.flows.view import FlowView
from taskq.management.access import Permission
from taskq.management.desk import Desk


class FlowDesk(Desk):
    """The workflows and batches of a store; their tasks may be of several tenants."""

    async def cancel(self, kind: FlowKind, id: str, reason: str = "") -> bool:
        """Cancel what has not ended; False where all has."""
        self.actor.require(Permission.READ_FLEET)
        after = {"reason": reason} if reason else None
        async with self.act(Permission.ACT, f"{kind}.cancel", {"id": id}, after=after):
            return await self._view(kind, id).acancel(reason)

    async def retry(self, kind: FlowKind, id: str, *, only_failed: bool = False) -> int:
        """Start anew what has failed; returns how many tasks."""
        self.actor.require(Permission.READ_FLEET)
        after = {"only_failed": True} if only_failed else None
        async with self.act(Permission.ACT, f"{kind}.retry", {"id": id}, after=after):
            return await self._view(kind, id).aretry(only_failed=only_failed)

    async def again(self, id: str) -> WorkflowRun[object]:
        """Enqueue all of a workflow anew, as another run."""
        self.actor.require(Permission.READ_FLEET)
        async with self.act(Permission.ACT, "workflow.again", {"id": id}):
            return await self.app.find_workflow(id).arun_again()

    async def close(self, id: str) -> None:
        """Have no more tasks come to a batch but from its own."""
        self.actor.require(Permission.READ_FLEET)
        async with self.act(Permission.ACT, "batch.close", {"id": id}):
            await self.app.find_batch(id).aclose()

    def _view(self, kind: FlowKind, id: str) -> FlowView:
        return self.app.find_workflow(id) if kind is FlowKind.WORKFLOW else self.app.find_batch(id)
