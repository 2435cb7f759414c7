"""The whole kit in one class."""

from __future__ import annotations

from taskq.testing.conformance import enqueue, fencing, fetch, late_settle, leases, order, settle, transitions


class BackendConformance(
    enqueue.EnqueueRules,
    enqueue.RepeatedEnqueueRules,
    enqueue.AtomicEnqueueRules,
    fetch.FetchRules,
    fetch.ReplayRules,
    order.OrderRules,
    order.FrontLaneRules,
    order.AgingRules,
    order.GroupRules,
    settle.SettleRules,
    settle.SettleAnswerRules,
    settle.HistoryRules,
    late_settle.LateSettleRules,
    fencing.FencedWrites,
    fencing.FreshWrites,
    leases.ExtendRules,
    leases.ReapRules,
    leases.OutageRules,
    transitions.TransitionRules,
):
    """Subclass it, give it `fresh_backend`, and every rule of docs/backend-contract.md is tried.

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def fresh_backend(self):
            return lambda: create_backend("mydb://localhost/test", BackendOptions(namespace=uuid4().hex))

    A backend that declares Capability.VIRTUAL_TIME also overrides `pass_time`, to turn its clock.
    """
