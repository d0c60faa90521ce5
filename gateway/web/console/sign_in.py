"""Sign-in: limits of attempts, the verdict, and the session.

A passkey and a certificate cannot be guessed. So their attempts are counted by network only: while others
guess the password of an account and password sign-ins must wait, its owner can still sign in by these.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.accounts import (
    FAILURE_WINDOW,
    FailedSignIns,
    PasskeyError,
    compute_sign_in_wait,
    is_hash_of_unnormalized_password,
    is_recent_proof,
)
from gateway.errors import (
    CERTIFICATE_EXPIRED,
    CERTIFICATE_REVOKED,
    REVOCATION_UNKNOWN,
    GatewayError,
    find_resource_problem,
)
from gateway.hub import find_account_refusal, record_password_rehash
from gateway.store import AccountRow, AuditEntry, accounts, audit_log, read_transaction, write_transaction
from gateway.web.console.page_formats import translate
from gateway.web.console.page_guards import Authentication, Visitor, begin_session, services
from gateway.web.console.page_needs import hash_typed_password, verify_typed_password
from gateway.web.console.passkey_challenges import finish_passkey_sign_in

_LOG: Final = logging.getLogger(__name__)
_SALT: Final = 16


@dataclass(frozen=True, slots=True)
class SignInResult:
    """The token of the new session; or how long to wait; or neither, when the sign-in was refused.

    `refusal` is the reason, where the client certificate of a person is not valid now.
    """

    token: str | None = None
    wait_time: timedelta | None = None
    refusal: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class ReservedAttempt:
    """An attempt to sign in that counts as failed; or how long to wait for the next one."""

    id: int = 0
    wait_time: timedelta | None = None


@dataclass(frozen=True, slots=True)
class AccountOwner:
    """The account that a proof belongs to, and whether the proof lets its owner in."""

    account: int
    name: str
    may_enter: bool


def sign_in_with_password(name: str, password: str, network: str) -> SignInResult:
    """Sign a person in, and record the attempt.

    An unknown name, a wrong password, a suspended account and an account without roles get the same
    answer, and it takes the same time.
    """
    attempt = _reserve_attempt(network, name)
    if attempt.wait_time is not None:
        return SignInResult(wait_time=attempt.wait_time)
    with read_transaction(services.engine) as conn:
        account = accounts.find_by_name(conn, name)
    # Hashing takes tenths of a second: never inside a transaction.
    right = verify_typed_password(None if account is None else account.password, password)
    new_hash = None
    if (
        right
        and account is not None
        and account.password is not None
        and is_hash_of_unnormalized_password(account.password, password)
    ):
        new_hash = hash_typed_password(password, services.random(_SALT))
    with write_transaction(services.engine, "console.sign_in") as conn:
        token = None
        if account is not None:
            # The password that was right may have been replaced while it was hashed.
            present = accounts.lock_account(conn, account.id)
            is_same = present is not None and present.password == account.password
            may_enter = right and is_same and account.status == "ACTIVE"
            owner = AccountOwner(account.id, account.name, may_enter)
            authentication = Authentication("password", network, services.clock())
            token = _begin_account_session(conn, owner, authentication, attempt)
            if token is not None and new_hash is not None:
                accounts.replace_password_hash(conn, account.id, new_hash)
                record_password_rehash(conn, account.name, services.clock())
    return SignInResult(token=token)


def sign_in_with_passkey(answer: str, network: str) -> SignInResult:
    """Sign in the person whose passkey answers a challenge, and record the attempt.

    A suspended account and an account without roles get the same answer as an unknown passkey.
    """

    def find_owner(conn: Connection) -> AccountOwner:
        row = finish_passkey_sign_in(conn, answer)
        return AccountOwner(row.account_id, row.account, row.status == "ACTIVE")

    return _sign_in_by_proof(Authentication("passkey", network, services.clock()), find_owner)


def sign_in_with_certificate(sha256: str, network: str) -> SignInResult:
    """Sign in the owner of a client certificate, and record the attempt.

    `sha256` is that of the certificate in the TLS handshake. It must be valid now by the trust of the hub: a
    revoked one is refused, even if the handshake accepted it. Raises GW806 where it could not be validated.
    """

    def find_owner(conn: Connection) -> AccountOwner | None:
        if certificate_row is None:
            return None
        # Another certificate may have taken the place of the one that was validated.
        accounts.lock_account(conn, certificate_row.account_id)
        row = accounts.find_certificate(conn, sha256)
        if row is None or row.account_id != certificate_row.account_id:
            return None
        return AccountOwner(row.account_id, row.name, row.status == "ACTIVE" and refusal is None)

    with read_transaction(services.engine) as conn:
        certificate_row = accounts.find_certificate(conn, sha256)
    refusal = (
        None if certificate_row is None else find_account_refusal(services.hub, certificate_row.account_id)
    )
    if refusal is not None:
        _LOG.info("sign-in by certificate refused: %s", refusal)
    result = _sign_in_by_proof(Authentication("certificate", network, services.clock()), find_owner)
    return replace(result, refusal=refusal)


def sign_in_with_subject(
    issuer: str, subject: str, authentication: Authentication, *, may_enter: bool = True
) -> SignInResult:
    """Sign in the person with the id `subject` at the OpenID provider `issuer`, and record the attempt.

    Without `may_enter` nobody is signed in: the attempt of this person is recorded as refused.
    """

    def find_owner(conn: Connection) -> AccountOwner | None:
        row = accounts.find_by_subject(conn, issuer, subject)
        return None if row is None else AccountOwner(row.id, row.name, may_enter and row.status == "ACTIVE")

    return _sign_in_by_proof(authentication, find_owner)


def _sign_in_by_proof(
    authentication: Authentication, find_owner: Callable[[Connection], AccountOwner | None]
) -> SignInResult:
    """Sign in the owner of a proof that cannot be guessed; only the network is limited."""
    method = authentication.method
    attempt = _reserve_attempt(authentication.network, f"({method})", counts_name=False)
    if attempt.wait_time is not None:
        return SignInResult(wait_time=attempt.wait_time)
    token = None
    try:
        with write_transaction(services.engine, "console.sign_in") as conn:
            owner = find_owner(conn)
            if owner is not None:
                token = _begin_account_session(conn, owner, authentication, attempt)
    except PasskeyError as problem:
        _LOG.info("sign-in by passkey refused: %s", problem)
    return SignInResult(token=token)


def find_network_wait(network: str) -> timedelta | None:
    """Return how long a network must wait whose sign-ins have failed too often; None when it need not."""
    period = _find_counted_period(services.clock())
    with read_transaction(services.engine) as conn:
        failures = accounts.count_failed_sign_ins(conn, *period, network=network)
    return compute_sign_in_wait(FailedSignIns(pair=0, network=failures, name=0))


def record_failed_proof(method: str, network: str) -> None:
    """Record, for its network, a failed sign-in that names no account."""
    with write_transaction(services.engine, "console.sign_in") as conn:
        accounts.record_sign_in(conn, f"({method})", network, is_successful=False, at=services.clock())


def _reserve_attempt(network: str, name: str, *, counts_name: bool = True) -> ReservedAttempt:
    """Count an attempt as a failure before it is judged, unless the limit is reached.

    So the limit holds for simultaneous attempts, too. A successful attempt is confirmed afterwards
    (`accounts.confirm_sign_in`). Without `counts_name` attempts are counted by network only.
    """
    now = services.clock()
    with write_transaction(services.engine, "console.sign_in") as conn:
        accounts.lock_sign_ins(conn, network, name if counts_name else None)
        period = _find_counted_period(now)
        of_network = accounts.count_failed_sign_ins(conn, *period, network=network)
        failed = FailedSignIns(pair=0, network=of_network, name=0)
        if counts_name:
            failed = FailedSignIns(
                pair=accounts.count_failed_sign_ins(conn, *period, name=name, network=network),
                network=of_network,
                name=accounts.count_failed_sign_ins(conn, *period, name=name),
                is_familiar_network=accounts.has_signed_in_from(conn, name, network),
            )
        wait = compute_sign_in_wait(failed)
        if wait is not None:
            return ReservedAttempt(wait_time=wait)
        return ReservedAttempt(accounts.record_sign_in(conn, name, network, False, now))


def _find_counted_period(now: datetime) -> tuple[datetime, datetime]:
    """Return the times between which failures count.

    The end is a little after `now`, for clocks that differ. Later failures were stored before the clock was
    set back: if they counted, they would keep people out until that time.
    """
    return now - FAILURE_WINDOW, now + FAILURE_WINDOW


def _begin_account_session(
    conn: Connection, owner: AccountOwner, authentication: Authentication, attempt: ReservedAttempt
) -> str | None:
    """Begin a session if the account may enter; add a row to the audit log in any case."""
    token = begin_session(conn, owner.account, authentication) if owner.may_enter else None
    if token is not None:
        accounts.confirm_sign_in(conn, attempt.id, owner.name)
    outcome = "done" if token else "refused"
    method, network = authentication.method, authentication.network
    entry = AuditEntry(owner.name, "account", "sign_in", method, outcome, network)
    audit_log.record_action(conn, entry, services.clock())
    return token


def describe_certificate_refusal(refusal: GatewayError) -> str:
    """Return why a person's client certificate is not accepted, as a sentence for its owner."""
    if refusal.problem is CERTIFICATE_REVOKED:
        return translate("Your certificate, or one above it, is revoked. Ask the operator for a new one.")
    if refusal.problem is CERTIFICATE_EXPIRED:
        return translate(
            "Your certificate, or one above it, is not valid at this time. Ask the operator for a new one."
        )
    if find_resource_problem(refusal) is not None:
        return translate("Your certificate cannot be examined now. Try again in a minute.")
    if refusal.problem is REVOCATION_UNKNOWN:
        return translate("Whether your certificate is revoked is not known now. Tell the operator.")
    return translate("Your certificate is not accepted here any more. Tell the operator.")


def needs_new_sign_in(visitor: Visitor, account: AccountRow | None) -> bool:
    """Return whether a person must sign in again before a sign-in method is added.

    That is so for an account without a password, when nothing shows that its person proved who they are
    within the last minutes.
    """
    has_password = account is not None and account.password is not None
    return not has_password and not is_recent_proof(visitor.authenticated_at, services.clock())


def find_binding_problem(account: AccountRow) -> str | None:
    """Return a sentence on why an account may not have a password or passkey; None if it may."""
    is_bound = account.oidc_subject is not None or account.certificate_sha256 is not None
    if is_bound and not services.settings.console.further_ways:
        return translate("This account signs in by the OpenID provider or by its certificate alone.")
    return None


def find_method_refusal(visitor: Visitor, password: str, network: str) -> str | None:
    """Return a sentence on why a signed-in person may not add a sign-in method; None if it is allowed.

    A person who has only taken over a session must not add one. So the present password is required; for an
    account without one, a proof within the last minutes, by any method of the account. Attempts are limited
    as at the sign-in.
    """
    with read_transaction(services.engine) as conn:
        account = accounts.find_by_id(conn, visitor.account)
    if account is None or needs_new_sign_in(visitor, account):
        return translate("Sign in again first: so the gateway knows that it is you.")
    problem = find_binding_problem(account)
    if problem is not None or account.password is None:
        return problem
    attempt = _reserve_attempt(network, visitor.name)
    if attempt.wait_time is not None:
        return translate("Too many attempts. Try again later.")
    if not verify_typed_password(account.password, password):
        return translate("The present password is wrong.")
    with write_transaction(services.engine, "console.sign_in") as conn:
        accounts.confirm_sign_in(conn, attempt.id, visitor.name)
    return None
