"""A notice of customs that is changed by SQL differs from the evidence of its case."""

from __future__ import annotations

from sqlalchemy import Engine

from gateway.cases import ClearedItem
from gateway.evidence.rows.customs_rows import COMPARED, compare_customs_notices
from tests.evidence.rows.changed_columns import compare_all, list_missed_columns, list_missed_rows
from tests.flows.test_customs import approved, report
from tests.kit.databases import in_turn
from tests.kit.story import Story


@in_turn
def test_notices_of_customs_are_as_evidence_says(engine: Engine) -> None:
    story = Story(engine)
    story.submit()
    approved(story)
    report(story, items=(ClearedItem(1, "5EC"),), text="cleared in part")
    report(story, number="K2")
    findings = compare_all(engine, compare_customs_notices)
    assert (findings.differences, dict(findings.older)) == ([], {})
    assert findings.compared["customs_notices"] >= 2
    assert list_missed_columns(engine, compare_customs_notices, COMPARED) == []
    assert list_missed_rows(engine, compare_customs_notices, COMPARED) == []
