"""A date or time that does not exist is told to the filer with its place, before filing and by the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.harmonize.split import declaration_findings
from gateway.hub import load_shipped_rules
from gateway.operations import find_classification_warnings
from gateway.store import cases, read_transaction
from gateway.wire import WCO_DEC, serialize_element
from tests.flows.craft import Change, at, text, withdrawal
from tests.flows.test_amendments import amendment
from tests.kit.story import Story, unsigned

_MOMENTS = "urn:wco:datamodel:WCO:Declaration_DS:DMS:2"
ISSUED = "42A/D011/DateTimeString"
INVOICE = "42A/67A[1]/78A[1]/D015/DateTimeString"
ARRIVAL = "SUP/Declaration/BorderTransportMeans/ArrivalDateTime[1]"


def issue(value: str, code: str = "304") -> Change:
    """State another date of the declaration."""

    def change(root: etree._Element) -> None:
        element = at(root, ".//Declaration/IssueDateTime/DateTimeString")
        element.text = value
        element.set("formatCode", code)

    return change


def invoice(value: str) -> Change:
    """State the date of the invoice, which no agency gets."""

    def change(root: etree._Element) -> None:
        place = at(root, ".//GoodsShipment/Invoice/ID")
        dated = etree.Element(f"{{{WCO_DEC}}}IssueDateTime")
        etree.SubElement(dated, f"{{{_MOMENTS}}}DateTimeString", formatCode="102").text = value
        place.addnext(dated)

    return change


def arrive(value: str) -> Change:
    """State another arrival, in the supplement."""

    def change(root: etree._Element) -> None:
        values = root.iterfind("{*}Supplement/{*}Value")
        next(one for one in values if one.get("path", "").endswith("ArrivalDateTime")).text = value

    return change


WRONG: dict[str, tuple[Change, str, str]] = {
    "31 February": (issue("20260231090000Z"), "GW404", ISSUED),
    "29 February": (issue("20260229", "102"), "GW404", ISSUED),
    "hour 25": (issue("20261120256199Z"), "GW404", ISSUED),
    "hour 24": (issue("20261120240000Z"), "GW404", ISSUED),
    "zone": (issue("20261120090000+99"), "GW404", ISSUED),
    "full-width": (issue("20２６１１２０090000Z"), "GW402", ISSUED),
    "invoice": (invoice("20260231"), "GW404", INVOICE),
    "arrival": (arrive("2026-02-31T08:00:00Z"), "GW404", ARRIVAL),
    "arrival in other digits": (arrive("２０２６-11-19"), "GW404", ARRIVAL),
}  # fmt: skip


@pytest.mark.parametrize(("change", "problem", "place"), WRONG.values(), ids=WRONG)
def test_a_date_that_does_not_exist_is_refused_with_its_place(
    engine: Engine, change: Change, problem: str, place: str
) -> None:
    story = Story(engine)
    story.submit(story.submission(change))
    story.tick()
    assert story.outcome()[0] == "REFUSED"
    # Once, however many agencies would get the date. A digit of another script is wrong in two ways.
    assert story.problems().count((problem, place)) == 1
    assert not [call for call in story.soap.calls if call.destination != "customs"]


#: A date under the code of a time, and the reverse, say what day is meant.
RIGHT = (
    *(issue("20261120235959+14"), issue("20261120", "102"), invoice("20280229")),
    *(issue("20261120"), issue("20261120090000Z", "102")),
)


@pytest.mark.parametrize("change", [*RIGHT, arrive("2026-11-19T08:00:00+09:00")])
def test_a_date_that_exists_is_taken(engine: Engine, change: Change) -> None:
    story = Story(engine)
    story.submit(story.submission(change))
    story.tick()
    assert story.case().state == "IN_PROGRESS"


@pytest.mark.parametrize(("change", "problem", "place"), list(WRONG.values())[:7], ids=list(WRONG)[:7])
def test_the_check_of_a_declaration_tells_place_line_and_value(
    change: Change, problem: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = unsigned()
    change(root)
    (declaration,) = root.iter(f"{{{WCO_DEC}}}Declaration")
    assert check(capsys, tmp_path, "declaration", declaration)[0] == (problem, place)


@pytest.mark.parametrize(("change", "problem", "place"), WRONG.values(), ids=WRONG)
def test_the_check_of_a_submission_tells_it_once(
    change: Change, problem: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = unsigned()
    change(root)
    assert check(capsys, tmp_path, "submission", root).count((problem, place)) == 1


def check(
    capsys: pytest.CaptureFixture[str], folder: Path, kind: str, root: etree._Element
) -> list[tuple[str, str]]:
    """Return id and pointer of each problem that a check tells; each has a line."""
    file = folder / "checked.xml"
    file.write_bytes(serialize_element(root))
    assert main([kind, "check", str(file), "--json"]) == 1
    problems: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["problems"]
    assert all(problem["line"] > 0 for problem in problems if problem["id"] in ("GW402", "GW404"))
    return [(problem["id"], problem["pointer"]) for problem in problems]


@pytest.fixture
def former(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Return a story with a case that was filed before there was this rule."""
    story = Story(engine)
    with monkeypatch.context() as patched:
        patched.setattr(declaration_findings, "_report_wrong_moments", lambda *_: (), raising=False)
        story.submit(story.submission(invoice("20260231")))
        story.tick()
    assert story.case().state == "IN_PROGRESS"
    return story


def test_a_former_case_with_such_a_date_can_be_withdrawn(former: Story) -> None:
    former.submit(former.submission(withdrawal), attach=False, action="Withdraw")
    former.tick()
    assert [call.operation for call in former.soap.calls[-3:]] == ["CancelApplication"] * 3


def test_a_former_case_with_such_a_date_is_amended_by_a_date_that_exists(former: Story) -> None:
    former.submit(former.submission(amendment(invoice("20260231"))), action="Amend")
    former.tick()
    assert (former.outcome()[0], former.problems()) == ("REFUSED", [("GW404", INVOICE)])
    corrected = amendment(invoice("20260228"), text(".//Consignor/Name", "Noordzee B.V."))
    former.submit(former.submission(corrected), action="Amend")
    former.tick()
    assert [call.operation for call in former.soap.calls[-3:]] == ["SubmitSupplement"] * 3


def test_a_former_case_with_such_a_date_is_shown(
    former: Story, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with read_transaction(engine) as conn:
        (row,) = cases.list_cases(conn, limit=5)
    url = engine.url.render_as_string(hide_password=False)
    (tmp_path / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    assert main(["case", "show", row.number, "--home", str(tmp_path)]) == 0
    assert row.number in capsys.readouterr().out


def test_the_check_of_the_home_names_the_party_of_such_a_case(former: Story) -> None:
    with read_transaction(former.house.engine) as conn:
        (warning,) = find_classification_warnings(conn, load_shipped_rules().bundle)
    assert INVOICE in warning
    assert "the calendar has no day 2026-02-31" in warning


def test_the_check_of_the_home_is_content_with_the_amended_case(former: Story) -> None:
    corrected = amendment(invoice("20260228"), text(".//Consignor/Name", "Noordzee B.V."))
    former.submit(former.submission(corrected), action="Amend")
    former.tick()
    with read_transaction(former.house.engine) as conn:
        assert list(find_classification_warnings(conn, load_shipped_rules().bundle)) == []
