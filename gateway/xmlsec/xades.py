"""XAdES-B of a whole document (ETSI EN 319 132-1), enveloped, as the last child of the root.

This is our own reading of the structure; behind it signxml makes and checks the
signature (see ``xades_engine``).
"""

from __future__ import annotations

import re
from copy import deepcopy
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from gateway import errors
from gateway.pki.certificates import Certificate
from gateway.pki.keys import Signer
from gateway.wire.namespaces import DS, XADES, XML
from gateway.wire.xml import canonicalize_document
from gateway.xmlsec.algorithms import (
    C14N,
    C14N_11,
    ED25519,
    ENVELOPED,
    EXCLUSIVE_C14N,
    STRICT,
    SignaturePolicy,
    check_digest_algorithm,
    check_key,
    digest,
    same_digest,
)
from gateway.xmlsec.ids import check_ids
from gateway.xmlsec.keyinfo import read_x509_key_info
from gateway.xmlsec.references import DigestReference, Transform
from gateway.xmlsec.signature import Signed, Structure, canonical, covered_octets, read_signature
from gateway.xmlsec.strict import (
    algorithm_of,
    attributes,
    children,
    decode_base64,
    only_child,
    refuse,
    text_of,
    without,
)
from gateway.xmlsec.xades_engine import check_xades, make_xades

__all__ = ["sign_document", "verify_document"]

_SIGNATURE: Final = f"{{{DS}}}Signature"
_XML_ID: Final = f"{{{XML}}}id"
_SIGNED_PROPERTIES_TYPE: Final = "http://uri.etsi.org/01903#SignedProperties"
_METHODS: Final = (C14N, C14N_11, EXCLUSIVE_C14N)
_DOCUMENT: Final = "document"
_PROPERTIES: Final = "SignedProperties"
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")


def sign_document(root: etree._Element, signer: Signer, *, now: datetime) -> etree._Element:
    """Sign the document in place: ds:Signature becomes the last child of its root, which is returned."""
    if next(root.iter(_SIGNATURE), None) is not None:
        refuse("the document holds a signature already", root, errors.OUR_MISTAKE)
    if signer.algorithm == ED25519:
        refuse("XAdES signatures are made by RSA and ECDSA keys", root, errors.ALGORITHM_REFUSED)
    make_xades(root, signer, now)
    return root


def verify_document(root: etree._Element, *, policy: SignaturePolicy = STRICT) -> Signed:
    """Verify the one signature of a document over all of it, and its signed properties.

    Comments, which the signature does not cover, are taken out of the tree afterwards, so
    that what is read from it is what was signed.
    """
    element = _find(root)
    structure = read_signature(element, policy, objects=1)
    if structure.canonicalization.algorithm not in _METHODS or structure.algorithm == ED25519:
        refuse("algorithm of SignedInfo not allowed in XAdES", element, errors.ALGORITHM_REFUSED)
    certificate = read_x509_key_info(structure.key_info)
    check_key(structure.algorithm, certificate.public_key)
    properties = _properties_of(structure)
    octets = _octets_of(root, structure, properties)
    check_ids(root, (reference.uri[1:] for reference in structure.references))
    signing_time = _read_properties(properties, structure, certificate, policy)
    check_xades(root, structure, octets, certificate)
    etree.strip_tags(root, etree.Comment)
    return Signed(
        references=structure.references,
        certificate=certificate,
        covered=("/",),
        signature_algorithm=structure.algorithm,
        signing_time=signing_time,
    )


def _find(root: etree._Element) -> etree._Element:
    found = list(root.iter(_SIGNATURE))
    if not found:
        refuse("the document is not signed", root, errors.SIGNATURE_MISSING)
    if (
        len(found) > 1
        or found[0].getparent() is not root
        or next(found[0].itersiblings("*"), None) is not None
    ):
        refuse("ds:Signature stands once, as the last child of the root", found[-1])
    return found[0]


def _properties_of(structure: Structure) -> etree._Element:
    """Return the SignedProperties in their only place."""
    holder = structure.objects[0]
    attributes(holder)
    qualifying = only_child(holder, f"{{{XADES}}}QualifyingProperties")
    attributes(qualifying, required=("Target",), optional=("Id",))
    if qualifying.get("Target") != f"#{structure.element.get('Id')}":
        refuse("QualifyingProperties has another signature as Target", qualifying)
    # unsigned properties are proven by nobody; levels above B are not read here
    properties = only_child(qualifying, f"{{{XADES}}}SignedProperties")
    attributes(properties, required=("Id",))
    return properties


def _octets_of(root: etree._Element, structure: Structure, properties: etree._Element) -> dict[str, bytes]:
    """Return what each reference stands for: the document, the signed properties, perhaps KeyInfo."""
    parts: dict[str, str] = {}
    for reference in structure.references:
        part = _part_named(reference, root, structure, properties)
        if part in parts.values():
            refuse(f"two references to the {part}", structure.signed_info)
        parts[reference.uri] = part
    for demanded in (_DOCUMENT, _PROPERTIES):
        if demanded not in parts.values():
            refuse(f"the signature does not cover the {demanded}", structure.element, errors.NOT_COVERED)

    def resolve(reference: DigestReference) -> bytes:
        if parts[reference.uri] == _DOCUMENT:
            return _document(root, structure, reference)
        return _part(properties if parts[reference.uri] == _PROPERTIES else structure.key_info, reference)

    references = structure.references
    return {each.uri: covered_octets(each, resolve, structure.element) for each in references}


def _part_named(
    reference: DigestReference, root: etree._Element, structure: Structure, properties: etree._Element
) -> str:
    algorithms = [transform.algorithm for transform in reference.transforms]
    if reference.uri == "" or _names(reference, root.get(_XML_ID)):
        if algorithms[:1] != [ENVELOPED] or not _one_method(algorithms[1:]) or reference.type:
            refuse("the document is signed as enveloped-signature, then one C14N", structure.signed_info)
        return _DOCUMENT
    if algorithms and not _one_method(algorithms):
        refuse("a part of the signature is signed by one C14N", structure.signed_info)
    if _names(reference, properties.get("Id")) and reference.type == _SIGNED_PROPERTIES_TYPE:
        return _PROPERTIES
    if not _names(reference, structure.key_info.get("Id")) or reference.type:
        refuse(f"reference '{reference.uri[:120]}' is not one of XAdES-B", structure.signed_info)
    return "KeyInfo"


def _names(reference: DigestReference, identifier: str | None) -> bool:
    return identifier is not None and reference.uri == f"#{identifier}"


def _one_method(algorithms: list[str]) -> bool:
    return len(algorithms) == 1 and algorithms[0] in _METHODS


def _document(root: etree._Element, structure: Structure, reference: DigestReference) -> bytes:
    method = reference.transforms[1]
    if method.algorithm != EXCLUSIVE_C14N:
        return canonicalize_document(root, (structure.element,))
    bare = deepcopy(root)
    without(next(bare.iterchildren(_SIGNATURE)))
    return canonical(bare, method)


def _part(element: etree._Element, reference: DigestReference) -> bytes:
    """Return the octets of a part; without transforms that is Canonical XML 1.0, by some makers 1.1.

    The two differ only in whether an xml:id of the root is inherited, and that is covered
    by the reference to the document.
    """
    if reference.transforms:
        return canonical(element, reference.transforms[0])
    octets = canonical(element, Transform(C14N))
    if same_digest(digest(reference.digest_algorithm, octets), reference.digest_value):
        return octets
    return canonical(element, Transform(C14N_11))


def _read_properties(
    properties: etree._Element, structure: Structure, certificate: Certificate, policy: SignaturePolicy
) -> datetime:
    parts = children(properties)
    if not 1 <= len(parts) <= 2 or parts[0].tag != f"{{{XADES}}}SignedSignatureProperties":
        refuse("SignedProperties holds the properties of the signature, then of the data", properties)
    if len(parts) == 2:
        _check_data_properties(parts[1], structure)
    attributes(parts[0], optional=("Id",))
    signature_properties = children(parts[0])
    if [part.tag for part in signature_properties] != [
        f"{{{XADES}}}SigningTime",
        f"{{{XADES}}}SigningCertificateV2",
    ]:
        refuse("SigningTime and SigningCertificateV2 belong here and nothing else", parts[0])
    _check_signing_certificate(signature_properties[1], certificate, policy)
    return _signing_time(signature_properties[0])


def _signing_time(element: etree._Element) -> datetime:
    attributes(element)
    text = text_of(element).strip()
    if not _TIME.fullmatch(text):
        refuse("SigningTime is not a time with a zone", element)
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        refuse("SigningTime is not a time", element)


def _check_signing_certificate(
    element: etree._Element, certificate: Certificate, policy: SignaturePolicy
) -> None:
    attributes(element)
    cert = only_child(element, f"{{{XADES}}}Cert")
    attributes(cert)
    parts = children(cert)
    names = [etree.QName(part).localname for part in parts if part.tag.startswith(f"{{{XADES}}}")]
    if names not in (["CertDigest"], ["CertDigest", "IssuerSerialV2"]) or len(names) != len(parts):
        refuse("a Cert holds CertDigest and perhaps IssuerSerialV2", cert)
    if len(parts) == 2:
        attributes(parts[1])
        decode_base64(parts[1])  # the digest binds; issuer and serial number name nothing by themselves
    attributes(parts[0])
    values = children(parts[0])
    if [value.tag for value in values] != [f"{{{DS}}}DigestMethod", f"{{{DS}}}DigestValue"]:
        refuse("CertDigest holds DigestMethod and DigestValue", parts[0])
    attributes(values[1])
    algorithm = algorithm_of(values[0])
    check_digest_algorithm(algorithm, policy)
    if not same_digest(digest(algorithm, certificate.der), decode_base64(values[1])):
        refuse("SigningCertificateV2 is not the certificate in KeyInfo", element)


def _check_data_properties(element: etree._Element, structure: Structure) -> None:
    """Take only one DataObjectFormat, which says what the document is."""
    if element.tag != f"{{{XADES}}}SignedDataObjectProperties":
        refuse("an unknown signed property", element)
    attributes(element, optional=("Id",))
    form = only_child(element, f"{{{XADES}}}DataObjectFormat")
    attributes(form, required=("ObjectReference",))
    names = [part.tag for part in children(form)]
    known = [f"{{{XADES}}}{name}" for name in ("Description", "MimeType", "Encoding")]
    if names != [name for name in known if name in names]:
        refuse("a DataObjectFormat holds Description, MimeType and Encoding", form)
    for part in form:
        attributes(part)
        text_of(part)
    data = [
        reference
        for reference in structure.signed_info.iterchildren(f"{{{DS}}}Reference")
        if reference.get("Id") is not None and form.get("ObjectReference") == f"#{reference.get('Id')}"
    ]
    if len(data) != 1 or data[0].get("Type") is not None:
        refuse("DataObjectFormat names no reference to the document", form)
