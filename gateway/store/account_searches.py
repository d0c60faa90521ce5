"""Lists accounts for those who manage them: page by page, with the roles and the last sign-in of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select

from gateway.store.account_tables import account_roles, accounts, sessions
from gateway.store.list_filters import ListFilter, ListPage, build_text_condition, fetch_page
from gateway.store.sign_in_tables import passkeys

__all__ = ["AccountFilter", "find_last_sign_in", "list_roles_of_accounts", "search_accounts"]


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Which accounts: with a role in a kind of organisation, or in one organisation; with a status."""

    kind: str = ""
    organisation: str = ""
    status: str = ""


def search_accounts(conn: Connection, wanted: AccountFilter, page: ListFilter) -> ListPage:
    """Return accounts by name: how each signs in (`has_password`, `passkeys`, …), and when it last did."""
    last = select(func.max(sessions.c.created_at)).where(sessions.c.account_id == accounts.c.id)
    number = select(func.count()).where(passkeys.c.account_id == accounts.c.id)
    columns = (
        accounts.c.id,
        accounts.c.name,
        accounts.c.display_name,
        accounts.c.status,
        accounts.c.password.is_not(None).label("has_password"),
        accounts.c.certificate_sha256.is_not(None).label("has_certificate"),
        accounts.c.oidc_subject.is_not(None).label("has_subject"),
        number.scalar_subquery().label("passkeys"),
        last.scalar_subquery().label("last_sign_in"),
    )
    conditions = _list_conditions(wanted)
    if page.text:
        conditions.append(build_text_condition(page.text, accounts.c.name, accounts.c.display_name))
    return fetch_page(conn, columns, accounts, conditions, page, accounts.c.name, rising=True)


def list_roles_of_accounts(conn: Connection, numbers: Iterable[int]) -> Sequence[Row[Any]]:
    """Return the roles of these accounts, with the kind and the code of each organisation."""
    found = select(account_roles).where(account_roles.c.account_id.in_([*numbers]))
    order = (account_roles.c.account_id, account_roles.c.kind, account_roles.c.organisation)
    return conn.execute(found.order_by(*order, account_roles.c.role)).all()


def find_last_sign_in(conn: Connection, account: int) -> datetime | None:
    """Return when the newest session of an account began."""
    found = select(func.max(sessions.c.created_at)).where(sessions.c.account_id == account)
    moment: datetime | None = conn.execute(found).scalar()
    return moment


def _list_conditions(wanted: AccountFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.kind:
        member = account_roles.c.kind == wanted.kind
        if wanted.organisation:
            member = and_(member, account_roles.c.organisation == wanted.organisation)
        found.append(accounts.c.id.in_(select(account_roles.c.account_id).where(member)))
    if wanted.status:
        found.append(accounts.c.status == wanted.status)
    return found
