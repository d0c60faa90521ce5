"""Listens where the gateway sends to the suite; gives each message to the play whose conversation it is.

What no play waits for is acknowledged as agreed, so that the gateway ends its retries.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.conformance.hostile import HttpRequest
from gateway.conformance.partners import HttpReply, IncomingRequest, PartnerServer
from gateway.conformance.reports import ExchangeLog, RecordedMessage, record_message
from gateway.conformance.standard.attempt_replies import Replier, make_attempt_reply
from gateway.conformance.standard.received_message import CALLBACK, ReceivedMessage, find_text
from gateway.conformance.standard.suite_party import SuiteParty
from gateway.errors import MISUSE, GatewayError

__all__ = ["Arrival", "CallbackListener", "Inbox", "ReplyMaker"]

_NOTHING: Final = HttpReply(204)


@dataclass(frozen=True)
class Arrival:
    """A message of the gateway at the suite, when it came, and what the suite answered."""

    message: ReceivedMessage
    at: float
    reply: HttpReply


#: Answers a message of the gateway: gets the message, and how many came before it in the conversation.
ReplyMaker = Callable[[ReceivedMessage, int], HttpReply]


@dataclass
class Inbox:
    """What has come for one conversation; `answer` replies to it, by default as agreed."""

    conversation: str
    log: ExchangeLog
    answer: ReplyMaker | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(
        self, wanted: Callable[[ReceivedMessage], bool], seconds: float, count: int = 1
    ) -> list[Arrival]:
        """Return the arrivals that are wanted, as soon as there are `count`, or when the time is over."""

        def find_arrivals() -> list[Arrival]:
            return [one for one in self.arrivals if wanted(one.message)]

        with self.changed:
            self.changed.wait_for(lambda: len(find_arrivals()) >= count, seconds)
            return find_arrivals()


class CallbackListener:
    """An HTTP server at the endpoint of the suite in its agreements."""

    def __init__(
        self, party: SuiteParty, post: Callable[[HttpRequest], Any], address: str | None = None
    ) -> None:
        """Listen from now on at HOST:PORT, by default that of the endpoint in the agreements; raise GW808.

        `post` sends what is agreed to be sent by a POST.
        """
        self._party = party
        self._post = post
        self._kinds = {
            urlsplit(one.endpoint or "").path: kind for kind, one in party.agreements.items() if one.endpoint
        }
        self._boxes: dict[str, Inbox] = {}
        self._lock = threading.Lock()
        self._server = PartnerServer(self._serve_request, *_choose_address(party, address))
        self.port = self._server.port

    def start(self) -> None:
        """Start to answer."""
        self._server.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    def open_inbox(self, conversation: str, log: ExchangeLog) -> Inbox:
        """Return a new inbox for the messages of a conversation."""
        box = Inbox(conversation, log)
        with self._lock:
            self._boxes[conversation] = box
        return box

    def add_conversation(self, conversation: str, box: Inbox) -> None:
        """Give the messages of a further conversation to an inbox."""
        with self._lock:
            self._boxes[conversation] = box

    def _serve_request(self, request: IncomingRequest) -> HttpReply:
        message = ReceivedMessage(CALLBACK, None, request.headers, request.body, request.path)
        with self._lock:
            box = self._boxes.get(message.conversation)
        if box is None:
            return self.answer_message(message)
        with box.changed:
            before = len(box.arrivals)
        reply = box.answer(message, before) if box.answer else self.answer_message(message)
        sent = record_message(f"POST {request.path} HTTP/1.1", request.headers, request.body)
        box.log.add_exchange(sent, _record_reply(reply), to_gateway=False)
        with box.changed:
            box.arrivals.append(Arrival(message, time.monotonic(), reply))
            box.changed.notify_all()
        return reply

    def answer_message(self, message: ReceivedMessage) -> HttpReply:
        """Return the answer that was agreed: an Acknowledgment of a business message, else nothing."""
        kind = self._kinds.get(message.path.partition("?")[0], "")
        if not kind or find_text(message.root, "//eb:MessageHeader/eb:Service").endswith("ebxml-msg:service"):
            return _NOTHING
        try:
            return make_attempt_reply(Replier(self._party, kind, self._post), "ack", message)
        except GatewayError:
            return _NOTHING


def _choose_address(party: SuiteParty, address: str | None) -> tuple[str, int]:
    if address is None:
        ends = (urlsplit(one.endpoint or "") for one in party.agreements.values())
        end = next((one for one in ends if one.hostname), None)
        if end is None:
            return "127.0.0.1", 0
        return end.hostname or "127.0.0.1", end.port or 80
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise GatewayError(MISUSE, "an address to listen at is HOST:PORT", address[:100])
    return host.strip("[]"), int(port)


def _record_reply(reply: HttpReply) -> RecordedMessage | None:
    if reply.closes:
        return None
    headers = dict(reply.headers)
    if reply.body:
        headers["Content-Type"] = reply.content_type
    return record_message(f"HTTP/1.1 {reply.status}", headers, reply.body)
