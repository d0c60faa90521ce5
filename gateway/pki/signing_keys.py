"""Private keys for signatures, each with its certificate."""

from __future__ import annotations

import base64
import hashlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Final, Protocol, cast

from asn1crypto import algos as asn1_algos
from asn1crypto import keys as asn1_keys
from cryptography.hazmat.decrepit.ciphers.algorithms import SEED
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, modes
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from gateway.errors import KEY_UNAVAILABLE, GatewayError, raise_resource_problem
from gateway.pki.certificates import Certificate, PublicKey, read_certificate
from gateway.pki.der_elements import read_element

#: RFC 7292 §4: PFX ::= SEQUENCE { version INTEGER {v3(3)}, ... }
_VERSION_3 = b"\x02\x01\x03"


@dataclass(frozen=True, slots=True)
class KeyStore:
    """The content of a file: the key, and its certificate as DER."""

    certificate: bytes
    key: PrivateKeyTypes = field(repr=False, compare=False)


def is_pkcs12_file(data: bytes) -> bool:
    """Return whether octets are a PKCS#12 file, by their first octets."""
    outer = read_element(data, 0)
    if outer is None or outer.tag != _SEQUENCE:
        return False
    return data[outer.content : outer.content + len(_VERSION_3)] == _VERSION_3


def open_pkcs12_file(data: bytes, password: bytes | None) -> KeyStore:
    """Return key and certificate of a PKCS#12 file; raise GW803 for a wrong password or a missing part.

    Further certificates in the file are ignored: the register defines which ones are trusted.
    """
    try:
        contents = pkcs12.load_pkcs12(data, password)
    # The message may quote the input, which is secret: nothing of it is reported.
    except Exception as problem:
        raise_resource_problem(problem)
        detail = "the PKCS#12 file cannot be opened: wrong password, or another kind of file"
        raise GatewayError(KEY_UNAVAILABLE, detail, "key") from None
    if contents.key is None or contents.cert is None:
        missing_part = "private key" if contents.key is None else "certificate that belongs to its key"
        raise GatewayError(KEY_UNAVAILABLE, f"the PKCS#12 file contains no {missing_part}", "key")
    return KeyStore(contents.cert.certificate.public_bytes(Encoding.DER), contents.key)


_SEQUENCE: Final = 0x30
#: The schemes and the cipher of older and newer key files of Korea; RFC 8018 appendix A.2 and A.4.
_SEED_CBC_WITH_SHA1: Final = "1.2.410.200004.1.15"
_SEED_CBC: Final = "1.2.410.200004.1.4"
_HMACS: Final = ("sha1", "sha256", "sha512")
_KEY_OCTETS: Final = 16
#: Files in use have 2,048; a count of several thousand million would occupy the process for an hour.
_MAX_ITERATIONS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _SeedKey:
    """A private key encrypted with SEED: by PBES2 with `initialization_vector`, else by the older scheme."""

    content: bytes
    salt: bytes
    iterations: int
    hmac_digest: str = "sha1"
    initialization_vector: bytes | None = None


def is_npki_key(data: bytes) -> bool:
    """Return whether octets are a private key that is encrypted with SEED."""
    try:
        return _read_seed_key(data) is not None
    except GatewayError:
        return True


def decrypt_npki_key(data: bytes, password: bytes) -> bytes:
    """Return the PKCS#8 key (DER) of a key file (DER); raise GW803 when the password is wrong.

    The password is used as octets: the files specify no character set.
    """
    seed_key = _read_seed_key(data)
    if seed_key is None:
        raise _make_unreadable_error("it is not encrypted with SEED")
    key, initialization_vector = _derive_key(seed_key, password)
    decryptor = Cipher(SEED(key), modes.CBC(initialization_vector)).decryptor()
    unpadder = PKCS7(SEED.block_size).unpadder()
    try:
        padded_key = decryptor.update(seed_key.content) + decryptor.finalize()
        key_octets = unpadder.update(padded_key) + unpadder.finalize()
    except ValueError:
        raise _make_unreadable_error("wrong password, or the file is damaged") from None
    key_element = read_element(key_octets, 0)
    if key_element is None or key_element.tag != _SEQUENCE or key_element.end != len(key_octets):
        # One wrong password in 256 gives correct padding by chance.
        raise _make_unreadable_error("wrong password, or the file is damaged")
    return key_octets


def _read_seed_key(data: bytes) -> _SeedKey | None:
    """Return the parts of EncryptedPrivateKeyInfo (RFC 5958 §3); None for octets that are something else."""
    try:
        info = asn1_keys.EncryptedPrivateKeyInfo.load(data, strict=True)
        algorithm, encrypted_octets = info["encryption_algorithm"], info["encrypted_data"].native
        if algorithm["algorithm"].dotted == _SEED_CBC_WITH_SHA1:
            derivation_parameters = algorithm["parameters"].parse(asn1_algos.Pbes1Params).native
            return _SeedKey(
                encrypted_octets, derivation_parameters["salt"], derivation_parameters["iterations"]
            )
        cipher = algorithm["parameters"]["encryption_scheme"]
        derivation = algorithm["parameters"]["key_derivation_func"]
        if cipher["algorithm"].dotted != _SEED_CBC:
            return None
        if derivation["algorithm"].native != "pbkdf2":
            raise _make_unreadable_error("it is encrypted by a scheme that is not known here")
        derivation_parameters, initialization_vector = (
            derivation["parameters"].native,
            bytes(cipher["parameters"].parsed),
        )
        salt, hmac_digest = (
            bytes(derivation["parameters"]["salt"].chosen),
            derivation_parameters["prf"]["algorithm"],
        )
        return _SeedKey(
            encrypted_octets,
            salt,
            derivation_parameters["iteration_count"],
            hmac_digest,
            initialization_vector,
        )
    except GatewayError:
        raise
    # For other octets the parser raises exceptions of many types.
    except Exception as problem:
        raise_resource_problem(problem)
        return None


def _derive_key(seed_key: _SeedKey, password: bytes) -> tuple[bytes, bytes]:
    """Return the SEED key (16 octets) and the initialization vector; raise GW803 for unusable parameters.

    By the older scheme the vector is the digest of the octets after the key.
    """
    if not 1 <= seed_key.iterations <= _MAX_ITERATIONS:
        raise _make_unreadable_error(f"it wants more than {_MAX_ITERATIONS} rounds, or none")
    if seed_key.initialization_vector is not None:
        if len(seed_key.initialization_vector) != _KEY_OCTETS or seed_key.hmac_digest not in _HMACS:
            raise _make_unreadable_error("it is encrypted by a scheme that is not known here")
        key = hashlib.pbkdf2_hmac(
            seed_key.hmac_digest, password, seed_key.salt, seed_key.iterations, _KEY_OCTETS
        )
        return key, seed_key.initialization_vector
    derived_octets = password + seed_key.salt
    for _ in range(seed_key.iterations):
        derived_octets = hashlib.sha1(derived_octets, usedforsecurity=False).digest()
    vector_digest = hashlib.sha1(derived_octets[_KEY_OCTETS:], usedforsecurity=False).digest()
    return derived_octets[:_KEY_OCTETS], vector_digest[:_KEY_OCTETS]


def _make_unreadable_error(reason: str) -> GatewayError:
    return GatewayError(KEY_UNAVAILABLE, f"the encrypted key cannot be read: {reason}", "key")


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
    parsed_certificate, loaded_key = load_key_and_certificate(key, certificate, password, PrivateKey)
    private_key = cast("PrivateKey", loaded_key)
    return KeySigner(parsed_certificate, get_signature_algorithm(private_key.public_key()), private_key)


def load_key_and_certificate(
    key: bytes,
    certificate: bytes | None = None,
    password: bytes | None = None,
    key_types: UnionType = PrivateKey | x25519.X25519PrivateKey,
) -> tuple[Certificate, PrivateKeyTypes]:
    """Return a certificate and its key of one of these kinds, as `load_signer` reads them; raise GW803."""
    _check_key_file_size(key)
    if is_pkcs12_file(key):
        store = open_pkcs12_file(key, password)
        return _match_key_and_certificate(store.key, certificate or store.certificate, key_types)
    if certificate is None:
        raise GatewayError(KEY_UNAVAILABLE, "a key without a certificate", "certificate")
    # The certificate is read first, so that its faults are reported as such.
    read_certificate(certificate)
    return _match_key_and_certificate(_read_private_key(key, password), certificate, key_types)


def get_signature_algorithm(key: PublicKey) -> str:
    """Return the URI of the algorithm with which the private part of `key` signs."""
    if isinstance(key, rsa.RSAPublicKey):
        return RSA_SHA256
    return _CURVES[key.curve.name][0] if isinstance(key, ec.EllipticCurvePublicKey) else ED25519


def get_curve_digest(key: ec.EllipticCurvePublicKey) -> hashes.HashAlgorithm:
    """Return the digest algorithm for the curve of `key`."""
    return _CURVES[key.curve.name][1]


def _match_key_and_certificate(
    key: PrivateKeyTypes, certificate: bytes, key_types: UnionType
) -> tuple[Certificate, PrivateKeyTypes]:
    """Return the certificate and its key; raise GW803 for a key of another type or another certificate."""
    parsed_certificate = read_certificate(certificate)
    if not isinstance(key, key_types):
        raise GatewayError(KEY_UNAVAILABLE, f"keys of type {type(key).__name__} do not sign here", "key")
    if _encode_public_key(cast("Any", key).public_key()) != _encode_public_key(parsed_certificate.public_key):
        raise GatewayError(
            KEY_UNAVAILABLE, f"the key does not belong to {parsed_certificate.subject[:120]}", "key"
        )
    return parsed_certificate, key


def _check_key_file_size(data: bytes) -> None:
    if len(data) > _MAX_KEY_OCTETS:
        raise GatewayError(KEY_UNAVAILABLE, f"a key of {len(data)} octets is too large", "key")


def _read_private_key(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    """Return the private key in PEM or DER, decrypted by `password`; raise GW803 without quoting the file."""
    data = data.removeprefix(BOM_UTF8)
    if is_npki_key(der := _decode_pem_key(data)):
        if password is None:
            raise GatewayError(KEY_UNAVAILABLE, "the key is encrypted, and no password is given", "key")
        data, password = decrypt_npki_key(der, password), None
    load_key = (
        serialization.load_der_private_key if data[:1] == b"\x30" else serialization.load_pem_private_key
    )
    try:
        return load_key(data, password)
    # The message may quote the input, which is secret: only the type of the error is used.
    except TypeError:
        reason = "it is encrypted, and no password is given"
        if password is not None:
            reason = "a password is given, and it is not encrypted"
    except Exception as problem:
        raise_resource_problem(problem)
        reason = "it is no private key in PEM or DER"
        if password is not None:
            reason = "the password does not open it, or it is no private key"
    raise GatewayError(KEY_UNAVAILABLE, f"the private key cannot be read: {reason}", "key")


def _decode_pem_key(data: bytes) -> bytes:
    """Return the DER content of an encrypted PEM key; other input is returned unchanged."""
    head, marker, rest = data.partition(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    try:
        return base64.b64decode(rest.partition(b"-----END")[0]) if marker else head
    except ValueError:
        return b""


def _encode_public_key(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
