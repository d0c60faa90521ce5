"""Codes of an inventory that no table has: refused, or listed as work that is left."""

from __future__ import annotations

import pytest

from gateway.errors import GatewayError
from gateway.harmonize import load_bundle
from gateway.share import MemoryPath, get_data_folder
from gateway_workbench import ImportResult, import_inventory

START = """organisations: [{code: O, name_en: Office, kind: government}]
code_lists: {berth: {E: east, W: west}}
documents:
- id: D
  organisation: O
  direction: import
  law_codes: ['55']
  unique:
"""
AMOUNT = "  - {name: fee, name_ko: 비, type: amount, level: item, currencies: %s}\n"


def imported(fields: str, head: str = START) -> ImportResult:
    return import_inventory((head + fields).encode(), "inventory.yaml", get_data_folder("mappings"))


def list_findings(found: ImportResult) -> list[tuple[str, str, str]]:
    return [(one.field, one.kind, one.text) for one in found.findings]


@pytest.mark.night
@pytest.mark.parametrize("unit", ["KGM", "EA", "MR", "BOX"])
def test_a_unit_of_a_table_is_known(unit: str) -> None:
    found = imported(f"  - {{name: mass, name_ko: 무게, type: measure, level: item, unit: {unit}}}\n")
    assert list_findings(found) == []


def test_a_unit_that_no_table_has_is_left_to_finish() -> None:
    fields = "  - {name: mass, name_ko: 무게, type: measure, level: item, units: [KGM, KG, pH]}\n"
    found = imported(fields)
    text = "no unit of Recommendation 20 and of the table of units: KG, pH"
    assert list_findings(found) == [("mass", "unit", text)]
    assert f"  # to finish: {text}\n  mass: {{type: measure, units: [KGM, KG, pH]" in (
        found.files["agencies/O/D.yaml"].decode()
    )


@pytest.mark.night
def test_the_units_are_those_of_the_folder_that_is_there() -> None:
    shipped = get_data_folder("mappings")
    units = shipped.joinpath("codelists", "unit-factors.csv").read_bytes() + b"KG,mass,1,the folder\n"
    names = ("codelists.yaml", "common.yaml", "organisations.yaml")
    files = {name: shipped.joinpath(name).read_bytes() for name in names}
    files |= {
        f"codelists/{one.name}": one.read_bytes()
        for one in shipped.joinpath("codelists").iterdir()
        if one.name.endswith(".csv")
    }
    files["needs/laws.csv"] = "law,ko,en,disclaimers\nX9,법,,\n".encode()
    into = MemoryPath({**files, "codelists/unit-factors.csv": units})
    fields = "  - {name: mass, name_ko: 무게, type: measure, level: item, unit: KG}\n"
    head = START.replace("'55'", "X9, '55'")
    found = import_inventory((head + fields).encode(), "inventory.yaml", shipped, (), into)
    assert [(one.kind, one.text.partition(":")[0]) for one in found.findings] == [
        ("law", "law 55 is not in needs/laws.csv")
    ]


@pytest.mark.night
def test_a_currency_that_the_standard_lacks_is_refused() -> None:
    assert list_findings(imported(AMOUNT % "[KRW, EUR]")) == []
    with pytest.raises(GatewayError) as refused:
        imported(AMOUNT % "[KRW, WON]")
    assert str(refused.value) == (
        "GW502 D.unique.fee.currencies: expected currencies of ISO 4217, found WON at inventory.yaml:9"
    )


def test_a_standard_may_stand_for_its_currencies() -> None:
    found = imported(AMOUNT % "[ISO 4217]")
    assert "currencies: iso4217" in found.files["agencies/O/D.yaml"].decode()
    assert list_findings(found) == []


@pytest.mark.night
def test_fields_of_one_name_have_each_their_own_currencies() -> None:
    second = START.partition("documents:\n")[2].replace("id: D", "id: E")
    found = imported(AMOUNT % "[KRW]" + second + AMOUNT % "[EUR, USD]")
    bundle = load_bundle(MemoryPath(found.files))
    asked = {name: bundle.documents[name].ask_names["fee"].units for name in ("D", "E")}
    assert asked == {"D": ("KRW",), "E": ("EUR", "USD")}


def test_a_law_that_the_law_book_lacks_is_left_to_finish() -> None:
    found = imported("  []\n", START.replace("'55'", "'55', '64'").replace("unique:\n", "unique:"))
    text = "law 64 is not in needs/laws.csv: no rule of need and no disclaimer can name it"
    assert list_findings(found) == [("", "law", text)]
    assert f"# to finish: {text}" in found.files["agencies/O/D.yaml"].decode()


@pytest.mark.night
def test_a_mandatory_field_with_a_condition_is_left_to_finish() -> None:
    fields = "  - {name: tug, name_ko: 예, type: boolean, level: item, req: %s, condition: other}\n"
    other = "  - {name: other, name_ko: 외, type: boolean, level: item}\n"
    assert list_findings(imported(fields % "C" + other)) == []
    text = "mandatory with a condition: it is required where the condition is true; is M or C meant?"
    assert list_findings(imported(fields % "M" + other)) == [("tug", "condition", text)]


@pytest.mark.night
@pytest.mark.parametrize("name", ["berht", "Berth", "berths"])
def test_a_misspelt_code_list_is_refused(name: str) -> None:
    with pytest.raises(GatewayError) as refused:
        imported(f"  - {{name: f, name_ko: 가, type: code, level: item, code_list: {name}}}\n")
    wanted = "GW502 D.unique.f.code_list: expected a list of the inventory, as berth, "
    assert str(refused.value) == f"{wanted}found {name} at inventory.yaml:9"


@pytest.mark.night
@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("quay", "no code list of the inventory is named quay (it has berth); the list is open"),
        ("선석", "no code list of the inventory is named 선석 (it has berth); the list is open"),
        ("quays of the port", "quays of the port is open"),
        ("UNLOCODE", "UNLOCODE: any code of the form"),
    ],
)
def test_an_unknown_name_of_a_code_list_is_told_with_the_known_ones(name: str, shown: str) -> None:
    found = imported(f"  - {{name: f, name_ko: 가, type: code, level: item, code_list: {name}}}\n")
    ((_, kind, text),) = list_findings(found)
    assert (kind, text[: len(shown)]) == ("list", shown)
