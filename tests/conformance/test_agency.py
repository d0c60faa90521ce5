"""The simulated agency does what a partner does, and what it is told to do wrong."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cases import AgencyAcknowledgment, AgencyCallback, DecisionCode, Notice
from gateway.delivery import ServiceCall
from gateway.delivery.service_contracts import CallAttachment
from gateway.errors import (
    ANSWER_NOT_UNDERSTOOD,
    PARTNER_FAULT,
    REFUSED_FOR_GOOD,
    UNREACHABLE,
    GatewayError,
    Problem,
)
from gateway.harmonize import load_bundle, make_placeholder_numbers, split_submission
from gateway.share import get_data_folder
from gateway.wire import canonicalize_element, parse_xml, read_envelope, serialize_element
from gateway.xmlsec import sign_soap_envelope
from tests.conformance.conftest import Agencies
from tests.conformance.simulated_hubs import (
    CallingHub,
    ListeningHub,
    application,
    documents,
    label,
    numbers,
    signer_of,
)
from tests.kit.documents import each_document
from tests.kit.paths import ROOT
from tests.kit.waiting import until


def said(heard: AgencyCallback) -> Notice:
    assert isinstance(heard.answer, Notice)
    return heard.answer


def body_of(envelope: bytes) -> bytes:
    return canonicalize_element(read_envelope(parse_xml(envelope)).body_elements[0], exclusive=True)


def problem_of(hub: CallingHub, url: str, call: ServiceCall | bytes) -> Problem:
    with pytest.raises(GatewayError) as caught:
        hub.call(url, call)
    return caught.value.problem


@pytest.mark.night
def test_an_immediate_agency_decides_every_item_in_its_answer(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies()
    answer = hub.call(agency.url, application(agency.url))
    assert isinstance(answer, Notice)
    assert answer.status_code == "R01"
    assert [(one.item, one.law, one.decision) for one in answer.decisions] == [
        (2, "05", DecisionCode.APPROVED)
    ]
    assert answer.decisions[0].number == f"{numbers()['KFDA']}-05-002"
    (effect,) = agency.effects()
    assert (effect["effect"], effect["application"], effect["case"]) == (
        "SubmitApplication",
        numbers()["KFDA"],
        "SW-1",
    )
    assert agency.refusals() == []


@pytest.mark.parametrize(("code", "item"), [("KFDA", 2), ("KPTA", 1), ("NPQS", 3)])
def test_every_agency_knows_its_items(hub: CallingHub, agencies: Agencies, code: str, item: int) -> None:
    agency = agencies(code)
    answer = hub.call(agency.url, application(agency.url, code))
    assert isinstance(answer, Notice)
    assert {one.item for one in answer.decisions} == {item}


@pytest.mark.night
@pytest.mark.parametrize("name", each_document())
def test_an_agency_serves_each_of_its_documents_by_its_own_wsdl(
    hub: CallingHub, agencies: Agencies, name: str
) -> None:
    """The simulated agency knows a document by its files alone: schema, laws, attachments, items."""
    root = parse_xml((ROOT / "conformance" / "submissions" / name / "valid.xml").read_bytes())
    placeholders = make_placeholder_numbers(root)
    (request,) = split_submission(root, load_bundle(get_data_folder("mappings")), placeholders).requests
    agency = agencies(request.organisation)
    number = placeholders[request.application]["application_number"]
    call = application(
        agency.url,
        arguments={"ApplicationNumber": number, "CaseNumber": "SW-1"},
        document=request.xml,
        attachments=tuple(
            CallAttachment(cid, "application/pdf", cid.encode()) for cid in request.attachments
        ),
    )
    answer = replace(hub, wsdl=f"agencies/{request.organisation}.wsdl").call(agency.url, call)
    assert isinstance(answer, Notice)
    items = {int(item) for item in request.items}
    decided = {(one.item, one.law) for one in answer.decisions}
    assert decided == {(item, request.laws[0]) for item in items}
    assert agency.refusals() == []


@pytest.mark.night
@pytest.mark.parametrize(
    ("plan", "status", "decision", "conditions", "numbered"),
    [
        ({"items": [{"decision": "REJECTED"}]}, "R04", "REJECTED", (), False),
        ({"items": [{"number": 9, "decision": "REJECTED"}]}, "R01", "APPROVED", (), True),
        ({"items": [{"hs": "1905", "decision": "NOT_CONCERNED"}]}, "R01", "NOT_CONCERNED", (), False),
        (
            {"items": [{"hs": "19", "decision": "APPROVED_WITH_CONDITIONS", "conditions": ["Keep cool."]}]},
            "R01",
            "APPROVED_WITH_CONDITIONS",
            ("Keep cool.",),
            True,
        ),
        ({"status": "F03"}, "F03", "APPROVED", (), True),
    ],
)
def test_the_plan_decides(
    hub: CallingHub,
    agencies: Agencies,
    plan: dict[str, Any],
    status: str,
    decision: str,
    conditions: tuple[str, ...],
    numbered: bool,
) -> None:
    agency = agencies(**plan)
    answer = hub.call(agency.url, application(agency.url))
    assert isinstance(answer, Notice)
    (one,) = answer.decisions
    assert (answer.status_code, one.decision.value, one.conditions) == (status, decision, conditions)
    assert (one.number is not None) == numbered


def test_every_law_of_the_plan_gets_a_decision(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies("KPTA", laws=["01", "70"])
    answer = hub.call(agency.url, application(agency.url, "KPTA"))
    assert isinstance(answer, Notice)
    assert [(one.item, one.law) for one in answer.decisions] == [(1, "01"), (1, "70")]


def test_a_repeated_call_has_one_effect_and_one_answer_signed_anew(
    hub: CallingHub, agencies: Agencies
) -> None:
    agency = agencies()
    envelope = hub.compose(application(agency.url))
    first, second = (hub.send(agency.url, envelope) for _ in range(2))
    assert first.body != second.body
    assert body_of(first.body) == body_of(second.body)
    assert len(agency.effects()) == 1


def test_another_body_under_the_same_message_id_is_refused(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies()
    call = application(agency.url)
    hub.call(agency.url, call)
    other = replace(call, arguments=dict(call.arguments) | {"CaseNumber": "SW-2"})
    assert problem_of(hub, agency.url, other) is REFUSED_FOR_GOOD
    assert agency.refusals() == ["GW312"]
    assert len(agency.effects()) == 1


def test_a_restart_forgets_nothing(hub: CallingHub, agencies: Agencies) -> None:
    first = agencies()
    call = application(first.url)
    answer = hub.call(first.url, call)
    first.close()
    second = agencies()
    again = replace(call, address=second.url)
    assert hub.call(second.url, again) == answer
    assert len(second.effects()) == 1


def without_security(octets: bytes) -> bytes:
    root = parse_xml(octets)
    security = root.find(".//{*}Security")
    assert security is not None
    security.getparent().remove(security)  # type: ignore[union-attr]
    return serialize_element(root)


def without_header(octets: bytes) -> bytes:
    root = parse_xml(octets)
    root.remove(root[0])
    return serialize_element(root)


REPLACE = [
    ("changed Body", lambda octets: octets.replace(b"SW-1<", b"SW-9<", 1), "GW202"),
    ("no signature", without_security, "GW201"),
    ("no header", without_header, "GW107"),
    ("no SOAP", lambda octets: b"<hello/>", "GW105"),
    ("no XML", lambda octets: octets[:-20], "GW104"),
    ("changed address", lambda octets: re.sub(rb":\d+/soap<", b":1/soap<", octets, count=1), "GW304"),
]


@pytest.mark.parametrize(("spoil", "problem"), [row[1:] for row in REPLACE], ids=[row[0] for row in REPLACE])
def test_what_the_hub_did_not_sign_is_refused(
    hub: CallingHub, agencies: Agencies, spoil: Callable[[bytes], bytes], problem: str
) -> None:
    agency = agencies()
    answer = hub.send(agency.url, hub.compose(application(agency.url)), spoil)
    assert answer.status == 500
    assert hub.fault(answer).text.startswith(problem)
    assert agency.effects() == []
    assert len(agency.refusals()) == 1


def test_another_signer_than_the_hub_is_refused(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies()
    stranger = replace(hub, by="stranger")
    answer = stranger.send(agency.url, hub.compose(application(agency.url)))
    assert hub.fault(answer).text.startswith("GW209")
    assert agency.effects() == []


def test_an_old_call_is_refused(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies()

    def aged(_: bytes) -> bytes:
        root = parse_xml(hub.compose(application(agency.url)))
        sign_soap_envelope(root, signer_of(hub.keys, "hub"), now=datetime.now(UTC) - timedelta(hours=1))
        return serialize_element(root)

    answer = hub.send(agency.url, hub.compose(application(agency.url)), aged)
    assert hub.fault(answer).text.startswith("GW211")
    assert agency.effects() == []


def changed_document(agency: str, change: Callable[[etree._Element], None]) -> etree._Element:
    root = parse_xml(documents()[agency])
    change(root)
    return root


def drop(name: str) -> Callable[[etree._Element], None]:
    def change(root: etree._Element) -> None:
        found = next(root.iter(f"{{*}}{name}"))
        found.getparent().remove(found)  # type: ignore[union-attr]

    return change


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "a document without a mandatory field",
        {"document": lambda: changed_document("KFDA", drop("ImporterName"))},
        "GW402",
    ),
    ("another agency's document", {"document": lambda: parse_xml(documents()["NPQS"])}, "GW401"),
    ("a file that did not come", {"attachments": lambda: ()}, "GW408"),
    (
        "another application number",
        {"arguments": lambda: {"ApplicationNumber": "S0", "CaseNumber": "SW-1"}},
        "GW404",
    ),
    ("a supplement to nothing", {"operation": lambda: "SubmitSupplement"}, "GW701"),
    (
        "a cancellation of nothing",
        {
            "operation": lambda: "CancelApplication",
            "arguments": lambda: {"ApplicationNumber": "S0", "Reason": "x"},
            "document": lambda: None,
            "attachments": lambda: (),
        },
        "GW701",
    ),
    ("another address", {"address": lambda: "http://127.0.0.1:1/soap"}, "GW304"),
]


@pytest.mark.parametrize(("changes", "problem"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_call_that_is_not_good_is_refused(
    hub: CallingHub, agencies: Agencies, changes: dict[str, Any], problem: str
) -> None:
    agency = agencies()
    call = application(agency.url, **{name: value() for name, value in changes.items()})
    answer = hub.send(agency.url, hub.compose(call))
    assert hub.fault(answer).text.startswith(problem)
    assert agency.refusals() == [problem]
    assert agency.effects() == []


def test_an_attachment_with_another_digest_is_refused(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies()
    wrong = CallAttachment("korean-label@sample", "application/pdf", b"another file")
    envelope = hub.compose(application(agency.url, attachments=(wrong,)))
    right = label().to_zeep_argument()["sha256"].encode()
    told = wrong.to_zeep_argument()["sha256"].encode()
    answer = hub.send(agency.url, envelope.replace(told, right))
    assert hub.fault(answer).text.startswith("GW408")


def test_the_news_of_clearance_is_acknowledged_and_written_down(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies(behaviour="wait")
    hub.call(agency.url, application(agency.url))
    told = {
        "ApplicationNumber": numbers()["KFDA"],
        "CaseNumber": "SW-1",
        "NoticeNumber": "K1",
        "IssuedAt": "2026-11-20T09:00:00Z",
        "ResultCode": "5EC",
        "StatusCode": "Z04",
    }
    news = application(agency.url, operation="NotifyClearance", arguments=told, document=None, attachments=())
    assert isinstance(hub.call(agency.url, news), AgencyAcknowledgment)
    assert [(row["effect"], row["clearance"]) for row in agency.effects()] == [
        ("SubmitApplication", ""),
        ("NotifyClearance", "5EC"),
    ]


def test_a_cancellation_is_acknowledged_and_counted(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies(behaviour="wait")
    hub.call(agency.url, application(agency.url))
    cancel = application(
        agency.url,
        operation="CancelApplication",
        arguments={"ApplicationNumber": numbers()["KFDA"], "Reason": "withdrawn"},
        document=None,
        attachments=(),
    )
    answer = hub.call(agency.url, cancel)
    assert isinstance(answer, Notice)
    assert (answer.status_code, answer.decisions) == ("G03", ())
    assert [row["effect"] for row in agency.effects()] == ["SubmitApplication", "CancelApplication"]


@pytest.mark.night
@pytest.mark.parametrize(
    ("cancellation", "answered", "called"),
    [
        ("refuse", "G04", ["R01"]),
        ("accept-later", None, ["G03"]),
        ("refuse-later", None, ["G04", "R01"]),
        ("wait", None, ["R01"]),
    ],
)
def test_whether_an_agency_cancels_is_data(
    hub: CallingHub,
    agencies: Agencies,
    listening: ListeningHub,
    cancellation: str,
    answered: str | None,
    called: list[str],
) -> None:
    """What is cancelled is not decided any more; the decision on anything else follows."""
    agency = agencies(behaviour="later", delay=0.4, cancellation=cancellation)
    hub.call(agency.url, application(agency.url))
    cancel = application(
        agency.url,
        operation="CancelApplication",
        arguments={"ApplicationNumber": numbers()["KFDA"], "Reason": "84"},
        document=None,
        attachments=(),
    )
    answer = hub.call(agency.url, cancel)
    assert (answer.status_code if isinstance(answer, Notice) else None) == answered
    until(lambda: len(listening.heard) == len(called))
    assert sorted(said(one.said).status_code for one in listening.heard) == sorted(called)


@pytest.mark.night
def test_a_later_agency_calls_back(hub: CallingHub, agencies: Agencies, listening: ListeningHub) -> None:
    agency = agencies(behaviour="later", delay=0.9, steps=["E01", "E07"])
    began = time.monotonic()
    answer = hub.call(agency.url, application(agency.url))
    assert answer == AgencyAcknowledgment(f"KFDA-{numbers()['KFDA']}")
    assert listening.heard == []
    until(lambda: len(listening.heard) == 3)
    assert time.monotonic() - began >= 0.9
    notices = [said(one.said) for one in listening.heard]
    assert [one.status_code for one in notices] == ["E01", "E07", "R01"]
    assert [len(one.decisions) for one in notices] == [0, 0, 1]
    assert [one.issued_at for one in notices] == sorted({one.issued_at for one in notices})
    assert len({one.number for one in notices}) == 3
    until(lambda: len(agency.calls()) == 3)
    assert all(row["verified"] and row["done"] for row in agency.calls())


def test_information_is_asked_first_and_the_supplement_decides(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub
) -> None:
    pointer = "APP[3]/NPQS-PLA-IMP/ITEM[3]/PlaceOfProduction[1]"
    agency = agencies(
        "NPQS", behaviour="information", delay=0.0, pointers=[pointer], text="Where?", deadline=3600.0
    )
    assert isinstance(hub.call(agency.url, application(agency.url, "NPQS")), AgencyAcknowledgment)
    until(lambda: len(listening.heard) == 1)
    asked = said(listening.heard[0].said)
    assert (listening.heard[0].operation, asked.pointers, asked.text) == (
        "RequestInformation",
        (pointer,),
        "Where?",
    )
    assert asked.deadline == asked.issued_at + timedelta(hours=1)
    answer = hub.call(agency.url, application(agency.url, "NPQS", operation="SubmitSupplement"))
    assert isinstance(answer, Notice)
    assert answer.status_code == "R01"
    assert answer.number != asked.number
    assert answer.issued_at > asked.issued_at


@pytest.mark.night
def test_a_call_back_is_repeated_until_it_is_taken(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub
) -> None:
    listening.refuse = 2
    agency = agencies(behaviour="later", delay=0.0)
    hub.call(agency.url, application(agency.url))
    until(lambda: len(listening.heard) == 1)
    octets = [*listening.refused, listening.heard[0].envelope]
    assert len(octets) == 3
    assert len({body_of(one) for one in octets}) == 1
    assert len(set(octets)) == 3
    until(lambda: len(agency.calls()) == 3)
    assert [row["status"] for row in agency.calls()] == [503, 503, 200]
    assert len({row["message_id"] for row in agency.calls()}) == 1


def test_answers_that_are_not_the_hubs_or_not_to_the_call_are_noted(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub
) -> None:
    listening.repeats = True
    agency = agencies(behaviour="later", delay=0.0, steps=["E01"])
    hub.call(agency.url, application(agency.url))
    until(lambda: len(agency.calls()) == 2)
    assert sorted(row["verified"] for row in agency.calls()) == [False, True]
    assert "another call" in next(row["problem"] for row in agency.calls() if not row["verified"])


def test_an_answer_of_a_stranger_is_noted(hub: CallingHub, agencies: Agencies) -> None:
    stranger = ListeningHub(hub.keys, signs_as="stranger")
    try:
        agencies.hub_url = stranger.url
        agency = agencies(behaviour="later", delay=0.0)
        hub.call(agency.url, application(agency.url))
        until(lambda: len(agency.calls()) == 1)
        (row,) = agency.calls()
        assert (row["status"], row["verified"]) == (200, False)
        assert row["problem"].startswith("GW209")
    finally:
        stranger.close()


@pytest.mark.night
def test_call_backs_left_undone_are_made_after_a_restart(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub
) -> None:
    first = agencies(behaviour="later", delay=3.0)
    hub.call(first.url, application(first.url))
    first.close()
    time.sleep(3.1)
    assert listening.heard == []
    second = agencies(behaviour="later")
    until(lambda: len(listening.heard) == 1)
    until(lambda: len(second.calls()) == 1)
    second.close()
    agencies(behaviour="later")
    time.sleep(0.3)
    assert len(listening.heard) == 1


# --- misbehaviour: each does what it says, and no more -------------------------------------------


def test_silent_has_no_effect(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies(mischief=["silent*1"])
    envelope = hub.compose(application(agency.url))
    assert problem_of(hub, agency.url, envelope) is UNREACHABLE
    assert agency.effects() == []
    assert isinstance(hub.call(agency.url, envelope), Notice)
    assert len(agency.effects()) == 1


def test_silent_without_a_count_is_silent_always(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies(mischief=["silent"])
    envelope = hub.compose(application(agency.url))
    assert {problem_of(hub, agency.url, envelope) for _ in range(3)} == {UNREACHABLE}
    assert agency.effects() == []


@pytest.mark.parametrize(
    ("mischief", "problem"),
    [
        ("lost*1", UNREACHABLE),
        ("garbage*1", ANSWER_NOT_UNDERSTOOD),
        ("wrong-signature*1", ANSWER_NOT_UNDERSTOOD),
    ],
)
@pytest.mark.parametrize("behaviour", ["immediate", "later"])
def test_an_answer_that_is_worth_nothing_leaves_one_effect(
    hub: CallingHub, agencies: Agencies, mischief: str, problem: Problem, behaviour: str
) -> None:
    agency = agencies(mischief=[mischief], behaviour=behaviour)
    envelope = hub.compose(application(agency.url))
    assert problem_of(hub, agency.url, envelope) is problem
    assert len(agency.effects()) == 1
    hub.call(agency.url, envelope)
    assert len(agency.effects()) == 1


def test_late_answers_after_the_caller_has_gone(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies(mischief=["late=1*1"])
    envelope = hub.compose(application(agency.url))
    hasty = replace(hub, time_out=0.3)  # short: it must have gone when the answer comes
    assert problem_of(hasty, agency.url, envelope) is UNREACHABLE
    until(lambda: len(agency.effects()) == 1)
    assert isinstance(hub.call(agency.url, envelope), Notice)
    assert len(agency.effects()) == 1


@pytest.mark.night
def test_slow_takes_its_time(hub: CallingHub, agencies: Agencies) -> None:
    agency = agencies(mischief=["slow=0.4*1"])
    began = time.monotonic()
    assert isinstance(hub.call(agency.url, application(agency.url)), Notice)
    assert time.monotonic() - began >= 0.4


@pytest.mark.night
@pytest.mark.parametrize(
    ("mischief", "problem", "code"),
    [("fault-server*1", PARTNER_FAULT, "Server"), ("fault-client*1", REFUSED_FOR_GOOD, "Client")],
)
def test_faults_are_signed_and_have_no_effect(
    hub: CallingHub, agencies: Agencies, mischief: str, problem: Problem, code: str
) -> None:
    agency = agencies(mischief=[mischief])
    envelope = hub.compose(application(agency.url))
    assert problem_of(hub, agency.url, envelope) is problem
    assert agency.effects() == []
    assert isinstance(hub.call(agency.url, envelope), Notice)
    other = agencies(mischief=[mischief])
    answer = hub.send(other.url, hub.compose(application(other.url, message_id="urn:uuid:again")))
    assert hub.fault(answer).code == code


@pytest.mark.night
def test_duplicate_says_everything_twice_and_once_more(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub
) -> None:
    agency = agencies(behaviour="later", delay=0.0, mischief=["duplicate"])
    hub.call(agency.url, application(agency.url))
    until(lambda: len(listening.heard) == 3)
    ids = [one.message_id for one in listening.heard]
    assert ids[0] == ids[1] != ids[2]
    assert len({body_of(one.envelope) for one in listening.heard}) == 1
    assert len({one.envelope for one in listening.heard}) == 3


def test_duplicate_calls_back_what_was_answered_at_once(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub
) -> None:
    agency = agencies(mischief=["duplicate"])
    answer = hub.call(agency.url, application(agency.url))
    until(lambda: len(listening.heard) == 1)
    assert isinstance(answer, Notice)
    assert said(listening.heard[0].said).number == answer.number
    assert said(listening.heard[0].said).decisions == answer.decisions


@pytest.mark.night
@pytest.mark.parametrize("behaviour", ["later", "information"])
def test_overtaking_calls_before_it_answers(
    hub: CallingHub, agencies: Agencies, listening: ListeningHub, behaviour: str
) -> None:
    agency = agencies(behaviour=behaviour, delay=60.0, mischief=["overtaking"])
    assert isinstance(hub.call(agency.url, application(agency.url)), AgencyAcknowledgment)
    assert len(listening.heard) == 1


def test_a_plan_may_hold_for_some_documents_only(hub: CallingHub, agencies: Agencies, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('behaviour = "immediate"\n[[when]]\nvalue = "HB2026-*"\nbehaviour = "wait"\n')
    agency = agencies(path=path)
    assert isinstance(hub.call(agency.url, application(agency.url)), AgencyAcknowledgment)
    path.write_text('behaviour = "immediate"\n[[when]]\nvalue = "HB2027-*"\nbehaviour = "wait"\n')
    agency.close()
    (agency.folder / "effects.jsonl").unlink()
    other = agencies(path=path)
    assert isinstance(hub.call(other.url, application(other.url)), Notice)
