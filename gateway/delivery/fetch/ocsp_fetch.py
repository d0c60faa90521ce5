"""Fetches OCSP responses: one exchange per certificate; each accepted response counts by itself."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from gateway.delivery.attempt_outcome import LeaseLostError
from gateway.delivery.fetch.fetch_attempt import FetchAttempt
from gateway.errors import ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT, UNREACHABLE, GatewayError
from gateway.evidence import record_evidence
from gateway.pki import (
    MAX_ANSWERS,
    Certificate,
    OcspQuery,
    accept_ocsp_response,
    is_issued_by,
    normalize_name,
    ocsp,
    read_certificate,
)
from gateway.store import (
    NewFetchedList,
    delivery_leases,
    fetched_lists,
    parties,
    read_transaction,
    write_transaction,
)

__all__ = ["fetch_ocsp_responses"]

_log = logging.getLogger(__name__)
#: Responses that are activated together: every process reloads its register after each activation.
_TOGETHER: Final = 64
_NONCE: Final = 32
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def fetch_ocsp_responses(work: FetchAttempt, length: timedelta) -> None:
    """Query every certificate that was not queried since the delivery was queued.

    `length` is how long a lease lasts. The lease is renewed with each activated batch, and also
    while no response is accepted. Raises the first problem after all accepted responses are in
    force.
    """
    asked = {one.sha256: one for one in _list_covered_certificates(work)}
    with read_transaction(work.hub.engine) as conn:
        rows = fetched_lists.list_by_source(conn, work.source.name)
    problem: GatewayError | None = None
    words: list[NewFetchedList] = []
    since = work.hub.clock()
    for certificate, told in _request_statuses(work, _list_due_certificates(work, asked, rows), rows):
        if isinstance(told, GatewayError):
            _log.warning("%s on %s: %s", work.source.name, certificate.subject[:120], told)
            problem = problem or told
        else:
            words.append(told)
        if len(words) >= _TOGETHER or work.hub.clock() - since > length / 4:
            _activate_responses(work, words, length)
            words, since = [], work.hub.clock()
    if words:
        _activate_responses(work, words, length)
    if problem is not None:
        raise problem
    with write_transaction(work.hub.engine, "fetch.done") as conn:
        work.lock_source_row(conn)
        fetched_lists.delete_lists(conn, work.source.name, _list_obsolete_subjects(work, asked, rows))
        work.complete_fetch(conn, work.hub.clock())


def _list_covered_certificates(work: FetchAttempt) -> Iterator[Certificate]:
    """Yield the certificates of parties, and the intermediates, that the issuer itself has issued."""
    issuer, trust, now = work.make_expectation().issuer, work.trust, work.hub.clock()
    name = normalize_name(issuer.subject_der)
    with read_transaction(work.hub.engine) as conn:
        registered = [row.der for row in parties.list_certificates_in_use(conn)]
    found = 0
    for octets in registered + [one.der for one in trust.intermediates]:
        try:
            certificate = read_certificate(octets, trust.policy.certificates)
        except GatewayError:
            continue
        if certificate == issuer or certificate.not_after < now or found >= MAX_ANSWERS:
            continue
        if normalize_name(certificate.issuer_der) == name and is_issued_by(certificate, issuer, trust):
            found += 1
            yield certificate


def _list_due_certificates(
    work: FetchAttempt, asked: Mapping[str, Certificate], rows: Mapping[str, Row[Any]]
) -> list[Certificate]:
    """Return the certificates still to be queried, the one queried longest ago first."""
    seen = {key: row.fetched_at for key, row in rows.items()}
    queued = work.lease.created_at
    left = [key for key in asked if key not in seen or seen[key] < queued]
    return [asked[key] for key in sorted(left, key=lambda key: seen.get(key, _NEVER))]


def _request_statuses(
    work: FetchAttempt, waiting: list[Certificate], rows: Mapping[str, Row[Any]]
) -> Iterator[tuple[Certificate, NewFetchedList | GatewayError]]:
    """Yield the accepted response of each certificate, or its problem; an unreachable responder ends it."""
    ends = work.lease.expires_at
    for certificate in waiting:
        if ends is not None and work.hub.clock() >= ends:
            yield certificate, GatewayError(UNREACHABLE, "the time limit of the query has passed")
            return
        row = rows.get(certificate.sha256)
        try:
            word = _request_status(work, certificate, row.this_update if row is not None else None)
        except GatewayError as problem:
            yield certificate, problem
            if problem.problem in (UNREACHABLE, ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT):
                return
            continue
        yield certificate, word


def _request_status(work: FetchAttempt, certificate: Certificate, since: datetime | None) -> NewFetchedList:
    way = work.source.settings.nonce
    nonce = None if way == "none" else secrets.token_bytes(_NONCE)
    issuer = work.make_expectation().issuer
    octets = work.client.query_responder(ocsp.make_ocsp_request(certificate, issuer, nonce))
    expected = work.make_expectation()
    asked = OcspQuery(certificate, nonce, nonce_required=way == "require")
    answer, statement = accept_ocsp_response(octets, expected, asked, since)
    return NewFetchedList(
        subject=certificate.sha256,
        kind="ocsp",
        octets=answer.der,
        issuer=issuer.subject,
        number=None,
        this_update=statement.this_update,
        next_update=statement.compute_expiry(expected.trust.policy.crl_age_most),
    )


def _list_obsolete_subjects(
    work: FetchAttempt, asked: Collection[str], rows: Mapping[str, Row[Any]]
) -> Iterator[str]:
    """Yield the subjects whose responses can be deleted, because their certificates are no longer queried.

    A response that states a revocation stays: a suspended party may be activated again.
    """
    answers = {one.sha256: one for one in work.hub.judge.revocations.answers}
    for subject, row in rows.items():
        answer = answers.get(row.sha256)
        if subject not in asked and answer and all(one.revoked_at is None for one in answer.statements):
            yield subject


def _activate_responses(work: FetchAttempt, words: list[NewFetchedList], length: timedelta) -> None:
    """Activate the accepted responses, possibly none, and renew the lease."""
    now, name = work.hub.clock(), work.source.name
    with write_transaction(work.hub.engine, "fetch.answers") as conn:
        work.lock_source_row(conn)
        if words:
            fetched_lists.activate_lists(conn, name, words, now)
            taken = fetched_lists.list_by_source(conn, name)
            answers = {one.subject: taken[one.subject].sha256 for one in words}
            record_evidence(conn, "fetched", "source", name, None, {"kind": "ocsp", "answers": answers}, now)
        if not delivery_leases.renew_lease(conn, work.lease, now + length):
            raise LeaseLostError
