"""Gives the lists of statements few lengths: for each length the text of a statement is another one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

__all__ = ["lengthen_list"]

_Value = TypeVar("_Value")

#: Longer lists are rare, and a statement may not have many more values.
_LONGEST: Final = 1024


def lengthen_list(values: Iterable[_Value]) -> list[_Value]:
    """Return values that are searched for, the last one as often as makes their number a power of two.

    The text of a statement is made once for each length of its lists, and of a bounded number of lengths.
    """
    found = list(values)
    if 0 < len(found) < _LONGEST:
        found += found[-1:] * ((1 << (len(found) - 1).bit_length()) - len(found))
    return found
