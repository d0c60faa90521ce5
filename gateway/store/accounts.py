"""Stores accounts: people, their roles in organisations, and attempts to sign in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, select, update

from gateway.store.account_tables import account_roles, accounts, sessions, sign_ins
from gateway.store.sign_in_tables import account_invitations

__all__ = [
    "NewAccount",
    "count_failed_sign_ins",
    "find_by_certificate",
    "find_by_id",
    "find_by_name",
    "find_by_subject",
    "has_signed_in_from",
    "insert_account",
    "list_accounts",
    "list_roles_of",
    "lock_account",
    "record_sign_in",
    "set_password",
    "set_roles",
    "set_status",
    "update_account",
]


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
    return int(conn.execute(insert(accounts).values(values)).inserted_primary_key[0])  # type: ignore[index]


def find_by_name(conn: Connection, name: str) -> Row[Any] | None:
    """Return the account with this sign-in name, in upper or lower case."""
    return conn.execute(select(accounts).where(accounts.c.name == name.casefold())).first()


def find_by_id(conn: Connection, account: int) -> Row[Any] | None:
    """Return the account with this id."""
    return conn.execute(select(accounts).where(accounts.c.id == account)).first()


def lock_account(conn: Connection, account: int) -> Row[Any] | None:
    """Return the account with this id; nobody else changes it before the commit."""
    return conn.execute(select(accounts).where(accounts.c.id == account).with_for_update()).first()


def find_by_certificate(conn: Connection, digest: str) -> Row[Any] | None:
    """Return the account that signs in with the certificate of this SHA-256."""
    return conn.execute(select(accounts).where(accounts.c.certificate_sha256 == digest)).first()


def find_by_subject(conn: Connection, issuer: str, subject: str) -> Row[Any] | None:
    """Return the account that signs in as this subject of an OpenID provider."""
    return conn.execute(
        select(accounts).where(accounts.c.oidc_issuer == issuer, accounts.c.oidc_subject == subject)
    ).first()


def list_accounts(
    conn: Connection, kind: str | None = None, organisation: str | None = None
) -> Sequence[Row[Any]]:
    """Return the accounts by name; of one kind of organisation, or of one organisation."""
    found = select(accounts).order_by(accounts.c.name)
    if kind is not None:
        member = account_roles.c.kind == kind
        if organisation is not None:
            member = and_(member, account_roles.c.organisation == organisation)
        found = found.where(accounts.c.id.in_(select(account_roles.c.account_id).where(member)))
    return conn.execute(found).all()


def update_account(conn: Connection, account: int, **values: Any) -> None:
    """Change columns of an account that are neither its password nor its status."""
    conn.execute(update(accounts).where(accounts.c.id == account).values(**values))


def set_password(conn: Connection, account: int, password: str | None, at: datetime) -> None:
    """Set the hash of a password, or remove it; every session of the account ends."""
    conn.execute(
        update(accounts).where(accounts.c.id == account).values(password=password, password_changed_at=at)
    )
    _end_sessions(conn, account, at)


def set_status(conn: Connection, account: int, status: str, at: datetime) -> None:
    """Set an account ACTIVE or SUSPENDED; the sessions of a suspended account end."""
    conn.execute(update(accounts).where(accounts.c.id == account).values(status=status))
    if status == "SUSPENDED":
        _end_sessions(conn, account, at)


def set_roles(
    conn: Connection, account: int, organisation: tuple[str, str], roles: Sequence[str], at: datetime
) -> None:
    """Set the roles of an account in one organisation (kind, code); its sessions there end.

    Links that set a password are no longer good: who made one may not manage the account any more.
    """
    kind, code = organisation
    there = and_(account_roles.c.kind == kind, account_roles.c.organisation == code)
    conn.execute(delete(account_roles).where(account_roles.c.account_id == account, there))
    rows = [{"account_id": account, "kind": kind, "organisation": code, "role": one} for one in set(roles)]
    if rows:
        conn.execute(insert(account_roles), rows)
    conn.execute(delete(account_invitations).where(account_invitations.c.account_id == account))
    _end_sessions(conn, account, at, sessions.c.kind == kind, sessions.c.organisation == code)


def list_roles_of(conn: Connection, account: int) -> Sequence[Row[Any]]:
    """Return the roles of an account, with the kind and the code of each organisation."""
    found = select(account_roles).where(account_roles.c.account_id == account)
    order = (account_roles.c.kind, account_roles.c.organisation, account_roles.c.role)
    return conn.execute(found.order_by(*order)).all()


def record_sign_in(conn: Connection, name: str, network: str, good: bool, at: datetime) -> None:
    """Store an attempt to sign in."""
    values = {"name_sha256": _digest_name(name), "network": network, "good": good, "at": at}
    conn.execute(insert(sign_ins).values(values))


def count_failed_sign_ins(
    conn: Connection, since: datetime, *, name: str | None = None, network: str | None = None
) -> int:
    """Return the number of failures since a time, of a name, of a network, or of both."""
    found = select(func.count()).select_from(sign_ins)
    found = found.where(sign_ins.c.at > since, sign_ins.c.good.is_(False))
    if name is not None:
        found = found.where(sign_ins.c.name_sha256 == _digest_name(name))
    if network is not None:
        found = found.where(sign_ins.c.network == network)
    return int(conn.execute(found).scalar_one())


def has_signed_in_from(conn: Connection, name: str, network: str) -> bool:
    """Return whether a name has signed in from a network before."""
    found = select(sign_ins.c.id).where(
        sign_ins.c.name_sha256 == _digest_name(name),
        sign_ins.c.network == network,
        sign_ins.c.good.is_(True),
    )
    return conn.execute(found.limit(1)).first() is not None


def _digest_name(name: str) -> str:
    return sha256(name.casefold().encode(errors="replace")).hexdigest()


def _end_sessions(conn: Connection, account: int, at: datetime, *more: Any) -> None:
    standing = (sessions.c.account_id == account, sessions.c.ended_at.is_(None), *more)
    conn.execute(update(sessions).where(*standing).values(ended_at=at))
