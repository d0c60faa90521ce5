"""Stores the access tokens of the API by their digests, and the assertions that were used for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Protocol

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Index,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
)

from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import InsertIfAbsent
from gateway.store.table_types import CODE_TEXT, NAME_TEXT, Instant, make_required_column, metadata

# Access tokens by their digest, and the certificate whose key signed the assertion.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_sha256", CODE_TEXT, primary_key=True),
    make_required_column("party_id", NAME_TEXT, ForeignKey("parties.id")),
    make_required_column("certificate_sha256"),
    make_required_column("created_at", Instant),
    make_required_column("expires_at", Instant),
    Index("ix_api_tokens_party_id", "party_id", "expires_at"),
    Index("ix_api_tokens_expires_at", "expires_at"),
)


class ApiTokenRow(Protocol):
    """A row of the table `api_tokens`."""

    token_sha256: str
    party_id: str
    certificate_sha256: str
    created_at: datetime
    expires_at: datetime


# Assertions that were used: each gets one token. `jti_sha256` is the digest of party and id.
api_assertions = Table(
    "api_assertions",
    metadata,
    Column("jti_sha256", CODE_TEXT, primary_key=True),
    make_required_column("expires_at", Instant),
    Index("ix_api_assertions_expires_at", "expires_at"),
)


_FIND = select(api_tokens).where(api_tokens.c.token_sha256 == bindparam("wanted"))
_USE = InsertIfAbsent(api_assertions, ("jti_sha256",), "jti_sha256")


@dataclass(frozen=True, slots=True)
class NewToken:
    """An access token: its digest, the party that it was issued to, and the certificate that proved it."""

    token_sha256: str
    party_id: str
    certificate_sha256: str
    created_at: datetime
    expires_at: datetime


def insert_token(conn: Connection, token: NewToken) -> None:
    """Store an access token."""
    conn.execute(insert(api_tokens).values(asdict(token)))


def find_token(conn: Connection, token_sha256: str) -> ApiTokenRow | None:
    """Return the token with this digest, also one that has expired."""
    return conn.execute(_FIND, {"wanted": token_sha256}).first()


def delete_party_tokens(conn: Connection, party: str) -> None:
    """Delete the tokens of a party: it needs new ones."""
    conn.execute(delete(api_tokens).where(api_tokens.c.party_id == party))


def count_valid_tokens(conn: Connection, party: str, at: datetime) -> int:
    """Return how many tokens of a party are valid at a time; other counts wait until the commit."""
    acquire_named_locks(conn, f"api tokens of {party}")
    valid = (api_tokens.c.party_id == party) & (api_tokens.c.expires_at > at)
    return int(conn.execute(select(func.count()).where(valid)).scalar_one())


def record_used_assertion(conn: Connection, jti_sha256: str, expires_at: datetime) -> bool:
    """Store that an assertion is used; return False when it was used before."""
    row = {"jti_sha256": jti_sha256, "expires_at": expires_at}
    return _USE.insert_one(conn, row) is not None


def delete_expired_rows(conn: Connection, at: datetime) -> None:
    """Delete the tokens and assertions that have expired: no client can use them any more."""
    conn.execute(delete(api_tokens).where(api_tokens.c.expires_at <= at))
    conn.execute(delete(api_assertions).where(api_assertions.c.expires_at <= at))
