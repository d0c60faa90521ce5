"""The shipped documents held against the facts line by line: heads, conditions, bounds, rows."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.harmonize import MappingBundle
from gateway.harmonize.language import (
    Condition,
    DocumentCheck,
    DocumentMapping,
    FieldValue,
    HubValue,
    Negation,
    TargetAttribute,
    TargetElement,
    UniqueField,
    UnitConversion,
    read_condition,
)
from gateway.harmonize.language import ValueTest as OneTest
from gateway.wire import SourceMark, YamlNode
from gateway_workbench.importer.condition_translation import ConditionSubject, translate_condition
from tests.harmonize.test_document_mapping import VERIFIED, entry, inventory_fields, reconciled
from tests.kit.documents import DOCUMENTS

# What the inventory leaves open or has otherwise, and the mapping decides (reconciled.csv says why).
BOUNDED = {
    (document, field)
    for document in ("EMC-WASTE-EXP", "EMC-WASTE-IMP")
    for field in ("moisture_pct", "shipment_serial", "shipment_total")
}
# A field that says nothing but what another one decides: it may not be given where that one excludes it.
FORBIDDEN = {
    ("KPTA-PHARM-IMP", "bse_origin"),
    ("NPQS-PLA-IMP", "ephyto_hub_ref"),
    ("NPQS-PLA-IMP", "lmo_approval_no"),
    ("RRA-CLEAR-IMP", "exemption_reason"),
    ("RRA-CLEAR-IMP", "exempt_quantity"),
}
# A condition that the inventory says in words, and the mapping in the language (reconciled.csv says how).
PROSE = {
    ("NFPQIS-FOOD-IMP", "health_certificate_no"): {"item.origin": {"in_list": "fisherySanitaryAgreement"}},
}
# What one notice or fee is known of, beyond what is shared by all.
CERTIFICATES = {"KPTA-PHARM-IMP": "GOVCBRFS7", "KPTA-TISSUE-IMP": "GOVCBRFS8"}


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_head_of_a_document_is_that_of_the_inventory(
    bundle: MappingBundle, vectors: Path, name: str
) -> None:
    document, known = bundle.documents[name], entry(vectors, name)
    assert (document.organisation, document.direction) == (known["organisation"], known["direction"])
    assert list(document.laws) == known["law_codes"]
    assert (document.ko, document.en) == (known["name_ko"], known["name_en"])
    assert document.status == known["confidence"].split()[0].strip(";")
    certificate = document.accepted_notices.certificate
    assert certificate is not None
    assert certificate[0] == CERTIFICATES.get(name, "CERTIFICATE")
    first = "fee is paid before forwarding" in str(known["edoc_code"])
    assert document.fee.due == ("before_forwarding" if first else "none")
    orders = set(re.findall(r"\b(DS7|DRI|DR3|ESY)\b", " ".join(known["result_set"])))
    named = {one.removeprefix("GOVCBR") for one, _ in document.accepted_notices.list_named_notices()}
    assert orders <= named
    assert "shared" in dict(document.accepted_notices.notices)


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_field_is_bounded_as_in_the_inventory(bundle: MappingBundle, vectors: Path, name: str) -> None:
    document = bundle.documents[name]
    for full, field in inventory_fields(entry(vectors, name)["unique"]):
        ask = document.ask_names.get(full)
        if ask is None:
            continue
        assert ask.shape.pattern == _pattern(field, ask), full
        assert list(ask.mime) == field.get("mime", []), full
        assert ask.max_mib == field.get("max_mib"), full
        if ask.type in ("quantity", "measure", "amount") and (name, full) not in BOUNDED:
            # An amount of an e-document has the decimals of its row, 19,4.
            usual = 4 if ask.type == "amount" and document.status == "verified" else 6
            assert ask.shape.fraction_digits == field.get("decimals", usual), full
        if "range" in field:
            assert [ask.shape.min_value, ask.shape.max_value] == [str(one) for one in field["range"]], full
        if "unit" not in field and "units" not in field:
            assert ask.type in ("amount",) or not ask.units or (name, full) in BOUNDED, full
        if not field.get("repeat") and ask.type != "group":
            assert (ask.repeat.low, ask.repeat.high) == (0, 1), full


def _pattern(field: Any, ask: UniqueField) -> str | None:
    """Return the pattern that the inventory gives a field; that of an open list is the list's own."""
    if ask.type == "code":
        return ask.shape.pattern
    known = field.get("pattern")
    return None if known is None else known.strip("^$").replace("[ -]?", "[ -]{0,1}")


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_condition_is_that_of_the_inventory(bundle: MappingBundle, vectors: Path, name: str) -> None:
    document, decisions = bundle.documents[name], reconciled()
    for full, field in inventory_fields(entry(vectors, name)["unique"]):
        if "condition" not in field or decisions.get((name, full), "").startswith("common arrival"):
            continue
        ask = document.ask_names.get(full)
        meaning = decisions.get((name, full), "").removeprefix("common ")
        when = ask.requirement.when if ask is not None else _needed(document, meaning)
        assert when is not None, full
        said = PROSE.get((name, full)) or translate_condition(field["condition"], _finder(document))
        wanted = read_condition(_node(said), document.ask_names, bundle.dictionary, bundle.lists)
        assert _normal(when) == _normal(wanted), full
        assert ask is None or ask.requirement.forbidden_otherwise == ((name, full) in FORBIDDEN), full
    conditional = {need.meaning.name for need in document.needs if need.when is not None}
    assert len(conditional) <= sum(
        "condition" in field for _, field in inventory_fields(entry(vectors, name)["unique"])
    )


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_common_value_in_place_of_a_field_is_as_long_as_the_field(
    bundle: MappingBundle, vectors: Path, name: str
) -> None:
    document, decisions = bundle.documents[name], reconciled()
    puts = {
        target.content.source.source.name: target
        for target in document.root.walk_elements()
        if target.content is not None and isinstance(target.content.source, FieldValue)
    }
    for full, field in inventory_fields(entry(vectors, name)["unique"]):
        meaning = bundle.dictionary.meanings.get(decisions.get((name, full), "").removeprefix("common "))
        if meaning is not None and "max_length" in field and document.status == "modelled":
            longest = min(field["max_length"], meaning.shape.max_length or 0)
            assert puts[meaning.name].shape.max_length == longest, full


def _needed(document: DocumentMapping, name: str) -> Condition | None:
    return next((need.when for need in document.needs if need.meaning.name == name), None)


def _finder(document: DocumentMapping) -> Any:
    def find(name: str) -> ConditionSubject:
        ask = document.ask_names[name]
        return ConditionSubject(name, ask.type, ask.shape.codes)

    return find


def _node(value: Any) -> YamlNode:
    mark = SourceMark("inventory", 1)
    if isinstance(value, dict):
        return YamlNode({key: _node(one) for key, one in value.items()}, mark, dict.fromkeys(value, mark))
    return (
        YamlNode([_node(one) for one in value], mark)
        if isinstance(value, list)
        else YamlNode(str(value), mark)
    )


def _normal(condition: Condition) -> Any:
    """Return a condition so that two which say the same are equal: order and way of writing left out."""
    if isinstance(condition, OneTest):
        operator = "in" if condition.operator == "is" else condition.operator
        return condition.name, operator, frozenset(condition.values)
    if isinstance(condition, Negation):
        return "not", _normal(condition.part)
    return type(condition).__name__, frozenset(_normal(part) for part in condition.parts)


@pytest.mark.vectors
@pytest.mark.parametrize(("edoc", "name", "number"), VERIFIED)
def test_every_row_of_the_definition_is_bounded_and_due_as_there(
    bundle: MappingBundle, vectors: Path, edoc: str, name: str, number: int
) -> None:
    rows = _rows(vectors, edoc)
    assert len(rows) == number
    for row, (target, put) in _placed(bundle.documents[name], rows):
        label = f"{edoc} row {row['no']} {row['name_ko']}"
        shape = put.shape if put is not None else target.shape
        if row["type"] == "n..":
            _as_a_number(row, target, put, label)
        elif target.text_piece is not None:
            assert (target.text_piece.octets, target.text_piece.charset) == (int(row["size"]), "euc-kr"), (
                label
            )
        elif put is None and not shape.codes:
            _as_a_text(row, target, label)
        if row["condition"] == "M" and put is None:
            assert target.is_required, label


def _as_a_text(row: dict[str, str], target: TargetElement, label: str) -> None:
    """Hold a text against its row: ``an..`` are octets of the Korean character set, ``an`` a fixed length."""
    shape, size = target.shape, int(row["size"])
    if shape.kind == "day" or shape.pattern is not None:
        assert size == 8 or shape.pattern is not None, label
    elif row["type"] == "an":
        assert (shape.max_length, shape.is_fixed_length) == (size, True), label
    elif shape.octets is None:
        # A value of the hub, and the identifiers of a group, are of letters and digits.
        kept = target.content is not None and isinstance(target.content.source, HubValue)
        asked = (
            target.content.source.source
            if target.content and isinstance(target.content.source, FieldValue)
            else None
        )
        assert kept or (isinstance(asked, UniqueField) and asked.type == "id" and asked.group), label
        assert shape.max_length == size, label
    else:
        assert (shape.octets, shape.charset) == (size, "euc-kr"), label


def _as_a_number(row: dict[str, str], target: TargetElement, put: TargetAttribute | None, label: str) -> None:
    shape = target.shape
    if put is None and "," in row["size"]:
        total, part = map(int, row["size"].split(","))
        # What an applicant answers has sixteen digits in all, unless its line has room for more.
        answered = target.content is not None and isinstance(target.content.source, FieldValue)
        assert shape.fraction_digits == part, label
        assert shape.total_digits in ((16, total) if answered else (total,)), label
    elif put is None and shape.kind == "digits":
        assert shape.max_length == int(row["size"]), label


def _rows(vectors: Path, edoc: str) -> list[dict[str, str]]:
    with (vectors / "data/kr-unipass/agency_message_items.csv").open(encoding="utf-8", newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["edoc"] == edoc]


def _placed(
    document: DocumentMapping, rows: list[dict[str, str]]
) -> Iterator[tuple[dict[str, str], tuple[TargetElement, TargetAttribute | None]]]:
    """Yield each row with what writes it, where as many things are written as there are rows."""
    found: dict[str, list[tuple[TargetElement, TargetAttribute | None]]] = {}
    for path, target, put in _leaves(document.root, ""):
        found.setdefault(path, []).append((target, put))
    for path, places in found.items():
        known = [row for row in rows if row["xpath"] == path]
        # Two numbers of one party stand in elements of one name, in the order of their rows.
        if len(known) == len(places):
            yield from zip(known, places, strict=True)


def _leaves(target: TargetElement, path: str) -> Iterator[tuple[str, TargetElement, TargetAttribute | None]]:
    path = f"{path}/{target.name}".lstrip("/")
    if target.content is not None:
        yield path, target, None
    for put in target.attributes:
        yield f"{path}/@{put.name}", target, put
    for child in target.children:
        yield from _leaves(child, path)


@pytest.mark.vectors
@pytest.mark.parametrize(("edoc", "name", "number"), VERIFIED)
def test_a_sample_of_a_row_is_a_value_of_its_element(
    bundle: MappingBundle, vectors: Path, edoc: str, name: str, number: int
) -> None:
    refused = {}
    for row, (target, put) in _placed(bundle.documents[name], _rows(vectors, edoc)):
        shape = put.shape if put is not None else target.shape
        if row["sample"] and target.text_piece is None and shape.find_violation(row["sample"]) is not None:
            refused[row["no"]] = row["sample"]
    assert refused == REFUSED[name]
    assert number


# Samples that are not of the form that their own rows, or the code lists, have; seen and left as they are.
POSTCODE = "100011"  # six digits, in rows of five
REFUSED = {
    "KPTA-PHARM-IMP": {
        "12": POSTCODE,
        "19": POSTCODE,
        "34": "서울시보건환경연구원",
        "36": "KPTA01 서울시 보건환경연구원",
        "38": "서울지방식약청",
    },
    "KPTA-TISSUE-IMP": {"10": POSTCODE, "19": POSTCODE, "37": "United States"},
}


@pytest.mark.vectors
@pytest.mark.parametrize(("edoc", "name", "number"), VERIFIED)
def test_a_row_that_repeats_has_its_bounds(
    bundle: MappingBundle, vectors: Path, edoc: str, name: str, number: int
) -> None:
    repeats = [row for row in _rows(vectors, edoc) if ".." in row["repeat"]]
    assert _item_bounds(bundle.documents[name]) == [row["repeat"] for row in repeats]
    assert number


def _item_bounds(document: DocumentMapping) -> list[str]:
    repeats = [target.repetition for target in document.root.walk_elements() if target.repetition is not None]
    return [f"{each.bound.low}..{each.bound.high}" for each in repeats if each.over == "item"]


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_items_masses_and_shares_are_those_of_the_inventory(
    bundle: MappingBundle, vectors: Path, name: str
) -> None:
    document, known = bundle.documents[name], entry(vectors, name)
    assert [f"items {bound}" for bound in _item_bounds(document)] == known["level"].split(", ")[1:]
    formats = {field["path"]: field["format"] for field in known["common"]}
    for content in (target.content for target in document.root.walk_elements()):
        for step in content.steps if content is not None else ():
            if (
                isinstance(step, UnitConversion)
                and content is not None
                and isinstance(content.source, FieldValue)
            ):
                source = content.source.source
                assert isinstance(source, UniqueField) or formats[source.path].endswith(
                    f",{step.decimals}"
                ), source.name
    for full, field in inventory_fields(known["unique"]):
        said = [
            (one.kind, one.per, one.operator, one.bound, one.tolerance) for one in _checks_of(document, full)
        ]
        assert said == [
            _promised(full, clause) for clause in field.get("invariant", "").split("; ") if clause
        ]


def _checks_of(document: DocumentMapping, group: str) -> list[DocumentCheck]:
    """Return the checks about one member of a group, in the order of the document."""
    return [one for one in document.checks if [f.name.rpartition(".")[0] for f in one.factors] == [group]]


# The one invariant of the inventory that is not a sum is about a chosen element (reconciled.csv).
CHOSEN = {"beryllium": "compare"}


def _promised(group: str, clause: str) -> tuple[str, str, str, str, Decimal]:
    """Return the check that a clause such as ``sum(pct) ~= 100`` promises; ~= is within a half."""
    what, sign, bound = clause.split()
    kind = "sum" if what.startswith("sum(") else CHOSEN[what]
    within = Decimal("0.5" if sign == "~=" else 0)
    return kind, "item" if kind == "sum" else group, {"<=": "at_most"}.get(sign, "equals"), bound, within
