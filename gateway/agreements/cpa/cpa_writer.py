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
    PartyTerms,
    RegisteredParty,
    collect_party_terms,
    make_receiving_terms,
    make_sending_terms,
)
from gateway.agreements.cpa.channel_writer import PackageWriter, plan_signals, write_channels
from gateway.agreements.cpa.cpa_reader import read_cpa
from gateway.agreements.cpa.cpa_values import TERMS_NAMESPACE, format_duration
from gateway.agreements.cpa.element_writer import DocumentIds, PartyCertificates, add_element, set_link
from gateway.agreements.cpa.pmode_conversion import convert_cpa
from gateway.agreements.pmode import PMode, pmode_to_json
from gateway.agreements.pmode_values import AlternativeChannel
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.message_model import PartyId
from gateway.wire import DS, TP, XLINK, format_instant

NAMESPACES: Final = {"tp": TP, "ds": DS, "xlink": XLINK, "sw": TERMS_NAMESPACE}
_PERSISTENT: Final = ("persistent", "transient-and-persistent")
_PartyIds = tuple[PartyId, ...]


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
        differences = _find_differences(pmodes, octets, writer.sender_binding_ids)
        for binding_id, values in differences.items():
            values_json = json.dumps(values, ensure_ascii=False, sort_keys=True)
            etree.SubElement(writer.binding_elements[binding_id], f"{{{TERMS_NAMESPACE}}}Terms").set(
                "values", values_json
            )
    except ValueError as mistake:  # XML cannot hold every character
        raise GatewayError(AGREEMENT_UNWORKABLE, "a text of the agreement cannot stand in XML") from mistake
    return serialize_document(writer.root) if differences else octets


def serialize_document(root: etree._Element) -> bytes:
    """Return the octets of a document, with an element on each line."""
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _check_pmodes(pmodes: Sequence[PMode]) -> tuple[PMode, ...]:
    """Return `pmodes`; raise GW313 unless they are one agreement of two parties over ebMS 2.0."""
    party_ids = {ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party)}
    if len(party_ids) != 2 or len({pmode.agreement for pmode in pmodes}) != 1:
        raise GatewayError(AGREEMENT_UNWORKABLE, "a CPA must be one agreement of two parties")
    for pmode in pmodes:
        if pmode.protocol != "ebms2":
            detail = f"a CPA of CPPA 2.0 is for ebMS 2.0, and P-Mode {pmode.id} is for {pmode.protocol}"
            raise GatewayError(AGREEMENT_UNWORKABLE, detail)
    return tuple(pmodes)


def _find_differences(
    pmodes: Sequence[PMode], octets: bytes, binding_by_pmode: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return, by binding, the terms of the P-Modes that the written document reads back differently."""
    converted_pmodes = {pmode.id: pmode_to_json(pmode) for pmode in convert_cpa(read_cpa(octets, "export"))}
    differences = {}
    for pmode in pmodes:
        binding_id, expected_values = binding_by_pmode[pmode.id], pmode_to_json(pmode)
        different_values = _compare_values(expected_values, converted_pmodes[binding_id])
        if different_values:
            differences[binding_id] = different_values
    return differences


def _compare_values(
    expected_values: Mapping[str, Any], converted_values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the values that differ; of a group, only those within it that differ."""
    different_values = {}
    for name, value in expected_values.items():
        converted_value = converted_values[name]
        if value == converted_value:
            continue
        are_groups = isinstance(value, dict) and isinstance(converted_value, dict)
        different_values[name] = _compare_values(value, converted_value) if are_groups else value
    return different_values


@dataclass(slots=True)
class _RoleActions:
    """The actions of a party in one role of one process with one service."""

    role_key: tuple[str, str, str, str, str, str | None]
    sent_pmodes: list[PMode] = field(default_factory=list)
    received_pmodes: list[PMode] = field(default_factory=list)


@dataclass(slots=True)
class _PartyWriter:
    """One party of the document; `channel_ids` are its channels by P-Mode, in the order of preference."""

    party_ids: _PartyIds
    party_terms: PartyTerms
    party_certificates: PartyCertificates
    channel_plan: ChannelPlan
    roles: dict[Any, _RoleActions] = field(default_factory=dict)
    channel_ids: dict[str, list[str]] = field(default_factory=dict)

    def get_role(self, pmode: PMode, role_name: str | None) -> _RoleActions:
        """Return the role in which this party takes part in a P-Mode."""
        terms = pmode.business
        role_key = (
            terms.process or "process",
            terms.process_version or "1.0",
            terms.process_uri or "urn:single-window:process",
            role_name or self.party_terms.name,
            pmode.service,
            pmode.service_type,
        )
        return self.roles.setdefault(role_key, _RoleActions(role_key))


class DocumentWriter:
    """The document of one agreement; raises GW313 for P-Modes that are none of two parties over ebMS 2.0."""

    def __init__(
        self,
        pmodes: Sequence[PMode],
        parties: Mapping[PartyId, RegisteredParty],
        certificates: Mapping[str, bytes],
    ) -> None:
        self.pmodes = _check_pmodes(pmodes)
        self._ids = DocumentIds()
        #: The binding of each P-Mode for its sender and for its receiver, and the element of each binding.
        self.sender_binding_ids = {pmode.id: self._ids.reserve_id(pmode.id) for pmode in pmodes}
        self.receiver_binding_ids = {
            pmode.id: self._ids.reserve_id(f"{self.sender_binding_ids[pmode.id]}-received")
            for pmode in pmodes
        }
        self.binding_elements: dict[str, etree._Element] = {}
        self.root = etree.Element(f"{{{TP}}}CollaborationProtocolAgreement", nsmap=NAMESPACES)
        self._packages = PackageWriter(self._ids)
        self._party_writers: dict[_PartyIds, _PartyWriter] = {}
        for number, ids in enumerate(
            dict.fromkeys(ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party))
        ):
            prefix = f"party{number + 1}"
            party_terms = collect_party_terms(ids, pmodes, parties, certificates)
            party_certificates = PartyCertificates(prefix, self._ids, certificates)
            self._party_writers[ids] = _PartyWriter(
                ids, party_terms, party_certificates, ChannelPlan(prefix, self._ids)
            )

    def build_document(self) -> etree._Element:
        """Return the document without the terms that only the gateway has."""
        first_pmode = self.pmodes[0]
        self.root.set(f"{{{TP}}}cpaid", first_pmode.agreement)
        self.root.set(f"{{{TP}}}version", "2_0b")
        add_element(self.root, "Status", value="agreed")
        add_element(self.root, "Start", format_instant(first_pmode.valid_from, "auto"))
        add_element(self.root, "End", format_instant(first_pmode.valid_until, "auto"))
        limits = first_pmode.conversations
        if limits.invocations is not None or limits.concurrent is not None:
            add_element(
                self.root,
                "ConversationConstraints",
                invocationLimit=_format_number(limits.invocations),
                concurrentConversations=_format_number(limits.concurrent),
            )
        for pmode in self.pmodes:
            self._party_writers[pmode.from_party].get_role(pmode, pmode.from_role).sent_pmodes.append(pmode)
            self._party_writers[pmode.to_party].get_role(pmode, pmode.to_role).received_pmodes.append(pmode)
        first_writer, second_writer = self._party_writers.values()
        self._plan_channels()
        self._write_party(first_writer, second_writer.party_terms)
        self._write_party(second_writer, first_writer.party_terms)
        self._packages.write_packages(self.root)
        return self.root

    def _plan_channels(self) -> None:
        """Give each message the channels of its sender, then those of its receiver."""
        for pmode in self.pmodes:
            party_writer, partner = self._party_writers[pmode.from_party], self._party_writers[pmode.to_party]
            sending_terms = make_sending_terms(pmode, party_writer.party_terms, partner.party_terms)
            party_writer.channel_ids[pmode.id] = [
                party_writer.channel_plan.add_sending_channel(
                    MessagingTerms(channel.sync_reply_mode, channel.reliability), sending_terms, channel.name
                )
                for channel in _list_channels(pmode)
            ]
        for pmode in self.pmodes:
            partner, party_writer = self._party_writers[pmode.from_party], self._party_writers[pmode.to_party]
            party_writer.channel_ids[pmode.id] = [
                party_writer.channel_plan.add_receiving_channel(
                    MessagingTerms(channel.sync_reply_mode, channel.reliability),
                    make_receiving_terms(
                        pmode, partner.party_terms, party_writer.party_terms, channel.endpoint
                    ),
                    pmode.security.reply_certificates,
                )
                for channel in _list_channels(pmode)
            ]

    def _write_party(self, party_writer: _PartyWriter, partner_terms: PartyTerms) -> None:
        """Write the PartyInfo of one party, after deriving the channel halves that no P-Mode describes."""
        party_writer.channel_plan.complete_halves(party_writer.party_terms, partner_terms)
        signal_plan = plan_signals(
            party_writer.channel_plan,
            party_writer.party_ids,
            self.pmodes,
            party_writer.party_terms,
            partner_terms,
        )
        party_element = add_element(
            self.root,
            "PartyInfo",
            partyName=party_writer.party_terms.name,
            defaultMshChannelId=signal_plan.default_channel_id,
            defaultMshPackageId=self._packages.reserve_signal_package_id(),
        )
        for party_id in party_writer.party_ids:
            add_element(party_element, "PartyId", party_id.value, type=party_id.type)
        set_link(add_element(party_element, "PartyRef"), "")
        for role in party_writer.roles.values():
            self._write_role(party_element, party_writer, role)
        channels_position = len(party_element)
        write_channels(
            party_element, party_writer.channel_plan.channels, self._ids, party_writer.party_certificates
        )
        for action, channel_id in signal_plan.channel_by_signal:
            add_element(party_element, "OverrideMshActionBinding", action=action, channelId=channel_id)
        party_writer.party_certificates.write_certificates(party_element[channels_position])

    def _write_role(
        self, party: etree._Element, party_writer: _PartyWriter, role_actions: _RoleActions
    ) -> None:
        """Write a CollaborationRole; actions that answer another one are written inside that one."""
        process, process_version, process_uri, role_name, service, service_type = role_actions.role_key
        role_element = add_element(party, "CollaborationRole")
        set_link(
            add_element(role_element, "ProcessSpecification", name=process, version=process_version),
            process_uri,
        )
        set_link(add_element(role_element, "Role", name=role_name), process_uri)
        binding = add_element(role_element, "ServiceBinding")
        add_element(binding, "Service", service, type=service_type)
        for pmode in role_actions.sent_pmodes:
            if self._find_request(pmode) is None:
                self._write_action(binding, party_writer, pmode, is_sent=True)
        for pmode in role_actions.received_pmodes:
            if self._find_request(pmode) is None:
                self._write_action(binding, party_writer, pmode, is_sent=False)

    def _find_request(self, pmode: PMode) -> PMode | None:
        """Return the P-Mode whose message this one answers, where both sides have them in one role."""
        request_pmode = next((candidate for candidate in self.pmodes if candidate.id == pmode.answers), None)
        if (
            request_pmode is None
            or request_pmode.answers is not None
            or pmode.id not in request_pmode.answered_by
        ):
            return None
        is_in_role = (
            (request_pmode.service, request_pmode.service_type) == (pmode.service, pmode.service_type)
            and (request_pmode.from_party, request_pmode.from_role) == (pmode.to_party, pmode.to_role)
            and request_pmode.to_role == pmode.from_role
            and request_pmode.business.process_uri == pmode.business.process_uri
        )
        return request_pmode if is_in_role else None

    def _list_responses(self, pmode: PMode) -> list[PMode]:
        pmode_by_id = {candidate.id: candidate for candidate in self.pmodes}
        response_pmodes = (pmode_by_id[name] for name in pmode.answered_by if name in pmode_by_id)
        return [answer for answer in response_pmodes if self._find_request(answer) is pmode]

    def _write_action(
        self, parent: etree._Element, party_writer: _PartyWriter, pmode: PMode, *, is_sent: bool
    ) -> None:
        """Write the CanSend of a P-Mode into `parent`, or its CanReceive if the party does not send it.

        Inside it stands the opposite element for each response to the message.
        """
        own_ids, other_ids = self.sender_binding_ids, self.receiver_binding_ids
        if not is_sent:
            own_ids, other_ids = other_ids, own_ids
        action_element = add_element(parent, "CanSend" if is_sent else "CanReceive")
        binding_element = self._write_binding(action_element, own_ids[pmode.id], pmode, party_writer)
        self.binding_elements[own_ids[pmode.id]] = binding_element
        add_element(action_element, "OtherPartyActionBinding", other_ids[pmode.id])
        for answer in self._list_responses(pmode):
            self._write_action(action_element, party_writer, answer, is_sent=not is_sent)

    def _write_binding(
        self, parent: etree._Element, binding_id: str, pmode: PMode, party_writer: _PartyWriter
    ) -> etree._Element:
        """Write the ThisPartyActionBinding of a P-Mode for one party, and return the element."""
        package_id = self._packages.reserve_package_id(pmode.packaging)
        binding_element = add_element(
            parent, "ThisPartyActionBinding", id=binding_id, action=pmode.action, packageId=package_id
        )
        _write_characteristics(binding_element, pmode)
        terms = pmode.business
        if terms.collaboration and terms.activity and terms.activity_action:
            add_element(
                binding_element,
                "ActionContext",
                binaryCollaboration=terms.collaboration,
                businessTransactionActivity=terms.activity,
                requestOrResponseAction=terms.activity_action,
            )
        for channel in party_writer.channel_ids[pmode.id]:
            add_element(binding_element, "ChannelId", channel)
        return binding_element


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


def _write_characteristics(binding_element: etree._Element, pmode: PMode) -> None:
    """Write the BusinessTransactionCharacteristics of a P-Mode into its binding.

    A signed P-Mode requires proof of origin unless another persistent characteristic implies the signature.
    """
    security, terms = pmode.security, pmode.business
    is_signed_otherwise = security.authenticated in _PERSISTENT or security.tamper_proof in _PERSISTENT
    requires_origin_proof = security.non_repudiation_of_origin or (security.sign and not is_signed_otherwise)
    confidential = security.confidential
    if pmode.encryption is not None and confidential not in _PERSISTENT:
        confidential = "persistent"
    add_element(
        binding_element,
        "BusinessTransactionCharacteristics",
        isNonRepudiationRequired=_format_boolean(requires_origin_proof),
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


_PROFILE_TAG: Final = f"{{{TP}}}CollaborationProtocolProfile"


def write_profile(
    pmodes: Sequence[PMode],
    own_id: PartyId,
    profile_id: str,
    parties: Mapping[PartyId, RegisteredParty],
    certificates: Mapping[str, bytes],
) -> bytes:
    """Return the profile of the party with the identifier `own_id`, under the name (``cppid``) `profile_id`.

    Its certificates are those of `parties`, their octets (DER) in `certificates` by SHA-256. The terms of the
    other party are left out. Terms of a receiver that CPPA has no element for are written in the namespace of
    the gateway. Raises GW313 for P-Modes that are no agreement of that party over ebMS 2.0.
    """
    sides = {ids for pmode in pmodes for ids in (pmode.from_party, pmode.to_party) if own_id in ids}
    if len(sides) != 1:
        raise GatewayError(AGREEMENT_UNWORKABLE, f"{own_id.value[:80]} is no party of the agreement")
    (party_ids,) = sides
    offered_pmodes = [_remove_certificates(pmode) for pmode in pmodes]
    own_parties = {identifier: parties[identifier] for identifier in party_ids if identifier in parties}
    writer = DocumentWriter(offered_pmodes, own_parties, certificates)
    root = writer.build_document()
    for pmode in offered_pmodes:
        if pmode.deliver_to != "mailbox":
            terms = etree.SubElement(
                writer.binding_elements[writer.receiver_binding_ids[pmode.id]], f"{{{TERMS_NAMESPACE}}}Terms"
            )
            terms.set("values", json.dumps({"deliver_to": pmode.deliver_to}))
    try:
        octets = _make_profile(root, party_ids, profile_id)
    except ValueError as mistake:  # XML cannot hold every character
        raise GatewayError(AGREEMENT_UNWORKABLE, "a text of the profile cannot stand in XML") from mistake
    read_cpa(octets, "profile", is_profile=True)
    return octets


def _remove_certificates(pmode: PMode) -> PMode:
    """Return a P-Mode without certificates; a profile has the registered ones and no partner yet."""
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


def _make_profile(agreement: etree._Element, ids: Sequence[PartyId], profile_id: str) -> bytes:
    """Return the CPP of the party with one of `ids` as XML, without references to the other party.

    The elements are moved out of `agreement`.
    """
    root = etree.Element(_PROFILE_TAG, nsmap=NAMESPACES)
    root.set(f"{{{TP}}}cppid", profile_id)
    root.set(f"{{{TP}}}version", "2_0b")
    own_ids = {(identifier.value, identifier.type) for identifier in ids}
    for party in agreement.findall(f"{{{TP}}}PartyInfo"):
        party_id = party.find(f"{{{TP}}}PartyId")
        if party_id is not None and (party_id.text, party_id.get(f"{{{TP}}}type")) in own_ids:
            root.append(party)
    for reference in list(root.iter(f"{{{TP}}}OtherPartyActionBinding")):
        parent_element = reference.getparent()
        assert parent_element is not None, "it stands in CanSend or CanReceive"
        parent_element.remove(reference)
    root.extend(agreement.findall(f"{{{TP}}}SimplePart"))
    root.extend(agreement.findall(f"{{{TP}}}Packaging"))
    return serialize_document(root)
