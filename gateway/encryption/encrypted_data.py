"""Reads xenc:EncryptedData (XML Encryption 1.1 §3) and refuses every element that it does not know.

The keys are in the document itself, the octets in CipherValue. Nothing is looked up: no
CipherReference, no RetrievalMethod, no agreement of keys.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import load_der_public_key
from lxml import etree

from gateway.encryption.content_ciphers import CIPHERS, GCM_TAG, CipherText
from gateway.encryption.encrypted_payload import (
    MAX_ENCRYPTED_KEYS,
    EncryptedPayload,
    RecipientHints,
    TransportedKey,
    raise_format_error,
)
from gateway.encryption.encryption_policies import (
    CONCAT_KDF,
    DIGEST_NAMES,
    ECDH_ES,
    HKDF,
    KEY_WRAPS,
    MASK_NAMES,
    RSA_1_5,
    RSA_OAEP,
    SEED_128_WRAP,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.encryption.key_agreement import KeyAgreement, KeyDerivation
from gateway.errors import ENCRYPTION_MISMATCH
from gateway.pki import AgreementPublicKey, KeyPadding
from gateway.wire import (
    CURVE_OIDS,
    DEFAULT_LIMITS,
    DS,
    DS11,
    DSIG_MORE,
    WSSE,
    XENC,
    XENC11,
    ElementReader,
    WireLimits,
    build_xpath,
    parse_xml,
)

_ENCRYPTED_DATA: Final = f"{{{XENC}}}EncryptedData"
_ENCRYPTED_KEY: Final = f"{{{XENC}}}EncryptedKey"
_METHOD: Final = f"{{{XENC}}}EncryptionMethod"
_KEY_INFO: Final = f"{{{DS}}}KeyInfo"
_CIPHER_DATA: Final = f"{{{XENC}}}CipherData"
X509_DATA: Final = f"{{{DS}}}X509Data"
_NAMES_OF_KEYS: Final = frozenset({f"{{{DS}}}KeyName", X509_DATA})
_TYPES: Final = frozenset({"", f"{XENC}Element", f"{XENC}Content"})
_KEY_TYPE: Final = f"{XENC}EncryptedKey"
_LONGEST_VALUE: Final = 64 * 1024
_MOST_HINTS: Final = 8

_READER: Final = ElementReader(ENCRYPTION_MISMATCH, canonical_base64=False)
raise_at = _READER.refuse
list_children = _READER.list_children
take_children = _READER.take_children
check_attributes = _READER.check_attributes
decode_base64 = _READER.decode_base64


def read_encrypted_data(
    data: bytes, agreed: AgreedAlgorithms, limits: WireLimits = DEFAULT_LIMITS
) -> EncryptedPayload:
    """Return the encrypted payload in a document; raise GW215 for its form, GW216 for an algorithm."""
    root = parse_xml(data, limits, allow_comments=False)
    if root.tag != _ENCRYPTED_DATA:
        raise_format_error("an encrypted payload is one xenc:EncryptedData", build_xpath(root))
    check_attributes(root, optional=("Id", "Type", "MimeType", "Encoding"))
    if root.get("Type", "") not in _TYPES or root.get("Encoding"):
        raise_at(root, "the Type is none, Element or Content, and there is no Encoding")
    method, key_info, cipher_data = take_children(root, _METHOD, _KEY_INFO, _CIPHER_DATA)
    uri = method.get("Algorithm", "")
    agreed.check_cipher(uri)
    read_plain_method(method)
    return EncryptedPayload(
        uri,
        split_vector(uri, _read_cipher_value(cipher_data, len(data))),
        _read_keys(key_info, root.get("Id"), agreed),
        root.get("MimeType") or None,
    )


def split_vector(uri: str, octets: bytes) -> CipherText:
    """Return the parts of a CipherValue (XML Encryption 1.1 §5.2)."""
    size = CIPHERS[uri].vector_octets
    if not CIPHERS[uri].authenticates:
        return CipherText(octets[:size], octets[size:])
    end = max(size, len(octets) - GCM_TAG)
    return CipherText(octets[:size], octets[size:end], octets[end:])


def _read_keys(
    key_info: etree._Element, data_id: str | None, agreed: AgreedAlgorithms
) -> tuple[TransportedKey, ...]:
    check_attributes(key_info, optional=("Id",))
    parts = list_children(key_info)
    key_elements = [part for part in parts if part.tag == _ENCRYPTED_KEY]
    for part in parts:
        if part.tag != _ENCRYPTED_KEY and part.tag not in _NAMES_OF_KEYS:
            raise_at(part, "a key is in xenc:EncryptedKey and is not looked up elsewhere")
    if not 1 <= len(key_elements) <= MAX_ENCRYPTED_KEYS:
        raise_at(key_info, f"there are 1 to {MAX_ENCRYPTED_KEYS} encrypted keys")
    return tuple(_read_key(part, data_id, agreed) for part in key_elements)


@dataclass(frozen=True, slots=True)
class EncryptedKeyParts:
    """The parts of an xenc:EncryptedKey; `octets` are those of its CipherValue."""

    method: etree._Element
    key_info: etree._Element | None
    octets: bytes
    reference_list: etree._Element | None


def split_encrypted_key(element: etree._Element) -> EncryptedKeyParts:
    """Return the parts of an xenc:EncryptedKey: EncryptionMethod, KeyInfo, CipherData and ReferenceList."""
    parts = list_children(element)
    reference_list = parts.pop() if parts and parts[-1].tag == f"{{{XENC}}}ReferenceList" else None
    key_info = parts.pop(1) if len(parts) == 3 and parts[1].tag == _KEY_INFO else None
    if [part.tag for part in parts] != [_METHOD, _CIPHER_DATA]:
        raise_at(element, "an EncryptedKey holds EncryptionMethod, KeyInfo, CipherData and ReferenceList")
    octets = _read_cipher_value(parts[1], _LONGEST_VALUE)
    return EncryptedKeyParts(parts[0], key_info, octets, reference_list)


def _read_key(element: etree._Element, data_id: str | None, agreed: AgreedAlgorithms) -> TransportedKey:
    check_attributes(element, optional=("Id", "Recipient", "Type", "MimeType"))
    if element.get("Type", _KEY_TYPE) != _KEY_TYPE:
        raise_at(element, "an EncryptedKey is not of this Type")
    parts = split_encrypted_key(element)
    if parts.reference_list is not None:
        _check_reference_list(parts.reference_list, data_id)
    if parts.method.get("Algorithm") == SEED_128_WRAP:
        return _read_wrapped_key(parts.method, parts.key_info, parts.octets, agreed)
    uri, padding = read_transport(parts.method, agreed)
    return TransportedKey(uri, padding, parts.octets, _read_hints(parts.key_info))


def _read_wrapped_key(
    method: etree._Element, key_info: etree._Element | None, octets: bytes, agreed: AgreedAlgorithms
) -> TransportedKey:
    """Return a key wrapped by another one, which its KeyInfo holds encrypted with RSA."""
    agreed.check_transport(read_plain_method(method))
    inner = (
        [child for child in list_children(key_info) if child.tag == _ENCRYPTED_KEY]
        if key_info is not None
        else []
    )
    if len(inner) != 1:
        raise_at(method, "the key that wraps is in one EncryptedKey")
    parts = list_children(inner[0])
    if any(part.get("Algorithm") == SEED_128_WRAP for part in parts):
        raise_at(inner[0], "the key that wraps is encrypted with RSA")
    wrapping_key = _read_key(inner[0], None, agreed)
    return TransportedKey(
        wrapping_key.transport, wrapping_key.padding, wrapping_key.octets, wrapping_key.hints, octets
    )


def read_transport(method: etree._Element, agreed: AgreedAlgorithms) -> tuple[str, KeyPadding]:
    """Return URI and padding of a key transport (XML Encryption 1.1 §5.5)."""
    check_attributes(method, optional=("Algorithm",))
    uri = method.get("Algorithm", "")
    agreed.check_transport(uri)
    parts = {part.tag: part for part in list_children(method)}
    if len(parts) != len(method):
        raise_at(method, "a parameter of the key transport stands twice")
    if uri == RSA_1_5:
        _check_nothing_left(parts.values())
        return uri, KeyPadding(None)
    digest = _read_name(parts.pop(f"{{{DS}}}DigestMethod", None), DIGEST_NAMES, agreed)
    mask = parts.pop(f"{{{XENC11}}}MGF", None) if uri == RSA_OAEP else None
    label = parts.pop(f"{{{XENC}}}OAEPparams", None)
    _check_nothing_left(parts.values())
    # The older URI means a mask by SHA-1 (XML Encryption 1.1 §5.5.2), which was allowed by its name.
    return uri, KeyPadding(
        digest,
        _read_name(mask, MASK_NAMES, agreed) if uri == RSA_OAEP else "sha1",
        b"" if label is None else decode_base64(label, _LONGEST_VALUE),
    )


def _read_name(element: etree._Element | None, names: dict[str, str], agreed: AgreedAlgorithms) -> str:
    """Return the digest that an element names; without the element it is SHA-1."""
    uri = "" if element is None else read_plain_method(element)
    if element is not None and uri not in names:
        raise_algorithm_error(f"OAEP with '{uri[:120]}'", agreed.policy)
    name = names.get(uri, "sha1")
    agreed.check_digest(name)
    return name


def _read_hints(key_info: etree._Element | None) -> RecipientHints:
    """Return the hints of KeyInfo on the receiver's certificate; names fit every key."""
    if key_info is None:
        return RecipientHints()
    check_attributes(key_info, optional=("Id",))
    children = list_children(key_info)
    for part in children:
        if part.tag not in _NAMES_OF_KEYS:
            raise_at(part, "a key is named by KeyName or X509Data")
    return read_x509_hints([child for child in children if child.tag == X509_DATA])


def read_x509_hints(elements: Iterable[etree._Element]) -> RecipientHints:
    """Return the hints of X509Data elements at a certificate (XML Signature §4.5.4); names fit every key."""
    certificates, serials, key_ids = set(), set(), set()
    for part in elements:
        for hint in list_children(part)[:_MOST_HINTS]:
            if hint.tag == f"{{{DS}}}X509Certificate":
                certificates.add(hashlib.sha256(decode_base64(hint, _LONGEST_VALUE)).hexdigest())
            elif hint.tag == f"{{{DS}}}X509SKI":
                key_ids.add(decode_base64(hint, _LONGEST_VALUE))
            elif hint.tag == f"{{{DS}}}X509IssuerSerial":
                serials.add(read_serial(hint))
    return RecipientHints(frozenset(certificates), frozenset(serials), frozenset(key_ids))


def read_serial(element: etree._Element) -> int:
    """Return the serial number of an X509IssuerSerial."""
    text = (element.findtext(f"{{{DS}}}X509SerialNumber") or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 64):
        raise_at(element, "a serial number is a number")
    return int(text)  # bounded: at most 64 ASCII digits


def _check_reference_list(element: etree._Element, data_id: str | None) -> None:
    """Raise unless a ReferenceList names the EncryptedData that holds it, and nothing else."""
    references = list_children(element)
    tags = [reference.tag for reference in references]
    if tags != [f"{{{XENC}}}DataReference"] or references[0].get("URI") != f"#{data_id}":
        raise_at(element, "a key is for the EncryptedData that holds it")


def _read_cipher_value(cipher_data: etree._Element, limit: int) -> bytes:
    """Return the octets of a CipherData with a CipherValue of at most `limit` characters."""
    check_attributes(cipher_data)
    (value,) = take_children(cipher_data, f"{{{XENC}}}CipherValue")
    check_attributes(value, optional=("Id",))
    return decode_base64(value, limit)


def read_plain_method(element: etree._Element) -> str:
    """Return the Algorithm of an element without parameters."""
    check_attributes(element, optional=("Algorithm",))
    _check_nothing_left(list_children(element))
    return element.get("Algorithm", "")


def _check_nothing_left(elements: Iterable[etree._Element]) -> None:
    for element in elements:
        raise_at(element, "this parameter of an algorithm is not known")


AGREEMENT_METHOD: Final = f"{{{XENC}}}AgreementMethod"
_DSIG_MORE: Final = "http://www.w3.org/2021/04/xmldsig-more#"
_DERIVATION: Final = f"{{{XENC11}}}KeyDerivationMethod"
_ORIGINATOR: Final = f"{{{XENC}}}OriginatorKeyInfo"
_RECIPIENT: Final = f"{{{XENC}}}RecipientKeyInfo"
_KEY_VALUE: Final = f"{{{DS}}}KeyValue"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_PRFS: Final = {f"{DSIG_MORE}hmac-{name}": name for name in ("sha256", "sha384", "sha512")}
_CURVES: Final[dict[str, type[ec.EllipticCurve]]] = {
    CURVE_OIDS[curve.name]: curve for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
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
    check_attributes(element, optional=("Algorithm",))
    uri = element.get("Algorithm", "")
    agreed.check_agreeing(uri)
    derivation, originator, recipient = take_children(element, _DERIVATION, _ORIGINATOR, _RECIPIENT)
    check_attributes(originator, optional=("Id",))
    key = _read_curve_key(originator) if uri == ECDH_ES else _read_x25519_key(originator)
    terms = _read_derivation(derivation, KEY_WRAPS[wrap], agreed)
    return KeyAgreement(uri, key, terms, wrap, wrapped), _find_receiver(recipient)


def _find_receiver(recipient: etree._Element) -> etree._Element:
    """Return the element around the token reference or X509Data: RecipientKeyInfo, or the KeyValue in it."""
    check_attributes(recipient, optional=("Id",))
    children = list_children(recipient)
    if len(children) == 1 and children[0].tag == _KEY_VALUE:
        recipient = children[0]
        check_attributes(recipient)
    if {child.tag for child in list_children(recipient)} != {X509_DATA}:
        take_children(recipient, _TOKEN_REFERENCE)
    return recipient


def _read_derivation(element: etree._Element, length: int, agreed: AgreedAlgorithms) -> KeyDerivation:
    check_attributes(element, optional=("Algorithm",))
    uri = element.get("Algorithm", "")
    agreed.check_agreeing(uri)
    if uri == HKDF:
        (parameters,) = take_children(element, f"{{{_DSIG_MORE}}}HKDFParams")
        return _read_hkdf(parameters, length, agreed)
    if uri != CONCAT_KDF:
        raise_algorithm_error(f"key derivation '{uri[:120]}'", agreed.policy)
    (parameters,) = take_children(element, f"{{{XENC11}}}ConcatKDFParams")
    return _read_concat(parameters, agreed)


def _read_hkdf(element: etree._Element, length: int, agreed: AgreedAlgorithms) -> KeyDerivation:
    check_attributes(element)
    parts = {part.tag: part for part in list_children(element)}
    if len(parts) != len(element):
        raise_at(element, "a parameter of HKDF stands twice")
    prf = parts.pop(f"{{{_DSIG_MORE}}}PRF", None)
    name = None if prf is None else _PRFS.get(read_plain_method(prf))
    if name is None:
        raise_algorithm_error("HKDF by another function than HMAC with SHA-2", agreed.policy)
    salt, info = (parts.pop(f"{{{_DSIG_MORE}}}{key}", None) for key in ("Salt", "Info"))
    key_length = parts.pop(f"{{{_DSIG_MORE}}}KeyLength", None)
    for part in parts.values():
        raise_at(part, "this parameter of HKDF is not known")
    if key_length is not None and (key_length.text or "").strip() != str(length):
        raise_at(key_length, f"the key that wraps has {length} octets")
    return KeyDerivation(
        HKDF,
        name,
        b"" if info is None else decode_base64(info, _LONGEST),
        None if salt is None else decode_base64(salt, _LONGEST),
    )


def _read_concat(element: etree._Element, agreed: AgreedAlgorithms) -> KeyDerivation:
    check_attributes(element, optional=_CONCAT_PARTS)
    (method,) = take_children(element, f"{{{DS}}}DigestMethod")
    uri = read_plain_method(method)
    name = DIGEST_NAMES.get(uri, "")
    if name not in _PRFS.values():
        raise_algorithm_error(f"ConcatKDF with '{uri[:120]}'", agreed.policy)
    pieces = b"".join(_read_bits(element, attribute) for attribute in _CONCAT_PARTS)
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
    check_attributes(value, optional=("Id",))
    try:
        key = load_der_public_key(decode_base64(value, _LONGEST))
    except ValueError:
        key = None
    if not isinstance(key, x25519.X25519PublicKey):
        raise_at(value, "the sender's key is one of X25519")
    return key


def _read_curve_key(originator: etree._Element) -> AgreementPublicKey:
    (value,) = take_children(originator, _KEY_VALUE)
    check_attributes(value, optional=("Id",))
    (curve_value,) = take_children(value, f"{{{DS11}}}ECKeyValue")
    check_attributes(curve_value, optional=("Id",))
    curve, point = take_children(curve_value, f"{{{DS11}}}NamedCurve", f"{{{DS11}}}PublicKey")
    check_attributes(curve, optional=("URI",))
    check_attributes(point)
    make_curve = _CURVES.get(curve.get("URI", ""))
    if make_curve is None or list_children(curve):
        raise_at(curve, "the curve is P-256, P-384 or P-521, by its object identifier")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(make_curve(), decode_base64(point, _LONGEST))
    except ValueError:
        raise_at(point, "this is no point of the curve")
