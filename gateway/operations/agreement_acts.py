"""Puts an agreement into force after it has been judged by the register of the hub."""

from __future__ import annotations

import base64
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from gateway.agreements import (
    AgreementDocument,
    AgreementFinding,
    HubView,
    KnownCertificate,
    KnownParty,
    PMode,
    apply_overrides,
    find_agreement_findings,
    pmode_to_json,
    read_overrides,
    read_pmodes,
)
from gateway.config import Settings
from gateway.errors import AGREEMENT_UNWORKABLE, AGREEMENT_WARNED, GatewayError
from gateway.hub import list_effective_pmodes
from gateway.operations.audited_changes import DatabaseChange, describe_agreements
from gateway.operations.plain_values import count_things
from gateway.pki import Certificate, get_signature_algorithm, read_certificates
from gateway.protocols import PROTOCOLS, list_unsupported_terms
from gateway.store import (
    AgreementRow,
    CertificateTermRow,
    NewAgreement,
    NewPMode,
    agreements,
    parties,
)


def judge_agreement(
    conn: Connection, settings: Settings, document: AgreementDocument, at: datetime
) -> tuple[AgreementFinding, ...]:
    """Return the findings on an agreement at this hub, errors first; the agreement itself may be loaded.

    It is judged with the overrides that the hub has for it: they stay when the file is loaded again.
    """
    judged = replace(document, pmodes=apply_stored_overrides(conn, document.pmodes))
    return find_agreement_findings(judged, list_surroundings(conn, settings, at, judged.pmodes))


def apply_stored_overrides(conn: Connection, pmodes: Sequence[PMode]) -> tuple[PMode, ...]:
    """Return P-Modes as they would be in force: with the overrides that the hub has for their agreements."""
    rows = {name: agreements.find_agreement(conn, name) for name in {pmode.agreement for pmode in pmodes}}
    overrides_by_agreement = {
        name: read_overrides(row.overrides) for name, row in rows.items() if row is not None
    }
    return tuple(apply_overrides(pmode, overrides_by_agreement.get(pmode.agreement, ())) for pmode in pmodes)


def find_new_findings(
    conn: Connection, settings: Settings, before: Sequence[PMode], after: Sequence[PMode], at: datetime
) -> tuple[AgreementFinding, ...]:
    """Return the findings on the P-Modes of a loaded agreement that it did not have `before`."""
    name, surroundings = after[0].agreement, list_surroundings(conn, settings, at, after)
    old = set(find_agreement_findings(AgreementDocument(tuple(before), name), surroundings))
    current_findings = find_agreement_findings(AgreementDocument(tuple(after), name), surroundings)
    return tuple(finding for finding in current_findings if finding not in old)


def list_surroundings(conn: Connection, settings: Settings, at: datetime, pmodes: Iterable[PMode]) -> HubView:
    """Return the view of this hub by which an agreement of these P-Modes is judged."""
    known_parties, own_certificates = list_known_parties(conn), _read_own_certificates(settings)
    return HubView(
        hub=settings.hub.party,
        at=at,
        parties=known_parties,
        others=tuple(list_effective_pmodes(conn, _list_identifiers(known_parties, pmodes))),
        own_certificates=frozenset(certificate.sha256 for certificate in own_certificates),
        own_algorithms=frozenset(
            get_signature_algorithm(certificate.public_key) for certificate in own_certificates
        ),
        protocols=frozenset(PROTOCOLS),
        list_unsupported=list_unsupported_terms,
        logins=frozenset(name.lower() for name, section in settings.tls.items() if section.login is not None),
    )


def _list_identifiers(known_parties: Iterable[KnownParty], pmodes: Iterable[PMode]) -> set[str]:
    """Return the identifiers of the parties of P-Modes, with the others that those parties have here."""
    pmode_identifiers = {
        identifier for pmode in pmodes for identifier in (*pmode.from_party, *pmode.to_party)
    }
    owned = (
        identifier
        for party in known_parties
        if not pmode_identifiers.isdisjoint(party.ids)
        for identifier in party.ids
    )
    return {identifier.value for identifier in (*pmode_identifiers, *owned)}


def list_known_parties(conn: Connection) -> tuple[KnownParty, ...]:
    """Return the registered parties of any status."""
    ids, held = parties.list_identifiers_by_party(conn), defaultdict[str, list[KnownCertificate]](list)
    for row in parties.list_certificate_terms(conn):
        held[row.party_id].append(_make_known_certificate(row))
    return tuple(
        KnownParty(row.id, row.status, ids.get(row.id, ()), tuple(held.get(row.id, ())))
        for row in parties.list_parties(conn)
    )


def _make_known_certificate(row: CertificateTermRow) -> KnownCertificate:
    begins = max(row.not_before, row.valid_from or row.not_before)
    return KnownCertificate(row.sha256, row.use, begins, min(row.not_after, row.valid_until or row.not_after))


def _read_own_certificates(settings: Settings) -> tuple[Certificate, ...]:
    """Return the certificates with which the hub signs now and next; `gateway check` examines the files."""
    paths = (settings.pki.signing_certificate, settings.pki.next.signing_certificate)
    return tuple(certificate for path in paths for certificate in _read_certificate_file(path))


def _read_certificate_file(path: Path | None) -> tuple[Certificate, ...]:
    with contextlib.suppress(OSError, GatewayError):
        return tuple(read_certificates(path.read_bytes())) if path is not None else ()
    return ()


def find_load_problem(
    findings: Sequence[AgreementFinding], file_name: str, *, accepted: bool
) -> GatewayError | None:
    """Return why an agreement is not loaded: GW313 for errors, GW314 for warnings that are not `accepted`."""
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return GatewayError(AGREEMENT_UNWORKABLE, f"not loaded: {count_findings(findings)}", file_name)
    if "warning" in severities and not accepted:
        detail = f"not loaded: {count_findings(findings)}; --accept-warnings loads it as it is"
        return GatewayError(AGREEMENT_WARNED, detail, file_name)
    return None


def count_findings(findings: Iterable[AgreementFinding]) -> str:
    """Return the number of findings of each severity in words, and "nothing" where there are none."""
    kinds = [finding.severity for finding in findings]
    counts = [count_things(kinds.count(kind), kind) for kind in ("error", "warning", "note") if kind in kinds]
    return ", ".join(counts) or "nothing"


def format_finding(finding: AgreementFinding) -> str:
    """Return a finding on one line: severity, rule, sentence, place."""
    return f"{finding.severity} {finding.rule}: {finding.text} ({finding.location})"


def finding_to_json(finding: AgreementFinding) -> dict[str, str]:
    """Return a finding as plain JSON values; that on a CPA has its XPath and the clause."""
    description = {
        "id": finding.rule,
        "severity": finding.severity,
        "place": finding.location,
        "text": finding.text,
    }
    if finding.xpath is not None:
        description |= {"xpath": finding.xpath, "message": finding.text, "clause": finding.clause}
    return description


def load_judged_agreement(
    change: DatabaseChange, document: AgreementDocument, source: bytes, name: str, *, accepted: bool
) -> tuple[tuple[AgreementFinding, ...], GatewayError | None]:
    """Activate the P-Modes of a document unless its findings refuse it; return findings and problem.

    `accepted` says that warnings do not refuse it.
    """
    ids = tuple(dict.fromkeys(pmode.agreement for pmode in document.pmodes))
    findings = judge_agreement(change.conn, change.settings, document, change.at)
    problem = find_load_problem(findings, name, accepted=accepted)
    if problem is not None:
        change.leave_unchanged()
        return findings, problem
    before = describe_agreements(change.conn, ids)
    _activate_agreements(change.conn, document.pmodes, source, change.at, change.by)
    after = describe_agreements(change.conn, ids)
    change.record_trust_change(f"agreement {', '.join(ids)}", before=before, after=after)
    return findings, None


def suspend_agreement(change: DatabaseChange, name: str) -> str:
    """Suspend an agreement; return its new state as a sentence. Raises GW301 for an unknown one."""
    before = describe_agreements(change.conn, (name,))
    agreements.set_agreement_status(change.conn, name, "SUSPENDED")
    after = describe_agreements(change.conn, (name,))
    change.record_trust_change(f"agreement {name}", before=before, after=after)
    return f"Agreement {name} is suspended: its messages are refused."


def load_agreement(
    conn: Connection, source: bytes, name: str, now: datetime, by: str = "operator"
) -> tuple[PMode, ...]:
    """Activate the P-Modes of a YAML file unjudged; they replace those of the same agreements."""
    pmodes = read_pmodes(source, name)
    _activate_agreements(conn, pmodes, source, now, by)
    return pmodes


def _activate_agreements(
    conn: Connection, pmodes: Sequence[PMode], source: bytes, now: datetime, by: str
) -> None:
    for agreement in dict.fromkeys(pmode.agreement for pmode in pmodes):
        modes = [pmode for pmode in pmodes if pmode.agreement == agreement]
        activate_pmodes(conn, modes, "pmode", source, now, by)


def activate_pmodes(
    conn: Connection, modes: Sequence[PMode], kind: str, source: bytes, at: datetime, by: str
) -> None:
    """Activate the P-Modes of one agreement. `kind` is "cpa" or "pmode", `source` the octets of its file.

    A version that begins later, while the agreement is in force, succeeds the present one at its
    begin; any other replaces the agreement, with the later versions that it had.
    """
    starts, ends = min(mode.valid_from for mode in modes), max(mode.valid_until for mode in modes)
    row = agreements.find_agreement(conn, modes[0].agreement)
    if row is not None and _is_succeeded(row, starts, at):
        kept_successors = [
            successor
            for successor in row.successors or ()
            if datetime.fromisoformat(successor["valid_from"]) < starts
        ]
        version = {
            "kind": kind,
            "source": base64.b64encode(source).decode("ascii"),
            "valid_from": starts.isoformat(),
            "valid_until": ends.isoformat(),
            "loaded_at": at.isoformat(),
            "loaded_by": by,
            "pmodes": [pmode_to_json(mode) for mode in modes],
        }
        agreements.set_successors(conn, row.id, [*kept_successors, version])
        return
    if row is not None and row.successors:
        agreements.set_successors(conn, row.id, ())
    new = NewAgreement(modes[0].agreement, kind, source, starts, ends)
    agreements.activate_agreement(conn, new, [_make_pmode_row(mode) for mode in modes], at, by)


def _is_succeeded(row: AgreementRow, starts: datetime, at: datetime) -> bool:
    """Return whether a version that `starts` later follows the agreement of a row without a gap."""
    if row.status != "ACTIVE" or row.valid_from is None or row.valid_until is None:
        return False
    ends = [
        row.valid_until,
        *(datetime.fromisoformat(successor["valid_until"]) for successor in row.successors or ()),
    ]
    is_in_force = row.valid_from <= at < max(ends)
    return bool(is_in_force and max(at, row.valid_from) < starts <= max(ends))


def _make_pmode_row(pmode: PMode) -> NewPMode:
    return NewPMode(
        id=pmode.id,
        protocol=pmode.protocol,
        from_party=pmode.from_party[0].value,
        to_party=pmode.to_party[0].value,
        service=pmode.service,
        action=pmode.action,
        parameters=pmode_to_json(pmode),
        from_role=pmode.from_role,
        to_role=pmode.to_role,
    )
