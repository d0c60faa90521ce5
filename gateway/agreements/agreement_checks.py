"""Finds the faults of an agreement at a hub, before a message is sent under the agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

from gateway.agreements.agreement_rules import (
    AgreementDocument,
    AgreementFinding,
    HubView,
    KnownCertificate,
    KnownParty,
    make_finding,
    sort_findings,
)
from gateway.agreements.as4.as4_checks import (
    find_as4_problems,
    find_partner_problems,
    find_profile_deviations,
)
from gateway.agreements.filing_actions import describe_mailbox_filing, list_mailbox_filings
from gateway.agreements.pmode import PMode
from gateway.message_model import PartyId
from gateway.wire import format_instant

_MAX_CHARACTERS: Final = 80


def _check_partner_login(pmode: PMode, logins: frozenset[str], location: str) -> AgreementFinding | None:
    """Return a finding, at `location`, on a P-Mode with authentication that the hub cannot do; else None.

    `logins` are the hosts, or host:port, for which the settings have a name and a password. Only basic
    authentication over TLS is done (RFC 7617): digest (RFC 7616) hashes with MD5 in most products, and
    each message would have to be posted twice.
    """
    parts = urlsplit(pmode.endpoint or "")
    demand = f"{(pmode.endpoint or '')[:_MAX_CHARACTERS]} wants a name and a password"
    if "basic" not in pmode.transport.authentication:
        text = f"{demand} by digest only: agree on basic over TLS, or on a client certificate"
        return make_finding("login-impossible", location, text)
    if parts.scheme != "https":
        text = f"{demand} without TLS, where everybody on the way reads them: agree on an https endpoint"
        return make_finding("login-impossible", location, text)
    if logins.isdisjoint((parts.netloc.lower(), (parts.hostname or "").lower())):
        text = f'{demand}: set login and login_password in [tls."{parts.hostname}"] of the settings'
        return make_finding("login-missing", location, text)
    return None


@dataclass(frozen=True, slots=True)
class _PartyPair:
    """The agreement seen from the hub: the partner, and the P-Modes of incoming and of outgoing messages."""

    agreement: AgreementDocument
    hub_view: HubView
    hub_ids: tuple[PartyId, ...]
    partner_ids: tuple[PartyId, ...]

    @property
    def partner(self) -> KnownParty | None:
        return self.hub_view.find_party(self.partner_ids[0])

    @property
    def incoming_pmodes(self) -> tuple[PMode, ...]:
        return tuple(pmode for pmode in self.agreement.pmodes if pmode.from_party == self.partner_ids)

    @property
    def outgoing_pmodes(self) -> tuple[PMode, ...]:
        return tuple(pmode for pmode in self.agreement.pmodes if pmode.from_party == self.hub_ids)

    @property
    def first_use(self) -> datetime:
        """Return when the agreement can first be used: its start, or now."""
        return max(self.hub_view.at, min(pmode.valid_from for pmode in self.agreement.pmodes))

    @property
    def agreement_end(self) -> datetime:
        return max(pmode.valid_until for pmode in self.agreement.pmodes)


_Findings = Iterator[AgreementFinding]


def find_agreement_findings(agreement: AgreementDocument, hub_view: HubView) -> tuple[AgreementFinding, ...]:
    """Return every finding on an agreement, errors first, then in the order of the rules.

    The checks of the two directions are left out where it is not clear which side is the hub.
    """
    findings = [
        *agreement.findings,
        *(finding for check in _FILE_CHECKS for finding in check(agreement, hub_view)),
    ]
    hub_sides = [ids for ids in _list_sides(agreement) if _is_hub_side(ids, hub_view)]
    partner_sides = [ids for ids in _list_sides(agreement) if not _is_hub_side(ids, hub_view)]
    if len(hub_sides) == 1 and len(partner_sides) == 1:
        party_pair = _PartyPair(agreement, hub_view, hub_sides[0], partner_sides[0])
        findings += [finding for check in _PARTY_PAIR_CHECKS for finding in check(party_pair)]
    return sort_findings(findings)


def find_document_findings(
    agreement: AgreementDocument,
    at: datetime,
    protocols: frozenset[str],
    list_unsupported_terms: Callable[[PMode], Sequence[str]] = lambda _: (),
) -> tuple[AgreementFinding, ...]:
    """Return the findings of the checks that need no register, at the time `at`; errors first."""
    hub_view = HubView("", at, (), protocols=protocols, list_unsupported_terms=list_unsupported_terms)
    rule_findings = (finding for check in _DOCUMENT_CHECKS for finding in check(agreement, hub_view))
    findings = [*agreement.findings, *rule_findings]
    return sort_findings(findings)


def _list_sides(agreement: AgreementDocument) -> tuple[tuple[PartyId, ...], ...]:
    """Return the identifiers of each side of an agreement, every side once."""
    side_ids = (ids for pmode in agreement.pmodes for ids in (pmode.from_party, pmode.to_party))
    return tuple(dict.fromkeys(side_ids))


def _is_hub_side(party_ids: tuple[PartyId, ...], hub_view: HubView) -> bool:
    owners = (hub_view.find_party(party_id) for party_id in party_ids)
    return any(owner is not None and owner.name == hub_view.hub for owner in owners)


def _format_party_id(party_id: PartyId) -> str:
    """Return an identifier as ``gateway party add --id`` takes it."""
    return (f"{party_id.type[:_MAX_CHARACTERS]}|" if party_id.type is not None else "") + party_id.value[
        :_MAX_CHARACTERS
    ]


def _find_party_problems(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    """Yield a finding for each unregistered identifier, mixed side, and party that is suspended or retired.

    A side is mixed if its identifiers belong to several registered parties.
    """
    for ids in _list_sides(agreement):
        owners = {party_id: hub_view.find_party(party_id) for party_id in ids}
        for side_party_id, owner in owners.items():
            location = agreement.find_place(("party", side_party_id.value))
            if owner is None:
                identifier = _format_party_id(side_party_id)
                text = f"no party is registered as {identifier}: `gateway party add NAME --id '{identifier}'`"
                yield make_finding("party-unknown", location, text)
        names = sorted({owner.name for owner in owners.values() if owner is not None})
        location = agreement.find_place(("party", ids[0].value))
        if len(names) > 1:
            owner_names = ", ".join(names)[:_MAX_CHARACTERS]
            text = f"the identifiers of one side belong to several parties: {owner_names}"
            yield make_finding("party-mixed", location, text)
        yield from _find_inactive_parties(location, [owner for owner in owners.values() if owner is not None])


def _find_inactive_parties(location: str, owners: list[KnownParty]) -> _Findings:
    """Yield a finding at `location` for each of `owners` that is retired or suspended."""
    for name, status in dict.fromkeys((owner.name, owner.status) for owner in owners):
        if status == "RETIRED":
            yield make_finding(
                "party-retired", location, f"party {name} is retired: its messages are refused"
            )
        elif status != "ACTIVE":
            text = f"party {name} is suspended: its messages are refused until `gateway party resume {name}`"
            yield make_finding("party-suspended", location, text)


def _find_hub_problems(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    """Yield a finding unless exactly one side of the agreement is the hub's own party."""
    sides = _list_sides(agreement)
    hub_side_count = sum(_is_hub_side(ids, hub_view) for ids in sides)
    if hub_side_count == 1:
        return
    ids = [
        _format_party_id(party_id)
        for party in hub_view.parties
        if party.name == hub_view.hub
        for party_id in party.ids
    ]
    identity = f"this hub is party {hub_view.hub}, " + (
        f"known as {', '.join(ids)[:300]}" if ids else "without an id"
    )
    text = (
        f"both parties are this hub: {identity}"
        if hub_side_count
        else f"neither party is this hub: {identity}"
    )
    yield make_finding("hub-missing", agreement.find_place(("agreement", "")), text)


def _find_period_problems(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    """Yield a finding if the whole agreement has ended, or has not begun, at the time of `hub_view`."""
    agreement_end = max(pmode.valid_until for pmode in agreement.pmodes)
    agreement_start = min(pmode.valid_from for pmode in agreement.pmodes)
    if agreement_end <= hub_view.at:
        location = agreement.find_place(("valid_until", ""))
        yield make_finding(
            "period-ended", location, f"the agreement ended at {format_instant(agreement_end, 'seconds')}"
        )
    elif agreement_start > hub_view.at:
        location = agreement.find_place(("valid_from", ""))
        yield make_finding(
            "period-later", location, f"the agreement begins at {format_instant(agreement_start, 'seconds')}"
        )


def _find_protocol_problems(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    for protocol in dict.fromkeys(pmode.protocol for pmode in agreement.pmodes):
        if protocol not in hub_view.protocols:
            hub_protocols = ", ".join(sorted(hub_view.protocols))
            text = f"the hub does not speak {protocol}; it speaks {hub_protocols}"
            yield make_finding("protocol-unknown", agreement.find_place(("protocol", "")), text)


def _find_terms_beyond_hub(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    for pmode in agreement.pmodes:
        for term in hub_view.list_unsupported_terms(pmode):
            text = f"P-Mode {pmode.id}: {term}"
            yield make_finding("term-unsupported", agreement.find_place(("pmode", pmode.id)), text)


def _find_reliability_problems(agreement: AgreementDocument, _hub_view: HubView) -> _Findings:
    """Yield a finding for each P-Mode whose retries have no effect, or have no duplicate elimination."""
    for pmode in agreement.pmodes:
        terms, location = pmode.reliability, agreement.find_place(("pmode", pmode.id))
        if not terms.retries:
            continue
        if terms.ack_requested == "never":
            text = f"P-Mode {pmode.id} has {terms.retries} retries and no receipt: nothing is repeated"
            yield make_finding("retries-without-receipt", location, text)
        elif terms.duplicate_elimination == "never":
            text = f"P-Mode {pmode.id} repeats without duplicate elimination: a repeat has a second effect"
            yield make_finding("retries-without-elimination", location, text)


def _find_mailbox_filings(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    """Yield a finding for each action that brings the hub submissions and opens no case."""
    for pmode in list_mailbox_filings(agreement.pmodes):
        if not _is_hub_side(pmode.from_party, hub_view):
            pmode_place = agreement.find_place(("pmode", pmode.id))
            yield make_finding("filing-in-mailbox", pmode_place, describe_mailbox_filing(pmode))


def _find_same_messages(agreement: AgreementDocument, hub_view: HubView) -> _Findings:
    """Yield a finding for each active P-Mode of another agreement that is for the same messages."""
    for pmode in agreement.pmodes:
        for other_pmode in hub_view.other_pmodes:
            if other_pmode.agreement != pmode.agreement and _are_for_same_messages(pmode, other_pmode):
                text = (
                    f"P-Mode {pmode.id} is for the same messages as P-Mode {other_pmode.id} of agreement "
                    f"{other_pmode.agreement}: the CPAId of each message decides"
                )
                yield make_finding("same-messages", agreement.find_place(("pmode", pmode.id)), text)


def _are_for_same_messages(pmode: PMode, other_pmode: PMode) -> bool:
    """Return whether a message can match both P-Modes: equal names, common party ids, a common period."""
    field_names = ("service", "service_type", "action", "from_role", "to_role", "protocol")
    return (
        all(getattr(pmode, name) == getattr(other_pmode, name) for name in field_names)
        and not set(pmode.from_party).isdisjoint(other_pmode.from_party)
        and not set(pmode.to_party).isdisjoint(other_pmode.to_party)
        and pmode.valid_from < other_pmode.valid_until
        and other_pmode.valid_from < pmode.valid_until
    )


def _find_certificate_problems(party_pair: _PartyPair) -> _Findings:
    """Yield findings if the partner must sign and has no certificate for it during the agreement.

    Each set of certificates that P-Modes name for the partner is checked. Without any, each of its
    registered signing certificates may be used.
    """
    partner = party_pair.partner
    if partner is None or not _must_partner_sign(party_pair):
        return
    location = party_pair.agreement.find_place(
        ("certificates", party_pair.partner_ids[0].value), ("party", party_pair.partner_ids[0].value)
    )
    findings = (
        finding
        for pins in _list_pin_sets(party_pair.incoming_pmodes, party_pair.outgoing_pmodes)
        for finding in _check_signing_certificates(party_pair, partner, pins, location)
    )
    yield from dict.fromkeys(findings)


def _list_pin_sets(signed_pmodes: Sequence[PMode], answered_pmodes: Sequence[PMode]) -> list[tuple[str, ...]]:
    """Return the different sets of certificates (SHA-256) that P-Modes name for one signer.

    It signs the messages of `signed_pmodes` and the receipts for those of `answered_pmodes`; the names for
    receipts count where no P-Mode has names for messages. One empty set stands for no name at all.
    """
    message_pins = dict.fromkeys(pmode.security.certificates for pmode in signed_pmodes)
    receipt_pins = dict.fromkeys(pmode.security.reply_certificates for pmode in answered_pmodes)
    return [*filter(None, message_pins)] or [*filter(None, receipt_pins)] or [()]


def _check_signing_certificates(
    party_pair: _PartyPair, partner: KnownParty, pins: tuple[str, ...], location: str
) -> _Findings:
    """Yield findings, at `location`, if `partner` cannot sign with one of `pins`; with any if there are none.

    A pin that is not registered is a finding of its own.
    """
    signing_certificates = [
        certificate for certificate in partner.certificates if certificate.use == "signing"
    ]
    usable_certificates = [
        certificate
        for certificate in signing_certificates
        if certificate.begins < party_pair.agreement_end and certificate.ends > party_pair.first_use
    ]
    for pin in pins:
        if pin not in {certificate.sha256 for certificate in usable_certificates}:
            text = f"certificate {pin[:16]} is not one that {partner.name} may use to sign"
            yield make_finding("pin-unknown", location, text)
    named_certificates = [
        certificate for certificate in usable_certificates if not pins or certificate.sha256 in pins
    ]
    if not named_certificates:
        text = _describe_missing_certificate(
            partner, signing_certificates, pins if usable_certificates else ()
        )
        yield make_finding("certificate-missing", location, text)
        return
    first_start = min(certificate.begins for certificate in named_certificates)
    if first_start > party_pair.first_use:
        start_text = format_instant(first_start, "seconds")
        subject = "no certificate that a P-Mode names" if pins else "no certificate"
        text = f"party {partner.name} may use {subject} before {start_text}"
        yield make_finding("certificate-later", location, text)


def _must_partner_sign(party_pair: _PartyPair) -> bool:
    """Return whether the partner signs messages or receipts."""
    reliability_terms = (pmode.reliability for pmode in party_pair.outgoing_pmodes)
    return any(pmode.security.sign for pmode in party_pair.incoming_pmodes) or any(
        terms.ack_requested != "never" and terms.ack_signed == "always" for terms in reliability_terms
    )


def _describe_missing_certificate(
    partner: KnownParty, signing_certificates: list[KnownCertificate], pins: Sequence[str]
) -> str:
    """Return the reason why no certificate can be used, with a remedy.

    `pins` are the agreed certificates (SHA-256) if the party has only other ones, else empty.
    """
    remedy = f"`gateway party certificate add {partner.name} FILE`"
    if not signing_certificates:
        return f"party {partner.name} has no certificate to sign with: {remedy}"
    if pins:
        return f"party {partner.name} has no certificate that a P-Mode names ({pins[0][:16]}): {remedy}"
    last_end = format_instant(max(certificate.ends for certificate in signing_certificates), "seconds")
    return f"party {partner.name} has no certificate to use, the last one ended at {last_end}: {remedy}"


def _find_own_pin_problems(party_pair: _PartyPair) -> _Findings:
    """Yield a finding if a P-Mode names certificates of the hub, but not that which signs."""
    pin_sets = _list_pin_sets(party_pair.outgoing_pmodes, party_pair.incoming_pmodes)
    own_certificates = party_pair.hub_view.own_certificates
    if own_certificates and any(pins and own_certificates.isdisjoint(pins) for pins in pin_sets):
        hub_id = party_pair.hub_ids[0].value
        location = party_pair.agreement.find_place(("certificates", hub_id), ("party", hub_id))
        text = f"the hub signs with certificate {min(own_certificates)[:16]}, which a P-Mode does not name"
        yield make_finding("own-pin", location, text)


def _find_tls_problems(party_pair: _PartyPair) -> _Findings:
    """Yield a finding if mutual TLS is agreed and the partner has no TLS certificate that is still valid."""
    partner = party_pair.partner
    mutual_tls_pmodes = [pmode for pmode in party_pair.incoming_pmodes if pmode.security.mutual_tls]
    if partner is None or not mutual_tls_pmodes:
        return
    if not any(
        certificate.use == "tls" and certificate.ends > party_pair.first_use
        for certificate in partner.certificates
    ):
        text = (
            f"mutual_tls is agreed, and party {partner.name} has no certificate for TLS: "
            f"`gateway party certificate add {partner.name} FILE --use tls`"
        )
        location = party_pair.agreement.find_place(("pmode", mutual_tls_pmodes[0].id))
        yield make_finding("tls-certificate-missing", location, text)


def _find_login_problems(party_pair: _PartyPair) -> _Findings:
    """Yield findings on agreed HTTP logins that the hub cannot make, and on those it never checks."""
    partner_id = party_pair.partner_ids[0].value
    login_pmodes = [
        candidate
        for candidate in party_pair.outgoing_pmodes
        if candidate.transport.authentication and candidate.endpoint is not None
    ]
    location = party_pair.agreement.find_place(("endpoint", partner_id), ("party", partner_id))
    findings = (_check_partner_login(pmode, party_pair.hub_view.logins, location) for pmode in login_pmodes)
    yield from dict.fromkeys(finding for finding in findings if finding is not None)
    unchecked_pmodes = [pmode for pmode in party_pair.incoming_pmodes if pmode.transport.authentication]
    if unchecked_pmodes:
        pmode = unchecked_pmodes[0]
        text = (
            f"the hub asks nobody for a password ({', '.join(pmode.transport.authentication)}): "
            "it knows senders by their signatures, and by mutual_tls"
        )
        yield make_finding("login-unchecked", party_pair.agreement.find_place(("pmode", pmode.id)), text)


def _find_case_problems(party_pair: _PartyPair) -> _Findings:
    """Yield a finding for each service with submissions but no result P-Mode, or with a result only."""
    action, agreement = party_pair.hub_view.result_action, party_pair.agreement
    result_pmodes = _index_by_service(
        candidate for candidate in party_pair.outgoing_pmodes if candidate.action == action
    )
    case_pmodes = _index_by_service(
        candidate for candidate in party_pair.incoming_pmodes if candidate.deliver_to == "case"
    )
    for service, pmode in case_pmodes.items():
        if service not in result_pmodes:
            text = (
                f"P-Mode {pmode.id} accepts submissions, and no P-Mode of service "
                f"{service[0][:_MAX_CHARACTERS]} sends their {action} back to the partner"
            )
            yield make_finding("result-missing", agreement.find_place(("pmode", pmode.id)), text)
    for service, pmode in result_pmodes.items():
        if service not in case_pmodes:
            text = (
                f"P-Mode {pmode.id} sends a {action}, and no P-Mode of the partner has `deliver_to: case`: "
                "its messages are stored, and nothing answers them"
            )
            yield make_finding("case-missing", agreement.find_place(("pmode", pmode.id)), text)


def _index_by_service(pmodes: Iterable[PMode]) -> dict[tuple[str, str | None], PMode]:
    """Return the first P-Mode of each service."""
    pmode_by_service: dict[tuple[str, str | None], PMode] = {}
    for pmode in pmodes:
        pmode_by_service.setdefault((pmode.service, pmode.service_type), pmode)
    return pmode_by_service


def _find_direction_problems(party_pair: _PartyPair) -> _Findings:
    """Yield a finding if no P-Mode is for messages to the hub, and for each of those that is unsigned."""
    if not party_pair.incoming_pmodes:
        text = "no P-Mode lets the partner send anything to the hub"
        yield make_finding("nothing-received", party_pair.agreement.find_place(("pmodes", "")), text)
    for pmode in party_pair.incoming_pmodes:
        if not pmode.security.sign:
            text = f"P-Mode {pmode.id} accepts messages that nobody signed"
            yield make_finding("unsigned", party_pair.agreement.find_place(("pmode", pmode.id)), text)


def _find_endpoint_problems(party_pair: _PartyPair) -> _Findings:
    """Yield findings if the partner has no endpoint for pushed messages, or the same endpoint as the hub."""
    partner_id = party_pair.partner_ids[0].value
    location = party_pair.agreement.find_place(("endpoint", partner_id), ("party", partner_id))
    pushed = [sent.id for sent in party_pair.outgoing_pmodes if sent.endpoint is None and sent.pull is None]
    if pushed:
        text = f"the partner has no endpoint, and the hub must send to it: {', '.join(pushed)[:200]}"
        yield make_finding("endpoint-missing", location, text)
    for pmode in party_pair.agreement.pmodes:
        if pmode.endpoint is not None and pmode.endpoint == pmode.reply_endpoint:
            text = f"hub and partner have the same endpoint, {pmode.endpoint[:_MAX_CHARACTERS]}"
            yield make_finding("endpoint-same", location, text)
            return


def _find_reply_problems(party_pair: _PartyPair) -> _Findings:
    """Yield a finding for each P-Mode whose receipts have no endpoint, or whose response does not exist."""
    for pmode in party_pair.agreement.pmodes:
        location = party_pair.agreement.find_place(("pmode", pmode.id))
        if (
            pmode.posts_signals
            and pmode.pull is None
            and pmode.reply_endpoint is None
            and pmode.reliability.ack_requested != "never"
        ):
            text = (
                f"the receipts of P-Mode {pmode.id} travel by a POST of their own, and its sender has no "
                "endpoint: give it one, or set sync_reply_mode to mshSignalsOnly"
            )
            yield make_finding("reply-endpoint-missing", location, text)
        has_agreed_response = pmode in party_pair.incoming_pmodes and pmode.has_response_in_answer
        if has_agreed_response and not _has_response(pmode):
            text = (
                f"P-Mode {pmode.id} agrees a response in the HTTP answer, and the hub has none to it: each "
                "message is answered with its signal, or with nothing"
            )
            yield make_finding("response-not-sent", location, text)


def _has_response(pmode: PMode) -> bool:
    """Return whether the hub responds: as a CPA binds it, else with the result of a submission."""
    return pmode.deliver_to == "case" and (bool(pmode.answered_by) or pmode.action == "Submit")


def _list_missing_order_terms(pmode: PMode) -> list[str]:
    """Return the terms that message order needs and the P-Mode lacks (ebMS 2.0 §9.2)."""
    terms = pmode.reliability
    needs = {
        "duplicate_elimination: always": terms.duplicate_elimination == "always",
        "ack_requested: always": terms.ack_requested == "always",
        "sync_reply_mode: none": pmode.sync_reply_mode == "none",
    }
    return [term for term, is_met in needs.items() if not is_met]


def _find_order_and_actor_problems(agreement: AgreementDocument, _hub_view: HubView) -> _Findings:
    """Yield a finding for each P-Mode with incomplete terms of message order, or with receipts of nextMSH."""
    for pmode in agreement.pmodes:
        missing_terms = _list_missing_order_terms(pmode) if pmode.reliability.message_order else ()
        if missing_terms:
            text = f"P-Mode {pmode.id} guarantees an order, which needs {' and '.join(missing_terms)}"
            yield make_finding("order-incomplete", agreement.find_place(("pmode", pmode.id)), text)
        if pmode.reliability.ack_actor != "toPartyMSH":
            text = f"the receipts of P-Mode {pmode.id} are those of the next handler, not of the To party"
            yield make_finding("actor-next", agreement.find_place(("pmode", pmode.id)), text)


_DOCUMENT_CHECKS: Final[tuple[Callable[[AgreementDocument, HubView], _Findings], ...]] = (
    _find_period_problems,
    _find_protocol_problems,
    _find_reliability_problems,
    _find_order_and_actor_problems,
    _find_terms_beyond_hub,
    _find_mailbox_filings,
    find_as4_problems,
    find_profile_deviations,
)
_FILE_CHECKS: Final[tuple[Callable[[AgreementDocument, HubView], _Findings], ...]] = (
    _find_party_problems,
    _find_hub_problems,
    *_DOCUMENT_CHECKS,
    _find_same_messages,
)
_PARTY_PAIR_CHECKS: Final[tuple[Callable[[_PartyPair], _Findings], ...]] = (
    _find_certificate_problems,
    _find_own_pin_problems,
    _find_tls_problems,
    _find_login_problems,
    _find_case_problems,
    _find_direction_problems,
    _find_endpoint_problems,
    _find_reply_problems,
    lambda sides: find_partner_problems(
        sides.agreement, sides.partner, sides.hub_view, sides.outgoing_pmodes
    ),
)
