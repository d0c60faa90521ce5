"""Submissions that are refused: each is told by a signed Result that names problem and place."""

from __future__ import annotations

from datetime import timedelta

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.errors import NO_ROOM, GatewayError
from gateway.hub.completion import operator_actions
from gateway.message_model import Payload
from gateway.state_machines import CASE, MESSAGE
from gateway.store import fetched_lists, read_transaction, refusal_counts, write_transaction
from gateway.wire import serialize_element
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_revocation_list
from tests.flows.craft import Change, all_of, at, attribute, reference, supplement, text, with_agent, without
from tests.kit.databases import BOTH
from tests.kit.house import START, authority, signer_named
from tests.kit.story import LABEL, Story, unsigned

KFDA = "Application[@document='KFDA-FOOD-IMP']"


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


@BOTH
def test_a_worker_stores_each_refusal_that_it_counted(story: Story) -> None:
    for _ in range(2):
        story.submit(b"<nothing/>")
        story.worker.run_once()
    story.tick(seconds=1)
    with read_transaction(story.house.engine) as conn:
        counted = {(row.sender, row.problem): row.number for row in refusal_counts.list_refusals(conn)}
    assert set(counted.values()) == {2}
    assert {sender for sender, _ in counted} == {"broker1"}


def refused(story: Story, number: int = 1) -> list[tuple[str, str]]:
    """Let the hub work; return the problems told, when nothing but the refusal is left of it all."""
    story.tick()
    case = story.case()
    assert (case.state, case.outcome) == ("REFUSED", "REFUSED")
    assert story.steps(CASE, case.id) == [("refuse", "REFUSED")]
    assert story.evidence("case", case.id) == ["refused", "NRS"]
    assert story.steps(MESSAGE, case.message)[-1] == ("process", "PROCESSED")
    assert story.soap.calls == []
    assert [row.agent for row in story.deliveries(case_id=case.id)] == ["local", "msh"]
    assert {row.state for row in story.deliveries()} == {"DELIVERED"}
    assert len(story.inbox.documents("Result")) == number
    result = story.result()
    assert result.findtext("{*}CaseNumber") == case.number
    told = [one.text for one in result.findall(".//{*}Error/{*}ValidationCode")]
    assert told == [problem for problem, _ in story.problems()]
    assert all(one.text for one in result.findall("{*}Problem"))
    return story.problems()


CHANGED: dict[str, tuple[Change, list[tuple[str, str]]]] = {
    "not the declarant": (text(".//Declarant/ID", "HUB-1"), [("GW405", "Declarant/ID")]),
    "declarant unknown": (text(".//Declarant/ID", "6N999"), [("GW405", "Declarant/ID")]),
    "not the agent": (
        all_of(text(".//Declarant/ID", "HUB-1"), with_agent("NOBODY")),
        [("GW405", "Agent/ID")],
    ),
    "document unknown": (attribute(KFDA, "document", "KFDA-COSM-IMP"), [("GW501", "APP[2]")]),
    "another reference": (text("Reference", "HB2026-000124"), [("GW505", "42A/D026")]),
    "no such item": (text(f"{KFDA}/Items", "4"), [("GW505", "APP[2]/Items")]),
    "wrong action": (supplement, [("GW404", "/Submission/Function")]),
    "amendment": (text("Function", "13"), [("GW404", "/Submission/Function")]),
    "field missing": (without("Supplement/Value[@wcoID='L013']"), [("GW503", "")]),
    "code unknown": (text(f"{KFDA}/Fields/Item/FoodClass", "Q"), [("GW403", "")]),
    "size": (attribute(f"{KFDA}/Attachment", "size", "623"), [("GW408", "cid:korean-label@sample")]),
    "digest": (attribute(f"{KFDA}/Attachment", "sha256", "0" * 64), [("GW408", "cid:korean-label@sample")]),
}


@pytest.mark.long
@pytest.mark.parametrize(("change", "problems"), CHANGED.values(), ids=list(CHANGED))
def test_what_is_wrong_is_told_with_its_place(
    story: Story, change: Change, problems: list[tuple[str, str]]
) -> None:
    story.register("other", "HUB-1")
    story.submit(story.submission(change))
    told = refused(story)
    assert {problem for problem, _ in told} == {problem for problem, _ in problems}
    for (_, said), (_, wanted) in zip(told, problems, strict=False):
        assert said.startswith(wanted)
        assert said


def test_a_missing_common_field_is_named_for_each_document_that_needs_it(story: Story) -> None:
    story.submit(story.submission(without("Supplement/Value[@wcoID='L013']")))
    problems = refused(story)
    assert {problem for problem, _ in problems} == {"GW503"}
    assert all("L013" in pointer or "UnloadingLocation" in pointer for _, pointer in problems), problems


def test_many_problems_are_told_at_once(story: Story) -> None:
    wrong = all_of(
        without("Supplement/Value[@wcoID='L013']"),
        text(f"{KFDA}/Fields/Item/FoodClass", "Q"),
        attribute(f"{KFDA}/Attachment", "size", "623"),
    )
    label = Payload("unnamed@sample", "application/pdf", b"%PDF")
    root = story.submission(wrong)
    unit = story.broker.message("Submit", serialize_element(root))
    good = Payload("korean-label@sample", "application/pdf", LABEL)
    sealed = story.broker.seal(
        story.broker.message("Submit", serialize_element(root), payloads=(unit.payloads[0], good, label))
    )
    story.house.post(sealed)
    told = refused(story)
    assert {problem for problem, _ in told} == {"GW408", "GW503", "GW403"}
    assert {pointer for problem, pointer in told if problem == "GW408"} == {
        "cid:korean-label@sample",
        "cid:unnamed@sample",
    }


@pytest.mark.long
def test_many_faults_of_the_schema_are_told_at_once(story: Story) -> None:
    story.submit(story.submission(all_of(text(".//TypeCode", "IMPORT"), text(".//ModeCode", "four"))))
    told = refused(story)
    assert {problem for problem, _ in told} == {"GW402"}
    assert {"42A/D013", "42A/15A/183"} <= {pointer for _, pointer in told} or len(told) >= 2


def test_an_attachment_that_did_not_come(story: Story) -> None:
    story.submit(attach=False)
    assert refused(story) == [("GW408", "cid:korean-label@sample")]


GARBAGE = {
    "not xml": (b"<Submission", "GW104"),
    "text": (b"Reference: HB2026", "GW104"),
    "entity": (b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "GW104"),
    "deep": (b"<a>" * 500 + b"</a>" * 500, "GW102"),
    "another document": (b"<Declaration/>", "GW402"),
    "broken reference": (
        b'<Submission xmlns="urn:single-window:submission:1"><Reference>A\n\tB</Reference></Submission>',
        "GW402",
    ),
    "reference of elements": (
        b'<Submission xmlns="urn:single-window:submission:1"><Reference><a/></Reference></Submission>',
        "GW402",
    ),
    "endless reference": (
        b'<Submission xmlns="urn:single-window:submission:1"><Reference>'
        + b"x " * 5000
        + b"</Reference></Submission>",
        "GW402",
    ),
}


@pytest.mark.long
@pytest.mark.parametrize(("content", "problem"), GARBAGE.values(), ids=list(GARBAGE))
def test_what_is_no_submission_is_refused_as_well(story: Story, content: bytes, problem: str) -> None:
    story.submit(content, attach=False)
    assert problem in {one for one, _ in refused(story)}


def test_unsigned(story: Story) -> None:
    story.submit(unsigned())
    assert [problem for problem, _ in refused(story)] == ["GW201"]


@pytest.mark.refusal("broker's software files a declaration that was changed after signing")
def test_changed_after_signing(story: Story) -> None:
    root = story.submission()
    at(root, ".//InvoiceAmount").text = "1.00"
    story.submit(root)
    assert [problem for problem, _ in refused(story)] == ["GW202"]


def test_the_declarants_word_is_not_the_senders(story: Story) -> None:
    """A good message around a submission that another, unregistered key has signed."""
    story.submit(story.submission(signer=signer_named("nobody")))
    assert [problem for problem, _ in refused(story)] == ["GW205"]


def test_an_agent_needs_a_mandate(story: Story) -> None:
    story.register("agent1", "AG-77")
    story.submit(story.submission(with_agent("AG-77"), signer_named("agent1")))
    assert refused(story) == [("GW405", "Agent/ID")]


def test_a_sender_needs_a_mandate(story: Story) -> None:
    story.register("importer", "IMP-1")
    story.submit(story.submission(text(".//Declarant/ID", "IMP-1"), signer_named("importer")))
    assert refused(story) == [("GW405", "Declarant/ID")]


def test_a_revoked_certificate_signs_no_more(story: Story) -> None:
    lost = signer_named("agent-revoked")
    story.register("agent1", "AG-77", signer=lost)
    story.mandate("agent1", "broker1")
    content = story.submission(with_agent("AG-77"), lost)
    crl = make_revocation_list(
        authority(), [lost.certificate.serial], START, START + timedelta(days=9), number=9
    )
    with write_transaction(story.house.engine) as conn:
        fetched_lists.insert_crl(conn, fetched_lists.NewRevocationList("key", "9", START, None, crl), START)
    story.submit(content)
    assert [problem for problem, _ in refused(story)] == ["GW207"]


def test_an_expired_certificate_signs_no_more(story: Story) -> None:
    short = issue_certificate(
        authority(), "CN=agent-short", START - timedelta(hours=1), CertificateOrder(days=1)
    ).signer
    story.register("agent1", "AG-77", signer=short)
    story.mandate("agent1", "broker1")
    content = story.submission(with_agent("AG-77"), short)
    story.clock.forward(days=2)
    story.submit(content)
    assert [problem for problem, _ in refused(story)] == ["GW206"]


def test_comments_cannot_hide_a_part_of_a_name(story: Story) -> None:
    """Signed without comments, `6N001<!-- -->X` is 6N001X, whoever reads only its first text."""

    def change(root: etree._Element) -> None:
        element = at(root, ".//Declarant/ID")
        element.text = "6N001"
        comment = etree.Comment(" ")
        comment.tail = "X"
        element.append(comment)

    story.submit(story.submission(change))
    assert refused(story) == [("GW405", "Declarant/ID")]


def test_comments_between_values_do_no_harm(story: Story) -> None:
    def change(root: etree._Element) -> None:
        element = at(root, ".//Declarant/ID")
        element.text = "6N0"
        comment = etree.Comment("the rest follows")
        comment.tail = "01"
        element.append(comment)

    story.submit(story.submission(change))
    story.tick()
    assert story.case().state == "IN_PROGRESS"


@pytest.mark.long
def test_a_reference_is_used_once_but_a_refused_case_frees_it(story: Story) -> None:
    story.submit(unsigned())
    refused(story)
    story.submit()
    story.tick()
    first = story.case()
    assert first.state == "IN_PROGRESS"
    calls = len(story.soap.calls)
    story.submit()
    story.tick()
    assert story.problems() == [("GW406", "42A/D026")]
    assert len(story.soap.calls) == calls
    story.submit(story.submission(reference("HB2026-000124")))
    story.tick()
    assert story.case().state == "IN_PROGRESS"


def test_a_refusal_of_ours_is_none_of_the_applicants(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that is away for a moment, or stale lists, say nothing of the submission."""

    def away(*_: object) -> None:
        raise GatewayError(NO_ROOM, "the database takes nothing now")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.store.cases.open_case", away)
        story.submit()
        story.tick()
    assert story.delivery(destination="local").state == "QUEUED"
    assert story.inbox.got == []
    story.tick(seconds=15)
    assert story.case().state == "IN_PROGRESS"


@pytest.mark.long
def test_a_message_that_cannot_be_admitted_waits_for_an_operator(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as patch:
        patch.setattr("gateway.hub.submissions.split.write_requests", broken)
        story.submit()
        for _ in range(6):
            story.tick(minutes=10)
    task = story.delivery(dedupe_key="admit:1")
    assert (task.state, task.problem) == ("FAILED", "GW604")
    assert story.steps(MESSAGE, 1) == [("accept", "ACCEPTED"), ("fail", "FAILED")]
    assert story.evidence("message", 1) == ["NRO", "failed", "DeliveryFailure"]
    story.operate(operator_actions.requeue_delivery, task.id)
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    assert story.steps(MESSAGE, 1)[2:] == [("retry", "ACCEPTED"), ("process", "PROCESSED")]
