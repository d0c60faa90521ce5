"""Judges a CPA at a hub: by its own rules, its signatures, and the register; and registers its partner.

Judging changes nothing. The additions of the agreement, a party with identifiers and certificates, are
planned first; they are registered only when the agreement is loaded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from gateway.agreements import (
    AgreementDocument,
    AgreementFinding,
    CpaDocument,
    CpaParty,
    HubView,
    KnownCertificate,
    KnownParty,
    PMode,
    check_cpa,
    cite_rule,
    convert_cpa,
    find_agreement_findings,
    list_certificate_uses,
    sort_findings,
)
from gateway.cli.registration import check_clear_name, demand_usable_certificate, make_certificate_row
from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.operations import (
    DatabaseChange,
    activate_pmodes,
    apply_stored_overrides,
    build_hub_view,
    describe_agreements,
    describe_party,
    find_load_problem,
)
from gateway.pki import PATH_RULES, Certificate, read_certificate
from gateway.store import parties
from gateway.wire import DS, parse_xml, serialize_element
from gateway.xmlsec import STRICT, VerificationReport, verify_any_document

_SIGNATURE: Final = f"{{{DS}}}Signature"


def find_signature_findings(
    conn: Connection, document: CpaDocument, data: bytes, settings: Settings, at: datetime
) -> Iterator[AgreementFinding]:
    """Yield a finding on each bad signature of a CPA, and on each missing one that the settings require."""
    if not document.signatures and settings.hub.signed_agreements:
        text = "hub.signed_agreements is set, and nobody has signed the document"
        yield cite_rule("signature-missing", document.location, text)
    for number, signature_place in enumerate(document.signatures):
        report = verify_any_document(_keep_one_signature(data, number), {}, STRICT)
        fault = _find_signature_fault(report, document) or _find_signer_fault(conn, report, settings, at)
        if fault is not None:
            yield cite_rule("signature-wrong", signature_place, fault)


def _find_signature_fault(report: VerificationReport, document: CpaDocument) -> str | None:
    """Return why a signature is not that of a party over the whole document; None if it is."""
    if report.verdict != "valid":
        return f"the signature is {report.verdict}: {report.reason}"
    if "/" not in report.covered or report.excluded:
        return "the signature does not cover the whole document"
    if report.certificate is None or report.certificate.sha256 not in _list_pins(document):
        return "the signature was made by no party of the agreement"
    return None


def _find_signer_fault(
    conn: Connection, report: VerificationReport, settings: Settings, at: datetime
) -> str | None:
    """Return why the certificate of a signature is not valid at this hub; None when it is."""
    assert report.certificate is not None, "it is that of a party"
    try:
        demand_usable_certificate(settings, conn, report.certificate, "signing", "signature", at)
    except GatewayError as refused:
        return f"the signer is not trusted: {refused.detail}"
    return None


def _keep_one_signature(data: bytes, number: int) -> bytes:
    """Return the document with one of its signatures: each was made before or without the others."""
    root = deepcopy(parse_xml(data))
    signatures: list[Any] = list(root.iter(_SIGNATURE))
    if len(signatures) <= 1:
        return data
    for at, signature in enumerate(signatures):
        if at != number:
            signature.getparent().remove(signature)
    return serialize_element(root)


def _list_pins(document: CpaDocument) -> set[str]:
    return {
        hashlib.sha256(der).hexdigest()
        for party in document.parties
        for holder in party.certificates.values()
        for der in holder.chain
    }


#: Rules of the register whose fault a rule on the document has told already.
_RULES_OF_DOCUMENT: Final = {
    *("period-ended", "period-later", "protocol-unknown", "retries-without-receipt", "unsigned"),
    *("retries-without-elimination", "endpoint-same", "endpoint-missing", "response-not-sent"),
    *("order-incomplete", "actor-next"),
}
#: Rules on the document that the register tells again, with the overrides that the hub has for the agreement.
_JUDGED_IN_FORCE: Final = {"filing-in-mailbox"}
#: Faults of the register, not of the document: it may be loaded, and the register put right afterwards.
_FORGIVABLE: Final = {"party-unknown", "hub-missing", "certificate-missing", "tls-certificate-missing"}
_MOST_CHARACTERS: Final = 80


@dataclass(frozen=True, slots=True)
class PartnerPlan:
    """The additions of an agreement for one of its parties: new identifiers and certificates."""

    party: str
    name: str
    role: str
    ids: tuple[PartyId, ...]
    certificates: tuple[tuple[Certificate, str], ...]
    is_new: bool


@dataclass(frozen=True, slots=True)
class CpaReception:
    """A CPA at a hub: the document and its P-Modes if it can be read, all findings, and the party plans."""

    document: CpaDocument | None
    pmodes: tuple[PMode, ...] = ()
    findings: tuple[AgreementFinding, ...] = ()
    plans: tuple[PartnerPlan, ...] = ()


def judge_cpa_at_hub(
    conn: Connection,
    settings: Settings,
    source: bytes,
    file: str,
    at: datetime,
    own_id: PartyId | None = None,
) -> CpaReception:
    """Return the document, P-Modes, findings and planned parties of a CPA at this hub; change nothing.

    `source` is the content of the file `file`. `own_id` names the party that is the hub, for a hub whose
    register does not know it.
    """
    judged = check_cpa(source, file, at)
    document = judged.document
    if document is None or any(finding.severity == "error" for finding in judged.findings):
        return CpaReception(document, (), judged.findings)
    findings = [finding for finding in judged.findings if finding.rule not in _JUDGED_IN_FORCE]
    findings += find_signature_findings(conn, document, source, settings, at)
    pmodes = convert_cpa(document)
    if own_id is not None:
        _check_own_side(conn, settings, document, own_id)
    surroundings = build_hub_view(conn, settings, at, pmodes)
    planner = _Planner(conn, settings, at, file, findings)
    plans = tuple(planner.plan_parties(document, surroundings, own_id))
    planned_view = replace(surroundings, parties=_add_plans(surroundings.parties, plans))
    findings += _state_register_findings(document, apply_stored_overrides(conn, pmodes), planned_view)
    return CpaReception(document, pmodes, sort_findings(findings), plans)


def _check_own_side(conn: Connection, settings: Settings, document: CpaDocument, own_id: PartyId) -> None:
    """Raise GW808 unless `own_id` is of exactly one party of a CPA, and no other party of it is this hub."""
    named_parties = [party for party in document.parties if _has_identifier(party, own_id)]
    ours = set(parties.list_identifiers(conn, settings.hub.party))
    own_parties = [
        party
        for party in document.parties
        if party not in named_parties
        and not ours.isdisjoint(PartyId(identifier.value, identifier.type) for identifier in party.ids)
    ]
    if len(named_parties) == 1 and not own_parties:
        return
    parties_text = "; ".join(
        f"{party.name[:_MOST_CHARACTERS]}: {_format_ids(party)}" for party in document.parties
    )
    problem = (
        "is of the partner: this hub is the other party" if len(named_parties) == 1 else "is of no one party"
    )
    text = f"{own_id.type}|{own_id.value}" if own_id.type is not None else own_id.value
    raise GatewayError(
        MISUSE, f"{text[:_MOST_CHARACTERS]!r} {problem}; the parties of the CPA are {parties_text}", "--as"
    )


def _format_ids(party: CpaParty) -> str:
    return ", ".join(
        f"{identifier.type}|{identifier.value}" if identifier.type is not None else identifier.value
        for identifier in party.ids
    )[:300]


def _has_identifier(party: CpaParty, own_id: PartyId) -> bool:
    """Return whether an identifier, which may lack its type, is one of a party's."""
    ids = {PartyId(identifier.value, identifier.type) for identifier in party.ids}
    return own_id in ids or (own_id.type is None and own_id.value in {identifier.value for identifier in ids})


def _state_register_findings(
    document: CpaDocument, pmodes: Sequence[PMode], view: HubView
) -> Iterator[AgreementFinding]:
    """Yield the findings of the register on the P-Modes, at the places of the document."""
    places = {("agreement", ""): str(document.location)}
    for party in document.parties:
        for identifier in party.ids:
            places["party", identifier.value] = str(identifier.location)
        for _, binding, _ in party.list_bindings():
            places.setdefault(("pmode", binding.id), str(binding.location))
    read = AgreementDocument(tuple(pmodes), document.file_name, places)
    for finding in find_agreement_findings(read, view):
        if finding.rule not in _RULES_OF_DOCUMENT:
            yield _forgive_finding(finding)


def _forgive_finding(finding: AgreementFinding) -> AgreementFinding:
    severity = "warning" if finding.rule in _FORGIVABLE else finding.severity
    xpath = finding.location.partition(" ")[2]
    return replace(finding, severity=severity, xpath=xpath, clause="the register of this hub")


def _add_plans(known_parties: Sequence[KnownParty], plans: Sequence[PartnerPlan]) -> tuple[KnownParty, ...]:
    """Return the parties as they would be with the additions of an agreement."""
    by_name = {party.name: party for party in known_parties}
    for plan in plans:
        old = by_name.get(plan.party, KnownParty(plan.party, "ACTIVE", ()))
        held = tuple(
            KnownCertificate(certificate.sha256, use, certificate.not_before, certificate.not_after)
            for certificate, use in plan.certificates
        )
        by_name[plan.party] = replace(old, ids=(*old.ids, *plan.ids), certificates=(*old.certificates, *held))
    return tuple(by_name.values())


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plans the additions of an agreement; `findings` are on those that cannot be registered."""

    conn: Connection
    settings: Settings
    at: datetime
    file: str
    findings: list[AgreementFinding] = field(default_factory=list)

    def plan_parties(
        self, document: CpaDocument, view: HubView, own_id: PartyId | None
    ) -> Iterator[PartnerPlan]:
        """Yield the planned changes of each party; nothing if it is not known which of them is the hub."""
        owners = {identifier: party.name for party in view.parties for identifier in party.ids}
        ours = [party for party in document.parties if self._is_hub(party, owners, own_id)]
        if len(ours) != 1:
            return
        for party in document.parties:
            ids = tuple(PartyId(identifier.value, identifier.type) for identifier in party.ids)
            holders = sorted({owners[identifier] for identifier in ids if identifier in owners})
            if len(holders) > 1:
                continue  # a finding of the register: party-mixed
            is_ours = party is ours[0]
            name = self.settings.hub.party if is_ours else next(iter(holders), self._choose_name(party, view))
            new = tuple(identifier for identifier in ids if identifier not in owners)
            held = () if is_ours else tuple(self._list_usable_certificates(party, name))
            is_new = all(party.name != name for party in view.parties)
            if new or held or is_new:
                role = "hub" if is_ours else "applicant"
                yield PartnerPlan(name, party.name, role, new, held, is_new)

    def _is_hub(self, party: CpaParty, owners: Mapping[PartyId, str], own_id: PartyId | None) -> bool:
        if own_id is not None:
            return _has_identifier(party, own_id)
        ids = {PartyId(identifier.value, identifier.type) for identifier in party.ids}
        return any(owners.get(identifier) == self.settings.hub.party for identifier in ids)

    def _choose_name(self, party: CpaParty, view: HubView) -> str:
        """Return a name for a new party: that of the agreement, else its identifier."""
        names_in_use = {party.name for party in view.parties}
        names = (
            re.sub(r"[^\w.-]+", "-", text).strip("-").lower() for text in (party.name, party.ids[0].value)
        )
        base_names = [base_name[:_MOST_CHARACTERS] for base_name in names if base_name]
        free = (base_name for base_name in base_names if base_name not in names_in_use)
        return next(free, f"{base_names[-1] if base_names else 'party'}-{len(names_in_use)}")

    def _list_usable_certificates(self, party: CpaParty, name: str) -> Iterator[tuple[Certificate, str]]:
        """Yield the certificates of a partner that are valid at this hub and not registered yet."""
        used_transports = {channel.transport_id for channel in party.channels.values()}
        clients = {
            transport.sender.security.certificate_id
            for transport in party.transports.values()
            if transport.id in used_transports
            and transport.sender is not None
            and transport.sender.security is not None
        }
        for holder, use in list_certificate_uses(party):
            if not holder.chain or (use == "tls" and holder.id not in clients):
                continue
            certificate = read_certificate(holder.chain[0], PATH_RULES)
            rows = parties.list_certificate_rows(self.conn, certificate.sha256)
            held = [row for row in rows if row.use == use and row.status == "ACTIVE"]
            if any(row.party_id == name for row in held):
                continue
            reason = self._find_certificate_fault(certificate, use, rows, name)
            if reason is None:
                yield certificate, use
            else:
                sentence = f"certificate {holder.id[:_MOST_CHARACTERS]} is not registered for {use}: {reason}"
                clause = "RFC 5280 §6; the trust anchors of this hub"
                self.findings.append(
                    AgreementFinding(
                        "certificate-unverified",
                        "warning",
                        str(holder.location),
                        sentence,
                        holder.location.xpath,
                        clause,
                    )
                )

    def _find_certificate_fault(
        self, certificate: Certificate, use: str, rows: Sequence[object], name: str
    ) -> str | None:
        others = {str(getattr(row, "party_id", "")) for row in rows} - {name}
        if others:
            return f"it belongs to party {min(others)}"
        return _catch_refusal(
            lambda: demand_usable_certificate(self.settings, self.conn, certificate, use, self.file, self.at)
        )


def _catch_refusal(check: Callable[[], None]) -> str | None:
    try:
        check()
    except GatewayError as refused:
        return refused.detail
    return None


def load_cpa(
    change: DatabaseChange, reception: CpaReception, source: bytes, file: str, *, accepted: bool
) -> GatewayError | None:
    """Put a judged CPA into force, with the planned changes of its parties; return the problem, if any."""
    problem = find_load_problem(reception.findings, file, accepts_warnings=accepted)
    if problem is not None:
        change.leave_unchanged()
        return problem
    assert reception.document is not None, "without errors it was read"
    name = reception.document.id
    before = _describe_all(change.conn, name, reception.plans)
    for plan in reception.plans:
        register_partner(change.conn, plan, change.at)
    activate_pmodes(change.conn, reception.pmodes, "cpa", source, change.at, change.actor)
    after = _describe_all(change.conn, name, reception.plans)
    change.record_trust_change(f"agreement {name}", before=before, after=after)
    return None


def _describe_all(conn: Connection, name: str, plans: Sequence[PartnerPlan]) -> dict[str, object]:
    """Return an agreement and the parties that it changes, as the audit keeps them."""
    description: dict[str, object] = dict(describe_agreements(conn, (name,)) or {})
    return description | {f"party {plan.party}": describe_party(conn, plan.party) for plan in plans}


def register_partner(conn: Connection, plan: PartnerPlan, at: datetime) -> None:
    """Register the additions of an agreement for a party; its certificates have been validated."""
    if plan.is_new or plan.ids:
        check_clear_name(plan.party, plan.ids)
        parties.register_party(conn, plan.party, plan.name, plan.role, at, plan.ids)
    for certificate, use in plan.certificates:
        parties.add_certificate(conn, plan.party, make_certificate_row(certificate, use), at)
