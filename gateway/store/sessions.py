"""Stores the sessions of people who have signed in, by the digests of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from gateway.store.account_tables import accounts, sessions

__all__ = [
    "NewSession",
    "end_session",
    "end_sessions_of",
    "find_session",
    "insert_session",
    "list_by_account",
    "record_use",
    "set_notice",
    "take_notice",
]


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session: whose it is, in which organisation it acts, how and from where the person signed in."""

    token_sha256: str
    account_id: int
    kind: str
    organisation: str
    method: str
    network: str


def insert_session(conn: Connection, session: NewSession, at: datetime) -> int:
    """Store a session; return its id."""
    values = asdict(session) | {"created_at": at, "seen_at": at}
    return int(conn.execute(insert(sessions).values(values)).inserted_primary_key[0])  # type: ignore[index]


def find_session(conn: Connection, token_sha256: str) -> Row[Any] | None:
    """Return a session with the name, the status and the language of its account."""
    found = (
        select(sessions, accounts.c.name, accounts.c.display_name, accounts.c.status, accounts.c.language)
        .join(accounts, accounts.c.id == sessions.c.account_id)
        .where(sessions.c.token_sha256 == token_sha256)
    )
    return conn.execute(found).first()


def record_use(conn: Connection, session: int, at: datetime) -> None:
    """Store when a session was last used."""
    conn.execute(update(sessions).where(sessions.c.id == session).values(seen_at=at))


def end_session(conn: Connection, session: int, at: datetime) -> None:
    """End a session; one that has ended keeps its first end."""
    conn.execute(
        update(sessions).where(sessions.c.id == session, sessions.c.ended_at.is_(None)).values(ended_at=at)
    )


def end_sessions_of(
    conn: Connection, account: int, at: datetime, *, method: str | None = None, but: int | None = None
) -> int:
    """End the sessions of an account (that began by one method, `but` one); return how many stood."""
    standing = [sessions.c.account_id == account, sessions.c.ended_at.is_(None)]
    if method is not None:
        standing.append(sessions.c.method == method)
    if but is not None:
        standing.append(sessions.c.id != but)
    return conn.execute(update(sessions).where(*standing).values(ended_at=at)).rowcount


def set_notice(conn: Connection, session: int, notice: str | None) -> None:
    """Store the sentence that the next page of a session shows."""
    conn.execute(update(sessions).where(sessions.c.id == session).values(notice=notice))


def take_notice(conn: Connection, session: int) -> str | None:
    """Return the sentence for the next page, and remove it."""
    notice = conn.execute(select(sessions.c.notice).where(sessions.c.id == session)).scalar()
    if notice is not None:
        set_notice(conn, session, None)
    return None if notice is None else str(notice)


def list_by_account(conn: Connection, account: int) -> Sequence[Row[Any]]:
    """Return the sessions of an account, newest first."""
    found = select(sessions).where(sessions.c.account_id == account)
    return conn.execute(found.order_by(sessions.c.created_at.desc(), sessions.c.id.desc())).all()
