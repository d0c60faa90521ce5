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
    find_agreement_findings,
    pmode_to_json,
    read_pmodes,
)
from gateway.config import Settings
from gateway.errors import AGREEMENT_UNWORKABLE, AGREEMENT_WARNED, GatewayError
from gateway.hub import list_effective_pmodes, load_effective_pmodes, read_later_versions
from gateway.operations.audited_changes import DatabaseChange, describe_agreements
from gateway.operations.plain_values import format_count
from gateway.operations.stored_overrides import apply_stored_overrides, remove_unread_overrides
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


def list_agreement_findings(
    conn: Connection, settings: Settings, document: AgreementDocument, at: datetime
) -> tuple[AgreementFinding, ...]:
    """Return the findings on an agreement at this hub, errors first; the agreement itself may be loaded.

    It is judged with the overrides that the hub has for it: they stay when the file is loaded again.
    """
    overridden = apply_stored_overrides(conn, document.pmodes)
    effective_document = replace(
        document, pmodes=overridden.pmodes, findings=(*document.findings, *overridden.findings)
    )
    return find_agreement_findings(
        effective_document, build_hub_view(conn, settings, at, effective_document.pmodes)
    )


def find_new_findings(
    conn: Connection,
    settings: Settings,
    pmodes_before: Sequence[PMode],
    pmodes_after: Sequence[PMode],
    at: datetime,
) -> tuple[AgreementFinding, ...]:
    """Return the findings on `pmodes_after`, of a loaded agreement, that `pmodes_before` do not have."""
    agreement_id, hub_view = pmodes_after[0].agreement, build_hub_view(conn, settings, at, pmodes_after)
    old_findings = set(
        find_agreement_findings(AgreementDocument(tuple(pmodes_before), agreement_id), hub_view)
    )
    current_findings = find_agreement_findings(AgreementDocument(tuple(pmodes_after), agreement_id), hub_view)
    return tuple(finding for finding in current_findings if finding not in old_findings)


def build_hub_view(conn: Connection, settings: Settings, at: datetime, pmodes: Iterable[PMode]) -> HubView:
    """Return the view of this hub by which an agreement of these P-Modes is judged."""
    known_parties, own_certificates = list_known_parties(conn), _read_own_certificates(settings)
    return HubView(
        hub=settings.hub.party,
        at=at,
        parties=known_parties,
        other_pmodes=tuple(list_effective_pmodes(conn, _list_identifiers(known_parties, pmodes))),
        own_certificates=frozenset(certificate.sha256 for certificate in own_certificates),
        own_algorithms=frozenset(
            get_signature_algorithm(certificate.public_key) for certificate in own_certificates
        ),
        protocols=frozenset(PROTOCOLS),
        list_unsupported_terms=list_unsupported_terms,
        logins=frozenset(name.lower() for name, section in settings.tls.items() if section.login is not None),
    )


def _list_identifiers(known_parties: Iterable[KnownParty], pmodes: Iterable[PMode]) -> set[str]:
    """Return the identifiers of the parties of P-Modes, with the others that those parties have here."""
    pmode_identifiers = {
        identifier for pmode in pmodes for identifier in (*pmode.from_party, *pmode.to_party)
    }
    party_identifiers = (
        identifier
        for party in known_parties
        if not pmode_identifiers.isdisjoint(party.ids)
        for identifier in party.ids
    )
    return {identifier.value for identifier in (*pmode_identifiers, *party_identifiers)}


def list_known_parties(conn: Connection) -> tuple[KnownParty, ...]:
    """Return the registered parties of any status."""
    identifiers_by_party, certificates_by_party = (
        parties.list_identifiers_by_party(conn),
        defaultdict[str, list[KnownCertificate]](list),
    )
    for row in parties.list_certificate_terms(conn):
        certificates_by_party[row.party_id].append(_make_known_certificate(row))
    return tuple(
        KnownParty(
            row.id,
            row.status,
            identifiers_by_party.get(row.id, ()),
            tuple(certificates_by_party.get(row.id, ())),
        )
        for row in parties.list_parties(conn)
    )


def _make_known_certificate(row: CertificateTermRow) -> KnownCertificate:
    valid_from = max(row.not_before, row.valid_from or row.not_before)
    return KnownCertificate(
        row.sha256, row.use, valid_from, min(row.not_after, row.valid_until or row.not_after)
    )


def _read_own_certificates(settings: Settings) -> tuple[Certificate, ...]:
    """Return the certificates with which the hub signs now and next; `gateway check` examines the files."""
    paths = (settings.pki.signing_certificate, settings.pki.next.signing_certificate)
    return tuple(certificate for path in paths for certificate in _read_certificate_file(path))


def _read_certificate_file(path: Path | None) -> tuple[Certificate, ...]:
    with contextlib.suppress(OSError, GatewayError):
        return tuple(read_certificates(path.read_bytes())) if path is not None else ()
    return ()


def find_load_problem(
    findings: Sequence[AgreementFinding], file_name: str, *, accepts_warnings: bool
) -> GatewayError | None:
    """Return why an agreement is refused: GW313 for errors, GW314 for warnings unless `accepts_warnings`."""
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return GatewayError(AGREEMENT_UNWORKABLE, f"not loaded: {format_finding_counts(findings)}", file_name)
    if "warning" in severities and not accepts_warnings:
        detail = f"not loaded: {format_finding_counts(findings)}; --accept-warnings loads it as it is"
        return GatewayError(AGREEMENT_WARNED, detail, file_name)
    return None


def format_finding_counts(findings: Iterable[AgreementFinding]) -> str:
    """Return the number of findings of each severity in words, and "nothing" where there are none."""
    severities = [finding.severity for finding in findings]
    counts = [
        format_count(severities.count(severity), severity)
        for severity in ("error", "warning", "note")
        if severity in severities
    ]
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


def load_checked_agreement(
    change: DatabaseChange,
    document: AgreementDocument,
    file_octets: bytes,
    file_name: str,
    *,
    accepts_warnings: bool,
) -> tuple[tuple[AgreementFinding, ...], GatewayError | None]:
    """Activate the P-Modes of a document unless its findings refuse it; return findings and problem.

    `accepts_warnings` says that warnings do not refuse it.
    """
    agreement_ids = tuple(dict.fromkeys(pmode.agreement for pmode in document.pmodes))
    findings = list_agreement_findings(change.conn, change.settings, document, change.at)
    problem = find_load_problem(findings, file_name, accepts_warnings=accepts_warnings)
    if problem is not None:
        change.leave_unchanged()
        return findings, problem
    before = describe_agreements(change.conn, agreement_ids)
    _activate_agreements(change.conn, document.pmodes, file_octets, change.at, change.actor)
    after = describe_agreements(change.conn, agreement_ids)
    change.record_trust_change(f"agreement {', '.join(agreement_ids)}", before=before, after=after)
    return findings, None


def suspend_agreement(change: DatabaseChange, agreement_id: str) -> str:
    """Suspend an agreement; return its new state as a sentence. Raises GW301 for an unknown one."""
    before = describe_agreements(change.conn, (agreement_id,))
    agreements.set_agreement_status(change.conn, agreement_id, "SUSPENDED")
    after = describe_agreements(change.conn, (agreement_id,))
    change.record_trust_change(f"agreement {agreement_id}", before=before, after=after)
    return f"Agreement {agreement_id} is suspended: its messages are refused."


def load_unchecked_agreement(
    conn: Connection, file_octets: bytes, file_name: str, now: datetime, actor: str = "operator"
) -> tuple[PMode, ...]:
    """Activate the P-Modes of a YAML file unjudged; they replace those of the same agreements."""
    pmodes = read_pmodes(file_octets, file_name)
    _activate_agreements(conn, pmodes, file_octets, now, actor)
    return pmodes


def _activate_agreements(
    conn: Connection, pmodes: Sequence[PMode], file_octets: bytes, now: datetime, actor: str
) -> None:
    for agreement_id in dict.fromkeys(pmode.agreement for pmode in pmodes):
        agreement_pmodes = [pmode for pmode in pmodes if pmode.agreement == agreement_id]
        activate_pmodes(conn, agreement_pmodes, "pmode", file_octets, now, actor)


def activate_pmodes(
    conn: Connection, pmodes: Sequence[PMode], file_kind: str, file_octets: bytes, at: datetime, actor: str
) -> None:
    """Activate the P-Modes of an agreement from its file; `file_kind` is "cpa" or "pmode".

    A version that begins later, while the agreement is in force, succeeds the present one at its
    begin; any other replaces the agreement, with the later versions that it had. Overrides stay, unless this
    version of the program cannot read them. Raises GW906 for a version that begins later than others which it
    cannot read.
    """
    valid_from, valid_until = (
        min(pmode.valid_from for pmode in pmodes),
        max(pmode.valid_until for pmode in pmodes),
    )
    agreement_row = agreements.find_agreement(conn, pmodes[0].agreement)
    remove_unread_overrides(conn, pmodes[0].agreement, pmodes)
    if agreement_row is not None and _is_succeeded(agreement_row, valid_from, at):
        kept_versions = [
            version.stored
            for version in read_later_versions(agreement_row)
            if version.valid_from < valid_from
        ]
        version = {
            "kind": file_kind,
            "source": base64.b64encode(file_octets).decode("ascii"),
            "valid_from": valid_from.isoformat(),
            "valid_until": valid_until.isoformat(),
            "loaded_at": at.isoformat(),
            "loaded_by": actor,
            "pmodes": [pmode_to_json(pmode) for pmode in pmodes],
        }
        agreements.set_successors(conn, agreement_row.id, [*kept_versions, version])
        _require_read_agreement(conn, agreement_row.id, at)
        return
    if agreement_row is not None and agreement_row.successors is not None:
        agreements.set_successors(conn, agreement_row.id, ())
    new_agreement = NewAgreement(pmodes[0].agreement, file_kind, file_octets, valid_from, valid_until)
    agreements.activate_agreement(
        conn, new_agreement, [_make_pmode_row(pmode) for pmode in pmodes], at, actor
    )


def _require_read_agreement(conn: Connection, agreement_id: str, at: datetime) -> None:
    """Raise GW906 where the agreement cannot be read with its new version."""
    agreement_row = agreements.find_agreement(conn, agreement_id)
    if agreement_row is not None:
        load_effective_pmodes(conn, agreement_row, at)


def _is_succeeded(agreement_row: AgreementRow, begins_at: datetime, at: datetime) -> bool:
    """Return whether a version that begins at `begins_at` follows the versions of the row without a gap."""
    if (
        agreement_row.status != "ACTIVE"
        or agreement_row.valid_from is None
        or agreement_row.valid_until is None
        or begins_at <= max(at, agreement_row.valid_from)
    ):
        return False
    later_versions = read_later_versions(agreement_row)
    last_end = max([agreement_row.valid_until, *(version.valid_until for version in later_versions)])
    return agreement_row.valid_from <= at < last_end and begins_at <= last_end


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
