"""A document of an agency's own form has the effects of our operation, row by row."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Table, select

from gateway.cases import Notice
from gateway.errors import GatewayError
from gateway.hub.answers.delivered_notices import read_agency_document
from gateway.store import read_transaction
from gateway.web.agency_service import apply_agency_call, build_agency_service, build_soap_security
from gateway.wire import SERVICE_AGENCY, AddressingHeaders, serialize_element
from gateway.xmlsec import sign_soap_envelope
from tests.kit import tables
from tests.kit.databases import Templates, _make_engine
from tests.kit.house import signer_named
from tests.kit.soap import envelope
from tests.kit.story import Story
from tests.web.test_delivered_notices import make_status, write_call

NAMESPACE = "urn:single-window:document:{}:1"
ITEM = "<Consignment><ConsignmentItem><Commodity><ID>{}</ID></Commodity></ConsignmentItem></Consignment>"
ENDING = "<ID>{number}</ID><IssueDateTime>20261120180000</IssueDateTime>"


def make_document(name: str, content: str) -> etree._Element:
    return etree.fromstring(f'<Response xmlns="{NAMESPACE.format(name.lower())}">{content}</Response>')


def about(number: str, code: str = "GOVCBRFR2") -> str:
    return f"<TypeCode>{code}</TypeCode><ID>{number}</ID>"


def received(number: str) -> etree._Element:
    """Return the status notice C04 with a receipt number."""
    head = f"{about(number)}<FunctionalReferenceID>R-77</FunctionalReferenceID>"
    return make_document("GOVCBRRBH", make_status("C04", about=head).replace("H-1", "H-2"))


def asking(number: str) -> etree._Element:
    return make_document("GOVCBRRBH", make_status("D01", about=about(number)))


def rejecting(number: str) -> etree._Element:
    content = (
        f"<TypeCode>GOVCBRRBJ</TypeCode><Declaration>{about(number)}"
        f"<FunctionalReferenceID>R-77</FunctionalReferenceID>{ITEM.format('FR2001')}"
        "<Reason>서류 미비</Reason>"
        f"</Declaration>{ENDING.format(number='J-1')}"
    )
    return make_document("GOVCBRRBJ", content)


def complaining(number: str, key: str = "BatchNo") -> etree._Element:
    """Return the error notice about one field of one item."""
    pointer = f"<SequenceNumeric>1</SequenceNumeric><TagID>FR2001</TagID><TagID>{key}</TagID>"
    content = (
        f"<TypeCode>GOVCBRRBG</TypeCode><Declaration>{about(number)}</Declaration>"
        f"{ENDING.format(number='G-1')}"
        f"<Error><Pointer>{pointer}</Pointer><Description>제조번호가 잘못되었습니다</Description></Error>"
    )
    return make_document("GOVCBRRBG", content)


FORMS: dict[str, Callable[[str], etree._Element]] = {
    "received": received, "supplement": asking, "rejected": rejecting, "error": complaining,
}  # fmt: skip


class Window:
    """A story with the real service in front of it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.service = build_agency_service(
            partial(apply_agency_call, story.hub, {}), build_soap_security(story.hub)
        )
        self.calls = 0

    def call(self, agency: str, operation: str, content: etree._Element | str) -> bytes:
        """Send a signed call of an agency; return the answer."""
        self.calls += 1
        wrapper = etree.fromstring(
            f'<{operation} xmlns="{SERVICE_AGENCY}">{content if isinstance(content, str) else ""}'
            f"</{operation}>"
        )
        if not isinstance(content, str):
            etree.SubElement(wrapper, f"{{{SERVICE_AGENCY}}}Document").append(content)
        values = AddressingHeaders(f"{SERVICE_AGENCY}:{operation}", f"urn:uuid:call-{self.calls}")
        root = envelope(wrapper, values)
        sign_soap_envelope(root, signer_named(agency.lower()), now=self.story.clock())
        body = serialize_element(root)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST", "CONTENT_TYPE": "text/xml; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
        }  # fmt: skip
        return b"".join(self.service(environ, lambda *_: None))


@pytest.fixture(scope="module")
def windows(templates: Templates) -> Iterator[tuple[Window, Window]]:
    """Give two hubs in the same state: KPTA has one application of each."""
    urls = [templates.fresh("sqlite") for _ in range(2)]
    engines = [_make_engine(url) for url in urls]
    made = []
    for engine in engines:
        story = Story(engine)
        story.submit()
        story.tick()
        made.append(Window(story))
    yield made[0], made[1]
    for engine, url in zip(engines, urls, strict=True):
        engine.dispose()
        templates.drop(url)


#: What differs between two hubs without any difference in meaning: digests of signed octets, random ids.
SIGNED = {"reply_sha256", "document_sha256", "payload_sha256", "message_id", "identity_sha256"}


def list_rows(story: Story) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that a notice can change, without the digests of signed octets."""
    looked: list[Table] = [
        tables.agency_requests, tables.notices, tables.decisions, tables.cases, tables.correlations,
        tables.transitions,
    ]  # fmt: skip
    with read_transaction(story.house.engine) as conn:
        found = {
            table.name: [
                {name: value for name, value in row.items() if name not in SIGNED}
                for row in conn.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in looked
        }
    found["deliveries"] = [{"key": one.dedupe_key, "state": one.state} for one in story.deliveries()]
    request = story.request("KPTA").id
    found["evidence"] = [{"kind": one} for one in story.evidence("request", request)]
    return found


@pytest.mark.long
@pytest.mark.parametrize("form", FORMS)
def test_the_own_form_has_the_effects_of_our_operation(windows: tuple[Window, Window], form: str) -> None:
    own, ours = windows
    number = own.story.number_of("KPTA")
    document = FORMS[form](number)
    said = read_agency_document(own.story.hub, "KPTA", document).callback
    before = list_rows(own.story)
    assert b"DeliverNoticeResponse" in own.call("KPTA", "DeliverNotice", document)
    assert b"SubmitDecisionResponse" in ours.call("KPTA", "SubmitDecision", write_call(said))
    after = list_rows(own.story)
    assert after == list_rows(ours.story)
    assert after != before
    # The same document again changes nothing but the proof that it came.
    assert b"DeliverNoticeResponse" in own.call("KPTA", "DeliverNotice", FORMS[form](number))
    assert b"SubmitDecisionResponse" in ours.call("KPTA", "SubmitDecision", write_call(said))
    again = list_rows(own.story)
    assert {**again, "evidence": []} == {**after, "evidence": []}


def test_an_error_points_at_the_applicants_own_field(windows: tuple[Window, Window]) -> None:
    own, _ = windows
    story = own.story
    number = story.number_of("KPTA")
    said = read_agency_document(story.hub, "KPTA", complaining(number)).callback
    assert isinstance(said.answer, Notice)
    assert said.answer.pointers == ("APP[1]/KPTA-PHARM-IMP/ITEM[1]/BatchNo[1]",)
    vague = read_agency_document(story.hub, "KPTA", complaining(number, "NoSuch")).callback
    assert isinstance(vague.answer, Notice)
    assert vague.answer.pointers == ("APP[1]/KPTA-PHARM-IMP/ITEM[1]",)


@pytest.mark.parametrize(
    ("agency", "change", "problem"),
    [
        ("KFDA", "", b"GW701"),
        ("KPTA", "unknown", b"GW513"),
        ("KPTA", "kind", b"GW716"),
        ("KPTA", "item", b"GW717"),
    ],
)
def test_a_document_that_cannot_be_applied_gets_a_fault_and_changes_nothing(
    windows: tuple[Window, Window], agency: str, change: str, problem: bytes
) -> None:
    own, _ = windows
    number = own.story.number_of("KPTA")
    before = list_rows(own.story)
    document = rejecting("A26000001001X" if change == "unknown" else number)
    if change == "kind":
        document = make_document("GOVCBRR24", "<ID>1</ID>")
    if change == "item":
        document = etree.fromstring(etree.tostring(document).replace(b"FR2001", b"FR2099"))
    answer = own.call(agency, "DeliverNotice", document)
    assert b"<soap:Fault>" in answer or b"Fault>" in answer
    assert problem in answer
    assert b"/Response" in answer
    assert list_rows(own.story) == before


@pytest.mark.long
def test_many_errors_cost_little(windows: tuple[Window, Window]) -> None:
    own, _ = windows
    number = own.story.number_of("KPTA")
    document = complaining(number)
    error = document[-1]
    for position in range(2, 1000):
        more = etree.fromstring(etree.tostring(error))
        more[0][0].text = str(position)
        document.append(more)
    said = read_agency_document(own.story.hub, "KPTA", document).callback
    assert isinstance(said.answer, Notice)
    assert len(said.answer.pointers) == 1
    document.append(etree.fromstring(etree.tostring(error)))
    with pytest.raises(GatewayError) as refused:
        read_agency_document(own.story.hub, "KPTA", document)
    assert (refused.value.problem.id, refused.value.location) == ("GW717", "/Response/Error[1000]")


def test_a_refusal_of_the_hub_names_the_place_in_the_document(windows: tuple[Window, Window]) -> None:
    own, _ = windows
    number = own.story.number_of("KPTA")
    own.call("KPTA", "DeliverNotice", asking(number))
    other = etree.fromstring(etree.tostring(asking(number), encoding="unicode").replace("성분표", "다른"))
    answer = own.call("KPTA", "DeliverNotice", other)
    assert b"GW702" in answer
    assert b"Location>/Response/ID<" in answer
    text = etree.tostring(asking(number), encoding="unicode").replace("H-1<", "H-9<")
    late = etree.fromstring(text.replace("20261120180000", "20361120180000"))
    answer = own.call("KPTA", "DeliverNotice", late)
    assert b"GW719" in answer
    assert b"Location>/Response/IssueDateTime<" in answer


@pytest.mark.parametrize("key", ["ZZZ", "FR2099"])
def test_an_error_whose_key_names_no_item_of_the_application_is_refused_at_the_key(
    windows: tuple[Window, Window], key: str
) -> None:
    own, _ = windows
    before = list_rows(own.story)
    text = etree.tostring(complaining(own.story.number_of("KPTA")), encoding="unicode")
    answer = own.call("KPTA", "DeliverNotice", etree.fromstring(text.replace("FR2001", key)))
    assert b"GW717" in answer
    assert b"Location>/Response/Error/Pointer/TagID[1]<" in answer
    assert list_rows(own.story) == before


def correcting(number: str, notice: str, version: str, after: str = "다") -> etree._Element:
    """Return the correction of one field by the agency."""
    correction = (
        "<Amendment><Pointer><SequenceNumeric>1</SequenceNumeric></Pointer>"
        "<ChangeReasonCode>U</ChangeReasonCode><Content>품명</Content>"
        f"<StatementDescription>가</StatementDescription><AdjustmentDescription>{after}"
        "</AdjustmentDescription></Amendment>"
    )
    content = (
        f"<TypeCode>GOVCBRDD2</TypeCode><Declaration>{about(number)}"
        f"<FunctionalReferenceID>R-77</FunctionalReferenceID><VersionID>{version}</VersionID>{correction}"
        f"</Declaration>{ENDING.format(number=notice)}"
    )
    return make_document("GOVCBRDD2", content)


def test_a_version_of_corrections_is_at_least_one_and_says_one_thing(windows: tuple[Window, Window]) -> None:
    own, _ = windows
    number = own.story.number_of("KPTA")
    for version in ("0", "-1"):
        answer = own.call("KPTA", "DeliverNotice", correcting(number, "D-0", version))
        assert b"GW717" in answer
        assert b"Location>/Response/Declaration/VersionID<" in answer
    for said in (("D-1", "1"), ("D-1", "1"), ("D-2", "1"), ("D-3", "2", "라"), ("D-4", "11", "마")):
        assert b"DeliverNoticeResponse" in own.call("KPTA", "DeliverNotice", correcting(number, *said))
    before = list_rows(own.story)
    answer = own.call("KPTA", "DeliverNotice", correcting(number, "D-5", "1", "라"))
    assert b"GW702" in answer
    assert b"this version was told with other corrections in notice D-1" in answer
    assert b"Location>/Response/Declaration/VersionID<" in answer
    assert list_rows(own.story) == before
