"""Stores the access tokens of the API by their digests, and the assertions that were used for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from gateway.store.api_tables import api_assertions, api_tokens
from gateway.store.prepared_statements import InsertIfAbsent

__all__ = [
    "NewToken",
    "count_valid_tokens",
    "delete_expired_rows",
    "find_token",
    "insert_token",
    "use_assertion",
]

_FIND = select(api_tokens).where(api_tokens.c.token_sha256 == bindparam("wanted"))
_USE = InsertIfAbsent(api_assertions, ("jti_sha256",), "jti_sha256")


@dataclass(frozen=True, slots=True)
class NewToken:
    """An access token: its digest, the party it stands for, and the certificate that proved the party."""

    token_sha256: str
    party_id: str
    certificate_sha256: str
    created_at: datetime
    expires_at: datetime


def insert_token(conn: Connection, token: NewToken) -> None:
    """Store an access token."""
    conn.execute(insert(api_tokens).values(asdict(token)))


def find_token(conn: Connection, token_sha256: str) -> Row[Any] | None:
    """Return the token with this digest, also one that has expired."""
    return conn.execute(_FIND, {"wanted": token_sha256}).first()


def count_valid_tokens(conn: Connection, party: str, at: datetime) -> int:
    """Return how many tokens of a party are valid at a given time."""
    valid = (api_tokens.c.party_id == party) & (api_tokens.c.expires_at > at)
    return int(conn.execute(select(func.count()).where(valid)).scalar_one())


def use_assertion(conn: Connection, jti_sha256: str, expires_at: datetime) -> bool:
    """Store that an assertion is used; return False when it was used before."""
    row = {"jti_sha256": jti_sha256, "expires_at": expires_at}
    return _USE.insert_one(conn, row) is not None


def delete_expired_rows(conn: Connection, at: datetime) -> None:
    """Delete the tokens and assertions that have expired: they prove nothing any more."""
    conn.execute(delete(api_tokens).where(api_tokens.c.expires_at <= at))
    conn.execute(delete(api_assertions).where(api_assertions.c.expires_at <= at))
