"""The agents that push messages to partners and keep messages for a pull."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection

from gateway.agreements import PMode
from gateway.cases import CustomsNotice, SignedAnswer
from gateway.delivery.agents.console_mailbox import AnswerOutdatedError, ConsoleMailbox, MailboxApplication
from gateway.delivery.attempt_outcome import (
    FailedDelivery,
    HubSnapshot,
    LeaseLostError,
    RetryPlan,
    make_lease_finisher,
    run_with_current_register,
)
from gateway.delivery.http_answer_reader import HttpAnswer, require_identity_coding
from gateway.delivery.http_client import HttpClient, HttpLimits
from gateway.delivery.partner_directory import PartnerDirectory
from gateway.delivery.recurring_schedule import RecurringTask
from gateway.delivery.service_contracts import load_contract
from gateway.delivery.soap_client import PostedCall, SoapCaller, SoapDestination
from gateway.delivery.stored_calls import check_answer_status
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    NO_ADDRESS,
    GatewayError,
    raise_resource_problem,
)
from gateway.evidence import record_evidence
from gateway.failpoints import kill_at_failpoint
from gateway.hub import (
    CANCELLATION,
    CLEARANCE_NEWS,
    DRAFTED,
    WSDL_DIGEST,
    Hub,
    LogLineKey,
    LogLineLimit,
    RegisterSnapshot,
    apply_answer,
    apply_customs_answer,
    apply_payment_answer,
    receive_response,
    refresh_summaries,
    refuse_pulled_message,
)
from gateway.message_model import ErrorSignal, PullRequest
from gateway.protocols import PROTOCOLS, Parcel, SentUnit, make_pull_request, make_refusal_error
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

_log = logging.getLogger(__name__)
_ACTOR = "soap"
_ANSWER_PATH = "/soap:Envelope/soap:Body"
#: Calls about an application that its agency has: when one fails, the application stands where it was.
_SIDE_CALLS = (CANCELLATION, CLEARANCE_NEWS)
_NO_RETRY_PLAN = RetryPlan(max_retries=0, first_delay=timedelta(0))
#: Calls by another WSDL may wait for long after a change, and one line says it of all.
_OTHER_CONTRACT_PERIOD: Final = timedelta(days=1)


class PartnerAgent:
    """Calls a partner's service with the stored envelope, signed anew on each attempt.

    Calls to an agency that decides at the console rest in its `mailbox` instead.
    """

    def __init__(
        self,
        hub: Hub,
        soap_caller: SoapCaller,
        partners: PartnerDirectory,
        get_retry_plans: Callable[[], Mapping[str, RetryPlan]],
        mailbox: ConsoleMailbox | None = None,
    ) -> None:
        self._hub = hub
        self._soap_caller = soap_caller
        self._partners = partners
        self._get_retry_plans = get_retry_plans
        self._mailbox = mailbox
        self._other_contracts = LogLineLimit(_OTHER_CONTRACT_PERIOD)

    def get_retry_plan(self, lease: DeliveryLease) -> RetryPlan:
        """Return the partner's plan; a partner that is no longer in the settings gets no retry."""
        return self._get_retry_plans().get(lease.destination, _NO_RETRY_PLAN)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Make one attempt and store the partner's answer."""
        snapshot = self._hub.get_snapshot()
        envelope, application = self._read_call(lease)
        if application is not None and self._mailbox is not None:
            self._put_call_into_mailbox(lease, self._mailbox, envelope, application)
            return
        if DRAFTED in lease.parameters:
            lease, envelope = self._compose_draft(lease, envelope)
        destination = self._partners.resolve_destination(lease.destination)
        self._report_other_contract(lease, destination)
        posted_call = self._soap_caller.post_call(envelope, destination)
        run_with_current_register(
            self._hub,
            snapshot,
            lambda current_snapshot: self._apply_answer(lease, posted_call, current_snapshot),
        )

    def _report_other_contract(self, lease: DeliveryLease, destination: SoapDestination) -> None:
        """Log a call that was composed by another WSDL than this node has: once a day for each WSDL."""
        composed_by = str(lease.parameters.get(WSDL_DIGEST, ""))
        contract = load_contract(destination.wsdl)
        if composed_by in ("", contract.sha256):
            return
        line_key = LogLineKey(lease.destination, composed_by)
        if self._other_contracts.admit_line(line_key, self._hub.clock()) is not None:
            _log.warning(
                "a call was composed by another WSDL than this node has: SHA-256 %s then, %s here (%s). "
                "Unless the WSDL was changed since, nodes have different settings or files: make them equal",
                *(composed_by, contract.sha256, contract.wsdl_name),
                extra={"partner": lease.destination, "delivery": lease.id},
            )

    def _read_call(self, lease: DeliveryLease) -> tuple[bytes, MailboxApplication | None]:
        """Return the envelope of a call, and its application in the mailbox (None: the call is sent)."""
        with read_transaction(self._hub.engine) as conn:
            application = self._mailbox.find_application(conn, lease) if self._mailbox is not None else None
            return payloads.get_payload_octets(conn, lease.payload_sha256 or ""), application

    def _compose_draft(self, lease: DeliveryLease, draft: bytes) -> tuple[DeliveryLease, bytes]:
        """Compose a drafted call by the contract of now, and store it: every further attempt sends this one.

        Raises GW720 where the contract does not take it.
        """
        operation = str(lease.parameters.get("operation"))
        composed_call = self._partners.compose_drafted_call(draft, operation, lease.destination)
        now, request_id = self._hub.clock(), int(lease.subject_id)
        other_parameters = {name: value for name, value in lease.parameters.items() if name != DRAFTED}
        parameters = {**other_parameters, WSDL_DIGEST: composed_call.wsdl_sha256}
        with write_transaction(self._hub.engine, "delivery.composed") as conn:
            cases.lock_case(conn, lease.case_id or 0)
            if not delivery_leases.lock_active_lease(conn, lease):
                raise LeaseLostError
            envelope_sha256 = payloads.store_payload(conn, composed_call.octets, now)
            deliveries.replace_content(conn, lease.id, envelope_sha256, parameters)
            request_row = agency_requests.find_by_id(conn, request_id)
            if request_row is not None and request_row.document_sha256 == lease.payload_sha256:
                agency_requests.set_sent_document(conn, request_id, envelope_sha256)
        return replace(lease, payload_sha256=envelope_sha256, parameters=parameters), composed_call.octets

    def _apply_answer(
        self, lease: DeliveryLease, posted_call: PostedCall, snapshot: RegisterSnapshot
    ) -> None:
        """Read the answer and store its effect; the register must still be the one of `snapshot`."""
        answer, signed_reply = self._soap_caller.read_answer(posted_call)
        kill_at_failpoint("soap.after_call")
        finish_lease = make_lease_finisher(lease, self._hub.clock, snapshot=HubSnapshot(self._hub, snapshot))
        if lease.subject_type not in ("request", "fee"):
            apply_customs_answer(self._hub, lease, answer, signed_reply, finish_lease)
            return
        if isinstance(answer, CustomsNotice):
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "an agency answered as customs", _ANSWER_PATH)
        if lease.subject_type == "fee":
            apply_payment_answer(
                self._hub, int(lease.subject_id), SignedAnswer(answer, signed_reply), finish_lease
            )
            return
        operation = str(lease.parameters.get("operation"))
        signed_answer = SignedAnswer(answer, signed_reply)
        apply_answer(self._hub, int(lease.subject_id), signed_answer, finish_lease, operation=operation)

    def _put_call_into_mailbox(
        self, lease: DeliveryLease, mailbox: ConsoleMailbox, envelope: bytes, application: MailboxApplication
    ) -> None:
        """Store that a call is in the mailbox, and apply the answer as that of the agency's system."""
        answered_call = mailbox.answer_call(envelope, lease.destination, application)
        finish_lease = make_lease_finisher(lease, self._hub.clock)

        def store_call(conn: Connection) -> None:
            mailbox.store_call(conn, lease, application, answered_call.call)
            finish_lease(conn)

        signed_answer = SignedAnswer(answered_call.answer, answered_call.signed_reply)
        if lease.subject_type == "fee":
            apply_payment_answer(self._hub, int(lease.subject_id), signed_answer, store_call)
            return
        try:
            apply_answer(
                self._hub,
                application.request_id,
                signed_answer,
                store_call,
                operation=str(lease.parameters.get("operation")),
                check_console_request=application.check_request,
            )
        except AnswerOutdatedError:
            self.attempt_delivery(lease)
            return
        # For the lists of officers. A summary that is not stored here is made when a list first shows it.
        try:
            with read_transaction(self._hub.engine) as conn:
                refresh_summaries(self._hub, conn, [application.request_id])
        except GatewayError as unread:
            _log.warning("no summary is stored yet: %s", unread, extra={"delivery": lease.id})

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Record that the partner has not taken the call: the request is STRANDED until an operator acts.

        If the call was a cancellation or news of clearance, the request keeps its state: the agency has the
        application.
        """
        delivery, problem_id = failure.delivery, failure.problem.problem.id
        is_side_call = delivery.parameters.get("operation") in _SIDE_CALLS
        if delivery.subject_type == "request" and not is_side_call:
            request = agency_requests.find_by_id(conn, int(delivery.subject_id))
            if request is not None and request.state not in REQUEST.final_states:
                agency_requests.apply_event(
                    conn, request.id, StateEvent("undeliverable", failure.at, _ACTOR, problem_id)
                )
        evidence_fields = {"destination": delivery.destination, "problem": problem_id}
        payload_sha256 = delivery.payload_sha256
        if DRAFTED in delivery.parameters:  # this attempt may have composed it
            delivery_row = deliveries.find_by_id(conn, delivery.id)
            payload_sha256 = payload_sha256 if delivery_row is None else delivery_row.payload_sha256
        record_evidence(
            conn, "undeliverable", "delivery", delivery.id, payload_sha256, evidence_fields, failure.at
        )


#: The largest number of messages that are pulled in one period; the next period pulls the others.
_MAX_MESSAGES: Final = 100
_UNLIMITED_RETRIES: Final = 1_000_000


def list_pull_tasks(hub: Hub, period: timedelta) -> list[RecurringTask]:
    """Return the recurring task of each channel from which we pull: one for each address."""
    # An idle worker hears of a new agreement by no message.
    snapshot, now = hub.refresh_snapshot(), hub.clock()
    own_identifiers = frozenset(snapshot.identifiers.get(hub.party, ()))
    tasks: dict[tuple[str, str | None], RecurringTask] = {}
    for pmode in snapshot.book.list_pulling_pmodes(own_identifiers, now):
        partner = snapshot.by_id.get(pmode.from_party[0])
        if pmode.reply_endpoint is None or partner is None:
            continue
        tasks.setdefault(
            (pmode.reply_endpoint, pmode.pull_channel),
            RecurringTask(
                f"pull:{pmode.agreement}:{pmode.id}",
                "pull",
                partner,
                period,
                f"pull-from:{partner}",
                {"agreement": pmode.agreement, "pmode": pmode.id},
            ),
        )
    return list(tasks.values())


class PullAgent:
    """Pulls from message handlers; `period` is the time between two pulls."""

    def __init__(self, hub: Hub, http_client: HttpClient, limits: HttpLimits, period: timedelta) -> None:
        self._hub = hub
        self._http_client = http_client
        self._limits = limits
        self._period = period

    def get_retry_plan(self, _lease: DeliveryLease) -> RetryPlan:
        """Return unlimited retries: a period ends by itself, and the next one has a delivery of its own."""
        return RetryPlan(_UNLIMITED_RETRIES, min(timedelta(seconds=10), self._period), self._period)

    def attempt_delivery(self, lease: DeliveryLease) -> None:
        """Pull until nothing waits any more, and end the delivery of this period."""
        pulled_ids: set[str] = set()
        while len(pulled_ids) < _MAX_MESSAGES:
            message_id = self._pull_message(lease)
            # A partner that gives one message twice has not seen its receipt yet: the next period asks again.
            if message_id is None or message_id in pulled_ids:
                break
            pulled_ids.add(message_id)
        with write_transaction(self._hub.engine, "pull.turn") as conn:
            deliveries.give_up_earlier_periods(conn, lease, self._hub.clock(), "pull")
            make_lease_finisher(lease, self._hub.clock)(conn)

    def _pull_message(self, lease: DeliveryLease) -> str | None:
        """Pull once and store the message that came; return its MessageId, None if there was no message."""
        snapshot = self._hub.refresh_snapshot()
        pmode = self._find_pmode(lease, snapshot)
        context = self._hub.make_protocol_context(snapshot)
        request = make_pull_request(pmode, context)
        parcel = PROTOCOLS[pmode.protocol].seal((request,), pmode, context)
        url = pmode.reply_endpoint or ""
        answer = self._http_client.post(url, dict(parcel.headers), parcel.read_octets(), self._limits)
        kill_at_failpoint("pull.after_post")
        check_answer_status(answer)
        if not answer.body.strip():
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, "it answered a PullRequest with nothing", "HTTP")
        require_identity_coding(answer)
        message_ids: list[str | None] = []
        try:
            run_with_current_register(
                self._hub,
                snapshot,
                lambda current_snapshot: message_ids.append(
                    self._store_pulled_message(request, pmode, answer, current_snapshot)
                ),
            )
        except GatewayError as error:
            raise_resource_problem(error)
            refuse_pulled_message(self._hub, error, _make_parcel(answer), pmode)
            detail = f"{error.problem.id} {error.detail}"[:500]
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, detail, error.location, theirs=error.theirs) from error
        return message_ids[-1]

    def _find_pmode(self, lease: DeliveryLease, snapshot: RegisterSnapshot) -> PMode:
        """Return the P-Mode of the delivery; raise GW607 if it is not in force or has no pull any more."""
        parameters = lease.parameters
        pmode = snapshot.book.find_by_id(parameters["agreement"], parameters["pmode"], self._hub.clock())
        if pmode is None or pmode.reply_endpoint is None or pmode.pull is None:
            raise GatewayError(
                NO_ADDRESS, "the agreement has nothing to be pulled any more", parameters["pmode"]
            )
        return pmode

    def _store_pulled_message(
        self, request: PullRequest, pmode: PMode, answer: HttpAnswer, snapshot: RegisterSnapshot
    ) -> str | None:
        """Verify the answer by `snapshot`, and store its message; return the MessageId.

        Return None for a mere warning, such as that no message waits. Raise GW603 for an error.
        """
        protocol, context = PROTOCOLS[pmode.protocol], self._hub.make_protocol_context(snapshot)
        opened_message = protocol.open_units(_make_parcel(answer), context, SentUnit(request))
        if not isinstance(opened_message.unit, ErrorSignal):
            receive_response(self._hub, protocol, opened_message, snapshot)
            return opened_message.unit.message_id
        problem = make_refusal_error(opened_message.unit)
        if opened_message.unit.highest_severity == "Error" and problem is not None:
            # Anyone may have written it: the next period asks again.
            raise GatewayError(ANSWER_NOT_UNDERSTOOD, problem.detail, problem.location, theirs=problem.theirs)
        return None

    def record_failure(self, conn: Connection, failure: FailedDelivery) -> None:
        """Give up the failed deliveries of earlier periods; an operator sees only the last one as FAILED."""
        deliveries.give_up_earlier_periods(conn, failure.delivery, failure.at, "pull")


def _make_parcel(answer: HttpAnswer) -> Parcel:
    return Hub.make_parcel({"Content-Type": answer.headers.get("content-type", "")}, answer.body)
