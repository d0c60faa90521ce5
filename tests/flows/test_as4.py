"""AS4 through the hub: a signed message in, a stored receipt out, the Result of its case pushed back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.message_model import ErrorEntry, ErrorSignal, MemoryBody, MessageProperty, Receipt
from gateway.operations import read_case_report, read_message_report
from gateway.pki import Verdict
from gateway.protocols import Parcel, as4
from gateway.state_machines import DELIVERY
from gateway.store import delivery_leases, messages, read_transaction
from gateway.wire import EB3, SOAP12
from tests.flows.craft import without_applications
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import AGREEMENT, AS4, House, Neighbour
from tests.kit.story import Story
from tests.protocols.as4_samples import find_envelope


@pytest.fixture
def house(engine: Engine) -> House:
    return House(engine, agreement=AS4)


@pytest.fixture
def broker(house: House) -> Neighbour:
    return Neighbour("broker1", house.clock, AS4)


def read_errors(answer: Any) -> list[dict[str, str]]:
    """Return the attributes of each Error in an answer."""
    assert answer.headers["Content-Type"].startswith("application/soap+xml")
    return [dict(one.attrib) for one in etree.fromstring(answer.body).iter(f"{{{EB3}}}Error")]  # type: ignore[arg-type]


def refused(house: House, parcel: Parcel) -> tuple[int, str, str]:
    """Return HTTP status, code and GW id of the answer to a refused parcel."""
    answer = house.post(parcel)
    (error,) = read_errors(answer)
    words = etree.fromstring(answer.body).findtext(f".//{{{EB3}}}Description") or ""
    with read_transaction(house.engine) as conn:
        assert not messages.list_messages(conn)
    return answer.status, error["errorCode"], words.split()[0]


@BOTH_AT_LANDING
def test_a_message_is_stored_with_its_signed_receipt(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message(content=b"<declaration/>"))
    answer = house.post(parcel)
    opened = broker.open(answer, parcel)
    assert answer.status == 200
    assert isinstance(opened.unit, Receipt)
    assert opened.verified_signature is not None
    assert len(opened.verified_signature.references) == 2
    assert [one.uri.partition("-")[0] for one in opened.unit.references] == [
        "#messaging", "#body", "cid:p1.m1@broker1.example",
    ]  # fmt: skip
    with read_transaction(house.engine) as conn:
        (row,) = messages.list_messages(conn)
        assert (row.protocol, row.from_party, row.to_party, row.state) == (
            "as4", "broker1", "hub", "ACCEPTED",
        )  # fmt: skip
        assert messages.find_response(conn, row.id) == answer
        assert messages.load_parcel(conn, row.id)[1] == parcel.read_octets()
        assert [one.content for one in messages.load_payloads(conn, row.id)] == [b"<declaration/>"]


def test_a_duplicate_gets_the_stored_receipt_byte_for_byte(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message())
    first = house.post(parcel)
    house.clock.forward(minutes=5)
    assert house.post(parcel) == first
    assert house.post(parcel, house.new_hub()) == first
    # A handler that seals the same message anew has another boundary, and says the same.
    body = parcel.read_octets()
    boundary = parcel.headers["Content-Type"].rpartition('boundary="')[2].rstrip('"')
    headers = {name: value.replace(boundary, "other") for name, value in parcel.headers.items()}
    again = Parcel(headers, MemoryBody(body.replace(boundary.encode(), b"other")))
    assert house.post(again) == first
    with read_transaction(house.engine) as conn:
        assert len(messages.list_messages(conn)) == 1


def test_the_same_id_with_other_content_is_refused(house: House, broker: Neighbour) -> None:
    first = broker.message(content=b"<one/>")
    first_parcel = broker.seal(first)
    house.post(first_parcel)
    other = replace(first, payloads=(replace(first.payloads[0], octets=b"<two/>"),))
    answer = house.post(broker.seal(other))
    assert read_errors(answer)[0]["errorCode"] == "EBMS:0003"
    assert b"<ds:SignatureValue>" in answer.body
    place = etree.fromstring(answer.body).findtext(f".//{{{EB3}}}ErrorDetail")
    assert place is not None
    assert (
        etree.fromstring(find_envelope(first_parcel.read_octets()))
        .xpath(place, namespaces={"eb3": EB3})[0]
        .text
        == first.message_id
    )  # type: ignore[index]


def test_refusals_are_errors_of_the_standard(house: House, broker: Neighbour) -> None:
    unit = broker.message()
    good = broker.seal(unit)

    def changed(old: bytes, new: bytes) -> Parcel:
        body = good.read_octets()
        assert old in body
        return Parcel(good.headers, MemoryBody(body.replace(old, new, 1)))

    assert refused(house, changed(b">Store<", b">Restore<")) == (200, "EBMS:0010", "GW303")
    assert refused(house, changed(b"2026</eb3:Agr", b"1999</eb3:Agr")) == (200, "EBMS:0010", "GW301")
    assert refused(house, changed(b">broker1<", b">broker9<")) == (200, "EBMS:0001", "GW302")
    assert refused(house, changed(b"channel:store", b"channel:other")) == (200, "EBMS:0003", "GW304")
    assert refused(house, changed(b"c-m1@", b"c-m2@")) == (200, "EBMS:0101", "GW202")
    assert refused(house, changed(b"<eb3:Service", b"<eb3:Severe")) == (200, "EBMS:0009", "GW104")
    assert refused(house, changed(b"wsse:Security", b"wsse:Other")) == (200, "EBMS:0009", "GW104")
    assert refused(house, changed(b"<eb3:MessageInfo>", b"<eb3:MessageInfo >x")) == (
        200,
        "EBMS:0009",
        "GW107",
    )
    assert refused(house, changed(b"Content-ID: <p1.", b"Content-ID: <p2.")) == (200, "EBMS:0011", "GW108")


def test_the_error_is_signed_and_names_the_message(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message())
    body = parcel.read_octets().replace(b">Store<", b">Restore<", 1)
    answer = house.post(Parcel(parcel.headers, MemoryBody(body)))
    opened = broker.open(answer, parcel)
    assert isinstance(opened.unit, ErrorSignal)
    assert opened.verified_signature is not None
    assert opened.unit.ref_to_message_id == "m1@broker1.example"
    (entry,) = opened.unit.errors
    assert (entry.title, entry.category, entry.origin) == ("ProcessingModeMismatch", "Processing", "ebMS")


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (b' href="cid:', b' href="http://', "EBMS:0011"),
        (b"<eb3:PayloadInfo>", b"<eb3:PayloadInfo><eb3:Other/>", "EBMS:0009"),
        (b"</eb3:UserMessage>", b'</eb3:UserMessage><x:y xmlns:x="urn:x"/>', "EBMS:0008"),
        (b"<eb3:Action>", b"<eb3:Action/><eb3:Action>", "EBMS:0009"),
        (b"</eb3:Timestamp>", b"x</eb3:Timestamp>", "EBMS:0009"),
        (b"</soap12:Body>", b"<a/></soap12:Body>", "EBMS:0008"),
        (b"</wsse:Security>", b"</wsse:Security><wsse:Security"
         b' xmlns:wsse="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"/>',
         "EBMS:0101"),
    ],
)  # fmt: skip
def test_an_error_in_the_header_is_told_by_a_signed_error(
    house: House, broker: Neighbour, old: bytes, new: bytes, code: str
) -> None:
    parcel = broker.seal(broker.message())
    body = parcel.read_octets()
    assert old in body
    answer = house.post(Parcel(parcel.headers, MemoryBody(body.replace(old, new, 1))))
    opened = broker.open(answer, parcel)
    assert isinstance(opened.unit, ErrorSignal)
    assert opened.verified_signature is not None
    assert (opened.unit.errors[0].code, opened.unit.ref_to_message_id) == (code, "m1@broker1.example")


def test_an_error_about_nobody_we_know_is_not_signed(house: House, broker: Neighbour) -> None:
    parcel = broker.seal(broker.message())
    body = parcel.read_octets().replace(b' href="cid:', b' href="http://', 1)
    for old, new in ((b">hub<", b">else<"), (b"<eb3:PartyInfo>", b"<eb3:PartyInfo>x")):
        assert old in body
        answer = house.post(Parcel(parcel.headers, MemoryBody(body.replace(old, new, 1))))
        assert read_errors(answer)[0]["refToMessageInError"] == "m1@broker1.example"
        assert b"SignatureValue" not in answer.body


@pytest.mark.long
def test_a_message_of_another_sender_or_without_signature_is_refused(house: House, broker: Neighbour) -> None:
    forged = Neighbour("hub", house.clock, AS4).context()
    pretended = replace(broker.context(), signers={"broker1": forged.signers["hub"]})
    unit = broker.message()
    parcel = as4.seal((unit,), None, pretended)
    # Sealed without a P-Mode it lacks the channel; with it, only the signer is wrong.
    assert refused(house, parcel) == (200, "EBMS:0003", "GW304")
    parcel = as4.seal((replace(unit, mpc="urn:example:channel:store"),), None, pretended)
    assert refused(house, parcel) == (200, "EBMS:0101", "GW209")
    good = broker.seal(unit)
    body = good.read_octets()
    start, end = body.index(b"<wsse:Security"), body.index(b"</wsse:Security>") + len(b"</wsse:Security>")
    bare = Parcel(good.headers, MemoryBody(body[:start] + body[end:]))
    assert refused(house, bare) == (200, "EBMS:0103", "GW201")


def test_what_is_no_as4_gets_a_fault_and_a_receipt_for_nothing_an_error(
    house: House, broker: Neighbour
) -> None:
    soap = {"Content-Type": "application/soap+xml"}
    answer = house.post(Parcel(soap, MemoryBody(b"<no/>")))
    assert (answer.status, b"GW105" in answer.body) == (500, True)
    receipt = house.post(broker.seal(broker.message()))
    back = house.post(Parcel(receipt.headers, MemoryBody(receipt.body)))
    assert read_errors(back)[0]["errorCode"] == "EBMS:0001"
    assert b"GW307" in back.body


def test_each_protocol_has_its_own_agreement(engine: Engine) -> None:
    house = House(engine, agreement=AGREEMENT)
    unit = Neighbour("broker1", house.clock, AS4).message()
    unit = replace(unit, agreement="urn:example:agreement:broker1-hub:2026", mpc=None)
    parcel = as4.seal((unit,), None, Neighbour("broker1", house.clock, AS4).context())
    house.agreement = AS4
    assert refused(house, parcel) == (200, "EBMS:0010", "GW303")


@pytest.fixture
def story(engine: Engine) -> Story:
    found = Story(engine, customs=False, agreement=AS4)
    found.submit(found.submission(without_applications), attach=False, sync_reply=True)
    return found


def result_delivery(story: Story) -> Any:
    (found,) = (row for row in story.deliveries(agent="msh") if row.parameters.get("action") == "Result")
    return found


def test_a_case_is_told_by_as4_and_its_receipt_is_compared(story: Story) -> None:
    story.tick(seconds=1)
    assert story.case().state == "CLOSED"
    assert story.outcome()[0] == "APPROVED"
    row = result_delivery(story)
    assert row.state == "DELIVERED"
    assert story.evidence("delivery", row.id) == ["NRR"]
    result = story.inbox.got[-1]
    assert (result.action, result.ref_to_message_id) == ("Result", "m1@broker1.example")
    assert b'name="CompressionType"' in story.inbox.octets[-1]
    assert "SOAPAction" not in row.parameters["headers"]


def test_every_try_brings_the_same_octets_until_a_receipt_is_believed(story: Story) -> None:
    def lie(opened: Any) -> HttpAnswer:
        context = story.broker.context()
        receipt = as4.make_receipt(opened, context)
        receipt = replace(receipt, references=receipt.references[1:])
        parcel = as4.seal((receipt,), opened.pmode, context)
        return HttpAnswer(200, {"content-type": parcel.headers["Content-Type"]}, parcel.read_octets())

    def fail_unsigned(opened: Any) -> HttpAnswer:
        problem = GatewayError(SIGNATURE_INVALID, "no", "//x")
        signal = as4.make_error_signal(problem, opened.unit, story.broker.context())
        assert signal is not None
        nobody = replace(signal, sender=replace(signal.sender, ids=()))
        parcel = as4.seal((nobody,), None, story.broker.context())
        return HttpAnswer(200, {"content-type": parcel.headers["Content-Type"]}, parcel.read_octets())

    story.inbox.answers.extend([lie, fail_unsigned, HttpAnswer(204, {}, b"")])
    for _ in range(3):
        story.tick(seconds=301)
        assert result_delivery(story).state != "DELIVERED"
    story.tick(seconds=301)
    assert len(set(story.inbox.octets)) == 1
    row = result_delivery(story)
    assert row.state == "DELIVERED"
    assert "delivered" in [event for event, _ in story.steps(DELIVERY, row.id)]


@BOTH_AT_LANDING
def test_a_signed_error_ends_the_delivery(story: Story) -> None:
    def fail(opened: Any) -> HttpAnswer:
        context = story.broker.context()
        signal = as4.make_error_signal(GatewayError(SIGNATURE_INVALID, "no", "//x"), opened.unit, context)
        assert signal is not None
        parcel = as4.seal((signal,), opened.pmode, context)
        return HttpAnswer(200, {"content-type": parcel.headers["Content-Type"]}, parcel.read_octets())

    story.inbox.answers.append(fail)
    story.tick(seconds=1)
    row = result_delivery(story)
    assert row.state == "FAILED"
    assert story.evidence("delivery", row.id)[0] == "refusal"


def test_an_error_beside_a_fault_is_told_with_its_detail(story: Story) -> None:
    """Nobody signed it, so the message is sent again; the operator reads code, words and detail."""

    def refuse(opened: Any) -> HttpAnswer:
        entry = ErrorEntry("EBMS:0003", "Error", "at a.B\n\tat c.D\n", "no party", title="ValueInconsistent")
        problem = GatewayError(SIGNATURE_INVALID, "no", "//x")
        signal = as4.make_error_signal(problem, opened.unit, story.broker.context())
        assert signal is not None
        nobody = replace(signal, sender=replace(signal.sender, ids=()), errors=(entry,))
        root = etree.fromstring(as4.seal((nobody,), None, story.broker.context()).read_octets())
        fault = etree.SubElement(root[1], f"{{{SOAP12}}}Fault")
        code = etree.SubElement(fault, f"{{{SOAP12}}}Code")
        etree.SubElement(code, f"{{{SOAP12}}}Value").text = f"{root.prefix}:Sender"
        return HttpAnswer(500, {"content-type": "application/soap+xml"}, etree.tostring(root))

    story.inbox.answers.append(refuse)
    story.tick(seconds=1)
    row = result_delivery(story)
    assert (row.state, row.problem) == ("QUEUED", "GW603")
    with read_transaction(story.house.engine) as conn:
        assert delivery_leases.list_last_answer_texts(conn, [row.id]) == {
            row.id: "EBMS:0003: no party: at a.B  at c.D"
        }


@pytest.mark.long
@pytest.mark.parametrize("status", [403, 404, 413])
def test_a_page_of_a_proxy_is_followed_by_the_agreed_repeats(story: Story, status: int) -> None:
    story.inbox.answers.append(HttpAnswer(status, {"content-type": "text/html"}, b"<html/>"))
    story.tick(seconds=1)
    row = result_delivery(story)
    assert (row.state, row.problem) == ("QUEUED", "GW608")
    story.tick(seconds=301)
    assert result_delivery(story).state == "DELIVERED"


def test_a_fault_that_nobody_signed_is_followed_by_the_agreed_repeats(story: Story) -> None:
    fault = (
        "<s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason><s:Text xml:lang='en'>no</s:Text></s:Reason>"
    )
    envelope = f'<s:Envelope xmlns:s="{SOAP12}"><s:Body><s:Fault>{fault}</s:Fault></s:Body></s:Envelope>'
    media_type = "application/soap+xml; charset=UTF-8"
    story.inbox.answers.append(HttpAnswer(400, {"content-type": media_type}, envelope.encode()))
    story.tick(seconds=1)
    row = result_delivery(story)
    assert (row.state, row.problem) == ("QUEUED", "GW603")
    story.tick(seconds=301)
    assert result_delivery(story).state == "DELIVERED"


def test_the_four_corners_of_a_case_are_kept_and_shown(engine: Engine) -> None:
    story = Story(engine, customs=False, agreement=AS4)
    corners = (
        MessageProperty("originalSender", "urn:c1", "urn:type"),
        MessageProperty("finalRecipient", "urn:c4"),
    )
    root = story.submission(without_applications)
    story.submit(root, attach=False, sync_reply=True, properties=corners)
    story.tick(seconds=1)
    case = story.case()
    with read_transaction(engine) as conn:
        shown = read_case_report(conn, case)["properties"]
        row = messages.find_by_id(conn, case.message)
        assert row is not None
        assert read_message_report(conn, row)["properties"] == shown
    assert [(one["name"], one["value"], one["type"]) for one in shown] == [
        ("originalSender", "urn:c1", "urn:type"),
        ("finalRecipient", "urn:c4", None),
    ]


def test_a_signer_that_cannot_be_judged_is_told_to_send_again(
    house: House, broker: Neighbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel, judge = broker.seal(broker.message()), house.hub.judge
    monkeypatch.setattr(judge, "_examine", lambda _der, _use, at, *_: Verdict.make_transient("short", at))
    answer = house.post(parcel)
    assert (answer.status, b"GW806" in answer.body, b"Fault" in answer.body) == (503, True, True)
    monkeypatch.undo()
    assert house.post(parcel).status == 200
