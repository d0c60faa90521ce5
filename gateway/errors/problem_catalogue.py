"""The table of all problems by id, in the order of the ids."""

from __future__ import annotations

from typing import Final

from gateway.errors import (
    agency_documents,
    delivery,
    documents,
    internal,
    message_fragments,
    message_syntax,
    messaging,
    security,
)
from gateway.errors.problem import Problem

__all__ = ["PROBLEMS"]

_FAMILIES: Final = (
    message_syntax,
    security,
    messaging,
    message_fragments,
    documents,
    delivery,
    agency_documents,
    internal,
)

PROBLEMS: Final[dict[str, Problem]] = {
    value.id: value for family in _FAMILIES for value in vars(family).values() if isinstance(value, Problem)
}
