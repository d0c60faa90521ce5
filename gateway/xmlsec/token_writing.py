"""Writes how a signature of WS-Security names its certificate (X.509 token profile 1.1 §3)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from gateway.pki import Certificate, get_parsed_certificate
from gateway.wire import (
    BASE64_ENCODING,
    X509_PKI_PATH_TOKEN,
    X509_TOKEN,
    write_attribute,
    write_element,
    write_leaf,
)

__all__ = ["WRITTEN_REFERENCES", "write_token"]

_PKCS7_TOKEN: Final = X509_TOKEN.replace("#X509v3", "#PKCS7")
_SUBJECT_KEY: Final = X509_TOKEN.replace("#X509v3", "#X509SubjectKeyIdentifier")
_THUMBPRINT: Final = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#ThumbprintSHA1"
_BINARY: Final = "<wsse:BinarySecurityToken" + write_attribute("EncodingType", BASE64_ENCODING)
_MOST_ISSUERS: Final = 8
_SEQUENCE: Final = 0x30
_SHORT: Final = 0x80


def write_token(
    certificate: Certificate, kind: str | None, token_id: str, issuers: Iterable[Certificate] = ()
) -> tuple[str, str]:
    """Return the token (or nothing) and the ds:KeyInfo that names a certificate.

    `kind` is one of `WRITTEN_REFERENCES`, None for ``X509v3``. `issuers` are the authorities from which the
    path of a ``X509PKIPathv1`` token is built. A certificate without key identifier is sent whole.
    """
    if kind == "SubjectKeyIdentifier" and certificate.subject_key_identifier is None:
        kind = None
    write = WRITTEN_REFERENCES[kind or "X509v3"]
    token, reference = write(certificate, token_id, tuple(issuers))
    return token, write_element("ds:KeyInfo", write_element("wsse:SecurityTokenReference", reference))


_Written = tuple[str, str]
_Issuers = tuple[Certificate, ...]


# of our own certificates, in every message
@lru_cache(maxsize=16)
def _encode(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _write_binary_token(octets: bytes, kind: str, token_id: str) -> _Written:
    named = write_attribute("URI", f"#{token_id}") + write_attribute("ValueType", kind)
    start = _BINARY + write_attribute("ValueType", kind) + write_attribute("wsu:Id", token_id)
    token = f"{start}>{_encode(octets)}</wsse:BinarySecurityToken>"
    return token, write_element("wsse:Reference", "", named)


def _write_certificate(certificate: Certificate, token_id: str, _: _Issuers) -> _Written:
    return _write_binary_token(certificate.der, X509_TOKEN, token_id)


def _write_path(certificate: Certificate, token_id: str, issuers: _Issuers) -> _Written:
    """Return a PKIPath: the certificate nearest to the anchor comes first, the signer's last (X.509 §7.8)."""
    path = [certificate]
    while len(path) <= _MOST_ISSUERS:
        above = next((one for one in issuers if one.subject_der == path[0].issuer_der), None)
        if above is None or above in path:
            break
        path.insert(0, above)
    content = b"".join(one.der for one in path)
    return _write_binary_token(_write_length(len(content)) + content, X509_PKI_PATH_TOKEN, token_id)


def _write_length(count: int) -> bytes:
    """Return tag and length of a DER sequence of so many octets."""
    if count < _SHORT:
        return bytes([_SEQUENCE, count])
    octets = count.to_bytes((count.bit_length() + 7) // 8)
    return bytes([_SEQUENCE, _SHORT | len(octets)]) + octets


def _write_pkcs7(certificate: Certificate, token_id: str, _: _Issuers) -> _Written:
    octets = pkcs7.serialize_certificates([get_parsed_certificate(certificate)], Encoding.DER)
    return _write_binary_token(octets, _PKCS7_TOKEN, token_id)


def _write_identifier(octets: bytes, kind: str) -> _Written:
    attributes = write_attribute("EncodingType", BASE64_ENCODING) + write_attribute("ValueType", kind)
    return "", write_leaf("wsse:KeyIdentifier", _encode(octets), attributes)


def _write_subject_key(certificate: Certificate, _token_id: str, _: _Issuers) -> _Written:
    return _write_identifier(certificate.subject_key_identifier or b"", _SUBJECT_KEY)


def _write_thumbprint(certificate: Certificate, _token_id: str, _: _Issuers) -> _Written:
    # The profile names SHA-1: it chooses a certificate that the receiver has, and proves nothing.
    return _write_identifier(hashlib.sha1(certificate.der, usedforsecurity=False).digest(), _THUMBPRINT)


def _write_issuer_serial(certificate: Certificate, _token_id: str, _: _Issuers) -> _Written:
    named = write_leaf("ds:X509IssuerName", get_parsed_certificate(certificate).issuer.rfc4514_string())
    named += write_leaf("ds:X509SerialNumber", str(certificate.serial))
    return "", write_element("ds:X509Data", write_element("ds:X509IssuerSerial", named))


#: The references to certificates by their names in P-Modes.
WRITTEN_REFERENCES: Final[dict[str, Callable[[Certificate, str, _Issuers], _Written]]] = {
    "X509v3": _write_certificate,
    "X509PKIPathv1": _write_path,
    "PKCS7": _write_pkcs7,
    "SubjectKeyIdentifier": _write_subject_key,
    "Thumbprint": _write_thumbprint,
    "IssuerSerial": _write_issuer_serial,
}
