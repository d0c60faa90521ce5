"""Writes an enveloped XAdES-B signature (ETSI EN 319 132-1): the same elements each time, filled in.

A signature depends on the document by two values only, its digest and the time. So it is written as
text, read into a tree, and signed there. Identifiers follow from the certificate and the time.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from lxml import etree

from gateway.pki import Signer
from gateway.wire import DS, XADES, canonicalize_document, read_own_element, write_attribute, write_leaf
from gateway.xmlsec.algorithms import C14N, ENVELOPED, EXCLUSIVE_C14N, SHA256, compute_digest
from gateway.xmlsec.digest_references import Transform
from gateway.xmlsec.xml_signature import apply_canonicalization, fill_digest_value, fill_signature_value

__all__ = ["SIGNED_PROPERTIES", "append_xades_signature"]

#: The type of the reference to the signed properties (ETSI EN 319 132-1, 4.4.2).
SIGNED_PROPERTIES: Final = "http://uri.etsi.org/01903#SignedProperties"
_EXCLUSIVE: Final = Transform(EXCLUSIVE_C14N)
_NAMESPACES: Final = {"ds": DS, "xades": XADES}
_NAMESPACES_USED: Final = frozenset(_NAMESPACES.values())
_DIGEST_METHOD: Final = f'<ds:DigestMethod Algorithm="{SHA256}"/>'
_DESCRIPTION: Final = (
    "<xades:Description>signed document</xades:Description><xades:MimeType>application/xml</xades:MimeType>"
)


def append_xades_signature(root: etree._Element, signer: Signer, now: datetime) -> None:
    """Append an enveloped XAdES-B signature to the root.

    The document is signed in inclusive C14N: prefixes in its values (QNames) are then signed too.
    """
    document = compute_digest(SHA256, canonicalize_document(root))
    signature = read_own_element(_write_signature(signer, document, now))
    if not _NAMESPACES_USED.isdisjoint(root.nsmap.values()):
        # The root's own prefixes replace those of the signature, which must happen before it is signed.
        root.append(signature)
    # What is signed of it does not depend on its context, which is exclusive C14N.
    _, properties, key_info = signature[0].iterchildren(f"{{{DS}}}Reference")
    for reference, part in ((properties, signature[3][0][0]), (key_info, signature[2])):
        fill_digest_value(reference, apply_canonicalization(part, _EXCLUSIVE))
    fill_signature_value(signature, _EXCLUSIVE, signer)
    if signature.getparent() is None:
        root.append(signature)


def _write_signature(signer: Signer, document: bytes, now: datetime) -> bytes:
    """Return the signature with the digest of the document; its own digests and its value are empty."""
    time = now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    certificate = signer.certificate
    stem = hashlib.sha256(f"{certificate.sha256} {time}".encode()).hexdigest()[:12]
    signature, key_info, reference = (f"SignXML{name}-{stem}" for name in _IDENTIFIED)
    properties = f"{signature}-SignedProperties"
    signed_info = (
        f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE_C14N}"/>'
        f"<ds:SignatureMethod{write_attribute('Algorithm', signer.algorithm)}/>"
        + _write_reference(f'Id="{reference}" URI=""', (ENVELOPED, C14N), _encode(document))
        + _write_reference(f'Type="{SIGNED_PROPERTIES}" URI="#{properties}"', (EXCLUSIVE_C14N,))
        + _write_reference(f'URI="#{key_info}"', (EXCLUSIVE_C14N,))
    )
    declared = "".join(write_attribute(f"xmlns:{name}", uri) for name, uri in _NAMESPACES.items())
    return (
        f'<ds:Signature{declared} Id="{signature}"><ds:SignedInfo>{signed_info}</ds:SignedInfo>'
        f'<ds:SignatureValue/><ds:KeyInfo Id="{key_info}">{_write_certificate(certificate.der)}</ds:KeyInfo>'
        f'<ds:Object><xades:QualifyingProperties Target="#{signature}"><xades:SignedProperties'
        f' Id="{properties}"><xades:SignedSignatureProperties>{write_leaf("xades:SigningTime", time)}'
        f"{_write_certificate_digest(certificate.der)}</xades:SignedSignatureProperties>"
        f'<xades:SignedDataObjectProperties><xades:DataObjectFormat ObjectReference="#{reference}">'
        f"{_DESCRIPTION}</xades:DataObjectFormat></xades:SignedDataObjectProperties>"
        "</xades:SignedProperties></xades:QualifyingProperties></ds:Object></ds:Signature>"
    ).encode()


#: What the identifiers name; the words are those of signatures that were made before.
_IDENTIFIED: Final = ("Signature", "Certificate", "Reference")


def _write_reference(attributes: str, methods: tuple[str, ...], digest: str = "") -> str:
    transforms = "".join(f'<ds:Transform Algorithm="{method}"/>' for method in methods)
    return (
        f"<ds:Reference {attributes}><ds:Transforms>{transforms}</ds:Transforms>"
        f"{_DIGEST_METHOD}<ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"
    )


@lru_cache(maxsize=64)
def _write_certificate(der: bytes) -> str:
    return f"<ds:X509Data>{write_leaf('ds:X509Certificate', _encode(der))}</ds:X509Data>"


@lru_cache(maxsize=64)
def _write_certificate_digest(der: bytes) -> str:
    value = write_leaf("ds:DigestValue", _encode(hashlib.sha256(der).digest()))
    return (
        f"<xades:SigningCertificateV2><xades:Cert><xades:CertDigest>{_DIGEST_METHOD}{value}"
        "</xades:CertDigest></xades:Cert></xades:SigningCertificateV2>"
    )


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
