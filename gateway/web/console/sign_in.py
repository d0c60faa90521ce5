"""Sign-in: limits of attempts, the verdict, and the session.

A passkey and a certificate cannot be guessed. So they are limited by network only: a name that others
attack is not limited there, and its owner can still enter while passwords must wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import WINDOW, FailedSignIns, PasskeyError, compute_sign_in_wait, verify_password
from gateway.errors import GatewayError
from gateway.pki import CertificateUse
from gateway.store import (
    AuditEntry,
    account_certificates,
    accounts,
    audit_log,
    read_transaction,
    write_transaction,
)
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_translations import translate
from gateway.web.console.passkey_challenges import take_sign_in
from gateway.web.console.visitor_session import Visitor, begin_session

__all__ = [
    "SignInResult",
    "check_present_password",
    "sign_in_with_certificate",
    "sign_in_with_passkey",
    "sign_in_with_password",
    "sign_in_with_subject",
]

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SignInResult:
    """The token of the new session; or how long to wait; or neither, when the sign-in was refused."""

    token: str | None = None
    wait: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AccountOwner:
    """The account that a proof belongs to, and whether the proof lets its owner in."""

    account: int
    name: str
    may_enter: bool


def sign_in_with_password(services: ConsoleServices, name: str, password: str, network: str) -> SignInResult:
    """Sign a person in, and record the attempt.

    An unknown name, a wrong password, a suspended account and an account without roles get the same
    answer, and it takes the same time.
    """
    with read_transaction(services.engine) as conn:
        wait = compute_sign_in_wait(_count_failures(conn, services, name, network))
        account = accounts.find_by_name(conn, name)
    if wait is not None:
        return SignInResult(wait=wait)
    # Hashing takes tenths of a second: never inside a transaction.
    right = verify_password(None if account is None else account.password, password)
    with write_transaction(services.engine, "console.sign_in") as conn:
        token = None
        if account is not None:
            # The password that was right may have been replaced while it was hashed.
            present = accounts.lock_account(conn, account.id)
            is_same = present is not None and present.password == account.password
            may_enter = right and is_same and account.status == "ACTIVE"
            owner = AccountOwner(account.id, account.name, may_enter)
            token = _enter_account(conn, services, owner, "password", network)
        if token is None:
            accounts.record_sign_in(conn, name, network, False, services.clock())
    return SignInResult(token=token)


def sign_in_with_passkey(services: ConsoleServices, answer: str, network: str) -> SignInResult:
    """Sign in the person whose passkey answers a challenge, and record the attempt.

    A suspended account and an account without roles get the same answer as an unknown passkey.
    """

    def find_owner(conn: Connection) -> AccountOwner:
        owner = take_sign_in(conn, services, answer)
        return AccountOwner(owner.account, owner.name, owner.status == "ACTIVE")

    return _sign_in_by_proof(services, "passkey", network, find_owner)


def sign_in_with_certificate(services: ConsoleServices, sha256: str, network: str) -> SignInResult:
    """Sign in the person to whom a client certificate belongs, and record the attempt.

    `sha256` is that of the certificate in the TLS handshake. It must be valid now by our own trust: a
    revoked one is refused, even where the handshake took it.
    """

    def find_owner(conn: Connection) -> AccountOwner | None:
        row = account_certificates.find_certificate(conn, sha256)
        if row is None:
            return None
        return AccountOwner(row.account_id, row.name, row.status == "ACTIVE" and is_valid)

    with read_transaction(services.engine) as conn:
        shown = account_certificates.find_certificate(conn, sha256)
    is_valid = shown is not None and _is_certificate_valid(services, shown.der)
    return _sign_in_by_proof(services, "certificate", network, find_owner)


def sign_in_with_subject(services: ConsoleServices, person: tuple[str, str], network: str) -> SignInResult:
    """Sign in the person whom an OpenID provider names (issuer, subject), and record the attempt."""

    def find_owner(conn: Connection) -> AccountOwner | None:
        row = accounts.find_by_subject(conn, *person)
        return None if row is None else AccountOwner(row.id, row.name, row.status == "ACTIVE")

    return _sign_in_by_proof(services, "openid", network, find_owner)


def _sign_in_by_proof(
    services: ConsoleServices,
    method: str,
    network: str,
    find_owner: Callable[[Connection], AccountOwner | None],
) -> SignInResult:
    """Sign in the owner of a proof that cannot be guessed; only the network is limited."""
    with read_transaction(services.engine) as conn:
        failures = accounts.count_failed_sign_ins(conn, services.clock() - WINDOW, network=network)
    wait = compute_sign_in_wait(FailedSignIns(pair=0, network=failures, name=0))
    if wait is not None:
        return SignInResult(wait=wait)
    token = None
    try:
        with write_transaction(services.engine, "console.sign_in") as conn:
            owner = find_owner(conn)
            if owner is not None:
                token = _enter_account(conn, services, owner, method, network)
    except PasskeyError as problem:
        _LOG.info("sign-in by passkey refused: %s", problem)
    if token is None:
        with write_transaction(services.engine, "console.sign_in") as conn:
            accounts.record_sign_in(conn, f"({method})", network, False, services.clock())
    return SignInResult(token=token)


def _enter_account(
    conn: Connection, services: ConsoleServices, owner: AccountOwner, method: str, network: str
) -> str | None:
    """Begin the session of a person who may enter; leave a row of audit in any case."""
    now = services.clock()
    token = begin_session(conn, services, owner.account, method, network) if owner.may_enter else None
    if token is not None:
        accounts.record_sign_in(conn, owner.name, network, True, now)
    outcome = "done" if token else "refused"
    entry = AuditEntry(owner.name, "account", "sign_in", method, outcome, network)
    audit_log.record_action(conn, entry, now)
    return token


def _is_certificate_valid(services: ConsoleServices, der: bytes) -> bool:
    services.hub.refresh_snapshot()  # with it, lists of revoked certificates that are new
    try:
        services.hub.judge(der, CertificateUse.TLS_CLIENT, services.clock()).raise_unless_accepted("TLS")
    except GatewayError as problem:
        _LOG.info("sign-in by certificate refused: %s", problem)
        return False
    return True


def check_present_password(
    services: ConsoleServices, visitor: Visitor, password: str, network: str
) -> str | None:
    """Return why a signed-in person is not believed, as a sentence; None for the present password.

    An account without a password is believed. Guessing is limited as at the sign-in.
    """
    with read_transaction(services.engine) as conn:
        account = accounts.find_by_id(conn, visitor.account)
        wait = compute_sign_in_wait(_count_failures(conn, services, visitor.name, network))
    if account is None or account.password is None:
        return None
    if wait is not None:
        return translate("Too many attempts. Try again later.")
    if verify_password(account.password, password):
        return None
    with write_transaction(services.engine, "console.sign_in") as conn:
        accounts.record_sign_in(conn, visitor.name, network, False, services.clock())
    return translate("The present password is wrong.")


def _count_failures(conn: Connection, services: ConsoleServices, name: str, network: str) -> FailedSignIns:
    since = services.clock() - WINDOW
    return FailedSignIns(
        pair=accounts.count_failed_sign_ins(conn, since, name=name, network=network),
        network=accounts.count_failed_sign_ins(conn, since, network=network),
        name=accounts.count_failed_sign_ins(conn, since, name=name),
        familiar=accounts.has_signed_in_from(conn, name, network),
    )
