"""Encrypted attachments of AS4: their keys and contents, read and written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from lxml import etree

from gateway.encryption.content_ciphers import CIPHERS
from gateway.encryption.encrypted_data import (
    AGREEMENT_METHOD,
    X509_DATA,
    EncryptedKeyParts,
    check_attributes,
    decode_base64,
    list_children,
    raise_at,
    read_agreement,
    read_plain_method,
    read_transport,
    read_x509_hints,
    split_encrypted_key,
    split_vector,
    take_children,
)
from gateway.encryption.encrypted_payload import (
    MAX_ENCRYPTED_KEYS,
    EncryptedPayload,
    RecipientHints,
    TransportedKey,
)
from gateway.encryption.encryption_policies import (
    CONCAT_KDF,
    ECDH_ES,
    HKDF,
    KEY_WRAPS,
    RSA_OAEP,
    X25519,
    AgreedAlgorithms,
    raise_algorithm_error,
)
from gateway.encryption.key_agreement import KeyDerivation, derive_key, wrap_key
from gateway.encryption.payload_encryption import write_cipher_data, write_transport_method
from gateway.pki import (
    AgreementPublicKey,
    Certificate,
    KeyPadding,
    agree_with_certificate,
    encrypt_key,
    make_agreement_key,
)
from gateway.wire import (
    BASE64_ENCODING,
    CURVE_OIDS,
    DS,
    DS11,
    DSIG_MORE,
    WSSE,
    WSSE11,
    WSU,
    X509_TOKEN,
    XENC,
    XENC11,
    write_algorithm,
    write_attribute,
    write_element,
    write_leaf,
    write_octets,
)

_PROFILE: Final = "http://docs.oasis-open.org/wss/oasis-wss-SwAProfile-1.1#"
ATTACHMENT_CONTENT: Final = f"{_PROFILE}Attachment-Content-Only"
ATTACHMENT_CIPHERTEXT: Final = f"{_PROFILE}Attachment-Ciphertext-Transform"
_ENCRYPTED_DATA: Final = f"{{{XENC}}}EncryptedData"
_ENCRYPTED_KEY: Final = f"{{{XENC}}}EncryptedKey"
_METHOD: Final = f"{{{XENC}}}EncryptionMethod"
_CIPHER_DATA: Final = f"{{{XENC}}}CipherData"
_KEY_INFO: Final = f"{{{DS}}}KeyInfo"
_TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_REFERENCE: Final = f"{{{WSSE}}}Reference"
_ID: Final = f"{{{WSU}}}Id"
_SUBJECT_KEY: Final = X509_TOKEN.replace("#X509v3", "#X509SubjectKeyIdentifier")
_LONGEST_KEY: Final = 64 * 1024
_MOST_PARTS: Final = 1000


@dataclass(frozen=True, slots=True)
class EncryptedAttachment:
    """How one attachment is encrypted, as the header says, with the media type of its content if any."""

    cipher: str
    key: TransportedKey
    media_type: str | None

    def make_payload(self, octets: bytes) -> EncryptedPayload:
        """Return the attachment of these octets, to be decrypted."""
        return EncryptedPayload(self.cipher, split_vector(self.cipher, octets), (self.key,), self.media_type)


@dataclass(frozen=True, slots=True)
class EncryptedAttachments:
    """The encrypted attachments by Content-ID, and the elements of the header that were read for them."""

    attachments: Mapping[str, EncryptedAttachment]
    elements: tuple[etree._Element, ...]


@dataclass(frozen=True, slots=True)
class _HeaderKey:
    """An encrypted key of the header: its id, and the ids of the data that it encrypts."""

    id: str
    key: TransportedKey
    used_for: frozenset[str]


def read_encrypted_attachments(
    security: etree._Element, names: Collection[str], agreed: AgreedAlgorithms
) -> EncryptedAttachments:
    """Return the encrypted attachments that a Security header lists, of those with these Content-IDs.

    Raises GW215 for its form, GW216 for an algorithm. No key is used, and no attachment is read.
    """
    keys = list(security.iterchildren(_ENCRYPTED_KEY))
    datas = list(security.iterchildren(_ENCRYPTED_DATA))
    if len(keys) > MAX_ENCRYPTED_KEYS or len(datas) > _MOST_PARTS:
        raise_at(security, f"more than {MAX_ENCRYPTED_KEYS} keys or {_MOST_PARTS} encrypted parts")
    header_keys = [_read_header_key(element, security, agreed) for element in keys]
    attachments: dict[str, EncryptedAttachment] = {}
    for element in datas:
        name, attachment = _read_attachment(element, header_keys, names, agreed)
        if name in attachments:
            raise_at(element, "one part is encrypted twice")
        attachments[name] = attachment
    return EncryptedAttachments(attachments, (*keys, *datas))


def _read_header_key(
    element: etree._Element, security: etree._Element, agreed: AgreedAlgorithms
) -> _HeaderKey:
    check_attributes(element, optional=("Id", _ID))
    parts = split_encrypted_key(element)
    used_for: frozenset[str] = frozenset()
    if parts.reference_list is not None:
        used_for = _read_reference_list(parts.reference_list)
    key = _read_key(parts, security, agreed)
    return _HeaderKey(element.get("Id") or element.get(_ID) or "", key, used_for)


def _read_key(parts: EncryptedKeyParts, security: etree._Element, agreed: AgreedAlgorithms) -> TransportedKey:
    """Return a key that is encrypted with RSA, or wrapped by one that KeyInfo agrees on."""
    key_info = parts.key_info
    if key_info is not None and len(key_info) == 1 and key_info[0].tag == AGREEMENT_METHOD:
        check_attributes(key_info, optional=("Id",))
        list_children(key_info)
        agreement, receiver = read_agreement(parts.method, key_info[0], parts.octets, agreed)
        hints = _read_hints(receiver, security)
        return TransportedKey(agreement.uri, KeyPadding(None), b"", hints, agreement=agreement)
    uri, padding = read_transport(parts.method, agreed)
    hints = RecipientHints() if key_info is None else _read_hints(key_info, security)
    return TransportedKey(uri, padding, parts.octets, hints)


def _read_reference_list(element: etree._Element) -> frozenset[str]:
    references = list_children(element)
    for reference in references:
        check_attributes(reference, optional=("URI",))
        if reference.tag != f"{{{XENC}}}DataReference" or list_children(reference):
            raise_at(reference, "a key is for the encrypted data that it names")
    return frozenset(reference.get("URI", "")[1:] for reference in references)


def _read_hints(key_info: etree._Element, security: etree._Element) -> RecipientHints:
    """Return the hints of KeyInfo on the receiver's certificate; a thumbprint fits every key."""
    check_attributes(key_info, optional=("Id",))
    direct = list_children(key_info)
    if {child.tag for child in direct} == {X509_DATA}:
        return read_x509_hints(direct)
    (reference,) = take_children(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, optional=("Id", _ID, f"{{{WSSE11}}}TokenType", "Usage"))
    children = list_children(reference)
    if len(children) != 1:
        raise_at(reference, "a SecurityTokenReference names one certificate")
    key_reference = children[0]
    if key_reference.tag == f"{{{WSSE}}}KeyIdentifier":
        octets = decode_base64(key_reference, _LONGEST_KEY)
        if key_reference.get("ValueType") == _SUBJECT_KEY:
            return RecipientHints(key_ids=frozenset({octets}))
        whole = key_reference.get("ValueType") == X509_TOKEN
        return RecipientHints(frozenset({hashlib.sha256(octets).hexdigest()})) if whole else RecipientHints()
    if key_reference.tag == _REFERENCE:
        return _read_token_hint(key_reference, security)
    if key_reference.tag != X509_DATA:
        raise_at(key_reference, "the certificate is named in a way that is not known")
    return read_x509_hints(children)


def _read_token_hint(reference: etree._Element, security: etree._Element) -> RecipientHints:
    uri = reference.get("URI", "")
    tokens = [token for token in security.iterchildren(_TOKEN) if f"#{token.get(_ID)}" == uri]
    if len(tokens) != 1:
        raise_at(reference, f"'{uri[:120]}' names no token of this header")
    if tokens[0].get("ValueType") != X509_TOKEN:
        return RecipientHints()
    digest = hashlib.sha256(decode_base64(tokens[0], _LONGEST_KEY)).hexdigest()
    return RecipientHints(frozenset({digest}))


def _read_attachment(
    element: etree._Element, keys: list[_HeaderKey], names: Collection[str], agreed: AgreedAlgorithms
) -> tuple[str, EncryptedAttachment]:
    check_attributes(element, optional=("Id", "Type", "MimeType"))
    if element.get("Type") != ATTACHMENT_CONTENT:
        raise_at(element, "only the content of an attachment is encrypted")
    children = list_children(element)
    tags = [child.tag for child in children]
    if tags not in ([_METHOD, _KEY_INFO, _CIPHER_DATA], [_METHOD, _CIPHER_DATA]):
        raise_at(element, "an EncryptedData holds EncryptionMethod, KeyInfo and CipherData")
    uri = read_plain_method(children[0])
    agreed.check_cipher(uri)
    name = _read_cipher_reference(children[-1])
    if name not in names:
        raise_at(element, "the encrypted part is not in the message")
    chosen = [key for key in keys if element.get("Id", "") in key.used_for]
    if len(children) == 3:
        key_uri = _read_key_name(children[1])
        chosen = [key for key in keys if key.id and f"#{key.id}" == key_uri]
    if len(chosen) != 1:
        raise_at(element, "exactly one EncryptedKey of this header is for this part")
    return name, EncryptedAttachment(uri, chosen[0].key, element.get("MimeType"))


def _read_key_name(key_info: etree._Element) -> str:
    check_attributes(key_info, optional=("Id",))
    (reference,) = take_children(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, optional=("Id", _ID, f"{{{WSSE11}}}TokenType", "Usage"))
    (key_reference,) = take_children(reference, _REFERENCE)
    check_attributes(key_reference, optional=("URI", "ValueType"))
    return key_reference.get("URI", "")


def _read_cipher_reference(cipher_data: etree._Element) -> str:
    check_attributes(cipher_data)
    (reference,) = take_children(cipher_data, f"{{{XENC}}}CipherReference")
    check_attributes(reference, optional=("URI",))
    (transforms,) = take_children(reference, f"{{{XENC}}}Transforms")
    (transform,) = take_children(transforms, f"{{{DS}}}Transform")
    uri = reference.get("URI", "")
    if read_plain_method(transform) != ATTACHMENT_CIPHERTEXT or not uri.startswith("cid:"):
        raise_at(reference, "the ciphertext is an attachment, by the transform of the profile")
    return unquote(uri[4:])


_DSIG_MORE: Final = "http://www.w3.org/2021/04/xmldsig-more#"
_SALT_OCTETS: Final = 32
#: An algorithm identifier of one octet of zeros, as others write it who identify none.
_NO_ALGORITHM: Final = "0000"


def agrees_on_keys(receiver: Certificate) -> bool:
    """Return whether keys are sent to a certificate's holder by agreement, not by RSA."""
    return isinstance(receiver.public_key, AgreementPublicKey)


def write_agreed_key(
    receiver: Certificate,
    key: bytes,
    agreed: AgreedAlgorithms,
    draw: Callable[[int], bytes],
    reference: str,
) -> tuple[str, bytes]:
    """Return the EncryptionMethod and KeyInfo of an encrypted key, as text, and the wrapped key; raise GW216.

    `reference` is the wsse:SecurityTokenReference of the receiver's certificate.
    """
    is_x25519 = isinstance(receiver.public_key, x25519.X25519PublicKey)
    uri = agreed.choose_agreeing(X25519 if is_x25519 else ECDH_ES)
    wrap, derivation = _choose_wrap(agreed, len(key)), _choose_derivation(agreed, draw)
    originator_key = make_agreement_key(receiver, draw)
    wrapped = wrap_key(derive_key(agree_with_certificate(receiver, originator_key), derivation, wrap), key)
    terms = _write_derivation(derivation, KEY_WRAPS[wrap])
    originator = write_element("xenc:OriginatorKeyInfo", _write_public_key(originator_key.public_key()))
    recipient = write_element("xenc:RecipientKeyInfo", reference)
    method = write_algorithm("xenc:AgreementMethod", uri, terms + originator + recipient)
    head = write_algorithm("xenc:EncryptionMethod", wrap)
    return head + write_element("ds:KeyInfo", method), wrapped


def _choose_wrap(agreed: AgreedAlgorithms, octets: int) -> str:
    """Return the first key wrap that was agreed; where the agreement names none, one as strong as the key."""
    wraps = [uri for uri in agreed.agreeing if uri in KEY_WRAPS]
    same = [uri for uri in wraps if KEY_WRAPS[uri] == octets]
    return agreed.choose_agreeing(*(same if len(wraps) == len(KEY_WRAPS) else KEY_WRAPS))


def _choose_derivation(agreed: AgreedAlgorithms, draw: Callable[[int], bytes]) -> KeyDerivation:
    uri = agreed.choose_agreeing(HKDF, CONCAT_KDF)
    if uri == HKDF:
        return KeyDerivation(uri, "sha256", b"", draw(_SALT_OCTETS))
    return KeyDerivation(uri, "sha256", bytes.fromhex(_NO_ALGORITHM)[1:])


def _write_derivation(derivation: KeyDerivation, length: int) -> str:
    if derivation.uri == HKDF:
        content = write_algorithm("dsig-more:PRF", f"{DSIG_MORE}hmac-{derivation.digest}")
        content += write_octets("dsig-more:Salt", derivation.salt or b"")
        content += write_leaf("dsig-more:KeyLength", str(length))
        parameters = write_element(
            "dsig-more:HKDFParams", content, write_attribute("xmlns:dsig-more", _DSIG_MORE)
        )
    else:
        digest = write_algorithm("ds:DigestMethod", f"{XENC}{derivation.digest}")
        names = write_attribute("AlgorithmID", _NO_ALGORITHM)
        names += write_attribute("PartyUInfo", "") + write_attribute("PartyVInfo", "")
        parameters = write_element("xenc11:ConcatKDFParams", digest, names)
    declared = write_attribute("xmlns:xenc11", XENC11)
    return write_algorithm("xenc11:KeyDerivationMethod", derivation.uri, parameters, declared)


def _write_public_key(key: AgreementPublicKey) -> str:
    declared = write_attribute("xmlns:dsig11", DS11)
    if isinstance(key, x25519.X25519PublicKey):
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return write_octets("dsig11:DEREncodedKeyValue", der, declared)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    curve = write_element("dsig11:NamedCurve", "", write_attribute("URI", CURVE_OIDS[key.curve.name]))
    value = curve + write_octets("dsig11:PublicKey", point)
    return write_element("ds:KeyValue", write_element("dsig11:ECKeyValue", value, declared))


_NAMESPACES: Final = (
    write_attribute("xmlns:ds", DS)
    + write_attribute("xmlns:wsse", WSSE)
    + write_attribute("xmlns:xenc", XENC)
)
_KEY_KIND: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#EncryptedKey"


def encrypt_attachments(
    parts: Mapping[str, tuple[bytes, str]],
    receiver: Certificate,
    agreed: AgreedAlgorithms,
    draw: Callable[[int], bytes],
    id_suffix: str,
) -> tuple[str, dict[str, bytes]]:
    """Return the elements of a Security header, and the ciphertext of each part by its cid: URI; raise GW216.

    `parts` are content and media type by cid: URI. `id_suffix` makes the ids of the elements unique.
    """
    cipher = CIPHERS[agreed.choose_cipher()]
    if not cipher.authenticates:
        raise_algorithm_error("what AS4 needs, AES-GCM,", agreed.policy)
    key = draw(cipher.key_octets)
    data, octets = "", {}
    for number, (uri, (content, media_type)) in enumerate(parts.items(), 1):
        text = cipher.encrypt(key, draw(cipher.vector_octets), content)
        octets[uri] = text.vector + text.octets + text.tag
        data += _write_data(uri, media_type, cipher.uri, f"ed-{number}-{id_suffix}", f"ek-{id_suffix}")
    names = [f"ed-{number}-{id_suffix}" for number in range(1, len(parts) + 1)]
    reference = _write_receiver(receiver)
    if agrees_on_keys(receiver):
        info, sent = write_agreed_key(receiver, key, agreed, draw, reference)
    else:
        info, sent = _write_transport(receiver, key, agreed, reference)
    return _write_key(info, sent, f"ek-{id_suffix}", names) + data, octets


def _write_transport(
    receiver: Certificate, key: bytes, agreed: AgreedAlgorithms, reference: str
) -> tuple[str, bytes]:
    """Return EncryptionMethod and KeyInfo of a key that RSA-OAEP transports, and the encrypted key."""
    if RSA_OAEP not in agreed.transports:
        raise_algorithm_error(f"'{RSA_OAEP}'", agreed.policy)
    sent = encrypt_key(receiver, key, KeyPadding("sha256", "sha256"))
    return write_transport_method(RSA_OAEP) + write_element("ds:KeyInfo", reference), sent


def _write_key(info: str, sent: bytes, key_id: str, names: list[str]) -> str:
    """Return an EncryptedKey; `info` are its EncryptionMethod and KeyInfo, `sent` the key as it is sent."""
    uses = "".join(
        write_element("xenc:DataReference", "", write_attribute("URI", f"#{name}")) for name in names
    )
    return write_element(
        "xenc:EncryptedKey",
        info + write_cipher_data(sent) + write_element("xenc:ReferenceList", uses),
        _NAMESPACES + write_attribute("Id", key_id),
    )


def _write_receiver(receiver: Certificate) -> str:
    """Return the reference to the receiver: its subject key identifier, else its certificate."""
    key_id = receiver.subject_key_identifier
    kind, octets = (X509_TOKEN, receiver.der) if key_id is None else (_SUBJECT_KEY, key_id)
    attributes = write_attribute("EncodingType", BASE64_ENCODING) + write_attribute("ValueType", kind)
    value = write_octets("wsse:KeyIdentifier", octets, attributes)
    return write_element("wsse:SecurityTokenReference", value)


def _write_data(uri: str, media_type: str, cipher: str, data_id: str, key_id: str) -> str:
    """Return the EncryptedData `data_id` of the attachment `uri`, whose key is the EncryptedKey `key_id`."""
    kind = write_attribute("xmlns:wsse11", WSSE11) + write_attribute("wsse11:TokenType", _KEY_KIND)
    reference = write_element("wsse:Reference", "", write_attribute("URI", f"#{key_id}"))
    info = write_element("ds:KeyInfo", write_element("wsse:SecurityTokenReference", reference, kind))
    method = write_algorithm("xenc:EncryptionMethod", cipher)
    step = write_algorithm("ds:Transform", ATTACHMENT_CIPHERTEXT)
    cipher_reference = write_element(
        "xenc:CipherReference", write_element("xenc:Transforms", step), write_attribute("URI", uri)
    )
    attributes = write_attribute("Id", data_id) + write_attribute("MimeType", media_type)
    return write_element(
        "xenc:EncryptedData",
        method + info + write_element("xenc:CipherData", cipher_reference),
        _NAMESPACES + attributes + write_attribute("Type", ATTACHMENT_CONTENT),
    )
