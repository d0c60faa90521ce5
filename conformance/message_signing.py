"""Signs the tree of an ebMS 2.0 message, and verifies it, where nothing is agreed; the gateway signs text."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from lxml import etree

from gateway.errors import OUR_MISTAKE, GatewayError
from gateway.message_model import Body
from gateway.pki import Certificate, Signer
from gateway.wire import C14N, DEFAULT_LIMITS, DS, SOAP11, WireLimits, canonicalize_document
from gateway.xmlsec import (
    ENVELOPE_TRANSFORMS,
    SHA256,
    CertificateCheck,
    DigestReference,
    PartDecryption,
    PlainAttachments,
    SignaturePolicy,
    Transform,
    VerifiedSignature,
    compute_digest,
    fill_signature_value,
    find_signature,
    list_next_actor_headers,
    read_message_signature,
    verify_reading,
    write_reference_text,
)


def sign_message(root: etree._Element, attachments: Mapping[str, bytes | Body], signer: Signer) -> None:
    """Sign the envelope and every attachment; ds:Signature becomes the last child of the SOAP Header.

    Raises GW901 for an envelope that is signed already, or has no Header.
    """
    header = root.find(f"{{{SOAP11}}}Header")
    if find_signature(root) is not None or header is None:
        raise GatewayError(OUR_MISTAKE, "a message is signed once, and has a SOAP Header")
    envelope = canonicalize_document(root, list_next_actor_headers(root))
    references = [DigestReference("", SHA256, compute_digest(SHA256, envelope), ENVELOPE_TRANSFORMS)]
    for name, content in attachments.items():
        uri = "cid:" + quote(name, safe="@!$&'()*+,;=:-._~/")
        references.append(DigestReference(uri, SHA256, compute_digest(SHA256, content)))
    signature = append_signature(header, Transform(C14N), signer.algorithm, references)
    append_x509_key_info(signature, signer.certificate)
    fill_signature_value(signature, Transform(C14N), signer)


def append_signature(
    parent: etree._Element, method: Transform, algorithm: str, references: Sequence[DigestReference]
) -> etree._Element:
    """Append a ds:Signature with a SignedInfo and an empty SignatureValue, without KeyInfo; return it."""
    element = etree.SubElement(parent, f"{{{DS}}}Signature", nsmap={"ds": DS})
    signed_info = etree.SubElement(element, f"{{{DS}}}SignedInfo")
    etree.SubElement(signed_info, f"{{{DS}}}CanonicalizationMethod", Algorithm=method.algorithm)
    etree.SubElement(signed_info, f"{{{DS}}}SignatureMethod", Algorithm=algorithm)
    for reference in references:
        append_reference(signed_info, reference)
    etree.SubElement(element, f"{{{DS}}}SignatureValue")
    return element


def append_reference(parent: etree._Element, reference: DigestReference) -> etree._Element:
    """Append `reference` as a ds:Reference to `parent`; return the new element."""
    return _append_copy(parent, etree.fromstring(write_reference_text(reference, declares_namespace=True)))


def _append_copy(parent: etree._Element, source: etree._Element) -> etree._Element:
    # Made in its place: a prefix of an expression would be renamed when its element moves to another tree.
    declared = {str(prefix): uri for prefix, uri in source.nsmap.items() if prefix != "ds"}
    element = etree.SubElement(parent, source.tag, nsmap=declared)
    for name, value in source.attrib.items():
        element.set(name, value)
    element.text = source.text
    for child in source:
        _append_copy(element, child)
    return element


def append_x509_key_info(element: etree._Element, certificate: Certificate) -> None:
    """Append a KeyInfo that contains the certificate only."""
    key_info = etree.SubElement(element, f"{{{DS}}}KeyInfo")
    data = etree.SubElement(key_info, f"{{{DS}}}X509Data")
    leaf = etree.SubElement(data, f"{{{DS}}}X509Certificate")
    leaf.text = base64.b64encode(certificate.der).decode("ascii")


def verify_message_signature(
    root: etree._Element,
    attachments: Mapping[str, bytes | Body],
    policy: SignaturePolicy,
    *,
    check_certificate: CertificateCheck | None = None,
    encrypted: Mapping[str, PartDecryption] | None = None,
    limits: WireLimits = DEFAULT_LIMITS,
) -> VerifiedSignature:
    """Return the verified signature over the envelope and every attachment (by Content-ID).

    `check_certificate` checks the certificate before anything is computed with it; `encrypted` decrypts
    attachments whose plaintext is signed. Raises GatewayError for a signature that is missing, invalid, or
    does not cover a part.
    """
    reading = read_message_signature(root, attachments, policy, limits)
    return verify_reading(reading, PlainAttachments(attachments), check_certificate, encrypted)
