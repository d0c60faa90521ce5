"""Real declarations, filed with three documents: what they lack is told exactly, and can be added.

What a document cannot do without is read from the outside inventory here, not from the
mapping, and looked for in the declaration by plain XPath.
"""

from __future__ import annotations

import copy
import csv
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from gateway.harmonize.language import ITEM_PATH
from gateway.share import get_data_folder
from tests.kit.filling import DEC, SUB, divide, fill, shipped, wrapped
from tests.xsd.oracle import original, samples, unwrapped

pytestmark = [pytest.mark.vectors, pytest.mark.night]
DOCUMENTS = ("KPTA-PHARM-IMP", "KFDA-FOOD-IMP", "NPQS-PLA-IMP")
_ITEMS = "/".join(f"{DEC}{name}" for name in ITEM_PATH.split("/")[1:])
#: UNTDID 7143: which Classification elements are the HS code (the contract of the submission).
_HS_TYPES = ("", "TSP", "TRC")


@dataclass(frozen=True)
class Demand:
    """A path that must have a value: outside the declaration; of a document type; when a field says so."""

    outside: bool
    code: str = ""
    field: str = ""
    values: tuple[str, ...] = ()

    def holds(self, application: etree._Element, item: str) -> bool:
        """Return whether the condition holds in a goods item of an application."""
        tag = "".join(part.title() for part in self.field.split("_"))
        places = [one for one in application.iter("{*}Item") if one.get("sequence") == item] or [application]
        return not self.field or any(
            one.text in self.values for place in places for one in place.iter("{*}" + tag)
        )


@cache
def real(vectors: Path) -> tuple[tuple[str, etree._Element], ...]:
    """Return every outside declaration that the original schema accepts."""
    schema, found = original(vectors), []
    for one in samples(vectors):
        root = unwrapped(one.root)
        if schema.validate(root):
            found.append((one.name, next(root.iter(f"{DEC}Declaration"))))
    return tuple(found)


@cache
def demanded(vectors: Path, document: str) -> dict[str, Demand]:
    """Return the paths that the inventory makes mandatory, always or under a condition."""
    inventory = yaml.load((vectors / "data/field-inventory.yaml").read_text(), Loader=yaml.BaseLoader)
    entry = next(one for one in inventory["documents"] if one["id"] == document)
    paths = {
        common["path"]: Demand(common.get("ext") == "true")
        for common in entry["common"]
        if common["card"][0] == "1"
    }
    mandatory = {
        name: field.get("condition", "")
        for name, field in _fields(entry["unique"])
        if field["req"] == "M" or " in [" in field.get("condition", "")
    }
    text = get_data_folder("mappings").joinpath("reconciled.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        kind, _, name = row["decision"].partition(" ")
        meaning = shipped().dictionary.meanings.get(name)
        if (
            row["document"] == document
            and kind == "common"
            and row["field"] in mandatory
            and meaning is not None
        ):
            code = re.search(r"type code ([0-9]+)", row["reason"])
            when = re.fullmatch(r"(\w+) in \[(.*)\]", mandatory[row["field"]])
            values = tuple(re.findall(r"'(\w+)'", when[2])) if when else ()
            demand = Demand(meaning.supplement, code[1] if code else "", when[1] if when else "", values)
            paths.setdefault(meaning.path, demand)
    return paths


def _fields(unique: list[dict[str, Any]], outer: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for field in unique:
        name = f"{outer}{field['name']}"
        found += [(name, field), *_fields(field.get("fields", []), f"{name}.")]
    return found


def lacking(declaration: etree._Element, path: str, demand: Demand) -> list[str]:
    """Return the goods items in which nothing stands at `path`; ``""`` stands for the declaration itself."""
    if not path.startswith(f"{ITEM_PATH}/"):
        return [] if _given(declaration, path.partition("/")[2], demand) else [""]
    below = path[len(ITEM_PATH) + 1 :]
    return [
        (item.findtext(f"{DEC}SequenceNumeric") or "").strip()
        for item in declaration.findall(_ITEMS)
        if not _given(item, below, demand)
    ]


def _given(place: etree._Element, path: str, demand: Demand) -> bool:
    if demand.outside:
        return False
    found = place.findall("/".join(f"{DEC}{name}" for name in path.split("/")))
    if path.endswith("Commodity/Classification/ID"):
        kinds = [one.getparent().findtext(f"{DEC}IdentificationTypeCode") or "" for one in found]  # type: ignore[union-attr]
        found = [one for one, kind in zip(found, kinds, strict=True) if kind in _HS_TYPES]
    if demand.code:
        found = [one for one in found if one.getparent().findtext(f"{DEC}TypeCode") == demand.code]  # type: ignore[union-attr]
    return any("".join(one.itertext()).strip() for one in found)


def test_what_a_real_declaration_lacks_is_told_for_each_document_and_each_item(vectors: Path) -> None:
    tried = 0
    for name, declaration in real(vectors):
        root = wrapped(declaration, DOCUMENTS, name)
        result = divide(root)
        assert result.unaccounted_leaves == (), name
        for document in DOCUMENTS:
            application = next(
                one for one in root.iter(f"{SUB}Application") if one.get("document") == document
            )
            expected = {
                (path, item)
                for path, demand in demanded(vectors, document).items()
                for item in lacking(declaration, path, demand)
                if demand.holds(application, item)
            }
            told = {
                (one.detail.rpartition(": ")[2], _item_of(one.pointer))
                for one in result.problems
                if one.problem.id == "GW503" and one.document == document and " is missing: " in one.detail
            }
            assert told == expected, (name, document)
            tried += len(expected)
    assert len(real(vectors)) == 197
    assert tried > 5000


def _item_of(pointer: str) -> str:
    """Return the number in ``68A[n]`` or ``SUP/…[n][k]``, empty where the pointer goes into no item."""
    found = re.search(r"68A\[([^]]*)\]|^SUP/[^[]*\[([^]]*)\]\[", pointer)
    return (found[1] or found[2]) if found else ""


def test_every_real_declaration_can_be_completed(vectors: Path) -> None:
    schema, outcome = original(vectors), Counter[str]()
    for name, declaration in real(vectors):
        root = wrapped(declaration, DOCUMENTS, name)
        result = fill(root, name)
        completed = next(root.iter(f"{DEC}Declaration"))
        assert result.unaccounted_leaves == (), name
        assert _shelled(completed, schema), name
        if declaration.find(_ITEMS) is None:
            outcome["without goods"] += 1
            assert {one.problem.id for one in result.problems} >= {"GW404"}
            continue
        assert [one.detail for one in result.problems] == [], name
        assert [one.document for one in result.requests] == list(DOCUMENTS)
        outcome["complete"] += 1
    assert outcome == {"complete": 192, "without goods": 5}


def _shelled(declaration: etree._Element, schema: etree.XMLSchema) -> bool:
    """Judge a declaration by the original schema, in a shell as it is filed in."""
    space = "{urn:wco:datamodel:WCO:DocumentMetaData-DMS:2}"
    shell = etree.Element(f"{space}MetaData")
    for name, text in (("WCODataModelVersionCode", "3.6"), ("WCOTypeName", "DEC")):
        etree.SubElement(shell, f"{space}{name}").text = text
    shell.append(copy.deepcopy(declaration))
    return schema.validate(shell)


def test_a_filled_value_lies_where_it_was_missed(vectors: Path) -> None:
    name, declaration = real(vectors)[0]
    root = wrapped(declaration, DOCUMENTS, name)
    missed = {one.pointer for one in divide(root).problems if one.problem.id == "GW503"}
    fill(root, name)
    assert missed
    assert not missed & {one.pointer for one in divide(root).problems}
    assert root.find(f"{SUB}Supplement/{SUB}Value") is not None
