"""Finds what would not work in an agreement at a hub, before anybody sends a message by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gateway.agreements.agreement_rules import (
    AgreementDocument,
    AgreementFinding,
    AgreementSurroundings,
    KnownCertificate,
    KnownParty,
)
from gateway.agreements.as4.as4_checks import find_as4_problems, find_profile_deviations
from gateway.agreements.as4.partner_checks import find_partner_problems
from gateway.agreements.login_checks import find_login_problem
from gateway.agreements.pmode import PMode
from gateway.message_model import PartyId

__all__ = ["find_agreement_findings", "find_document_findings"]

_SHOWN: Final = 80
_ORDER: Final = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class _TwoSides:
    """The agreement seen from the hub: who the partner is, and what goes which way."""

    agreement: AgreementDocument
    known: AgreementSurroundings
    ours: tuple[PartyId, ...]
    theirs: tuple[PartyId, ...]

    @property
    def partner(self) -> KnownParty | None:
        return self.known.find_party(self.theirs[0])

    @property
    def incoming(self) -> tuple[PMode, ...]:
        return tuple(one for one in self.agreement.pmodes if one.from_party == self.theirs)

    @property
    def outgoing(self) -> tuple[PMode, ...]:
        return tuple(one for one in self.agreement.pmodes if one.from_party == self.ours)

    @property
    def begins(self) -> datetime:
        """Return when the agreement can first be used: its start, or now."""
        return max(self.known.at, min(one.valid_from for one in self.agreement.pmodes))

    @property
    def ends(self) -> datetime:
        return max(one.valid_until for one in self.agreement.pmodes)


_Found = Iterator[AgreementFinding]


def find_agreement_findings(
    agreement: AgreementDocument, known: AgreementSurroundings
) -> tuple[AgreementFinding, ...]:
    """Return every finding on an agreement, errors first, then in the order of the rules.

    The checks of the two directions are left out where it is not clear which side is the hub.
    """
    found = [*agreement.findings, *(one for check in _CHECKS_OF_THE_FILE for one in check(agreement, known))]
    ours = [ids for ids in _list_sides(agreement) if _is_hub_side(ids, known)]
    theirs = [ids for ids in _list_sides(agreement) if not _is_hub_side(ids, known)]
    if len(ours) == 1 and len(theirs) == 1:
        sides = _TwoSides(agreement, known, ours[0], theirs[0])
        found += [one for check in _CHECKS_OF_THE_SIDES for one in check(sides)]
    return tuple(sorted(found, key=lambda one: _ORDER.index(one.severity)))


def find_document_findings(
    agreement: AgreementDocument,
    at: datetime,
    protocols: frozenset[str],
    list_unsupported: Callable[[PMode], Sequence[str]] = lambda _: (),
) -> tuple[AgreementFinding, ...]:
    """Return the findings on an agreement that no register is needed for, errors first."""
    known = AgreementSurroundings("", at, (), protocols=protocols, list_unsupported=list_unsupported)
    checked = (one for check in _CHECKS_OF_THE_DOCUMENT for one in check(agreement, known))
    found = [*agreement.findings, *checked]
    return tuple(sorted(found, key=lambda one: _ORDER.index(one.severity)))


def _list_sides(agreement: AgreementDocument) -> tuple[tuple[PartyId, ...], ...]:
    both = (ids for pmode in agreement.pmodes for ids in (pmode.from_party, pmode.to_party))
    return tuple(dict.fromkeys(both))


def _is_hub_side(ids: tuple[PartyId, ...], known: AgreementSurroundings) -> bool:
    owners = (known.find_party(one) for one in ids)
    return any(owner is not None and owner.name == known.hub for owner in owners)


def _format_party_id(one: PartyId) -> str:
    """Return an identifier as ``gateway party add --id`` takes it."""
    return (f"{one.type[:_SHOWN]}|" if one.type is not None else "") + one.value[:_SHOWN]


def _format_time(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


def _find_party_problems(agreement: AgreementDocument, known: AgreementSurroundings) -> _Found:
    for ids in _list_sides(agreement):
        owners = {one: known.find_party(one) for one in ids}
        for one, owner in owners.items():
            place = agreement.find_place(("party", one.value))
            if owner is None:
                told = _format_party_id(one)
                text = f"no party is registered as {told}: `gateway party add NAME --id '{told}'`"
                yield AgreementFinding("party-unknown", place, text)
        names = sorted({owner.name for owner in owners.values() if owner is not None})
        place = agreement.find_place(("party", ids[0].value))
        if len(names) > 1:
            text = f"the identifiers of one side belong to several parties: {', '.join(names)[:_SHOWN]}"
            yield AgreementFinding("party-mixed", place, text)
        yield from _find_inactive_parties(place, [owner for owner in owners.values() if owner is not None])


def _find_inactive_parties(place: str, owners: list[KnownParty]) -> _Found:
    for name, status in dict.fromkeys((owner.name, owner.status) for owner in owners):
        if status == "RETIRED":
            yield AgreementFinding(
                "party-retired", place, f"party {name} is retired: its messages are refused"
            )
        elif status != "ACTIVE":
            text = f"party {name} is suspended: its messages are refused until `gateway party resume {name}`"
            yield AgreementFinding("party-suspended", place, text)


def _find_hub_problems(agreement: AgreementDocument, known: AgreementSurroundings) -> _Found:
    sides = _list_sides(agreement)
    count = sum(_is_hub_side(ids, known) for ids in sides)
    if count == 1:
        return
    ids = [_format_party_id(one) for party in known.parties if party.name == known.hub for one in party.ids]
    told = f"this hub is party {known.hub}, " + (
        f"known as {', '.join(ids)[:300]}" if ids else "without an id"
    )
    text = f"both parties are this hub: {told}" if count else f"neither party is this hub: {told}"
    yield AgreementFinding("hub-missing", agreement.find_place(("agreement", "")), text)


def _find_period_problems(agreement: AgreementDocument, known: AgreementSurroundings) -> _Found:
    ends = max(one.valid_until for one in agreement.pmodes)
    begins = min(one.valid_from for one in agreement.pmodes)
    if ends <= known.at:
        place = agreement.find_place(("valid_until", ""))
        yield AgreementFinding("period-ended", place, f"the agreement ended at {_format_time(ends)}")
    elif begins > known.at:
        place = agreement.find_place(("valid_from", ""))
        yield AgreementFinding("period-later", place, f"the agreement begins at {_format_time(begins)}")


def _find_protocol_problems(agreement: AgreementDocument, known: AgreementSurroundings) -> _Found:
    for protocol in dict.fromkeys(one.protocol for one in agreement.pmodes):
        if protocol not in known.protocols:
            spoken = ", ".join(sorted(known.protocols))
            text = f"the hub does not speak {protocol}; it speaks {spoken}"
            yield AgreementFinding("protocol-unknown", agreement.find_place(("protocol", "")), text)


def _find_foreign_terms(agreement: AgreementDocument, known: AgreementSurroundings) -> _Found:
    for pmode in agreement.pmodes:
        for term in known.list_unsupported(pmode):
            text = f"P-Mode {pmode.id}: {term}"
            yield AgreementFinding("term-unsupported", agreement.find_place(("pmode", pmode.id)), text)


def _find_reliability_problems(agreement: AgreementDocument, _known: AgreementSurroundings) -> _Found:
    for pmode in agreement.pmodes:
        terms, place = pmode.reliability, agreement.find_place(("pmode", pmode.id))
        if not terms.retries:
            continue
        if terms.ack_requested == "never":
            text = f"P-Mode {pmode.id} has {terms.retries} retries and no receipt: nothing is repeated"
            yield AgreementFinding("retries-without-receipt", place, text)
        elif terms.duplicate_elimination == "never":
            text = f"P-Mode {pmode.id} repeats without duplicate elimination: a repeat has a second effect"
            yield AgreementFinding("retries-without-elimination", place, text)


def _find_same_messages(agreement: AgreementDocument, known: AgreementSurroundings) -> _Found:
    for pmode in agreement.pmodes:
        for other in known.others:
            if other.agreement != pmode.agreement and _are_for_same_messages(pmode, other):
                text = (
                    f"P-Mode {pmode.id} is for the same messages as P-Mode {other.id} of agreement "
                    f"{other.agreement}: the CPAId of each message decides"
                )
                yield AgreementFinding("same-messages", agreement.find_place(("pmode", pmode.id)), text)


def _are_for_same_messages(one: PMode, other: PMode) -> bool:
    names = ("service", "service_type", "action", "from_role", "to_role", "protocol")
    return (
        all(getattr(one, name) == getattr(other, name) for name in names)
        and not set(one.from_party).isdisjoint(other.from_party)
        and not set(one.to_party).isdisjoint(other.to_party)
        and one.valid_from < other.valid_until
        and other.valid_from < one.valid_until
    )


def _find_certificate_problems(sides: _TwoSides) -> _Found:
    partner = sides.partner
    if partner is None or not _must_partner_sign(sides):
        return
    pins = sides.incoming[0].security.certificates if sides.incoming else ()
    pins = pins or (sides.outgoing[0].security.reply_certificates if sides.outgoing else ())
    held = [one for one in partner.certificates if one.use == "signing"]
    usable = [one for one in held if one.begins < sides.ends and one.ends > sides.begins]
    place = sides.agreement.find_place(
        ("certificates", sides.theirs[0].value), ("party", sides.theirs[0].value)
    )
    for pin in pins:
        if pin not in {one.sha256 for one in usable}:
            text = f"certificate {pin[:16]} is not one that {partner.name} may use to sign"
            yield AgreementFinding("pin-unknown", place, text)
    if not [one for one in usable if not pins or one.sha256 in pins]:
        text = _describe_missing_certificate(partner, held, pins if usable else ())
        yield AgreementFinding("certificate-missing", place, text)
        return
    usable = [one for one in usable if not pins or one.sha256 in pins]
    if min(one.begins for one in usable) > sides.begins:
        first = _format_time(min(one.begins for one in usable))
        text = f"party {partner.name} may use no certificate before {first}"
        yield AgreementFinding("certificate-later", place, text)


def _must_partner_sign(sides: _TwoSides) -> bool:
    """Return whether the partner signs messages or receipts."""
    receipts = (one.reliability for one in sides.outgoing)
    return any(one.security.sign for one in sides.incoming) or any(
        terms.ack_requested != "never" and terms.ack_signed == "always" for terms in receipts
    )


def _describe_missing_certificate(
    partner: KnownParty, held: list[KnownCertificate], pins: Sequence[str]
) -> str:
    """Return why no certificate can be used: `pins` are those agreed, where only others could be."""
    remedy = f"`gateway party certificate add {partner.name} FILE`"
    if not held:
        return f"party {partner.name} has no certificate to sign with: {remedy}"
    if pins:
        return f"party {partner.name} has no certificate that the agreement names ({pins[0][:16]}): {remedy}"
    ended = _format_time(max(one.ends for one in held))
    return f"party {partner.name} has no certificate to use, the last one ended at {ended}: {remedy}"


def _find_own_pin_problems(sides: _TwoSides) -> _Found:
    pins = sides.outgoing[0].security.certificates if sides.outgoing else ()
    pins = pins or (sides.incoming[0].security.reply_certificates if sides.incoming else ())
    own = sides.known.own_certificates
    if pins and own and own.isdisjoint(pins):
        value = sides.ours[0].value
        place = sides.agreement.find_place(("certificates", value), ("party", value))
        text = f"the hub signs with certificate {min(own)[:16]}, which the file does not name"
        yield AgreementFinding("own-pin", place, text)


def _find_tls_problems(sides: _TwoSides) -> _Found:
    partner = sides.partner
    agreed = [one for one in sides.incoming if one.security.mutual_tls]
    if partner is None or not agreed:
        return
    if not any(one.use == "tls" and one.ends > sides.begins for one in partner.certificates):
        text = (
            f"mutual_tls is agreed, and party {partner.name} has no certificate for TLS: "
            f"`gateway party certificate add {partner.name} FILE --use tls`"
        )
        place = sides.agreement.find_place(("pmode", agreed[0].id))
        yield AgreementFinding("tls-certificate-missing", place, text)


def _find_login_problems(sides: _TwoSides) -> _Found:
    value = sides.theirs[0].value
    asked = [one for one in sides.outgoing if one.transport.authentication and one.endpoint is not None]
    found = find_login_problem(asked[0], sides.known.logins) if asked else None
    if found is not None:
        place = sides.agreement.find_place(("endpoint", value), ("party", value))
        yield AgreementFinding(found[0], place, found[1])
    for pmode in (one for one in sides.incoming[:1] if one.transport.authentication):
        text = (
            f"the hub asks nobody for a password ({', '.join(pmode.transport.authentication)}): "
            "it knows senders by their signatures, and by mutual_tls"
        )
        yield AgreementFinding("login-unchecked", sides.agreement.find_place(("pmode", pmode.id)), text)


def _find_case_problems(sides: _TwoSides) -> _Found:
    action, agreement = sides.known.result_action, sides.agreement
    answered = _index_by_service(one for one in sides.outgoing if one.action == action)
    filed = _index_by_service(one for one in sides.incoming if one.deliver_to == "case")
    for service, pmode in filed.items():
        if service not in answered:
            text = (
                f"P-Mode {pmode.id} accepts submissions, and no P-Mode of service {service[0][:_SHOWN]} "
                f"sends their {action} back to the partner"
            )
            yield AgreementFinding("result-missing", agreement.find_place(("pmode", pmode.id)), text)
    for service, pmode in answered.items():
        if service not in filed:
            text = (
                f"P-Mode {pmode.id} sends a {action}, and no P-Mode of the partner has `deliver_to: case`: "
                "its messages are stored, and nothing answers them"
            )
            yield AgreementFinding("case-missing", agreement.find_place(("pmode", pmode.id)), text)


def _index_by_service(pmodes: Iterable[PMode]) -> dict[tuple[str, str | None], PMode]:
    """Return the first P-Mode of each service."""
    found: dict[tuple[str, str | None], PMode] = {}
    for one in pmodes:
        found.setdefault((one.service, one.service_type), one)
    return found


def _find_direction_problems(sides: _TwoSides) -> _Found:
    if not sides.incoming:
        text = "no P-Mode lets the partner send anything to the hub"
        yield AgreementFinding("nothing-received", sides.agreement.find_place(("pmodes", "")), text)
    for pmode in sides.incoming:
        if not pmode.security.sign:
            text = f"P-Mode {pmode.id} accepts messages that nobody signed"
            yield AgreementFinding("unsigned", sides.agreement.find_place(("pmode", pmode.id)), text)


def _find_endpoint_problems(sides: _TwoSides) -> _Found:
    value = sides.theirs[0].value
    place = sides.agreement.find_place(("endpoint", value), ("party", value))
    pushed = [one.id for one in sides.outgoing if one.endpoint is None and one.pull is None]
    if pushed:
        text = f"the partner has no endpoint, and the hub must send to it: {', '.join(pushed)[:200]}"
        yield AgreementFinding("endpoint-missing", place, text)
    for pmode in sides.agreement.pmodes:
        if pmode.endpoint is not None and pmode.endpoint == pmode.reply_endpoint:
            text = f"hub and partner have the same endpoint, {pmode.endpoint[:_SHOWN]}"
            yield AgreementFinding("endpoint-same", place, text)
            return


def _find_reply_problems(sides: _TwoSides) -> _Found:
    for pmode in sides.agreement.pmodes:
        place = sides.agreement.find_place(("pmode", pmode.id))
        if (
            pmode.posts_signals
            and pmode.reply_endpoint is None
            and pmode.reliability.ack_requested != "never"
        ):
            text = (
                f"the receipts of P-Mode {pmode.id} travel by a POST of their own, and its sender has no "
                "endpoint: give it one, or set sync_reply_mode to mshSignalsOnly"
            )
            yield AgreementFinding("reply-endpoint-missing", place, text)
        wanted = pmode in sides.incoming and pmode.has_response_in_answer
        if wanted and not _has_response(pmode):
            text = (
                f"P-Mode {pmode.id} agrees a response in the HTTP answer, and the hub has none to it: each "
                "message is answered with its signal, or with nothing"
            )
            yield AgreementFinding("response-not-sent", place, text)


def _has_response(pmode: PMode) -> bool:
    """Return whether the hub responds: as a CPA binds it, else with the result of a submission."""
    return pmode.deliver_to == "case" and (bool(pmode.answered_by) or pmode.action == "Submit")


def _list_order_needs(pmode: PMode) -> list[str]:
    """Return what an order needs, and the P-Mode does not say (ebMS 2.0 §9.2)."""
    terms = pmode.reliability
    needs = {
        "duplicate_elimination: always": terms.duplicate_elimination == "always",
        "ack_requested: always": terms.ack_requested == "always",
        "sync_reply_mode: none": pmode.sync_reply_mode == "none",
    }
    return [words for words, met in needs.items() if not met]


def _find_unsupported_terms(agreement: AgreementDocument, _known: AgreementSurroundings) -> _Found:
    for pmode in agreement.pmodes:
        lacking = _list_order_needs(pmode) if pmode.reliability.message_order else ()
        if lacking:
            text = f"P-Mode {pmode.id} guarantees an order, which needs {' and '.join(lacking)}"
            yield AgreementFinding("order-incomplete", agreement.find_place(("pmode", pmode.id)), text)
        if pmode.reliability.ack_actor != "toPartyMSH":
            text = f"the receipts of P-Mode {pmode.id} are those of the next handler, not of the To party"
            yield AgreementFinding("actor-next", agreement.find_place(("pmode", pmode.id)), text)


_CHECKS_OF_THE_DOCUMENT: Final[tuple[Callable[[AgreementDocument, AgreementSurroundings], _Found], ...]] = (
    _find_period_problems,
    _find_protocol_problems,
    _find_reliability_problems,
    _find_unsupported_terms,
    _find_foreign_terms,
    find_as4_problems,
    find_profile_deviations,
)
_CHECKS_OF_THE_FILE: Final[tuple[Callable[[AgreementDocument, AgreementSurroundings], _Found], ...]] = (
    _find_party_problems,
    _find_hub_problems,
    *_CHECKS_OF_THE_DOCUMENT,
    _find_same_messages,
)
_CHECKS_OF_THE_SIDES: Final[tuple[Callable[[_TwoSides], _Found], ...]] = (
    _find_certificate_problems,
    _find_own_pin_problems,
    _find_tls_problems,
    _find_login_problems,
    _find_case_problems,
    _find_direction_problems,
    _find_endpoint_problems,
    _find_reply_problems,
    lambda sides: find_partner_problems(sides.agreement, sides.partner, sides.known, sides.outgoing),
)
