"""One attempt to fetch a list, a revocation list or an OCSP answer."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import LeaseLostError, make_lease_finisher
from gateway.delivery.http_answer_reader import HttpAnswer, require_identity_coding
from gateway.delivery.http_client import HttpClient, HttpLimits
from gateway.delivery.tls_connectors import TlsConnector
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    FETCHED_REFUSED,
    PARTNER_FAULT,
    SETTINGS_WRONG,
    UNREACHABLE,
    GatewayError,
    raise_resource_problem,
)
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import FetchSource, Hub, import_trusted_list
from gateway.pki import (
    MAX_ANSWERS,
    MAX_RESPONSE_OCTETS,
    PATH_RULES,
    AcceptanceTerms,
    Certificate,
    OcspQuery,
    RevocationData,
    RevocationList,
    TrustStore,
    accept_delta_list,
    accept_ocsp_response,
    accept_revocation_list,
    is_issued_by,
    normalize_name,
    ocsp,
    read_certificate,
    read_revocation_lists,
)
from gateway.store import (
    AuditEntry,
    DeliveryLease,
    FetchedListRow,
    NewFetchedList,
    deliveries,
    delivery_leases,
    fetched_lists,
    parties,
    payloads,
    read_transaction,
    write_transaction,
)

ACTOR: Final = "fetch"


@dataclass(frozen=True, slots=True)
class FetchAttempt:
    """The leased delivery, its source, the client, and a hub with a current register snapshot.

    `trust` is the trust store by which the issuer of the source is validated.
    """

    hub: Hub
    lease: DeliveryLease
    source: FetchSource
    client: SourceClient
    trust: TrustStore

    def make_expectation(self) -> AcceptanceTerms:
        """Return the terms by which fetched data is accepted now."""
        issuer = self.source.issuer
        if issuer is None:
            key = f"fetch.{self.source.name}.issuer"
            raise GatewayError(SETTINGS_WRONG, "there is no certificate of the issuer", key)
        return AcceptanceTerms(issuer, self.trust, self.hub.clock())

    def lock_source_row(self, conn: Connection) -> None:
        """Insert or update the row of the source, and lock it."""
        fetched_lists.ensure_source(conn, self.source.name, self.source.settings.kind, self.source.url)

    def complete_fetch(self, conn: Connection, now: datetime, etag: str | None = None) -> None:
        """Record that everything was accepted, and end the delivery; raises when the lease is lost."""
        fetched_lists.record_success(conn, self.source.name, now, etag)
        cancel_earlier_failure(conn, self.source.name, None, now)
        make_lease_finisher(self.lease, self.hub.clock)(conn)


def cancel_earlier_failure(conn: Connection, name: str, delivery: int | None, now: datetime) -> None:
    """Cancel the earlier FAILED delivery of a source; `delivery`, if given, FAILED now and replaces it."""
    before = fetched_lists.replace_given_up_delivery(conn, name, delivery)
    row = deliveries.find_by_id(conn, before) if before is not None and before != delivery else None
    if row is not None and row.state == "FAILED":
        deliveries.give_up_delivery(conn, row.id, now, ACTOR, "a later fetch stands for it")


_CONNECT: Final = 10.0


_LISTS: Final = "application/pkix-crl, application/octet-stream;q=0.9, */*;q=0.5"


_REQUEST: Final = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class SourceClient:
    """The HTTP client of a source, for one delivery; `most` limits an exchange in seconds in any case."""

    def __init__(self, source: FetchSource, most: float, tls: TlsConnector | None = None) -> None:
        seconds = min(source.settings.time_out.total_seconds(), most)
        octets = source.settings.most
        if source.settings.kind == "ocsp":
            octets = min(octets, MAX_RESPONSE_OCTETS)
        self._url = source.url
        self._sender = HttpClient(HttpLimits(min(_CONNECT, seconds), seconds, seconds, octets), tls)

    def __enter__(self) -> SourceClient:
        """Return this client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._sender.close()

    def fetch_list(self, etag: str | None = None) -> tuple[bytes, str | None] | None:
        """Return the current list and its entity tag; None when it still has the tag `etag`."""
        headers = {"Accept": _LISTS, "Connection": "close"}
        if etag is not None:
            headers["If-None-Match"] = etag
        answer = _pass_failpoint(self._sender.get(self._url, headers))
        if etag is not None and answer.status == 304:
            return None
        _check_response(answer)
        return answer.body, _read_entity_tag(answer)

    def query_responder(self, request: bytes) -> bytes:
        """Return the OCSP responder's answer to a request."""
        answer = _pass_failpoint(self._sender.post(self._url, _REQUEST, request))
        _check_response(answer)
        return answer.body


def _pass_failpoint(answer: HttpAnswer) -> HttpAnswer:
    kill_at_failpoint("fetch.after_exchange")
    return answer


def _check_response(answer: HttpAnswer) -> None:
    if 300 <= answer.status < 400:
        remark = (
            ": redirects are not followed" if "location" in answer.headers else ", which nobody asked for"
        )
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"HTTP status {answer.status}{remark}", "HTTP")
    if answer.status != 200:
        raise GatewayError(
            PARTNER_FAULT, "it answered with an error", "HTTP", theirs=f"HTTP status {answer.status}"
        )
    require_identity_coding(answer)


def _read_entity_tag(answer: HttpAnswer) -> str | None:
    """Return the entity tag, unless it cannot be sent in a header field."""
    etag = answer.headers.get("etag", "")
    good = 2 <= len(etag) <= 200 and etag.isascii() and etag.isprintable() and etag.endswith('"')
    return etag if good else None


def fetch_revocation_list(work: FetchAttempt) -> None:
    """Fetch a complete or delta CRL, and activate it."""
    source, hub = work.source, work.hub
    with read_transaction(hub.engine) as conn:
        row, source_row = (
            fetched_lists.list_by_source(conn, source.name).get(""),
            fetched_lists.find_source(conn, source.name),
        )
        held = _read_current_list(conn, row.sha256) if row is not None else None
    etag = (
        source_row.etag
        if source_row is not None and held is not None and source_row.url == source.url
        else None
    )
    answer = work.client.fetch_list(etag)
    octets, etag = answer if answer is not None else (held.der if held else b"", etag)
    revocation_list = _accept_fetched_list(work, octets, held)
    word = NewFetchedList(
        subject="",
        kind=source.settings.kind,
        octets=revocation_list.der,
        issuer=revocation_list.issuer,
        number=None if revocation_list.number is None else str(revocation_list.number),
        this_update=revocation_list.this_update,
        next_update=revocation_list.compute_expiry(hub.judge.trust.policy.crl_age_most),
    )
    _activate_list(work, word, row.sha256 if row is not None else None, etag)


def _read_current_list(conn: Connection, sha256: str) -> RevocationList:
    """Return the list in force, even one that the rules now reject: a rollback must still be detected.

    Raises GW606 for one that cannot be read at all: nothing could be compared with it.
    """
    try:
        (crl,) = read_revocation_lists(payloads.get_payload_octets(conn, sha256), PATH_RULES)
    except GatewayError as unreadable:
        raise_resource_problem(unreadable)
        reason = f"the one in force cannot be read, forget this source first: {unreadable.detail}"
        raise GatewayError(FETCHED_REFUSED, reason[:500]) from unreadable
    return crl


def _accept_fetched_list(work: FetchAttempt, octets: bytes, held: RevocationList | None) -> RevocationList:
    expected, others = work.make_expectation(), work.hub.judge.revocations.lists
    if work.source.settings.kind == "crl":
        return accept_revocation_list(octets, expected, held, others)
    return accept_delta_list(octets, expected, held, others)


def _activate_list(work: FetchAttempt, word: NewFetchedList, before: str | None, etag: str | None) -> None:
    now, name = work.hub.clock(), work.source.name
    with write_transaction(work.hub.engine, "fetch.list") as conn:
        work.lock_source_row(conn)
        row = fetched_lists.list_by_source(conn, name).get("")
        # The new list was compared with `before`, not with a list that was activated meanwhile.
        if (row.sha256 if row is not None else None) != before:
            raise GatewayError(FETCHED_REFUSED, "another fetch put another list in force meanwhile")
        if fetched_lists.activate_lists(conn, name, [word], now):
            sha256 = fetched_lists.list_by_source(conn, name)[""].sha256
            data = {"kind": word.kind, "issuer": word.issuer[:200], "number": word.number or ""}
            record_evidence(conn, "fetched", "source", name, sha256, data, now)
        work.complete_fetch(conn, now, etag)


def fetch_trusted_list(work: FetchAttempt) -> None:
    """Fetch a trusted list and import it, which verifies and activates it."""
    source, hub = work.source, work.hub
    with read_transaction(hub.engine) as conn:
        source_row = fetched_lists.find_source(conn, source.name)
    etag = source_row.etag if source_row is not None and source_row.url == source.url else None
    answer = work.client.fetch_list(etag)
    if answer is not None:
        # The import is a transaction of its own, with evidence and epoch; the same octets change nothing.
        _import_fetched_list(work, answer[0])
    with write_transaction(hub.engine, "fetch.trust_list") as conn:
        work.lock_source_row(conn)
        work.complete_fetch(conn, hub.clock(), answer[1] if answer is not None else etag)


def _import_fetched_list(work: FetchAttempt, octets: bytes) -> None:
    hub = work.hub
    try:
        recognizer = hub.recognizer
        entry = AuditEntry(ACTOR, ACTOR, "trust_list.import", "-")
        import_trusted_list(
            hub.engine, octets, hub.clock(), recognizer.terms, entry=entry, shelf=recognizer.shelf
        )
    except GatewayError as refused:
        raise_resource_problem(refused)
        # The source's operator may correct a rejected list; wrong settings must be corrected by ours.
        if refused.problem is SETTINGS_WRONG:
            raise
        raise GatewayError(FETCHED_REFUSED, str(refused)[:500]) from refused


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
    covered = {certificate.sha256: certificate for certificate in _list_covered_certificates(work)}
    with read_transaction(work.hub.engine) as conn:
        rows = fetched_lists.list_by_source(conn, work.source.name)
    problem: GatewayError | None = None
    responses: list[NewFetchedList] = []
    since = work.hub.clock()
    for certificate, response in _request_statuses(work, _list_due_certificates(work, covered, rows), rows):
        if isinstance(response, GatewayError):
            _log.warning(
                "no status of %s: %s",
                *(certificate.subject[:120], response),
                extra={"source": work.source.name, "certificate": certificate.sha256},
            )
            problem = problem or response
        else:
            responses.append(response)
        if len(responses) >= _TOGETHER or work.hub.clock() - since > length / 4:
            _activate_responses(work, responses, length)
            responses, since = [], work.hub.clock()
    if responses:
        _activate_responses(work, responses, length)
    if problem is not None:
        raise problem
    with write_transaction(work.hub.engine, "fetch.done") as conn:
        work.lock_source_row(conn)
        fetched_lists.delete_lists(conn, work.source.name, _list_obsolete_subjects(work, covered, rows))
        work.complete_fetch(conn, work.hub.clock())


def _list_covered_certificates(work: FetchAttempt) -> Iterator[Certificate]:
    """Yield the certificates of parties, and the intermediates, that the issuer itself has issued."""
    issuer, trust, now = work.make_expectation().issuer, work.trust, work.hub.clock()
    name = normalize_name(issuer.subject_der)
    with read_transaction(work.hub.engine) as conn:
        registered = [row.der for row in parties.list_certificates_in_use(conn)]
    count = 0
    for octets in registered + [intermediate.der for intermediate in trust.intermediates]:
        try:
            certificate = read_certificate(octets, trust.policy.certificates)
        except GatewayError:
            continue
        if certificate == issuer or certificate.not_after < now or count >= MAX_ANSWERS:
            continue
        if normalize_name(certificate.issuer_der) == name and is_issued_by(certificate, issuer, trust):
            count += 1
            yield certificate


def _list_due_certificates(
    work: FetchAttempt, covered: Mapping[str, Certificate], rows: Mapping[str, FetchedListRow]
) -> list[Certificate]:
    """Return the certificates still to be queried, the one queried longest ago first."""
    seen = {key: row.fetched_at for key, row in rows.items()}
    queued = work.lease.created_at
    due = [key for key in covered if key not in seen or seen[key] < queued]
    return [covered[key] for key in sorted(due, key=lambda key: seen.get(key, _NEVER))]


def _request_statuses(
    work: FetchAttempt, waiting: list[Certificate], rows: Mapping[str, FetchedListRow]
) -> Iterator[tuple[Certificate, NewFetchedList | GatewayError]]:
    """Yield the accepted response of each certificate, or its problem; an unreachable responder ends it."""
    ends = work.lease.expires_at
    for certificate in waiting:
        if ends is not None and work.hub.clock() >= ends:
            yield certificate, GatewayError(UNREACHABLE, "the time limit of the query has passed")
            return
        row = rows.get(certificate.sha256)
        try:
            word = _request_status(work, certificate, row)
        except GatewayError as problem:
            yield certificate, problem
            if problem.problem in (UNREACHABLE, ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT):
                return
            continue
        yield certificate, word


def _request_status(
    work: FetchAttempt, certificate: Certificate, row: FetchedListRow | None
) -> NewFetchedList:
    """Return the accepted response of a certificate; `row` is the one in force."""
    nonce_mode = work.source.settings.nonce
    nonce = None if nonce_mode == "none" else secrets.token_bytes(_NONCE)
    issuer = work.make_expectation().issuer
    octets = work.client.query_responder(ocsp.make_ocsp_request(certificate, issuer, nonce))
    expected = work.make_expectation()
    query = OcspQuery(certificate, nonce, nonce_required=nonce_mode == "require")
    since = row.this_update if row is not None else None
    is_revoked = row is not None and _is_revocation_in_force(work, row.sha256, certificate)
    answer, statement = accept_ocsp_response(octets, expected, query, since, after_revocation=is_revoked)
    return NewFetchedList(
        subject=certificate.sha256,
        kind="ocsp",
        octets=answer.der,
        issuer=issuer.subject,
        number=None,
        this_update=statement.this_update,
        next_update=statement.compute_expiry(expected.trust.policy.crl_age_most),
    )


def _is_revocation_in_force(work: FetchAttempt, sha256: str, certificate: Certificate) -> bool:
    """Return whether the response in force revokes a certificate; one that cannot be read may do so."""
    with read_transaction(work.hub.engine) as conn:
        octets = payloads.get_payload_octets(conn, sha256)
    try:
        statements = RevocationData(rules=PATH_RULES, responses=[octets]).find_ocsp_responses(
            certificate.serial
        )
    except GatewayError as unreadable:
        raise_resource_problem(unreadable)
        return True
    return any(statement.revoked_at is not None for _, statement in statements)


def _list_obsolete_subjects(
    work: FetchAttempt, covered: Collection[str], rows: Mapping[str, FetchedListRow]
) -> Iterator[str]:
    """Yield the subjects whose responses can be deleted, because their certificates are no longer queried.

    A response that states a revocation stays: a suspended party may be activated again.
    """
    answers = {answer.sha256: answer for answer in work.hub.judge.revocations.answers}
    for subject, row in rows.items():
        answer = answers.get(row.sha256)
        if (
            subject not in covered
            and answer
            and all(statement.revoked_at is None for statement in answer.statements)
        ):
            yield subject


def _activate_responses(work: FetchAttempt, responses: list[NewFetchedList], length: timedelta) -> None:
    """Activate the accepted responses, possibly none, and renew the lease."""
    now, name = work.hub.clock(), work.source.name
    with write_transaction(work.hub.engine, "fetch.answers") as conn:
        work.lock_source_row(conn)
        if responses:
            fetched_lists.activate_lists(conn, name, responses, now)
            stored = fetched_lists.list_by_source(conn, name)
            answers = {response.subject: stored[response.subject].sha256 for response in responses}
            record_evidence(conn, "fetched", "source", name, None, {"kind": "ocsp", "answers": answers}, now)
        if not delivery_leases.renew_lease(conn, work.lease, now + length):
            raise LeaseLostError
