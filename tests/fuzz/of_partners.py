"""Targets: what customs and the payment provider tell a hub that has a case with a fee."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache, partial
from random import Random
from typing import Any

from gateway.cases import sign_payment_message
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.store import write_transaction
from gateway.web.agency_service import apply_call_of_customs, build_customs_service, build_soap_security
from gateway.web.wsgi_application import PATH, build_payment_endpoint
from gateway.wire import SERVICE_CUSTOMS, AddressingHeaders, parse_xml, serialize_element
from gateway.xmlsec import sign_soap_envelope
from tests.fuzz.hubs import CASE, FEE, levy_fee, whole
from tests.fuzz.identities import NOW, signer
from tests.fuzz.octets import NUMBERS, either, mutate_octets, with_words
from tests.fuzz.of_web import Forgetful, call_soap, send_post
from tests.fuzz.posts import mutate_post, read_post, write_post
from tests.fuzz.resigning import request_signer
from tests.fuzz.target import Mutate, Target, promise
from tests.kit.soap import envelope, wrapper

__all__ = ["TARGETS"]

_CUSTOMS = "/soap/customs"
_SECRET = b"a secret of the tests, 32 octets long"
_CALLS = {
    "ReportClearance": f"""<CaseNumber>{CASE}</CaseNumber><NoticeNumber>K  1</NoticeNumber>
<IssuedAt>2026-11-20T18:00:00+09:00</IssuedAt><ResultCode>5EC</ResultCode><Text> released </Text>
<Item><item>1</item><ResultCode>5EC</ResultCode></Item><Item><item>2</item><ResultCode>5GA</ResultCode></Item>""",
    "ReportAnswer": f"""<CaseNumber>{CASE}</CaseNumber><NoticeNumber>K-2</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00Z</IssuedAt><ResultCode>R25</ResultCode>
<Reason><Code>E1</Code><Pointer> 42A/67A[1] </Pointer><Text>wrong</Text></Reason>
<Reason><Text>x</Text></Reason>""",
}
_BY_REFERENCE = f"<CaseNumber>{CASE}</CaseNumber>", "<DeclarationReference>R-1</DeclarationReference>"
_EVENTS: tuple[dict[str, Any], ...] = (
    {"event": "paid", "order": FEE, "reference": "P-1", "amount": "12.50", "currency": "EUR"},
    {"event": "paid", "order": FEE, "reference": "P-1", "amount": "12.5", "currency": "EUR"},
    {"event": "refunded", "order": FEE, "reference": "R-1", "refund": f"{FEE}-R01"}
    | {"amount": "12.50", "currency": "EUR"},
)
_WORDS = (*NUMBERS, b"KRW", b"EUR", b"XXX", b"paid", b"refunded", b"null", b"{}", b'"\\ud800"', b"12.50")


@cache
def _customs_application() -> Any:
    hub = whole().hub
    security = replace(build_soap_security(hub), memory=Forgetful())
    return build_customs_service(partial(apply_call_of_customs, hub, "customs"), security)


def _report(data: bytes) -> object:
    """Call the hub about a case that it has; what it then knows is undone before the next call."""
    with whole().undone():
        return call_soap(_customs_application(), data, _CUSTOMS), whole().known()


def _reports() -> Iterable[bytes]:
    named = [*_CALLS.items(), ("ReportClearance", _CALLS["ReportClearance"].replace(*_BY_REFERENCE))]
    for operation, content in named:
        values = AddressingHeaders(f"{SERVICE_CUSTOMS}:{operation}", "urn:uuid:call-1")
        root = envelope(wrapper(SERVICE_CUSTOMS, operation, content), values)
        sign_soap_envelope(root, signer("customs"), now=NOW)
        action = f'"{SERVICE_CUSTOMS}:{operation}"'
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": action}
        yield write_post(headers, serialize_element(parse_xml(serialize_element(root))))


@cache
def _payment_application() -> Any:
    return build_payment_endpoint(whole().hub)


def _tell(data: bytes) -> object:
    """Tell the hub of money; it counts at most what is due, and what it counts is exactly that."""
    hub = whole().hub
    with whole().undone():
        hub.payments = PaymentPolicy(True, {}, _SECRET)
        with write_transaction(hub.engine, "test") as conn:
            levy_fee(conn)
        status, headers, body = send_post(_payment_application(), PATH, data)
        said = json.loads(body)
        counted = whole().read("SELECT amount, currency FROM fee_movements WHERE state = 'COUNTED'")
        promise(counted in ([], [("12.50", "EUR")]), f"{counted} was counted")
        promise(bool(counted) == (said.get("done") == "counted"), "what was counted is not what was said")
        promise(("payment-signature" in headers) == (status == 200), "an answer of another signature")
        return status, said.get("error"), whole().read("SELECT state FROM fees")


def _tidings() -> Iterable[bytes]:
    for event in _EVENTS:
        body = json.dumps({**event, "at": "2026-11-20T08:59:00Z"}).encode()
        yield write_post(sign_payment_message(_SECRET, "E-1", NOW, body), body)


def _resigned() -> Mutate:
    """Return the mutation of an event, most often with a signature that is right again."""
    change = either((3, with_words(_WORDS)), (2, mutate_octets))

    def mutate(data: bytes, rng: Random) -> bytes:
        headers, body = read_post(data)
        body = change(body, rng)
        if rng.random() < 0.9:
            headers = sign_payment_message(_SECRET, "E-1", NOW, body)
        return write_post(headers, body)

    return either((6, mutate), (1, mutate_post()))


TARGETS = (
    Target(
        "customs-door",
        "/soap/customs: guard, Spyne and a hub with a case; calls changed and signed again",
        _reports,
        _report,
        mutate_post(request_signer(signer("customs"), NOW)),
    ),
    Target(
        "payment-door",
        "/payments/events: nothing is counted but what is due, once; events changed and signed again",
        _tidings,
        _tell,
        _resigned(),
    ),
)
