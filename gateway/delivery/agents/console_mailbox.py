"""Puts calls to an agency without a system into the mailbox of the console.

The hub signs the call as if it were sent, and keeps it. The answer is the same as that of an agency's own
system when it has received an application, or has to cancel one. The hub applies the answer as a value. The
evidence is the same answer, signed with the key that the hub keeps for the agency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import CANCELLATION_ANSWERS, AgencyAcknowledgment, AgencyAnswer, Notice, SignedReply
from gateway.delivery.partner_directory import PartnerDirectory
from gateway.delivery.service_contracts import load_contract
from gateway.delivery.soap_client import SignedCall, make_unaccepted_answer_error, sign_call
from gateway.errors import NO_ADDRESS, OUR_MISTAKE, GatewayError, confirm_refusal, raise_resource_problem
from gateway.hub import CANCELLATION, AgencyKeys, Hub, is_cancellation_open
from gateway.store import (
    AgencyRequestRow,
    DeliveryLease,
    NewMailboxCall,
    OpenRequest,
    agency_requests,
    fees,
    officer_work,
    payloads,
)
from gateway.wire import AddressingHeaders, build_addressed_envelope, format_instant, serialize_element
from gateway.xmlsec import sign_soap_envelope


class AnswerOutdatedError(Exception):
    """The application has changed since the mailbox answered: the mailbox has to answer anew."""


@dataclass(frozen=True, slots=True)
class MailboxApplication:
    """The application (row ids and number) with which a call rests in the mailbox.

    `is_cancellable`: a question whether its agency cancels it needs no officer. `is_switched`: it is here
    only because an operator has switched its agency to the console.
    """

    request_id: int
    case_id: int
    application_number: str
    is_cancellable: bool
    is_switched: bool

    def check_request(self, request: OpenRequest) -> None:
        """Raise AnswerOutdatedError when the locked application is cancellable and was not, or vice versa."""
        if _is_cancellable(request) != self.is_cancellable:
            raise AnswerOutdatedError


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """A call as the hub signed it, the answer of the mailbox, and this answer signed by the agency's key."""

    call: bytes
    answer: AgencyAnswer
    signed_reply: SignedReply


class ConsoleMailbox:
    """Takes the calls to agencies that decide at the console; `keys` are the keys kept for them."""

    def __init__(self, hub: Hub, partners: PartnerDirectory, keys: AgencyKeys) -> None:
        self._hub = hub
        self._partners = partners
        self._keys = keys

    def find_application(self, conn: Connection, lease: DeliveryLease) -> MailboxApplication | None:
        """Return the application of a delivery that rests in the mailbox; None for a delivery that is sent.

        Later calls about an application that rests here rest here too, also after the agency has gone back to
        its own system.
        """
        request_id = _find_request_id(conn, lease)
        if request_id is None:
            return None
        is_switched = False
        if not self._partners.is_at_console(lease.destination):
            has_resting_calls, is_agency_switched = officer_work.find_desk_state(
                conn, request_id, lease.destination
            )
            if not (has_resting_calls or is_agency_switched):
                return None
            is_switched = not has_resting_calls
        request_row = agency_requests.find_by_id(conn, request_id)
        if request_row is None:
            raise GatewayError(OUR_MISTAKE, f"the application of delivery {lease.id} is gone")
        return MailboxApplication(
            request_row.id, request_row.case_id, request_row.number, _is_cancellable(request_row), is_switched
        )

    def answer_call(self, envelope: bytes, agency: str, application: MailboxApplication) -> AnsweredCall:
        """Sign a composed call as for the agency's system, and answer it.

        Raises GW803 without the agency's key, and GW603 while that key does not sign for the agency, or the
        agency's contract does not take the answer.
        """
        destination, now = self._partners.resolve_destination(agency), self._hub.clock()
        contract, answer_policy = load_contract(destination.wsdl), destination.answer_policy
        signer = self._keys.get_signer(agency)
        call = sign_call(
            envelope, contract, self._hub.signer, now, answer_policy.limits, address=destination.endpoint
        )
        answer = _choose_answer(call, application, now)
        response_element = _build_response(call.operation.response, answer)
        headers = AddressingHeaders(
            call.operation.reply_action, f"urn:uuid:{self._hub.new_uuid()}", relates_to=call.message_id
        )
        root = build_addressed_envelope(response_element, headers)
        # A key that is away is noticed first: then the call waits, and no try is counted.
        sign_soap_envelope(root, signer, now=now)
        try:
            confirm_refusal(lambda: answer_policy.check_signer(signer.certificate, now))
            contract.description.schema.validate_element(response_element)
        except GatewayError as problem:
            raise_resource_problem(problem)
            raise make_unaccepted_answer_error(problem) from problem
        return AnsweredCall(
            call.body, answer, SignedReply(serialize_element(root), signer.certificate.sha256)
        )

    def store_call(
        self, conn: Connection, lease: DeliveryLease, application: MailboxApplication, call: bytes
    ) -> None:
        """Store a signed call in the mailbox, in the transaction of its answer.

        Raises GW607 when the agency has gone back to its own system in the meantime.
        """
        if application.is_switched and not officer_work.lock_switch_if_set(conn, lease.destination):
            detail = f"{lease.destination[:40]} went back to its own system during the delivery"
            raise GatewayError(NO_ADDRESS, detail, "agency")
        now = self._hub.clock()
        new_call = NewMailboxCall(
            agency=lease.destination,
            request_id=application.request_id,
            case_id=application.case_id,
            delivery_id=lease.id,
            operation=str(lease.parameters.get("operation")),
            call_sha256=payloads.store_payload(conn, call, now),
        )
        officer_work.insert_mailbox_call(conn, new_call, now)


def _find_request_id(conn: Connection, lease: DeliveryLease) -> int | None:
    """Return the application (row id) of a delivery or of its fee; None for a call to customs."""
    if lease.subject_type == "request":
        return int(lease.subject_id)
    fee = fees.find_by_id(conn, int(lease.subject_id)) if lease.subject_type == "fee" else None
    return None if fee is None else fee.request_id


def _is_cancellable(request: AgencyRequestRow) -> bool:
    """Return whether an application is to be cancelled, and its officers have not decided or answered."""
    return is_cancellation_open(request) and request.state != "DECIDED"


def _choose_answer(call: SignedCall, application: MailboxApplication, now: datetime) -> AgencyAnswer:
    """Return the answer to a call: it is received, or the application is cancelled.

    The number of the notice is made of the message id of the call, so each answer to one call has the same.
    """
    receipt_number = f"C-{application.application_number}"
    if call.operation.name != CANCELLATION or not application.is_cancellable:
        return AgencyAcknowledgment(receipt_number)
    call_digest = hashlib.sha256(call.message_id.encode()).hexdigest()[:8]
    # As precise as it is written in the signed answer.
    issued_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    # The first code says that the agency cancels the application, the second one that it does not.
    return Notice(f"{receipt_number}-{call_digest}", issued_at, CANCELLATION_ANSWERS[0])


def _build_response(response_name: str, answer: AgencyAnswer) -> etree._Element:
    """Return the response element of an operation with an answer that states nothing but its head."""
    if isinstance(answer, AgencyAcknowledgment):
        return _build_answer(response_name, "Acknowledged", {"ReceiptNumber": answer.receipt_number})
    notice_values = {
        "NoticeNumber": answer.number,
        "IssuedAt": format_instant(answer.issued_at),
        "StatusCode": answer.status_code,
    }
    return _build_answer(response_name, "Notice", notice_values)


def _build_answer(response_name: str, answer_name: str, child_texts: Mapping[str, str]) -> etree._Element:
    """Return the element `response_name` around Answer and `answer_name`, which has a child for each text."""
    namespace = etree.QName(response_name).namespace
    root = etree.Element(response_name)
    answer = etree.SubElement(
        etree.SubElement(root, f"{{{namespace}}}Answer"), f"{{{namespace}}}{answer_name}"
    )
    for child_name, child_text in child_texts.items():
        etree.SubElement(answer, f"{{{namespace}}}{child_name}").text = child_text
    return root
