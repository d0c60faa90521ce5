"""The roles that a person may have in an organisation, the rights of each, and who may give them.

An organisation is an agency, a party (a trader or a broker), or the operator of the gateway. A role is
given in one organisation only: an officer of one agency has no right in another one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class OrganisationKind(StrEnum):
    """The kind of an organisation, by its role towards the gateway."""

    AGENCY = "agency"
    PARTY = "party"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Organisation:
    """An organisation: its kind, and its code (of the mappings) or its id (in the register)."""

    kind: OrganisationKind
    code: str


class Right(StrEnum):
    """A permission of a person; each page and each act requires one right."""

    # of an agency
    READ_APPLICATIONS = "applications.read"
    WORK_ON_APPLICATIONS = "applications.work"
    PROPOSE_DECISIONS = "decisions.propose"
    APPROVE_DECISIONS = "decisions.approve"
    CORRECT_DECISIONS = "decisions.correct"
    ASSIGN_WORK = "work.assign"
    # of a party
    READ_CASES = "cases.read"
    FILE_SUBMISSIONS = "submissions.file"
    MANAGE_API_CLIENTS = "api_clients.manage"
    # of the operator
    OBSERVE = "operations.observe"
    OPERATE = "operations.operate"
    APPROVE_OPERATIONS = "operations.approve"
    ADMINISTER_TRUST = "trust.administer"
    PUBLISH_STATUS = "status.publish"
    # of each kind
    MANAGE_ACCOUNTS = "accounts.manage"
    READ_STATISTICS = "statistics.read"


@dataclass(frozen=True, slots=True)
class Role:
    """A role: the kind of organisation that has it, and its rights."""

    name: str
    kind: OrganisationKind
    rights: frozenset[Right]


_READ_AGENCY: Final = frozenset({Right.READ_APPLICATIONS, Right.READ_STATISTICS})
_OFFICER: Final = _READ_AGENCY | {Right.WORK_ON_APPLICATIONS, Right.PROPOSE_DECISIONS}
_APPROVER: Final = _OFFICER | {Right.APPROVE_DECISIONS, Right.CORRECT_DECISIONS}
_READ_PARTY: Final = frozenset({Right.READ_CASES, Right.READ_STATISTICS})
_OBSERVER: Final = frozenset({Right.OBSERVE, Right.READ_STATISTICS})
_OPERATOR: Final = _OBSERVER | {Right.OPERATE, Right.PUBLISH_STATUS}

#: Every role by its name.
ROLES: Final = {
    role.name: role
    for role in (
        Role("reader", OrganisationKind.AGENCY, _READ_AGENCY),
        Role("officer", OrganisationKind.AGENCY, _OFFICER),
        Role("approver", OrganisationKind.AGENCY, _APPROVER),
        Role(
            "head",
            OrganisationKind.AGENCY,
            _APPROVER | {Right.ASSIGN_WORK, Right.MANAGE_ACCOUNTS},
        ),
        Role("viewer", OrganisationKind.PARTY, _READ_PARTY),
        Role("filer", OrganisationKind.PARTY, _READ_PARTY | {Right.FILE_SUBMISSIONS}),
        Role(
            "manager",
            OrganisationKind.PARTY,
            _READ_PARTY | {Right.FILE_SUBMISSIONS, Right.MANAGE_API_CLIENTS, Right.MANAGE_ACCOUNTS},
        ),
        Role("observer", OrganisationKind.OPERATOR, _OBSERVER),
        Role("operator", OrganisationKind.OPERATOR, _OPERATOR),
        Role("supervisor", OrganisationKind.OPERATOR, _OPERATOR | {Right.APPROVE_OPERATIONS}),
        Role(
            "administrator",
            OrganisationKind.OPERATOR,
            _OBSERVER | {Right.MANAGE_ACCOUNTS, Right.ADMINISTER_TRUST},
        ),
    )
}


def list_roles(kind: OrganisationKind) -> tuple[str, ...]:
    """Return the names of the roles that an organisation of this kind has."""
    return tuple(name for name, role in ROLES.items() if role.kind is kind)


def list_rights(kind: OrganisationKind, roles: frozenset[str]) -> frozenset[Right]:
    """Return the rights that these roles give in an organisation of this kind.

    A role that is unknown, or that belongs to another kind of organisation, gives no right.
    """
    existing_roles = (ROLES[name] for name in roles if name in ROLES)
    return frozenset(right for role in existing_roles if role.kind is kind for right in role.rights)


@dataclass(frozen=True, slots=True)
class RoleChange:
    """New roles of an account; `changes_own_roles` where it is the manager's own account."""

    organisation: Organisation
    roles_before: frozenset[str]
    roles_after: frozenset[str]
    changes_own_roles: bool = False


def may_manage_organisation(manager: Organisation, organisation: Organisation) -> bool:
    """Return whether a manager in one organisation may give roles in another one."""
    return manager.kind is OrganisationKind.OPERATOR or manager == organisation


def may_manage_account(manager: Organisation, organisations: Collection[Organisation]) -> bool:
    """Return whether a manager may act on a whole account, which has roles in these organisations."""
    if not organisations:
        return manager.kind is OrganisationKind.OPERATOR
    return all(may_manage_organisation(manager, organisation) for organisation in organisations)


def find_role_problem(manager: Organisation, change: RoleChange) -> str | None:
    """Return why a manager may not make a change of roles, as a sentence; None when it is allowed."""
    kind = change.organisation.kind
    if not may_manage_organisation(manager, change.organisation):
        return "You manage accounts of your own organisation only."
    if not change.roles_after <= set(list_roles(kind)):
        return "A role belongs to another kind of organisation."
    keeps_management = Right.MANAGE_ACCOUNTS in list_rights(kind, change.roles_after)
    if (
        change.changes_own_roles
        and Right.MANAGE_ACCOUNTS in list_rights(kind, change.roles_before)
        and not keeps_management
    ):
        return "You cannot take the management of accounts away from yourself."
    return None
