"""Which certificate the KeyInfo of a signature means, read and written."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from asn1crypto import core as asn1_core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from lxml import etree

from gateway import errors
from gateway.pki import (
    DEFAULT_RULES,
    Certificate,
    get_parsed_certificate,
    read_certificate,
    split_der_sequence,
)
from gateway.wire import (
    BASE64_ENCODING,
    CURVE_OIDS,
    DS,
    DS11,
    WSSE,
    WSSE11,
    WSU,
    X509_PKI_PATH_TOKEN,
    X509_TOKEN,
    write_attribute,
    write_element,
    write_leaf,
)
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    raise_signature_error,
    read_text,
)

X509_HINTS: Final = frozenset(
    [f"{{{DS}}}{name}" for name in ("X509SubjectName", "X509IssuerSerial", "X509SKI", "X509CRL")]
    + [f"{{{DS11}}}X509Digest"]
)
"""Descriptions of a certificate that X509Data may contain; none of them is a key."""
_MOST_X509_CERTIFICATES: Final = 4
_LONGEST_CERTIFICATE: Final = 32 * 1024
# Keys are checked together with the algorithm that uses them; a weak key must be readable to be refused as
# such.
_READABLE: Final = replace(
    DEFAULT_RULES,
    key_types=DEFAULT_RULES.key_types | {"dsa"},
    rsa_bits=512,
    rsa_bits_most=16384,
    curves=DEFAULT_RULES.curves | {"secp192r1", "secp224r1", "secp256k1"},
)


def read_x509_key_info(key_info: etree._Element, *, hints: bool = False) -> Certificate:
    """Return the leaf of the one X509Data; a KeyValue beside it must be the same key.

    Issuers' certificates may accompany the leaf and are not used; with `hints`, names and
    numbers of certificates may too. KeyName, RetrievalMethod, a second leaf and every other
    source are refused: a reader that used a different source would identify another signer.
    """
    check_attributes(key_info, optional=("Id",))
    parts = list_children(key_info)
    data = [part for part in parts if part.tag == f"{{{DS}}}X509Data"]
    values = [part for part in parts if part.tag == f"{{{DS}}}KeyValue"]
    if len(data) != 1 or len(values) > 1 or len(data) + len(values) != len(parts):
        raise_signature_error(
            "KeyInfo holds one X509Data, beside it at most a KeyValue of the same key", key_info
        )
    certificate = _read_leaf_certificate(data[0], hints)
    for value in values:
        _check_same_key(value, certificate)
    return certificate


def _read_leaf_certificate(data: etree._Element, hints: bool) -> Certificate:
    check_attributes(data)
    parts = [part for part in list_children(data) if not (hints and part.tag in X509_HINTS)]
    if not 1 <= len(parts) <= _MOST_X509_CERTIFICATES or any(
        part.tag != f"{{{DS}}}X509Certificate" for part in parts
    ):
        raise_signature_error(
            f"X509Data holds 1 to {_MOST_X509_CERTIFICATES} certificates and nothing else", data
        )
    for part in parts:
        check_attributes(part)
    certificates = [decode_certificate(part) for part in parts]
    leaf = _find_leaf(certificates)
    if leaf is None:
        raise_signature_error("exactly one certificate in X509Data is that of a signer", data)
    return leaf


def _find_leaf(certificates: list[Certificate]) -> Certificate | None:
    """Return the only certificate, or the only one that is not an authority's; None where there is none."""
    leaves = certificates
    if len(certificates) > 1:
        leaves = [certificate for certificate in certificates if not certificate.is_ca]
    return leaves[0] if len(leaves) == 1 else None


def decode_certificate(element: etree._Element) -> Certificate:
    """Return the certificate whose DER the element contains in base64."""
    return read_readable_certificate(decode_base64(element, _LONGEST_CERTIFICATE))


def read_readable_certificate(der: bytes) -> Certificate:
    """Return a certificate, also one whose key is too weak to be used, so that it is refused as such."""
    return read_certificate(der, _READABLE)


def _check_same_key(value: etree._Element, certificate: Certificate) -> None:
    check_attributes(value)
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        same = _is_same_rsa_key(get_only_child(value, f"{{{DS}}}RSAKeyValue"), key)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        same = _is_same_ec_key(get_only_child(value, f"{{{DS11}}}ECKeyValue"), key)
    else:
        same = False
    if not same:
        raise_signature_error("KeyValue is not the key of the certificate beside it", value)


def _is_same_rsa_key(element: etree._Element, key: rsa.RSAPublicKey) -> bool:
    numbers = key.public_numbers()
    return read_rsa_numbers(element) == (numbers.n, numbers.e)


def read_rsa_numbers(element: etree._Element) -> tuple[int, int]:
    """Return modulus and exponent of an RSAKeyValue."""
    check_attributes(element)
    parts = list_children(element)
    if [part.tag for part in parts] != [f"{{{DS}}}Modulus", f"{{{DS}}}Exponent"]:
        raise_signature_error("RSAKeyValue holds Modulus and Exponent", element)
    for part in parts:
        check_attributes(part)
    modulus, exponent = (int.from_bytes(decode_base64(part), "big") for part in parts)
    return modulus, exponent


def _is_same_ec_key(element: etree._Element, key: ec.EllipticCurvePublicKey) -> bool:
    octets = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return read_ec_point(element) == (CURVE_OIDS.get(key.curve.name), octets)


def read_ec_point(element: etree._Element) -> tuple[str | None, bytes]:
    """Return the URI of the curve and the encoded point of an ECKeyValue."""
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    if [part.tag for part in parts] != [f"{{{DS11}}}NamedCurve", f"{{{DS11}}}PublicKey"]:
        raise_signature_error("ECKeyValue holds NamedCurve and PublicKey", element)
    curve, point = parts
    check_attributes(curve, required=("URI",))
    read_text(curve)
    check_attributes(point)
    return curve.get("URI"), decode_base64(point)


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
#: A string of ASN.1 by its DER, or characters by their octets in UTF-8 (RFC 4514 §2.4).
_HEX_VALUE: Final = re.compile(
    r"(?i)(?<==)[ \t]*#(?:0c|12|13|14|16|1a|1c|1e)(?:[0-9a-f]{2})+|(?:\\[0-9a-f]{2})+"
)
_MOST_CERTIFICATES: Final = 10
_MOST_DIGITS: Final = 50

_Match = Callable[[Certificate], bool]


def read_security_token(
    key_info: etree._Element, tokens: Mapping[str, etree._Element], candidates: Iterable[Certificate]
) -> Certificate:
    """Return the certificate that a KeyInfo names; raise GW202, or GW205 for one that is not a candidate.

    `tokens` are the BinarySecurityTokens of the Security header by wsu:Id, `candidates` the certificates
    that a key identifier or an issuer and serial number can name.
    """
    check_attributes(key_info, optional=("Id",))
    reference = get_only_child(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, optional=(_ID, "Id", _TOKEN_TYPE, "Usage"))
    children = list_children(reference)
    if len(children) != 1:
        raise_signature_error("a SecurityTokenReference names one token in one way", reference)
    child = children[0]
    if child.tag == _REFERENCE:
        return _read_binary_token(child, tokens)
    if child.tag == _KEY_IDENTIFIER:
        return _read_key_identifier(child, candidates)
    if child.tag != _X509_DATA:
        raise_signature_error("the token is named in a way that is not known", child)
    return _read_x509_data(child, candidates)


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
    except Exception as problem:
        # The library raises types of its own and of its parser.
        errors.raise_resource_problem(problem)
        raise_signature_error("the token is no set of certificates in PKCS #7", token)
    if len(members) > _MOST_CERTIFICATES:
        raise_signature_error(f"there are more than {_MOST_CERTIFICATES} certificates", token)
    certificates = [read_readable_certificate(member.public_bytes(Encoding.DER)) for member in members]
    leaf = _find_leaf(certificates)
    if leaf is None:
        raise_signature_error("exactly one certificate of the token is that of a signer", token)
    return leaf


def _read_key_identifier(element: etree._Element, candidates: Iterable[Certificate]) -> Certificate:
    check_attributes(element, required=("ValueType",), optional=("EncodingType", _ID))
    if element.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_signature_error("a KeyIdentifier is written in base64", element)
    kind = element.get("ValueType")
    if kind == X509_TOKEN:
        return decode_certificate(element)
    value = decode_base64(element)
    matches: dict[str | None, _Match] = {
        _SUBJECT_KEY: lambda certificate: certificate.subject_key_identifier == value,
        _THUMBPRINT: lambda certificate: _compute_thumbprint(certificate) == value,
    }
    if kind not in matches:
        raise_signature_error("a KeyIdentifier of this type is not known", element)
    return _find_candidate(element, candidates, matches[kind])


def _compute_thumbprint(certificate: Certificate) -> bytes:
    # The profile specifies SHA-1. The digest only selects a known certificate; it is no proof.
    return hashlib.sha1(certificate.der, usedforsecurity=False).digest()


def _read_x509_data(element: etree._Element, candidates: Iterable[Certificate]) -> Certificate:
    check_attributes(element)
    children = list_children(element)
    if len(children) == 1 and children[0].tag == f"{{{DS}}}X509Certificate":
        check_attributes(children[0])
        return decode_certificate(children[0])
    issuer_serial = get_only_child(element, f"{{{DS}}}X509IssuerSerial")
    check_attributes(issuer_serial)
    parts = list_children(issuer_serial)
    if [part.tag for part in parts] != [f"{{{DS}}}X509IssuerName", f"{{{DS}}}X509SerialNumber"]:
        raise_signature_error("X509IssuerSerial holds a name and a number", issuer_serial)
    issuer, digits = (read_text(part).strip() for part in parts)
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MOST_DIGITS:
        raise_signature_error("a serial number is written in decimal digits", parts[1])
    if len(issuer) > _LONGEST_NAME:
        raise_signature_error(f"a name has at most {_LONGEST_NAME} characters", parts[0])
    number = int(digits)  # bounded: at most 50 ASCII digits
    return _find_candidate(
        issuer_serial,
        candidates,
        lambda certificate: (
            certificate.serial == number
            and is_name_written_as(get_parsed_certificate(certificate).issuer, issuer)
        ),
    )


def is_name_written_as(name: x509.Name, text: str) -> bool:
    """Return whether a text has the values of a name and no others, as RFC 4514 and RFC 2253 §4 write it.

    Handlers write the parts in either order, and name the attributes differently: the values alone count.
    """
    written = f"{_fold_name(_HEX_VALUE.sub(_decode_hex_value, text))},"
    values = [_fold_name(str(attribute.value)) for attribute in name]
    return written.count("=") == sum(1 + value.count("=") for value in values) and all(
        f"={value}," in written for value in values
    )


def _decode_hex_value(match: re.Match[str]) -> str:
    """Return the text that hexadecimal digits encode; the digits themselves where they encode no text."""
    digits = match[0].strip()
    octets = bytes.fromhex(digits.replace("\\", "").removeprefix("#"))
    try:
        return str(asn1_core.load(octets, strict=True).native) if digits[0] == "#" else octets.decode()
    except ValueError:
        return match[0]


def _fold_name(text: str) -> str:
    """Return a name without its differences of notation: quotes, separators, space and case."""
    folded = unicodedata.normalize("NFKC", re.sub(r'["\\]', "", re.sub("[;+]", ",", text))).casefold()
    return re.sub(r" ?([,=]) ?", r"\1", " ".join(folded.split()))


def _find_candidate(
    element: etree._Element, candidates: Iterable[Certificate], matches: _Match
) -> Certificate:
    matching = {certificate.sha256: certificate for certificate in candidates if matches(certificate)}
    if len(matching) != 1:
        subject = "no known certificate" if not matching else "several known certificates"
        raise_signature_error(f"{subject} fits this description", element, errors.CERTIFICATE_UNTRUSTED)
    return next(iter(matching.values()))


_BINARY: Final = "<wsse:BinarySecurityToken" + write_attribute("EncodingType", BASE64_ENCODING)
_MOST_ISSUERS: Final = 8
_SEQUENCE: Final = 0x30
_SHORT: Final = 0x80


def write_token(
    certificate: Certificate, kind: str | None, token_id: str, issuers: Iterable[Certificate] = ()
) -> tuple[str, str]:
    """Return the token (or nothing) and the ds:KeyInfo that names a certificate.

    `kind` is one of `WRITTEN_REFERENCES`, None for ``X509v3``. `issuers` are the authorities from which the
    path of a ``X509PKIPathv1`` token is built. A certificate without key identifier is sent whole.
    """
    if kind == "SubjectKeyIdentifier" and certificate.subject_key_identifier is None:
        kind = None
    write = WRITTEN_REFERENCES[kind or "X509v3"]
    token, reference = write(certificate, token_id, tuple(issuers))
    return token, write_element("ds:KeyInfo", write_element("wsse:SecurityTokenReference", reference))


_Written = tuple[str, str]
_Issuers = tuple[Certificate, ...]


# of our own certificates, in every message
@lru_cache(maxsize=16)
def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _write_binary_token(octets: bytes, kind: str, token_id: str) -> _Written:
    attributes = write_attribute("URI", f"#{token_id}") + write_attribute("ValueType", kind)
    start = _BINARY + write_attribute("ValueType", kind) + write_attribute("wsu:Id", token_id)
    token = f"{start}>{_encode(octets)}</wsse:BinarySecurityToken>"
    return token, write_element("wsse:Reference", "", attributes)


def _write_certificate(certificate: Certificate, token_id: str, _: _Issuers) -> _Written:
    return _write_binary_token(certificate.der, X509_TOKEN, token_id)


def _write_path(certificate: Certificate, token_id: str, issuers: _Issuers) -> _Written:
    """Return a PKIPath: the certificate nearest to the anchor comes first, the signer's last (X.509 §7.8)."""
    path = [certificate]
    while len(path) <= _MOST_ISSUERS:
        issuer = next(
            (candidate for candidate in issuers if candidate.subject_der == path[0].issuer_der), None
        )
        if issuer is None or issuer in path:
            break
        path.insert(0, issuer)
    content = b"".join(member.der for member in path)
    return _write_binary_token(_write_length(len(content)) + content, X509_PKI_PATH_TOKEN, token_id)


def _write_length(count: int) -> bytes:
    """Return tag and length of a DER sequence of `count` octets."""
    if count < _SHORT:
        return bytes([_SEQUENCE, count])
    octets = count.to_bytes((count.bit_length() + 7) // 8)
    return bytes([_SEQUENCE, _SHORT | len(octets)]) + octets


def _write_pkcs7(certificate: Certificate, token_id: str, _: _Issuers) -> _Written:
    octets = pkcs7.serialize_certificates([get_parsed_certificate(certificate)], Encoding.DER)
    return _write_binary_token(octets, _PKCS7_TOKEN, token_id)


def _write_identifier(octets: bytes, kind: str) -> _Written:
    attributes = write_attribute("EncodingType", BASE64_ENCODING) + write_attribute("ValueType", kind)
    return "", write_leaf("wsse:KeyIdentifier", _encode(octets), attributes)


def _write_subject_key(certificate: Certificate, _token_id: str, _: _Issuers) -> _Written:
    return _write_identifier(certificate.subject_key_identifier or b"", _SUBJECT_KEY)


def _write_thumbprint(certificate: Certificate, _token_id: str, _: _Issuers) -> _Written:
    # The profile specifies SHA-1: the digest only selects a certificate that the receiver has.
    return _write_identifier(_compute_thumbprint(certificate), _THUMBPRINT)


def _write_issuer_serial(certificate: Certificate, _token_id: str, _: _Issuers) -> _Written:
    content = write_leaf("ds:X509IssuerName", get_parsed_certificate(certificate).issuer.rfc4514_string())
    content += write_leaf("ds:X509SerialNumber", str(certificate.serial))
    return "", write_element("ds:X509Data", write_element("ds:X509IssuerSerial", content))


#: The references to certificates by their names in P-Modes.
WRITTEN_REFERENCES: Final[dict[str, Callable[[Certificate, str, _Issuers], _Written]]] = {
    "X509v3": _write_certificate,
    "X509PKIPathv1": _write_path,
    "PKCS7": _write_pkcs7,
    "SubjectKeyIdentifier": _write_subject_key,
    "Thumbprint": _write_thumbprint,
    "IssuerSerial": _write_issuer_serial,
}
