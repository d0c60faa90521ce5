"""The hub's own numbers: of a case, and of each application in it.

Both are derived from the number of the message that carried the submission, so they are known
before anything is stored, and repeated processing gives the same numbers. The signs are those of
Crockford's base 32 without Z: I, L, O, U and Z, which are read as other signs, do not occur. The
last sign is a check sign: with the values 0 to 30 of the signs, and positions counted from 1 at the
right, the sum of value times position is divisible by 31. One wrong sign, or two that changed
positions, never give a valid number of this form.

Numbers of the older form have no check sign, and all 36 digits and letters. They are shorter
(a case), or begin with S (an application), so that no number has both forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.errors import NO_ROOM, NUMBER_MISTYPED, GatewayError
from gateway.wire import shorten_to_octets

_SIGNS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXY"
_SIGN_VALUES: Final = {sign: value for value, sign in enumerate(_SIGNS)}
_CASE_WIDTH: Final = 7
_APPLICATION_WIDTH: Final = 6
_MAX_APPLICATIONS: Final = 999
_OLDER_NUMBER: Final = re.compile(r"SW[0-9]{2}[0-9A-Z]{7}|S[0-9]{2}[0-9A-Z]{7}[0-9]{3}")
_HUB_NUMBER: Final = re.compile(
    rf"SW[0-9]{{2}}[{_SIGNS}]{{8}}|A[0-9]{{2}}[{_SIGNS}]{{6}}[0-9]{{3}}[{_SIGNS}]"
)
#: A text that may be a mistyped number of the hub: with a wrong sign, an additional or a missing one.
_SIMILAR_TO_HUB_NUMBER: Final = re.compile(r"(?:SW|A)[0-9]{2}[0-9A-Z]{7,12}|S[0-9]{2}[0-9A-Z]{8,12}")
_SIMILAR_LETTERS: Final = str.maketrans("ILO", "110", " -")


@dataclass(frozen=True, slots=True)
class NumberOrigin:
    """The serial and the year of which the numbers of a case and of its applications are made."""

    serial: int
    year: int


def make_case_number(message_number: int, year: int) -> str:
    """Return the number of the case that message number `message_number` opens: SW, year, serial, check sign.

    Raise GW806 where the serial numbers of the year are exhausted.
    """
    return _append_check_sign(f"SW{year % 100:02d}{_format_serial(message_number, _CASE_WIDTH)}")


#: The most octets in UTF-8 of a reference, which an index of the database has.
_MAX_REFERENCE_OCTETS: Final = 512


def make_refused_reference(message_id: str) -> str:
    """Return the reference of a case whose submission states none: the id of its message."""
    return shorten_to_octets(message_id, _MAX_REFERENCE_OCTETS)


def make_application_number(message_number: int, year: int, position: int) -> str:
    """Return the number by which an agency identifies application `position` (from 1).

    It has 13 characters, the length that agencies reserve for it. Raise GW806 for a position
    above 999, or an exhausted serial.
    """
    if not 1 <= position <= _MAX_APPLICATIONS:
        raise GatewayError(NO_ROOM, f"a submission may hold at most {_MAX_APPLICATIONS} applications")
    serial = _format_serial(message_number, _APPLICATION_WIDTH)
    return _append_check_sign(f"A{year % 100:02d}{serial}{position:03d}")


def normalize_hub_number(text: str) -> str:
    """Return a typed number in its normal form: capitals, no spaces or hyphens, I and L as 1, O as 0.

    A number of the older form keeps its letters.
    """
    capitals = text.strip().upper()
    return capitals if _OLDER_NUMBER.fullmatch(capitals) else capitals.translate(_SIMILAR_LETTERS)


def check_hub_number(number: str, location: str) -> None:
    """Raise GW513 at `location` for a number that this hub cannot have made; accept the older form."""
    if _OLDER_NUMBER.fullmatch(number):
        return
    excerpt = number[:40]
    if not _HUB_NUMBER.fullmatch(number):
        raise GatewayError(NUMBER_MISTYPED, f"{excerpt} has not the form of a number of the hub", location)
    if _compute_weighted_sum(number) % len(_SIGNS):
        raise GatewayError(NUMBER_MISTYPED, f"{excerpt} is mistyped: its check sign does not fit", location)


def resembles_hub_number(number: str) -> bool:
    """Return whether a text has about the form of a number of the hub, so that it may be a mistyped one."""
    return _SIMILAR_TO_HUB_NUMBER.fullmatch(number.upper().translate(_SIMILAR_LETTERS)) is not None


def _append_check_sign(number: str) -> str:
    return number + _SIGNS[-_compute_weighted_sum(f"{number}0") % len(_SIGNS)]


def _compute_weighted_sum(number: str) -> int:
    return sum([_SIGN_VALUES[sign] * weight for weight, sign in enumerate(reversed(number), start=1)])


def _format_serial(serial: int, width: int) -> str:
    """Return `serial` in the base of `_SIGNS` with leading zeros; raise GW806 if it exceeds `width`."""
    signs = ""
    while serial:
        serial, remainder = divmod(serial, len(_SIGNS))
        signs = _SIGNS[remainder] + signs
    if len(signs) > width:
        raise GatewayError(NO_ROOM, "the serial numbers of this year are used up")
    return signs.rjust(width, "0")
