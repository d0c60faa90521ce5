"""The ds:Signature element: its structure, its value, and what a good one proves."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki.certificates import Certificate
from gateway.pki.keys import Signer
from gateway.wire.namespaces import DS, XML
from gateway.wire.prescan import DEFAULT_LIMITS, Limits
from gateway.wire.xml import canonicalize
from gateway.xmlsec.algorithms import (
    C14N,
    C14N_11,
    ENVELOPED,
    EXCLUSIVE_C14N,
    XPATH,
    SignaturePolicy,
    check_algorithm,
    check_digest_algorithm,
    check_key,
    digest,
    same_digest,
    verify_value,
)
from gateway.xmlsec.references import (
    DigestReference,
    Transform,
    read_reference,
    read_transform,
    write_reference,
)
from gateway.xmlsec.strict import attributes, children, decode_base64, refuse

__all__ = [
    "Believe",
    "Resolver",
    "Signed",
    "Structure",
    "add_x509_key_info",
    "canonical",
    "check_digests",
    "check_value",
    "covered_octets",
    "make_signature",
    "read_signature",
    "seal_signature",
    "verify_signature",
]

# canonical attributes stand between double quotes, with no quote and no "<" inside
_START_TAG: Final = re.compile(rb'<[^ />]+(?: [^ =]+="[^"]*")*')
_XML_ID: Final = re.compile(rb' xml:id="[^"]*"')

Resolver = Callable[[DigestReference], bytes]
#: Raises unless the holder of a certificate is one to listen to; asked before anything is computed.
Believe = Callable[[Certificate], None]


@dataclass(frozen=True, slots=True)
class Signed:
    """What a good signature proves: who signed which octets.

    ``covered`` names what was signed (absolute XPaths, ``/`` for the whole document, or
    ``cid:`` references), ``excluded`` the elements inside it that were not: nothing they
    say is attested.  The certificate is not judged.
    """

    references: tuple[DigestReference, ...]
    certificate: Certificate
    covered: tuple[str, ...]
    signature_algorithm: str
    excluded: tuple[str, ...] = ()
    signing_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """A ds:Signature as read: every part in its place and nothing else."""

    element: etree._Element
    signed_info: etree._Element
    canonicalization: Transform
    algorithm: str
    references: tuple[DigestReference, ...]
    value: bytes
    key_info: etree._Element
    objects: tuple[etree._Element, ...]


def read_signature(
    element: etree._Element, policy: SignaturePolicy, objects: int = 0, limits: Limits = DEFAULT_LIMITS
) -> Structure:
    """Read a ds:Signature with exactly one SignedInfo, SignatureValue, KeyInfo and so many Objects.

    Algorithms are checked against the policy at once, and numbers of references and
    prefixes against the limits.
    """
    attributes(element, optional=("Id",))
    parts = children(element)
    expected = ["SignedInfo", "SignatureValue", "KeyInfo"] + ["Object"] * objects
    if [part.tag for part in parts] != [f"{{{DS}}}{name}" for name in expected]:
        refuse(f"a Signature holds exactly {', '.join(expected)}", element)
    signed_info, value, key_info, *rest = parts
    attributes(value, optional=("Id",))
    canonicalization, algorithm, references = _read_signed_info(signed_info, limits)
    check_algorithm(algorithm, policy)
    for reference in references:
        check_digest_algorithm(reference.digest_algorithm, policy)
    return Structure(
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
    element: etree._Element, limits: Limits
) -> tuple[Transform, str, tuple[DigestReference, ...]]:
    attributes(element, optional=("Id",))
    parts = children(element)
    tags = [part.tag for part in parts[:2]]
    if tags != [f"{{{DS}}}CanonicalizationMethod", f"{{{DS}}}SignatureMethod"] or len(parts) < 3:
        refuse("SignedInfo holds CanonicalizationMethod, SignatureMethod and References", element)
    method, algorithm, *references = parts
    if len(references) > limits.references:
        refuse(f"there are more than {limits.references} references", element, errors.TOO_LARGE)
    canonicalization = read_transform(method)
    if canonicalization.algorithm in (ENVELOPED, XPATH):
        refuse("SignedInfo is canonicalised by this method in no profile", method)
    attributes(algorithm, required=("Algorithm",))
    if children(algorithm):
        # SIG-25: HMACOutputLength and RSA-PSS parameters have no place in any profile
        refuse("SignatureMethod has no parameters", algorithm, errors.ALGORITHM_REFUSED)
    digests = tuple(read_reference(part) for part in references)
    methods = [canonicalization, *(transform for one in digests for transform in one.transforms)]
    if any(len(method.prefixes) > limits.prefixes for method in methods):
        refuse(f"a PrefixList has more than {limits.prefixes} prefixes", element, errors.TOO_LARGE)
    return canonicalization, algorithm.get("Algorithm", ""), digests


def canonical(element: etree._Element, method: Transform) -> bytes:
    """Return the canonical octets of an element by a method that the profile has allowed."""
    if method.algorithm == EXCLUSIVE_C14N:
        return canonicalize(element, exclusive=True, prefixes=method.prefixes)
    if method.algorithm == C14N:
        return canonicalize(element)
    if method.algorithm != C14N_11:
        refuse(f"'{method.algorithm[:120]}' is not a canonicalisation", element)
    return _canonicalize_11(element)


def verify_signature(structure: Structure, certificate: Certificate, resolve: Resolver) -> None:
    """Check the kind of key, then the signature value over SignedInfo, then every digest.

    ``resolve`` returns the octets that a reference stands for; which references there may
    be is the profile's to say before this is called.
    """
    check_value(structure, certificate)
    check_digests(structure, resolve)


def check_value(structure: Structure, certificate: Certificate) -> None:
    """Check the kind of key, then the signature value over SignedInfo.

    It comes before everything that grows with the document, for SignedInfo is small:
    nobody without the key makes us canonicalise and digest the rest.
    """
    check_key(structure.algorithm, certificate.public_key)
    data = _signed_info_octets(structure)
    if not verify_value(structure.algorithm, certificate.public_key, structure.value, data):
        refuse("the signature value is wrong", structure.element)


def check_digests(structure: Structure, resolve: Resolver) -> None:
    """Check every digest against the octets that its reference stands for."""
    for reference in structure.references:
        octets = covered_octets(reference, resolve, structure.element)
        if not same_digest(digest(reference.digest_algorithm, octets), reference.digest_value):
            refuse(f"the digest of reference '{reference.uri[:120]}' is wrong", structure.element)


def _signed_info_octets(structure: Structure) -> bytes:
    try:
        return canonical(structure.signed_info, structure.canonicalization)
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            refuse("SignedInfo has no canonical form", structure.signed_info)
        raise


def covered_octets(reference: DigestReference, resolve: Resolver, element: etree._Element) -> bytes:
    """Return the octets of a reference; what has no canonical form cannot have been signed."""
    try:
        return resolve(reference)
    except GatewayError as refusal:
        if refusal.problem is errors.XML_MALFORMED:
            refuse(f"reference '{reference.uri[:120]}' has no canonical form", element)
        raise


def make_signature(
    parent: etree._Element, method: Transform, algorithm: str, references: Sequence[DigestReference]
) -> etree._Element:
    """Append a ds:Signature with a SignedInfo and an empty SignatureValue; KeyInfo is the profile's."""
    element = etree.SubElement(parent, f"{{{DS}}}Signature", nsmap={"ds": DS})
    signed_info = etree.SubElement(element, f"{{{DS}}}SignedInfo")
    etree.SubElement(signed_info, f"{{{DS}}}CanonicalizationMethod", Algorithm=method.algorithm)
    etree.SubElement(signed_info, f"{{{DS}}}SignatureMethod", Algorithm=algorithm)
    for reference in references:
        write_reference(signed_info, reference)
    etree.SubElement(element, f"{{{DS}}}SignatureValue")
    return element


def seal_signature(element: etree._Element, method: Transform, signer: Signer) -> None:
    """Fill in the signature value over SignedInfo, which must stand in its final place."""
    signed_info, value = element[0], element[1]
    value.text = base64.b64encode(signer.sign(canonical(signed_info, method))).decode("ascii")


def add_x509_key_info(element: etree._Element, certificate: Certificate) -> None:
    """Append a KeyInfo with the certificate and nothing else."""
    key_info = etree.SubElement(element, f"{{{DS}}}KeyInfo")
    data = etree.SubElement(key_info, f"{{{DS}}}X509Data")
    leaf = etree.SubElement(data, f"{{{DS}}}X509Certificate")
    leaf.text = base64.b64encode(certificate.der).decode("ascii")


def _canonicalize_11(element: etree._Element) -> bytes:
    """Return Canonical XML 1.1: as 1.0, but a sub-tree inherits no xml:id."""
    if any(ancestor.get(f"{{{XML}}}base") is not None for ancestor in element.iterancestors()):
        refuse("Canonical XML 1.1 below an xml:base is not supported", element, errors.ALGORITHM_REFUSED)
    octets = canonicalize(element)
    if element.get(f"{{{XML}}}id") is not None:
        return octets
    tag = _START_TAG.match(octets)
    if tag is None:
        return octets
    return _XML_ID.sub(b"", tag[0], count=1) + octets[tag.end() :]
