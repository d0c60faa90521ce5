"""Certificate requests (PKCS#10, RFC 2986): made for our own key, read strictly from other parties."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtensionOID

from gateway.errors import CERTIFICATE_UNTRUSTED, GatewayError, describe_exception
from gateway.pki.certificates import (
    DEFAULT_RULES,
    CertificateRules,
    PublicKey,
    evaluate_key,
    format_name,
    list_alternative_names,
)
from gateway.pki.signing_keys import PrivateKey

__all__ = ["MAX_REQUEST_OCTETS", "CertificateRequest", "make_certificate_request", "read_certificate_request"]

#: Real requests have 0.5 to 2 KiB.
MAX_REQUEST_OCTETS: Final = 32 * 1024
_MAX_ATTRIBUTES: Final = 16
_PEM: Final = re.compile(
    rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----\s([A-Za-z0-9+/=\s]*)"
    rb"-----END (?:NEW )?CERTIFICATE REQUEST-----"
)


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A request with a valid signature: its sender has the private key.

    ``subject`` is an RFC 4514 string; ``alternative_names`` begin with their kind, "dns:" or
    "uri:". Other requested extensions are not granted and therefore not read.
    """

    subject: str
    subject_name: x509.Name = field(repr=False)
    key_type: str
    public_key: PublicKey = field(repr=False)
    alternative_names: tuple[str, ...] = ()


def make_certificate_request(
    key: PrivateKey, subject: x509.Name, alternative_names: tuple[x509.GeneralName, ...] = ()
) -> bytes:
    """Return a request (PEM) for `key`, signed by it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if alternative_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


def read_certificate_request(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> CertificateRequest:
    """Read one request, DER or PEM; raise GW205 unless it is signed by its own key, of an accepted kind.

    The signature is the proof of possession (RFC 2986 §3): without it, another party's key
    could be certified.
    """
    encoded = _decode_request(data)
    try:
        parsed = x509.load_der_x509_csr(encoded)
        public, extensions, digest = parsed.public_key(), parsed.extensions, parsed.signature_hash_algorithm
        attributes, again = len(list(parsed.attributes)), parsed.public_bytes(serialization.Encoding.DER)
    # For malformed input the parser raises ValueError, TypeError and types of its own.
    except Exception as problem:
        _raise_untrusted(f"malformed request: {describe_exception(problem)}")
    if again != encoded:
        _raise_untrusted("malformed request: something follows it")
    if attributes > _MAX_ATTRIBUTES:
        _raise_untrusted(f"more than {_MAX_ATTRIBUTES} attributes")
    kind, refused = evaluate_key(public, rules)
    if refused:
        _raise_untrusted(refused)
    if digest is not None and digest.name in rules.weak_digests:
        _raise_untrusted(f"signed with {digest.name}, which is refused")
    if not parsed.is_signature_valid:
        _raise_untrusted("the signature is not by the key that is to be certified: no proof of possession")
    _check_extensions(extensions)
    if not list(parsed.subject):
        _raise_untrusted("a request without a subject")
    names = list_alternative_names(_find_extension(extensions, ExtensionOID.SUBJECT_ALTERNATIVE_NAME))
    return CertificateRequest(format_name(parsed.subject), parsed.subject, kind, public, names)  # type: ignore[arg-type]


def _find_extension(
    extensions: x509.Extensions, oid: x509.ObjectIdentifier
) -> x509.Extension[x509.ExtensionType] | None:
    return next((each for each in extensions if each.oid == oid), None)


def _check_extensions(extensions: x509.Extensions) -> None:
    """Raise when the request asks for a CA certificate; the profile decides on all other extensions."""
    constraints = _find_extension(extensions, ExtensionOID.BASIC_CONSTRAINTS)
    usage = _find_extension(extensions, ExtensionOID.KEY_USAGE)
    asks = (
        constraints is not None
        and isinstance(constraints.value, x509.BasicConstraints)
        and constraints.value.ca
    )
    if asks or (usage is not None and isinstance(usage.value, x509.KeyUsage) and usage.value.key_cert_sign):
        _raise_untrusted("the request asks to be an authority")


def _decode_request(data: bytes) -> bytes:
    if len(data) > MAX_REQUEST_OCTETS:
        _raise_untrusted(f"a request of {len(data)} octets is too large")
    if data[:1] == b"\x30":
        return bytes(data)
    block = _PEM.fullmatch(data.strip())
    if block is None:
        _raise_untrusted("neither DER nor exactly one PEM request")
    try:
        return base64.b64decode(b"".join(block.group(1).split()), validate=True)
    except binascii.Error:
        _raise_untrusted("the base64 text of the request is malformed")


def _raise_untrusted(detail: str) -> NoReturn:
    raise GatewayError(CERTIFICATE_UNTRUSTED, detail[:300], "request")
