"""Ciphers of content: AES in GCM, and for older partners block ciphers in CBC."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.decrepit.ciphers.algorithms import SEED, TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB, GCM

from gateway.encryption.encryption_policies import (
    AES_128_CBC,
    AES_128_GCM,
    AES_192_CBC,
    AES_192_GCM,
    AES_256_CBC,
    AES_256_GCM,
    SEED_128_CBC,
    TRIPLE_DES_CBC,
)

#: Octets of the tag (XML Encryption 1.1 §5.2.4, RFC 5084 §3.2); shorter ones are refused.
GCM_TAG: Final = 16


@dataclass(frozen=True, slots=True)
class CipherText:
    """Encrypted octets, the initialization vector, and for GCM the tag and the additional data it covers."""

    vector: bytes
    octets: bytes
    tag: bytes = b""
    authenticated_data: bytes = b""


@dataclass(frozen=True, slots=True)
class DecryptedOctets:
    """The result of a decryption; the caller must discard `content` unless it is `sound`.

    There is content in every case, so that each computation over it takes the same time.
    """

    content: bytes
    sound: bool


@dataclass(frozen=True, slots=True)
class ContentCipher:
    """One cipher: octets of its key and of its initialization vector, and whether it authenticates."""

    uri: str
    key_octets: int
    vector_octets: int
    make: Callable[[bytes], Any]

    @property
    def authenticates(self) -> bool:
        """Return whether a changed octet is noticed by the cipher itself."""
        return self.make is AESGCM

    def encrypt(self, key: bytes, vector: bytes, content: bytes) -> CipherText:
        """Return `content` encrypted; CBC is padded with octets that name their number."""
        if self.authenticates:
            sealed = AESGCM(key).encrypt(vector, content, None)
            return CipherText(vector, sealed[:-GCM_TAG], sealed[-GCM_TAG:])
        # Such a padding is one of XML Encryption 1.1 §5.2.2 and that of RFC 5652 §6.3.
        count = self.vector_octets - len(content) % self.vector_octets
        work = Cipher(self.make(key), CBC(vector)).encryptor()
        return CipherText(vector, work.update(content + bytes([count]) * count) + work.finalize())

    def decrypt(self, key: bytes, text: CipherText) -> DecryptedOctets:
        """Return the decryption of encrypted octets by a key; never raise, even for malformed octets."""
        if len(text.vector) != self.vector_octets:
            return DecryptedOctets(b"", sound=False)
        return self._open_gcm(key, text) if self.authenticates else self._open_cbc(key, text)

    def _open_gcm(self, key: bytes, text: CipherText) -> DecryptedOctets:
        if len(text.tag) != GCM_TAG:
            return DecryptedOctets(b"", sound=False)
        try:
            # Octets and tag apart: joined, they would be in memory once more.
            work = Cipher(AES(key), GCM(text.vector, text.tag)).decryptor()
            work.authenticate_additional_data(text.authenticated_data)
            content = work.update(text.octets) + work.finalize()
        except InvalidTag:
            return DecryptedOctets(b"", sound=False)
        return DecryptedOctets(content, sound=True)

    def _open_cbc(self, key: bytes, text: CipherText) -> DecryptedOctets:
        size = self.vector_octets
        if not text.octets or len(text.octets) % size:
            return DecryptedOctets(b"", sound=False)
        work = Cipher(self.make(key), CBC(text.vector)).decryptor()
        padded = work.update(text.octets) + work.finalize()
        # XML Encryption pads with any octets, of which the last is their number. For an impossible number one
        # block is cut off, and the later steps take the same time as for a possible one.
        last = padded[-1]
        sound = 1 <= last <= size
        return DecryptedOctets(padded[: -(last if sound else size)], sound)


CIPHERS: Final = {
    one.uri: one
    for one in (
        ContentCipher(AES_128_GCM, 16, 12, AESGCM),
        ContentCipher(AES_192_GCM, 24, 12, AESGCM),
        ContentCipher(AES_256_GCM, 32, 12, AESGCM),
        ContentCipher(AES_128_CBC, 16, 16, AES),
        ContentCipher(AES_192_CBC, 24, 16, AES),
        ContentCipher(AES_256_CBC, 32, 16, AES),
        ContentCipher(TRIPLE_DES_CBC, 24, 8, TripleDES),
        ContentCipher(SEED_128_CBC, 16, 16, SEED),
    )
}


_INITIAL: Final = bytes.fromhex("A6A6A6A6A6A6A6A6")
_HALF: Final = 8


def unwrap_seed_key(key: bytes, wrapped: bytes) -> bytes | None:
    """Return the key in `wrapped`, None when it was wrapped by another key or changed."""
    if len(key) != SEED.block_size // 8 or len(wrapped) != 3 * _HALF:
        return None
    return unwrap_with_cipher(SEED(key), wrapped)


def unwrap_with_cipher(algorithm: BlockCipherAlgorithm, wrapped: bytes) -> bytes | None:
    """Return the key in `wrapped` by RFC 3394 §2.2.2 with any cipher of blocks of 128 bits."""
    # Each block is decrypted once: the chaining is that of RFC 3394.
    work = Cipher(algorithm, ECB()).decryptor()  # noqa: S305
    head = wrapped[:_HALF]
    parts = [wrapped[start : start + _HALF] for start in range(_HALF, len(wrapped), _HALF)]
    for step in range(6 * len(parts), 0, -1):
        index = (step - 1) % len(parts)
        masked = (int.from_bytes(head) ^ step).to_bytes(_HALF)
        block = work.update(masked + parts[index])
        head, parts[index] = block[:_HALF], block[_HALF:]
    return b"".join(parts) if hmac.compare_digest(head, _INITIAL) else None
