"""Fetches a revocation list, and compares it with the lists in force after the fetch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlalchemy import Connection

from gateway.delivery.attempt_outcome import run_with_current_register
from gateway.delivery.fetch_attempt import FetchAttempt
from gateway.errors import FETCHED_REFUSED, GatewayError, raise_resource_problem
from gateway.evidence import record_register_leaf
from gateway.hub import StaleSnapshotError, find_issuer_trust_store
from gateway.pki import (
    PATH_RULES,
    RevocationList,
    accept_delta_list,
    accept_revocation_list,
    read_revocation_lists,
)
from gateway.store import (
    NewFetchedList,
    fetched_lists,
    payloads,
    read_transaction,
    write_transaction,
)


@dataclass(frozen=True, slots=True)
class FetchedOctets:
    """The octets of a list with their entity tag, and the list that was in force before they were fetched."""

    octets: bytes
    etag: str | None
    earlier_list: RevocationList | None


def fetch_revocation_list(attempt: FetchAttempt) -> None:
    """Fetch a complete or delta CRL, and activate it.

    It is compared with the lists in force after the fetch, and again where these change meanwhile: another
    worker may have put a newer list in force, or the complete list to which the fetched changes apply.
    Raises GW606 for a list that is refused.
    """
    source, hub = attempt.source, attempt.hub
    with read_transaction(hub.engine) as conn:
        earlier_list = _find_list_in_force(conn, source.name)
        source_row = fetched_lists.find_source(conn, source.name)
    etag = (
        source_row.etag
        if source_row is not None and earlier_list is not None and source_row.url == source.url
        else None
    )
    answer = attempt.client.fetch_list(etag)
    octets, etag = answer if answer is not None else (earlier_list.der if earlier_list else b"", etag)
    fetched = FetchedOctets(octets, etag, earlier_list)
    run_with_current_register(
        hub, hub.refresh_snapshot(), lambda _snapshot: _activate_fetched_list(attempt, fetched)
    )


def _find_list_in_force(conn: Connection, source_name: str) -> RevocationList | None:
    """Return the list of a source that is in force, None without one; see `_read_current_list`."""
    current_row = fetched_lists.list_by_source(conn, source_name).get("")
    return None if current_row is None else _read_current_list(conn, current_row.sha256)


def _read_current_list(conn: Connection, sha256: str) -> RevocationList:
    """Return the list in force, even one that the rules now reject: a rollback must still be detected.

    Raises GW606 for one that cannot be read at all: nothing could be compared with it.
    """
    try:
        (crl,) = read_revocation_lists(payloads.get_payload_octets(conn, sha256), PATH_RULES)
    except GatewayError as read_error:
        raise_resource_problem(read_error)
        reason = f"the one in force cannot be read, forget this source first: {read_error.detail}"
        raise GatewayError(FETCHED_REFUSED, reason[:500]) from read_error
    return crl


def _activate_fetched_list(attempt: FetchAttempt, fetched: FetchedOctets) -> None:
    """Compare a fetched list with the one in force now, and put it in force unless that one is newer."""
    source, hub = attempt.source, attempt.hub
    # A trusted list that was imported during the fetch may name the issuer.
    attempt = replace(attempt, trust=find_issuer_trust_store(hub, source.issuer))
    with read_transaction(hub.engine) as conn:
        current_list = _find_list_in_force(conn, source.name)
    revocation_list = _choose_list(attempt, fetched, current_list)
    new_list = NewFetchedList(
        subject="",
        kind=source.settings.kind,
        octets=revocation_list.der,
        issuer=revocation_list.issuer,
        number=None if revocation_list.number is None else str(revocation_list.number),
        this_update=revocation_list.this_update,
        next_update=revocation_list.compute_expiry(hub.judge.trust.policy.crl_age_most),
    )
    # The tag of an older list says nothing about the one in force: the next fetch is without it.
    etag = fetched.etag if revocation_list is not current_list else None
    _activate_list(attempt, new_list, current_list.sha256 if current_list is not None else None, etag)


def _choose_list(
    attempt: FetchAttempt, fetched: FetchedOctets, current_list: RevocationList | None
) -> RevocationList:
    """Return the fetched list, or `current_list` where another fetch put that newer one in force meanwhile.

    Raises GW606 for a fetched list that may not follow `current_list`, which is in force now. It may be older
    than that only if it could follow the list that was in force before the fetch.
    """
    try:
        return _accept_fetched_list(attempt, fetched.octets, current_list)
    except GatewayError as refusal:
        raise_resource_problem(refusal)
        if current_list is None or current_list == fetched.earlier_list:
            raise
        try:
            older_list = _accept_fetched_list(attempt, fetched.octets, fetched.earlier_list)
            _accept_fetched_list(attempt, current_list.der, older_list)
        except GatewayError as further_refusal:
            raise_resource_problem(further_refusal)
            raise refusal from None
        return current_list


def _accept_fetched_list(
    attempt: FetchAttempt, octets: bytes, current_list: RevocationList | None
) -> RevocationList:
    """Return the CRL or delta CRL in `octets`, compared with `current_list`, the one in force (or None)."""
    terms, loaded_lists = attempt.make_acceptance_terms(), attempt.hub.judge.revocations.lists
    if attempt.source.settings.kind == "crl":
        return accept_revocation_list(octets, terms, current_list, loaded_lists)
    return accept_delta_list(octets, terms, current_list, loaded_lists)


def _activate_list(
    attempt: FetchAttempt, new_list: NewFetchedList, compared_sha256: str | None, etag: str | None
) -> None:
    """Put the new list in force, record evidence, and complete the fetch, in one transaction.

    Raise StaleSnapshotError unless the list in force still has the digest `compared_sha256` (None: no list).
    """
    now, source_name = attempt.hub.clock(), attempt.source.name
    with write_transaction(attempt.hub.engine, "fetch.list") as conn:
        attempt.lock_source_row(conn)
        current_row = fetched_lists.list_by_source(conn, source_name).get("")
        # The new list was compared with `compared_sha256`, not with a list that was activated meanwhile.
        if (current_row.sha256 if current_row is not None else None) != compared_sha256:
            raise StaleSnapshotError
        if fetched_lists.activate_lists(conn, source_name, [new_list], now):
            sha256 = fetched_lists.list_by_source(conn, source_name)[""].sha256
            evidence_fields = {
                "kind": new_list.kind,
                "issuer": new_list.issuer[:200],
                "number": new_list.number or "",
            }
            record_register_leaf(conn, "fetched", "source", source_name, sha256, evidence_fields, now)
        attempt.complete_fetch(conn, now, etag)
