"""Every use case of an operator, once: command line, HTTP and gRPC are faces of it, and hold no rule of their own."""

from taskq.management.access import PERMISSIONS, Actor, Forbidden, Permission, Role
from taskq.management.audit import AuditEntry, AuditTrail, Head, Verification
from taskq.management.doctor import Repaired
from taskq.management.finding import Count, TaskPage
from taskq.management.keys import Key, KeyNotFound, Keys, NewKey
from taskq.management.looks import Look
from taskq.management.manager import Management
from taskq.management.overview import Overview
from taskq.management.workers import WorkerNotFound

__all__ = [
    "PERMISSIONS",
    "Actor",
    "AuditEntry",
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
    "Repaired",
    "Role",
    "TaskPage",
    "Verification",
    "WorkerNotFound",
]
