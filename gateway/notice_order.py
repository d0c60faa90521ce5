"""The order of notices about one subject: by time of issue, then by number.

Agencies count: notice 10 follows notice 9, and P-10 follows P-9. So runs of digits in a number are compared
as numbers, without zeros in front, and the text around them as text. Notices whose numbers differ and compare
as equal (R1 and R01) stay in the order in which the hub stored them.
"""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import Final

#: A text without digits and the digits behind it; only ASCII digits count something.
_PART: Final = re.compile("([^0-9]*)([0-9]*)")

#: The parts of a number, each as its text, how many digits follow, and these digits.
NumberOrder = tuple[tuple[str, int, str], ...]
NoticeOrder = tuple[datetime, NumberOrder]


@functools.lru_cache(maxsize=4096)
def order_number(number: str) -> NumberOrder:
    """Return the key by which the numbers of notices and of certificates are sorted."""
    parts = ((text, digits.lstrip("0")) for text, digits in _PART.findall(number) if text or digits)
    return tuple([(text, len(digits), digits) for text, digits in parts])


def order_notice(issued_at: datetime, number: str) -> NoticeOrder:
    """Return the key by which notices are sorted: the last of them counts."""
    return issued_at, order_number(number)
