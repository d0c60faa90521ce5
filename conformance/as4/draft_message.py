"""Builds a message of the suite: honest as the protocol core seals it, changed, and then signed.

The order is that of the profile: compressed, signed, encrypted (eDelivery AS4 1.15, 1.4.3.1), except where
a row wants another one. A change of the header is made before the message is signed, so that the signature
is right. A change of a part says at which of three moments it is made: before it is signed, after that, or
after it is encrypted.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lxml import etree

from gateway.agreements import PMode
from gateway.encryption import encrypt_attachments, get_encryption_policy, select_agreed_algorithms
from gateway.message_model import MemoryBody, UserMessage
from gateway.pki import Signer
from gateway.protocols import Parcel, ProtocolContext, as4
from gateway.wire import (
    EB3,
    SOAP12,
    WSSE,
    WSU,
    MimePart,
    canonicalize_element,
    parse_xml,
    read_multipart_related,
    write_attribute,
    write_element,
    write_multipart_related,
)
from gateway.xmlsec import SigningToken, SwaAttachment, write_swa_security
from gateway_conformance.hostile import (
    TreeMutation,
    append_element,
    detach_element,
    get_elements,
    insert_after,
    set_attribute,
    set_text,
)

_PARTY_ID: Final = "//eb3:From/eb3:PartyId"
_PROPERTIES: Final = "<eb3:MessageProperties>{}</eb3:MessageProperties>"


def _add_properties(*properties: str) -> TreeMutation:
    """Return the change that gives the message properties, each an eb3:Property as text."""
    return insert_after("//eb3:CollaborationInfo", _PROPERTIES.format("".join(properties)))


def _remove_property(name: str) -> TreeMutation:
    def alter_tree(root: etree._Element) -> None:
        for element in get_elements(root, f"//eb3:Property[@name='{name}']"):
            detach_element(element)

    return alter_tree


def _swap_part_infos(root: etree._Element) -> None:
    infos = list(root.iter(f"{{{EB3}}}PartInfo"))
    if len(infos) > 1:
        infos[0].addprevious(infos[-1])


#: Changes of the envelope before it is signed.
HEADER_CHANGES: Final[Mapping[str, TreeMutation]] = {
    "external-payload": set_attribute("(//eb3:PartInfo)[1]", "href", "https://suite.invalid/payload.xml"),
    "no-mime-type": _remove_property("MimeType"),
    "no-compression-type": _remove_property("CompressionType"),
    "no-charset": _remove_property("CharacterSet"),
    "other-agreement": set_text("//eb3:AgreementRef", "urn:example:no-agreement"),
    "other-service": set_text("//eb3:Service", "urn:example:no-service"),
    "other-conversation": set_text("//eb3:ConversationId", "another"),
    "other-reference": set_text("//eb3:RefToMessageId", "another@suite.invalid"),
    "bad-message-id": set_text("//eb3:MessageId", "<in brackets>"),
    "other-role": set_text("//eb3:From/eb3:Role", "Nobody"),
    "typed-property": _add_properties(
        '<eb3:Property name="originalSender" type="urn:example:id">urn:example:c1</eb3:Property>'
    ),
    # Sender and receiver behind the gateways, and the exchange (eDelivery AS4 1.15, 1.5.1).
    "four-corners": _add_properties(
        '<eb3:Property name="originalSender">urn:example:corner:1</eb3:Property>',
        '<eb3:Property name="finalRecipient">urn:example:corner:4</eb3:Property>',
        '<eb3:Property name="trackingIdentifier">tracking-7</eb3:Property>',
    ),
    "other-channel": set_attribute("//eb3:UserMessage", "mpc", "urn:example:no-channel"),
    "payload-in-body": append_element(
        "//soap12:Body", '<order xmlns="urn:example:payload">in the Body</order>'
    ),
    "two-party-ids": insert_after(_PARTY_ID, '<eb3:PartyId type="urn:example:other">another</eb3:PartyId>'),
    "swapped-parts": _swap_part_infos,
}


def _damage_gzip(content: bytes) -> bytes:
    return content[:12] + bytes(octet ^ 0x5A for octet in content[12:24]) + content[24:-4]


def _flip_last_octet(content: bytes) -> bytes:
    return content[:-1] + bytes((content[-1] ^ 1,)) if content else b"x"


#: Changes of the parts before they are signed.
SIGNED_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {"damaged-gzip": _damage_gzip}
#: Changes of the parts after they are signed, before they are encrypted.
SENT_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "tampered": _flip_last_octet,
    "sign-then-compress": lambda content: gzip.compress(content, mtime=0),
}
#: Changes of the parts after they are encrypted.
CIPHER_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "encrypt-then-compress": lambda content: gzip.compress(content, mtime=0),
    "damaged-ciphertext": _flip_last_octet,
}
#: Changes of the octets of the signed envelope.
OCTET_CHANGES: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "byte-order-mark": lambda octets: b"\xef\xbb\xbf" + octets,
    "broken-xml": lambda octets: octets.replace(b"</", b"<", 1),
}


_SOAP_TYPE: Final = "application/soap+xml"
_OCTETS: Final = "application/octet-stream"
_SOAP: Final = write_attribute("xmlns:soap12", SOAP12)
_ID: Final = f"{{{WSU}}}Id"
_MARK: Final = "suite"


@dataclass(frozen=True)
class DraftMessage:
    """One message to be: the unit, its P-Mode, and the names of its changes.

    `signer` None leaves the message unsigned. `unsigned_prefixes` names elements that the signature does not
    cover, by the beginnings of their ids; ``parts`` leaves out every part. `change_encryption_header` changes
    the elements of the header that describe the encryption.
    """

    unit: UserMessage
    pmode: PMode
    context: ProtocolContext
    signer: Signer | None
    changes: Sequence[str] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    unsigned_prefixes: frozenset[str] = frozenset()
    change_encryption_header: Callable[[str], str] | None = None

    def build_parcel(self) -> Parcel:
        """Return the message as it is sent."""
        plain = as4.seal((self.unit,), replace(self.pmode, encryption=None), self.context)
        related = read_multipart_related(plain.get_header("Content-Type"), plain.read_octets())
        root = self._change_header(related.root.content)
        parts = self._change_parts(list(related.attachments), SIGNED_CHANGES)
        later = self._change_parts(parts, SENT_CHANGES)
        encryption_header, sent_parts = self._encrypt(later)
        sent_parts = self._change_parts(sent_parts, CIPHER_CHANGES)
        envelope = self._write_envelope(root, parts, encryption_header)
        for name in self.changes:
            if name in OCTET_CHANGES:
                envelope = OCTET_CHANGES[name](envelope)
        if "external-payload" in self.changes:
            sent_parts = sent_parts[1:]
        return self._pack(envelope, sent_parts)

    def _change_header(self, octets: bytes) -> etree._Element:
        root = _remove_security_headers(parse_xml(octets))
        for element in root.iter(f"{{{EB3}}}PartProperties"):
            for name, value in self.properties.items():
                etree.SubElement(element, f"{{{EB3}}}Property", name=name).text = value
        for name in self.changes:
            if name in HEADER_CHANGES:
                HEADER_CHANGES[name](root)
        return root

    def _change_parts(self, parts: list[MimePart], part_changes: Mapping[str, Any]) -> list[MimePart]:
        for name in self.changes:
            if name in part_changes:
                parts = [replace(part, octets=part_changes[name](part.content)) for part in parts]
        return parts

    def _encrypt(self, parts: list[MimePart]) -> tuple[str, list[MimePart]]:
        terms = self.pmode.encryption
        if terms is None or not parts:
            return "", parts
        certificate = self.context.find_encryption_certificate(
            self.unit.receiver, terms.certificate, "encryption/certificate"
        )
        agreed = select_agreed_algorithms(terms.algorithms, get_encryption_policy(terms.policy))
        clear = {f"cid:{part.content_id}": (part.content, part.headers["content-type"]) for part in parts}
        header, octets = encrypt_attachments(clear, certificate, agreed, os.urandom, _MARK)
        header = (
            self.change_encryption_header(header) if self.change_encryption_header is not None else header
        )
        return header, [
            MimePart({"content-type": _OCTETS}, part.content_id, _OCTETS, octets[f"cid:{part.content_id}"])
            for part in parts
        ]

    def _write_envelope(self, root: etree._Element, parts: list[MimePart], encryption_header: str) -> bytes:
        signed = [] if "parts" in self.unsigned_prefixes else parts
        return _sign_envelope(root, signed, self.signer, encryption_header, self.unsigned_prefixes)

    def _pack(self, envelope: bytes, parts: list[MimePart]) -> Parcel:
        if not parts:
            return Parcel({"Content-Type": f"{_SOAP_TYPE}; charset=UTF-8"}, MemoryBody(envelope))
        kind, octets = write_multipart_related(
            envelope, parts, "=-suite-boundary", self.unit.message_id, _SOAP_TYPE
        )
        return Parcel({"Content-Type": kind}, MemoryBody(octets))


def _remove_security_headers(root: etree._Element) -> etree._Element:
    for security in list(root.iter(f"{{{WSSE}}}Security")):
        detach_element(security)
    return root


def _sign_envelope(
    root: etree._Element,
    parts: list[MimePart],
    signer: Signer | None,
    encryption_header: str,
    unsigned_prefixes: frozenset[str] = frozenset(),
) -> bytes:
    """Return the octets of an envelope without Security header, signed; `secret` is of the encryption."""
    messaging = next(root.iter(f"{{{EB3}}}Messaging"))
    body = next(root.iter(f"{{{SOAP12}}}Body"))
    blocks = {block.get(_ID, ""): canonicalize_element(block, exclusive=True) for block in (messaging, body)}
    header, content = blocks[messaging.get(_ID, "")], blocks[body.get(_ID, "")]
    security = ""
    if signer is not None:
        covered = {
            name: octets
            for name, octets in blocks.items()
            if not any(name.startswith(prefix) for prefix in unsigned_prefixes)
        }
        attachments = {part.content_id: SwaAttachment(part.media_type, part.content) for part in parts}
        token = SigningToken(f"token-{_MARK}")
        security = write_swa_security(covered, attachments, signer, token, encryption_header).text
    text = write_element("soap12:Header", security + header.decode()) + content.decode()
    return write_element("soap12:Envelope", text, _SOAP).encode()


def sign_again(parcel: Parcel, signer: Signer | None, leave_out: frozenset[str] = frozenset()) -> Parcel:
    """Return a signal signed again, without the elements of `leave_out`; unsigned if `signer` is None."""
    root = _remove_security_headers(parse_xml(parcel.read_octets()))
    return Parcel(dict(parcel.headers), MemoryBody(_sign_envelope(root, [], signer, "", leave_out)))
