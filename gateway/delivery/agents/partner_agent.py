"""Makes calls to agencies and customs, and lets the hub apply their answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import Connection

from gateway.cases import CustomsNotice
from gateway.delivery.agents.console_mailbox import ConsoleMailbox
from gateway.delivery.attempt_outcome import LeaseLostError, RetryPlan, make_lease_finisher
from gateway.delivery.current_register import run_with_current_register
from gateway.delivery.delivery_agent import FailedDelivery
from gateway.delivery.lease_content import find_leased_octets, read_leased_octets
from gateway.delivery.partner_directory import PartnerDirectory
from gateway.delivery.soap_caller import PostedCall, SoapCaller
from gateway.errors import ANSWER_NOT_UNDERSTOOD, OUR_MISTAKE, GatewayError
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import (
    CANCELLATION,
    CLEARANCE_NEWS,
    DRAFTED,
    Hub,
    RegisterSnapshot,
    apply_customs_answer,
    keep_demands,
    refresh_summaries,
    reply,
)
from gateway.state_machines import REQUEST
from gateway.store import (
    DeliveryLease,
    StateEvent,
    agency_requests,
    cases,
    deliveries,
    delivery_leases,
    payloads,
    read_transaction,
    write_transaction,
)

__all__ = ["PartnerAgent"]

_ACTOR = "soap"
_ANSWER = "/soap:Envelope/soap:Body"
#: Calls about an application that its agency has: when one fails, the application stands where it was.
_SIDE_CALLS = (CANCELLATION, CLEARANCE_NEWS)
_NO_RETRY = RetryPlan(retries=0, first=timedelta(0))


class PartnerAgent:
    """Calls a partner's service with the stored envelope, signed anew on each attempt.

    What goes to an agency that decides at the console rests in its `mailbox` instead.
    """

    def __init__(
        self,
        hub: Hub,
        soap: SoapCaller,
        partners: PartnerDirectory,
        plans: Callable[[], Mapping[str, RetryPlan]],
        mailbox: ConsoleMailbox | None = None,
    ) -> None:
        self._hub = hub
        self._soap = soap
        self._partners = partners
        self._plans = plans
        self._mailbox = mailbox

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the partner's plan; a partner that is no longer in the settings gets no retry."""
        return self._plans().get(lease.destination, _NO_RETRY)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one attempt and store what the partner answered."""
        knowledge = self._hub.get_snapshot()
        envelope, route = self._read_call(lease)
        if route is not None and self._mailbox is not None:
            self._rest_call(lease, self._mailbox, envelope, switched=route == "switched")
            return
        if DRAFTED in lease.parameters:
            lease, envelope = self._compose_draft(lease, envelope)
        posted = self._soap.post_call(envelope, self._partners.resolve_destination(lease.destination))
        run_with_current_register(
            self._hub, knowledge, lambda known: self._apply_answer(lease, posted, known)
        )

    def _read_call(self, lease: DeliveryLease) -> tuple[bytes, str | None]:
        """Return the envelope of a call, and why it rests in the mailbox, as the lease says, or read."""
        envelope = find_leased_octets(lease)
        # Where the application of a fee rests, the lease does not say.
        known = lease.rests is not None and lease.switched is not None and lease.subject_type != "fee"
        if envelope is not None and known:
            place = bool(lease.rests), bool(lease.switched)
            return envelope, self._mailbox.choose_route(lease, place) if self._mailbox is not None else None
        with read_transaction(self._hub.engine) as conn:
            route = self._mailbox.find_route(conn, lease) if self._mailbox is not None else None
            return read_leased_octets(conn, lease), route

    def _compose_draft(self, lease: DeliveryLease, draft: bytes) -> tuple[DeliveryLease, bytes]:
        """Compose a drafted call by the contract of now, and store it: every further attempt sends this one.

        Raises GW720 where the contract does not take it.
        """
        envelope = self._partners.compose_drafted_call(draft, lease.destination)
        now, request = self._hub.clock(), int(lease.subject_id)
        parameters = {name: value for name, value in lease.parameters.items() if name != DRAFTED}
        with write_transaction(self._hub.engine, "delivery.composed") as conn:
            cases.lock_case(conn, lease.case_id or 0)
            if not delivery_leases.lock_active_lease(conn, lease):
                raise LeaseLostError
            digest = payloads.store_payload(conn, envelope, now)
            deliveries.replace_content(conn, lease.id, digest, parameters)
            row = agency_requests.find_by_id(conn, request)
            if row is not None and row.document_sha256 == lease.payload_sha256:
                agency_requests.set_sent_document(conn, request, digest)
        return replace(lease, payload_sha256=digest, parameters=parameters, content=None), envelope

    def _apply_answer(self, lease: DeliveryLease, posted: PostedCall, knowledge: RegisterSnapshot) -> None:
        """Read the answer and store its effect, if the register is still the one that the signer is in."""
        answer, spoken = self._soap.read_answer(posted)
        kill_at_failpoint("soap.after_call")
        finish = make_lease_finisher(lease, self._hub.clock, judged_by=(self._hub, knowledge))
        if lease.subject_type not in ("request", "fee"):
            apply_customs_answer(self._hub, lease, answer, spoken, finish)
            return
        if isinstance(answer, CustomsNotice):
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "an agency answered as customs", _ANSWER)
        if lease.subject_type == "fee":
            reply.apply_payment_answer(self._hub, int(lease.subject_id), (answer, spoken), finish)
            return
        operation = str(lease.parameters.get("operation"))
        reply.apply_answer(self._hub, int(lease.subject_id), (answer, spoken), finish, operation=operation)

    def _rest_call(
        self, lease: DeliveryLease, mailbox: ConsoleMailbox, envelope: bytes, *, switched: bool
    ) -> None:
        """Store that a call is in the mailbox, and apply the answer as that of the agency's system."""
        rested = mailbox.take_call(envelope, lease.destination)
        with read_transaction(self._hub.engine) as conn:
            about = mailbox.find_application(conn, lease)
        if about is None:
            raise GatewayError(OUR_MISTAKE, f"the application of delivery {lease.id} is gone")
        finish = make_lease_finisher(lease, self._hub.clock)
        done = rested.make_finisher(lease, self._hub, finish, about, switched=switched)
        heard = (rested.answer, rested.reply)
        if lease.subject_type == "fee":
            reply.apply_payment_answer(self._hub, int(lease.subject_id), heard, done)
            return
        operation = str(lease.parameters.get("operation"))
        reply.apply_answer(self._hub, about.request, heard, done, operation=operation, at_console=True)
        # For the lists of officers; what is not stored here is read when a list first shows it.
        with read_transaction(self._hub.engine) as conn:
            refresh_summaries(self._hub, conn, [about.request])

    def record_failure(self, conn: Connection, what: FailedDelivery) -> None:
        """Record that the partner cannot be reached: the request is STRANDED until an operator acts.

        An application that was to be cancelled, or whose clearance was told, stands where it was: the agency
        has it.
        """
        delivery, problem = what.delivery, what.problem.problem.id
        aside = delivery.parameters.get("operation") in _SIDE_CALLS
        if delivery.subject_type == "request" and not aside:
            request = agency_requests.find_by_id(conn, int(delivery.subject_id))
            if request is not None and request.state not in REQUEST.final:
                keep_demands(conn, request, self._hub.load_rules_of(conn, request).status_codes)
                agency_requests.apply_event(
                    conn, request.id, StateEvent("undeliverable", what.at, _ACTOR, problem)
                )
        data = {"destination": delivery.destination, "problem": problem}
        content = delivery.payload_sha256
        if DRAFTED in delivery.parameters:  # this attempt may have composed it
            row = deliveries.find_by_id(conn, delivery.id)
            content = content if row is None else row.payload_sha256
        record_evidence(conn, "undeliverable", "delivery", delivery.id, content, data, what.at)
