"""The whole kit in one class."""

from __future__ import annotations

from taskq.testing.conformance.annotations import AnnotationRules
from taskq.testing.conformance.callbacks import CallbackRules, CancelledFlowRules
from taskq.testing.conformance.cancel import CancelRules
from taskq.testing.conformance.contention import ContentionRules
from taskq.testing.conformance.enqueue import AtomicEnqueueRules, EnqueueRules, RepeatedEnqueueRules
from taskq.testing.conformance.fencing import FencedWrites, FreshWrites
from taskq.testing.conformance.fetch import DueFetchRules, ExpiredFetchRules, FetchRules, ReplayRules
from taskq.testing.conformance.finding import FindingRules
from taskq.testing.conformance.fleet import DutyRules, EventRules, RegistryRules, WaitRules
from taskq.testing.conformance.flows import AbandonedFlowRules, FlowRules, HeldFlowRules
from taskq.testing.conformance.freed import FreedSlotRules
from taskq.testing.conformance.inspector import LookingRules, SteeringRules
from taskq.testing.conformance.joins import BlockedRules, JoinRules, ParentFailureRules, ParentRules
from taskq.testing.conformance.keeping import DocumentRules, FigureRules, JournalRules
from taskq.testing.conformance.late_settle import LateSettleRules
from taskq.testing.conformance.leases import ExtendRules, OutageRules, ReapRules
from taskq.testing.conformance.limits import BreakerRules, RateRules, SlotRules
from taskq.testing.conformance.order import AgingRules, FrontLaneRules, GroupRules, OrderRules
from taskq.testing.conformance.overrides import OverrideRules
from taskq.testing.conformance.random_runs import RandomRules
from taskq.testing.conformance.redrive import RedriveRules
from taskq.testing.conformance.results import ResultStoreRules, WaitForResultRules
from taskq.testing.conformance.scheduling import ScheduleRules
from taskq.testing.conformance.settle import HistoryRules, SettleAnswerRules, SettleRules
from taskq.testing.conformance.sharing import BackendRules, CloneRules, ConcurrencyRules, NamespaceRules
from taskq.testing.conformance.soundness import DiagnosisRules
from taskq.testing.conformance.steering import CapacityRules, MovingRules, QueueLimitRules, SettingsRules, StandingRules
from taskq.testing.conformance.tenant_waits import LoadEndRules, QuotaWaitRules
from taskq.testing.conformance.tenants import FairRules, LoadRules, QuotaRules
from taskq.testing.conformance.transitions import TransitionRules
from taskq.testing.conformance.unique import HolderRules, RedrivenKeyRules, ReplaceRules, UniqueRules
from taskq.testing.conformance.upkeep import ExpireRules, PromoteRules, PruneRules, RelayRules
from taskq.testing.conformance.virtual_time import VirtualTimeRules
from taskq.testing.conformance.waking import WakingRules


class BackendConformance(
    EnqueueRules,
    RepeatedEnqueueRules,
    AtomicEnqueueRules,
    FetchRules,
    DueFetchRules,
    ExpiredFetchRules,
    ReplayRules,
    OrderRules,
    FrontLaneRules,
    AgingRules,
    GroupRules,
    FairRules,
    QuotaRules,
    QuotaWaitRules,
    LoadEndRules,
    LoadRules,
    RateRules,
    SlotRules,
    FreedSlotRules,
    BreakerRules,
    OverrideRules,
    UniqueRules,
    HolderRules,
    RedrivenKeyRules,
    ReplaceRules,
    SettingsRules,
    StandingRules,
    CapacityRules,
    QueueLimitRules,
    MovingRules,
    SettleRules,
    SettleAnswerRules,
    HistoryRules,
    LateSettleRules,
    FencedWrites,
    FreshWrites,
    ExtendRules,
    ReapRules,
    OutageRules,
    CancelRules,
    PromoteRules,
    ExpireRules,
    PruneRules,
    RelayRules,
    RedriveRules,
    AnnotationRules,
    WaitForResultRules,
    ResultStoreRules,
    LookingRules,
    FindingRules,
    SteeringRules,
    RegistryRules,
    DutyRules,
    EventRules,
    WaitRules,
    WakingRules,
    CloneRules,
    NamespaceRules,
    ConcurrencyRules,
    ContentionRules,
    BackendRules,
    TransitionRules,
    JoinRules,
    ParentRules,
    BlockedRules,
    ParentFailureRules,
    FlowRules,
    HeldFlowRules,
    CallbackRules,
    CancelledFlowRules,
    ScheduleRules,
    DocumentRules,
    JournalRules,
    FigureRules,
    DiagnosisRules,
    RandomRules,
):
    """Subclass it, give it `fresh_backend`, and every rule of docs/backend-contract.md is tried.

    class TestMyBackend(BackendConformance):
        @pytest.fixture
        def fresh_backend(self):
            return lambda: create_backend("mydb://localhost/test", BackendOptions(namespace=uuid4().hex))

    A backend whose clock can be turned by hand subclasses VirtualTimeConformance instead.
    """


class VirtualTimeConformance(BackendConformance, VirtualTimeRules, AbandonedFlowRules):
    """The kit for a backend that declares Capability.VIRTUAL_TIME: the rules about long spans are tried too.

    A subclass overrides `pass_time` as well, to turn the clock.
    """
