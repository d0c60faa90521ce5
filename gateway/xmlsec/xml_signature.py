"""The ds:Signature element: its structure, its value, and the result of its verification."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import Certificate, Signer
from gateway.wire import DEFAULT_LIMITS, DS, SWA_CONTENT, XML, WireLimits, build_xpath, canonicalize_element
from gateway.xmlsec.algorithms import (
    C14N,
    C14N_11,
    ENVELOPED,
    EXCLUSIVE_C14N,
    SHA256,
    XPATH,
    DigestInput,
    SignaturePolicy,
    check_digest_algorithm,
    check_public_key,
    check_signature_algorithm,
    compare_digests,
    compute_digest,
    verify_value_of_checked_key,
)
from gateway.xmlsec.digest_references import (
    DigestReference,
    Transform,
    append_reference,
    read_reference,
    read_transform,
)
from gateway.xmlsec.strict_reader import check_attributes, decode_base64, list_children, raise_signature_error

__all__ = [
    "WRONG_VALUE",
    "CertificateCheck",
    "ReferenceResolver",
    "SignatureForms",
    "SignatureStructure",
    "SignedForm",
    "VerifiedSignature",
    "append_signature",
    "append_x509_key_info",
    "apply_canonicalization",
    "dereference_octets",
    "describe_reference",
    "fill_digest_value",
    "fill_signature_value",
    "read_signature",
    "verify_reference_digests",
    "verify_signature",
    "verify_signed_info",
]

#: What is said of a signature value that its key did not make over this SignedInfo.
WRONG_VALUE: Final = (
    "the signature value is wrong, so SignedInfo was changed after it was signed, or another key signed it"
)

# canonical attribute values have double quotes, with no quote and no "<" inside
_START_TAG: Final = re.compile(rb'<[^ />]+(?: [^ =]+="[^"]*")*')
_XML_ID: Final = re.compile(rb' xml:id="[^"]*"')

_Octets = TypeVar("_Octets", bound=DigestInput)
ReferenceResolver = Callable[[DigestReference], DigestInput]
#: Raises unless the holder of a certificate is accepted; called before anything is computed.
CertificateCheck = Callable[[Certificate], None]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """The result of a valid signature: who signed which octets.

    ``parts`` is what was signed: elements, ``/`` for the whole document, or ``cid:`` references.
    ``excluded`` names the elements inside it that were not and whose content is therefore not
    attested. The certificate is not validated.
    """

    references: tuple[DigestReference, ...]
    certificate: Certificate
    parts: tuple[str | etree._Element, ...]
    signature_algorithm: str
    excluded: tuple[str, ...] = ()
    signing_time: datetime | None = None

    @property
    def covered(self) -> tuple[str, ...]:
        """Return the names of what was signed; those of elements are absolute XPaths."""
        return tuple(part if isinstance(part, str) else build_xpath(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class SignatureStructure:
    """A ds:Signature after reading: every part in its place and nothing else."""

    element: etree._Element
    signed_info: etree._Element
    canonicalization: Transform
    algorithm: str
    references: tuple[DigestReference, ...]
    value: bytes
    key_info: etree._Element
    objects: tuple[etree._Element, ...]


@dataclass(frozen=True, slots=True)
class SignedForm:
    """The canonical octets of what a reference is over, and where that is; no octets for an attachment."""

    octets: bytes | None
    place: str


@dataclass(frozen=True, slots=True)
class SignatureForms:
    """A signature that was read: its certificate, and the canonical octets of all that it is over.

    `targets` has one of each reference, in their order; `excluded` are the names of what is not attested.
    """

    structure: SignatureStructure
    certificate: Certificate
    signed_info: bytes
    targets: tuple[SignedForm, ...]
    excluded: tuple[str, ...] = ()


def read_signature(
    element: etree._Element, policy: SignaturePolicy, objects: int = 0, limits: WireLimits = DEFAULT_LIMITS
) -> SignatureStructure:
    """Read a ds:Signature with exactly one SignedInfo, SignatureValue, KeyInfo and `objects` Objects.

    Algorithms are checked against the policy at once, and the numbers of references and
    prefixes against the limits.
    """
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    expected = ["SignedInfo", "SignatureValue", "KeyInfo"] + ["Object"] * objects
    if [part.tag for part in parts] != [f"{{{DS}}}{name}" for name in expected]:
        raise_signature_error(f"a Signature holds exactly {', '.join(expected)}", element)
    signed_info, value, key_info, *rest = parts
    check_attributes(value, optional=("Id",))
    canonicalization, algorithm, references = _read_signed_info(signed_info, limits)
    check_signature_algorithm(algorithm, policy)
    for reference in references:
        check_digest_algorithm(reference.digest_algorithm, policy)
    return SignatureStructure(
        element=element,
        signed_info=signed_info,
        canonicalization=canonicalization,
        algorithm=algorithm,
        references=references,
        value=decode_base64(value),
        key_info=key_info,
        objects=tuple(rest),
    )


def _read_signed_info(
    element: etree._Element, limits: WireLimits
) -> tuple[Transform, str, tuple[DigestReference, ...]]:
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    tags = [part.tag for part in parts[:2]]
    if tags != [f"{{{DS}}}CanonicalizationMethod", f"{{{DS}}}SignatureMethod"] or len(parts) < 3:
        raise_signature_error(
            "SignedInfo holds CanonicalizationMethod, SignatureMethod and References", element
        )
    method, algorithm, *references = parts
    if len(references) > limits.references:
        raise_signature_error(
            f"there are more than {limits.references} references", element, errors.TOO_LARGE
        )
    canonicalization = read_transform(method)
    if canonicalization.algorithm in (ENVELOPED, XPATH, SWA_CONTENT):
        raise_signature_error("SignedInfo is canonicalised by this method in no profile", method)
    check_attributes(algorithm, required=("Algorithm",))
    if list_children(algorithm):
        # SIG-25: no profile allows HMACOutputLength or RSA-PSS parameters
        raise_signature_error("SignatureMethod has no parameters", algorithm, errors.ALGORITHM_REFUSED)
    digests = tuple(read_reference(part) for part in references)
    methods = [canonicalization, *(transform for one in digests for transform in one.transforms)]
    if any(len(method.prefixes) > limits.prefixes for method in methods):
        raise_signature_error(
            f"a PrefixList has more than {limits.prefixes} prefixes", element, errors.TOO_LARGE
        )
    return canonicalization, algorithm.get("Algorithm", ""), digests


def apply_canonicalization(element: etree._Element, method: Transform) -> bytes:
    """Return the canonical octets of an element by a method that the profile has accepted."""
    if method.algorithm == EXCLUSIVE_C14N:
        return canonicalize_element(element, exclusive=True, prefixes=method.prefixes)
    if method.algorithm == C14N:
        return canonicalize_element(element)
    if method.algorithm != C14N_11:
        raise_signature_error(f"'{method.algorithm[:120]}' is not a canonicalisation", element)
    return _canonicalize_xml11(element)


def verify_signature(
    structure: SignatureStructure, certificate: Certificate, resolve: ReferenceResolver
) -> None:
    """Verify the kind of key, then the signature value over SignedInfo, then every digest.

    ``resolve`` returns the octets of a reference; the profile checks which references are
    permitted before the call.
    """
    verify_signed_info(structure, certificate)
    verify_reference_digests(structure, resolve)


def verify_signed_info(structure: SignatureStructure, certificate: Certificate) -> None:
    """Verify the kind of key, then the signature value over SignedInfo.

    SignedInfo is small. Its verification precedes all work that grows with the document, so
    that a sender without the key cannot cause the canonicalization and digests of the rest.
    """
    check_public_key(structure.algorithm, certificate.public_key)
    data = _canonicalize_signed_info(structure)
    if not verify_value_of_checked_key(structure.algorithm, certificate.public_key, structure.value, data):
        raise_signature_error(WRONG_VALUE, structure.element)


def verify_reference_digests(
    structure: SignatureStructure,
    resolve: ReferenceResolver,
    references: Sequence[DigestReference] | None = None,
) -> None:
    """Verify the digest of every reference, or of those given, against its octets."""
    for reference in structure.references if references is None else references:
        octets = dereference_octets(reference, resolve, structure.element)
        if not compare_digests(compute_digest(reference.digest_algorithm, octets), reference.digest_value):
            detail = f"the digest of {describe_reference(reference.uri)} is wrong"
            raise_signature_error(detail, structure.element)


def describe_reference(uri: str) -> str:
    """Return a reference in words; an empty URI means the whole document (XML-DSig §4.4.3.2)."""
    return f"reference '{uri[:120]}'" if uri else "the reference to the whole document"


def _canonicalize_signed_info(structure: SignatureStructure) -> bytes:
    try:
        return apply_canonicalization(structure.signed_info, structure.canonicalization)
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            raise_signature_error("SignedInfo has no canonical form", structure.signed_info)
        raise


def dereference_octets(
    reference: DigestReference, resolve: Callable[[DigestReference], _Octets], element: etree._Element
) -> _Octets:
    """Return the octets of a reference; raise when they have no canonical form."""
    try:
        return resolve(reference)
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            raise_signature_error(f"{describe_reference(reference.uri)} has no canonical form", element)
        raise


def append_signature(
    parent: etree._Element, method: Transform, algorithm: str, references: Sequence[DigestReference]
) -> etree._Element:
    """Append a ds:Signature with a SignedInfo and an empty SignatureValue; the profile adds the KeyInfo."""
    element = etree.SubElement(parent, f"{{{DS}}}Signature", nsmap={"ds": DS})
    signed_info = etree.SubElement(element, f"{{{DS}}}SignedInfo")
    etree.SubElement(signed_info, f"{{{DS}}}CanonicalizationMethod", Algorithm=method.algorithm)
    etree.SubElement(signed_info, f"{{{DS}}}SignatureMethod", Algorithm=algorithm)
    for reference in references:
        append_reference(signed_info, reference)
    etree.SubElement(element, f"{{{DS}}}SignatureValue")
    return element


def fill_digest_value(reference: etree._Element, octets: bytes) -> None:
    """Fill the SHA-256 of `octets` into the DigestValue of a ds:Reference."""
    reference[-1].text = base64.b64encode(compute_digest(SHA256, octets)).decode("ascii")


def fill_signature_value(element: etree._Element, method: Transform, signer: Signer) -> None:
    """Fill in the signature value over SignedInfo, which must already be in its final place."""
    signed_info, value = element[0], element[1]
    value.text = base64.b64encode(signer.sign(apply_canonicalization(signed_info, method))).decode("ascii")


def append_x509_key_info(element: etree._Element, certificate: Certificate) -> None:
    """Append a KeyInfo that contains the certificate only."""
    key_info = etree.SubElement(element, f"{{{DS}}}KeyInfo")
    data = etree.SubElement(key_info, f"{{{DS}}}X509Data")
    leaf = etree.SubElement(data, f"{{{DS}}}X509Certificate")
    leaf.text = base64.b64encode(certificate.der).decode("ascii")


def _canonicalize_xml11(element: etree._Element) -> bytes:
    """Return Canonical XML 1.1: like 1.0, but a sub-tree does not inherit xml:id."""
    if any(ancestor.get(f"{{{XML}}}base") is not None for ancestor in element.iterancestors()):
        raise_signature_error(
            "Canonical XML 1.1 below an xml:base is not supported", element, errors.ALGORITHM_REFUSED
        )
    octets = canonicalize_element(element)
    if element.get(f"{{{XML}}}id") is not None:
        return octets
    tag = _START_TAG.match(octets)
    if tag is None:
        return octets
    return _XML_ID.sub(b"", tag[0], count=1) + octets[tag.end() :]
