"""What the worker asks of an agent, and what it tells one: an attempt, a plan, a failure for good."""

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
    """Hands deliveries of one kind over."""

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one attempt and store what came of it, ending the lease in the same transaction.

        Raises GatewayError when the attempt failed and nothing was stored.
        """

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return how often and how soon such a delivery is tried again."""

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Store what follows from it that the delivery has failed for good; its case is locked."""


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A delivery that was given up, why and when; `delivery` is its lease or its row."""

    delivery: DeliveryLease | Row[Any]
    problem: GatewayError
    at: datetime
