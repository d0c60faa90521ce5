"""Invariants of an inventory: each clause becomes a check of the language, or a reason why not."""

from __future__ import annotations

from typing import Any

import pytest

from gateway_workbench.importer.condition_translation import UnclearError
from gateway_workbench.importer.invariant_translation import (
    InvariantMember,
    split_clauses,
    translate_clause,
)

G = ("box",)
MEMBERS = {
    "pct": InvariantMember("box.pct", "number", "item", True, G, unit_kind="unit"),
    "part": InvariantMember("box.part", "number", "item", True, G, unit_kind="unit"),
    "lot": InvariantMember("box.lot", "id", "item", True, G),
    "deep": InvariantMember("box.in.deep", "number", "item", True, ("box", "box.in")),
    "price": InvariantMember("price", "number", "item", True, unit_kind="currency"),
    "size": InvariantMember("size", "number", "item", True, unit_kind="unit"),
    "mass": InvariantMember("gross_mass", "number", "application", False, unit_kind="unit"),
    "count": InvariantMember("count", "number", "item", True),
    "from": InvariantMember("from", "date", "application", True),
    "to": InvariantMember("to", "date", "application", True),
    "plates": InvariantMember("plates", "text", "application", True, has_several_values=True),
    "paper": InvariantMember("paper", "attachment", "application", True),
    "total": InvariantMember("invoice.amount", "number", "application", False, unit_kind="currency"),
    "net": InvariantMember("item.net_mass", "number", "item", False, unit_kind="unit", units=None),
    "mixed": InvariantMember("mixed", "number", "item", True, unit_kind="unit", units=("KGM", "GRM")),
    "kilos": InvariantMember("kilos", "number", "item", True, unit_kind="unit", units=("KGM",)),
    "litres": InvariantMember("litres", "number", "item", True, unit_kind="unit", units=("LTR",)),
    "any": InvariantMember("any", "number", "item", True, unit_kind="currency", units=None),
}


def find(name: str) -> InvariantMember:
    if name not in MEMBERS:
        raise UnclearError(f"{name} is no field of the document")
    return MEMBERS[name]


READ: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("sum(pct) <= 100", (), {"per": "item", "sum": {"ask": "box.pct"}, "at_most": "100"}),
    ("sum(pct) == 100", (), {"per": "item", "sum": {"ask": "box.pct"}, "equals": "100"}),
    ("sum(pct) ~= 100", (), {"per": "item", "sum": {"ask": "box.pct"}, "equals": "100", "within": "0.5"}),
    ("100 >= sum(pct)", (), {"per": "item", "sum": {"ask": "box.pct"}, "at_most": "100"}),
    ("0 < sum(pct)", (), {"per": "item", "sum": {"ask": "box.pct"}, "more_than": "0"}),
    ("1 <= sum(pct)", (), {"per": "item", "sum": {"ask": "box.pct"}, "at_least": "1"}),
    ("sum(deep) > 1", ("box",), {"per": "box", "sum": {"ask": "box.in.deep"}, "more_than": "1"}),
    (
        "sum(count * price) <= total",
        (),
        {
            "per": "application",
            "sum": {"multiply": ["count", "price"]},
            "at_most": "invoice.amount",
            "when_same": "currency",
        },
    ),
    ("sum(deep) <= count", ("box",), {"per": "box", "sum": {"ask": "box.in.deep"}, "at_most": "count"}),
    ("sum(deep) <= part", ("box",), {"per": "box", "sum": {"ask": "box.in.deep"}, "at_most": "box.part"}),
    (
        "pct * part <= 5",
        (),
        {"per": "box", "sum": {"multiply": ["box.pct", "box.part"]}, "at_most": "5"},
    ),
    ("pct <= 5", (), {"per": "item", "compare": {"left": "box.pct", "at_most": "5"}}),
    ("from <= to", (), {"per": "application", "compare": {"left": "from", "at_most": "to"}}),
    (
        "pct <= net",
        (),
        {"per": "item", "compare": {"left": "box.pct", "at_most": "item.net_mass"}, "when_same": "unit"},
    ),
    ("distinct(lot)", (), {"per": "item", "distinct": "box.lot"}),
    ("one_of(from, to)", (), {"per": "application", "one_of": ["from", "to"]}),
    ("exactly_one(from, to)", (), {"per": "application", "exactly_one": ["from", "to"]}),
    ("all_or_none(pct, part)", (), {"per": "box", "all_or_none": ["box.pct", "box.part"]}),
]


@pytest.mark.parametrize(("text", "home", "expected"), READ, ids=[text for text, _, _ in READ])
def test_a_clause_is_read(text: str, home: tuple[str, ...], expected: dict[str, Any]) -> None:
    assert translate_clause(text, find, home) == expected


UNCLEAR = [
    ("beryllium <= 0.02", "beryllium is no field"),
    ("sum(lot) <= 5", "box.lot is no asked number"),
    ("sum(net) <= 5", "item.net_mass is no asked number"),
    ("sum(pct * count) <= 5", "side by side"),
    ("pct <= from", "not of like type"),
    ("lot <= lot", "has no order"),
    ("price <= net", "an amount and a quantity"),
    ("5 <= 6", "it compares no field"),
    ("pct", "nothing where a comparison should be"),
    ("paper == paper", "paper has no value"),
    ("plates == plates", "both repeat"),
    ("median(pct) <= 5", "median is nothing that a check does"),
    ("xor(from, to)", "a check does; it does sum, distinct, one_of, exactly_one, all_or_none"),
    ("one_of(from, pct)", "side by side"),
    ("one_of(from)", "takes more fields"),
    ("distinct(net)", "it needs asked fields"),
    ("sum(pct) <= 100 %%", "it has %%"),
]


@pytest.mark.parametrize(("text", "words"), UNCLEAR)
def test_what_is_no_check_says_why(text: str, words: str) -> None:
    with pytest.raises(UnclearError) as unclear:
        translate_clause(text, find, ())
    assert words in str(unclear.value)


WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("sum(pct) <= 100", {"per": "application", "sum": {"ask": "box.pct"}, "at_most": "100"}),
    ("distinct(lot)", {"per": "application", "distinct": "box.lot"}),
    ("one_of(from, to)", {"per": "application", "one_of": ["from", "to"]}),
    ("pct <= 5", {"per": "item", "compare": {"left": "box.pct", "at_most": "5"}}),
]


@pytest.mark.parametrize(("text", "expected"), WHOLE, ids=[text for text, _ in WHOLE])
def test_at_the_document_a_clause_goes_over_all_items(text: str, expected: dict[str, Any]) -> None:
    assert translate_clause(text, find, (), is_whole_document=True) == expected


@pytest.mark.parametrize("text", ["one_of(pct, part)", "all_or_none(pct, part)", "sum(price) <= count"])
def test_what_cannot_be_said_of_the_whole_document_is_told(text: str) -> None:
    with pytest.raises(UnclearError, match="more than once"):
        translate_clause(text, find, (), is_whole_document=True)


@pytest.mark.parametrize("product", ["size * price", "price * size"])
def test_the_order_of_factors_says_nothing(product: str) -> None:
    assert translate_clause(f"sum({product}) <= total", find, ()) == {
        "per": "application",
        "sum": {"multiply": ["size", "price"]},
        "at_most": "invoice.amount",
        "when_same": "currency",
    }


def test_a_product_that_is_no_total_is_checked_where_it_stands() -> None:
    assert translate_clause("size * price <= total", find, ())["per"] == "item"


@pytest.mark.parametrize(
    "text", ["sum(price * price) <= total", "sum(size * price) <= mass", "sum(size) <= total"]
)
def test_a_product_of_another_kind_is_told(text: str) -> None:
    with pytest.raises(UnclearError, match="amount"):
        translate_clause(text, find, ())


def test_clauses_are_divided() -> None:
    assert split_clauses("sum(pct) ~= 100; a <= 0.02 and b > 1") == ["sum(pct) ~= 100", "a <= 0.02", "b > 1"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("mixed > 0", None),
        ("any >= 1", None),
        ("kilos <= 16000", None),
        ("sum(kilos) <= kilos", None),
        ("sum(mixed) <= mixed", "unit"),
        ("sum(mixed) <= kilos", "unit"),
        ("kilos <= net", "unit"),
        ("any <= price", "currency"),
    ],
)
def test_values_of_one_unit_are_compared(text: str, same: str | None) -> None:
    assert translate_clause(text, find, ()).get("when_same") == same


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sum(mixed) <= 16000", r"mixed may be in one of several units \(KGM, GRM\), and 16000 has none"),
        ("mixed <= 16000", r"give the field one unit"),
        ("sum(mixed) > 0", r"mixed may be in one of several units"),
        ("sum(mixed) <= count", r"and the other side has none"),
        ("count <= mixed", r"mixed may be in one of several units"),
        ("net <= 1000", r"item\.net_mass may be in any of the units, and 1000 has none"),
        ("sum(any) <= 1000", r"any may be in any of the currencies, and 1000 has none: .* one currency"),
        ("sum(mixed) <= litres", r"mixed \(KGM, GRM\) and litres \(LTR\) never have the same unit"),
        ("kilos <= litres", "never have the same unit, so it would never be checked"),
    ],
)
def test_a_comparison_without_a_common_unit_is_refused(text: str, words: str) -> None:
    with pytest.raises(UnclearError, match=words):
        translate_clause(text, find, ())
