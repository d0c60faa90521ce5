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
from gateway.evidence import record_register_leaf
from gateway.failpoints import kill_at_failpoint
from gateway.hub import FetchSource, Hub, import_trusted_list
from gateway.pki import (
    MAX_RESPONSE_OCTETS,
    MAX_RESPONSES,
    PATH_RULES,
    AcceptanceTerms,
    Certificate,
    OcspQuery,
    RevocationData,
    TrustStore,
    accept_ocsp_response,
    is_issued_by,
    normalize_name,
    ocsp,
    read_certificate,
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

    def make_acceptance_terms(self) -> AcceptanceTerms:
        """Return the terms by which fetched data is accepted now."""
        issuer = self.source.issuer
        if issuer is None:
            setting_name = f"fetch.{self.source.name}.issuer"
            raise GatewayError(SETTINGS_WRONG, "there is no certificate of the issuer", setting_name)
        return AcceptanceTerms(issuer, self.trust, self.hub.clock())

    def lock_source_row(self, conn: Connection) -> None:
        """Insert or update the row of the source, and lock it."""
        fetched_lists.ensure_source(conn, self.source.name, self.source.settings.kind, self.source.url)

    def complete_fetch(self, conn: Connection, now: datetime, etag: str | None = None) -> None:
        """Record that everything was accepted, and end the delivery; raises when the lease is lost."""
        fetched_lists.record_success(conn, self.source.name, now, etag)
        cancel_earlier_failed_delivery(conn, self.source.name, None, now)
        make_lease_finisher(self.lease, self.hub.clock)(conn)


def cancel_earlier_failed_delivery(
    conn: Connection, source_name: str, new_delivery_id: int | None, now: datetime
) -> None:
    """Cancel the FAILED delivery of a source; note `new_delivery_id` (row id, or None) in its place."""
    earlier_delivery_id = fetched_lists.replace_given_up_delivery(conn, source_name, new_delivery_id)
    earlier_row = (
        deliveries.find_by_id(conn, earlier_delivery_id)
        if earlier_delivery_id is not None and earlier_delivery_id != new_delivery_id
        else None
    )
    if earlier_row is not None and earlier_row.state == "FAILED":
        deliveries.give_up_delivery(conn, earlier_row.id, now, ACTOR, "a later fetch stands for it")


_CONNECT_SECONDS: Final = 10.0


_LIST_MEDIA_TYPES: Final = "application/pkix-crl, application/octet-stream;q=0.9, */*;q=0.5"


_OCSP_HEADERS: Final = {"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}


class SourceClient:
    """The HTTP client of a source, for one delivery; `most` limits an exchange in seconds in any case."""

    def __init__(self, source: FetchSource, max_seconds: float, tls: TlsConnector | None = None) -> None:
        time_limit = min(source.settings.time_out.total_seconds(), max_seconds)
        max_octets = source.settings.most
        if source.settings.kind == "ocsp":
            max_octets = min(max_octets, MAX_RESPONSE_OCTETS)
        self._url = source.url
        self._http_client = HttpClient(
            HttpLimits(min(_CONNECT_SECONDS, time_limit), time_limit, time_limit, max_octets), tls
        )

    def __enter__(self) -> SourceClient:
        """Return this client."""
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._http_client.close()

    def fetch_list(self, etag: str | None = None) -> tuple[bytes, str | None] | None:
        """Return the current list and its entity tag; None when it still has the tag `etag`."""
        headers = {"Accept": _LIST_MEDIA_TYPES, "Connection": "close"}
        if etag is not None:
            headers["If-None-Match"] = etag
        answer = _kill_after_exchange(self._http_client.get(self._url, headers))
        # The server ends this connection, as it was asked to: a second fetch opens one of its own.
        self._http_client.close()
        if etag is not None and answer.status == 304:
            return None
        _check_fetch_status(answer)
        return answer.body, _read_entity_tag(answer)

    def query_responder(self, request: bytes) -> bytes:
        """Return the OCSP responder's answer to a request."""
        answer = _kill_after_exchange(self._http_client.post(self._url, _OCSP_HEADERS, request))
        _check_fetch_status(answer)
        return answer.body


def _kill_after_exchange(answer: HttpAnswer) -> HttpAnswer:
    kill_at_failpoint("fetch.after_exchange")
    return answer


def _check_fetch_status(answer: HttpAnswer) -> None:
    """Raise GW603 for a redirect or a content coding, GW608 for another HTTP status than 200."""
    if 300 <= answer.status < 400:
        redirect_text = (
            ": redirects are not followed" if "location" in answer.headers else ", which nobody asked for"
        )
        raise GatewayError(ANSWER_NOT_UNDERSTOOD, f"HTTP status {answer.status}{redirect_text}", "HTTP")
    if answer.status != 200:
        raise GatewayError(
            PARTNER_FAULT, "it answered with an error", "HTTP", theirs=f"HTTP status {answer.status}"
        )
    require_identity_coding(answer)


def _read_entity_tag(answer: HttpAnswer) -> str | None:
    """Return the entity tag, unless it cannot be sent in a header field."""
    etag = answer.headers.get("etag", "")
    is_sendable = 2 <= len(etag) <= 200 and etag.isascii() and etag.isprintable() and etag.endswith('"')
    return etag if is_sendable else None


def fetch_trusted_list(attempt: FetchAttempt) -> None:
    """Fetch a trusted list and import it, which verifies and activates it."""
    etag = _import_current_list(attempt)
    with write_transaction(attempt.hub.engine, "fetch.trust_list") as conn:
        attempt.lock_source_row(conn)
        attempt.complete_fetch(conn, attempt.hub.clock(), etag)


def _import_current_list(attempt: FetchAttempt) -> str | None:
    """Fetch and import a trusted list, and return its entity tag.

    It is fetched once more when it was rejected and another one was imported meanwhile: of two that overtake
    each other, the fetched one may be the older one.
    """
    source, hub = attempt.source, attempt.hub
    is_repeated = False
    while True:
        with read_transaction(hub.engine) as conn:
            source_row = fetched_lists.find_source(conn, source.name)
            earlier_ids = _read_trusted_list_ids(conn)
        etag = source_row.etag if source_row is not None and source_row.url == source.url else None
        answer = attempt.client.fetch_list(etag)
        if answer is None:
            return etag
        try:
            # The import is a transaction of its own, with evidence and epoch; the same octets change nothing.
            _import_fetched_list(attempt, answer[0])
        except GatewayError:
            with read_transaction(hub.engine) as conn:
                is_overtaken = _read_trusted_list_ids(conn) != earlier_ids
            if is_repeated or not is_overtaken:
                raise
            is_repeated = True
        else:
            return answer[1]


def _read_trusted_list_ids(conn: Connection) -> list[int]:
    return [row.id for row in fetched_lists.list_latest_trusted_lists(conn)]


def _import_fetched_list(attempt: FetchAttempt, octets: bytes) -> None:
    """Verify and activate a trusted list; raise GW606 for a rejected one, GW801 for wrong settings."""
    hub = attempt.hub
    try:
        recognizer = hub.recognizer
        entry = AuditEntry(ACTOR, ACTOR, "trust_list.import", "-")
        import_trusted_list(
            hub.engine, octets, hub.clock(), recognizer.policy, entry=entry, list_cache=recognizer.list_cache
        )
    except GatewayError as rejection:
        raise_resource_problem(rejection)
        # The source's operator may correct a rejected list; wrong settings must be corrected by ours.
        if rejection.problem is SETTINGS_WRONG:
            raise
        raise GatewayError(FETCHED_REFUSED, str(rejection)[:500]) from rejection


_log = logging.getLogger(__name__)
#: Responses that are activated together: every process reloads its register after each activation.
_MAX_BATCH: Final = 64
_NONCE_OCTETS: Final = 32
_EARLIEST_TIME: Final = datetime.min.replace(tzinfo=UTC)


def fetch_ocsp_responses(attempt: FetchAttempt, lease_time: timedelta) -> None:
    """Query every certificate that was not queried since the delivery was queued.

    `lease_time` is how long a lease lasts. The lease is renewed with each activated batch, and also
    while no response is accepted. Raises the first problem after all accepted responses are in
    force.
    """
    covered = {certificate.sha256: certificate for certificate in _list_covered_certificates(attempt)}
    with read_transaction(attempt.hub.engine) as conn:
        current_rows = fetched_lists.list_by_source(conn, attempt.source.name)
    first_problem: GatewayError | None = None
    responses: list[NewFetchedList] = []
    activated_at = attempt.hub.clock()
    for certificate, response in _request_statuses(
        attempt, _list_due_certificates(attempt, covered, current_rows), current_rows
    ):
        if isinstance(response, GatewayError):
            _log.warning(
                "no status of %s: %s",
                *(certificate.subject[:120], response),
                extra={"source": attempt.source.name, "certificate": certificate.sha256},
            )
            first_problem = first_problem or response
        else:
            responses.append(response)
        if len(responses) >= _MAX_BATCH or attempt.hub.clock() - activated_at > lease_time / 4:
            _activate_responses(attempt, responses, lease_time)
            responses, activated_at = [], attempt.hub.clock()
    if responses:
        _activate_responses(attempt, responses, lease_time)
    if first_problem is not None:
        raise first_problem
    with write_transaction(attempt.hub.engine, "fetch.done") as conn:
        attempt.lock_source_row(conn)
        fetched_lists.delete_lists(
            conn, attempt.source.name, _list_obsolete_subjects(attempt, covered, current_rows)
        )
        attempt.complete_fetch(conn, attempt.hub.clock())


def _list_covered_certificates(attempt: FetchAttempt) -> Iterator[Certificate]:
    """Yield the certificates of parties, and the intermediates, that the issuer itself has issued."""
    issuer, trust, now = attempt.make_acceptance_terms().issuer, attempt.trust, attempt.hub.clock()
    issuer_name = normalize_name(issuer.subject_der)
    with read_transaction(attempt.hub.engine) as conn:
        registered_octets = [row.der for row in parties.list_certificates_in_use(conn)]
    count = 0
    for octets in registered_octets + [intermediate.der for intermediate in trust.intermediates]:
        try:
            certificate = read_certificate(octets, trust.policy.certificates)
        except GatewayError as unreadable:
            raise_resource_problem(unreadable)
            continue
        if certificate == issuer or certificate.not_after < now or count >= MAX_RESPONSES:
            continue
        if normalize_name(certificate.issuer_der) == issuer_name and is_issued_by(certificate, issuer, trust):
            count += 1
            yield certificate


def _list_due_certificates(
    attempt: FetchAttempt, covered: Mapping[str, Certificate], current_rows: Mapping[str, FetchedListRow]
) -> list[Certificate]:
    """Return the certificates still to be queried, the one queried longest ago first."""
    fetch_times = {key: row.fetched_at for key, row in current_rows.items()}
    queued_at = attempt.lease.created_at
    due_digests = [key for key in covered if key not in fetch_times or fetch_times[key] < queued_at]
    return [covered[key] for key in sorted(due_digests, key=lambda key: fetch_times.get(key, _EARLIEST_TIME))]


def _request_statuses(
    attempt: FetchAttempt, due_certificates: list[Certificate], current_rows: Mapping[str, FetchedListRow]
) -> Iterator[tuple[Certificate, NewFetchedList | GatewayError]]:
    """Yield the accepted response of each certificate, or its problem; an unreachable responder ends it."""
    time_limit = attempt.lease.expires_at
    for certificate in due_certificates:
        if time_limit is not None and attempt.hub.clock() >= time_limit:
            yield certificate, GatewayError(UNREACHABLE, "the time limit of the query has passed")
            return
        current_row = current_rows.get(certificate.sha256)
        try:
            new_response = _request_status(attempt, certificate, current_row)
        except GatewayError as problem:
            yield certificate, problem
            if problem.problem in (UNREACHABLE, ANSWER_NOT_UNDERSTOOD, PARTNER_FAULT):
                return
            continue
        yield certificate, new_response


def _request_status(
    attempt: FetchAttempt, certificate: Certificate, current_row: FetchedListRow | None
) -> NewFetchedList:
    """Return the accepted response of a certificate; `current_row` is the one in force."""
    nonce_mode = attempt.source.settings.nonce
    nonce = None if nonce_mode == "none" else secrets.token_bytes(_NONCE_OCTETS)
    issuer = attempt.make_acceptance_terms().issuer
    octets = attempt.client.query_responder(ocsp.make_ocsp_request(certificate, issuer, nonce))
    terms = attempt.make_acceptance_terms()
    query = OcspQuery(certificate, nonce, is_nonce_required=nonce_mode == "require")
    current_update = current_row.this_update if current_row is not None else None
    is_revoked = current_row is not None and _is_revocation_in_force(attempt, current_row.sha256, certificate)
    response, statement = accept_ocsp_response(
        octets, terms, query, current_update, is_revocation_in_force=is_revoked
    )
    return NewFetchedList(
        subject=certificate.sha256,
        kind="ocsp",
        octets=response.der,
        issuer=issuer.subject,
        number=None,
        this_update=statement.this_update,
        next_update=statement.compute_expiry(terms.trust.policy.crl_age_most),
    )


def _is_revocation_in_force(attempt: FetchAttempt, sha256: str, certificate: Certificate) -> bool:
    """Return whether the response in force revokes a certificate; one that cannot be read may do so."""
    with read_transaction(attempt.hub.engine) as conn:
        octets = payloads.get_payload_octets(conn, sha256)
    try:
        statements = RevocationData(rules=PATH_RULES, responses=[octets]).find_ocsp_responses(
            certificate.serial
        )
    except GatewayError as read_error:
        raise_resource_problem(read_error)
        return True
    return any(statement.revoked_at is not None for _, statement in statements)


def _list_obsolete_subjects(
    attempt: FetchAttempt, covered: Collection[str], current_rows: Mapping[str, FetchedListRow]
) -> Iterator[str]:
    """Yield the subjects whose responses can be deleted, because their certificates are no longer queried.

    A response that states a revocation stays: a suspended party may be activated again.
    """
    responses = {response.sha256: response for response in attempt.hub.judge.revocations.answers}
    for subject, current_row in current_rows.items():
        response = responses.get(current_row.sha256)
        if (
            subject not in covered
            and response
            and all(statement.revoked_at is None for statement in response.statements)
        ):
            yield subject


def _activate_responses(
    attempt: FetchAttempt, responses: list[NewFetchedList], lease_time: timedelta
) -> None:
    """Activate the accepted responses, possibly none, and renew the lease."""
    now, source_name = attempt.hub.clock(), attempt.source.name
    with write_transaction(attempt.hub.engine, "fetch.answers") as conn:
        attempt.lock_source_row(conn)
        if responses:
            fetched_lists.activate_lists(conn, source_name, responses, now)
            stored_rows = fetched_lists.list_by_source(conn, source_name)
            answers = {response.subject: stored_rows[response.subject].sha256 for response in responses}
            record_register_leaf(
                conn, "fetched", "source", source_name, None, {"kind": "ocsp", "answers": answers}, now
            )
        if not delivery_leases.renew_lease(conn, attempt.lease, now + lease_time):
            raise LeaseLostError
