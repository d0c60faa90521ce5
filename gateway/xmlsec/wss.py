"""WS-Security X.509 token profile on SOAP 1.1: Body, Timestamp and every wsa: header are signed.

Follows the WS-I Basic Security Profile strictly: a BinarySecurityToken named by a
SecurityTokenReference, exclusive C14N everywhere, wsu:Id as the only identifier, Created and
Expires in UTC with at most milliseconds.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import count
from typing import Final, NamedTuple

from lxml import etree

from gateway import errors
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
    build_xpath,
    read_own_element,
    write_attribute,
)
from gateway.xmlsec.algorithms import EXCLUSIVE_C14N, SHA256, SignaturePolicy
from gateway.xmlsec.digest_references import DigestReference, Transform
from gateway.xmlsec.element_ids import check_unique_ids, list_ids
from gateway.xmlsec.strict_reader import (
    check_attributes,
    get_only_child,
    list_children,
    raise_signature_error,
)
from gateway.xmlsec.wss_timestamp import DEFAULT_WINDOW, TimestampWindow, check_timestamp, write_moment
from gateway.xmlsec.x509_key_info import decode_certificate
from gateway.xmlsec.xml_signature import (
    CertificateCheck,
    SignatureForms,
    SignatureStructure,
    SignedForm,
    VerifiedSignature,
    apply_canonicalization,
    fill_digest_value,
    fill_signature_value,
    read_signature,
    verify_signature,
)

__all__ = [
    "SoapForms",
    "find_security_header",
    "list_soap_forms",
    "sign_soap_envelope",
    "verify_soap_envelope",
]

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
_ID: Final = f"{{{WSU}}}Id"
_SECURITY_TAG: Final = (
    f'<wsse:Security xmlns:soap="{SOAP11}" xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}" soap:mustUnderstand="1">'
)
_TOKEN_KIND: Final = f' EncodingType="{BASE64_ENCODING}" ValueType="{X509_TOKEN}"'
#: Namespaces of what is written and signed here.
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
    demanded: tuple[etree._Element, ...]


class _ReadSignature(NamedTuple):
    """A signature that was read, its certificate, and by its URI the element that a reference is over."""

    parts: _SecuredParts
    structure: SignatureStructure
    certificate: Certificate
    targets: dict[str, etree._Element]


class SoapForms(NamedTuple):
    """What a signature is over, without the octets of the Body; the Timestamp; the form of the Body."""

    signature: SignatureForms
    timestamp: etree._Element
    body_method: Transform


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
    token_id, timestamp_id = _assign_ids(root, (body, *addressing), prefix)
    references = [f"#{part.get(_ID)}" for part in (body, *addressing)]
    references.insert(1, f"#{timestamp_id}")
    text = _write_security(signer, (token_id, timestamp_id), (now, now + window.validity), references)
    security = read_own_element(text)
    if not _DECLARED.isdisjoint(header.nsmap.values()):
        # The prefixes of the envelope replace those of the header, which must happen before it is signed.
        header.append(security)
    _, timestamp, signature = security
    # What is signed of the header does not depend on its context, which is exclusive C14N.
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
    believe: CertificateCheck | None = None,
    limits: WireLimits = DEFAULT_LIMITS,
) -> VerifiedSignature:
    """Verify a request or answer: one Security with one token, one Timestamp and one Signature.

    The Signature must cover Body, Timestamp and every wsa: header. `believe` checks the
    certificate before anything is computed with it. Comments, which no signature covers, are
    removed from the Body afterwards, so that what is read from it is what was signed.
    """
    read = _read_signature_parts(root, policy, limits, believe)
    structure, targets = read.structure, read.targets

    def resolve_reference(reference: DigestReference) -> bytes:
        return apply_canonicalization(targets[reference.uri], reference.transforms[0])

    verify_signature(structure, read.certificate, resolve_reference)
    check_timestamp(read.parts.timestamp, now, window)
    etree.strip_tags(root, etree.Comment)
    return VerifiedSignature(
        references=structure.references,
        certificate=read.certificate,
        parts=tuple(targets.values()),
        signature_algorithm=structure.algorithm,
    )


def list_soap_forms(
    root: etree._Element, policy: SignaturePolicy, limits: WireLimits = DEFAULT_LIMITS
) -> SoapForms:
    """Return what the signature of an envelope is over, but for the Body; nothing is computed with it."""
    read = _read_signature_parts(root, policy, limits)
    structure, forms, method = read.structure, [], _EXCLUSIVE
    for reference, target in zip(structure.references, read.targets.values(), strict=True):
        octets = None
        if target.tag == _BODY:
            method = reference.transforms[0]
        else:
            octets = apply_canonicalization(target, reference.transforms[0])
        forms.append(SignedForm(octets, build_xpath(target)))
    signed_info = apply_canonicalization(structure.signed_info, structure.canonicalization)
    return SoapForms(
        SignatureForms(structure, read.certificate, signed_info, tuple(forms)), read.parts.timestamp, method
    )


def _read_signature_parts(
    root: etree._Element, policy: SignaturePolicy, limits: WireLimits, believe: CertificateCheck | None = None
) -> _ReadSignature:
    """Return what the one signature of an envelope says and is over; nothing is computed with it."""
    parts = _split_envelope(root)
    structure = read_signature(parts.signature, policy, limits=limits)
    if structure.canonicalization.algorithm != EXCLUSIVE_C14N:
        raise_signature_error(
            "SignedInfo is in exclusive C14N", structure.signed_info, errors.ALGORITHM_REFUSED
        )
    check_unique_ids(root, (reference.uri[1:] for reference in structure.references))
    certificate = _read_token_certificate(structure, parts.token)
    if believe is not None:
        believe(certificate)
    return _ReadSignature(parts, structure, certificate, _resolve_targets(structure, parts))


def find_security_header(root: etree._Element) -> etree._Element | None:
    """Return the one wsse:Security header, or None; raise for any other place or number."""
    found = list(root.iter(_SECURITY))
    if not found:
        return None
    header = found[0].getparent()
    if len(found) > 1 or header is None or header.tag != _HEADER or header.getparent() is not root:
        raise_signature_error("wsse:Security must occur once, in the SOAP Header", found[-1])
    return found[0]


def _is_addressing_header(element: etree._Element) -> bool:
    return isinstance(element.tag, str) and element.tag.startswith(f"{{{WSA}}}")


def _get_header_and_body(root: etree._Element) -> tuple[etree._Element, etree._Element]:
    """Return Header and Body; raise when the document has a second element of those names (SIG-07)."""
    if root.tag != _ENVELOPE:
        raise_signature_error("a SOAP 1.1 Envelope belongs here", root)
    found = list(root.iter(_ENVELOPE, _HEADER, _BODY))
    if [element.tag for element in found] != [_ENVELOPE, _HEADER, _BODY] or list(root) != found[1:]:
        raise_signature_error(
            "an Envelope holds one Header and one Body, and there are no others elsewhere", root
        )
    return found[1], found[2]


def _split_envelope(root: etree._Element) -> _SecuredParts:
    if root.tag == _ENVELOPE and root.find(_HEADER) is None:
        raise_signature_error(
            "the message has no SOAP Header, so no signature", root, errors.SIGNATURE_MISSING
        )
    header, body = _get_header_and_body(root)
    security = find_security_header(root)
    if security is None:
        raise_signature_error("the message has no wsse:Security header", root, errors.SIGNATURE_MISSING)
    for unseen in header.iter(etree.Comment, etree.ProcessingInstruction, etree.Entity):
        raise_signature_error("a comment or processing instruction in a signed header", unseen.getparent())
    check_attributes(security, optional=(_MUST_UNDERSTAND, _ACTOR, _ID))
    found = {child.tag: child for child in list_children(security)}
    if _SIGNATURE not in found:
        raise_signature_error("the Security header has no ds:Signature", security, errors.SIGNATURE_MISSING)
    if sum(1 for _ in root.iter(_TIMESTAMP)) != 1 or _TIMESTAMP not in found:
        raise_signature_error(
            "exactly one Timestamp belongs into the Security header", security, errors.TIMESTAMP_REFUSED
        )
    if set(found) != set(_ONCE) or len(security) != len(_ONCE):
        raise_signature_error(
            "a Security header holds one token, one Timestamp, one Signature and nothing else", security
        )
    for tag in _ONCE:
        if sum(1 for _ in root.iter(tag)) != 1:
            raise_signature_error(f"more than one {etree.QName(tag).localname} in the document", security)
    demanded = (body, found[_TIMESTAMP], *(child for child in header if _is_addressing_header(child)))
    others = (child for child in header if child not in demanded and child is not security)
    return _SecuredParts(
        security=security,
        token=found[_TOKEN],
        timestamp=found[_TIMESTAMP],
        signature=found[_SIGNATURE],
        signable=(*demanded, found[_TOKEN], *others),
        demanded=demanded,
    )


def _read_token_certificate(structure: SignatureStructure, token: etree._Element) -> Certificate:
    """Return the certificate in the token that the KeyInfo names, by the one permitted reference."""
    check_attributes(structure.key_info, optional=("Id",))
    token_reference = get_only_child(structure.key_info, _TOKEN_REFERENCE)
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


def _resolve_targets(structure: SignatureStructure, parts: _SecuredParts) -> dict[str, etree._Element]:
    """Return the target of each reference: Body, Timestamp, token or header block, each at most once."""
    by_id = {part.get(_ID): part for part in parts.signable if part.get(_ID) is not None}
    targets: dict[str, etree._Element] = {}
    for reference in structure.references:
        target = by_id.get(reference.uri[1:]) if reference.uri.startswith("#") else None
        if target is None:
            detail = f"reference '{reference.uri[:120]}' names no Body, Timestamp, token or header by wsu:Id"
            raise_signature_error(detail, structure.signed_info)
        if [transform.algorithm for transform in reference.transforms] != [EXCLUSIVE_C14N] or reference.type:
            raise_signature_error(
                "a part is signed in exclusive C14N and by no other transform", structure.signed_info
            )
        if target in targets.values():
            raise_signature_error(f"two references to '{reference.uri[:120]}'", structure.signed_info)
        targets[reference.uri] = target
    for part in parts.demanded:
        if part not in targets.values():
            raise_signature_error("this part must be signed and is not", part, errors.NOT_COVERED)
    return targets


def _assign_ids(root: etree._Element, parts: tuple[etree._Element, ...], prefix: str) -> tuple[str, str]:
    """Give an identifier to each part that has none; return those of the token and of the Timestamp."""
    taken = set(list_ids(root))
    names = (name for number in count(1) if (name := f"{prefix}{number}") not in taken)
    token = next(names)
    body, *addressing = parts
    if body.get(_ID) is None:
        body.set(_ID, next(names))
    timestamp = next(names)
    for part in addressing:
        if part.get(_ID) is None:
            part.set(_ID, next(names))
    return token, timestamp


def _write_security(
    signer: Signer, ids: tuple[str, str], times: tuple[datetime, datetime], references: Sequence[str]
) -> bytes:
    """Return the Security header with the token and the Timestamp; digests and value are empty."""
    token, timestamp = (write_attribute("wsu:Id", name) for name in ids)
    created, expires = map(write_moment, times)
    signed = "".join(_write_reference(uri) for uri in references)
    return (
        f"{_SECURITY_TAG}<wsse:BinarySecurityToken{_TOKEN_KIND}{token}>"
        f"{_encode_certificate(signer.certificate.der)}</wsse:BinarySecurityToken>"
        f"<wsu:Timestamp{timestamp}><wsu:Created>{created}</wsu:Created>"
        f"<wsu:Expires>{expires}</wsu:Expires></wsu:Timestamp>"
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>'
        f'<ds:CanonicalizationMethod Algorithm="{EXCLUSIVE_C14N}"/>'
        f"<ds:SignatureMethod{write_attribute('Algorithm', signer.algorithm)}/>{signed}</ds:SignedInfo>"
        "<ds:SignatureValue/><ds:KeyInfo><wsse:SecurityTokenReference>"
        f'<wsse:Reference{write_attribute("URI", f"#{ids[0]}")} ValueType="{X509_TOKEN}"/>'
        "</wsse:SecurityTokenReference></ds:KeyInfo></ds:Signature></wsse:Security>"
    ).encode()


def _write_reference(uri: str) -> str:
    return (
        f"<ds:Reference{write_attribute('URI', uri)}><ds:Transforms>"
        f'<ds:Transform Algorithm="{EXCLUSIVE_C14N}"/></ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{SHA256}"/><ds:DigestValue/></ds:Reference>'
    )


@lru_cache(maxsize=64)
def _encode_certificate(der: bytes) -> str:
    return base64.b64encode(der).decode("ascii")
