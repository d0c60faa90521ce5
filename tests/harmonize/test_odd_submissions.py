# ruff: noqa: E501 (tables and texts with long lines)
"""Submissions that only somebody with a grudge would write: crowds, doubles, bare elements, odd times."""

from __future__ import annotations

import copy
from decimal import Decimal
from pathlib import Path

import pytest
from lxml import etree

from gateway.cases import read_submission
from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, split_submission
from gateway.harmonize.language import ValueShape, format_plain_decimal
from gateway.wire import XPathIndex, build_pointer, build_xpath, convert_wco_moment, iterate_pointers
from gateway.wire import wco_pointers as pointing
from gateway.wire.violation_words import _clean_text
from gateway.wire.wco_pointers import find_element
from tests.harmonize import small_bundle

CROWD = 5_000
BILL = f"{small_bundle.G}/Consignment/TransportContractDocument/ID"
MAKER = f"{small_bundle.ITEM}/Manufacturer/Name"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> MappingBundle:
    return small_bundle.mapping(tmp_path_factory.mktemp("tiny"))


def problems(bundle: MappingBundle, root: etree._Element) -> list[tuple[str, str]]:
    return [(one.problem.id, one.pointer) for one in small_bundle.apply(bundle, root).problems]


def crowded(text: str, before: str, crowd: str) -> str:
    assert before in text
    return text.replace(before, crowd + before, 1)


CROWDS = {
    "unknown": {"fields": small_bundle.FIELDS + "<t:Nick>a</t:Nick>" * CROWD},
    "field": {"fields": small_bundle.FIELDS + "<t:Remark>a</t:Remark>" * CROWD},
    "group": {
        "fields": crowded(small_bundle.FIELDS, "<t:Animal>", "<t:Animal><t:Tag>x</t:Tag></t:Animal>" * CROWD)
    },
    "item": {"fields": small_bundle.FIELDS + '<t:Item sequence="1"><t:Risky>x</t:Risky></t:Item>' * CROWD},
    "supplement": {"supplement": f'<Value path="{BILL}" wcoID="D023">B</Value>' * CROWD},
    "document": {
        "declaration": crowded(
            small_bundle.DECLARATION,
            "<AdditionalDocument>",
            "<AdditionalDocument><ID>L</ID><TypeCode>911</TypeCode></AdditionalDocument>" * CROWD,
        )
    },
    "container": {
        "declaration": crowded(
            small_bundle.DECLARATION,
            "<TransportEquipment>",
            "<TransportEquipment><ID>a</ID></TransportEquipment>" * CROWD,
        )
    },
}


@pytest.mark.night
@pytest.mark.parametrize("crowd", CROWDS)
def test_a_crowd_is_gone_through_once(
    bundle: MappingBundle, crowd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The place of each element is told at most once in a split, and once more for the ledger."""
    steps = 0
    step = pointing._make_step

    def counted(*arguments: object) -> tuple[str, str]:
        nonlocal steps
        steps += 1
        return step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(pointing, "_make_step", counted)
    root = small_bundle.submission(**CROWDS[crowd])
    elements = sum(1 for _ in root.iter(etree.Element))
    result = small_bundle.apply(bundle, root)
    assert 0 < len(result.problems) <= 500
    assert steps <= elements
    assert len({pointer for _, pointer in result.ledger.list_entry_pointers(root)}) == len(
        result.submission_index.leaves
    )
    assert steps <= 2 * elements


@pytest.mark.night
def test_many_applications(bundle: MappingBundle) -> None:
    root = small_bundle.submission()
    (one,) = root.findall("{*}Application")
    for number in range(600):
        root.append(copy.deepcopy(one))
        root[-1].set("id", f"B{number}")
    values = {str(a.get("id")): small_bundle.NUMBERS["A1"] for a in root.findall("{*}Application")}
    result = split_submission(root, bundle, values)
    assert (len(result.requests), result.problems, result.unaccounted_leaves) == (601, (), ())
    issued = next(e for e in result.ledger.entries if e.leaf.path.endswith("/DateTimeString"))
    assert issued.fates[0] is not None
    assert len(issued.fates[0].targets) == 3 * 601
    for each in root.findall("{*}Application"):
        each.set("document", "NONE")
    assert len(split_submission(root, bundle, values).problems) == 500


def test_places_told_together_are_those_told_alone() -> None:
    root = small_bundle.submission(
        supplement=small_bundle.SUPPLEMENT + f'<Value path="{MAKER}" item="1">again</Value>'
    )
    paths = XPathIndex()
    told = dict(iterate_pointers(root))
    assert len(set(told.values())) == len(told)
    for element, pointer in told.items():
        assert build_pointer(element) == pointer
        assert paths.get_xpath(element) == build_xpath(element)
    assert told[root.findall("{*}Supplement/{*}Value")[-1]] == f"SUP/{MAKER}[1][1][2]"


STAMPS = [
    ("20260322142600+09", "2026-03-22T14:26:00+09:00"),
    ("20260322142600-05", "2026-03-22T14:26:00-05:00"),
    ("202603221426+0930", "2026-03-22T14:26:00+09:30"),
]


@pytest.mark.parametrize(("text", "expected"), STAMPS)
def test_a_zone_of_hours_alone(text: str, expected: str) -> None:
    assert convert_wco_moment(text) == expected


@pytest.mark.vectors
def test_every_real_time_is_one(vectors: Path) -> None:
    read = 0
    for path in sorted((vectors / "data/hmrc-cds/samples").rglob("*.xml")):
        for element in etree.parse(str(path)).getroot().iter("{*}DateTimeString"):
            if element.get("formatCode") == "304":
                assert ValueShape("moment").find_violation(convert_wco_moment(element.text or "")) is None, (
                    path.name,
                    element.text,
                )
                read += 1
    assert read > 300


ZONES = [("+14:00", True), ("-14:00", True), ("+13:59", True), ("+14:01", False), ("+15:00", False), ("+09:60", False)]  # fmt: skip


@pytest.mark.parametrize(("zone", "good"), ZONES)
def test_a_zone_beyond_those_of_xml_schema(bundle: MappingBundle, zone: str, good: bool) -> None:
    text = f"<t:Meeting>2026-01-02T03:04:05{zone}</t:Meeting>"
    expected = [] if good else [("GW404", "APP[1]/TINY/Meeting")]
    assert problems(bundle, small_bundle.submission(small_bundle.FIELDS + text)) == expected


def test_a_declared_zone_beyond_those_of_xml_schema(bundle: MappingBundle) -> None:
    declaration = small_bundle.DECLARATION.replace("20261120093015Z", "20261120093015+15")
    found = problems(bundle, small_bundle.submission(declaration=declaration))
    assert set(found) == {("GW404", "42A/D011/DateTimeString")}  # of each target


BARE = [
    "<TransportEquipment/>",
    "<TransportEquipment><SequenceNumeric>3</SequenceNumeric></TransportEquipment>",
    "<TransportEquipment><SequenceNumeric>3</SequenceNumeric><Seal><SequenceNumeric>1</SequenceNumeric></Seal></TransportEquipment>",
]


@pytest.mark.parametrize("bare", BARE)
def test_an_occurrence_without_a_listed_value_is_not_told(bundle: MappingBundle, bare: str) -> None:
    plain_request = small_bundle.apply(bundle, small_bundle.submission()).requests[0]
    declaration = crowded(small_bundle.DECLARATION, "<TransportEquipment>", bare)
    result = small_bundle.apply(bundle, small_bundle.submission(declaration=declaration))
    assert (result.problems, result.unaccounted_leaves) == ((), ())
    assert etree.tostring(result.requests[0].xml) == etree.tostring(plain_request.xml)
    assert [o.target for o in result.requests[0].origins] == [o.target for o in plain_request.origins]
    many = crowded(small_bundle.DECLARATION, "<TransportEquipment>", bare * 20)
    assert problems(bundle, small_bundle.submission(declaration=many)) == []


def test_an_element_that_tells_a_part_of_a_group_stands_for_those_that_have_it(tmp_path: Path) -> None:
    """A constant alone discloses that an occurrence is there as well as an empty element does."""
    bundle = small_bundle.mapping(
        tmp_path, document=("        - ID: {common: container.id}\n", "        - Kind: {const: C}\n")
    )
    result = small_bundle.apply(bundle, small_bundle.submission())
    assert (small_bundle.text(result, "Container/Kind"), small_bundle.text(result, "Container/Seal/ID")) == (["C"], ["S1", "S2"])  # fmt: skip
    assert result.unaccounted_leaves == ()


def refusal(root: etree._Element) -> tuple[str, str] | None:
    try:
        read_submission(root)
    except GatewayError as error:
        return error.problem.id, error.location
    return None


SUPPLEMENTS = [
    (f'<Value path="{BILL}" wcoID="D023">x</Value><Value path="{BILL}" wcoID="D023" n="2">y</Value>', None),
    (f'<Value path="{BILL}">x</Value><Value path="{BILL}" n="1">y</Value>', ("GW505", f"SUP/{BILL}[1][2]")),
    (f'<Value path="{MAKER}" item="1">x</Value>' * 2, ("GW505", f"SUP/{MAKER}[1][1][2]")),
    (f'<Value path="{MAKER}" item="7">x</Value>', ("GW404", f"SUP/{MAKER}[7][1]")),
    (f'<Value path="{BILL}" item="1">x</Value>', ("GW404", f"SUP/{BILL}[1][1]")),
    (f'<Value path="{BILL}" wcoID="R042">x</Value>', ("GW404", f"SUP/{BILL}[1]")),
]


@pytest.mark.parametrize(("supplement", "expected"), SUPPLEMENTS)
def test_the_supplement_is_refused(supplement: str, expected: tuple[str, str] | None) -> None:
    root = small_bundle.submission(supplement=supplement)
    assert refusal(root) == expected
    if expected is not None:
        place = find_element(root, expected[1])
        assert place is root.findall("{*}Supplement/{*}Value")[-1]


def test_two_applications_for_one_item_and_text_for_a_number() -> None:
    root = small_bundle.submission()
    (one,) = root.findall("{*}Application")
    for attachment in one.findall("{*}Attachment"):
        one.remove(attachment)
    root.append(copy.deepcopy(one))
    assert refusal(root) == ("GW505", "APP[2]/@id")
    root[-1].set("id", "A2")
    assert refusal(root) == ("GW505", "APP[2]/Items")
    root[-1][0].text = "x"
    assert refusal(root) == ("GW402", "APP[2]/Items")


def test_a_common_amount_needs_its_currency(tmp_path: Path) -> None:
    lists = small_bundle.FILES["codelists.yaml"]
    named = lists.replace("lists:\n", 'lists:\n  iso4217: {file: codelists/money.csv, key: code, version: "1", source: ours}\n')  # fmt: skip
    bundle = small_bundle.mapping(tmp_path, codelists=(lists, named))
    amount = ' currencyID="EUR">100.50'
    for written, expected in ((">100.50", "GW503"), (' currencyID="EUX">100.50', "GW403")):
        declaration = small_bundle.DECLARATION.replace(amount, written)
        result = small_bundle.apply(bundle, small_bundle.submission(declaration=declaration))
        found = [(one.problem.id, one.pointer) for one in result.problems if one.problem.id == expected]
        assert found[0][1].startswith("42A/"), result.problems
        assert found[0][1].endswith("/@currencyID")


def test_zero_has_no_sign() -> None:
    assert [format_plain_decimal(Decimal(text)) for text in ("-0.00", "0", "-0.10")] == ["0", "0", "-0.1"]


def test_a_problem_and_the_ledger_name_one_place_alike(bundle: MappingBundle) -> None:
    fields = small_bundle.FIELDS.replace("<t:Tag>A1</t:Tag>", "<t:Tag> </t:Tag>").replace("sharp", " ")
    root = small_bundle.submission(fields)
    result = small_bundle.apply(bundle, root)
    ledger = {pointer for _, pointer in result.ledger.list_entry_pointers(root)}
    missing = [one.pointer for one in result.problems if one.problem.id == "GW503"]
    assert missing == ["APP[1]/TINY/ITEM[1]/Reason[1]", "APP[1]/TINY/ITEM[1]/Animal[1]/Tag"]
    assert set(missing) <= ledger
    gone = small_bundle.submission(small_bundle.FIELDS.replace("<t:Tag>A1</t:Tag>", ""))
    assert ("GW503", "APP[1]/TINY/ITEM[1]/Animal[1]/Tag") in problems(bundle, gone)


WORDS = [
    (
        "duplicated value ('A1',) for XsdUnique(name='s:ApplicationId')",
        "'A1' is given more than once (rule ApplicationId)",
    ),
    ("Invalid datetime for <class 'elementpath.datatypes.Date10'>", "Invalid datetime for Date10"),
    (
        "{urn:a}b: 'x' is not a valid value of the local atomic type.",
        "b: 'x' is not a valid value of its type.",
    ),
]


@pytest.mark.parametrize(("reason", "told"), WORDS)
def test_a_schema_speaks_without_names_of_a_library(reason: str, told: str) -> None:
    assert _clean_text(reason) == told
