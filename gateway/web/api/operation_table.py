"""Every operation of the API, in the order of the document."""

from __future__ import annotations

from typing import Final

from gateway.web.api.api_operations import Operation
from gateway.web.api.case_operations import CASE_OPERATIONS
from gateway.web.api.event_operations import EVENT_OPERATIONS
from gateway.web.api.message_operations import MESSAGE_OPERATIONS
from gateway.web.api.reference_operations import REFERENCE_OPERATIONS
from gateway.web.api.register_operations import REGISTER_OPERATIONS
from gateway.web.api.statistics_operations import STATISTICS_OPERATIONS
from gateway.web.api.token_operations import TOKEN_OPERATIONS
from gateway.web.api.webhook_operations import WEBHOOK_OPERATIONS

__all__ = ["OPERATIONS"]

OPERATIONS: Final[tuple[Operation, ...]] = (
    *TOKEN_OPERATIONS,
    *MESSAGE_OPERATIONS,
    *CASE_OPERATIONS,
    *EVENT_OPERATIONS,
    *WEBHOOK_OPERATIONS,
    *REGISTER_OPERATIONS,
    *STATISTICS_OPERATIONS,
    *REFERENCE_OPERATIONS,
)
