"""The rules on a declaration itself: forms, code tables and dates, each an error or a warning."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import MappingBundle, find_broken_rules
from gateway.harmonize.language.declaration_rules import read_declaration_rules
from gateway.harmonize.types import read_yaml
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
