"""The rules on a declaration itself: forms, code tables, dates and numbers, each an error or a warning."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, find_broken_rules
from gateway.harmonize.language.declaration_rules import read_declaration_rules
from gateway.harmonize.samples import make_sample
from gateway.wire import read_yaml
from tests.kit.paths import ROOT

SAMPLE = (ROOT / "conformance/samples/import-three-items.xml").read_text("utf-8")
RECEIVED = datetime(2026, 11, 20, 12, tzinfo=UTC)
HS = "<ID>30041010</ID>"
ISSUED = ">20261120"
HEAD = "rules:\n  - {id: a, severity: error, ko: 가, en: A, "


def broken(bundle: MappingBundle, old: str, new: str, received: datetime | None = RECEIVED) -> list[str]:
    """Return severity, rule and problem of each rule that the sample breaks with one text replaced."""
    assert old in SAMPLE
    found = find_broken_rules(etree.fromstring(SAMPLE.replace(old, new, 1).encode()), bundle, received)
    return [f"{one.rule.severity} {one.rule.id} {one.problem.id}" for one in found]


HS_CODES = [
    ("30041010", []),
    ("9905320X", ["error hs-form GW404"]),
    ("3004101", ["error hs-form GW404"]),
    ("3004.10", ["error hs-form GW404"]),
    ("00000000", ["error hs-chapter GW403"]),
    ("99053200", ["error hs-chapter GW403"]),
    ("77010000", ["error hs-chapter GW403"]),
    ("30049099", []),
    ("30048899", ["warning hs-subheading GW403"]),
]


@pytest.mark.parametrize(("code", "told"), HS_CODES)
def test_a_tariff_code_is_told_by_form_chapter_and_subheading(
    bundle: MappingBundle, code: str, told: list[str]
) -> None:
    assert broken(bundle, HS, f"<ID>{code}</ID>") == told


def test_a_broken_rule_says_what_is_allowed_and_where(bundle: MappingBundle) -> None:
    root = etree.fromstring(SAMPLE.replace(HS, "<ID>30048899</ID>", 1).encode())
    (one,) = find_broken_rules(root, bundle, RECEIVED)
    assert one.pointer == "42A/67A[1]/68A[1]/23A[1]/21A[1]/145"
    assert one.detail.startswith("The HS code is not in HS 2022 (")
    assert one.detail.endswith(
        "'3004889900' begins with 300488, which is no code of WCO Harmonized System 2022; near it: "
        "300410, 300420, 300431, 300432, 300439, 300441, 300442, 300443, 300449, 300450, 300460 "
        "or 300490"
    )


def test_an_error_is_told_however_many_warnings_come_before_it(bundle: MappingBundle) -> None:
    """Else the declaration would be taken, as only errors refuse it."""
    root = etree.fromstring(SAMPLE.replace(HS, "<ID>30048899</ID>", 1).encode())
    item = root.find(".//{*}GovernmentAgencyGoodsItem")
    assert item is not None
    for number in range(4, 64):
        further = deepcopy(item)
        further.find("{*}SequenceNumeric").text = str(number)
        item.getparent().append(further)
    mass = root.find(".//{*}TotalGrossMassMeasure")
    assert mass is not None
    mass.text = "-1"
    found = find_broken_rules(root, bundle, RECEIVED)
    rules = [finding.rule.id for finding in found if finding.rule is not None]
    assert rules == ["gross-mass-negative", *["hs-subheading"] * 49]


DATES = [
    (datetime(2026, 11, 20, tzinfo=UTC), []),
    (datetime(2026, 12, 19, tzinfo=UTC), []),
    (datetime(2026, 12, 25, tzinfo=UTC), ["warning issued-long-ago GW404"]),
    (datetime(2026, 11, 18, tzinfo=UTC), ["warning issued-later GW404"]),
    (None, []),
]


@pytest.mark.parametrize(("received", "told"), DATES)
def test_the_date_of_the_declaration_is_compared_with_its_receipt(
    bundle: MappingBundle, received: datetime | None, told: list[str]
) -> None:
    assert broken(bundle, HS, HS, received) == told


ARRIVALS = [("2026-11-01", []), ("2026-09-01", ["warning arrival-long-ago GW404"]),
            ("2025-01-01", ["error arrival-a-year-ago GW404"]), ("2026-12-31", [])]  # fmt: skip


@pytest.mark.parametrize(("day", "told"), ARRIVALS)
def test_an_arrival_long_before_the_declaration_is_told_once(
    bundle: MappingBundle, day: str, told: list[str]
) -> None:
    root = etree.fromstring(SAMPLE.encode())
    (arrival,) = [one for one in root.iter("{*}Value") if str(one.get("path")).endswith("ArrivalDateTime")]
    arrival.text = f"{day}T08:00:00Z"
    found = find_broken_rules(root, bundle, RECEIVED)
    assert [f"{one.rule.severity} {one.rule.id} {one.problem.id}" for one in found] == told


ITEM = "GovernmentAgencyGoodsItem"
NUMBERS = [
    ("TotalGrossMassMeasure", "-812.5", ["error gross-mass-negative GW404 42A/131"]),
    ("TotalPackageQuantity", "-7", ["error package-count-negative GW404 42A/146"]),
    ("InvoiceAmount", "-0.01", ["error invoice-amount-negative GW404 42A/109"]),
    (f"{ITEM}[2]//{{*}}NetNetWeightMeasure", "-5",
     ["error item-net-mass-negative GW404 42A/67A[1]/68A[2]/23A[1]/65A[1]/128"]),
    (f"{ITEM}[3]//{{*}}TariffQuantity", " -3 ",
     ["error item-quantity-negative GW404 42A/67A[1]/68A[3]/23A[1]/65A[1]/130"]),
    (f"{ITEM}[1]//{{*}}ItemChargeAmount", "-2",
     ["error item-amount-negative GW404 42A/67A[1]/68A[1]/23A[1]/79A[1]/112"]),
    (f"{ITEM}[3]/{{*}}Packaging/{{*}}QuantityQuantity", "-9",
     ["error item-packages-negative GW404 42A/67A[1]/68A[3]/93A[1]/144"]),
    ("TotalGrossMassMeasure", "0", []),
    ("TotalGrossMassMeasure", "-0", []),
    ("TotalGrossMassMeasure", "0.000001", []),
    ("GoodsItemQuantity", "7", ["warning item-count GW404 42A/228"]),
    ("GoodsItemQuantity", "2", ["warning item-count GW404 42A/228"]),
    ("GoodsItemQuantity", "3", []),
    ("GoodsItemQuantity", "03", []),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "told"), NUMBERS)
def test_a_number_without_a_sign_is_not_negative_and_items_are_counted(
    bundle: MappingBundle, place: str, value: str, told: list[str]
) -> None:
    root = etree.fromstring(SAMPLE.encode())
    element = root.find(f".//{{*}}{place}")
    assert element is not None
    element.text = value
    found = find_broken_rules(root, bundle, RECEIVED)
    assert [f"{one.rule.severity} {one.rule.id} {one.problem.id} {one.pointer}" for one in found] == told


def test_every_occurrence_of_a_group_is_judged(bundle: MappingBundle) -> None:
    """The quantity used against a licence, and the gross mass that only customs gets."""
    root = etree.fromstring(SAMPLE.encode())
    namespace = "{urn:wco:datamodel:WCO:DEC-DMS:2}"
    for number, item in enumerate(root.iter(f"{namespace}{ITEM}")):
        for used in ("4", "-4"):
            paper = etree.SubElement(item, f"{namespace}AdditionalDocument")
            off = etree.SubElement(paper, f"{namespace}WriteOff")
            etree.SubElement(off, f"{namespace}QuantityQuantity", unitCode="KGM").text = used
        measure = item.find(f".//{namespace}GoodsMeasure")
        assert measure is not None
        etree.SubElement(measure, f"{namespace}GrossMassMeasure").text = f"-{number}"
    found = find_broken_rules(root, bundle, RECEIVED)
    assert [one.rule.id for one in found] == ["item-gross-mass-negative"] * 2 + ["quantity-used-negative"] * 3
    assert found[0].detail == (
        "The gross mass of the item is negative (란 총중량이 음수입니다): '-1' is less than 0"
    )
    assert [one.pointer for one in found][:3:2] == [
        "42A/67A[1]/68A[2]/23A[1]/65A[1]/126",
        found[2].pointer,
    ]
    assert all(one.pointer.endswith("/502") for one in found[2:])


def test_without_goods_items_there_is_nothing_to_count(bundle: MappingBundle) -> None:
    root = etree.fromstring(SAMPLE.encode())
    for item in list(root.iter("{*}" + ITEM)):
        item.getparent().remove(item)  # type: ignore[union-attr]
    assert find_broken_rules(root, bundle, RECEIVED) == ()


@pytest.mark.night
@pytest.mark.parametrize(
    "rule", ["{left: item.net_mass, at_least: 5000}", '{left: package.count, at_most: "3"}']
)
def test_samples_obey_a_rule_on_a_number(bundle: MappingBundle, rule: str) -> None:
    text = f"{HEAD}compare: {rule}}}\n"
    (one,) = read_declaration_rules(read_yaml(text.encode(), "rules.yaml"), bundle.dictionary, bundle.lists)
    ruled, seen = replace(bundle, rules=(*bundle.rules, one)), 0
    for seed in range(8):
        root = etree.fromstring(make_sample(ruled, bundle.documents["KPTA-PHARM-IMP"], str(seed), 2))
        for value in root.iter("{*}" + one.meaning.relative[-1]):
            if value.getparent().tag.endswith(("GoodsMeasure", "Packaging")):  # type: ignore[union-attr]
                assert one.find_violation(value.text or "") is None
                assert Decimal(value.text or "") >= 0
                seen += 1
    assert seen


def test_a_document_with_a_korean_name_is_no_declaration_and_breaks_no_rule(bundle: MappingBundle) -> None:
    root = etree.fromstring('<시험 xmlns="urn:example"><품명>쌀</품명></시험>')
    assert find_broken_rules(root, bundle) == ()


def test_a_declaration_alone_is_judged_too(bundle: MappingBundle) -> None:
    root = etree.fromstring(SAMPLE.replace(HS, "<ID>9905320X</ID>", 1).encode())
    declaration = next(root.iter("{urn:wco:datamodel:WCO:DEC-DMS:2}Declaration"))
    (one,) = find_broken_rules(declaration, bundle)
    assert "'9905320X00' is not allowed; expected is 6 digits or 8 digits or 10 digits" in one.detail
    assert find_broken_rules(etree.Element("a"), bundle) == ()


WRONG = [
    ("", "one of form, listed, compare"),
    ("form: {of: item.hz, patterns: [A]}", "item.hz"),
    ("form: {of: item.hs, patterns: ['a(b(c))']}", "a(b(c))"),
    ("form: {of: container.id, patterns: [A]}", "container.id"),
    ("listed: {of: item.hs, list: nowhere, first: 2}", "nowhere"),
    ("compare: {left: item.hs, at_least: received}", "a date"),
    ("compare: {left: issued_at, at_least: item.hs}", "item.hs"),
    ("compare: {left: issued_at, equals: items}", "a date or a number"),
    ("compare: {left: gross_mass, at_least: much}", "a number"),
    ("compare: {left: gross_mass, equals: items}", "items, for an integer"),
    ("compare: {left: item_count, equals: '3'}", "items, for an integer"),
    ("compare: {left: gross_mass, at_least: '0', days: '3'}", "days"),
    ("compare: {left: container.id, at_least: '0'}", "container.id"),
    ("compare: {left: gross_mass, at_least: '0', at_most: '3'}", "at_least, at_most"),
    ("compare: {left: issued_at, at_least: received, days: soon}", "soon"),
    ("form: {of: item.hs, patterns: [A], colour: red}", "colour"),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_wrong_rule_is_refused_with_file_and_line(bundle: MappingBundle, text: str, told: str) -> None:
    node = read_yaml(f"{HEAD}{text}}}\n".encode(), "rules.yaml")
    with pytest.raises(GatewayError) as caught:
        read_declaration_rules(node, bundle.dictionary, bundle.lists)
    assert told in str(caught.value)
    assert "rules.yaml:" in str(caught.value)


def test_rules_are_data(bundle: MappingBundle) -> None:
    """A folder may have other rules, or none; the hub decides by those in force."""
    text = f"{HEAD}form: {{of: item.hs, patterns: ['[0-9]{{4}}']}}}}\n"
    (rule,) = read_declaration_rules(read_yaml(text.encode(), "rules.yaml"), bundle.dictionary, bundle.lists)
    assert rule.is_error
    assert rule.find_violation("3004") is None
    assert rule.find_violation("30041010") == "'30041010' is not allowed; expected is 4 digits"


def test_what_a_rule_accepts_at_once_does_not_break_it(bundle: MappingBundle) -> None:
    texts = [
        "0",
        "-0",
        "12.50",
        "-1",
        "1.",
        ".5",
        "+3",
        "9" * 18,
        "9" * 40,
        "x",
        "300490",
        "3004.90",
        "",
        " 1",
    ]
    for rule in bundle.rules:
        assert all(rule.find_violation(text) is None for text in texts if rule.accepts(text))
    accepted = {rule.id for rule in bundle.rules if rule.accepts("300490")}
    assert {"hs-form", "gross-mass-negative", "package-count-negative"} <= accepted
    assert not {"hs-chapter", "arrival-long-ago", "item-count"} & accepted


BOUNDS = [
    ("at_least: '0'", "0", "-1"),
    ("at_most: '0'", "0", "5"),
    ("at_least: '5'", "5", "4.9"),
    ("at_most: '5'", "5", "5.1"),
]


@pytest.mark.parametrize(("rule", "right", "wrong"), BOUNDS)
def test_a_number_is_compared_with_the_bound_of_its_rule(
    bundle: MappingBundle, rule: str, right: str, wrong: str
) -> None:
    text = f"{HEAD}compare: {{left: package.count, {rule}}}}}\n"
    (one,) = read_declaration_rules(read_yaml(text.encode(), "rules.yaml"), bundle.dictionary, bundle.lists)
    ruled, root = replace(bundle, rules=(one,)), etree.fromstring(SAMPLE.encode())
    for value, told in ((right, False), (wrong, True)):
        for element in root.iter("{*}" + one.meaning.relative[-1]):
            element.text = value
        assert bool(find_broken_rules(root, ruled, RECEIVED)) is told


TSP = "<Classification><ID>{}</ID><IdentificationTypeCode>TSP</IdentificationTypeCode></Classification>"
TRC = TSP.replace("TSP", "TRC")
UNTYPED = "<Classification><ID>{}</ID></Classification>"
CERTAIN = [
    TSP.format("3004101000"),
    TSP.format("30041010") + TRC.format("00"),
    TRC.format("00") + TSP.format("30041010"),
    UNTYPED.format("3004101000"),
    UNTYPED.format("3004101000") + TSP.format("3004").replace("TSP", "GN"),
]
UNCERTAIN = [
    (TSP.format("3004") + TSP.format("101000"), 2, "'101000' is a second classification of type TSP"),
    (TSP.format("3004101000") * 2, 2, "'3004101000' is a second classification of type TSP"),
    (
        TSP.format("30041010") + TRC.format("0") + TRC.format("0"),
        3,
        "'0' is a second classification of type TRC",
    ),
    (
        UNTYPED.format("3004") + UNTYPED.format("101000"),
        2,
        "'101000' is a second classification without a type",
    ),
    (
        UNTYPED.format("3004") + TSP.format("101000"),
        2,
        "'101000' is a classification of type TSP beside one without a type",
    ),
    (
        TRC.format("101000") + UNTYPED.format("3004"),
        2,
        "'3004' is a classification without a type beside one of type TRC",
    ),
    (TSP.format("3004 101000"), 1, "'3004 101000' has a space in it"),
    (TSP.format("30041010") + TRC.format(" 00"), 2, "' 00' has a space in it"),
    (TSP.format("30041010 ") + TRC.format("00"), 1, "'30041010 ' has a space in it"),
]


def classify(classifications: str) -> etree._Element:
    """Return the submission whose second goods item has these classifications."""
    start = SAMPLE.index("<Classification>", SAMPLE.index("<SequenceNumeric>2</SequenceNumeric>"))
    end = SAMPLE.index("<GoodsMeasure>", start)
    return etree.fromstring((SAMPLE[:start] + classifications + SAMPLE[end:]).encode())


@pytest.mark.parametrize("classifications", CERTAIN)
def test_classifications_that_make_one_tariff_code_are_taken(
    bundle: MappingBundle, classifications: str
) -> None:
    assert find_broken_rules(classify(classifications), bundle, RECEIVED) == ()


@pytest.mark.parametrize(("classifications", "position", "words"), UNCERTAIN)
@pytest.mark.parametrize("has_rules", [True, False])
def test_classifications_that_are_not_one_tariff_code_are_refused(
    bundle: MappingBundle, classifications: str, position: int, words: str, has_rules: bool
) -> None:
    judged = bundle if has_rules else replace(bundle, rules=())
    (one,) = find_broken_rules(classify(classifications), judged, RECEIVED)
    assert one.detail.endswith(f": {words}")
    assert one.pointer == f"42A/67A[1]/68A[2]/23A[1]/21A[{position}]/145"
    assert (one.is_error, one.problem.id) == (True, "GW404")
