"""The signature of an ebMS 2.0 message (§4.1.3): the envelope and every payload, nothing else.

The mandated XPath transform is never run: what it takes out, the signature apart, are
the elements that some next node is addressed by, and those are few and known.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from lxml import etree

from gateway import errors
from gateway.pki.keys import Signer
from gateway.wire.namespaces import DS, EB, SOAP11
from gateway.wire.prescan import DEFAULT_LIMITS, Limits
from gateway.wire.writing import attribute, element, leaf
from gateway.wire.xml import canonicalize_document, cut_out
from gateway.xmlsec.algorithms import C14N, ENVELOPED, EXCLUSIVE_C14N, SHA256, XPATH, SignaturePolicy, digest
from gateway.xmlsec.ids import check_ids
from gateway.xmlsec.keyinfo import read_x509_key_info
from gateway.xmlsec.references import (
    EBMS2_EXPRESSION,
    NEXT_ACTORS,
    DigestReference,
    Transform,
    canonical_text,
    reference_text,
)
from gateway.xmlsec.signature import (
    Believe,
    Signed,
    Structure,
    add_x509_key_info,
    check_digests,
    check_value,
    covered_octets,
    make_signature,
    read_signature,
    seal_signature,
)
from gateway.xmlsec.strict import refuse, select

__all__ = [
    "ENVELOPE_TRANSFORMS",
    "find_signature",
    "headers_for_next",
    "sign_message",
    "sign_octets",
    "verify_message",
]

_Transforms = tuple[Transform, ...]
ENVELOPE_TRANSFORMS: Final[_Transforms] = (
    Transform(ENVELOPED),
    Transform(XPATH, expression=EBMS2_EXPRESSION),
    Transform(C14N),
)
_WHOLE: Final = DigestReference("", SHA256, b"", ENVELOPE_TRANSFORMS)
_WITHOUT_XPATH: Final[_Transforms] = (Transform(ENVELOPED), Transform(C14N))

_C14N_METHOD: Final = attribute("Algorithm", C14N)
_SIGNATURE: Final = f"{{{DS}}}Signature"
_HEADER: Final = f"{{{SOAP11}}}Header"
_ENVELOPE: Final = f"{{{SOAP11}}}Envelope"
# Not "//@soap:actor/..": libxml2 looks for each parent among all that it has found already.
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
    """Return the one ds:Signature of an envelope, or None; refuse it anywhere but in the SOAP Header."""
    if root.tag != _ENVELOPE:
        refuse("a SOAP 1.1 Envelope is signed here", root)
    found = list(root.iter(_SIGNATURE))
    if not found:
        return None
    if len(found) > 1:
        refuse("more than one ds:Signature", found[1])
    header = found[0].getparent()
    if header is None or header.tag != _HEADER or header.getparent() is not root:
        refuse("ds:Signature is not a child of the SOAP Header", found[0])
    return found[0]


def verify_message(
    root: etree._Element,
    attachments: Mapping[str, bytes],
    policy: SignaturePolicy,
    *,
    believe: Believe | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Signed:
    """Verify the signature over the envelope and every attachment (by Content-ID, without brackets).

    `believe` is asked about the certificate before anything is computed with it.
    ``Signed.excluded`` names the header blocks for the next node, which anybody on the
    way may have added or changed.
    """
    signature = find_signature(root)
    if signature is None:
        refuse("the message is not signed", root, errors.SIGNATURE_MISSING)
    _check_nothing_unseen(root)
    structure = read_signature(signature, policy, limits=limits)
    _check_signed_info_method(structure, policy)
    certificate = read_x509_key_info(structure.key_info, hints=policy.x509_hints)
    if believe is not None:
        believe(certificate)
    parts = _parts_of(structure, attachments, policy)
    check_value(structure, certificate)
    whole = covered_octets(_WHOLE, lambda _: canonicalize_document(root), signature)
    check_ids(root, canonical=whole)
    filtered = any(reference.transforms == ENVELOPE_TRANSFORMS for reference in structure.references)
    # No attribute of that name is in the tree when none is in its canonical form.
    omitted = headers_for_next(root) if filtered and _ACTOR_WRITTEN in whole else ()

    def resolve(reference: DigestReference) -> bytes:
        part = parts[reference]
        return cut_out(root, (signature, *omitted), whole) if part is None else attachments[part]

    check_digests(structure, resolve)
    return Signed(
        references=structure.references,
        certificate=certificate,
        covered=("/", *(reference.uri for reference in structure.references if reference.uri)),
        signature_algorithm=structure.algorithm,
        excluded=tuple(_PLACES[header.tag] for header in omitted),
    )


def sign_message(root: etree._Element, attachments: Mapping[str, bytes], signer: Signer) -> None:
    """Sign the envelope and every attachment; ds:Signature becomes the last child of the SOAP Header."""
    header = root.find(_HEADER)
    if find_signature(root) is not None or header is None:
        refuse("a message is signed once, and has a SOAP Header", root, errors.OUR_MISTAKE)
    _check_nothing_unseen(root)
    references = _references(canonicalize_document(root, headers_for_next(root)), attachments)
    signature = make_signature(header, Transform(C14N), signer.algorithm, references)
    add_x509_key_info(signature, signer.certificate)
    seal_signature(signature, Transform(C14N), signer)


def sign_octets(envelope: bytes, namespaces: str, attachments: Mapping[str, bytes], signer: Signer) -> str:
    """Return the ds:Signature of an envelope and every attachment, to stand last in the SOAP Header.

    `envelope` is the canonical form of what is signed, `namespaces` the declarations of its
    root, ``ds`` and ``soap`` among them; no other element above the signature declares any.
    """
    references = "".join(map(reference_text, _references(envelope, attachments)))
    signed_info = (
        element("ds:CanonicalizationMethod", "", _C14N_METHOD)
        + element("ds:SignatureMethod", "", attribute("Algorithm", signer.algorithm))
        + references
    )
    # in its canonical form SignedInfo carries what the root declares
    canonical = element("ds:SignedInfo", canonical_text(signed_info), namespaces)
    value = base64.b64encode(signer.sign(canonical.encode())).decode("ascii")
    parts = (element("ds:SignedInfo", signed_info), leaf("ds:SignatureValue", value))
    return element("ds:Signature", "".join(parts) + _key_info_text(signer.certificate.der))


@lru_cache(maxsize=64)
def _key_info_text(certificate: bytes) -> str:
    leaf_text = leaf("ds:X509Certificate", base64.b64encode(certificate).decode("ascii"))
    return element("ds:KeyInfo", element("ds:X509Data", leaf_text))


def _references(envelope: bytes, attachments: Mapping[str, bytes]) -> list[DigestReference]:
    references = [DigestReference("", SHA256, digest(SHA256, envelope), ENVELOPE_TRANSFORMS)]
    for part, content in attachments.items():
        # RFC 2392: a Content-ID in a cid: URI is percent-encoded
        uri = "cid:" + quote(part, safe="@!$&'()*+,;=:-._~/")
        references.append(DigestReference(uri, SHA256, digest(SHA256, content)))
    return references


def _check_signed_info_method(structure: Structure, policy: SignaturePolicy) -> None:
    method = structure.canonicalization.algorithm
    if method != C14N and not (method == EXCLUSIVE_C14N and policy.exclusive_signed_info):
        detail = f"SignedInfo in '{method[:120]}' is not allowed by policy {policy.name}"
        refuse(detail, structure.signed_info, errors.ALGORITHM_REFUSED)


def _check_nothing_unseen(root: etree._Element) -> None:
    """Refuse comments, which no signature covers and which split values, and processing instructions."""
    for unseen in root.iter(etree.Comment, etree.ProcessingInstruction, etree.Entity):
        refuse("a comment or processing instruction in a signed envelope", unseen.getparent())


def headers_for_next(root: etree._Element) -> tuple[etree._Element, ...]:
    """Return the header blocks that the XPath transform takes out of the digest.

    Whoever adds one needs no key, so only blocks that say nothing about the business may
    be there (SIG-23): one each of SyncReply, AckRequested and Acknowledgment.
    """
    addressed = select(_ADDRESSED, root)
    found = tuple(one for one in addressed if one.get(f"{{{SOAP11}}}actor") in NEXT_ACTORS)
    for one in found:
        header = one.getparent()
        if one.tag not in _PLACES or header is None or header.tag != _HEADER:
            refuse("this element may not stand outside the signature", one, errors.NOT_COVERED)
        if header.getparent() is not root or _carries_more(one):
            refuse("content hidden outside the signature", one, errors.NOT_COVERED)
    if len({one.tag for one in found}) != len(found):
        refuse("two header blocks of one kind outside the signature", found[-1], errors.NOT_COVERED)
    return found


def _carries_more(block: etree._Element) -> bool:
    if block.tag == f"{{{EB}}}Acknowledgment":
        return any(child.tag not in _INSIDE_ACKNOWLEDGMENT for child in block.iterdescendants())
    return len(block) > 0 or bool((block.text or "").strip())


def _parts_of(
    structure: Structure, attachments: Mapping[str, bytes], policy: SignaturePolicy
) -> dict[DigestReference, str | None]:
    """Return for each reference its part: None for the envelope, else a Content-ID; each exactly once."""
    parts: dict[DigestReference, str | None] = {}
    for reference in structure.references:
        if reference.uri == "":
            _check_envelope(reference, structure, policy)
            part = None
        else:
            part = _content_id(reference, structure)
            if part not in attachments:
                detail = f"the signed part '{part[:120]}' is not in the message"
                refuse(detail, structure.element, errors.PART_MISSING)
        if part in parts.values():
            refuse(f"two references to '{reference.uri[:120]}'", structure.element)
        parts[reference] = part
    for part in (None, *attachments):
        if part not in parts.values():
            name = "the envelope" if part is None else f"part '{part[:120]}'"
            refuse(f"the signature does not cover {name}", structure.element, errors.NOT_COVERED)
    return parts


def _check_envelope(reference: DigestReference, structure: Structure, policy: SignaturePolicy) -> None:
    allowed = [ENVELOPE_TRANSFORMS]
    if policy.xpath_optional:
        allowed.append(_WITHOUT_XPATH)
    if reference.transforms not in allowed or reference.type:
        refuse('the transforms of reference "" are not those of ebMS 2.0 §4.1.3', structure.signed_info)


def _content_id(reference: DigestReference, structure: Structure) -> str:
    if not reference.uri.startswith("cid:") or len(reference.uri) > _LONGEST_URI:
        refuse(f"reference '{reference.uri[:120]}' is neither \"\" nor a cid: URI", structure.signed_info)
    if reference.transforms or reference.type:
        refuse("an attachment is signed as it is, without transforms", structure.signed_info)
    try:
        return unquote_to_bytes(reference.uri[4:]).decode("utf-8")
    except UnicodeDecodeError:
        refuse(f"reference '{reference.uri[:120]}' is not a cid: URI", structure.signed_info)
