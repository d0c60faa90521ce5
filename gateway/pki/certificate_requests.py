"""Certificate requests (PKCS#10, RFC 2986): made with our own key, read strictly from other parties."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from gateway.errors import (
    CERTIFICATE_UNTRUSTED,
    MISUSE,
    GatewayError,
    describe_exception,
    raise_resource_problem,
)
from gateway.file_owner import open_owned_file
from gateway.pki.certificates import (
    DEFAULT_RULES,
    CertificateRules,
    PublicKey,
    evaluate_key,
    format_name,
    list_alternative_names,
)
from gateway.pki.signing_keys import PrivateKey

#: The kinds of keys that `make_private_key` makes.
KEY_KINDS: Final = ("rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521", "ed25519")
#: Real requests have 0.5 to 2 KiB.
MAX_REQUEST_OCTETS: Final = 32 * 1024
_MAX_ATTRIBUTES: Final = 16
_PEM_PATTERN: Final = re.compile(
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


def make_private_key(key_kind: str = "p-256") -> PrivateKey:
    """Make a private key; elliptic-curve keys take a millisecond, RSA keys a tenth of a second or more."""
    if key_kind.startswith("rsa-") and key_kind in KEY_KINDS:
        return rsa.generate_private_key(public_exponent=65537, key_size=int(key_kind[4:]))
    if key_kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, ec.EllipticCurve] = {
        "p-256": ec.SECP256R1(),
        "p-384": ec.SECP384R1(),
        "p-521": ec.SECP521R1(),
    }
    if key_kind not in curves:
        raise GatewayError(MISUSE, f"unknown kind of key {key_kind[:40]!r}", "key_kind")
    return ec.generate_private_key(curves[key_kind])


def encode_key_pem(key: PrivateKey, password: bytes | None = None) -> bytes:
    """Return `key` as PKCS#8 PEM, encrypted when a password is given."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def make_key_and_request(
    subject: str, key_kind: str = "p-256", name_texts: Sequence[str] = ()
) -> tuple[PrivateKey, bytes]:
    """Make a key and the request (PEM) for its certificate, signed by it.

    ``subject`` is as in `parse_subject_name`, each of ``name_texts`` as in `make_general_name`.
    """
    key = make_private_key(key_kind)
    builder = x509.CertificateSigningRequestBuilder().subject_name(parse_subject_name(subject))
    if name_texts:
        alternative_names = x509.SubjectAlternativeName(make_general_name(each) for each in name_texts)
        builder = builder.add_extension(alternative_names, critical=False)
    request = builder.sign(key, choose_signature_digest(key))
    return key, request.public_bytes(serialization.Encoding.PEM)


def write_private_key(path: Path, key: PrivateKey, password: bytes | None = None) -> None:
    """Write a new private key that only its owner can read; raise GW808 when the file exists."""
    try:
        descriptor = open_owned_file(path, os.O_WRONLY | os.O_EXCL)
    except OSError as error:
        raise GatewayError(MISUSE, f"{path} cannot be made: {error.strerror}", str(path)) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(encode_key_pem(key, password))


def make_general_name(name: str) -> x509.GeneralName:
    """Return the alternative name for a text like dns:HOST or uri:URI; raise GW808 for another text."""
    name_kind, _, value = name.partition(":")
    if name_kind == "dns" and value:
        return x509.DNSName(value)
    if name_kind == "uri" and value:
        return x509.UniformResourceIdentifier(value)
    raise GatewayError(MISUSE, f"neither dns: nor uri: {name[:80]!r}", "alternative_names")


def parse_subject_name(subject: str) -> x509.Name:
    """Read an RFC 4514 name, or use a text without "=" as a common name; raise GW808."""
    if "=" not in subject:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    try:
        return x509.Name.from_rfc4514_string(subject)
    except ValueError as error:
        raise GatewayError(MISUSE, f"not a name: {subject[:80]!r}", "subject") from error


def choose_signature_digest(key: PrivateKey) -> hashes.SHA256 | None:
    """Return the digest algorithm of a key's signatures: SHA-256, or None for Ed25519."""
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def read_certificate_request(data: bytes, rules: CertificateRules = DEFAULT_RULES) -> CertificateRequest:
    """Read one request, DER or PEM; raise GW205 unless it is signed by its own key, of an accepted kind.

    The signature is the proof of possession (RFC 2986 §3): without it, another party's key
    could be certified.
    """
    encoded = _decode_request(data)
    try:
        parsed = x509.load_der_x509_csr(encoded)
        public, extensions, digest_algorithm = (
            parsed.public_key(),
            parsed.extensions,
            parsed.signature_hash_algorithm,
        )
        attribute_count, encoded_again = (
            len(list(parsed.attributes)),
            parsed.public_bytes(serialization.Encoding.DER),
        )
    # For malformed input the parser raises ValueError, TypeError and types of its own.
    except Exception as problem:
        raise_resource_problem(problem)
        _raise_untrusted(f"malformed request: {describe_exception(problem)}")
    if encoded_again != encoded:
        _raise_untrusted("malformed request: something follows it")
    if attribute_count > _MAX_ATTRIBUTES:
        _raise_untrusted(f"more than {_MAX_ATTRIBUTES} attributes")
    kind, refusal_reason = evaluate_key(public, rules)
    if refusal_reason:
        _raise_untrusted(refusal_reason)
    if digest_algorithm is not None and digest_algorithm.name in rules.weak_digests:
        _raise_untrusted(f"signed with {digest_algorithm.name}, which is refused")
    if not parsed.is_signature_valid:
        _raise_untrusted("the signature is not by the key that is to be certified: no proof of possession")
    _check_extensions(extensions)
    if not list(parsed.subject):
        _raise_untrusted("a request without a subject")
    alternative_names = list_alternative_names(
        _find_extension(extensions, ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    )
    return CertificateRequest(format_name(parsed.subject), parsed.subject, kind, public, alternative_names)  # type: ignore[arg-type]


def _find_extension(
    extensions: x509.Extensions, oid: x509.ObjectIdentifier
) -> x509.Extension[x509.ExtensionType] | None:
    return next((each for each in extensions if each.oid == oid), None)


def _check_extensions(extensions: x509.Extensions) -> None:
    """Raise when the request asks for a CA certificate; the profile decides on all other extensions."""
    constraints = _find_extension(extensions, ExtensionOID.BASIC_CONSTRAINTS)
    key_usage = _find_extension(extensions, ExtensionOID.KEY_USAGE)
    requests_ca = (
        constraints is not None
        and isinstance(constraints.value, x509.BasicConstraints)
        and constraints.value.ca
    )
    if requests_ca or (
        key_usage is not None and isinstance(key_usage.value, x509.KeyUsage) and key_usage.value.key_cert_sign
    ):
        _raise_untrusted("the request asks to be an authority")


def _decode_request(data: bytes) -> bytes:
    """Return the DER octets of a request in DER or in PEM; raise GatewayError for anything else."""
    if len(data) > MAX_REQUEST_OCTETS:
        _raise_untrusted(f"a request of {len(data)} octets is too large")
    if data[:1] == b"\x30":
        return bytes(data)
    pem_blocks = _PEM_PATTERN.findall(data)
    if len(pem_blocks) != 1 or data.count(b"-----BEGIN ") != 1:
        _raise_untrusted("neither DER nor exactly one PEM request")
    try:
        return base64.b64decode(b"".join(pem_blocks[0].split()), validate=True)
    except binascii.Error:
        _raise_untrusted("the base64 text of the request is malformed")


def _raise_untrusted(detail: str) -> NoReturn:
    raise GatewayError(CERTIFICATE_UNTRUSTED, detail[:300], "request")
