"""WS-Security 1.1 with the profile of SOAP with Attachments 1.1: what AS4 signs (AS4 §5.1.4 to §5.1.6).

One Security header with one ds:Signature in exclusive C14N over header blocks, Body and attachments. An
attachment is signed by its content: XML in exclusive C14N, other text with line ends CRLF, all else as it is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.message_model import Body, count_octets, iterate_octets, read_octets
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
    canonicalize_document,
    is_for_receiver,
    parse_xml,
    write_attribute,
    write_element,
    write_octets,
)
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N, SHA256, DigestInput, SignaturePolicy, compute_digest
from gateway.xmlsec.ebms2_signature import WrittenSignature
from gateway.xmlsec.key_info import TOKEN, read_security_token
from gateway.xmlsec.signature_verifier import (
    SignedContent,
    SignedOctets,
    StructureReading,
    describe_wrong_digest,
    has_digest,
)
from gateway.xmlsec.strict_reader import (
    check_attributes,
    list_children,
    raise_signature_error,
    reject_hidden_nodes,
)
from gateway.xmlsec.token_references import write_token
from gateway.xmlsec.xml_signature import (
    DigestReference,
    ParsedSignature,
    Transform,
    apply_canonicalization,
    check_unique_ids,
    dereference_octets,
    parse_content_id,
    read_signature,
    write_methods,
    write_reference_text,
)

#: Octets that are replaced at a time.
_PIECE_OCTETS = 1024**2


def iterate_crlf_lines(content: bytes | Body) -> Iterator[bytes]:
    """Yield the octets with CR LF at each end of a line, in pieces that are small enough to be held.

    The end of a line is CR LF, CR or LF (RFC 2046 §4.1.1 for the form, SwA profile §5.4.2).
    """
    ends_with_return = False
    for piece in _iterate_pieces(content):
        # The other half of a CR LF whose first half ended the piece before.
        octets = piece[1:] if ends_with_return and piece.startswith(b"\n") else piece
        ends_with_return = piece.endswith(b"\r")
        yield octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _iterate_pieces(content: bytes | Body) -> Iterator[bytes]:
    if isinstance(content, bytes):
        for start in range(0, len(content), _PIECE_OCTETS):
            yield content[start : start + _PIECE_OCTETS]
    else:
        yield from iterate_octets(content)


_XML_TYPE: Final = re.compile(r"(?:text|application)/xml|(?:application|image)/[\w!#$&^.+-]+\+xml")


@dataclass(frozen=True, slots=True)
class SwaAttachment:
    """An attachment as it was signed: its media type, by which it is canonicalised, and its octets."""

    media_type: str
    content: bytes | Body


def is_signed_as_is(media_type: str) -> bool:
    """Return whether an attachment of this type is digested as it is, neither as XML nor as text."""
    essence = media_type.partition(";")[0].strip().lower()
    return not essence.startswith("text/") and _XML_TYPE.fullmatch(essence) is None


def canonicalize_attachment(
    content_id: str, attachment: SwaAttachment, limits: WireLimits, *, once: bool = False
) -> DigestInput:
    """Return the octets of an attachment that are digested (SwA profile §5.4.2).

    The digest does not cover comments, so XML with a comment is refused (GW203). XML is canonicalised in
    memory, so XML above the limit is refused (GW102); its sender can compress it, so that it is no XML.
    `once` is as in `canonicalize_element`.
    """
    if _XML_TYPE.fullmatch(attachment.media_type):
        root = _parse_xml_attachment(content_id, attachment, limits)
        if _has_comment(root):
            raise _make_comment_error(content_id)
        return canonicalize_document(root, exclusive=True, once=once)
    if attachment.media_type.startswith("text/"):
        return iterate_crlf_lines(attachment.content)
    return attachment.content


def _parse_xml_attachment(content_id: str, attachment: SwaAttachment, limits: WireLimits) -> etree._Element:
    """Return the root of an XML part; raise GW102 above `limits.xml` octets, with the part as location."""
    if count_octets(attachment.content) > limits.xml:
        detail = f"an XML part may have at most {limits.xml} octets: compress it"
        raise GatewayError(errors.TOO_LARGE, detail, f"cid:{content_id[:256]}")
    content = read_octets(attachment.content)
    try:
        return parse_xml(content, limits)
    except GatewayError as wrong:
        raise GatewayError(wrong.problem, wrong.detail, f"cid:{content_id[:256]}") from None


def _make_comment_error(content_id: str) -> GatewayError:
    detail = "the signature does not cover comments of an XML part: leave them out, or compress it"
    return GatewayError(errors.NOT_COVERED, detail, f"cid:{content_id[:256]}")


def _has_comment(root: etree._Element) -> bool:
    root_siblings = (
        root.itersiblings(etree.Comment, preceding=is_preceding) for is_preceding in (True, False)
    )
    return any(next(comments, None) is not None for comments in (root.iter(etree.Comment), *root_siblings))


_HEADER: Final = f"{{{SOAP12}}}Header"
_MUST_UNDERSTAND: Final = f"{{{SOAP12}}}mustUnderstand"
_ROLE: Final = f"{{{SOAP12}}}role"
#: The role of the header that authorises, not signs (ebMS 3.0 core §7.10).
EBMS_ROLE: Final = "ebms"
_SECURITY: Final = f"{{{WSSE}}}Security"
_SIGNATURE: Final = f"{{{DS}}}Signature"
_USERNAME_TOKEN: Final = f"{{{WSSE}}}UsernameToken"
_TIMESTAMP: Final = f"{{{WSU}}}Timestamp"
_MESSAGING: Final = f"{{{EB3}}}Messaging"
_ID: Final = f"{{{WSU}}}Id"
_MAX_TOKENS: Final = 4
_MAX_URI_LENGTH: Final = 1024
_BLOCK_TRANSFORMS: Final = (Transform(EXCLUSIVE_C14N),)
_PART_TRANSFORMS: Final = (Transform(SWA_CONTENT),)
_DS_DECLARATION: Final = write_attribute("xmlns:ds", DS)
_SECURITY_START: Final = (
    write_attribute("xmlns:wsse", WSSE)
    + write_attribute("xmlns:wsu", WSU)
    + write_attribute("soap12:mustUnderstand", "true")
)

#: The target of a reference: an element, or an attachment by its Content-ID.
SignedTarget = etree._Element | str


class SigningToken(NamedTuple):
    """How a signature names its certificate: the wsu:Id of a token, its kind in P-Modes, and the issuers."""

    id: str
    kind: str | None = None
    issuers: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True)
class _SecurityHeader:
    """The parts of a Security header that a signature needs."""

    signature: etree._Element
    tokens: Mapping[str, etree._Element]
    timestamps: tuple[etree._Element, ...]


@dataclass(frozen=True, slots=True)
class _SwaReading(StructureReading):
    """The values of the signature of an envelope, with the elements and parts that it must cover.

    `required_elements` are elements, `attachments` the names of parts.
    """

    header_parts: _SecurityHeader
    required_elements: tuple[etree._Element, ...]
    attachments: Collection[str]

    def match_references(self) -> SignedContent:
        """Return the target of each reference; raise for one that is not permitted, or a part not covered."""
        root = self.parsed.element.getroottree().getroot()
        targets = _resolve_targets(self.parsed, root, self.header_parts, self.attachments)
        _check_coverage(self.parsed, targets, self.required_elements, self.attachments)
        names = [target if isinstance(target, str) else None for target in targets.values()]
        return SignedContent(names, lambda: _canonicalize_targets(self.parsed, targets))


def _canonicalize_targets(parsed: ParsedSignature, targets: Mapping[str, SignedTarget]) -> SignedOctets:
    """Return the exclusive canonical form of each element that is signed."""

    def canonicalize_target(reference: DigestReference) -> bytes | None:
        target = targets[reference.uri]
        if isinstance(target, str):
            return None
        return apply_canonicalization(target, reference.transforms[0], once=True)

    return SignedOctets(
        (
            dereference_octets(reference, canonicalize_target, parsed.element)
            for reference in parsed.references
        ),
        tuple(uri if isinstance(target, str) else target for uri, target in targets.items()),
    )


@dataclass(frozen=True, slots=True)
class SwaAttachments:
    """The attachments of an envelope, each digested in the canonical form of its type."""

    attachments: Mapping[str, SwaAttachment]
    limits: WireLimits

    def canonicalize(self, name: str) -> DigestInput:
        """Return the octets of an attachment that are digested."""
        return canonicalize_attachment(name, self.attachments[name], self.limits, once=True)

    def get_octets(self, name: str) -> bytes | Body:
        """Return the octets of an attachment as they came."""
        return self.attachments[name].content

    def is_signed_plaintext(
        self, name: str, reference: DigestReference, location: str, octets: bytes
    ) -> bool:
        """Return whether the plaintext of an attachment has the signed digest, in its canonical form.

        Raises GW202 where the plaintext itself has the digest, not its canonical form: the key is right, and
        the digest is wrong. Raises GW203 for XML with a comment whose form without the comment has the
        digest. Both are about octets that the sender signed. Any other result of a changed ciphertext gets
        the same answer: different answers would disclose its plaintext, octet by octet.
        """
        attachment = SwaAttachment(self.attachments[name].media_type, octets)
        cid = reference.uri[4:]
        canonical_form: DigestInput
        has_comment = False
        try:
            if _XML_TYPE.fullmatch(attachment.media_type):
                root = _parse_xml_attachment(cid, attachment, self.limits)
                has_comment = _has_comment(root)
                canonical_form = canonicalize_document(root, exclusive=True, once=True)
            else:
                canonical_form = canonicalize_attachment(cid, attachment, self.limits)
        except GatewayError as wrong:
            errors.raise_resource_problem(wrong)
            return False  # what another key made of it is no XML
        if has_digest(reference, canonical_form):
            if has_comment:
                raise _make_comment_error(cid)
            return True
        if has_digest(reference, octets):
            raise GatewayError(errors.SIGNATURE_INVALID, describe_wrong_digest(reference, octets), location)
        return False


def find_swa_security(root: etree._Element) -> etree._Element | None:
    """Return the one wsse:Security of a SOAP 1.2 envelope, or None; raise for any other place or number.

    A wsse:Security for the role ``ebms`` is another header: it authorises, and signs nothing.
    """
    headers = [element for element in root.iter(_SECURITY) if element.get(_ROLE) != EBMS_ROLE]
    if not headers:
        return None
    header = headers[0].getparent()
    if len(headers) > 1 or header is None or header.tag != _HEADER or header.getparent() is not root:
        raise_signature_error("wsse:Security must occur once, in the SOAP Header", headers[-1])
    check_attributes(headers[0], optional=(_MUST_UNDERSTAND, _ID, _ROLE))
    if not is_for_receiver(headers[0], "1.2"):
        raise_signature_error("this Security header is for another role", headers[0], errors.NOT_SUPPORTED)
    return headers[0]


def read_swa_signature(
    security: etree._Element,
    required_elements: Iterable[etree._Element],
    attachments: Collection[str],
    policy: SignaturePolicy,
    candidates: Iterable[Certificate] = (),
    allowed_children: Collection[etree._Element] = (),
    limits: WireLimits = DEFAULT_LIMITS,
) -> _SwaReading:
    """Return the signature of an envelope and the content that it signs, not yet verified.

    It must cover the elements `required_elements` and the attachments of these names. `candidates` are the
    certificates that a message may name without containing them, `allowed_children` the elements of the
    header that describe the encryption. Raises GW201 for a header without signature, and other problems of
    security for any other fault; content without coverage (GW203) is found when the references are matched.
    """
    root = security.getroottree().getroot()
    header_parts = _read_security(security, allowed_children)
    parsed = read_signature(header_parts.signature, policy, limits=limits)
    if parsed.canonicalization.algorithm != EXCLUSIVE_C14N:
        raise_signature_error(
            "SignedInfo must be in exclusive C14N", parsed.signed_info, errors.ALGORITHM_REFUSED
        )
    check_unique_ids(
        root, (reference.uri[1:] for reference in parsed.references if reference.uri.startswith("#"))
    )
    certificate = read_security_token(parsed.key_info, header_parts.tokens, candidates)
    return _SwaReading(parsed, certificate, header_parts, tuple(required_elements), attachments)


def _read_security(security: etree._Element, allowed_children: Collection[etree._Element]) -> _SecurityHeader:
    """Return the parts of a Security header: tokens, one signature, perhaps a Timestamp; nothing else."""
    root = security.getroottree().getroot()
    reject_hidden_nodes(root, "envelope")
    signatures, tokens, timestamps = [], {}, []
    for child in list_children(security):
        if child.tag == _SIGNATURE:
            signatures.append(child)
        elif child.tag == TOKEN:
            tokens[child.get(_ID, "")] = child
        elif child.tag == _TIMESTAMP:
            timestamps.append(child)
        elif child not in allowed_children:
            detail = f"{etree.QName(child).localname[:80]} in a Security header is not supported"
            raise_signature_error(detail, child, errors.NOT_SUPPORTED)
    if not signatures:
        raise_signature_error("the Security header has no ds:Signature", security, errors.SIGNATURE_MISSING)
    signature_count = sum(1 for _ in root.iter(_SIGNATURE))
    if len(signatures) > 1 or signature_count > 1 or len(tokens) > _MAX_TOKENS or len(timestamps) > 1:
        raise_signature_error("a Security header may hold one signature and one Timestamp at most", security)
    return _SecurityHeader(signatures[0], tokens, tuple(timestamps))


def _resolve_targets(
    parsed: ParsedSignature,
    root: etree._Element,
    header_parts: _SecurityHeader,
    attachments: Collection[str],
) -> dict[str, SignedTarget]:
    """Return the target of each reference by its URI, an element or an attachment; raise for two of one."""
    elements_by_id = _index_signable_elements(root, header_parts)
    targets: dict[str, SignedTarget] = {}
    for reference in parsed.references:
        if reference.uri.startswith("cid:"):
            target: SignedTarget = _find_attachment(reference, parsed, attachments)
        else:
            target = _find_element(reference, parsed, elements_by_id)
        if target in targets.values() or reference.type:
            raise_signature_error(f"two references to '{reference.uri[:120]}'", parsed.signed_info)
        targets[reference.uri] = target
    return targets


def _index_signable_elements(
    root: etree._Element, header_parts: _SecurityHeader
) -> dict[str, etree._Element]:
    """Return the elements that may be signed: header blocks and Body where they belong, tokens, Timestamp."""
    header, body = root[0], root[-1]
    elements_by_id: dict[str, etree._Element] = {}
    # The main signature may be over the token that authorises (core §7.10).
    username_tokens = [
        token
        for block in header.iterchildren(_SECURITY)
        if block.get(_ROLE) == EBMS_ROLE
        for token in block.iterchildren(_USERNAME_TOKEN)
    ]
    for element in (
        body,
        *header.iterchildren("*"),
        *header_parts.tokens.values(),
        *header_parts.timestamps,
        *username_tokens,
    ):
        # The schema of eb:Messaging has an attribute id of type ID besides.
        for identifier in (element.get(_ID), element.get("id") if element.tag == _MESSAGING else None):
            if identifier:
                elements_by_id[identifier] = element
    return elements_by_id


def _find_element(
    reference: DigestReference, parsed: ParsedSignature, elements_by_id: Mapping[str, etree._Element]
) -> etree._Element:
    """Return the element that a reference names by id; raise unless its one transform is exclusive C14N."""
    target = elements_by_id.get(reference.uri[1:]) if reference.uri.startswith("#") else None
    if target is None:
        detail = (
            f"reference '{reference.uri[:120]}' names no Body, header block, token or Timestamp by its id"
        )
        raise_signature_error(detail, parsed.signed_info)
    if [transform.algorithm for transform in reference.transforms] != [EXCLUSIVE_C14N]:
        raise_signature_error(
            "an element must be signed in exclusive C14N and by no other transform", parsed.signed_info
        )
    return target


def _find_attachment(
    reference: DigestReference, parsed: ParsedSignature, attachments: Collection[str]
) -> str:
    """Return the Content-ID of a reference to one of `attachments`; raise unless it signs content alone."""
    if [transform.algorithm for transform in reference.transforms] != [SWA_CONTENT] or len(
        reference.uri
    ) > _MAX_URI_LENGTH:
        raise_signature_error(
            "an attachment must be signed by its content and by no other transform", parsed.signed_info
        )
    content_id = parse_content_id(reference, parsed)
    if content_id not in attachments:
        detail = f"the signed part '{content_id[:120]}' is not in the message"
        raise_signature_error(detail, parsed.element, errors.PART_MISSING)
    return content_id


def _check_coverage(
    parsed: ParsedSignature,
    targets: Mapping[str, SignedTarget],
    required_elements: Iterable[etree._Element],
    attachments: Collection[str],
) -> None:
    """Raise unless `targets` contain each of `required_elements` and each Content-ID in `attachments`."""
    covered_targets = list(targets.values())
    for element in required_elements:
        if element not in covered_targets:
            raise_signature_error("this part must be signed and is not", element, errors.NOT_COVERED)
    for content_id in attachments:
        if content_id not in covered_targets:
            detail = f"the signature does not cover part '{content_id[:120]}'"
            raise_signature_error(detail, parsed.element, errors.NOT_COVERED)


def write_swa_security(
    blocks: Mapping[str, bytes],
    attachments: Mapping[str, SwaAttachment],
    signer: Signer,
    token: SigningToken,
    leading_text: str = "",
) -> WrittenSignature:
    """Return the wsse:Security header that signs elements and attachments, as text of an envelope.

    `blocks` are the exclusive canonical forms of the elements by wsu:Id. The envelope declares ``soap12``.
    `token` says how the certificate is named. `leading_text` is text that is put before it, as of encryption.
    """
    references = [
        DigestReference(f"#{name}", SHA256, compute_digest(SHA256, octets), _BLOCK_TRANSFORMS)
        for name, octets in blocks.items()
    ]
    for name, attachment in attachments.items():
        octets = canonicalize_attachment(name, attachment, DEFAULT_LIMITS)
        uri = "cid:" + quote(name, safe="@!$&'()*+,;=:-._~/")
        references.append(DigestReference(uri, SHA256, compute_digest(SHA256, octets), _PART_TRANSFORMS))
    # It declares its own namespace, so that this text is its exclusive canonical form.
    signed_info_content = write_methods(EXCLUSIVE_C14N, signer.algorithm) + "".join(
        map(write_reference_text, references)
    )
    signed_info = f"<ds:SignedInfo{_DS_DECLARATION}>{signed_info_content}</ds:SignedInfo>"
    value_element = write_octets("ds:SignatureValue", signer.sign(signed_info.encode()))
    binary_token, key_info = write_token(signer.certificate, token.kind, token.id, token.issuers)
    signature = f"<ds:Signature{_DS_DECLARATION}>{signed_info}{value_element}{key_info}</ds:Signature>"
    header_text = write_element("wsse:Security", leading_text + binary_token + signature, _SECURITY_START)
    return WrittenSignature(header_text, tuple(references))
