"""Sealing a call for one attempt, and believing no answer that is not the partner's to this call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.cases import AgencyAcknowledgment, Decision, DecisionCode, Notice
from gateway.delivery import ServiceCall, load_contract, soap_client
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.delivery.soap_client import AnswerPolicy, SignedCall, open_signed_answer, sign_call
from gateway.errors import NO_ROOM, GatewayError
from gateway.wire import (
    AGENCY,
    ANONYMOUS,
    SOAP11,
    WSA,
    WSSE,
    WSU,
    AddressingHeaders,
    SoapFault,
    WireLimits,
    canonicalize_element,
    parse_xml,
    read_envelope,
    serialize_element,
    write_fault_envelope,
)
from gateway.xmlsec import STRICT, sign_soap_envelope, verify_soap_envelope
from tests.kit.mtom import (
    PRODUCTS,
    Package,
    join_parts,
    make_part,
    make_root,
    pack_as_cxf,
    pack_as_wss4j,
)
from tests.kit.soap import (
    ACKNOWLEDGED,
    DOCUMENT,
    ENDPOINT,
    NOW,
    agency_answer,
    envelope,
    judge_agency,
    signed,
    signer,
    wrapper,
)

AGREED = load_contract("agency-template.wsdl")
SUBMIT = ServiceCall(
    "SubmitApplication",
    "urn:uuid:call",
    ENDPOINT,
    {"ApplicationNumber": "A-1", "CaseNumber": "C-1"},
    etree.fromstring(f'<D xmlns="{DOCUMENT}"/>'),
)
STORED = AGREED.compose_envelope(SUBMIT)
RULES = AnswerPolicy(judge_agency)
CALL = sign_call(STORED, AGREED, signer("hub"), NOW)
XML = {"content-type": "text/xml; charset=utf-8"}
NOTICE = """<Answer><Notice><NoticeNumber> N-1 </NoticeNumber>
<IssuedAt>2026-11-20T18:00:00.1234567+09:00</IssuedAt>
<StatusCode>R01</StatusCode>
<Decision><item>1</item><law>01</law><decision>APPROVED_WITH_CONDITIONS</decision><number>P 1</number>
<date>2026-11-20</date><quantity>10.500</quantity><unit>KGM</unit>
<condition>keep  dry</condition><condition>b</condition></Decision>
<Decision><item>2</item><law>70</law><decision>NOT_CONCERNED</decision></Decision>
<Text> 확인 </Text><Pointer>42A/67A[1]/68A[2]</Pointer>
<Deadline>2026-12-01T00:00:00Z</Deadline><ValidUntil>2027-02-28</ValidUntil></Notice></Answer>"""


ENVELOPE_12 = b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body/></s:Envelope>'


def opened(
    body: bytes, status: int = 200, rules: AnswerPolicy = RULES, headers: dict[str, str] = XML
) -> object:
    return open_signed_answer(HttpAnswer(status, headers, body), CALL, AGREED, rules, NOW)[0]


def problem_of(body: bytes, status: int = 200, **more: object) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        opened(body, status, **more)
    return caught.value


def test_each_attempt_repeats_message_id_and_body_under_a_fresh_signature() -> None:
    later = sign_call(STORED, AGREED, signer("hub"), NOW + timedelta(minutes=7))
    first, second = parse_xml(CALL.body), parse_xml(later.body)
    for root, at in ((first, NOW), (second, NOW + timedelta(minutes=7))):
        covered = verify_soap_envelope(root, STRICT, now=at).covered
        assert len(covered) == 6, "Body, Timestamp, Action, MessageID, To, ReplyTo"
    one, two = read_envelope(first), read_envelope(second)
    assert canonicalize_element(one.body, exclusive=True) == canonicalize_element(two.body, exclusive=True)
    ids = {root.findtext(f".//{{{WSA}}}MessageID") for root in (first, second)}
    assert ids == {"urn:uuid:call"}
    assert first.findtext(f".//{{{WSU}}}Created") != second.findtext(f".//{{{WSU}}}Created")
    assert CALL.message_id == "urn:uuid:call"
    assert CALL.headers == {
        "Content-Type": XML["content-type"],
        "SOAPAction": f'"{AGENCY}:SubmitApplication"',
    }


def test_a_call_of_another_contract_is_not_sealed() -> None:
    with pytest.raises(GatewayError) as caught:
        sign_call(STORED, load_contract("customs.wsdl"), signer("hub"), NOW)
    assert caught.value.problem.id == "GW504"


@pytest.mark.parametrize("body", [b"<a/>", b""])
def test_a_call_with_another_body_is_not_sealed(body: bytes) -> None:
    broken = re.sub(rb"(<soap:Body>).*(</soap:Body>)", rb"\1" + body + rb"\2", STORED)
    assert broken != STORED
    with pytest.raises(GatewayError, match="GW504"):
        sign_call(broken, AGREED, signer("hub"), NOW)


@pytest.mark.parametrize(
    "text",
    [
        f'<ns0:D xmlns:ns0="{DOCUMENT}" xmlns:soap="urn:soap"><soap:a> \u00e9&#13;\n </soap:a></ns0:D>',
        f'<D xmlns="{DOCUMENT}"><a z="1" a="&lt;&#10;"></a><b>]]&gt;</b></D>',
        f'<D xmlns="{DOCUMENT}"><a schemeID="s-2" cid="s-2"/></D>',
        f'<D xmlns="{DOCUMENT}"><a Id="s-2"/></D>',
        f'<D xmlns="{DOCUMENT}"><a xml:id = "s-2"/></D>',
        f'<D xmlns="{DOCUMENT}"><!-- a --><a/></D>',
    ],
)
def test_a_call_with_any_document_is_signed_as_it_was_composed(text: str) -> None:
    """Prefixes and identifiers of a document may be those of the envelope."""
    call = replace(SUBMIT, document=etree.fromstring(text))
    sent = sign_call(AGREED.compose_envelope(call), AGREED, signer("hub"), NOW)
    root = parse_xml(sent.body)
    assert len(verify_soap_envelope(root, STRICT, now=NOW).covered) == 6
    document = next(root.iter(f"{{{DOCUMENT}}}D"))
    assert canonicalize_element(document, exclusive=True) == canonicalize_element(
        etree.fromstring(text), exclusive=True
    )


def test_acknowledged() -> None:
    assert opened(agency_answer("urn:uuid:call")) == AgencyAcknowledgment("R-1")


def test_a_notice_becomes_values() -> None:
    assert opened(agency_answer("urn:uuid:call", NOTICE)) == Notice(
        number="N-1",
        issued_at=datetime(2026, 11, 20, 9, 0, 0, 123456, tzinfo=UTC),
        status_code="R01",
        decisions=(
            Decision(
                1,
                "01",
                DecisionCode.APPROVED_WITH_CONDITIONS,
                "P 1",
                date(2026, 11, 20),
                Decimal("10.500"),
                "KGM",
                ("keep  dry", "b"),
            ),
            Decision(2, "70", DecisionCode.NOT_CONCERNED),
        ),
        text=" 확인 ",
        pointers=("42A/67A[1]/68A[2]",),
        deadline=datetime(2026, 12, 1, tzinfo=UTC),
        valid_until=date(2027, 2, 28),
    )


def edited(change: Callable[[etree._Element], object]) -> bytes:
    """Return the good answer, changed after it was signed."""
    root = parse_xml(agency_answer("urn:uuid:call", NOTICE))
    change(root)
    return serialize_element(root)


def drop(tag: str) -> Callable[[etree._Element], object]:
    def change(root: etree._Element) -> None:
        element = root.find(f".//{tag}")
        element.getparent().remove(element)

    return change


def wrapped_body(root: etree._Element) -> None:
    """Move the signed Body into a header block and put a forged one in its place."""
    body = root[-1]
    holder = etree.SubElement(root[0], "{urn:x}Wrapper")
    holder.append(body)
    forged = etree.SubElement(root, f"{{{SOAP11}}}Body")
    forged.append(wrapper(AGENCY, "SubmitApplicationResponse", ACKNOWLEDGED))


def answer_with(content: str, name: str = "SubmitApplicationResponse", **values: str | None) -> bytes:
    known = {"action": f"{AGENCY}:{name}", "message_id": "urn:a", "relates_to": "urn:uuid:call", **values}
    return signed(envelope(wrapper(AGENCY, name, content), AddressingHeaders(**known)))


def other_body(content: etree._Element | None) -> bytes:
    values = AddressingHeaders(f"{AGENCY}:SubmitApplicationResponse", "urn:a", None, "urn:uuid:call")
    return signed(envelope(content, values))


STRANGE = {
    "unsigned": (edited(drop(f"{{{WSSE}}}Security")), "GW201"),
    "by a stranger": (agency_answer("urn:uuid:call", by="stranger"), "GW209"),
    "by ourselves, mirrored": (agency_answer("urn:uuid:call", by="hub"), "GW209"),
    "our own call, sent back": (CALL.body, "GW209"),
    "answers another call": (agency_answer("urn:uuid:other"), "another call"),
    "answers none": (answer_with(ACKNOWLEDGED, relates_to=None), "another call"),
    "old": (agency_answer("urn:uuid:call", at=NOW - timedelta(minutes=6)), "GW211"),
    "of the future": (agency_answer("urn:uuid:call", at=NOW + timedelta(minutes=6)), "GW211"),
    "changed decision": (
        edited(lambda root: setattr(root.find(f".//{{{AGENCY}}}decision"), "text", "APPROVED")),
        "GW202",
    ),
    "changed RelatesTo": (
        edited(lambda root: setattr(root.find(f".//{{{WSA}}}RelatesTo"), "text", "x")),
        "GW202",
    ),
    "decision dropped": (edited(drop(f"{{{AGENCY}}}Decision")), "GW202"),
    "timestamp dropped": (edited(drop(f"{{{WSU}}}Timestamp")), "GW211"),
    "wrapped body": (edited(wrapped_body), "GW202"),
    "second body": (edited(lambda root: etree.SubElement(root, f"{{{SOAP11}}}Body")), "one Body"),
    "another operation's answer": (answer_with(ACKNOWLEDGED, "CancelApplicationResponse"), "action"),
    "action of another": (answer_with(ACKNOWLEDGED, action=f"{AGENCY}:Other"), "action"),
    "empty body": (other_body(None), "another element"),
    "another element": (other_body(etree.fromstring("<x/>")), "another element"),
    "against its schema": (answer_with("<Answer/>"), "Missing child"),
    "both answers": (answer_with("<Answer>" + 2 * ACKNOWLEDGED[8:-9] + "</Answer>"), "not expected"),
    "unknown decision": (
        agency_answer("urn:uuid:call", NOTICE.replace("NOT_CONCERNED", "MAYBE")),
        "expected is one of APPROVED",
    ),
    "time without zone": (agency_answer("urn:uuid:call", NOTICE.replace("00:00Z", "00:00")), "with zone"),
    "hour 24": (agency_answer("urn:uuid:call", NOTICE.replace("T00:00:00Z", "T24:00:00Z")), "cannot be used"),
    "before the first year": (
        agency_answer("urn:uuid:call", NOTICE.replace("2026-12-01T00:00:00Z", "0001-01-01T00:00:00+14:00")),
        "cannot be used",
    ),
    "not XML": (b"<html><body>OK", "GW104"),
    "nothing": (b"", "GW104"),
    "document type": (b"<!DOCTYPE x><x/>", "GW104"),
    "not SOAP": (b"<html/>", "GW105"),
    "SOAP 1.2": (ENVELOPE_12, "SOAP 1.2"),
    "a header that must be understood": (
        edited(lambda root: etree.SubElement(root[0], "{urn:x}X", {f"{{{SOAP11}}}mustUnderstand": "1"})),
        "GW106",
    ),
}


@pytest.mark.parametrize(("body", "words"), STRANGE.values(), ids=STRANGE)
def test_what_is_not_the_partners_answer_is_tried_again(body: bytes, words: str) -> None:
    problem = problem_of(body)
    assert problem.problem.id == "GW603"
    assert words in problem.detail
    assert problem.problem.retry


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (200, {"content-type": "text/html"}, "GW603"),
        (200, {}, "GW603"),
        (200, {"content-type": "multipart/related; type=text/xml"}, "GW603"),
        (200, {"content-type": "text/xml; charset=utf-16"}, "GW603"),
        (200, {**XML, "content-encoding": "gzip"}, "GW603"),
        (202, XML, "GW603"),
        (204, {}, "GW603"),
        (302, {"location": "http://169.254.169.254/"}, "GW603"),
        (400, {"content-type": "text/html"}, "GW608"),
        (405, {"content-type": "text/html"}, "GW608"),
        (413, {}, "GW608"),
        (404, {"content-type": "text/html"}, "GW608"),
        (403, {}, "GW608"),
        (429, {}, "GW608"),
        (500, {"content-type": "text/html"}, "GW608"),
        (502, {"content-type": "text/html"}, "GW608"),
        (503, {}, "GW608"),
    ],
)
def test_the_status_decides_where_there_is_no_soap(
    status: int, headers: dict[str, str], expected: str
) -> None:
    assert problem_of(agency_answer("urn:uuid:call"), status, headers=headers).problem.id == expected


def test_garbage_under_status_500_is_unreachable() -> None:
    problem = problem_of(b"<html/>", 500)
    assert (problem.problem.id, problem.detail[:5]) == ("GW608", "GW105")


def test_a_fault_of_soap_1_2_may_pass() -> None:
    """A proxy, or a service behind another address, writes it: the next attempt may reach the partner."""
    fault_12 = write_fault_envelope(SoapFault("Client", "No such office"), "1.2")
    problem = problem_of(fault_12, 500)
    assert (problem.problem.id, problem.detail[:5]) == ("GW608", "GW105")


def test_an_answer_may_say_where_its_reply_is_expected() -> None:
    """Each header of WS-Addressing is understood, as in a call; there is no reply to an answer."""
    headers = AddressingHeaders(
        f"{AGENCY}:SubmitApplicationResponse", "urn:uuid:answer", None, "urn:uuid:call"
    )
    root = envelope(wrapper(AGENCY, "SubmitApplicationResponse", ACKNOWLEDGED), headers)
    reply_to = etree.SubElement(root[0], f"{{{WSA}}}ReplyTo", {f"{{{SOAP11}}}mustUnderstand": "1"})
    etree.SubElement(reply_to, f"{{{WSA}}}Address").text = ANONYMOUS
    assert opened(signed(root)) == AgencyAcknowledgment("R-1")


@pytest.mark.parametrize("limits", [{"depth": 4}, {"envelope": 500}, {"elements": 10}, {"references": 2}])
def test_an_answer_keeps_the_limits_of_the_settings(limits: dict[str, int]) -> None:
    answer = agency_answer("urn:uuid:call")
    assert opened(answer) == AgencyAcknowledgment("R-1")
    problem = problem_of(answer, rules=AnswerPolicy(judge_agency, limits=WireLimits(**limits)))
    assert (problem.problem.id, problem.detail[:5]) == ("GW603", "GW102")


def test_a_packed_answer_keeps_the_limits_of_the_settings() -> None:
    package = pack_as_wss4j(agency_answer("urn:uuid:call"))
    headers = {"content-type": package.content_type}
    rules = AnswerPolicy(judge_agency, limits=WireLimits(parts=1))
    problem = problem_of(package.body, rules=rules, headers=headers)
    assert (problem.problem.id, problem.detail[:5]) == ("GW603", "GW102")


@pytest.mark.parametrize("step", ["unwrap_soap_envelope", "read_soap_message", "verify_soap_message"])
def test_an_answer_is_not_blamed_where_memory_is_short(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_values: object, **_options: object) -> None:
        raise GatewayError(NO_ROOM)

    monkeypatch.setattr(soap_client, step, fail)
    assert problem_of(agency_answer("urn:uuid:call")).problem is NO_ROOM
    assert problem_of(fault("Client"), 500).problem is NO_ROOM


def test_what_we_stored_is_signed_within_the_limits_of_the_settings() -> None:
    with pytest.raises(GatewayError) as caught:
        sign_call(STORED, AGREED, signer("hub"), NOW, WireLimits(xml=100))
    assert caught.value.problem.id == "GW102"


def fault(code: str, *, by: str | None = "agency", relates_to: str | None = "urn:uuid:call") -> bytes:
    root = parse_xml(write_fault_envelope(SoapFault(code, "No such office")))
    if by is None:
        return serialize_element(root)
    whole = envelope(None, AddressingHeaders("urn:fault", "urn:uuid:f", None, relates_to))
    whole.replace(whole[-1], root[-1])
    sign_soap_envelope(whole, signer(by), now=NOW)
    return serialize_element(whole)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (fault("Client"), "GW602"),
        (fault("VersionMismatch"), "GW602"),
        (fault("MustUnderstand"), "GW602"),
        (fault("Server"), "GW608"),
        (fault("wsse:MessageExpired"), "GW608"),
        (fault("wsse:FailedCheck"), "GW608"),
        (fault("Client", by=None), "GW608"),
        (fault("Client", by="stranger"), "GW608"),
        (fault("Client", relates_to="urn:uuid:other"), "GW608"),
        (fault("Client", relates_to=None), "GW608"),
    ],
)
def test_a_fault_ends_the_delivery_only_when_signed_for_this_call(body: bytes, expected: str) -> None:
    problem = problem_of(body, 500)
    assert problem.problem.id == expected
    assert "No such office" in problem.theirs


def test_a_partner_that_cannot_sign_faults_may_be_believed() -> None:
    rules = replace(RULES, accepts_unsigned_faults=True)
    assert problem_of(fault("Client", by=None), 500, rules=rules).problem.id == "GW602"


def test_an_unsigned_answer_is_never_believed() -> None:
    rules = replace(RULES, accepts_unsigned_faults=True)
    assert problem_of(edited(drop(f"{{{WSSE}}}Security")), rules=rules).problem.id == "GW603"


def test_comments_in_the_body_hide_nothing() -> None:
    """No signature covers a comment, and a text cut in two by one must not be read as its first half."""
    split = NOTICE.replace("N-1", "N-<!-- x -->1").replace("10.500", "10<!---->.500")
    answer = opened(agency_answer("urn:uuid:call", split))
    assert isinstance(answer, Notice)
    assert (answer.number, answer.decisions[0].quantity) == ("N-1", Decimal("10.500"))


def test_the_sealed_call_names_its_operation() -> None:
    assert isinstance(CALL, SignedCall)
    assert CALL.operation.response == f"{{{AGENCY}}}SubmitApplicationResponse"


def outcome(body: bytes, status: int, headers: dict[str, str]) -> object:
    """Return what was read, or the id of the problem."""
    try:
        return opened(body, status, headers=headers)
    except GatewayError as problem:
        return problem.problem.id


ODD_TYPES = st.one_of(
    st.text(max_size=60),
    st.text(max_size=30).map(lambda text: f"text/xml; charset={text}"),
    st.text(max_size=30).map(lambda text: f"text/xml; charset*={text}"),
    st.sampled_from(
        [
            "text/xml; charset*=utf-8''utf-8",
            "text/xml; charset*=bogus'x'%ff",
            'text/xml; charset="',
            "text/xml;;;",
        ]
    ),
)


@pytest.mark.night
@settings(max_examples=150, deadline=None)
@given(kind=ODD_TYPES, status=st.sampled_from([200, 202, 302, 404, 500]))
def test_any_content_type_leads_to_a_problem_or_to_the_answer(kind: str, status: int) -> None:
    found = outcome(agency_answer("urn:uuid:call"), status, {"content-type": kind})
    assert found in (AgencyAcknowledgment("R-1"), "GW602", "GW603", "GW608")


GOOD = agency_answer("urn:uuid:call", NOTICE)
MEANING = opened(GOOD)


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_change_of_a_signed_answer_changes_what_is_read(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD) - 1))
    end = data.draw(st.integers(start, min(len(GOOD), start + 40)))
    new = data.draw(
        st.one_of(st.binary(max_size=12), st.just(GOOD[start:end] * 2), st.sampled_from([b"<", b"&x;"]))
    )
    assert outcome(GOOD[:start] + new + GOOD[end:], 200, XML) in (MEANING, "GW603")


def open_package(package: Package, status: int = 200) -> object:
    return opened(package.body, status, headers={"content-type": package.content_type})


@pytest.mark.parametrize("product", PRODUCTS)
def test_an_answer_with_mtom_is_read_and_its_envelope_is_the_evidence(product: str) -> None:
    """A product with MTOM on packs every answer, also where nothing is to be packed."""
    answer = agency_answer("urn:uuid:call")
    package = PRODUCTS[product](answer)
    assert open_package(package) == AgencyAcknowledgment("R-1")
    kept = open_signed_answer(
        HttpAnswer(200, {"content-type": package.content_type}, package.body), CALL, AGREED, RULES, NOW
    )[1]
    assert kept.envelope == answer
    certificate = verify_soap_envelope(parse_xml(kept.envelope), STRICT, now=NOW).certificate
    assert kept.signer_sha256 == certificate.sha256


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_signed_fault_with_mtom_ends_the_delivery(product: str) -> None:
    package = PRODUCTS[product](fault("Client"))
    problem = problem_of(package.body, 500, headers={"content-type": package.content_type})
    assert (problem.problem.id, "No such office" in problem.theirs) == ("GW602", True)


def test_a_changed_certificate_beside_the_envelope_is_not_trusted() -> None:
    package = pack_as_wss4j(agency_answer("urn:uuid:call"))
    strange = pack_as_wss4j(agency_answer("urn:uuid:call", by="stranger"))
    root, certificate = package.body.rpartition(b"\r\n\r\n")[0], strange.body.rpartition(b"\r\n\r\n")[2]
    forged = Package(package.content_type, root + b"\r\n\r\n" + certificate)
    headers = {"content-type": forged.content_type}
    for judge, reason in ((judge_agency, "GW209"), (lambda _certificate, _at: None, "GW202")):
        problem = problem_of(forged.body, rules=AnswerPolicy(judge), headers=headers)
        assert (problem.problem.id, problem.detail[:5]) == ("GW603", reason)


@pytest.mark.parametrize(("status", "expected"), [(200, "GW603"), (500, "GW608")])
def test_an_answer_with_attachments_is_refused_and_mtom_is_named(status: int, expected: str) -> None:
    other = make_part("Content-Type: text/plain\r\nContent-ID: <x>", b"x")
    package = join_parts(make_root(agency_answer("urn:uuid:call")), other)
    problem = problem_of(package.body, status, headers={"content-type": package.content_type})
    assert problem.problem.id == expected
    assert "MTOM can be switched off" in problem.detail


def test_an_answer_of_soap_1_2_with_mtom_is_refused_as_one_without() -> None:
    package = pack_as_cxf(ENVELOPE_12)
    headers = {"content-type": package.content_type.replace("text/xml", "application/soap+xml")}
    plain = problem_of(ENVELOPE_12, headers={"content-type": "application/soap+xml"})
    problem = problem_of(package.body, headers=headers)
    assert (problem.problem.id, problem.detail) == (plain.problem.id, plain.detail)
    assert "SOAP 1.2" in problem_of(package.body, headers={"content-type": package.content_type}).detail


def test_a_call_that_was_composed_without_an_address_gets_it_when_it_is_sent() -> None:
    words = ServiceCall(
        "CancelApplication", "urn:uuid:call", None, {"ApplicationNumber": "A-1", "Reason": "x"}
    )
    stored = AGREED.compose_envelope(words)
    assert b":To" not in stored
    sent = sign_call(stored, AGREED, signer("hub"), NOW, address=ENDPOINT)
    root = parse_xml(sent.body)
    assert [one.text for one in root.iterfind(f".//{{{WSA}}}To")] == [ENDPOINT]
    assert sent.message_id == "urn:uuid:call"
    assert len(verify_soap_envelope(root, STRICT, now=NOW).covered) == 6, "To is signed, too"
    again = sign_call(STORED, AGREED, signer("hub"), NOW, address="http://other.example/")
    assert [one.text for one in parse_xml(again.body).iterfind(f".//{{{WSA}}}To")] == [ENDPOINT]
