"""For each document a realistic submission that is good, and a bad one for each kind of constraint it has.

They are data: ``conformance/submissions/DOCUMENT/valid.xml`` and ``invalid.yaml`` beside it.  A case
edits the valid submission and names every problem that must be found then, and no other.
"""

from __future__ import annotations

import copy
import csv
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from lxml import etree

from gateway.errors import DOCUMENT_INVALID, GatewayError
from gateway.harmonize import (
    MappingBundle,
    SplitResult,
    generate_schemas,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
)
from gateway.harmonize.language import DocumentMapping, UniqueField, walk_fields
from gateway.share import get_data_folder
from gateway.wire import SUB, SchemaSet, parse_xml, serialize_element
from gateway_conformance import DATA_FOLDER
from tests.kit.documents import DOCUMENTS, each_document

SUBMISSIONS: Final = Path(str(DATA_FOLDER)) / "submissions"
NAMES: Final = sorted(path.parent.name for path in SUBMISSIONS.glob("*/invalid.yaml"))
#: A law of these confirms nothing in the table of 2016: it asks at wish or by the Consolidated Notice.
VOLUNTARY: Final = {"KAHPA-VET-IMP", "MPI-METER-IMP", "NFPQIS-QUA-EXP", "NPQS-PLA-EXP"}
OPERATIONS: Final = ("text", "set", "unset", "remove", "repeat", "after", "append")


@dataclass(frozen=True, slots=True)
class Case:
    """One bad submission: what is wrong with it, how it is made, and what must be found."""

    id: str
    document: str
    kind: str
    edits: tuple[Mapping[str, Any], ...]
    problems: tuple[tuple[str, str], ...]


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@functools.cache
def submission_schema() -> SchemaSet:
    return SchemaSet.load_cached(get_data_folder("xsd"), "hub/submission.xsd", DOCUMENT_INVALID)


@functools.cache
def request_schemas() -> Mapping[str, str]:
    return generate_schemas(shipped())


def valid(name: str) -> etree._Element:
    return parse_xml((SUBMISSIONS / name / "valid.xml").read_bytes())


@functools.cache
def cases_of(name: str) -> tuple[Case, ...]:
    """Return the cases of a document; every scalar is a text, as in a mapping."""
    table = yaml.load((SUBMISSIONS / name / "invalid.yaml").read_text("utf-8"), yaml.BaseLoader)
    assert table["document"] == name
    found = []
    for entry in table["cases"]:
        edits = entry["edit"] if isinstance(entry["edit"], list) else [entry["edit"]]
        problems = tuple((one["problem"], one["at"]) for one in entry["expect"])
        assert entry["what"], entry["id"]
        found.append(Case(entry["id"], name, entry["kind"], tuple(edits), problems))
    assert len({case.id for case in found}) == len(found)
    return tuple(found)


def edit(root: etree._Element, change: Mapping[str, Any], namespaces: Mapping[str, str]) -> None:
    """Make one change at the only element that the change's XPath finds."""
    places = root.xpath(change["at"], namespaces=dict(namespaces))
    assert isinstance(places, list), change["at"]
    assert len(places) == 1, f"{change['at']} finds {len(places)} elements"
    (place,) = places
    assert isinstance(place, etree._Element)
    (operation,) = change.keys() - {"at"}
    assert operation in OPERATIONS, operation
    value, parent = change[operation], place.getparent()
    assert parent is not None
    if operation == "text":
        place.text = value
    elif operation == "set":
        place.attrib.update(value)
    elif operation == "unset":
        del place.attrib[value]
    elif operation == "remove":
        parent.remove(place)
    elif operation == "repeat":
        for _ in range(int(value) - 1):
            place.addnext(copy.deepcopy(place))
    elif operation == "after":
        place.addnext(fragment(value, namespaces))
    else:
        place.append(fragment(value, namespaces))


def fragment(text: str, namespaces: Mapping[str, str]) -> etree._Element:
    """Return the element that `text` writes with the prefixes of the cases."""
    declared = " ".join(f'xmlns:{prefix}="{name}"' for prefix, name in namespaces.items())
    return etree.fromstring(f"<x {declared}>{text}</x>")[0]


def made(case: Case) -> etree._Element:
    """Return the case's submission, read again from its octets."""
    root = valid(case.document)
    namespaces = {
        "s": SUB,
        "d": "urn:wco:datamodel:WCO:DEC-DMS:2",
        "f": shipped().documents[case.document].namespace,
    }
    for change in case.edits:
        edit(root, change, namespaces)
    return parse_xml(serialize_element(root))


def judge(root: etree._Element) -> SplitResult:
    submission_schema().validate_document(root)
    return split_submission(root, shipped(), make_placeholder_numbers(root))


def problems_of(root: etree._Element) -> set[tuple[str, str]]:
    """Return what is wrong with a submission; what its schema refuses is one problem."""
    try:
        result = judge(root)
    except GatewayError as error:
        return {(error.problem.id, error.location)}
    assert not result.unaccounted_leaves
    return {(trouble.problem.id, trouble.pointer) for trouble in result.problems}


def test_each_document_has_a_valid_submission_and_bad_ones() -> None:
    assert sorted(path.name for path in SUBMISSIONS.iterdir()) == sorted(DOCUMENTS)
    for path in SUBMISSIONS.iterdir():
        assert sorted(one.name for one in path.iterdir()) == ["invalid.yaml", "valid.xml"], path


@pytest.mark.night
@pytest.mark.parametrize("name", NAMES)
def test_the_valid_submission_becomes_a_request(name: str) -> None:
    result = judge(valid(name))
    assert [(problem.problem.id, problem.pointer) for problem in result.problems] == []
    assert [request.document for request in result.requests] == [name]
    assert result.unaccounted_leaves == ()
    text = request_schemas()[f"{shipped().documents[name].schema_stem}.xsd"]
    schema = etree.XMLSchema(etree.fromstring(text.encode()))
    assert schema.validate(result.requests[0].xml), schema.error_log


@pytest.mark.parametrize("name", NAMES)
def test_every_asked_field_is_in_the_valid_submission_unless_it_may_not_be(name: str) -> None:
    root, document = valid(name), shipped().documents[name]
    given = {str(element.tag).rpartition("}")[2] for element in root.iter(f"{{{document.namespace}}}*")}
    assert {ask.tag for ask in walk_fields(document.asks)} <= given


@pytest.mark.vectors
@pytest.mark.parametrize("name", NAMES)
def test_the_goods_are_those_that_the_documents_law_confirms(name: str, vectors: Path) -> None:
    with (vectors / "data/kr-unipass/hs10_customs_confirmation_2016.csv").open(encoding="utf-8") as lines:
        table = {(row["hs10"], row["direction"], row["law_code"]) for row in csv.DictReader(lines)}
    document = shipped().documents[name]
    known = {(direction, law) for _, direction, law in table}
    assert (name in VOLUNTARY) == any((document.direction, law) not in known for law in document.laws)
    if name in VOLUNTARY:
        return
    for goods in valid(name).iter("{urn:wco:datamodel:WCO:DEC-DMS:2}Commodity"):
        hs = "".join(str(one.text) for one in goods.findall("{*}Classification/{*}ID"))
        assert any((hs, document.direction, law) in table for law in document.laws), hs


@pytest.mark.night
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_constraint_has_a_case(name: str) -> None:
    assert set(kinds(shipped().documents[name])) <= {case.kind for case in cases_of(name)}


@pytest.mark.night
@pytest.mark.parametrize("name", each_document(NAMES))
def test_each_bad_submission_is_found_out_and_where(name: str) -> None:
    wrong = {}
    for case in cases_of(name):
        found = problems_of(made(case))
        if found != set(case.problems):
            wrong[case.id] = found
    assert wrong == {}


def kinds(document: DocumentMapping) -> Iterator[str]:
    """Yield the kinds of constraint that a document has, by the names that cases give them."""
    yield from ("unknown field", "declared already", "foreign item", "other direction", "common missing")
    if any(need.when is not None for need in document.needs):
        yield "common missing on condition"
    for ask in walk_fields(document.asks):
        yield from _kinds_of(ask)
    for check in document.checks:
        yield f"check {check.id}"
    for target in document.root.walk_elements():
        if target.shape.octets is not None or (target.text_piece and target.text_piece.octets is not None):
            yield from ("too many octets", "charset")


def _kinds_of(ask: UniqueField) -> Iterator[str]:
    requirement = ask.requirement
    if requirement.mandatory:
        yield "group missing" if ask.type == "group" else "missing"
    if requirement.when is not None:
        yield "forbidden" if requirement.forbidden_otherwise else "missing on condition"
    yield "too many" if ask.type == "group" else "given twice"
    if ask.type in ("text", "id"):
        yield "too long"
    if ask.shape.pattern is not None and ask.type != "code":
        yield "pattern"
    if ask.type in ("code", "date", "datetime", "boolean"):
        yield ask.type
    if ask.type in ("quantity", "measure", "amount"):
        yield from ("number", "currency" if ask.type == "amount" else "unit")
        yield from ("range",) if ask.shape.min_value or ask.shape.max_value else ()
        yield "decimals"
    if ask.type == "attachment":
        yield from ("attachment", *(("media type",) if ask.mime else ()), *(("size",) if ask.max_mib else ()))
