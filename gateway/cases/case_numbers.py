"""The hub's own numbers: of a case, and of each application in it.

Both are derived from the number of the message that carried the submission, so they are known
before anything is stored, and repeated processing gives the same numbers.  An application
number has 13 characters, the length that agencies reserve for it.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import NO_ROOM, GatewayError

__all__ = ["make_application_number", "make_case_number"]

_SIGNS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WIDTH: Final = 7
_MOST_APPLICATIONS: Final = 999


def make_case_number(message: int, year: int) -> str:
    """Return the number of the case that message number `message` opens: SW, year, serial.

    Raise GW806 where the serial numbers of the year are exhausted.
    """
    return f"SW{year % 100:02d}{_format_serial(message)}"


def make_application_number(message: int, year: int, position: int) -> str:
    """Return the number by which an agency identifies application `position` (from 1).

    Raise GW806 for a position above 999, or an exhausted serial.
    """
    if not 1 <= position <= _MOST_APPLICATIONS:
        raise GatewayError(NO_ROOM, f"a submission holds at most {_MOST_APPLICATIONS} applications")
    return f"S{year % 100:02d}{_format_serial(message)}{position:03d}"


def _format_serial(number: int) -> str:
    signs = ""
    while number:
        number, rest = divmod(number, len(_SIGNS))
        signs = _SIGNS[rest] + signs
    if len(signs) > _WIDTH:
        raise GatewayError(NO_ROOM, "the serial numbers of this year are used up")
    return signs.rjust(_WIDTH, "0")
