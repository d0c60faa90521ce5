"""A simulated gateway for trying the suite itself: a right one, and doubles that do one thing wrong.

A suite that finds nothing wrong with a wrong gateway is worth nothing. Each double must be found out.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from lxml import etree

from gateway.agreements import PModeIndex
from gateway.client import EBMS2, HttpReply, IncomingRequest, Membership, read_file
from gateway.errors import MESSAGE_ID_REUSED, GatewayError
from gateway.message_model import MemoryBody, Ping, StatusRequest, Unit, UserMessage
from gateway.pki import DecryptionKey, load_decryption_key, load_signer
from gateway.protocols import OpenedMessage, Parcel, ProtocolContext, SentUnit, build_envelope_tree
from gateway.wire import DEFAULT_LIMITS, SoapFault, parse_xml, serialize_element, write_fault_envelope
from gateway_conformance.hostile import (
    TreeMutation,
    get_element,
    remove_attribute,
    remove_element,
    set_attribute,
    set_text,
)
from gateway_conformance.message_signing import sign_message
from gateway_conformance.standard.received_message import select_nodes
from gateway_conformance.standard.suite_party import read_suite_party

_TEXT_XML: Final = "text/xml; charset=UTF-8"
_HEADER: Final = "/soap:Envelope/soap:Header/eb:MessageHeader"
_DATA: Final = f"{_HEADER}/eb:MessageData"
_NOTHING: Final = HttpReply(204)


def _swap_parties(root: etree._Element) -> None:
    """Exchange From and To, so that the header of the answer is not reversed."""
    sender, receiver = get_element(root, f"{_HEADER}/eb:From"), get_element(root, f"{_HEADER}/eb:To")
    sender.tag, receiver.tag = receiver.tag, sender.tag
    receiver.addnext(sender)


def _remove_references(root: etree._Element) -> None:
    for reference in select_nodes(root, "//eb:Acknowledgment/ds:Reference"):
        reference.getparent().remove(reference)


def _ask_for_acknowledgment(root: etree._Element) -> None:
    """Make the signal ask for an Acknowledgment and for duplicate elimination itself."""
    header = get_element(root, _HEADER)
    eb, soap = header.nsmap["eb"], header.nsmap["soap"]
    ack_request = etree.Element(f"{{{eb}}}AckRequested")
    for name, value in ((f"{{{eb}}}version", "2.0"), (f"{{{eb}}}signed", "false")):
        ack_request.set(name, value)
    ack_request.set(f"{{{soap}}}mustUnderstand", "1")
    header.addnext(ack_request)
    etree.SubElement(header, f"{{{eb}}}DuplicateElimination")


def _fill_body(root: etree._Element) -> None:
    body = get_element(root, "/soap:Envelope/soap:Body")
    etree.SubElement(body, "{urn:example:unknown}more").text = "nobody asked"


def _make_attribute_change(attribute_name: str, value: str) -> TreeMutation:
    """Return the change of an attribute of every header block."""

    def alter_tree(root: etree._Element) -> None:
        for block in get_element(root, "/soap:Envelope/soap:Header"):
            for key in block.attrib:
                if str(key).endswith(f"}}{attribute_name}"):
                    block.set(key, value)

    return alter_tree


#: Changes of every signal before it is signed, by the name of the double.
_CHANGES: Final[Mapping[str, TreeMutation]] = {
    "parties-not-reversed": _swap_parties,
    "other-service": set_text(f"{_HEADER}/eb:Service", "urn:example:signals"),
    "other-action": set_text(f"{_HEADER}/eb:Action", "Something"),
    "other-agreement": set_text(f"{_HEADER}/eb:CPAId", "urn:example:another"),
    "other-conversation": set_text(f"{_HEADER}/eb:ConversationId", "another"),
    "other-reference": set_text(f"{_DATA}/eb:RefToMessageId", "another@gateway.invalid"),
    "no-reference": remove_element(f"{_DATA}/eb:RefToMessageId"),
    "one-message-id": set_text(f"{_DATA}/eb:MessageId", "always-the-same"),
    "local-time": set_text(f"{_DATA}/eb:Timestamp", "2020-01-01T00:00:00"),
    "old-version": _make_attribute_change("version", "1.0"),
    "not-mandatory": _make_attribute_change("mustUnderstand", "0"),
    "other-actor": _make_attribute_change("actor", "urn:oasis:names:tc:ebxml-msg:actor:nextMSH"),
    "asks-back": _ask_for_acknowledgment,
    "body-not-empty": _fill_body,
    "no-digests": _remove_references,
    "other-role": set_text(f"{_HEADER}/eb:From/eb:Role", "Nobody"),
    "unknown-code": set_attribute("//eb:ErrorList/eb:Error[1]", "eb:errorCode", "Wrong"),
    "unknown-context": set_attribute("//eb:ErrorList/eb:Error[1]", "eb:codeContext", "urn:example:codes"),
    "wrong-highest": set_attribute("//eb:ErrorList", "eb:highestSeverity", "Warning"),
    "no-language": remove_attribute("//eb:Error/eb:Description", "xml:lang"),
    "acknowledged-late": set_text("//eb:Acknowledgment/eb:Timestamp", "yesterday"),
}
#: The three shipped doubles, then those that the suite is tried with.
DOUBLES: Final = (
    "always-200",
    "always-refuses",
    "drops-acknowledgments",
    "takes-everything",
    "never-signs",
    "forgets-messages",
    "answers-answers",
    "shows-its-inside",
    "tells-apart",
    "octet-stream",
    *_CHANGES,
)


@dataclass
class SimulatedGateway:
    """Answers POSTs as a gateway with one fault, `fault_name`; without one as a gateway that does right.

    It answers on the connection only, and never sends of its own accord.
    """

    membership: Membership
    fault_name: str = ""
    _replies: dict[str, tuple[str, HttpReply]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer one POST."""
        if self.fault_name == "always-200":
            return HttpReply(200, "text/plain", b"")
        if self.fault_name == "always-refuses":
            octets = write_fault_envelope(SoapFault("Server", "not now"))
            return HttpReply(500, _TEXT_XML, octets)
        headers = {name: request.headers.get(name, "") for name in ("content-type", "soapaction")}
        parcel, context = Parcel(headers, MemoryBody(request.body)), self.membership.build_context()
        try:
            reply = self._answer_unit(EBMS2.open_units(parcel, context), context)
        except GatewayError as problem:
            reply = self._refuse_parcel(problem, parcel, context)
        if self.fault_name == "octet-stream" and reply.body:
            return replace(reply, content_type="application/octet-stream", status=202)
        return reply

    def _refuse_parcel(self, problem: GatewayError, parcel: Parcel, context: ProtocolContext) -> HttpReply:
        if self.fault_name == "takes-everything":
            return self._acknowledge_unverified(parcel, context)
        refusal = EBMS2.reject_parcel(problem, parcel, context)
        if refusal.error_signal is None:
            if refusal.parcel is None:
                return HttpReply(refusal.http_status)
            kind = refusal.parcel.get_header("Content-Type")
            return HttpReply(refusal.http_status, kind, refusal.parcel.read_octets())
        unit = refusal.error_signal
        if self.fault_name == "shows-its-inside":
            trace = "Traceback (most recent call last): line 1"
            unit = replace(unit, errors=tuple(replace(error, description=trace) for error in unit.errors))
        if self.fault_name == "tells-apart":
            digest = hashlib.sha256(parcel.read_octets()).hexdigest()
            unit = replace(unit, errors=tuple(replace(error, description=digest) for error in unit.errors))
        return self._write_signal(unit, is_signed=True)

    def _acknowledge_unverified(self, parcel: Parcel, context: ProtocolContext) -> HttpReply:
        """Acknowledge a message that should be refused, if the message can be read."""
        try:
            sent: SentUnit = EBMS2.read_sent_unit(parcel, DEFAULT_LIMITS)
        except GatewayError:
            return HttpReply(200, "text/plain", b"")
        if isinstance(sent.unit, Ping):
            return self._write_signal(EBMS2.make_pong(sent.unit, context), is_signed=False)
        if isinstance(sent.unit, StatusRequest):
            status = EBMS2.make_status_response(sent.unit, "Received", context.now, context)
            return self._write_signal(status, is_signed=False)
        opened = OpenedMessage((sent.unit,), None, None, parcel, "")
        return self._write_signal(EBMS2.make_receipt(opened, context), is_signed=True)

    def _answer_unit(self, opened: OpenedMessage, context: ProtocolContext) -> HttpReply:
        unit = opened.unit
        if isinstance(unit, UserMessage):
            return self._answer_message(unit, opened, context)
        if isinstance(unit, Ping):
            return self._write_signal(EBMS2.make_pong(unit, context), is_signed=False)
        if isinstance(unit, StatusRequest):
            return self._answer_status(unit, opened, context)
        if self.fault_name == "answers-answers":
            header = Ping(
                unit.message_id, unit.conversation_id, unit.sender, unit.receiver, unit.agreement, context.now
            )
            return self._write_signal(EBMS2.make_pong(header, context), is_signed=False)
        return _NOTHING

    def _answer_status(
        self, unit: StatusRequest, opened: OpenedMessage, context: ProtocolContext
    ) -> HttpReply:
        is_received = unit.queried_message_id in self._replies
        status, at = ("Received", context.now) if is_received else ("NotRecognized", None)
        if opened.verified_signature is None and opened.pmode is not None and opened.pmode.security.sign:
            status, at = "UnAuthorized", None
        if self.fault_name == "takes-everything":
            status, at = "Received", context.now
        return self._write_signal(EBMS2.make_status_response(unit, status, at, context), is_signed=False)

    def _answer_message(
        self, unit: UserMessage, opened: OpenedMessage, context: ProtocolContext
    ) -> HttpReply:
        with self._lock:
            stored_reply = self._replies.get(unit.message_id)
        if stored_reply is None or self.fault_name == "forgets-messages":
            EBMS2.check_time_to_live(unit, context.now)
            receipt = EBMS2.make_receipt(opened, context)
            reply = self._write_signal(receipt, is_signed=receipt.signature_requested)
            stored_reply = (opened.identity, reply if unit.ack_requested is not None else _NOTHING)
            if self.fault_name == "answers-answers":
                stored_reply = (opened.identity, reply)
            with self._lock:
                self._replies[unit.message_id] = stored_reply
        if stored_reply[0] != opened.identity and self.fault_name != "takes-everything":
            raise GatewayError(MESSAGE_ID_REUSED, "another message has this MessageId", "eb:MessageId")
        return _NOTHING if self.fault_name == "drops-acknowledgments" else stored_reply[1]

    def _write_signal(self, unit: Unit, *, is_signed: bool) -> HttpReply:
        tree = build_envelope_tree((unit,))
        change: Callable[[etree._Element], object] | None = _CHANGES.get(self.fault_name)
        if change is not None:
            with suppress(LookupError):  # not every signal has the place
                change(tree)
            tree = parse_xml(serialize_element(tree))
        if is_signed and self.fault_name != "never-signs":
            sign_message(tree, {}, self.membership.identity.signer)
        return HttpReply(200, _TEXT_XML, serialize_element(tree))


def read_simulated_gateway(folder: Path, key: Path, certificate: Path, fault_name: str) -> SimulatedGateway:
    """Return the gateway of a partner folder, with the key of that gateway; raise GW808 for bad files.

    With NAME.decryption.key.pem and its certificate beside NAME.key.pem it decrypts.
    """
    party = read_suite_party(folder, "sync", "Store")
    pmodes = {pmode.id: pmode for agreement in party.agreements.values() for pmode in agreement.pmodes}
    suite = party.agreements["sync"].membership
    signer = load_signer(read_file(key), read_file(certificate))
    identity = replace(
        suite.identity,
        signer=signer,
        hub_certificates=frozenset({suite.identity.signer.certificate.sha256}),
        encryption_certificate=None,
        decryption_key=_read_decryption_key(key),
    )
    return SimulatedGateway(
        Membership(
            identity, PModeIndex(tuple(pmodes.values())), suite.hub_identifiers, suite.own_identifiers
        ),
        fault_name,
    )


def _read_decryption_key(key: Path) -> DecryptionKey | None:
    name = key.name.removesuffix(".key.pem")
    decryption_key_path, certificate = (
        key.with_name(f"{name}.decryption.{suffix}.pem") for suffix in ("key", "cert")
    )
    return (
        load_decryption_key(read_file(decryption_key_path), read_file(certificate))
        if decryption_key_path.is_file()
        else None
    )
