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
from itertools import chain, count
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
    check_party_id_lengths,
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
    conn: Connection, document: CpaDocument, cpa_octets: bytes, settings: Settings, at: datetime
) -> Iterator[AgreementFinding]:
    """Yield a finding on each bad signature of a CPA, and on each missing one that the settings require."""
    if not document.signatures and settings.hub.signed_agreements:
        text = "hub.signed_agreements is set, and nobody has signed the document"
        yield cite_rule("signature-missing", document.location, text)
    for signature_index, signature_place in enumerate(document.signatures):
        report = verify_any_document(_remove_other_signatures(cpa_octets, signature_index), {}, STRICT)
        fault = _find_signature_fault(report, document) or _find_signer_fault(conn, report, settings, at)
        if fault is not None:
            yield cite_rule("signature-wrong", signature_place, fault)


def _find_signature_fault(report: VerificationReport, document: CpaDocument) -> str | None:
    """Return why a signature is not that of a party over the whole document; None if it is."""
    if report.verdict != "valid":
        return f"the signature is {report.verdict}: {report.reason}"
    if "/" not in report.covered or report.excluded:
        return "the signature does not cover the whole document"
    if report.certificate is None or report.certificate.sha256 not in _list_certificate_digests(document):
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


def _remove_other_signatures(cpa_octets: bytes, kept_index: int) -> bytes:
    """Return the document with only the signature of the index `kept_index`, counted from 0.

    Each signature was made before or without the others, so it is verified without them.
    """
    root = deepcopy(parse_xml(cpa_octets))
    signatures: list[Any] = list(root.iter(_SIGNATURE))
    if len(signatures) <= 1:
        return cpa_octets
    for index, signature in enumerate(signatures):
        if index != kept_index:
            signature.getparent().remove(signature)
    return serialize_element(root)


def _list_certificate_digests(document: CpaDocument) -> set[str]:
    """Return the SHA-256 (hex) of every certificate in a CPA, also those of the chains."""
    return {
        hashlib.sha256(der).hexdigest()
        for party in document.parties
        for holder in party.certificates.values()
        for der in holder.chain
    }


#: Rules of the register whose fault a rule on the document has told already.
_RULES_CHECKED_IN_DOCUMENT: Final = {
    *("period-ended", "period-later", "protocol-unknown", "retries-without-receipt", "unsigned"),
    *("retries-without-elimination", "endpoint-same", "endpoint-missing", "response-not-sent"),
    *("order-incomplete", "actor-next"),
}
#: Rules on the document that the register tells again, with the overrides that the hub has for the agreement.
_RULES_CHECKED_WITH_OVERRIDES: Final = {"filing-in-mailbox"}
#: Faults of the register, not of the document: it may be loaded, and the register put right afterwards.
_RULES_WITH_WARNING_ONLY: Final = {
    "party-unknown",
    "hub-missing",
    "certificate-missing",
    "tls-certificate-missing",
}
_MAX_NAME_LENGTH: Final = 80


@dataclass(frozen=True, slots=True)
class PartnerPlan:
    """The additions of an agreement for one of its parties: new identifiers and certificates."""

    party: str
    full_name: str
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


def examine_cpa_at_hub(
    conn: Connection,
    settings: Settings,
    cpa_octets: bytes,
    file_name: str,
    at: datetime,
    own_id: PartyId | None = None,
) -> CpaReception:
    """Return the document, P-Modes, findings and planned parties of a CPA at this hub; change nothing.

    `cpa_octets` is the content of the file `file_name`. `own_id` names the party that is the hub, for a hub
    whose register does not know it.
    """
    checked_cpa = check_cpa(cpa_octets, file_name, at)
    document = checked_cpa.document
    if document is None or any(finding.severity == "error" for finding in checked_cpa.findings):
        return CpaReception(document, (), checked_cpa.findings)
    findings = [
        finding for finding in checked_cpa.findings if finding.rule not in _RULES_CHECKED_WITH_OVERRIDES
    ]
    findings += find_signature_findings(conn, document, cpa_octets, settings, at)
    pmodes = convert_cpa(document)
    if own_id is not None:
        _check_own_id(conn, settings, document, own_id)
    hub_view = build_hub_view(conn, settings, at, pmodes)
    planner = _PartyPlanner(conn, settings, at, file_name, findings)
    plans = tuple(planner.plan_parties(document, hub_view, own_id))
    planned_view = replace(hub_view, parties=_add_planned_changes(hub_view.parties, plans))
    overridden = apply_stored_overrides(conn, pmodes)
    findings += overridden.findings
    findings += _find_register_findings(document, overridden.pmodes, planned_view)
    return CpaReception(document, pmodes, sort_findings(findings), plans)


def _check_own_id(conn: Connection, settings: Settings, document: CpaDocument, own_id: PartyId) -> None:
    """Raise GW808 unless `own_id` is of exactly one party of a CPA, and no other party of it is this hub."""
    named_parties = [party for party in document.parties if _has_identifier(party, own_id)]
    hub_ids = set(parties.list_identifiers(conn, settings.hub.party))
    other_hub_parties = [
        party
        for party in document.parties
        if party not in named_parties
        and not hub_ids.isdisjoint(PartyId(identifier.value, identifier.type) for identifier in party.ids)
    ]
    if len(named_parties) == 1 and not other_hub_parties:
        return
    parties_text = "; ".join(
        f"{party.name[:_MAX_NAME_LENGTH]}: {_format_ids(party)}" for party in document.parties
    )
    problem = (
        "is of the partner: this hub is the other party" if len(named_parties) == 1 else "is of no one party"
    )
    text = f"{own_id.type}|{own_id.value}" if own_id.type is not None else own_id.value
    raise GatewayError(
        MISUSE, f"{text[:_MAX_NAME_LENGTH]!r} {problem}; the parties of the CPA are {parties_text}", "--as"
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


def _find_register_findings(
    document: CpaDocument, pmodes: Sequence[PMode], view: HubView
) -> Iterator[AgreementFinding]:
    """Yield the findings of the register on the P-Modes, at the places of the document."""
    places = {("agreement", ""): str(document.location)}
    for party in document.parties:
        for identifier in party.ids:
            places["party", identifier.value] = str(identifier.location)
        for _, binding, _ in party.list_bindings():
            places.setdefault(("pmode", binding.id), str(binding.location))
    agreement = AgreementDocument(tuple(pmodes), document.file_name, places)
    for finding in find_agreement_findings(agreement, view):
        if finding.rule not in _RULES_CHECKED_IN_DOCUMENT:
            yield _convert_register_finding(finding)


def _convert_register_finding(finding: AgreementFinding) -> AgreementFinding:
    severity = "warning" if finding.rule in _RULES_WITH_WARNING_ONLY else finding.severity
    xpath = finding.location.partition(" ")[2]
    return replace(finding, severity=severity, xpath=xpath, clause="the register of this hub")


def _add_planned_changes(
    known_parties: Sequence[KnownParty], plans: Sequence[PartnerPlan]
) -> tuple[KnownParty, ...]:
    """Return the parties as they would be with the additions of an agreement."""
    by_name = {party.name: party for party in known_parties}
    for plan in plans:
        known_party = by_name.get(plan.party, KnownParty(plan.party, "ACTIVE", ()))
        new_certificates = tuple(
            KnownCertificate(certificate.sha256, use, certificate.not_before, certificate.not_after)
            for certificate, use in plan.certificates
        )
        by_name[plan.party] = replace(
            known_party,
            ids=(*known_party.ids, *plan.ids),
            certificates=(*known_party.certificates, *new_certificates),
        )
    return tuple(by_name.values())


@dataclass(frozen=True, slots=True)
class _PartyPlanner:
    """Plans the additions of an agreement; `findings` are on those that cannot be registered."""

    conn: Connection
    settings: Settings
    at: datetime
    file_name: str
    findings: list[AgreementFinding] = field(default_factory=list)

    def plan_parties(
        self, document: CpaDocument, view: HubView, own_id: PartyId | None
    ) -> Iterator[PartnerPlan]:
        """Yield the planned changes of each party; nothing if it is not known which of them is the hub."""
        party_name_by_id = {identifier: party.name for party in view.parties for identifier in party.ids}
        hub_parties = [party for party in document.parties if self._is_hub(party, party_name_by_id, own_id)]
        if len(hub_parties) != 1:
            return
        for party in document.parties:
            ids = tuple(PartyId(identifier.value, identifier.type) for identifier in party.ids)
            registered_names = sorted(
                {party_name_by_id[identifier] for identifier in ids if identifier in party_name_by_id}
            )
            if len(registered_names) > 1:
                continue  # a finding of the register: party-mixed
            is_ours = party is hub_parties[0]
            party_name = (
                self.settings.hub.party
                if is_ours
                else next(iter(registered_names), self._choose_party_name(party, view))
            )
            new_ids = tuple(identifier for identifier in ids if identifier not in party_name_by_id)
            new_certificates = () if is_ours else tuple(self._list_new_certificates(party, party_name))
            is_new = all(party.name != party_name for party in view.parties)
            if new_ids or new_certificates or is_new:
                role = "hub" if is_ours else "applicant"
                yield PartnerPlan(party_name, party.name, role, new_ids, new_certificates, is_new)

    def _is_hub(
        self, party: CpaParty, party_name_by_id: Mapping[PartyId, str], own_id: PartyId | None
    ) -> bool:
        """Return whether a party of the CPA is this hub: by `own_id` if it is given, else by the register."""
        if own_id is not None:
            return _has_identifier(party, own_id)
        ids = {PartyId(identifier.value, identifier.type) for identifier in party.ids}
        return any(party_name_by_id.get(identifier) == self.settings.hub.party for identifier in ids)

    def _choose_party_name(self, party: CpaParty, view: HubView) -> str:
        """Return a free name for a new party: of the agreement, else its identifier, else with a number.

        The name of the hub is in use, also before the hub is registered.
        """
        names_in_use = {self.settings.hub.party, *(party.name for party in view.parties)}
        names = (
            re.sub(r"[^\w.-]+", "-", text).strip("-").lower() for text in (party.name, party.ids[0].value)
        )
        base_names = [base_name[:_MAX_NAME_LENGTH] for base_name in names if base_name]
        numbered_names = (f"{base_names[-1] if base_names else 'party'}-{number}" for number in count(2))
        return next(name for name in chain(base_names, numbered_names) if name not in names_in_use)

    def _list_new_certificates(self, party: CpaParty, party_name: str) -> Iterator[tuple[Certificate, str]]:
        """Yield the certificates of a partner that are valid at this hub and not registered yet."""
        used_transports = {channel.transport_id for channel in party.channels.values()}
        client_certificate_ids = {
            transport.sender.security.certificate_id
            for transport in party.transports.values()
            if transport.id in used_transports
            and transport.sender is not None
            and transport.sender.security is not None
        }
        for cpa_certificate, use in list_certificate_uses(party):
            if not cpa_certificate.chain or (
                use == "tls" and cpa_certificate.id not in client_certificate_ids
            ):
                continue
            certificate = read_certificate(cpa_certificate.chain[0], PATH_RULES)
            rows = parties.list_certificate_rows(self.conn, certificate.sha256)
            active_rows = [row for row in rows if row.use == use and row.status == "ACTIVE"]
            if any(row.party_id == party_name for row in active_rows):
                continue
            reason = self._find_certificate_fault(certificate, use, rows, party_name)
            if reason is None:
                yield certificate, use
            else:
                certificate_id = cpa_certificate.id[:_MAX_NAME_LENGTH]
                sentence = f"certificate {certificate_id} is not registered for {use}: {reason}"
                clause = "RFC 5280 §6; the trust anchors of this hub"
                self.findings.append(
                    AgreementFinding(
                        "certificate-unverified",
                        "warning",
                        str(cpa_certificate.location),
                        sentence,
                        cpa_certificate.location.xpath,
                        clause,
                    )
                )

    def _find_certificate_fault(
        self, certificate: Certificate, use: str, rows: Sequence[object], party_name: str
    ) -> str | None:
        """Return why a certificate cannot be registered for `use` by this party, or None if it can.

        `rows` are the register's rows of this certificate: it may belong to one party only.
        """
        others = {str(getattr(row, "party_id", "")) for row in rows} - {party_name}
        if others:
            return f"it belongs to party {min(others)}"
        return _find_refusal_detail(
            lambda: demand_usable_certificate(
                self.settings, self.conn, certificate, use, self.file_name, self.at
            )
        )


def _find_refusal_detail(check: Callable[[], None]) -> str | None:
    try:
        check()
    except GatewayError as refused:
        return refused.detail
    return None


def load_cpa(
    change: DatabaseChange,
    reception: CpaReception,
    cpa_octets: bytes,
    file_name: str,
    *,
    accepts_warnings: bool,
) -> GatewayError | None:
    """Put a judged CPA into force, with the planned changes of its parties; return the problem, if any."""
    problem = find_load_problem(reception.findings, file_name, accepts_warnings=accepts_warnings)
    if problem is not None:
        change.leave_unchanged()
        return problem
    assert reception.document is not None, "without errors it was read"
    agreement_id = reception.document.id
    before = _describe_agreement_and_parties(change.conn, agreement_id, reception.plans)
    for plan in reception.plans:
        register_partner(change.conn, plan, change.at)
    activate_pmodes(change.conn, reception.pmodes, "cpa", cpa_octets, change.at, change.actor)
    after = _describe_agreement_and_parties(change.conn, agreement_id, reception.plans)
    change.record_trust_change(f"agreement {agreement_id}", before=before, after=after)
    return None


def _describe_agreement_and_parties(
    conn: Connection, agreement_id: str, plans: Sequence[PartnerPlan]
) -> dict[str, object]:
    """Return an agreement and the parties that it changes, as the audit keeps them."""
    description: dict[str, object] = dict(describe_agreements(conn, (agreement_id,)) or {})
    return description | {f"party {plan.party}": describe_party(conn, plan.party) for plan in plans}


def register_partner(conn: Connection, plan: PartnerPlan, at: datetime) -> None:
    """Register the additions of an agreement for a party; its certificates have been validated."""
    if plan.is_new or plan.ids:
        check_clear_name(plan.party, plan.ids)
        check_party_id_lengths(plan.ids)
        parties.register_party(conn, plan.party, plan.full_name, plan.role, at, plan.ids)
    for certificate, use in plan.certificates:
        parties.add_certificate(conn, plan.party, make_certificate_row(certificate, use), at)
