"""OCSP: one exchange for each certificate; what was believed counts, whatever becomes of the others."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row

from gateway.delivery.fetching.work import Work
from gateway.delivery.leases import LeaseLostError
from gateway.errors import ANSWER_NOT_UNDERSTOOD, UNREACHABLE, GatewayError
from gateway.evidence.log import record
from gateway.pki import ocsp
from gateway.pki.acceptance import Asked, accept_answer, is_issued_by
from gateway.pki.certificates import Certificate, read_certificate
from gateway.pki.names import name_key
from gateway.pki.revocation import MAX_ANSWERS
from gateway.store import claims, fetched, parties
from gateway.store.engine import reading, transaction
from gateway.store.fetched import Word

__all__ = ["fetch_answers"]

_log = logging.getLogger(__name__)
#: Answers that are put in force together: each time every process reads its register anew.
_TOGETHER: Final = 64
_NONCE: Final = 32
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def fetch_answers(work: Work, length: timedelta) -> None:
    """Ask about every certificate that was not asked about since the delivery was queued.

    `length` is how long a lease lasts: it is renewed with each batch that is put in force, and while
    nothing comes that is believed.  Raises the first problem when all that can be had is in force.
    """
    asked = {one.sha256: one for one in _asked_about(work)}
    with reading(work.hub.engine) as conn:
        rows = fetched.of_source(conn, work.source.name)
    problem: GatewayError | None = None
    words: list[Word] = []
    since = work.hub.clock()
    for certificate, told in _answers(work, _waiting(work, asked, rows), rows):
        if isinstance(told, GatewayError):
            _log.warning("%s on %s: %s", work.source.name, certificate.subject[:120], told)
            problem = problem or told
        else:
            words.append(told)
        if len(words) >= _TOGETHER or work.hub.clock() - since > length / 4:
            _put_in_force(work, words, length)
            words, since = [], work.hub.clock()
    if words:
        _put_in_force(work, words, length)
    if problem is not None:
        raise problem
    with transaction(work.hub.engine, "fetch.done") as conn:
        work.ensure(conn)
        fetched.drop(conn, work.source.name, _forgettable(work, asked, rows))
        work.done(conn, work.hub.clock())


def _asked_about(work: Work) -> Iterator[Certificate]:
    """Yield the certificates of parties, and the intermediates, that this very issuer has issued."""
    issuer, trust, now = work.expected().issuer, work.trust, work.hub.clock()
    name = name_key(issuer.subject_der)
    with reading(work.hub.engine) as conn:
        registered = [row.der for row in parties.certificates_in_use(conn)]
    found = 0
    for octets in registered + [one.der for one in trust.intermediates]:
        try:
            certificate = read_certificate(octets, trust.policy.certificates)
        except GatewayError:
            continue
        if certificate == issuer or certificate.not_after < now or found >= MAX_ANSWERS:
            continue
        if name_key(certificate.issuer_der) == name and is_issued_by(certificate, issuer, trust):
            found += 1
            yield certificate


def _waiting(work: Work, asked: Mapping[str, Certificate], rows: Mapping[str, Row[Any]]) -> list[Certificate]:
    """Return those that are still to be asked about, the one first that was so longest ago."""
    seen = {key: row.fetched_at for key, row in rows.items()}
    queued = work.lease.created_at
    left = [key for key in asked if key not in seen or seen[key] < queued]
    return [asked[key] for key in sorted(left, key=lambda key: seen.get(key, _NEVER))]


def _answers(
    work: Work, waiting: list[Certificate], rows: Mapping[str, Row[Any]]
) -> Iterator[tuple[Certificate, Word | GatewayError]]:
    """Yield what the responder says of each, or why it is not believed; one that is away ends it."""
    ends = work.lease.expires_at
    for certificate in waiting:
        if ends is not None and work.hub.clock() >= ends:
            yield certificate, GatewayError(UNREACHABLE, "the time is over in which it was to be asked")
            return
        row = rows.get(certificate.sha256)
        try:
            word = _answer(work, certificate, row.this_update if row is not None else None)
        except GatewayError as problem:
            yield certificate, problem
            if problem.problem in (UNREACHABLE, ANSWER_NOT_UNDERSTOOD):
                return
            continue
        yield certificate, word


def _answer(work: Work, certificate: Certificate, since: datetime | None) -> Word:
    way = work.source.settings.nonce
    nonce = None if way == "none" else secrets.token_bytes(_NONCE)
    issuer = work.expected().issuer
    octets = work.line.ask(ocsp.request(certificate, issuer, nonce))
    expected = work.expected()
    asked = Asked(certificate, nonce, nonce_required=way == "require")
    answer, statement = accept_answer(octets, expected, asked, since)
    return Word(
        subject=certificate.sha256,
        kind="ocsp",
        octets=answer.der,
        issuer=issuer.subject,
        number=None,
        this_update=statement.this_update,
        next_update=statement.ends(expected.trust.policy.crl_age_most),
    )


def _forgettable(work: Work, asked: Collection[str], rows: Mapping[str, Row[Any]]) -> Iterator[str]:
    """Yield whose answers may go, for nobody asks about them any more.

    Who was revoked stays so: a party that was suspended meanwhile may come back.
    """
    answers = {one.sha256: one for one in work.hub.judge.revocations.answers}
    for subject, row in rows.items():
        answer = answers.get(row.sha256)
        if subject not in asked and answer and all(one.revoked_at is None for one in answer.statements):
            yield subject


def _put_in_force(work: Work, words: list[Word], length: timedelta) -> None:
    """Put in force what was believed, be it nothing, and hold the delivery for longer."""
    now, name = work.hub.clock(), work.source.name
    with transaction(work.hub.engine, "fetch.answers") as conn:
        work.ensure(conn)
        if words:
            fetched.take(conn, name, words, now)
            taken = fetched.of_source(conn, name)
            answers = {one.subject: taken[one.subject].sha256 for one in words}
            record(conn, "fetched", "source", name, None, {"kind": "ocsp", "answers": answers}, now)
        if not claims.renew(conn, work.lease, now + length):
            raise LeaseLostError
