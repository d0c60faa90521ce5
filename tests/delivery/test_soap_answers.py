"""What the answers of partners say, read from elements that their schema has validated."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from lxml import etree

from gateway.cases import AgencyAcknowledgment, CustomsNotice, Decision, Notice
from gateway.delivery.soap_client import read_partner_answer
from gateway.errors import GatewayError
from gateway.wire import CUSTOMS
from tests.kit.long_texts import make_long_text

AT = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)


def read(content: str, namespace: str = "urn:agency") -> object:
    return read_partner_answer(
        etree.fromstring(f'<Response xmlns="{namespace}"><Answer>{content}</Answer></Response>')
    )


def test_a_notice_is_read_with_its_decisions() -> None:
    found = read(
        "<Notice><!--first--><NoticeNumber> N-1 </NoticeNumber><IssuedAt>2026-11-20T08:30:15Z</IssuedAt>"
        "<StatusCode>11</StatusCode>"
        "<Decision><item>1</item><law>01</law><decision>APPROVED</decision><number>P\n 1</number>"
        "<date>2026-11-21</date><quantity>10.50</quantity><unit>KGM</unit>"
        "<condition> one </condition><condition>two</condition></Decision>"
        "<Decision><item>2</item><law>70</law><decision>REJECTED</decision></Decision>"
        "<Text> two  spaces </Text><Pointer> 42A/1 </Pointer><Pointer>42A/2</Pointer>"
        "<Deadline>2026-11-22T00:00:00Z</Deadline><ValidUntil>2027-01-31</ValidUntil></Notice>"
    )
    assert isinstance(found, Notice)
    assert (found.number, found.issued_at, found.status_code) == ("N-1", AT, "11")
    assert found.text == " two  spaces "
    assert found.pointers == ("42A/1", "42A/2")
    assert (found.deadline, found.valid_until) == (datetime(2026, 11, 22, tzinfo=UTC), date(2027, 1, 31))
    assert found.fee is None
    first, second = found.decisions
    assert isinstance(first, Decision)
    assert (first.item, first.law, first.decision.value, first.number) == (1, "01", "APPROVED", "P 1")
    assert (first.date, first.quantity, first.unit) == (date(2026, 11, 21), Decimal("10.50"), "KGM")
    assert first.conditions == (" one ", "two")
    assert (second.number, second.date, second.quantity, second.unit, second.conditions) == (
        *(None, None, None, None),
        (),
    )


def test_a_comment_in_a_pointer_leaves_it_whole() -> None:
    found = read(
        "<Notice><NoticeNumber>N</NoticeNumber><IssuedAt>2026-11-20T08:30:15Z</IssuedAt>"
        "<StatusCode>11</StatusCode><Pointer>42A/1</Pointer><Pointer>42A<!-- a -->/67A[1] </Pointer></Notice>"
    )
    assert isinstance(found, Notice)
    assert found.pointers == ("42A/1", "42A/67A[1]")


def test_a_fee_is_read_with_its_day_and_terms() -> None:
    fee = (
        "<Fee><amount>1000</amount><currency>KRW</currency><dueDate>2026-12-01</dueDate>"
        "<paymentNotice>GR-1</paymentNotice><refundable>1</refundable></Fee>"
    )
    start = "<NoticeNumber>N-1</NoticeNumber><IssuedAt>2026-11-20T08:30:15Z</IssuedAt>"
    found = read(f"<Notice>{start}<StatusCode>14</StatusCode>{fee}</Notice>")
    assert isinstance(found, Notice)
    assert found.fee is not None
    assert (found.fee.due, found.fee.refundable) == (date(2026, 12, 1), True)
    assert (found.text, found.decisions, found.pointers) == ("", (), ())


def test_a_notice_of_customs_is_read_with_its_reasons() -> None:
    found = read(
        "<Notice><NoticeNumber>C-1</NoticeNumber><IssuedAt>2026-11-20T08:30:15Z</IssuedAt>"
        "<ResultCode>07</ResultCode><Text>why</Text>"
        "<Reason><Text>a</Text><Pointer>42A</Pointer><Code>9</Code></Reason><Reason><Text>b</Text></Reason>"
        "</Notice>",
        CUSTOMS,
    )
    assert isinstance(found, CustomsNotice)
    assert (found.number, found.issued_at, found.code, found.text) == ("C-1", AT, "07", "why")
    assert [(one.text, one.pointer, one.code) for one in found.reasons] == [("a", "42A", "9"), ("b", "", "")]


def test_an_acknowledgment_has_a_number_or_none() -> None:
    said = read("<Acknowledged><ReceiptNumber> R-1</ReceiptNumber></Acknowledged>")
    assert said == AgencyAcknowledgment(receipt_number="R-1")
    assert read("<Acknowledged/>") == AgencyAcknowledgment(receipt_number="")


def test_a_value_that_nobody_can_use_is_told() -> None:
    with pytest.raises(GatewayError, match="cannot be used") as refused:
        read("<Notice><NoticeNumber>N-1</NoticeNumber></Notice>")
    assert refused.value.problem.id == "GW603"


#: The longest values of an answer: the WSDL that an agency has of its own may allow longer ones.
LONGEST_VALUES = {"ReceiptNumber": 128, "NoticeNumber": 128, "number": 128, "law": 17}


def write_answer(name: str, value: str) -> str:
    """Return the content of an answer with this value in the element of this name."""
    if name == "ReceiptNumber":
        return f"<Acknowledged><ReceiptNumber>{value}</ReceiptNumber></Acknowledged>"
    values = {"NoticeNumber": "N-1", "law": "01", "number": "P-1"} | {name: value}
    decision = (
        f"<item>1</item><law>{values['law']}</law><decision>APPROVED</decision>"
        f"<number>{values['number']}</number>"
    )
    return (
        f"<Notice><NoticeNumber>{values['NoticeNumber']}</NoticeNumber>"
        f"<IssuedAt>2026-11-20T08:30:15Z</IssuedAt><StatusCode>R01</StatusCode>"
        f"<Decision>{decision}</Decision></Notice>"
    )


@pytest.mark.parametrize("name", LONGEST_VALUES)
def test_a_number_of_an_answer_is_not_longer_than_in_a_call(name: str) -> None:
    longest = make_long_text(LONGEST_VALUES[name])
    assert longest in repr(read(write_answer(name, f" {longest} ")))
    with pytest.raises(GatewayError, match=f"GW603.*{name} has more than {len(longest)} characters"):
        read(write_answer(name, longest + "1"))


def test_a_notice_number_of_customs_is_not_longer_than_in_a_call() -> None:
    content = (
        "<Notice><NoticeNumber>{}</NoticeNumber><IssuedAt>2026-11-20T08:30:15Z</IssuedAt>"
        "<ResultCode>A</ResultCode></Notice>"
    )
    longest = make_long_text(128)
    assert longest in repr(read(content.format(longest), CUSTOMS))
    with pytest.raises(GatewayError, match=r"GW603.*NoticeNumber has more than 128 characters"):
        read(content.format(longest + "1"), CUSTOMS)
