"""The tables of the ways to sign in: passkeys and their challenges, invitations, OpenID Connect."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from gateway.store.column_types import Instant
from gateway.store.table_types import make_identity_column, make_required_column, metadata

__all__ = [
    "account_certificates",
    "account_invitations",
    "oidc_sign_ins",
    "passkey_challenges",
    "passkeys",
]

# Passkeys (WebAuthn): the public keys by which people sign in and confirm what they do.
passkeys = Table(
    "passkeys",
    metadata,
    make_identity_column(),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("credential_id"),
    make_required_column("public_key", LargeBinary),
    make_required_column("sign_count", BigInteger),
    make_required_column("name"),
    make_required_column("backed_up", Boolean),
    make_required_column("created_at", Instant),
    Column("used_at", Instant),
    UniqueConstraint("credential_id"),
    Index("ix_passkeys_account_id", "account_id"),
)

# Challenges that wait for the answer of a passkey; each is removed by its first right answer.
passkey_challenges = Table(
    "passkey_challenges",
    metadata,
    make_identity_column(),
    make_required_column("purpose"),
    make_required_column("challenge"),
    Column("session_id", BigInteger, ForeignKey("sessions.id")),
    make_required_column("network"),
    make_required_column("expires_at", Instant),
    CheckConstraint("purpose IN ('sign-in', 'register', 'confirm')", name="purpose"),
    Index("ix_passkey_challenges_challenge", "challenge"),
    Index("ix_passkey_challenges_network", "network", "expires_at"),
    Index("ix_passkey_challenges_expires_at", "expires_at"),
)

# The client certificates by which people sign in.
account_certificates = Table(
    "account_certificates",
    metadata,
    Column("sha256", Text, primary_key=True),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("subject"),
    make_required_column("not_after", Instant),
    make_required_column("der", LargeBinary),
    make_required_column("added_at", Instant),
    UniqueConstraint("account_id"),
)

# Links by which a person sets a password, by the digest of their token.
account_invitations = Table(
    "account_invitations",
    metadata,
    Column("token_sha256", Text, primary_key=True),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    make_required_column("expires_at", Instant),
    Index("ix_account_invitations_account_id", "account_id"),
    Index("ix_account_invitations_expires_at", "expires_at"),
)

# Sign-ins that wait for the answer of the OpenID provider, by the digest of their state.
oidc_sign_ins = Table(
    "oidc_sign_ins",
    metadata,
    Column("state_sha256", Text, primary_key=True),
    make_required_column("browser_sha256"),
    make_required_column("nonce"),
    make_required_column("verifier"),
    make_required_column("return_path"),
    make_required_column("network"),
    make_required_column("expires_at", Instant),
    Index("ix_oidc_sign_ins_network", "network", "expires_at"),
    Index("ix_oidc_sign_ins_expires_at", "expires_at"),
)
