"""Judges a CPA at a hub: by its own rules, its signatures, and the register; and registers its partner.

Judging changes nothing. What the agreement brings, a party with identifiers and certificates, is
planned first; it is registered only when the agreement is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import (
    AgreementDocument,
    AgreementFinding,
    AgreementSurroundings,
    CpaDocument,
    CpaFinding,
    CpaParty,
    KnownCertificate,
    KnownParty,
    PMode,
    convert_cpa,
    find_agreement_findings,
    judge_cpa,
    list_certificate_uses,
)
from gateway.cli.cpa_signatures import find_signature_findings
from gateway.cli.registration import demand_usable_certificate, make_certificate_row
from gateway.config import Settings
from gateway.errors import MISUSE, GatewayError
from gateway.message_model import PartyId
from gateway.operations import (
    DatabaseChange,
    StatedFinding,
    activate_pmodes,
    describe_agreements,
    describe_party,
    find_load_problem,
    list_surroundings,
)
from gateway.pki import PATH_RULES, Certificate, read_certificate
from gateway.store import parties

__all__ = ["CpaReception", "PartnerPlan", "judge_cpa_at_hub", "load_cpa", "state_cpa_finding"]

#: Rules of the register whose fault a rule on the document has told already.
_TOLD: Final = {
    *("period-ended", "period-later", "protocol-unknown", "retries-without-receipt", "unsigned"),
    *("retries-without-elimination", "endpoint-same", "endpoint-missing", "response-not-sent"),
    *("order-incomplete", "actor-next"),
}
#: Faults of the register, not of the document: it may be loaded, and the register put right afterwards.
_FORGIVABLE: Final = {"party-unknown", "hub-missing", "certificate-missing", "tls-certificate-missing"}
_ORDER: Final = ("error", "warning", "note")
_SHOWN: Final = 80


@dataclass(frozen=True, slots=True)
class PartnerPlan:
    """What an agreement brings for one of its parties: new identifiers and certificates."""

    party: str
    name: str
    role: str
    ids: tuple[PartyId, ...]
    certificates: tuple[tuple[Certificate, str], ...]
    is_new: bool


@dataclass(frozen=True, slots=True)
class CpaReception:
    """A CPA at a hub: the document and its P-Modes where it can be read, all findings, what it brings."""

    document: CpaDocument | None
    pmodes: tuple[PMode, ...] = ()
    findings: tuple[StatedFinding, ...] = ()
    plans: tuple[PartnerPlan, ...] = ()


def state_cpa_finding(one: CpaFinding, file: str) -> StatedFinding:
    """Return a finding on a document with its file and line."""
    place = f"{file}:{one.place.line} {one.place.xpath}"
    return StatedFinding(one.rule, one.severity, place, one.message, one.place.xpath, one.clause)


def judge_cpa_at_hub(
    conn: Connection,
    settings: Settings,
    source: tuple[bytes, str],
    at: datetime,
    own_id: PartyId | None = None,
) -> CpaReception:
    """Return everything about a CPA (octets and name of the file) at this hub; nothing is changed.

    `own_id` says which party the hub is, where the register does not know it.
    """
    data, file = source
    judged = judge_cpa(data, file, at)
    found = [state_cpa_finding(one, file) for one in judged.findings]
    document = judged.document
    if document is None or any(one.severity == "error" for one in found):
        return CpaReception(document, (), tuple(found))
    found += [
        state_cpa_finding(one, file) for one in find_signature_findings(conn, document, data, settings, at)
    ]
    pmodes = convert_cpa(document)
    if own_id is not None:
        _check_own_side(conn, settings, document, own_id)
    surroundings = list_surroundings(conn, settings, at, pmodes)
    planner = _Planner(conn, settings, at, file, found)
    plans = tuple(planner.plan_parties(document, surroundings, own_id))
    known = replace(surroundings, parties=_add_plans(surroundings.parties, plans))
    found += _state_register_findings(document, pmodes, known)
    found.sort(key=lambda one: _ORDER.index(one.severity))
    return CpaReception(document, pmodes, tuple(found), plans)


def _check_own_side(conn: Connection, settings: Settings, document: CpaDocument, own_id: PartyId) -> None:
    """Raise GW808 unless an identifier is that of the party of a CPA that this hub can be."""
    meant = [party for party in document.parties if _has_identifier(party, own_id)]
    ours = set(parties.list_identifiers(conn, settings.hub.party))
    other = [
        party
        for party in document.parties
        if party not in meant and not ours.isdisjoint(PartyId(one.value, one.type) for one in party.ids)
    ]
    if len(meant) == 1 and not other:
        return
    told = "; ".join(f"{party.name[:_SHOWN]}: {_format_ids(party)}" for party in document.parties)
    problem = "is of the partner: this hub is the other party" if len(meant) == 1 else "is of no one party"
    text = f"{own_id.type}|{own_id.value}" if own_id.type is not None else own_id.value
    raise GatewayError(MISUSE, f"{text[:_SHOWN]!r} {problem}; the parties of the CPA are {told}", "--as")


def _format_ids(party: CpaParty) -> str:
    return ", ".join(f"{one.type}|{one.value}" if one.type is not None else one.value for one in party.ids)[
        :300
    ]


def _has_identifier(party: CpaParty, own_id: PartyId) -> bool:
    """Return whether an identifier, which may lack its type, is one of a party's."""
    ids = {PartyId(one.value, one.type) for one in party.ids}
    return own_id in ids or (own_id.type is None and own_id.value in {one.value for one in ids})


def _state_register_findings(
    document: CpaDocument, pmodes: Sequence[PMode], known: AgreementSurroundings
) -> Iterator[StatedFinding]:
    """Yield what the register finds wrong with the P-Modes, at the places of the document."""
    places = {("agreement", ""): f"{document.name}:{document.place.line} {document.place.xpath}"}
    for party in document.parties:
        for one in party.ids:
            places["party", one.value] = f"{document.name}:{one.place.line} {one.place.xpath}"
        for _, binding, _ in party.list_bindings():
            where = f"{document.name}:{binding.place.line} {binding.place.xpath}"
            places.setdefault(("pmode", binding.id), where)
    read = AgreementDocument(tuple(pmodes), document.name, places)
    for found in find_agreement_findings(read, known):
        if found.rule not in _TOLD:
            yield _forgive_finding(found)


def _forgive_finding(found: AgreementFinding) -> StatedFinding:
    severity = "warning" if found.rule in _FORGIVABLE else found.severity
    xpath = found.place.partition(" ")[2]
    return StatedFinding(found.rule, severity, found.place, found.text, xpath, "the register of this hub")


def _add_plans(known: Sequence[KnownParty], plans: Sequence[PartnerPlan]) -> tuple[KnownParty, ...]:
    """Return the parties as they would be with what an agreement brings."""
    by_name = {one.name: one for one in known}
    for plan in plans:
        old = by_name.get(plan.party, KnownParty(plan.party, "ACTIVE", ()))
        held = tuple(
            KnownCertificate(one.sha256, use, one.not_before, one.not_after) for one, use in plan.certificates
        )
        by_name[plan.party] = replace(old, ids=(*old.ids, *plan.ids), certificates=(*old.certificates, *held))
    return tuple(by_name.values())


@dataclass(frozen=True, slots=True)
class _Planner:
    """Plans what an agreement brings; `found` collects what cannot be registered, and why."""

    conn: Connection
    settings: Settings
    at: datetime
    file: str
    found: list[StatedFinding] = field(default_factory=list)

    def plan_parties(
        self, document: CpaDocument, known: AgreementSurroundings, own_id: PartyId | None
    ) -> Iterator[PartnerPlan]:
        """Yield what each party brings; nothing where it is not known which of them the hub is."""
        owners = {one: party.name for party in known.parties for one in party.ids}
        ours = [party for party in document.parties if self._is_hub(party, owners, own_id)]
        if len(ours) != 1:
            return
        for party in document.parties:
            ids = tuple(PartyId(one.value, one.type) for one in party.ids)
            holders = sorted({owners[one] for one in ids if one in owners})
            if len(holders) > 1:
                continue  # a finding of the register: party-mixed
            is_ours = party is ours[0]
            name = (
                self.settings.hub.party if is_ours else next(iter(holders), self._choose_name(party, known))
            )
            new = tuple(one for one in ids if one not in owners)
            held = () if is_ours else tuple(self._list_usable_certificates(party, name))
            is_new = all(one.name != name for one in known.parties)
            if new or held or is_new:
                role = "hub" if is_ours else "applicant"
                yield PartnerPlan(name, party.name, role, new, held, is_new)

    def _is_hub(self, party: CpaParty, owners: Mapping[PartyId, str], own_id: PartyId | None) -> bool:
        if own_id is not None:
            return _has_identifier(party, own_id)
        ids = {PartyId(one.value, one.type) for one in party.ids}
        return any(owners.get(one) == self.settings.hub.party for one in ids)

    def _choose_name(self, party: CpaParty, known: AgreementSurroundings) -> str:
        """Return a name for a new party: that of the agreement, else its identifier."""
        taken = {one.name for one in known.parties}
        names = (
            re.sub(r"[^\w.-]+", "-", text).strip("-").lower() for text in (party.name, party.ids[0].value)
        )
        wanted = [one[:_SHOWN] for one in names if one]
        free = (one for one in wanted if one not in taken)
        return next(free, f"{wanted[-1] if wanted else 'party'}-{len(taken)}")

    def _list_usable_certificates(self, party: CpaParty, name: str) -> Iterator[tuple[Certificate, str]]:
        """Yield the certificates of a partner that are valid at this hub and not registered yet."""
        shown = {one.transport for one in party.channels.values()}
        clients = {
            one.sender.security.certificate
            for one in party.transports.values()
            if one.id in shown and one.sender is not None and one.sender.security is not None
        }
        for holder, use in list_certificate_uses(party):
            if not holder.chain or (use == "tls" and holder.id not in clients):
                continue
            found = read_certificate(holder.chain[0], PATH_RULES)
            rows = parties.list_certificate_rows(self.conn, found.sha256)
            held = [row for row in rows if row.use == use and row.status == "ACTIVE"]
            if any(row.party_id == name for row in held):
                continue
            reason = self._find_certificate_fault(found, use, rows, name)
            if reason is None:
                yield found, use
            else:
                place = f"{self.file}:{holder.place.line} {holder.place.xpath}"
                told = f"certificate {holder.id[:_SHOWN]} is not registered for {use}: {reason}"
                clause = "RFC 5280 §6; the trust anchors of this hub"
                self.found.append(
                    StatedFinding(
                        "certificate-unverified", "warning", place, told, holder.place.xpath, clause
                    )
                )

    def _find_certificate_fault(
        self, found: Certificate, use: str, rows: Sequence[object], name: str
    ) -> str | None:
        others = {str(getattr(row, "party_id", "")) for row in rows} - {name}
        if others:
            return f"it belongs to party {min(others)}"
        moments = (self.at, self.at)
        return _catch_refusal(
            lambda: demand_usable_certificate(self.settings, self.conn, (found, use), moments, self.file)
        )


def _catch_refusal(check: Callable[[], None]) -> str | None:
    try:
        check()
    except GatewayError as refused:
        return refused.detail
    return None


def load_cpa(
    change: DatabaseChange, reception: CpaReception, source: tuple[bytes, str], *, accepted: bool
) -> GatewayError | None:
    """Put a judged CPA into force, with what it brings for its parties; return why that is refused."""
    problem = find_load_problem(reception.findings, source[1], accepted=accepted)
    if problem is not None:
        change.leave_unchanged()
        return problem
    assert reception.document is not None, "without errors it was read"
    name = reception.document.id
    before = _describe_all(change.conn, name, reception.plans)
    for plan in reception.plans:
        register_partner(change.conn, plan, change.at)
    activate_pmodes(change.conn, reception.pmodes, ("cpa", source[0]), change.at, change.by)
    after = _describe_all(change.conn, name, reception.plans)
    change.record_trust_change(f"agreement {name}", before=before, after=after)
    return None


def _describe_all(conn: Connection, name: str, plans: Sequence[PartnerPlan]) -> dict[str, object]:
    """Return an agreement and the parties that it changes, as the audit keeps them."""
    told: dict[str, object] = dict(describe_agreements(conn, (name,)) or {})
    return told | {f"party {plan.party}": describe_party(conn, plan.party) for plan in plans}


def register_partner(conn: Connection, plan: PartnerPlan, at: datetime) -> None:
    """Register what an agreement brings for a party; its certificates have been validated."""
    if plan.is_new or plan.ids:
        parties.register_party(conn, plan.party, plan.name, plan.role, at, plan.ids)
    for one, use in plan.certificates:
        parties.add_certificate(conn, plan.party, make_certificate_row(one, use), at)
