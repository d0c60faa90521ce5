"""Result and Notice fit their schema, say everything, and survive odd words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from lxml import etree

from gateway.cases import (
    CaseHeader,
    CaseOutcome,
    DecidedRequest,
    Decision,
    DecisionCode,
    Notice,
    RankedDecision,
    ReportedProblem,
    RequestState,
    make_notice_document,
    make_result_document,
)
from gateway.wire import PREFIXES, RESULT, load_shipped_schemas

AT = datetime(2026, 11, 20, 9, 30, 15, 123456, tzinfo=UTC)
HEADER = CaseHeader("SW26000001", "REF-1", AT)
REQUEST = DecidedRequest("S1", "DOC-A", "ORG")


def checked(root: etree._Element) -> etree._Element:
    load_shipped_schemas(RESULT).validate_document(root)
    return root


def text(root: etree._Element, path: str) -> list[str]:
    return [str(found) for found in root.xpath(path, namespaces=PREFIXES)]


def decided(**changes: object) -> RankedDecision:
    values = {
        "item": 2, "law": "12", "decision": DecisionCode.APPROVED_WITH_CONDITIONS, "number": "P-77",
        "date": date(2026, 11, 21), "quantity": Decimal("1E+3"), "unit": "KGM",
        "conditions": ("소독", "keep <dry>"),
    }  # fmt: skip
    decision = Decision(**(values | changes))  # type: ignore[arg-type]
    return RankedDecision("S1", decision, AT, "N-1", text="Look at\nthe label.")


@pytest.mark.parametrize("outcome", list(CaseOutcome))
def test_each_outcome_makes_a_valid_result(outcome: CaseOutcome) -> None:
    root = checked(make_result_document(HEADER, outcome))
    assert text(root, "res:Outcome/text()") == [outcome.value]
    assert text(root, "res:Reference/text()") == ["REF-1"]
    assert text(root, "wcores:Response/wcores:FunctionalReferenceID/text()") == ["SW26000001"]


def test_a_decision_says_all_it_has() -> None:
    root = checked(make_result_document(HEADER, CaseOutcome.APPROVED, ((REQUEST, decided()),)))
    found = root.find("{*}Decision")
    assert found is not None
    assert dict(found.attrib) == {
        "item": "2", "law": "12", "document": "DOC-A", "organisation": "ORG",
        "decision": "APPROVED_WITH_CONDITIONS",
    }  # fmt: skip
    assert text(root, "res:Decision/res:Quantity/text()") == ["1000"]
    assert text(root, "res:Decision/res:Quantity/@unitCode") == ["KGM"]
    assert text(root, "res:Decision/res:Condition/text()") == ["소독", "keep <dry>"]
    assert text(root, "res:Decision/res:IssuedAt/text()") == ["2026-11-20T09:30:15.123Z"]
    assert text(root, "res:Decision/res:Text/text()") == ["Look at\nthe label."]
    assert etree.QName(found[-1]).localname == "Text", "what a reader of the former schema knows comes first"


def test_a_decision_may_say_little() -> None:
    bare = decided(number=None, date=None, quantity=None, unit=None, conditions=())
    checked(make_result_document(HEADER, CaseOutcome.PARTIAL, ((REQUEST, bare),)))


def test_a_pointer_becomes_the_chain_of_its_steps() -> None:
    problem = ReportedProblem("GW503", "missing", "42A/67A[1]/68A[3]/02A[2]/360")
    root = checked(make_result_document(HEADER, CaseOutcome.REFUSED, problems=(problem,)))
    steps = root.findall("{*}Response/{*}Error/{*}Pointer")
    shown = [[child.text for child in step] for step in steps]
    assert shown == [["42A"], ["1", "67A"], ["3", "68A"], ["2", "02A", "360"]]


@pytest.mark.parametrize(
    "pointer",
    ["", "APP[1]/DOC-A/lot", "SUP/Declaration/X[1]", "42A", "42A/ID", "cid:x", "/@a", "42A/68A[１]/360"],
)
def test_other_places_are_told_beside_the_response(pointer: str) -> None:
    root = checked(
        make_result_document(HEADER, CaseOutcome.REFUSED, problems=(ReportedProblem("GW404", "x", pointer),))
    )
    assert text(root, "res:Problem/@pointer") == ([pointer] if pointer else [])


def test_without_a_reference_and_with_odd_words_it_is_still_valid() -> None:
    odd = ReportedProblem("GW104", "bell \x07 and \ud800 " + "x" * 9000, "p" * 2000)
    root = checked(make_result_document(CaseHeader("C1", "", AT), CaseOutcome.REFUSED, problems=(odd,)))
    assert root.find("{*}Reference") is None
    etree.fromstring(etree.tostring(root))


def test_a_notice_tells_state_and_words_of_the_agency() -> None:
    said = Notice("N-9", AT, "D01", (), "send the certificate", ("42A/D014",), AT)
    state = RequestState("A1", "DOC-A", "ORG", "INFORMATION_REQUIRED", "R-5")
    root = checked(make_notice_document(HEADER, state, said))
    assert text(root, "res:Request/res:StatusCode/text()") == ["D01"]
    assert text(root, "res:Request/res:Pointer/text()") == ["42A/D014"]
    assert text(root, "res:Request/res:Deadline/text()") == ["2026-11-20T09:30:15.123Z"]
    checked(make_notice_document(HEADER, state, None))
