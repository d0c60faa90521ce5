"""``gateway map use`` and ``map export``: what changes is shown, and nothing goes out of force unnamed."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shlex
import shutil
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from tests.cli.test_map_import import INVENTORY
from tests.kit.databases import Templates
from tests.kit.documents import DOCUMENTS
from tests.kit.paths import ROOT

GONE = "KTL-ELEC-IMP"


@pytest.fixture
def home(tmp_path: Path, templates: Templates) -> Path:
    """Return a home folder with a database; the shipped mappings are in force."""
    templates.fill_home(tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def folder(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the folder in force, exported."""
    assert main(["map", "export", str(tmp_path / "folder"), "--home", str(home)]) == 0
    capsys.readouterr()
    return tmp_path / "folder"


@pytest.fixture
def small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a folder that contains one new document only."""
    (tmp_path / "inventory.yaml").write_text(INVENTORY, encoding="utf-8")
    assert main(["map", "import", str(tmp_path / "inventory.yaml"), "--out", str(tmp_path / "small")]) == 0
    capsys.readouterr()
    return tmp_path / "small"


def documents(home: Path, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Return the documents in force."""
    capsys.readouterr()
    assert main(["map", "list", "--home", str(home), "--json"]) == 0
    return {one["document"] for one in json.loads(capsys.readouterr().out)["documents"]}


def take_out(folder: Path, document: str) -> None:
    """Delete a document and the decisions about its fields from a folder."""
    next(folder.glob(f"agencies/*/{document}.yaml")).unlink()
    table = folder / "reconciled.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(line for line in lines if document not in line), encoding="utf-8")


def use(home: Path, *words: object) -> int:
    return main(["map", "use", *map(str, words), "--home", str(home)])


@pytest.mark.refusal("an author of mappings takes documents out of force unawares")
def test_a_folder_of_one_new_document_takes_none_out_of_force_without_a_word(
    home: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = documents(home, capsys)
    assert use(home, small) == 1
    told = capsys.readouterr()
    assert "documents added: D-1\n" in told.out
    assert f"documents removed: {', '.join(sorted(before))}\n" in told.out
    assert told.err.startswith(f"gateway: GW507 the folder lacks {len(before)} of the documents in force: ")
    assert all(f"--remove {one}" in told.err for one in before)
    assert documents(home, capsys) == before
    names = [word for one in before for word in ("--remove", one)]
    assert use(home, small, *names[2:]) == 1
    assert documents(home, capsys) == before
    assert use(home, small, *names) == 0
    assert documents(home, capsys) == {"D-1"}
    assert use(home, "--shipped") == 1
    assert use(home, "--shipped", "--remove", "D-1") == 0
    assert documents(home, capsys) == before


@pytest.mark.night
def test_a_refusal_in_json_has_the_changes_with_it(
    home: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = documents(home, capsys)
    assert use(home, small, "--json") == 1
    printed = capsys.readouterr()
    told = json.loads(printed.err)
    assert (printed.out, told["problem"], told["added"], told["changed"]) == ("", "GW507", ["D-1"], [])
    assert told["removed"] == sorted(before)
    assert documents(home, capsys) == before


@pytest.mark.night
@pytest.mark.parametrize("name", ["NOBODY", "KFDA-FOOD-IMP"])
def test_a_name_that_is_not_removed_is_refused(
    home: Path, folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    take_out(folder, GONE)
    assert use(home, folder, "--remove", GONE, "--remove", name) == 1
    assert f"GW507 --remove {name}: " in capsys.readouterr().err
    assert GONE in documents(home, capsys)
    assert use(home, folder, "--remove", GONE) == 0
    assert f"documents removed: {GONE}\n" in capsys.readouterr().out
    assert GONE not in documents(home, capsys)


@pytest.mark.night
def test_changes_are_shown_by_document_and_file(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = folder / "agencies" / "KFDA" / "KFDA-FOOD-IMP.yaml"
    document.write_text(document.read_text("utf-8") + "note: changed\n", encoding="utf-8")
    table = folder / "codelists" / "storage.csv"
    table.write_bytes(table.read_bytes() + b"ZZ,\xea\xb0\x80,changed\n")
    assert main(["map", "use", str(folder), "--home", str(home), "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (said["added"], said["changed"], said["removed"]) == ([], ["KFDA-FOOD-IMP"], [])
    assert said["files"] == ["codelists/storage.csv"]


@pytest.mark.night
def test_what_is_exported_is_all_that_is_in_force(
    home: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("common.yaml", "codelists/requirement-status.csv", "notices.yaml", "reconciled.csv"):
        assert (folder / name).is_file()
    for document in documents(home, capsys):
        assert next((folder / "agencies").glob(f"*/{document}.yaml")).is_file()
    document = folder / "agencies" / "KFDA" / "KFDA-FOOD-IMP.yaml"
    document.write_text(document.read_text("utf-8") + "note: changed\n", encoding="utf-8")
    assert use(home, folder) == 0
    again = tmp_path / "again"
    assert main(["map", "export", str(again), "--home", str(home), "--json"]) == 0
    capsys.readouterr()
    assert main(["map", "list", "--home", str(home), "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    assert use(home, again) == 0
    told = capsys.readouterr().out
    assert told.count(": none\n") == 4
    assert "Already in force; nothing was changed: " in told
    assert "next message" not in told
    assert main(["map", "list", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before


def test_an_export_writes_into_no_folder_with_content(
    home: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(small.rglob("*"))
    assert main(["map", "export", str(small), "--home", str(home)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert sorted(small.rglob("*")) == before


@pytest.mark.night
def test_the_row_of_the_readme_adds_an_agency(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the row are run in their order, with its names for folders and files."""
    before = documents(home, capsys)
    row = re.search(r"^\| add an agency \| (.*) \|$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert row is not None
    commands = re.findall(r"`(gateway [^`]*)`", row[1])
    assert [shlex.split(one)[2] for one in commands] == ["export", "import", "check", "use"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "INVENTORY.yaml").write_text(INVENTORY, encoding="utf-8")
    (tmp_path / "H").symlink_to(home)
    for command in commands:
        few = ["--samples", "1"] if " check " in command else []
        assert main([*shlex.split(command)[1:], *few]) == 0, capsys.readouterr().err
    assert documents(home, capsys) == before | {"D-1"}


@pytest.mark.night
def test_an_import_says_what_its_folder_contains(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inventory = tmp_path / "inventory.yaml"
    inventory.write_text(INVENTORY, encoding="utf-8")
    assert main(["map", "import", str(inventory), "--out", str(tmp_path / "small")]) == 0
    told = capsys.readouterr().out
    assert "contains only the imported documents (D-1)" in told
    assert f"`gateway map import {inventory} --out DIR`" in told
    assert main(["map", "import", str(inventory), "--out", str(folder)]) == 0
    assert (
        f"(D-1) and {len(DOCUMENTS)} documents that it had before (EMC-WASTE-EXP, " in capsys.readouterr().out
    )


@pytest.fixture
def bound(home: Path, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a folder with one document more than the one in force, whose agency has agreed to its WSDL."""
    made = tmp_path / "made"
    assert main(["map", "build", "--path", str(small), "--out", str(made)]) == 0
    wsdl = made / "wsdl" / "agencies" / "O.wsdl"
    digest = hashlib.sha256(wsdl.read_bytes()).hexdigest()
    with (home / "gateway.toml").open("a", encoding="utf-8") as settings:
        agency = 'endpoint = "http://127.0.0.1:9/o"\nwsdl = "agencies/O.wsdl"'
        settings.write(f'[share]\nfolders = ["{made}"]\n[agency.O]\n{agency}\nwsdl_sha256 = "{digest}"\n')
    names = [word for one in documents(home, capsys) for word in ("--remove", one)]
    assert use(home, small, *names) == 0
    assert "GW519" not in capsys.readouterr().out
    change_document(small, "max: 9", "max: 12")
    return small


def change_document(folder: Path, before: str, after: str) -> None:
    document = folder / "agencies" / "O" / "D-1.yaml"
    text = document.read_text("utf-8")
    assert before in text
    document.write_text(text.replace(before, after), encoding="utf-8")


UNFIT = (
    "GW519 the WSDL of agency O (agencies/O.wsdl) does not take every request of D-1: it takes in "
    "Application/Item/Why only string maxLength 9, and a request may have string maxLength 12; "
)


@pytest.mark.night
def test_mappings_that_the_wsdl_of_an_agency_does_not_take_are_refused_unless_told_otherwise(
    home: Path, bound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert use(home, bound) == 1
    told = capsys.readouterr()
    assert told.err.startswith("gateway: GW519 agencies would refuse requests by these mappings. D-1: the ")
    assert "or add --despite-wsdl O" in told.err
    assert use(home, bound, "--json") == 1
    (words,) = [one for one in json.loads(capsys.readouterr().err)["warnings"] if "GW519" in one]
    assert words.startswith(UNFIT)
    assert use(home, bound, "--despite-wsdl", "O") == 0
    assert f"warning: {UNFIT}" in capsys.readouterr().out
    # It does not fit already: what is changed besides is no reason to refuse.
    change_document(bound, "en: Why", "en: Reason")
    assert use(home, bound) == 0


@pytest.mark.night
def test_a_plan_is_warned_of_and_every_look_at_the_gateway_tells_it(
    home: Path, bound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert use(home, bound, "--from", "2100-01-01") == 0
    assert f"warning: {UNFIT}" in capsys.readouterr().out
    main(["check", "--home", str(home)])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "GW519" in one]
    assert line.startswith(f"warning: {UNFIT}")
    assert "(from 2100-01-01T00:00:00" in line
    main(["map", "check", "--path", str(bound), "--home", str(home), "--samples", "0"])
    assert f"  note: {UNFIT}" in capsys.readouterr().out
    assert use(home, bound, "--despite-wsdl", "O") == 0
    capsys.readouterr()
    main(["check", "--home", str(home)])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "GW519" in one]
    assert "2100" not in line
    # The schema is away: what nobody can compare refuses nothing, and is told.
    (bound.parent / "made" / "xsd" / "agencies" / "O" / "D-1.xsd").unlink()
    main(["check", "--home", str(home)])
    (line,) = [one for one in capsys.readouterr().out.splitlines() if "GW519" in one]
    assert "is not known: its schema is not beside it" in line


@pytest.mark.night
def test_a_document_or_a_form_for_which_the_wsdl_has_no_place_is_told(
    home: Path, bound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    carriers = bound / "carriers.yaml"
    carriers.write_text("carriers:\n  O: {form: json}\n", encoding="utf-8")
    assert use(home, bound) == 1
    told = capsys.readouterr().err
    assert "agencies/O.wsdl has no place for the form json" in told
    assert 'Set agency.O.wsdl to one that has, as "agency-template.wsdl"' in told
    # Nobody's name is taken for that of the agency.
    for name in ("o", "NOBODY"):
        assert use(home, bound, "--despite-wsdl", name) == 2
        assert f"the mappings have no organisation {name}" in capsys.readouterr().err
    # A file of others whose digest is not set is not read: what it takes is not known.
    settings = home / "gateway.toml"
    said = settings.read_text(encoding="utf-8")
    settings.write_text("\n".join(one for one in said.splitlines() if "sha256" not in one), encoding="utf-8")
    assert use(home, bound) == 0
    assert "GW519 whether the WSDL of agency O (agencies/O.wsdl) takes every" in capsys.readouterr().out
    settings.write_text(said, encoding="utf-8")
    carriers.unlink()
    change_document(bound, "document: D-1", "document: D-2")
    (bound / "agencies" / "O" / "D-1.yaml").rename(bound / "agencies" / "O" / "D-2.yaml")
    assert use(home, bound, "--remove", "D-1") == 1
    assert "names no namespace urn:single-window:document:d-2:1" in capsys.readouterr().err


STATUS = Path("codelists") / "requirement-status.csv"
CUSTOMS = Path("codelists") / "customs-code.csv"


def replace_text(file: Path, before: str, after: str) -> None:
    words = file.read_text(encoding="utf-8")
    assert before in words
    file.write_text(words.replace(before, after), encoding="utf-8")


def drop_columns(file: Path, *names: str) -> None:
    """Write a table as an earlier version had it: without some columns."""
    rows = list(csv.reader(file.read_text(encoding="utf-8").splitlines()))
    keep = [place for place, name in enumerate(rows[0]) if name not in names]
    assert len(keep) < len(rows[0])
    with file.open("w", encoding="utf-8", newline="") as written:
        csv.writer(written).writerows([row[place] for place in keep] for row in rows)


@pytest.mark.night
def test_a_folder_without_shipped_documents_lacks_nothing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", "check", "--samples", "0", "--path", str(small)]) == 0
    assert "earlier version" not in capsys.readouterr().out


@pytest.mark.night
def test_a_changed_table_of_customs_codes_comes_into_force(
    home: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each time: what no mapping names is of the bundle all the same."""
    for number, row in enumerate(("04,into free zone,cleared,,\n", "05,into storage,cleared,,\n")):
        with (folder / CUSTOMS).open("a", encoding="utf-8") as table:
            table.write(row)
        assert use(home, folder) == 0
        told = capsys.readouterr().out
        assert "other files that differ: codelists/customs-code.csv\n" in told
        assert "In force from the next message on" in told
        place = tmp_path / f"again{number}"
        assert main(["map", "export", str(place), "--home", str(home)]) == 0
        assert row in (place / CUSTOMS).read_text(encoding="utf-8")
        capsys.readouterr()


@pytest.mark.night
def test_files_for_which_the_shipped_ones_hold_are_no_difference(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(folder / "needs")
    (folder / CUSTOMS).unlink()
    (folder / "codelists" / "previous-document.csv").unlink()
    assert use(home, folder) == 0
    assert "other files that differ: none\n" in capsys.readouterr().out


@pytest.mark.night
def test_a_calendar_of_the_folder_is_told_to_need_its_own_verb(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "calendars/kr-public-offices-2026.csv"
    shutil.copy(folder / name, folder / "calendars" / "own.csv")
    assert use(home, folder) == 0
    told = capsys.readouterr().out
    assert (
        "calendars/own.csv does not come into force with the folder: load it with `gateway calendar load"
        in told
    )
    assert f"{name} does not" not in told


def spoil_stored(home: Path, name: str, before: bytes, after: bytes) -> None:
    """Change the stored mappings to what only an earlier version of the program took."""
    with closing(sqlite3.connect(home / "gateway.sqlite3")) as database, database:
        ((digest, octets),) = database.execute("select digest, content from mapping_bundles").fetchall()
        with zipfile.ZipFile(io.BytesIO(octets)) as archive:
            files = {one: archive.read(one) for one in archive.namelist()}
        assert before in files[name]
        files[name] = files[name].replace(before, after)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for one, content in files.items():
                archive.writestr(one, content)
        database.execute(
            "update mapping_bundles set content = ? where digest = ?", (packed.getvalue(), digest)
        )


@pytest.mark.night
def test_a_plan_that_does_not_load_any_more_is_told_and_withdrawn(
    home: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in force is listed, and can be replaced, all the same."""
    replace_text(folder / STATUS, "inspection completed", "inspection is completed")
    assert use(home, folder, "--from", "2100-01-01") == 0
    name = f"agencies/KTL/{GONE}.yaml"
    whole = (folder / name).read_bytes()
    spoil_stored(home, name, whole, whole + b"\nformer: x\n")
    capsys.readouterr()
    assert main(["map", "list", "--home", str(home)]) == 0
    told = capsys.readouterr().out
    assert "the planned mappings do not load: GW904 GW502 " in told
    assert f"at {name}:" in told
    assert main(["map", "list", "--home", str(home), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert (listed["unread"][:5], listed["ending"]) == ("GW904", [])
    assert main(["check", "--home", str(home)]) == 1
    told = capsys.readouterr().out
    assert "GW904 GW502 " in told
    assert use(home, "--cancel") == 0
    capsys.readouterr()
    assert main(["map", "list", "--home", str(home)]) == 0
    assert "GW904" not in capsys.readouterr().out


@pytest.mark.night
@pytest.mark.parametrize("name", ["organisations.yaml", f"agencies/KTL/{GONE}.yaml"])
def test_mappings_in_force_that_do_not_load_any_more_are_written_mended_and_used(
    home: Path, folder: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_text(folder / STATUS, "inspection completed", "inspection is completed")
    assert use(home, folder) == 0
    former = b"\nformer: x\n"
    whole = (folder / name).read_bytes()
    spoil_stored(home, name, whole, whole + former)
    capsys.readouterr()
    assert main(["map", "list", "--home", str(home)]) == 1
    assert "gateway: GW904 GW502 " in (told := capsys.readouterr().err)
    assert f"at {name}:" in told
    assert main(["check", "--home", str(home)]) == 1
    assert capsys.readouterr().out.count("GW904 ") == 1
    # A folder that lacks what is in force is refused as ever, whether or not that loads.
    take_out(folder, GONE)
    assert use(home, folder) == 1
    assert f"the folder lacks 1 of the documents in force: {GONE}" in capsys.readouterr().err
    place = tmp_path / "mended"
    assert main(["map", "export", str(place), "--home", str(home)]) == 0
    assert "They do not load: GW502 " in capsys.readouterr().out
    replace_text(place / name, former.decode(), "")
    replace_text(place / STATUS, "inspection is completed", "inspection completed")
    assert use(home, place) == 0
    assert "documents removed: none\n" in capsys.readouterr().out
    assert GONE in documents(home, capsys)
