"""A stored call is read by its names and composed again: by the same WSDL to the same octets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from lxml import etree

from gateway.delivery import ServiceCall, is_same_call, load_contract, read_stored_call
from gateway.delivery.service_contracts import CallAttachment
from gateway.errors import GatewayError
from gateway.wire import CARRIED, canonicalize_document
from tests.delivery.test_service_contracts import DOCUMENTS
from tests.kit.soap import DOCUMENT, ENDPOINT

SIMPLE = etree.fromstring(f'<Request xmlns="{DOCUMENT}"><Q>1</Q></Request>')
CARRYING = etree.fromstring(f'<Carried xmlns="{CARRIED}" form="json" document="D">e30=</Carried>')
DECLARATION = etree.fromstring(
    '<Declaration xmlns="urn:wco:datamodel:WCO:DEC-DMS:2"><ID>1</ID></Declaration>'
)
NUMBERS = {"ApplicationNumber": "A-1", "CaseNumber": "C-1"}
CLEARED = {
    **NUMBERS,
    "NoticeNumber": "N-1",
    "IssuedAt": datetime(2026, 11, 20, 9, 0, 0, 500_000, UTC),
    "ResultCode": "5EC",
    "StatusCode": "Z04",
    "Text": " two  spaces, &<>\n가 ",
}
PAID = {
    "ApplicationNumber": "A-1",
    "FeeNumber": "A-1-F01",
    "Amount": Decimal("10.50"),
    "Currency": "EUR",
    "PaidAt": "2026-11-20T09:00:00.000Z",
    "Payment": "P-1",
}
REQUIREMENTS = [
    {"item": 1, "law": "01", "number": "N", "date": date(2026, 11, 20), "quantity": "10.500", "unit": "KGM"},
    {"item": 2, "law": "70"},
]
FILES = (CallAttachment("a@b", "application/pdf", b"%PDF\x00"), CallAttachment("b@b", "text/plain", b""))
SCOPE = {"items": ("1", "3"), "laws": ("01", "70")}
CALLS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "application": ("agency-template", "SubmitApplication", NUMBERS, {"document": SIMPLE}),
    "scope": (
        "agency-template",
        "SubmitApplication",
        NUMBERS,
        {"document": SIMPLE, "attribute_values": SCOPE},
    ),
    "files": ("agency-template", "SubmitSupplement", NUMBERS, {"document": SIMPLE, "attachments": FILES}),
    "file": ("agency-template", "SubmitSupplement", NUMBERS, {"document": SIMPLE, "attachments": FILES[:1]}),
    "carried": ("agency-template", "SubmitApplication", NUMBERS, {"document": CARRYING}),
    "cancel": ("agency-template", "CancelApplication", {"ApplicationNumber": "A", "Reason": " a  b "}, {}),
    "clearance": ("agency-template", "NotifyClearance", CLEARED, {}),
    "one item": (
        "agency-template",
        "NotifyClearance",
        {**CLEARED, "Item": [{"item": 1, "ResultCode": "5EC"}]},
        {},
    ),
    "two items": (
        "agency-template",
        "NotifyClearance",
        {**CLEARED, "Item": [{"item": 1, "ResultCode": "5EC"}, {"item": 2, "ResultCode": "5GA"}]},
        {},
    ),
    "payment": ("agency-template", "NotifyPayment", PAID, {}),
    "declaration": ("customs", "RegisterDeclaration", {"CaseNumber": "C"}, {"document": DECLARATION}),
    "code": ("customs", "ReportRequirements", {"CaseNumber": "C", "PendingCode": "18"}, {}),
    "one requirement": (
        "customs",
        "ReportRequirements",
        {"CaseNumber": "C", "PendingCode": "19", "Requirement": REQUIREMENTS[:1]},
        {},
    ),
    "two requirements": (
        "customs",
        "ReportRequirements",
        {"CaseNumber": "C", "PendingCode": "19", "Requirement": REQUIREMENTS},
        {},
    ),
    "withdrawal": ("customs", "WithdrawDeclaration", {"CaseNumber": "C", "Reason": "none"}, {}),
    **{
        name: (
            "agency-template",
            "SubmitApplication",
            NUMBERS,
            {"document": etree.fromstring(text.format(DOCUMENT))},
        )
        for name, text in DOCUMENTS.items()
    },
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_read_and_composed_again_is_the_same(name: str) -> None:
    wsdl, operation, arguments, more = CALLS[name]
    contract = load_contract(f"{wsdl}.wsdl")
    stored = contract.compose_envelope(ServiceCall(operation, "urn:uuid:2", ENDPOINT, arguments, **more))
    read = read_stored_call(stored, operation, ENDPOINT)
    assert read.message_id == "urn:uuid:2"
    again = contract.compose_envelope(read)
    assert is_same_call(again, stored)
    whole = (canonicalize_document(etree.fromstring(one)) for one in (again, stored))
    assert next(whole) == next(whole), "also what no name has is as it was"


def test_another_body_or_address_is_another_call() -> None:
    contract = load_contract("agency-template.wsdl")
    call = ServiceCall("SubmitApplication", "urn:uuid:2", ENDPOINT, NUMBERS, SIMPLE)
    stored = contract.compose_envelope(call)
    for other in (replace(call, address="http://a.example/"), replace(call, attribute_values=SCOPE)):
        assert not is_same_call(contract.compose_envelope(other), stored)


def test_it_goes_to_the_address_of_now() -> None:
    contract = load_contract("agency-template.wsdl")
    call = ServiceCall("SubmitApplication", "urn:uuid:2", "http://old.example/", NUMBERS, SIMPLE)
    read = read_stored_call(contract.compose_envelope(call), "SubmitApplication", ENDPOINT)
    assert ENDPOINT.encode() in contract.compose_envelope(read)
    assert read_stored_call(contract.compose_envelope(call), "SubmitApplication", None).address is None


@pytest.mark.parametrize(
    "octets", [b"<x/>", b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"/>']
)
def test_what_is_no_call_is_refused(octets: bytes) -> None:
    with pytest.raises(GatewayError):
        read_stored_call(octets, "SubmitApplication", None)
