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

from gateway.conformance.handler import EBMS2, MessageHandler
from gateway.conformance.http import Poster, Reply, Request, Server
from gateway.conformance.membership import Membership
from gateway.conformance.submission import Submission
from gateway.errors import RECEIPT_MISSING, REFUSED_FOR_GOOD, SETTINGS_WRONG, UNREACHABLE, GatewayError
from gateway.model import ErrorSignal, Octets, Receipt
from gateway.protocols import Parcel

__all__ = ["Client", "Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a message is sent again and after how many seconds; how long an answer may take."""

    retries: int = 3
    interval: float = 1.0
    answer: float = 30.0


class Client:
    """Sends by one agreement; listens, when asked, where the agreement says that we do.

    `tls` says whom to believe over TLS and what to show; without it those the operating system believes.
    """

    def __init__(
        self,
        membership: Membership,
        folder: Path,
        patience: Patience | None = None,
        say: Callable[[str], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._membership = membership
        self._tls = tls
        self._patience = patience or Patience()
        self._say = say
        self._arrived: list[dict[str, Any]] = []
        self._news = threading.Condition()
        self.handler = MessageHandler(membership, folder, listener=self._arrive)
        self._server: Server | None = None
        self._path = ""

    def listen(self) -> str:
        """Listen at the endpoint that the agreement names for us; return it."""
        endpoint = self._membership.endpoint
        parts = urlsplit(endpoint or "")
        if not parts.hostname:
            raise GatewayError(
                SETTINGS_WRONG, "the agreement names no endpoint of ours to wait at", "agreement"
            )
        self._path = parts.path or "/"
        self._server = Server(self._serve, parts.hostname, parts.port or 80)
        self._server.start()
        return endpoint or ""

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    def _serve(self, request: Request) -> Reply:
        if request.path.partition("?")[0] != self._path:
            return Reply(404, "text/plain", b"nothing is here\n")
        return self.handler(request)

    def send(self, submission: Submission) -> None:
        """Send until the receipt has come and is good; the same octets on every attempt.

        Raises GW602 for a refusal, GW309 for a receipt that does not fit, GW601 or GW308
        when no attempt was answered.
        """
        self.handler.expect(submission.sent)
        with closing(Poster(submission.url, self._patience.answer, self._tls)) as poster:
            self._send(submission, poster)

    def _send(self, submission: Submission, poster: Poster) -> None:
        last = GatewayError(RECEIPT_MISSING, "no receipt came", "eb:Acknowledgment")
        for attempt in range(self._patience.retries + 1):
            if attempt:
                self._say(f"no receipt ({last}); sent again, the same octets")
                time.sleep(self._patience.interval)
            try:
                self._attempt(submission, poster)
                return
            except GatewayError as problem:
                if problem.problem not in (UNREACHABLE, RECEIPT_MISSING):
                    raise
                last = problem
        raise last

    def _attempt(self, submission: Submission, poster: Poster) -> None:
        answer = poster.post(submission.headers, submission.content)
        if submission.unit.ack_requested is None and 200 <= answer.status < 300 and not answer.body.strip():
            return
        if answer.body.strip() and (answer.status == 500 or 200 <= answer.status < 300):
            self._judge(submission, answer)
        elif 200 <= answer.status < 300:
            self._await(submission)
        elif answer.status >= 500 or answer.status in (408, 425, 429):
            raise GatewayError(UNREACHABLE, f"HTTP status {answer.status}", submission.url[:200])
        else:
            raise GatewayError(REFUSED_FOR_GOOD, f"HTTP status {answer.status}", submission.url[:200])

    def _judge(self, submission: Submission, answer: Reply) -> None:
        parcel = Parcel({"Content-Type": answer.content_type}, Octets(answer.body))
        opened = EBMS2.open(parcel, self._membership.context(), submission.sent)
        for unit in opened.units:
            if isinstance(unit, ErrorSignal) and unit.severity == "Error":
                worst = next(one for one in unit.errors if one.severity == "Error")
                raise GatewayError(
                    REFUSED_FOR_GOOD, f"{worst.code}: {worst.description}"[:500], worst.location[:300]
                )
        if not any(isinstance(unit, Receipt) for unit in opened.units):
            raise GatewayError(RECEIPT_MISSING, "the answer holds no receipt", "eb:Acknowledgment")

    def _await(self, submission: Submission) -> None:
        """Wait for the receipt that comes by a POST of the hub's own."""
        if self._server is None:
            raise GatewayError(
                RECEIPT_MISSING, "the receipt comes by another way, and nobody listens", "SyncReply"
            )
        came, problem = self.handler.settled(submission.unit.message_id, self._patience.answer)
        if problem is not None:
            raise problem
        if not came:
            raise GatewayError(RECEIPT_MISSING, "no receipt came by a POST either", "eb:Acknowledgment")

    def _arrive(self, row: dict[str, Any]) -> None:
        with self._news:
            self._arrived.append(row)
            self._news.notify_all()

    def wait(self, submission: Submission, seconds: float) -> dict[str, Any] | None:
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
                if _is_about(row, submission):
                    if row["action"] == "Result":
                        return row
                    self._say(f"{row['action']}: {_words(row['said'])}")


def _is_about(row: dict[str, Any], submission: Submission) -> bool:
    if row["ref_to"] == submission.unit.message_id:
        return True
    return bool(submission.reference) and row["said"].get("reference") == submission.reference


def _words(said: dict[str, Any]) -> str:
    if not said["verified"]:
        return f"not verified, {said['problem']}"
    names = ("organisation", "document", "state", "status_code", "text")
    return " ".join(str(said[name]) for name in names if said.get(name))
