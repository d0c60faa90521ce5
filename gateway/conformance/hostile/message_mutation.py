"""Messages and calls with one error: before the signature, in it, or after it.

Each hook belongs to one stage. Everything else is made as by an honest sender.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from lxml import etree

from gateway.conformance.hostile.octet_mutations import BOUNDARY, OctetMutation
from gateway.conformance.partners import CONTENT_TYPE
from gateway.message_model import MemoryBody, Unit, UserMessage
from gateway.pki import Signer
from gateway.protocols import Parcel, build_envelope_tree, packaging
from gateway.wire import (
    AddressingHeaders,
    MimePart,
    build_addressed_envelope,
    parse_xml,
    serialize_element,
    write_multipart_related,
)
from gateway.xmlsec import sign_message, sign_soap_envelope

#: Signs an envelope in place, over the payloads given by Content-ID.
SignMessage = Callable[[etree._Element, Mapping[str, bytes], Signer], None]


@dataclass(frozen=True)
class MutatedMessage:
    """One ebMS 2.0 message with its changes.

    `signer` None leaves it unsigned.  The hooks in their order: `envelope` on the octets of
    the envelope before they are signed; `signing` on the payloads that are handed to the
    signer, by Content-ID; `sign` instead of the honest signature; `tampered` on the signed
    envelope; `parts` on the payload parts; `body` on the octets of the HTTP body;
    `content_type` on that header.  `action` is the SOAPAction header, `root_id` the Content-ID
    of the envelope.
    """

    unit: Unit
    signer: Signer | None
    riders: tuple[Unit, ...] = ()
    envelope: OctetMutation | None = None
    signing: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    sign: SignMessage = sign_message
    tampered: OctetMutation | None = None
    parts: Callable[[list[MimePart]], list[MimePart]] | None = None
    body: OctetMutation | None = None
    content_type: Callable[[str], str] | None = None
    action: str = packaging.SOAP_ACTION
    root_id: str = "root@suite.example"

    def build_parcel(self) -> Parcel:
        """Return the message as HTTP carries it."""
        found = self.unit.payloads if isinstance(self.unit, UserMessage) else ()
        root = self._build_signed_envelope({one.content_id: one.content for one in found})
        parts = [
            MimePart({"content-type": one.media_type}, one.content_id, one.media_type, one.content)
            for one in found
        ]
        return self._pack_parts(
            self.tampered(root) if self.tampered else root, self.parts(parts) if self.parts else parts
        )

    def _build_signed_envelope(self, contents: dict[str, bytes]) -> bytes:
        root = serialize_element(build_envelope_tree((self.unit, *self.riders)))
        if self.envelope:
            root = self.envelope(root)
        if self.signer is None:
            return root
        tree = parse_xml(root)
        self.sign(tree, self.signing(contents) if self.signing else contents, self.signer)
        return serialize_element(tree)

    def _pack_parts(self, root: bytes, parts: list[MimePart]) -> Parcel:
        kind, data = packaging.CONTENT_TYPE, root
        if parts:
            kind, data = write_multipart_related(root, parts, BOUNDARY, self.root_id)
        if self.body:
            data = self.body(data)
        if self.content_type:
            kind = self.content_type(kind)
        return Parcel({"Content-Type": kind, "SOAPAction": self.action}, MemoryBody(data))


@dataclass(frozen=True)
class MutatedCall:
    """One SOAP call of an agency with its changes.

    `content` is the element of the Body.  The hooks are those of `MutatedMessage`, as far as a call
    has the stage; `sign` signs the envelope in place.
    """

    content: etree._Element
    addressing: AddressingHeaders
    signer: Signer | None
    now: datetime
    envelope: OctetMutation | None = None
    sign: Callable[[etree._Element, Signer], None] | None = None
    tampered: OctetMutation | None = None
    body: OctetMutation | None = None
    content_type: str = CONTENT_TYPE
    action: str | None = None

    def build_octets(self) -> bytes:
        """Return the octets of the HTTP body."""
        root = serialize_element(build_addressed_envelope(self.content, self.addressing))
        for change in (self.envelope, self._sign_envelope, self.tampered, self.body):
            if change is not None:
                root = change(root)
        return root

    @property
    def http_headers(self) -> dict[str, str]:
        """Return the HTTP headers that describe the call."""
        action = f'"{self.addressing.action}"' if self.action is None else self.action
        return {"Content-Type": self.content_type, "SOAPAction": action}

    def _sign_envelope(self, root: bytes) -> bytes:
        if self.signer is None:
            return root
        tree = parse_xml(root)
        if self.sign is not None:
            self.sign(tree, self.signer)
        else:
            sign_soap_envelope(tree, self.signer, now=self.now)
        return serialize_element(tree)
