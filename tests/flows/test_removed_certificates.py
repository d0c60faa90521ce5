"""The certificates of an item that an amendment removes, and of a declaration that is being withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyAcknowledgment, AgencyCallback, Decision, DecisionCode, Notice
from gateway.errors import CASE_CLOSED, GatewayError
from gateway.hub import Hub, apply_call_back
from gateway.hub.requirements.granted_certificates import list_usable_certificates
from gateway.store import agency_requests, cases, read_transaction
from tests.flows.craft import Change, all_of, reference, text, withdrawal
from tests.flows.item_changes import add_item, amendment, concern, drop_application, remove_item
from tests.flows.test_amended_values import name_of
from tests.flows.test_late_approvals import describe, hear, request_of, state_of
from tests.flows.test_outside_results import naming
from tests.flows.test_requirement_ledger import declare, evidence, told, used_of
from tests.flows.test_withdrawals import run_and_die
from tests.kit.databases import BOTH
from tests.kit.kills import die_at
from tests.kit.story import AGENCIES, ITEMS, LAWS, QUIET, Story, unreachable

APPROVED, REJECTED = DecisionCode.APPROVED, DecisionCode.REJECTED
REVOKED = "requirement Y of KFDA is revoked"
SUSPENDED = "requirement Y is suspended until KFDA answers"
AGAIN = "requirement Y of KFDA cannot be used until KFDA decides again"
IMPORTER = text(".//Importer/Name", "Another importer")


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, agreement=QUIET)


def file_approved(story: Story, name: str = "P", certificate: str = "Y") -> int:
    """File, and let KFDA approve 100 kg of item 2 as a certificate; return the case (row id)."""
    story.submit(story.submission(reference(name)))
    story.tick()
    case = int(story.case().id)
    decide(story, case, APPROVED, f"{name}-1", certificate)
    return case


def decide(story: Story, case: int, code: DecisionCode, number: str, certificate: str = "Y") -> None:
    hear(story, case, "KFDA", make_notice(story, code, number, certificate))
    story.tick(seconds=2)


def make_notice(story: Story, code: DecisionCode, number: str, certificate: str = "Y") -> Notice:
    said = Decision(ITEMS["KFDA"], LAWS["KFDA"], code, certificate, quantity=Decimal(100), unit="KGM")
    return Notice(f"KFDA-{number}", story.clock(), "R01" if code is APPROVED else "R04", (said,))


def remove(story: Story, name: str = "P") -> None:
    """Take item 2 out of the declaration, and with it the application of KFDA."""
    changes = amendment(remove_item(2), drop_application("A2"))
    story.say("KFDA", AgencyAcknowledgment("heard"))
    story.submit(story.submission(all_of(reference(name), changes)), action="Amend", attach=False)
    story.tick(seconds=2)


def say(story: Story, case: int, status: str, number: str = "C") -> None:
    hear(story, case, "KFDA", Notice(f"KFDA-{number}", story.clock(), status, ()))
    story.tick(seconds=2)


_NAMES = (f"U-{number}" for number in range(10_000))


def use(story: Story, certificate: str = "Y", names: Iterator[str] = _NAMES) -> str:
    """Declare 10 kg of the certificate; return the outcome, or what the refusal says."""
    declare(story, next(names), (1, certificate, "10", "KGM"))
    return next((words for _, _, words in told(story)), story.outcome()[0])


@pytest.mark.long
@BOTH
def test_what_the_agency_does_not_cancel_is_a_certificate_of_its_own(story: Story) -> None:
    """It does not come back into the case; a later approval, a rejection and a repeat count as they rank."""
    case = file_approved(story)
    remove(story)
    assert use(story).startswith(SUSPENDED)
    assert describe(story, case)[1] == [("Y", False, True)]
    say(story, case, "G04")
    assert use(story) == "APPROVED"
    again = make_notice(story, APPROVED, "P-2")
    hear(story, case, "KFDA", again)
    hear(story, case, "KFDA", again)
    story.tick(seconds=2)
    assert use(story) == "APPROVED"
    assert used_of(story, "Y") == {"KGM": "20"}
    assert describe(story, case)[1] == [("Y", False, False)]
    decide(story, case, REJECTED, "P-3")
    assert use(story) == REVOKED
    decide(story, case, APPROVED, "P-4", "Z")
    assert (use(story, "Z"), use(story)) == ("APPROVED", REVOKED)
    with read_transaction(story.house.engine) as conn:
        row = cases.find_by_id(conn, case)
        left = agency_requests.list_by_case(conn, case)
    assert row is not None
    assert (row.state, row.detail["items"]) == ("IN_PROGRESS", [1, 3])
    assert [one.required for one in left if one.agency == "KFDA"] == [[]]


@pytest.mark.long
def test_what_the_agency_cancels_is_revoked(story: Story) -> None:
    case = file_approved(story)
    remove(story)
    say(story, case, "G04", "C1")
    say(story, case, "G03", "C2")
    assert use(story) == REVOKED
    with pytest.raises(GatewayError) as refused:
        decide(story, case, APPROVED, "P-2")
    assert refused.value.problem is CASE_CLOSED


@pytest.mark.long
def test_an_item_whose_application_goes_on_is_approved_again(story: Story) -> None:
    """Its agency is not asked: until it says something of the item, nobody has said that it stands."""
    story.submit(story.submission(all_of(reference("P"), add_item(4, like=2), concern("A2", 4, like=2))))
    story.tick()
    case = int(story.case().id)
    decide(story, case, APPROVED, "P-1")
    four = Decision(4, LAWS["KFDA"], APPROVED, "V", quantity=Decimal(100), unit="KGM")
    hear(story, case, "KFDA", Notice("KFDA-P-4", story.clock(), "R01", (four,)))
    changes = (add_item(4, like=2), concern("A2", 4, like=2), remove_item(2))
    story.submit(story.submission(all_of(reference("P"), amendment(*changes))), action="Amend")
    story.tick(seconds=2)
    assert use(story).startswith(AGAIN)
    assert use(story, "V") == "APPROVED"
    decide(story, case, APPROVED, "P-2")
    assert use(story) == "APPROVED"


@pytest.mark.long
@pytest.mark.parametrize("change", [name_of(2, "다른"), IMPORTER], ids=["item", "party"])
def test_what_an_amendment_had_made_lapse_stays_so(story: Story, change: Change) -> None:
    """It was about other goods; what the agency approves afterwards is about those that were removed."""
    case = file_approved(story)
    story.submit(story.submission(all_of(reference("P"), amendment(change))), action="Amend")
    story.tick(seconds=2)
    remove(story)
    say(story, case, "G04")
    assert use(story).startswith(AGAIN)
    decide(story, case, APPROVED, "P-2")
    assert use(story) == "APPROVED"


def is_usable(story: Story, number: str) -> bool:
    """Return whether a certificate covers what a declaration needs."""
    with read_transaction(story.house.engine) as conn:
        return bool(list_usable_certificates(conn, [number]))


@pytest.mark.long
@pytest.mark.parametrize("turn", ["removed", "withdrawn"])
@pytest.mark.parametrize("kept", ["G04", "approved again"])
def test_a_case_that_waits_has_the_certificate_when_the_agency_keeps_it(
    story: Story, turn: str, kept: str
) -> None:
    """An approval that its agency sent before it heard the question is no answer to it."""
    story.submit(story.submission(reference("P")))
    story.tick()
    case = int(story.case().id)
    declare(story, "WAIT", (1, "Y", "10", "KGM"))
    story.say("KFDA", unreachable(), AgencyAcknowledgment("heard"))
    changes = amendment(remove_item(2), drop_application("A2")) if turn == "removed" else withdrawal
    action = "Amend" if turn == "removed" else "Withdraw"
    story.submit(story.submission(all_of(reference("P"), changes)), action=action, attach=False)
    story.tick(seconds=2)
    decide(story, case, APPROVED, "P-1")
    assert request_of(story, case, "KFDA").cancellation == "ASKED"
    assert used_of(story, "Y") == {}
    assert not is_usable(story, "Y")
    story.tick(minutes=5)
    if kept == "G04":
        say(story, case, "G04")
    else:
        # Under another number, of which nobody waits: what it had approved stands with it.
        other = Decision(ITEMS["KFDA"], LAWS["KFDA"], APPROVED, "Z", quantity=Decimal(1), unit="KGM")
        with read_transaction(story.house.engine) as conn:
            opened = cases.find_by_id(conn, case)
        assert opened is not None
        hear(story, case, "KFDA", Notice("KFDA-P-0", opened.opened_at, "R01", (other,)))
        story.tick(seconds=2)
    assert request_of(story, case, "KFDA").cancellation == "REFUSED"
    assert used_of(story, "Y") == {"KGM": "10"}
    assert is_usable(story, "Y")


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("order", list(permutations(("G04", "again", "rejected"))), ids="-".join)
def test_every_order_of_what_is_said_of_a_removed_item_ends_alike(
    story: Story, order: tuple[str, ...]
) -> None:
    """The issue times count: the approval is the latest, whatever arrives first and however often."""
    case = file_approved(story)
    remove(story)
    said = {
        "rejected": make_notice(story, REJECTED, "P-2"),
        "G04": Notice("KFDA-C", story.clock(), "G04", ()),
    }
    story.clock.forward(seconds=2)
    said["again"] = make_notice(story, APPROVED, "P-3")
    for one in (*order, *reversed(order)):
        hear(story, case, "KFDA", said[one])
        story.tick(seconds=2)
    assert use(story) == "APPROVED"
    assert describe(story, case)[1] == [("Y", False, False)]


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("commit", ["admit.amendment", "reply.cancellation", "reply.call_back"])
def test_wherever_a_process_dies_the_certificate_stands_when_it_is_kept(engine: Engine, commit: str) -> None:
    story = Story(engine, agreement=QUIET)
    for side in ("before_commit", "after_commit"):
        name = f"P-{side[0]}"
        case = file_approved(story, name, name)
        changes = amendment(remove_item(2), drop_application("A2"))
        kept: Any = Notice(f"KFDA-{name}-C", story.clock(), "G04", ())
        answer = kept if commit == "reply.cancellation" else AgencyAcknowledgment("heard")
        story.soap.answers.clear()
        story.say("KFDA", answer)
        story.submit(story.submission(all_of(reference(name), changes)), action="Amend", attach=False)
        said = AgencyCallback(kept, request_of(story, case, "KFDA").number)

        def act(hub: Hub, said: AgencyCallback = said) -> None:
            run_and_die(story, hub)
            apply_call_back(hub, "KFDA", said)

        die_at(story, f"{commit}.{side}", act)
        story.soap.answers.clear()
        story.say("KFDA", answer)
        story.tick(minutes=2)
        story.tick(minutes=2)
        if commit != "reply.cancellation":
            assert use(story, name).startswith("requirement") == (side == "before_commit" or commit[0] == "a")
            apply_call_back(story.hub, "KFDA", said)
        assert use(story, name) == "APPROVED"


@pytest.mark.long
def test_a_certificate_is_suspended_while_its_declaration_is_withdrawn(story: Story) -> None:
    """As everywhere else: nobody uses what its agency is about to cancel."""
    case = file_approved(story)
    story.say("KFDA", AgencyAcknowledgment("heard"))
    story.submit(story.submission(all_of(reference("P"), withdrawal)), action="Withdraw", attach=False)
    story.tick(seconds=2)
    assert use(story).startswith(SUSPENDED)
    say(story, case, "G04")
    assert use(story) == "APPROVED"
    assert state_of(story, case)[0] != "WITHDRAWN"


@pytest.mark.long
def test_what_was_used_before_a_withdrawal_stays_used(story: Story) -> None:
    case = file_approved(story)
    assert use(story) == "APPROVED"
    user = int(story.case().id)
    story.say("KFDA", AgencyAcknowledgment("heard"))
    story.submit(story.submission(all_of(reference("P"), withdrawal)), action="Withdraw", attach=False)
    story.tick(seconds=2)
    say(story, case, "G03")
    assert use(story) == REVOKED
    assert used_of(story, "Y") == {"KGM": "10"}
    assert state_of(story, user) == ("CLOSED", "APPROVED")


@pytest.mark.long
def test_a_corrected_item_has_its_quantity_when_the_question_has_ended(story: Story) -> None:
    """Its agency approves it while the certificate is suspended: nothing is left then, and G04 brings it."""
    case = file_approved(story)
    story.submit(story.submission(all_of(reference("B"), naming(1, "Y"))))
    story.tick()
    user = int(story.case().id)
    for agency, code in zip(AGENCIES, (REJECTED, APPROVED, APPROVED), strict=True):
        hear(story, user, agency, story.notice(agency, code, number="B-1"))
    story.tick(seconds=2)
    assert (state_of(story, user), used_of(story, "Y")) == (("CLOSED", "PARTIAL"), {})
    story.say("KFDA", AgencyAcknowledgment("heard"))
    story.submit(story.submission(all_of(reference("P"), withdrawal)), action="Withdraw", attach=False)
    story.tick(seconds=2)
    hear(story, user, "KPTA", story.notice("KPTA", number="B-2"))
    story.tick(seconds=2)
    assert (state_of(story, user), used_of(story, "Y")) == (("CLOSED", "APPROVED"), {})
    assert [one["problem"] for one in evidence(story, user, "not_left")] == ["GW412"]
    say(story, case, "G04")
    assert used_of(story, "Y") == {"KGM": "1"}
    assert state_of(story, user) == ("CLOSED", "APPROVED")
