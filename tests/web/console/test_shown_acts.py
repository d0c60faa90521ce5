"""Every field of an officer's act stands on its preview, its proposal and its record."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from html import unescape
from typing import Any, get_args

import pytest
from sqlalchemy import Engine

from gateway.cases import Decision, DecisionAct, FeeAct, InformationAct, InspectionAct, OfficerAct, ReceiveAct
from tests.web.console.test_officers_acts import FUTURE, Desk, confirm, fill, hidden

POINTER = "APP[2]/KFDA-FOOD-IMP/ITEM[2]/FoodClass[1]"
CELL = re.compile(
    r"<dt>(?P<term>.*?)</dt><dd[^>]*>(?P<fact>.*?)</dd>"
    r'|<t[dh][^>]* data-label="(?P<column>[^"]*)"[^>]*>(?P<value>.*?)</t[dh]>',
    re.DOTALL,
)


@dataclass(frozen=True)
class Sample:
    """An act with a value in each field: what is typed, and the cell of the page with each field.

    `cells` are label and text by the name of the field; a field without a label stands in a heading.
    """

    kind: str
    typed: dict[str, Any]
    cells: dict[str, tuple[str, str]]


SAMPLES = {
    ReceiveAct: Sample(
        "receive",
        {"status_code": "C04", "text": "Kim has it."},
        {"status_code": ("Code", "C04"), "text": ("Told to the applicant", "Kim has it.")},
    ),
    InformationAct: Sample(
        "ask",
        {"text": "Which class?", "pointer": [POINTER, "42A/D026"], "deadline": FUTURE},
        {
            "text": ("What is asked", "Which class?"),
            "pointers": ("Fields", POINTER),
            "deadline": ("Deadline", "2027-01-31 18:00 KST"),
        },
    ),
    InspectionAct: Sample(
        "inspect",
        {"status_code": "E01", "kind": "in the field", "on": "2026-12-03", "place": "Incheon"}
        | {"findings": "smells odd", "text": "Bring the label."},
        {
            "status_code": ("Code", "E01"),
            "kind": ("Kind", "in the field"),
            "day": ("Day", "2026-12-03"),
            "venue": ("Place", "Incheon"),
            "findings": ("Findings", "smells odd"),
            "text": ("Told to the applicant", "Bring the label."),
            "deadline": ("Deadline", "2026-12-03 23:59 KST"),
        },
    ),
    FeeAct: Sample(
        "fee",
        {"status_code": "Y01", "amount": "12,000", "currency": "KRW", "until": "2026-12-01"}
        | {"text": "For the laboratory.", "note": "rule 7"},
        {
            "status_code": ("Code", "Y01"),
            "amount": ("Amount", "12000 KRW"),
            "currency": ("Amount", "12000 KRW"),
            "last_day": ("Last day of payment", "2026-12-01"),
            "text": ("Told to the applicant", "For the laboratory."),
            "note": ("Note", "rule 7"),
        },
    ),
    DecisionAct: Sample(
        "decide",
        {"d0-decision": "APPROVED_WITH_CONDITIONS", "d0-number": "P-7", "d0-date": "2026-11-20"}
        | {"d0-quantity": "5", "d0-unit": "KGM", "d0-conditions": "Keep below 5 °C."}
        | {"valid_until": "2027-02-28", "text": "Look at the label.", "reason": "as lot 7"},
        {
            "purpose": ("", "Decide"),
            "decisions": ("Document number", "P-7"),
            "reason": ("Remark", "as lot 7"),
            "valid_until": ("Last day of the document", "2027-02-28"),
            "text": ("Told to the applicant", "Look at the label."),
            "item of decisions": ("Item", "2"),
            "law of decisions": ("Law", "05"),
            "decision of decisions": ("Decision", "Approved with conditions"),
            "number of decisions": ("Document number", "P-7"),
            "date of decisions": ("Date", "2026-11-20"),
            "quantity of decisions": ("Quantity", "5 KGM"),
            "unit of decisions": ("Quantity", "5 KGM"),
            "conditions of decisions": ("Conditions", "Keep below 5 °C."),
        },
    ),
}


def read_text(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def read_cells(page: str) -> dict[str, str]:
    """Return the texts of lists and tables of a page by their labels."""
    cells = {"": " ".join(re.findall(r"<(?:h1|strong)>(.*?)</", page))}
    for cell in CELL.finditer(page):
        label = read_text(re.sub(r"<span.*?</span>", "", cell["term"] or cell["column"]))
        cells[label] = f"{cells.get(label, '')} {read_text(cell['fact'] or cell['value'])}".strip()
    return cells


def list_field_names(act: type) -> set[str]:
    names = {field.name for field in dataclasses.fields(act)}
    if act is DecisionAct:
        names |= {f"{field.name} of decisions" for field in dataclasses.fields(Decision)}
    return names


def list_missing(sample: Sample, page: str) -> list[str]:
    """Return the names of the fields of an act that do not stand on a page."""
    cells = read_cells(page)
    return [name for name, (label, text) in sample.cells.items() if text not in cells.get(label, "")]


def test_every_field_of_every_act_has_a_sample() -> None:
    assert SAMPLES.keys() == set(get_args(OfficerAct))
    for act, sample in SAMPLES.items():
        assert sample.cells.keys() == list_field_names(act), act.__name__


@pytest.mark.parametrize("act", SAMPLES, ids=lambda act: act.__name__)
def test_every_field_of_an_act_stands_on_preview_proposal_and_record(engine: Engine, act: type) -> None:
    desk, sample = Desk(engine, four_eyes=True), SAMPLES[act]
    kim = desk.officer("kim", "head")
    preview: Any = fill(kim, desk, sample.kind, **sample.typed)
    assert list_missing(sample, preview.text) == []
    done: Any = confirm(kim, desk, sample.kind, preview.text)
    assert done.status_code == 302, done.text
    path = f"/console/applications/{desk.number}"
    if act is DecisionAct:
        proposal = kim.get(f"{path}/proposal").text
        assert hidden(proposal)["proposal"]
        assert list_missing(sample, proposal) == []
    page = kim.get(path).text
    record = page[page.index("<h2>Acts of officers") : page.index("<h2>Earlier applications")]
    assert list_missing(sample, record) == []
