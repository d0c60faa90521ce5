"""The SOAP calls of the hub, the port that composes their envelopes, and the states of sent calls.

An application that its agency refused for good is sent anew by an amendment, so that there may be several
calls that submit it: the last one counts.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from lxml import etree
from sqlalchemy import Connection

from gateway.errors import CALL_UNFIT, REFUSED_FOR_GOOD, SETTINGS_WRONG, GatewayError
from gateway.message_model import Payload
from gateway.store import DeliveryRow, deliveries
from gateway.wire import WrittenElement

#: The destination of calls to customs; every other destination is an organisation's code.
CUSTOMS = "customs"
#: The operation that asks an agency to cancel an application.
CANCELLATION = "CancelApplication"
#: The operation that tells an agency how customs ended clearance.
CLEARANCE_NEWS = "NotifyClearance"
#: The parameter of a delivery whose stored call is a draft, until it has been composed.
DRAFTED: Final = "drafted"
#: The parameters of a delivery with the contract by which its call was composed: the SHA-256 of the WSDL,
#: and of the schema of the document in it.
WSDL_DIGEST: Final = "wsdl_sha256"
SCHEMA_DIGEST: Final = "schema_sha256"


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """One SOAP call: destination, operation, MessageID, arguments; `document` fills the schema's wildcard.

    `scope` lists the decisions to be made, beside the document: ``items``, and the ``laws`` for each of them.
    """

    destination: str
    operation: str
    message_id: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    document: etree._Element | WrittenElement | None = None
    attachments: tuple[Payload, ...] = ()
    scope: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComposedEnvelope:
    """The unsigned envelope of a call, and the SHA-256 of the WSDL by which it was composed."""

    octets: bytes
    wsdl_sha256: str


class CallComposer(Protocol):
    """Composes the unsigned envelope of a call; its MessageID and Body never change afterwards."""

    def compose_call(self, call: OutgoingCall) -> ComposedEnvelope:
        """Return the envelope to store; raises GW504 when the call does not fit the partner's contract."""

    def compose_draft(self, call: OutgoingCall) -> bytes:
        """Return the draft of a call that its contract does not take now; it is composed when it is sent."""

    def has_destination(self, destination: str) -> bool:
        """Return whether the destination is configured."""

    def wants_payments(self, destination: str) -> bool:
        """Return whether the hub notifies an agency of paid fees."""


class RejectingComposer:
    """Composes no calls: for processes that receive messages and leave the calls to the workers."""

    def compose_call(self, call: OutgoingCall) -> ComposedEnvelope:
        """Raise GW801: this process makes no calls."""
        raise GatewayError(SETTINGS_WRONG, f"this process makes no calls to {call.destination[:40]!r}")

    def compose_draft(self, call: OutgoingCall) -> bytes:
        """Raise GW801: this process makes no calls."""
        return self.compose_call(call).octets

    def has_destination(self, destination: str) -> bool:
        """Return False: this process has no partners."""
        del destination
        return False

    def wants_payments(self, destination: str) -> bool:
        """Return False: this process has no partners."""
        del destination
        return False


@dataclass(frozen=True, slots=True, order=True)
class LogLineKey:
    """The subject of a line of the log, and the id of its problem."""

    subject: str
    problem: str


#: Keys that are remembered; senders choose some of them.
_MOST_KEYS: Final = 1000


class LogLineLimit:
    """Admits at most `max_lines` log lines of one subject and problem in a period; safe for many threads."""

    def __init__(self, period: timedelta, max_lines: int = 1) -> None:
        self._period = period
        self._max_lines = max_lines
        self._periods: dict[LogLineKey, tuple[datetime, int]] = {}
        self._left_out: dict[LogLineKey, int] = {}
        self._guard = threading.Lock()

    def admit_line(self, key: LogLineKey, now: datetime) -> int | None:
        """Return how many lines were left out before this one; None when this one is to be left out, too."""
        with self._guard:
            period_start, line_count = self._periods.get(key, (now, 0))
            if abs(now - period_start) >= self._period:
                period_start, line_count = now, 0
            if line_count < self._max_lines and (key in self._periods or len(self._periods) < _MOST_KEYS):
                self._periods[key] = (period_start, line_count + 1)
                return self._left_out.pop(key, 0)
            if key in self._periods:
                self._left_out[key] = self._left_out.get(key, 0) + 1
            return None

    def take_left_out(self, keys: Iterable[LogLineKey]) -> dict[LogLineKey, int]:
        """Return the numbers of lines left out so far for `keys`, and count again from 0.

        The periods of the keys continue.
        """
        with self._guard:
            return {key: self._left_out.pop(key) for key in sorted(keys) if key in self._left_out}

    def collect_left_out(self, now: datetime) -> dict[LogLineKey, int]:
        """Return the numbers of lines left out in periods that are over, and forget these periods."""
        with self._guard:
            over = [key for key, (first, _) in self._periods.items() if abs(now - first) >= self._period]
            for key in over:
                del self._periods[key]
            return {key: self._left_out.pop(key) for key in over if key in self._left_out}


_HOUR = timedelta(hours=1)


class RefusalQuota:
    """Counts the refusals that one process posts to each endpoint within an hour; safe for many threads.

    Each refusal leaves rows in the database, and anyone can send a message that is refused. The endpoints
    are those of agreements, so the memory used is bounded.
    """

    def __init__(self, max_per_hour: int) -> None:
        self._max_per_hour = max_per_hour
        self._refusals: dict[str, deque[datetime]] = {}
        self._guard = threading.Lock()

    def acquire_slot(self, endpoint: str, now: datetime) -> bool:
        """Count one more refusal and return True; return False when the limit of the hour is reached."""
        with self._guard:
            refusals = self._refusals.setdefault(endpoint, deque())
            # A clock that was set back leaves times in the future.
            while refusals and abs(now - refusals[0]) >= _HOUR:
                refusals.popleft()
            if len(refusals) >= self._max_per_hour:
                return False
            refusals.append(now)
            return True


#: The operation that submits an application.
SUBMISSION: Final = "SubmitApplication"


def find_submission_delivery(earlier: Sequence[DeliveryRow]) -> DeliveryRow | None:
    """Return the last delivery that submits the application; None without deliveries."""
    submits = [row for row in earlier if row.parameters.get("operation") == SUBMISSION]
    return submits[-1] if submits else next(iter(earlier), None)


def is_refused_for_good(earlier_deliveries: Sequence[DeliveryRow]) -> bool:
    """Return whether the agency does not have the application: it refused it, or could not be sent it.

    The problem is GW602, or GW720 where its contract does not take the call.
    """
    sent = find_submission_delivery(earlier_deliveries)
    refusing_problems = (REFUSED_FOR_GOOD.id, CALL_UNFIT.id)
    return sent is not None and sent.state == "FAILED" and sent.problem in refusing_problems


def find_preceding_delivery(earlier_deliveries: Sequence[DeliveryRow]) -> DeliveryRow | None:
    """Return the delivery that a supplement or an amendment waits for.

    This is the latest delivery that did not fail, or the application itself when that failed. A
    supplement that its agency refused does not delay the next supplement. An application that never
    arrived does, until an operator has resent it.
    """
    sent = find_submission_delivery(earlier_deliveries)
    if sent is None or sent.state == "FAILED":
        return sent
    return max((row for row in earlier_deliveries if row.state != "FAILED"), key=lambda row: int(row.id))


def end_overtaken_calls(
    conn: Connection,
    earlier_deliveries: Sequence[DeliveryRow],
    at: datetime,
    actor: str,
    *,
    is_sent_anew: bool,
) -> None:
    """Give up the failed calls that an amendment replaces: sending one again would undo the amendment.

    These are supplements and amendments; with `is_sent_anew` also the application, and the calls that wait
    behind it.
    """
    for row in earlier_deliveries:
        operation = row.parameters.get("operation")
        if operation == CANCELLATION or (operation == SUBMISSION and not is_sent_anew):
            continue
        if row.state == "FAILED":
            deliveries.give_up_delivery(conn, row.id, at, actor, "amended")
        elif is_sent_anew and row.state in ("QUEUED", "HELD"):
            deliveries.cancel_delivery(conn, row.id, at, actor, "amended")
