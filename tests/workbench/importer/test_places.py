"""Errors of an import name the inventory and its line; long texts of the inventory are cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.harmonize.language import read_csv_rows
from gateway.share import get_data_folder
from gateway.wire import read_yaml
from gateway_workbench import import_inventory

START = """organisations: [{code: O, name_en: Office, kind: government}]
documents:
- id: D
  organisation: O
  direction: import
  law_codes: ['55']
  unique:
  - {name: first, name_ko: 가, type: date, level: item}
"""
WRONG = [
    (
        "  - {name: xml_a, name_ko: 가, type: text, max_length: 5}\n",
        9,
        "D.unique.xml_a: target: expected a name",
    ),
    (
        "  - {name: a, name_ko: 가, type: text, max_length: 3, pattern: '[A-Z]{5}'}\n",
        9,
        "D.unique.a: pattern: expected a pattern",
    ),
    (
        "  - {name: b, name_ko: 가, type: date}\n"
        "  - name: g\n    name_ko: 나\n    type: group\n    level: item\n    fields:\n"
        "    - {name: c, name_ko: 가, type: date}\n"
        "    - {name: xmlC, name_ko: 다, type: date}\n",
        16,
        "D.unique.g.xmlC: target: expected a name",
    ),
]


@pytest.mark.night
@pytest.mark.parametrize("there", [False, True], ids=["alone", "merged"])
@pytest.mark.parametrize(("fields", "line", "words"), WRONG)
def test_a_fault_of_a_mapping_is_told_at_the_line_of_the_inventory(
    fields: str, line: int, words: str, there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory, out = tmp_path / "inventory.yaml", tmp_path / "out"
    import_words = ["map", "import", str(inventory), "--out", str(out)]
    if there:
        inventory.write_text(START.replace("id: D", "id: E"), "utf-8")
        assert main(import_words) == 0
    inventory.write_text(START + fields, "utf-8")
    assert main(import_words) == 1
    shown = capsys.readouterr().err
    assert f"GW502 {words}" in shown
    assert shown.endswith(f" at inventory.yaml:{line}\n")


@pytest.mark.night
def test_a_fault_of_the_folder_that_is_there_keeps_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory, out = tmp_path / "inventory.yaml", tmp_path / "out"
    inventory.write_text(START, "utf-8")
    assert main(["map", "import", str(inventory), "--out", str(out)]) == 0
    mine = out / "agencies" / "O" / "D.yaml"
    mine.write_text(mine.read_text("utf-8").replace("direction: import", "direction: aside"), "utf-8")
    inventory.write_text(START.replace("id: D", "id: E"), "utf-8")
    assert main(["map", "import", str(inventory), "--out", str(out)]) == 1
    assert "at agencies/O/D.yaml:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "line", "octet"),
    [
        ("a: 1\nb: 가".encode("euc-kr"), 2, "octet 0xb0 at position 9"),
        (b"a: 1\r\nb: 2\rc: \xff", 3, "octet 0xff at position 15"),
        ("a: 1".encode("utf-16"), 1, "octet 0xff at position 1"),
    ],
)
def test_an_octet_that_is_no_text_is_told_with_line_and_position(
    content: bytes, line: int, octet: str
) -> None:
    with pytest.raises(GatewayError) as refused:
        read_yaml(content, "inventory.yaml")
    assert str(refused.value) == f"GW502 file: expected UTF-8, found {octet} at inventory.yaml:{line}"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_octet_of_a_table_is_counted_from_the_start_of_the_file(mark: bytes) -> None:
    with pytest.raises(GatewayError) as refused:
        read_csv_rows(mark + b"code\nA\n\xff\n", "t.csv", ("code",))
    shown = f"found octet 0xff at position {len(mark) + 8} at t.csv:3"
    assert str(refused.value) == f"GW502 code list: expected a UTF-8 table, {shown}"


@pytest.mark.night
def test_long_texts_of_an_inventory_are_cut() -> None:
    condition = " or ".join(["y == 'Y'"] * 20_000)
    fields = (
        f'  - {{name: a, name_ko: 가, type: date, level: item, req: C, condition: "{condition}"}}\n'
        f"  - {{name: b, name_ko: 가, type: text, max_length: 5, level: item, pattern: '{'(a)' * 9000}'}}\n"
        f"  - {{name: c, name_ko: 가, type: code, level: item, code_list: {'wide ' * 9000}}}\n"
        f"  - {{name: d, name_ko: 가, type: quantity, unit: KGM, level: item, invariant: {'x + ' * 9000} }}\n"
    )
    found = import_inventory((START + fields).encode(), "inventory.yaml", get_data_folder("mappings"))
    assert [one.kind for one in found.findings] == ["pattern", "list", "condition", "invariant"]
    assert max(len(one.text) for one in found.findings) < 500
    assert max(map(len, found.files["agencies/O/D.yaml"].decode().splitlines())) < 500
