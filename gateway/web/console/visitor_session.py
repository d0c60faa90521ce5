"""The person who asks for a page: found by the session's cookie, with the rights of the session.

A session belongs to one organisation. The rights are read for each request, so that a suspension or
another role takes effect with the next request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import (
    Organisation,
    OrganisationKind,
    Right,
    SessionTimes,
    derive_form_token,
    digest_token,
    is_session_over,
    list_rights,
    make_token,
)
from gateway.store import NewSession, accounts, read_transaction, sessions, write_transaction
from gateway.web.console.console_services import ConsoleServices

__all__ = ["Visitor", "begin_session", "find_visitor", "leave_session", "switch_organisation"]

#: A session's last use is written at most so often.
_PRECISION: Final = timedelta(seconds=60)
_TOKEN: Final = 32


@dataclass(frozen=True, slots=True)
class Visitor:
    """A signed-in person: the account, the organisation the person acts for, and the rights there."""

    session: int
    account: int
    name: str
    display_name: str
    organisation: Organisation
    roles: frozenset[str]
    rights: frozenset[Right]
    language: str
    method: str
    form_token: str
    #: Whether a sentence waits for the next page.
    has_notice: bool = False

    def may(self, right: Right) -> bool:
        """Return whether this person has a right."""
        return right in self.rights


def find_visitor(services: ConsoleServices, token: str | None, *, is_use: bool = True) -> Visitor | None:
    """Return the person whose session has this token; None when there is none or it is over.

    A request that is no use of the session does not prolong it.
    """
    if not token or len(token) > 2 * _TOKEN:
        return None
    now = services.clock()
    with read_transaction(services.engine) as conn:
        row = sessions.find_session(conn, digest_token(token))
        if row is None or row.status != "ACTIVE":
            return None
        times = SessionTimes(row.created_at, row.seen_at, row.ended_at)
        if is_session_over(times, services.session_limits, now):
            return None
        organisation = Organisation(OrganisationKind(row.kind), row.organisation)
        roles = _read_roles(conn, row.account_id, organisation)
    if not roles:
        return None
    if is_use and now - row.seen_at >= _PRECISION:
        with write_transaction(services.engine, "console.session") as conn:
            sessions.record_use(conn, row.id, now)
    rights = list_rights(organisation.kind, roles)
    return Visitor(
        session=row.id,
        account=row.account_id,
        name=row.name,
        display_name=row.display_name,
        organisation=organisation,
        roles=roles,
        rights=rights,
        language=row.language,
        method=row.method,
        form_token=derive_form_token(token),
        has_notice=row.notice is not None,
    )


def begin_session(
    conn: Connection, services: ConsoleServices, account: int, method: str, network: str
) -> str | None:
    """Store a session of an account in its first organisation; return its token.

    Returns None when the account has no role in any organisation.
    """
    given = accounts.list_roles_of(conn, account)
    if not given:
        return None
    return _store_session(
        conn, services, NewSession("", account, given[0].kind, given[0].organisation, method, network)
    )


def switch_organisation(
    services: ConsoleServices, visitor: Visitor, organisation: Organisation, network: str
) -> str | None:
    """End a session and begin one in another organisation of the same person; return its token.

    Returns None, and changes nothing, when the person has no role there.
    """
    with write_transaction(services.engine, "console.session") as conn:
        if not _read_roles(conn, visitor.account, organisation):
            return None
        sessions.end_session(conn, visitor.session, services.clock())
        new = NewSession(
            "", visitor.account, organisation.kind.value, organisation.code, visitor.method, network
        )
        return _store_session(conn, services, new)


def leave_session(services: ConsoleServices, visitor: Visitor) -> None:
    """End a session."""
    with write_transaction(services.engine, "console.session") as conn:
        sessions.end_session(conn, visitor.session, services.clock())


def _store_session(conn: Connection, services: ConsoleServices, new: NewSession) -> str:
    token = make_token(services.random(_TOKEN))
    stored = NewSession(
        digest_token(token), new.account_id, new.kind, new.organisation, new.method, new.network
    )
    sessions.insert_session(conn, stored, services.clock())
    return token


def _read_roles(conn: Connection, account: int, organisation: Organisation) -> frozenset[str]:
    given = accounts.list_roles_of(conn, account)
    return frozenset(
        row.role for row in given if (row.kind, row.organisation) == (organisation.kind, organisation.code)
    )
