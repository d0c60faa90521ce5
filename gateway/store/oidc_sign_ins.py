"""Stores sign-ins that wait for the answer of the OpenID provider; each is answered once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select

from gateway.store.sign_in_tables import oidc_sign_ins

__all__ = [
    "NewOidcSignIn",
    "count_waiting_sign_ins",
    "insert_sign_in",
    "remove_expired_sign_ins",
    "take_sign_in",
]


@dataclass(frozen=True, slots=True)
class NewOidcSignIn:
    """What was asked of the provider: digests of state and browser, nonce, code verifier, the way back."""

    state_sha256: str
    browser_sha256: str
    nonce: str
    verifier: str
    return_path: str
    network: str
    expires_at: datetime


def insert_sign_in(conn: Connection, sign_in: NewOidcSignIn) -> None:
    """Store what was asked."""
    conn.execute(insert(oidc_sign_ins).values(asdict(sign_in)))


def count_waiting_sign_ins(conn: Connection, network: str, now: datetime) -> int:
    """Return how many sign-ins of a network wait."""
    found = select(func.count()).select_from(oidc_sign_ins)
    waiting = found.where(oidc_sign_ins.c.network == network, oidc_sign_ins.c.expires_at > now)
    return int(conn.execute(waiting).scalar_one())


def take_sign_in(conn: Connection, state_sha256: str, browser_sha256: str, now: datetime) -> Row[Any] | None:
    """Return what was asked with a state, from the same browser, and remove it; None for any other."""
    row = conn.execute(select(oidc_sign_ins).where(oidc_sign_ins.c.state_sha256 == state_sha256)).first()
    removed = conn.execute(delete(oidc_sign_ins).where(oidc_sign_ins.c.state_sha256 == state_sha256))
    if row is None or removed.rowcount != 1:
        return None
    return row if row.browser_sha256 == browser_sha256 and row.expires_at > now else None


def remove_expired_sign_ins(conn: Connection, now: datetime) -> int:
    """Remove the sign-ins that were not answered in time; return how many there were."""
    return conn.execute(delete(oidc_sign_ins).where(oidc_sign_ins.c.expires_at <= now)).rowcount
