"""Private keys for signatures, each with its certificate."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Final, Protocol, cast

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.certificates import Certificate, PublicKey, read_certificate
from gateway.pki.npki_keys import decrypt_npki_key, is_npki_key
from gateway.pki.pkcs12 import is_pkcs12_file, open_pkcs12_file

__all__ = [
    "ECDSA_SHA256",
    "ECDSA_SHA384",
    "ECDSA_SHA512",
    "ED25519",
    "RSA_SHA256",
    "KeySigner",
    "Keyring",
    "PrivateKey",
    "Signer",
    "get_curve_digest",
    "get_signature_algorithm",
    "load_signer",
]

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

# RFC 9231 §2.3.
RSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
ECDSA_SHA256: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"
ECDSA_SHA384: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
ECDSA_SHA512: Final = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512"
ED25519: Final = "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"

_CURVES: Final[dict[str, tuple[str, hashes.HashAlgorithm]]] = {
    "secp256r1": (ECDSA_SHA256, hashes.SHA256()),
    "secp384r1": (ECDSA_SHA384, hashes.SHA384()),
    "secp521r1": (ECDSA_SHA512, hashes.SHA512()),
}
_SCHEMES: Final = {name: ec.ECDSA(digest) for name, (_, digest) in _CURVES.items()}
_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_MAX_KEY_OCTETS: Final = 64 * 1024


class Signer(Protocol):
    """A signer: a key in memory, or a key that never leaves its token."""

    @property
    def certificate(self) -> Certificate:
        """Return the certificate of the key."""

    @property
    def algorithm(self) -> str:
        """Return the XML Signature algorithm of the key, as a URI."""

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data` in the form of XML Signature (ECDSA: r followed by s)."""


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A key in memory; ``load_signer`` creates it and checks that the key matches the certificate."""

    certificate: Certificate
    algorithm: str
    key: PrivateKey = field(repr=False, compare=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data` in the form of XML Signature."""
        key = self.key
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, _PKCS1, _SHA256)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            signature = key.sign(data, _SCHEMES[key.curve.name])
            r, s = decode_dss_signature(signature)
            # RFC 9231 §2.3.6: two integers, each as long as the field of the curve.
            octets = (key.curve.key_size + 7) // 8
            return r.to_bytes(octets) + s.to_bytes(octets)
        return key.sign(data)


class Keyring(Mapping[str, Signer]):
    """The signers of this gateway by name; an unknown name raises GW803, never KeyError."""

    __slots__ = ("_signers",)

    def __init__(self, signers: Mapping[str, Signer]) -> None:
        self._signers = dict(signers)

    def __getitem__(self, name: str) -> Signer:
        """Return the signer called `name`."""
        try:
            return self._signers[name]
        except KeyError:
            raise GatewayError(KEY_UNAVAILABLE, f"there is no key called {name[:80]!r}", name[:80]) from None

    def __contains__(self, name: object) -> bool:
        """Return whether there is a signer called `name`."""
        return name in self._signers

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._signers)

    def __len__(self) -> int:
        """Return the number of signers."""
        return len(self._signers)


def load_signer(key: bytes, certificate: bytes | None = None, password: bytes | None = None) -> KeySigner:
    """Read a key and its certificate; raise GW803 unless they match.

    `key` is PKCS#8 or traditional, PEM or DER, plain or encrypted, also with SEED; or a
    PKCS#12 file, whose certificate is used when none is given.
    """
    read, loaded = load_key_and_certificate(key, certificate, password, PrivateKey)
    found = cast("PrivateKey", loaded)
    return KeySigner(read, get_signature_algorithm(found.public_key()), found)


def load_key_and_certificate(
    key: bytes,
    certificate: bytes | None = None,
    password: bytes | None = None,
    kinds: UnionType = PrivateKey | x25519.X25519PrivateKey,
) -> tuple[Certificate, PrivateKeyTypes]:
    """Return a certificate and its key of one of these kinds, as `load_signer` reads them; raise GW803."""
    _check_key_file_size(key)
    if is_pkcs12_file(key):
        store = open_pkcs12_file(key, password)
        return _match_key_and_certificate(store.key, certificate or store.certificate, kinds)
    if certificate is None:
        raise GatewayError(KEY_UNAVAILABLE, "a key without a certificate", "certificate")
    # The certificate is read first, so that its faults are reported as such.
    read_certificate(certificate)
    return _match_key_and_certificate(_read_private_key(key, password), certificate, kinds)


def get_signature_algorithm(key: PublicKey) -> str:
    """Return the URI of the algorithm with which the private part of `key` signs."""
    if isinstance(key, rsa.RSAPublicKey):
        return RSA_SHA256
    return _CURVES[key.curve.name][0] if isinstance(key, ec.EllipticCurvePublicKey) else ED25519


def get_curve_digest(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    """Return the digest algorithm for the curve of `key`."""
    return _CURVES[key.curve.name][1]


def _match_key_and_certificate(
    key: PrivateKeyTypes, certificate: bytes, kinds: UnionType
) -> tuple[Certificate, PrivateKeyTypes]:
    read = read_certificate(certificate)
    if not isinstance(key, kinds):
        raise GatewayError(KEY_UNAVAILABLE, f"keys of type {type(key).__name__} do not sign here", "key")
    if _encode_public_key(cast("Any", key).public_key()) != _encode_public_key(read.public_key):
        raise GatewayError(KEY_UNAVAILABLE, f"the key does not belong to {read.subject[:120]}", "key")
    return read, key


def _check_key_file_size(data: bytes) -> None:
    if len(data) > _MAX_KEY_OCTETS:
        raise GatewayError(KEY_UNAVAILABLE, f"a key of {len(data)} octets is too large", "key")


def _read_private_key(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    if is_npki_key(der := _decode_pem_key(data)):
        if password is None:
            raise GatewayError(KEY_UNAVAILABLE, "the key is encrypted, and no password is given", "key")
        data, password = decrypt_npki_key(der, password), None
    load = serialization.load_der_private_key if data[:1] == b"\x30" else serialization.load_pem_private_key
    try:
        return load(data, password)
    # The message may quote the input, which is secret: only the type of the error is used.
    except TypeError:
        said = "it is encrypted, and no password is given"
        if password is not None:
            said = "a password is given, and it is not encrypted"
    except Exception:
        said = "it is no private key in PEM or DER"
        if password is not None:
            said = "the password does not open it, or it is no private key"
    raise GatewayError(KEY_UNAVAILABLE, f"the private key cannot be read: {said}", "key")


def _decode_pem_key(data: bytes) -> bytes:
    """Return the DER content of an encrypted PEM key; other input is returned unchanged."""
    head, found, rest = data.partition(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    try:
        return base64.b64decode(rest.partition(b"-----END")[0]) if found else head
    except ValueError:
        return b""


def _encode_public_key(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
