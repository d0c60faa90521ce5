"""Signed messages to start from: our own sealer's in many styles, and those of a live ebms-core."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote

from lxml import etree

from gateway.pki import KeySigner
from gateway.wire import (
    C14N,
    DS,
    canonicalize_document,
    canonicalize_element,
    parse_xml,
    read_http_message,
    read_multipart_related,
    serialize_element,
)
from gateway.xmlsec import (
    SHA256,
    Transform,
    apply_canonicalization,
    compute_digest,
    sign_document,
    sign_soap_envelope,
)
from gateway.xmlsec.algorithms import C14N_11, ENVELOPED_SIGNATURE, EXCLUSIVE_C14N
from gateway.xmlsec.xml_signature import DigestReference, fill_signature_value
from gateway_conformance.message_signing import append_signature, append_x509_key_info, sign_message
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    issue_certificate,
    make_authority,
)
from tests.xmlsec.sample_messages import ACK_NEXT, ATTACHMENTS, STYLES, SYNC_REPLY, document, message, request

# The moment of all Timestamps; the second opinions judge certificates by the clock of the day.
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
KINDS = ("rsa-2048", "p-256", "p-384")
_TOPS = ("", ' xml:lang="en"', ' xmlns="urn:unused" xml:space="preserve"')


@dataclass(frozen=True)
class Message:
    """A signed document, its parts by Content-ID, and its signer where that key is at hand."""

    profile: str
    xml: bytes
    parts: Mapping[str, bytes] = field(default_factory=dict)
    signer: KeySigner | None = None

    @property
    def uris(self) -> dict[str, bytes]:
        """The parts by the URI that a signature names them by."""
        return {"cid:" + quote(part, safe="@!$&'()*+,;=:-._~/"): one for part, one in self.parts.items()}


@cache
def authority() -> CertificationAuthority:
    """Return the authority of all signers of our own."""
    return make_authority("CN=Opinions CA", NOW - timedelta(days=400))


@cache
def signer(kind: str, name: str = "broker") -> KeySigner:
    """Return a key with a certificate, valid around the moment of the messages and for years after."""
    order = CertificateOrder(key_kind=kind, days=7000)
    return issue_certificate(authority(), f"CN={name} {kind}", NOW - timedelta(days=300), order).signer


@cache
def own() -> tuple[Message, ...]:
    """Return messages of each profile, by each kind of key, in each style."""
    made = []
    for kind in KINDS:
        key = signer(kind)
        for style in STYLES:
            made += [_ebms2(style, blocks, key) for blocks in ("", SYNC_REPLY, SYNC_REPLY + ACK_NEXT)]
        made += [_wss(top, key) for top in _TOPS]
        made += [_xades(identifier, key) for identifier in ("", "d1")]
        for form in (C14N, C14N_11, EXCLUSIVE_C14N):
            made += [_enveloped(form, key), _enveloping(form, key), _detached(form, key)]
    return tuple(made)


def live(vectors: Path) -> tuple[Message, ...]:
    """Return the signed messages of ebms-core; their keys no longer exist."""
    place = vectors / "outside" / "ebms2" / "ebms-core-live"
    return tuple(
        _stored(path) for path in sorted(place.glob("*.http")) if b"SignatureValue" in path.read_bytes()
    )


def _stored(path: Path) -> Message:
    held = read_http_message(path.read_bytes())
    kind = held.headers["content-type"]
    if not kind.lower().startswith("multipart/"):
        return Message("ebms2", held.body)
    related = read_multipart_related(kind, held.body)
    parts = {unquote(part.content_id): part.content for part in related.attachments}
    return Message("ebms2", related.root.content, parts)


def _ebms2(style: str, blocks: str, key: KeySigner) -> Message:
    root = message(style, blocks)
    sign_message(root, ATTACHMENTS, key)
    return Message("ebms2", serialize_element(root), ATTACHMENTS, key)


def _wss(top: str, key: KeySigner) -> Message:
    root = request(top)
    sign_soap_envelope(root, key, now=NOW)
    return Message("wss", serialize_element(root), {}, key)


def _xades(identifier: str, key: KeySigner) -> Message:
    root = document(identifier)
    sign_document(root, key, now=NOW)
    return Message("xades", serialize_element(root), {}, key)


def _enveloped(form: str, key: KeySigner) -> Message:
    root = document()
    octets = (
        canonicalize_element(root, exclusive=True) if form == EXCLUSIVE_C14N else canonicalize_document(root)
    )
    steps = (Transform(ENVELOPED_SIGNATURE), Transform(form))
    return _sealed(root, DigestReference("", SHA256, compute_digest(SHA256, octets), steps), form, key)


def _enveloping(form: str, key: KeySigner) -> Message:
    """The signature is the document, what it signs an Object in it."""
    root = parse_xml(f'<ds:Signature xmlns:ds="{DS}"/>'.encode())
    holder = etree.SubElement(root, f"{{{DS}}}Object", Id="o1")
    holder.append(document())
    reference = DigestReference(
        "#o1", SHA256, compute_digest(SHA256, apply_canonicalization(holder, Transform(form)))
    )
    plain = DigestReference("#o1", SHA256, reference.digest_value, (Transform(form),))
    made = append_signature(root, Transform(form), key.algorithm, (plain,))
    append_x509_key_info(made, key.certificate)
    for index, child in enumerate(list(made)):
        root.insert(index, child)
    root.remove(made)
    value = key.sign(apply_canonicalization(root[0], Transform(form)))
    root[1].text = base64.b64encode(value).decode()
    return Message("plain", serialize_element(root), {}, key)


def _detached(form: str, key: KeySigner) -> Message:
    """Two parts of a document, each named by its identifier."""
    root = parse_xml(
        b'<b:Bundle xmlns:b="urn:bundle" xmlns:u="urn:unused"><b:A Id="a1">1 &lt; 2</b:A>'
        b'<b:B xml:id="b1"><b:C x="y" b:z="\xea\xb0\x80"/></b:B><b:D>not signed</b:D></b:Bundle>'
    )
    references = [
        DigestReference(
            f"#{name}",
            SHA256,
            compute_digest(SHA256, apply_canonicalization(part, Transform(form))),
            (Transform(form),),
        )
        for name, part in (("a1", root[0]), ("b1", root[1]))
    ]
    return _sealed(root, references[0], form, key, *references[1:])


def _sealed(
    root: etree._Element, first: DigestReference, form: str, key: KeySigner, *more: DigestReference
) -> Message:
    made = append_signature(root, Transform(form), key.algorithm, (first, *more))
    append_x509_key_info(made, key.certificate)
    fill_signature_value(made, Transform(form), key)
    return Message("plain", serialize_element(root), {}, key)
