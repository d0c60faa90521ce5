"""An agency's own document and our operations bring the same values, for every document and every notice."""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from xml.sax.saxutils import escape

import pytest
from lxml import etree

from gateway.cases import AgencyCallback, Decision, NamedFee, Notice, make_notice
from gateway.errors import GatewayError
from gateway.harmonize import (
    DocumentMapping,
    MappingBundle,
    draw_notice,
    find_named_application,
    load_bundle,
    read_delivered_notice,
)
from gateway.harmonize.language import NoticeMapping
from gateway.share import get_data_folder
from gateway.web.agency_service import build_agency_service
from gateway.web.soap_security import Caller, SoapSecurityGate, SoapSecurityPolicy
from tests.kit.soap import NOW, MemoryOfCalls, admit_agency, agency_call, signer


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


def list_answers() -> list[tuple[DocumentMapping, NoticeMapping]]:
    return [
        (document, notice)
        for document in shipped().documents.values()
        for notice in shipped().notices.notices.values()
        if notice.sender == "agency" and document.accepted_notices.allows_notice(notice)
    ]


@dataclass
class Recorder:
    """Keeps the values of each call; an own document is read as the hub does it, without a database."""

    document: DocumentMapping | None = None
    required: list[tuple[int, str]] = field(default_factory=list)
    said: list[AgencyCallback] = field(default_factory=list)

    def apply(self, call: AgencyCallback | etree._Element, caller: Caller) -> None:
        if isinstance(call, AgencyCallback):
            self.said.append(call)
            return
        number, _ = find_named_application(call, shipped().notices)
        assert self.document is not None
        facts = read_delivered_notice(call, shipped(), self.document)
        self.said.append(AgencyCallback(make_notice(facts, shipped(), self.required), number))


@dataclass
class World:
    handler: Recorder = field(default_factory=Recorder)
    calls: int = 0

    def __post_init__(self) -> None:
        policy = SoapSecurityPolicy(
            lambda: signer("hub"), admit_agency, lambda: NOW, lambda: "urn:uuid:a", MemoryOfCalls()
        )
        self.service: SoapSecurityGate = build_agency_service(self.handler.apply, policy)

    def post(self, operation: str, content: str) -> bytes:
        self.calls += 1
        body = agency_call(operation, content, f"urn:uuid:call-{self.calls}")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST", "CONTENT_TYPE": "text/xml; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
        }  # fmt: skip
        return b"".join(self.service(environ, lambda *_: None))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def write_call(said: AgencyCallback) -> str:
    """Return the content of the SubmitDecision that says what a notice says."""
    notice = said.answer
    assert isinstance(notice, Notice)
    rows = [("ApplicationNumber", said.application_number), ("NoticeNumber", notice.number)]
    rows += [("IssuedAt", notice.issued_at.isoformat()), ("StatusCode", notice.status_code)]
    text = "".join(write_element(*row) for row in rows)
    text += "".join(f"<Decision>{write_decision(one)}</Decision>" for one in notice.decisions)
    text += write_element("ReceiptNumber", notice.receipt_number) + write_element("Text", notice.text)
    text += "".join(write_element("Pointer", one) for one in notice.pointers)
    text += write_element("Deadline", notice.deadline and notice.deadline.isoformat())
    if notice.fee is not None:
        text += f"<Fee>{write_fee(notice.fee)}</Fee>"
    return text + write_element("ValidUntil", notice.valid_until)


def write_fee(fee: NamedFee) -> str:
    money = () if fee.money is None else (("amount", fee.money.digits), ("currency", fee.money.currency))
    rows = [*money, ("dueDate", fee.due), ("paymentNotice", fee.payment_notice)]
    return "".join(write_element(*row) for row in rows)


def write_decision(one: Decision) -> str:
    rows: list[tuple[str, object]] = [("item", one.item), ("law", one.law), ("decision", one.decision)]
    rows += [("number", one.number), ("date", one.date), ("quantity", one.quantity), ("unit", one.unit)]
    return "".join(write_element(*row) for row in [*rows, *(("condition", c) for c in one.conditions)])


def write_element(name: str, value: object) -> str:
    return "" if value in (None, "") else f"<{name}>{escape(str(value))}</{name}>"


def deliver(world: World, document: DocumentMapping, notice: NoticeMapping, seed: str) -> Notice:
    """Deliver a drawn notice; return the values that it brought."""
    root, facts = draw_notice(notice, shipped().notices, seed, document)
    items = {int(fact.value) for fact in facts if fact.name == "item"} - {0} | {1}
    world.handler.document = document
    world.handler.required = [(item, law) for item in sorted(items) for law in document.laws]
    answer = world.post("DeliverNotice", f"<Document>{etree.tostring(root).decode()}</Document>")
    assert b"DeliverNoticeResponse" in answer, answer[-1500:]
    said = world.handler.said[-1].answer
    assert isinstance(said, Notice)
    return said


def check_both_forms(world: World, document: DocumentMapping, notice: NoticeMapping, seed: str) -> None:
    own = deliver(world, document, notice, seed)
    callback = world.handler.said[-1]
    answer = world.post("SubmitDecision", write_call(callback))
    assert b"SubmitDecisionResponse" in answer, answer[-1500:]
    assert world.handler.said[-1] == callback
    assert own.status_code
    assert not own.decisions or {one.law for one in own.decisions} <= set(document.laws)


@pytest.mark.long
def test_both_forms_bring_the_same_values(world: World) -> None:
    every = list_answers()
    for number, (document, notice) in enumerate(every):
        if number % 12 == 0:
            check_both_forms(world, document, notice, f"short-{number}")
    assert len({document.id for document, _ in every}) == 33


@pytest.mark.night
@pytest.mark.parametrize("name", list(shipped().documents))
def test_both_forms_bring_the_same_values_for_every_notice(world: World, name: str) -> None:
    for document, notice in list_answers():
        for seed in range(10 if document.id == name else 0):
            check_both_forms(world, document, notice, f"long-{seed}")


def read_text(name: str, document: str, required: list[tuple[int, str]], xml: str) -> Notice:
    one = shipped().documents[document]
    namespace = shipped().notices.notices[name].namespace
    root = etree.fromstring(f'<Response xmlns="{namespace}">{xml}</Response>')
    return make_notice(read_delivered_notice(root, shipped(), one), shipped(), required)


_ABOUT = "<TypeCode>GOVCBRFR2</TypeCode><ID>A26000001001N</ID>"


def test_a_rejection_of_one_item_is_a_decision_under_each_law() -> None:
    item = (
        "<Consignment><ConsignmentItem><Commodity><ID>FR2002</ID></Commodity></ConsignmentItem></Consignment>"
    )
    said = read_text(
        "GOVCBRRBJ", "KPTA-PHARM-IMP", [(1, "01"), (2, "01"), (2, "70")],
        f"<TypeCode>GOVCBRRBJ</TypeCode><Declaration>{_ABOUT}"
        f"<FunctionalReferenceID>R-1</FunctionalReferenceID>{item}<Reason>서류 미비</Reason></Declaration>"
        "<ID>J-1</ID><IssueDateTime>20261120180000</IssueDateTime>",
    )  # fmt: skip
    assert [(one.item, one.law, one.decision, one.number) for one in said.decisions] == [
        (2, "01", "REJECTED", None), (2, "70", "REJECTED", None)
    ]  # fmt: skip
    assert (said.number, said.receipt_number) == ("J-1", "R-1")
    assert said.issued_at.isoformat() == "2026-11-20T09:00:00+00:00"
    assert said.text == "Reason (사유): 서류 미비"


STATUS = (
    "<TypeCode>GOVCBRRBH</TypeCode><Declaration>{about}<Control><Name>성분표</Name>"
    "<LimitDateTime>{due}</LimitDateTime></Control></Declaration><ID>H-1</ID>"
    "<IssueDateTime>20261120180000</IssueDateTime><Status><NameCode>{status}</NameCode></Status>"
)


def make_status(status: str = "D01", due: str = "20261130", about: str = _ABOUT) -> str:
    """Return a status notice in the order of its schema."""
    root = etree.fromstring(f"<r>{STATUS.format(status=status, due=due, about=about)}</r>")
    schema = etree.parse(str(get_data_folder("xsd").joinpath("agencies/notices/GOVCBRRBH.xsd")))
    space = {"x": "http://www.w3.org/2001/XMLSchema"}
    for one in [root, *root.iter("Declaration", "Control")]:
        name = "Response" if one is root else one.tag
        path = f"//x:element[@name='{name}']/x:complexType/x:sequence/x:element/@name"
        names = schema.xpath(path, namespaces=space)
        one[:] = sorted(one, key=lambda child: names.index(child.tag))
    return "".join(etree.tostring(one, encoding="unicode") for one in root)


def test_a_supplement_is_awaited_until_the_last_instant_of_its_day() -> None:
    said = read_text("GOVCBRRBH", "KPTA-PHARM-IMP", [(1, "01")], make_status())
    assert said.deadline is not None
    assert said.deadline.isoformat() == "2026-11-30T14:59:59+00:00"
    assert said.text == "Documents asked (보완제출서류): 성분표"


FEE = (
    "<TypeCode>{kind}</TypeCode><Declaration>{about}<DutyTaxFee><Payment>"
    "<ReferenceID>2026-00000000000001</ReferenceID>{payment}</Payment></DutyTaxFee></Declaration>"
    "<ID>A-1</ID><IssueDateTime>20261120180000</IssueDateTime>{status}"
)


def make_fee(kind: str, payment: str, status: str = "") -> str:
    code = f"<Status><NameCode>{status}</NameCode></Status>" if status else ""
    return FEE.format(kind=kind, about=_ABOUT, payment=payment, status=code)


@pytest.mark.parametrize(
    ("kind", "payment", "status", "amount", "due"),
    [
        (
            "GOVCBRASA",
            "<PaymentAmount>30000</PaymentAmount><DueDateTime>20261215</DueDateTime>",
            "Y05",
            "30000 KRW",
            date(2026, 12, 15),
        ),
        ("GOVCBRASA", "", "Y06", None, None),
        ("GOVCBRASI", "<PaymentAmount>30000</PaymentAmount>", "Y08", "30000 KRW", None),
        ("GOVCBRASK", "<RefundAmount>5000</RefundAmount>", "", "5000 KRW", None),
    ],
    ids=["levy", "cancel", "confirm", "refund"],
)
def test_a_document_about_a_fee_names_it(
    kind: str, payment: str, status: str, amount: str | None, due: date | None
) -> None:
    """What is given back is what the document says, and not all that was paid."""
    said = read_text(kind, "KPTA-PHARM-IMP", [(1, "01")], make_fee(kind, payment, status))
    assert said.fee is not None
    assert (said.fee.money and str(said.fee.money)) == amount
    assert (said.fee.payment_notice, said.fee.due) == ("2026-00000000000001", due)


def test_an_amount_that_is_none_is_refused_at_its_place() -> None:
    content = make_fee("GOVCBRASK", "<RefundAmount>0</RefundAmount>")
    with pytest.raises(GatewayError, match="not above zero") as refused:
        read_text("GOVCBRASK", "KPTA-PHARM-IMP", [(1, "01")], content)
    assert refused.value.problem.id == "GW717"
    assert refused.value.location == "/Response/Declaration/DutyTaxFee/Payment/RefundAmount"


@pytest.mark.parametrize(
    ("change", "problem", "place"),
    [
        ({"status": "Q99"}, "GW717", "/Response/Status/NameCode"),
        ({"status": "R01"}, "GW717", "/Response/Status/NameCode"),
        ({"due": "20261131"}, "GW717", "/Response/Declaration/Control/LimitDateTime"),
        ({"due": "tomorrow"}, "GW717", "/Response/Declaration/Control/LimitDateTime"),
        ({"status": "C04"}, "GW717", "/Response/Declaration/FunctionalReferenceID"),
        (
            {"about": _ABOUT.replace("FR2", "FR3")},
            "GW717",
            "/Response/Declaration/TypeCode",
        ),
    ],
    ids=["unknown status", "another's status", "no such day", "no day", "no receipt", "another document"],
)
def test_what_cannot_be_read_is_refused_at_its_place(
    change: dict[str, str], problem: str, place: str
) -> None:
    with pytest.raises(GatewayError) as refused:
        read_text("GOVCBRRBH", "KPTA-PHARM-IMP", [(1, "01")], make_status(**change))
    assert (refused.value.problem.id, refused.value.location) == (problem, place)


def test_an_item_of_another_application_is_refused_at_its_place() -> None:
    item = (
        "<Consignment><ConsignmentItem><Commodity><ID>FR2009</ID></Commodity></ConsignmentItem></Consignment>"
    )
    with pytest.raises(GatewayError) as refused:
        read_text(
            "GOVCBRRBJ", "KPTA-PHARM-IMP", [(1, "01")],
            f"<TypeCode>GOVCBRRBJ</TypeCode><Declaration>{_ABOUT}"
            f"<FunctionalReferenceID>R-1</FunctionalReferenceID>{item}<Reason>x</Reason></Declaration>"
            "<ID>J-1</ID><IssueDateTime>20261120180000</IssueDateTime>",
        )  # fmt: skip
    assert refused.value.problem.id == "GW717"
    assert refused.value.location.endswith("Commodity/ID")


@pytest.mark.parametrize(
    "root",
    [
        '<Other xmlns="urn:single-window:document:govcbrrbh:1"/>',
        '<Response xmlns="urn:x"/>',
        "<Response/>",
        '<Response xmlns="urn:single-window:document:govcbr5ec:1"/>',
        '<Response xmlns="urn:single-window:document:govcbrrcb:1"/>',
    ],
    ids=["root", "namespace", "no namespace", "of customs", "of the hub"],
)
def test_a_document_of_another_kind_is_refused(root: str) -> None:
    with pytest.raises(GatewayError) as refused:
        find_named_application(etree.fromstring(root), shipped().notices)
    assert refused.value.problem.id == "GW716"


def test_a_long_text_is_cut_at_a_line_and_says_so() -> None:
    errors = "".join(
        f"<Error><Pointer><SequenceNumeric>{n}</SequenceNumeric></Pointer>"
        f"<Description>{'가' * 300}</Description></Error>"
        for n in range(1, 30)
    )
    said = read_text(
        "GOVCBRRBG", "KPTA-PHARM-IMP", [(1, "01")],
        "<TypeCode>GOVCBRRBG</TypeCode>"
        f"<Declaration>{_ABOUT}</Declaration><ID>G-1</ID><IssueDateTime>20261120180000</IssueDateTime>{errors}",
    )  # fmt: skip
    assert len(said.text) <= 4000
    assert said.text.splitlines()[-1].endswith("/ 29)")


def mutate(root: etree._Element, number: int) -> etree._Element:
    """Return a copy with one change: an element removed, doubled, moved, renamed, or with another text."""
    made = etree.fromstring(etree.tostring(root))
    elements = list(made.iter(etree.Element))
    one = elements[number % len(elements)]
    parent = one.getparent()
    text = ("", "9" * 5000, "\u0000"[:0] + "\u202e", "-1", "2026", " ", "1E999999", "가" * 600)[number % 8]
    kind = number % 5
    if parent is None or kind == 0:
        one.text = text or None
    elif kind == 1:
        parent.remove(one)
    elif kind == 2:
        parent.append(etree.fromstring(etree.tostring(one)))
    elif kind == 3:
        one.tag = f"{{urn:x}}{etree.QName(one).localname}"
    else:
        one.set("lang", text)
    return made


@pytest.mark.long
@pytest.mark.parametrize("notice", [one.id for one in shipped().notices.notices.values()])
def test_no_change_of_a_document_is_a_mistake_of_ours(notice: str) -> None:
    one = shipped().notices.notices[notice]
    found = [
        document for document in shipped().documents.values() if document.accepted_notices.allows_notice(one)
    ]
    for seed in range(40):
        document = found[seed % len(found)] if found else next(iter(shipped().documents.values()))
        root, _ = draw_notice(one, shipped().notices, str(seed), document)
        for number in range(seed, seed + 3):
            changed = mutate(root, number * 7)
            refused = find_refusal(changed, document)
            if refused is not None:
                assert refused.problem.id in ("GW716", "GW717")
                assert refused.location.startswith("/")


def find_refusal(root: etree._Element, document: DocumentMapping) -> GatewayError | None:
    """Return why a document cannot be read, None where it can; anything else that is raised is a mistake."""
    try:
        find_named_application(root, shipped().notices)
        facts = read_delivered_notice(root, shipped(), document)
        make_notice(facts, shipped(), [(item, law) for item in (1, 2) for law in document.laws])
    except GatewayError as error:
        return error
    return None
