"""Results without an application: an agency says a number, and a declaration names it, in either order."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Connection, Engine, Row

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub import Hub, apply_call_back, join_requirements, join_waiting_cases
from gateway.operations import read_case_report
from gateway.store import event_readers, read_transaction, requirement_quantities, write_transaction
from gateway.wire import WCO_DEC
from tests.flows.craft import all_of, at, reference, withdrawal
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare, register, told, used_of, using
from tests.flows.test_withdrawals import cancelling
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import Story, asked

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def say(
    story: Story,
    code: DecisionCode = APPROVED,
    *,
    notice: str = "R1",
    agency: str = "KFDA",
    number: str = "2026-118",
    **more: Any,
) -> str:
    """Let an agency decide under a number of its own."""
    quantity = more.get("quantity", "100")
    one = Decision(
        more.get("item", 1),
        more.get("law", "05"),
        code,
        more.get("named", number),
        quantity=None if quantity is None else Decimal(quantity),
        unit=None if quantity is None else "KGM",
    )
    status = "R04" if code is REJECTED else "R01"
    said = Notice(
        f"{agency}-{notice}",
        more.get("at", story.clock()),
        status,
        (one,),
        more.get("text", ""),
        valid_until=more.get("valid_until"),
    )
    return apply_call_back(story.hub, agency, AgencyCallback(said, requirement_number=number))


@BOTH
def test_a_result_of_the_future_is_refused(story: Story) -> None:
    with pytest.raises(GatewayError) as refused:
        say(story, at=story.clock() + timedelta(days=2))
    assert (refused.value.problem.id, refused.value.location) == ("GW719", "IssuedAt")
    with read_transaction(story.house.engine) as conn:
        assert not requirement_quantities.find_requirements(conn, ["2026-118"])


def test_a_result_may_be_older_than_every_case(story: Story) -> None:
    say(story, at=story.clock() - timedelta(days=4000))
    with read_transaction(story.house.engine) as conn:
        assert requirement_quantities.find_requirements(conn, ["2026-118"])


def name(story: Story, case: str = "D1", quantity: str = "40", number: str = "2026-118") -> None:
    declare(story, case, (1, number, quantity, "KGM"))


def requirement(story: Story, number: str = "2026-118", agency: str = "KFDA") -> Any:
    with read_transaction(story.house.engine) as conn:
        rows = requirement_quantities.find_requirements(conn, [number])
    return next(row for row in rows if row.agency == agency)


def customs(story: Story) -> list[tuple[str, Any, list[tuple[str, ...]]]]:
    calls = [call for call in story.soap.calls if call.destination == "customs"]
    return [
        (
            call.operation,
            call.text("PendingCode"),
            [tuple(leaf.text or "" for leaf in one) for one in call.body.iter("{*}Requirement")],
        )
        for call in calls
    ]


def report(story: Story) -> dict[str, Any]:
    with read_transaction(story.house.engine) as conn:
        return read_case_report(conn, story.case())


def shown(story: Story) -> list[tuple[Any, ...]]:
    """Return item, number and what is shown as written off of each result of the case."""
    return [(one["item"], one["number"], one["quantity"], one["unit"]) for one in report(story)["results"]]


def seen(story: Story) -> list[tuple[str, Any]]:
    story.tick()
    with read_transaction(story.house.engine) as conn:
        rows = event_readers.list_events(conn, "broker1", 0, 500)
    return [(row.state, row.requirement) for row in rows if row.subject_type == "requirement"]


def whole(story: Story) -> tuple[Any, ...]:
    """Return all that must not depend on who came first."""
    case, found = story.case(), report(story)
    results = [(one["item"], one["law"], one["decision"], one["number"]) for one in found["results"]]
    calls = [call for call in customs(story) if call[1] == "19"]
    return case.state, case.outcome, results, used_of(story, "2026-118"), calls[-1], story.outcome()


@pytest.mark.long
def test_a_result_before_its_declaration_is_told_with_it(story: Story) -> None:
    assert say(story) == "2026-118"
    name(story)
    story.tick()
    assert story.outcome() == ("APPROVED", {1: "APPROVED"})
    decision = story.result().find("{*}Decision")
    assert decision is not None
    assert (decision.get("organisation"), decision.get("document")) == ("KFDA", "-")
    assert customs(story)[-1] == ("ReportRequirements", "19", [("1", "05", "2026-118", "40", "KGM")])
    assert used_of(story, "2026-118") == {"KGM": "40"}
    assert story.evidence("requirement", requirement(story).id) == ["reply", "joined"]
    assert "joined" in story.evidence("case", story.case().id)
    assert seen(story) == [("JOINED", "2026-118")]
    assert story.case().state == "CLOSED"


@pytest.mark.long
def test_either_order_has_the_same_outcome(story: Story) -> None:
    name(story, "D1")
    story.tick()
    assert (story.case().state, report(story)["awaited"][0]["number"]) == ("CLOSED", "2026-118")
    say(story)
    story.tick()
    later = whole(story)
    assert (len(report(story)["awaited"]), later[:2]) == (0, ("CLOSED", "APPROVED"))
    assert seen(story) == [("JOINED", "2026-118")]
    name(story, "D2")
    story.tick()
    # The second declaration found the number in the ledger: but for what both have used, all is the same.
    first = whole(story)
    assert first[:3] == later[:3]
    assert first[4:] == later[4:]
    assert first[3] == {"KGM": "80"}


@pytest.mark.long
def test_a_warning_that_the_certificate_answers_is_told_no_more(story: Story) -> None:
    """Item 2 needs a document of KFDA under law 05, whose certificate comes after the declaration."""
    declare(story, "D1", (2, "2026-118", "40", "KGM"))

    def warned() -> list[tuple[str | None, str | None]]:
        story.tick()
        found = [(one.get("id"), one.get("pointer")) for one in story.result().findall("{*}Warning")]
        # Who looks the case up is told the same, whichever page or verb it is.
        shown = [(one["id"], one["pointer"]) for one in report(story)["detail"]["warnings"]]
        assert set(shown) <= set(found)
        assert [one for one in shown if one[1] == "42A/67A[1]/68A[2]"] == [
            one for one in found if one[1] == "42A/67A[1]/68A[2]"
        ]
        return [one for one in found if one[1] == "42A/67A[1]/68A[2]"]

    before = [("GW508", "42A/67A[1]/68A[2]")]
    assert warned() == before
    say(story)
    assert (warned(), story.outcome()) == ([], ("APPROVED", {2: "APPROVED"}))
    say(story, REJECTED, notice="R2", quantity=None, at=story.clock() + timedelta(seconds=1))
    assert (warned(), story.outcome()) == ([], ("PARTIAL", {2: "REJECTED"}))


@pytest.mark.long
@pytest.mark.parametrize("source", ["result", "decision", "registered"])
@pytest.mark.parametrize("order", ["certificate first", "declaration first"])
def test_a_certificate_that_is_revoked_leaves_the_same_warnings_in_either_order(
    story: Story, source: str, order: str
) -> None:
    """That the document was missing is not told: item 2 had one, and what became of it is a decision."""

    def grant() -> None:
        if source == "result":
            say(story, number="C-1")
        elif source == "registered":
            register(story, "C-1", "100", "KGM", laws=("05",))
            with write_transaction(story.house.engine) as conn:
                join_waiting_cases(conn, ["C-1"], "registered", story.clock())
        else:
            tell(DecisionCode.APPROVED, "A1")
        story.tick(seconds=5)

    def tell(code: DecisionCode, number: str) -> None:
        one = Decision(2, "05", code, "C-1", quantity=Decimal(100) if code is APPROVED else None,
                       unit="KGM" if code is APPROVED else None)  # fmt: skip
        said = Notice(f"KFDA-{number}", story.clock(), "R01" if code is APPROVED else "R04", (one,))
        apply_call_back(story.hub, "KFDA", AgencyCallback(said, asked_number))

    def revoke() -> None:
        story.clock.forward(seconds=5)
        if source == "result":
            say(story, REJECTED, number="C-1", notice="R2", quantity=None)
        elif source == "registered":
            with write_transaction(story.house.engine) as conn:
                assert requirement_quantities.revoke_requirement(
                    conn, requirement(story, "C-1").id, story.clock()
                )
        else:
            tell(REJECTED, "A2")
        story.tick(seconds=5)

    story.submit(story.submission(reference("OTHER")))
    story.tick(seconds=1)
    asked_number = story.number_of("KFDA")
    if order == "certificate first":
        grant()
    declare(story, "D1", (1, "R-9", "5", "KGM"), (2, "C-1", "40", "KGM"))
    if order == "declaration first":
        grant()
    assert used_of(story, "C-1") == {"KGM": "40"}
    revoke()
    # Something else is decided, so that a Result is behind all of it in each order.
    say(story, number="R-9", notice="R9")
    settle(story)
    warned = [(one.get("id"), one.get("pointer")) for one in story.result().findall("{*}Warning")]
    assert (story.outcome()[1][1], [one for one in warned if one[1] == "42A/67A[1]/68A[2]"]) == (
        "APPROVED",
        [],
    )


def test_a_repeat_changes_nothing_and_another_content_is_refused(story: Story) -> None:
    at = story.clock()
    say(story, at=at)
    say(story, at=at)
    assert story.evidence("requirement", requirement(story).id) == ["reply"]
    with pytest.raises(GatewayError) as caught:
        say(story, at=at, quantity="101")
    assert caught.value.problem.id == "GW702"
    with pytest.raises(GatewayError) as caught:
        say(story, at=at, number="2026-119")
    assert caught.value.problem.id == "GW702"


@pytest.mark.long
def test_a_revocation_and_its_correction_are_told_again(story: Story) -> None:
    at = story.clock()
    say(story, at=at)
    name(story)
    story.tick()
    say(story, REJECTED, notice="R2", quantity=None, at=at + timedelta(minutes=2))
    story.tick(seconds=5)
    assert story.outcome()[1] == {1: "REJECTED"}
    assert (story.case().state, story.case().outcome) == ("CLOSED", "PARTIAL")
    assert used_of(story, "2026-118") == {}
    name(story, "D2")
    assert told(story)[0][0] == "GW412"
    say(story, notice="R3", at=at + timedelta(minutes=3))
    # An older notice that comes late changes nothing.
    say(story, REJECTED, notice="R0", quantity=None, at=at + timedelta(minutes=1))
    story.tick(seconds=5)
    assert story.outcome() == ("APPROVED", {1: "APPROVED"})
    assert used_of(story, "2026-118") == {"KGM": "40"}
    assert seen(story) == [("JOINED", "2026-118"), *[("CHANGED", "2026-118")] * 3]


@pytest.mark.long
def test_the_quantity_is_of_several_declarations(story: Story) -> None:
    say(story, quantity="100")
    name(story, "D1", "60")
    name(story, "D2", "60")
    assert told(story)[0][2] == "requirement 2026-118 of KFDA: 60 KGM used, 40 KGM left"
    name(story, "D3", "40")
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "2026-118") == {"KGM": "100"}


@pytest.mark.long
def test_who_waited_first_has_what_is_left_and_the_other_is_told(story: Story) -> None:
    name(story, "D1", "60")
    name(story, "D2", "60")
    story.tick()
    second = story.case().id
    say(story, quantity="100")
    story.tick()
    assert used_of(story, "2026-118") == {"KGM": "60"}
    assert "not_left" in story.evidence("case", second)
    assert report(story)["awaited"][0]["number"] == "2026-118"
    # A correction with more: the second one has its part.
    say(story, notice="R2", quantity="120", at=story.clock() + timedelta(minutes=1))
    story.tick()
    assert used_of(story, "2026-118") == {"KGM": "120"}


def test_each_agency_has_its_own_numbers(story: Story) -> None:
    say(story)
    say(story, agency="KPTA", law="01", notice="R1", quantity="5")
    assert requirement(story).id != requirement(story, agency="KPTA").id
    name(story)
    ((problem, _, words),) = told(story)
    assert (problem, "KFDA and KPTA" in words) == ("GW412", True)
    # The declaration says whose it is.
    declare_of(story, "D2", "KPTA")
    assert (story.outcome(), used_of_agency(story, "KPTA")) == (("APPROVED", {1: "APPROVED"}), {"KGM": "4"})
    assert used_of_agency(story, "KFDA") == {}


def declare_of(story: Story, case: str, agency: str) -> None:
    """Declare 4 kg of the number of one agency."""

    def issued(root: etree._Element) -> None:
        document = root.find(".//{*}GovernmentAgencyGoodsItem/{*}AdditionalDocument")
        assert document is not None
        issuer = etree.Element(f"{{{WCO_DEC}}}Submitter")
        etree.SubElement(issuer, f"{{{WCO_DEC}}}Name").text = agency
        at(document, "WriteOff").addprevious(issuer)

    change = all_of(using(case, (1, "2026-118", "4", "KGM")), issued)
    story.submit(story.submission(change), attach=False)
    story.tick(seconds=1)


def used_of_agency(story: Story, agency: str) -> dict[str, str]:
    return dict(requirement(story, agency=agency).used)


@pytest.mark.long
@pytest.mark.parametrize("order", [("KFDA", "KPTA"), ("KPTA", "KFDA")])
def test_a_case_waits_for_the_number_of_the_agency_that_it_names(
    story: Story, order: tuple[str, str]
) -> None:
    """Whichever of two agencies says the number first, the declaration has that of the one it names."""
    declare_of(story, "D1", "KPTA")
    assert report(story)["awaited"][0]["agency"] == "KPTA"
    for agency in order:
        say(story, agency=agency, law="01" if agency == "KPTA" else "05", notice="R1", quantity="5")
        story.tick(seconds=1)
    assert (used_of_agency(story, "KPTA"), used_of_agency(story, "KFDA")) == ({"KGM": "4"}, {})
    assert [one["law"] for one in report(story)["results"]] == ["01"]
    assert report(story)["awaited"] == []


@pytest.mark.parametrize(
    ("more", "problem", "where"),
    [
        ({"law": "01"}, "GW404", "Decision[1]/law"),
        ({"named": "OTHER"}, "GW404", "Decision[1]/number"),
        ({"quantity": "0"}, "GW404", "Decision[1]/quantity"),
        ({"number": "x" * 71, "named": None}, "GW404", "RequirementNumber"),
    ],
)
def test_what_cannot_stand_by_itself_is_refused(
    story: Story, more: dict[str, Any], problem: str, where: str
) -> None:
    with pytest.raises(GatewayError) as caught:
        say(story, **more)
    assert (caught.value.problem.id, caught.value.location) == (problem, where)


def test_an_approval_without_quantity_never_runs_out(story: Story) -> None:
    say(story, quantity=None)
    name(story, "D1", "1000000")
    assert story.outcome() == ("APPROVED", {1: "APPROVED"})


@pytest.mark.long
def test_a_declaration_with_applications_has_both(story: Story) -> None:
    say(story)
    story.submit(story.submission(naming(1, "2026-118")))
    story.tick()
    story.decide_all()
    story.tick()
    assert story.outcome()[0] == "APPROVED"
    assert len(story.result().findall("{*}Decision")) == 4
    assert len([call for call in customs(story) if call[1] == "19"][-1][2]) == 4
    # The agency takes back what it said: the item may not leave, whatever the others say.
    say(story, REJECTED, notice="R2", quantity=None, at=story.clock() + timedelta(minutes=1))
    story.tick(seconds=5)
    assert (story.outcome()[0], story.case().state) == ("PARTIAL", "CLOSED")


@pytest.mark.long
def test_customs_is_not_told_an_approval_beside_a_rejection_under_the_same_law(story: Story) -> None:
    """Item 2 has an application under law 05, and a certificate under law 05 that the agency takes back."""
    say(story)
    story.submit(story.submission(naming(2, "2026-118")))
    story.tick()
    story.decide_all()
    story.tick()

    def approved() -> list[tuple[str, str]]:
        last = [call for call in customs(story) if call[1] == "19"][-1]
        return sorted((item, law) for item, law, *_ in last[2])

    assert approved() == [("1", "01"), ("2", "05"), ("2", "05"), ("3", "12")]
    say(story, REJECTED, notice="R2", quantity=None, at=story.clock() + timedelta(minutes=1))
    story.tick(seconds=5)
    assert (story.outcome()[1][2], approved()) == ("REJECTED", [("1", "01"), ("3", "12")])


def naming(item: int, number: str) -> Any:
    """Name one more number at an item of the sample."""

    def change(root: etree._Element) -> None:
        goods = root.findall(".//{*}GovernmentAgencyGoodsItem")[item - 1]
        made = etree.Element(f"{{{WCO_DEC}}}AdditionalDocument")
        etree.SubElement(made, f"{{{WCO_DEC}}}ID").text = number
        off = etree.SubElement(made, f"{{{WCO_DEC}}}WriteOff")
        etree.SubElement(off, f"{{{WCO_DEC}}}QuantityQuantity", unitCode="KGM").text = "1"
        at(goods, "Commodity").addprevious(made)

    return change


@pytest.mark.long
def test_a_withdrawn_declaration_waits_for_nothing(story: Story) -> None:
    name(story, "D1")
    story.tick()
    story.submit(story.submission(all_of(withdrawal, reference("D1"))), action="Withdraw", attach=False)
    story.tick()
    assert (story.case().state, report(story)["awaited"]) == ("WITHDRAWN", [])
    say(story)
    story.tick()
    assert used_of(story, "2026-118") == {}
    assert story.case().state == "WITHDRAWN"


@pytest.mark.long
@pytest.mark.parametrize("first", [True, False])
def test_a_withdrawal_that_is_refused_leaves_what_the_case_waits_for(story: Story, first: bool) -> None:
    """The outcome is the same in either order."""
    if first:
        say(story)
    story.submit(story.submission(naming(2, "2026-118")))
    story.tick()
    cancelling(story, KPTA="G03", KFDA="G04", NPQS="G03")
    story.submit(story.submission(withdrawal), action="Withdraw", attach=False)
    story.tick(seconds=5)
    story.decide("KFDA")
    story.tick(seconds=5)
    if not first:
        assert [one["number"] for one in report(story)["awaited"]][-1:] == ["2026-118"]
        say(story)
        story.tick(seconds=5)
    assert (used_of(story, "2026-118"), story.outcome()[1][2]) == ({"KGM": "1"}, "APPROVED")
    told = [sorted((item, law) for item, law, *_ in call[2]) for call in customs(story) if call[1] == "19"]
    # Those whose application was cancelled are not named.
    assert told[-1] == [("2", "05"), ("2", "05")]


@pytest.mark.long
def test_customs_is_not_told_an_approval_under_a_law_whose_application_was_cancelled(story: Story) -> None:
    say(story)
    story.submit(story.submission(naming(2, "2026-118")))
    story.tick()
    story.decide_all("KFDA")
    story.hear("KFDA", asked(story, "KFDA", "G1", status="G01", pointers=()))
    story.tick(seconds=5)
    assert (story.outcome()[0], used_of(story, "2026-118")) == ("PARTIAL", {})
    assert sorted((item, law) for item, law, *_ in customs(story)[-1][2]) == [("1", "01"), ("3", "12")]


def test_a_withdrawal_is_not_held_by_a_number(story: Story) -> None:
    say(story)
    name(story, "D1")
    story.tick()
    story.submit(story.submission(all_of(withdrawal, reference("D1"))), action="Withdraw", attach=False)
    story.tick()
    assert story.case().state == "WITHDRAWN"
    assert used_of(story, "2026-118") == {}


@pytest.mark.long
@BOTH
def test_result_and_declaration_at_the_same_instant(story: Story) -> None:
    """Whoever is first: the item has the decision, and its quantity is written off once."""
    for turn in range(6):
        number = f"RACE-{turn}"
        story.submit(story.submission(using(f"D-{turn}", (1, number, "40", "KGM"))), attach=False)
        with ThreadPoolExecutor(2) as pool:
            worker = story.new_worker(f"race-{turn}", threads=1)
            heard = pool.submit(say, story, number=number, notice=f"R-{turn}")
            admitted = pool.submit(worker.run_once)
            heard.result()
            admitted.result()
        story.tick(seconds=1)
        assert used_of(story, number) == {"KGM": "40"}
        assert (story.case().state, story.outcome()) == ("CLOSED", ("APPROVED", {1: "APPROVED"}))


@pytest.mark.long
def test_a_case_that_joins_a_number_locks_all_that_it_uses_at_once(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked one after the other, two cases with the same numbers could wait for each other."""
    say(story)
    declare(story, "D1", (1, "2026-118", "40", "KGM"), (2, "2026-119", "10", "KGM"))
    story.tick()
    say(story, notice="R2", number="2026-119", item=2)
    locked: list[set[int]] = []
    lock = requirement_quantities.lock_requirements

    def watched(conn: Connection, wanted: Collection[int]) -> Sequence[Row[Any]]:
        locked.append({int(one) for one in wanted})
        return lock(conn, wanted)

    monkeypatch.setattr(requirement_quantities, "lock_requirements", watched)
    story.tick()
    assert used_of(story, "2026-119") == {"KGM": "10"}
    assert locked[0] == {requirement(story).id, requirement(story, "2026-119").id}
    assert all(one <= locked[0] for one in locked)


@pytest.mark.long
@pytest.mark.parametrize("order", list(permutations(("approved", "rejected"))), ids="-".join)
def test_a_rejection_decides_about_a_declaration_that_waits(story: Story, order: tuple[str, ...]) -> None:
    """The latest issued result counts: the rejection, whatever comes first; an approval behind it again."""
    name(story, "D1")
    story.tick(minutes=10)
    first = story.clock() - timedelta(minutes=8)
    notices = {
        "approved": lambda: say(story, at=first),
        "rejected": lambda: say(story, REJECTED, notice="R2", quantity=None, at=first + timedelta(minutes=2)),
    }
    for one in order:
        notices[one]()
        story.tick()
    assert (story.outcome(), used_of(story, "2026-118")) == (("PARTIAL", {1: "REJECTED"}), {})
    assert (report(story)["awaited"], customs(story)[-1][1:]) == ([], ("19", []))
    assert story.evidence("case", story.case().id).count("joined") == 1
    assert "JOINED" in [state for state, _ in seen(story)]
    say(story, notice="R3", at=first + timedelta(minutes=4))
    story.tick()
    assert (story.outcome(), used_of(story, "2026-118")) == (("APPROVED", {1: "APPROVED"}), {"KGM": "40"})
    assert customs(story)[-1][1:] == ("19", [("1", "05", "2026-118", "40", "KGM")])


@pytest.mark.long
def test_a_rejection_alone_is_told(story: Story) -> None:
    name(story, "D1")
    story.tick()
    say(story, REJECTED, quantity=None)
    story.tick()
    assert (story.outcome(), story.case().state) == (("PARTIAL", {1: "REJECTED"}), "CLOSED")
    # Of a number that another agency has, too, nobody knows whose certificate is meant.
    name(story, "D2", number="2026-119")
    story.tick()
    say(story, REJECTED, agency="KFDA", number="2026-119", quantity=None, notice="R2")
    say(story, agency="NPQS", number="2026-119", law="12")
    story.tick()
    assert story.outcome() == ("APPROVED", {})


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("code", [APPROVED, REJECTED])
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_process_that_dies_over_a_result(story: Story, place: str, code: DecisionCode) -> None:
    name(story, "D1")
    story.tick()
    at = story.clock()

    def hear(hub: Hub) -> None:
        story.hub = hub
        say(story, code, at=at)

    def join(hub: Hub) -> None:
        (task,) = story.deliveries(state="QUEUED", subject_type="case")
        join_requirements(hub, int(task.subject_id), None, lambda conn: None)

    die_at(story, f"reply.requirement.{place}_commit", hear)
    say(story, code, at=at)
    die_at(story, f"requirement.join.{place}_commit", join)
    story.tick(seconds=61)
    assert used_of(story, "2026-118") == ({"KGM": "40"} if code is APPROVED else {})
    assert story.outcome() == ("APPROVED" if code is APPROVED else "PARTIAL", {1: str(code)})
    with read_transaction(story.house.engine) as conn:
        rows = list_subject_leaves(conn, "requirement", requirement(story).id)
    assert [(row.kind, json.loads(row.data).get("case") is None) for row in rows] == [
        ("reply", True), ("joined", False),
    ]  # fmt: skip


def told_quantities(story: Story) -> list[tuple[str, ...]]:
    """Return the certificates of the last Result, which code 19 must name alike."""
    named = []
    for one in story.result().findall("{*}Decision"):
        quantity = one.find("{*}Quantity")
        more = () if quantity is None else (quantity.text or "", quantity.get("unitCode", ""))
        number = one.findtext("{*}Number")
        named.append((one.get("item", ""), one.get("law", ""), *((number,) if number else ()), *more))
    approved = [call for call in customs(story) if call[1] == "19"][-1][2]
    assert sorted(one for one in named if one in approved) == sorted(approved)
    return sorted(approved)


@pytest.mark.long
@pytest.mark.parametrize(
    ("lines", "told_of_it"),
    [
        ([("30", "KGM"), ("20", "KGM")], [("50", "KGM")]),
        ([("0.03", "TNE"), ("20000", "GRM")], [("50", "KGM")]),
        ([("0.03", "TNE")], [("0.03", "TNE")]),
    ],
)
def test_customs_hears_what_all_lines_of_an_item_use(
    story: Story, lines: list[tuple[str, str]], told_of_it: list[tuple[str, str]]
) -> None:
    say(story)
    declare(story, "D1", *((2, "2026-118", *one) for one in lines))
    story.tick()
    assert told_quantities(story) == [("2", "05", "2026-118", *one) for one in told_of_it]


def test_units_without_a_common_one_are_told_apart(story: Story) -> None:
    say(story, quantity=None)
    declare(
        story, "D1", (2, "2026-118", "30", "KGM"), (2, "2026-118", "5", "PCE"), (2, "2026-118", "1", "PCE")
    )
    story.tick()
    assert told_quantities(story) == [
        ("2", "05", "2026-118", "30", "KGM"),
        ("2", "05", "2026-118", "6", "PCE"),
    ]


@pytest.mark.long
def test_a_line_that_has_its_quantity_later_is_told(story: Story) -> None:
    declare(story, "D1", (2, "2026-118", "60", "KGM"), (2, "2026-118", "50", "KGM"))
    story.tick()
    say(story)
    story.tick()
    assert told_quantities(story) == [("2", "05", "2026-118", "60", "KGM")]
    say(story, notice="R2", quantity="120", at=story.clock() + timedelta(minutes=1))
    story.tick()
    assert used_of(story, "2026-118") == {"KGM": "110"}
    assert told_quantities(story) == [("2", "05", "2026-118", "110", "KGM")]


@pytest.mark.long
def test_what_was_not_written_off_again_is_not_told(story: Story) -> None:
    """A certificate that comes back smaller is left to another declaration: nobody hears of more than it."""
    at = story.clock()
    say(story, at=at)
    declare(story, "D1", (2, "2026-118", "40", "KGM"))
    story.tick()
    say(story, REJECTED, notice="R2", quantity=None, at=at + timedelta(minutes=2))
    story.tick()
    (said,) = story.result().findall("{*}Decision")
    assert (said.findtext("{*}Number"), said.find("{*}Quantity")) == ("2026-118", None)
    say(story, notice="R3", quantity="30", at=at + timedelta(minutes=3))
    story.tick()
    assert "not_left" in story.evidence("case", story.case().id)
    assert used_of(story, "2026-118") == {}
    assert (story.outcome(), told_quantities(story)) == (("APPROVED", {}), [])
    assert (shown(story), [one["number"] for one in report(story)["awaited"]]) == ([], ["2026-118"])
    say(story, notice="R4", quantity="60", at=at + timedelta(minutes=4))
    story.tick()
    assert used_of(story, "2026-118") == {"KGM": "40"}
    assert told_quantities(story) == [("2", "05", "2026-118", "40", "KGM")]
    assert shown(story) == [(2, "2026-118", "40", "KGM")]


@pytest.mark.long
def test_a_child_names_the_certificate_of_its_parent_and_no_quantity_of_it(story: Story) -> None:
    say(story)
    declare(story, "D1", (2, "2026-118", "40", "KGM"))
    story.tick()
    assert told_quantities(story) == [("2", "05", "2026-118", "40", "KGM")]
    change = child("C1", str(story.case().number), (2, "10", "10"))
    story.submit(story.submission(change), attach=False)
    story.tick(seconds=1)
    story.tick(seconds=1)
    assert story.outcome() == ("APPROVED", {2: "APPROVED"})
    assert told_quantities(story) == [("2", "05", "2026-118")]
    assert shown(story) == [(2, "2026-118", None, None)]
    assert used_of(story, "2026-118") == {"KGM": "40"}


@pytest.mark.long
@pytest.mark.parametrize("gives", ["another declaration", "the agency"])
def test_children_are_told_what_their_parent_takes_again(story: Story, gives: str) -> None:
    """Nothing is approved while nothing is written off: each hears the approval once, whoever gives it."""
    at = story.clock()
    say(story, at=at)
    name(story, "D0")
    declare(story, "D1", (2, "2026-118", "40", "KGM"))
    family = [str(story.case().number)]
    for parent, reference_, item in ((0, "C1", (2, "10", "10")), (1, "G1", (2, "1", "1"))):
        story.submit(story.submission(child(reference_, family[parent], item)), attach=False)
        story.tick(seconds=1)
        family.append(str(story.case().number))
    say(story, REJECTED, notice="R2", quantity=None, at=at + timedelta(minutes=1))
    settle(story)
    say(story, notice="R3", quantity="50", at=at + timedelta(minutes=2))
    settle(story)
    assert used_of(story, "2026-118") == {"KGM": "40"}
    assert [numbers_told(story, one)[-1] for one in family] == [[], [], []]
    before = [len(numbers_told(story, one)) for one in family]
    if gives == "the agency":
        say(story, notice="R4", quantity="100", at=at + timedelta(minutes=3))
    else:
        story.submit(story.submission(all_of(withdrawal, reference("D0"))), action="Withdraw", attach=False)
    settle(story)
    assert [numbers_told(story, one)[before[place] :] for place, one in enumerate(family)] == [
        [["2026-118"]]
    ] * 3
    assert [last_approvals(story, one) for one in family] == [
        [("2", "05", "2026-118", "40", "KGM")], [("2", "05", "2026-118")], [("2", "05", "2026-118")],
    ]  # fmt: skip


def settle(story: Story) -> None:
    for _ in range(4):
        story.tick(seconds=5)


def numbers_told(story: Story, case: str) -> list[list[str | None]]:
    """Return the numbers of the decisions in each Result of a case."""
    told = [one for one in story.inbox.documents("Result") if one.findtext("{*}CaseNumber") == case]
    return [[said.findtext("{*}Number") for said in one.findall("{*}Decision")] for one in told]


def last_approvals(story: Story, case: str) -> list[tuple[str, ...]]:
    """Return what customs heard last with code 19 of a case."""
    calls = [
        one for one in story.soap.calls if one.destination == "customs" and one.text("CaseNumber") == case
    ]
    last = [one for one in calls if one.text("PendingCode") == "19"][-1]
    return [tuple(leaf.text or "" for leaf in one) for one in last.body.iter("{*}Requirement")]
