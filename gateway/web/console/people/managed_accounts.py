"""Accounts as their managers see and change them; each change is one transaction, with its audit.

A manager sees an account by its roles in the organisations that the manager manages, and nothing else of
it. What a manager may not see does not exist for the manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    RoleChange,
    digest_token,
    find_role_problem,
    make_token,
    may_manage_account,
    may_manage_organisation,
)
from gateway.hub import record_account_change
from gateway.store import (
    AuditEntry,
    NewAccount,
    NewInvitation,
    account_invitations,
    accounts,
    parties,
    sessions,
    write_transaction,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.visitor_session import Visitor

__all__ = [
    "ManagedAccount",
    "NewPerson",
    "add_account",
    "add_account_without_roles",
    "change_roles",
    "end_account_sessions",
    "find_managed_account",
    "find_organisation",
    "invite_person",
    "set_account_status",
]

#: A link to set a password is good for so long.
LINK_LIFE: Final = timedelta(hours=72)
_TOKEN: Final = 32
_LONGEST_NAME: Final = 64


@dataclass(frozen=True, slots=True)
class ManagedAccount:
    """An account: its row, its roles where the manager manages, and whether it has none elsewhere."""

    row: Row[Any]
    roles: Mapping[Organisation, frozenset[str]]
    whole: bool


@dataclass(frozen=True, slots=True)
class NewPerson:
    """A person to add: the sign-in name, the name to show, the language, and the first roles."""

    name: str
    display_name: str
    language: str
    organisation: Organisation
    roles: frozenset[str]


def find_organisation(conn: Connection, services: ConsoleServices, text: str) -> Organisation | None:
    """Return the organisation that ``KIND/CODE`` names; None when the gateway does not know it."""
    kind, _, code = text.strip().partition("/")
    if kind not in set(OrganisationKind):
        return None
    organisation = Organisation(OrganisationKind(kind), code)
    known = {
        OrganisationKind.OPERATOR: lambda: code == "hub",
        OrganisationKind.PARTY: lambda: parties.find_party(conn, code) is not None,
        OrganisationKind.AGENCY: lambda: code in _list_agencies(services),
    }
    return organisation if known[organisation.kind]() else None


def find_managed_account(conn: Connection, visitor: Visitor, number: int) -> ManagedAccount | None:
    """Return an account that a person manages in part or as a whole; None for any other one."""
    row = accounts.find_by_id(conn, number)
    if row is None:
        return None
    given: dict[Organisation, frozenset[str]] = {}
    for one in accounts.list_roles_of(conn, number):
        place = Organisation(OrganisationKind(one.kind), one.organisation)
        given[place] = given.get(place, frozenset()) | {one.role}
    manager = visitor.organisation
    shown = {place: roles for place, roles in given.items() if may_manage_organisation(manager, place)}
    whole = may_manage_account(manager, given)
    return ManagedAccount(row, shown, whole) if shown or whole else None


def add_account(services: ConsoleServices, visitor: Visitor, person: NewPerson) -> tuple[str, str]:
    """Add a person; return the problem as a sentence, or an empty one and the link to set a password."""
    change = RoleChange(person.organisation, frozenset(), person.roles)
    problem = _find_person_problem(person) or find_role_problem(visitor.organisation, change)
    if problem:
        return problem, ""
    with write_transaction(services.engine, "console.people") as conn:
        now = services.clock()
        number = _store_account(conn, person, visitor, now)
        if number is None:
            return _TAKEN, ""
        place = (person.organisation.kind.value, person.organisation.code)
        accounts.set_roles(conn, number, place, sorted(person.roles), now)
        _record_change(conn, services, visitor, "account add", person.name, after=_name_roles(change))
        return "", _store_link(conn, services, visitor, number)


def add_account_without_roles(
    services: ConsoleServices, visitor: Visitor, person: NewPerson
) -> tuple[str, int]:
    """Add a person whose roles a second person must approve; return the problem, or the account."""
    change = RoleChange(person.organisation, frozenset(), person.roles)
    problem = _find_person_problem(person) or find_role_problem(visitor.organisation, change)
    if problem:
        return problem, 0
    with write_transaction(services.engine, "console.people") as conn:
        number = _store_account(conn, person, visitor, services.clock())
        if number is None:
            return _TAKEN, 0
        _record_change(conn, services, visitor, "account add", person.name, after={"roles": ""})
        return "", number


def _store_account(conn: Connection, person: NewPerson, visitor: Visitor, now: datetime) -> int | None:
    """Store the account of a person; return its id, or None when the name is taken."""
    if accounts.find_by_name(conn, person.name) is not None:
        return None
    new = NewAccount(person.name, person.display_name, visitor.name, language=person.language)
    return accounts.insert_account(conn, new, now)


def change_roles(
    services: ConsoleServices,
    visitor: Visitor,
    number: int,
    organisation: Organisation,
    roles: frozenset[str],
) -> str | None:
    """Set the roles of an account in one organisation; return the problem as a sentence.

    Raises LookupError for an account that the person does not manage.
    """
    with write_transaction(services.engine, "console.people") as conn:
        found = _require_account(conn, visitor, number)
        before = found.roles.get(organisation, frozenset())
        own = number == visitor.account
        change = RoleChange(organisation, before, roles, own)
        problem = find_role_problem(visitor.organisation, change)
        if problem is None and before != roles:
            place = (organisation.kind.value, organisation.code)
            accounts.set_roles(conn, number, place, sorted(roles), services.clock())
            told = (_name_roles(RoleChange(organisation, before, before)), _name_roles(change))
            _record_change(conn, services, visitor, "account role", found.row.name, *told)
    return problem


def set_account_status(services: ConsoleServices, visitor: Visitor, number: int, status: str) -> str | None:
    """Suspend or resume a whole account; return the problem as a sentence. Raises LookupError."""
    with write_transaction(services.engine, "console.people") as conn:
        found = _require_account(conn, visitor, number)
        if number == visitor.account:
            return "You cannot suspend yourself."
        if not found.whole:
            return _ELSEWHERE
        if found.row.status != status:
            accounts.set_status(conn, number, status, services.clock())
            verb = "account suspend" if status == "SUSPENDED" else "account resume"
            told = ({"status": found.row.status}, {"status": status})
            _record_change(conn, services, visitor, verb, found.row.name, *told)
    return None


def end_account_sessions(services: ConsoleServices, visitor: Visitor, number: int) -> str | None:
    """End every session of an account; return the problem as a sentence. Raises LookupError."""
    with write_transaction(services.engine, "console.people") as conn:
        found = _require_account(conn, visitor, number)
        if not found.whole:
            return _ELSEWHERE
        ended = sessions.end_sessions_of(conn, number, services.clock())
        told = {"ended": ended}
        _record_change(conn, services, visitor, "account end-sessions", found.row.name, after=told)
    return None


def invite_person(services: ConsoleServices, visitor: Visitor, number: int) -> tuple[str, str]:
    """Make a link by which a person sets a new password; return the problem, or nothing and the link.

    The old password stays good until then. Raises LookupError.
    """
    with write_transaction(services.engine, "console.people") as conn:
        found = _require_account(conn, visitor, number)
        if not found.whole:
            return _ELSEWHERE, ""
        if found.row.status != "ACTIVE":
            return "The account is suspended.", ""
        _record_change(conn, services, visitor, "account invite", found.row.name)
        return "", _store_link(conn, services, visitor, number)


_TAKEN: Final = "There is an account with this name already."
_ELSEWHERE: Final = "The account has roles in other organisations too; the operator manages it."


def _require_account(conn: Connection, visitor: Visitor, number: int) -> ManagedAccount:
    found = find_managed_account(conn, visitor, number)
    if found is None:
        raise LookupError(number)
    return found


def _find_person_problem(person: NewPerson) -> str | None:
    name = person.name
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or any(map(str.isspace, name)):
        return "A name to sign in has 1 to 64 characters and no spaces."
    if not person.display_name:
        return "A person needs a name that others see."
    if not person.roles:
        return "A person needs a role."
    return None


def _store_link(conn: Connection, services: ConsoleServices, visitor: Visitor, number: int) -> str:
    token = make_token(services.random(_TOKEN))
    now = services.clock()
    new = NewInvitation(digest_token(token), number, visitor.name, now + LINK_LIFE)
    account_invitations.insert_invitation(conn, new, now)
    return f"{services.public_url}/console/welcome/{token}"


def _record_change(
    conn: Connection,
    services: ConsoleServices,
    visitor: Visitor,
    verb: str,
    name: str,
    before: Any = None,
    after: Any = None,
) -> None:
    place = f"{visitor.organisation.kind}/{visitor.organisation.code}"
    entry = AuditEntry(visitor.name, place, verb, f"account {name}", before=before, after=after)
    record_account_change(conn, entry, services.clock())


def _name_roles(change: RoleChange) -> dict[str, str]:
    place = f"{change.organisation.kind}/{change.organisation.code}"
    return {"roles": ", ".join(f"{place}:{role}" for role in sorted(change.after))}


def _list_agencies(services: ConsoleServices) -> set[str]:
    """Return the codes of the agencies: of the settings, and of the mappings in force."""
    return {*services.hub.rules.bundle.organisations, *services.settings.agency}
