"""Answers whose envelope is like one before: opened in less time with the same result, or refused alike."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.delivery import soap_client
from gateway.delivery.http_client import HttpAnswer
from gateway.delivery.soap_client import AnswerPolicy, open_signed_answer
from gateway.errors import GatewayError
from gateway.protocols import EnvelopeMemory, known_soap, read_known_envelope
from gateway.protocols.known_soap import SOAP_ANSWERS
from gateway.wire import DEFAULT_LIMITS, SOAP11, fill_template, split_at_body
from gateway.wire.addressing import AddressingHeaders
from gateway.wire.namespaces import AGENCY, WSU
from gateway.wire.xml_prescan import WireLimits
from gateway.xmlsec.algorithms import LEGACY_NORWAY
from tests.delivery.test_soap_client import AGREED, CALL, NOTICE, RULES, XML
from tests.kit.soap import ACKNOWLEDGED, NOW, agency_answer, envelope, judge_agency, signed, signer, wrapper

Memory = EnvelopeMemory[Any]
OTHER = replace(CALL, message_id="urn:uuid:other")
LATER = NOW + timedelta(minutes=3)


@cache
def answer(content: str = ACKNOWLEDGED) -> bytes:
    """Return an answer to `OTHER`, by the program whose answer to `CALL` is known."""
    return agency_answer("urn:uuid:other", content, at=LATER)


@cache
def memory() -> Memory:
    """Return what is remembered after one answer of the agency."""
    found: Memory = EnvelopeMemory()
    open_answer(agency_answer("urn:uuid:call"), found, call=CALL, now=NOW)
    return found


def open_answer(body: bytes, where: Memory | None, **changes: Any) -> object:
    """Return what an answer says, or why it is refused."""
    given = {"status": 200, "headers": XML, "call": OTHER, "rules": RULES, "now": LATER, **changes}
    received = HttpAnswer(given["status"], given["headers"], body)
    try:
        return open_signed_answer(received, given["call"], AGREED, given["rules"], given["now"], where)[0]
    except GatewayError as refused:
        return refused.problem.id, refused.detail, refused.location, refused.theirs


@cache
def like_known(body: bytes) -> Any:
    """Return the values of an answer whose envelope is known."""
    split = split_at_body(body)
    assert split is not None
    (sender,) = memory()._senders.values()
    found = read_known_envelope(SOAP_ANSWERS, sender.known[0], split.hollow)
    assert found is not None
    return found


@pytest.fixture
def opened_so(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets one entry for each answer that was opened by what is known."""
    found: list[object] = []

    def note(*words: Any) -> Any:
        opened = known_soap.open_known_soap(*words)
        if opened is not None:
            found.append(opened)
        return opened

    monkeypatch.setattr(soap_client, "open_known_soap", note)
    return found


@pytest.mark.parametrize("content", [ACKNOWLEDGED, NOTICE])
def test_the_next_answer_of_a_partner_is_opened_by_its_envelope(
    content: str, opened_so: list[object]
) -> None:
    said = open_answer(answer(content), memory())
    assert said == open_answer(answer(content), None)
    assert not isinstance(said, tuple)
    assert len(opened_so) == 1


def test_each_operation_is_learned(opened_so: list[object]) -> None:
    where: Memory = EnvelopeMemory()
    calls = [
        (
            replace(CALL, operation=AGREED.description.operations[name]),
            agency_answer("urn:uuid:call", operation=name),
        )
        for name in ("SubmitApplication", "SubmitSupplement")
    ]
    for call, body in calls * 3:
        said = open_answer(body, where, call=call, now=NOW)
        assert not isinstance(said, tuple), said
    assert len(opened_so) == 4


def test_every_octet_changed_gets_the_same_verdict() -> None:
    """One octet after the other is another one; what is said of it is what an unknown answer gets."""
    body = answer(NOTICE)
    for at in range(len(body)):
        other = b"<" if at % 7 == 0 else bytes([body[at] ^ 1])
        changed = body[:at] + other + body[at + 1 :]
        assert open_answer(changed, memory()) == open_answer(changed, None), changed[
            max(0, at - 20) : at + 20
        ]


OCTETS = st.binary(max_size=8) | st.text("ab1=<>\"'&#;/!- Id", max_size=8).map(str.encode)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 5000), length=st.integers(0, 200), octets=OCTETS)
def test_random_changes_get_the_same_verdict(at: int, length: int, octets: bytes) -> None:
    body = answer(NOTICE)
    at %= len(body)
    changed = body[:at] + octets + body[at + length :]
    assert open_answer(changed, memory()) == open_answer(changed, None)


@settings(max_examples=300, deadline=None)
@given(source=st.integers(0, 5000), target=st.integers(0, 5000), length=st.integers(1, 900))
def test_octets_of_the_known_answer_elsewhere_get_the_same_verdict(
    source: int, target: int, length: int
) -> None:
    one, body = agency_answer("urn:uuid:call"), answer(NOTICE)
    source, target = source % len(one), target % len(body)
    changed = body[:target] + one[source : source + length] + body[target + length :]
    assert open_answer(changed, memory()) == open_answer(changed, None)


def sign_values(found: Any, values: list[bytes], content: bytes) -> bytes:
    """Return an answer with these values and this Body, rightly signed."""
    known, values = found.envelope, list(values)
    hollow = fill_template(known.template, values)
    end = hollow.rindex(b"</soap:Body>")
    body = etree.fromstring(hollow[:end] + content + hollow[end:]).find(f"{{{SOAP11}}}Body")
    for one in known.signature.references:
        octets = (
            etree.tostring(body, method="c14n", exclusive=True)
            if one.form is None
            else fill_template(one.form, values)
        )
        values[one.digest_number] = base64.b64encode(hashlib.sha256(octets).digest())
    signed_info = fill_template(known.signature.signed_info, values)
    values[known.numbers.signature] = base64.b64encode(signer("agency").sign(signed_info))
    hollow = fill_template(known.template, values)
    end = hollow.rindex(b"</soap:Body>")
    return hollow[:end] + content + hollow[end:]


GOOD = f'<SubmitApplicationResponse xmlns="{AGENCY}">{ACKNOWLEDGED}</SubmitApplicationResponse>'
TOKEN = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
CONTENTS = [
    GOOD,
    GOOD + GOOD,
    "",
    "text",
    GOOD.replace("R-1", "<!-- a -->R-1"),
    GOOD.replace("R-1", "<![CDATA[R-1]]>"),
    GOOD.replace("R-1", "<?a b?>R-1"),
    GOOD.replace("R-1", "&unknown;"),
    GOOD.replace("R-1", "x" * 3000),
    GOOD.replace("<Answer>", '<Answer Id="s-1">'),
    GOOD.replace("<Answer>", "<Answer ID = 's-4'>"),
    GOOD.replace("<Answer>", "<Answer a='b'\n\tiD\n= 's-4'>"),
    GOOD.replace("<Answer>", "<Answer schemeID='s-4'>"),
    GOOD.replace("<Answer>", "<Answer xmlns:i='urn:i' i:id='s-4'>"),
    GOOD.replace("<Answer>", '<Answer xml:id="a"><b xml:id="a"/>'),
    GOOD.replace("<Answer>", f'<Answer xmlns:u="{WSU}"><u:Timestamp/>'),
    GOOD.replace("<Answer>", f'<Answer xmlns:u="{TOKEN}"><u:Security/>'),
    GOOD.replace("<Answer>", f'<Answer xmlns:u="{TOKEN}"><u:BinarySecurityToken/>'),
    GOOD.replace("<Answer>", '<Answer><Signature xmlns="http://www.w3.org/2000/09/xmldsig#"/>'),
    GOOD.replace("<Answer>", f'<Answer xmlns:u="{SOAP11}"><u:Body/>'),
    GOOD.replace("<Answer>", f'<Answer xmlns:u="{SOAP11}"><u:Envelope/>'),
    GOOD.replace("<Answer>", "<Answer>" + "<a>" * 200 + "</a>" * 200),
    f'<s:Fault xmlns:s="{SOAP11}"><faultcode>s:Client</faultcode><faultstring>no</faultstring></s:Fault>',
    f"{GOOD}</soap:Body><soap:Body>{GOOD}",
    f"{GOOD}</soap:Body><x/><soap:Body>",
    f'{GOOD}</soap:Body><soap:Body xmlns:soap="urn:other"><soap:unsigned/>',
    f'{GOOD}</soap:Body><soap:Body xmlns:soap="urn:other">',
    f"</soap:Body></soap:Envelope><soap:Envelope><soap:Body>{GOOD}",
]


@pytest.mark.parametrize("content", CONTENTS, ids=[one[:40] for one in CONTENTS])
@pytest.mark.parametrize("status", [200, 500])
def test_whatever_a_partner_signs_in_a_body_is_read_both_ways_alike(content: str, status: int) -> None:
    found = like_known(answer())
    try:
        body = sign_values(found, found.values, content.encode())
    except etree.XMLSyntaxError:
        body = answer().replace(GOOD.encode(), content.encode())
    assert open_answer(body, memory(), status=status) == open_answer(body, None, status=status)


VALUES = st.text("abcXYZ019+/=.@:_-TZ", min_size=1, max_size=40) | st.sampled_from(
    [
        "urn:uuid:call",
        "s-1",
        "x" * 512,
        "2026-11-20T09:03:00",
        "2026-11-20T09:03:00+00:00",
        "2026-02-30T00:00:00Z",
    ]
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_values_a_partner_signs_are_read_both_ways_alike(data: st.DataObject) -> None:
    found = like_known(answer())
    numbers, values = found.envelope.numbers, list(found.values)
    for number in range(len(values)):
        if number not in (*numbers.digests, numbers.signature) and data.draw(st.booleans()):
            values[number] = data.draw(VALUES).encode()
    body = sign_values(found, values, GOOD.encode())
    assert open_answer(body, memory()) == open_answer(body, None)


SPOILT: dict[str, dict[str, Any]] = {
    "status 500": {"status": 500},
    "status 302": {"status": 302},
    "another type": {"headers": {"content-type": "application/json"}},
    "compressed": {"headers": {**XML, "content-encoding": "gzip"}},
    "another call": {"call": CALL},
    "another operation": {
        "call": replace(OTHER, operation=AGREED.description.operations["SubmitSupplement"])
    },
    "expired": {"now": LATER + timedelta(minutes=6)},
    "not yet": {"now": LATER - timedelta(minutes=2)},
    "another policy": {"rules": replace(RULES, policy=LEGACY_NORWAY)},
    "envelope": {"rules": replace(RULES, limits=WireLimits(envelope=100))},
    "depth": {"rules": replace(RULES, limits=WireLimits(depth=3))},
    "value": {"rules": replace(RULES, limits=WireLimits(value=70))},
    "elements": {"rules": replace(RULES, limits=WireLimits(elements=20))},
}


@pytest.mark.parametrize("changes", SPOILT.values(), ids=SPOILT)
def test_the_terms_of_a_call_are_asked_for_each_answer(changes: dict[str, Any]) -> None:
    assert open_answer(answer(), memory(), **changes) == open_answer(answer(), None, **changes)


@pytest.mark.parametrize("other", [{"policy": LEGACY_NORWAY}, {"limits": WireLimits(depth=99)}], ids=list)
def test_what_is_known_holds_for_its_policy_and_limits_alone(
    other: dict[str, Any], opened_so: list[object]
) -> None:
    for learned, asked in ((RULES, replace(RULES, **other)), (replace(RULES, **other), RULES)):
        where: Memory = EnvelopeMemory()
        open_answer(answer(), where, rules=learned)
        assert not isinstance(open_answer(answer(), where, rules=asked), tuple)
    assert opened_so == []


def test_limits_on_a_whole_envelope_hold_for_what_is_known() -> None:
    """The known header and a new Body are each within a limit that both together exceed."""
    rules = replace(RULES, limits=WireLimits(elements=62))
    where: Memory = EnvelopeMemory()
    short = agency_answer("urn:uuid:call")
    assert not isinstance(open_answer(short, where, call=CALL, rules=rules, now=NOW), tuple)
    refused = open_answer(answer(NOTICE), where, rules=rules)
    assert isinstance(refused, tuple)
    assert refused == open_answer(answer(NOTICE), None, rules=rules)


def test_the_signer_is_judged_for_each_answer_and_once(opened_so: list[object]) -> None:
    asked: list[object] = []

    def refuse(certificate: Any, now: Any) -> None:
        asked.append(certificate)
        raise GatewayError(soap_client.REQUEST_INVALID, "not any more", "here")

    rules = AnswerPolicy(refuse)
    refused = open_answer(answer(), memory(), rules=rules)
    assert (len(asked), len(opened_so)) == (1, 1)
    assert refused == open_answer(answer(), None, rules=rules)


REFUSED: list[Callable[[], bytes]] = [
    lambda: answer().replace(b"R-1", b"R-2"),
    lambda: agency_answer("urn:uuid:other", by="stranger", at=LATER),
    lambda: agency_answer("urn:uuid:third", at=LATER),
    lambda: agency_answer("urn:uuid:other", "<Answer/>", at=LATER),
]


@pytest.mark.parametrize("make", REFUSED)
def test_nothing_is_learned_of_an_answer_that_is_refused(make: Callable[[], bytes]) -> None:
    where: Memory = EnvelopeMemory()
    assert isinstance(open_answer(make(), where), tuple)
    assert not where._senders


def test_a_header_with_a_comment_or_more_is_read_as_a_whole() -> None:
    """A block that nobody signed is not forbidden where nobody must understand it."""
    values = AddressingHeaders(
        f"{AGENCY}:SubmitApplicationResponse", "urn:uuid:answer", None, "urn:uuid:other"
    )
    root = envelope(wrapper(AGENCY, "SubmitApplicationResponse", ACKNOWLEDGED), values)
    root[0].append(etree.fromstring("<q:b xmlns:q='urn:q'>x</q:b>"))
    body = signed(root, at=LATER)
    where: Memory = EnvelopeMemory()
    changed = [body, body, re.sub(b">x<", b">y<", body), re.sub(b">x<", b"><!--x--><", body)]
    for one in changed:
        assert open_answer(one, where) == open_answer(one, None)


def test_a_document_that_is_split_elsewhere_is_no_known_envelope() -> None:
    split = split_at_body(answer())
    assert split is not None
    assert split.content == GOOD.encode()
    assert split.framed.count(b"soap:Header") == 0
    for octets in (b"", b"<", b"</", b"</a></b>", b"<a></b></a>", b"</b></a><a><b>"):
        assert split_at_body(octets) is None
    assert SOAP_ANSWERS.read(split.hollow, "strict", DEFAULT_LIMITS) is not None
    assert SOAP_ANSWERS.read(answer(), "strict", DEFAULT_LIMITS) is None
    assert judge_agency is RULES.judge
