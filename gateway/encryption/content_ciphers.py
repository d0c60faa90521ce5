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
GCM_TAG_OCTETS: Final = 16


@dataclass(frozen=True, slots=True)
class CipherText:
    """Encrypted octets, the initialization vector, and for GCM the tag and the additional data it covers."""

    vector: bytes
    octets: bytes
    tag: bytes = b""
    authenticated_data: bytes = b""


@dataclass(frozen=True, slots=True)
class DecryptedOctets:
    """The result of a decryption; the caller must discard `content` unless it is `is_sound`.

    Content with a wrong CBC padding is returned, too, so that the computations over it take the same time.
    """

    content: bytes
    is_sound: bool


@dataclass(frozen=True, slots=True)
class ContentCipher:
    """One cipher: octets of its key and of its initialization vector, and whether it authenticates."""

    uri: str
    key_octets: int
    vector_octets: int
    make_algorithm: Callable[[bytes], Any]

    @property
    def authenticates(self) -> bool:
        """Return whether the cipher itself detects a changed octet."""
        return self.make_algorithm is AESGCM

    def encrypt(self, key: bytes, vector: bytes, content: bytes) -> CipherText:
        """Return `content` encrypted; for CBC, each octet of the padding is the number of padding octets."""
        if self.authenticates:
            ciphertext_and_tag = AESGCM(key).encrypt(vector, content, None)
            return CipherText(
                vector, ciphertext_and_tag[:-GCM_TAG_OCTETS], ciphertext_and_tag[-GCM_TAG_OCTETS:]
            )
        # Such a padding is one of XML Encryption 1.1 §5.2.2 and that of RFC 5652 §6.3.
        padding_length = self.vector_octets - len(content) % self.vector_octets
        encryptor = Cipher(self.make_algorithm(key), CBC(vector)).encryptor()
        return CipherText(
            vector,
            encryptor.update(content + bytes([padding_length]) * padding_length) + encryptor.finalize(),
        )

    def decrypt(self, key: bytes, ciphertext: CipherText) -> DecryptedOctets:
        """Return the decryption of encrypted octets by a key; never raise, even for malformed octets."""
        if len(ciphertext.vector) != self.vector_octets:
            return DecryptedOctets(b"", is_sound=False)
        return (
            self._decrypt_gcm(key, ciphertext) if self.authenticates else self._decrypt_cbc(key, ciphertext)
        )

    def _decrypt_gcm(self, key: bytes, ciphertext: CipherText) -> DecryptedOctets:
        """Return the plaintext; without octets and not sound if the tag does not authenticate them."""
        if len(ciphertext.tag) != GCM_TAG_OCTETS:
            return DecryptedOctets(b"", is_sound=False)
        try:
            # Octets and tag apart: joined, they would be in memory once more.
            decryptor = Cipher(AES(key), GCM(ciphertext.vector, ciphertext.tag)).decryptor()
            decryptor.authenticate_additional_data(ciphertext.authenticated_data)
            content = decryptor.update(ciphertext.octets) + decryptor.finalize()
        except InvalidTag:
            return DecryptedOctets(b"", is_sound=False)
        return DecryptedOctets(content, is_sound=True)

    def _decrypt_cbc(self, key: bytes, ciphertext: CipherText) -> DecryptedOctets:
        """Return the plaintext without its padding; not sound if length or padding is impossible."""
        block_size = self.vector_octets
        if not ciphertext.octets or len(ciphertext.octets) % block_size:
            return DecryptedOctets(b"", is_sound=False)
        decryptor = Cipher(self.make_algorithm(key), CBC(ciphertext.vector)).decryptor()
        padded_plaintext = decryptor.update(ciphertext.octets) + decryptor.finalize()
        # XML Encryption pads with any octets, of which the last is their number. For an impossible number one
        # block is cut off, and the later steps take the same time as for a possible one.
        padding_length = padded_plaintext[-1]
        is_sound = 1 <= padding_length <= block_size
        return DecryptedOctets(padded_plaintext[: -(padding_length if is_sound else block_size)], is_sound)


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


_INTEGRITY_VALUE: Final = bytes.fromhex("A6A6A6A6A6A6A6A6")
_HALF_BLOCK_OCTETS: Final = 8


def unwrap_seed_key(key: bytes, wrapped_key: bytes) -> bytes | None:
    """Return the key in `wrapped_key`, None when it was wrapped by another key or changed."""
    if len(key) != SEED.block_size // 8 or len(wrapped_key) != 3 * _HALF_BLOCK_OCTETS:
        return None
    return unwrap_with_cipher(SEED(key), wrapped_key)


def unwrap_with_cipher(algorithm: BlockCipherAlgorithm, wrapped_key: bytes) -> bytes | None:
    """Return the key in `wrapped_key` by RFC 3394 §2.2.2 with any cipher of blocks of 128 bits."""
    # Each block is decrypted once: the chaining is that of RFC 3394.
    decryptor = Cipher(algorithm, ECB()).decryptor()  # noqa: S305
    integrity_register = wrapped_key[:_HALF_BLOCK_OCTETS]
    half_blocks = [
        wrapped_key[start : start + _HALF_BLOCK_OCTETS]
        for start in range(_HALF_BLOCK_OCTETS, len(wrapped_key), _HALF_BLOCK_OCTETS)
    ]
    for step in range(6 * len(half_blocks), 0, -1):
        index = (step - 1) % len(half_blocks)
        masked_register = (int.from_bytes(integrity_register) ^ step).to_bytes(_HALF_BLOCK_OCTETS)
        block = decryptor.update(masked_register + half_blocks[index])
        integrity_register, half_blocks[index] = block[:_HALF_BLOCK_OCTETS], block[_HALF_BLOCK_OCTETS:]
    return b"".join(half_blocks) if hmac.compare_digest(integrity_register, _INTEGRITY_VALUE) else None
