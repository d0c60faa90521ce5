"""A broker's client: seals a submission into one message, and sends it until its receipt arrives."""

from __future__ import annotations

import mimetypes
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lxml import etree

from gateway.conformance.partners.endpoint_listener import EndpointListener
from gateway.conformance.partners.http_transport import (
    HttpPoster,
    HttpReply,
    NotConnectedError,
)
from gateway.conformance.partners.message_handler import (
    EBMS2,
    MessageHandler,
    read_signal_error,
)
from gateway.conformance.partners.partner_identity import Membership, get_current_time
from gateway.conformance.partners.sending_outcome import conclude_sending, raise_for_status
from gateway.errors import (
    RECEIPT_MISSING,
    RULE_BROKEN,
    UNREACHABLE,
    GatewayError,
)
from gateway.message_model import ErrorSignal, MemoryBody, Payload, Receipt, UserMessage
from gateway.protocols import SOAP_ACTION, Parcel, SentUnit
from gateway.recognition import is_vouched_document, open_vouched_document
from gateway.wire import DS, SUB, parse_xml, serialize_element
from gateway.xmlsec import sign_document

_ACTIONS: Final = {"9": "Submit", "35": "Supplement", "13": "Amend", "1": "Withdraw"}


@dataclass(frozen=True, slots=True)
class SealedSubmission:
    """A sealed submission: the octets of every attempt, and the data for checking its receipt."""

    unit: UserMessage
    reference: str
    parcel: Parcel
    sent: SentUnit
    url: str

    @property
    def http_headers(self) -> dict[str, str]:
        """Return the HTTP headers of an attempt."""
        return {"SOAPAction": SOAP_ACTION, **self.parcel.headers}

    @property
    def body_octets(self) -> bytes:
        """Return the octets of an attempt."""
        return self.parcel.read_octets()


def sign_submission(content: bytes, membership: Membership) -> etree._Element:
    """Return the submission in `content`, signed by us unless it is already signed."""
    root = parse_xml(content)
    if root.find(f"{{{DS}}}Signature") is None:
        sign_document(root, membership.identity.signer, now=get_current_time())
    return root


def seal_submission(
    root: etree._Element,
    attachments: Mapping[str, bytes],
    membership: Membership,
    url: str = "",
    conversation: str | None = None,
) -> SealedSubmission:
    """Seal a signed submission with its attachments; `url` replaces the agreed endpoint of the hub.

    A vouched document is sent unchanged; its function and reference are read from the party's
    document in it.
    """
    submission = (
        parse_xml(open_vouched_document(serialize_element(root)).document)
        if is_vouched_document(root)
        else root
    )
    function = (submission.findtext(f"{{{SUB}}}Function") or "").strip()
    if function not in _ACTIONS:
        raise GatewayError(RULE_BROKEN, f"Function is one of {', '.join(_ACTIONS)}", "/Submission/Function")
    pmode = membership.get_outgoing_pmode(_ACTIONS[function])
    context = membership.build_context()
    message_id = context.make_message_id()
    kinds = {one.get("cid", ""): one.get("mediaType", "") for one in submission.iter(f"{{{SUB}}}Attachment")}
    further = tuple(
        Payload(cid, kinds.get(cid) or _guess_media_type(cid), data) for cid, data in attachments.items()
    )
    unit = membership.make_user_message(
        _ACTIONS[function],
        message_id,
        context.now,
        conversation_id=conversation or message_id,
        payloads=(Payload(f"submission.{message_id}", "application/xml", serialize_element(root)), *further),
    )
    parcel = EBMS2.seal((unit,), pmode, context)
    reference = (submission.findtext(f"{{{SUB}}}Reference") or "").strip()
    return SealedSubmission(
        unit, reference, parcel, EBMS2.read_sent_unit(parcel, context.limits), url or pmode.endpoint or ""
    )


def make_supplement(content: bytes, application: str, changes: Mapping[str, str]) -> bytes:
    """Return the unsigned supplement to a submission: one application with some of its fields changed.

    `changes` has new texts by the local name of the field; the other applications are left
    out.
    """
    root = parse_xml(content)
    for old in root.findall(f"{{{DS}}}Signature"):
        root.remove(old)
    for one in root.findall(f"{{{SUB}}}Application"):
        if one.get("id") != application:
            root.remove(one)
            continue
        for field in one.iter("*"):
            new = changes.get(etree.QName(field).localname)
            if new is not None and not len(field):
                field.text = new
    function = root.find(f"{{{SUB}}}Function")
    if function is None or root.find(f"{{{SUB}}}Application") is None:
        raise GatewayError(
            RULE_BROKEN, f"there is no application {application[:40]!r}", "/Submission/Application"
        )
    function.text = "35"
    return serialize_element(root)


def _guess_media_type(cid: str) -> str:
    return mimetypes.guess_type(Path(cid).name)[0] or "application/octet-stream"


@dataclass(frozen=True, slots=True)
class ResendPolicy:
    """The number of retries, the seconds between attempts, and the longest time of an answer."""

    retries: int = 3
    interval: float = 1.0
    answer: float = 30.0


class BrokerClient:
    """Sends under one agreement; on request, listens at the endpoint that the agreement has for us.

    `tls` has the trust anchors and the client certificate; by default the operating system's
    anchors are used.
    """

    def __init__(
        self,
        membership: Membership,
        folder: Path,
        patience: ResendPolicy | None = None,
        say: Callable[[str], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._membership = membership
        self._tls = tls
        self._patience = patience or ResendPolicy()
        self._say = say
        self._arrived: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.handler = MessageHandler(membership, folder, listener=self._record_arrival)
        self._listener: EndpointListener | None = None

    def start_listening(self) -> str:
        """Listen at the endpoint that the agreement names for us; return it."""
        self._listener = EndpointListener(self._membership.listening_endpoint, self.handler)
        self._listener.start()
        return self._listener.endpoint

    def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            self._listener.close()

    def send_submission(self, submission: SealedSubmission) -> None:
        """Send until a valid receipt has arrived; the same octets on every attempt.

        Raises SendingError, which says what is known: GW602 for a refusal, GW309 for a receipt
        that does not match, GW601 or GW308 when no attempt was answered.
        """
        self.handler.expect_receipt(submission.sent)
        with closing(HttpPoster(submission.url, self._patience.answer, self._tls)) as poster:
            self._send_until_receipt(submission, poster)

    def _send_until_receipt(self, submission: SealedSubmission, poster: HttpPoster) -> None:
        failures: list[GatewayError] = []
        attempts = self._patience.retries + 1
        for attempt in range(1, attempts + 1):
            try:
                self._attempt_send(submission, poster)
                return
            except GatewayError as problem:
                failures.append(problem)
                if problem.problem not in (UNREACHABLE, RECEIPT_MISSING):
                    break
                if attempt < attempts:
                    self._say(f"{_describe_retry(problem)} (attempt {attempt + 1} of {attempts})")
                    time.sleep(self._patience.interval)
        raise conclude_sending(failures)

    def _attempt_send(self, submission: SealedSubmission, poster: HttpPoster) -> None:
        answer = poster.post(submission.http_headers, submission.body_octets)
        if submission.unit.ack_requested is None and 200 <= answer.status < 300 and not answer.body.strip():
            return
        if answer.body.strip() and (answer.status == 500 or 200 <= answer.status < 300):
            self._verify_answer(submission, answer)
        elif 200 <= answer.status < 300:
            self._await_receipt(submission)
        else:
            raise_for_status(answer, submission.url)

    def _verify_answer(self, submission: SealedSubmission, answer: HttpReply) -> None:
        parcel = Parcel({"Content-Type": answer.content_type}, MemoryBody(answer.body))
        opened = EBMS2.open(parcel, self._membership.build_context(), submission.sent)
        for unit in opened.units:
            if isinstance(unit, ErrorSignal) and (problem := read_signal_error(unit)) is not None:
                raise problem
        if not any(isinstance(unit, Receipt) for unit in opened.units):
            raise GatewayError(RECEIPT_MISSING, "the answer contains no receipt", "eb:Acknowledgment")

    def _await_receipt(self, submission: SealedSubmission) -> None:
        """Wait for a receipt that the hub sends in a separate POST."""
        if self._listener is None:
            raise GatewayError(
                RECEIPT_MISSING,
                "the receipt is sent asynchronously, but no endpoint listens for it",
                "SyncReply",
            )
        came, problem = self.handler.wait_for_receipt(submission.unit.message_id, self._patience.answer)
        if problem is not None:
            raise problem
        if not came:
            raise GatewayError(RECEIPT_MISSING, "no receipt arrived by a POST either", "eb:Acknowledgment")

    def _record_arrival(self, row: dict[str, Any]) -> None:
        with self._news:
            self._arrived.append(row)
            self._news.notify_all()

    def list_notices(self, submission: SealedSubmission) -> list[dict[str, Any]]:
        """Return the fields of the verified notices about a submission, in the order of arrival.

        For a supplement, those that came before it are left out: it may be the answer to them.
        """
        rows = [row for row in self.handler.list_rows() if _is_about_submission(row, submission)]
        if submission.unit.action == "Supplement":
            rows = [row for row in rows if datetime.fromisoformat(row["at"]) >= submission.unit.timestamp]
        return [row["said"] for row in rows if row["action"] == "Notice" and row["said"]["verified"]]

    def wait_for_result(self, submission: SealedSubmission, seconds: float) -> dict[str, Any] | None:
        """Wait for the Result of a submission and return its row; print the notices before it."""
        end = time.monotonic() + seconds
        while True:
            with self._news:
                while not self._arrived and (left := end - time.monotonic()) > 0:
                    self._news.wait(left)
                fresh, self._arrived = self._arrived, []
            if not fresh:
                return None
            for row in fresh:
                if _is_about_submission(row, submission):
                    if row["action"] == "Result":
                        return row
                    self._say(f"{row['action']}: {_format_notice(row['said'])}")


def _describe_retry(problem: GatewayError) -> str:
    """Return what is said before the same octets are sent again."""
    if isinstance(problem, NotConnectedError):
        return f"not sent ({problem}); trying again"
    return f"no receipt ({problem}); sent again, the same octets"


def _is_about_submission(row: dict[str, Any], submission: SealedSubmission) -> bool:
    if row["ref_to"] == submission.unit.message_id:
        return True
    return bool(submission.reference) and row["said"].get("reference") == submission.reference


def _format_notice(said: dict[str, Any]) -> str:
    if not said["verified"]:
        return f"not verified, {said['problem']}"
    if "missing" in said:
        return "; ".join(
            [f"the case is held until {said['until']}", *(one["text"] for one in said["missing"])]
        )
    names = ("organisation", "document", "state", "status_code", "text")
    return " ".join(str(said[name]) for name in names if said.get(name))
