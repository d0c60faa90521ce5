"""WS-Security X.509 token profile on SOAP 1.1: Body, Timestamp and every wsa: header are signed.

Follows the WS-I Basic Security Profile strictly: a BinarySecurityToken named by a
SecurityTokenReference, exclusive C14N everywhere, wsu:Id as the only identifier, Created and
Expires in UTC with at most milliseconds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Final

from lxml import etree

from gateway import errors
from gateway.errors import GatewayError
from gateway.pki import Certificate, Signer
from gateway.wire import (
    BASE64_ENCODING,
    DEFAULT_LIMITS,
    DS,
    SOAP11,
    WSA,
    WSSE,
    WSSE11,
    WSU,
    X509_TOKEN,
    WireLimits,
    format_instant,
    read_own_element,
    write_attribute,
)
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N, SignaturePolicy
from gateway.xmlsec.key_info import decode_certificate
from gateway.xmlsec.signature_verifier import (
    CertificateCheck,
    PlainAttachments,
    SignedContent,
    SignedOctets,
    StructureReading,
    VerifiedSignature,
    verify_reading,
)
from gateway.xmlsec.strict_reader import (
    check_attributes,
    get_only_child,
    list_children,
    raise_signature_error,
    read_text,
    reject_hidden_nodes,
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
    list_ids,
    read_signature,
    write_empty_reference,
    write_methods,
)

_ID: Final = f"{{{WSU}}}Id"
_TIMESTAMP_TAGS: Final = [f"{{{WSU}}}Created", f"{{{WSU}}}Expires"]
# BSP 1.1 R3220, R3213: UTC and no more than milliseconds
_TIMESTAMP_PATTERN: Final = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,3}))?(?:Z|\+00:00)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TimestampWindow:
    """The limits on the age, the clock difference and the lifetime of a Timestamp.

    The ages are WSS4J's defaults; ``max_lifetime`` is the longest accepted time from Created to
    Expires. A Timestamp written by the gateway expires ``validity`` after its creation.
    """

    max_age: timedelta = timedelta(seconds=300)
    max_ahead: timedelta = timedelta(seconds=60)
    max_lifetime: timedelta = timedelta(hours=24)
    validity: timedelta = timedelta(seconds=300)


DEFAULT_WINDOW: Final = TimestampWindow()


def check_timestamp(timestamp: etree._Element, now: datetime, window: TimestampWindow) -> None:
    """Raise GW211 for a Timestamp that is malformed, or outside the window at `now`."""
    check_attributes(timestamp, optional=(_ID,))
    parts = list_children(timestamp)
    if [part.tag for part in parts] != _TIMESTAMP_TAGS:
        raise_signature_error(
            "a Timestamp must hold Created and Expires", timestamp, errors.TIMESTAMP_REFUSED
        )
    created, expires = (_read_instant(part) for part in parts)
    fault = _find_window_fault(created, expires, now, window)
    if fault is not None:
        detail = f"the Timestamp is outside the window: {fault}"
        raise_signature_error(detail, timestamp, errors.TIMESTAMP_REFUSED)


def _find_window_fault(
    created: datetime, expires: datetime, now: datetime, window: TimestampWindow
) -> str | None:
    """Return why a Timestamp is refused at the time `now`; None if it is accepted."""
    if created > now + window.max_ahead:
        return "it was created in the future"
    if created < now - window.max_age:
        return f"it was created more than {window.max_age.total_seconds():.0f} seconds ago"
    if expires <= now:
        return "it has expired"
    if not timedelta(0) < expires - created <= window.max_lifetime:
        return "its life is not of a sensible length"
    return None


def _read_instant(element: etree._Element) -> datetime:
    """Return the time in UTC that `element` contains; raise for any other form of it."""
    check_attributes(element)
    try:
        moment = _parse_moment(read_text(element).strip(" \t\r\n"))
    except ValueError:
        raise_signature_error("not a date", element, errors.TIMESTAMP_REFUSED)
    if moment is None:
        raise_signature_error(
            "not a time in UTC with at most milliseconds", element, errors.TIMESTAMP_REFUSED
        )
    return moment


def _parse_moment(text: str) -> datetime | None:
    """Return the instant of a text in UTC; None for another form; raise ValueError for an impossible day."""
    match = _TIMESTAMP_PATTERN.fullmatch(text)
    if match is None:
        return None
    moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)  # bounded: by the pattern
    return moment + timedelta(milliseconds=int((match[2] or "0").ljust(3, "0")))  # bounded: by the pattern


_ENVELOPE: Final = f"{{{SOAP11}}}Envelope"
_HEADER: Final = f"{{{SOAP11}}}Header"
_BODY: Final = f"{{{SOAP11}}}Body"
_MUST_UNDERSTAND: Final = f"{{{SOAP11}}}mustUnderstand"
_ACTOR: Final = f"{{{SOAP11}}}actor"
_SECURITY: Final = f"{{{WSSE}}}Security"
_TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_TIMESTAMP: Final = f"{{{WSU}}}Timestamp"
_SIGNATURE: Final = f"{{{DS}}}Signature"
_SECURITY_TAG: Final = (
    f'<wsse:Security xmlns:soap="{SOAP11}" xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" soap:mustUnderstand="1">'
)
_TOKEN_ATTRIBUTES: Final = f' EncodingType="{BASE64_ENCODING}" ValueType="{X509_TOKEN}"'
#: The namespaces of the elements that are written and signed here.
_WRITTEN_NAMESPACES: Final = frozenset({WSSE, WSU, DS})
_REQUIRED_CHILDREN: Final = (_TOKEN, _TIMESTAMP, _SIGNATURE)
_EXCLUSIVE_TRANSFORM: Final = Transform(EXCLUSIVE_C14N)


@dataclass(frozen=True, slots=True)
class _SecuredParts:
    """The parts of an envelope that are signed or needed for the verification."""

    security: etree._Element
    token: etree._Element
    timestamp: etree._Element
    signature: etree._Element
    signable_elements: tuple[etree._Element, ...]
    required_elements: tuple[etree._Element, ...]


def sign_soap_envelope(
    root: etree._Element,
    signer: Signer,
    *,
    now: datetime,
    prefix: str = "s-",
    window: TimestampWindow = DEFAULT_WINDOW,
    further_headers: Collection[str] = (),
) -> None:
    """Add a Security header to a SOAP 1.1 envelope and sign Body, Timestamp and all wsa: headers.

    ``prefix`` starts the wsu:Id of elements that have none yet. Header blocks with a tag in
    ``further_headers`` are signed, too.
    """
    if root.tag == _ENVELOPE and root.find(_HEADER) is None:
        root.insert(0, root.makeelement(_HEADER))
    header, body = _get_header_and_body(root)
    if find_security_header(root) is not None:
        raise_signature_error("the envelope has a Security header already", root, errors.OUR_MISTAKE)
    signed_headers = tuple(
        child for child in header if _is_addressing_header(child) or child.tag in further_headers
    )
    signed_ids = _assign_ids(root, (body, *signed_headers), prefix)
    references = [
        f"#{part_id}"
        for part_id in (*signed_ids.part_ids[:1], signed_ids.timestamp_id, *signed_ids.part_ids[1:])
    ]
    security_octets = _write_security(signer, signed_ids, now, now + window.validity, references)
    security = read_own_element(security_octets)
    if not _WRITTEN_NAMESPACES.isdisjoint(header.nsmap.values()):
        # The prefixes of the envelope replace those of the header, which must happen before it is signed.
        header.append(security)
    _, timestamp, signature = security
    # By exclusive C14N, the signed parts of the header do not depend on their context.
    _, _, *reference_elements = signature[0]
    for reference, part in zip(reference_elements, (body, timestamp, *signed_headers), strict=True):
        fill_digest_value(reference, apply_canonicalization(part, _EXCLUSIVE_TRANSFORM))
    fill_signature_value(signature, _EXCLUSIVE_TRANSFORM, signer)
    if security.getparent() is None:
        header.append(security)


def verify_soap_envelope(
    root: etree._Element,
    policy: SignaturePolicy,
    *,
    now: datetime,
    window: TimestampWindow = DEFAULT_WINDOW,
    check_certificate: CertificateCheck | None = None,
    limits: WireLimits = DEFAULT_LIMITS,
) -> VerifiedSignature:
    """Verify a request or answer: one Security with one token, one Timestamp and one Signature.

    The Signature must cover Body, Timestamp and every wsa: header. `check_certificate` checks the
    certificate before anything is computed with it. Comments, which no signature covers, are
    removed from the Body afterwards, so that only signed content is read from it.
    """
    parts = _split_envelope(root)
    parsed = read_signature(parts.signature, policy, limits=limits)
    if parsed.canonicalization.algorithm != EXCLUSIVE_C14N:
        raise_signature_error(
            "SignedInfo must be in exclusive C14N", parsed.signed_info, errors.ALGORITHM_REFUSED
        )
    check_unique_ids(root, (reference.uri[1:] for reference in parsed.references))
    certificate = _read_token_certificate(parsed, parts.token)
    reading = _SoapReading(parsed, certificate, parts)
    verified_signature = verify_reading(reading, PlainAttachments({}), check_certificate)
    check_timestamp(parts.timestamp, now, window)
    etree.strip_tags(root, etree.Comment)
    return verified_signature


@dataclass(frozen=True, slots=True)
class _SoapReading(StructureReading):
    """The values of the signature of a request or answer."""

    parts: _SecuredParts

    def match_references(self) -> SignedContent:
        """Return the target of each reference; raise for one that is not permitted, or a part not covered."""
        targets = _resolve_targets(self.parsed, self.parts)

        def canonicalize_target(reference: DigestReference) -> bytes:
            return apply_canonicalization(targets[reference.uri], reference.transforms[0], once=True)

        def canonicalize_targets() -> SignedOctets:
            element = self.parsed.element
            canonical_forms = (
                dereference_octets(reference, canonicalize_target, element) for reference in self.references
            )
            return SignedOctets(canonical_forms, tuple(targets.values()))

        return SignedContent([None] * len(targets), canonicalize_targets)


def find_security_header(root: etree._Element) -> etree._Element | None:
    """Return the one wsse:Security header, or None; raise for any other place or number."""
    headers = list(root.iter(_SECURITY))
    if not headers:
        return None
    header = headers[0].getparent()
    if len(headers) > 1 or header is None or header.tag != _HEADER or header.getparent() is not root:
        raise_signature_error("wsse:Security must occur once, in the SOAP Header", headers[-1])
    return headers[0]


def _is_addressing_header(element: etree._Element) -> bool:
    return isinstance(element.tag, str) and element.tag.startswith(f"{{{WSA}}}")


def _get_header_and_body(root: etree._Element) -> tuple[etree._Element, etree._Element]:
    """Return Header and Body; raise when the document has a second element of those names (SIG-07)."""
    if root.tag != _ENVELOPE:
        raise_signature_error("the document must be a SOAP 1.1 Envelope", root)
    elements = list(root.iter(_ENVELOPE, _HEADER, _BODY))
    if [element.tag for element in elements] != [_ENVELOPE, _HEADER, _BODY] or list(root) != elements[1:]:
        raise_signature_error(
            "an Envelope must hold one Header and one Body, and there must be no others elsewhere", root
        )
    return elements[1], elements[2]


def _split_envelope(root: etree._Element) -> _SecuredParts:
    """Return the parts of a signed envelope; raise unless wsse:Security has one of each required child."""
    if root.tag == _ENVELOPE and root.find(_HEADER) is None:
        raise_signature_error(
            "the message has no SOAP Header, so no signature", root, errors.SIGNATURE_MISSING
        )
    header, body = _get_header_and_body(root)
    security = find_security_header(root)
    if security is None:
        raise_signature_error("the message has no wsse:Security header", root, errors.SIGNATURE_MISSING)
    reject_hidden_nodes(header, "header")
    check_attributes(security, optional=(_MUST_UNDERSTAND, _ACTOR, _ID))
    children = {child.tag: child for child in list_children(security)}
    if _SIGNATURE not in children:
        raise_signature_error("the Security header has no ds:Signature", security, errors.SIGNATURE_MISSING)
    if sum(1 for _ in root.iter(_TIMESTAMP)) != 1 or _TIMESTAMP not in children:
        raise_signature_error(
            "the Security header must hold exactly one Timestamp", security, errors.TIMESTAMP_REFUSED
        )
    if set(children) != set(_REQUIRED_CHILDREN) or len(security) != len(_REQUIRED_CHILDREN):
        raise_signature_error(
            "a Security header must hold one token, one Timestamp, one Signature and nothing else", security
        )
    for tag in _REQUIRED_CHILDREN:
        if sum(1 for _ in root.iter(tag)) != 1:
            raise_signature_error(f"more than one {etree.QName(tag).localname} in the document", security)
    required_elements = (
        body,
        children[_TIMESTAMP],
        *(child for child in header if _is_addressing_header(child)),
    )
    other_headers = (child for child in header if child not in required_elements and child is not security)
    return _SecuredParts(
        security=security,
        token=children[_TOKEN],
        timestamp=children[_TIMESTAMP],
        signature=children[_SIGNATURE],
        signable_elements=(*required_elements, children[_TOKEN], *other_headers),
        required_elements=required_elements,
    )


def _read_token_certificate(parsed: ParsedSignature, token: etree._Element) -> Certificate:
    """Return the certificate in the token that the KeyInfo names, by the one permitted reference."""
    check_attributes(parsed.key_info, optional=("Id",))
    token_reference = get_only_child(parsed.key_info, _TOKEN_REFERENCE)
    check_attributes(token_reference, optional=(_ID, f"{{{WSSE11}}}TokenType"))
    reference = get_only_child(token_reference, f"{{{WSSE}}}Reference")
    check_attributes(reference, required=("URI", "ValueType"))
    check_attributes(token, required=(_ID, "EncodingType", "ValueType"))
    if reference.get("URI") != f"#{token.get(_ID)}" or list_children(reference):
        raise_signature_error("the SecurityTokenReference does not name the token", reference)
    value_types = {reference.get("ValueType"), token.get("ValueType"), X509_TOKEN}
    token_type = token_reference.get(f"{{{WSSE11}}}TokenType", X509_TOKEN)
    if (
        value_types != {X509_TOKEN}
        or token_type != X509_TOKEN
        or token.get("EncodingType") != BASE64_ENCODING
    ):
        raise_signature_error("the token must be an X.509 v3 certificate in base64", token)
    return decode_certificate(token)


def _resolve_targets(parsed: ParsedSignature, parts: _SecuredParts) -> dict[str, etree._Element]:
    """Return the target of each reference: Body, Timestamp, token or header block, each at most once."""
    elements_by_id = {part.get(_ID): part for part in parts.signable_elements if part.get(_ID) is not None}
    targets: dict[str, etree._Element] = {}
    for reference in parsed.references:
        target = elements_by_id.get(reference.uri[1:]) if reference.uri.startswith("#") else None
        if target is None:
            detail = f"reference '{reference.uri[:120]}' names no Body, Timestamp, token or header by wsu:Id"
            raise_signature_error(detail, parsed.signed_info)
        if [transform.algorithm for transform in reference.transforms] != [EXCLUSIVE_C14N] or reference.type:
            raise_signature_error(
                "a part must be signed in exclusive C14N and by no other transform", parsed.signed_info
            )
        if target in targets.values():
            raise_signature_error(f"two references to '{reference.uri[:120]}'", parsed.signed_info)
        targets[reference.uri] = target
    for part in parts.required_elements:
        if part not in targets.values():
            raise_signature_error("this part must be signed and is not", part, errors.NOT_COVERED)
    return targets


@dataclass(frozen=True, slots=True)
class _SignedIds:
    """The identifiers of the signed parts, and of the token."""

    token_id: str
    timestamp_id: str
    part_ids: tuple[str, ...]


def _assign_ids(root: etree._Element, parts: tuple[etree._Element, ...], prefix: str) -> _SignedIds:
    """Set a wsu:Id on each part that has none; return the ids of all parts, and new ids of the others."""
    used_ids = set(list_ids(root))
    new_ids = (name for id_number in count(1) if (name := f"{prefix}{id_number}") not in used_ids)
    token_id = next(new_ids)
    body, *addressing_headers = parts
    body_id, timestamp_id = _ensure_part_id(body, new_ids), next(new_ids)
    return _SignedIds(
        token_id, timestamp_id, (body_id, *(_ensure_part_id(part, new_ids) for part in addressing_headers))
    )


def _ensure_part_id(part: etree._Element, new_ids: Iterator[str]) -> str:
    """Return the wsu:Id of a part; set it to the next of `new_ids` if the part has none.

    Raises GW806 if libxml2 has no memory for the attribute.
    """
    part_id = part.get(_ID)
    if part_id is None:
        part_id = next(new_ids)
        part.set(_ID, part_id)
        if part.get(_ID) != part_id:
            # libxml2 does not report that it has no memory for an attribute.
            raise GatewayError(errors.NO_ROOM, "memory is used up")
    return part_id


def _write_security(
    signer: Signer, signed_ids: _SignedIds, created: datetime, expires: datetime, references: Sequence[str]
) -> bytes:
    """Return the Security header with the token and the Timestamp; digests and value are empty."""
    token_attribute, timestamp_attribute = (
        write_attribute("wsu:Id", element_id) for element_id in (signed_ids.token_id, signed_ids.timestamp_id)
    )
    reference_texts = "".join(
        write_empty_reference(write_attribute("URI", uri), (EXCLUSIVE_C14N,)) for uri in references
    )
    return (
        f"{_SECURITY_TAG}<wsse:BinarySecurityToken{_TOKEN_ATTRIBUTES}{token_attribute}>"
        f"{_encode_certificate(signer.certificate.der)}</wsse:BinarySecurityToken>"
        f"<wsu:Timestamp{timestamp_attribute}><wsu:Created>{format_instant(created)}</wsu:Created>"
        f"<wsu:Expires>{format_instant(expires)}</wsu:Expires></wsu:Timestamp>"
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>'
        f"{write_methods(EXCLUSIVE_C14N, signer.algorithm)}{reference_texts}</ds:SignedInfo>"
        "<ds:SignatureValue/><ds:KeyInfo><wsse:SecurityTokenReference>"
        f'<wsse:Reference{write_attribute("URI", f"#{signed_ids.token_id}")} ValueType="{X509_TOKEN}"/>'
        "</wsse:SecurityTokenReference></ds:KeyInfo></ds:Signature></wsse:Security>"
    ).encode()


@lru_cache(maxsize=64)
def _encode_certificate(der: bytes) -> str:
    return base64.b64encode(der).decode("ascii")
