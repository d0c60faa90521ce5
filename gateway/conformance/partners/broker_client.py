"""A broker's reference client: sends a submission until its receipt has come, then waits for the result."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.conformance.partners.broker_membership import Membership
from gateway.conformance.partners.broker_submission import SealedSubmission
from gateway.conformance.partners.http_transport import HttpPoster, HttpReply, IncomingRequest, PartnerServer
from gateway.conformance.partners.message_handler import EBMS2, MessageHandler
from gateway.errors import RECEIPT_MISSING, REFUSED_FOR_GOOD, SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.message_model import ErrorSignal, MemoryBody, Receipt
from gateway.protocols import Parcel

__all__ = ["BrokerClient", "ResendPolicy"]


@dataclass(frozen=True, slots=True)
class ResendPolicy:
    """How often a message is sent again and after how many seconds; how long an answer may take."""

    retries: int = 3
    interval: float = 1.0
    answer: float = 30.0


class BrokerClient:
    """Sends by one agreement; listens, when asked, where the agreement says that we do.

    `tls` says whom to believe over TLS and what to show; without it those the operating system believes.
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
        self._server: PartnerServer | None = None
        self._path = ""

    def start_listening(self) -> str:
        """Listen at the endpoint that the agreement names for us; return it."""
        endpoint = self._membership.listening_endpoint
        parts = urlsplit(endpoint or "")
        if not parts.hostname:
            raise GatewayError(
                SETTINGS_WRONG, "the agreement names no endpoint of ours to wait at", "agreement"
            )
        self._path = parts.path or "/"
        self._server = PartnerServer(self._serve_request, parts.hostname, parts.port or 80)
        self._server.start()
        return endpoint or ""

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        if request.path.partition("?")[0] != self._path:
            return HttpReply(404, "text/plain", b"nothing is here\n")
        return self.handler(request)

    def send_submission(self, submission: SealedSubmission) -> None:
        """Send until the receipt has come and is good; the same octets on every attempt.

        Raises GW602 for a refusal, GW309 for a receipt that does not fit, GW601 or GW308
        when no attempt was answered.
        """
        self.handler.expect_receipt(submission.sent)
        with closing(HttpPoster(submission.url, self._patience.answer, self._tls)) as poster:
            self._send_until_receipt(submission, poster)

    def _send_until_receipt(self, submission: SealedSubmission, poster: HttpPoster) -> None:
        last = GatewayError(RECEIPT_MISSING, "no receipt came", "eb:Acknowledgment")
        for attempt in range(self._patience.retries + 1):
            if attempt:
                self._say(f"no receipt ({last}); sent again, the same octets")
                time.sleep(self._patience.interval)
            try:
                self._attempt_send(submission, poster)
                return
            except GatewayError as problem:
                if problem.problem not in (UNREACHABLE, RECEIPT_MISSING):
                    raise
                last = problem
        raise last

    def _attempt_send(self, submission: SealedSubmission, poster: HttpPoster) -> None:
        answer = poster.post(submission.http_headers, submission.body_octets)
        if submission.unit.ack_requested is None and 200 <= answer.status < 300 and not answer.body.strip():
            return
        if answer.body.strip() and (answer.status == 500 or 200 <= answer.status < 300):
            self._verify_answer(submission, answer)
        elif 200 <= answer.status < 300:
            self._await_receipt(submission)
        elif answer.status >= 500 or answer.status in (408, 425, 429):
            raise GatewayError(UNREACHABLE, f"HTTP status {answer.status}", submission.url[:200])
        else:
            raise GatewayError(REFUSED_FOR_GOOD, f"HTTP status {answer.status}", submission.url[:200])

    def _verify_answer(self, submission: SealedSubmission, answer: HttpReply) -> None:
        parcel = Parcel({"Content-Type": answer.content_type}, MemoryBody(answer.body))
        opened = EBMS2.open(parcel, self._membership.build_context(), submission.sent)
        for unit in opened.units:
            if isinstance(unit, ErrorSignal) and unit.highest_severity == "Error":
                worst = next(one for one in unit.errors if one.severity == "Error")
                raise GatewayError(
                    REFUSED_FOR_GOOD, f"{worst.code}: {worst.description}"[:500], worst.location[:300]
                )
        if not any(isinstance(unit, Receipt) for unit in opened.units):
            raise GatewayError(RECEIPT_MISSING, "the answer holds no receipt", "eb:Acknowledgment")

    def _await_receipt(self, submission: SealedSubmission) -> None:
        """Wait for the receipt that comes by a POST of the hub's own."""
        if self._server is None:
            raise GatewayError(
                RECEIPT_MISSING, "the receipt comes by another way, and nobody listens", "SyncReply"
            )
        came, problem = self.handler.wait_for_receipt(submission.unit.message_id, self._patience.answer)
        if problem is not None:
            raise problem
        if not came:
            raise GatewayError(RECEIPT_MISSING, "no receipt came by a POST either", "eb:Acknowledgment")

    def _record_arrival(self, row: dict[str, Any]) -> None:
        with self._news:
            self._arrived.append(row)
            self._news.notify_all()

    def wait_for_result(self, submission: SealedSubmission, seconds: float) -> dict[str, Any] | None:
        """Wait for the Result about a submission and return its row; tell the notices that come before it."""
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


def _is_about_submission(row: dict[str, Any], submission: SealedSubmission) -> bool:
    if row["ref_to"] == submission.unit.message_id:
        return True
    return bool(submission.reference) and row["said"].get("reference") == submission.reference


def _format_notice(said: dict[str, Any]) -> str:
    if not said["verified"]:
        return f"not verified, {said['problem']}"
    names = ("organisation", "document", "state", "status_code", "text")
    return " ".join(str(said[name]) for name in names if said.get(name))
