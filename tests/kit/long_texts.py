"""Texts whose characters have four octets each in UTF-8, and which no compression shortens.

PostgreSQL compresses long values before it looks whether they fit into an index, so a repeated character
would be no long text.
"""

from __future__ import annotations

from random import Random

__all__ = ["make_long_text", "make_text_of_octets"]

#: The first ideographs beyond the characters of two octets in UTF-16: visible, and equal in every form of
#: Unicode.
_FIRST, _COUNT = 0x20000, 0xA000


def make_long_text(character_count: int, seed: int = 1) -> str:
    """Return a random text of so many characters, of four octets each; the same one for the same seed."""
    random = Random(seed)
    return "".join(chr(_FIRST + random.randrange(_COUNT)) for _ in range(character_count))


def make_text_of_octets(octet_count: int, seed: int = 1) -> str:
    """Return a random text of so many octets in UTF-8: characters of four octets, and digits at its end."""
    return make_long_text(octet_count // 4, seed) + "123"[: octet_count % 4]
