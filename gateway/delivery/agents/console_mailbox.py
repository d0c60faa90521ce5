"""Lets calls to an agency without a system come to rest in the mailbox of the console.

The call is signed as it would be sent. The answer is the one that an agency's own system gives when it
has received an application, or has to cancel one, signed with the key that the hub keeps for the
agency. It is opened and judged as every answer is, so that nothing behind it can tell the difference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lxml import etree
from sqlalchemy import Connection

from gateway.cases import AgencyAnswer, CustomsNotice, SignedReply
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.http_client import HttpLimits
from gateway.delivery.partner_directory import PartnerDirectory
from gateway.delivery.service_contracts import load_contract
from gateway.delivery.soap_client import SoapCaller, SoapDestination
from gateway.errors import NO_ADDRESS, REQUEST_INVALID, GatewayError
from gateway.hub import CANCELLATION, AgencyKeys, Hub
from gateway.pki import Signer
from gateway.store import (
    DeliveryLease,
    NewMailboxCall,
    agency_requests,
    fees,
    officer_work,
    payloads,
    read_transaction,
)
from gateway.wire import (
    AddressingHeaders,
    ServiceDescription,
    build_addressed_envelope,
    format_instant,
    parse_xml,
    read_addressing,
    read_envelope,
    serialize_element,
)
from gateway.xmlsec import sign_soap_envelope

_CONTENT_TYPE = "text/xml; charset=utf-8"


@dataclass(frozen=True, slots=True)
class RestedApplication:
    """The application that a call is about, and its case, by their row ids."""

    request: int
    case: int


@dataclass(frozen=True, slots=True)
class RestedCall:
    """A call as the hub signed it, and the answer of the mailbox."""

    call: bytes
    answer: AgencyAnswer
    reply: SignedReply

    def make_finisher(
        self,
        lease: DeliveryLease,
        hub: Hub,
        finish: Callable[[Connection], None],
        application: RestedApplication,
        *,
        switched: bool,
    ) -> Callable[[Connection], None]:
        """Return the function that ends the delivery when the call is stored in the mailbox.

        It is called in the transaction that stores the call. `application` is the application of the call.
        The function raises when the agency has gone back to its own system in the meantime.
        """

        def rest_call(conn: Connection) -> None:
            if switched and not officer_work.share_switch(conn, lease.destination):
                detail = f"{lease.destination[:40]} went back to its own system during the delivery"
                raise GatewayError(NO_ADDRESS, detail, "agency")
            now = hub.clock()
            new = NewMailboxCall(
                agency=lease.destination,
                request_id=application.request,
                case_id=application.case,
                delivery_id=lease.id,
                operation=str(lease.parameters.get("operation")),
                call_sha256=payloads.store_payload(conn, self.call, now),
            )
            officer_work.insert_mailbox_call(conn, new, now)
            finish(conn)

        return rest_call


class ConsoleMailbox:
    """Takes the calls to agencies that decide at the console; `keys` are the keys kept for them."""

    def __init__(self, hub: Hub, partners: PartnerDirectory, keys: AgencyKeys) -> None:
        self._hub = hub
        self._partners = partners
        self._keys = keys

    def find_route(self, conn: Connection, lease: DeliveryLease) -> str | None:
        """Return why a delivery rests in the mailbox: `console`, `followed` or `switched`; None: it does not.

        Later calls about an application that rests here rest here too, also after the agency has gone back to
        its own system.
        """
        application = self.find_application(conn, lease)
        if application is None:
            return None
        if self._partners.is_at_console(lease.destination):
            return "console"
        rests, switched = officer_work.find_mailbox_place(conn, application.request, lease.destination)
        if rests:
            return "followed"
        return "switched" if switched else None

    def find_application(self, conn: Connection, lease: DeliveryLease) -> RestedApplication | None:
        """Return the application of a delivery: that of a fee, too. None for a call to customs."""
        if lease.subject_type == "request":
            return RestedApplication(int(lease.subject_id), lease.case_id or 0)
        fee = fees.find_by_id(conn, int(lease.subject_id)) if lease.subject_type == "fee" else None
        return None if fee is None else RestedApplication(fee.request_id, fee.case_id)

    def take_call(self, envelope: bytes, agency: str) -> RestedCall:
        """Sign a call as for the agency's system, and answer it; raises GW803 without the agency's key."""
        destination = self._partners.resolve_destination(agency)
        desk = _MailboxDesk(destination, self._keys.get_signer(agency), self._hub)
        caller = SoapCaller(desk, lambda: self._hub.signer, self._hub.clock)
        answer, reply = caller.exchange_call(envelope, destination)
        if isinstance(answer, CustomsNotice):
            raise GatewayError(REQUEST_INVALID, "the mailbox answers for agencies alone", "agency")
        return RestedCall(desk.call, answer, reply)


class _MailboxDesk:
    """A stand-in for HTTP: it keeps the signed call, and returns the agency's signed answer."""

    def __init__(self, destination: SoapDestination, signer: Signer, hub: Hub) -> None:
        self._description: ServiceDescription = load_contract(destination.wsdl).description
        self._signer = signer
        self._hub = hub
        self.call = b""

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, bounds: HttpLimits | None = None
    ) -> HttpAnswer:
        """Return the answer to a call of the hub: `Acknowledged`, or that an application is cancelled.

        Whether an application that officers have decided is cancelled, they decide themselves.
        """
        del url, headers, bounds
        self.call = body
        envelope = read_envelope(parse_xml(body))
        content = envelope.body_elements[0]
        operation = self._description.find_by_request(str(content.tag))
        number = content.findtext("{*}ApplicationNumber")
        if operation is None or envelope.header is None or number is None:
            raise GatewayError(
                REQUEST_INVALID, "the call is about no application", "/soap:Envelope/soap:Body"
            )
        call_id = read_addressing(envelope.header).message_id
        number = " ".join(number.split())
        if operation.name == CANCELLATION and not self._is_decided(number):
            response = self._answer_cancellation(operation.response, number, call_id)
        else:
            response = _build_acknowledgment(operation.response, f"C-{number}")
        values = AddressingHeaders(operation.reply_action, f"urn:uuid:{self._hub.new_uuid()}", None, call_id)
        root = build_addressed_envelope(response, values)
        sign_soap_envelope(root, self._signer, now=self._hub.clock())
        return HttpAnswer(200, {"content-type": _CONTENT_TYPE}, serialize_element(root))

    def _is_decided(self, number: str) -> bool:
        with read_transaction(self._hub.engine) as conn:
            request = agency_requests.find_by_number(conn, number)
        return request is not None and request.state == "DECIDED"

    def _answer_cancellation(self, response: str, number: str, call_id: str) -> etree._Element:
        """Cancel an application that the officers have not decided; one call has one notice number."""
        at = format_instant(self._hub.clock())
        notice = {
            "NoticeNumber": f"C-{number}-{hashlib.sha256(call_id.encode()).hexdigest()[:8]}",
            "IssuedAt": at,
            "StatusCode": "G03",
        }
        return _build_answer(response, "Notice", notice)


def _build_acknowledgment(response: str, receipt: str) -> etree._Element:
    return _build_answer(response, "Acknowledged", {"ReceiptNumber": receipt})


def _build_answer(response: str, kind: str, values: Mapping[str, str]) -> etree._Element:
    namespace = etree.QName(response).namespace
    root = etree.Element(response)
    answer = etree.SubElement(root, f"{{{namespace}}}Answer")
    notice = etree.SubElement(answer, f"{{{namespace}}}{kind}")
    for name, value in values.items():
        etree.SubElement(notice, f"{{{namespace}}}{name}").text = value
    return root
