"""The endpoint at which the payment provider tells of payments and refunds: ``POST /payments/events``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from gateway.cases import open_payment_message, read_provider_event, sign_payment_message
from gateway.errors import PAYMENT_REFUSED, GatewayError
from gateway.hub import Hub, apply_provider_event
from gateway.web.server import Environ, WsgiApplication

__all__ = ["LARGEST_EVENT", "PATH", "build_payment_endpoint"]

PATH: Final = "/payments/events"
#: Octets of an event.
LARGEST_EVENT: Final = 64 * 1024
_HEADERS: Final = ("payment-id", "payment-timestamp", "payment-signature")
_STATUS: Final = {
    200: "200 OK",
    401: "401 Unauthorized",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    409: "409 Conflict",
    413: "413 Content Too Large",
}


def build_payment_endpoint(hub: Hub) -> WsgiApplication:
    """Return the application; it answers 200 only after the commit, and signs the answer.

    An event that is not authentic gets status 401, one that fits no order 409, both with the problem.
    """

    def answer_event(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not hub.payments.provided:
            return _send(start_response, 404, {"error": "no payment provider is configured"})
        if environ.get("REQUEST_METHOD") != "POST":
            body = json.dumps({"error": "POST"}).encode()
            fields = {"Content-Type": "application/json", "Allow": "POST"}
            return _send_octets(start_response, 405, body, fields)
        length = str(environ.get("CONTENT_LENGTH") or "0")
        # Nine digits: no longer number is converted.
        if not (length.isascii() and length.isdecimal() and len(length) < 10) or int(length) > LARGEST_EVENT:
            return _send(start_response, 413, {"error": "too large"})
        body = environ["wsgi.input"].read(int(length))
        headers = {name: str(environ.get(_make_key(name), "")) for name in _HEADERS}
        return _apply(hub, headers, body, start_response)

    return answer_event


def _make_key(name: str) -> str:
    return f"HTTP_{name.upper().replace('-', '_')}"


def _apply(
    hub: Hub, headers: dict[str, str], body: bytes, start_response: Callable[..., Any]
) -> Iterable[bytes]:
    policy = hub.payments
    try:
        content = open_payment_message(headers, body, policy.secret, hub.clock(), policy.tolerance)
    except GatewayError as problem:
        hub.tally.count_refusal("payment", problem)
        return _send(start_response, 401, _describe(problem))
    try:
        done = apply_provider_event(hub, read_provider_event(content))
    except GatewayError as problem:
        if problem.problem is not PAYMENT_REFUSED:
            raise
        hub.tally.count_refusal("payment", problem)
        return _send(start_response, 409, _describe(problem))
    answer = json.dumps({"done": done}).encode()
    signed = sign_payment_message(policy.secret, headers["payment-id"], hub.clock(), answer)
    return _send_octets(start_response, 200, answer, signed)


def _describe(problem: GatewayError) -> dict[str, str]:
    return {"error": problem.problem.id, "detail": problem.detail, "location": problem.location or ""}


def _send(start_response: Callable[..., Any], status: int, content: dict[str, str]) -> Iterable[bytes]:
    return _send_octets(
        start_response, status, json.dumps(content).encode(), {"Content-Type": "application/json"}
    )


def _send_octets(
    start_response: Callable[..., Any], status: int, body: bytes, headers: dict[str, str]
) -> Iterable[bytes]:
    start_response(_STATUS[status], [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]
