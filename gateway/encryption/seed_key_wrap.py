"""SEED key wrap (RFC 4010 §3, RFC 9231 §2.6.3): the steps of RFC 3394 with SEED as the block cipher.

The library has this key wrap for AES only. The block cipher is the library's.
"""

from __future__ import annotations

import hmac
from typing import Final

from cryptography.hazmat.decrepit.ciphers.algorithms import SEED
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.modes import ECB

__all__ = ["unwrap_seed_key", "unwrap_with_cipher"]

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
