"""Writes P-Modes of one agreement as a CPA of CPPA 2.0 that is read into equal P-Modes again.

Whatever CPPA can say is said in its own elements. What it has no word for, such as the application
that receives a message, stands in the binding of the action in the namespace of the gateway: what
is read back is compared with the P-Modes, and each difference is written there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from lxml import etree

from gateway.agreements.cpa.channel_writer import ChannelWriter, order_receiving, order_sending
from gateway.agreements.cpa.cpa_reader import read_cpa
from gateway.agreements.cpa.cpa_values import TERMS, format_duration
from gateway.agreements.cpa.element_writer import IdNames, PartyStock, add_element, set_link
from gateway.agreements.cpa.package_writer import PackageWriter
from gateway.agreements.cpa.pmode_conversion import convert_cpa
from gateway.agreements.pmode import PMode
from gateway.agreements.pmode_json import pmode_to_json
from gateway.agreements.pmode_values import ANY_SIGNAL, TransportTerms
from gateway.errors import AGREEMENT_UNWORKABLE, GatewayError
from gateway.message_model import PartyId
from gateway.wire import DS, TP, XLINK

__all__ = ["write_cpa"]

_NAMESPACES: Final = {"tp": TP, "ds": DS, "xlink": XLINK, "sw": TERMS}
_PERSISTENT: Final = ("persistent", "transient-and-persistent")
_Side = tuple[PartyId, ...]


def write_cpa(
    pmodes: Sequence[PMode], names: Mapping[PartyId, str], certificates: Mapping[str, bytes]
) -> bytes:
    """Return the CPA of P-Modes; `names` are those of parties, `certificates` (DER) are by SHA-256.

    Raises GW313 for P-Modes that are no agreement of two parties over ebMS 2.0.
    """
    writer = _DocumentWriter(_check_pmodes(pmodes), names, certificates)
    try:
        octets = _serialize(writer.build_document())
        differences = _find_differences(pmodes, octets, writer.bindings)
        for binding, values in differences.items():
            text = json.dumps(values, ensure_ascii=False, sort_keys=True)
            etree.SubElement(writer.elements[binding], f"{{{TERMS}}}Terms").set("values", text)
    except ValueError as mistake:  # XML cannot hold every character
        raise GatewayError(AGREEMENT_UNWORKABLE, "a text of the agreement cannot stand in XML") from mistake
    return _serialize(writer.root) if differences else octets


def _serialize(root: etree._Element) -> bytes:
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _check_pmodes(pmodes: Sequence[PMode]) -> tuple[PMode, ...]:
    sides = {ids for one in pmodes for ids in (one.from_party, one.to_party)}
    if len(sides) != 2 or len({one.agreement for one in pmodes}) != 1:
        raise GatewayError(AGREEMENT_UNWORKABLE, "a CPA is one agreement of two parties")
    for one in pmodes:
        if one.protocol != "ebms2":
            detail = f"a CPA of CPPA 2.0 is for ebMS 2.0, and P-Mode {one.id} is for {one.protocol}"
            raise GatewayError(AGREEMENT_UNWORKABLE, detail)
    return tuple(pmodes)


def _find_differences(
    pmodes: Sequence[PMode], octets: bytes, bindings: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Return, by binding, what is not read back from a document as it is in the P-Modes."""
    found = {one.id: pmode_to_json(one) for one in convert_cpa(read_cpa(octets, "export"))}
    differences = {}
    for one in pmodes:
        binding, wanted = bindings[one.id], pmode_to_json(one)
        different = _compare_values(wanted, found[binding])
        if different:
            differences[binding] = different
    return differences


def _compare_values(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that differ; of a group, only those within it that differ."""
    different = {}
    for name, value in wanted.items():
        other = found[name]
        if value == other:
            continue
        both = isinstance(value, dict) and isinstance(other, dict)
        different[name] = _compare_values(value, other) if both else value
    return different


def _format_time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class _Role:
    """What a party does in one role of one process with one service."""

    key: tuple[str, str, str, str, str, str | None]
    sends: list[PMode] = field(default_factory=list)
    receives: list[PMode] = field(default_factory=list)


@dataclass(slots=True)
class _SideWriter:
    """One party of the document."""

    ids: _Side
    name: str
    stock: PartyStock
    channels: ChannelWriter
    roles: dict[Any, _Role] = field(default_factory=dict)

    def get_role(self, pmode: PMode, role: str | None) -> _Role:
        """Return the role in which this party takes part in a P-Mode."""
        terms = pmode.business
        key = (
            terms.process or "process",
            terms.process_version or "1.0",
            terms.process_uri or "urn:single-window:process",
            role or self.name,
            pmode.service,
            pmode.service_type,
        )
        return self.roles.setdefault(key, _Role(key))


class _DocumentWriter:
    """The document of one agreement."""

    def __init__(
        self, pmodes: tuple[PMode, ...], names: Mapping[PartyId, str], certificates: Mapping[str, bytes]
    ) -> None:
        self.pmodes = pmodes
        self._ids = IdNames()
        #: The binding of each P-Mode, and the element of each binding.
        self.bindings = {one.id: self._ids.reserve_name(one.id) for one in pmodes}
        self._received = {
            one.id: self._ids.reserve_name(f"{self.bindings[one.id]}-received") for one in pmodes
        }
        self.elements: dict[str, etree._Element] = {}
        self.root = etree.Element(f"{{{TP}}}CollaborationProtocolAgreement", nsmap=_NAMESPACES)
        self._packages = PackageWriter(self._ids)
        self._sides: dict[_Side, _SideWriter] = {}
        for number, ids in enumerate(
            dict.fromkeys(ids for one in pmodes for ids in (one.from_party, one.to_party))
        ):
            prefix, name = f"party{number + 1}", names.get(ids[0], ids[0].value)
            stock = PartyStock(prefix, self._ids, certificates)
            channels = ChannelWriter(prefix, self._ids, stock)
            self._sides[ids] = _SideWriter(ids, name, stock, channels)

    def build_document(self) -> etree._Element:
        """Return the document without the terms that only the gateway has."""
        first = self.pmodes[0]
        self.root.set(f"{{{TP}}}cpaid", first.agreement)
        self.root.set(f"{{{TP}}}version", "2_0b")
        add_element(self.root, "Status", value="agreed")
        add_element(self.root, "Start", _format_time(first.valid_from))
        add_element(self.root, "End", _format_time(first.valid_until))
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
        for side in self._sides.values():
            self._write_party(side)
        self._packages.write_packages(self.root)
        return self.root

    def _write_party(self, side: _SideWriter) -> None:
        default, overrides = self._order_signals(side)
        party = add_element(
            self.root,
            "PartyInfo",
            partyName=side.name,
            defaultMshChannelId=default,
            defaultMshPackageId=self._packages.name_package(None),
        )
        for one in side.ids:
            add_element(party, "PartyId", one.value, type=one.type)
        set_link(add_element(party, "PartyRef"), "")
        for role in side.roles.values():
            self._write_role(party, side, role)
        last = len(party)
        side.channels.write_channels(party)
        for action, channel in overrides:
            add_element(party, "OverrideMshActionBinding", action=action, channelId=channel)
        side.stock.write_stock(party[last])

    def _order_signals(self, side: _SideWriter) -> tuple[str, list[tuple[str, str]]]:
        """Return the default channel of a party, and the channels of single signals."""
        sent = [one for one in self.pmodes if one.from_party == side.ids]
        received = [one for one in self.pmodes if one.to_party == side.ids]
        pins = next(
            (one.security.reply_certificates for one in received if one.security.reply_certificates), ()
        )
        asked = any(one.reliability.ack_signed != "never" for one in received)
        signer = pins[0] if pins else ("" if asked else None)
        endpoint = next((one.reply_endpoint for one in sent if one.reply_endpoint), None)
        transport = sent[0].transport if sent else TransportTerms()
        mode = sent[0].sync_reply_mode if sent else received[0].sync_reply_mode
        listed = {signal.action: signal for one in reversed(sent) for signal in one.signals}
        general = listed.pop(ANY_SIGNAL, None)
        if general is not None:
            endpoint, mode = general.endpoint or endpoint, general.sync_reply_mode
        plain = TransportTerms(protocol_version=transport.protocol_version)
        writer = side.channels
        default = writer.name_channel(
            writer.order_signals(endpoint, mode, signer, plain), f"{writer.prefix}-signals"
        )
        overrides = []
        for action, one in sorted(listed.items()):
            own = one.certificates[0] if one.certificates else signer
            order = writer.order_signals(one.endpoint, one.sync_reply_mode, own, plain)
            overrides.append((action, writer.name_channel(order, f"{writer.prefix}-signals")))
        return default, overrides

    def _write_role(self, party: etree._Element, side: _SideWriter, role: _Role) -> None:
        process, version, uri, name, service, kind = role.key
        written = add_element(party, "CollaborationRole")
        set_link(add_element(written, "ProcessSpecification", name=process, version=version), uri)
        set_link(add_element(written, "Role", name=name), uri)
        binding = add_element(written, "ServiceBinding")
        add_element(binding, "Service", service, type=kind)
        for one in role.sends:
            if self._find_asked(one) is None:
                self._write_sending(binding, side, one, role)
        for one in role.receives:
            if self._find_asked(one) is None:
                self._write_receiving(binding, side, one, role)

    def _find_asked(self, pmode: PMode) -> PMode | None:
        """Return the P-Mode whose message this one answers, where both sides have them in one role."""
        asked = next((one for one in self.pmodes if one.id == pmode.answers), None)
        if asked is None or asked.answers is not None or pmode.id not in asked.answered_by:
            return None
        same = (asked.service, asked.service_type, asked.from_role, asked.to_role, asked.business.process_uri)
        other = (
            pmode.service,
            pmode.service_type,
            pmode.to_role,
            pmode.from_role,
            pmode.business.process_uri,
        )
        return asked if same == other and asked.from_party == pmode.to_party else None

    def _list_answers(self, pmode: PMode) -> list[PMode]:
        by_id = {one.id: one for one in self.pmodes}
        found = (by_id[name] for name in pmode.answered_by if name in by_id)
        return [one for one in found if self._find_asked(one) is pmode]

    def _write_sending(self, parent: etree._Element, side: _SideWriter, pmode: PMode, role: _Role) -> None:
        sending = add_element(parent, "CanSend")
        this = self._write_binding(sending, self.bindings[pmode.id], pmode)
        self.elements[self.bindings[pmode.id]] = this
        add_element(this, "ChannelId", side.channels.name_channel(order_sending(pmode), pmode.channel))
        for one in pmode.alternatives:
            order = order_sending(pmode, one.sync_reply_mode, one.reliability)
            add_element(this, "ChannelId", side.channels.name_channel(order, one.name or None))
        add_element(sending, "OtherPartyActionBinding", self._received[pmode.id])
        for answer in self._list_answers(pmode):
            self._write_receiving(sending, side, answer, role)

    def _write_receiving(self, parent: etree._Element, side: _SideWriter, pmode: PMode, role: _Role) -> None:
        receiving = add_element(parent, "CanReceive")
        this = self._write_binding(receiving, self._received[pmode.id], pmode)
        add_element(this, "ChannelId", side.channels.name_channel(order_receiving(pmode, pmode.endpoint)))
        for one in pmode.alternatives:
            order = order_receiving(pmode, one.endpoint, one.sync_reply_mode, one.reliability)
            add_element(this, "ChannelId", side.channels.name_channel(order))
        add_element(receiving, "OtherPartyActionBinding", self.bindings[pmode.id])
        for answer in self._list_answers(pmode):
            self._write_sending(receiving, side, answer, role)

    def _write_binding(self, parent: etree._Element, name: str, pmode: PMode) -> etree._Element:
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
        return this


def _format_number(number: int | None) -> str | None:
    return str(number) if number is not None else None


def _format_seconds(seconds: int | None) -> str | None:
    return format_duration(seconds) if seconds is not None else None


def _format_boolean(value: bool) -> str:
    return "true" if value else "false"


def _write_business(this: etree._Element, pmode: PMode) -> None:
    security, terms = pmode.security, pmode.business
    said = security.authenticated in _PERSISTENT or security.tamper_proof in _PERSISTENT
    origin = security.non_repudiation_of_origin or (security.sign and not said)
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
