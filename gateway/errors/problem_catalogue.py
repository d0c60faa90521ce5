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
    resource_problems,
    security,
)
from gateway.errors.problem import Problem

_FAMILIES: Final = (
    message_syntax,
    security,
    messaging,
    message_fragments,
    documents,
    delivery,
    agency_documents,
    internal,
    resource_problems,
)

_ALL: Final = (value for family in _FAMILIES for value in vars(family).values() if isinstance(value, Problem))
PROBLEMS: Final[dict[str, Problem]] = {one.id: one for one in sorted(_ALL, key=lambda one: one.id)}
