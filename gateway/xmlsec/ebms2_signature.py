"""The signature of an ebMS 2.0 message (§4.1.3): the envelope and every payload, nothing else.

The mandated XPath transform is never evaluated. Apart from the signature, it removes the
elements that are addressed to the next node; these are few and known.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from lxml import etree

from gateway import errors
from gateway.message_model import Body
from gateway.pki import Certificate, Signer
from gateway.wire import (
    DEFAULT_LIMITS,
    DS,
    EB,
    SOAP11,
    WireLimits,
    canonicalize_document,
    omit_canonical_elements,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec.algorithms import (
    C14N,
    ENVELOPED,
    EXCLUSIVE_C14N,
    SHA256,
    XPATH,
    SignaturePolicy,
    compare_digests,
    compute_digest,
)
from gateway.xmlsec.digest_references import (
    EBMS2_EXPRESSION,
    NEXT_ACTORS,
    DigestReference,
    Transform,
    canonicalize_text,
    write_reference_text,
)
from gateway.xmlsec.element_ids import check_unique_ids
from gateway.xmlsec.strict_reader import raise_signature_error, select_elements
from gateway.xmlsec.x509_key_info import read_x509_key_info
from gateway.xmlsec.xml_signature import (
    CertificateCheck,
    SignatureForms,
    SignatureStructure,
    SignedForm,
    VerifiedSignature,
    append_signature,
    append_x509_key_info,
    apply_canonicalization,
    dereference_octets,
    fill_signature_value,
    read_signature,
    verify_reference_digests,
    verify_signed_info,
)

__all__ = [
    "ENVELOPE_TRANSFORMS",
    "DigestCheck",
    "PartDecryption",
    "WrittenSignature",
    "find_signature",
    "list_next_actor_headers",
    "read_message_forms",
    "sign_message",
    "verify_message_signature",
    "write_message_signature",
]

#: Returns whether octets have the digest that is signed.
DigestCheck = Callable[[bytes], bool]
#: Decrypts one part to the octets that were signed, by their digest; raises where there are none.
PartDecryption = Callable[[DigestCheck], None]

_Transforms = tuple[Transform, ...]
ENVELOPE_TRANSFORMS: Final[_Transforms] = (
    Transform(ENVELOPED),
    Transform(XPATH, expression=EBMS2_EXPRESSION),
    Transform(C14N),
)
_WHOLE: Final = DigestReference("", SHA256, b"", ENVELOPE_TRANSFORMS)
_WITHOUT_XPATH: Final[_Transforms] = (Transform(ENVELOPED), Transform(C14N))

_C14N_METHOD: Final = write_attribute("Algorithm", C14N)
_SIGNATURE: Final = f"{{{DS}}}Signature"
_HEADER: Final = f"{{{SOAP11}}}Header"
_ENVELOPE: Final = f"{{{SOAP11}}}Envelope"
# Not "//@soap:actor/..": libxml2 would search for each parent among all those already found.
_ADDRESSED: Final = etree.XPath("descendant-or-self::*[@soap:actor]", namespaces={"soap": SOAP11})
_PLACES: Final[dict[object, str]] = {
    f"{{{EB}}}{name}": f"/soap:Envelope/soap:Header/eb:{name}"
    for name in ("SyncReply", "AckRequested", "Acknowledgment")
}
_INSIDE_ACKNOWLEDGMENT: Final = frozenset(
    [f"{{{EB}}}{name}" for name in ("Timestamp", "RefToMessageId", "From", "PartyId", "Role")]
    + [
        f"{{{DS}}}{name}"
        for name in ("Reference", "Transforms", "Transform", "XPath", "DigestMethod", "DigestValue")
    ]
)
_ACTOR_WRITTEN: Final = b'actor="'
_LONGEST_URI: Final = 1024


def find_signature(root: etree._Element) -> etree._Element | None:
    """Return the one ds:Signature of an envelope, or None.

    Raises when there are several, or when it is not a child of the SOAP Header.
    """
    if root.tag != _ENVELOPE:
        raise_signature_error("a SOAP 1.1 Envelope is signed here", root)
    found = list(root.iter(_SIGNATURE))
    if not found:
        return None
    if len(found) > 1:
        raise_signature_error("more than one ds:Signature", found[1])
    header = found[0].getparent()
    if header is None or header.tag != _HEADER or header.getparent() is not root:
        raise_signature_error("ds:Signature is not a child of the SOAP Header", found[0])
    return found[0]


def verify_message_signature(
    root: etree._Element,
    attachments: Mapping[str, bytes | Body],
    policy: SignaturePolicy,
    *,
    believe: CertificateCheck | None = None,
    encrypted: Mapping[str, PartDecryption] | None = None,
    limits: WireLimits = DEFAULT_LIMITS,
) -> VerifiedSignature:
    """Verify the signature over the envelope and every attachment (by Content-ID, without brackets).

    Large attachments are read in pieces. `believe` checks the certificate before anything is
    computed with it. `encrypted` decrypts attachments whose plaintext is signed: each is called last, when
    everything else is verified.
    ``VerifiedSignature.excluded`` names the header blocks for the next node, which any
    intermediary may have added or changed. Raises GW problems when the signature is missing
    or invalid, or does not cover a part.
    """
    structure, certificate, parts = _read_message_signature(root, attachments, policy, limits, believe)
    signature = structure.element
    verify_signed_info(structure, certificate)
    whole = dereference_octets(_WHOLE, lambda _: canonicalize_document(root), signature)
    check_unique_ids(root, canonical=whole)
    filtered = any(reference.transforms == ENVELOPE_TRANSFORMS for reference in structure.references)
    # The tree has no attribute of that name when its canonical form has none.
    omitted = list_next_actor_headers(root) if filtered and _ACTOR_WRITTEN in whole else ()

    def resolve_reference(reference: DigestReference) -> bytes | Body:
        part = parts[reference]
        return (
            omit_canonical_elements(root, (signature, *omitted), whole) if part is None else attachments[part]
        )

    secret = encrypted or {}
    verify_reference_digests(
        structure, resolve_reference, [one for one, part in parts.items() if part not in secret]
    )
    for reference, part in parts.items():
        if part is not None and part in secret:
            secret[part](partial(_has_digest, reference))
    return VerifiedSignature(
        references=structure.references,
        certificate=certificate,
        parts=("/", *(reference.uri for reference in structure.references if reference.uri)),
        signature_algorithm=structure.algorithm,
        excluded=tuple(_PLACES[header.tag] for header in omitted),
    )


def read_message_forms(
    root: etree._Element, attachments: Collection[str], policy: SignaturePolicy, limits: WireLimits
) -> SignatureForms:
    """Return what the signature of a message is over; nothing is verified.

    `attachments` are the Content-IDs of those that it must cover. Raises as `verify_message_signature` does.
    """
    structure, certificate, parts = _read_message_signature(root, attachments, policy, limits)
    check_unique_ids(root)
    signed_info = apply_canonicalization(structure.signed_info, structure.canonicalization)
    whole = canonicalize_document(root)
    filtered = any(reference.transforms == ENVELOPE_TRANSFORMS for reference in structure.references)
    omitted = list_next_actor_headers(root) if filtered else ()
    envelope = omit_canonical_elements(root, (structure.element, *omitted), whole)
    targets = tuple(
        SignedForm(envelope, "/") if part is None else SignedForm(None, reference.uri)
        for reference, part in parts.items()
    )
    excluded = tuple(_PLACES[header.tag] for header in omitted)
    return SignatureForms(structure, certificate, signed_info, targets, excluded)


def _read_message_signature(
    root: etree._Element,
    attachments: Collection[str],
    policy: SignaturePolicy,
    limits: WireLimits,
    believe: CertificateCheck | None = None,
) -> tuple[SignatureStructure, Certificate, dict[DigestReference, str | None]]:
    """Return the signature of a message, its certificate, and the part of each reference."""
    signature = find_signature(root)
    if signature is None:
        raise_signature_error("the message is not signed", root, errors.SIGNATURE_MISSING)
    _reject_hidden_nodes(root)
    structure = read_signature(signature, policy, limits=limits)
    _check_signed_info_method(structure, policy)
    certificate = read_x509_key_info(structure.key_info, hints=policy.x509_hints)
    if believe is not None:
        believe(certificate)
    return structure, certificate, _match_references(structure, attachments, policy)


def _has_digest(reference: DigestReference, octets: bytes) -> bool:
    return compare_digests(compute_digest(reference.digest_algorithm, octets), reference.digest_value)


def sign_message(root: etree._Element, attachments: Mapping[str, bytes | Body], signer: Signer) -> None:
    """Sign the envelope and every attachment; ds:Signature becomes the last child of the SOAP Header."""
    header = root.find(_HEADER)
    if find_signature(root) is not None or header is None:
        raise_signature_error("a message is signed once, and has a SOAP Header", root, errors.OUR_MISTAKE)
    _reject_hidden_nodes(root)
    references = _make_references(canonicalize_document(root, list_next_actor_headers(root)), attachments)
    signature = append_signature(header, Transform(C14N), signer.algorithm, references)
    append_x509_key_info(signature, signer.certificate)
    fill_signature_value(signature, Transform(C14N), signer)


@dataclass(frozen=True, slots=True)
class WrittenSignature:
    """The text of a ds:Signature, or of the header with one, and the digests that it contains."""

    text: str
    references: tuple[DigestReference, ...]


def write_message_signature(
    envelope: bytes, namespaces: str, attachments: Mapping[str, bytes | Body], signer: Signer
) -> WrittenSignature:
    """Return the ds:Signature of an envelope and every attachment, for the end of the SOAP Header.

    `envelope` is the canonical form of what is signed, `namespaces` the declarations of its
    root, including ``ds`` and ``soap``; no other element above the signature declares any.
    """
    references = tuple(_make_references(envelope, attachments))
    signed_info = _write_methods(signer.algorithm) + "".join(map(write_reference_text, references))
    # the canonical form of SignedInfo contains the namespace declarations of the root
    canonical = write_element("ds:SignedInfo", canonicalize_text(signed_info), namespaces)
    value = base64.b64encode(signer.sign(canonical.encode())).decode("ascii")
    parts = (write_element("ds:SignedInfo", signed_info), write_leaf("ds:SignatureValue", value))
    text = write_element("ds:Signature", "".join(parts) + _write_key_info(signer.certificate.der))
    return WrittenSignature(text, references)


@lru_cache(maxsize=64)
def _write_methods(algorithm: str) -> str:
    method = write_element("ds:SignatureMethod", "", write_attribute("Algorithm", algorithm))
    return write_element("ds:CanonicalizationMethod", "", _C14N_METHOD) + method


@lru_cache(maxsize=64)
def _write_key_info(certificate: bytes) -> str:
    leaf_text = write_leaf("ds:X509Certificate", base64.b64encode(certificate).decode("ascii"))
    return write_element("ds:KeyInfo", write_element("ds:X509Data", leaf_text))


def _make_references(envelope: bytes, attachments: Mapping[str, bytes | Body]) -> list[DigestReference]:
    references = [DigestReference("", SHA256, compute_digest(SHA256, envelope), ENVELOPE_TRANSFORMS)]
    for part, content in attachments.items():
        # RFC 2392: a Content-ID in a cid: URI is percent-encoded
        uri = "cid:" + quote(part, safe="@!$&'()*+,;=:-._~/")
        references.append(DigestReference(uri, SHA256, compute_digest(SHA256, content)))
    return references


def _check_signed_info_method(structure: SignatureStructure, policy: SignaturePolicy) -> None:
    method = structure.canonicalization.algorithm
    if method != C14N and not (method == EXCLUSIVE_C14N and policy.exclusive_signed_info):
        detail = f"SignedInfo in '{method[:120]}' is not allowed by policy {policy.name}"
        raise_signature_error(detail, structure.signed_info, errors.ALGORITHM_REFUSED)


def _reject_hidden_nodes(root: etree._Element) -> None:
    """Raise for comments, which no signature covers and which split values, and processing instructions."""
    for unseen in root.iter(etree.Comment, etree.ProcessingInstruction, etree.Entity):
        raise_signature_error("a comment or processing instruction in a signed envelope", unseen.getparent())


def list_next_actor_headers(root: etree._Element) -> tuple[etree._Element, ...]:
    """Return the header blocks that the XPath transform excludes from the digest.

    Adding one requires no key. Only blocks without business content are therefore allowed
    (SIG-23): one each of SyncReply, AckRequested and Acknowledgment.
    """
    addressed = select_elements(_ADDRESSED, root)
    found = tuple(one for one in addressed if one.get(f"{{{SOAP11}}}actor") in NEXT_ACTORS)
    for one in found:
        header = one.getparent()
        if one.tag not in _PLACES or header is None or header.tag != _HEADER:
            raise_signature_error("this element may not stand outside the signature", one, errors.NOT_COVERED)
        if header.getparent() is not root or _has_hidden_content(one):
            raise_signature_error("content hidden outside the signature", one, errors.NOT_COVERED)
    if len({one.tag for one in found}) != len(found):
        raise_signature_error(
            "two header blocks of one kind outside the signature", found[-1], errors.NOT_COVERED
        )
    return found


def _has_hidden_content(block: etree._Element) -> bool:
    if block.tag == f"{{{EB}}}Acknowledgment":
        return any(child.tag not in _INSIDE_ACKNOWLEDGMENT for child in block.iterdescendants())
    return len(block) > 0 or bool((block.text or "").strip())


def _match_references(
    structure: SignatureStructure, attachments: Collection[str], policy: SignaturePolicy
) -> dict[DigestReference, str | None]:
    """Return the part of each reference: None for the envelope, else a Content-ID; each exactly once."""
    parts: dict[DigestReference, str | None] = {}
    for reference in structure.references:
        if reference.uri == "":
            _check_envelope_transforms(reference, structure, policy)
            part = None
        else:
            part = _parse_content_id(reference, structure)
            if part not in attachments:
                detail = f"the signed part '{part[:120]}' is not in the message"
                raise_signature_error(detail, structure.element, errors.PART_MISSING)
        if part in parts.values():
            raise_signature_error(f"two references to '{reference.uri[:120]}'", structure.element)
        parts[reference] = part
    for part in (None, *attachments):
        if part not in parts.values():
            name = "the envelope" if part is None else f"part '{part[:120]}'"
            raise_signature_error(
                f"the signature does not cover {name}", structure.element, errors.NOT_COVERED
            )
    return parts


def _check_envelope_transforms(
    reference: DigestReference, structure: SignatureStructure, policy: SignaturePolicy
) -> None:
    allowed = [ENVELOPE_TRANSFORMS]
    if policy.xpath_optional:
        allowed.append(_WITHOUT_XPATH)
    if reference.transforms not in allowed or reference.type:
        raise_signature_error(
            'the transforms of reference "" are not those of ebMS 2.0 §4.1.3', structure.signed_info
        )


def _parse_content_id(reference: DigestReference, structure: SignatureStructure) -> str:
    if not reference.uri.startswith("cid:") or len(reference.uri) > _LONGEST_URI:
        raise_signature_error(
            f"reference '{reference.uri[:120]}' is neither \"\" nor a cid: URI", structure.signed_info
        )
    if reference.transforms or reference.type:
        raise_signature_error("an attachment is signed as it is, without transforms", structure.signed_info)
    try:
        return unquote_to_bytes(reference.uri[4:]).decode("utf-8")
    except UnicodeDecodeError:
        raise_signature_error(f"reference '{reference.uri[:120]}' is not a cid: URI", structure.signed_info)
