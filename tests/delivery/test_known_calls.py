"""Calls like one that was signed before: signed in less time, with the octets of the whole way."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from lxml import etree

from gateway.delivery import known_calls, soap_client
from gateway.delivery.known_calls import KnownCalls
from gateway.delivery.service_contracts import ServiceCall, load_contract
from gateway.delivery.soap_client import SignedCall, sign_call
from gateway.errors import GatewayError
from gateway.wire.xml import parse_xml
from gateway.xmlsec.algorithms import STRICT
from gateway.xmlsec.wss import verify_soap_envelope
from tests.delivery.test_soap_client import AGREED
from tests.kit.soap import DOCUMENT, ENDPOINT, NOW, signer

SUBMIT = ServiceCall(
    "SubmitApplication",
    "urn:uuid:1",
    ENDPOINT,
    {"ApplicationNumber": "A-1", "CaseNumber": "C-1"},
    etree.fromstring(f'<D xmlns="{DOCUMENT}"><a b="c"/></D>'),
    scope={"items": ("1", "2"), "laws": ("01", "02")},
)
CANCEL = ServiceCall("CancelApplication", "urn:uuid:2", None, {"ApplicationNumber": "A-1", "Reason": "a & b"})
minutes = count(1)


def documents() -> list[etree._Element]:
    return [
        etree.fromstring(text)
        for text in (
            f'<D xmlns="{DOCUMENT}"/>',
            f'<ns0:D xmlns:ns0="{DOCUMENT}" xmlns:soap="urn:soap"><soap:a> \u00e9&#13;\n </soap:a></ns0:D>',
            f'<D xmlns="{DOCUMENT}"><a z="1" a="&lt;&#10;"></a><b>]]&gt;</b></D>',
            f'<D xmlns="{DOCUMENT}"><a schemeID="s-2" cid="s-2"/></D>',
            f'<D xmlns="{DOCUMENT}"><a Id="s-2"/></D>',
            f'<D xmlns="{DOCUMENT}"><a xml:id = "s-2"/></D>',
            f'<D xmlns="{DOCUMENT}"><!-- a --><a/></D>',
        )
    ]


def without_signature(octets: bytes) -> bytes:
    return re.sub(rb"<ds:SignatureValue>[^<]*", b"", octets)


def compare(
    envelope: bytes, known: KnownCalls, by: str = "agency", address: str | None = ENDPOINT
) -> SignedCall:
    """Sign a call both ways, and check that the same octets are signed rightly."""
    at = NOW + timedelta(minutes=next(minutes))
    whole = sign_call(envelope, AGREED, signer(by), at, address=address)
    found = sign_call(envelope, AGREED, signer(by), at, address=address, known=known)
    assert without_signature(found.body) == without_signature(whole.body)
    assert replace(found, body=b"") == replace(whole, body=b"")
    covered = verify_soap_envelope(parse_xml(found.body), STRICT, now=at).covered
    assert len(covered) == 6
    return found


@pytest.fixture
def signed_so(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets one entry for each call that was signed by a known form."""
    found: list[object] = []
    sign = known_calls._sign_by_form

    def note(*words: Any) -> Any:
        written = sign(*words)
        found.append(written)
        return written

    monkeypatch.setattr(known_calls, "_sign_by_form", note)
    return found


@pytest.mark.parametrize("by", ["agency", "hub"])
def test_the_next_call_has_the_octets_of_the_whole_way(by: str, signed_so: list[object]) -> None:
    known = KnownCalls()
    for number, document in enumerate([SUBMIT.document, *documents()]):
        call = replace(SUBMIT, message_id=f"urn:uuid:call-{number}", document=document)
        compare(AGREED.compose_envelope(call), known, by)
    # The first is learned; two have an identifier, one a comment.
    assert len(signed_so) == 4


def test_each_operation_and_address_is_learned(signed_so: list[object]) -> None:
    known = KnownCalls()
    calls = [AGREED.compose_envelope(one) for one in (SUBMIT, CANCEL)]
    for _ in range(3):
        for envelope in calls:
            for address in (ENDPOINT, "https://other.example/?a&b"):
                compare(envelope, known, address=address)
    assert len(signed_so) == 8
    compare(calls[0], known, "hub")
    assert len(signed_so) == 8, "another key"


def test_a_renewed_key_signs_by_forms_of_its_own(signed_so: list[object]) -> None:
    known = KnownCalls()
    renewed = signer("renewed agency")
    assert renewed.algorithm == signer("agency").algorithm
    envelope = AGREED.compose_envelope(SUBMIT)
    compare(envelope, known)
    signed = sign_call(envelope, AGREED, renewed, NOW, address=ENDPOINT, known=known)
    assert signed_so == []
    verified = verify_soap_envelope(parse_xml(signed.body), STRICT, now=NOW)
    assert verified.certificate.sha256 == renewed.certificate.sha256


def test_calls_that_have_no_form_are_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def fail(*words: Any) -> None:
        tried.append(words)

    monkeypatch.setattr(known_calls, "_learn_form", fail)
    known = KnownCalls()
    envelope = AGREED.compose_envelope(SUBMIT)
    for _ in range(20):
        sign_call(envelope, AGREED, signer("agency"), NOW, address=ENDPOINT, known=known)
    assert len(tried) == known_calls._MOST_FAILED


def test_a_body_of_which_nothing_is_known_leaves_the_forms_of_others(signed_so: list[object]) -> None:
    known = KnownCalls()
    odd = etree.fromstring(f'<TestDoc xmlns="{DOCUMENT}"><!-- a --></TestDoc>')
    for _ in range(known_calls._MOST_FAILED + 1):
        sign_call(
            AGREED.compose_envelope(replace(SUBMIT, document=odd)),
            AGREED,
            signer("agency"),
            NOW,
            address=ENDPOINT,
            known=known,
        )
    for _ in range(2):
        compare(AGREED.compose_envelope(SUBMIT), known)
    assert len(signed_so) == 1


def test_a_known_call_of_another_contract_is_refused() -> None:
    known = KnownCalls()
    envelope = AGREED.compose_envelope(SUBMIT)
    compare(envelope, known)
    for body in (b"<a/>", b"", b"<a>"):
        broken = re.sub(rb"(<soap:Body>).*(</soap:Body>)", rb"\1" + body + rb"\2", envelope)
        with pytest.raises(GatewayError) as one:
            sign_call(broken, AGREED, signer("agency"), NOW)
        with pytest.raises(GatewayError) as two:
            sign_call(broken, AGREED, signer("agency"), NOW, address=ENDPOINT, known=known)
        assert (one.value.problem, one.value.detail) == (two.value.problem, two.value.detail)
    with pytest.raises(GatewayError) as caught:
        sign_call(
            envelope, load_contract("customs.wsdl"), signer("agency"), NOW, address=ENDPOINT, known=known
        )
    assert caught.value.problem is soap_client.REQUEST_INVALID


def test_forms_are_bounded() -> None:
    known = KnownCalls()
    for number in range(known_calls._MOST_FORMS + 3):
        envelope = AGREED.compose_envelope(replace(SUBMIT, to=f"https://a.example/{number}"))
        compare(envelope, known)
    assert [len(one) for one in known._forms.values()] == [known_calls._MOST_FORMS]
