"""Who may manage whose account: an organisation its own people, the operator everybody.

An act on a whole account (its status, its password, its sessions) is allowed only to who manages every
organisation in which the account has a role. Otherwise one organisation could take over an account that
another one relies on.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gateway.accounts.role_rights import Organisation, OrganisationKind, Right, list_rights, list_roles

__all__ = ["RoleChange", "find_role_problem", "may_manage_account", "may_manage_organisation"]


@dataclass(frozen=True, slots=True)
class RoleChange:
    """New roles in an organisation; `own` tells whether the manager changes the manager's own roles."""

    organisation: Organisation
    before: frozenset[str]
    after: frozenset[str]
    own: bool = False


def may_manage_organisation(manager: Organisation, organisation: Organisation) -> bool:
    """Return whether a manager in one organisation may give roles in another one."""
    return manager.kind is OrganisationKind.OPERATOR or manager == organisation


def may_manage_account(manager: Organisation, places: Collection[Organisation]) -> bool:
    """Return whether a manager may act on a whole account, which has roles in these organisations."""
    if not places:
        return manager.kind is OrganisationKind.OPERATOR
    return all(may_manage_organisation(manager, place) for place in places)


def find_role_problem(manager: Organisation, change: RoleChange) -> str | None:
    """Return why a manager may not make a change of roles, as a sentence; None when it is allowed."""
    kind = change.organisation.kind
    if not may_manage_organisation(manager, change.organisation):
        return "You manage accounts of your own organisation only."
    if not change.after <= set(list_roles(kind)):
        return "A role belongs to another kind of organisation."
    keeps = Right.MANAGE_ACCOUNTS in list_rights(kind, change.after)
    if change.own and Right.MANAGE_ACCOUNTS in list_rights(kind, change.before) and not keeps:
        return "You cannot take the management of accounts away from yourself."
    return None
