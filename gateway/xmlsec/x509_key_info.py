"""Reads the certificate of a signature: one leaf, from one place."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.pki import DEFAULT_RULES, Certificate, read_certificate
from gateway.wire import DS, DS11
from gateway.xmlsec.strict_reader import (
    check_attributes,
    decode_base64,
    get_only_child,
    list_children,
    raise_signature_error,
    read_text,
)

__all__ = [
    "CURVE_OIDS",
    "X509_HINTS",
    "decode_certificate",
    "read_ec_point",
    "read_readable_certificate",
    "read_rsa_numbers",
    "read_x509_key_info",
]

X509_HINTS: Final = frozenset(
    [f"{{{DS}}}{name}" for name in ("X509SubjectName", "X509IssuerSerial", "X509SKI", "X509CRL")]
    + [f"{{{DS11}}}X509Digest"]
)
"""Descriptions of a certificate that X509Data may contain; none of them is a key."""
_MOST_CERTIFICATES: Final = 4
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
CURVE_OIDS: Final = {
    "secp256r1": "urn:oid:1.2.840.10045.3.1.7",
    "secp384r1": "urn:oid:1.3.132.0.34",
    "secp521r1": "urn:oid:1.3.132.0.35",
}


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
    if not 1 <= len(parts) <= _MOST_CERTIFICATES or any(
        part.tag != f"{{{DS}}}X509Certificate" for part in parts
    ):
        raise_signature_error(f"X509Data holds 1 to {_MOST_CERTIFICATES} certificates and nothing else", data)
    for part in parts:
        check_attributes(part)
    certificates = [decode_certificate(part) for part in parts]
    if len(certificates) == 1:
        return certificates[0]
    leaves = [certificate for certificate in certificates if not certificate.is_ca]
    if len(leaves) != 1:
        raise_signature_error("exactly one certificate in X509Data is that of a signer", data)
    return leaves[0]


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
