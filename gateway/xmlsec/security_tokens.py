"""The certificate of a WS-Security signature, by each way in which a KeyInfo names it.

It is in the message (BinarySecurityToken, KeyIdentifier, X509Data), or the message describes one that is
known here (subject key identifier, SHA-1 thumbprint, issuer and serial number). X.509 Token Profile 1.1 §3.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from lxml import etree

from gateway import errors
from gateway.pki import (
    Certificate,
    get_parsed_certificate,
    normalize_name,
    parse_distinguished_name,
    split_der_sequence,
)
from gateway.wire import (
    BASE64_ENCODING,
    DS,
    WSSE,
    WSSE11,
    WSU,
    X509_PKI_PATH_TOKEN,
    X509_TOKEN,
)
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    raise_signature_error,
    read_text,
)
from gateway.xmlsec.x509_key_info import decode_certificate, read_readable_certificate

__all__ = ["TOKEN", "read_security_token"]

TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_REFERENCE: Final = f"{{{WSSE}}}Reference"
_KEY_IDENTIFIER: Final = f"{{{WSSE}}}KeyIdentifier"
_X509_DATA: Final = f"{{{DS}}}X509Data"
_ID: Final = f"{{{WSU}}}Id"
_TOKEN_TYPE: Final = f"{{{WSSE11}}}TokenType"
_PKCS7_TOKEN: Final = X509_TOKEN.replace("#X509v3", "#PKCS7")
_SUBJECT_KEY: Final = X509_TOKEN.replace("#X509v3", "#X509SubjectKeyIdentifier")
_THUMBPRINT: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#ThumbprintSHA1"
_TOKEN_TYPES: Final = (X509_TOKEN, X509_PKI_PATH_TOKEN, _PKCS7_TOKEN)
_LONGEST_TOKEN: Final = 128 * 1024
_LONGEST_NAME: Final = 1024
_MOST_CERTIFICATES: Final = 10
_MOST_DIGITS: Final = 50

_Match = Callable[[Certificate], bool]


def read_security_token(
    key_info: etree._Element, tokens: Mapping[str, etree._Element], known: Iterable[Certificate]
) -> Certificate:
    """Return the certificate that a KeyInfo names; raise GW202, GW205 for one that is not known.

    `tokens` are the BinarySecurityTokens of the Security header by wsu:Id, `known` the certificates that a
    description can mean.
    """
    check_attributes(key_info, optional=("Id",))
    reference = get_only_child(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, optional=(_ID, "Id", _TOKEN_TYPE, "Usage"))
    children = list_children(reference)
    if len(children) != 1:
        raise_signature_error("a SecurityTokenReference names one token in one way", reference)
    named = children[0]
    if named.tag == _REFERENCE:
        return _read_binary_token(named, tokens)
    if named.tag == _KEY_IDENTIFIER:
        return _read_key_identifier(named, known)
    if named.tag != _X509_DATA:
        raise_signature_error("the token is named in a way that is not known", named)
    return _read_x509_data(named, known)


def _read_binary_token(reference: etree._Element, tokens: Mapping[str, etree._Element]) -> Certificate:
    check_attributes(reference, required=("URI",), optional=("ValueType",))
    uri = reference.get("URI", "")
    token = tokens.get(uri[1:]) if uri.startswith("#") else None
    if token is None or list_children(reference):
        raise_signature_error(f"'{uri[:120]}' names no token of this header", reference)
    check_attributes(token, required=(_ID, "ValueType"), optional=("EncodingType",))
    kind = token.get("ValueType")
    if kind not in _TOKEN_TYPES or reference.get("ValueType", kind) != kind:
        raise_signature_error("the token is an X509v3, X509PKIPathv1 or PKCS7 one", token)
    if token.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_signature_error("the token is written in base64", token)
    if kind == X509_TOKEN:
        return decode_certificate(token)
    octets = decode_base64(token, _LONGEST_TOKEN)
    if kind == X509_PKI_PATH_TOKEN:
        return _read_path_leaf(octets, token)
    return _read_pkcs7_leaf(octets, token)


def _read_path_leaf(octets: bytes, token: etree._Element) -> Certificate:
    """Return the last certificate of a PKIPath, which is that of the signer (X.509 §7.8)."""
    members = split_der_sequence(octets)
    if not members or len(members) > _MOST_CERTIFICATES:
        raise_signature_error(f"a PKIPath holds 1 to {_MOST_CERTIFICATES} certificates", token)
    return read_readable_certificate(members[-1])


def _read_pkcs7_leaf(octets: bytes, token: etree._Element) -> Certificate:
    try:
        members = pkcs7.load_der_pkcs7_certificates(octets)
    except Exception:
        # The library raises types of its own and of its parser.
        raise_signature_error("the token is no set of certificates in PKCS #7", token)
    if len(members) > _MOST_CERTIFICATES:
        raise_signature_error(f"there are more than {_MOST_CERTIFICATES} certificates", token)
    found = [read_readable_certificate(one.public_bytes(Encoding.DER)) for one in members]
    leaves = found if len(found) == 1 else [one for one in found if not one.is_ca]
    if len(leaves) != 1:
        raise_signature_error("exactly one certificate of the token is that of a signer", token)
    return leaves[0]


def _read_key_identifier(element: etree._Element, known: Iterable[Certificate]) -> Certificate:
    check_attributes(element, required=("ValueType",), optional=("EncodingType", _ID))
    if element.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_signature_error("a KeyIdentifier is written in base64", element)
    kind = element.get("ValueType")
    if kind == X509_TOKEN:
        return decode_certificate(element)
    value = decode_base64(element)
    matches: dict[str | None, _Match] = {
        _SUBJECT_KEY: lambda one: one.subject_key_identifier == value,
        _THUMBPRINT: lambda one: _compute_thumbprint(one) == value,
    }
    if kind not in matches:
        raise_signature_error("a KeyIdentifier of this type is not known", element)
    return _find_known(element, known, matches[kind])


def _compute_thumbprint(certificate: Certificate) -> bytes:
    # The profile names SHA-1. It chooses among certificates that are known, and proves nothing.
    return hashlib.sha1(certificate.der, usedforsecurity=False).digest()


def _read_x509_data(element: etree._Element, known: Iterable[Certificate]) -> Certificate:
    check_attributes(element)
    children = list_children(element)
    if len(children) == 1 and children[0].tag == f"{{{DS}}}X509Certificate":
        check_attributes(children[0])
        return decode_certificate(children[0])
    named = get_only_child(element, f"{{{DS}}}X509IssuerSerial")
    check_attributes(named)
    parts = list_children(named)
    if [part.tag for part in parts] != [f"{{{DS}}}X509IssuerName", f"{{{DS}}}X509SerialNumber"]:
        raise_signature_error("X509IssuerSerial holds a name and a number", named)
    issuer, digits = (read_text(part).strip() for part in parts)
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MOST_DIGITS:
        raise_signature_error("a serial number is written in decimal digits", parts[1])
    names = _parse_issuer(issuer, parts[0])
    number = int(digits)
    return _find_known(named, known, lambda one: one.serial == number and _get_issuer(one) in names)


def _parse_issuer(text: str, element: etree._Element) -> tuple[str, ...]:
    """Return the normal forms of a name, in both orders: handlers write the parts in either."""
    if len(text) > _LONGEST_NAME:
        raise_signature_error(f"a name has at most {_LONGEST_NAME} characters", element)
    try:
        name = parse_distinguished_name(text)
    except ValueError:
        raise_signature_error("this is no distinguished name (RFC 4514, RFC 2253)", element)
    turned = x509.Name(list(reversed(list(name.rdns))))
    return tuple(normalize_name(one.public_bytes()) for one in (name, turned))


def _get_issuer(certificate: Certificate) -> str:
    return normalize_name(get_parsed_certificate(certificate).issuer.public_bytes())


def _find_known(element: etree._Element, known: Iterable[Certificate], matches: _Match) -> Certificate:
    found = {one.sha256: one for one in known if matches(one)}
    if len(found) != 1:
        said = "no known certificate" if not found else "several known certificates"
        raise_signature_error(f"{said} fits this description", element, errors.CERTIFICATE_UNTRUSTED)
    return next(iter(found.values()))
