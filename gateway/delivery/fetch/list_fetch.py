"""Fetches revocation lists and trusted lists: one exchange, and one list that is accepted or rejected."""

from __future__ import annotations

from gateway.delivery.fetch.fetch_attempt import ACTOR, FetchAttempt
from gateway.errors import FETCHED_REFUSED, SETTINGS_WRONG, GatewayError
from gateway.evidence import record_evidence
from gateway.hub import import_trusted_list
from gateway.pki import RevocationList, accept_delta_list, accept_revocation_list
from gateway.store import (
    AuditEntry,
    InsufficientStorageError,
    NewFetchedList,
    fetched_lists,
    read_transaction,
    write_transaction,
)

__all__ = ["fetch_revocation_list", "fetch_trusted_list"]


def fetch_revocation_list(work: FetchAttempt) -> None:
    """Fetch a complete or delta CRL, and activate it."""
    source, hub = work.source, work.hub
    with read_transaction(hub.engine) as conn:
        row, told = (
            fetched_lists.list_by_source(conn, source.name).get(""),
            fetched_lists.find_source(conn, source.name),
        )
    held = (
        _find_current_list(work, row.sha256) if row is not None and row.kind == source.settings.kind else None
    )
    etag = told.etag if told is not None and held is not None and told.url == source.url else None
    answer = work.client.fetch_list(etag)
    octets, etag = answer if answer is not None else (held.der if held else b"", etag)
    found = _accept_fetched_list(work, octets, held)
    word = NewFetchedList(
        subject="",
        kind=source.settings.kind,
        octets=found.der,
        issuer=found.issuer,
        number=None if found.number is None else str(found.number),
        this_update=found.this_update,
        next_update=found.compute_expiry(hub.judge.trust.policy.crl_age_most),
    )
    _activate_list(work, word, row.sha256 if row is not None else None, etag)


def _find_current_list(work: FetchAttempt, sha256: str) -> RevocationList | None:
    """Return the list in force, even one that our rules now reject: a rollback must still be detected."""
    in_hand = work.hub.judge.revocations
    unread = (each for one in in_hand.unread if one.words for each in one.words.lists)
    return next((one for one in (*in_hand.lists, *unread) if one.sha256 == sha256), None)


def _accept_fetched_list(work: FetchAttempt, octets: bytes, held: RevocationList | None) -> RevocationList:
    expected = work.make_expectation()
    if work.source.settings.kind == "crl":
        return accept_revocation_list(octets, expected, held)
    return accept_delta_list(octets, expected, held, work.hub.judge.revocations.lists)


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
        told = fetched_lists.find_source(conn, source.name)
    known = told.etag if told is not None and told.url == source.url else None
    answer = work.client.fetch_list(known)
    if answer is not None:
        # The import is a transaction of its own, with evidence and epoch; the same octets change nothing.
        _import_fetched_list(work, answer[0])
    with write_transaction(hub.engine, "fetch.trust_list") as conn:
        work.lock_source_row(conn)
        work.complete_fetch(conn, hub.clock(), answer[1] if answer is not None else known)


def _import_fetched_list(work: FetchAttempt, octets: bytes) -> None:
    hub = work.hub
    try:
        known = hub.recognizer
        entry = AuditEntry(ACTOR, ACTOR, "trust_list.import", "-")
        import_trusted_list(hub.engine, octets, hub.clock(), known.terms, entry=entry, shelf=known.shelf)
    except InsufficientStorageError:
        raise
    except GatewayError as refused:
        # The source's operator may correct a rejected list; wrong settings must be corrected by ours.
        if refused.problem is SETTINGS_WRONG:
            raise
        raise GatewayError(FETCHED_REFUSED, str(refused)[:500]) from refused
