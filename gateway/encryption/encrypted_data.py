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

from gateway.encryption.content_ciphers import CIPHERS, GCM_TAG_OCTETS, CipherText
from gateway.encryption.encrypted_payload import (
    MAX_ENCRYPTED_KEYS,
    EncryptedPayload,
    RecipientHints,
    TransportedKey,
    raise_format_error,
)
from gateway.encryption.encryption_policies import (
    CONCAT_KDF,
    ECDH_ES,
    HKDF,
    KEY_WRAPS,
    MASK_DIGEST_NAMES,
    OAEP_DIGEST_NAMES,
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
_ENCRYPTION_METHOD: Final = f"{{{XENC}}}EncryptionMethod"
_KEY_INFO: Final = f"{{{DS}}}KeyInfo"
_CIPHER_DATA: Final = f"{{{XENC}}}CipherData"
X509_DATA: Final = f"{{{DS}}}X509Data"
_KEY_NAME_TAGS: Final = frozenset({f"{{{DS}}}KeyName", X509_DATA})
_DATA_TYPES: Final = frozenset({"", f"{XENC}Element", f"{XENC}Content"})
_KEY_TYPE: Final = f"{XENC}EncryptedKey"
_MAX_VALUE_LENGTH: Final = 64 * 1024
_MAX_HINTS: Final = 8

_READER: Final = ElementReader(ENCRYPTION_MISMATCH, canonical_base64=False)
raise_at = _READER.raise_error
list_children = _READER.list_children
get_exact_children = _READER.get_exact_children
check_attributes = _READER.check_attributes
decode_base64 = _READER.decode_base64


def read_encrypted_data(
    document_octets: bytes, algorithms: AgreedAlgorithms, limits: WireLimits = DEFAULT_LIMITS
) -> EncryptedPayload:
    """Return the encrypted payload in a document; raise GW215 for its form, GW216 for an algorithm."""
    root = parse_xml(document_octets, limits, allow_comments=False)
    if root.tag != _ENCRYPTED_DATA:
        raise_format_error("an encrypted payload must be one xenc:EncryptedData", build_xpath(root))
    check_attributes(root, optional=("Id", "Type", "MimeType", "Encoding"))
    if root.get("Type", "") not in _DATA_TYPES or root.get("Encoding"):
        raise_at(root, "the Type is none, Element or Content, and there is no Encoding")
    method, key_info, cipher_data = get_exact_children(root, _ENCRYPTION_METHOD, _KEY_INFO, _CIPHER_DATA)
    cipher_uri = method.get("Algorithm", "")
    algorithms.check_cipher(cipher_uri)
    read_plain_method(method)
    return EncryptedPayload(
        cipher_uri,
        split_vector(cipher_uri, _read_cipher_value(cipher_data, len(document_octets))),
        _read_keys(key_info, root.get("Id"), algorithms),
        root.get("MimeType") or None,
    )


def split_vector(cipher_uri: str, cipher_value: bytes) -> CipherText:
    """Return the parts of a CipherValue (XML Encryption 1.1 §5.2)."""
    vector_octets = CIPHERS[cipher_uri].vector_octets
    if not CIPHERS[cipher_uri].authenticates:
        return CipherText(cipher_value[:vector_octets], cipher_value[vector_octets:])
    ciphertext_end = max(vector_octets, len(cipher_value) - GCM_TAG_OCTETS)
    return CipherText(
        cipher_value[:vector_octets],
        cipher_value[vector_octets:ciphertext_end],
        cipher_value[ciphertext_end:],
    )


def _read_keys(
    key_info: etree._Element, data_id: str | None, algorithms: AgreedAlgorithms
) -> tuple[TransportedKey, ...]:
    """Return the encrypted keys in a KeyInfo; raise GW215 for none, too many, or other content."""
    check_attributes(key_info, optional=("Id",))
    parts = list_children(key_info)
    key_elements = [part for part in parts if part.tag == _ENCRYPTED_KEY]
    for part in parts:
        if part.tag != _ENCRYPTED_KEY and part.tag not in _KEY_NAME_TAGS:
            raise_at(part, "a key must be in xenc:EncryptedKey, not elsewhere")
    if not 1 <= len(key_elements) <= MAX_ENCRYPTED_KEYS:
        raise_at(key_info, f"there must be 1 to {MAX_ENCRYPTED_KEYS} encrypted keys")
    return tuple(_read_key(part, data_id, algorithms) for part in key_elements)


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
    if [part.tag for part in parts] != [_ENCRYPTION_METHOD, _CIPHER_DATA]:
        raise_at(element, "an EncryptedKey must hold EncryptionMethod, KeyInfo, CipherData and ReferenceList")
    octets = _read_cipher_value(parts[1], _MAX_VALUE_LENGTH)
    return EncryptedKeyParts(parts[0], key_info, octets, reference_list)


def _read_key(element: etree._Element, data_id: str | None, algorithms: AgreedAlgorithms) -> TransportedKey:
    """Return one EncryptedKey, whose ReferenceList, if any, must be for the data with the id `data_id`."""
    check_attributes(element, optional=("Id", "Recipient", "Type", "MimeType"))
    if element.get("Type", _KEY_TYPE) != _KEY_TYPE:
        raise_at(element, "an EncryptedKey is not of this Type")
    key_parts = split_encrypted_key(element)
    if key_parts.reference_list is not None:
        _check_reference_list(key_parts.reference_list, data_id)
    if key_parts.method.get("Algorithm") == SEED_128_WRAP:
        return _read_wrapped_key(key_parts.method, key_parts.key_info, key_parts.octets, algorithms)
    uri, padding = read_transport(key_parts.method, algorithms)
    return TransportedKey(uri, padding, key_parts.octets, _read_hints(key_parts.key_info))


def _read_wrapped_key(
    method: etree._Element, key_info: etree._Element | None, wrapped_key: bytes, algorithms: AgreedAlgorithms
) -> TransportedKey:
    """Return a key wrapped by another one, which its KeyInfo holds encrypted with RSA."""
    algorithms.check_transport(read_plain_method(method))
    inner_key_elements = (
        [child for child in list_children(key_info) if child.tag == _ENCRYPTED_KEY]
        if key_info is not None
        else []
    )
    if len(inner_key_elements) != 1:
        raise_at(method, "the key that wraps must be in one EncryptedKey")
    parts = list_children(inner_key_elements[0])
    if any(part.get("Algorithm") == SEED_128_WRAP for part in parts):
        raise_at(inner_key_elements[0], "the key that wraps must be encrypted with RSA")
    wrapping_key = _read_key(inner_key_elements[0], None, algorithms)
    return TransportedKey(
        wrapping_key.transport_uri,
        wrapping_key.padding,
        wrapping_key.encrypted_octets,
        wrapping_key.hints,
        wrapped_key,
    )


def read_transport(method: etree._Element, algorithms: AgreedAlgorithms) -> tuple[str, KeyPadding]:
    """Return URI and padding of a key transport (XML Encryption 1.1 §5.5)."""
    check_attributes(method, optional=("Algorithm",))
    transport_uri = method.get("Algorithm", "")
    algorithms.check_transport(transport_uri)
    parts = {part.tag: part for part in list_children(method)}
    if len(parts) != len(method):
        raise_at(method, "a parameter of the key transport stands twice")
    if transport_uri == RSA_1_5:
        _reject_parameters(parts.values())
        return transport_uri, KeyPadding(None)
    digest = _read_digest_name(parts.pop(f"{{{DS}}}DigestMethod", None), OAEP_DIGEST_NAMES, algorithms)
    mask_element = parts.pop(f"{{{XENC11}}}MGF", None) if transport_uri == RSA_OAEP else None
    label_element = parts.pop(f"{{{XENC}}}OAEPparams", None)
    _reject_parameters(parts.values())
    # The older URI implies a mask by SHA-1 (XML Encryption 1.1 §5.5.2); the check of the URI has allowed it.
    return transport_uri, KeyPadding(
        digest,
        _read_digest_name(mask_element, MASK_DIGEST_NAMES, algorithms)
        if transport_uri == RSA_OAEP
        else "sha1",
        b"" if label_element is None else decode_base64(label_element, _MAX_VALUE_LENGTH),
    )


def _read_digest_name(
    element: etree._Element | None, digest_names: dict[str, str], algorithms: AgreedAlgorithms
) -> str:
    """Return the digest that an element names; without the element it is SHA-1."""
    uri = "" if element is None else read_plain_method(element)
    if element is not None and uri not in digest_names:
        raise_algorithm_error(f"OAEP with '{uri[:120]}'", algorithms.policy)
    digest_name = digest_names.get(uri, "sha1")
    algorithms.check_digest(digest_name)
    return digest_name


def _read_hints(key_info: etree._Element | None) -> RecipientHints:
    """Return the hints of KeyInfo on the receiver's certificate; names fit every key."""
    if key_info is None:
        return RecipientHints()
    check_attributes(key_info, optional=("Id",))
    children = list_children(key_info)
    for part in children:
        if part.tag not in _KEY_NAME_TAGS:
            raise_at(part, "a key must be named by KeyName or X509Data")
    return read_x509_hints([child for child in children if child.tag == X509_DATA])


def read_x509_hints(elements: Iterable[etree._Element]) -> RecipientHints:
    """Return the hints of X509Data elements at a certificate (XML Signature §4.5.4); names fit every key."""
    certificates, serials, key_ids = set(), set(), set()
    for part in elements:
        for hint in list_children(part)[:_MAX_HINTS]:
            if hint.tag == f"{{{DS}}}X509Certificate":
                certificates.add(hashlib.sha256(decode_base64(hint, _MAX_VALUE_LENGTH)).hexdigest())
            elif hint.tag == f"{{{DS}}}X509SKI":
                key_ids.add(decode_base64(hint, _MAX_VALUE_LENGTH))
            elif hint.tag == f"{{{DS}}}X509IssuerSerial":
                serials.add(read_serial(hint))
    return RecipientHints(frozenset(certificates), frozenset(serials), frozenset(key_ids))


def read_serial(element: etree._Element) -> int:
    """Return the serial number of an X509IssuerSerial."""
    text = (element.findtext(f"{{{DS}}}X509SerialNumber") or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 64):
        raise_at(element, "a serial number must be a number")
    return int(text)  # bounded: at most 64 ASCII digits


def _check_reference_list(element: etree._Element, data_id: str | None) -> None:
    """Raise unless a ReferenceList names the EncryptedData that holds it, and nothing else."""
    references = list_children(element)
    tags = [reference.tag for reference in references]
    if tags != [f"{{{XENC}}}DataReference"] or references[0].get("URI") != f"#{data_id}":
        raise_at(element, "a key must be for the EncryptedData that holds it")


def _read_cipher_value(cipher_data: etree._Element, limit: int) -> bytes:
    """Return the octets of a CipherData with a CipherValue of at most `limit` characters."""
    check_attributes(cipher_data)
    (value,) = get_exact_children(cipher_data, f"{{{XENC}}}CipherValue")
    check_attributes(value, optional=("Id",))
    return decode_base64(value, limit)


def read_plain_method(element: etree._Element) -> str:
    """Return the Algorithm of an element without parameters."""
    check_attributes(element, optional=("Algorithm",))
    _reject_parameters(list_children(element))
    return element.get("Algorithm", "")


def _reject_parameters(elements: Iterable[etree._Element]) -> None:
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
_MAX_PARAMETER_LENGTH: Final = 4096
_CONCAT_PARTS: Final = ("AlgorithmID", "PartyUInfo", "PartyVInfo", "SuppPubInfo", "SuppPrivInfo")


def read_agreement(
    method: etree._Element,
    agreement_element: etree._Element,
    wrapped_key: bytes,
    algorithms: AgreedAlgorithms,
) -> tuple[KeyAgreement, etree._Element]:
    """Return the agreement of an encrypted key, and the element that names the receiver's certificate.

    `method` is the EncryptionMethod, a key wrap, `agreement_element` the AgreementMethod. Raises GW215 for
    its form, and GW216 for an algorithm that is not agreed.
    """
    wrap_uri = read_plain_method(method)
    if wrap_uri not in KEY_WRAPS:
        raise_algorithm_error(f"key wrap '{wrap_uri[:120]}'", algorithms.policy)
    algorithms.check_agreement_uri(wrap_uri)
    check_attributes(agreement_element, optional=("Algorithm",))
    agreement_uri = agreement_element.get("Algorithm", "")
    algorithms.check_agreement_uri(agreement_uri)
    derivation, originator, recipient = get_exact_children(
        agreement_element, _DERIVATION, _ORIGINATOR, _RECIPIENT
    )
    check_attributes(originator, optional=("Id",))
    originator_key = _read_curve_key(originator) if agreement_uri == ECDH_ES else _read_x25519_key(originator)
    key_derivation = _read_derivation(derivation, KEY_WRAPS[wrap_uri], algorithms)
    return KeyAgreement(agreement_uri, originator_key, key_derivation, wrap_uri, wrapped_key), _find_receiver(
        recipient
    )


def _find_receiver(recipient: etree._Element) -> etree._Element:
    """Return the element around the token reference or X509Data: RecipientKeyInfo, or the KeyValue in it."""
    check_attributes(recipient, optional=("Id",))
    children = list_children(recipient)
    if len(children) == 1 and children[0].tag == _KEY_VALUE:
        recipient = children[0]
        check_attributes(recipient)
    if {child.tag for child in list_children(recipient)} != {X509_DATA}:
        get_exact_children(recipient, _TOKEN_REFERENCE)
    return recipient


def _read_derivation(element: etree._Element, key_length: int, algorithms: AgreedAlgorithms) -> KeyDerivation:
    """Return a KeyDerivationMethod for `key_length` octets; raise GW216 unless it is HKDF or ConcatKDF."""
    check_attributes(element, optional=("Algorithm",))
    uri = element.get("Algorithm", "")
    algorithms.check_agreement_uri(uri)
    if uri == HKDF:
        (parameters,) = get_exact_children(element, f"{{{_DSIG_MORE}}}HKDFParams")
        return _read_hkdf(parameters, key_length, algorithms)
    if uri != CONCAT_KDF:
        raise_algorithm_error(f"key derivation '{uri[:120]}'", algorithms.policy)
    (parameters,) = get_exact_children(element, f"{{{XENC11}}}ConcatKDFParams")
    return _read_concat_kdf(parameters, algorithms)


def _read_hkdf(element: etree._Element, expected_length: int, algorithms: AgreedAlgorithms) -> KeyDerivation:
    """Return the parameters of HKDF; raise GW215 for a repeated or unknown one, or another length (octets).

    Raises GW216 unless the function is HMAC with SHA-2.
    """
    check_attributes(element)
    parts = {part.tag: part for part in list_children(element)}
    if len(parts) != len(element):
        raise_at(element, "a parameter of HKDF stands twice")
    prf = parts.pop(f"{{{_DSIG_MORE}}}PRF", None)
    digest_name = None if prf is None else _PRFS.get(read_plain_method(prf))
    if digest_name is None:
        raise_algorithm_error("HKDF by another function than HMAC with SHA-2", algorithms.policy)
    salt, info = (parts.pop(f"{{{_DSIG_MORE}}}{key}", None) for key in ("Salt", "Info"))
    key_length = parts.pop(f"{{{_DSIG_MORE}}}KeyLength", None)
    for part in parts.values():
        raise_at(part, "this parameter of HKDF is not known")
    if key_length is not None and (key_length.text or "").strip() != str(expected_length):
        raise_at(key_length, f"the key that wraps must have {expected_length} octets")
    return KeyDerivation(
        HKDF,
        digest_name,
        b"" if info is None else decode_base64(info, _MAX_PARAMETER_LENGTH),
        None if salt is None else decode_base64(salt, _MAX_PARAMETER_LENGTH),
    )


def _read_concat_kdf(element: etree._Element, algorithms: AgreedAlgorithms) -> KeyDerivation:
    """Return the parameters of ConcatKDF; raise GW216 for another digest than SHA-2."""
    check_attributes(element, optional=_CONCAT_PARTS)
    (method,) = get_exact_children(element, f"{{{DS}}}DigestMethod")
    uri = read_plain_method(method)
    digest_name = OAEP_DIGEST_NAMES.get(uri, "")
    if digest_name not in _PRFS.values():
        raise_algorithm_error(f"ConcatKDF with '{uri[:120]}'", algorithms.policy)
    other_info = b"".join(_read_bits(element, attribute) for attribute in _CONCAT_PARTS)
    return KeyDerivation(CONCAT_KDF, digest_name, other_info)


def _read_bits(element: etree._Element, attribute_name: str) -> bytes:
    """Return the octets of a ConcatKDF parameter, which is hexadecimal and begins with the octet 00."""
    text = element.get(attribute_name, "")
    if not text:
        return b""
    try:
        octets = binascii.unhexlify(text.encode("ascii")) if len(text) <= _MAX_PARAMETER_LENGTH else b""
    except (UnicodeEncodeError, binascii.Error):
        octets = b""
    # XML Encryption 1.1 §5.4.1: only whole octets are interoperable.
    if not octets or octets[0] != 0:
        raise_at(element, f"{attribute_name} must be hexadecimal, whole octets, and begin with 00")
    return octets[1:]


def _read_x25519_key(originator: etree._Element) -> AgreementPublicKey:
    """Return the X25519 public key of the sender; raise GW215 for another key."""
    (value,) = get_exact_children(originator, f"{{{DS11}}}DEREncodedKeyValue")
    check_attributes(value, optional=("Id",))
    try:
        key = load_der_public_key(decode_base64(value, _MAX_PARAMETER_LENGTH))
    except ValueError:
        key = None
    if not isinstance(key, x25519.X25519PublicKey):
        raise_at(value, "the sender's key must be of X25519")
    return key


def _read_curve_key(originator: etree._Element) -> AgreementPublicKey:
    """Return the sender's public key on P-256, P-384 or P-521; raise GW215 for another curve or point."""
    (value,) = get_exact_children(originator, _KEY_VALUE)
    check_attributes(value, optional=("Id",))
    (curve_value,) = get_exact_children(value, f"{{{DS11}}}ECKeyValue")
    check_attributes(curve_value, optional=("Id",))
    curve, point = get_exact_children(curve_value, f"{{{DS11}}}NamedCurve", f"{{{DS11}}}PublicKey")
    check_attributes(curve, optional=("URI",))
    check_attributes(point)
    make_curve = _CURVES.get(curve.get("URI", ""))
    if make_curve is None or list_children(curve):
        raise_at(curve, "the curve must be P-256, P-384 or P-521, by its object identifier")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(
            make_curve(), decode_base64(point, _MAX_PARAMETER_LENGTH)
        )
    except ValueError:
        raise_at(point, "this is no point of the curve")
