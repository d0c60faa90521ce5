"""Listens where the tested gateway posts its messages, and answers each by the script of its conversation."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from gateway.conformance.as4.as4_party import As4Party
from gateway.conformance.as4.seen_message import SeenMessage
from gateway.conformance.partners import HttpReply, IncomingRequest, PartnerServer
from gateway.conformance.reports import ExchangeLog, record_message
from gateway.errors import GatewayError
from gateway.protocols import as4

__all__ = ["As4Inbox", "As4Listener"]

_SILENT: Final = HttpReply(503, "text/plain", b"the suite says so\n")
_TAKEN: Final = HttpReply(204)


@dataclass
class As4Inbox:
    """The messages of one conversation; the first `silent` attempts get no receipt."""

    log: ExchangeLog
    silent: int = 0
    arrivals: list[SeenMessage] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, count: int, seconds: float) -> list[SeenMessage]:
        """Return what has come when so many messages have, or the time is over."""
        end = time.monotonic() + seconds
        with self.changed:
            while len(self.arrivals) < count and (left := end - time.monotonic()) > 0:
                self.changed.wait(left)
            return list(self.arrivals)


class As4Listener:
    """Serves the endpoint of the suite, or `address`, the place behind a proxy."""

    def __init__(self, party: As4Party, address: str | None = None) -> None:
        self._party = party
        self._boxes: dict[str, As4Inbox] = {}
        self._lock = threading.Lock()
        host, port = _choose_address(party.endpoint, address)
        self._server = PartnerServer(self._serve_request, host, port)
        self.port = self._server.port

    def start(self) -> None:
        """Start to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def open_inbox(self, conversation: str, log: ExchangeLog, silent: int = 0) -> As4Inbox:
        """Return a new inbox for the messages of a conversation, or for signals about a message by its id."""
        box = As4Inbox(log, silent)
        with self._lock:
            self._boxes[conversation] = box
        return box

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        seen = SeenMessage(request.headers, request.body)
        # A signal has no conversation: its inbox is that of the message which it is about.
        name = seen.conversation or seen.find_text("//eb3:SignalMessage/eb3:MessageInfo/eb3:RefToMessageId")
        with self._lock:
            box = self._boxes.get(name)
        if box is None:
            return self._answer(seen)
        sent = record_message(f"POST {request.path} HTTP/1.1", request.headers, request.body)
        with box.changed:
            reply = _SILENT if len(box.arrivals) < box.silent else self._answer(seen)
            head = {"Content-Type": reply.content_type}
            box.log.add_exchange(
                sent, record_message(f"HTTP/1.1 {reply.status}", head, reply.body), to_gateway=False
            )
            box.arrivals.append(seen)
            box.changed.notify_all()
        return reply

    def _answer(self, seen: SeenMessage) -> HttpReply:
        """Return a signed receipt, nothing for a signal, or the error of the core for a wrong message."""
        if seen.select("//eb3:SignalMessage"):
            return _TAKEN
        context = self._party.build_context()
        try:
            receipt = as4.make_receipt(seen.open(context), context)
            parcel = as4.seal((receipt,), None, context)
        except GatewayError as wrong:
            refusal = as4.reject_parcel(wrong, seen.parcel, context)
            if refusal.parcel is None:
                return HttpReply(refusal.status)
            parcel = refusal.parcel
        return HttpReply(200, parcel.get_header("Content-Type"), parcel.read_octets())


def _choose_address(endpoint: str | None, address: str | None) -> tuple[str, int]:
    parts = urlsplit(f"//{address}" if address else endpoint or "//127.0.0.1:0")
    return parts.hostname or "127.0.0.1", 80 if parts.port is None else parts.port
