"""Reads the key agreement of an encrypted key (XML Encryption 1.1 §5.6, RFC 9231 §2.6 and its HKDF)."""

from __future__ import annotations

import binascii
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import load_der_public_key
from lxml import etree

from gateway.encryption.encrypted_data import (
    check_attributes,
    decode_base64,
    list_children,
    raise_at,
    read_plain_method,
    take_children,
)
from gateway.encryption.encryption_policies import (
    CONCAT_KDF,
    DIGEST_NAMES,
    ECDH_ES,
    HKDF,
    KEY_WRAPS,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.encryption.key_agreement import KeyAgreement, KeyDerivation
from gateway.pki import AgreementPublicKey
from gateway.wire import DS, DS11, DSIG_MORE, WSSE, XENC, XENC11

__all__ = ["AGREEMENT_METHOD", "CURVE_OIDS", "read_agreement"]

AGREEMENT_METHOD: Final = f"{{{XENC}}}AgreementMethod"
_MORE: Final = "http://www.w3.org/2021/04/xmldsig-more#"
_DERIVATION: Final = f"{{{XENC11}}}KeyDerivationMethod"
_ORIGINATOR: Final = f"{{{XENC}}}OriginatorKeyInfo"
_RECIPIENT: Final = f"{{{XENC}}}RecipientKeyInfo"
_KEY_VALUE: Final = f"{{{DS}}}KeyValue"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_PRFS: Final = {f"{DSIG_MORE}hmac-{name}": name for name in ("sha256", "sha384", "sha512")}
#: The curves of NIST by their object identifiers (RFC 5480 §2.1.1.1).
CURVE_OIDS: Final[dict[str, type[ec.EllipticCurve]]] = {
    "urn:oid:1.2.840.10045.3.1.7": ec.SECP256R1,
    "urn:oid:1.3.132.0.34": ec.SECP384R1,
    "urn:oid:1.3.132.0.35": ec.SECP521R1,
}
_LONGEST: Final = 4096
_CONCAT_PARTS: Final = ("AlgorithmID", "PartyUInfo", "PartyVInfo", "SuppPubInfo", "SuppPrivInfo")


def read_agreement(
    method: etree._Element, element: etree._Element, wrapped: bytes, agreed: AgreedAlgorithms
) -> tuple[KeyAgreement, etree._Element]:
    """Return the agreement of an encrypted key, and the element that names the receiver's certificate.

    `method` is the EncryptionMethod, a key wrap, `element` the AgreementMethod. Raises GW215 for its form,
    and GW216 for an algorithm that is not agreed.
    """
    wrap = read_plain_method(method)
    if wrap not in KEY_WRAPS:
        raise_algorithm_error(f"key wrap '{wrap[:120]}'", agreed.policy)
    agreed.check_agreeing(wrap)
    check_attributes(element, "Algorithm")
    uri = element.get("Algorithm", "")
    agreed.check_agreeing(uri)
    derivation, originator, recipient = take_children(element, _DERIVATION, _ORIGINATOR, _RECIPIENT)
    check_attributes(originator, "Id")
    key = _read_curve_key(originator) if uri == ECDH_ES else _read_x25519_key(originator)
    terms = _read_derivation(derivation, KEY_WRAPS[wrap], agreed)
    return KeyAgreement(uri, key, terms, wrap, wrapped), _find_receiver(recipient)


def _find_receiver(recipient: etree._Element) -> etree._Element:
    """Return the element around the token reference: RecipientKeyInfo, or the KeyValue in it."""
    check_attributes(recipient, "Id")
    children = list_children(recipient)
    if len(children) == 1 and children[0].tag == _KEY_VALUE:
        recipient = children[0]
        check_attributes(recipient)
    take_children(recipient, _TOKEN_REFERENCE)
    return recipient


def _read_derivation(element: etree._Element, length: int, agreed: AgreedAlgorithms) -> KeyDerivation:
    check_attributes(element, "Algorithm")
    uri = element.get("Algorithm", "")
    agreed.check_agreeing(uri)
    if uri == HKDF:
        (parameters,) = take_children(element, f"{{{_MORE}}}HKDFParams")
        return _read_hkdf(parameters, length, agreed)
    if uri != CONCAT_KDF:
        raise_algorithm_error(f"key derivation '{uri[:120]}'", agreed.policy)
    (parameters,) = take_children(element, f"{{{XENC11}}}ConcatKDFParams")
    return _read_concat(parameters, agreed)


def _read_hkdf(element: etree._Element, length: int, agreed: AgreedAlgorithms) -> KeyDerivation:
    check_attributes(element)
    parts = {one.tag: one for one in list_children(element)}
    if len(parts) != len(element):
        raise_at(element, "a parameter of HKDF stands twice")
    prf = parts.pop(f"{{{_MORE}}}PRF", None)
    name = None if prf is None else _PRFS.get(read_plain_method(prf))
    if name is None:
        raise_algorithm_error("HKDF by another function than HMAC with SHA-2", agreed.policy)
    salt, info = (parts.pop(f"{{{_MORE}}}{key}", None) for key in ("Salt", "Info"))
    stated = parts.pop(f"{{{_MORE}}}KeyLength", None)
    for one in parts.values():
        raise_at(one, "this parameter of HKDF is not known")
    if stated is not None and (stated.text or "").strip() != str(length):
        raise_at(stated, f"the key that wraps has {length} octets")
    return KeyDerivation(
        HKDF,
        name,
        b"" if info is None else decode_base64(info, _LONGEST),
        None if salt is None else decode_base64(salt, _LONGEST),
    )


def _read_concat(element: etree._Element, agreed: AgreedAlgorithms) -> KeyDerivation:
    check_attributes(element, *_CONCAT_PARTS)
    (method,) = take_children(element, f"{{{DS}}}DigestMethod")
    uri = read_plain_method(method)
    name = DIGEST_NAMES.get(uri, "")
    if name not in _PRFS.values():
        raise_algorithm_error(f"ConcatKDF with '{uri[:120]}'", agreed.policy)
    pieces = b"".join(_read_bits(element, one) for one in _CONCAT_PARTS)
    return KeyDerivation(CONCAT_KDF, name, pieces)


def _read_bits(element: etree._Element, name: str) -> bytes:
    """Return one part of the other information: hexadecimal after an octet with the number of unused bits."""
    text = element.get(name, "")
    if not text:
        return b""
    try:
        octets = binascii.unhexlify(text.encode("ascii")) if len(text) <= _LONGEST else b""
    except (UnicodeEncodeError, binascii.Error):
        octets = b""
    # XML Encryption 1.1 §5.4.1: only whole octets are interoperable.
    if not octets or octets[0] != 0:
        raise_at(element, f"{name} is hexadecimal and begins with 00, whole octets")
    return octets[1:]


def _read_x25519_key(originator: etree._Element) -> AgreementPublicKey:
    (value,) = take_children(originator, f"{{{DS11}}}DEREncodedKeyValue")
    check_attributes(value, "Id")
    try:
        key = load_der_public_key(decode_base64(value, _LONGEST))
    except ValueError:
        key = None
    if not isinstance(key, x25519.X25519PublicKey):
        raise_at(value, "the sender's key is one of X25519")
    return key


def _read_curve_key(originator: etree._Element) -> AgreementPublicKey:
    (value,) = take_children(originator, _KEY_VALUE)
    check_attributes(value, "Id")
    (curve_value,) = take_children(value, f"{{{DS11}}}ECKeyValue")
    check_attributes(curve_value, "Id")
    curve, point = take_children(curve_value, f"{{{DS11}}}NamedCurve", f"{{{DS11}}}PublicKey")
    check_attributes(curve, "URI")
    check_attributes(point)
    made = CURVE_OIDS.get(curve.get("URI", ""))
    if made is None or list_children(curve):
        raise_at(curve, "the curve is P-256, P-384 or P-521, by its object identifier")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(made(), decode_base64(point, _LONGEST))
    except ValueError:
        raise_at(point, "this is no point of the curve")
