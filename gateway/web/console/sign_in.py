"""Sign-in: limits of attempts, the verdict, and the session.

A passkey cannot be guessed. So it is limited by network only: a name that others attack is not limited
there, and its owner can still sign in by passkey while passwords must wait.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import WINDOW, FailedSignIns, PasskeyError, compute_sign_in_wait, verify_password
from gateway.store import AuditEntry, accounts, audit_log, read_transaction, write_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.page_translations import translate
from gateway.web.console.passkey_challenges import take_sign_in
from gateway.web.console.visitor_session import Visitor, begin_session

__all__ = ["SignInResult", "check_present_password", "sign_in_with_passkey", "sign_in_with_password"]

_LOG: Final = logging.getLogger(__name__)
#: What is recorded as the name of an attempt by a passkey that is not accepted.
_NOBODY: Final = "(passkey)"


@dataclass(frozen=True, slots=True)
class SignInResult:
    """The token of the new session; or how long to wait; or neither, when the sign-in was refused."""

    token: str | None = None
    wait: timedelta | None = None


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
    now = services.clock()
    with write_transaction(services.engine, "console.sign_in") as conn:
        token = None
        if right and account is not None and account.status == "ACTIVE":
            token = begin_session(conn, services, account.id, "password", network)
        accounts.record_sign_in(conn, name, network, token is not None, now)
        if account is not None:
            outcome = "done" if token else "refused"
            entry = AuditEntry(account.name, "account", "sign_in", "password", outcome, network)
            audit_log.record_action(conn, entry, now)
    return SignInResult(token=token)


def sign_in_with_passkey(services: ConsoleServices, answer: str, network: str) -> SignInResult:
    """Sign in the person whose passkey answers a challenge, and record the attempt.

    A suspended account and an account without roles get the same answer as an unknown passkey.
    """
    with read_transaction(services.engine) as conn:
        failures = accounts.count_failed_sign_ins(conn, services.clock() - WINDOW, network=network)
    wait = compute_sign_in_wait(FailedSignIns(pair=0, network=failures, name=0))
    if wait is not None:
        return SignInResult(wait=wait)
    try:
        token = _begin_passkey_session(services, answer, network)
    except PasskeyError as problem:
        _LOG.info("sign-in by passkey refused: %s", problem)
        token = None
    if token is None:
        with write_transaction(services.engine, "console.sign_in") as conn:
            accounts.record_sign_in(conn, _NOBODY, network, False, services.clock())
    return SignInResult(token=token)


def _begin_passkey_session(services: ConsoleServices, answer: str, network: str) -> str | None:
    now = services.clock()
    with write_transaction(services.engine, "console.sign_in") as conn:
        owner = take_sign_in(conn, services, answer)
        token = None
        if owner.status == "ACTIVE":
            token = begin_session(conn, services, owner.account, "passkey", network)
        if token is not None:
            accounts.record_sign_in(conn, owner.name, network, True, now)
        outcome = "done" if token else "refused"
        entry = AuditEntry(owner.name, "account", "sign_in", "passkey", outcome, network)
        audit_log.record_action(conn, entry, now)
    return token


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
