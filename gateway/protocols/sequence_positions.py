"""Converts sequence numbers to positions since the last Reset, which never wrap, and back (§9.1.1)."""

from __future__ import annotations

from typing import Final

from gateway.errors import HEADER_INCONSISTENT, GatewayError
from gateway.message_model import LAST_SEQUENCE_NUMBER, SequenceNumber

__all__ = ["find_sequence_position", "make_sequence_number"]

_NUMBERS: Final = LAST_SEQUENCE_NUMBER + 1
_PLACE: Final = "/soap:Envelope/soap:Header/eb:MessageOrder/eb:SequenceNumber"


def make_sequence_number(position: int) -> SequenceNumber:
    """Return the number and status of the message at a position: 0 with Reset begins, 0 later continues."""
    return SequenceNumber(position % _NUMBERS, "Continue" if position else "Reset")


def find_sequence_position(sequence: SequenceNumber, released: int) -> int:
    """Return the position of a received message; `released` positions have gone to the application.

    Of the positions with this number, it is the one nearest to the next position. Raises GW304 for a
    number 0 that neither begins a sequence nor follows 99999999, and for one that was used before.
    """
    if sequence.status == "Reset":
        return 0
    ahead = (sequence.number - released) % _NUMBERS
    position = released + ahead if ahead < _NUMBERS // 2 else released + ahead - _NUMBERS
    if position == 0:
        detail = "the number 0 begins a sequence with the status Reset, and continues one after 99999999"
        raise GatewayError(HEADER_INCONSISTENT, detail, _PLACE)
    if position < released:
        # A repeat of the same message has the same MessageId, and was recognised by that.
        detail = f"number {sequence.number} was delivered before, under another MessageId"
        raise GatewayError(HEADER_INCONSISTENT, detail, _PLACE)
    return position
