"""The tables of people: accounts, their roles, sessions, and attempts to sign in."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = ["account_roles", "accounts", "sessions", "sign_ins"]

# People who sign in. `name` is what they type; it is stored in lower case.
accounts = Table(
    "accounts",
    metadata,
    make_identity_column(),
    make_required_column("name"),
    make_required_column("display_name"),
    make_required_column("status"),
    Column("password", Text),  # Argon2id, as a PHC string
    make_required_column("password_changed_at", Instant),
    Column("certificate_sha256", Text),  # of the client certificate by which this person signs in
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    make_required_column("language"),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    UniqueConstraint("name"),
    UniqueConstraint("certificate_sha256"),
    UniqueConstraint("oidc_issuer", "oidc_subject"),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED')", name="status"),
)

# The roles of an account, each in one organisation.
account_roles = Table(
    "account_roles",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("organisation", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    CheckConstraint("kind IN ('agency', 'party', 'operator')", name="kind"),
    Index("ix_account_roles_organisation", "kind", "organisation"),
)

# Sessions by the digest of their token. `notice` is a sentence for the next page.
sessions = Table(
    "sessions",
    metadata,
    make_identity_column(),
    make_required_column("token_sha256"),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("kind"),
    make_required_column("organisation"),
    make_required_column("method"),
    make_required_column("network"),
    make_required_column("created_at", Instant),
    make_required_column("seen_at", Instant),
    Column("ended_at", Instant),
    Column("notice", Text),
    UniqueConstraint("token_sha256"),
    Index("ix_sessions_account", "account_id", "created_at"),
    Index("ix_sessions_created_at", "created_at"),
)

# Attempts to sign in, by the digest of the name: a password typed into the wrong field is not kept.
sign_ins = Table(
    "sign_ins",
    metadata,
    make_identity_column(),
    make_required_column("name_sha256"),
    make_required_column("network"),
    make_required_column("good", Boolean),
    make_required_column("at", Instant),
    Index("ix_sign_ins_name", "name_sha256", "at"),
    Index("ix_sign_ins_network", "network", "at"),
    Index("ix_sign_ins_age", "at", "good"),
)
