"""An inventory is merged into a folder of mappings: what is there stays, the new is appended."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.harmonize import (
    load_bundle,
)
from gateway.harmonize.proofs import check_bundle
from gateway.share import get_data_folder
from gateway_workbench import merge_folder
from gateway_workbench.importer.folder_merge import AddedEntries, FolderTable

HARBOUR = Path(__file__).parent / "harbour.yaml"
TABLES = ("organisations.yaml", "codelists.yaml", "common.yaml", "reconciled.csv")
YAML = b"""# ours
organisations:   # by code
    A: {kind: government, ko: a, en: a}  # first

    # last
    "B":
        kind: government
        ko: b
        en: b
# the end
other: x
"""


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    """Return a copy of the shipped mappings."""
    with resources.as_file(get_data_folder("mappings")) as path:
        shutil.copytree(path, tmp_path / "mappings")
    return tmp_path / "mappings"


def contents(path: Path) -> dict[str, bytes]:
    return {one.relative_to(path).as_posix(): one.read_bytes() for one in path.rglob("*") if one.is_file()}


def organisations(code: str, label: str) -> AddedEntries:
    line = f"  {code}: {{kind: government, ko: {label}, en: {label}}}"
    return AddedEntries({FolderTable("organisations.yaml", "organisations"): {code: line}})


@pytest.mark.night
def test_the_eighteenth_agency_joins_the_shipped_ones(shipped: Path) -> None:
    before, old = contents(shipped), load_bundle(shipped)
    assert main(["map", "import", str(HARBOUR), "--out", str(shipped)]) == 0
    after, new = contents(shipped), load_bundle(shipped)
    assert {name for name in before if after[name] != before[name]} <= set(TABLES)
    for name in TABLES:
        assert [line for line in after[name].splitlines() if line in set(before[name].splitlines())]
        assert after[name].startswith(before[name].rstrip(b"\n"))
    assert set(new.documents) - set(old.documents) == {"HMA-DANGER-IMP", "TUG_ORDER.1", "hma.empty"}
    assert set(new.organisations) - set(old.organisations) == {"HMA", "TUG"}
    assert [one for one in check_bundle(new, sample_count=1).findings] == []
    assert main(["map", "import", str(HARBOUR), "--out", str(shipped)]) == 0
    assert contents(shipped) == after


@pytest.mark.night
def test_an_entry_that_says_something_else_is_refused_naming_both(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = tmp_path / "i.yaml"
    text = HARBOUR.read_text("utf-8").replace("Harbour Master Authority", "Harbour Office")
    words = ["map", "import", str(inventory), "--out", str(shipped)]
    inventory.write_text(HARBOUR.read_text("utf-8"), "utf-8")
    assert main(words) == 0
    before = contents(shipped)
    inventory.write_text(text, "utf-8")
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert "GW808 organisations.yaml:" in shown
    assert "Harbour Master Authority" in shown
    assert "Harbour Office" in shown
    assert contents(shipped) == before
    assert main([*words, "--replace"]) == 0
    after = contents(shipped)
    assert {name for name in after if after[name] != before[name]} == {"organisations.yaml"}
    assert after["organisations.yaml"] == before["organisations.yaml"].replace(
        b"en: Harbour Master Authority", b"en: Harbour Office"
    )


@pytest.mark.night
def test_nothing_is_written_that_does_not_load_as_a_whole(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shipped / "reconciled.csv").write_text("document,field,decision,reason\nNONE,a,b,c\n", "utf-8")
    before = contents(shipped)
    assert main(["map", "import", str(HARBOUR), "--out", str(shipped)]) == 1
    assert "reconciled.csv:2" in capsys.readouterr().err
    assert contents(shipped) == before


@pytest.mark.night
def test_a_folder_that_lacks_a_file_is_told(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shipped / "codelists" / "iso4217.csv").unlink()
    assert main(["map", "import", str(HARBOUR), "--out", str(shipped)]) == 1
    told = "GW502 file: expected a file of the folder, found none named codelists/iso4217.csv"
    assert told in capsys.readouterr().err


def test_an_entry_is_appended_as_far_in_as_the_others() -> None:
    made = merge_folder(organisations("C", "c"), {"organisations.yaml": YAML})["organisations.yaml"]
    line = b"    C: {kind: government, ko: c, en: c}\n"
    assert made == YAML.replace(b"# the end", line + b"# the end")


@pytest.mark.parametrize("code", ["A", "B"])
def test_only_the_entry_itself_is_replaced(code: str) -> None:
    with pytest.raises(GatewayError, match="--replace"):
        merge_folder(organisations(code, "z"), {"organisations.yaml": YAML})
    made = merge_folder(organisations(code, "z"), {"organisations.yaml": YAML}, replace=True)[
        "organisations.yaml"
    ]
    kept = [line for line in YAML.splitlines() if line in made.splitlines()]
    assert len(kept) == len(YAML.splitlines()) - (1 if code == "A" else 4)
    assert f"    {code}: {{kind: government, ko: z, en: z}}\n".encode() in made


def test_a_table_on_one_line_is_refused() -> None:
    with pytest.raises(GatewayError, match="stands alone on its line"):
        merge_folder(organisations("C", "c"), {"organisations.yaml": b"organisations: {A: {ko: a}}\n"})


def test_a_document_stays_in_the_file_that_holds_it() -> None:
    added = AddedEntries(documents={"agencies/O/D.yaml": b"document: D\nen: new\n"})
    there = {"agencies/mine/d.yaml": b"document: D\nen: old\n"}
    with pytest.raises(
        GatewayError, match=r"agencies/mine/d\.yaml:2 says 'en: old', the inventory 'en: new'"
    ):
        merge_folder(added, there)
    assert merge_folder(added, there, replace=True)["agencies/mine/d.yaml"] == b"document: D\nen: new\n"
    with pytest.raises(GatewayError, match=r"holds E, so D has no place"):
        merge_folder(added, {"agencies/O/D.yaml": b"document: E\n"}, replace=True)


def test_decisions_keep_the_order_of_the_columns() -> None:
    there = {"reconciled.csv": b"document,field,decision,reason\nD,a,common x,why\n"}
    made = merge_folder(AddedEntries(rows=(("b", "D", "common y", "so, so"),)), there)["reconciled.csv"]
    assert made == there["reconciled.csv"] + b'D,b,common y,"so, so"\n'
    with pytest.raises(GatewayError, match=r"reconciled\.csv, D a, says D, a, common x, why"):
        merge_folder(AddedEntries(rows=(("a", "D", "common y", "why"),)), there)
    for broken in (b"document\n\xff\n", b"document,field\nD,a\n"):
        with pytest.raises(GatewayError, match="GW502"):
            merge_folder(AddedEntries(), {"reconciled.csv": broken})
    again = AddedEntries(rows=(("a", "D", "common x", "why"),))
    assert "reconciled.csv" not in merge_folder(again, there)


DOCUMENT = b"document: D\n\nen: D\n\nlicence: {max: 35}\nlast: x\n"


@pytest.mark.parametrize(
    ("changed", "place", "words"),
    [
        ({b"35": b"36"}, 5, "'licence: {max: 35}', the inventory 'licence: {max: 36}'"),
        ({b"last: x\n": b""}, 6, "'last: x', the inventory nothing more"),
        ({b"last: x\n": b"last: x\n\n"}, 7, "nothing more, the inventory ''"),
        ({b"en: D\n\n": b"en: D\n"}, 4, "'', the inventory 'licence: {max: 35}'"),
        ({b"35}\n": b"35}\r\n"}, 5, "'licence: {max: 35}\\n', the inventory 'licence: {max: 35}\\r\\n'"),
        ({b"x\n": b"x"}, 6, "'last: x\\n', the inventory 'last: x'"),
    ],
)
def test_a_changed_document_is_told_by_the_first_line_that_differs(
    changed: dict[bytes, bytes], place: int, words: str
) -> None:
    old = DOCUMENT
    for before, after in changed.items():
        old = old.replace(before, after)
    with pytest.raises(GatewayError) as refused:
        merge_folder(AddedEntries(documents={"d.yaml": old}), {"agencies/O/D.yaml": DOCUMENT})
    assert f"agencies/O/D.yaml:{place} says {words}; --replace" in str(refused.value)


def test_long_lines_are_shown_where_they_differ() -> None:
    line = b"document: D\nx: " + b"a" * 400
    with pytest.raises(GatewayError) as refused:
        merge_folder(AddedEntries(documents={"d.yaml": line + b"36"}), {"agencies/O/D.yaml": line + b"35"})
    assert f"says …{'a' * 39}35', the inventory …{'a' * 39}36'; " in str(refused.value)


def test_a_comment_about_work_that_is_left_stands_once_after_a_replacement() -> None:
    def add(label: str) -> AddedEntries:
        text = f"  # to finish: the kind of C:\n  #   either\n  C: {{kind: government, ko: {label}, en: c}}"
        return AddedEntries({FolderTable("organisations.yaml", "organisations"): {"C": text}})

    first = merge_folder(add("c"), {"organisations.yaml": YAML})
    second = merge_folder(add("z"), first, replace=True)["organisations.yaml"]
    assert second == first["organisations.yaml"].replace(b"ko: c", b"ko: z")
    finished = AddedEntries(
        {FolderTable("organisations.yaml", "organisations"): {"C": "  C: {kind: government, ko: w, en: c}"}}
    )
    fourth = merge_folder(finished, {"organisations.yaml": second}, replace=True)["organisations.yaml"]
    assert b"to finish" not in fourth, "nothing is left to finish"
    # A comment of somebody else stays, and the new one stands below it.
    ours = {"organisations.yaml": second.replace(b"#   either", b"# ours")}
    third = merge_folder(add("y"), ours, replace=True)["organisations.yaml"]
    assert [third.count(comment) for comment in (b"# ours\n", b"#   either\n")] == [2, 1]
