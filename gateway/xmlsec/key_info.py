"""Which certificate the KeyInfo of a signature means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
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
    X509_PKCS7_TOKEN,
    X509_PKI_PATH_TOKEN,
    X509_SUBJECT_KEY,
    X509_THUMBPRINT,
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

X509_HINTS: Final = frozenset(
    [f"{{{DS}}}{name}" for name in ("X509SubjectName", "X509IssuerSerial", "X509SKI", "X509CRL")]
    + [f"{{{DS11}}}X509Digest"]
)
"""Descriptions of a certificate that X509Data may contain; none of them is a key."""
_MAX_X509_CERTIFICATES: Final = 4
_MAX_CERTIFICATE_LENGTH: Final = 32 * 1024
# Keys are checked together with the algorithm that uses them; a weak key must be readable to be refused as
# such.
_READABLE_CERTIFICATE_RULES: Final = replace(
    DEFAULT_RULES,
    key_types=DEFAULT_RULES.key_types | {"dsa"},
    rsa_bits=512,
    rsa_bits_most=16384,
    curves=DEFAULT_RULES.curves | {"secp192r1", "secp224r1", "secp256k1"},
)


def read_x509_key_info(key_info: etree._Element, *, allow_hints: bool = False) -> Certificate:
    """Return the leaf of the one X509Data; a KeyValue beside it must be the same key.

    Issuers' certificates may accompany the leaf and are not used; with `allow_hints`, names and
    numbers of certificates may too. KeyName, RetrievalMethod, a second leaf and every other
    source are refused: a reader that used a different source would identify another signer.
    """
    check_attributes(key_info, optional=("Id",))
    parts = list_children(key_info)
    data_elements = [part for part in parts if part.tag == f"{{{DS}}}X509Data"]
    key_values = [part for part in parts if part.tag == f"{{{DS}}}KeyValue"]
    if len(data_elements) != 1 or len(key_values) > 1 or len(data_elements) + len(key_values) != len(parts):
        raise_signature_error(
            "KeyInfo must hold one X509Data, and beside it at most a KeyValue of the same key", key_info
        )
    certificate = _read_leaf_certificate(data_elements[0], allow_hints)
    for key_value in key_values:
        _check_same_key(key_value, certificate)
    return certificate


def _read_leaf_certificate(x509_data: etree._Element, allow_hints: bool) -> Certificate:
    """Return the one leaf in ds:X509Data; `allow_hints` permits names and numbers of certificates, too."""
    check_attributes(x509_data)
    parts = [part for part in list_children(x509_data) if not (allow_hints and part.tag in X509_HINTS)]
    if not 1 <= len(parts) <= _MAX_X509_CERTIFICATES or any(
        part.tag != f"{{{DS}}}X509Certificate" for part in parts
    ):
        raise_signature_error(
            f"X509Data must hold 1 to {_MAX_X509_CERTIFICATES} certificates and nothing else", x509_data
        )
    for part in parts:
        check_attributes(part)
    certificates = [decode_certificate(part) for part in parts]
    leaf = _find_leaf(certificates)
    if leaf is None:
        raise_signature_error("exactly one certificate in X509Data must be a signer's", x509_data)
    return leaf


def _find_leaf(certificates: list[Certificate]) -> Certificate | None:
    """Return the only certificate, or the only one that is not an authority's; None where there is none."""
    leaves = certificates
    if len(certificates) > 1:
        leaves = [certificate for certificate in certificates if not certificate.is_ca]
    return leaves[0] if len(leaves) == 1 else None


def decode_certificate(element: etree._Element) -> Certificate:
    """Return the certificate whose DER the element contains in base64."""
    return read_readable_certificate(decode_base64(element, _MAX_CERTIFICATE_LENGTH))


def read_readable_certificate(der: bytes) -> Certificate:
    """Return a certificate from its DER; a key that is too weak is accepted here and refused when used."""
    return read_certificate(der, _READABLE_CERTIFICATE_RULES)


def _check_same_key(key_value: etree._Element, certificate: Certificate) -> None:
    """Raise unless a ds:KeyValue contains the public key of `certificate`."""
    check_attributes(key_value)
    key = certificate.public_key
    if isinstance(key, rsa.RSAPublicKey):
        is_same_key = _is_same_rsa_key(get_only_child(key_value, f"{{{DS}}}RSAKeyValue"), key)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        is_same_key = _is_same_ec_key(get_only_child(key_value, f"{{{DS11}}}ECKeyValue"), key)
    else:
        is_same_key = False
    if not is_same_key:
        raise_signature_error("KeyValue is not the key of the certificate beside it", key_value)


def _is_same_rsa_key(element: etree._Element, key: rsa.RSAPublicKey) -> bool:
    numbers = key.public_numbers()
    return read_rsa_numbers(element) == (numbers.n, numbers.e)


def read_rsa_numbers(element: etree._Element) -> tuple[int, int]:
    """Return modulus and exponent of an RSAKeyValue."""
    check_attributes(element)
    parts = list_children(element)
    if [part.tag for part in parts] != [f"{{{DS}}}Modulus", f"{{{DS}}}Exponent"]:
        raise_signature_error("RSAKeyValue must hold Modulus and Exponent", element)
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
        raise_signature_error("ECKeyValue must hold NamedCurve and PublicKey", element)
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
_TOKEN_TYPES: Final = (X509_TOKEN, X509_PKI_PATH_TOKEN, X509_PKCS7_TOKEN)
_MAX_TOKEN_LENGTH: Final = 128 * 1024
_MAX_NAME_LENGTH: Final = 1024
#: A string of ASN.1 by its DER, or characters by their octets in UTF-8 (RFC 4514 §2.4).
_HEX_VALUE: Final = re.compile(
    r"(?i)(?<==)[ \t]*#(?:0c|12|13|14|16|1a|1c|1e)(?:[0-9a-f]{2})+|(?:\\[0-9a-f]{2})+"
)
_MAX_CERTIFICATES: Final = 10
_MAX_DIGITS: Final = 50

_CertificateTest = Callable[[Certificate], bool]


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
        raise_signature_error("a SecurityTokenReference must name one token in one way", reference)
    token_element = children[0]
    if token_element.tag == _REFERENCE:
        return _read_binary_token(token_element, tokens)
    if token_element.tag == _KEY_IDENTIFIER:
        return _read_key_identifier(token_element, candidates)
    if token_element.tag != _X509_DATA:
        raise_signature_error("this way to name a token is not supported", token_element)
    return _read_x509_data(token_element, candidates)


def _read_binary_token(reference: etree._Element, tokens: Mapping[str, etree._Element]) -> Certificate:
    """Return the signer's certificate in the token that a wsse:Reference names; `tokens` are by wsu:Id."""
    check_attributes(reference, required=("URI",), optional=("ValueType",))
    uri = reference.get("URI", "")
    token = tokens.get(uri[1:]) if uri.startswith("#") else None
    if token is None or list_children(reference):
        raise_signature_error(f"'{uri[:120]}' names no token of this header", reference)
    check_attributes(token, required=(_ID, "ValueType"), optional=("EncodingType",))
    token_type = token.get("ValueType")
    if token_type not in _TOKEN_TYPES or reference.get("ValueType", token_type) != token_type:
        raise_signature_error("the token must be of type X509v3, X509PKIPathv1 or PKCS7", token)
    if token.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_signature_error("the token must be in base64", token)
    if token_type == X509_TOKEN:
        return decode_certificate(token)
    octets = decode_base64(token, _MAX_TOKEN_LENGTH)
    if token_type == X509_PKI_PATH_TOKEN:
        return _read_path_leaf(octets, token)
    return _read_pkcs7_leaf(octets, token)


def _read_path_leaf(octets: bytes, token: etree._Element) -> Certificate:
    """Return the last certificate of a PKIPath, which is that of the signer (X.509 §7.8)."""
    certificate_octets = split_der_sequence(octets)
    if not certificate_octets or len(certificate_octets) > _MAX_CERTIFICATES:
        raise_signature_error(f"a PKIPath must hold 1 to {_MAX_CERTIFICATES} certificates", token)
    return read_readable_certificate(certificate_octets[-1])


def _read_pkcs7_leaf(octets: bytes, token: etree._Element) -> Certificate:
    """Return the one leaf in the PKCS #7 certificates `octets` (DER); raise at `token` without one."""
    try:
        parsed_certificates = pkcs7.load_der_pkcs7_certificates(octets)
    except Exception as problem:
        # The library raises types of its own and of its parser.
        errors.raise_resource_problem(problem)
        raise_signature_error("the token is no set of certificates in PKCS #7", token)
    if len(parsed_certificates) > _MAX_CERTIFICATES:
        raise_signature_error(f"there are more than {_MAX_CERTIFICATES} certificates", token)
    certificates = [
        read_readable_certificate(parsed_certificate.public_bytes(Encoding.DER))
        for parsed_certificate in parsed_certificates
    ]
    leaf = _find_leaf(certificates)
    if leaf is None:
        raise_signature_error("exactly one certificate of the token must be a signer's", token)
    return leaf


def _read_key_identifier(element: etree._Element, candidates: Iterable[Certificate]) -> Certificate:
    """Return the certificate in a wsse:KeyIdentifier, or the one of `candidates` that it identifies."""
    check_attributes(element, required=("ValueType",), optional=("EncodingType", _ID))
    if element.get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_signature_error("a KeyIdentifier must be in base64", element)
    identifier_type = element.get("ValueType")
    if identifier_type == X509_TOKEN:
        return decode_certificate(element)
    identifier = decode_base64(element)
    tests_by_type: dict[str | None, _CertificateTest] = {
        X509_SUBJECT_KEY: lambda certificate: certificate.subject_key_identifier == identifier,
        X509_THUMBPRINT: lambda certificate: certificate.thumbprint == identifier,
    }
    if identifier_type not in tests_by_type:
        raise_signature_error("a KeyIdentifier of this type is not supported", element)
    return _find_candidate(element, candidates, tests_by_type[identifier_type])


def _read_x509_data(element: etree._Element, candidates: Iterable[Certificate]) -> Certificate:
    """Return the certificate in ds:X509Data, or the one of `candidates` with its issuer and serial number."""
    check_attributes(element)
    children = list_children(element)
    if len(children) == 1 and children[0].tag == f"{{{DS}}}X509Certificate":
        check_attributes(children[0])
        return decode_certificate(children[0])
    issuer_serial = get_only_child(element, f"{{{DS}}}X509IssuerSerial")
    check_attributes(issuer_serial)
    parts = list_children(issuer_serial)
    if [part.tag for part in parts] != [f"{{{DS}}}X509IssuerName", f"{{{DS}}}X509SerialNumber"]:
        raise_signature_error("X509IssuerSerial must hold a name and a number", issuer_serial)
    issuer, digits = (read_text(part).strip() for part in parts)
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise_signature_error("a serial number must be written in decimal digits", parts[1])
    if len(issuer) > _MAX_NAME_LENGTH:
        raise_signature_error(f"a name may have at most {_MAX_NAME_LENGTH} characters", parts[0])
    serial_number = int(digits)  # bounded: at most 50 ASCII digits
    return _find_candidate(
        issuer_serial,
        candidates,
        lambda certificate: (
            certificate.serial == serial_number
            and is_name_written_as(get_parsed_certificate(certificate).issuer, issuer)
        ),
    )


def is_name_written_as(name: x509.Name, text: str) -> bool:
    """Return whether a text has the values of a name and no others, as RFC 4514 and RFC 2253 §4 write it.

    Handlers write the parts in either order, and name the attributes differently: the values alone count.
    """
    normalized_text = f"{_normalize_name_text(_HEX_VALUE.sub(_decode_hex_value, text))},"
    name_values = [_normalize_name_text(str(attribute.value)) for attribute in name]
    return normalized_text.count("=") == sum(1 + name_value.count("=") for name_value in name_values) and all(
        f"={name_value}," in normalized_text for name_value in name_values
    )


def _decode_hex_value(match: re.Match[str]) -> str:
    """Return the text that hexadecimal digits encode; the digits themselves where they encode no text."""
    hex_text = match[0].strip()
    octets = bytes.fromhex(hex_text.replace("\\", "").removeprefix("#"))
    try:
        return str(asn1_core.load(octets, strict=True).native) if hex_text[0] == "#" else octets.decode()
    except ValueError:
        return match[0]


def _normalize_name_text(text: str) -> str:
    """Return a name without its differences of notation: quotes, separators, space and case."""
    folded_text = unicodedata.normalize("NFKC", re.sub(r'["\\]', "", re.sub("[;+]", ",", text))).casefold()
    return re.sub(r" ?([,=]) ?", r"\1", " ".join(folded_text.split()))


def _find_candidate(
    element: etree._Element, candidates: Iterable[Certificate], is_match: _CertificateTest
) -> Certificate:
    """Return the one of `candidates` for which `is_match` is true; raise at `element` for none or several."""
    matching_certificates = {
        certificate.sha256: certificate for certificate in candidates if is_match(certificate)
    }
    if len(matching_certificates) != 1:
        subject = "no known certificate" if not matching_certificates else "several known certificates"
        raise_signature_error(f"{subject} fits this description", element, errors.CERTIFICATE_UNTRUSTED)
    return next(iter(matching_certificates.values()))
