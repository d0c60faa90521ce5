"""The shipped documents: complete against the inventory, and the only place where a document exists."""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from gateway.harmonize import MappingBundle, generate_schemas
from gateway.harmonize.language import FieldValue, TargetElement, UniqueField, walk_fields
from gateway.share import get_data_folder
from tests.kit.documents import DOCUMENTS
from tests.kit.paths import ROOT

TYPES = {"identifier": "id"}
VERIFIED = [("GOVCBRFR2", "KPTA-PHARM-IMP", 90), ("GOVCBRFR3", "KPTA-TISSUE-IMP", 66)]


@functools.cache
def inventory(vectors: Path) -> dict[str, Any]:
    """Return the inventory, read with a reader of its own (values as YAML has them)."""
    return yaml.load((vectors / "data" / "field-inventory.yaml").read_bytes(), Loader=yaml.CSafeLoader)


def entry(vectors: Path, name: str) -> Any:
    return next(one for one in inventory(vectors)["documents"] if one["id"] == name)


def reconciled() -> dict[tuple[str, str], str]:
    text = (get_data_folder("mappings") / "reconciled.csv").read_text(encoding="utf-8")
    return {(row["document"], row["field"]): row["decision"] for row in csv.DictReader(text.splitlines())}


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_common_field_of_the_inventory_is_needed_as_there(
    bundle: MappingBundle, vectors: Path, name: str
) -> None:
    needs = {
        need.meaning.path: need for need in bundle.documents[name].needs if need.meaning.selector is None
    }
    needs |= {n.meaning.path: n for n in bundle.documents[name].needs if n.meaning.join}
    for field in entry(vectors, name)["common"]:
        need = needs.pop(field["path"])
        stricter = (name, need.meaning.name) in STRICTER
        assert need.mandatory == (stricter or field["card"].startswith("1")), field["path"]
        assert need.meaning.wco == field["wco_id"]
        assert need.meaning.supplement == field.get("ext", False)
    assert not needs


@pytest.mark.vectors
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_unique_field_of_the_inventory_is_asked_or_reconciled(
    bundle: MappingBundle, vectors: Path, name: str
) -> None:
    asks = dict(bundle.documents[name].ask_names)
    decisions = reconciled()
    for full, field in inventory_fields(entry(vectors, name)["unique"]):
        decision = decisions.get((name, full), "asked")
        if decision.startswith(("asked", "shared")):
            _same(name, asks.pop(full), field, inventory(vectors)["code_lists"])
        else:
            assert full not in asks, decision
    assert not asks


def inventory_fields(fields: Any, outer: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every unique field of the inventory by its dotted name, groups before their members."""
    for field in fields:
        yield outer + field["name"], field
        yield from inventory_fields(field.get("fields", ()), f"{outer}{field['name']}.")


def _same(document: str, ask: UniqueField, field: Any, lists: Any) -> None:
    """Check that a field of `document` is asked as the inventory has it."""
    coded = (document, ask.name) in CODED
    assert ask.type == ("code" if coded else TYPES.get(field["type"], field["type"])), ask.name
    assert (ask.ko, bool(ask.en)) == (field["name_ko"], True)
    if not ask.group:
        assert ask.per == {"header": "application", "item": "item"}[field["level"]]
    assert ask.shape.max_length == (None if coded else field.get("max_length"))
    assert ask.shape.fraction_digits == field.get("decimals", ask.shape.fraction_digits)
    if "units" in field or "unit" in field:
        assert list(ask.units) == field.get("units", [field.get("unit")])
    if ".." in str(field.get("repeat")):
        bounds = tuple(int(part) for part in field["repeat"].split(".."))
        assert (ask.repeat.low, ask.repeat.high) == bounds
    listed = field.get("code_list")
    known = listed if isinstance(listed, dict) else lists.get(listed)
    if known is not None:
        assert set(ask.shape.codes or ()) == {str(code) for code in known}
    if "condition" in field:
        assert ask.requirement.when is not None, ask.name
    else:
        stricter = (document, ask.name) in STRICTER
        demanded = field["req"] == "M" and (document, ask.name) not in LOOSER
        assert ask.requirement.mandatory == (demanded or stricter), ask.name


# What is mandatory, though the inventory does not say so (reconciled.csv says why).
STRICTER = {
    ("KPTA-PHARM-IMP", "manufacturer.address"),
    ("KPTA-TISSUE-IMP", "item.quantity"),
    ("RRA-AUTH-IMP", "manufacturer.address"),
}
# A text of the inventory that a rule has to tell apart is asked as a code.
CODED = {("KDTA-DEN-IMP", "composition.element")}
# A group of whose members only an optional one is asked, since the others are common.
LOOSER = {("RRA-AUTH-IMP", "manufacturer")}


@pytest.mark.vectors
@pytest.mark.parametrize(("edoc", "name", "number"), VERIFIED)
def test_a_verified_document_has_exactly_the_rows_of_its_definition(
    bundle: MappingBundle, vectors: Path, edoc: str, name: str, number: int
) -> None:
    with (vectors / "data/kr-unipass/agency_message_items.csv").open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["edoc"] == edoc]
    assert len(rows) == number
    targets = dict(leaf_paths(bundle.documents[name].root, ""))
    found: dict[str, TargetElement] = {
        re.sub(r"\[.*?\]", "", path): target for path, target in targets.items()
    }
    missing = {row["xpath"]: row for row in rows if row["xpath"] not in found}
    # What the e-document does not demand and no source has is left out.
    assert {path for path, row in missing.items() if row["condition"] == "M"} == set()
    assert set(missing) == LEFT_OUT.get(name, set())
    assert len(targets) == number - len(missing)
    for row in rows:
        target = found.get(row["xpath"])
        if target is None or "/@" in row["xpath"] or not row["type"].startswith("an.."):
            continue
        shape = target.shape
        bound = shape.octets or shape.max_length or 999
        longest = max(map(len, shape.codes)) if shape.codes else 1 if shape.pattern else bound
        if row["xpath"] not in NAMED:
            assert longest <= int(row["size"]), row


SUPPLIER, MANUFACTURER = "Declaration/GoodsShipment/Supplier", "Declaration/Manufacturer"
LEFT_OUT = {
    "KPTA-TISSUE-IMP": {
        f"{SUPPLIER}/Contact/Name",
        f"{SUPPLIER}/Contact/RepresentativeName",
        f"{MANUFACTURER}/Contact/Name",
        f"{MANUFACTURER}/Contact/RepresentativeName",
        f"{MANUFACTURER}/Address/Line",
    }
}
# An item identifier is FR2 and three digits; of the two numbers of one party the wider is found.
NAMED = {
    "Declaration/LPCO/Consignment/ConsignmentItem/Commodity/ID",
    "Declaration/Consignment/ConsignmentItem/Commodity/ID",
    "Declaration/FunctionCode",
    "Declaration/Agent/ID",
    "Declaration/Importer/ID",
}


def leaf_paths(target: TargetElement, path: str) -> list[tuple[str, TargetElement]]:
    """Return every element with content and every attribute below `target`, with its path."""
    path = f"{path}/{target.name}".lstrip("/") + "".join(
        f"[@{name}='{value}']" for name, value in target.fixed
    )
    found = [(path, target)] if target.content is not None else []
    found += [(f"{path}/@{put.name}", target) for put in target.attributes]
    return found + [pair for child in target.children for pair in leaf_paths(child, path)]


def test_the_readme_counts_the_documents_and_organisations(bundle: MappingBundle) -> None:
    said = re.search(r"([0-9]+) documents of ([0-9]+) organisations", (ROOT / "README.md").read_text("utf-8"))
    assert said is not None
    organisations = {document.organisation for document in bundle.documents.values()}
    assert (int(said[1]), int(said[2])) == (len(bundle.documents), len(organisations))


@pytest.mark.night
def test_the_shipped_schemas_are_what_the_mappings_say(bundle: MappingBundle) -> None:
    shipped = Path(str(get_data_folder("xsd"))) / "agencies"
    files = {str(path.relative_to(shipped)): path.read_text("utf-8") for path in shipped.rglob("*.xsd")}
    assert files == generate_schemas(bundle), "run: gateway map build --out ."


@pytest.mark.night
def test_every_schema_compiles(bundle: MappingBundle) -> None:
    for name in generate_schemas(bundle):
        etree.XMLSchema(file=str(Path(str(get_data_folder("xsd"))) / "agencies" / name))


def test_no_two_documents_ask_one_meaning_but_declared(bundle: MappingBundle) -> None:
    decisions, seen = reconciled(), dict[tuple[str, str], dict[str, str]]()
    for document in bundle.documents.values():
        for ask in walk_fields(document.asks):
            assert ask.means not in bundle.dictionary.meanings
            decision = decisions.get((document.id, ask.name), "")
            seen.setdefault((document.direction, ask.means), {})[document.id] = decision
    for (_, meaning), asked in seen.items():
        # One document asks; each other one of its direction says with whom it shares the answer.
        shared = {name: one for name, one in asked.items() if one.startswith("shared with ")}
        assert len(asked) - len(shared) == 1, (meaning, asked)
        partners = {name: one.removeprefix("shared with ") for name, one in shared.items()}
        assert all(one in asked and one != name for name, one in partners.items()), (meaning, asked)


def test_fields_of_one_label_have_one_meaning_or_are_told_apart(bundle: MappingBundle) -> None:
    """A label that stands for two meanings in one direction is a decision: all but one of them say why."""
    decisions = reconciled()
    alike = dict[tuple[str, ...], dict[str, set[bool]]]()
    for document in bundle.documents.values():
        for ask in document.asks:
            label = (document.direction, "".join(ask.ko.split()), ask.type, ask.per)
            told = decisions.get((document.id, ask.name), "").startswith("asked")
            if ask.type != "attachment":
                alike.setdefault(label, {}).setdefault(ask.means, set()).add(told)
    silent = {
        label: sorted(meanings)
        for label, meanings in alike.items()
        if sum(True not in told for told in meanings.values()) > 1
    }
    assert silent == {}


def test_every_needed_field_of_a_modelled_document_reaches_the_agency(bundle: MappingBundle) -> None:
    kept_back = {"declaration.function"}  # agencies are told the function of the submission
    for document in bundle.documents.values():
        if document.status == "modelled":
            contents = [t.content.source for t in document.root.walk_elements() if t.content is not None]
            used = {source.source.name for source in contents if isinstance(source, FieldValue)}
            assert {need.meaning.name for need in document.needs} - used == kept_back


def test_labels_are_there_in_both_languages(bundle: MappingBundle) -> None:
    for meaning in bundle.dictionary.meanings.values():
        assert re.search("[가-힣]", meaning.ko), meaning.name
        assert meaning.en.isascii()
    for document in bundle.documents.values():
        assert re.search("[가-힣]", document.ko)


def test_no_agency_or_document_stands_in_python(bundle: MappingBundle) -> None:
    words = {*bundle.organisations, *bundle.documents, "GOVCBR"} - {"MPI", "FITI", "RRA", "EMC", "KTR", "KTL"}
    names = re.compile("|".join(sorted(words)))
    root = Path(str(get_data_folder("mappings"))).parent / "gateway"
    for path in [*(root / "harmonize").rglob("*.py"), *(root / "cli" / "maps").rglob("*.py")]:
        assert not names.search(path.read_text("utf-8")), path
