"""What declarations use of certificates is written off once, and given back with what is refused."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from lxml import etree
from sqlalchemy import Connection, Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves, record_evidence
from gateway.hub import admit_submission, apply_call_back, inspect_submission, make_inspection_rules
from gateway.hub.completion import operator_actions
from gateway.hub.requirements.requirement_ledger import give_back_requirements
from gateway.store import (
    RegisteredRequirement,
    agency_requests,
    cases,
    make_engine,
    messages,
    read_transaction,
    requirement_quantities,
    write_transaction,
)
from gateway.wire import WCO_DEC, serialize_element
from tests.flows.craft import all_of, text, withdrawal, without_applications
from tests.flows.test_amendments import NAME, amendment
from tests.kit.databases import in_turn
from tests.kit.kills import die_at
from tests.kit.story import ITEMS, LAWS, Story, unreachable

ITEM = ".//{*}GovernmentAgencyGoodsItem"
USED = "42A/67A[1]/68A[1]/02A[1]/22C[1]/502"


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False)


def using(reference: str, *lines: tuple[int, str, str, str]) -> Callable[[etree._Element], None]:
    """Declare alone, and use of certificates: item, number, quantity, unit."""

    def change(root: etree._Element) -> None:
        without_applications(root)
        for one in root.findall(".//{*}GovernmentAgencyGoodsItem/{*}AdditionalDocument"):
            one.getparent().remove(one)  # type: ignore[union-attr]
        for item, requirement, quantity, unit in lines:
            goods = root.findall(ITEM)[item - 1]
            made = etree.Element(f"{{{WCO_DEC}}}AdditionalDocument")
            etree.SubElement(made, f"{{{WCO_DEC}}}ID").text = requirement
            off = etree.SubElement(made, f"{{{WCO_DEC}}}WriteOff")
            used = etree.SubElement(off, f"{{{WCO_DEC}}}QuantityQuantity", unitCode=unit)
            used.text = quantity
            goods.insert([child.tag.rpartition("}")[2] for child in goods].index("Commodity"), made)

    return all_of(change, text("Reference", reference), text(".//FunctionalReferenceID", reference))


def declare(story: Story, reference: str, *lines: tuple[int, str, str, str]) -> None:
    story.submit(story.submission(using(reference, *lines)), attach=False)
    story.tick(seconds=1)


def register(story: Story, number: str, quantity: str, unit: str, **more: Any) -> None:
    new = RegisteredRequirement(number, "KFDA", quantity, unit, **more)
    with write_transaction(story.house.engine) as conn:
        assert requirement_quantities.register_requirement(conn, new, story.clock())
        record_registration(conn, new, story.clock())


def record_registration(conn: Connection, new: RegisteredRequirement, at: datetime) -> None:
    """Record the evidence that the verb records."""
    last_day = None if new.valid_until is None else new.valid_until.isoformat()
    after = {"quantity": new.quantity, "unit": new.unit, "holder": new.holder, "valid_until": last_day}
    data = {"verb": "requirement add", "before": None, "after": after | {"laws": list(new.laws or ())}}
    record_evidence(conn, "register", "register", f"requirement {new.number} of {new.agency}", None, data, at)


def used_of(story: Story, number: str) -> dict[str, str]:
    with read_transaction(story.house.engine) as conn:
        (row,) = requirement_quantities.find_requirements(conn, [number])
        standing = [one for one in requirement_quantities.list_uses(conn, row.id) if one.returned_at is None]
    sums: Counter[str] = Counter()
    for one in standing:
        sums[one.unit] += Decimal(one.quantity)  # type: ignore[assignment]
    assert {unit: Decimal(value) for unit, value in row.used.items()} == dict(sums)
    return dict(row.used)


def told(story: Story) -> list[tuple[str, str, str]]:
    found = story.result().findall("{*}Problem")
    return [(one.get("id", ""), one.get("pointer", ""), one.text or "") for one in found]


def evidence(story: Story, case: int, kind: str) -> list[dict[str, Any]]:
    with read_transaction(story.house.engine) as conn:
        return [json.loads(row.data) for row in list_subject_leaves(conn, "case", case) if row.kind == kind]


@pytest.mark.long
@in_turn
def test_declarations_use_a_certificate_until_nothing_is_left(story: Story) -> None:
    register(story, "C-1", "100", "KGM")
    declare(story, "D1", (1, "C-1", "0.06", "TNE"))
    assert story.outcome()[0] == "APPROVED"
    (row,) = evidence(story, story.case().id, "written_off")
    assert row == {"agency": "KFDA", "requirement": "C-1", "item": 1, "quantity": "0.06", "unit": "TNE"}
    declare(story, "D2", (1, "C-1", "60", "KGM"))
    assert told(story) == [("GW411", USED, "requirement C-1 of KFDA: 60 KGM used, 40 KGM left")]
    assert used_of(story, "C-1") == {"TNE": "0.06"}
    # A refused declaration has used nothing, and its reference is free again.
    declare(story, "D2", (1, "C-1", "40", "KGM"))
    assert story.outcome()[0] == "APPROVED"
    declare(story, "D3", (1, "C-1", "0.001", "MGM"))
    assert told(story) == [("GW411", USED, "requirement C-1 of KFDA: 0.001 MGM used, 0 MGM left")]


def test_all_lines_of_a_declaration_count_together_or_not_at_all(story: Story) -> None:
    register(story, "C-1", "100", "KGM")
    register(story, "C-2", "5", "KGM")
    declare(story, "D1", (1, "C-2", "5", "KGM"), (1, "C-1", "60", "KGM"), (2, "C-1", "60", "KGM"))
    problem = ("GW411", USED.replace("68A[1]", "68A[2]"), "requirement C-1 of KFDA: 60 KGM used, 40 KGM left")
    assert told(story) == [problem]
    assert used_of(story, "C-1") == used_of(story, "C-2") == {}


@pytest.mark.long
@pytest.mark.parametrize(
    ("more", "line", "problem"),
    [
        ({}, (1, "C-1", "1", "LTR"), "is in KGM, which cannot be converted to LTR"),
        ({"holder": "999"}, (1, "C-1", "1", "KGM"), "was issued to another importer or exporter"),
        ({"valid_until": date(2020, 1, 1)}, (1, "C-1", "1", "KGM"), "was valid until 2020-01-01"),
    ],
)
def test_a_certificate_that_cannot_be_used_so(
    story: Story, more: dict[str, Any], line: tuple[int, str, str, str], problem: str
) -> None:
    register(story, "C-1", "100", "KGM", **more)
    declare(story, "D1", line)
    ((found, pointer, words),) = told(story)
    assert (found, pointer) == ("GW412", USED)
    assert problem in words
    assert used_of(story, "C-1") == {}


def test_what_the_ledger_does_not_know_stops_nobody(story: Story) -> None:
    declare(story, "D1", (1, "OUTSIDE-1", "100", "KGM"))
    assert story.outcome()[0] == "APPROVED"
    assert evidence(story, story.case().id, "written_off") == []
    (told,) = [one for one in story.result().iter("{*}Warning") if one.get("id") == "GW413"]
    assert told.text == "the ledger does not know requirement OUTSIDE-1; nothing is written off"
    assert told.get("pointer", "").startswith("42A/67A")


def test_who_asks_before_filing_is_told_what_is_left(story: Story) -> None:
    """The same sentences as of the refusal, and a warning for a number that may be misspelt."""
    register(story, "C-1", "5", "KGM")
    lines = ((1, "C-1", "6", "KGM"), (2, "C-2", "1", "KGM"))
    content = serialize_element(story.submission(using("D1", *lines)))
    report = inspect_submission(content, {}, make_inspection_rules(story.hub, "broker1", story.clock()))
    assert [(one.problem.id, one.pointer, one.message) for one in report.findings] == [
        ("GW411", USED, "requirement C-1 of KFDA: 6 KGM used, 5 KGM left")
    ]
    assert report.findings[0].line > 0
    assert [one.problem.id for one in report.warnings if one.pointer.endswith("502")] == ["GW413"]
    assert used_of(story, "C-1") == {}


def test_the_last_day_is_that_of_the_zone(engine: Engine) -> None:
    """In Seoul it is a day later from 15:00 UTC on."""
    story = Story(engine, customs=False)
    story.clock.forward(seconds=(16 * 3600 - story.clock().hour * 3600) % 86400)
    last = story.clock().date()
    register(story, "C-1", "5", "KGM", valid_until=last)
    object.__setattr__(story.hub, "zone", ZoneInfo("Asia/Seoul"))
    declare(story, "D1", (1, "C-1", "1", "KGM"))
    assert [(one, f"until {last}" in words) for one, _, words in told(story)] == [("GW412", True)]
    object.__setattr__(story.hub, "zone", ZoneInfo("UTC"))
    declare(story, "D1", (1, "C-1", "1", "KGM"))
    assert story.outcome()[0] == "APPROVED"


def test_a_declaration_cannot_use_less_than_nothing(story: Story) -> None:
    register(story, "C-1", "100", "KGM")
    declare(story, "D1", (1, "C-1", "-5", "KGM"))
    assert [(one, pointer) for one, pointer, _ in told(story)] == [("GW404", USED)]


def decide(
    story: Story,
    quantity: str,
    code: DecisionCode,
    notice: str,
    number: str = "K-77",
    until: date | None = None,
) -> None:
    decision = Decision(ITEMS["KFDA"], LAWS["KFDA"], code, number, None, Decimal(quantity), "KGM")
    status = "R04" if code is DecisionCode.REJECTED else "R01"
    said = Notice(notice, story.clock(), status, (decision,), valid_until=until)
    apply_call_back(story.hub, "KFDA", AgencyCallback(said, story.number_of("KFDA")))


@pytest.mark.long
def test_a_decision_fills_the_ledger_and_its_correction_changes_it(story: Story) -> None:
    story.submit()
    story.tick()
    decide(story, "50", DecisionCode.APPROVED, "N1")
    declare(story, "D1", (1, "K-77", "30", "KGM"))
    assert story.outcome()[0] == "APPROVED"
    story.clock.forward(seconds=5)
    decide(story, "40", DecisionCode.APPROVED, "N2")
    declare(story, "D2", (1, "K-77", "20", "KGM"))
    assert told(story) == [("GW411", USED, "requirement K-77 of KFDA: 20 KGM used, 10 KGM left")]
    story.clock.forward(seconds=5)
    decide(story, "40", DecisionCode.REJECTED, "N3")
    declare(story, "D3", (1, "K-77", "1", "KGM"))
    assert [(one, words) for one, _, words in told(story)] == [
        ("GW412", "requirement K-77 of KFDA is revoked")
    ]


@pytest.mark.long
def test_the_certificate_of_a_withdrawn_application_is_good_no_more(story: Story) -> None:
    story.submit()
    story.tick()
    decide(story, "50", DecisionCode.APPROVED, "N1")
    for agency in ITEMS:
        story.say(agency, Notice(f"{agency}-G", story.clock(), "G03", (), "cancelled"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=1)
    assert story.request("KFDA").state == "CANCELLED"
    declare(story, "D1", (1, "K-77", "30", "KGM"))
    assert [(one, words) for one, _, words in told(story)] == [
        ("GW412", "requirement K-77 of KFDA is revoked")
    ]


@pytest.mark.long
def test_an_amended_application_has_no_certificate_until_it_is_decided_again(story: Story) -> None:
    story.submit()
    story.tick()
    decide(story, "50", DecisionCode.APPROVED, "N1")
    number = story.number_of("KFDA")
    story.submit(story.submission(amendment(NAME)), action="Amend")
    story.tick(seconds=1)
    declare(story, "D1", (1, "K-77", "30", "KGM"))
    assert [(one, words) for one, _, words in told(story)] == [
        (
            "GW412",
            "requirement K-77 of KFDA cannot be used until KFDA decides again: its application was amended",
        )
    ]
    # Its agency rejects it, and names no number.
    said = Decision(ITEMS["KFDA"], LAWS["KFDA"], DecisionCode.REJECTED)
    story.clock.forward(seconds=5)
    apply_call_back(story.hub, "KFDA", AgencyCallback(Notice("N2", story.clock(), "R04", (said,)), number))
    declare(story, "D1", (1, "K-77", "30", "KGM"))
    assert [(one, words) for one, _, words in told(story)] == [
        ("GW412", "requirement K-77 of KFDA is revoked")
    ]


@pytest.mark.long
def test_only_its_importer_uses_the_certificate_of_a_decision(story: Story) -> None:
    story.submit()
    story.tick()
    decide(story, "50", DecisionCode.APPROVED, "N1")
    other = all_of(using("D1", (1, "K-77", "1", "KGM")), text(".//Importer/ID", "5550000000"))
    story.submit(story.submission(other), attach=False)
    story.tick(seconds=1)
    assert [(one, words) for one, _, words in told(story)] == [
        ("GW412", "requirement K-77 was issued to another importer or exporter")
    ]


@pytest.mark.long
def test_a_certificate_is_issued_to_the_importer_of_the_amended_declaration(story: Story) -> None:
    other = text(".//Importer/ID", "5550000000")
    story.submit()
    story.tick()
    story.submit(story.submission(amendment(other)), action="Amend")
    story.tick(seconds=1)
    decide(story, "50", DecisionCode.APPROVED, "N1")
    declare(story, "D1", (1, "K-77", "1", "KGM"))
    assert [one for one, _, _ in told(story)] == ["GW412"]
    story.submit(story.submission(all_of(using("D2", (1, "K-77", "1", "KGM")), other)), attach=False)
    story.tick(seconds=1)
    assert told(story) == []
    assert used_of(story, "K-77") == {"KGM": "1"}


def with_applications(root: etree._Element) -> None:
    """Use the certificate in each of the three items that agencies decide."""
    for goods in root.findall(ITEM):
        made = etree.Element(f"{{{WCO_DEC}}}AdditionalDocument")
        etree.SubElement(made, f"{{{WCO_DEC}}}ID").text = "C-1"
        off = etree.SubElement(made, f"{{{WCO_DEC}}}WriteOff")
        etree.SubElement(off, f"{{{WCO_DEC}}}QuantityQuantity", unitCode="KGM").text = "10"
        goods.insert([child.tag.rpartition("}")[2] for child in goods].index("Commodity"), made)


@pytest.mark.long
def test_a_rejected_item_gives_back_what_it_uses(story: Story) -> None:
    register(story, "C-1", "30", "KGM")
    story.submit(story.submission(with_applications))
    story.tick()
    case = story.case().id
    assert used_of(story, "C-1") == {"KGM": "30"}
    story.decide_all("KPTA")
    story.decide("KPTA", DecisionCode.REJECTED)
    assert story.case().outcome == "PARTIAL"
    assert used_of(story, "C-1") == {"KGM": "20"}
    (back,) = evidence(story, case, "given_back")
    assert (back["item"], back["quantity"], back["reason"]) == (ITEMS["KPTA"], "10", "rejected")
    # The agency corrects itself: the quantity is still there, and is taken again.
    story.clock.forward(seconds=5)
    story.decide("KPTA", DecisionCode.APPROVED, number="N2")
    assert used_of(story, "C-1") == {"KGM": "30"}
    story.clock.forward(seconds=5)
    story.decide("KPTA", DecisionCode.REJECTED, number="N3")
    declare(story, "D9", (1, "C-1", "5", "KGM"))
    story.clock.forward(seconds=5)
    with read_transaction(story.house.engine) as conn:
        assert cases.find_by_id(conn, case).outcome == "PARTIAL"  # type: ignore[union-attr]
    call = next(one for one in story.soap.calls if one.destination == "KPTA")
    again = story.notice("KPTA", DecisionCode.APPROVED, number="N4")
    apply_call_back(story.hub, "KPTA", AgencyCallback(again, call.text("ApplicationNumber")))
    assert used_of(story, "C-1") == {"KGM": "25"}
    (short,) = evidence(story, case, "not_left")
    assert (short["requirement"], short["problem"]) == ("C-1", "GW411")


def test_a_correction_takes_the_quantity_again_after_the_last_day(story: Story) -> None:
    """The declaration arrived in time, in the zone of the hub; when its agency decides is another matter."""
    register(story, "C-1", "30", "KGM", valid_until=story.clock().date())
    story.submit(story.submission(with_applications))
    story.tick()
    story.decide_all("KPTA")
    story.decide("KPTA", DecisionCode.REJECTED)
    story.clock.forward(seconds=2 * 86400)
    story.decide("KPTA", DecisionCode.APPROVED, number="N2")
    assert used_of(story, "C-1") == {"KGM": "30"}


@pytest.mark.long
def test_a_decision_states_the_last_day_and_a_repeat_states_no_other(story: Story) -> None:
    story.submit(story.submission())
    story.tick()
    last = story.clock().date()
    decide(story, "30", DecisionCode.APPROVED, "N1", until=last)
    decide(story, "30", DecisionCode.APPROVED, "N1", until=last)
    with pytest.raises(GatewayError) as caught:
        decide(story, "30", DecisionCode.APPROVED, "N1", until=last + timedelta(days=1))
    assert caught.value.problem.id == "GW702"
    story.clock.forward(seconds=2 * 86400)
    declare(story, "D1", (1, "K-77", "1", "KGM"))
    assert [(one, f"until {last}" in words) for one, _, words in told(story)] == [("GW412", True)]


@pytest.mark.long
def test_an_amendment_does_not_claim_for_rejected_items(story: Story) -> None:
    """What they would use may be used elsewhere; a corrected decision takes it, if it is there."""
    register(story, "C-1", "35", "KGM")
    story.submit(story.submission(with_applications))
    story.tick()
    story.decide_all("KPTA")
    story.decide("KPTA", DecisionCode.REJECTED)
    case = story.case().id
    story.submit(story.submission(amendment(with_applications)), action="Amend")
    story.tick(seconds=1)
    assert used_of(story, "C-1") == {"KGM": "20"}
    declare(story, "D1", (1, "C-1", "15", "KGM"))
    assert story.outcome()[0] == "APPROVED"
    story.submit(story.submission(amendment(with_applications)), action="Amend")
    story.tick(seconds=1)
    assert story.outcome()[0] == "PARTIAL"
    assert used_of(story, "C-1") == {"KGM": "35"}
    call = next(one for one in story.soap.calls if one.destination == "KPTA")
    again = story.notice("KPTA", DecisionCode.APPROVED, number="N4", at=story.clock())
    apply_call_back(story.hub, "KPTA", AgencyCallback(again, call.text("ApplicationNumber")))
    assert used_of(story, "C-1") == {"KGM": "35"}
    assert [one["problem"] for one in evidence(story, case, "not_left")] == ["GW411"]


def amend(story: Story, reference: str, *lines: tuple[int, str, str, str], change: Any = None) -> list[str]:
    """Amend a declaration without applications; return the ids of the problems."""
    changes = [using(reference, *lines), amendment(), *([change] if change else [])]
    story.submit(story.submission(all_of(*changes)), action="Amend", attach=False)
    story.tick(seconds=1)
    return sorted(problem for problem, _, _ in told(story))


@pytest.mark.long
def test_what_was_written_off_in_time_stays_in_an_amended_declaration(story: Story) -> None:
    """What is unchanged or less is not judged by the last day; what is more, or elsewhere, is."""
    register(story, "C-1", "100", "KGM", valid_until=story.clock().date())
    declare(story, "D1", (1, "C-1", "40", "KGM"))
    story.clock.forward(seconds=2 * 86400)
    assert amend(story, "D1", (1, "C-1", "0.04", "TNE")) == []
    assert used_of(story, "C-1") == {"TNE": "0.04"}
    assert amend(story, "D1", (1, "C-1", "0.0401", "TNE")) == ["GW412"]
    assert amend(story, "D1", (1, "C-1", "40", "KGM"), (1, "C-1", "1", "GRM")) == ["GW412", "GW412"]
    assert amend(story, "D1", (1, "C-1", "40", "KGM"), (2, "C-1", "1", "KGM")) == ["GW412"]
    assert used_of(story, "C-1") == {"TNE": "0.04"}
    assert amend(story, "D1", (1, "C-1", "10", "KGM"), (1, "C-1", "5", "KGM")) == []
    assert used_of(story, "C-1") == {"KGM": "15"}
    # What was given up is gone.
    assert amend(story, "D1", (1, "C-1", "16", "KGM")) == ["GW412"]
    other = text(".//Importer/ID", "5550000000")
    assert amend(story, "D1", (1, "C-1", "15", "KGM"), change=other) == []


@pytest.mark.long
@pytest.mark.parametrize("after", ["less", "amended", "refused"])
def test_an_amendment_keeps_what_its_agency_would_not_grant_again(story: Story, after: str) -> None:
    story.submit()
    story.tick()
    decide(story, "50", DecisionCode.APPROVED, "N1")
    declare(story, "D1", (1, "K-77", "30", "KGM"), (2, "K-77", "10", "KGM"))
    story.clock.forward(seconds=5)
    if after == "amended":
        story.submit(story.submission(amendment(NAME)), action="Amend")
        story.tick(seconds=1)
    else:
        code = DecisionCode.APPROVED if after == "less" else DecisionCode.REJECTED
        with read_transaction(story.house.engine) as conn:
            first = min(cases.list_cases(conn, limit=9), key=lambda row: row.id)
            number = next(row.number for row in agency_requests.list_by_case(conn, first.id)
                          if row.agency == "KFDA")  # fmt: skip
        said = Decision(ITEMS["KFDA"], LAWS["KFDA"], code, "K-77", None, Decimal(20), "KGM")
        status = "R01" if after == "less" else "R04"
        notice = Notice("N2", story.clock(), status, (said,))
        apply_call_back(story.hub, "KFDA", AgencyCallback(notice, number))
    problem = "GW411" if after == "less" else "GW412"
    assert amend(story, "D1", (1, "K-77", "30", "KGM"), (2, "K-77", "11", "KGM")) == [problem]
    assert amend(story, "D1", (1, "K-77", "30", "KGM"), (2, "K-77", "10", "KGM")) == []
    assert used_of(story, "K-77") == {"KGM": "40"}
    other = text(".//Importer/ID", "5550000000")
    assert amend(story, "D1", (1, "K-77", "30", "KGM"), change=other) == ["GW412"]
    assert amend(story, "D1", (1, "K-77", "30", "KGM")) == []
    assert used_of(story, "K-77") == {"KGM": "30"}


@pytest.mark.long
def test_a_rejected_item_keeps_its_use_over_an_amendment_after_the_last_day(story: Story) -> None:
    """The rejected item is amended with the others: when it is approved, it has what it used in time."""
    register(story, "C-1", "30", "KGM", valid_until=story.clock().date())
    story.submit(story.submission(with_applications))
    story.tick()
    story.decide_all("KPTA")
    story.decide("KPTA", DecisionCode.REJECTED)
    story.clock.forward(seconds=2 * 86400)
    story.submit(story.submission(amendment(with_applications)), action="Amend")
    story.tick(seconds=1)
    assert (story.outcome()[0], used_of(story, "C-1")) == ("PARTIAL", {"KGM": "20"})
    story.decide("KPTA", DecisionCode.APPROVED, number="N4")
    assert used_of(story, "C-1") == {"KGM": "30"}


@pytest.mark.long
@in_turn
def test_what_an_operator_ends_takes_again_in_other_units(story: Story) -> None:
    """A correction came while an agency was asked to cancel: the end of the question settles the ledger."""
    register(story, "C-1", "1", "TNE")
    story.submit(story.submission(with_applications))
    story.tick()
    story.decide_all("KFDA")
    story.decide("KFDA", DecisionCode.REJECTED)
    assert used_of(story, "C-1") == {"KGM": "20"}
    story.say("KPTA", *[unreachable()] * 30)
    story.say("NPQS", Notice("NPQS-G", story.clock(), "G04", (), "refused"))
    story.submit(story.submission(all_of(withdrawal, with_applications)), action="Withdraw", attach=False)
    for _ in range(6):
        story.tick(minutes=10)
    story.clock.forward(seconds=5)
    story.decide("KFDA", DecisionCode.APPROVED, number="N5")
    (asking,) = [
        row for row in story.deliveries() if row.parameters.get("operation") == "CancelApplication"
        and row.destination == "KPTA"
    ]  # fmt: skip
    story.operate(operator_actions.cancel_delivery, asking.id)
    assert used_of(story, "C-1") == {"KGM": "30"}
    assert evidence(story, story.case().id, "not_left") == []


def test_what_an_amendment_has_given_back_is_not_taken_again(story: Story) -> None:
    """The item was rejected before: its former use must not come back beside that of the new declaration."""
    register(story, "C-1", "30", "KGM")
    story.submit(story.submission(with_applications))
    story.tick()
    story.decide_all("KPTA")
    story.decide("KPTA", DecisionCode.REJECTED)
    assert used_of(story, "C-1") == {"KGM": "20"}
    with write_transaction(story.house.engine) as conn:
        assert give_back_requirements(conn, story.case().id, "amended", story.clock()) == 2
    story.clock.forward(seconds=5)
    story.decide("KPTA", DecisionCode.APPROVED, number="N2")
    assert used_of(story, "C-1") == {}
    assert evidence(story, story.case().id, "not_left") == []


@pytest.mark.long
def test_a_withdrawn_declaration_gives_back_all(story: Story) -> None:
    register(story, "C-1", "30", "KGM")
    story.submit(story.submission(with_applications))
    assert story.tick(seconds=1)
    assert used_of(story, "C-1") == {"KGM": "30"}
    for agency in ITEMS:
        story.say(agency, Notice(f"{agency}-G", story.clock(), "G03", (), "cancelled"))
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=1)
    assert story.case().state == "WITHDRAWN"
    assert used_of(story, "C-1") == {}
    reasons = {one["reason"] for one in evidence(story, story.case().id, "given_back")}
    assert reasons == {"withdrawn"}


def test_a_case_gives_back_once(story: Story) -> None:
    register(story, "C-1", "30", "KGM")
    declare(story, "D1", (1, "C-1", "10", "KGM"), (2, "C-1", "0.01", "TNE"))
    with write_transaction(story.house.engine) as conn:
        case = cases.lock_case(conn, story.case().id)
        assert give_back_requirements(conn, case.id, "withdrawn", story.clock()) == 2
        assert give_back_requirements(conn, case.id, "withdrawn", story.clock()) == 0
    assert used_of(story, "C-1") == {}
    assert len(evidence(story, story.case().id, "given_back")) == 2


@pytest.mark.long
@in_turn
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_killed_process_has_written_off_with_its_case_or_not_at_all(story: Story, side: str) -> None:
    register(story, "C-1", "10", "KGM")
    story.submit(story.submission(using("D1", (1, "C-1", "10", "KGM"))), attach=False)

    def work(hub: Any) -> None:
        story.agents["local"].hub = hub
        story.house.hub = hub
        story.new_worker("w2", threads=1).run_once()

    die_at(story, f"admit.case.{side}_commit", work)
    assert used_of(story, "C-1") == ({} if side == "before" else {"KGM": "10"})
    story.tick(minutes=5)
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "C-1") == {"KGM": "10"}


def admit_pairs(story: Story, number: int) -> None:
    """Let two declarations at a time use the whole of one certificate at the same instant."""
    for one in range(number):
        register(story, f"C-{one}", "100", "KGM")
    for side in "AB":
        for one in range(number):
            line = (1, f"C-{one}", "100" if side == "A" else "0.1", "KGM" if side == "A" else "TNE")
            story.submit(story.submission(using(f"{side}{one}", line)), attach=False)
    with read_transaction(story.house.engine) as conn:
        rows = messages.list_messages(conn, limit=2 * number, action="Submit")
    ids = sorted(row.id for row in rows)
    together = threading.Barrier(2)

    def admit(mine: list[int]) -> None:
        for message in mine:
            together.wait(60)
            admit_submission(story.hub, message, lambda _: None)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(admit, (ids[:number], ids[number:])))


def count_outcomes(story: Story, number: int) -> Counter[str]:
    with read_transaction(story.house.engine) as conn:
        return Counter(row.outcome for row in cases.list_cases(conn, limit=2 * number))


def race(story: Story, number: int) -> None:
    admit_pairs(story, number)
    assert count_outcomes(story, number) == {"APPROVED": number, "REFUSED": number}
    for one in range(number):
        assert used_of(story, f"C-{one}") in ({"KGM": "100"}, {"TNE": "0.1"})


@pytest.mark.long
def test_of_two_that_use_all_at_once_one_is_refused(engine: Engine) -> None:
    race(Story(engine, customs=False), 4)


@in_turn
@pytest.mark.night
def test_three_hundred_races_for_the_last_quantity(engine: Engine) -> None:
    race(Story(engine, customs=False), 300)


@pytest.mark.long
def test_without_the_lock_more_is_used_than_was_granted(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shows that the race is there and that the lock is what wins it."""
    engine = make_engine(postgresql_url)
    story = Story(engine, customs=False)
    monkeypatch.setattr(
        requirement_quantities, "lock_requirements_by_number", requirement_quantities.find_requirements
    )
    admit_pairs(story, 20)
    assert count_outcomes(story, 20)["APPROVED"] > 20
    engine.dispose()
