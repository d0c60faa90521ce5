"""XAdES-B of a whole document (ETSI EN 319 132-1), enveloped, as the last child of the root.

This module reads and checks the structure itself; signxml verifies the signature
(see ``signxml_adapter``). Our own are written by ``xades_writer``.
"""

from __future__ import annotations

import hashlib
import re
from copy import deepcopy
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway import errors
from gateway.pki import Certificate, Signer
from gateway.wire import DS, XADES, XML, canonicalize_document, serialize_element
from gateway.xmlsec.algorithms import (
    C14N,
    C14N_11,
    ED25519,
    ENVELOPED,
    EXCLUSIVE_C14N,
    STRICT,
    SignaturePolicy,
    check_digest_algorithm,
    check_public_key,
    compare_digests,
    compute_digest,
)
from gateway.xmlsec.digest_references import DigestReference, Transform
from gateway.xmlsec.element_ids import check_unique_ids
from gateway.xmlsec.signxml_adapter import verify_xades_signature
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    raise_signature_error,
    read_algorithm,
    read_text,
    remove_element,
)
from gateway.xmlsec.x509_key_info import read_x509_key_info
from gateway.xmlsec.xades_writer import SIGNED_PROPERTIES, append_xades_signature, write_xades_signature
from gateway.xmlsec.xml_signature import (
    SignatureStructure,
    VerifiedSignature,
    apply_canonicalization,
    dereference_octets,
    read_signature,
)

__all__ = ["compute_unsigned_digest", "sign_document", "verify_document", "write_signed_document"]

_SIGNATURE: Final = f"{{{DS}}}Signature"
_XML_ID: Final = f"{{{XML}}}id"
_METHODS: Final = (C14N, C14N_11, EXCLUSIVE_C14N)
_DOCUMENT: Final = "document"
_PROPERTIES: Final = "SignedProperties"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")


def sign_document(root: etree._Element, signer: Signer, *, now: datetime) -> etree._Element:
    """Sign the document in place: ds:Signature becomes the last child of its root, which is returned."""
    _check_signable(root, signer)
    append_xades_signature(root, signer, now)
    return root


def write_signed_document(root: etree._Element, signer: Signer, *, now: datetime) -> bytes:
    """Return the octets of the document when it is signed; `root` may have its signature then, or not."""
    _check_signable(root, signer)
    octets = serialize_element(root)
    end = octets.rfind(b"</")
    written = None if end < 0 else write_xades_signature(root, signer, now)
    if written is None:
        return serialize_element(sign_document(root, signer, now=now))
    return octets[:end] + written + octets[end:]


def _check_signable(root: etree._Element, signer: Signer) -> None:
    if next(root.iter(_SIGNATURE), None) is not None:
        raise_signature_error("the document already has a signature", root, errors.OUR_MISTAKE)
    if signer.algorithm == ED25519:
        raise_signature_error(
            "XAdES signatures are made by RSA and ECDSA keys", root, errors.ALGORITHM_REFUSED
        )


def compute_unsigned_digest(root: etree._Element) -> str:
    """Return the SHA-256 of a document's canonical form without its signature, in hexadecimal.

    It is the same before and after the signing, so both sides can see that it is one document.
    """
    signatures = tuple(root.iterchildren(_SIGNATURE))
    return hashlib.sha256(canonicalize_document(root, signatures)).hexdigest()


def verify_document(root: etree._Element, *, policy: SignaturePolicy = STRICT) -> VerifiedSignature:
    """Verify the one signature of a document over all of it, and its signed properties.

    Comments, which the signature does not cover, are removed from the tree afterwards, so
    that what is read from it is what was signed.
    """
    element = _find_signature(root)
    structure = read_signature(element, policy, objects=1)
    if structure.canonicalization.algorithm not in _METHODS or structure.algorithm == ED25519:
        raise_signature_error(
            "algorithm of SignedInfo not allowed in XAdES", element, errors.ALGORITHM_REFUSED
        )
    certificate = read_x509_key_info(structure.key_info)
    check_public_key(structure.algorithm, certificate.public_key)
    properties = _get_signed_properties(structure)
    octets = _collect_reference_octets(root, structure, properties)
    check_unique_ids(root, (reference.uri[1:] for reference in structure.references))
    signing_time = _check_signed_properties(properties, structure, certificate, policy)
    verify_xades_signature(root, structure, octets, certificate)
    etree.strip_tags(root, etree.Comment)
    return VerifiedSignature(
        references=structure.references,
        certificate=certificate,
        parts=("/",),
        signature_algorithm=structure.algorithm,
        signing_time=signing_time,
    )


def _find_signature(root: etree._Element) -> etree._Element:
    found = list(root.iter(_SIGNATURE))
    if not found:
        raise_signature_error("the document is not signed", root, errors.SIGNATURE_MISSING)
    if (
        len(found) > 1
        or found[0].getparent() is not root
        or next(found[0].itersiblings("*"), None) is not None
    ):
        raise_signature_error("ds:Signature must occur once, as the last child of the root", found[-1])
    return found[0]


def _get_signed_properties(structure: SignatureStructure) -> etree._Element:
    """Return the SignedProperties from their only permitted place."""
    holder = structure.objects[0]
    check_attributes(holder)
    qualifying = get_only_child(holder, f"{{{XADES}}}QualifyingProperties")
    check_attributes(qualifying, required=("Target",), optional=("Id",))
    if qualifying.get("Target") != f"#{structure.element.get('Id')}":
        raise_signature_error("QualifyingProperties has another signature as Target", qualifying)
    # no signature covers unsigned properties; levels above B are not read here
    properties = get_only_child(qualifying, f"{{{XADES}}}SignedProperties")
    check_attributes(properties, required=("Id",))
    return properties


def _collect_reference_octets(
    root: etree._Element, structure: SignatureStructure, properties: etree._Element
) -> dict[str, bytes]:
    """Return the octets of each reference: the document, the signed properties, optionally KeyInfo."""
    parts: dict[str, str] = {}
    for reference in structure.references:
        part = _classify_reference(reference, root, structure, properties)
        if part in parts.values():
            raise_signature_error(f"two references to the {part}", structure.signed_info)
        parts[reference.uri] = part
    for demanded in (_DOCUMENT, _PROPERTIES):
        if demanded not in parts.values():
            raise_signature_error(
                f"the signature does not cover the {demanded}", structure.element, errors.NOT_COVERED
            )

    def resolve_reference(reference: DigestReference) -> bytes:
        if parts[reference.uri] == _DOCUMENT:
            return _canonicalize_signed_document(root, structure, reference)
        return _canonicalize_part(
            properties if parts[reference.uri] == _PROPERTIES else structure.key_info, reference
        )

    references = structure.references
    return {each.uri: dereference_octets(each, resolve_reference, structure.element) for each in references}


def _classify_reference(
    reference: DigestReference,
    root: etree._Element,
    structure: SignatureStructure,
    properties: etree._Element,
) -> str:
    algorithms = [transform.algorithm for transform in reference.transforms]
    if reference.uri == "" or _is_reference_to(reference, root.get(_XML_ID)):
        if algorithms[:1] != [ENVELOPED] or not _is_single_canonicalization(algorithms[1:]) or reference.type:
            raise_signature_error(
                "the document is signed as enveloped-signature, then one C14N", structure.signed_info
            )
        return _DOCUMENT
    if algorithms and not _is_single_canonicalization(algorithms):
        raise_signature_error("a part of the signature is signed by one C14N", structure.signed_info)
    if _is_reference_to(reference, properties.get("Id")) and reference.type == SIGNED_PROPERTIES:
        return _PROPERTIES
    if not _is_reference_to(reference, structure.key_info.get("Id")) or reference.type:
        raise_signature_error(
            f"reference '{reference.uri[:120]}' is not one of XAdES-B", structure.signed_info
        )
    return "KeyInfo"


def _is_reference_to(reference: DigestReference, identifier: str | None) -> bool:
    return identifier is not None and reference.uri == f"#{identifier}"


def _is_single_canonicalization(algorithms: list[str]) -> bool:
    return len(algorithms) == 1 and algorithms[0] in _METHODS


def _canonicalize_signed_document(
    root: etree._Element, structure: SignatureStructure, reference: DigestReference
) -> bytes:
    method = reference.transforms[1]
    exclusive = method.algorithm == EXCLUSIVE_C14N
    alone = root.getprevious() is None and root.getnext() is None
    if not exclusive or (alone and not method.prefixes):
        return canonicalize_document(root, (structure.element,), exclusive=exclusive)
    bare = deepcopy(root)
    remove_element(next(bare.iterchildren(_SIGNATURE)))
    return apply_canonicalization(bare, method)


def _canonicalize_part(element: etree._Element, reference: DigestReference) -> bytes:
    """Return the octets of a part; without transforms, Canonical XML 1.0 or (from some signers) 1.1.

    The two differ only in whether an xml:id of the root is inherited, and the reference to
    the document covers that xml:id.
    """
    if reference.transforms:
        return apply_canonicalization(element, reference.transforms[0])
    octets = apply_canonicalization(element, Transform(C14N))
    if compare_digests(compute_digest(reference.digest_algorithm, octets), reference.digest_value):
        return octets
    return apply_canonicalization(element, Transform(C14N_11))


def _check_signed_properties(
    properties: etree._Element,
    structure: SignatureStructure,
    certificate: Certificate,
    policy: SignaturePolicy,
) -> datetime:
    parts = list_children(properties)
    if not 1 <= len(parts) <= 2 or parts[0].tag != f"{{{XADES}}}SignedSignatureProperties":
        raise_signature_error(
            "SignedProperties holds the properties of the signature, then of the data", properties
        )
    if len(parts) == 2:
        _check_data_properties(parts[1], structure)
    check_attributes(parts[0], optional=("Id",))
    signature_properties = list_children(parts[0])
    if [part.tag for part in signature_properties] != [
        f"{{{XADES}}}SigningTime",
        f"{{{XADES}}}SigningCertificateV2",
    ]:
        raise_signature_error("SigningTime and SigningCertificateV2 belong here and nothing else", parts[0])
    _check_signing_certificate(signature_properties[1], certificate, policy)
    return _read_signing_time(signature_properties[0])


def _read_signing_time(element: etree._Element) -> datetime:
    check_attributes(element)
    text = read_text(element).strip()
    if not _TIME.fullmatch(text):
        raise_signature_error("SigningTime is not a time with a zone", element)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise_signature_error("SigningTime is not a time", element)


def _check_signing_certificate(
    element: etree._Element, certificate: Certificate, policy: SignaturePolicy
) -> None:
    check_attributes(element)
    cert = get_only_child(element, f"{{{XADES}}}Cert")
    check_attributes(cert)
    parts = list_children(cert)
    names = [etree.QName(part).localname for part in parts if part.tag.startswith(f"{{{XADES}}}")]
    if names not in (["CertDigest"], ["CertDigest", "IssuerSerialV2"]) or len(names) != len(parts):
        raise_signature_error("a Cert holds CertDigest and perhaps IssuerSerialV2", cert)
    if len(parts) == 2:
        check_attributes(parts[1])
        decode_base64(parts[1])  # the digest identifies the certificate; the serial number is not compared
    check_attributes(parts[0])
    values = list_children(parts[0])
    if [value.tag for value in values] != [f"{{{DS}}}DigestMethod", f"{{{DS}}}DigestValue"]:
        raise_signature_error("CertDigest holds DigestMethod and DigestValue", parts[0])
    check_attributes(values[1])
    algorithm = read_algorithm(values[0])
    check_digest_algorithm(algorithm, policy)
    if not compare_digests(compute_digest(algorithm, certificate.der), decode_base64(values[1])):
        raise_signature_error("SigningCertificateV2 is not the certificate in KeyInfo", element)


def _check_data_properties(element: etree._Element, structure: SignatureStructure) -> None:
    """Accept only one DataObjectFormat, which describes the document."""
    if element.tag != f"{{{XADES}}}SignedDataObjectProperties":
        raise_signature_error("an unknown signed property", element)
    check_attributes(element, optional=("Id",))
    form = get_only_child(element, f"{{{XADES}}}DataObjectFormat")
    check_attributes(form, required=("ObjectReference",))
    names = [part.tag for part in list_children(form)]
    known = [f"{{{XADES}}}{name}" for name in ("Description", "MimeType", "Encoding")]
    if names != [name for name in known if name in names]:
        raise_signature_error("a DataObjectFormat holds Description, MimeType and Encoding", form)
    for part in form:
        check_attributes(part)
        read_text(part)
    data = [
        reference
        for reference in structure.signed_info.iterchildren(f"{{{DS}}}Reference")
        if reference.get("Id") is not None and form.get("ObjectReference") == f"#{reference.get('Id')}"
    ]
    if len(data) != 1 or data[0].get("Type") is not None:
        raise_signature_error("DataObjectFormat does not name the reference to the document", form)
