"""Stores accounts: people, their roles in organisations, how they sign in, and attempts to do so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)

from gateway.errors import MISUSE, GatewayError
from gateway.store.parties import parties
from gateway.store.postgresql_connections import acquire_named_locks
from gateway.store.prepared_statements import insert_row
from gateway.store.table_types import (
    CODE_TEXT,
    ID_TEXT,
    NAME_TEXT,
    NUMBER_TEXT,
    Instant,
    make_identity_column,
    make_required_column,
    metadata,
)
from gateway.store.transitions import note_changed_row

# The client certificates by which people sign in.
account_certificates = Table(
    "account_certificates",
    metadata,
    Column("sha256", CODE_TEXT, primary_key=True),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("subject"),
    make_required_column("not_after", Instant),
    make_required_column("der", LargeBinary),
    make_required_column("added_at", Instant),
    UniqueConstraint("account_id"),
)


class AccountCertificateRow(Protocol):
    """A row of the table `account_certificates`."""

    sha256: str
    account_id: int
    subject: str
    not_after: datetime
    der: bytes
    added_at: datetime


# Links by which a person sets a password, by the digest of their token.
account_invitations = Table(
    "account_invitations",
    metadata,
    Column("token_sha256", CODE_TEXT, primary_key=True),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    make_required_column("expires_at", Instant),
    Index("ix_account_invitations_account_id", "account_id"),
    Index("ix_account_invitations_expires_at", "expires_at"),
)


# People who sign in. `name` is the name for the sign-in, stored in lower case.
accounts = Table(
    "accounts",
    metadata,
    make_identity_column(),
    make_required_column("name", NAME_TEXT),
    make_required_column("display_name"),
    make_required_column("status"),
    Column("password", Text),  # Argon2id, as a PHC string
    make_required_column("password_changed_at", Instant),
    Column("certificate_sha256", CODE_TEXT),  # of the client certificate by which this person signs in
    Column("oidc_issuer", ID_TEXT),
    Column("oidc_subject", NUMBER_TEXT),
    make_required_column("language"),
    make_required_column("created_at", Instant),
    make_required_column("created_by"),
    UniqueConstraint("name"),
    UniqueConstraint("certificate_sha256"),
    UniqueConstraint("oidc_issuer", "oidc_subject"),
    CheckConstraint("status IN ('ACTIVE', 'SUSPENDED')", name="status"),
)


class AccountRow(Protocol):
    """A row of the table `accounts`."""

    id: int
    name: str
    display_name: str
    status: str
    password: str | None
    password_changed_at: datetime
    certificate_sha256: str | None
    oidc_issuer: str | None
    oidc_subject: str | None
    language: str
    created_at: datetime
    created_by: str


# The roles of an account, each in one organisation.
account_roles = Table(
    "account_roles",
    metadata,
    Column("account_id", BigInteger, ForeignKey("accounts.id"), primary_key=True),
    Column("kind", CODE_TEXT, primary_key=True),
    Column("organisation", NAME_TEXT, primary_key=True),
    Column("role", NAME_TEXT, primary_key=True),
    CheckConstraint("kind IN ('agency', 'party', 'operator')", name="kind"),
    Index("ix_account_roles_organisation", "kind", "organisation"),
)


class AccountRoleRow(Protocol):
    """A row of the table `account_roles`."""

    account_id: int
    kind: str
    organisation: str
    role: str


# Sessions by the digest of their token. `notice` is a sentence for the next page.
sessions = Table(
    "sessions",
    metadata,
    make_identity_column(),
    make_required_column("token_sha256", CODE_TEXT),
    make_required_column("account_id", BigInteger, ForeignKey("accounts.id")),
    make_required_column("kind"),
    make_required_column("organisation"),
    make_required_column("method"),
    make_required_column("network"),
    make_required_column("created_at", Instant),
    make_required_column("seen_at", Instant),
    Column("ended_at", Instant),
    Column("notice", Text),
    Column("authenticated_at", Instant),  # None where nothing shows when the person proved who they are
    Column("form_token", Text),  # None where it is derived from the token of the session
    UniqueConstraint("token_sha256"),
    Index("ix_sessions_account", "account_id", "created_at"),
    Index("ix_sessions_created_at", "created_at"),
)


class SessionRow(Protocol):
    """A row of the table `sessions`."""

    id: int
    token_sha256: str
    account_id: int
    kind: str
    organisation: str
    method: str
    network: str
    created_at: datetime
    seen_at: datetime
    ended_at: datetime | None
    notice: str | None
    authenticated_at: datetime | None
    form_token: str | None


# Attempts to sign in, by the digest of the name: a password typed into the wrong field is not kept.
sign_ins = Table(
    "sign_ins",
    metadata,
    make_identity_column(),
    make_required_column("name_sha256", CODE_TEXT),
    make_required_column("network", CODE_TEXT),
    make_required_column("good", Boolean),
    make_required_column("at", Instant),
    Index("ix_sign_ins_name", "name_sha256", "at"),
    Index("ix_sign_ins_network", "network", "at"),
    Index("ix_sign_ins_age", "at", "good"),
)


_ROLE_ORDER: Final = (account_roles.c.kind, account_roles.c.organisation, account_roles.c.role)


@dataclass(frozen=True, slots=True)
class NewAccount:
    """A person: the name to sign in with, the name to show, and the ways to sign in."""

    name: str
    display_name: str
    created_by: str
    password: str | None = None
    certificate_sha256: str | None = None
    oidc_issuer: str | None = None
    oidc_subject: str | None = None
    language: str = "en"


def insert_account(conn: Connection, account: NewAccount, at: datetime) -> int:
    """Store an account without roles; return its id. Raises IntegrityError for a name that exists."""
    values = asdict(account) | {"name": account.name.casefold()}
    values |= {"status": "ACTIVE", "created_at": at, "password_changed_at": at}
    account_id = insert_row(conn, accounts, values)
    # Also that it has no role and no certificate yet is stated.
    for table in (accounts, account_roles, account_certificates):
        note_changed_row(conn, table.name, account_id)
    return account_id


def lock_name(conn: Connection, name: str) -> None:
    """Let others who add an account of this sign-in name wait until the commit."""
    acquire_named_locks(conn, f"account {name.casefold()}")


def find_by_name(conn: Connection, name: str) -> AccountRow | None:
    """Return the account with this sign-in name, in upper or lower case."""
    return conn.execute(select(accounts).where(accounts.c.name == name.casefold())).first()


def find_by_id(conn: Connection, account: int) -> AccountRow | None:
    """Return the account with this id."""
    return conn.execute(select(accounts).where(accounts.c.id == account)).first()


def lock_account(conn: Connection, account: int) -> AccountRow | None:
    """Return the account with this id, locked until the transaction ends."""
    return conn.execute(select(accounts).where(accounts.c.id == account).with_for_update()).first()


def find_by_subject(conn: Connection, issuer: str, subject: str) -> AccountRow | None:
    """Return the account that signs in as this subject of an OpenID provider."""
    return conn.execute(
        select(accounts).where(accounts.c.oidc_issuer == issuer, accounts.c.oidc_subject == subject)
    ).first()


def list_accounts(
    conn: Connection, kind: str | None = None, organisation: str | None = None
) -> Sequence[AccountRow]:
    """Return the accounts by name; of one kind of organisation, or of one organisation."""
    query = select(accounts).order_by(accounts.c.name)
    if kind is not None:
        member = account_roles.c.kind == kind
        if organisation is not None:
            member = and_(member, account_roles.c.organisation == organisation)
        query = query.where(accounts.c.id.in_(select(account_roles.c.account_id).where(member)))
    return conn.execute(query).all()


def update_account(conn: Connection, account: int, **values: Any) -> None:
    """Change columns of an account that are neither its password nor its status."""
    conn.execute(update(accounts).where(accounts.c.id == account).values(**values))
    note_changed_row(conn, "accounts", account)


def set_password(conn: Connection, account: int, password_hash: str | None, at: datetime) -> None:
    """Set the hash of a password, or remove it; every session of the account ends, and no link is good."""
    conn.execute(
        update(accounts)
        .where(accounts.c.id == account)
        .values(password=password_hash, password_changed_at=at)
    )
    note_changed_row(conn, "accounts", account)
    remove_invitations(conn, account)
    _end_sessions(conn, account, at)


def replace_password_hash(conn: Connection, account: int, password_hash: str) -> None:
    """Store another hash of the same password; the sessions of the account go on."""
    conn.execute(update(accounts).where(accounts.c.id == account).values(password=password_hash))
    note_changed_row(conn, "accounts", account)


def set_status(conn: Connection, account: int, status: str, at: datetime) -> None:
    """Set an account ACTIVE or SUSPENDED; the sessions and links of a suspended account end."""
    conn.execute(update(accounts).where(accounts.c.id == account).values(status=status))
    note_changed_row(conn, "accounts", account)
    if status == "SUSPENDED":
        remove_invitations(conn, account)
        _end_sessions(conn, account, at)


def set_roles(
    conn: Connection, account: int, kind: str, organisation_code: str, roles: Sequence[str], at: datetime
) -> None:
    """Set the roles of an account in the organisation `organisation_code` of `kind`; its sessions there end.

    Links that set its password become invalid, as their author may no longer manage the account. Raises GW808
    for a role in a party that is not registered.
    """
    if roles and not is_known_organisation(conn, kind, organisation_code):
        raise GatewayError(
            MISUSE, f"there is no party {organisation_code[:80]} in the register: register it first", "party"
        )
    there = and_(account_roles.c.kind == kind, account_roles.c.organisation == organisation_code)
    conn.execute(delete(account_roles).where(account_roles.c.account_id == account, there))
    rows = [
        {"account_id": account, "kind": kind, "organisation": organisation_code, "role": role}
        for role in set(roles)
    ]
    if rows:
        conn.execute(insert(account_roles), rows)
    note_changed_row(conn, "account_roles", account)
    conn.execute(delete(account_invitations).where(account_invitations.c.account_id == account))
    _end_sessions(conn, account, at, sessions.c.kind == kind, sessions.c.organisation == organisation_code)


def is_known_organisation(conn: Connection, kind: str, code: str) -> bool:
    """Return whether an organisation may have people: a party only when it is registered."""
    return (
        kind != "party" or conn.execute(select(parties.c.id).where(parties.c.id == code)).first() is not None
    )


def list_account_roles(conn: Connection, account: int) -> Sequence[AccountRoleRow]:
    """Return the roles of an account, with the kind and the code of each organisation."""
    query = select(account_roles).where(account_roles.c.account_id == account)
    return conn.execute(query.order_by(*_ROLE_ORDER)).all()


def list_usable_roles(conn: Connection, account: int) -> Sequence[AccountRoleRow]:
    """Return the roles of an account, except those in suspended and retired parties."""
    # An agency is registered under its code.
    same = and_(account_roles.c.kind.in_(("agency", "party")), parties.c.id == account_roles.c.organisation)
    role_query = select(account_roles).outerjoin(parties, same).where(account_roles.c.account_id == account)
    # Of a party that is not registered there is nothing to see; an agency at the console need not be.
    usable = func.coalesce(parties.c.status, "ACTIVE") == "ACTIVE"
    return conn.execute(role_query.where(usable).order_by(*_ROLE_ORDER)).all()


def record_sign_in(conn: Connection, name: str, network: str, is_successful: bool, at: datetime) -> int:
    """Store an attempt to sign in; return its id."""
    values = {"name_sha256": _digest_name(name), "network": network, "good": is_successful, "at": at}
    return insert_row(conn, sign_ins, values)


def confirm_sign_in(conn: Connection, attempt_id: int, name: str) -> None:
    """Store that a sign-in attempt was good, with the digest of the account's name."""
    new_values = {"name_sha256": _digest_name(name), "good": True}
    conn.execute(update(sign_ins).where(sign_ins.c.id == attempt_id).values(new_values))


def lock_sign_ins(conn: Connection, network: str, name: str | None = None) -> None:
    """Lock the counts of sign-in attempts of a network, and of a name if given, until the commit."""
    names = () if name is None else (f"sign-in name {_digest_name(name)}",)
    acquire_named_locks(conn, *names, f"sign-in network {network}")


def count_failed_sign_ins(
    conn: Connection, since: datetime, until: datetime, *, name: str | None = None, network: str | None = None
) -> int:
    """Return the number of failures between two times, of a name, of a network, or of both."""
    query = select(func.count()).select_from(sign_ins)
    query = query.where(sign_ins.c.at > since, sign_ins.c.at <= until, sign_ins.c.good.is_(False))
    if name is not None:
        query = query.where(sign_ins.c.name_sha256 == _digest_name(name))
    if network is not None:
        query = query.where(sign_ins.c.network == network)
    return int(conn.execute(query).scalar_one())


def has_signed_in_from(conn: Connection, name: str, network: str) -> bool:
    """Return whether a name has signed in from a network before."""
    query = select(sign_ins.c.id).where(
        sign_ins.c.name_sha256 == _digest_name(name),
        sign_ins.c.network == network,
        sign_ins.c.good.is_(True),
    )
    return conn.execute(query.limit(1)).first() is not None


def _digest_name(name: str) -> str:
    return sha256(name.casefold().encode(errors="replace")).hexdigest()


def _end_sessions(conn: Connection, account: int, at: datetime, *session_conditions: Any) -> None:
    conditions = (sessions.c.account_id == account, sessions.c.ended_at.is_(None), *session_conditions)
    conn.execute(update(sessions).where(*conditions).values(ended_at=at))


@dataclass(frozen=True, slots=True)
class AccountCertificate:
    """A client certificate: its SHA-256, its subject, its end, and its octets."""

    sha256: str
    subject: str
    not_after: datetime
    der: bytes


def set_certificate(
    conn: Connection, account: int, certificate: AccountCertificate | None, at: datetime
) -> None:
    """Set the certificate of an account, or remove it; sessions that began with another one end.

    Raises IntegrityError for a certificate of another account.
    """
    conn.execute(delete(account_certificates).where(account_certificates.c.account_id == account))
    if certificate is not None:
        row = asdict(certificate) | {"account_id": account, "added_at": at}
        conn.execute(insert(account_certificates).values(row))
    digest = None if certificate is None else certificate.sha256
    conn.execute(update(accounts).where(accounts.c.id == account).values(certificate_sha256=digest))
    note_changed_row(conn, "accounts", account)
    note_changed_row(conn, "account_certificates", account)
    theirs = (sessions.c.account_id == account, sessions.c.method == "certificate")
    conn.execute(update(sessions).where(*theirs, sessions.c.ended_at.is_(None)).values(ended_at=at))


class CertificateWithAccountRow(AccountCertificateRow, Protocol):
    """A certificate of an account, with name and status of the account."""

    name: str
    status: str


def find_certificate(conn: Connection, sha256: str) -> CertificateWithAccountRow | None:
    """Return a certificate with the id, the name and the status of its account."""
    query = (
        select(account_certificates, accounts.c.name, accounts.c.status)
        .join(accounts, accounts.c.id == account_certificates.c.account_id)
        .where(account_certificates.c.sha256 == sha256, accounts.c.certificate_sha256 == sha256)
    )
    return conn.execute(query).first()


def list_account_certificates(conn: Connection) -> Sequence[CertificateWithAccountRow]:
    """Return the certificates that are bound to active accounts, by name of the account."""
    query = (
        select(account_certificates, accounts.c.name, accounts.c.status)
        .join(accounts, accounts.c.certificate_sha256 == account_certificates.c.sha256)
        .where(account_certificates.c.account_id == accounts.c.id, accounts.c.status == "ACTIVE")
        .order_by(accounts.c.name)
    )
    return conn.execute(query).all()


def find_account_certificate(conn: Connection, account: int) -> bytes | None:
    """Return the client certificate (DER) that is bound to an account now; None where it has none."""
    query = (
        select(account_certificates.c.der)
        .join(accounts, accounts.c.certificate_sha256 == account_certificates.c.sha256)
        .where(account_certificates.c.account_id == account, accounts.c.id == account)
    )
    return conn.execute(query).scalar()


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """A link to set a password: the digest of its token, the account, its author, and its expiry."""

    token_sha256: str
    account_id: int
    created_by: str
    expires_at: datetime


def insert_invitation(conn: Connection, invitation: NewInvitation, at: datetime) -> None:
    """Store a link; earlier links of the account are no longer good."""
    remove_invitations(conn, invitation.account_id)
    conn.execute(insert(account_invitations).values(asdict(invitation) | {"created_at": at}))


class InvitedAccountRow(AccountRow, Protocol):
    """An account, with the account that invited it."""

    invited_by: str


def find_invitation(conn: Connection, token_sha256: str, now: datetime) -> InvitedAccountRow | None:
    """Return the account of a link that is good now; None for any other link."""
    query = (
        select(accounts, account_invitations.c.created_by.label("invited_by"))
        .join(account_invitations, account_invitations.c.account_id == accounts.c.id)
        .where(
            account_invitations.c.token_sha256 == token_sha256,
            account_invitations.c.expires_at > now,
            accounts.c.status == "ACTIVE",
        )
    )
    return conn.execute(query).first()


def remove_invitations(conn: Connection, account: int) -> int:
    """Remove every link of an account; return how many there were."""
    of_account = account_invitations.c.account_id == account
    return conn.execute(delete(account_invitations).where(of_account)).rowcount


def remove_expired_invitations(conn: Connection, now: datetime) -> int:
    """Remove the links that are no longer good; return how many there were."""
    over = account_invitations.c.expires_at <= now
    return conn.execute(delete(account_invitations).where(over)).rowcount
