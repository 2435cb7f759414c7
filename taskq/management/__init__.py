"""Every use case of an operator, once: command line, HTTP and gRPC are faces of it, and hold no rule of their own."""

from taskq.management.access import PERMISSIONS, Actor, Forbidden, Permission, Role
from taskq.management.audit import AuditEntry, AuditTrail, Head, Reach, Verification
from taskq.management.audit_keeper import AuditKeeper
from taskq.management.doctor import Repaired
from taskq.management.finding import Count, TaskPage
from taskq.management.keys import Key, KeyNotFound, Keys, NewKey
from taskq.management.looks import Look
from taskq.management.manager import Management
from taskq.management.overview import Overview
from taskq.management.profiles import ProfileFailed, ProfileNotFound
from taskq.management.workers import WorkerNotFound

__all__ = [
    "PERMISSIONS",
    "Actor",
    "AuditEntry",
    "AuditKeeper",
    "AuditTrail",
    "Count",
    "Forbidden",
    "Head",
    "Key",
    "KeyNotFound",
    "Keys",
    "Look",
    "Management",
    "NewKey",
    "Overview",
    "Permission",
    "ProfileFailed",
    "ProfileNotFound",
    "Reach",
    "Repaired",
    "Role",
    "TaskPage",
    "Verification",
    "WorkerNotFound",
]
