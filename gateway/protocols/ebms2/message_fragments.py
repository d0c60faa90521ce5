"""Fragments of large messages, which ebMS 2.0 does not have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NoReturn

from gateway.agreements import PMode
from gateway.errors import NOT_SUPPORTED, GatewayError
from gateway.message_model import Body, UserMessage
from gateway.protocols.core import OpenedMessage, Parcel, ProtocolContext
from gateway.protocols.fragment_values import GroupTally, SplitPlan, SplitTerms
from gateway.wire import WireLimits

__all__ = [
    "join_fragments",
    "open_joined",
    "plan_split",
    "seal_agreed_fragment",
    "seal_source",
    "tally_opened_fragment",
]

_MESSAGE: Final = "//eb:MessageData/eb:MessageId"


def tally_opened_fragment(
    _tally: GroupTally | None, _opened: OpenedMessage, _most: int, *, known: bool
) -> GroupTally:
    """Raise GW311."""
    _refuse(f"{'another' if known else 'a'} fragment of a message")


def join_fragments(_tally: GroupTally, _pieces: Sequence[bytes | Body], _most: int) -> Parcel:
    """Raise GW311."""
    _refuse("a message in fragments")


def open_joined(_tally: GroupTally, _parcel: Parcel, _context: ProtocolContext) -> OpenedMessage:
    """Raise GW311."""
    _refuse("a joined message")


def seal_source(_unit: UserMessage, _pmode: PMode) -> Parcel:
    """Raise GW311."""
    _refuse("a message that is to be split")


def plan_split(_parcel: Parcel, _terms: SplitTerms, _limits: WireLimits) -> SplitPlan:
    """Raise GW311."""
    _refuse("splitting")


def seal_agreed_fragment(_plan: SplitPlan, number: int, _pmode: PMode, _context: ProtocolContext) -> Parcel:
    """Raise GW311."""
    _refuse(f"fragment {number}")


def _refuse(what: str) -> NoReturn:
    raise GatewayError(NOT_SUPPORTED, f"ebMS 2.0 has no such thing: {what}", _MESSAGE)
