"""What belongs to an import declaration, such as a document or certificate, is refused for an export."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode
from gateway.hub import inspect_submission, make_inspection_rules
from gateway.store import cases, read_transaction, requirement_results
from gateway.wire import serialize_element
from tests.flows.craft import Change, all_of, reference, supplement, text
from tests.flows.test_amendments import amendment
from tests.flows.test_held_cases import HOLD, LACKING
from tests.flows.test_partial_release import child
from tests.flows.test_requirement_ledger import decide, evidence, told, used_of, using
from tests.kit.databases import BOTH
from tests.kit.story import LABEL, Story

TYPE_CODE = ".//{*}Declaration/{*}TypeCode"
EXPORT = text(TYPE_CODE, "EXA")
#: What an importer of the sample says of the goods, where the type says neither import nor export.
NEITHER = text(TYPE_CODE, "COA")
LINE = (1, "K-77", "10", "KGM")


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, customs=False)


def file(story: Story, *changes: Change, action: str = "Submit", attach: bool = False) -> None:
    story.submit(story.submission(all_of(*changes)), action=action, attach=attach)
    story.tick(seconds=1)


def inspect(story: Story, *changes: Change) -> list[tuple[str, str, str]]:
    """Return what the check before filing finds: problem, pointer, sentence."""
    root = story.submission(all_of(*changes))
    attachments = {"korean-label@sample": LABEL} if root.find("{*}Application") is not None else {}
    rules = make_inspection_rules(story.hub, "broker1", story.clock())
    report = inspect_submission(serialize_element(root), attachments, rules)
    return [(finding.problem.id, finding.pointer, finding.message) for finding in report.findings]


def grant(story: Story) -> None:
    """Let KFDA approve 50 kg under K-77 for the import declaration of the sample."""
    story.submit()
    story.tick()
    decide(story, "50", DecisionCode.APPROVED, "N1")


@BOTH
def test_an_application_of_the_other_direction_is_refused(story: Story) -> None:
    documents = ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP")
    found = inspect(story, EXPORT)
    assert found == [
        ("GW404", f"APP[{n}]", f"{document} is for import (수입), and the declaration is for export (수출)")
        for n, document in enumerate(documents, 1)
    ]
    file(story, EXPORT, attach=True)
    concerns = [f" (application A{n}: {document} of " for n, document in enumerate(documents, 1)]
    for (problem, pointer, words), refused, concern in zip(found, told(story), concerns, strict=True):
        assert refused[:2] == (problem, pointer)
        assert refused[2].startswith(words + concern)
    assert story.case().state == "REFUSED"
    assert story.soap.calls == []


@pytest.mark.long
def test_a_type_that_says_neither_permits_every_document(story: Story) -> None:
    assert inspect(story, NEITHER) == []
    file(story, NEITHER, attach=True)
    assert story.case().state != "REFUSED"


@BOTH
def test_a_certificate_for_import_is_none_of_an_export(story: Story) -> None:
    grant(story)
    export = (using("D1", LINE), EXPORT)
    words = "requirement K-77 of KFDA is for import; this is an export declaration"
    assert [(problem, sentence) for problem, _, sentence in inspect(story, *export)] == [("GW412", words)]
    file(story, *export)
    assert [(problem, sentence) for problem, _, sentence in told(story)] == [("GW412", words)]
    assert used_of(story, "K-77") == {}
    for name, change in (("D2", NEITHER), ("D3", text(TYPE_CODE, "929"))):
        file(story, using(name, LINE), change)
        assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "K-77") == {"KGM": "20"}


@pytest.mark.long
@BOTH
def test_an_export_that_waits_for_a_number_does_not_take_an_import_certificate(story: Story) -> None:
    file(story, using("D1", LINE), EXPORT)
    export = story.case().id
    file(story, using("D2", LINE))
    grant(story)
    story.tick(seconds=1)
    assert used_of(story, "K-77") == {"KGM": "10"}
    assert [line["problem"] for line in evidence(story, export, "not_left")] == ["GW412"]
    with read_transaction(story.house.engine) as conn:
        assert [row.number for row in requirement_results.list_awaited_uses(conn, export)] == ["K-77"]


@pytest.mark.long
def test_a_child_is_of_the_direction_of_its_parent(story: Story) -> None:
    file(story, using("P"))
    number = story.case().number
    export = (child("C", number, (2, "5", "1")), EXPORT)
    expected = [("GW416", f"'{number}' is an import declaration, and this is an export declaration")]
    assert [(problem, words) for problem, _, words in inspect(story, *export)] == expected
    file(story, *export)
    assert [(problem, words) for problem, _, words in told(story)] == expected
    # No grandchild turns the direction behind a child of neither.
    file(story, child("C", number, (2, "5", "1")), NEITHER)
    assert [problem for problem, _, _ in told(story)] == ["GW416"]
    file(story, child("C", number, (2, "5", "1")))
    assert told(story) == []


def check_refused_turn(story: Story, *changes: Change, action: str) -> None:
    """Check that a change of the case of the sample makes no export declaration of it."""
    number, state, key = story.case().number, story.case().state, story.case().id
    expected = (
        "GW404",
        "42A/D013",
        f"case {number} was opened as an import declaration, and this is an export declaration: withdraw the "
        "case, and file the goods as a new one",
    )
    assert expected in inspect(story, *changes, EXPORT)
    file(story, *changes, EXPORT, action=action, attach=True)
    assert told(story) == [expected]
    with read_transaction(story.house.engine) as conn:
        case = cases.find_by_id(conn, key)
    assert case is not None
    assert (case.state, case.document) == (state, "IMA")


@BOTH
def test_an_amendment_does_not_turn_an_import_into_an_export(story: Story) -> None:
    file(story, using("D1"))
    check_refused_turn(story, using("D1"), amendment(), action="Amend")


@pytest.mark.long
@pytest.mark.parametrize(("before", "after"), [("IMA", "COA"), ("COA", "EXA"), ("COA", "IMA")])
def test_an_amendment_leads_to_and_from_no_type_that_says_neither(
    story: Story, before: str, after: str
) -> None:
    file(story, using("D1"), text(TYPE_CODE, before))
    changes = (using("D1"), text(TYPE_CODE, after), amendment())
    assert [(problem, pointer) for problem, pointer, _ in inspect(story, *changes)] == [("GW404", "42A/D013")]
    file(story, *changes, action="Amend")
    assert [(problem, pointer) for problem, pointer, _ in told(story)] == [("GW404", "42A/D013")]


@pytest.mark.long
def test_an_amendment_with_applications_does_not_turn_either(story: Story) -> None:
    file(story, attach=True)
    check_refused_turn(story, amendment(), action="Amend")


@pytest.mark.long
def test_a_supplement_does_not_turn_an_import_into_an_export(story: Story) -> None:
    file(story, attach=True)
    check_refused_turn(story, supplement, action="Supplement")
    calls = len(story.soap.calls)
    file(story, supplement, NEITHER, action="Supplement", attach=True)
    assert [(problem, pointer) for problem, pointer, _ in told(story)] == [("GW404", "42A/D013")]
    assert len(story.soap.calls) == calls


@pytest.mark.long
def test_a_held_case_does_not_turn_either(story: Story) -> None:
    """Its supplement may change nothing in the declaration anyway."""
    story.hub.need_policy = HOLD
    file(story, LACKING, attach=True)
    assert story.case().state == "HELD"
    assert ("GW404", "42A/D013") in [finding[:2] for finding in inspect(story, supplement, EXPORT)]
    check_refused_turn(story, amendment(), action="Amend")


@pytest.mark.long
def test_a_type_that_was_corrected_within_a_direction_is_amended(story: Story) -> None:
    grant(story)
    file(story, using("D1", LINE))
    file(story, using("D1", LINE), amendment(text(TYPE_CODE, "IMD")), action="Amend")
    assert story.outcome()[0] == "APPROVED"
    assert used_of(story, "K-77") == {"KGM": "10"}


@pytest.mark.long
def test_a_refused_declaration_is_filed_again_in_the_other_direction(story: Story) -> None:
    file(story, EXPORT, attach=True)
    assert story.case().state == "REFUSED"
    file(story, reference("S2026-000123"), attach=True)
    assert story.case().state != "REFUSED"
