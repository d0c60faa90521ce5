"""What an officer types for the applicant arrives there: in call, Notice, Result, on the page, by the API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import FeeAct, InspectionAct, build_act_call, encode_act, read_money, restore_act
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.store import officer_work, payloads, read_transaction
from gateway.wire import parse_xml
from tests.flows.craft import withdrawal
from tests.flows.test_fees import SECRET, Provider, fees_of, pay, told_of
from tests.flows.test_fees import provider as provider  # the payment provider, a fixture
from tests.kit.applicant_words import read_applicant_words
from tests.kit.databases import BOTH
from tests.kit.house import START
from tests.web.console.test_officers_acts import FUTURE, Desk, confirm, fill

#: Each case is another form.

POINTER = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/FoodClass[1]"
DECIDED = {"d0-decision": "APPROVED", "d0-number": "P-7"}


@dataclass(frozen=True)
class Act:
    """What is typed in the form of an act, and where each value must be.

    `call` are elements of the signed call, `notice` those of the Notice to the applicant, `result` those of
    the decision in the Result. `words` are on the page and in the answers of the API. `kept` is nowhere.
    """

    kind: str
    fields: dict[str, Any]
    call: dict[str, str]
    notice: dict[str, str]
    result: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    first: str = ""


INSPECTION = (
    "Kind of inspection (검사종류): field 현장\n"
    "Day of inspection (검사(검역) 지정일자): 2026-12-03\n"
    "Place of inspection (검사장소): Incheon, hall <2>\n"
    "Bring the label.\nAnd the key."
)
PAST_INSPECTION = "Day of inspection (검사(검역) 지정일자): 2026-11-18\nPlace of inspection (검사장소): Busan"
ACTS = {
    "receive": Act(
        "receive",
        {"status_code": "C04", "text": "Kim has it.\n접수"},
        {"StatusCode": "C04", "Text": "Kim has it.\n접수"},
        {"Text": "Kim has it.\n접수"},
    ),
    "cancel the receipt": Act(
        "receive",
        {"status_code": "G01", "text": "It is for another office."},
        {"StatusCode": "G01", "Text": "It is for another office."},
        {"Text": "It is for another office."},
    ),
    "refuse to cancel": Act(
        "receive",
        {"status_code": "G04", "text": "The goods are being tested."},
        {"StatusCode": "G04", "Text": "The goods are being tested."},
        {"Text": "The goods are being tested."},
        first="asked to cancel",
    ),
    "ask": Act(
        "ask",
        {"text": "Which class?", "pointer": [POINTER, "42A/D026"], "deadline": FUTURE},
        {"Text": "Which class?", "Pointer": POINTER, "Deadline": "2027-01-31T09:00:00.000Z"},
        {"Text": "Which class?", "Pointer": POINTER, "Deadline": "2027-01-31T09:00:00.000Z"},
        words=("Which class?", POINTER, "42A/D026"),
    ),
    "inspection": Act(
        "inspect",
        {"status_code": "E01", "kind": "field 현장", "on": "2026-12-03", "place": "Incheon, hall <2>"}
        | {"text": "Bring the label.\nAnd the key.", "findings": "smells odd"},
        {"StatusCode": "E01", "Text": INSPECTION, "Deadline": "2026-12-03T14:59:59.000Z"},
        {"Text": INSPECTION, "Deadline": "2026-12-03T14:59:59.000Z"},
        words=tuple(INSPECTION.splitlines()),
        kept=("smells odd",),
    ),
    "inspection in the past": Act(
        "inspect",
        {"status_code": "E07", "on": "2026-11-18", "place": "Busan"},
        {"Text": PAST_INSPECTION},
        {"Text": PAST_INSPECTION},
    ),
    "fee": Act(
        "fee",
        {"status_code": "Y01", "amount": "12,000", "currency": "KRW", "until": "2026-12-01"}
        | {"text": "For the laboratory.", "note": "rule 7"},
        {"amount": "12000", "currency": "KRW", "dueDate": "2026-12-01", "Text": "For the laboratory."},
        {"Text": "For the laboratory.", "Fee": "12000", "Deadline": "2026-12-01T23:59:59.000Z"},
        words=("12000", "KRW", "For the laboratory."),
        kept=("rule 7",),
    ),
    "decision with conditions": Act(
        "decide",
        {"d0-decision": "APPROVED_WITH_CONDITIONS", "d0-number": "P-7", "d0-date": "2026-11-20"}
        | {"d0-quantity": "5", "d0-unit": "KGM", "d0-conditions": "Keep below 5 °C.\n라벨 부착"}
        | {"valid_until": "2027-02-28", "text": "Look at the label.", "reason": "as lot 7"},
        {"condition": "Keep below 5 °C.", "Text": "Look at the label.", "ValidUntil": "2027-02-28"},
        {"Text": "Look at the label."},
        {"Number": "P-7", "Date": "2026-11-20", "Quantity": "5", "Condition": "Keep below 5 °C."}
        | {"Text": "Look at the label."},
        words=("Keep below 5 °C.", "라벨 부착", "2027-02-28", "Look at the label."),
        kept=("as lot 7",),
    ),
    "refusal": Act(
        "decide",
        {"d0-decision": "REJECTED", "d0-conditions": "Too much lead.", "text": "File again with a test."},
        {"condition": "Too much lead.", "Text": "File again with a test."},
        {"Text": "File again with a test."},
        {"Condition": "Too much lead.", "Text": "File again with a test."},
        words=("Too much lead.", "File again with a test."),
    ),
    "correction": Act(
        "correct",
        DECIDED | {"d0-number": "P-8", "text": "A typing error.", "reason": "lee saw it"},
        {"number": "P-8", "Text": "A typing error."},
        {"Text": "A typing error."},
        {"Number": "P-8", "Text": "A typing error."},
        words=("A typing error.",),
        kept=("lee saw it",),
        first="decided",
    ),
    "revocation": Act(
        "revoke",
        {"d0-decision": "REJECTED", "d0-conditions": "Recalled by its maker.", "text": "Keep the goods."}
        | {"reason": "letter 5"},
        {"StatusCode": "R03", "condition": "Recalled by its maker.", "Text": "Keep the goods."},
        {"Text": "Keep the goods."},
        {"Condition": "Recalled by its maker.", "Text": "Keep the goods."},
        words=("Recalled by its maker.", "Keep the goods."),
        kept=("letter 5",),
        first="decided",
    ),
}


@pytest.fixture
def desk(engine: Engine) -> Desk:
    return Desk(engine)


@pytest.fixture
def story(desk: Desk) -> Any:
    desk.story.hub.payments = PaymentPolicy(True, {}, SECRET)
    return desk.story


def act(desk: Desk, name: str, fields: dict[str, Any], officer: Any) -> None:
    preview = fill(officer, desk, name, **fields)
    assert preview.status_code == 200, preview.text
    done = confirm(officer, desk, name, preview.text)
    assert done.status_code == 302, done.text


def find_call(desk: Desk) -> tuple[str, etree._Element]:
    """Return the notice number of the last act, and the envelope of its call."""
    with read_transaction(desk.story.house.engine) as conn:
        row = officer_work.list_acts(conn, desk.story.request("KFDA").id)[-1]
        assert row.state == "PERFORMED", row.detail
        return row.notice_number, parse_xml(payloads.get_payload_octets(conn, row.call_sha256))


@BOTH
@pytest.mark.parametrize("name", ACTS)
def test_what_is_typed_for_the_applicant_arrives_there(desk: Desk, name: str) -> None:
    sample = ACTS[name]
    lee = desk.officer("lee", "head")
    if sample.first:
        act(desk, "decide", DECIDED, lee)
    if sample.first == "asked to cancel":
        desk.story.submit(desk.story.submission(withdrawal), action="Withdraw", attach=False)
    desk.story.tick(seconds=1)
    act(desk, sample.kind, sample.fields, lee)
    number, call = find_call(desk)
    for element, text in sample.call.items():
        assert call.findtext(f".//{{*}}Body//{{*}}{element}") == text, element
    desk.story.tick(seconds=1)
    notices = {one.findtext("*/{*}NoticeNumber"): one for one in desk.story.inbox.documents("Notice")}
    for element, text in sample.notice.items():
        assert notices[number].findtext(f"{{*}}Request/{{*}}{element}") == text, element
    outside = [etree.tostring(one, encoding="unicode") for one in (call, *notices.values())]
    if sample.result:
        desk.story.decide_others()
        desk.story.tick(seconds=1)
        for element, text in sample.result.items():
            assert desk.story.result().findtext(f"{{*}}Decision[@item='2']/{{*}}{element}") == text, element
        outside.append(etree.tostring(desk.story.result(), encoding="unicode"))
    page, answers = read_applicant_words(desk.console)
    for word in sample.words or tuple(sample.notice["Text"].splitlines()):
        assert word in page, word
        assert word in answers, word
    for word in sample.kept:
        assert not any(word in one for one in (*outside, page, answers)), word


def test_a_fee_of_an_officer_is_ordered_and_paid_as_any_other(desk: Desk, provider: Provider) -> None:
    act(desk, "fee", dict(ACTS["fee"].fields), desk.officer("kim"))
    desk.story.tick(seconds=1)
    (order,) = provider.list_calls("orders")
    assert (order["amount"], order["currency"], order["due"]) == ("12000", "KRW", "2026-12-01")
    first, last = told_of(desk.story, "Y01")
    assert (first.findtext("{*}Text"), first.find("{*}Fee")) == ("For the laboratory.", None)
    due = last.find("{*}Fee")
    place = f"https://pay.example/{order['order']}"
    named = {"currencyID": "KRW", "dueDate": "2026-12-01", "address": place}
    assert (due.text, dict(due.attrib)) == ("12000", named)
    page, answers = read_applicant_words(desk.console)
    assert "12000 KRW" in page
    assert place in answers
    assert pay(desk.story, order["order"], money=read_money("12000", "KRW")) == "counted"
    assert [one.state for one in fees_of(desk.story, "KFDA")] == ["PAID"]


OLD = [
    '{"act":"inspect","findings":"wet","kind":"field","on":"2026-11-23","place":"Incheon","status":"E01"}',
    '{"act":"fee","amount":"12,000 KRW","note":"rule 7","status":"Y01","until":"2026-12-01"}',
    '{"act":"receive","status":"C04"}',
]


@pytest.mark.parametrize("written", OLD)
def test_an_act_of_an_earlier_version_says_what_its_officer_was_promised(written: str) -> None:
    """Its page said that the applicant gets the code alone; its digest stays what the officer confirmed."""
    restored = restore_act(json.loads(written))
    call = build_act_call(restored, "A1", "A1-C01", START)
    assert [etree.QName(one).localname for one in call] == [
        *("ApplicationNumber", "NoticeNumber", "IssuedAt", "StatusCode"),
    ]
    again = json.loads(encode_act("A1", "s", restored))
    assert again == {"application": "A1", "shown": "s"} | json.loads(written)


def test_what_is_said_now_is_said_again_after_a_crash() -> None:
    for restored in (InspectionAct("E01", venue="Busan"), FeeAct("Y01", "5", currency="EUR", text="x")):
        assert restore_act(json.loads(encode_act("A1", "s", restored))) == restored
