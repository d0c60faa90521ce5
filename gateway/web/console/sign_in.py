"""Sign-in by name and password: limits of attempts, the verdict, and the session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from gateway.accounts import WINDOW, FailedSignIns, compute_sign_in_wait, verify_password
from gateway.store import AuditEntry, accounts, audit_log, read_transaction, write_transaction
from gateway.web.console.console_services import ConsoleServices
from gateway.web.console.visitor_session import begin_session

__all__ = ["SignInResult", "sign_in_with_password"]


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


def _count_failures(conn: Connection, services: ConsoleServices, name: str, network: str) -> FailedSignIns:
    since = services.clock() - WINDOW
    return FailedSignIns(
        pair=accounts.count_failed_sign_ins(conn, since, name=name, network=network),
        network=accounts.count_failed_sign_ins(conn, since, network=network),
        name=accounts.count_failed_sign_ins(conn, since, name=name),
        familiar=accounts.has_signed_in_from(conn, name, network),
    )
