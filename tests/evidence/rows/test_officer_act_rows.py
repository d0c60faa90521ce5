"""An act of an officer that is changed by SQL differs from the evidence of its last step."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.cases import InformationAct
from gateway.evidence.rows.officer_act_rows import COMPARED, compare_officer_acts
from gateway.web.officers import SESSION_ONLY
from tests.evidence.rows.changed_columns import compare_all, list_missed_columns, list_missed_rows
from tests.kit.databases import in_turn
from tests.kit.officers import ConsoleStory


def act_with_four_eyes(engine: Engine) -> None:
    """Let proposals be withdrawn, returned, approved, and one wait."""
    story = ConsoleStory(engine, four_eyes=True)
    kim, lee = story.officer("kim", "approver"), story.officer("lee", "approver")
    seen = story.arrive()
    story.desk.perform_act(kim, seen.number, InformationAct("Which lot?"), seen.shown_digest)
    for end in ("withdraw", "return", "approve", "wait"):
        seen = story.look()
        story.desk.propose_act(kim, seen.number, story.decision(), seen.shown_digest)
        proposal = story.look().proposal
        assert proposal is not None
        act, digest = proposal.row.id, proposal.row.content
        if end == "withdraw":
            story.desk.withdraw_proposal(kim, act, digest)
        elif end == "return":
            story.desk.return_proposal(lee, act, digest, "the quantity is missing")
        elif end == "approve":
            story.desk.approve_proposal(lee, act, digest, seen.shown_digest, SESSION_ONLY)
            return


@in_turn
def test_acts_are_as_their_last_steps_say(engine: Engine) -> None:
    act_with_four_eyes(engine)
    findings = compare_all(engine, compare_officer_acts)
    assert (findings.differences, dict(findings.older)) == ([], {})
    assert dict(findings.compared) == {"officer_acts": 4}
    assert list_missed_columns(engine, compare_officer_acts, COMPARED) == []
    assert list_missed_rows(engine, compare_officer_acts, COMPARED) == []
