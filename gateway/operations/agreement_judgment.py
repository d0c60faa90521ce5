"""Judges an agreement by the register of a hub, for the verbs that load, check and show it."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from gateway.agreements import (
    AgreementDocument,
    AgreementFinding,
    AgreementSurroundings,
    KnownCertificate,
    KnownParty,
    PMode,
    find_agreement_findings,
)
from gateway.config import Settings
from gateway.errors import AGREEMENT_UNWORKABLE, AGREEMENT_WARNED, GatewayError
from gateway.hub import list_effective_pmodes
from gateway.operations.plain_values import count_things
from gateway.pki import Certificate, get_signature_algorithm, read_certificates
from gateway.protocols import PROTOCOLS, list_unsupported_terms
from gateway.store import parties

__all__ = [
    "StatedFinding",
    "count_findings",
    "find_load_problem",
    "finding_to_json",
    "format_finding",
    "judge_agreement",
    "list_known_parties",
    "list_surroundings",
]


@dataclass(frozen=True, slots=True)
class StatedFinding:
    """A finding on a CPA: rule, severity, place in its file, sentence, XPath, clause of the standard."""

    rule: str
    severity: str
    place: str
    text: str
    xpath: str
    clause: str


def judge_agreement(
    conn: Connection, settings: Settings, document: AgreementDocument, at: datetime
) -> tuple[AgreementFinding, ...]:
    """Return the findings on an agreement at this hub, errors first; the agreement itself may be loaded."""
    return find_agreement_findings(document, list_surroundings(conn, settings, at, document.pmodes))


def list_surroundings(
    conn: Connection, settings: Settings, at: datetime, pmodes: Iterable[PMode]
) -> AgreementSurroundings:
    """Return what an agreement of these P-Modes meets at this hub."""
    known, own = list_known_parties(conn), _read_own_certificates(settings)
    return AgreementSurroundings(
        hub=settings.hub.party,
        at=at,
        parties=known,
        others=tuple(list_effective_pmodes(conn, _list_identifiers(known, pmodes))),
        own_certificates=frozenset(one.sha256 for one in own),
        own_algorithms=frozenset(get_signature_algorithm(one.public_key) for one in own),
        protocols=frozenset(PROTOCOLS),
        list_unsupported=list_unsupported_terms,
        logins=frozenset(name.lower() for name, one in settings.tls.items() if one.login is not None),
    )


def _list_identifiers(known: Iterable[KnownParty], pmodes: Iterable[PMode]) -> set[str]:
    """Return the identifiers of the parties of P-Modes, with the others that those parties have here."""
    named = {one for pmode in pmodes for one in (*pmode.from_party, *pmode.to_party)}
    owned = (one for party in known if not named.isdisjoint(party.ids) for one in party.ids)
    return {one.value for one in (*named, *owned)}


def list_known_parties(conn: Connection) -> tuple[KnownParty, ...]:
    """Return the registered parties of any status."""
    ids, held = parties.list_identifiers_by_party(conn), defaultdict[str, list[KnownCertificate]](list)
    for row in parties.list_certificate_terms(conn):
        held[row.party_id].append(_make_known_certificate(row))
    return tuple(
        KnownParty(row.id, row.status, ids.get(row.id, ()), tuple(held.get(row.id, ())))
        for row in parties.list_parties(conn)
    )


def _make_known_certificate(row: Any) -> KnownCertificate:
    begins = max(row.not_before, row.valid_from or row.not_before)
    return KnownCertificate(row.sha256, row.use, begins, min(row.not_after, row.valid_until or row.not_after))


def _read_own_certificates(settings: Settings) -> tuple[Certificate, ...]:
    """Return the certificates with which the hub signs, now and next; `gateway check` judges the files."""
    paths = (settings.pki.signing_certificate, settings.pki.next.signing_certificate)
    return tuple(one for path in paths for one in _read_certificate_file(path))


def _read_certificate_file(path: Path | None) -> tuple[Certificate, ...]:
    with contextlib.suppress(OSError, GatewayError):
        return tuple(read_certificates(path.read_bytes())) if path is not None else ()
    return ()


def find_load_problem(
    findings: Sequence[AgreementFinding | StatedFinding], place: str, *, accepted: bool
) -> GatewayError | None:
    """Return why an agreement is not loaded: GW313 for errors, GW314 for warnings that are not `accepted`."""
    found = {one.severity for one in findings}
    if "error" in found:
        return GatewayError(AGREEMENT_UNWORKABLE, f"not loaded: {count_findings(findings)}", place)
    if "warning" in found and not accepted:
        detail = f"not loaded: {count_findings(findings)}; --accept-warnings loads it as it is"
        return GatewayError(AGREEMENT_WARNED, detail, place)
    return None


def count_findings(findings: Iterable[AgreementFinding | StatedFinding]) -> str:
    """Return the number of findings of each severity in words, and "nothing" where there are none."""
    kinds = [one.severity for one in findings]
    counts = [count_things(kinds.count(kind), kind) for kind in ("error", "warning", "note") if kind in kinds]
    return ", ".join(counts) or "nothing"


def format_finding(one: AgreementFinding | StatedFinding) -> str:
    """Return a finding on one line: severity, rule, sentence, place."""
    return f"{one.severity} {one.rule}: {one.text} ({one.place})"


def finding_to_json(one: AgreementFinding | StatedFinding) -> dict[str, str]:
    """Return a finding as plain JSON values; that on a CPA has its XPath and the clause."""
    told = {"id": one.rule, "severity": one.severity, "place": one.place, "text": one.text}
    if isinstance(one, StatedFinding):
        told |= {"xpath": one.xpath, "message": one.text, "clause": one.clause}
    return told
