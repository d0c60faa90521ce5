"""Revocation lists and trusted lists: one exchange, and one list that is believed or is not."""

from __future__ import annotations

from gateway.delivery.fetching.work import ACTOR, Work
from gateway.errors import FETCHED_REFUSED, SETTINGS_WRONG, GatewayError
from gateway.evidence.log import record
from gateway.hub.trust.lists import import_list
from gateway.pki.acceptance import accept_changes, accept_list
from gateway.pki.revocation import RevocationList
from gateway.store import fetched
from gateway.store.engine import reading, transaction
from gateway.store.fetched import Word
from gateway.store.room import NoRoomError

__all__ = ["fetch_list", "fetch_trust_list"]


def fetch_list(work: Work) -> None:
    """Fetch a revocation list, complete or of changes, and put it in force."""
    source, hub = work.source, work.hub
    with reading(hub.engine) as conn:
        row, told = fetched.of_source(conn, source.name).get(""), fetched.source(conn, source.name)
    held = _held(work, row.sha256) if row is not None and row.kind == source.settings.kind else None
    etag = told.etag if told is not None and held is not None and told.url == source.url else None
    answer = work.line.get(etag)
    octets, etag = answer if answer is not None else (held.der if held else b"", etag)
    found = _accepted(work, octets, held)
    word = Word(
        subject="",
        kind=source.settings.kind,
        octets=found.der,
        issuer=found.issuer,
        number=None if found.number is None else str(found.number),
        this_update=found.this_update,
        next_update=found.ends(hub.judge.trust.policy.crl_age_most),
    )
    _put_in_force(work, word, row.sha256 if row is not None else None, etag)


def _held(work: Work, sha256: str) -> RevocationList | None:
    """Return the list in force, be it one that our rules refuse by now: nothing is rolled back."""
    in_hand = work.hub.judge.revocations
    unread = (each for one in in_hand.unread if one.words for each in one.words.lists)
    return next((one for one in (*in_hand.lists, *unread) if one.sha256 == sha256), None)


def _accepted(work: Work, octets: bytes, held: RevocationList | None) -> RevocationList:
    expected = work.expected()
    if work.source.settings.kind == "crl":
        return accept_list(octets, expected, held)
    return accept_changes(octets, expected, held, work.hub.judge.revocations.lists)


def _put_in_force(work: Work, word: Word, before: str | None, etag: str | None) -> None:
    now, name = work.hub.clock(), work.source.name
    with transaction(work.hub.engine, "fetch.list") as conn:
        work.ensure(conn)
        row = fetched.of_source(conn, name).get("")
        # What was held against `before` says nothing of a list that came into force meanwhile.
        if (row.sha256 if row is not None else None) != before:
            raise GatewayError(FETCHED_REFUSED, "another fetch put another list in force meanwhile")
        if fetched.take(conn, name, [word], now):
            sha256 = fetched.of_source(conn, name)[""].sha256
            data = {"kind": word.kind, "issuer": word.issuer[:200], "number": word.number or ""}
            record(conn, "fetched", "source", name, sha256, data, now)
        work.done(conn, now, etag)


def fetch_trust_list(work: Work) -> None:
    """Fetch a trusted list and hand it to recognition, which verifies it and puts it in force."""
    source, hub = work.source, work.hub
    with reading(hub.engine) as conn:
        told = fetched.source(conn, source.name)
    known = told.etag if told is not None and told.url == source.url else None
    answer = work.line.get(known)
    if answer is not None:
        # A transaction of its own, with evidence and epoch: the same octets again change nothing.
        _import(work, answer[0])
    with transaction(hub.engine, "fetch.trust_list") as conn:
        work.ensure(conn)
        work.done(conn, hub.clock(), answer[1] if answer is not None else known)


def _import(work: Work, octets: bytes) -> None:
    hub = work.hub
    try:
        known = hub.recognizer
        import_list(hub.engine, octets, hub.clock(), known.terms, actor=ACTOR, shelf=known.shelf)
    except NoRoomError:
        raise
    except GatewayError as refused:
        # What is refused today may be put right by its operator; settings are put right by ours.
        if refused.problem is SETTINGS_WRONG:
            raise
        raise GatewayError(FETCHED_REFUSED, str(refused)[:500]) from refused
