"""The key of any signature: a certificate or a bare key that the document itself contains.

Elements that only name a certificate or key (KeyName, subject, serial number, identifier) are
ignored; anything that would have to be looked up elsewhere is not accepted as a source.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from lxml import etree

from gateway.pki import Certificate
from gateway.wire import BASE64_ENCODING, DS, DS11, WSSE, WSU, X509_TOKEN
from gateway.xmlsec.policy_check import map_policy_violation, raise_policy_violation
from gateway.xmlsec.strict_reader import check_attributes, decode_base64, get_only_child, list_children
from gateway.xmlsec.x509_key_info import (
    CURVE_OIDS,
    X509_HINTS,
    decode_certificate,
    read_ec_point,
    read_rsa_numbers,
)

__all__ = ["KeySource", "read_key_source"]

_MOST_CERTIFICATES: Final = 4
_X509_DATA: Final = f"{{{DS}}}X509Data"
_KEY_VALUE: Final = f"{{{DS}}}KeyValue"
_DER_KEY: Final = f"{{{DS11}}}DEREncodedKeyValue"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_SOURCES: Final = frozenset({_X509_DATA, _KEY_VALUE, _DER_KEY, _TOKEN_REFERENCE})
_KEY_NAME: Final = f"{{{DS}}}KeyName"
_CURVES: Final[dict[str | None, type[ec.EllipticCurve]]] = {
    CURVE_OIDS["secp256r1"]: ec.SECP256R1,
    CURVE_OIDS["secp384r1"]: ec.SECP384R1,
    CURVE_OIDS["secp521r1"]: ec.SECP521R1,
}


@dataclass(frozen=True, slots=True)
class KeySource:
    """A public key, the certificate that contains it, if any, and the other certificates of the document."""

    key: object
    certificate: Certificate | None = None
    sent_along: tuple[Certificate, ...] = ()


def read_key_source(key_info: etree._Element, root: etree._Element) -> KeySource:
    """Return the one key in KeyInfo; raise a policy violation for different keys or none."""
    with map_policy_violation("key source"):
        check_attributes(key_info, optional=("Id",))
        parts = [part for part in list_children(key_info) if part.tag != _KEY_NAME]
        tags = [part.tag for part in parts]
        if not set(tags) <= _SOURCES or len(set(tags)) < len(tags) or not tags:
            names = ", ".join(etree.QName(tag).localname for tag in tags) or "nothing but a name"
            raise_policy_violation(
                "key source", f"KeyInfo contains {names} instead of a certificate or key", key_info
            )
        found = [_read_source(part, root) for part in parts]
    # a certificate first: only a certificate identifies the signer
    found.sort(key=lambda source: source.certificate is None)
    if (
        len({_encode_public_key(source.key) for source in found}) > 1
        or sum(1 for one in found if one.certificate) > 1
    ):
        raise_policy_violation("key source", "KeyInfo contains more than one key or certificate", key_info)
    return found[0]


def _read_source(element: etree._Element, root: etree._Element) -> KeySource:
    if element.tag == _X509_DATA:
        return _read_x509_data(element)
    if element.tag == _TOKEN_REFERENCE:
        certificate = _read_token_certificate(element, root)
        return KeySource(certificate.public_key, certificate)
    try:
        if element.tag == _DER_KEY:
            return KeySource(load_der_public_key(decode_base64(element)))
        return KeySource(_read_key_value(element))
    except (ValueError, UnsupportedAlgorithm):
        raise_policy_violation("key source", "this is not a public key", element)


def _read_key_value(element: etree._Element) -> object:
    """Return an RSA or elliptic-curve key; raise ValueError when the numbers are not a valid key."""
    check_attributes(element, optional=("Id",))
    parts = list_children(element)
    if [part.tag for part in parts] == [f"{{{DS}}}RSAKeyValue"]:
        modulus, exponent = read_rsa_numbers(parts[0])
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    uri, point = read_ec_point(get_only_child(element, f"{{{DS11}}}ECKeyValue"))
    if uri not in _CURVES:
        raise_policy_violation("key source", f"curve '{str(uri)[:80]}' is not permitted", element)
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[uri](), point)


def _read_x509_data(data: etree._Element) -> KeySource:
    check_attributes(data)
    parts = [part for part in list_children(data) if part.tag not in X509_HINTS]
    if not parts:
        raise_policy_violation("key source", "X509Data names a certificate that is not in the document", data)
    if len(parts) > _MOST_CERTIFICATES or any(part.tag != f"{{{DS}}}X509Certificate" for part in parts):
        raise_policy_violation(
            "key source", f"X509Data holds at most {_MOST_CERTIFICATES} certificates", data
        )
    certificates = list(dict.fromkeys(decode_certificate(part) for part in parts))
    leaf = _find_leaf_certificate(certificates)
    if leaf is None:
        raise_policy_violation("key source", "no single certificate in X509Data is that of the signer", data)
    return KeySource(leaf.public_key, leaf, tuple(one for one in certificates if one is not leaf))


def _find_leaf_certificate(certificates: list[Certificate]) -> Certificate | None:
    """Return the one that is not of an authority; if that is unclear, the one that issued no other."""
    for kept in (
        [one for one in certificates if not one.is_ca],
        [one for one in certificates if all(one.subject != other.issuer for other in certificates)],
        certificates,
    ):
        if len(kept) == 1:
            return kept[0]
    return None


def _read_token_certificate(token_reference: etree._Element, root: etree._Element) -> Certificate:
    """Return the certificate in the one BinarySecurityToken that the reference names."""
    uri = get_only_child(token_reference, f"{{{WSSE}}}Reference").get("URI", "")
    tokens = [
        one for one in root.iter(f"{{{WSSE}}}BinarySecurityToken") if f"#{one.get(f'{{{WSU}}}Id')}" == uri
    ]
    if len(tokens) != 1 or tokens[0].get("ValueType") != X509_TOKEN:
        raise_policy_violation(
            "key source", "the SecurityTokenReference names no X.509 token", token_reference
        )
    holder = tokens[0].getparent()
    if holder is None or holder.tag != f"{{{WSSE}}}Security":
        raise_policy_violation("key source", "the token is outside wsse:Security", tokens[0])
    if tokens[0].get("EncodingType", BASE64_ENCODING) != BASE64_ENCODING:
        raise_policy_violation("key source", "the token is not in base64", tokens[0])
    return decode_certificate(tokens[0])


def _encode_public_key(key: object) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return octets
