"""The simulated payment provider: exact in what it gives back, and not to be upset by what it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cases import sign_payment_message
from gateway.client import HttpReply, IncomingRequest, Journal, get_current_time
from gateway_conformance.partners import PaymentProvider

SECRET = b"a secret of the tests, 32 octets long"
ORDER = {"order": "F-1", "amount": "12.50", "currency": "EUR"}


@pytest.fixture
def provider(tmp_path: Path) -> PaymentProvider:
    # Nobody listens there: nothing is told.
    return PaymentProvider(SECRET, tmp_path, "http://127.0.0.1:9", "http://pay.example")


def call(provider: PaymentProvider, path: str, said: Any) -> tuple[int, Any]:
    body = json.dumps(said).encode()
    made = sign_payment_message(SECRET, f"{path}:1", get_current_time(), body)
    headers = {name.lower(): value for name, value in made.items()}
    return read(provider(IncomingRequest(path, headers, body)))


def pay(provider: PaymentProvider, order: str, body: bytes = b"") -> tuple[int, Any]:
    return read(provider(IncomingRequest(f"/pay/{order}", {}, body)))


def read(reply: HttpReply) -> tuple[int, Any]:
    return reply.status, json.loads(reply.body)


def test_it_gives_back_no_more_than_was_paid(provider: PaymentProvider) -> None:
    assert call(provider, "/orders", ORDER)[0] == 200
    assert pay(provider, "F-1") == (200, {"payment": "P-000001"})
    back = {"payment": "P-000001", "currency": "EUR"}
    tries = [("R-1", "2.50", 200), ("R-2", "10.01", 409), ("R-3", "10.00", 200), ("R-4", "0.01", 409)]
    for refund, amount, status in tries:
        assert call(provider, "/refunds", {**back, "refund": refund, "amount": amount})[0] == status
    assert (
        call(provider, "/refunds", {**back, "refund": "R-1", "amount": "2.50"})[1]["reference"] == "R-000001"
    )
    other = {**back, "refund": "R-5", "amount": "1", "currency": "KRW"}
    assert call(provider, "/refunds", other)[0] == 409


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/orders", {}),
        ("/orders", {**ORDER, "order": 7}),
        ("/cancellations", {"order": None}),
        ("/refunds", {"refund": "R-1"}),
        ("/refunds", {"refund": ["R-1"], "payment": "P-1", "amount": "1", "currency": "EUR"}),
    ],
)
def test_a_call_without_its_values_is_refused(provider: PaymentProvider, path: str, said: Any) -> None:
    assert call(provider, path, said)[0] == 400


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"7", b"\xff", b'{"times": 1000000000}', b'{"times": 0}', b'{"times": true}',
     b'{"delay": -1}', b'{"delay": "soon"}', b'{"delay": NaN}', b'{"amount": 5}', b'{"tip": "1"}'],
)  # fmt: skip
def test_what_a_payer_cannot_mean_is_refused(provider: PaymentProvider, body: bytes) -> None:
    call(provider, "/orders", ORDER)
    assert pay(provider, "F-1", body)[0] == 400
    assert pay(provider, "F-2")[0] == 404


def test_what_the_hub_has_refused_is_not_told_again(tmp_path: Path) -> None:
    moves, told = Journal(tmp_path / "moves.jsonl"), Journal(tmp_path / "told.jsonl")
    for number, status in (("P-1", 200), ("P-2", 409), ("P-3", 503)):
        paid = {"what": "payment", "reference": number, "order": "F-1", "amount": "1", "currency": "EUR"}
        moves.write({**paid, "at": "2026-11-20T09:00:00Z"})
        told.write({"event": number, "order": "F-1", "status": status})
    provider = PaymentProvider(SECRET, tmp_path, "http://127.0.0.1:9")
    assert [event["reference"] for _, event in provider._open] == ["P-3"]
