"""Writes which certificate a signature of WS-Security is by: the token with it, and the reference to it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from gateway.pki import Certificate, get_parsed_certificate
from gateway.wire import (
    BASE64_ENCODING,
    WSSE11,
    X509_PKCS7_TOKEN,
    X509_PKI_PATH_TOKEN,
    X509_SUBJECT_KEY,
    X509_THUMBPRINT,
    X509_TOKEN,
    write_attribute,
    write_element,
    write_leaf,
)

_BINARY_TOKEN_START: Final = "<wsse:BinarySecurityToken" + write_attribute("EncodingType", BASE64_ENCODING)
_MAX_ISSUERS: Final = 8
_DER_SEQUENCE_TAG: Final = 0x30
_DER_LONG_LENGTH: Final = 0x80


def write_token(
    certificate: Certificate, reference_name: str | None, token_id: str, issuers: Iterable[Certificate] = ()
) -> tuple[str, str]:
    """Return the token (or nothing) and the ds:KeyInfo that names a certificate.

    `reference_name` is one of `REFERENCE_WRITERS`, None for ``X509v3``. `issuers` are the authorities from
    which the path of a ``X509PKIPathv1`` token is built. A certificate without key identifier is sent whole.
    """
    if reference_name == "SubjectKeyIdentifier" and certificate.subject_key_identifier is None:
        reference_name = None
    write_reference = REFERENCE_WRITERS[reference_name or "X509v3"]
    written = write_reference(certificate, token_id, tuple(issuers))
    attributes = ""
    if written.token_type is not None:
        attributes = write_attribute("xmlns:wsse11", WSSE11)
        attributes += write_attribute("wsse11:TokenType", written.token_type)
    token_reference = write_element("wsse:SecurityTokenReference", written.reference, attributes)
    return written.token, write_element("ds:KeyInfo", token_reference)


@dataclass(frozen=True, slots=True)
class _WrittenReference:
    """A reference to a certificate as text, and the token that it refers to, if any.

    `token_type` is the type of the token that the reference must state (Basic Security Profile 1.1 R5212
    and R5215), None where it states none.
    """

    reference: str
    token: str = ""
    token_type: str | None = None


_Issuers = tuple[Certificate, ...]


# of our own certificates, in every message
@lru_cache(maxsize=16)
def _encode_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _write_binary_token(octets: bytes, token_type: str, token_id: str) -> _WrittenReference:
    """Return a BinarySecurityToken with `octets` and the wsse:Reference to it."""
    attributes = write_attribute("URI", f"#{token_id}") + write_attribute("ValueType", token_type)
    start_tag = (
        _BINARY_TOKEN_START + write_attribute("ValueType", token_type) + write_attribute("wsu:Id", token_id)
    )
    token = f"{start_tag}>{_encode_base64(octets)}</wsse:BinarySecurityToken>"
    reference = write_element("wsse:Reference", "", attributes)
    return _WrittenReference(reference, token, None if token_type == X509_TOKEN else token_type)


def _write_certificate(certificate: Certificate, token_id: str, _: _Issuers) -> _WrittenReference:
    return _write_binary_token(certificate.der, X509_TOKEN, token_id)


def _write_path(certificate: Certificate, token_id: str, issuers: _Issuers) -> _WrittenReference:
    """Return a PKIPath: the certificate nearest to the anchor comes first, the signer's last (X.509 §7.8)."""
    certificate_path = [certificate]
    while len(certificate_path) <= _MAX_ISSUERS:
        issuer = next(
            (candidate for candidate in issuers if candidate.subject_der == certificate_path[0].issuer_der),
            None,
        )
        if issuer is None or issuer in certificate_path:
            break
        certificate_path.insert(0, issuer)
    content = b"".join(path_certificate.der for path_certificate in certificate_path)
    return _write_binary_token(_write_length(len(content)) + content, X509_PKI_PATH_TOKEN, token_id)


def _write_length(content_length: int) -> bytes:
    """Return tag and length of a DER sequence of `content_length` octets."""
    if content_length < _DER_LONG_LENGTH:
        return bytes([_DER_SEQUENCE_TAG, content_length])
    length_octets = content_length.to_bytes((content_length.bit_length() + 7) // 8)
    return bytes([_DER_SEQUENCE_TAG, _DER_LONG_LENGTH | len(length_octets)]) + length_octets


def _write_pkcs7(certificate: Certificate, token_id: str, _: _Issuers) -> _WrittenReference:
    octets = pkcs7.serialize_certificates([get_parsed_certificate(certificate)], Encoding.DER)
    return _write_binary_token(octets, X509_PKCS7_TOKEN, token_id)


def _write_identifier(octets: bytes, identifier_type: str) -> _WrittenReference:
    attributes = write_attribute("EncodingType", BASE64_ENCODING) + write_attribute(
        "ValueType", identifier_type
    )
    return _WrittenReference(write_leaf("wsse:KeyIdentifier", _encode_base64(octets), attributes))


def _write_subject_key(certificate: Certificate, _token_id: str, _: _Issuers) -> _WrittenReference:
    return _write_identifier(certificate.subject_key_identifier or b"", X509_SUBJECT_KEY)


def _write_thumbprint(certificate: Certificate, _token_id: str, _: _Issuers) -> _WrittenReference:
    return _write_identifier(certificate.thumbprint, X509_THUMBPRINT)


def _write_issuer_serial(certificate: Certificate, _token_id: str, _: _Issuers) -> _WrittenReference:
    content = write_leaf("ds:X509IssuerName", write_name(get_parsed_certificate(certificate).issuer))
    content += write_leaf("ds:X509SerialNumber", str(certificate.serial))
    return _WrittenReference(write_element("ds:X509Data", write_element("ds:X509IssuerSerial", content)))


_TEXT_TAGS: Final = (core.UTF8String.tag, core.PrintableString.tag)
#: Domain components are of another type (RFC 4519 §2.4).
_DOMAIN_TEXT_TAGS: Final = (core.IA5String.tag,)


def write_name(name: x509.Name) -> str:
    """Return a name as text of RFC 4514 from which others read the name that is in the certificate.

    A value is written by its DER (§2.4) where its text alone would be read as another type of string: that
    of an attribute without a short name, and of other types than UTF8String and PrintableString. Characters
    that are not printed are written so, too: XML cannot contain all of them.
    """
    return ",".join("+".join(map(_write_name_attribute, part)) for part in reversed(name.rdns))


def _write_name_attribute(attribute: x509.NameAttribute[str | bytes]) -> str:
    short_name = attribute.rfc4514_attribute_name
    # A name is a sequence of sets of pairs of type and value.
    encoded_name = core.load(x509.Name([attribute]).public_bytes())
    value_octets = core.load(core.load(encoded_name.contents).contents)[1].dump()
    text_tags = _DOMAIN_TEXT_TAGS if short_name == "DC" else _TEXT_TAGS
    is_text = isinstance(attribute.value, str) and attribute.value.isprintable()
    if is_text and value_octets[0] in text_tags and short_name != attribute.oid.dotted_string:
        return attribute.rfc4514_string()
    return f"{short_name}=#{value_octets.hex()}"


#: The references to certificates by their names in P-Modes.
REFERENCE_WRITERS: Final[dict[str, Callable[[Certificate, str, _Issuers], _WrittenReference]]] = {
    "X509v3": _write_certificate,
    "X509PKIPathv1": _write_path,
    "PKCS7": _write_pkcs7,
    "SubjectKeyIdentifier": _write_subject_key,
    "Thumbprint": _write_thumbprint,
    "IssuerSerial": _write_issuer_serial,
}
