"""AS4 messages with one error: before the signature, in it, or after it.

An honest message is sealed by the protocol core, and changed at the stages of `MutatedMessage`. What is
changed before the signature is signed again by the sender.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from lxml import etree

from gateway.agreements import PMode
from gateway.conformance.hostile.naive_verifier import detach_element
from gateway.conformance.hostile.octet_mutations import BOUNDARY, OctetMutation
from gateway.conformance.hostile.tree_mutations import recompute_signature, recompute_written_digests
from gateway.message_model import MemoryBody, Unit
from gateway.pki import Signer
from gateway.protocols import Parcel, ProtocolContext, as4
from gateway.wire import (
    DS,
    WSSE,
    MimePart,
    parse_xml,
    read_multipart_related,
    serialize_element,
    write_multipart_related,
)
from gateway.xmlsec import SHA256, compute_digest

__all__ = ["MutatedAs4Message"]

_SOAP: str = "application/soap+xml"


@dataclass(frozen=True)
class MutatedAs4Message:
    """One AS4 message with its changes; the hooks are those of `MutatedMessage`.

    `signer` None leaves it unsigned. `pmode` is None for a signal. `signing` says which payloads are signed,
    by Content-ID, and with which content.
    """

    unit: Unit
    signer: Signer | None
    pmode: PMode | None
    context: ProtocolContext
    envelope: OctetMutation | None = None
    signing: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    tampered: OctetMutation | None = None
    parts: Callable[[list[MimePart]], list[MimePart]] | None = None
    body: OctetMutation | None = None
    content_type: Callable[[str], str] | None = None
    root_id: str = "root@suite.example"

    def build_parcel(self) -> Parcel:
        """Return the message as HTTP carries it."""
        honest = as4.seal((self.unit,), self.pmode, self.context)
        related = read_multipart_related(honest.get_header("Content-Type"), honest.read_octets())
        found = list(related.attachments)
        root = self._change_envelope(related.root.content, {one.content_id: one.content for one in found})
        if self.tampered:
            root = self.tampered(root)
        return self._pack_parts(root, self.parts(found) if self.parts else found)

    def _change_envelope(self, root: bytes, contents: dict[str, bytes]) -> bytes:
        if self.signer is None:
            root = _remove_security(root)
            return self.envelope(root) if self.envelope else root
        if self.envelope is None and self.signing is None:
            return root
        tree = parse_xml(self.envelope(root) if self.envelope else root)
        recompute_written_digests(tree)
        if self.signing is not None:
            _sign_contents(tree, self.signing(contents))
        recompute_signature(self.signer)(tree)
        return serialize_element(tree)

    def _pack_parts(self, root: bytes, parts: list[MimePart]) -> Parcel:
        kind, data = f"{_SOAP}; charset=UTF-8", root
        if parts:
            kind, data = write_multipart_related(root, parts, BOUNDARY, self.root_id, _SOAP)
        if self.body:
            data = self.body(data)
        if self.content_type:
            kind = self.content_type(kind)
        return Parcel({"Content-Type": kind}, MemoryBody(data))


def _remove_security(root: bytes) -> bytes:
    tree = parse_xml(root)
    for security in list(tree.iter(f"{{{WSSE}}}Security")):
        detach_element(security)
    return serialize_element(tree)


def _sign_contents(tree: etree._Element, contents: Mapping[str, bytes]) -> None:
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
