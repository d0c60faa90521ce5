"""WS-Security X.509 token profile on SOAP 1.1: Body, Timestamp and every wsa: header are signed.

Follows the WS-I Basic Security Profile strictly: a BinarySecurityToken named by a
SecurityTokenReference, exclusive C14N everywhere, wsu:Id as the only identifier, Created and
Expires in UTC with at most milliseconds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
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
_PARTS: Final = [f"{{{WSU}}}Created", f"{{{WSU}}}Expires"]
# BSP 1.1 R3220, R3213: UTC and no more than milliseconds
_MOMENT: Final = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-\d{2}T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,3}))?(?:Z|\+00:00)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TimestampWindow:
    """The limits on the age, the clock difference and the lifetime of a Timestamp.

    The ages are WSS4J's defaults; ``lifetime`` is the longest accepted time from Created to
    Expires. A Timestamp written by the gateway expires ``validity`` after its creation.
    """

    age: timedelta = timedelta(seconds=300)
    ahead: timedelta = timedelta(seconds=60)
    lifetime: timedelta = timedelta(hours=24)
    validity: timedelta = timedelta(seconds=300)


DEFAULT_WINDOW: Final = TimestampWindow()


def check_timestamp(timestamp: etree._Element, now: datetime, window: TimestampWindow) -> None:
    """Raise GW211 for a Timestamp that is malformed, or outside the window at `now`."""
    check_attributes(timestamp, optional=(_ID,))
    parts = list_children(timestamp)
    if [part.tag for part in parts] != _PARTS:
        raise_signature_error("a Timestamp holds Created and Expires", timestamp, errors.TIMESTAMP_REFUSED)
    created, expires = (_read_instant(part) for part in parts)
    reason = _find_window_fault(created, expires, now, window)
    if reason is not None:
        detail = f"the Timestamp is outside the window: {reason}"
        raise_signature_error(detail, timestamp, errors.TIMESTAMP_REFUSED)


def _find_window_fault(
    created: datetime, expires: datetime, now: datetime, window: TimestampWindow
) -> str | None:
    if created > now + window.ahead:
        return "it was created in the future"
    if created < now - window.age:
        return f"it was created more than {window.age.total_seconds():.0f} seconds ago"
    if expires <= now:
        return "it has expired"
    if not timedelta(0) < expires - created <= window.lifetime:
        return "its life is not of a sensible length"
    return None


def _read_instant(element: etree._Element) -> datetime:
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
    """Return the moment that a text is; None for another form, ValueError for a day that no month has."""
    match = _MOMENT.fullmatch(text)
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
_TOKEN_KIND: Final = f' EncodingType="{BASE64_ENCODING}" ValueType="{X509_TOKEN}"'
#: The namespaces of the elements that are written and signed here.
_DECLARED: Final = frozenset({WSSE, WSU, DS})
_ONCE: Final = (_TOKEN, _TIMESTAMP, _SIGNATURE)
_EXCLUSIVE: Final = Transform(EXCLUSIVE_C14N)


@dataclass(frozen=True, slots=True)
class _SecuredParts:
    """The parts of an envelope that are signed or needed for the verification."""

    security: etree._Element
    token: etree._Element
    timestamp: etree._Element
    signature: etree._Element
    signable: tuple[etree._Element, ...]
    must_cover: tuple[etree._Element, ...]


def sign_soap_envelope(
    root: etree._Element,
    signer: Signer,
    *,
    now: datetime,
    prefix: str = "s-",
    window: TimestampWindow = DEFAULT_WINDOW,
) -> None:
    """Add a Security header to a SOAP 1.1 envelope and sign Body, Timestamp and all wsa: headers.

    ``prefix`` starts the wsu:Id of elements that have none yet.
    """
    if root.tag == _ENVELOPE and root.find(_HEADER) is None:
        root.insert(0, root.makeelement(_HEADER))
    header, body = _get_header_and_body(root)
    if find_security_header(root) is not None:
        raise_signature_error("the envelope has a Security header already", root, errors.OUR_MISTAKE)
    addressing = tuple(child for child in header if _is_addressing_header(child))
    names = _assign_ids(root, (body, *addressing), prefix)
    references = [f"#{name}" for name in (*names.parts[:1], names.timestamp, *names.parts[1:])]
    text = _write_security(signer, names, now, now + window.validity, references)
    security = read_own_element(text)
    if not _DECLARED.isdisjoint(header.nsmap.values()):
        # The prefixes of the envelope replace those of the header, which must happen before it is signed.
        header.append(security)
    _, timestamp, signature = security
    # By exclusive C14N, the signed parts of the header do not depend on their context.
    _, _, *written = signature[0]
    for reference, part in zip(written, (body, timestamp, *addressing), strict=True):
        fill_digest_value(reference, apply_canonicalization(part, _EXCLUSIVE))
    fill_signature_value(signature, _EXCLUSIVE, signer)
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
        raise_signature_error("SignedInfo is in exclusive C14N", parsed.signed_info, errors.ALGORITHM_REFUSED)
    check_unique_ids(root, (reference.uri[1:] for reference in parsed.references))
    certificate = _read_token_certificate(parsed, parts.token)
    reading = _SoapReading(parsed, certificate, parts)
    signed = verify_reading(reading, PlainAttachments({}), check_certificate)
    check_timestamp(parts.timestamp, now, window)
    etree.strip_tags(root, etree.Comment)
    return signed


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
        raise_signature_error("a SOAP 1.1 Envelope belongs here", root)
    elements = list(root.iter(_ENVELOPE, _HEADER, _BODY))
    if [element.tag for element in elements] != [_ENVELOPE, _HEADER, _BODY] or list(root) != elements[1:]:
        raise_signature_error(
            "an Envelope holds one Header and one Body, and there are no others elsewhere", root
        )
    return elements[1], elements[2]


def _split_envelope(root: etree._Element) -> _SecuredParts:
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
            "exactly one Timestamp belongs into the Security header", security, errors.TIMESTAMP_REFUSED
        )
    if set(children) != set(_ONCE) or len(security) != len(_ONCE):
        raise_signature_error(
            "a Security header holds one token, one Timestamp, one Signature and nothing else", security
        )
    for tag in _ONCE:
        if sum(1 for _ in root.iter(tag)) != 1:
            raise_signature_error(f"more than one {etree.QName(tag).localname} in the document", security)
    must_cover = (body, children[_TIMESTAMP], *(child for child in header if _is_addressing_header(child)))
    others = (child for child in header if child not in must_cover and child is not security)
    return _SecuredParts(
        security=security,
        token=children[_TOKEN],
        timestamp=children[_TIMESTAMP],
        signature=children[_SIGNATURE],
        signable=(*must_cover, children[_TOKEN], *others),
        must_cover=must_cover,
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
    kinds = {reference.get("ValueType"), token.get("ValueType"), X509_TOKEN}
    token_type = token_reference.get(f"{{{WSSE11}}}TokenType", X509_TOKEN)
    if kinds != {X509_TOKEN} or token_type != X509_TOKEN or token.get("EncodingType") != BASE64_ENCODING:
        raise_signature_error("the token is an X.509 v3 certificate in base64", token)
    return decode_certificate(token)


def _resolve_targets(parsed: ParsedSignature, parts: _SecuredParts) -> dict[str, etree._Element]:
    """Return the target of each reference: Body, Timestamp, token or header block, each at most once."""
    by_id = {part.get(_ID): part for part in parts.signable if part.get(_ID) is not None}
    targets: dict[str, etree._Element] = {}
    for reference in parsed.references:
        target = by_id.get(reference.uri[1:]) if reference.uri.startswith("#") else None
        if target is None:
            detail = f"reference '{reference.uri[:120]}' names no Body, Timestamp, token or header by wsu:Id"
            raise_signature_error(detail, parsed.signed_info)
        if [transform.algorithm for transform in reference.transforms] != [EXCLUSIVE_C14N] or reference.type:
            raise_signature_error(
                "a part is signed in exclusive C14N and by no other transform", parsed.signed_info
            )
        if target in targets.values():
            raise_signature_error(f"two references to '{reference.uri[:120]}'", parsed.signed_info)
        targets[reference.uri] = target
    for part in parts.must_cover:
        if part not in targets.values():
            raise_signature_error("this part must be signed and is not", part, errors.NOT_COVERED)
    return targets


@dataclass(frozen=True, slots=True)
class _SignedNames:
    """The identifiers of the signed parts, and of the token."""

    token: str
    timestamp: str
    parts: tuple[str, ...]


def _assign_ids(root: etree._Element, parts: tuple[etree._Element, ...], prefix: str) -> _SignedNames:
    """Give an identifier to each part that has none; return all of them."""
    used_ids = set(list_ids(root))
    names = (name for number in count(1) if (name := f"{prefix}{number}") not in used_ids)
    token = next(names)
    body, *addressing = parts
    first, timestamp = _name_part(body, names), next(names)
    return _SignedNames(token, timestamp, (first, *(_name_part(part, names) for part in addressing)))


def _name_part(part: etree._Element, names: Iterator[str]) -> str:
    """Return the identifier of a part, which gets the next name where it has none."""
    name = part.get(_ID)
    if name is None:
        name = next(names)
        part.set(_ID, name)
        if part.get(_ID) != name:
            # libxml2 does not report that it has no memory for an attribute.
            raise GatewayError(errors.NO_ROOM, "memory is used up")
    return name


def _write_security(
    signer: Signer, names: _SignedNames, created: datetime, expires: datetime, references: Sequence[str]
) -> bytes:
    """Return the Security header with the token and the Timestamp; digests and value are empty."""
    token, timestamp = (write_attribute("wsu:Id", name) for name in (names.token, names.timestamp))
    signed = "".join(
        write_empty_reference(write_attribute("URI", uri), (EXCLUSIVE_C14N,)) for uri in references
    )
    return (
        f"{_SECURITY_TAG}<wsse:BinarySecurityToken{_TOKEN_KIND}{token}>"
        f"{_encode_certificate(signer.certificate.der)}</wsse:BinarySecurityToken>"
        f"<wsu:Timestamp{timestamp}><wsu:Created>{format_instant(created)}</wsu:Created>"
        f"<wsu:Expires>{format_instant(expires)}</wsu:Expires></wsu:Timestamp>"
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>'
        f"{write_methods(EXCLUSIVE_C14N, signer.algorithm)}{signed}</ds:SignedInfo>"
        "<ds:SignatureValue/><ds:KeyInfo><wsse:SecurityTokenReference>"
        f'<wsse:Reference{write_attribute("URI", f"#{names.token}")} ValueType="{X509_TOKEN}"/>'
        "</wsse:SecurityTokenReference></ds:KeyInfo></ds:Signature></wsse:Security>"
    ).encode()


@lru_cache(maxsize=64)
def _encode_certificate(der: bytes) -> str:
    return base64.b64encode(der).decode("ascii")
