"""Writes the P-Modes of one agreement as a CPA of CPPA 2.0 that is read into equal P-Modes again.

Terms that CPPA can express are written in its own elements. A term that CPPA has no element for, such as the
application that receives a message, is written in the binding of the action, in the namespace of the gateway:
the CPA is read again, the result is compared with the P-Modes, and each difference is written there. The
profile (CPP) of one party contains the part of the CPA that describes this party alone: the messages that it
can send and receive, independent of the other party.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.channel_plan import (
    ChannelPlan,
    MessagingTerms,
    PartyFacts,
    RegisteredParty,
    collect_party_facts,
    make_receiving_terms,
    make_sending_terms,
)
from gateway.agreements.cpa.channel_writer import PackageWriter, plan_signals, write_channels
from gateway.agreements.cpa.cpa_reader import read_cpa
from gateway.agreements.cpa.cpa_values import TERMS, format_duration
from gateway.agreements.cpa.element_writer import IdNames, PartyStock, add_element, set_link
from gateway.agreements.cpa.pmode_conversion import convert_cpa
from gateway.agreements.pmode import PMode, pmode_to_json
from gateway.agreements.pmode_values import AlternativeChannel
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.message_model import PartyId
from gateway.wire import DS, TP, XLINK, format_instant

NAMESPACES: Final = {"tp": TP, "ds": DS, "xlink": XLINK, "sw": TERMS}
_PERSISTENT: Final = ("persistent", "transient-and-persistent")
_Side = tuple[PartyId, ...]


def write_cpa(
    pmodes: Sequence[PMode], parties: Mapping[PartyId, RegisteredParty], certificates: Mapping[str, bytes]
) -> bytes:
    """Return the CPA of P-Modes; `certificates` (DER) are by SHA-256.

    `parties` are the registered parties: values that the P-Modes leave to the register are written to the
    document, because other products do not have the register. Raises GW313 for P-Modes that are no agreement
    of two parties over ebMS 2.0.
    """
    writer = DocumentWriter(pmodes, parties, certificates)
    try:
        octets = serialize_document(writer.build_document())
        differences = _find_differences(pmodes, octets, writer.bindings)
        for binding, values in differences.items():
            text = json.dumps(values, ensure_ascii=False, sort_keys=True)
            etree.SubElement(writer.elements[binding], f"{{{TERMS}}}Terms").set("values", text)
    except ValueError as mistake:  # XML cannot hold every character
        raise GatewayError(AGREEMENT_UNWORKABLE, "a text of the agreement cannot stand in XML") from mistake
    return serialize_document(writer.root) if differences else octets


def serialize_document(root: etree._Element) -> bytes:
    """Return the octets of a document, with an element on each line."""
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _check_pmodes(pmodes: Sequence[PMode]) -> tuple[PMode, ...]:
    sides = {ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party)}
    if len(sides) != 2 or len({pmode.agreement for pmode in pmodes}) != 1:
        raise GatewayError(AGREEMENT_UNWORKABLE, "a CPA is one agreement of two parties")
    for pmode in pmodes:
        if pmode.protocol != "ebms2":
            detail = f"a CPA of CPPA 2.0 is for ebMS 2.0, and P-Mode {pmode.id} is for {pmode.protocol}"
            raise GatewayError(AGREEMENT_UNWORKABLE, detail)
    return tuple(pmodes)


def _find_differences(
    pmodes: Sequence[PMode], octets: bytes, bindings: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return, by binding, the terms of the P-Modes that the written document reads back differently."""
    converted = {pmode.id: pmode_to_json(pmode) for pmode in convert_cpa(read_cpa(octets, "export"))}
    differences = {}
    for pmode in pmodes:
        binding, expected = bindings[pmode.id], pmode_to_json(pmode)
        different = _compare_values(expected, converted[binding])
        if different:
            differences[binding] = different
    return differences


def _compare_values(expected: Mapping[str, Any], converted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ; of a group, only those within it that differ."""
    different = {}
    for name, value in expected.items():
        actual = converted[name]
        if value == actual:
            continue
        both = isinstance(value, dict) and isinstance(actual, dict)
        different[name] = _compare_values(value, actual) if both else value
    return different


@dataclass(slots=True)
class _Role:
    """The actions of a party in one role of one process with one service."""

    key: tuple[str, str, str, str, str, str | None]
    sends: list[PMode] = field(default_factory=list)
    receives: list[PMode] = field(default_factory=list)


@dataclass(slots=True)
class _SideWriter:
    """One party of the document; `channel_ids` are its channels by P-Mode, in the order of preference."""

    ids: _Side
    facts: PartyFacts
    stock: PartyStock
    plan: ChannelPlan
    roles: dict[Any, _Role] = field(default_factory=dict)
    channel_ids: dict[str, list[str]] = field(default_factory=dict)

    def get_role(self, pmode: PMode, role: str | None) -> _Role:
        """Return the role in which this party takes part in a P-Mode."""
        terms = pmode.business
        key = (
            terms.process or "process",
            terms.process_version or "1.0",
            terms.process_uri or "urn:single-window:process",
            role or self.facts.name,
            pmode.service,
            pmode.service_type,
        )
        return self.roles.setdefault(key, _Role(key))


class DocumentWriter:
    """The document of one agreement; raises GW313 for P-Modes that are none of two parties over ebMS 2.0."""

    def __init__(
        self,
        pmodes: Sequence[PMode],
        parties: Mapping[PartyId, RegisteredParty],
        certificates: Mapping[str, bytes],
    ) -> None:
        self.pmodes = _check_pmodes(pmodes)
        self._ids = IdNames()
        #: The binding of each P-Mode for its sender and for its receiver, and the element of each binding.
        self.bindings = {pmode.id: self._ids.reserve_name(pmode.id) for pmode in pmodes}
        self.received = {
            pmode.id: self._ids.reserve_name(f"{self.bindings[pmode.id]}-received") for pmode in pmodes
        }
        self.elements: dict[str, etree._Element] = {}
        self.root = etree.Element(f"{{{TP}}}CollaborationProtocolAgreement", nsmap=NAMESPACES)
        self._packages = PackageWriter(self._ids)
        self._sides: dict[_Side, _SideWriter] = {}
        for number, ids in enumerate(
            dict.fromkeys(ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party))
        ):
            prefix = f"party{number + 1}"
            facts = collect_party_facts(ids, pmodes, parties, certificates)
            stock = PartyStock(prefix, self._ids, certificates)
            self._sides[ids] = _SideWriter(ids, facts, stock, ChannelPlan(prefix, self._ids))

    def build_document(self) -> etree._Element:
        """Return the document without the terms that only the gateway has."""
        first = self.pmodes[0]
        self.root.set(f"{{{TP}}}cpaid", first.agreement)
        self.root.set(f"{{{TP}}}version", "2_0b")
        add_element(self.root, "Status", value="agreed")
        add_element(self.root, "Start", format_instant(first.valid_from, "auto"))
        add_element(self.root, "End", format_instant(first.valid_until, "auto"))
        limits = first.conversations
        if limits.invocations is not None or limits.concurrent is not None:
            add_element(
                self.root,
                "ConversationConstraints",
                invocationLimit=_format_number(limits.invocations),
                concurrentConversations=_format_number(limits.concurrent),
            )
        for pmode in self.pmodes:
            self._sides[pmode.from_party].get_role(pmode, pmode.from_role).sends.append(pmode)
            self._sides[pmode.to_party].get_role(pmode, pmode.to_role).receives.append(pmode)
        first_side, second_side = self._sides.values()
        self._plan_channels()
        self._write_party(first_side, second_side.facts)
        self._write_party(second_side, first_side.facts)
        self._packages.write_packages(self.root)
        return self.root

    def _plan_channels(self) -> None:
        """Give each message the channels of its sender, then those of its receiver."""
        for pmode in self.pmodes:
            side, partner = self._sides[pmode.from_party], self._sides[pmode.to_party]
            half = make_sending_terms(pmode, side.facts, partner.facts)
            side.channel_ids[pmode.id] = [
                side.plan.add_sending(
                    MessagingTerms(channel.sync_reply_mode, channel.reliability), half, channel.name
                )
                for channel in _list_channels(pmode)
            ]
        for pmode in self.pmodes:
            partner, side = self._sides[pmode.from_party], self._sides[pmode.to_party]
            side.channel_ids[pmode.id] = [
                side.plan.add_receiving(
                    MessagingTerms(channel.sync_reply_mode, channel.reliability),
                    make_receiving_terms(pmode, partner.facts, side.facts, channel.endpoint),
                    pmode.security.reply_certificates,
                )
                for channel in _list_channels(pmode)
            ]

    def _write_party(self, side: _SideWriter, partner: PartyFacts) -> None:
        side.plan.complete_halves(side.facts, partner)
        signals = plan_signals(side.plan, side.ids, self.pmodes, side.facts, partner)
        party = add_element(
            self.root,
            "PartyInfo",
            partyName=side.facts.name,
            defaultMshChannelId=signals.default,
            defaultMshPackageId=self._packages.name_signal_package(),
        )
        for party_id in side.ids:
            add_element(party, "PartyId", party_id.value, type=party_id.type)
        set_link(add_element(party, "PartyRef"), "")
        for role in side.roles.values():
            self._write_role(party, side, role)
        last = len(party)
        write_channels(party, side.plan.channels, self._ids, side.stock)
        for action, channel in signals.overrides:
            add_element(party, "OverrideMshActionBinding", action=action, channelId=channel)
        side.stock.write_stock(party[last])

    def _write_role(self, party: etree._Element, side: _SideWriter, role: _Role) -> None:
        process, version, uri, name, service, kind = role.key
        written = add_element(party, "CollaborationRole")
        set_link(add_element(written, "ProcessSpecification", name=process, version=version), uri)
        set_link(add_element(written, "Role", name=name), uri)
        binding = add_element(written, "ServiceBinding")
        add_element(binding, "Service", service, type=kind)
        for pmode in role.sends:
            if self._find_asked(pmode) is None:
                self._write_sending(binding, side, pmode, role)
        for pmode in role.receives:
            if self._find_asked(pmode) is None:
                self._write_receiving(binding, side, pmode, role)

    def _find_asked(self, pmode: PMode) -> PMode | None:
        """Return the P-Mode whose message this one answers, where both sides have them in one role."""
        question = next((candidate for candidate in self.pmodes if candidate.id == pmode.answers), None)
        if question is None or question.answers is not None or pmode.id not in question.answered_by:
            return None
        is_in_role = (
            (question.service, question.service_type) == (pmode.service, pmode.service_type)
            and (question.from_party, question.from_role) == (pmode.to_party, pmode.to_role)
            and question.to_role == pmode.from_role
            and question.business.process_uri == pmode.business.process_uri
        )
        return question if is_in_role else None

    def _list_answers(self, pmode: PMode) -> list[PMode]:
        by_id = {candidate.id: candidate for candidate in self.pmodes}
        answers = (by_id[name] for name in pmode.answered_by if name in by_id)
        return [answer for answer in answers if self._find_asked(answer) is pmode]

    def _write_sending(self, parent: etree._Element, side: _SideWriter, pmode: PMode, role: _Role) -> None:
        sending = add_element(parent, "CanSend")
        this = self._write_binding(sending, self.bindings[pmode.id], pmode, side)
        self.elements[self.bindings[pmode.id]] = this
        add_element(sending, "OtherPartyActionBinding", self.received[pmode.id])
        for answer in self._list_answers(pmode):
            self._write_receiving(sending, side, answer, role)

    def _write_receiving(self, parent: etree._Element, side: _SideWriter, pmode: PMode, role: _Role) -> None:
        receiving = add_element(parent, "CanReceive")
        this = self._write_binding(receiving, self.received[pmode.id], pmode, side)
        self.elements[self.received[pmode.id]] = this
        add_element(receiving, "OtherPartyActionBinding", self.bindings[pmode.id])
        for answer in self._list_answers(pmode):
            self._write_sending(receiving, side, answer, role)

    def _write_binding(
        self, parent: etree._Element, name: str, pmode: PMode, side: _SideWriter
    ) -> etree._Element:
        package = self._packages.name_package(pmode.packaging)
        this = add_element(parent, "ThisPartyActionBinding", id=name, action=pmode.action, packageId=package)
        _write_business(this, pmode)
        terms = pmode.business
        if terms.collaboration and terms.activity and terms.activity_action:
            add_element(
                this,
                "ActionContext",
                binaryCollaboration=terms.collaboration,
                businessTransactionActivity=terms.activity,
                requestOrResponseAction=terms.activity_action,
            )
        for channel in side.channel_ids[pmode.id]:
            add_element(this, "ChannelId", channel)
        return this


def _list_channels(pmode: PMode) -> tuple[AlternativeChannel, ...]:
    """Return every channel by which a message may travel: that of its P-Mode, then the alternatives."""
    first = AlternativeChannel(pmode.channel or "", pmode.endpoint, pmode.sync_reply_mode, pmode.reliability)
    return (first, *pmode.alternatives)


def _format_number(number: int | None) -> str | None:
    return str(number) if number is not None else None


def _format_seconds(seconds: int | None) -> str | None:
    return format_duration(seconds) if seconds is not None else None


def _format_boolean(value: bool) -> str:
    return "true" if value else "false"


def _write_business(this: etree._Element, pmode: PMode) -> None:
    security, terms = pmode.security, pmode.business
    is_signed_otherwise = security.authenticated in _PERSISTENT or security.tamper_proof in _PERSISTENT
    origin = security.non_repudiation_of_origin or (security.sign and not is_signed_otherwise)
    confidential = security.confidential
    if pmode.encryption is not None and confidential not in _PERSISTENT:
        confidential = "persistent"
    add_element(
        this,
        "BusinessTransactionCharacteristics",
        isNonRepudiationRequired=_format_boolean(origin),
        isNonRepudiationReceiptRequired=_format_boolean(security.non_repudiation_of_receipt),
        isConfidential=confidential,
        isAuthenticated=security.authenticated,
        isTamperProof=security.tamper_proof,
        isAuthorizationRequired=_format_boolean(terms.authorization_required),
        isIntelligibleCheckRequired=_format_boolean(terms.intelligible_check_required),
        timeToAcknowledgeReceipt=_format_seconds(terms.time_to_acknowledge_receipt),
        timeToAcknowledgeAcceptance=_format_seconds(terms.time_to_acknowledge_acceptance),
        timeToPerform=_format_seconds(terms.time_to_perform),
        retryCount=_format_number(terms.retry_count),
    )


_PROFILE: Final = f"{{{TP}}}CollaborationProtocolProfile"


def write_profile(
    pmodes: Sequence[PMode],
    own_id: PartyId,
    name: str,
    parties: Mapping[PartyId, RegisteredParty],
    certificates: Mapping[str, bytes],
) -> bytes:
    """Return the profile of the party with the identifier `own_id`, under the name (``cppid``) `name`.

    Its certificates are those of `parties`, their octets (DER) in `certificates` by SHA-256. The terms of the
    other party are left out. Terms of a receiver that CPPA has no element for are written in the namespace of
    the gateway. Raises GW313 for P-Modes that are no agreement of that party over ebMS 2.0.
    """
    sides = {ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party) if own_id in ids}
    if len(sides) != 1:
        raise GatewayError(AGREEMENT_UNWORKABLE, f"{own_id.value[:80]} is no party of the agreement")
    (ids,) = sides
    offered = [_forget_certificates(pmode) for pmode in pmodes]
    registered = {identifier: parties[identifier] for identifier in ids if identifier in parties}
    writer = DocumentWriter(offered, registered, certificates)
    root = writer.build_document()
    for pmode in offered:
        if pmode.deliver_to != "mailbox":
            terms = etree.SubElement(writer.elements[writer.received[pmode.id]], f"{{{TERMS}}}Terms")
            terms.set("values", json.dumps({"deliver_to": pmode.deliver_to}))
    try:
        octets = _make_profile(root, ids, name)
    except ValueError as mistake:  # XML cannot hold every character
        raise GatewayError(AGREEMENT_UNWORKABLE, "a text of the profile cannot stand in XML") from mistake
    read_cpa(octets, "profile", profile=True)
    return octets


def _forget_certificates(pmode: PMode) -> PMode:
    """Return a P-Mode without certificates: those of the party are registered, the other may be anyone."""
    transport, encryption = pmode.transport, pmode.encryption
    if encryption is not None:
        encryption = replace(encryption, certificate=None, trust_anchors=())
    return replace(
        pmode,
        security=replace(pmode.security, certificates=(), reply_certificates=(), trust_anchors=()),
        signals=tuple(replace(signal, certificates=()) for signal in pmode.signals),
        transport=replace(
            transport, client_certificate=None, server_certificate=None, client_anchors=(), server_anchors=()
        ),
        encryption=encryption,
    )


def _make_profile(agreement: etree._Element, ids: Sequence[PartyId], name: str) -> bytes:
    root = etree.Element(_PROFILE, nsmap=NAMESPACES)
    root.set(f"{{{TP}}}cppid", name)
    root.set(f"{{{TP}}}version", "2_0b")
    own_ids = {(identifier.value, identifier.type) for identifier in ids}
    for party in agreement.findall(f"{{{TP}}}PartyInfo"):
        party_id = party.find(f"{{{TP}}}PartyId")
        if party_id is not None and (party_id.text, party_id.get(f"{{{TP}}}type")) in own_ids:
            root.append(party)
    for reference in list(root.iter(f"{{{TP}}}OtherPartyActionBinding")):
        holder = reference.getparent()
        assert holder is not None, "it stands in CanSend or CanReceive"
        holder.remove(reference)
    root.extend(agreement.findall(f"{{{TP}}}SimplePart"))
    root.extend(agreement.findall(f"{{{TP}}}Packaging"))
    return serialize_document(root)
