"""The labels of codes: in both languages, and the missing Korean ones listed as work that is left."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.share import MemoryPath, get_data_folder
from gateway_workbench import ImportResult, import_inventory

START = """organisations: [{code: O, name_en: Office, kind: government}]
%s
documents:
- id: D
  organisation: O
  direction: import
  law_codes: ['55']
  unique:
  - {name: f, name_ko: 가, type: code, level: item, code_list: %s}
"""


def imported(lists: str, listing: str) -> ImportResult:
    content = (START % (lists, listing)).encode()
    return import_inventory(content, "inventory.yaml", get_data_folder("mappings"))


def list_findings(found: ImportResult) -> list[tuple[str, str, str, str]]:
    return [(one.document, one.field, one.kind, one.text) for one in found.findings]


def list_form_codes(found: ImportResult) -> list[tuple[str, str, str]]:
    """Return code, Korean and English label of the field, as the loaded mapping has them."""
    labels = load_bundle(MemoryPath(found.files)).documents["D"].ask_names["f"].labels
    return [(code, *both) for code, both in labels.items()]


@pytest.mark.night
def test_a_code_has_labels_in_both_languages() -> None:
    found = imported("", "{M: {ko: 수컷, en: male}, F: {ko: 암컷, en: female}}")
    assert list_findings(found) == []
    assert list_form_codes(found) == [("M", "수컷", "male"), ("F", "암컷", "female")]


@pytest.mark.night
def test_missing_korean_labels_of_codes_are_left_to_finish() -> None:
    found = imported("", "{M: male, F: {ko: 암컷, en: female}, N: {en: neutered}, X: 모름}")
    assert list_findings(found) == [("D", "f", "label", "the Korean label of the codes M, N")]
    assert list_form_codes(found) == [
        ("M", "male", "male"),
        ("F", "암컷", "female"),
        ("N", "neutered", "neutered"),
        ("X", "모름", "모름"),
    ]


@pytest.mark.night
@pytest.mark.parametrize(
    ("codes", "table", "missing"),
    [
        ("{E: {ko: 동쪽, en: east}, W: {ko: 서쪽, en: west}}", "E,동쪽,east\nW,서쪽,west\n", ""),
        (
            "{E: {ko: 동쪽, en: east}, W: west}",
            "E,동쪽,east\nW,west,west\n",
            "the Korean label of the code W",
        ),
        ("[E, W]", "E,E,E\nW,W,W\n", "the Korean label of the codes E, W"),
    ],
)
def test_a_list_of_the_inventory_has_labels_too(codes: str, table: str, missing: str) -> None:
    found = imported(f"code_lists: {{berth: {codes}}}", "berth")
    assert found.files["codelists/berth.csv"].decode() == "code,ko,en\n" + table
    assert list_findings(found) == ([("", "berth", "label", missing)] if missing else [])
    bundle = load_bundle(MemoryPath(found.files))
    row = table.split("\n")[0].split(",")
    assert bundle.lists["berth"].labels["E"] == (row[1], row[2])


def test_a_currency_needs_no_label() -> None:
    fields = "[KRW, EUR]}\n  - {name: v, name_ko: 값, type: amount, level: item, currencies: [KRW, EUR]"
    found = imported("", fields)
    assert list_findings(found) == [("D", "f", "label", "the Korean label of the codes KRW, EUR")]


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ("{A: {ko: 가, fr: a}}", "unknown key 'fr'"),
        ("{A: [a]}", "a code and its label"),
        ("{A: {ko: [가]}}", "a text"),
        ("{' A': a}", "codes without white space"),
        ("['A  B']", "codes without white space"),
    ],
)
def test_a_wrong_label_is_refused_with_its_line(codes: str, words: str) -> None:
    for lists, listing, line in (("", codes, 9), (f"code_lists: {{berth: {codes}}}", "berth", 2)):
        with pytest.raises(GatewayError) as refused:
            imported(lists, listing)
        assert words in str(refused.value)
        assert str(refused.value).endswith(f" at inventory.yaml:{line}")
