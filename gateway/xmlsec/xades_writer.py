"""Writes an enveloped XAdES-B signature (ETSI EN 319 132-1): the same elements each time, filled in.

A signature depends on the document by two values only, its digest and the time. So one by a certificate is
read into a tree and canonicalised once, and each is written, digested and signed as text around its values.
Identifiers follow from the certificate and the time.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from lxml import etree

from gateway.pki import Signer
from gateway.wire import (
    DS,
    XADES,
    TextTemplate,
    canonicalize_document,
    fill_template,
    read_own_element,
    serialize_element,
    split_at_values,
    write_attribute,
    write_leaf,
)
from gateway.xmlsec.algorithms import C14N, ENVELOPED, EXCLUSIVE_C14N, SHA256
from gateway.xmlsec.digest_references import Transform
from gateway.xmlsec.xml_signature import apply_canonicalization, fill_digest_value, fill_signature_value

__all__ = ["SIGNED_PROPERTIES", "append_xades_signature", "write_xades_signature"]

#: The type of the reference to the signed properties (ETSI EN 319 132-1, 4.4.2).
SIGNED_PROPERTIES: Final = "http://uri.etsi.org/01903#SignedProperties"
_EXCLUSIVE: Final = Transform(EXCLUSIVE_C14N)
_NAMESPACES: Final = {"ds": DS, "xades": XADES}
_NAMESPACES_USED: Final = frozenset(_NAMESPACES.values())
_DIGEST_METHOD: Final = f'<ds:DigestMethod Algorithm="{SHA256}"/>'
_DESCRIPTION: Final = (
    "<xades:Description>signed document</xades:Description><xades:MimeType>application/xml</xades:MimeType>"
)


class _Values(NamedTuple):
    """What differs between the signatures by one certificate; identifiers have the stem in common."""

    time: bytes
    stem: bytes
    document: bytes
    properties: bytes = b""
    key_info: bytes = b""
    signature: bytes = b""


#: None of these is a part of another one, or stands in anything else that is written.
_PLACES: Final = _Values(*(b"place-of-%b-" % name.encode() for name in _Values._fields))


@dataclass(frozen=True, slots=True)
class _SignatureForm:
    """The text of the signatures by one certificate, and the canonical forms of what is signed in them."""

    signature: TextTemplate
    properties: TextTemplate
    key_info: TextTemplate
    signed_info: TextTemplate


def write_xades_signature(root: etree._Element, signer: Signer, now: datetime) -> bytes | None:
    """Return the text of an enveloped XAdES-B signature of a document, for the end of its root.

    The document is signed in inclusive C14N: prefixes in its values (QNames) are then signed too. Returns
    None where the root declares the namespaces of the signature: its prefixes would be those of the root.
    """
    if not _NAMESPACES_USED.isdisjoint(root.nsmap.values()):
        return None
    form = _make_form(signer.certificate.der, signer.algorithm)
    values = _make_values(root, signer, now)
    # What is signed of it does not depend on its context, which is exclusive C14N.
    values = values._replace(
        properties=_digest(fill_template(form.properties, values)),
        key_info=_digest(fill_template(form.key_info, values)),
    )
    value = base64.b64encode(signer.sign(fill_template(form.signed_info, values)))
    return fill_template(form.signature, values._replace(signature=value))


def append_xades_signature(root: etree._Element, signer: Signer, now: datetime) -> None:
    """Append the same signature to the root, whatever namespaces that declares."""
    written = write_xades_signature(root, signer, now)
    if written is not None:
        root.append(read_own_element(written))
        return
    values = _make_values(root, signer, now)
    form = _make_form(signer.certificate.der, signer.algorithm)
    signature = read_own_element(fill_template(form.signature, values))
    # The root's own prefixes replace those of the signature, which must happen before it is signed.
    root.append(signature)
    _, *references = signature[0].iterchildren(f"{{{DS}}}Reference")
    for reference, part in zip(references, _list_own_parts(signature), strict=True):
        fill_digest_value(reference, apply_canonicalization(part, _EXCLUSIVE))
    fill_signature_value(signature, _EXCLUSIVE, signer)


def _make_values(root: etree._Element, signer: Signer, now: datetime) -> _Values:
    """Return the values of a signature that do not depend on others."""
    time = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    stem = hashlib.sha256(f"{signer.certificate.sha256} {time}".encode()).hexdigest()[:12]
    return _Values(time.encode(), stem.encode(), _digest(canonicalize_document(root)))


def _list_own_parts(signature: etree._Element) -> tuple[etree._Element, etree._Element]:
    """Return what a signature covers of itself: SignedProperties and KeyInfo."""
    return signature[3][0][0], signature[2]


@lru_cache(maxsize=64)
def _make_form(certificate: bytes, algorithm: str) -> _SignatureForm:
    """Return the form of all signatures by a certificate (DER), read from one of them."""
    signature = read_own_element(_write_signature(certificate, algorithm).encode())
    properties, key_info = _list_own_parts(signature)
    return _SignatureForm(
        split_at_values(serialize_element(signature), _PLACES),
        *(
            split_at_values(apply_canonicalization(part, _EXCLUSIVE), _PLACES)
            for part in (properties, key_info, signature[0])
        ),
    )


def _write_signature(certificate: bytes, algorithm: str) -> str:
    """Return a signature by a certificate, with names of the values in their places."""
    time, stem, document, of_properties, of_key_info, value = (one.decode() for one in _PLACES)
    signature, key_info, reference = (f"SignXML{name}-{stem}" for name in _IDENTIFIED)
    properties = f"{signature}-SignedProperties"
    signed_info = (
        f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE_C14N}"/>'
        f"<ds:SignatureMethod{write_attribute('Algorithm', algorithm)}/>"
        + _write_reference(f'Id="{reference}" URI=""', (ENVELOPED, C14N), document)
        + _write_reference(
            f'Type="{SIGNED_PROPERTIES}" URI="#{properties}"', (EXCLUSIVE_C14N,), of_properties
        )
        + _write_reference(f'URI="#{key_info}"', (EXCLUSIVE_C14N,), of_key_info)
    )
    declared = "".join(write_attribute(f"xmlns:{name}", uri) for name, uri in _NAMESPACES.items())
    return (
        f'<ds:Signature{declared} Id="{signature}"><ds:SignedInfo>{signed_info}</ds:SignedInfo>'
        f'<ds:SignatureValue>{value}</ds:SignatureValue><ds:KeyInfo Id="{key_info}">'
        f"{_write_certificate(certificate)}</ds:KeyInfo>"
        f'<ds:Object><xades:QualifyingProperties Target="#{signature}"><xades:SignedProperties'
        f' Id="{properties}"><xades:SignedSignatureProperties>{write_leaf("xades:SigningTime", time)}'
        f"{_write_certificate_digest(certificate)}</xades:SignedSignatureProperties>"
        f'<xades:SignedDataObjectProperties><xades:DataObjectFormat ObjectReference="#{reference}">'
        f"{_DESCRIPTION}</xades:DataObjectFormat></xades:SignedDataObjectProperties>"
        "</xades:SignedProperties></xades:QualifyingProperties></ds:Object></ds:Signature>"
    )


#: What the identifiers name; the words are those of signatures that were made before.
_IDENTIFIED: Final = ("Signature", "Certificate", "Reference")


def _write_reference(attributes: str, methods: tuple[str, ...], digest: str) -> str:
    transforms = "".join(f'<ds:Transform Algorithm="{method}"/>' for method in methods)
    return (
        f"<ds:Reference {attributes}><ds:Transforms>{transforms}</ds:Transforms>"
        f"{_DIGEST_METHOD}<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
    )


def _write_certificate(der: bytes) -> str:
    return f"<ds:X509Data>{write_leaf('ds:X509Certificate', _encode(der))}</ds:X509Data>"


def _write_certificate_digest(der: bytes) -> str:
    value = write_leaf("ds:DigestValue", _encode(hashlib.sha256(der).digest()))
    return (
        f"<xades:SigningCertificateV2><xades:Cert><xades:CertDigest>{_DIGEST_METHOD}{value}"
        "</xades:CertDigest></xades:Cert></xades:SigningCertificateV2>"
    )


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _digest(octets: bytes) -> bytes:
    # The form names SHA-256.
    return base64.b64encode(hashlib.sha256(octets).digest())
