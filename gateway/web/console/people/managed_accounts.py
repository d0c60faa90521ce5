"""Accounts as their managers see and change them; each change is one transaction, with its audit.

A manager sees of an account only its roles in the organisations that the manager manages. An account or role
that a manager may not see does not exist for that manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    RoleChange,
    SecondPersonRules,
    digest_token,
    find_role_problem,
    make_token,
    may_manage_account,
    may_manage_organisation,
)
from gateway.hub import record_account_change
from gateway.operations import LINK_LIFE, read_second_person_rules
from gateway.store import (
    AccountRow,
    AuditEntry,
    NewAccount,
    NewInvitation,
    accounts,
    audit_log,
    parties,
    sessions,
    write_transaction,
)
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import services, visitor
from gateway.wire import find_unclear_character

#: Random octets of the token of a link.
TOKEN_OCTETS: Final = 32
_LONGEST_NAME: Final = 64
_ADDS: Final = "account add"
#: People that a party or an agency adds within a day; an operator adds as many as there are.
_MOST_ADDED: Final = 100


class AccountRefusedError(Exception):
    """The reason for not changing an account: a sentence, which the page shows translated."""


@dataclass(frozen=True, slots=True)
class ManagedAccount:
    """An account: its row, its roles where the manager manages, and whether it has none elsewhere."""

    row: AccountRow
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


def get_second_person_rules() -> SecondPersonRules:
    """Return what needs two persons in this hub."""
    return read_second_person_rules(services.settings)


def find_organisation(conn: Connection, text: str) -> Organisation | None:
    """Return the organisation that ``KIND/CODE`` names; None when the gateway does not know it."""
    kind, _, code = text.strip().partition("/")
    if kind not in set(OrganisationKind):
        return None
    organisation = Organisation(OrganisationKind(kind), code)
    checks = {
        OrganisationKind.OPERATOR: lambda: code == "hub",
        OrganisationKind.PARTY: lambda: parties.find_party(conn, code) is not None,
        OrganisationKind.AGENCY: lambda: code in _list_agencies(),
    }
    return organisation if checks[organisation.kind]() else None


def find_managed_account(conn: Connection, account_id: int) -> ManagedAccount | None:
    """Return an account that a person manages in part or as a whole; None for any other one."""
    row = accounts.find_by_id(conn, account_id)
    if row is None:
        return None
    roles_by_organisation: dict[Organisation, frozenset[str]] = {}
    for role_row in accounts.list_account_roles(conn, account_id):
        organisation = Organisation(OrganisationKind(role_row.kind), role_row.organisation)
        roles_by_organisation[organisation] = roles_by_organisation.get(organisation, frozenset()) | {
            role_row.role
        }
    manager = visitor.organisation
    managed_roles = {
        organisation: roles
        for organisation, roles in roles_by_organisation.items()
        if may_manage_organisation(manager, organisation)
    }
    whole = may_manage_account(manager, roles_by_organisation)
    return ManagedAccount(row, managed_roles, whole) if managed_roles or whole else None


def add_account(person: NewPerson) -> str | None:
    """Add a person; return the link to set a password.

    None, and nothing is stored, where a second person must approve it. Raises AccountRefusedError.
    """
    with write_transaction(services.engine, "console.people") as conn:
        accounts.lock_name(conn, person.name)
        change, now = check_new_person(conn, person), services.clock()
        if get_second_person_rules().is_role_change_shared(visitor.organisation, change):
            return None
        new = NewAccount(person.name, person.display_name, visitor.name, language=person.language)
        number = accounts.insert_account(conn, new, now)
        kind, code = person.organisation.kind.value, person.organisation.code
        accounts.set_roles(conn, number, kind, code, sorted(person.roles), now)
        _record_change(conn, _ADDS, person.name, after=_name_roles(person.organisation, person.roles))
        return _store_invitation(conn, number)


def check_new_person(conn: Connection, person: NewPerson) -> RoleChange:
    """Return the change that gives a new person the roles; raises AccountRefusedError."""
    _check_person(person)
    change = RoleChange(person.organisation, frozenset(), person.roles)
    problem = find_role_problem(visitor.organisation, change)
    if problem is not None:
        raise AccountRefusedError(problem)
    if visitor.organisation.kind is not OrganisationKind.OPERATOR:
        since = services.clock() - timedelta(days=1)
        if audit_log.count_actions(conn, _name_own_organisation(), _ADDS, since) >= _MOST_ADDED:
            raise AccountRefusedError(_TOO_MANY)
    if accounts.find_by_name(conn, person.name) is not None:
        raise AccountRefusedError("There is an account with this name already.")
    _check_party(conn, change)
    return change


def change_roles(account_id: int, organisation: Organisation, roles: frozenset[str]) -> bool:
    """Set the roles of an account in one organisation; return False where a second person must approve it.

    Raises AccountRefusedError, and LookupError for an account that the person does not manage.
    """
    with write_transaction(services.engine, "console.people") as conn:
        accounts.lock_account(conn, account_id)
        account, change = check_role_change(conn, account_id, organisation, roles)
        if get_second_person_rules().is_role_change_shared(visitor.organisation, change):
            return False
        if change.roles_before != roles:
            kind, now = organisation.kind.value, services.clock()
            accounts.set_roles(conn, account_id, kind, organisation.code, sorted(roles), now)
            changes = (_name_roles(organisation, change.roles_before), _name_roles(organisation, roles))
            _record_change(conn, "account role", account.row.name, *changes)
    return True


def check_role_change(
    conn: Connection, account_id: int, organisation: Organisation, roles: frozenset[str]
) -> tuple[ManagedAccount, RoleChange]:
    """Return an account, and the change that gives it these roles.

    Raises AccountRefusedError, and LookupError for an account that the person does not manage.
    """
    account = _require_account(conn, account_id)
    before = account.roles.get(organisation, frozenset())
    change = RoleChange(organisation, before, roles, account_id == visitor.account)
    problem = find_role_problem(visitor.organisation, change)
    if problem is not None:
        raise AccountRefusedError(problem)
    _check_party(conn, change)
    return account, change


def _check_party(conn: Connection, change: RoleChange) -> None:
    """Raise AccountRefusedError for roles in a party that is not registered."""
    kind, code = change.organisation.kind.value, change.organisation.code
    if change.roles_after and not accounts.is_known_organisation(conn, kind, code):
        raise AccountRefusedError("There is no such party in the register.")


def set_account_status(account_id: int, status: str) -> None:
    """Suspend or resume a whole account; raises AccountRefusedError and LookupError."""
    with write_transaction(services.engine, "console.people") as conn:
        if account_id == visitor.account:
            raise AccountRefusedError("You cannot suspend yourself.")
        accounts.lock_account(conn, account_id)
        account = _require_whole_account(conn, account_id).row
        if account.status != status:
            accounts.set_status(conn, account_id, status, services.clock())
            verb = "account suspend" if status == "SUSPENDED" else "account resume"
            _record_change(conn, verb, account.name, {"status": account.status}, {"status": status})


def end_account_sessions(account_id: int) -> None:
    """End every session of an account; raises AccountRefusedError and LookupError."""
    with write_transaction(services.engine, "console.people") as conn:
        account = _require_whole_account(conn, account_id).row
        ended = sessions.end_open_account_sessions(conn, account_id, services.clock())
        _record_change(conn, "account end-sessions", account.name, after={"ended": ended})


def invite_person(account_id: int) -> str | None:
    """Return a new link by which a person sets a new password; the old password stays good until then.

    None, and nothing is stored, where a second person must approve it. Raises AccountRefusedError and
    LookupError.
    """
    with write_transaction(services.engine, "console.people") as conn:
        accounts.lock_account(conn, account_id)
        account = check_link(conn, account_id)
        if get_second_person_rules().is_link_shared(visitor.organisation, account.roles):
            return None
        _record_change(conn, "account invite", account.row.name)
        tell_of_link(conn, account.row, visitor.name)
        return _store_invitation(conn, account_id)


def check_link(conn: Connection, account_id: int) -> ManagedAccount:
    """Return an account for which a manager may ask for a link.

    Raises AccountRefusedError and LookupError.
    """
    if account_id == visitor.account:
        # A link for oneself would stand for the proof that a new password needs.
        raise AccountRefusedError(
            "You get no link for yourself: change your password on the page My account."
        )
    account = _require_whole_account(conn, account_id)
    if account.row.status != "ACTIVE":
        raise AccountRefusedError("The account is suspended.")
    return account


def tell_of_link(conn: Connection, account_row: AccountRow, authors: str) -> None:
    """Tell a person in every open session, in the person's language, who made a link for a new password."""
    text = translate(
        "{name} made a link to set a new password of yours. Tell the operator if you did not ask for it.",
        account_row.language,
    )
    sessions.set_account_flash_message(conn, account_row.id, text.format(name=authors))


_TOO_MANY: Final = "Your organisation has added 100 people within a day. Add further ones tomorrow."


def _require_account(conn: Connection, account_id: int) -> ManagedAccount:
    account = find_managed_account(conn, account_id)
    if account is None:
        raise LookupError(account_id)
    return account


def _require_whole_account(conn: Connection, account_id: int) -> ManagedAccount:
    """Return an account that the person manages as a whole.

    Raises AccountRefusedError, and LookupError for an account that the person does not manage.
    """
    account = _require_account(conn, account_id)
    if not account.whole:
        raise AccountRefusedError(
            "The account has roles in other organisations too; the operator manages it."
        )
    return account


def _check_person(person: NewPerson) -> None:
    """Raise AccountRefusedError for a new person without a usable name, display name or role."""
    name = person.name
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or any(map(str.isspace, name)):
        raise AccountRefusedError("A name to sign in has 1 to 64 characters and no spaces.")
    if find_unclear_character(name) is not None:
        raise AccountRefusedError("This name has a character that is not seen, or looks like another one.")
    if not person.display_name:
        raise AccountRefusedError("A person needs a name that others see.")
    if not person.roles:
        raise AccountRefusedError("A person needs a role.")


def _store_invitation(conn: Connection, account_id: int) -> str:
    """Store the digest of a new invitation; return the link, which is valid for `LINK_LIFE`."""
    token = make_token(services.random(TOKEN_OCTETS))
    now = services.clock()
    new = NewInvitation(digest_token(token), account_id, visitor.name, now + LINK_LIFE)
    accounts.insert_invitation(conn, new, now)
    return f"{services.public_url}/console/welcome/{token}"


def _record_change(conn: Connection, action: str, name: str, before: Any = None, after: Any = None) -> None:
    entry = AuditEntry(
        visitor.name, _name_own_organisation(), action, f"account {name}", before=before, after=after
    )
    record_account_change(conn, entry, services.clock())


def _name_own_organisation() -> str:
    """Return the organisation of a manager as the audit names it."""
    return f"{visitor.organisation.kind}/{visitor.organisation.code}"


def _name_roles(organisation: Organisation, roles: frozenset[str]) -> dict[str, str]:
    owner = f"{organisation.kind}/{organisation.code}"
    return {"roles": ", ".join(f"{owner}:{role}" for role in sorted(roles))}


def _list_agencies() -> set[str]:
    """Return the codes of the agencies: of the settings, and of the mappings in force."""
    return {*services.hub.rules.bundle.organisations, *services.settings.agency}
