"""Stores passkeys, and the challenges that wait for their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, or_, select, update

from gateway.store.account_tables import accounts
from gateway.store.sign_in_tables import passkey_challenges, passkeys

__all__ = [
    "NewChallenge",
    "NewPasskey",
    "count_challenges",
    "find_passkey",
    "insert_challenge",
    "insert_passkey",
    "list_passkeys",
    "record_passkey_use",
    "remove_expired_challenges",
    "remove_passkey",
    "take_challenge",
]


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey of an account: its id (base64url), its public key (COSE), and the name its owner gave it."""

    account_id: int
    credential_id: str
    public_key: bytes
    sign_count: int
    name: str
    backed_up: bool


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """A challenge (base64url): what for, in which session (None before the sign-in), and until when."""

    purpose: str
    challenge: str
    network: str
    expires_at: datetime
    session_id: int | None = None


def insert_passkey(conn: Connection, passkey: NewPasskey, at: datetime) -> int:
    """Store a passkey; return its id. Raises IntegrityError for a credential that is stored already."""
    values = asdict(passkey) | {"created_at": at}
    return int(conn.execute(insert(passkeys).values(values)).inserted_primary_key[0])  # type: ignore[index]


def find_passkey(conn: Connection, credential_id: str) -> Row[Any] | None:
    """Return a passkey with the name and the status of its account, which is locked until the commit."""
    found = (
        select(passkeys, accounts.c.name.label("account"), accounts.c.status)
        .join(accounts, accounts.c.id == passkeys.c.account_id)
        .where(passkeys.c.credential_id == credential_id)
    )
    return conn.execute(found.with_for_update()).first()


def list_passkeys(conn: Connection, account: int) -> Sequence[Row[Any]]:
    """Return the passkeys of an account, oldest first."""
    found = select(passkeys).where(passkeys.c.account_id == account)
    return conn.execute(found.order_by(passkeys.c.id)).all()


def record_passkey_use(conn: Connection, passkey: int, sign_count: int, at: datetime) -> bool:
    """Store the counter of a use; return False, and store nothing, when it is not above the stored one.

    An authenticator that does not count says 0 each time (WebAuthn 6.1.1).
    """
    rises = or_(passkeys.c.sign_count < sign_count, passkeys.c.sign_count + sign_count == 0)
    changed = conn.execute(
        update(passkeys).where(passkeys.c.id == passkey, rises).values(sign_count=sign_count, used_at=at)
    )
    return changed.rowcount == 1


def remove_passkey(conn: Connection, account: int, passkey: int) -> str | None:
    """Remove a passkey of an account; return its name, None when the account has no such passkey."""
    found = (passkeys.c.id == passkey, passkeys.c.account_id == account)
    name = conn.execute(select(passkeys.c.name).where(*found)).scalar()
    conn.execute(delete(passkeys).where(*found))
    return None if name is None else str(name)


def insert_challenge(conn: Connection, challenge: NewChallenge) -> None:
    """Store a challenge."""
    conn.execute(insert(passkey_challenges).values(asdict(challenge)))


def count_challenges(conn: Connection, network: str, now: datetime) -> int:
    """Return the number of challenges that wait for answers from a network."""
    found = select(func.count()).select_from(passkey_challenges)
    waiting = found.where(passkey_challenges.c.network == network, passkey_challenges.c.expires_at > now)
    return int(conn.execute(waiting).scalar_one())


def take_challenge(
    conn: Connection, purpose: str, challenge: str, session: int | None, now: datetime
) -> bool:
    """Remove a challenge of a session; return whether it waited there, so that it is used once.

    The same document shown twice has the same challenge twice: one answer takes both, for a passkey that
    does not count could give it again.
    """
    own = passkey_challenges.c.session_id
    removed = delete(passkey_challenges).where(
        passkey_challenges.c.purpose == purpose,
        passkey_challenges.c.challenge == challenge,
        own.is_(None) if session is None else own == session,
        passkey_challenges.c.expires_at > now,
    )
    return conn.execute(removed).rowcount > 0


def remove_expired_challenges(conn: Connection, now: datetime) -> int:
    """Remove the challenges that were not answered in time; return their number."""
    over = passkey_challenges.c.expires_at <= now
    return conn.execute(delete(passkey_challenges).where(over)).rowcount
