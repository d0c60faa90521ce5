"""The tables of the API: access tokens, and the assertions by which they were asked for."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Table, Text

from gateway.store.column_types import Instant
from gateway.store.table_types import make_required_column, metadata

__all__ = ["api_assertions", "api_tokens"]

# Access tokens by their digest, and the certificate whose key signed the assertion.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    make_required_column("party_id", Text, ForeignKey("parties.id")),
    make_required_column("certificate_sha256"),
    make_required_column("created_at", Instant),
    make_required_column("expires_at", Instant),
    Index("ix_api_tokens_party_id", "party_id", "expires_at"),
    Index("ix_api_tokens_expires_at", "expires_at"),
)

# Assertions that were used: each gets one token. `jti_sha256` is the digest of party and id.
api_assertions = Table(
    "api_assertions",
    metadata,
    Column("jti_sha256", Text, primary_key=True),
    make_required_column("expires_at", Instant),
    Index("ix_api_assertions_expires_at", "expires_at"),
)
