# ruff: noqa: E501 (tables and texts with long lines)
"""The schemas made from mappings: strict for requests, a promise for applicants."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.harmonize import (
    MappingBundle,
    generate_schemas,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
    write_request_schema,
)
from gateway.harmonize.samples import SeededDraws, make_sample
from gateway.harmonize.schemas.document_schemas import write_fields_schema
from gateway.share import get_data_folder
from gateway.wire import parse_xml
from tests.harmonize import small_bundle

XS = {"xs": "http://www.w3.org/2001/XMLSchema"}


@functools.cache
def shipped() -> MappingBundle:
    return load_bundle(get_data_folder("mappings"))


@pytest.fixture(scope="module")
def request_and_schema(tmp_path_factory: pytest.TempPathFactory) -> tuple[etree._Element, etree.XMLSchema]:
    bundle = small_bundle.mapping(tmp_path_factory.mktemp("schemas"))
    (request,) = small_bundle.apply(bundle, small_bundle.submission()).requests
    schema = etree.XMLSchema(etree.fromstring(write_request_schema(bundle.documents["TINY"]).encode()))
    return request.xml, schema


def find(root: etree._Element, path: str) -> etree._Element:
    found = root.find("/".join(f"{{*}}{step}" for step in path.split("/")))
    assert found is not None
    return found


SPOILS = {
    "a mandatory element is missing": lambda r: r.remove(find(r, "Kind")),
    "a mandatory element of an item is missing": lambda r: find(r, "Line").remove(find(r, "Line/HS")),
    "an element stands twice": lambda r: r.insert(0, copy.deepcopy(find(r, "Kind"))),
    "two elements change places": lambda r: r.insert(0, find(r, "Number")),
    "an element is not known": lambda r: etree.SubElement(r, r.tag.replace("Request", "More")),
    "an element of another namespace": lambda r: etree.SubElement(r, "{urn:x}Kind"),
    "an attribute is not known": lambda r: find(r, "Kind").set("x", "1"),
    "a mandatory attribute is missing": lambda r: find(r, "Line/Weight").attrib.pop("unit"),
    "a constant has another value": lambda r: setattr(find(r, "Kind"), "text", "T2"),
    "a code is not in its list": lambda r: setattr(find(r, "ColourName"), "text", "pink"),
    "an identifier is too long": lambda r: setattr(find(r, "Number"), "text", "N" * 14),
    "an identifier is too short": lambda r: setattr(find(r, "Number"), "text", "N"),
    "a day is no day": lambda r: setattr(find(r, "Day"), "text", "tomorrow"),
    "a number has too many decimals": lambda r: setattr(find(r, "Amount"), "text", "1.234"),
    "a number has too many digits": lambda r: setattr(find(r, "Amount"), "text", "123456789"),
    "a variant stands twice": lambda r: find(r, "Party").insert(0, copy.deepcopy(find(r, "Party/ID"))),
    "a variant is not known": lambda r: find(r, "Party/ID").set("scheme", "C"),
    "text stands in a container": lambda r: setattr(find(r, "Line"), "text", "text"),
    "too many occurrences": lambda r: [r.insert(r.index(find(r, "Bill")), copy.deepcopy(find(r, "Bill"))) for _ in range(2)],
    "no item at all": lambda r: r.remove(find(r, "Line")),
    "an empty value": lambda r: setattr(find(r, "Line/HS"), "text", ""),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_request_that_is_not_as_declared_is_refused(
    request_and_schema: tuple[etree._Element, etree.XMLSchema], spoil: object
) -> None:
    xml, schema = request_and_schema
    request = copy.deepcopy(xml)
    assert schema.validate(request), schema.error_log
    spoil(request)  # type: ignore[operator]
    assert not schema.validate(request)


@pytest.mark.night
def test_names_of_types_and_rules_stand_once() -> None:
    for name, text in generate_schemas(shipped()).items():
        tree = etree.fromstring(text.encode())
        names = tree.xpath("//xs:simpleType/@name | //xs:unique/@name", namespaces=XS)
        assert len(names) == len(set(names)), name


def test_a_schema_speaks_both_languages() -> None:
    for document in shipped().documents.values():
        for text in (write_request_schema(document), write_fields_schema(document)):
            assert document.ko in text.replace("&amp;", "&")
            assert document.en in text


def _disturb(fields: etree._Element, draws: SeededDraws) -> None:
    """Change a field so that it may or may not be valid any more; the order of elements stays."""
    element = draws.choose_one([e for e in fields.iter(etree.Element) if e is not fields])
    kind = draws.draw_number(0, 5)
    if kind == 0:
        element.getparent().remove(element)
    elif kind == 1:
        element.addnext(copy.deepcopy(element))
    elif kind == 2 and len(element) == 0:
        element.text = draws.choose_one(
            ["", "x", "9" * 30, "가" * 600, "-1", "12.123456789", "1AV", "2026-01-01", "true", "5"]
        )
    elif kind == 3:
        element.set(
            draws.choose_one(["unitCode", "currencyID", "cid", "x"]),
            draws.choose_one(["KGM", "EA", "USD", "P1", "?"]),
        )
    elif kind == 4 and element.attrib:
        del element.attrib[draws.choose_one(sorted(map(str, element.attrib)))]
    elif kind == 5:
        element.tag = draws.choose_one(
            [f"{element.tag}X", str(draws.choose_one(list(fields.iter(etree.Element))).tag)]
        )


# Found by the hub alone: conditions, sums, attachments, and that an item belongs to the application.
BEYOND_SCHEMA = (
    "may not be given here",
    "is missing",
    "attachment",
    "goods item",
    "Item names",
    "is not at most",
    "is not equal to",
    "fit into",
    "octets",
    "other characters than digits",
    "media type",
    "larger than",
)


@pytest.mark.night
@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**9))
def test_fields_that_the_schema_for_applicants_accepts_are_accepted(seed: int) -> None:
    draws = SeededDraws(str(seed))
    document = shipped().documents[draws.choose_one(list(shipped().documents))]
    root = parse_xml(make_sample(shipped(), document, str(seed % 40), 2))
    fields = root.find("{*}Application/{*}Fields")
    assert fields is not None
    _disturb(fields, draws)
    valid = _fields_schema(document.id).validate(copy.deepcopy(fields))
    problems = split_submission(root, shipped(), make_placeholder_numbers(root)).problems
    wrong = [p.detail for p in problems if not any(words in p.detail for words in BEYOND_SCHEMA)]
    if valid:
        assert wrong == []
    elif not problems:
        # What the hub accepts beyond the schema: any order, and an empty optional field.
        assert any(
            word in str(_fields_schema(document.id).error_log)
            for word in (
                "not expected",
                "minLength",
                "'xs:decimal'",
                "'xs:boolean'",
                "pattern",
                "enumeration",
                "atomic type",
                "union",
                "content type is empty",
            )
        ), seed


@functools.cache
def _fields_schema(name: str) -> etree.XMLSchema:
    document = shipped().documents[name]
    return etree.XMLSchema(
        file=str(Path(str(get_data_folder("xsd"))) / f"agencies/{document.schema_stem}-application.xsd")
    )
