"""Stores the certificates by which people sign in; an account has one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from gateway.store.account_tables import accounts, sessions
from gateway.store.sign_in_tables import account_certificates

__all__ = ["AccountCertificate", "find_certificate", "find_certificate_of", "set_certificate"]


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
    theirs = (sessions.c.account_id == account, sessions.c.method == "certificate")
    conn.execute(update(sessions).where(*theirs, sessions.c.ended_at.is_(None)).values(ended_at=at))


def find_certificate(conn: Connection, sha256: str) -> Row[Any] | None:
    """Return a certificate with the id, the name and the status of its account."""
    found = (
        select(account_certificates, accounts.c.name, accounts.c.status)
        .join(accounts, accounts.c.id == account_certificates.c.account_id)
        .where(account_certificates.c.sha256 == sha256, accounts.c.certificate_sha256 == sha256)
    )
    return conn.execute(found).first()


def find_certificate_of(conn: Connection, account: int) -> Row[Any] | None:
    """Return the certificate of an account."""
    found = select(account_certificates).where(account_certificates.c.account_id == account)
    return conn.execute(found).first()
