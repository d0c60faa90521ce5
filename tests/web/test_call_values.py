"""The values that the SOAP services make of the elements of a call, and what their schemas refuse before."""

from __future__ import annotations

import gc
import unicodedata
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from gateway.cases import AgencyCallback, DecisionCode, Notice
from gateway.errors import REPLY_UNMATCHED, GatewayError
from gateway.web.agency_service import build_agency_application
from gateway.web.spyne_service import Fault
from gateway.wire import SERVICE_AGENCY, AddressingHeaders
from tests.kit.soap import agency_call, wrapper
from tests.kit.soap_bodies import sign_body
from tests.web.test_agency_service import DECISION, INFORMATION, Answer, World
from tests.web.test_agency_service import world as world

FEE = """<RequirementNumber>R-1</RequirementNumber><NoticeNumber>N-3</NoticeNumber>
<IssuedAt>2026-11-20T09:00:00.25+09:00</IssuedAt><StatusCode>R01</StatusCode>
<Fee><amount>10.50</amount><currency>EUR</currency>
<dueDate>2026-12-01</dueDate><refundable>true</refundable></Fee><ValidUntil>2027-01-01</ValidUntil>"""
XSI = 'xmlns:i="http://www.w3.org/2001/XMLSchema-instance"'
WORD = "조건부 승인"
NFD = unicodedata.normalize("NFD", WORD)


def post(world: World, content: str, old: str, new: str, operation: str = "SubmitDecision") -> Answer:
    """Post a call that has `new` in place of the first `old`, with its comments."""
    assert old in content
    element = f'<{operation} xmlns="{SERVICE_AGENCY}">{content.replace(old, new, 1)}</{operation}>'
    values = AddressingHeaders(f"{SERVICE_AGENCY}:{operation}", "urn:uuid:call-1")
    return world.post(sign_body(values, element))


def read(world: World, content: str, old: str, new: str, operation: str = "SubmitDecision") -> Notice:
    """Return the notice that is applied after `post`."""
    answer = post(world, content, old, new, operation)
    assert answer.status == "200 OK", answer.body
    [(said, _)] = world.handler.said
    assert isinstance(said, AgencyCallback)
    assert isinstance(said.answer, Notice)
    return said.answer


@pytest.mark.parametrize(
    ("old", "new", "field", "expected"),
    [
        ("<item>1<", "<item>\n 1\t<", "item", 1),
        ("<item>1<", "<item><!-- 2 -->1<", "item", 1),
        ("<item>1<", f"<item>+{'0' * 30}1<", "item", 1),
        ("<law>01<", "<law> 0<!-- 7 -->1\n<", "law", "01"),
        ("P  1", " P\n 1", "number", "P 1"),
        ("P  1", "\u00a0P\u00a0", "number", "\u00a0P\u00a0"),
        ("P  1", NFD, "number", WORD),
        ("P  1", "x" * 64 + "   " + "y" * 63, "number", "x" * 64 + " " + "y" * 63),
        ("APPROVED", " APPROVED ", "decision", DecisionCode.APPROVED),
        ("<date>2026-11-20", "<date>\n2026-11-20 ", "date", date(2026, 11, 20)),
        ("<date>2026-11-20", "<date>0001-01-01", "date", date(1, 1, 1)),
        ("10.500", " 10.500 ", "quantity", Decimal("10.500")),
        ("10.500", "+10.", "quantity", Decimal(10)),
        ("10.500", ".5", "quantity", Decimal("0.5")),
        ("10.500", "0" * 30 + "10.500", "quantity", Decimal("10.500")),
        ("10.500", "123456789012.123456", "quantity", Decimal("123456789012.123456")),
        ("keep  dry", " keep\n<!-- not --> dry ", "conditions", (" keep\n dry ", "b")),
        ("keep  dry", NFD, "conditions", (WORD, "b")),
        ("keep  dry", "<![CDATA[a <b>]]>&amp;&#13;", "conditions", ("a <b>&\r", "b")),
        ("keep  dry", "x" * 4000, "conditions", ("x" * 4000, "b")),
    ],
)
def test_a_value_of_a_decision(world: World, old: str, new: str, field: str, expected: object) -> None:
    first, second = read(world, DECISION, old, new).decisions
    assert getattr(first, field) == expected
    assert (second.item, second.law) == (2, "70")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" 2026-11-20T09:00:00Z\n", datetime(2026, 11, 20, 9, tzinfo=UTC)),
        ("2026-11-20T09:00:00.123456789-14:00", datetime(2026, 11, 20, 23, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-20T09:00:00.999999999Z", datetime(2026, 11, 20, 9, 0, 0, 999999, tzinfo=UTC)),
        ("2026-11-20T09:00:00.0000007Z", datetime(2026, 11, 20, 9, tzinfo=UTC)),
    ],
)
def test_an_instant_is_one_of_utc_to_the_microsecond(world: World, text: str, expected: datetime) -> None:
    notice = read(world, DECISION, "2026-11-20T09:00:00Z", text)
    assert (notice.issued_at, notice.issued_at.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    ("text", "refundable"),
    [
        ("true", True),
        (" true ", True),
        ("tr<!-- -->ue", True),
        ("\n1", True),
        ("0 ", False),
        ("false", False),
    ],
)
def test_a_fee_is_refundable_as_its_word_says(world: World, text: str, refundable: bool) -> None:
    fee = read(world, FEE, "true", text).fee
    assert fee is not None
    assert fee.money is not None
    assert (fee.refundable, str(fee.money.amount), fee.due) == (refundable, "10.50", date(2026, 12, 1))


def test_the_second_pointer_is_composed_too(world: World) -> None:
    notice = read(world, INFORMATION, " 42A/D023 ", f" {NFD}\n", "RequestInformation")
    assert notice.pointers == ("42A/67A[1]", WORD)


@pytest.mark.parametrize(
    ("content", "old", "new"),
    [
        (DECISION, "<law>01", "<more/><law>01"),
        (DECISION, "<item>2</item>", ""),
        (DECISION, "<item>2</item>", "<item>2</item><item>2</item>"),
        (DECISION, "<Decision>", '<Decision item="7">'),
        (DECISION, "<law>70", '<law Decision="7">70'),
        (DECISION, "<law>70", '<law xmlns="urn:x">70</law><law>70'),
        (DECISION, "<item>1<", f'<item i:nil="false" {XSI}>1<'),
        (DECISION, "<item>1<", f'<item i:nil="true" {XSI}/><item>1<'),
        (DECISION, "<Decision>", f'<Decision i:nil="0" {XSI}>'),
        (FEE, "<Fee>", f'<Fee i:nil="false" {XSI}>'),
        (FEE, "<Fee>", f'<Fee i:type="s:DecisionContent" xmlns:s="{SERVICE_AGENCY}" {XSI}>'),
        (FEE, "true", "True"),
        (FEE, "true", ""),
        (FEE, "10.50", "10.50001"),
        (FEE, "2027-01-01", "2027-01-01Z"),
        (DECISION, "<item>1<", "<item>\uff11<"),
        (DECISION, "<item>1<", "<item>1_0<"),
        (DECISION, "<item>1<", "<item>100000<"),
        (DECISION, "10.500", "1_0"),
        (DECISION, "10.500", "1234567890123.123456"),
        (DECISION, "10.500", "0.0000001"),
        (DECISION, "<date>2026-11-20", "<date>2026-11-\u0662\u0660"),
        (DECISION, "keep  dry", ""),
        (DECISION, "keep  dry", "x" * 4001),
        (DECISION, "P  1", " \n "),
        (DECISION, "P  1", "x" * 129),
    ],
)
def test_the_schema_refuses_what_the_types_of_spyne_would_take(
    world: World, content: str, old: str, new: str
) -> None:
    answer = post(world, content, old, new)
    assert answer.problem == "GW402"
    assert world.handler.said == []
    assert (
        answer.fault.detail[0].findtext("{*}Location").startswith("/soap:Envelope/soap:Body/SubmitDecision")
    )


@pytest.mark.parametrize(
    ("content", "old", "new"),
    [
        (DECISION, "<item>2</item>", ""),
        (DECISION, "<item>2</item>", "<item>2</item><item>2</item>"),
        (DECISION, "<law>70", f'<law i:nil="true" {XSI}/><law>70'),
        (DECISION, "REJECTED", "rejected"),
        (DECISION, "<item>1<", "<item>0<"),
        (DECISION, "10.500", "-1"),
        (DECISION, "P  1", ""),
        (FEE, "10.50", "10.50001"),
    ],
)
def test_the_types_of_spyne_validate_what_they_read(content: str, old: str, new: str) -> None:
    """The schema refuses all of it before, so that no call shows this second check."""
    protocol = build_agency_application().in_protocol
    method = protocol.app.interface.service_method_map[f"{{{SERVICE_AGENCY}}}SubmitDecision"][0]
    good, wrong = (
        wrapper(SERVICE_AGENCY, "SubmitDecision", text) for text in (content, content.replace(old, new, 1))
    )
    assert protocol.from_element(None, method.in_message, good).NoticeNumber
    with pytest.raises(Fault):
        protocol.from_element(None, method.in_message, wrong)


@pytest.mark.parametrize(
    ("old", "text"),
    [
        ("2026-11-20T09:00:00Z", "2026-11-20T24:00:00Z"),
        ("2026-11-20T09:00:00Z", "0001-06-01T00:00:00Z"),
        ("2026-11-20T09:00:00Z", "9999-06-01T00:00:00Z"),
        ("<item>1", f"<item>{'0' * 4400}1"),
        ("10.500", f"{'0' * 4400}1"),
    ],
)
def test_what_fits_the_schema_and_has_no_value_is_refused(world: World, old: str, text: str) -> None:
    answer = post(world, DECISION, old, text)
    assert answer.problem == "GW402"
    assert text[6:50] in answer.fault.detail[0].findtext("{*}Text")
    assert answer.fault.detail[0].findtext("{*}Location") == "/soap:Envelope/soap:Body"
    assert world.handler.said == []


def test_a_fee_that_is_no_exact_amount_is_refused_by_its_own_problem(world: World) -> None:
    assert post(world, FEE, "<currency>EUR</currency>", "").problem == "GW711"
    assert world.handler.said == []


@pytest.mark.long
@pytest.mark.parametrize("failure", [None, GatewayError(REPLY_UNMATCHED)], ids=["taken", "refused"])
def test_nothing_of_a_call_waits_for_the_garbage_collector(
    world: World, failure: GatewayError | None
) -> None:
    bodies = [agency_call("SubmitDecision", DECISION, f"urn:uuid:kept-{number}") for number in range(4)]
    world.post(bodies.pop())
    world.handler.failure = failure
    world.post(bodies.pop())
    gc.collect()
    gc.disable()
    try:
        gc.set_debug(gc.DEBUG_SAVEALL)
        for body in bodies:
            world.post(body)
        gc.collect()
        left = {type(one).__name__ for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left.isdisjoint({"_Element", "VerifiedCall", "Caller", "_CallState"})
