"""Reads xenc:EncryptedData (XML Encryption 1.1 §3) and refuses every element that it does not know.

The keys are in the document itself, the octets in CipherValue. Nothing is looked up: no
CipherReference, no RetrievalMethod, no agreement of keys.
"""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Iterable
from typing import Final, NoReturn

from lxml import etree

from gateway.encryption.content_ciphers import CIPHERS, GCM_TAG, CipherText
from gateway.encryption.encrypted_payload import (
    MAX_ENCRYPTED_KEYS,
    EncryptedPayload,
    RecipientHints,
    TransportedKey,
    raise_form_error,
)
from gateway.encryption.encryption_policies import (
    DIGEST_NAMES,
    MASK_NAMES,
    RSA_1_5,
    RSA_OAEP,
    SEED_128_WRAP,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.pki import KeyPadding
from gateway.wire import DEFAULT_LIMITS, DS, XENC, XENC11, WireLimits, build_xpath, parse_xml

__all__ = [
    "check_attributes",
    "decode_base64",
    "list_children",
    "raise_at",
    "read_cipher_value",
    "read_encrypted_data",
    "read_plain_method",
    "read_serial",
    "read_transport",
    "split_vector",
    "take_children",
]

_ENCRYPTED_DATA: Final = f"{{{XENC}}}EncryptedData"
_ENCRYPTED_KEY: Final = f"{{{XENC}}}EncryptedKey"
_METHOD: Final = f"{{{XENC}}}EncryptionMethod"
_KEY_INFO: Final = f"{{{DS}}}KeyInfo"
_CIPHER_DATA: Final = f"{{{XENC}}}CipherData"
_NAMES_OF_KEYS: Final = frozenset({f"{{{DS}}}KeyName", f"{{{DS}}}X509Data"})
_TYPES: Final = frozenset({"", f"{XENC}Element", f"{XENC}Content"})
_KEY_TYPE: Final = f"{XENC}EncryptedKey"
_SPACE: Final = b" \t\r\n"
_LONGEST_VALUE: Final = 64 * 1024
_MOST_HINTS: Final = 8


def read_encrypted_data(
    data: bytes, agreed: AgreedAlgorithms, limits: WireLimits = DEFAULT_LIMITS
) -> EncryptedPayload:
    """Return the encrypted payload in a document; raise GW215 for its form, GW216 for an algorithm."""
    root = parse_xml(data, limits, allow_comments=False)
    if root.tag != _ENCRYPTED_DATA:
        raise_form_error("an encrypted payload is one xenc:EncryptedData", build_xpath(root))
    check_attributes(root, "Id", "Type", "MimeType", "Encoding")
    if root.get("Type", "") not in _TYPES or root.get("Encoding"):
        raise_at(root, "the Type is none, Element or Content, and there is no Encoding")
    method, key_info, cipher_data = take_children(root, _METHOD, _KEY_INFO, _CIPHER_DATA)
    uri = method.get("Algorithm", "")
    agreed.check_cipher(uri)
    read_plain_method(method)
    return EncryptedPayload(
        uri,
        split_vector(uri, read_cipher_value(cipher_data, len(data))),
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
    check_attributes(key_info, "Id")
    parts = list_children(key_info)
    found = [one for one in parts if one.tag == _ENCRYPTED_KEY]
    for one in parts:
        if one.tag != _ENCRYPTED_KEY and one.tag not in _NAMES_OF_KEYS:
            raise_at(one, "a key is in xenc:EncryptedKey and is not looked up elsewhere")
    if not 1 <= len(found) <= MAX_ENCRYPTED_KEYS:
        raise_at(key_info, f"there are 1 to {MAX_ENCRYPTED_KEYS} encrypted keys")
    return tuple(_read_key(one, data_id, agreed) for one in found)


def _read_key(element: etree._Element, data_id: str | None, agreed: AgreedAlgorithms) -> TransportedKey:
    check_attributes(element, "Id", "Recipient", "Type", "MimeType")
    if element.get("Type", _KEY_TYPE) != _KEY_TYPE:
        raise_at(element, "an EncryptedKey is not of this Type")
    parts = list_children(element)
    if parts and parts[-1].tag == f"{{{XENC}}}ReferenceList":
        _check_reference_list(parts.pop(), data_id)
    key_info = parts.pop(1) if len(parts) == 3 and parts[1].tag == _KEY_INFO else None
    if [one.tag for one in parts] != [_METHOD, _CIPHER_DATA]:
        raise_at(element, "an EncryptedKey holds EncryptionMethod, KeyInfo and CipherData")
    octets = read_cipher_value(parts[1], _LONGEST_VALUE)
    if parts[0].get("Algorithm") == SEED_128_WRAP:
        return _read_wrapped_key(parts[0], key_info, octets, agreed)
    uri, padding = read_transport(parts[0], agreed)
    return TransportedKey(uri, padding, octets, _read_hints(key_info))


def _read_wrapped_key(
    method: etree._Element, key_info: etree._Element | None, octets: bytes, agreed: AgreedAlgorithms
) -> TransportedKey:
    """Return a key wrapped by another one, which its KeyInfo holds encrypted with RSA."""
    agreed.check_transport(read_plain_method(method))
    inner = (
        [one for one in list_children(key_info) if one.tag == _ENCRYPTED_KEY] if key_info is not None else []
    )
    if len(inner) != 1:
        raise_at(method, "the key that wraps is in one EncryptedKey")
    parts = list_children(inner[0])
    if any(one.get("Algorithm") == SEED_128_WRAP for one in parts):
        raise_at(inner[0], "the key that wraps is encrypted with RSA")
    found = _read_key(inner[0], None, agreed)
    return TransportedKey(found.transport, found.padding, found.octets, found.hints, octets)


def read_transport(method: etree._Element, agreed: AgreedAlgorithms) -> tuple[str, KeyPadding]:
    """Return URI and padding of a key transport (XML Encryption 1.1 §5.5)."""
    check_attributes(method, "Algorithm")
    uri = method.get("Algorithm", "")
    agreed.check_transport(uri)
    parts = {one.tag: one for one in list_children(method)}
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
    """Return what KeyInfo says of the receiver's certificate; names fit every key."""
    if key_info is None:
        return RecipientHints()
    check_attributes(key_info, "Id")
    certificates, serials, key_ids = set(), set(), set()
    for part in list_children(key_info):
        if part.tag not in _NAMES_OF_KEYS:
            raise_at(part, "a key is named by KeyName or X509Data")
        for one in list_children(part)[:_MOST_HINTS] if part.tag == f"{{{DS}}}X509Data" else ():
            if one.tag == f"{{{DS}}}X509Certificate":
                certificates.add(hashlib.sha256(decode_base64(one, _LONGEST_VALUE)).hexdigest())
            elif one.tag == f"{{{DS}}}X509SKI":
                key_ids.add(decode_base64(one, _LONGEST_VALUE))
            elif one.tag == f"{{{DS}}}X509IssuerSerial":
                serials.add(read_serial(one))
    return RecipientHints(frozenset(certificates), frozenset(serials), frozenset(key_ids))


def read_serial(element: etree._Element) -> int:
    """Return the serial number of an X509IssuerSerial."""
    text = (element.findtext(f"{{{DS}}}X509SerialNumber") or "").strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 64):
        raise_at(element, "a serial number is a number")
    return int(text)


def _check_reference_list(element: etree._Element, data_id: str | None) -> None:
    """Raise unless a ReferenceList names the EncryptedData that holds it, and nothing else."""
    references = list_children(element)
    tags = [one.tag for one in references]
    if tags != [f"{{{XENC}}}DataReference"] or references[0].get("URI") != f"#{data_id}":
        raise_at(element, "a key is for the EncryptedData that holds it")


def read_cipher_value(cipher_data: etree._Element, limit: int) -> bytes:
    """Return the octets of a CipherData with a CipherValue of at most `limit` characters."""
    check_attributes(cipher_data)
    (value,) = take_children(cipher_data, f"{{{XENC}}}CipherValue")
    check_attributes(value, "Id")
    return decode_base64(value, limit)


def decode_base64(element: etree._Element, limit: int) -> bytes:
    """Return the octets of an element that contains base64 of at most `limit` characters."""
    if len(element):
        raise_at(element, "only text belongs here")
    try:
        text = (element.text or "").encode("ascii").translate(None, _SPACE)
        if len(text) > limit:
            raise_at(element, f"a value of more than {limit} characters")
        return binascii.a2b_base64(text, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        raise_at(element, "not base64")


def read_plain_method(element: etree._Element) -> str:
    """Return the Algorithm of an element without parameters."""
    check_attributes(element, "Algorithm")
    _check_nothing_left(list_children(element))
    return element.get("Algorithm", "")


def _check_nothing_left(elements: Iterable[etree._Element]) -> None:
    for one in elements:
        raise_at(one, "this parameter of an algorithm is not known")


def take_children(element: etree._Element, *tags: str) -> list[etree._Element]:
    """Return the children of an element, which must be exactly those of these names."""
    found = list_children(element)
    if [one.tag for one in found] != list(tags):
        names = ", ".join(etree.QName(tag).localname for tag in tags)
        raise_at(element, f"exactly {names} belongs here")
    return found


def list_children(element: etree._Element) -> list[etree._Element]:
    """Return the child elements; raise for text, comments and instructions between them."""
    found = list(element)
    for text in (element.text, *[one.tail for one in found]):
        if text is not None and text.strip():
            raise_at(element, "text where only elements belong")
    for one in found:
        if not isinstance(one.tag, str):
            raise_at(element, "only elements belong here")
    return found


def check_attributes(element: etree._Element, *known: str) -> None:
    """Raise for an attribute that is not among those known."""
    for name in map(str, element.keys()):
        if name not in known:
            raise_at(element, f"attribute {name[:80]} does not belong here")


def raise_at(element: etree._Element, detail: str) -> NoReturn:
    """Raise GW215 with the XPath of an element."""
    raise_form_error(detail, build_xpath(element))
