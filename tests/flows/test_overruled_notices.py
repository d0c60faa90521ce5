"""A notice that is taken and is not in force is told: to its agency, its applicant and the operator."""

from __future__ import annotations

import io
from datetime import datetime
from functools import partial
from typing import Any

import pytest
import requests
import zeep
from lxml import etree
from sqlalchemy import Engine
from zeep.transports import Transport

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.evidence.evidence_readers import EvidenceReader, select_visible_fields
from gateway.hub import take_call_back
from gateway.hub.event_feed import advance_event_feed, describe_event
from gateway.share import get_data_folder
from gateway.store import decisions, event_readers, notices, read_transaction
from gateway.web.agency_service import apply_agency_call, build_agency_service, build_soap_security
from gateway.wire import SERVICE_AGENCY, AddressingHeaders, format_instant, parse_xml, serialize_element
from gateway.xmlsec import STRICT, sign_soap_envelope, verify_soap_envelope
from tests.flows.craft import all_of
from tests.flows.item_changes import add_item, concern
from tests.flows.test_overtaken_decisions import hear, word
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import signer_named
from tests.kit.soap import envelope
from tests.kit.story import ITEMS, LAWS, Story, asked

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
SOAP_ID = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}Id"
OVERRULED = f"{{{SERVICE_AGENCY}}}Overruled"


@pytest.fixture
def story(engine: Engine) -> Story:
    made = Story(engine)
    made.submit()
    made.tick()
    return made


def decide(story: Story, number: str, code: DecisionCode, at: datetime | None = None) -> str | None:
    """Let KFDA decide its item under a number of a notice; return the number that overrules it."""
    decision = Decision(ITEMS["KFDA"], LAWS["KFDA"], code)
    status = "R04" if code is REJECTED else "R01"
    notice = Notice(number, at or story.clock(), status, (decision,))
    return tell(story, notice)


def tell(story: Story, notice: Notice) -> str | None:
    call_back = AgencyCallback(notice, story.number_of("KFDA"))
    return take_call_back(story.hub, "KFDA", call_back).overruled_by


def list_marks(story: Story) -> dict[str, str | None]:
    """Return each notice of KFDA with the number of the notice that overruled it."""
    with read_transaction(story.house.engine) as conn:
        rows = notices.list_by_request(conn, story.request("KFDA").id)
        return {row.number: row.overruled_by for row in rows}


def list_notice_events(story: Story) -> list[tuple[str, str]]:
    """Return type and number of the events of notices that the declarant reads."""
    advance_event_feed(story.house.engine, story.clock)
    with read_transaction(story.house.engine) as conn:
        rows = event_readers.list_events(conn, story.case().declarant, 0, 500)
        told = [describe_event(row) for row in rows]
    return [(event["type"], event["notice"]) for event in told if event["type"].startswith("notice.")]


def list_leaves(story: Story, kind: str = "notice") -> list[dict[str, Any]]:
    """Return what the declarant sees of the evidence of the notices of KFDA."""
    reader = EvidenceReader(story.case().declarant)
    with read_transaction(story.house.engine) as conn:
        leaves = list_subject_leaves(conn, "request", story.request("KFDA").id)
        return [select_visible_fields(leaf, reader) or {} for leaf in leaves if leaf.kind == kind]


@BOTH_AT_LANDING
def test_of_one_second_the_higher_number_is_in_force_and_told_as_a_correction(story: Story) -> None:
    at = story.clock()
    story.decide_all("KFDA")
    assert decide(story, "9", APPROVED, at) is None
    story.tick()
    assert story.outcome()[1][ITEMS["KFDA"]] == "APPROVED"
    assert decide(story, "10", REJECTED, at) is None
    story.tick()
    assert story.outcome()[1][ITEMS["KFDA"]] == "REJECTED"
    assert len(story.inbox.documents("Result")) == 2
    assert list_marks(story) == {"9": None, "10": None}
    assert all("overruled_by" not in leaf for leaf in list_leaves(story))


@BOTH_AT_LANDING
def test_a_late_notice_is_told_in_its_row_its_event_and_its_evidence(story: Story) -> None:
    at = story.clock()
    assert decide(story, "10", REJECTED, at) is None
    assert decide(story, "9", APPROVED, at) == "10"
    assert list_marks(story) == {"10": None, "9": "10"}
    assert list_notice_events(story) == [
        ("notice.received", "10"),
        ("notice.received", "9"),
        ("notice.overruled", "9"),
    ]
    leaves = [leaf | {"stored": sorted(leaf["stored"])} for leaf in list_leaves(story)]
    tables = ["decisions", "notices"]
    with read_transaction(story.house.engine) as conn:
        later, earlier = (row.id for row in decisions.list_all_by_request(conn, story.request("KFDA").id))
    assert leaves == [
        {"agency": "KFDA", "number": "10", "stored": tables},
        {
            "agency": "KFDA",
            "number": "9",
            "overruled_by": "10",
            "superseded": {str(earlier): later},
            "stored": tables,
        },
    ]


def test_a_repeat_of_a_late_notice_is_told_again_and_stores_nothing(story: Story) -> None:
    at = story.clock()
    decide(story, "10", REJECTED, at)
    decide(story, "9", APPROVED, at)
    events = list_notice_events(story)
    assert decide(story, "9", APPROVED, at) == "10"
    assert decide(story, "10", REJECTED, at) is None
    assert list_notice_events(story) == events


def test_a_notice_that_counted_once_is_not_overruled_by_a_later_one(story: Story) -> None:
    at = story.clock()
    decide(story, "10", APPROVED, at)
    decide(story, "11", REJECTED, at)
    assert decide(story, "10", APPROVED, at) is None


def test_a_notice_that_counts_for_one_of_its_items_is_not_overruled(engine: Engine) -> None:
    story = Story(engine)
    story.submit(story.submission(all_of(add_item(4, like=2), concern("A2", 4, like=2))))
    story.tick()
    item, at, status = ITEMS["KFDA"], story.clock(), "R01"
    both = tuple(Decision(number, LAWS["KFDA"], APPROVED) for number in (item, 4))
    assert tell(story, Notice("10", at, status, both[:1])) is None
    assert tell(story, Notice("9", at, status, both)) is None
    assert tell(story, Notice("11", at, status, both[1:])) is None
    assert tell(story, Notice("8", at, status, both)) == "11"


def test_a_question_that_a_later_one_has_replaced_is_told(story: Story) -> None:
    first = asked(story, "KFDA", "1")
    story.clock.forward(minutes=1)
    assert tell(story, asked(story, "KFDA", "2")) is None
    assert tell(story, first) == "KFDA-2"


def test_a_question_is_not_overruled_by_a_later_order_of_an_inspection(story: Story) -> None:
    question = asked(story, "KFDA", "1")
    story.clock.forward(minutes=1)
    assert tell(story, asked(story, "KFDA", "2", status="E01")) is None
    assert tell(story, question) is None


def test_an_order_of_an_inspection_that_is_over_is_told(story: Story) -> None:
    order = asked(story, "KFDA", "1", status="E01")
    story.clock.forward(minutes=1)
    assert tell(story, asked(story, "KFDA", "2", status="E07")) is None
    assert tell(story, order) == "KFDA-2"


def test_an_earlier_order_of_an_inspection_that_goes_on_is_not_overruled(story: Story) -> None:
    order = asked(story, "KFDA", "1", status="E01")
    story.clock.forward(minutes=1)
    assert tell(story, asked(story, "KFDA", "2", status="E06")) is None
    assert tell(story, order) is None


def test_a_decision_that_also_asks_is_overruled_only_where_neither_counts(story: Story) -> None:
    at, decision = story.clock(), Decision(ITEMS["KFDA"], LAWS["KFDA"], APPROVED)
    assert tell(story, Notice("5", at, "R01", (decision,))) is None
    assert tell(story, Notice("4", at, "D01", (decision,))) is None
    assert tell(story, Notice("3", at, "D01", (decision,))) == "5"


class AgencyLine:
    """The calls of KFDA to the service of the hub, each signed, and the signed answers."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.service = build_agency_service(
            partial(apply_agency_call, story.hub, {}), build_soap_security(story.hub)
        )
        self.calls = 0

    def decide(self, number: str, code: DecisionCode, at: datetime) -> etree._Element:
        """Submit a decision; return the answer of the hub as received."""
        self.calls += 1
        status = "R04" if code is REJECTED else "R01"
        content = etree.fromstring(
            f'<SubmitDecision xmlns="{SERVICE_AGENCY}">'
            f"<ApplicationNumber>{self.story.number_of('KFDA')}</ApplicationNumber>"
            f"<NoticeNumber>{number}</NoticeNumber><IssuedAt>{format_instant(at, 'auto')}</IssuedAt>"
            f"<StatusCode>{status}</StatusCode><Decision><item>{ITEMS['KFDA']}</item>"
            f"<law>{LAWS['KFDA']}</law><decision>{code.value}</decision></Decision></SubmitDecision>"
        )
        root = envelope(
            content, AddressingHeaders(f"{SERVICE_AGENCY}:SubmitDecision", f"urn:uuid:call-{self.calls}")
        )
        sign_soap_envelope(root, signer_named("kfda"), now=self.story.clock())
        body = serialize_element(root)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "POST", "CONTENT_TYPE": "text/xml; charset=utf-8",
            "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body),
        }  # fmt: skip
        return parse_xml(b"".join(self.service(environ, lambda *_: None)))


def list_signed_tags(story: Story, answer: etree._Element) -> list[str]:
    """Return the tags of the parts that the signature of an answer covers, after it was verified."""
    verified = verify_soap_envelope(answer, STRICT, now=story.clock())
    by_id = {element.get(SOAP_ID): element.tag for element in answer.iter() if element.get(SOAP_ID)}
    return [by_id[reference.uri[1:]] for reference in verified.references]


@BOTH_AT_LANDING
def test_the_signed_answer_names_the_notice_that_counts(story: Story) -> None:
    line, at = AgencyLine(story), story.clock()
    first = line.decide("10", REJECTED, at)
    assert first.find(f".//{OVERRULED}") is None
    for _ in range(2):  # a repeat gets the same answer
        answer = line.decide("9", APPROVED, at)
        (block,) = answer[0].findall(OVERRULED)
        assert block.text == "10"
        assert list(block.attrib) == [SOAP_ID]
        assert [child.tag for child in answer[1]] == [f"{{{SERVICE_AGENCY}}}SubmitDecisionResponse"]
        assert len(answer[1][0]) == 0
        assert OVERRULED in list_signed_tags(story, answer)
    assert OVERRULED not in list_signed_tags(story, first)


def test_the_signature_of_an_answer_covers_the_number_that_counts(story: Story) -> None:
    line, at = AgencyLine(story), story.clock()
    line.decide("10", REJECTED, at)
    answer = line.decide("9", APPROVED, at)
    answer[0].find(OVERRULED).text = "11"
    with pytest.raises(GatewayError, match="digest"):
        verify_soap_envelope(answer, STRICT, now=story.clock())


class _AnsweredTransport(Transport):  # type: ignore[misc]
    """Reads the WSDL of the hub from a folder, and answers every call with the same octets."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.answer = answer

    def load(self, url: str) -> bytes:
        del url
        return get_data_folder("wsdl").joinpath("hub-agency.wsdl").read_bytes()

    def post(self, address: str, message: bytes, headers: dict[str, str]) -> requests.Response:
        del address, message, headers
        response = requests.Response()
        response.status_code, response._content = 200, self.answer
        response.headers["Content-Type"] = "text/xml; charset=utf-8"
        return response


def test_zeep_reads_the_answer_with_the_header(story: Story) -> None:
    """A strict client leaves a block unread that no WSDL declares; one that wants to can read it."""
    line, at = AgencyLine(story), story.clock()
    line.decide("10", REJECTED, at)
    answer = etree.tostring(line.decide("9", APPROVED, at))
    client = zeep.Client("hub-agency.wsdl", transport=_AnsweredTransport(answer))
    said = {"ApplicationNumber": "A", "NoticeNumber": "9", "IssuedAt": at, "StatusCode": "R01"}
    assert client.service.SubmitDecision(**said) is None
    with client.settings(raw_response=True):
        root = etree.fromstring(client.service.SubmitDecision(**said).content)
    assert root.findtext(f".//{OVERRULED}") == "10"


def test_a_result_that_came_before_the_decision_on_its_application_is_not_overruled(story: Story) -> None:
    hear(story, word(story, "N1", APPROVED, 0), of_application=False)
    hear(story, word(story, "N2", REJECTED, 5), of_application=True)
    story.tick()
    assert list_marks(story) == {"KFDA-N2": None, "KFDA-N1": None}
    late = word(story, "N0", APPROVED, 1)
    assert tell(story, late) == "KFDA-N2"
