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
    get_exact_children,
    list_children,
    raise_at,
    read_agreement,
    read_plain_method,
    read_transport,
    read_x509_hints,
    split_encrypted_key,
    split_vector,
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
    X509_SUBJECT_KEY,
    X509_THUMBPRINT,
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
_ENCRYPTION_METHOD: Final = f"{{{XENC}}}EncryptionMethod"
_CIPHER_DATA: Final = f"{{{XENC}}}CipherData"
_KEY_INFO: Final = f"{{{DS}}}KeyInfo"
_TOKEN: Final = f"{{{WSSE}}}BinarySecurityToken"
_TOKEN_REFERENCE: Final = f"{{{WSSE}}}SecurityTokenReference"
_REFERENCE: Final = f"{{{WSSE}}}Reference"
_ID: Final = f"{{{WSU}}}Id"
_MAX_KEY_LENGTH: Final = 64 * 1024
_MAX_PARTS: Final = 1000


@dataclass(frozen=True, slots=True)
class EncryptedAttachment:
    """How one attachment is encrypted, as the header says, with the media type of its content if any."""

    cipher_uri: str
    key: TransportedKey
    media_type: str | None

    def make_payload(self, octets: bytes) -> EncryptedPayload:
        """Return the attachment of these octets, to be decrypted."""
        return EncryptedPayload(
            self.cipher_uri, split_vector(self.cipher_uri, octets), (self.key,), self.media_type
        )


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
    data_ids: frozenset[str]


def read_encrypted_attachments(
    security: etree._Element, content_ids: Collection[str], algorithms: AgreedAlgorithms
) -> EncryptedAttachments:
    """Return the encrypted attachments that a Security header lists, of those with these Content-IDs.

    Raises GW215 for its form, GW216 for an algorithm. No key is used, and no attachment is read.
    """
    key_elements = list(security.iterchildren(_ENCRYPTED_KEY))
    data_elements = list(security.iterchildren(_ENCRYPTED_DATA))
    if len(key_elements) > MAX_ENCRYPTED_KEYS or len(data_elements) > _MAX_PARTS:
        raise_at(security, f"more than {MAX_ENCRYPTED_KEYS} keys or {_MAX_PARTS} encrypted parts")
    header_keys = [_read_header_key(element, security, algorithms) for element in key_elements]
    attachments: dict[str, EncryptedAttachment] = {}
    for element in data_elements:
        content_id, attachment = _read_attachment(element, header_keys, content_ids, algorithms)
        if content_id in attachments:
            raise_at(element, "one part is encrypted twice")
        attachments[content_id] = attachment
    return EncryptedAttachments(attachments, (*key_elements, *data_elements))


def _read_header_key(
    element: etree._Element, security: etree._Element, algorithms: AgreedAlgorithms
) -> _HeaderKey:
    """Return an EncryptedKey of a Security header, with the ids of the EncryptedData in its ReferenceList."""
    check_attributes(element, optional=("Id", _ID))
    key_parts = split_encrypted_key(element)
    data_ids: frozenset[str] = frozenset()
    if key_parts.reference_list is not None:
        data_ids = _read_reference_list(key_parts.reference_list)
    key = _read_key(key_parts, security, algorithms)
    return _HeaderKey(element.get("Id") or element.get(_ID) or "", key, data_ids)


def _read_key(
    key_parts: EncryptedKeyParts, security: etree._Element, algorithms: AgreedAlgorithms
) -> TransportedKey:
    """Return an encrypted key: encrypted with RSA, or wrapped by the key agreement in its KeyInfo."""
    key_info = key_parts.key_info
    if key_info is not None and len(key_info) == 1 and key_info[0].tag == AGREEMENT_METHOD:
        check_attributes(key_info, optional=("Id",))
        list_children(key_info)
        agreement, receiver = read_agreement(key_parts.method, key_info[0], key_parts.octets, algorithms)
        hints = _read_hints(receiver, security)
        return TransportedKey(agreement.uri, KeyPadding(None), b"", hints, agreement=agreement)
    uri, padding = read_transport(key_parts.method, algorithms)
    hints = RecipientHints() if key_info is None else _read_hints(key_info, security)
    return TransportedKey(uri, padding, key_parts.octets, hints)


def _read_reference_list(element: etree._Element) -> frozenset[str]:
    """Return the ids that the DataReference elements of `element` name; raise GW215 for other elements."""
    references = list_children(element)
    for reference in references:
        check_attributes(reference, optional=("URI",))
        if reference.tag != f"{{{XENC}}}DataReference" or list_children(reference):
            raise_at(reference, "a key must name the encrypted data that it is for")
    return frozenset(reference.get("URI", "")[1:] for reference in references)


def _read_hints(key_info: etree._Element, security: etree._Element) -> RecipientHints:
    """Return the hints of KeyInfo on the receiver's certificate; a thumbprint fits every key."""
    check_attributes(key_info, optional=("Id",))
    key_info_children = list_children(key_info)
    if {child.tag for child in key_info_children} == {X509_DATA}:
        return read_x509_hints(key_info_children)
    (reference,) = get_exact_children(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, optional=("Id", _ID, f"{{{WSSE11}}}TokenType", "Usage"))
    children = list_children(reference)
    if len(children) != 1:
        raise_at(reference, "a SecurityTokenReference must name one certificate")
    key_reference = children[0]
    if key_reference.tag == f"{{{WSSE}}}KeyIdentifier":
        octets = decode_base64(key_reference, _MAX_KEY_LENGTH)
        if key_reference.get("ValueType") == X509_SUBJECT_KEY:
            return RecipientHints(key_ids=frozenset({octets}))
        is_certificate = key_reference.get("ValueType") == X509_TOKEN
        return (
            RecipientHints(frozenset({hashlib.sha256(octets).hexdigest()}))
            if is_certificate
            else RecipientHints()
        )
    if key_reference.tag == _REFERENCE:
        return _read_token_hint(key_reference, security)
    if key_reference.tag != X509_DATA:
        raise_at(key_reference, "this way to name a certificate is not supported")
    return read_x509_hints(children)


def _read_token_hint(reference: etree._Element, security: etree._Element) -> RecipientHints:
    """Return the digest of the certificate (token) in `security` to which `reference` points.

    The hint is empty if the token is no X.509 certificate. Raises GW215 unless exactly one token matches.
    """
    uri = reference.get("URI", "")
    tokens = [token for token in security.iterchildren(_TOKEN) if f"#{token.get(_ID)}" == uri]
    if len(tokens) != 1:
        raise_at(reference, f"'{uri[:120]}' names no token of this header")
    if tokens[0].get("ValueType") != X509_TOKEN:
        return RecipientHints()
    digest = hashlib.sha256(decode_base64(tokens[0], _MAX_KEY_LENGTH)).hexdigest()
    return RecipientHints(frozenset({digest}))


def _read_attachment(
    element: etree._Element,
    header_keys: list[_HeaderKey],
    content_ids: Collection[str],
    algorithms: AgreedAlgorithms,
) -> tuple[str, EncryptedAttachment]:
    """Return the Content-ID of the part that an EncryptedData describes, with its cipher, key and media type.

    Raises GW215 unless the part is in `content_ids` and exactly one of `header_keys` is for it, GW216 for a
    cipher that is not agreed.
    """
    check_attributes(element, optional=("Id", "Type", "MimeType"))
    if element.get("Type") != ATTACHMENT_CONTENT:
        raise_at(element, "only the content of an attachment may be encrypted")
    children = list_children(element)
    tags = [child.tag for child in children]
    if tags not in ([_ENCRYPTION_METHOD, _KEY_INFO, _CIPHER_DATA], [_ENCRYPTION_METHOD, _CIPHER_DATA]):
        raise_at(element, "an EncryptedData must hold EncryptionMethod, KeyInfo and CipherData")
    cipher_uri = read_plain_method(children[0])
    algorithms.check_cipher(cipher_uri)
    content_id = _read_cipher_reference(children[-1])
    if content_id not in content_ids:
        raise_at(element, "the encrypted part is not in the message")
    matching_keys = [header_key for header_key in header_keys if element.get("Id", "") in header_key.data_ids]
    if len(children) == 3:
        key_uri = _read_key_reference(children[1])
        matching_keys = [
            header_key for header_key in header_keys if header_key.id and f"#{header_key.id}" == key_uri
        ]
    if len(matching_keys) != 1:
        raise_at(element, "exactly one EncryptedKey of this header must be for this part")
    return content_id, EncryptedAttachment(cipher_uri, matching_keys[0].key, element.get("MimeType"))


def _read_key_reference(key_info: etree._Element) -> str:
    """Return the URI of the key that a KeyInfo names by a SecurityTokenReference."""
    check_attributes(key_info, optional=("Id",))
    (reference,) = get_exact_children(key_info, _TOKEN_REFERENCE)
    check_attributes(reference, optional=("Id", _ID, f"{{{WSSE11}}}TokenType", "Usage"))
    (key_reference,) = get_exact_children(reference, _REFERENCE)
    check_attributes(key_reference, optional=("URI", "ValueType"))
    return key_reference.get("URI", "")


def _read_cipher_reference(cipher_data: etree._Element) -> str:
    """Return the Content-ID that a CipherReference names; raise GW215 for another URI or transform."""
    check_attributes(cipher_data)
    (reference,) = get_exact_children(cipher_data, f"{{{XENC}}}CipherReference")
    check_attributes(reference, optional=("URI",))
    (transforms,) = get_exact_children(reference, f"{{{XENC}}}Transforms")
    (transform,) = get_exact_children(transforms, f"{{{DS}}}Transform")
    uri = reference.get("URI", "")
    if read_plain_method(transform) != ATTACHMENT_CIPHERTEXT or not uri.startswith("cid:"):
        raise_at(reference, "the ciphertext must be an attachment, by the transform of the profile")
    return unquote(uri[4:])


_DSIG_MORE: Final = "http://www.w3.org/2021/04/xmldsig-more#"
_SALT_OCTETS: Final = 32
#: An algorithm identifier of one octet of zeros, as others write it who identify none.
_NO_ALGORITHM: Final = "0000"


def agrees_on_keys(receiver: Certificate) -> bool:
    """Return whether keys are sent to a certificate's holder by agreement, not by RSA."""
    return isinstance(receiver.public_key, AgreementPublicKey)


def write_key_by_agreement(
    receiver: Certificate,
    content_key: bytes,
    algorithms: AgreedAlgorithms,
    generate_octets: Callable[[int], bytes],
    token_reference: str,
) -> tuple[str, bytes]:
    """Return the EncryptionMethod and KeyInfo of an encrypted key, as text, and the wrapped key; raise GW216.

    `token_reference` is the wsse:SecurityTokenReference of the receiver's certificate.
    """
    is_x25519 = isinstance(receiver.public_key, x25519.X25519PublicKey)
    agreement_uri = algorithms.choose_agreement_uri(X25519 if is_x25519 else ECDH_ES)
    wrap_uri, derivation = (
        _choose_key_wrap(algorithms, len(content_key)),
        _choose_derivation(algorithms, generate_octets),
    )
    originator_key = make_agreement_key(receiver, generate_octets)
    wrapped_key = wrap_key(
        derive_key(agree_with_certificate(receiver, originator_key), derivation, wrap_uri), content_key
    )
    derivation_text = _write_derivation(derivation, KEY_WRAPS[wrap_uri])
    originator_text = write_element("xenc:OriginatorKeyInfo", _write_public_key(originator_key.public_key()))
    recipient_text = write_element("xenc:RecipientKeyInfo", token_reference)
    agreement_text = write_algorithm(
        "xenc:AgreementMethod", agreement_uri, derivation_text + originator_text + recipient_text
    )
    method_text = write_algorithm("xenc:EncryptionMethod", wrap_uri)
    return method_text + write_element("ds:KeyInfo", agreement_text), wrapped_key


def _choose_key_wrap(algorithms: AgreedAlgorithms, key_octets: int) -> str:
    """Return the URI of the first agreed key wrap; one as long as the key, if every key wrap is allowed."""
    wraps = [uri for uri in algorithms.agreement_uris if uri in KEY_WRAPS]
    wraps_of_key_length = [uri for uri in wraps if KEY_WRAPS[uri] == key_octets]
    return algorithms.choose_agreement_uri(
        *(wraps_of_key_length if len(wraps) == len(KEY_WRAPS) else KEY_WRAPS)
    )


def _choose_derivation(
    algorithms: AgreedAlgorithms, generate_octets: Callable[[int], bytes]
) -> KeyDerivation:
    """Return the agreed derivation with SHA-256: HKDF with a new salt, or ConcatKDF."""
    uri = algorithms.choose_agreement_uri(HKDF, CONCAT_KDF)
    if uri == HKDF:
        return KeyDerivation(uri, "sha256", b"", generate_octets(_SALT_OCTETS))
    return KeyDerivation(uri, "sha256", bytes.fromhex(_NO_ALGORITHM)[1:])


def _write_derivation(derivation: KeyDerivation, key_length: int) -> str:
    """Return the XML of a KeyDerivationMethod; `key_length` (octets) is written only for HKDF."""
    if derivation.uri == HKDF:
        content = write_algorithm("dsig-more:PRF", f"{DSIG_MORE}hmac-{derivation.digest}")
        content += write_octets("dsig-more:Salt", derivation.salt or b"")
        content += write_leaf("dsig-more:KeyLength", str(key_length))
        parameters = write_element(
            "dsig-more:HKDFParams", content, write_attribute("xmlns:dsig-more", _DSIG_MORE)
        )
    else:
        digest = write_algorithm("ds:DigestMethod", f"{XENC}{derivation.digest}")
        attributes = write_attribute("AlgorithmID", _NO_ALGORITHM)
        attributes += write_attribute("PartyUInfo", "") + write_attribute("PartyVInfo", "")
        parameters = write_element("xenc11:ConcatKDFParams", digest, attributes)
    namespace_declaration = write_attribute("xmlns:xenc11", XENC11)
    return write_algorithm("xenc11:KeyDerivationMethod", derivation.uri, parameters, namespace_declaration)


def _write_public_key(public_key: AgreementPublicKey) -> str:
    """Return the XML of the sender's public key: DEREncodedKeyValue for X25519, else ECKeyValue."""
    namespace_declaration = write_attribute("xmlns:dsig11", DS11)
    if isinstance(public_key, x25519.X25519PublicKey):
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return write_octets("dsig11:DEREncodedKeyValue", der, namespace_declaration)
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    curve = write_element("dsig11:NamedCurve", "", write_attribute("URI", CURVE_OIDS[public_key.curve.name]))
    key_text = curve + write_octets("dsig11:PublicKey", point)
    return write_element("ds:KeyValue", write_element("dsig11:ECKeyValue", key_text, namespace_declaration))


_NAMESPACES: Final = (
    write_attribute("xmlns:ds", DS)
    + write_attribute("xmlns:wsse", WSSE)
    + write_attribute("xmlns:xenc", XENC)
)
_ENCRYPTED_KEY_TYPE: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#EncryptedKey"


def encrypt_attachments(
    parts: Mapping[str, tuple[bytes, str]],
    receiver: Certificate,
    algorithms: AgreedAlgorithms,
    generate_octets: Callable[[int], bytes],
    id_suffix: str,
) -> tuple[str, dict[str, bytes]]:
    """Return the elements of a Security header, and the ciphertext of each part by its cid: URI; raise GW216.

    `parts` are content and media type by cid: URI. `id_suffix` makes the ids of the elements unique.
    """
    cipher = CIPHERS[algorithms.choose_cipher()]
    if not cipher.authenticates:
        raise_algorithm_error("what AS4 needs, AES-GCM,", algorithms.policy)
    content_key = generate_octets(cipher.key_octets)
    data_text, octets_by_uri = "", {}
    for part_number, (uri, (content, media_type)) in enumerate(parts.items(), 1):
        ciphertext = cipher.encrypt(content_key, generate_octets(cipher.vector_octets), content)
        octets_by_uri[uri] = ciphertext.vector + ciphertext.octets + ciphertext.tag
        data_text += _write_data(
            uri, media_type, cipher.uri, f"ed-{part_number}-{id_suffix}", f"ek-{id_suffix}"
        )
    data_ids = [f"ed-{part_number}-{id_suffix}" for part_number in range(1, len(parts) + 1)]
    token_reference = _write_receiver(receiver)
    if agrees_on_keys(receiver):
        method_and_key_info, encrypted_key = write_key_by_agreement(
            receiver, content_key, algorithms, generate_octets, token_reference
        )
    else:
        method_and_key_info, encrypted_key = _write_transport(
            receiver, content_key, algorithms, token_reference
        )
    return _write_key(
        method_and_key_info, encrypted_key, f"ek-{id_suffix}", data_ids
    ) + data_text, octets_by_uri


def _write_transport(
    receiver: Certificate, content_key: bytes, algorithms: AgreedAlgorithms, token_reference: str
) -> tuple[str, bytes]:
    """Return EncryptionMethod and KeyInfo of a key that RSA-OAEP transports, and the encrypted key."""
    if RSA_OAEP not in algorithms.transports:
        raise_algorithm_error(f"'{RSA_OAEP}'", algorithms.policy)
    encrypted_key = encrypt_key(receiver, content_key, KeyPadding("sha256", "sha256"))
    return write_transport_method(RSA_OAEP) + write_element("ds:KeyInfo", token_reference), encrypted_key


def _write_key(method_and_key_info: str, encrypted_key: bytes, key_id: str, data_ids: list[str]) -> str:
    """Return an EncryptedKey of an `encrypted_key` with the elements `method_and_key_info`."""
    data_references = "".join(
        write_element("xenc:DataReference", "", write_attribute("URI", f"#{data_id}")) for data_id in data_ids
    )
    return write_element(
        "xenc:EncryptedKey",
        method_and_key_info
        + write_cipher_data(encrypted_key)
        + write_element("xenc:ReferenceList", data_references),
        _NAMESPACES + write_attribute("Id", key_id),
    )


def _write_receiver(receiver: Certificate) -> str:
    """Return the reference to the receiver: its subject key identifier, else its thumbprint.

    A certificate that is not sent may be named in no other way (Basic Security Profile 1.1 R5206, R5210).
    """
    key_id = receiver.subject_key_identifier
    value_type, octets = (
        (X509_THUMBPRINT, receiver.thumbprint) if key_id is None else (X509_SUBJECT_KEY, key_id)
    )
    attributes = write_attribute("EncodingType", BASE64_ENCODING) + write_attribute("ValueType", value_type)
    key_identifier = write_octets("wsse:KeyIdentifier", octets, attributes)
    return write_element("wsse:SecurityTokenReference", key_identifier)


def _write_data(uri: str, media_type: str, cipher_uri: str, data_id: str, key_id: str) -> str:
    """Return the EncryptedData `data_id` of the attachment `uri`, whose key is the EncryptedKey `key_id`."""
    token_type_attributes = write_attribute("xmlns:wsse11", WSSE11) + write_attribute(
        "wsse11:TokenType", _ENCRYPTED_KEY_TYPE
    )
    reference = write_element("wsse:Reference", "", write_attribute("URI", f"#{key_id}"))
    key_info = write_element(
        "ds:KeyInfo", write_element("wsse:SecurityTokenReference", reference, token_type_attributes)
    )
    method_text = write_algorithm("xenc:EncryptionMethod", cipher_uri)
    transform_text = write_algorithm("ds:Transform", ATTACHMENT_CIPHERTEXT)
    cipher_reference = write_element(
        "xenc:CipherReference", write_element("xenc:Transforms", transform_text), write_attribute("URI", uri)
    )
    attributes = write_attribute("Id", data_id) + write_attribute("MimeType", media_type)
    return write_element(
        "xenc:EncryptedData",
        method_text + key_info + write_element("xenc:CipherData", cipher_reference),
        _NAMESPACES + attributes + write_attribute("Type", ATTACHMENT_CONTENT),
    )
