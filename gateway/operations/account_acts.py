"""The change of roles of a person that a second person must approve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from gateway.errors import MISUSE, TRANSITION_REFUSED, GatewayError
from gateway.operations.audited_changes import DatabaseChange
from gateway.store import accounts

__all__ = ["change_account_roles", "check_other_person"]


def change_account_roles(change: DatabaseChange, told: Mapping[str, Any]) -> str:
    """Set the roles of an account in one organisation, as proposed; return what is so now as a sentence.

    Raises GW705 when the roles are not any more those that the proposal began from, and GW808 for an
    account that is gone.
    """
    kind, _, code = str(told["organisation"]).partition("/")
    row = accounts.find_by_id(change.conn, told["account"])
    if row is None:
        raise GatewayError(MISUSE, f"there is no account {told['name']}", "account")
    before = _read_roles(change.conn, row.id, (kind, code))
    if before != list(told["before"]):
        detail = f"the roles of {row.name} were changed since this was proposed"
        raise GatewayError(TRANSITION_REFUSED, detail, "account role")
    accounts.set_roles(change.conn, row.id, (kind, code), told["after"], change.at)
    place = told["organisation"]
    was, now = (", ".join(f"{place}:{role}" for role in roles) for roles in (before, told["after"]))
    change.record_trust_change(f"account {row.name}", before={"roles": was}, after={"roles": now})
    return f"Roles of {row.name} in {place}: {', '.join(told['after']) or 'none'}."


def check_other_person(told: Mapping[str, Any], account: int) -> None:
    """Raise GW705 when a person would approve a change of that person's own roles."""
    if told["account"] == account:
        raise GatewayError(TRANSITION_REFUSED, "nobody approves a change of own roles", "account role")


def _read_roles(conn: Connection, account: int, place: tuple[str, str]) -> list[str]:
    rows = accounts.list_roles_of(conn, account)
    return sorted(one.role for one in rows if (one.kind, one.organisation) == place)
