"""Who may do what: roles, and the permissions that they carry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from taskq.config import check_identifier
from taskq.errors import NotApplied


class Permission(StrEnum):
    """One kind of thing that may be done."""

    READ = "look"
    READ_PAYLOADS = "see arguments and results"
    READ_FLEET = "look at queues and workers"
    SUBMIT = "submit tasks"
    ACT = "cancel, retry and redrive tasks"
    DESTROY = "purge"
    STEER_QUEUES = "pause and configure queues"
    STEER_WORKERS = "steer workers"
    SCHEDULE = "change schedules"
    ACKNOWLEDGE = "acknowledge alerts"
    TENANTS = "change tenants"
    CONFIGURE = "change the configuration"
    READ_AUDIT = "read the audit trail"


class Role(StrEnum):
    """A set of permissions by the name that people give it."""

    VIEWER = "viewer"
    SUBMITTER = "submitter"
    OPERATOR = "operator"
    ADMIN = "admin"


_P = Permission
PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({_P.READ, _P.READ_FLEET}),
    Role.SUBMITTER: frozenset({_P.READ, _P.READ_FLEET, _P.SUBMIT}),
    Role.OPERATOR: frozenset(Permission) - {_P.DESTROY, _P.TENANTS, _P.CONFIGURE, _P.READ_AUDIT},
    Role.ADMIN: frozenset(Permission),
}
"""What each role may do (docs/management.md)."""
OF_TENANTS = frozenset({_P.READ, _P.READ_PAYLOADS, _P.SUBMIT, _P.ACT})
"""What somebody may be allowed who is bound to one tenant: queues, workers and schedules are everybody's."""


class Forbidden(NotApplied):
    """Whoever asked may not do that; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks.

    Arguments:
        name: by which the audit trail knows them.
        roles: what they are.
        tenant: the only one whose tasks they see and touch; "" for all.
        request_id: of what they asked for, "" without one.
        payloads: whether they may see arguments and results; None: as their roles say.

    Raises:
        InvalidOption: the tenant's name cannot be one.

    >>> Actor("ann", [Role.OPERATOR]).may(Permission.ACT)
    True
    >>> Actor("ann", [Role.OPERATOR], tenant="acme").may(Permission.STEER_QUEUES)
    False
    >>> Actor("ann", [Role.OPERATOR], payloads=False).may(Permission.READ_PAYLOADS)
    False
    """

    name: str
    roles: Iterable[Role | str]
    tenant: str = ""
    request_id: str = ""
    payloads: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", frozenset(Role(role) for role in self.roles))
        if self.tenant:
            check_identifier("tenant", self.tenant)

    def may(self, permission: Permission) -> bool:
        """Whether they have a permission."""
        if permission is Permission.READ_PAYLOADS and self.payloads is not None:
            return self.payloads and self.may(Permission.READ)
        has = any(permission in PERMISSIONS[Role(role)] for role in self.roles)
        return has and (not self.tenant or permission in OF_TENANTS)

    def require(self, permission: Permission) -> None:
        """Refuse what they may not do.

        Raises:
            Forbidden: they have no such permission; the message names it, and who has it.
        """
        if self.may(permission):
            return
        if self.tenant and permission not in OF_TENANTS:
            raise Forbidden(f"{self.name} may not {permission}: that is not for one tenant ({self.tenant}) alone")
        if permission is Permission.READ_PAYLOADS and self.payloads is not None:
            raise Forbidden(f"{self.name} may not {permission}: that was withheld from them, whatever their roles")
        having = [role for role, permissions in PERMISSIONS.items() if permission in permissions]
        raise Forbidden(f"{self.name} may not {permission}: that takes the role {' or '.join(having)}")

    def sees(self, tenant: str) -> bool:
        """Whether tasks of a tenant are there for them."""
        return self.tenant in ("", tenant)
