"""XAdES-B of a whole document (ETSI EN 319 132-1), enveloped, as the last child of the root.

A document is read strictly: each element of its signature has one permitted place, and each reference
names the document, the signed properties or KeyInfo. Digests and value are then verified as in every
other profile. Our own signatures have the same elements each time, filled in; their identifiers follow
from the certificate and the time.
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final

from lxml import etree

from gateway import errors
from gateway.pki import Certificate, Signer
from gateway.wire import (
    C14N,
    DS,
    XADES,
    XML,
    canonicalize_document,
    format_instant,
    parse_datetime,
    read_own_element,
    write_attribute,
    write_leaf,
    write_octets,
)
from gateway.xmlsec.algorithms import (
    C14N_11,
    ED25519,
    ENVELOPED_SIGNATURE,
    EXCLUSIVE_C14N,
    SHA256,
    SIGNED_PROPERTIES,
    STRICT,
    check_digest_algorithm,
    compare_digests,
    compute_digest,
)
from gateway.xmlsec.key_info import read_x509_key_info
from gateway.xmlsec.signature_verifier import (
    PlainAttachments,
    SignedContent,
    SignedOctets,
    StructureReading,
    VerifiedSignature,
    verify_reading,
)
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
from gateway.xmlsec.xml_signature import (
    DigestReference,
    ParsedSignature,
    Transform,
    apply_canonicalization,
    check_unique_ids,
    dereference_octets,
    fill_digest_value,
    fill_signature_value,
    read_signature,
    write_empty_reference,
    write_methods,
)

_SIGNATURE: Final = f"{{{DS}}}Signature"
_XML_ID: Final = f"{{{XML}}}id"
_CANONICALIZATIONS: Final = (C14N, C14N_11, EXCLUSIVE_C14N)


def sign_document(root: etree._Element, signer: Signer, *, now: datetime) -> etree._Element:
    """Sign the document in place: ds:Signature becomes the last child of its root, which is returned.

    Raises GW803 for a key that signs no documents.
    """
    if next(root.iter(_SIGNATURE), None) is not None:
        raise_signature_error("the document already has a signature", root, errors.OUR_MISTAKE)
    if not signs_documents(signer):
        detail = "an Ed25519 key signs messages, but no documents: an RSA or ECDSA key is needed"
        raise errors.GatewayError(errors.KEY_UNAVAILABLE, detail, "key")
    _append_signature(root, signer, now)
    return root


def signs_documents(signer: Signer) -> bool:
    """Return whether a key is of a kind that XAdES signatures are made by and verified with."""
    return signer.algorithm != ED25519


def compute_unsigned_digest(root: etree._Element) -> str:
    """Return the SHA-256 of a document's canonical form without its signature, in hexadecimal.

    It is the same before and after the signing, so both sides can see that it is one document.
    """
    signatures = tuple(root.iterchildren(_SIGNATURE))
    return hashlib.sha256(canonicalize_document(root, signatures)).hexdigest()


def verify_document(root: etree._Element) -> VerifiedSignature:
    """Verify the one signature of a document over all of it, and its signed properties.

    Comments, which the signature does not cover, are removed from the tree afterwards, so
    that only signed content is read from it.
    """
    element = _find_signature(root)
    parsed = read_signature(element, STRICT, object_count=1)
    if parsed.canonicalization.algorithm not in _CANONICALIZATIONS or parsed.algorithm == ED25519:
        raise_signature_error(
            "algorithm of SignedInfo not allowed in XAdES", element, errors.ALGORITHM_REFUSED
        )
    certificate = read_x509_key_info(parsed.key_info)
    properties = _get_signed_properties(parsed)
    targets = _match_references(root, parsed, properties)
    signing_time = _check_signed_properties(properties, parsed, certificate)
    verified_signature = verify_reading(
        _DocumentReading(parsed, certificate, root, targets), PlainAttachments({})
    )
    etree.strip_tags(root, etree.Comment)
    return replace(verified_signature, signing_time=signing_time)


@dataclass(frozen=True, slots=True)
class _DocumentReading(StructureReading):
    """The values of the signature of a document; `targets` are the elements that its references sign."""

    root: etree._Element
    targets: tuple[etree._Element, ...]

    def match_references(self) -> SignedContent:
        """Return the content of each reference: the document, the signed properties, optionally KeyInfo."""
        return SignedContent([None] * len(self.targets), self._canonicalize)

    def _canonicalize(self) -> SignedOctets:
        """Return the canonical octets of each reference; raise GW202 where an identifier is not unique."""
        check_unique_ids(self.root, (reference.uri[1:] for reference in self.references))
        canonical_forms = (
            self._canonicalize_target(reference, target)
            for reference, target in zip(self.references, self.targets, strict=True)
        )
        return SignedOctets(canonical_forms, ("/",))

    def _canonicalize_target(self, reference: DigestReference, target: etree._Element) -> bytes:
        if target is self.root:
            return dereference_octets(reference, self._canonicalize_document, self.parsed.element)
        return dereference_octets(reference, partial(_canonicalize_part, target), self.parsed.element)

    def _canonicalize_document(self, reference: DigestReference) -> bytes:
        return _canonicalize_signed_document(self.root, self.parsed, reference)


def _find_signature(root: etree._Element) -> etree._Element:
    signatures = list(root.iter(_SIGNATURE))
    if not signatures:
        raise_signature_error("the document is not signed", root, errors.SIGNATURE_MISSING)
    if (
        len(signatures) > 1
        or signatures[0].getparent() is not root
        or next(signatures[0].itersiblings("*"), None) is not None
    ):
        raise_signature_error("ds:Signature must occur once, as the last child of the root", signatures[-1])
    return signatures[0]


def _get_signed_properties(parsed: ParsedSignature) -> etree._Element:
    """Return the SignedProperties from their only permitted place."""
    object_element = parsed.objects[0]
    check_attributes(object_element)
    qualifying_properties = get_only_child(object_element, f"{{{XADES}}}QualifyingProperties")
    check_attributes(qualifying_properties, required=("Target",), optional=("Id",))
    if qualifying_properties.get("Target") != f"#{parsed.element.get('Id')}":
        raise_signature_error("QualifyingProperties has another signature as Target", qualifying_properties)
    # no signature covers unsigned properties; levels above B are not read here
    properties = get_only_child(qualifying_properties, f"{{{XADES}}}SignedProperties")
    check_attributes(properties, required=("Id",))
    return properties


def _match_references(
    root: etree._Element, parsed: ParsedSignature, properties: etree._Element
) -> tuple[etree._Element, ...]:
    """Return the element that each reference signs; the document and the properties are among them.

    Raises GW203 where one of the two is not, and GW202 for any other reference.
    """
    targets: list[etree._Element] = []
    for reference in parsed.references:
        target = _find_signed_element(reference, root, parsed, properties)
        if target in targets:
            raise_signature_error(f"two references to the {_describe_part(target, root)}", parsed.signed_info)
        targets.append(target)
    for required_element in (root, properties):
        if required_element not in targets:
            detail = f"the signature does not cover the {_describe_part(required_element, root)}"
            raise_signature_error(detail, parsed.element, errors.NOT_COVERED)
    return tuple(targets)


def _describe_part(part: etree._Element, root: etree._Element) -> str:
    return "document" if part is root else etree.QName(part).localname


def _find_signed_element(
    reference: DigestReference,
    root: etree._Element,
    parsed: ParsedSignature,
    properties: etree._Element,
) -> etree._Element:
    """Return the element that a reference covers: `root`, `properties` or ds:KeyInfo; raise for any other."""
    algorithms = [transform.algorithm for transform in reference.transforms]
    if reference.uri == "" or _is_reference_to(reference, root.get(_XML_ID)):
        if (
            algorithms[:1] != [ENVELOPED_SIGNATURE]
            or not _is_single_canonicalization(algorithms[1:])
            or reference.type
        ):
            raise_signature_error(
                "the document must be signed by enveloped-signature, then one C14N", parsed.signed_info
            )
        return root
    if algorithms and not _is_single_canonicalization(algorithms):
        raise_signature_error("a part of the signature must be signed by one C14N", parsed.signed_info)
    if _is_reference_to(reference, properties.get("Id")) and reference.type == SIGNED_PROPERTIES:
        return properties
    if not _is_reference_to(reference, parsed.key_info.get("Id")) or reference.type:
        raise_signature_error(f"reference '{reference.uri[:120]}' is not one of XAdES-B", parsed.signed_info)
    return parsed.key_info


def _is_reference_to(reference: DigestReference, identifier: str | None) -> bool:
    return identifier is not None and reference.uri == f"#{identifier}"


def _is_single_canonicalization(algorithms: list[str]) -> bool:
    return len(algorithms) == 1 and algorithms[0] in _CANONICALIZATIONS


def _canonicalize_signed_document(
    root: etree._Element, parsed: ParsedSignature, reference: DigestReference
) -> bytes:
    """Return the document without its signature in the canonical form of the second transform."""
    method = reference.transforms[1]
    is_exclusive = method.algorithm == EXCLUSIVE_C14N
    has_no_siblings = root.getprevious() is None and root.getnext() is None
    if not is_exclusive or (has_no_siblings and not method.prefixes):
        return canonicalize_document(root, (parsed.element,), exclusive=is_exclusive, once=True)
    document_copy = deepcopy(root)
    remove_element(next(document_copy.iterchildren(_SIGNATURE)))
    return apply_canonicalization(document_copy, method, once=True)


def _canonicalize_part(element: etree._Element, reference: DigestReference) -> bytes:
    """Return the octets of a part; without transforms, Canonical XML 1.0 or (from some signers) 1.1.

    The two differ only in whether an xml:id of the root is inherited, and the reference to
    the document covers that xml:id.
    """
    if reference.transforms:
        return apply_canonicalization(element, reference.transforms[0], once=True)
    octets = apply_canonicalization(element, Transform(C14N), once=True)
    if compare_digests(compute_digest(reference.digest_algorithm, octets), reference.digest_value):
        return octets
    return apply_canonicalization(element, Transform(C14N_11), once=True)


def _check_signed_properties(
    properties: etree._Element,
    parsed: ParsedSignature,
    certificate: Certificate,
) -> datetime:
    """Return the signing time in `properties`; raise unless they name `certificate` as that of the signer."""
    parts = list_children(properties)
    if not 1 <= len(parts) <= 2 or parts[0].tag != f"{{{XADES}}}SignedSignatureProperties":
        raise_signature_error(
            "SignedProperties must hold the properties of the signature, then of the data", properties
        )
    if len(parts) == 2:
        _check_data_properties(parts[1], parsed)
    check_attributes(parts[0], optional=("Id",))
    signature_properties = list_children(parts[0])
    if [part.tag for part in signature_properties] != [
        f"{{{XADES}}}SigningTime",
        f"{{{XADES}}}SigningCertificateV2",
    ]:
        raise_signature_error(
            "this element must hold SigningTime and SigningCertificateV2 and nothing else", parts[0]
        )
    _check_signing_certificate(signature_properties[1], certificate)
    return _read_signing_time(signature_properties[0])


def _read_signing_time(element: etree._Element) -> datetime:
    check_attributes(element)
    try:
        return parse_datetime(read_text(element))
    except ValueError as fault:
        raise_signature_error(f"SigningTime: {errors.describe_exception(fault)}", element)


def _check_signing_certificate(element: etree._Element, certificate: Certificate) -> None:
    """Raise unless the digest in a SigningCertificateV2 is that of `certificate`."""
    check_attributes(element)
    cert_element = get_only_child(element, f"{{{XADES}}}Cert")
    check_attributes(cert_element)
    parts = list_children(cert_element)
    part_names = [etree.QName(part).localname for part in parts if part.tag.startswith(f"{{{XADES}}}")]
    if part_names not in (["CertDigest"], ["CertDigest", "IssuerSerialV2"]) or len(part_names) != len(parts):
        raise_signature_error("a Cert must hold CertDigest and perhaps IssuerSerialV2", cert_element)
    if len(parts) == 2:
        check_attributes(parts[1])
        decode_base64(parts[1])  # the digest identifies the certificate; the serial number is not compared
    check_attributes(parts[0])
    digest_elements = list_children(parts[0])
    if [digest_element.tag for digest_element in digest_elements] != [
        f"{{{DS}}}DigestMethod",
        f"{{{DS}}}DigestValue",
    ]:
        raise_signature_error("CertDigest must hold DigestMethod and DigestValue", parts[0])
    check_attributes(digest_elements[1])
    algorithm = read_algorithm(digest_elements[0])
    check_digest_algorithm(algorithm, STRICT)
    if not compare_digests(compute_digest(algorithm, certificate.der), decode_base64(digest_elements[1])):
        raise_signature_error("SigningCertificateV2 is not the certificate in KeyInfo", element)


def _check_data_properties(element: etree._Element, parsed: ParsedSignature) -> None:
    """Accept only one DataObjectFormat, which describes the document."""
    if element.tag != f"{{{XADES}}}SignedDataObjectProperties":
        raise_signature_error("an unknown signed property", element)
    check_attributes(element, optional=("Id",))
    data_object_format = get_only_child(element, f"{{{XADES}}}DataObjectFormat")
    check_attributes(data_object_format, required=("ObjectReference",))
    part_tags = [part.tag for part in list_children(data_object_format)]
    allowed_tags = [f"{{{XADES}}}{name}" for name in ("Description", "MimeType", "Encoding")]
    if part_tags != [name for name in allowed_tags if name in part_tags]:
        raise_signature_error(
            "a DataObjectFormat must hold Description, MimeType and Encoding", data_object_format
        )
    for part in data_object_format:
        check_attributes(part)
        read_text(part)
    document_references = [
        reference
        for reference in parsed.signed_info.iterchildren(f"{{{DS}}}Reference")
        if reference.get("Id") is not None
        and data_object_format.get("ObjectReference") == f"#{reference.get('Id')}"
    ]
    if len(document_references) != 1 or document_references[0].get("Type") is not None:
        raise_signature_error(
            "DataObjectFormat does not name the reference to the document", data_object_format
        )


_EXCLUSIVE_TRANSFORM: Final = Transform(EXCLUSIVE_C14N)
_NAMESPACES: Final = {"ds": DS, "xades": XADES}
_DIGEST_METHOD: Final = f'<ds:DigestMethod Algorithm="{SHA256}"/>'
_DESCRIPTION: Final = (
    "<xades:Description>signed document</xades:Description><xades:MimeType>application/xml</xades:MimeType>"
)


def _append_signature(root: etree._Element, signer: Signer, now: datetime) -> None:
    """Append an enveloped XAdES-B signature to the root of a document.

    The document is signed in inclusive C14N: prefixes in its values (QNames) are then signed too.
    """
    canonical_document = canonicalize_document(root)
    signature = read_own_element(_write_signature(signer, now).encode())
    # Prefixes of the root may replace those of the signature, which must happen before it is signed.
    root.append(signature)
    document_reference, properties_reference, key_info_reference = signature[0].iterchildren(
        f"{{{DS}}}Reference"
    )
    fill_digest_value(document_reference, canonical_document)
    fill_digest_value(properties_reference, apply_canonicalization(signature[3][0][0], _EXCLUSIVE_TRANSFORM))
    fill_digest_value(key_info_reference, apply_canonicalization(signature[2], _EXCLUSIVE_TRANSFORM))
    fill_signature_value(signature, _EXCLUSIVE_TRANSFORM, signer)


def _write_signature(signer: Signer, now: datetime) -> str:
    """Return a signature whose digests and value are empty."""
    time = format_instant(now, "seconds")
    id_suffix = hashlib.sha256(f"{signer.certificate.sha256} {time}".encode()).hexdigest()[:12]
    signature, key_info, reference = (f"SignXML{id_word}-{id_suffix}" for id_word in _ID_WORDS)
    properties = f"{signature}-SignedProperties"
    certificate = signer.certificate.der
    signed_info = (
        write_methods(EXCLUSIVE_C14N, signer.algorithm)
        + write_empty_reference(f' Id="{reference}" URI=""', (ENVELOPED_SIGNATURE, C14N))
        + write_empty_reference(f' Type="{SIGNED_PROPERTIES}" URI="#{properties}"', (EXCLUSIVE_C14N,))
        + write_empty_reference(f' URI="#{key_info}"', (EXCLUSIVE_C14N,))
    )
    declared = "".join(write_attribute(f"xmlns:{id_word}", uri) for id_word, uri in _NAMESPACES.items())
    return (
        f'<ds:Signature{declared} Id="{signature}"><ds:SignedInfo>{signed_info}</ds:SignedInfo>'
        f'<ds:SignatureValue/><ds:KeyInfo Id="{key_info}">{_write_certificate(certificate)}</ds:KeyInfo>'
        f'<ds:Object><xades:QualifyingProperties Target="#{signature}"><xades:SignedProperties'
        f' Id="{properties}"><xades:SignedSignatureProperties>{write_leaf("xades:SigningTime", time)}'
        f"{_write_certificate_digest(certificate)}</xades:SignedSignatureProperties>"
        f'<xades:SignedDataObjectProperties><xades:DataObjectFormat ObjectReference="#{reference}">'
        f"{_DESCRIPTION}</xades:DataObjectFormat></xades:SignedDataObjectProperties>"
        "</xades:SignedProperties></xades:QualifyingProperties></ds:Object></ds:Signature>"
    )


#: The words for the elements in their identifiers; earlier signatures have the same words.
_ID_WORDS: Final = ("Signature", "Certificate", "Reference")


def _write_certificate(der: bytes) -> str:
    return f"<ds:X509Data>{write_octets('ds:X509Certificate', der)}</ds:X509Data>"


def _write_certificate_digest(der: bytes) -> str:
    value = write_octets("ds:DigestValue", hashlib.sha256(der).digest())
    return (
        f"<xades:SigningCertificateV2><xades:Cert><xades:CertDigest>{_DIGEST_METHOD}{value}"
        "</xades:CertDigest></xades:Cert></xades:SigningCertificateV2>"
    )
