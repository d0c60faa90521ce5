"""Messages of ebMS 2.0 and AS4, and calls, with one error: before the signature, in it, or after it.

Each hook belongs to one stage. Everything else is made as by an honest sender.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote

from lxml import etree

from gateway.agreements import PMode
from gateway.message_model import MemoryBody, Unit, UserMessage
from gateway.pki import Signer
from gateway.protocols import Parcel, ProtocolContext, as4, build_envelope_tree, packaging
from gateway.wire import (
    DS,
    WSSE,
    AddressingHeaders,
    MimePart,
    build_addressed_envelope,
    parse_xml,
    read_multipart_related,
    serialize_element,
    write_multipart_related,
)
from gateway.xmlsec import SHA256, compute_digest, sign_soap_envelope
from gateway_conformance.hostile.content_mutations import (
    BOUNDARY,
    OctetMutation,
    recompute_signature,
    recompute_written_digests,
)
from gateway_conformance.hostile.naive_verifier import detach_element
from gateway_conformance.message_signing import sign_message
from gateway_conformance.partners import CONTENT_TYPE

#: Signs an envelope in place, over the payloads given by Content-ID.
SignMessage = Callable[[etree._Element, Mapping[str, bytes], Signer], None]


@dataclass(frozen=True, kw_only=True)
class _MessageHooks:
    """The changes of a message of ebMS 2.0 or AS4, in the order of its stages.

    `envelope` changes the octets of the envelope before they are signed; `signing` the payloads that are
    handed to the signer, by Content-ID; `tampered` the signed envelope; `parts` the payload parts; `body` the
    octets of the HTTP body; `content_type` that header. `root_id` is the Content-ID of the envelope.
    """

    envelope: OctetMutation | None = None
    signing: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    tampered: OctetMutation | None = None
    parts: Callable[[list[MimePart]], list[MimePart]] | None = None
    body: OctetMutation | None = None
    content_type: Callable[[str], str] | None = None
    root_id: str = "root@suite.example"

    def pack_signed(self, root: bytes, parts: list[MimePart], media_type: str) -> tuple[str, bytes]:
        """Return Content-Type and body of a signed envelope of a media type, with its later changes."""
        root = self.tampered(root) if self.tampered else root
        parts = self.parts(parts) if self.parts else parts
        content_type, data = f"{media_type}; charset=UTF-8", root
        if parts:
            content_type, data = write_multipart_related(root, parts, BOUNDARY, self.root_id, media_type)
        data = self.body(data) if self.body else data
        return self.content_type(content_type) if self.content_type else content_type, data


@dataclass(frozen=True)
class MutatedMessage(_MessageHooks):
    """One ebMS 2.0 message with its changes.

    `signer` None leaves it unsigned. `sign` signs it instead of the honest signature. `action` is the
    SOAPAction header.
    """

    unit: Unit
    signer: Signer | None
    riders: tuple[Unit, ...] = ()
    sign: SignMessage = sign_message
    action: str = packaging.SOAP_ACTION

    def build_parcel(self) -> Parcel:
        """Return the message as HTTP carries it."""
        payloads = self.unit.payloads if isinstance(self.unit, UserMessage) else ()
        root = self._build_signed_envelope({payload.content_id: payload.content for payload in payloads})
        parts = [
            MimePart(
                {"content-type": payload.media_type}, payload.content_id, payload.media_type, payload.content
            )
            for payload in payloads
        ]
        content_type, data = self.pack_signed(root, parts, "text/xml")
        return Parcel({"Content-Type": content_type, "SOAPAction": self.action}, MemoryBody(data))

    def _build_signed_envelope(self, contents: dict[str, bytes]) -> bytes:
        root = serialize_element(build_envelope_tree((self.unit, *self.riders)))
        if self.envelope:
            root = self.envelope(root)
        if self.signer is None:
            return root
        tree = parse_xml(root)
        self.sign(tree, self.signing(contents) if self.signing else contents, self.signer)
        return serialize_element(tree)


@dataclass(frozen=True)
class MutatedAs4Message(_MessageHooks):
    """One AS4 message with its changes; after a change of signed content the sender signs it again.

    `signer` None leaves the message unsigned. `pmode` is None for a signal. `signing` says which payloads
    are signed, by Content-ID, and with which content.
    """

    unit: Unit
    signer: Signer | None
    pmode: PMode | None
    context: ProtocolContext

    def build_parcel(self) -> Parcel:
        """Return the message as HTTP carries it."""
        honest = as4.seal((self.unit,), self.pmode, self.context)
        related = read_multipart_related(honest.get_header("Content-Type"), honest.read_octets())
        attachments = list(related.attachments)
        root = self._change_envelope(
            related.root.content, {attachment.content_id: attachment.content for attachment in attachments}
        )
        content_type, data = self.pack_signed(root, attachments, "application/soap+xml")
        return Parcel({"Content-Type": content_type}, MemoryBody(data))

    def _change_envelope(self, root: bytes, contents: dict[str, bytes]) -> bytes:
        if self.signer is None:
            root = _remove_security(root)
            return self.envelope(root) if self.envelope else root
        if self.envelope is None and self.signing is None:
            return root
        tree = parse_xml(self.envelope(root) if self.envelope else root)
        recompute_written_digests(tree)
        if self.signing is not None:
            _recompute_payload_digests(tree, self.signing(contents))
        recompute_signature(self.signer)(tree)
        return serialize_element(tree)


def _remove_security(root: bytes) -> bytes:
    tree = parse_xml(root)
    for security in list(tree.iter(f"{{{WSSE}}}Security")):
        detach_element(security)
    return serialize_element(tree)


def _recompute_payload_digests(tree: etree._Element, contents: Mapping[str, bytes]) -> None:
    """Give the references to payloads the digests of `contents`; remove those to other payloads."""
    for reference in list(tree.iter(f"{{{DS}}}Reference")):
        uri = reference.get("URI", "")
        if not uri.startswith("cid:"):
            continue
        content = contents.get(unquote(uri[4:]))
        if content is None:
            detach_element(reference)
        else:
            value = next(reference.iterchildren(f"{{{DS}}}DigestValue"))
            value.text = base64.b64encode(compute_digest(SHA256, content)).decode()


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
