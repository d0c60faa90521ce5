"""A simulated payment provider: takes orders, is paid at their addresses, tells the hub, gives money back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway import USER_AGENT
from gateway.cases import read_money, sign_payment_message, verify_payment_message
from gateway.client import (
    HttpReply,
    IncomingRequest,
    Journal,
    get_current_time,
    make_http_connection,
    read_journal,
)
from gateway.errors import GatewayError
from gateway.wire import format_instant

_TOLERANCE: Final = timedelta(minutes=5)
_RETRY_SECONDS: Final = 0.3
_TIME_OUT: Final = 10.0
#: From this status on the hub has said neither yes nor no.
_NOT_NOW: Final = 500
#: The text values of each call; an order has further ones.
_OPERATIONS: Final = {
    "/orders": ("order", "amount", "currency"),
    "/cancellations": ("order",),
    "/refunds": ("refund", "payment", "amount", "currency"),
}
_MAX_REPORTS: Final = 100
_MAX_DELAY_SECONDS: Final = 3600.0


@dataclass(slots=True)
class _Ledger:
    """The data of the provider: orders, payments and refunds, each by its key, and the cancelled orders."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    payments: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)


class PaymentProvider:
    """One provider with one folder: moves.jsonl, told.jsonl and refusals.jsonl outlive the process.

    A payer posts to the address of an order: ``{}`` pays the amount that is due, ``{"amount": …,
    "currency": …}`` pays another amount. With ``{"times": 2}`` the provider reports each payment to the hub
    twice, with ``{"delay": 1.5}`` 1.5 seconds later.
    """

    def __init__(self, secret: bytes, folder: Path, hub_url: str, address: str = "") -> None:
        self._secret = secret
        self._hub_url = hub_url
        self.address = address
        self._moves = Journal(folder / "moves.jsonl")
        self._reports = Journal(folder / "told.jsonl")
        self._refusals = Journal(folder / "refusals.jsonl")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._ledger = _Ledger()
        # A payment that the hub has refused is not reported again: it is reconciled.
        reported = {row["event"] for row in read_journal(folder / "told.jsonl") if row["status"] < _NOT_NOW}
        self._open: list[tuple[float, dict[str, Any]]] = []
        for row in read_journal(folder / "moves.jsonl"):
            self._index_move(row)
            if row["what"] == "payment" and row["reference"] not in reported:
                self._open.append((0.0, _make_paid_event(row)))
        self._thread = threading.Thread(target=self._report_due_events, daemon=True)

    def start(self) -> None:
        """Start to report payments to the hub, beginning with those that an earlier process left."""
        self._thread.start()

    def close(self) -> None:
        """Stop the reports to the hub."""
        self._closed.set()
        self._wake.set()
        self._thread.join(_TIME_OUT)

    def _index_move(self, row: dict[str, Any]) -> None:
        match row["what"]:
            case "order":
                self._ledger.orders[row["order"]] = row
            case "payment":
                self._ledger.payments[row["reference"]] = row
            case "refund":
                self._ledger.refunds[row["refund"]] = row
            case _:
                self._ledger.cancelled.add(row["order"])

    def __call__(self, request: IncomingRequest) -> HttpReply:
        """Answer a call of the hub, or a payer at the address of an order."""
        path = request.path.partition("?")[0]
        if path.startswith("/pay/"):
            return self._register_payment(path.removeprefix("/pay/"), request.body)
        if path not in _OPERATIONS:
            return _make_json_reply(404, {"error": "nothing is here"})
        try:
            request_fields = verify_payment_message(
                request.headers, request.body, self._secret, get_current_time(), _TOLERANCE
            )
        except GatewayError as problem:
            self._refusals.write_refusal(problem)
            return _make_json_reply(401, {"error": str(problem)})
        missing = [name for name in _OPERATIONS[path] if not isinstance(request_fields.get(name), str)]
        if missing:
            return _make_json_reply(400, {"error": f"{missing[0]} is missing, or is no text"})
        with self._lock:
            status, answer = self._execute_call(path, request_fields)
        body = json.dumps(answer).encode()
        headers = sign_payment_message(self._secret, request.headers["payment-id"], get_current_time(), body)
        return HttpReply(status, "application/json", body, _drop_content_type(headers))

    def _execute_call(self, path: str, request_fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/orders":
            return self._register_order(request_fields)
        if path == "/cancellations":
            self._write({"what": "cancellation", "order": request_fields["order"]})
            return 200, {"order": request_fields["order"], "state": "cancelled"}
        return self._refund_payment(request_fields)

    def _register_order(self, request_fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        order = self._ledger.orders.get(request_fields["order"])
        if order is not None and order["said"] != request_fields:
            return 409, {"error": "another order has this number"}
        if order is None:
            self._write({"what": "order", "order": request_fields["order"], "said": request_fields})
        return 200, {
            "order": request_fields["order"],
            "address": f"{self.address}/pay/{request_fields['order']}",
        }

    def _refund_payment(self, request_fields: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        refund = self._ledger.refunds.get(request_fields["refund"])
        if refund is None:
            payment = self._ledger.payments.get(request_fields["payment"])
            if payment is None:
                return 404, {"error": "there is no such payment"}
            if not self._has_enough_left(payment, request_fields):
                return 409, {"error": "so much of the payment is not left"}
            number = f"R-{len(self._ledger.refunds) + 1:06d}"
            refund = {"what": "refund", "reference": number, "at": _format_now(), "order": payment["order"]}
            refund |= {name: request_fields[name] for name in ("refund", "payment", "amount", "currency")}
            self._write(refund)
        return 200, {"refund": request_fields["refund"], "reference": refund["reference"], "at": refund["at"]}

    def _has_enough_left(self, payment: Mapping[str, Any], request_fields: Mapping[str, Any]) -> bool:
        """Return whether a payment has enough left for a refund of this amount, after its earlier refunds."""
        of_payment = [
            refund for refund in self._ledger.refunds.values() if refund["payment"] == payment["reference"]
        ]
        try:
            amount = read_money(request_fields["amount"], request_fields["currency"])
            paid = read_money(payment["amount"], payment["currency"])
        except GatewayError:
            return False
        refunded = sum((Decimal(refund["amount"]) for refund in of_payment), Decimal(0))
        return amount.currency == paid.currency and amount.amount + refunded <= paid.amount

    def _register_payment(self, order: str, body: bytes) -> HttpReply:
        wish = _read_payer_request(body)
        if wish is None:
            return _make_json_reply(
                400, {"error": "a payer says amount, currency, times (1 to 100), delay (seconds)"}
            )
        with self._lock:
            order_row = self._ledger.orders.get(order)
            if order_row is None:
                return _make_json_reply(404, {"error": "there is no such order"})
            number = f"P-{len(self._ledger.payments) + 1:06d}"
            row = {"what": "payment", "reference": number, "order": order, "at": _format_now()}
            row |= {name: wish.get(name, order_row["said"][name]) for name in ("amount", "currency")}
            self._write(row)
            due = time.monotonic() + float(wish.get("delay", 0.0))
            self._open += [(due, _make_paid_event(row))] * int(wish.get("times", 1))
        self._wake.set()
        return _make_json_reply(200, {"payment": number})

    def _write(self, row: dict[str, Any]) -> None:
        self._moves.write(row)
        self._index_move(row)

    def _report_due_events(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(0.05)
            self._wake.clear()
            with self._lock:
                due = [entry for entry in self._open if entry[0] <= time.monotonic()]
                self._open = [entry for entry in self._open if entry not in due]
            for _, event in due:
                if not self._report_event(event):
                    with self._lock:
                        self._open.append((time.monotonic() + _RETRY_SECONDS, event))

    def _report_event(self, event: dict[str, Any]) -> bool:
        """Report one event to the hub; return False when the report must be repeated."""
        body = json.dumps(event).encode()
        headers = sign_payment_message(self._secret, event["reference"], get_current_time(), body)
        connection = make_http_connection(urlsplit(self._hub_url), _TIME_OUT)
        try:
            fields = {"User-Agent": USER_AGENT, **headers}
            connection.request("POST", "/payments/events", body, fields)
            status = connection.getresponse().status
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        self._reports.write({"event": event["reference"], "order": event["order"], "status": status})
        return status < _NOT_NOW


def _read_payer_request(body: bytes) -> dict[str, Any] | None:
    """Return the request of a payer; None for a body that is not a JSON object of known values."""
    try:
        wish = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return None
    kinds: dict[str, tuple[type, ...]] = {
        "amount": (str,),
        "currency": (str,),
        "times": (int,),
        "delay": (int, float),
    }
    if not isinstance(wish, dict) or not all(
        isinstance(value, kinds.get(name, ())) and not isinstance(value, bool) for name, value in wish.items()
    ):
        return None
    usable = 1 <= wish.get("times", 1) <= _MAX_REPORTS and 0 <= wish.get("delay", 0.0) <= _MAX_DELAY_SECONDS
    return wish if usable else None


def _make_paid_event(row: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: row[name] for name in ("order", "reference", "amount", "currency", "at")}
    return {"event": "paid", **fields}


def _make_json_reply(status: int, content: dict[str, Any]) -> HttpReply:
    return HttpReply(status, "application/json", json.dumps(content).encode())


def _drop_content_type(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name != "Content-Type"}


def _format_now() -> str:
    return format_instant(get_current_time())
