"""The digest of a list of values, as the identity of a message, for every protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from gateway.message_model import Body, count_octets, iterate_octets

__all__ = ["compute_values_digest"]


def compute_values_digest(values: Iterable[bytes | Body]) -> str:
    """Return the SHA-256 of values.

    Each has its length before it, so that no two lists of values give the same octets.
    """
    found = hashlib.sha256()
    for value in values:
        found.update(count_octets(value).to_bytes(8))
        for piece in iterate_octets(value):
            found.update(piece)
    return found.hexdigest()
