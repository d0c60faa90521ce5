"""The endpoint of the payment provider believes what is signed with the secret, in time, and nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine
from werkzeug.test import Client, TestResponse

from gateway.cases import sign_payment_message, verify_payment_message
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from gateway.store import fees, read_transaction
from gateway.web.wsgi_application import PATH, build_payment_endpoint
from tests.flows.test_fees import KRW, SECRET
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.story import Story


class Desk:
    """A story with a fee that is due, and the endpoint in front of its hub."""

    def __init__(self, engine: Engine) -> None:
        self.story = Story(engine)
        self.story.hub.payments = PaymentPolicy(True, {"KPTA-PHARM-IMP": Tariff(KRW)}, SECRET)
        self.story.submit()
        self.story.tick()
        self.client = Client(build_payment_endpoint(self.story.hub))
        self.number = self.fee().number

    def fee(self) -> Any:
        with read_transaction(self.story.house.engine) as conn:
            (row,) = fees.list_by_request(conn, self.story.request("KPTA").id)
        return row

    def body(self, **changed: Any) -> bytes:
        said = {"event": "paid", "order": self.number, "reference": "P-1", "amount": "30000"}
        said |= {"currency": "KRW", "at": "2026-11-20T10:00:00Z"}
        return json.dumps(said | changed).encode()

    def sign(self, body: bytes, secret: bytes = SECRET, ago: float = 0) -> dict[str, str]:
        return sign_payment_message(secret, "E-1", self.story.clock() - timedelta(seconds=ago), body)

    def post(self, body: bytes, headers: dict[str, str]) -> TestResponse:
        return self.client.post(PATH, data=body, headers=headers)


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


@BOTH_AT_LANDING
def test_a_signed_event_is_applied_once_and_the_answer_is_signed(desk: Desk) -> None:
    for done in ("counted", "repeated"):
        answer = desk.post(desk.body(), desk.sign(desk.body()))
        assert answer.status_code == 200
        headers = {name.lower(): value for name, value in answer.headers.items()}
        now = desk.story.clock()
        assert verify_payment_message(headers, answer.data, SECRET, now, timedelta(0, 1)) == {"done": done}
    assert desk.fee().state == "PAID"


@BOTH_AT_LANDING
def test_what_is_not_signed_in_time_with_the_secret_changes_nothing(desk: Desk) -> None:
    body = desk.body()
    good = desk.sign(body)
    tries = {
        "absent": {"Content-Type": "application/json"},
        "no signature": {name: value for name, value in good.items() if name != "payment-signature"},
        "another secret": desk.sign(body, b"another secret of somebody else's choice"),
        "old": desk.sign(body, ago=301),
        "of the future": desk.sign(body, ago=-301),
        "a moved time": good | {"payment-timestamp": str(int(good["payment-timestamp"]) + 1)},
        "another id": good | {"payment-id": "E-2"},
        "no number": good | {"payment-timestamp": "now"},
    }
    for name, headers in tries.items():
        answer = desk.post(body, headers)
        assert (answer.status_code, answer.json["error"]) == (401, "GW712"), name  # type: ignore[index]
        assert "payment-signature" not in answer.headers
    changed = desk.post(desk.body(amount="1"), good)
    assert changed.status_code == 401
    assert (desk.fee().state, desk.fee().paid_at) == ("LEVIED", None)


@BOTH_AT_LANDING
def test_a_signed_event_that_fits_no_order_changes_nothing(desk: Desk) -> None:
    tries: list[tuple[dict[str, Any], str]] = [
        ({"amount": "29999"}, "amount"),
        ({"amount": "30000.0"}, "amount"),
        ({"amount": 30000}, "amount"),
        ({"currency": "WON"}, "amount"),
        ({"order": "F-1"}, "order"),
        ({"event": "stolen"}, "event"),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-11-20T10:00:00"}, "at"),
        ({"at": "2026-11-20"}, "at"),
        ({"reference": ""}, "reference"),
    ]
    for changed, where in tries:
        body = desk.body(**changed)
        answer = desk.post(body, desk.sign(body))
        assert (answer.status_code, answer.json["error"]) == (409, "GW712")  # type: ignore[index]
        assert where in answer.json["location"]  # type: ignore[index]
    assert desk.fee().state == "LEVIED"


@BOTH_AT_LANDING
def test_other_requests_are_refused(desk: Desk) -> None:
    for verb in ("GET", "PUT", "DELETE", "OPTIONS"):
        answer = desk.client.open(PATH, method=verb)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert desk.post(b" " * (64 * 1024 + 1), {}).status_code == 413
    desk.story.hub.payments = PaymentPolicy(False, {}, b"")
    assert desk.post(desk.body(), desk.sign(desk.body())).status_code == 404
