"""Key files of the Korean national PKI: PKCS#8 encrypted with SEED (RFC 4269, RFC 4010).

Two schemes are in use for ``signPri.key``. The older one derives key and initialization
vector from the password by PBKDF1 (KCAC.TS.ENC §3: ``seedCBCWithSHA1``), the newer one is
PBES2 of RFC 8018 with SEED in CBC mode. Both result in a plain PKCS#8 key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import SEED
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.pki.der_elements import read_element

__all__ = ["decrypt_npki_key", "is_npki_key"]

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_OID: Final = 0x06

# 1.2.410.200004.1.15 and .1.4; RFC 8018 appendix A.2 and A.4.
_SEED_CBC_WITH_SHA1: Final = bytes.fromhex("2a831a8c9a44010f")
_SEED_CBC: Final = bytes.fromhex("2a831a8c9a440104")
_PBES2: Final = bytes.fromhex("2a864886f70d01050d")
_PBKDF2: Final = bytes.fromhex("2a864886f70d01050c")
_HMACS: Final = {
    bytes.fromhex("2a864886f70d0207"): "sha1",
    bytes.fromhex("2a864886f70d0209"): "sha256",
    bytes.fromhex("2a864886f70d020b"): "sha512",
}
_KEY: Final = 16
#: Files in use have 2,048; a count of several thousand million would occupy the process for an hour.
_MOST_ITERATIONS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _DerElement:
    """A tag with its content; `read_sequence` reads the elements of a sequence."""

    tag: int
    content: bytes

    def read_sequence(self, *tags: int) -> list[_DerElement]:
        """Return the elements of a sequence; the first ones must have these tags."""
        found = list(_iterate_elements(self.content)) if self.tag == _SEQUENCE else []
        if tuple(one.tag for one in found[: len(tags)]) != tags:
            raise _make_unreadable_error("it does not have the structure of PKCS#8")
        return found


@dataclass(frozen=True, slots=True)
class _EncryptedKey:
    """An encrypted key: the scheme by its OID, the scheme's parameters, the octets."""

    scheme: bytes
    parameters: _DerElement
    content: bytes


def is_npki_key(data: bytes) -> bool:
    """Return whether octets are a private key that is encrypted with SEED."""
    try:
        locked = _read_encrypted_key(data)
        if locked.scheme == _PBES2:
            return (
                locked.parameters.read_sequence(_SEQUENCE, _SEQUENCE)[1].read_sequence(_OID)[0].content
                == _SEED_CBC
            )
        return locked.scheme == _SEED_CBC_WITH_SHA1
    except GatewayError:
        return False


def decrypt_npki_key(data: bytes, password: bytes) -> bytes:
    """Return the PKCS#8 key (DER) of a key file (DER); raise GW803 when the password is wrong.

    The password is used as octets: the files specify no character set.
    """
    locked = _read_encrypted_key(data)
    derive = _derive_pbes2_key if locked.scheme == _PBES2 else _derive_pbes1_key
    key, vector = derive(locked.parameters, password)
    decryptor = Cipher(SEED(key), modes.CBC(vector)).decryptor()
    unpadder = padding.PKCS7(SEED.block_size).unpadder()
    try:
        plain = decryptor.update(locked.content) + decryptor.finalize()
        opened = unpadder.update(plain) + unpadder.finalize()
    except ValueError:
        raise _make_unreadable_error("wrong password, or the file is damaged") from None
    whole = read_element(opened, 0)
    if whole is None or whole[0] != _SEQUENCE or whole[2] != len(opened):
        # One wrong password in 256 gives correct padding by chance.
        raise _make_unreadable_error("wrong password, or the file is damaged")
    return opened


def _read_encrypted_key(data: bytes) -> _EncryptedKey:
    """Return the parts of EncryptedPrivateKeyInfo (RFC 5958 §3)."""
    found = list(_iterate_elements(data))
    if len(found) != 1:
        raise _make_unreadable_error("it is not one DER element")
    algorithm, content = found[0].read_sequence(_SEQUENCE, _OCTETS)[:2]
    scheme, parameters = algorithm.read_sequence(_OID, _SEQUENCE)[:2]
    return _EncryptedKey(scheme.content, parameters, content.content)


def _derive_pbes1_key(parameters: _DerElement, password: bytes) -> tuple[bytes, bytes]:
    """Return key and vector: PBKDF1 with SHA-1; the vector is the digest of the octets after the key."""
    salt, count = parameters.read_sequence(_OCTETS, _INTEGER)[:2]
    derived = password + salt.content
    for _ in range(_check_iterations(count)):
        derived = hashlib.sha1(derived, usedforsecurity=False).digest()
    rest = hashlib.sha1(derived[_KEY:], usedforsecurity=False).digest()
    return derived[:_KEY], rest[:_KEY]


def _derive_pbes2_key(parameters: _DerElement, password: bytes) -> tuple[bytes, bytes]:
    derivation, encryption = parameters.read_sequence(_SEQUENCE, _SEQUENCE)[:2]
    cipher, vector = encryption.read_sequence(_OID, _OCTETS)[:2]
    function, words = derivation.read_sequence(_OID, _SEQUENCE)[:2]
    if (function.content, cipher.content, len(vector.content)) != (_PBKDF2, _SEED_CBC, _KEY):
        raise _make_unreadable_error("it is encrypted by a scheme that is not known here")
    salt, count, *more = words.read_sequence(_OCTETS, _INTEGER)
    # RFC 8018 appendix A.2: the default is HMAC with SHA-1.
    named = [one.read_sequence(_OID)[0].content for one in more if one.tag == _SEQUENCE]
    digest = _HMACS.get(named[0]) if named else "sha1"
    if digest is None:
        raise _make_unreadable_error("it is encrypted by a scheme that is not known here")
    return hashlib.pbkdf2_hmac(digest, password, salt.content, _check_iterations(count), _KEY), vector.content


def _check_iterations(count: _DerElement) -> int:
    number = int.from_bytes(count.content, signed=True)
    if not 1 <= number <= _MOST_ITERATIONS:
        raise _make_unreadable_error(f"it wants more than {_MOST_ITERATIONS} rounds, or none")
    return number


def _iterate_elements(data: bytes) -> Iterator[_DerElement]:
    place = 0
    while place < len(data):
        found = read_element(data, place)
        if found is None:
            raise _make_unreadable_error("it is not DER")
        tag, start, place = found
        yield _DerElement(tag, data[start:place])


def _make_unreadable_error(reason: str) -> GatewayError:
    return GatewayError(KEY_UNAVAILABLE, f"the encrypted key cannot be read: {reason}", "key")
