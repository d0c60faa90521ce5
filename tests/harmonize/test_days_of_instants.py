"""The day of an instant is that of the zone of the mappings, whichever zone its text names."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from gateway.harmonize import MappingBundle, find_broken_rules, load_bundle
from gateway.harmonize.language import ConversionError, EvaluatedValue, FormatStep
from gateway.harmonize.readback import compare_request, read_request
from gateway.harmonize.split import index_submission
from tests.harmonize import small_bundle
from tests.kit.paths import ROOT

#: One instant, half past eight in Seoul, as partners state it.
STATED = (
    "2026-11-20T23:30:00Z",
    "2026-11-20T23:30:00.25Z",
    "2026-11-21T08:30:00+09:00",
    "2026-11-20T18:30:00-05:00",
    "2026-11-21T13:30:00+14:00",
)
EXPECTED = {
    "date": "2026-11-21",
    "CCYYMMDD": "20261121",
    "CCYYMM": "202611",
    "CCYYMMDDHHMMSS": "20261121083000",
}


@pytest.mark.parametrize("form", EXPECTED)
@pytest.mark.parametrize("text", STATED)
def test_a_form_writes_the_day_and_time_of_the_zone(text: str, form: str) -> None:
    step = FormatStep(form, "")
    written = step.convert_value(EvaluatedValue(text, (), "x"))
    assert written is not None
    assert written.text == EXPECTED[form]
    assert step.find_formatted_text(text) == EXPECTED[form]


def test_the_month_and_the_year_of_a_zone_change_with_the_day() -> None:
    assert FormatStep("CCYYMM", "").find_formatted_text("2026-12-31T15:00:00Z") == "202701"
    assert FormatStep("CCYYMM", "").find_formatted_text("2026-12-31T14:59:59Z") == "202612"
    assert FormatStep("CCYYMM", "", "-05:00").find_formatted_text("2027-01-01T04:59:59Z") == "202612"


@pytest.mark.parametrize("text", ["2026-11-20T23:30:00", "2026-11-20"])
def test_a_time_without_a_zone_and_a_date_are_local_already(text: str) -> None:
    assert FormatStep("CCYYMMDD", "").find_formatted_text(text) == "20261120"


@pytest.mark.parametrize("form", EXPECTED)
@pytest.mark.parametrize(
    "text",
    [
        "2026-02-31",
        "2026-02-29T09:00:00Z",
        "2026-11-20T25:61:99Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T09:00:00+99:00",
        "2026-11-20T09:00:60",
        "２０２６-11-20T09:00:00Z",
        "20261120",
    ],
)
def test_no_form_writes_a_time_that_does_not_exist(text: str, form: str) -> None:
    step = FormatStep(form, "000000")
    with pytest.raises(ConversionError) as refused:
        step.convert_value(EvaluatedValue(text, (), "x"))
    assert refused.value.problem.id == "GW404"
    assert step.find_formatted_text(text) is None


def test_midnight_of_the_zone_is_what_an_unknown_time_would_read_as() -> None:
    form = FormatStep("CCYYMMDDHHMMSS", "000000")
    with pytest.raises(ConversionError, match="cannot be told from a time that is not known"):
        form.convert_value(EvaluatedValue("2026-11-20T15:00:00Z", (), "x"))
    assert form.find_formatted_text("2026-11-20T00:00:00Z") == "20261120090000"


def test_an_instant_without_a_day_in_the_zone_does_not_fit() -> None:
    with pytest.raises(ConversionError, match="no day in the zone") as refused:
        FormatStep("CCYYMMDD", "").convert_value(EvaluatedValue("9999-12-31T23:30:00Z", (), "x"))
    assert refused.value.problem.id == "GW506"


@pytest.mark.parametrize(
    ("issued", "moment"),
    [
        ("20261120233000Z", "20261121083000"),
        ("20261121083000+09", "20261121083000"),
        ("20261121083000", "20261121083000"),
        ("20261121013000+0200", "20261121083000"),
    ],
)
def test_a_request_has_the_day_of_the_zone_and_reads_back(tmp_path: Path, issued: str, moment: str) -> None:
    bundle = small_bundle.mapping(tmp_path)
    root = _state(issued, "<t:Meeting>2026-11-20T15:00:00Z</t:Meeting>")
    result = small_bundle.apply(bundle, root)
    assert not result.problems
    assert small_bundle.text(result, "Day") == ["20261121"]
    assert small_bundle.text(result, "Moment") == [moment]
    assert small_bundle.text(result, "Meeting") == ["20261121000000"]
    (request,) = result.requests
    reading = read_request(bundle.documents["TINY"], request.xml)
    assert compare_request(request, reading, index_submission(root), bundle) == []


def test_the_zone_is_that_of_the_mappings(tmp_path: Path) -> None:
    small_bundle.write(tmp_path)
    (tmp_path / "notices.yaml").write_text('zone: "-05:00"\nfacts: {}\nnotices: {}\n', "utf-8")
    result = small_bundle.apply(load_bundle(tmp_path), _state("20261121043000Z"))
    assert small_bundle.text(result, "Day") == ["20261120"]
    assert small_bundle.text(result, "Moment") == ["20261120233000"]
    assert small_bundle.text(result, "Issued") == ["2026-11-21T04:30:00Z"]


CHECK = "  - {id: met, per: application, compare: {left: meeting, OP: issued_at}, ko: 날, en: Day}\n"


@pytest.mark.parametrize(
    ("operator", "issued", "meeting", "holds"),
    [
        # One side has a time, the other a day alone: the days of the zone decide.
        ("at_least", "20261120233000Z", "2026-11-20", False),
        ("at_least", "20261120233000Z", "2026-11-21", True),
        ("equals", "20261120233000Z", "2026-11-21", True),
        ("at_most", "20261120", "2026-11-20T15:00:00Z", False),
        ("at_most", "20261121", "2026-11-20T15:00:00Z", True),
        # One side names no zone.
        ("at_least", "20261120233000Z", "2026-11-21T00:00:00", True),
        ("at_least", "20261120233000Z", "2026-11-20T23:59:00", False),
        # Two instants are compared as such.
        ("at_least", "20261120233000Z", "2026-11-21T08:29:59+09:00", False),
        ("equals", "20261120233000Z", "2026-11-21T08:30:00+09:00", True),
    ],
)
def test_a_check_compares_days_of_the_zone(
    tmp_path: Path, operator: str, issued: str, meeting: str, holds: bool
) -> None:
    document = small_bundle.write(tmp_path) / "agencies/ORG/TINY.yaml"
    text = document.read_text("utf-8").replace(
        "{ask: meeting, form: CCYYMMDDHHMMSS}", "{ask: meeting, form: iso}"
    )
    document.write_text(text.replace("checks:\n", "checks:\n" + CHECK.replace("OP", operator)), "utf-8")
    bundle = load_bundle(tmp_path)
    result = small_bundle.apply(bundle, _state(issued, f"<t:Meeting>{meeting}</t:Meeting>"))
    assert [one.problem.id for one in result.problems] == ([] if holds else ["GW404"])


SAMPLE = (ROOT / "conformance/samples/import-three-items.xml").read_text("utf-8")


@pytest.mark.parametrize(
    ("received", "told"),
    [
        # The declaration is of 20 November, and may be a day later than its receipt.
        (datetime(2026, 11, 18, 14, 59, tzinfo=UTC), ["issued-later"]),
        (datetime(2026, 11, 18, 15, tzinfo=UTC), []),
    ],
)
def test_the_day_of_receipt_is_that_of_the_zone(
    bundle: MappingBundle, received: datetime, told: list[str]
) -> None:
    found = find_broken_rules(etree.fromstring(SAMPLE.encode()), bundle, received)
    assert [one.rule.id for one in found] == told


def _state(issued: str, more: str = "") -> etree._Element:
    """Return the submission with this time of issue, as the declaration writes it."""
    declaration = small_bundle.DECLARATION
    if len(issued) == 8:
        declaration = declaration.replace('formatCode="304"', 'formatCode="102"')
    declaration = declaration.replace("20261120093015Z", issued)
    fields = small_bundle.FIELDS.replace("<t:Item ", f"{more}<t:Item ", 1)
    return small_bundle.submission(fields=fields, declaration=declaration)
