# ruff: noqa: E501 (tables and texts with long lines)
"""Variants, totals, counts, filters, grouping, repeated fields and groups in groups, on a small document."""

from __future__ import annotations

import copy
import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.errors import GatewayError
from gateway.harmonize import (
    MappingBundle,
    SplitResult,
    load_bundle,
    make_placeholder_numbers,
    split_submission,
    write_request_schema,
)
from gateway.harmonize.language import UniqueField, build_read_set
from gateway.harmonize.samples import make_sample
from gateway.harmonize.schemas.document_schemas import write_fields_schema
from gateway.wire import parse_xml
from tests.harmonize import small_bundle

SEEDS = 200
PLACE = "  - Items: {count: items}\n"
LINES = """  - Items: {count: items}
  - Boxes: {count: container}
  - Beasts: {count: animal}
  - Weights: {sum: weight, over: items, decimals: 3, unit: {to: "@unit", via: unitOut}}
  - Money: {sum: price, over: items, decimals: 3, currency: "@money"}
  - Shares: {sum: animal.share, over: animal, decimals: 6}
  - Doc[Type=851]/ID: {common: importer.name}
  - Doc[Type=852]/Note: {ask: remark}
  - Doc[Type=851]/Place/Code: {ask: place}
  - Role[@code=A]/Name: {common: importer.name}
  - Role[@code=B]/Name: {ask: place}
  - Role[@code=B]/@colour: {ask: colour}
  - Hazard: {ask: hazard, bound: [0, 5]}
  - Plan: {ask: plan, cid: "@cid", bound: [0, 2]}
  - Heading:
      each: {item: application.items, group_by: item.hs, bound: [1, 9]}
      puts:
        - HS: {common: item.hs}
        - No: {index: item.hs}
        - Lines: {count: items}
        - Weight: {sum: weight, over: items, decimals: 3, unit: "@unit"}
        - Colour: {ask: colour}
        - Row:
            each: {item: application.items, key: item.number, bound: [1, 999]}
            puts: [{Number: {common: item.number}}]
  - Risky:
      each: {item: application.items, key: item.number, bound: [0, 999]}
      when: {risky: {is: "true"}}
      puts: [{Number: {common: item.number}}, {Maker: {common: item.maker}}]
  - Tall:
      each: {item: application.items, key: item.number, bound: [0, 999], when: {animal.tag: {in: [A1, A2]}}}
      puts: [{Number: {common: item.number}}]
  - Any: {const: "yes", when: {animal.vaccination.on: {present: "yes"}}}
  - Batch:
      each: {asked: batch, bound: [0, 3]}
      puts:
        - Lot: {ask: batch.lot}
        - Box:
            each: {asked: batch.box, bound: [0, 2]}
            puts:
              - Number: {index: batch.box}
              - Piece:
                  each: {asked: batch.box.piece, bound: [0, 2]}
                  when: {batch.box.piece.kind: {in: ["090", "NO"]}}
                  puts: [{Kind: {ask: batch.box.piece.kind}}]
        - Kinds: {count: batch.box.piece}
"""
ASKS = """  hazard: {type: code, list: colour, repeat: [0, 5], req: O, per: application, means: hazard, ko: 위험성, en: Hazard}
  plan: {type: attachment, mime: [image/png], max_mib: 1, repeat: [0, 2], req: O, per: application, means: plan, ko: 도면, en: Plan}
  batch: {type: group, repeat: [0, 3], req: O, per: application, means: batch, ko: 제조, en: Batch, fields: {
      lot: {type: id, max: 9, req: M, means: batch.lot, ko: 번호, en: Lot},
      box: {type: group, repeat: [0, 2], req: O, ko: 상자, en: Box, fields: {
          piece: {type: group, repeat: [1, 2], req: M, ko: 조각, en: Piece, fields: {
              kind: {type: code, list: colour, req: M, means: piece.kind, ko: 종류, en: Kind}
          }}
      }}
  }}
puts:
"""
FIELDS = (
    "<t:Hazard>090</t:Hazard><t:Hazard>NO</t:Hazard><t:Plan cid='p@x'/>"
    "<t:Batch><t:Lot>L1</t:Lot><t:Box><t:Piece><t:Kind>090</t:Kind></t:Piece><t:Piece><t:Kind>1E3</t:Kind></t:Piece></t:Box></t:Batch>"
    "<t:Batch><t:Lot>L2</t:Lot><t:Box><t:Piece><t:Kind>NO</t:Kind></t:Piece></t:Box><t:Box><t:Piece><t:Kind>090</t:Kind></t:Piece></t:Box></t:Batch>"
)
SECOND = (
    '<t:Item sequence="2"><t:Risky>false</t:Risky><t:Weight unitCode="KGM">0.875</t:Weight>'
    '<t:Price currencyID="EUR">1.1</t:Price></t:Item>'
)
TWO = small_bundle.FIELDS.replace('<t:Item sequence="1">', FIELDS + '<t:Item sequence="1">', 1) + SECOND


def written(target: Path, old: str = "", new: str = "") -> Path:
    """Write the small mapping with the lines of this module, changed in one place."""
    folder = small_bundle.write(target, document=(PLACE, LINES))
    path = folder / "agencies/ORG/TINY.yaml"
    text = path.read_text(encoding="utf-8").replace("puts:\n", ASKS, 1)
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
    return folder


@functools.cache
def small() -> MappingBundle:
    with tempfile.TemporaryDirectory() as folder:
        return load_bundle(written(Path(folder)))


def applied(
    fields: str = TWO, items: str = "1 2", declaration: str = small_bundle.DECLARATION
) -> SplitResult:
    return small_bundle.apply(small(), small_bundle.submission(fields, items, declaration))


VALUES = [
    ("Boxes", ["2"]),
    ("Beasts", ["2"]),
    ("Weights", ["3"]),
    ("Weights/@unit", ["KG"]),
    ("Money", ["4.433"]),
    ("Money/@money", ["EUR"]),
    ("Shares", ["100"]),
    ("Doc/Type", ["851"]),
    ("Doc/ID", ["한빛무역"]),
    ("Doc/Place/Code", ["AA"]),
    ("Role[@code='A']/Name", ["한빛무역"]),
    ("Role[@code='B']/Name", ["AA"]),
    ("Role[@code='B']/@colour", ["090"]),
    ("Hazard", ["090", "NO"]),
    ("Plan/@cid", ["p@x"]),
    ("Heading/HS", ["3004101090", "0601101000"]),
    ("Heading/No", ["1", "2"]),
    ("Heading/Lines", ["1", "1"]),
    ("Heading/Weight", ["2.125", "0.875"]),
    ("Heading/Row/Number", ["1", "2"]),
    ("Risky/Number", ["1"]),
    ("Risky/Maker", ["Maker One"]),
    ("Tall/Number", ["1"]),
    ("Any", ["yes"]),
    ("Batch/Lot", ["L1", "L2"]),
    ("Batch/Box/Number", ["1", "1", "2"]),
    ("Batch/Box/Piece/Kind", ["090", "NO", "090"]),
    ("Batch/Kinds", ["2", "2"]),
]


@pytest.mark.night
@pytest.mark.parametrize(("path", "expected"), VALUES, ids=[path for path, _ in VALUES])
def test_each_primitive_gives_its_value(path: str, expected: list[str]) -> None:
    assert small_bundle.text(applied(), path) == expected


def test_nothing_is_wrong_and_nothing_unaccounted() -> None:
    result = applied()
    assert (result.problems, result.unaccounted_leaves) == ((), ())


def test_items_of_one_heading_are_one_row() -> None:
    declaration = small_bundle.DECLARATION.replace("0601101000", "3004101090")
    result = applied(declaration=declaration)
    assert small_bundle.text(result, "Heading/HS") == ["3004101090"]
    assert small_bundle.text(result, "Heading/Lines") == ["2"]
    assert small_bundle.text(result, "Heading/Weight") == ["3"]
    (request,) = result.requests
    (origin,) = [one for one in request.origins if one.target == "Request/Heading[1]/HS"]
    assert len(origin.leaves) == 3
    assert result.unaccounted_leaves == ()


def test_the_child_that_tells_an_element_apart_stands_first_and_only_beside_others() -> None:
    (request,) = applied().requests
    documents = request.xml.findall("{*}Doc")
    assert [[etree.QName(child).localname for child in one] for one in documents] == [["Type", "ID", "Place"]]
    assert not any("852" in origin.target for origin in request.origins)
    assert any(origin.target == "Request/Doc[Type='851']/Type" for origin in request.origins)
    fields = TWO.replace("<t:NoteLong>", "<t:Remark>note</t:Remark><t:NoteLong>")
    assert small_bundle.text(applied(fields), "Doc/Type") == ["851", "852"]


def test_what_a_filter_leaves_out_is_withheld_by_its_rule() -> None:
    fates = {e.leaf.value: e.fates[0] for e in applied(TWO, "1 2").ledger.entries}
    lines = (
        (small_bundle.FILES["agencies/ORG/TINY.yaml"])
        .replace(PLACE, LINES)
        .replace("puts:\n", ASKS, 1)
        .splitlines()
    )
    assert fates["1E3"] is not None
    assert fates["Maker Two"] is not None
    assert fates["1E3"].fate == "consumed"
    assert fates["Maker Two"].fate == "forwarded"
    assert "batch.box.piece" in lines[fates["1E3"].rule.line - 1]


def test_an_agency_gets_the_attachments_that_its_lines_name() -> None:
    (request,) = applied().requests
    assert request.attachments == ("p@x",)
    (request,) = applied(TWO.replace("<t:Plan cid='p@x'/>", "")).requests
    assert request.attachments == ()


REFUSED = [
    (('unitCode="KGM">0.875', 'unitCode="EA">0.875'), "GW404", "APP[1]/TINY/ITEM[2]/Weight[1]"),
    (('currencyID="EUR">1.1', 'currencyID="USD">1.1'), "GW404", "APP[1]/TINY/ITEM[2]/Price[1]"),
    (("<t:Hazard>NO</t:Hazard>", "<t:Hazard>NO</t:Hazard>" * 5), "GW404", "APP[1]/TINY/Hazard"),
    (("<t:Hazard>NO</t:Hazard>", "<t:Hazard>red</t:Hazard>"), "GW403", "APP[1]/TINY/Hazard[2]"),
    (("<t:Kind>1E3</t:Kind>", ""), "GW503", "APP[1]/TINY/Batch[1]/Box[1]/Piece[2]/Kind"),
    (("<t:Kind>1E3</t:Kind>", "<t:Kind>red</t:Kind>"), "GW403", "APP[1]/TINY/Batch[1]/Box[1]/Piece[2]/Kind"),
    (("<t:Piece><t:Kind>NO</t:Kind></t:Piece>", ""), "GW503", "APP[1]/TINY/Batch[2]/Box[1]/Piece[1]"),
    (
        ("<t:Kind>1E3</t:Kind>", "<t:Kind>1E3</t:Kind><t:Odd>1</t:Odd>"),
        "GW402",
        "APP[1]/TINY/Batch[1]/Box[1]/Piece[2]/Odd",
    ),
]


@pytest.mark.parametrize(("change", "problem", "pointer"), REFUSED)
def test_wrong_values_are_refused_with_their_pointer(
    change: tuple[str, str], problem: str, pointer: str
) -> None:
    assert change[0] in TWO
    result = applied(TWO.replace(*change, 1))
    found = {(one.problem.id, one.pointer) for one in result.problems}
    assert (problem, pointer) in found, found
    assert (result.requests, result.unaccounted_leaves) == ((), ())


@pytest.mark.parametrize(("numbers", "stranger"), [("1", "2"), ("2", "1"), ("1 2", "3")])
def test_fields_of_an_item_that_the_application_does_not_concern_are_refused(
    numbers: str, stranger: str
) -> None:
    """Of an item of the declaration as of one that it does not have."""
    fields = TWO.replace('sequence="2"', 'sequence="3"') if stranger == "3" else TWO
    found = {(one.problem.id, one.pointer) for one in applied(fields, numbers).problems}
    assert ("GW404", f"APP[1]/TINY/ITEM[{stranger}]") in found, found


@pytest.mark.parametrize(
    ("sequence", "pointer"), [("2", "ITEM[2][2]"), ("1", "ITEM[1][2]"), ("two", "ITEM[3]")]
)
def test_fields_of_an_item_that_are_given_again_or_without_its_number_are_refused(
    sequence: str, pointer: str
) -> None:
    """They would replace the fields given first. (The schema for applicants cannot say it.)"""
    result = applied(TWO + SECOND.replace('sequence="2"', f'sequence="{sequence}"'))
    found = {(problem.problem.id, problem.pointer) for problem in result.problems}
    assert ("GW404", f"APP[1]/TINY/{pointer}") in found, found
    assert result.requests == ()


WRONG = [
    ("Doc[Type=851]/ID: {common", "Doc[Type=851]: {common", "elements below one that a child tells apart", "Doc[Type=851]:"),
    ("Doc[Type=852]/Note", "Doc[@type=852]/Note", "elements Doc that differ in one attribute or child", "Doc[@type=852]"),
    ("Doc[Type=852]/Note", "Doc[Kind=852]/Note", "elements Doc that differ in one attribute or child", "Doc[Kind=852]"),
    ("Doc[Type=852]/Note", "Doc/Note", "elements Doc that differ in one attribute or child", "Doc/Note"),
    ("Doc[Type=852]/Note", "Doc[Type=852][Type=853]/Note", "each predicate once", "Doc[Type=852][Type=853]"),
    ("Doc[Type=852]/Note", "Doc[Type=8 52]/Note", "a path of names", "Doc[Type=8 52]"),
    ("Doc[Type=852]/Note", "Doc[Type=852]/Type", "each target once, found Type again", "Doc[Type=852]/Type"),
    ("Doc[Type=852]/Note", "Doc[Type=852]/Place", "all hold values or all hold elements", "Doc[Type=8"),
    ("  - Doc[Type=852]/Note: {ask: remark}\n", "  - Doc[Type=852]/Place/Code: {ask: remark}\n  - Doc[Type=852]/ID: {ask: remark}\n", "its children in one order", "Doc[Type="),
    ("Role[@code=B]/Name: {ask: place}", "Role[@code=B]: {ask: place}", "all hold values or all hold elements", "Role[@code="),
    ("Role[@code=B]/@colour", "Role[@code=B]/@code", "each attribute once", "Role[@code=B]/@code"),
    ("over: items, decimals: 3, unit: {to", "over: animal, decimals: 3, unit: {to", "one of items, found animal", "Weights:"),
    ("over: items, decimals: 3, unit: {to", "decimals: 3, unit: {to", "the key 'over'", "Weights:"),
    ("{sum: price, over: items, decimals: 3", "{sum: price, over: items", "the key 'decimals'", "Money:"),
    ("{sum: price, over: items, decimals: 3", "{sum: colour, over: items, decimals: 3", "a number, asked or common", "Money:"),
    ("{sum: price, over: items, decimals: 3", "{sum: nothing, over: items, decimals: 3", "a number, asked or common", "Money:"),
    ('decimals: 3, currency: "@money"', 'decimals: 3, unit: "@money"', "a value that carries @unitCode, found price", "Money:"),
    ("{count: container}", "{count: colour}", "items, an asked group or a group of the dictionary", "Boxes:"),
    ("group_by: item.hs", "group_by: importer.name", "a text or code of each item", "group_by"),
    ("group_by: item.hs", "group_by: item.maker", "a field that each item must have", "group_by"),
    ("group_by: item.hs", "group_by: weight", "a text or code of each item", "group_by"),
    ("- HS: {common: item.hs}\n        - No", "- HS: {common: item.number}\n        - No", "a line inside each item", "- HS: {common: item.number}"),
    ("{index: item.hs}", "{index: item.number}", "a group around this line", "- No"),
    ("        - Colour: {ask: colour}\n", "        - Colour: {ask: risky}\n", "a line inside each item", "- Colour"),
    ("Row:\n            each: {item: application.items, key: item.number", "Row:\n            each: {item: application.items, group_by: risky", "one grouping of the items", "group_by: risky"),
    ("bound: [0, 999], when: {animal.tag: {in: [A1, A2]}}", "bound: [0, 999], when: {colour: {is: NO}}", "a field of each application.items", "when: {colour"),
    ("{ask: hazard, bound: [0, 5]}", "{ask: hazard}", "a bound where a meaning has many values only", "Hazard:"),
    ("{ask: hazard, bound: [0, 5]}", "{ask: hazard, bound: [0, 4]}", "room for 5 (hazard may be given so often), found 4", "Hazard:"),
    ("{ask: hazard, bound: [0, 5]}", "{ask: hazard, bound: [2, 5]}", "1 or less", "Hazard:"),
    ("{ask: place}\n  - Role[@code=B]/@colour", "{ask: place, bound: [0, 1]}\n  - Role[@code=B]/@colour", "a bound where a meaning has many values only", "Role[@code=B]/Name"),
    ("repeat: [0, 5]", "repeat: [0, 0]", "a highest number from 1", "hazard:"),
    ("repeat: [0, 5]", "repeat: [0, 99999999999]", "a whole number from 0 to 9999", "hazard:"),
    ("{asked: batch, bound: [0, 3]}", "{asked: batch, bound: [0, 2]}", "room for 3", "asked: batch, bound"),
    ("{asked: batch, bound: [0, 3]}", "{asked: batch, bound: [1, 3]}", "a bound from 0 (batch need not be given)", "asked: batch, bound"),
    ("each: {asked: batch.box, bound: [0, 2]}", "each: {asked: batch.box.piece, bound: [0, 2]}", "a line inside each batch.box", "asked: batch.box.piece"),
    ("each: {asked: batch.box, bound: [0, 2]}", "each: {asked: batch, bound: [0, 3]}", "each group gone over once", "each: {asked: batch,"),
    ("- Lot: {ask: batch.lot}", "- Lot: {ask: batch.box.piece.kind}", "a line inside each batch.box", "- Lot"),
    ("Any: {const", "Batch: {const", "a repeated or conditional element in one place", "- Batch:"),
    ("  - Batch:\n", "  - Heading:\n", "a repeated or conditional element in one place", "- Heading:"),
    ("      when: {risky: {is: \"true\"}}\n      puts: [{Number", "      when: {risky: {is: \"true\"}}\n      puts: [{Other", None, ""),
    ("box: {type: group, repeat: [0, 2], req: O, ko: 상자, en: Box, fields: {", "box: {type: group, repeat: [0, 2], req: O, per: item, ko: 상자, en: Box, fields: {", "per outside groups only", "box:"),
]  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize(("old", "new", "words", "line"), WRONG, ids=[new[:50] for _, new, _, _ in WRONG])
def test_a_wrong_use_is_refused_with_its_line(
    tmp_path: Path, old: str, new: str, words: str | None, line: str
) -> None:
    folder = written(tmp_path, old, new)
    if words is None and not line:
        assert load_bundle(folder).documents
        return
    with pytest.raises(GatewayError) as refused:
        load_bundle(folder)
    assert refused.value.problem.id == "GW502"
    assert words is None or words in str(refused.value)
    file, _, number = refused.value.location.rpartition(":")
    assert line in (tmp_path / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]


@functools.cache
def schema() -> etree.XMLSchema:
    return etree.XMLSchema(etree.fromstring(write_request_schema(small().documents["TINY"]).encode()))


def place(root: etree._Element, path: str) -> etree._Element:
    found = root.find("/".join(f"{{*}}{step}" for step in path.split("/")))
    assert found is not None
    return found


SPOILS = {
    "a variant stands twice": lambda r: r.insert(r.index(place(r, "Doc")), copy.deepcopy(place(r, "Doc"))),
    "a variant is not known": lambda r: setattr(place(r, "Doc/Type"), "text", "999"),
    "a variant is not told apart": lambda r: place(r, "Doc").remove(place(r, "Doc/Type")),
    "an attribute variant stands twice": lambda r: r.insert(r.index(place(r, "Role")), copy.deepcopy(place(r, "Role"))),
    "an attribute variant is not known": lambda r: place(r, "Role").set("code", "C"),
    "an element in a variant is not known": lambda r: setattr(place(r, "Role/Name"), "tag", f"{place(r, 'Role').tag}X"),
    "a total is no number": lambda r: setattr(place(r, "Weights"), "text", "x"),
    "a total has too many decimals": lambda r: setattr(place(r, "Weights"), "text", "1.2345"),
    "a total has no unit": lambda r: place(r, "Weights").attrib.pop("unit"),
    "a count is no number": lambda r: setattr(place(r, "Boxes"), "text", "-1"),
    "a repeated field stands too often": lambda r: [r.insert(r.index(place(r, "Hazard")), copy.deepcopy(place(r, "Hazard"))) for _ in range(4)],
    "a repeated code is not known": lambda r: setattr(place(r, "Hazard"), "text", "red"),
    "no row of the items": lambda r: [r.remove(one) for one in r.findall("{*}Heading")],
    "a row without its key": lambda r: place(r, "Heading").remove(place(r, "Heading/HS")),
    "a member of an inner group is missing": lambda r: place(r, "Batch/Box/Piece").remove(place(r, "Batch/Box/Piece/Kind")),
}  # fmt: skip


@pytest.mark.night
@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_the_schema_of_the_request_refuses_what_is_never_written(spoil: object) -> None:
    (request,) = applied().requests
    xml = copy.deepcopy(request.xml)
    assert schema().validate(xml), schema().error_log
    spoil(xml)  # type: ignore[operator]
    assert not schema().validate(xml)


def test_the_schema_for_applicants_knows_repeated_fields_and_inner_groups(tmp_path: Path) -> None:
    document = small().documents["TINY"]
    path = tmp_path / "fields.xsd"
    text = write_fields_schema(document).replace(
        "</xs:schema>", '<xs:element name="Fields" type="doc:Fields"/></xs:schema>'
    )
    path.write_text(text, encoding="utf-8")
    judge = etree.XMLSchema(file=str(path))
    for change, valid in (
        (("", ""), True),
        (REFUSED[2][0], False),
        (REFUSED[4][0], False),
        (REFUSED[6][0], False),
    ):
        space = document.namespace
        body = TWO.replace(*change, 1) if change[0] else TWO
        order = body.replace(FIELDS, "").replace('<t:Item sequence="1">', FIELDS + '<t:Item sequence="1">', 1)
        fields = etree.fromstring(f'<t:Fields xmlns:t="{space}">{order}</t:Fields>')
        assert judge.validate(fields) == valid, (change, judge.error_log)


@pytest.mark.night
def test_samples_are_valid_and_use_every_primitive() -> None:
    document = small().documents["TINY"]
    reads = build_read_set(document, small().dictionary)
    reached: set[str] = set()
    for seed in range(SEEDS):
        root = parse_xml(make_sample(small(), document, str(seed), 1 + seed % 4))
        result = split_submission(root, small(), make_placeholder_numbers(root))
        assert (result.problems, result.unaccounted_leaves, len(result.requests)) == ((), (), 1), seed
        (request,) = result.requests
        assert schema().validate(request.xml), schema().error_log
        reached |= {etree.QName(element).localname for element in request.xml.iter()}
        for entry in result.ledger.entries:
            leaf, fate = entry.leaf, entry.fates[0]
            if leaf.application is None and fate is not None and fate.fate != "withheld":
                assert reads.find_read_kinds(leaf.path, in_item=leaf.item is not None), leaf.path
    assert reached >= {path.split("/")[0].split("[")[0] for path, _ in VALUES} | {
        "Piece",
        "Kind",
        "Row",
        "Note",
    }


READS = {
    "common:importer.name": {"value", "count"},
    "common:item.hs": {"value", "key", "count"},
    "common:item.number": {"value", "key", "count"},
    "group:container": {"count"},
    "ask:weight": {"value", "attribute", "guard", "count"},
    "ask:animal.tag": {"value", "guard", "count"},
    "ask:animal": {"count"},
    "ask:batch.box.piece": {"count"},
    "ask:hazard": {"value", "guard", "count"},
    "common:amount": {"value", "attribute", "guard", "count"},
}


def test_the_read_set_names_everything_that_a_document_reads() -> None:
    document = small().documents["TINY"]
    reads = build_read_set(document, small().dictionary)
    assert {name: set(reads.entries_by_key[name].read_kinds) for name in READS} == READS
    assert reads.find_read_kinds(f"{small_bundle.ITEM}/SequenceNumeric", in_item=True) == {
        "value",
        "key",
        "count",
    }
    assert reads.find_read_kinds("Declaration/IssueDateTime/DateTimeString/@formatCode", in_item=False) == {
        "key"
    }
    assert reads.find_read_kinds(f"{small_bundle.ITEM}/AdditionalDocument/TypeCode", in_item=True) == {"key"}
    assert reads.find_read_kinds(f"SUP/{small_bundle.G}/Payer/Name/@path", in_item=False) == {"key"}
    assert reads.find_read_kinds(f"{small_bundle.G}/Payer/Name", in_item=False) == frozenset()
    assert "common:payer.name" not in reads.entries_by_key
    assert all(read.uses for read in reads.entries_by_key.values())
    assert len(reads.item_rule_marks) > 3


def test_what_each_occurrence_of_a_group_must_hold_is_named_where_it_is_missing(tmp_path: Path) -> None:
    folder = small_bundle.write(
        tmp_path, document=("mandatory: [issued_at,", "mandatory: [container.id, issued_at,")
    )
    path = folder / "agencies/ORG/TINY.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("bills, container.id, ", "bills, "), encoding="utf-8"
    )
    bundle = load_bundle(folder)
    assert small_bundle.apply(bundle, small_bundle.submission()).problems == ()
    declaration = small_bundle.DECLARATION.replace("<ID>CONT1</ID>", "")
    (problem,) = small_bundle.apply(bundle, small_bundle.submission(declaration=declaration)).problems
    assert (problem.problem.id, problem.pointer) == ("GW503", "42A/67A[1]/28A[1]/31B[1]/159")
    # One that holds nothing the document lists is none of its business, and lacks nothing.
    declaration = small_bundle.DECLARATION.replace("<ID>CONT2</ID>", "")
    assert small_bundle.apply(bundle, small_bundle.submission(declaration=declaration)).problems == ()


def test_a_condition_on_what_repeats_holds_where_one_occurrence_fulfils_it() -> None:
    assert (
        small_bundle.text(
            applied(
                TWO.replace("<t:Vaccination><t:On>2026-01-02</t:On></t:Vaccination>", "").replace(
                    ">A1<", ">A7<"
                )
            ),
            "Any",
        )
        == []
    )
    assert small_bundle.text(applied(TWO.replace(">A1<", ">A7<")), "Any") == ["yes"]


def test_too_few_occurrences_are_refused_before_the_schema_would(tmp_path: Path) -> None:
    folder = written(tmp_path, "bound: [0, 999]}\n      when: {risky", "bound: [2, 999]}\n      when: {risky")
    result = small_bundle.apply(load_bundle(folder), small_bundle.submission(TWO, "1 2"))
    assert [problem.problem.id for problem in result.problems] == ["GW503"]
    assert result.unaccounted_leaves == ()


@pytest.mark.night
@pytest.mark.parametrize(
    ("count", "problems"),
    [(0, []), (1, [("GW404", "APP/TINY/ITEM[1]/Dose[1]")]), (2, []), (5, []), (6, ["GW404", "GW506"])],
)
@pytest.mark.parametrize("group", [False, True])
def test_a_field_that_is_given_at_least_twice_or_not_at_all(
    tmp_path: Path, count: int, problems: list[object], group: bool
) -> None:
    plain = "  dose: {type: text, max: 5, repeat: [2, 5], req: O, per: item, means: dose, ko: 양, en: Dose}\n"
    members = "fields: {of: {type: text, max: 5, req: M, means: dose.of, ko: 양, en: Of}}"
    grouped = f"  dose: {{type: group, repeat: [2, 5], req: O, per: item, means: dose, ko: 양, en: Dose, {members}}}\n"
    line = "        - Dose: {ask: dose, bound: [0, 5]}\n"
    each = "        - Dose:\n            each: {asked: dose, bound: [0, 5]}\n            puts: [{Of: {ask: dose.of}}]\n"
    folder = small_bundle.write(tmp_path, document=("puts:\n", (grouped if group else plain) + "puts:\n"))
    path = folder / "agencies/ORG/TINY.yaml"
    text = path.read_text(encoding="utf-8").replace(
        "        - HS:", (each if group else line) + "        - HS:", 1
    )
    path.write_text(text, encoding="utf-8")
    bundle = load_bundle(folder)
    inner = "<t:Of>a</t:Of>" if group else "a"
    given = small_bundle.FIELDS.replace("<t:Animal>", f"<t:Dose>{inner}</t:Dose>" * count + "<t:Animal>", 1)
    root = small_bundle.submission(fields=given)
    result = small_bundle.apply(bundle, root)
    assert result.unaccounted_leaves == ()
    found = [(one.problem.id, one.pointer.replace("APP[1]", "APP")) for one in result.problems]
    assert found == problems or [name for name, _ in found] == problems
    schema = etree.XMLSchema(etree.fromstring(_with_fields(bundle)))
    fields = root.find("{*}Application/{*}Fields")
    ordered = etree.fromstring(_ordered(fields, bundle.documents["TINY"].asks))
    assert schema.validate(ordered) is (not problems), schema.error_log


def _with_fields(bundle: MappingBundle) -> bytes:
    """Return the fields schema with a root element of its own."""
    text = write_fields_schema(bundle.documents["TINY"])
    return text.replace("</xs:schema>", '<xs:element name="Fields" type="doc:Fields"/></xs:schema>').encode()


def _ordered(fields: Any, asks: tuple[UniqueField, ...]) -> bytes:
    """Return fields under the root of their own schema, in the order in which they are asked."""
    order = {ask.tag: position for position, ask in enumerate(asks)}
    for item in fields.iterfind("{*}Item"):
        item[:] = sorted(item, key=lambda one: order[etree.QName(one).localname])
    fields.tag = "{urn:single-window:document:tiny:1}Fields"
    return etree.tostring(fields)
