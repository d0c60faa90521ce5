"""The loader of inventories: strict about keys and types, lenient about what is left out."""

from __future__ import annotations

import re

import pytest

from gateway.errors import GatewayError
from gateway_workbench.importer.inventory_reader import read_inventory

START = "documents:\n- id: D\n  organisation: O\n  direction: import\n"
FIELD = START + "  unique:\n  - name: f\n    type: {}\n"

WRONG = [
    ("zzz: 1\n" + START, 1, "zzz"),
    ("x: [1\n", 2, "well-formed"),
    ("documents: {}\n", 1, "a list"),
    (START.replace("import", "sideways"), 4, "D.direction"),
    (START.replace("id: D", "id: ../D"), 2, "documents.id"),
    (START + "- id: d\n  organisation: O\n  direction: import\n", 5, "each document once"),
    (START + "  colour: red\n", 5, "unknown key 'colour'"),
    (FIELD.format("texxt"), 7, "D.unique.f.type"),
    (FIELD.format("text") + "    max_lenght: 5\n", 8, "max_lenght"),
    (FIELD.format("text") + "    max_length: five\n", 8, "D.unique.f.max_length"),
    (FIELD.format("text") + "    req: X\n", 8, "D.unique.f.req"),
    (FIELD.format("text") + "    unit: KGM\n", 8, "D.unique.f.unit"),
    (FIELD.format("date") + "    range: [1, 2]\n", 8, "D.unique.f.range"),
    (FIELD.format("date") + "    req: M\n    max_length: 8\n", 9, "D.unique.f.max_length"),
    (
        FIELD.format("date") + "    currencies: [KRW]\n",
        8,
        "D.unique.f.currencies: expected this key at amount",
    ),
    (FIELD.format("attachment") + "    charset: utf-8\n", 8, "D.unique.f.charset"),
    (
        FIELD.format("group") + "    units: [KGM]\n    fields: [{name: a, type: date}]\n",
        8,
        "D.unique.f.units",
    ),
    (FIELD.format("measure") + "    unit: KGM\n    units: [KGM, GRM]\n", 9, "unit or units, found both"),
    (FIELD.format("amount") + "    currencies: [KRW]\n    currency: KRW\n", 8, "currency or currencies"),
    (FIELD.format("text") + "    max_bytes: 4\n    max_octets: 4\n", 8, "max_octets or max_bytes"),
    (FIELD.format("group") + "    fields: []\n", 8, "at least one field"),
    (FIELD.format("measure") + "    range: [2, 1]\n", 8, "the lower number first"),
    (FIELD.format("measure") + "    range: [a, b]\n", 8, "two numbers"),
    (FIELD.format("text") + "    repeat: 3..1\n", 8, "a cardinality"),
    (FIELD.format("text") + "    repeat: some\n", 8, "a cardinality"),
    (FIELD.format("group"), 6, "fields in a group"),
    (FIELD.format("text") + "    fields: [{name: a, type: date}]\n", 6, "fields in a group"),
    (FIELD.format("text") + "  - name: f\n    type: date\n", 8, "each name once"),
    (FIELD.format("code") + "    code_list: {A: {b: c}}\n", 8, "unknown key 'b'"),
    (FIELD.format("code") + "    code_list: {A: [b]}\n", 8, "a code and its label"),
    (START + "  common: [{path: Importer/Name}]\n", 5, "below Declaration"),
    (START + "  common: [{path: Declaration/ID, card: many}]\n", 5, "a cardinality"),
    ("code_lists: {a: {}}\n" + START, 1, "code_lists.a"),
    ("organisations: [{code: A}, {code: A}]\n" + START, 1, "each code once"),
    ("organisations:\n- code: A\n  kind: privat\n" + START, 3, "government or commissioned"),
    (START + "  law_codes:\n  - '61'\n  - 61x y\n", 7, "codes of laws"),
    (FIELD.format("attachment") + "    mime: pdf\n", 8, "D.unique.f.mime"),
    (FIELD.format("attachment") + "    mimes: [image/jpeg, picture/png]\n", 8, "a media type"),
]


@pytest.mark.parametrize(("text", "line", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_is_wrong_is_named_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read_inventory(text.encode(), "inventory.yaml")
    assert refused.value.problem.id == "GW502"
    assert refused.value.location == f"inventory.yaml:{line}"
    assert words in str(refused.value)
    assert re.fullmatch(r"GW502 .+: expected .+, found .+ at inventory\.yaml:\d+", str(refused.value))


def test_much_may_be_left_out() -> None:
    text = START + "  name_en: null\n  law_codes: ''\n  unique: [{name: f, type: text, max_length: ~}]\n"
    (paper,) = read_inventory(text.encode(), "i").documents
    assert (paper.ko, paper.en, paper.laws, paper.common) == ("D", "D", (), ())
    (field,) = paper.unique
    assert (field.need, field.level, field.max_length, field.repeat) == ("O", "", None, None)


def test_a_part_may_stand_for_an_earlier_one() -> None:
    text = START + "  unique: &u [{name: f, type: date}]\n" + START[11:].replace("D", "E") + "  unique: *u\n"
    first, second = read_inventory(text.encode(), "i").documents
    assert first.unique == second.unique


@pytest.mark.parametrize(
    ("card", "bounds"),
    [("1", (1, 1)), ("0..10", (0, 10)), ("1..n", (1, 999)), ("0..*", (0, 999)), ("1..99999", (1, 9999))],
)
def test_a_repetition_is_read(card: str, bounds: tuple[int, int]) -> None:
    (paper,) = read_inventory((FIELD.format("text") + f"    repeat: {card}\n").encode(), "i").documents
    assert paper.unique[0].repeat == bounds
