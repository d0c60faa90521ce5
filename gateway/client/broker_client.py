"""A broker's client: seals a submission into one message, sends it until its receipt arrives, and listens."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.client.http_transport import (
    HttpPoster,
    HttpReply,
    IncomingRequest,
    NotConnectedError,
    PartnerServer,
    RequestHandler,
)
from gateway.client.kept_submissions import SplitSubmission
from gateway.client.message_handler import MessageHandler, make_signal_headers, read_signal_error
from gateway.client.message_puller import MessagePuller
from gateway.client.partner_identity import Membership, get_current_time
from gateway.client.sealed_submissions import SealedSubmission, get_protocol_core
from gateway.client.sending_outcome import conclude_sending, may_hold_hub_message, raise_not_answered_error
from gateway.errors import MISUSE, RECEIPT_MISSING, REFUSED_FOR_GOOD, UNREACHABLE, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Receipt, Unit, UserMessage
from gateway.protocols import Parcel

_DRAIN_SECONDS = 20.0


class EndpointListener:
    """Serves the path of an endpoint at its host and port, or at `address`, the place behind a proxy."""

    def __init__(
        self, endpoint: str | None, request_handler: RequestHandler, address: str | None = None
    ) -> None:
        """Listen from now on; raise GW808 where there is no endpoint, or the port is taken."""
        url_parts = urlsplit(endpoint or "")
        if not url_parts.hostname:
            detail = (
                "the agreement has no endpoint of this party, to which the hub could post. Give it one (in a "
                "CPA: the Endpoint of the transport of its delivery channel), or, by AS4, let it pull"
            )
            raise GatewayError(MISUSE, detail, "agreement")
        self.endpoint = endpoint or ""
        self._request_handler = request_handler
        self._path = url_parts.path or "/"
        self._active_requests = 0
        self._requests_changed = threading.Condition()
        default_port = 443 if url_parts.scheme == "https" else 80
        host, port = (
            parse_listening_address(address)
            if address
            else (url_parts.hostname, url_parts.port or default_port)
        )
        self._server = PartnerServer(self._serve_request, host, port)
        self.address = f"{host}:{self._server.port}"

    def start(self) -> None:
        """Start to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop listening, and wait until the requests that have begun are answered."""
        self._server.close()
        with self._requests_changed:
            self._requests_changed.wait_for(lambda: self._active_requests == 0, _DRAIN_SECONDS)

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        """Answer a request, and count it in `_active_requests` meanwhile; answer 404 for another path."""
        if request.path.partition("?")[0] != self._path:
            return HttpReply(404, "text/plain", b"nothing is here\n")
        with self._requests_changed:
            self._active_requests += 1
        try:
            return self._request_handler(request)
        finally:
            with self._requests_changed:
                self._active_requests -= 1
                self._requests_changed.notify_all()


def parse_listening_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT; raise GW808."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise GatewayError(MISUSE, "an address to listen at must be HOST:PORT", address[:100])
    return host.strip("[]"), int(port)


#: Seconds between two rounds of pulling.
_PULL_INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ResendPolicy:
    """The number of retries, the seconds between attempts, and the longest time of an answer."""

    max_retries: int = 3
    interval_seconds: float = 1.0
    answer_seconds: float = 30.0


class BrokerClient:
    """Sends under one agreement; on request, listens at the endpoint that the agreement has for this party.

    `tls` has the trust anchors and the client certificate; by default the operating system's anchors are
    used.
    """

    def __init__(
        self,
        membership: Membership,
        folder: Path,
        resend_policy: ResendPolicy | None = None,
        report: Callable[[str], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._membership = membership
        self._core = get_protocol_core(membership)
        self._tls = tls
        self._resend_policy = resend_policy or ResendPolicy()
        self._report = report
        self._arrived_rows: list[dict[str, Any]] = []
        self._rows_arrived = threading.Condition()
        self.handler = MessageHandler(membership, folder, listener=self._record_arrival, tls=tls)
        self._listener: EndpointListener | None = None
        self._puller: MessagePuller | None = None

    def start_receiving(self, url: str) -> None:
        """Prepare to receive from the hub: listen at this party's endpoint, and pull the rest from `url`."""
        if self._membership.list_pulled_pmodes(get_current_time()):
            self._puller = MessagePuller(
                self._membership, self.handler, url, self._resend_policy.answer_seconds, self._tls
            )
        if self._membership.awaits_posts:
            self.start_listening()
        else:
            self.handler.join_groups()

    @property
    def awaits_posts(self) -> bool:
        """Return whether the hub posts any message or signal to this party."""
        return self._membership.awaits_posts

    def start_listening(self) -> str:
        """Listen at the endpoint that the agreement names for this party; return its URL."""
        self._listener = EndpointListener(self._membership.listening_endpoint, self.handler)
        self._listener.start()
        self.handler.join_groups()
        return self._listener.endpoint

    def close(self) -> None:
        """Stop listening and pulling, when the last receipt has been posted."""
        if self._listener is not None:
            self._listener.close()
        self.handler.finish_posts()
        if self._puller is not None:
            self._puller.close()

    def send_submission(self, submission: SealedSubmission) -> None:
        """Send until a valid receipt has arrived; the same octets on every attempt.

        Raises SendingError: GW602 for a refusal, GW309 for a receipt that does not match, GW601 or GW308 when
        no attempt was answered.
        """
        self.handler.expect_receipt(submission.sent_unit, submission.parcel)
        with closing(HttpPoster(submission.url, self._resend_policy.answer_seconds, self._tls)) as poster:
            self._send_until_receipt(submission, poster)

    def send_fragments(self, submission: SplitSubmission) -> None:
        """Send the fragments of a submission that have no receipt yet, one after the other.

        Each is stored before it is sent, and its receipt after it has come. Raises SendingError as
        `send_submission` does; a refused fragment, and an error that the hub posts about the whole
        meanwhile, end the sending.
        """
        whole_submission = submission.whole
        self.handler.expect_receipt(whole_submission.sent_unit, whole_submission.parcel)
        fragment_count = submission.fragment_count
        poster = HttpPoster(whole_submission.url, self._resend_policy.answer_seconds, self._tls)
        with submission.lock_folder(), closing(poster):
            for fragment_number in submission.list_unreceipted_numbers():
                self._check_no_refusal(submission)
                fragment = submission.open_fragment(fragment_number)
                self.handler.expect_receipt(fragment.sent_unit, fragment.parcel)
                submission.store_receipt(fragment_number, self._send_until_receipt(fragment, poster))
                self._report(f"fragment {fragment_number} of {fragment_count}: receipt verified")

    def wait_for_join(self, submission: SplitSubmission, seconds: float) -> bool:
        """Wait for the receipt of the joined message; return whether it came, and raise for an error."""
        has_arrived, _ = self.handler.wait_for_receipt(submission.unit.message_id, seconds)
        self._check_no_refusal(submission)
        return has_arrived

    def _check_no_refusal(self, submission: SplitSubmission) -> None:
        """Raise SendingError where the hub has posted an error about the whole message."""
        _, problem = self.handler.wait_for_receipt(submission.unit.message_id, 0)
        if problem is not None:
            raise conclude_sending([problem])

    def _send_until_receipt(self, submission: SealedSubmission, poster: HttpPoster) -> Parcel | None:
        """Return the answer with the receipt; None if the receipt came in a separate POST."""
        failures: list[GatewayError] = []
        attempts = self._resend_policy.max_retries + 1
        for attempt in range(1, attempts + 1):
            try:
                return self._attempt_send(submission, poster)
            except GatewayError as problem:
                failures.append(problem)
                if problem.problem not in (UNREACHABLE, RECEIPT_MISSING):
                    break
                if attempt < attempts:
                    self._report(f"{_describe_retry(problem)} (attempt {attempt + 1} of {attempts})")
                    time.sleep(self._resend_policy.interval_seconds)
        raise conclude_sending(failures)

    def _attempt_send(self, submission: SealedSubmission, poster: HttpPoster) -> Parcel | None:
        """Post a submission once; return the message in the answer, None if the answer has none.

        If a receipt is requested and not in the answer, it is awaited. Raises GatewayError if the receipt
        does not come, or if the answer reports an error.
        """
        answer = poster.post(submission.http_headers, submission.body_octets)
        if submission.unit.ack_requested is None and 200 <= answer.status < 300 and not answer.body.strip():
            return None
        if answer.body.strip() and may_hold_hub_message(answer):
            return self._read_answer(submission, answer, poster)
        if 200 <= answer.status < 300:
            self._await_receipt(submission)
        else:
            raise_not_answered_error(answer, submission.url)
        return None

    def _read_answer(self, submission: SealedSubmission, answer: HttpReply, poster: HttpPoster) -> Parcel:
        """Return the verified message in an answer; raise GW601 if an error status carries none of the hub.

        Such an answer is a page of a proxy or a firewall, not a refusal.
        """
        try:
            return self._verify_answer(submission, answer, poster)
        except GatewayError as problem:
            if answer.status < 400 or problem.problem in (REFUSED_FOR_GOOD, RECEIPT_MISSING):
                raise
            detail = f"without a message: {problem.problem.id} {problem.detail}"
            raise_not_answered_error(answer, submission.url, detail)

    def _verify_answer(self, submission: SealedSubmission, answer: HttpReply, poster: HttpPoster) -> Parcel:
        """Return the verified message in an answer; raise the error it reports, or GW308 without receipt.

        A business message in the answer is stored, and its receipt is posted.
        """
        parcel = Parcel({"Content-Type": answer.content_type}, MemoryBody(answer.body))
        context = self._membership.build_context()
        opened_message = self._core.open_units(parcel, context, submission.sent_unit)
        for unit in opened_message.units:
            if isinstance(unit, ErrorSignal) and (problem := read_signal_error(unit)) is not None:
                raise problem
        if not any(isinstance(unit, Receipt) for unit in opened_message.units):
            warnings = "".join(
                f", and a warning: {warning}" for warning in _list_warnings(opened_message.units)
            )
            raise GatewayError(
                RECEIPT_MISSING, f"the answer contains no receipt{warnings}", "eb:Acknowledgment"
            )
        if isinstance(opened_message.unit, UserMessage):
            # The answer carries the Result. If its receipt does not arrive, the hub sends the Result again.
            receipt = self.handler.store_pulled_message(opened_message, context)
            with suppress(GatewayError):
                poster.post(make_signal_headers(receipt.content_type), receipt.body)
        return parcel

    def _await_receipt(self, submission: SealedSubmission) -> None:
        """Wait for a receipt that the hub sends in a separate POST."""
        if self._listener is None:
            raise GatewayError(
                RECEIPT_MISSING,
                "the receipt is sent asynchronously, but no endpoint listens for it",
                "SyncReply",
            )
        has_arrived, problem = self.handler.wait_for_receipt(
            submission.unit.message_id, self._resend_policy.answer_seconds
        )
        if problem is not None:
            raise problem
        if not has_arrived:
            raise GatewayError(RECEIPT_MISSING, "no receipt arrived by a POST either", "eb:Acknowledgment")

    def _record_arrival(self, row: dict[str, Any]) -> None:
        with self._rows_arrived:
            self._arrived_rows.append(row)
            self._rows_arrived.notify_all()

    def list_notices(self, submission: SealedSubmission) -> list[dict[str, Any]]:
        """Return the fields of the verified notices about a submission, in the order of arrival.

        For a supplement, earlier notices are left out, since it may be the answer to them.
        """
        message_rows = [row for row in self.handler.list_rows() if _is_about_submission(row, submission)]
        if submission.unit.action == "Supplement":
            message_rows = [
                row for row in message_rows if datetime.fromisoformat(row["at"]) >= submission.unit.timestamp
            ]
        return [row["said"] for row in message_rows if row["action"] == "Notice" and row["said"]["verified"]]

    def wait_for_result(self, submission: SealedSubmission, seconds: float) -> dict[str, Any] | None:
        """Wait for the Result of a submission and return its row; print the notices before it.

        Raises the problem of a PullRequest that is refused, or of a pulled message that was refused.
        """
        deadline = time.monotonic() + seconds
        while new_rows := self._await_arrivals(deadline):
            for row in new_rows:
                if _is_about_submission(row, submission):
                    if row["action"] == "Result":
                        return row
                    self._report(f"{row['action']}: {_format_notice(row['said'])}")
        return None

    def count_others(self, submission: SealedSubmission) -> int:
        """Return the number of received messages that are not about a submission."""
        return sum(not _is_about_submission(row, submission) for row in self.handler.list_rows())

    def _await_arrivals(self, deadline: float) -> list[dict[str, Any]]:
        """Return the messages that came since the last call, pulled or posted; empty after `deadline`."""
        while True:
            pull_problem = self._pull_arrivals()
            if (
                pull_problem is not None
                and pull_problem.problem is not UNREACHABLE
                and not self._arrived_rows
            ):
                raise pull_problem
            with self._rows_arrived:
                remaining = deadline - time.monotonic()
                if not self._arrived_rows and remaining > 0:
                    self._rows_arrived.wait(
                        remaining if self._puller is None else min(remaining, _PULL_INTERVAL_SECONDS)
                    )
                new_rows, self._arrived_rows = self._arrived_rows, []
            if new_rows:
                return new_rows
            if time.monotonic() >= deadline:
                if pull_problem is not None:
                    raise pull_problem
                return []

    def _pull_arrivals(self) -> GatewayError | None:
        """Pull the waiting messages; return the problem that ended the pulling, if any."""
        try:
            if self._puller is not None:
                self._puller.pull_messages()
        except GatewayError as problem:
            return problem
        return None


def _list_warnings(units: Iterable[Unit]) -> list[str]:
    """Return the code and the words of the warnings that came without a receipt."""
    signal_errors = (entry for unit in units if isinstance(unit, ErrorSignal) for entry in unit.errors)
    return [f"{error.code} {error.description}"[:300] for error in signal_errors]


def _describe_retry(problem: GatewayError) -> str:
    """Return the line that is logged before the same octets are sent again."""
    if isinstance(problem, NotConnectedError):
        return f"not sent ({problem}); trying again"
    return f"no receipt ({problem}); sent again, the same octets"


def _is_about_submission(message_row: dict[str, Any], submission: SealedSubmission) -> bool:
    if message_row["ref_to"] == submission.unit.message_id:
        return True
    return bool(submission.reference) and message_row["said"].get("reference") == submission.reference


def _format_notice(notice_fields: dict[str, Any]) -> str:
    """Return the fields of `read_hub_document` as one line of text."""
    if not notice_fields["verified"]:
        return f"not verified, {notice_fields['problem']}"
    if "missing" in notice_fields:
        return "; ".join(
            [
                f"the case is held until {notice_fields['until']}",
                *(gap["text"] for gap in notice_fields["missing"]),
            ]
        )
    field_names = ("organisation", "document", "state", "status_code", "text")
    return " ".join(str(notice_fields[name]) for name in field_names if notice_fields.get(name))
