"""Certificates, their uses and results, and released items that are changed by SQL differ from evidence."""

from __future__ import annotations

from sqlalchemy import Engine, delete, insert, update

from gateway.cases import DecisionCode
from gateway.evidence import verify_rows
from gateway.evidence.rows import item_release_rows
from gateway.evidence.rows.requirement_rows import (
    COMPARED,
    COMPARED_BY_CASE,
    compare_requirement_uses,
    compare_requirements,
)
from gateway.store import write_transaction
from gateway.store.requirement_quantities import requirement_uses, requirements
from tests.evidence.rows.changed_columns import compare_all, list_missed_columns, list_missed_rows, open_trial
from tests.flows.craft import Change
from tests.flows.test_amendments import amendment
from tests.flows.test_outside_results import say
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import declare, register, using
from tests.kit.databases import in_turn
from tests.kit.rows import NOW
from tests.kit.story import Story


@in_turn
def test_what_cases_use_is_as_evidence_says(engine: Engine) -> None:
    story = Story(engine, customs=False)
    register(story, "C-1", "100", "KGM", laws=["05"])
    declare(story, "D1", (1, "C-1", "10", "KGM"), (2, "C-1", "0.02", "TNE"))
    declare(story, "D2", (1, "C-1", "10", "KGM"))
    findings = compare_all(engine, compare_requirement_uses)
    assert (findings.differences, dict(findings.compared)) == ([], {"requirement_uses": 3})
    assert list_missed_columns(engine, compare_requirement_uses, COMPARED_BY_CASE) == []
    assert list_missed_rows(engine, compare_requirement_uses, COMPARED_BY_CASE) == []
    registered = [each for each in COMPARED if each.table == "requirements"]
    assert compare_all(engine, compare_requirements, requirements).differences == []
    assert list_missed_columns(engine, compare_requirements, registered, requirements) == []
    with write_transaction(engine) as conn:
        conn.execute(update(requirement_uses).values(quantity="9"))
    assert compare_all(engine, compare_requirements, requirements).differences[0].table == "requirements"


@in_turn
def test_results_are_as_the_last_reply_says(engine: Engine) -> None:
    story = Story(engine)
    say(story)
    story.tick(seconds=1)
    say(story, notice="R2", item=2, quantity=None)
    say(story, DecisionCode.REJECTED, notice="R3", number="2026-119")
    results = [each for each in COMPARED if each.table == "requirement_results"]
    findings = compare_all(engine, compare_requirements, requirements)
    assert (findings.differences, dict(findings.older)) == ([], {})
    assert findings.compared["requirement_results"] == 3
    assert list_missed_columns(engine, compare_requirements, results, requirements) == []
    assert list_missed_rows(engine, compare_requirements, results, requirements) == []


@in_turn
def test_certificates_that_are_gone_made_up_or_exchanged_are_found(engine: Engine) -> None:
    story = Story(engine)
    register(story, "C-1", "100", "KGM", laws=["05"])
    say(story)
    say(story, DecisionCode.REJECTED, notice="R3", number="2026-119")
    changes = {
        "gone": delete(requirements).where(requirements.c.number == "C-1"),
        "renamed": update(requirements).where(requirements.c.number == "2026-119").values(number="C-2"),
        "made up": insert(requirements).values(number="C-3", agency="KFDA", holder="", used={}, added_at=NOW),
        "unregistered": update(requirements).where(requirements.c.number == "C-1").values(registered_at=None),
        "registered": update(requirements).where(requirements.c.number == "2026-119").values(quantity="9"),
        "unbound": update(requirements).where(requirements.c.number == "C-1").values(holder="somebody"),
    }
    unnoticed = []
    for name, change in changes.items():
        with open_trial(engine) as conn:
            assert verify_rows(conn).differences == []
            conn.execute(change)
            if "requirements" not in {each.table for each in verify_rows(conn).differences}:
                unnoticed.append(name)
    assert unnoticed == []


def amend_alone(story: Story, change: Change) -> None:
    """Amend a declaration that has no attachment."""
    story.submit(story.submission(amendment(change)), action="Amend", attach=False)
    story.tick(seconds=1)


@in_turn
def test_released_items_are_as_evidence_of_the_child_says(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    story.decide_all()
    story.tick()
    parent = story.case().number
    story.submit(story.submission(child("C1", parent, (1, "200.5", "40"), (3, "1", "1"))), attach=False)
    story.tick(seconds=1)
    # It names fewer items, and then no parent any more.
    amend_alone(story, child("C1", parent, (1, "100.5", "20")))
    story.submit(story.submission(child("C2", parent, (1, "9", "2"))), attach=False)
    story.tick(seconds=1)
    amend_alone(story, using("C2"))
    assert story.evidence("case", story.case().id).count("items_returned") == 1
    compare, compared = item_release_rows.compare_item_releases, item_release_rows.COMPARED
    findings = compare_all(engine, compare)
    assert (findings.differences, dict(findings.older)) == ([], {})
    assert findings.compared["item_releases"] == 8
    assert list_missed_columns(engine, compare, compared) == []
    assert list_missed_rows(engine, compare, compared) == []
