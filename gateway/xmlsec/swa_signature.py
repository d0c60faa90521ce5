"""WS-Security 1.1 with the profile of SOAP with Attachments 1.1: what AS4 signs (AS4 §5.1.4 to §5.1.6).

One Security header with one ds:Signature in exclusive C14N over header blocks, Body and attachments. An
attachment is signed by its content: XML in exclusive C14N, other text with line ends CRLF, all else as it is.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import Certificate, Signer
from gateway.wire import (
    DEFAULT_LIMITS,
    DS,
    EB3,
    SOAP12,
    SWA_CONTENT,
    WSSE,
    WSU,
    WireLimits,
    build_xpath,
    is_for_receiver,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec.algorithms import (
    EXCLUSIVE_C14N,
    SHA256,
    DigestInput,
    SignaturePolicy,
    compare_digests,
    compute_digest,
)
from gateway.xmlsec.attachment_forms import SwaAttachment, canonicalize_attachment
from gateway.xmlsec.digest_references import DigestReference, Transform, write_reference_text
from gateway.xmlsec.ebms2_signature import PartDecryption, WrittenSignature
from gateway.xmlsec.element_ids import check_unique_ids
from gateway.xmlsec.security_tokens import TOKEN, read_security_token
from gateway.xmlsec.strict_reader import check_attributes, list_children, raise_signature_error
from gateway.xmlsec.token_writing import write_token
from gateway.xmlsec.xml_signature import (
    CertificateCheck,
    SignatureForms,
    SignatureStructure,
    SignedForm,
    VerifiedSignature,
    apply_canonicalization,
    read_signature,
    verify_reference_digests,
    verify_signed_info,
)

__all__ = [
    "EBMS_ROLE",
    "SignaturePlan",
    "SignedTarget",
    "SigningToken",
    "find_swa_security",
    "list_signed_forms",
    "read_swa_signature",
    "verify_swa_signature",
    "write_swa_security",
]

_HEADER: Final = f"{{{SOAP12}}}Header"
_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ROLE: Final = f"{{{SOAP12}}}role"
#: The role of the header that authorises, not signs (ebMS 3.0 core §7.10).
EBMS_ROLE: Final = "ebms"
_SECURITY: Final = f"{{{WSSE}}}Security"
_SIGNATURE: Final = f"{{{DS}}}Signature"
_TIMESTAMP: Final = f"{{{WSU}}}Timestamp"
_MESSAGING: Final = f"{{{EB3}}}Messaging"
_ID: Final = f"{{{WSU}}}Id"
_MOST_TOKENS: Final = 4
_LONGEST_URI: Final = 1024
_BLOCK_TRANSFORMS: Final = (Transform(EXCLUSIVE_C14N),)
_PART_TRANSFORMS: Final = (Transform(SWA_CONTENT),)
_DS: Final = write_attribute("xmlns:ds", DS)
_SECURITY_START: Final = (
    write_attribute("xmlns:wsse", WSSE)
    + write_attribute("xmlns:wsu", WSU)
    + write_attribute("soap12:mustUnderstand", "true")
)

#: What a reference names: an element, or an attachment by its Content-ID.
SignedTarget = etree._Element | str


class SigningToken(NamedTuple):
    """How a signature names its certificate: the wsu:Id of a token, its kind in P-Modes, and the issuers."""

    id: str
    kind: str | None = None
    issuers: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class _SecurityHeader:
    """What a Security header holds for a signature."""

    signature: etree._Element
    tokens: Mapping[str, etree._Element]
    others: tuple[etree._Element, ...]


@dataclass(frozen=True, slots=True)
class SignaturePlan:
    """A signature that is read and covers what it must: its values, its certificate, its targets by URI."""

    structure: SignatureStructure
    certificate: Certificate
    targets: Mapping[str, SignedTarget]


def find_swa_security(root: etree._Element) -> etree._Element | None:
    """Return the one wsse:Security of a SOAP 1.2 envelope, or None; raise for any other place or number.

    The one that is for the role ``ebms`` is another header: it authorises, and signs nothing.
    """
    found = [one for one in root.iter(_SECURITY) if one.get(_ROLE) != EBMS_ROLE]
    if not found:
        return None
    header = found[0].getparent()
    if len(found) > 1 or header is None or header.tag != _HEADER or header.getparent() is not root:
        raise_signature_error("wsse:Security must occur once, in the SOAP Header", found[-1])
    check_attributes(found[0], optional=(_MUST_UNDERSTAND, _ID, _ROLE))
    if not is_for_receiver(found[0], "1.2"):
        raise_signature_error("this Security header is for another role", found[0], errors.NOT_SUPPORTED)
    return found[0]


def verify_swa_signature(
    security: etree._Element,
    demanded: Iterable[etree._Element],
    attachments: Mapping[str, SwaAttachment],
    policy: SignaturePolicy,
    *,
    believe: CertificateCheck | None = None,
    known: Iterable[Certificate] = (),
    encrypted: Mapping[str, PartDecryption] | None = None,
    beside: Collection[etree._Element] = (),
    limits: WireLimits = DEFAULT_LIMITS,
) -> VerifiedSignature:
    """Verify the signature of an envelope over the elements `demanded` and every attachment.

    `believe` checks the certificate before anything is computed with it. `known` are the certificates that
    a message may name without containing them. `encrypted` decrypts attachments whose plaintext is signed:
    each is called last, when everything else is verified; `beside` are the elements of the header that
    were read for that. Raises GW201 for a header without signature, GW203 for what
    is not covered, other problems of security for all else.
    """
    plan = read_swa_signature(security, demanded, attachments, policy, believe, known, beside, limits)
    structure, targets = plan.structure, plan.targets
    verify_signed_info(structure, plan.certificate)

    def resolve_reference(reference: DigestReference) -> DigestInput:
        target = targets[reference.uri]
        if isinstance(target, str):
            return canonicalize_attachment(target, attachments[target], limits)
        return apply_canonicalization(target, reference.transforms[0])

    secret = encrypted or {}
    clear = [one for one in structure.references if targets[one.uri] not in secret]
    verify_reference_digests(structure, resolve_reference, clear)
    for reference in structure.references:
        target = targets[reference.uri]
        if isinstance(target, str) and target in secret:
            media_type = attachments[target].media_type
            secret[target](partial(_has_digest, reference, (target, media_type), limits))
    return VerifiedSignature(
        references=structure.references,
        certificate=plan.certificate,
        parts=tuple(
            one.uri if isinstance(target := targets[one.uri], str) else target for one in structure.references
        ),
        signature_algorithm=structure.algorithm,
    )


def read_swa_signature(
    security: etree._Element,
    demanded: Iterable[etree._Element],
    attachments: Collection[str],
    policy: SignaturePolicy,
    believe: CertificateCheck | None = None,
    known: Iterable[Certificate] = (),
    beside: Collection[etree._Element] = (),
    limits: WireLimits = DEFAULT_LIMITS,
) -> SignaturePlan:
    """Return what the signature of an envelope says and what it is over; nothing is computed with it.

    The parameters and problems are those of `verify_swa_signature`; of the attachments the names are enough.
    """
    root = security.getroottree().getroot()
    parts = _read_security(security, beside)
    structure = read_signature(parts.signature, policy, limits=limits)
    if structure.canonicalization.algorithm != EXCLUSIVE_C14N:
        raise_signature_error(
            "SignedInfo is in exclusive C14N", structure.signed_info, errors.ALGORITHM_REFUSED
        )
    check_unique_ids(root, (one.uri[1:] for one in structure.references if one.uri.startswith("#")))
    certificate = read_security_token(structure.key_info, parts.tokens, known)
    if believe is not None:
        believe(certificate)
    targets = _resolve_targets(structure, root, parts, attachments)
    _check_coverage(structure, targets, demanded, attachments)
    return SignaturePlan(structure, certificate, targets)


def list_signed_forms(plan: SignaturePlan) -> SignatureForms:
    """Return the canonical octets of all elements that a signature is over."""
    structure = plan.structure
    targets = []
    for reference in structure.references:
        target = plan.targets[reference.uri]
        if isinstance(target, str):
            targets.append(SignedForm(None, reference.uri))
        else:
            octets = apply_canonicalization(target, reference.transforms[0])
            targets.append(SignedForm(octets, build_xpath(target)))
    signed_info = apply_canonicalization(structure.signed_info, structure.canonicalization)
    return SignatureForms(structure, plan.certificate, signed_info, tuple(targets))


def _has_digest(reference: DigestReference, part: tuple[str, str], limits: WireLimits, octets: bytes) -> bool:
    """Return whether the plaintext of an attachment, given by name and media type, has the signed digest."""
    try:
        form = canonicalize_attachment(part[0], SwaAttachment(part[1], octets), limits)
    except GatewayError as wrong:
        if wrong.problem is errors.NOT_COVERED:
            raise
        return False  # what another key made of it is no XML
    return compare_digests(compute_digest(reference.digest_algorithm, form), reference.digest_value)


def _read_security(security: etree._Element, beside: Collection[etree._Element]) -> _SecurityHeader:
    """Return the parts of a Security header: tokens, one signature, perhaps a Timestamp; nothing else."""
    root = security.getroottree().getroot()
    for unseen in root.iter(etree.Comment, etree.ProcessingInstruction, etree.Entity):
        raise_signature_error("a comment or processing instruction in a signed envelope", unseen.getparent())
    signatures, tokens, others = [], {}, []
    for child in list_children(security):
        if child.tag == _SIGNATURE:
            signatures.append(child)
        elif child.tag == TOKEN:
            tokens[child.get(_ID, "")] = child
        elif child.tag == _TIMESTAMP:
            others.append(child)
        elif child not in beside:
            detail = f"{etree.QName(child).localname[:80]} in a Security header is not supported"
            raise_signature_error(detail, child, errors.NOT_SUPPORTED)
    if not signatures:
        raise_signature_error("the Security header has no ds:Signature", security, errors.SIGNATURE_MISSING)
    everywhere = sum(1 for _ in root.iter(_SIGNATURE))
    if len(signatures) > 1 or everywhere > 1 or len(tokens) > _MOST_TOKENS or len(others) > 1:
        raise_signature_error("a Security header holds one signature and one Timestamp at most", security)
    return _SecurityHeader(signatures[0], tokens, tuple(others))


def _resolve_targets(
    structure: SignatureStructure,
    root: etree._Element,
    parts: _SecurityHeader,
    attachments: Collection[str],
) -> dict[str, SignedTarget]:
    """Return what each reference names, by its URI: an element in its place, or an attachment; each once."""
    by_id = _index_signable(root, parts)
    targets: dict[str, SignedTarget] = {}
    for reference in structure.references:
        if reference.uri.startswith("cid:"):
            target: SignedTarget = _find_attachment(reference, structure, attachments)
        else:
            target = _find_element(reference, structure, by_id)
        if target in targets.values() or reference.type:
            raise_signature_error(f"two references to '{reference.uri[:120]}'", structure.signed_info)
        targets[reference.uri] = target
    return targets


def _index_signable(root: etree._Element, parts: _SecurityHeader) -> dict[str, etree._Element]:
    """Return the elements that may be signed: header blocks and Body where they belong, tokens, Timestamp."""
    header, body = root[0], root[-1]
    found: dict[str, etree._Element] = {}
    for one in (body, *header.iterchildren("*"), *parts.tokens.values(), *parts.others):
        # The schema of eb:Messaging has an attribute id of type ID besides.
        for value in (one.get(_ID), one.get("id") if one.tag == _MESSAGING else None):
            if value:
                found[value] = one
    return found


def _find_element(
    reference: DigestReference, structure: SignatureStructure, by_id: Mapping[str, etree._Element]
) -> etree._Element:
    target = by_id.get(reference.uri[1:]) if reference.uri.startswith("#") else None
    if target is None:
        detail = (
            f"reference '{reference.uri[:120]}' names no Body, header block, token or Timestamp by its id"
        )
        raise_signature_error(detail, structure.signed_info)
    if [one.algorithm for one in reference.transforms] != [EXCLUSIVE_C14N]:
        raise_signature_error(
            "an element is signed in exclusive C14N and by no other transform", structure.signed_info
        )
    return target


def _find_attachment(
    reference: DigestReference, structure: SignatureStructure, attachments: Collection[str]
) -> str:
    if [one.algorithm for one in reference.transforms] != [SWA_CONTENT] or len(reference.uri) > _LONGEST_URI:
        raise_signature_error(
            "an attachment is signed by its content and by no other transform", structure.signed_info
        )
    try:
        name = unquote_to_bytes(reference.uri[4:]).decode("utf-8")
    except UnicodeDecodeError:
        raise_signature_error(f"reference '{reference.uri[:120]}' is not a cid: URI", structure.signed_info)
    if name not in attachments:
        detail = f"the signed part '{name[:120]}' is not in the message"
        raise_signature_error(detail, structure.element, errors.PART_MISSING)
    return name


def _check_coverage(
    structure: SignatureStructure,
    targets: Mapping[str, SignedTarget],
    demanded: Iterable[etree._Element],
    attachments: Collection[str],
) -> None:
    covered = list(targets.values())
    for element in demanded:
        if element not in covered:
            raise_signature_error("this part must be signed and is not", element, errors.NOT_COVERED)
    for name in attachments:
        if name not in covered:
            detail = f"the signature does not cover part '{name[:120]}'"
            raise_signature_error(detail, structure.element, errors.NOT_COVERED)


def write_swa_security(
    blocks: Mapping[str, bytes],
    attachments: Mapping[str, SwaAttachment],
    signer: Signer,
    token: SigningToken,
    before: str = "",
) -> WrittenSignature:
    """Return the wsse:Security header that signs elements and attachments, as text of an envelope.

    `blocks` are the exclusive canonical forms of the elements by wsu:Id. The envelope declares ``soap12``.
    `token` says how the certificate is named. `before` is text that is put before it, as of encryption.
    """
    references = [
        DigestReference(f"#{name}", SHA256, compute_digest(SHA256, octets), _BLOCK_TRANSFORMS)
        for name, octets in blocks.items()
    ]
    for name, part in attachments.items():
        octets = canonicalize_attachment(name, part, DEFAULT_LIMITS)
        uri = "cid:" + quote(name, safe="@!$&'()*+,;=:-._~/")
        references.append(DigestReference(uri, SHA256, compute_digest(SHA256, octets), _PART_TRANSFORMS))
    # It declares its own namespace, so that this text is its exclusive canonical form.
    written = _write_methods(signer.algorithm) + "".join(map(write_reference_text, references))
    signed_info = f"<ds:SignedInfo{_DS}>{written}</ds:SignedInfo>"
    value = write_leaf("ds:SignatureValue", _encode(signer.sign(signed_info.encode())))
    binary, key_info = write_token(signer.certificate, token.kind, token.id, token.issuers)
    signature = f"<ds:Signature{_DS}>{signed_info}{value}{key_info}</ds:Signature>"
    text = write_element("wsse:Security", before + binary + signature, _SECURITY_START)
    return WrittenSignature(text, tuple(references))


# few algorithms, in every message
@lru_cache(maxsize=16)
def _write_methods(algorithm: str) -> str:
    method = write_element("ds:CanonicalizationMethod", "", write_attribute("Algorithm", EXCLUSIVE_C14N))
    return method + write_element("ds:SignatureMethod", "", write_attribute("Algorithm", algorithm))


def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")
