"""The signature of an ebMS 2.0 message (§4.1.3): the envelope and every payload, nothing else.

The mandated XPath transform is never evaluated. Apart from the signature, it removes the
elements that are addressed to the next node; these are few and known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from lxml import etree

from gateway import errors
from gateway.message_model import Body
from gateway.pki import Signer
from gateway.wire import (
    C14N,
    DEFAULT_LIMITS,
    DS,
    EB,
    SOAP11,
    WireLimits,
    canonicalize_document,
    omit_canonical_elements,
    write_element,
    write_octets,
)
from gateway.xmlsec.algorithms import (
    ENVELOPED_SIGNATURE,
    EXCLUSIVE_C14N,
    SHA256,
    XPATH,
    SignaturePolicy,
    compute_digest,
)
from gateway.xmlsec.key_info import read_x509_key_info
from gateway.xmlsec.signature_verifier import (
    SignedContent,
    SignedOctets,
    StructureReading,
)
from gateway.xmlsec.strict_reader import raise_signature_error, reject_hidden_nodes, select_elements
from gateway.xmlsec.xml_signature import (
    EBMS2_EXPRESSION,
    NEXT_ACTORS,
    DigestReference,
    ParsedSignature,
    Transform,
    canonicalize_reference_text,
    check_unique_ids,
    dereference_octets,
    parse_content_id,
    read_signature,
    write_methods,
    write_reference_text,
)

_Transforms = tuple[Transform, ...]
ENVELOPE_TRANSFORMS: Final[_Transforms] = (
    Transform(ENVELOPED_SIGNATURE),
    Transform(XPATH, expression=EBMS2_EXPRESSION),
    Transform(C14N),
)
_ENVELOPE_REFERENCE: Final = DigestReference("", SHA256, b"", ENVELOPE_TRANSFORMS)
_TRANSFORMS_WITHOUT_XPATH: Final[_Transforms] = (Transform(ENVELOPED_SIGNATURE), Transform(C14N))

_SIGNATURE: Final = f"{{{DS}}}Signature"
_HEADER: Final = f"{{{SOAP11}}}Header"
_ENVELOPE: Final = f"{{{SOAP11}}}Envelope"
_ACTOR_OCTETS: Final = b'actor="'
_MAX_URI_LENGTH: Final = 1024


def find_signature(root: etree._Element) -> etree._Element | None:
    """Return the one ds:Signature of an envelope, or None.

    Raises when there are several, or when it is not a child of the SOAP Header.
    """
    if root.tag != _ENVELOPE:
        raise_signature_error("the signed document must be a SOAP 1.1 Envelope", root)
    signatures = list(root.iter(_SIGNATURE))
    if not signatures:
        return None
    if len(signatures) > 1:
        raise_signature_error("more than one ds:Signature", signatures[1])
    header = signatures[0].getparent()
    if header is None or header.tag != _HEADER or header.getparent() is not root:
        raise_signature_error("ds:Signature is not a child of the SOAP Header", signatures[0])
    return signatures[0]


@dataclass(frozen=True, slots=True)
class _MessageReading(StructureReading):
    """The values of the signature of a message; `attachments` are the Content-IDs that it must cover."""

    root: etree._Element
    attachments: Collection[str]
    policy: SignaturePolicy

    def match_references(self) -> SignedContent:
        """Return the part of each reference: None for the envelope, else a Content-ID; each exactly once."""
        signed_names = tuple(_match_references(self.parsed, self.attachments, self.policy).values())
        return SignedContent(signed_names, self._canonicalize)

    def _canonicalize(self) -> SignedOctets:
        """Return the signed envelope: without the signature and the headers for the next node."""
        root, signature, references = self.root, self.parsed.element, self.references
        canonical_document = dereference_octets(
            _ENVELOPE_REFERENCE, lambda _: canonicalize_document(root, once=True), signature
        )
        check_unique_ids(root, canonical_form=canonical_document)
        has_xpath_transform = any(reference.transforms == ENVELOPE_TRANSFORMS for reference in references)
        # The tree has no attribute of that name when its canonical form has none.
        next_actor_headers = (
            list_next_actor_headers(root)
            if has_xpath_transform and _ACTOR_OCTETS in canonical_document
            else ()
        )

        def omit_elements(_reference: DigestReference) -> bytes:
            return omit_canonical_elements(root, (signature, *next_actor_headers), canonical_document)

        return SignedOctets(
            (
                None if reference.uri else dereference_octets(reference, omit_elements, signature)
                for reference in references
            ),
            ("/", *(reference.uri for reference in references if reference.uri)),
            tuple(map(locate_next_actor_header, next_actor_headers)),
        )


def read_message_signature(
    root: etree._Element,
    attachments: Collection[str],
    policy: SignaturePolicy,
    limits: WireLimits = DEFAULT_LIMITS,
) -> _MessageReading:
    """Return the signature of a message and the content that it signs, not yet verified.

    `attachments` are the Content-IDs of those that it must cover.
    """
    signature = find_signature(root)
    if signature is None:
        raise_signature_error("the message is not signed", root, errors.SIGNATURE_MISSING)
    reject_hidden_nodes(root, "envelope")
    parsed = read_signature(signature, policy, limits=limits)
    _check_signed_info_method(parsed, policy)
    certificate = read_x509_key_info(parsed.key_info, allow_hints=policy.x509_hints)
    return _MessageReading(parsed, certificate, root, attachments, policy)


@dataclass(frozen=True, slots=True)
class WrittenSignature:
    """The text of a ds:Signature, or of the header with one, and the digests that it contains."""

    text: str
    references: tuple[DigestReference, ...]


def write_message_signature(
    envelope: bytes, namespaces: str, attachments: Mapping[str, bytes | Body], signer: Signer
) -> WrittenSignature:
    """Return the ds:Signature of an envelope and every attachment, for the end of the SOAP Header.

    `envelope` is the canonical form of the signed envelope, `namespaces` the declarations of its
    root, including ``ds`` and ``soap``; no other element above the signature declares any.
    """
    references = tuple(_make_references(envelope, attachments))
    signed_info = write_methods(C14N, signer.algorithm) + "".join(map(write_reference_text, references))
    # the canonical form of SignedInfo contains the namespace declarations of the root
    canonical_signed_info = write_element(
        "ds:SignedInfo", canonicalize_reference_text(signed_info), namespaces
    )
    value_element = write_octets("ds:SignatureValue", signer.sign(canonical_signed_info.encode()))
    signed_elements = write_element("ds:SignedInfo", signed_info) + value_element
    signature_text = write_element("ds:Signature", signed_elements + _write_key_info(signer.certificate.der))
    return WrittenSignature(signature_text, references)


@lru_cache(maxsize=64)
def _write_key_info(certificate: bytes) -> str:
    x509_data = write_element("ds:X509Data", write_octets("ds:X509Certificate", certificate))
    return write_element("ds:KeyInfo", x509_data)


def _make_references(envelope: bytes, attachments: Mapping[str, bytes | Body]) -> list[DigestReference]:
    """Return the references to sign: URI "" for the envelope, and a cid: URI for each attachment."""
    references = [DigestReference("", SHA256, compute_digest(SHA256, envelope), ENVELOPE_TRANSFORMS)]
    for content_id, content in attachments.items():
        # RFC 2392: a Content-ID in a cid: URI is percent-encoded
        uri = "cid:" + quote(content_id, safe="@!$&'()*+,;=:-._~/")
        references.append(DigestReference(uri, SHA256, compute_digest(SHA256, content)))
    return references


def _check_signed_info_method(parsed: ParsedSignature, policy: SignaturePolicy) -> None:
    method = parsed.canonicalization.algorithm
    if method != C14N and not (method == EXCLUSIVE_C14N and policy.exclusive_signed_info):
        detail = f"SignedInfo in '{method[:120]}' is not allowed by policy {policy.name}"
        raise_signature_error(detail, parsed.signed_info, errors.ALGORITHM_REFUSED)


def _match_references(
    parsed: ParsedSignature, attachments: Collection[str], policy: SignaturePolicy
) -> dict[DigestReference, str | None]:
    """Return the part of each reference: None for the envelope, else a Content-ID; each exactly once."""
    parts_by_reference: dict[DigestReference, str | None] = {}
    for reference in parsed.references:
        if reference.uri == "":
            _check_envelope_transforms(reference, parsed, policy)
            content_id = None
        else:
            content_id = _parse_content_id(reference, parsed)
            if content_id not in attachments:
                detail = f"the signed part '{content_id[:120]}' is not in the message"
                raise_signature_error(detail, parsed.element, errors.PART_MISSING)
        if content_id in parts_by_reference.values():
            raise_signature_error(f"two references to '{reference.uri[:120]}'", parsed.element)
        parts_by_reference[reference] = content_id
    for content_id in (None, *attachments):
        if content_id not in parts_by_reference.values():
            part_text = "the envelope" if content_id is None else f"part '{content_id[:120]}'"
            raise_signature_error(
                f"the signature does not cover {part_text}", parsed.element, errors.NOT_COVERED
            )
    return parts_by_reference


def _check_envelope_transforms(
    reference: DigestReference, parsed: ParsedSignature, policy: SignaturePolicy
) -> None:
    """Raise unless a reference to the envelope has the transforms of ebMS 2.0 §4.1.3, and no Type."""
    allowed_transforms = [ENVELOPE_TRANSFORMS]
    if policy.xpath_optional:
        allowed_transforms.append(_TRANSFORMS_WITHOUT_XPATH)
    if reference.transforms not in allowed_transforms or reference.type:
        raise_signature_error(
            'the transforms of reference "" are not those of ebMS 2.0 §4.1.3', parsed.signed_info
        )


def _parse_content_id(reference: DigestReference, parsed: ParsedSignature) -> str:
    """Return the Content-ID that a reference names; raise for another URI, a transform or a Type."""
    if not reference.uri.startswith("cid:") or len(reference.uri) > _MAX_URI_LENGTH:
        raise_signature_error(
            f"reference '{reference.uri[:120]}' is neither \"\" nor a cid: URI", parsed.signed_info
        )
    if reference.transforms or reference.type:
        raise_signature_error("an attachment must be signed as it is, without transforms", parsed.signed_info)
    return parse_content_id(reference, parsed)


# Not "//@soap:actor/..": libxml2 would search for each parent among all those already found.
_BLOCKS_WITH_ACTOR: Final = etree.XPath("descendant-or-self::*[@soap:actor]", namespaces={"soap": SOAP11})
#: The XPaths of the blocks that may be left out, by their names.
_BLOCK_XPATHS: Final[dict[object, str]] = {
    f"{{{EB}}}{name}": f"/soap:Envelope/soap:Header/eb:{name}"
    for name in ("SyncReply", "AckRequested", "Acknowledgment")
}
_ACKNOWLEDGMENT_TAGS: Final = frozenset(
    [f"{{{EB}}}{name}" for name in ("Timestamp", "RefToMessageId", "From", "PartyId", "Role")]
    + [
        f"{{{DS}}}{name}"
        for name in ("Reference", "Transforms", "Transform", "XPath", "DigestMethod", "DigestValue")
    ]
)


def list_next_actor_headers(root: etree._Element) -> tuple[etree._Element, ...]:
    """Return the header blocks that the XPath transform excludes from the digest.

    Adding one requires no key. Only blocks without business content are therefore allowed
    (SIG-23): one each of SyncReply, AckRequested and Acknowledgment.
    """
    blocks_with_actor = select_elements(_BLOCKS_WITH_ACTOR, root)
    next_blocks = tuple(
        block for block in blocks_with_actor if block.get(f"{{{SOAP11}}}actor") in NEXT_ACTORS
    )
    for block in next_blocks:
        header = block.getparent()
        if block.tag not in _BLOCK_XPATHS or header is None or header.tag != _HEADER:
            raise_signature_error(
                "this element may not stand outside the signature", block, errors.NOT_COVERED
            )
        if header.getparent() is not root or _has_hidden_content(block):
            raise_signature_error("content hidden outside the signature", block, errors.NOT_COVERED)
    if len({block.tag for block in next_blocks}) != len(next_blocks):
        raise_signature_error(
            "two header blocks of one kind outside the signature", next_blocks[-1], errors.NOT_COVERED
        )
    return next_blocks


def _has_hidden_content(block: etree._Element) -> bool:
    if block.tag == f"{{{EB}}}Acknowledgment":
        return any(child.tag not in _ACKNOWLEDGMENT_TAGS for child in block.iterdescendants())
    return len(block) > 0 or bool((block.text or "").strip())


def locate_next_actor_header(block: etree._Element) -> str:
    """Return the XPath of a block that is left out."""
    return _BLOCK_XPATHS[block.tag]
