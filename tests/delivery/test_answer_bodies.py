"""Answers in whose Body a partner signs more or other than belongs there, and answers that are changed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cases import AgencyAcknowledgment
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.soap_client import open_signed_answer
from gateway.errors import GatewayError
from gateway.wire import AGENCY, SOAP11, AddressingHeaders
from tests.delivery.test_soap_client import AGREED, CALL, NOTICE, RULES, XML
from tests.kit.soap import ACKNOWLEDGED, NOW, agency_answer
from tests.kit.soap_bodies import HARMLESS, list_bodies, sign_body

VALUES = AddressingHeaders(f"{AGENCY}:SubmitApplicationResponse", "urn:uuid:answer", None, "urn:uuid:call")
ELEMENT = f'<SubmitApplicationResponse xmlns="{AGENCY}">{ACKNOWLEDGED}</SubmitApplicationResponse>'
FAULT = f'<s:Fault xmlns:s="{SOAP11}"><faultcode>s:Client</faultcode><faultstring>no</faultstring></s:Fault>'
BODIES = list_bodies(ELEMENT, "<Answer>", "R-1")


def read(body: bytes, status: int = 200) -> object:
    """Return what an answer says, or the problem for which it is refused."""
    try:
        return open_signed_answer(HttpAnswer(status, XML, body), CALL, AGREED, RULES, NOW)[0]
    except GatewayError as refused:
        return refused.problem.id


@pytest.mark.parametrize("name", HARMLESS)
def test_what_no_signature_covers_changes_nothing(name: str) -> None:
    assert read(sign_body(VALUES, BODIES[name])) == AgencyAcknowledgment("R-1")
    assert read(sign_body(VALUES, BODIES[name]), 500) == "GW603"


@pytest.mark.parametrize("name", sorted(BODIES.keys() - HARMLESS))
@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_with_another_body_is_refused(name: str, status: int) -> None:
    assert read(sign_body(VALUES, BODIES[name]), status) in ("GW603", "GW608")


@pytest.mark.parametrize("name", ["s-2", "s-3", "s-4"])
def test_an_identifier_that_is_signed_elsewhere_is_refused(name: str) -> None:
    """Nobody can tell which of two elements the reference means."""
    body = sign_body(VALUES, ELEMENT.replace("<Answer>", f'<Answer Id="{name}">'))
    assert f':Id="{name}"'.encode() in body
    assert read(body) == "GW603"


def test_a_fault_in_the_place_of_an_answer_is_a_fault() -> None:
    assert read(sign_body(VALUES, FAULT), 500) == "GW602"
    assert read(sign_body(VALUES, FAULT + ELEMENT)) in ("GW602", "GW603")


GOOD = agency_answer("urn:uuid:call", NOTICE)
MEANING = read(GOOD)


@pytest.mark.night
def test_no_changed_octet_changes_what_is_read() -> None:
    for at in range(len(GOOD)):
        for octet in (GOOD[at] ^ 1, 60):
            assert read(GOOD[:at] + bytes([octet]) + GOOD[at + 1 :]) in (MEANING, "GW603")


@pytest.mark.long
@settings(max_examples=300, deadline=None)
@given(source=st.integers(0, 5000), target=st.integers(0, 5000), length=st.integers(1, 900))
def test_octets_of_another_answer_change_nothing_that_is_read(source: int, target: int, length: int) -> None:
    other = agency_answer("urn:uuid:call")
    source, target = source % len(other), target % len(GOOD)
    changed = GOOD[:target] + other[source : source + length] + GOOD[target + length :]
    assert read(changed) in (MEANING, "GW603")
