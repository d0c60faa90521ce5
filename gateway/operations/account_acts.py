"""The acts on accounts that a second person approves: a new account, other roles, and a link of two parts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Connection

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    Right,
    SecondPersonRules,
    digest_shared_link,
    list_rights,
    may_manage_account,
)
from gateway.config import Settings
from gateway.errors import MISUSE, TRANSITION_REFUSED, GatewayError
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import AccountRow, NewAccount, NewInvitation, OperatorActRow, accounts, sessions

#: How long a link to set a password is valid.
LINK_LIFE: Final = timedelta(hours=72)


def read_second_person_rules(settings: Settings) -> SecondPersonRules:
    """Return what needs two persons, by the settings."""
    four_eyes_agencies = {code for code, section in settings.agency.items() if section.four_eyes}
    return SecondPersonRules(frozenset(settings.console.second_person), frozenset(four_eyes_agencies))


def find_second_person_warnings(conn: Connection, settings: Settings) -> Iterator[str]:
    """Yield a warning where acts need a second person and nobody can be that person."""
    rules = read_second_person_rules(settings)
    if not rules.acts and not rules.four_eyes_agencies:
        return
    for account_row in accounts.list_accounts(conn, OrganisationKind.OPERATOR.value):
        roles = {
            row.role
            for row in accounts.list_account_roles(conn, account_row.id)
            if row.kind == OrganisationKind.OPERATOR
        }
        rights = list_rights(OrganisationKind.OPERATOR, frozenset(roles))
        if account_row.status == "ACTIVE" and Right.APPROVE_OPERATIONS in rights:
            return
    yield (
        "nobody has the role supervisor of the operator: acts that need a second person wait for ever; give "
        "the role by `gateway account role`"
    )


def perform_account_act(change: DatabaseChange, act: str, proposal: Mapping[str, Any]) -> str:
    """Do a proposed act on an account; return its result as a sentence.

    Where the proposal has a `link` (the digest of its token), its `code` makes it good. Raises GW705 for an
    account that was changed or added since, and GW808 for one that is gone.
    """
    if act == "account add":
        _check_proposer(change.conn, proposal, [_read_organisation(proposal)])
        return _add_account(change, proposal)
    account_row = accounts.lock_account(change.conn, proposal["account"])
    if account_row is None:
        raise GatewayError(MISUSE, f"there is no account {proposal['name']}", "account")
    if act == "account role":
        _check_proposer(change.conn, proposal, [_read_organisation(proposal)])
        return _change_roles(change, account_row, proposal)
    if account_row.status != "ACTIVE":
        raise GatewayError(TRANSITION_REFUSED, f"account {account_row.name} is suspended", "account")
    _check_proposer(change.conn, proposal, _list_organisations(change.conn, account_row.id))
    _make_link_good(change, account_row.id, proposal)
    change.record_trust_change(f"account {account_row.name}", after={"link": "of two persons"})
    return f"The link for {account_row.name} is good for 72 hours, together with its code."


def _check_proposer(
    conn: Connection, proposal: Mapping[str, Any], organisations: Collection[Organisation]
) -> None:
    """Raise GW705 where the proposer may not manage an account in these organisations any more."""
    row = accounts.find_by_id(conn, proposal["proposer"])
    assert row is not None, "accounts are not removed"
    roles: dict[Organisation, set[str]] = {}
    for role_row in accounts.list_account_roles(conn, row.id):
        organisation = Organisation(OrganisationKind(role_row.kind), role_row.organisation)
        roles.setdefault(organisation, set()).add(role_row.role)
    may_manage = any(
        Right.MANAGE_ACCOUNTS in list_rights(manager.kind, frozenset(names))
        and may_manage_account(manager, organisations)
        for manager, names in roles.items()
    )
    if row.status != "ACTIVE" or not may_manage:
        detail = f"{row.name}, who proposed this, may not manage account {proposal['name']} any more"
        raise GatewayError(TRANSITION_REFUSED, detail, "account")


def _read_organisation(proposal: Mapping[str, Any]) -> Organisation:
    kind, _, code = str(proposal["organisation"]).partition("/")
    return Organisation(OrganisationKind(kind), code)


def _list_organisations(conn: Connection, account_id: int) -> list[Organisation]:
    """Return the organisations in which an account has roles, once for each role."""
    role_rows = accounts.list_account_roles(conn, account_id)
    return [Organisation(OrganisationKind(row.kind), row.organisation) for row in role_rows]


def _add_account(change: DatabaseChange, proposal: Mapping[str, Any]) -> str:
    """Add an account with its roles and its link, as proposed; return that as a sentence."""
    name, organisation = proposal["name"], proposal["organisation"]
    accounts.lock_name(change.conn, name)
    if accounts.find_by_name(change.conn, name) is not None:
        raise GatewayError(TRANSITION_REFUSED, f"account {name} was added since this was proposed", "account")
    new = NewAccount(name, proposal["display_name"], proposal["created_by"], language=proposal["language"])
    account_id = accounts.insert_account(change.conn, new, change.at)
    kind, _, code = str(organisation).partition("/")
    accounts.set_roles(change.conn, account_id, kind, code, proposal["after"], change.at)
    _make_link_good(change, account_id, proposal)
    roles_text = ", ".join(f"{organisation}:{role}" for role in proposal["after"])
    change.record_trust_change(f"account {name}", after={"roles": roles_text})
    return f"{name} is added with the roles {', '.join(proposal['after'])} in {organisation}."


def _change_roles(change: DatabaseChange, account_row: AccountRow, proposal: Mapping[str, Any]) -> str:
    """Set the roles of an account in one organisation, as proposed; return the new roles as a sentence.

    Raises GW705 when the roles are not any more those that the proposal began from.
    """
    kind, _, code = str(proposal["organisation"]).partition("/")
    role_rows = accounts.list_account_roles(change.conn, account_row.id)
    roles_before = sorted(row.role for row in role_rows if (row.kind, row.organisation) == (kind, code))
    if roles_before != list(proposal["before"]):
        detail = f"the roles of {account_row.name} were changed since this was proposed"
        raise GatewayError(TRANSITION_REFUSED, detail, "account role")
    ends_ways = _ends_ways(change.conn, change.settings, proposal)
    accounts.set_roles(change.conn, account_row.id, kind, code, proposal["after"], change.at)
    sentence = f"Roles of {account_row.name} in {kind}/{code}: "
    sentence += f"{', '.join(proposal['after']) or 'none'}."
    if ends_ways:
        sessions.remove_passkeys(change.conn, account_row.id)
        accounts.set_password(change.conn, account_row.id, None, change.at)
        sentence += " Password, passkeys and sessions of before have ended."
    text_before, text_after = (
        ", ".join(f"{kind}/{code}:{role}" for role in roles) for roles in (roles_before, proposal["after"])
    )
    change.record_trust_change(
        f"account {account_row.name}", before={"roles": text_before}, after={"roles": text_after}
    )
    return sentence


def ends_sign_in_ways(conn: Connection, settings: Settings, act_row: OperatorActRow) -> bool:
    """Return whether an act that waits ends password, passkeys and sessions of its account, when approved."""
    return act_row.act == "account role" and _ends_ways(conn, settings, act_row.parameters)


def _ends_ways(conn: Connection, settings: Settings, proposal: Mapping[str, Any]) -> bool:
    """Return whether proposed roles are the first of an account that need two persons.

    Password, passkeys and sessions that the account has until then may be in the hands of one person alone.
    """
    account_row = accounts.find_by_id(conn, proposal["account"])
    if account_row is None or not proposal["after"]:
        return False
    places = _list_organisations(conn, account_row.id)
    return read_second_person_rules(settings).is_first_shared_access(places, _read_organisation(proposal))


def _make_link_good(change: DatabaseChange, account_id: int, proposal: Mapping[str, Any]) -> None:
    """Store the link that a proposal prepared: with the code of the second person it sets a password."""
    digest = digest_shared_link(proposal["link"], proposal["code"])
    invitation = NewInvitation(digest, account_id, change.actor, change.at + LINK_LIFE)
    accounts.insert_invitation(change.conn, invitation, change.at)


def check_no_self_approval(proposal: Mapping[str, Any], account_id: int) -> None:
    """Raise GW705 when a person would approve a change of that person's own access."""
    if proposal.get("account") == account_id:
        raise GatewayError(TRANSITION_REFUSED, "nobody approves a change of own access", "account")
