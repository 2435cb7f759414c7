"""Who may do what."""

from __future__ import annotations

import pytest

from taskq import InvalidOption
from taskq.management import Actor, Forbidden, Permission, Role

P = Permission


@pytest.mark.parametrize(
    ("role", "refused"),
    [
        (Role.VIEWER, set(P) - {P.READ, P.READ_FLEET}),
        (Role.SUBMITTER, set(P) - {P.READ, P.READ_FLEET, P.SUBMIT}),
        (Role.OPERATOR, {P.DESTROY, P.TENANTS, P.CONFIGURE, P.READ_AUDIT}),
        (Role.ADMIN, set()),
    ],
)
def test_what_a_role_may_not(role: Role, refused: set[Permission]) -> None:
    actor = Actor("ann", [role])
    assert {permission for permission in P if not actor.may(permission)} == refused


def test_several_roles_add_up() -> None:
    assert Actor("ann", ["viewer", "submitter"]).may(P.SUBMIT)
    assert not Actor("ann", []).may(P.READ)


def test_a_refusal_says_who_may() -> None:
    with pytest.raises(Forbidden) as refusal:
        Actor("ann", ["viewer"]).require(P.ACT)
    assert str(refusal.value) == ("ann may not cancel, retry and redrive tasks: that takes the role operator or admin")


def test_who_is_bound_to_a_tenant_steers_nothing_that_is_everybodys() -> None:
    actor = Actor("ann", [Role.ADMIN], tenant="acme")
    allowed = {permission for permission in P if actor.may(permission)}
    assert allowed == {P.READ, P.READ_PAYLOADS, P.SUBMIT, P.ACT}
    with pytest.raises(Forbidden) as refusal:
        actor.require(P.STEER_QUEUES)
    assert str(refusal.value) == "ann may not pause and configure queues: that is not for one tenant (acme) alone"
    assert (actor.sees("acme"), actor.sees("other"), Actor("ann", []).sees("other")) == (True, False, True)


@pytest.mark.parametrize(
    ("role", "payloads", "may"),
    [
        (Role.VIEWER, None, False),
        (Role.VIEWER, True, True),
        (Role.VIEWER, False, False),
        (Role.ADMIN, None, True),
        (Role.ADMIN, False, False),
    ],
)
def test_arguments_and_results_are_given_or_withheld_beside_the_roles(
    role: Role, payloads: bool | None, may: bool
) -> None:
    for tenant in ("", "acme"):
        actor = Actor("ann", [role], tenant, payloads=payloads)
        assert actor.may(P.READ_PAYLOADS) is may
        plain = Actor("ann", [role], tenant)
        assert [actor.may(p) for p in P if p is not P.READ_PAYLOADS] == [
            plain.may(p) for p in P if p is not P.READ_PAYLOADS
        ]


def test_who_may_look_at_nothing_sees_no_arguments() -> None:
    assert not Actor("ann", [], payloads=True).may(P.READ_PAYLOADS)


def test_a_refusal_says_that_payloads_were_withheld() -> None:
    with pytest.raises(Forbidden) as refusal:
        Actor("ann", [Role.ADMIN], payloads=False).require(P.READ_PAYLOADS)
    assert str(refusal.value) == (
        "ann may not see arguments and results: that was withheld from them, whatever their roles"
    )


def test_what_is_no_role_or_tenant_is_refused() -> None:
    with pytest.raises(ValueError, match="boss"):
        Actor("ann", ["boss"])
    with pytest.raises(InvalidOption):
        Actor("ann", [Role.VIEWER], tenant="a b")
