"""The interface between worker and agent: an attempt, a retry plan, a final failure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Connection, Row

from gateway.delivery.attempt_outcome import (
    RetryPlan,
)
from gateway.errors import GatewayError
from gateway.store import DeliveryLease

__all__ = ["DeliveryAgent", "FailedDelivery"]


class DeliveryAgent(Protocol):
    """Attempts deliveries of one kind."""

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one attempt and store its effect, ending the lease in the same transaction.

        Raises GatewayError when the attempt failed and nothing was stored.
        """

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return how often and at which intervals such a delivery is retried."""

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Store the consequences of a final failure of the delivery; its case is locked."""


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A delivery that was given up, why and when; `delivery` is its lease or its row."""

    delivery: DeliveryLease | Row[Any]
    problem: GatewayError
    at: datetime
