"""Stores the links by which people set a password, by the digests of their tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from gateway.store.account_tables import accounts
from gateway.store.sign_in_tables import account_invitations

__all__ = ["NewInvitation", "find_invitation", "insert_invitation", "remove_expired", "remove_invitations"]


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """A link: the digest of its token, whose password it sets, who made it, and until when it is good."""

    token_sha256: str
    account_id: int
    created_by: str
    expires_at: datetime


def insert_invitation(conn: Connection, invitation: NewInvitation, at: datetime) -> None:
    """Store a link; earlier links of the account are no longer good."""
    remove_invitations(conn, invitation.account_id)
    conn.execute(insert(account_invitations).values(asdict(invitation) | {"created_at": at}))


def find_invitation(conn: Connection, token_sha256: str, now: datetime) -> Row[Any] | None:
    """Return the account of a link that is good now; None for any other link."""
    found = (
        select(accounts, account_invitations.c.created_by.label("invited_by"))
        .join(account_invitations, account_invitations.c.account_id == accounts.c.id)
        .where(
            account_invitations.c.token_sha256 == token_sha256,
            account_invitations.c.expires_at > now,
            accounts.c.status == "ACTIVE",
        )
    )
    return conn.execute(found).first()


def remove_invitations(conn: Connection, account: int) -> int:
    """Remove every link of an account; return how many there were."""
    found = account_invitations.c.account_id == account
    return conn.execute(delete(account_invitations).where(found)).rowcount


def remove_expired(conn: Connection, now: datetime) -> int:
    """Remove the links that are no longer good; return how many there were."""
    over = account_invitations.c.expires_at <= now
    return conn.execute(delete(account_invitations).where(over)).rowcount
