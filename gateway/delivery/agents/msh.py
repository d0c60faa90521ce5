"""Hands sealed messages to a partner's message handler, the same octets on every attempt.

A business message is delivered when its Acknowledgment has come, in the HTTP answer or by
a POST of the partner's own; a signal is delivered when the partner has taken it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.delivery.http import HttpAnswer, HttpSender
from gateway.delivery.leases import finisher
from gateway.delivery.retry import RetryPlan
from gateway.delivery.worker import Failed
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    RECEIPT_MISSING,
    REFUSED_FOR_GOOD,
    UNREACHABLE,
    GatewayError,
)
from gateway.evidence.log import record
from gateway.failpoints import failpoint
from gateway.hub import relay, signals
from gateway.hub.hub import Hub
from gateway.model import ErrorSignal, Receipt
from gateway.protocols import PROTOCOLS, Opened
from gateway.store import claims, payloads
from gateway.store.claims import Lease
from gateway.store.engine import reading, transaction

__all__ = ["MshAgent"]

_SOAP_ACTION: Final = '"ebXML"'
_SIGNAL_PLAN: Final = RetryPlan(retries=5, first=timedelta(seconds=5))
# As other handlers sort them: these will be answered alike tomorrow (ebMS 2.0 leaves it open).
_PASSING: Final = frozenset({408, 425, 429})
_LASTING: Final = frozenset({501, 505, 510})


class MshAgent:
    """Posts parcels to message handlers."""

    def __init__(self, hub: Hub, sender: HttpSender) -> None:
        self._hub = hub
        self._sender = sender

    def plan(self, lease: Lease) -> RetryPlan:
        """Return the repeats that the P-Mode agreed; a signal has a plan of its own."""
        if lease.subject_type == "signal":
            return _SIGNAL_PLAN
        interval = timedelta(seconds=int(lease.parameters["retry_interval"]))
        return RetryPlan(retries=int(lease.parameters["retries"]), first=interval, steady=True)

    def deliver(self, lease: Lease) -> None:
        """Post the stored octets once and store what came back."""
        wants_receipt = bool(lease.parameters.get("receipt"))
        if wants_receipt and lease.tries > self.plan(lease).retries + 1:
            raise GatewayError(
                RECEIPT_MISSING, f"no receipt after {lease.tries - 1} tries", "eb:Acknowledgment"
            )
        answer = self._post(lease)
        failpoint("msh.after_post")
        _check_status(answer)
        if not wants_receipt:
            self._delivered(lease)
        elif answer.body.strip():
            self._heard(lease, answer)
        else:
            self._await_receipt(lease)

    def _post(self, lease: Lease) -> HttpAnswer:
        with reading(self._hub.engine) as conn:
            content = payloads.get(conn, lease.payload_sha256 or "")
        headers = {"SOAPAction": _SOAP_ACTION, **dict(lease.parameters["headers"])}
        return self._sender.post(str(lease.parameters["endpoint"]), headers, content)

    def _delivered(self, lease: Lease) -> None:
        with transaction(self._hub.engine, "msh.delivered") as conn:
            case = relay.lock_case_of(conn, lease.id)
            finisher(lease, self._hub.clock)(conn)
            relay.close_when_done(conn, case, self._hub.clock())

    def _await_receipt(self, lease: Lease) -> None:
        now = self._hub.clock()
        with transaction(self._hub.engine, "msh.awaiting") as conn:
            # A receipt may have overtaken this answer: then the lease has ended, and rightly.
            claims.sent(conn, lease, now, now + self.plan(lease).first)

    def _heard(self, lease: Lease, answer: HttpAnswer) -> None:
        """Hold what came back on the connection against what was sent."""
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "the answer is in a content coding", "Content-Encoding")
        opened = self._open(lease, answer)
        unit = next((one for one in opened.units if isinstance(one, Receipt | ErrorSignal)), None)
        if unit is None:
            self._await_receipt(lease)
            return
        if isinstance(unit, ErrorSignal) and unit.severity != "Error":
            self._await_receipt(lease)
            return
        if isinstance(unit, ErrorSignal) and opened.signed is None and self._is_signed(lease):
            # Where signatures were agreed, an error of anybody ends nothing: it is sent again.
            problem = signals.refusal(unit)
            detail = f"an error that nobody signed: {problem.detail if problem else ''}"
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, "ds:Signature")
        signals.conclude(self._hub, lease.id, unit, (opened, self._hub.context(self._hub.knowledge())))

    def _is_signed(self, lease: Lease) -> bool:
        """Tell whether the P-Mode of a message asks for signatures; one that is gone does."""
        pmode = self._hub.refresh().book.get(str(lease.parameters.get("pmode")))
        return pmode is None or pmode.security.sign

    def _open(self, lease: Lease, answer: HttpAnswer) -> Opened:
        knowledge = self._hub.refresh()
        context = self._hub.context(knowledge)
        pmode = knowledge.book.get(str(lease.parameters.get("pmode")))
        protocol = PROTOCOLS[pmode.protocol if pmode else "ebms2"]
        with reading(self._hub.engine) as conn:
            content = payloads.get(conn, lease.payload_sha256 or "")
        sent = protocol.sent(Hub.parcel(dict(lease.parameters["headers"]), content), context.limits)
        back = Hub.parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
        try:
            return protocol.open(back, context, sent)
        except GatewayError as error:
            # A receipt that does not match proves nothing: the message stays unacknowledged.
            if error.problem is REFUSED_FOR_GOOD:
                raise
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, str(error)[:500], error.location) from error

    def failed(self, conn: Connection, what: Failed) -> None:
        """Store the DeliveryFailure (ebMS 2.0 §6.5.7): case and operator see it, nothing is sent."""
        delivery, problem = what.delivery, what.problem.problem.id
        data = {"message_id": delivery.wire_id or "", "error": "DeliveryFailure", "problem": problem}
        record(conn, "DeliveryFailure", "delivery", delivery.id, delivery.payload_sha256, data, what.at)


def _check_status(answer: HttpAnswer) -> None:
    status = answer.status
    if 200 <= status < 300 or (status == 500 and answer.body.strip()):
        return
    lasting = status in _LASTING or (400 <= status < 500 and status not in _PASSING)
    raise GatewayError(REFUSED_FOR_GOOD if lasting else UNREACHABLE, f"HTTP status {status}", "HTTP")
