"""The result on its way: the same octets until a receipt proves it, or the end of all tries."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.cli import main
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import SIGNATURE_INVALID, GatewayError
from gateway.hub.completion import operator_actions
from gateway.message_model import ErrorSignal, MemoryBody, Receipt
from gateway.operations import load_unchecked_agreement
from gateway.protocols import Parcel
from gateway.state_machines import DELIVERY
from gateway.store import delivery_leases, messages, read_transaction, write_transaction
from gateway.wire import SOAP11
from tests.flows.craft import without_applications
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.house import EBMS2, Neighbour, pmodes, signer_named
from tests.kit.story import AGREEMENT, QUIET, Story, unreachable

ASYNC = AGREEMENT.replace(b"mshSignalsOnly", b"none")


def decided(engine: Engine, agreement: bytes = AGREEMENT) -> Story:
    """Return a story that is at its end but for the result."""
    story = Story(engine, customs=False, agreement=agreement)
    story.submit(story.submission(without_applications), attach=False)
    return story


@pytest.fixture
def story(engine: Engine) -> Story:
    return decided(engine)


def http(parcel: Parcel, status: int = 200) -> HttpAnswer:
    return HttpAnswer(
        status, {"content-type": parcel.headers["Content-Type"]}, parcel.body.open_stream().read()
    )


def receipt_of(story: Story, opened: Any, change: Callable[[Receipt], Receipt] = lambda unit: unit) -> Parcel:
    context = story.broker.context()
    return EBMS2.seal((change(EBMS2.make_receipt(opened, context)),), opened.pmode, context)


def post_back(story: Story, parcel: Parcel) -> Any:
    """Bring a signal to the hub by a POST of the applicant's own."""
    return story.house.post(Parcel(parcel.headers, MemoryBody(parcel.body.open_stream().read())))


def result_delivery(story: Story) -> Any:
    (found,) = (row for row in story.deliveries(agent="msh") if row.parameters.get("action") == "Result")
    return found


@BOTH_AT_LANDING
def test_every_try_brings_the_same_octets(story: Story) -> None:
    story.inbox.answers.extend([unreachable(), HttpAnswer(503, {}, b""), HttpAnswer(204, {}, b"")])
    for _ in range(3):
        story.tick(seconds=301)
    assert len(story.inbox.octets) == 3
    assert len(set(story.inbox.octets)) == 1
    story.tick(seconds=301)
    assert story.case().state == "CLOSED"
    row = result_delivery(story)
    assert (row.state, len(set(story.inbox.octets))) == ("DELIVERED", 1)
    assert [event for event, _ in story.steps(DELIVERY, row.id)] == [
        *("lease", "defer", "lease", "defer", "lease", "sent", "timeout", "lease", "delivered")
    ]
    assert story.evidence("delivery", row.id) == ["NRR"]
    with read_transaction(story.house.engine) as conn:
        (sent,) = messages.list_messages(conn, direction="out")
        assert messages.load_parcel(conn, sent.id)[1] == story.inbox.octets[0]


@BOTH_AT_LANDING
def test_a_receipt_by_post_ends_it(engine: Engine) -> None:
    story = decided(engine, ASYNC)
    heard: list[Any] = []

    def later(opened: Any) -> HttpAnswer:
        heard.append(opened)
        return HttpAnswer(204, {}, b"")

    story.inbox.answers.extend([later])
    story.tick()
    assert (result_delivery(story).state, story.case().state) == ("AWAITING_RECEIPT", "DECIDED")
    parcel = receipt_of(story, heard[0])
    assert post_back(story, parcel).status == 204
    assert (result_delivery(story).state, story.case().state) == ("DELIVERED", "CLOSED")
    before = story.evidence("delivery", result_delivery(story).id)
    assert post_back(story, parcel).status == 204
    assert story.evidence("delivery", result_delivery(story).id) == before == ["NRR"]
    story.tick(days=1)
    assert len(heard) == 1


def test_a_receipt_may_overtake_the_answer_to_the_post(engine: Engine) -> None:
    story = decided(engine, ASYNC)

    def at_once(opened: Any) -> HttpAnswer:
        post_back(story, receipt_of(story, opened))
        return HttpAnswer(204, {}, b"")

    story.inbox.answers.append(at_once)
    story.tick()
    assert (result_delivery(story).state, story.case().state) == ("DELIVERED", "CLOSED")


def wrong_digest(unit: Receipt) -> Receipt:
    first = replace(unit.references[0], digest=b"\x00" * 32)
    return replace(unit, references=(first, *unit.references[1:]))


def fewer(unit: Receipt) -> Receipt:
    return replace(unit, references=unit.references[:1])


def none(unit: Receipt) -> Receipt:
    return replace(unit, references=())


def of_another(unit: Receipt) -> Receipt:
    return replace(unit, ref_to_message_id="somebody@else.example")


@pytest.mark.parametrize("change", [wrong_digest, fewer, none, of_another])
@pytest.mark.parametrize("way", ["answer", "post"])
def test_a_receipt_that_does_not_match_proves_nothing(
    engine: Engine, change: Callable[[Receipt], Receipt], way: str
) -> None:
    story = decided(engine, AGREEMENT if way == "answer" else ASYNC)

    def answer(opened: Any) -> HttpAnswer:
        parcel = receipt_of(story, opened, change)
        if way == "answer":
            return http(parcel)
        post_back(story, parcel)
        return HttpAnswer(204, {}, b"")

    story.inbox.answers.append(answer)
    story.tick()
    assert result_delivery(story).state in ("QUEUED", "AWAITING_RECEIPT")
    assert "NRR" not in story.evidence("delivery", result_delivery(story).id)
    assert story.case().state == "DECIDED"
    story.tick(seconds=301)
    assert story.case().state == ("CLOSED" if way == "answer" else "DECIDED") or len(story.inbox.got) == 2


def unsigned(parcel: Parcel) -> Parcel:
    """Return the parcel with its signature cut out."""
    root = etree.fromstring(parcel.body.open_stream().read())
    signature = root.find(".//{http://www.w3.org/2000/09/xmldsig#}Signature")
    signature.getparent().remove(signature)  # type: ignore[union-attr]
    return Parcel(parcel.headers, MemoryBody(etree.tostring(root)))


@pytest.mark.parametrize("way", ["answer", "post"])
@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_a_receipt_signed_by_nobody_or_another_proves_nothing(engine: Engine, way: str, who: str) -> None:
    story = decided(engine, AGREEMENT if way == "answer" else ASYNC)
    story.register("stranger")

    def answer(opened: Any) -> HttpAnswer:
        context = story.broker.context()
        unit = EBMS2.make_receipt(opened, context)
        if who == "nobody":
            parcel = unsigned(EBMS2.seal((unit,), opened.pmode, context))
        else:
            context = replace(context, signers={"broker1": signer_named("stranger")})
            parcel = EBMS2.seal((unit,), opened.pmode, context)
        if way == "answer":
            return http(parcel)
        post_back(story, parcel)
        return HttpAnswer(204, {}, b"")

    story.inbox.answers.append(answer)
    story.tick()
    assert result_delivery(story).state in ("QUEUED", "AWAITING_RECEIPT")
    assert story.case().state == "DECIDED"


@pytest.mark.parametrize("agreement", ["its own", "that of the other"])
@pytest.mark.parametrize("signal", ["receipt", "error"])
def test_what_went_to_one_party_is_not_settled_by_another(
    engine: Engine, agreement: str, signal: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered as a signal about no message of ours is: nobody learns which ids there are."""
    story = decided(engine, ASYNC)
    story.register("broker2")
    theirs = ASYNC.replace(b"value: broker1", b"value: broker2").replace(b"broker1-", b"broker2-")
    with write_transaction(engine) as conn:
        load_unchecked_agreement(conn, theirs, "broker2.yaml", story.clock())
    heard: list[Any] = []
    story.inbox.answers.append(lambda opened: heard.append(opened) or HttpAnswer(204, {}, b""))
    story.tick()
    unit = EBMS2.make_receipt(heard[0], story.broker.context())
    unit = unit if signal == "receipt" else error_about(story, heard[0])
    pmode = next(one for one in pmodes(theirs) if one.action == "Store")
    name = pmode.agreement if agreement == "its own" else unit.agreement
    other = Neighbour("broker2", story.clock, theirs)

    def settle(about: str) -> tuple[int, bytes]:
        changed = replace(unit, sender=pmode.sender, agreement=name, ref_to_message_id=about)
        answer = post_back(story, EBMS2.seal((changed,), pmode, other.context()))
        return answer.status, answer.body

    caplog.clear()
    assert unit.ref_to_message_id is not None
    assert settle(unit.ref_to_message_id) == settle("f" * len(unit.ref_to_message_id)) == (204, b"")
    refusals = [] if agreement == "its own" else ["GW304"]
    assert re.findall("GW[0-9]{3}", str(caplog.messages)) == refusals
    row = result_delivery(story)
    assert (row.state, story.case().state) == ("AWAITING_RECEIPT", "DECIDED")
    assert story.evidence("delivery", row.id) == []


def error_about(story: Story, opened: Any) -> ErrorSignal:
    problem = GatewayError(SIGNATURE_INVALID, "the digest differs", "eb:Body")
    return EBMS2.make_error_signal(problem, opened.unit, story.broker.context())


@BOTH_AT_LANDING
@pytest.mark.parametrize(("signed", "after"), [(True, "FAILED"), (False, "AWAITING_RECEIPT")])
def test_an_error_by_post_ends_it_when_it_is_signed(engine: Engine, signed: bool, after: str) -> None:
    story = decided(engine, ASYNC)
    heard: list[Any] = []
    story.inbox.answers.append(lambda opened: heard.append(opened) or HttpAnswer(204, {}, b""))
    story.tick()
    unit = error_about(story, heard[0])
    context = story.broker.context()
    parcel = EBMS2.seal((unit,), heard[0].pmode, context)
    post_back(story, parcel if signed else unsigned(parcel))
    row = result_delivery(story)
    assert row.state == after
    assert story.evidence("delivery", row.id) == (["refusal"] if signed else [])
    assert story.case().state == "DECIDED"


@BOTH_AT_LANDING
def test_an_error_in_the_answer_ends_it(story: Story) -> None:
    story.inbox.answers.append(
        lambda opened: http(
            EBMS2.seal((error_about(story, opened),), opened.pmode, story.broker.context()), 200
        )
    )
    story.tick()
    row = result_delivery(story)
    assert (row.state, row.problem) == ("FAILED", "GW602")
    story.tick(days=1)
    assert len(story.inbox.got) == 1


def make_page(status: int) -> HttpAnswer:
    """Return the page of a proxy, a firewall or a servlet container."""
    return HttpAnswer(status, {"content-type": "text/html"}, b"<html><body>no such page</body></html>")


@pytest.mark.parametrize("status", [401, 403, 404, 405, 407, 409, 413, 501])
def test_a_page_of_a_proxy_is_followed_by_the_agreed_repeats(story: Story, status: int) -> None:
    story.inbox.answers.append(make_page(status))
    story.tick()
    row = result_delivery(story)
    assert (row.state, row.problem, row.tries) == ("QUEUED", "GW608", 1)
    story.tick(seconds=301)
    assert result_delivery(story).state == "DELIVERED"


def test_pages_of_a_proxy_end_it_after_all_repeats(story: Story) -> None:
    story.inbox.answers.extend([make_page(404)] * 9)
    for _ in range(6):
        story.tick(seconds=301)
    row = result_delivery(story)
    assert (row.state, row.problem, row.tries) == ("FAILED", "GW604", 4)


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_error_of_the_handler_ends_it_whatever_its_status(story: Story, status: int) -> None:
    story.inbox.answers.append(
        lambda opened: http(
            EBMS2.seal((error_about(story, opened),), opened.pmode, story.broker.context()), status
        )
    )
    story.tick()
    assert (result_delivery(story).state, result_delivery(story).problem) == ("FAILED", "GW602")


def make_fault(code: str) -> HttpAnswer:
    """Return a SOAP Fault, which nobody signs: an intermediary that speaks SOAP writes one, too."""
    content = f"<faultcode>s:{code}</faultcode><faultstring>blocked</faultstring>"
    envelope = f'<s:Envelope xmlns:s="{SOAP11}"><s:Body><s:Fault>{content}</s:Fault></s:Body></s:Envelope>'
    return HttpAnswer(500, {"content-type": "text/xml"}, envelope.encode())


@pytest.mark.long
@pytest.mark.parametrize("code", ["Client", "MustUnderstand", "VersionMismatch", "Server"])
def test_a_fault_that_nobody_signed_is_followed_by_the_agreed_repeats(story: Story, code: str) -> None:
    story.inbox.answers.append(make_fault(code))
    story.tick()
    row = result_delivery(story)
    assert (row.state, row.problem, row.tries) == ("QUEUED", "GW603", 1)
    with read_transaction(story.house.engine) as conn:
        assert f"{code}: blocked" in delivery_leases.list_last_answer_texts(conn, [row.id])[row.id]
    story.tick(seconds=301)
    assert result_delivery(story).state == "DELIVERED"


#: Nobody signs the Result, or what answers it.
UNSIGNED = AGREEMENT.replace(
    b"action: Result}", b"action: Result, security: {sign: false}, reliability: {ack_signed: never}}"
)


@pytest.mark.long
@in_turn
@pytest.mark.parametrize(
    ("code", "state"),
    [("Client", "FAILED"), ("Client.Own", "FAILED"), ("Server", "QUEUED"), ("Server.Own", "QUEUED")],
)
def test_where_no_signature_is_agreed_a_fault_about_the_message_ends_it(
    engine: Engine, code: str, state: str
) -> None:
    story = decided(engine, UNSIGNED)
    story.inbox.answers.append(make_fault(code))
    story.tick()
    assert result_delivery(story).state == state


#: Nobody is asked for a receipt of the Result.
UNRECEIPTED = AGREEMENT.replace(
    b"action: Result}",
    b"action: Result, reliability: {ack_requested: never, ack_signed: never, retry_interval: 300}}",
)
UNSIGNED_UNRECEIPTED = UNRECEIPTED.replace(b"action: Result, ", b"action: Result, security: {sign: false}, ")


@pytest.mark.long
@pytest.mark.parametrize("status", [404, 500])
def test_without_receipt_a_page_is_no_delivery(engine: Engine, status: int) -> None:
    story = decided(engine, UNRECEIPTED)
    story.inbox.answers.append(make_page(status))
    story.tick()
    assert (result_delivery(story).state, result_delivery(story).problem) == ("QUEUED", "GW608")
    story.inbox.answers.append(HttpAnswer(204, {}, b""))
    story.tick(seconds=301)
    assert result_delivery(story).state == "DELIVERED"


@BOTH_AT_LANDING
@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize(("signed", "after"), [(True, "FAILED"), (False, "QUEUED")])
def test_without_receipt_an_error_of_the_handler_ends_it(
    engine: Engine, status: int, signed: bool, after: str
) -> None:
    story = decided(engine, UNRECEIPTED)

    def refuse(opened: Any) -> HttpAnswer:
        parcel = EBMS2.seal((error_about(story, opened),), opened.pmode, story.broker.context())
        return http(parcel if signed else unsigned(parcel), status)

    story.inbox.answers.append(refuse)
    story.tick()
    row = result_delivery(story)
    assert row.state == after
    with read_transaction(story.house.engine) as conn:
        assert "the digest differs" in delivery_leases.list_last_answer_texts(conn, [row.id])[row.id]


@pytest.mark.parametrize("agreement", [UNRECEIPTED, UNSIGNED_UNRECEIPTED])
@pytest.mark.parametrize(("code", "final"), [("Client", True), ("Server", False)])
def test_a_fault_under_status_200_is_no_delivery(
    engine: Engine, agreement: bytes, code: str, final: bool
) -> None:
    story = decided(engine, agreement)
    story.inbox.answers.append(replace(make_fault(code), status=200))
    story.tick()
    assert result_delivery(story).state == (
        "FAILED" if final and agreement == UNSIGNED_UNRECEIPTED else "QUEUED"
    )


@pytest.mark.parametrize("kind", ["an empty Envelope", "a word", "a warning"])
def test_without_receipt_what_is_no_refusal_is_a_delivery(engine: Engine, kind: str) -> None:
    story = decided(engine, UNRECEIPTED)

    def answer(opened: Any) -> HttpAnswer:
        if kind == "a warning":
            error = error_about(story, opened)
            warnings = tuple(replace(entry, severity="Warning") for entry in error.errors)
            signal = replace(error, errors=warnings)
            return http(EBMS2.seal((signal,), opened.pmode, story.broker.context()))
        if kind == "a word":
            return HttpAnswer(200, {"content-type": "text/plain"}, b"OK")
        envelope = f'<s:Envelope xmlns:s="{SOAP11}"><s:Body/></s:Envelope>'
        return HttpAnswer(200, {"content-type": "text/xml"}, envelope.encode())

    story.inbox.answers.append(answer)
    story.tick()
    assert result_delivery(story).state == "DELIVERED"


@pytest.mark.long
def test_at_the_end_of_all_tries_it_is_a_delivery_failure(
    story: Story, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    story.inbox.answers.extend([HttpAnswer(204, {}, b"")] * 9)
    for _ in range(6):
        story.tick(seconds=301)
    row = result_delivery(story)
    assert (row.state, row.problem, row.tries) == ("FAILED", "GW604", 4)
    assert len(story.inbox.octets) == 4
    assert story.evidence("delivery", row.id) == ["DeliveryFailure"]
    assert story.case().state == "DECIDED"
    url = story.house.engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", story.case().number, "--home", str(tmp_path)]) == 0
    assert "Result to broker1  FAILED  GW604" in capsys.readouterr().out
    story.inbox.answers.clear()
    story.operate(operator_actions.requeue_delivery, row.id)
    story.tick()
    assert story.case().state == "CLOSED"
    assert len(story.inbox.octets) == 5
    assert len(set(story.inbox.octets)) == 1


def test_a_busy_hub_makes_every_agreed_attempt_a_little_late(story: Story) -> None:
    """Four attempts in 1200 s are agreed; they take 1230 s, and the receiver still remembers the message."""
    story.inbox.answers.extend([HttpAnswer(204, {}, b"")] * 9)
    for number in range(1, 5):
        story.tick(seconds=410)
        assert (len(story.inbox.octets), result_delivery(story).state) == (number, "AWAITING_RECEIPT")
    story.tick(seconds=301)
    row = result_delivery(story)
    assert (row.state, row.problem, row.tries) == ("FAILED", "GW604", 4)


def test_a_result_beyond_its_time_is_a_delivery_failure_too(story: Story) -> None:
    story.inbox.answers.extend([HttpAnswer(204, {}, b"")] * 9)
    story.tick()
    story.tick(days=30)
    row = result_delivery(story)
    assert (row.state, row.problem) == ("FAILED", "GW604")
    assert story.evidence("delivery", row.id) == ["DeliveryFailure"]
    assert len(story.inbox.octets) == 1


@pytest.mark.long
def test_a_receipt_after_the_end_changes_nothing(engine: Engine) -> None:
    story = decided(engine, ASYNC)
    heard: list[Any] = []
    story.inbox.answers.extend([lambda opened: heard.append(opened) or HttpAnswer(204, {}, b"")] * 9)
    for _ in range(7):
        story.tick(seconds=301)
    assert result_delivery(story).state == "FAILED"
    assert post_back(story, receipt_of(story, heard[0])).status == 204
    assert result_delivery(story).state == "FAILED"


@pytest.mark.long
def test_results_arrive_in_the_order_they_were_decided(engine: Engine) -> None:
    """A correction waits for the result that it corrects, which the applicant has not had yet."""
    story = Story(engine, customs=False, agreement=QUIET)
    story.submit()
    story.tick()
    story.decide_all()
    story.inbox.answers.extend([unreachable()] * 2)
    story.tick()
    story.hear("KPTA", story.notice("KPTA", DecisionCode.REJECTED, number="N2", status="R03"))
    for _ in range(3):
        story.tick(seconds=301)
    outcomes = [one.findtext("{*}Outcome") for one in story.inbox.documents("Result")]
    assert outcomes == ["APPROVED", "APPROVED", "APPROVED", "PARTIAL"]
    assert story.case().state == "CLOSED"


def test_the_reply_address_is_the_agreements(story: Story) -> None:
    story.tick()
    assert result_delivery(story).parameters["endpoint"] == "http://127.0.0.1:8901/msh/ebms2"


@pytest.mark.long
def test_attempts_are_kept(story: Story) -> None:
    story.inbox.answers.append(unreachable())
    story.tick()
    story.tick(seconds=301)
    with read_transaction(story.house.engine) as conn:
        tried = delivery_leases.list_attempts(conn, result_delivery(story).id)
    assert [one.outcome for one in tried] == ["defer", "delivered"]
