"""The interface of a delivery agent, and the outcomes of its attempts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, Protocol

from sqlalchemy import Connection

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import (
    AGREEMENT_UNREAD,
    KEY_UNAVAILABLE,
    NO_ADDRESS,
    NO_ROOM,
    GatewayError,
)
from gateway.hub import Hub, RegisterSnapshot, StaleSnapshotError
from gateway.store import (
    AttemptOutcome,
    DeliveryLease,
    DeliveryRow,
    InsufficientStorageError,
    delivery_leases,
    delivery_maintenance,
)

_DELAY_SPREAD = 0.2
#: Delay of a delivery that found no space in the database.
_NO_SPACE_DELAY: Final = timedelta(seconds=5)
#: A token may be unavailable for days, and every attempt leaves a row.
_NO_KEY_DELAY: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The retries after the first attempt, the first delay, and the ceiling of delays.

    `is_constant` means that all delays are equal, as ebMS 2.0 RetryInterval defines.
    """

    max_retries: int
    first_delay: timedelta
    max_delay: timedelta = timedelta(hours=1)
    is_constant: bool = False


def compute_retry_delay(tries: int, plan: RetryPlan, delivery_key: str = "") -> timedelta | None:
    """Return the delay after attempt number `tries` (from 1), None when all retries are used up.

    The delay doubles with each attempt, up to the ceiling, and a part of up to a fifth is added. The part is
    computed from `delivery_key`, which identifies the delivery, and from `tries`: so it is always the same.
    """
    if tries > plan.max_retries:
        return None
    if plan.is_constant:
        return plan.first_delay
    delay = plan.max_delay
    with suppress(OverflowError):  # longer than a timedelta can be
        delay = min(plan.first_delay * 2 ** min(tries - 1, 30), plan.max_delay)
    spread_fraction = (
        int.from_bytes(hashlib.sha256(f"{delivery_key}/{tries}".encode()).digest()[:4], "big") / 2**32
    )
    return delay * (1 + _DELAY_SPREAD * spread_fraction)


def find_agreed_wait(waiting_row: DeliveryRow, plan: RetryPlan) -> timedelta | None:
    """Return the maximum wait of a waiting delivery, from now on: the delay of its retry plan.

    Returns None for a delivery that is planned for a later time: the end of a hold or of a join, or the
    receipt of the To party, which is awaited until the time of the message is over.
    """
    if waiting_row.state == "AWAITING_RECEIPT" and (
        "hop" in waiting_row.parameters or "split" in waiting_row.parameters
    ):
        return None
    if waiting_row.tries:
        return compute_retry_delay(waiting_row.tries, plan, str(waiting_row.id)) or plan.first_delay
    planned_wait = timedelta(0) if waiting_row.attempt else waiting_row.due_at - waiting_row.created_at
    return planned_wait if planned_wait <= delivery_maintenance.FAR else None


#: Settings, or an agreement, are read again at each attempt, and every attempt leaves a row.
_OPERATOR_PLAN: Final = RetryPlan(sys.maxsize, timedelta(seconds=5), timedelta(minutes=4))


class LeaseLostError(Exception):
    """Another worker has taken over the delivery; the transaction of this one is rolled back."""


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A hub, and the register snapshot by which an answer was verified."""

    hub: Hub
    register: RegisterSnapshot

    def check_current(self, conn: Connection) -> None:
        """Raise StaleSnapshotError when the register is not that of the snapshot any more."""
        self.hub.register.check_snapshot_current(conn, self.register)


def make_lease_finisher(
    lease: DeliveryLease,
    clock: Callable[[], datetime],
    outcome: AttemptOutcome | None = None,
    *,
    snapshot: HubSnapshot | None = None,
) -> Callable[[Connection], None]:
    """Return a function that marks the delivery delivered; it raises when the lease is lost.

    With `snapshot` it raises StaleSnapshotError when the register is not that of the snapshot any more.
    """
    register_version = None if snapshot is None else snapshot.register.epoch

    def finish_lease(conn: Connection) -> None:
        final_outcome = outcome or AttemptOutcome()
        if delivery_leases.mark_delivered(
            conn, lease, clock(), final_outcome, register_version=register_version
        ):
            return
        if snapshot is not None:
            snapshot.check_current(conn)
        raise LeaseLostError

    return finish_lease


def find_uncounted_delay(lease: DeliveryLease, problem: GatewayError) -> timedelta | None:
    """Return the wait after a problem that uses up no try, and None after any other.

    Such are no space, no key, no address, and an agreement that this version of the program does not read.
    An ordered message has no other end than its tries once it was posted, and others wait behind it: it uses
    them up.
    """
    if isinstance(problem, InsufficientStorageError):
        return _NO_SPACE_DELAY
    if problem.problem is KEY_UNAVAILABLE:
        return _NO_KEY_DELAY
    if problem.problem is AGREEMENT_UNREAD and lease.parameters.get("ordered") and lease.tries > 1:
        return None
    if problem.problem in (NO_ROOM, NO_ADDRESS, AGREEMENT_UNREAD):
        return compute_retry_delay(lease.attempt, _OPERATOR_PLAN, str(lease.id))
    return None


_ERROR_STATUSES: Final = range(400, 600)


class AnswerKind(Enum):
    """The kind of an answer: a success, an error of the handler itself, or an error of another system."""

    SUCCESS = "success"
    HANDLER_ERROR = "handler error"
    PASSING_ERROR = "passing error"


@dataclass(frozen=True, slots=True)
class HandlerAnswers:
    """The answers by which one kind of handler refuses a request.

    `media_types` are those of its answers; the empty one is that of an answer without content.
    `statuses` are those of its decisions; an error with any other status is a passing one.
    """

    media_types: Collection[str]
    statuses: Collection[int]

    def classify_answer(self, answer: HttpAnswer) -> AnswerKind:
        """Return the kind of an answer."""
        if 200 <= answer.status < 300:
            return AnswerKind.SUCCESS
        if answer.status in self.statuses and _read_media_type(answer) in self.media_types:
            return AnswerKind.HANDLER_ERROR
        return AnswerKind.PASSING_ERROR


#: ebMS 2.0 and AS4: whether an error is final, say the ErrorList or the Fault in it, and its signature.
MESSAGE_ANSWERS: Final = HandlerAnswers(
    {"text/xml", "application/soap+xml", "multipart/related"}, _ERROR_STATUSES
)
#: SOAP 1.1 services, also with MTOM: whether a fault is final, say its code and its signature.
CALL_ANSWERS: Final = HandlerAnswers({"text/xml", "multipart/related"}, _ERROR_STATUSES)
#: The payment provider (manual: fees): a signed error is final, as a repeated call gets the same answer.
PAYMENT_ANSWERS: Final = HandlerAnswers({"application/json"}, {400, 404, 409, 422})
#: Standard Webhooks: 410 says that the webhook is gone.
WEBHOOK_ANSWERS: Final = HandlerAnswers({"", "application/json", "text/plain"}, {410})


def _read_media_type(answer: HttpAnswer) -> str:
    """Return the media type of an answer without parameters; empty for an answer without content."""
    if not answer.body.strip():
        return ""
    # RFC 9110 §8.3: content without a type is of none that is known.
    media_type = answer.headers.get("content-type", "application/octet-stream")
    return media_type.partition(";")[0].strip().lower()


class DeliveryAgent(Protocol):
    """Attempts deliveries of one kind."""

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one attempt and store its effect, ending the lease in the same transaction.

        Raises GatewayError when the attempt failed and nothing was stored.
        """

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return how often and at which intervals such a delivery is retried."""

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Store the consequences of a final failure of the delivery; its case is locked."""


@dataclass(frozen=True, slots=True)
class FailedDelivery:
    """A delivery that was given up, why and when; `delivery` is its lease or its row."""

    delivery: DeliveryLease | DeliveryRow
    problem: GatewayError
    at: datetime


def run_with_current_register(
    hub: Hub, snapshot: RegisterSnapshot, process_answer: Callable[[RegisterSnapshot], None]
) -> None:
    """Run `process_answer` with a register snapshot, and again if the register changed since `snapshot`.

    `process_answer` verifies an answer by the snapshot, and compares the register version in the transaction
    that stores the effect (`check_snapshot_current`). So no answer is verified by an old register. After a
    GatewayError, too, `process_answer` runs again if the register has changed: the new one may know the
    signer. Otherwise the error is raised.
    """
    while True:
        try:
            process_answer(snapshot)
        except (StaleSnapshotError, GatewayError) as problem:
            previous_snapshot, snapshot = snapshot, hub.refresh_snapshot()
            if snapshot.epoch == previous_snapshot.epoch and isinstance(problem, GatewayError):
                raise
        else:
            return
