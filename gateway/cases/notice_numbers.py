"""Numbers of notices: no number is longer than an applicant can be told."""

from __future__ import annotations

import hashlib
from typing import Final

__all__ = ["LONGEST_NUMBER", "shorten_number"]

#: The most characters of a number in the documents of the hub (`xsd/hub/result.xsd`, Name).
LONGEST_NUMBER: Final = 128
_DIGEST: Final = 32


def shorten_number(number: str) -> str:
    """Return a number that the hub made; the end of one that is too long gives way to its digest."""
    if len(number) <= LONGEST_NUMBER:
        return number
    digest = hashlib.sha256(number.encode()).hexdigest()[:_DIGEST]
    return f"{number[: LONGEST_NUMBER - _DIGEST - 1]}~{digest}"
