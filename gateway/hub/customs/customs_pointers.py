"""Turns the pointers of customs back into the applicant's own message.

Customs has the declaration as it was filed: a pointer of WCO ids holds in the applicant's message as it
stands. A pointer to the nth requirement that customs was told leads to the item that the requirement is
about. Any other pointer stays as customs wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.cases import CustomsReason
from gateway.errors import GatewayError
from gateway.wire import parse_xml

__all__ = ["list_told_items", "turn_back_reasons"]

_REQUIREMENT: Final = re.compile(r"Requirement\[([1-9][0-9]{0,5})\](?:/.*)?")


def list_told_items(envelope: bytes) -> tuple[int, ...]:
    """Return the item of each requirement in a call to customs, in the order of the call."""
    try:
        content = parse_xml(envelope, envelope=True)[-1][0]
    except (GatewayError, IndexError):
        return ()
    return tuple(int(one.findtext("{*}item") or "0") for one in content.iterfind("{*}Requirement"))


def turn_back_reasons(reasons: Sequence[CustomsReason], told: Sequence[int]) -> tuple[CustomsReason, ...]:
    """Return the reasons with pointers into the applicant's message; `told` are the items of the call."""
    return tuple(replace(one, pointer=_turn_back(one.pointer, told)) for one in reasons)


def _turn_back(pointer: str, told: Sequence[int]) -> str:
    found = _REQUIREMENT.fullmatch(pointer)
    if found is None or int(found[1]) > len(told):
        return pointer
    return f"42A/67A[1]/68A[{told[int(found[1]) - 1]}]"
