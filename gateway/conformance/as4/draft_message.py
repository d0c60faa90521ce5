"""Builds a message of the suite: honest as the protocol core seals it, changed, and then signed.

The order is that of the profile: compressed, signed, encrypted (eDelivery AS4 1.15, 1.4.3.1), except where
a row wants another one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lxml import etree

from gateway.agreements import PMode
from gateway.conformance.as4.draft_changes import (
    CIPHER_CHANGES,
    HEADER_CHANGES,
    OCTET_CHANGES,
    SENT_CHANGES,
    SIGNED_CHANGES,
)
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

__all__ = ["DraftMessage", "sign_again"]

_SOAP_TYPE: Final = "application/soap+xml"
_OCTETS: Final = "application/octet-stream"
_SOAP: Final = write_attribute("xmlns:soap12", SOAP12)
_ID: Final = f"{{{WSU}}}Id"
_MARK: Final = "suite"


@dataclass(frozen=True)
class DraftMessage:
    """One message to be: the unit, its P-Mode, and the names of its changes.

    `signer` None leaves it unsigned. `leave_out` are the beginnings of ids, or ``parts``, of what the
    signature does not cover. `change_secret` changes what the header says of the encryption.
    """

    unit: UserMessage
    pmode: PMode
    context: ProtocolContext
    signer: Signer | None
    changes: Sequence[str] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    leave_out: frozenset[str] = frozenset()
    change_secret: Callable[[str], str] | None = None

    def build_parcel(self) -> Parcel:
        """Return the message as it is sent."""
        plain = as4.seal((self.unit,), replace(self.pmode, encryption=None), self.context)
        related = read_multipart_related(plain.get_header("Content-Type"), plain.read_octets())
        root = self._change_header(related.root.content)
        parts = self._change_parts(list(related.attachments), SIGNED_CHANGES)
        later = self._change_parts(parts, SENT_CHANGES)
        secret, sent = self._encrypt(later)
        sent = self._change_parts(sent, CIPHER_CHANGES)
        envelope = self._write_envelope(root, parts, secret)
        for name in self.changes:
            if name in OCTET_CHANGES:
                envelope = OCTET_CHANGES[name](envelope)
        if "external-payload" in self.changes:
            sent = sent[1:]
        return self._pack(envelope, sent)

    def _change_header(self, octets: bytes) -> etree._Element:
        root = _remove_security(parse_xml(octets))
        for one in root.iter(f"{{{EB3}}}PartProperties"):
            for name, value in self.properties.items():
                etree.SubElement(one, f"{{{EB3}}}Property", name=name).text = value
        for name in self.changes:
            if name in HEADER_CHANGES:
                HEADER_CHANGES[name](root)
        return root

    def _change_parts(self, parts: list[MimePart], known: Mapping[str, Any]) -> list[MimePart]:
        for name in self.changes:
            if name in known:
                parts = [replace(one, octets=known[name](one.content)) for one in parts]
        return parts

    def _encrypt(self, parts: list[MimePart]) -> tuple[str, list[MimePart]]:
        terms = self.pmode.encryption
        if terms is None or not parts:
            return "", parts
        certificate = self.context.find_encryption_certificate(
            self.unit.receiver, terms.certificate, "encryption/certificate"
        )
        agreed = select_agreed_algorithms(terms.algorithms, get_encryption_policy(terms.policy))
        clear = {f"cid:{one.content_id}": (one.content, one.headers["content-type"]) for one in parts}
        header, octets = encrypt_attachments(clear, certificate, agreed, os.urandom, _MARK)
        header = self.change_secret(header) if self.change_secret is not None else header
        return header, [
            MimePart({"content-type": _OCTETS}, one.content_id, _OCTETS, octets[f"cid:{one.content_id}"])
            for one in parts
        ]

    def _write_envelope(self, root: etree._Element, parts: list[MimePart], secret: str) -> bytes:
        signed = [] if "parts" in self.leave_out else parts
        return _sign_envelope(root, signed, self.signer, secret, self.leave_out)

    def _pack(self, envelope: bytes, parts: list[MimePart]) -> Parcel:
        if not parts:
            return Parcel({"Content-Type": f"{_SOAP_TYPE}; charset=UTF-8"}, MemoryBody(envelope))
        kind, octets = write_multipart_related(
            envelope, parts, "=-suite-boundary", self.unit.message_id, _SOAP_TYPE
        )
        return Parcel({"Content-Type": kind}, MemoryBody(octets))


def _remove_security(root: etree._Element) -> etree._Element:
    for security in list(root.iter(f"{{{WSSE}}}Security")):
        parent = security.getparent()
        if parent is not None:
            parent.remove(security)
    return root


def _sign_envelope(
    root: etree._Element,
    parts: list[MimePart],
    signer: Signer | None,
    secret: str,
    leave_out: frozenset[str] = frozenset(),
) -> bytes:
    """Return the octets of an envelope without Security header, signed; `secret` is of the encryption."""
    messaging = next(root.iter(f"{{{EB3}}}Messaging"))
    body = next(root.iter(f"{{{SOAP12}}}Body"))
    blocks = {one.get(_ID, ""): canonicalize_element(one, exclusive=True) for one in (messaging, body)}
    header, content = blocks[messaging.get(_ID, "")], blocks[body.get(_ID, "")]
    security = ""
    if signer is not None:
        covered = {
            name: octets
            for name, octets in blocks.items()
            if not any(name.startswith(one) for one in leave_out)
        }
        attachments = {one.content_id: SwaAttachment(one.media_type, one.content) for one in parts}
        token = SigningToken(f"token-{_MARK}")
        security = write_swa_security(covered, attachments, signer, token, secret).text
    text = write_element("soap12:Header", security + header.decode()) + content.decode()
    return write_element("soap12:Envelope", text, _SOAP).encode()


def sign_again(parcel: Parcel, signer: Signer | None, leave_out: frozenset[str] = frozenset()) -> Parcel:
    """Return a signal signed anew over all but what is left out; without a signer unsigned."""
    root = _remove_security(parse_xml(parcel.read_octets()))
    return Parcel(dict(parcel.headers), MemoryBody(_sign_envelope(root, [], signer, "", leave_out)))
