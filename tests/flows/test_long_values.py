"""The longest values that the documents may have are stored and found; longer ones leave nothing.

Every value is of random characters with four octets each, so that an index of PostgreSQL cannot compress it.
"""

from __future__ import annotations

from functools import partial

import pytest
from lxml import etree
from sqlalchemy import Engine, func, select

from gateway.cases import make_refused_reference
from gateway.message_model import Payload
from gateway.store import exact_searches, notices, read_transaction
from gateway.store.tables import metadata
from gateway.web.agency_service import apply_agency_call, build_agency_service, build_soap_security
from gateway.wire import SERVICE_AGENCY, SUB, AddressingHeaders, parse_xml, serialize_element
from gateway.xmlsec import sign_soap_envelope
from tests.flows.craft import Change, reference, text, without_applications
from tests.flows.test_agency_page import call_hub, example
from tests.kit.databases import BOTH
from tests.kit.house import signer_named
from tests.kit.long_texts import make_long_text, make_text_of_octets
from tests.kit.soap import envelope
from tests.kit.story import Story

#: The most characters of a number in the services of the hub, and one character more.
LONGEST, TOO_LONG = make_long_text(128), make_long_text(129)
NUMBERS = ("NoticeNumber", "Decision/number", "ReceiptNumber")


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def send_decision(story: Story, place: str, value: str) -> tuple[str, bytes]:
    """Let KPTA decide, with another value at a place of its call; return status and answer of the hub."""
    request = parse_xml(example("decision"))[1][0]
    request[0].text = story.number_of("KPTA")
    path = "/".join(f"{{*}}{name}" for name in place.split("/"))
    element = request.find(path)
    if element is None:
        element = etree.Element(f"{{{SERVICE_AGENCY}}}{place}")
        request.findall("{*}Decision")[-1].addnext(element)
    element.text = value
    root = envelope(request, AddressingHeaders(f"{SERVICE_AGENCY}:SubmitDecision", "urn:uuid:long"))
    sign_soap_envelope(root, signer_named("kpta"), now=story.clock())
    security = build_soap_security(story.hub)
    service = build_agency_service(partial(apply_agency_call, story.hub, {}), security)
    return call_hub(service, serialize_element(root))


def count_rows(story: Story) -> dict[str, int]:
    """Return how many rows each table has, without the calls that were seen, and the counts of refusals."""
    counts = ("seen_calls", "refusals", "daily_statistics")
    tables = [table for table in metadata.sorted_tables if table.name not in counts]
    with read_transaction(story.house.engine) as conn:
        return {
            table.name: conn.execute(select(func.count()).select_from(table)).scalar_one() for table in tables
        }


@BOTH
@pytest.mark.parametrize("place", NUMBERS)
def test_the_longest_number_of_an_agency_is_stored_and_found(story: Story, place: str) -> None:
    story.submit()
    story.tick()
    status, answer = send_decision(story, place, LONGEST)
    assert status == "200 OK", answer
    assert story.request("KPTA").state == "DECIDED"
    with read_transaction(story.house.engine) as conn:
        if place == "NoticeNumber":
            (notice,) = notices.list_by_request(conn, story.request("KPTA").id)
            assert notice.number == LONGEST
        elif place == "Decision/number":
            (case,) = exact_searches.find_cases(conn, LONGEST)
            assert case.number == story.case().number


@BOTH
@pytest.mark.parametrize("place", NUMBERS)
def test_a_longer_number_of_an_agency_leaves_nothing(story: Story, place: str) -> None:
    story.submit()
    story.tick()
    before = count_rows(story)
    status, answer = send_decision(story, place, TOO_LONG)
    assert status.startswith("500"), answer
    assert b">GW402<" in answer
    assert place.rpartition("/")[2].encode() in answer
    assert count_rows(story) == before


def change_bill_of_lading(value: str) -> Change:
    """Name another bill of lading in the supplement of a declaration without applications."""

    def change(root: etree._Element) -> None:
        without_applications(root)
        values = root.iterfind(f"{{{SUB}}}Supplement/{{{SUB}}}Value")
        next(
            one for one in values if one.get("path", "").endswith("TransportContractDocument/ID")
        ).text = value

    return change


#: The longest values of the schemas, and how a submission is changed to have one.
REFERENCES = {
    "bill of lading": (make_long_text(512), change_bill_of_lading),
    "reference": (make_long_text(35), reference),
    "UCR": (
        make_long_text(35),
        partial(text, "MetaData/Declaration/GoodsShipment/UCR/TraderAssignedReferenceID"),
    ),
}


@BOTH
@pytest.mark.parametrize("kind", REFERENCES)
def test_the_longest_reference_of_a_submission_is_stored_and_found(story: Story, kind: str) -> None:
    value, make_change = REFERENCES[kind]
    story.submit(story.submission(make_change(value)), attach=kind != "bill of lading")
    story.tick()
    assert story.case().state != "REFUSED"
    with read_transaction(story.house.engine) as conn:
        (case,) = exact_searches.find_cases(conn, value)
    assert case.number == story.case().number


@BOTH
@pytest.mark.parametrize("kind", REFERENCES)
def test_a_longer_reference_of_a_submission_is_refused(story: Story, kind: str) -> None:
    value, make_change = REFERENCES[kind]
    story.submit(story.submission(make_change(value + "1")), attach=kind != "bill of lading")
    story.tick()
    assert {problem for problem, _ in story.problems()} == {"GW402"}
    with read_transaction(story.house.engine) as conn:
        assert exact_searches.find_cases(conn, value + "1") == []


@BOTH
def test_a_refused_submission_with_a_long_message_id_has_a_case(story: Story) -> None:
    message_id = make_text_of_octets(1020)
    unreadable = Payload("submission@sample", "application/xml", b"<unreadable")
    story.submit(b"", attach=False, message_id=message_id, payloads=(unreadable,))
    story.tick()
    assert (story.case().state, story.case().outcome) == ("REFUSED", "REFUSED")
    reference_of_case = story.case().functional_reference
    assert reference_of_case == make_refused_reference(message_id)
    assert len(reference_of_case.encode()) <= 512
    with read_transaction(story.house.engine) as conn:
        (found,) = exact_searches.find_cases(conn, reference_of_case)
    assert found.number == story.case().number
