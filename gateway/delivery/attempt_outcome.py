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

_SPREAD = 0.2
#: Delay of a delivery that found no space in the database.
_NO_ROOM_WAIT: Final = timedelta(seconds=5)
#: A token may be unavailable for days, and every attempt leaves a row.
_NO_KEY_WAIT: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """The retries after the first attempt, the first delay, and the ceiling of delays.

    `steady` means that all delays are equal, as ebMS 2.0 RetryInterval defines.
    """

    retries: int
    first: timedelta
    ceiling: timedelta = timedelta(hours=1)
    steady: bool = False


def compute_retry_delay(tries: int, plan: RetryPlan, key: str = "") -> timedelta | None:
    """Return the delay after attempt number `tries` (from 1), None when all retries are used up.

    `key` identifies the delivery: its delay has always the same place in the spread.
    """
    if tries > plan.retries:
        return None
    if plan.steady:
        return plan.first
    wait = plan.ceiling
    with suppress(OverflowError):  # longer than a timedelta can be
        wait = min(plan.first * 2 ** min(tries - 1, 30), plan.ceiling)
    part = int.from_bytes(hashlib.sha256(f"{key}/{tries}".encode()).digest()[:4], "big") / 2**32
    return wait * (1 + _SPREAD * part)


def find_agreed_wait(waiting: DeliveryRow, plan: RetryPlan) -> timedelta | None:
    """Return the longest wait that is agreed for the row of a waiting delivery, from now on.

    Returns None for one that is planned for a later time: the end of a hold or of a join, or the receipt of
    the To party, which is awaited until the time of the message is over.
    """
    if waiting.state == "AWAITING_RECEIPT" and ("hop" in waiting.parameters or "split" in waiting.parameters):
        return None
    if waiting.tries:
        return compute_retry_delay(waiting.tries, plan, str(waiting.id)) or plan.first
    planned = timedelta(0) if waiting.attempt else waiting.due_at - waiting.created_at
    return planned if planned <= delivery_maintenance.FAR else None


#: The settings are read again at each attempt, and every attempt leaves a row.
_NO_ADDRESS_PLAN: Final = RetryPlan(sys.maxsize, timedelta(seconds=5), timedelta(minutes=4))


class LeaseLostError(Exception):
    """Another worker has taken over the delivery; the transaction of this one is rolled back."""


@dataclass(frozen=True, slots=True)
class HubSnapshot:
    """A hub's knowledge of the register when an answer was judged."""

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
    judged_by: HubSnapshot | None = None,
) -> Callable[[Connection], None]:
    """Return a function that marks the delivery delivered; it raises when the lease is lost.

    With `judged_by` it raises StaleSnapshotError when the register is not that of the snapshot any more.
    """
    register = None if judged_by is None else judged_by.register.epoch

    def finish_lease(conn: Connection) -> None:
        came_to = outcome or AttemptOutcome()
        if delivery_leases.mark_delivered(conn, lease, clock(), came_to, register=register):
            return
        if judged_by is not None:
            judged_by.check_current(conn)
        raise LeaseLostError

    return finish_lease


def find_uncounted_wait(lease: DeliveryLease, problem: GatewayError) -> timedelta | None:
    """Return the wait after a problem that uses up no try: no space, no key, no address; else None."""
    if isinstance(problem, InsufficientStorageError):
        return _NO_ROOM_WAIT
    if problem.problem is NO_ROOM:
        return compute_retry_delay(lease.attempt, _NO_ADDRESS_PLAN, str(lease.id))
    if problem.problem is KEY_UNAVAILABLE:
        return _NO_KEY_WAIT
    if problem.problem is NO_ADDRESS:
        return compute_retry_delay(lease.attempt, _NO_ADDRESS_PLAN, str(lease.id))
    return None


_ERRORS: Final = range(400, 600)


class AnswerKind(Enum):
    """The kind of an answer: a success, an error of the handler itself, or an error of another system."""

    SUCCESS = "success"
    HANDLER_ERROR = "handler error"
    PASSING_ERROR = "passing error"


@dataclass(frozen=True, slots=True)
class HandlerAnswers:
    """How one kind of handler says that it does not take a request.

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
MESSAGES: Final = HandlerAnswers({"text/xml", "application/soap+xml", "multipart/related"}, _ERRORS)
#: SOAP 1.1 services, also with MTOM: whether a fault is final, say its code and its signature.
CALLS: Final = HandlerAnswers({"text/xml", "multipart/related"}, _ERRORS)
#: The payment provider (manual: fees): a signed error is final, as a repeated call gets the same answer.
PAYMENTS: Final = HandlerAnswers({"application/json"}, {400, 404, 409, 422})
#: Standard Webhooks: 410 says that the webhook is gone.
WEBHOOKS: Final = HandlerAnswers({"", "application/json", "text/plain"}, {410})


def _read_media_type(answer: HttpAnswer) -> str:
    """Return the media type without parameters; the empty one where nothing has content."""
    if not answer.body.strip():
        return ""
    # RFC 9110 §8.3: content without a type is of none that is known.
    declared = answer.headers.get("content-type", "application/octet-stream")
    return declared.partition(";")[0].strip().lower()


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
    hub: Hub, knowledge: RegisterSnapshot, work: Callable[[RegisterSnapshot], None]
) -> None:
    """Run `work`, and again if the register has changed since `knowledge` was read.

    `work` opens the answer by its argument, and has the version of the register compared in the transaction
    of its effect (`check_snapshot_current`). So no answer is judged by an old register, and reading the
    version costs no transaction of its own. A GatewayError is tried again, too, if the register has changed:
    the new one may know the signer. Otherwise it is raised.
    """
    while True:
        try:
            work(knowledge)
        except (StaleSnapshotError, GatewayError) as problem:
            previous, knowledge = knowledge, hub.refresh_snapshot()
            if knowledge.epoch == previous.epoch and isinstance(problem, GatewayError):
                raise
        else:
            return
