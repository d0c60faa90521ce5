"""Mappings come into force through the console: proved, compared, confirmed; hostile archives are refused."""

from __future__ import annotations

import io
import shutil
import warnings
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.config import Settings
from gateway.hub import load_rules, pack_mapping_folder, unpack_mapping_archive
from gateway.operations import Act, CheckedFolder, open_change, store_folder_plan, withdraw_mapping_plan
from gateway.share import get_data_folder
from gateway.store import mapping_bundles, read_transaction
from gateway.store.operator_acts import operator_acts
from tests.kit.console import Browser, Console
from tests.kit.house import AGREEMENT
from tests.kit.story import Story

DOCUMENT = "KPTA-PHARM-IMP"
PAGE = "/console/operations/mappings"


@pytest.fixture(scope="module")
def shipped() -> dict[str, bytes]:
    packed = pack_mapping_folder(get_data_folder("mappings"))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def administrator(console: Console) -> Browser:
    console.add_account("park", ("operator", "operator"), "administrator")
    return console.sign_in("park")


def pack(files: dict[str, bytes], top: str = "") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(f"{top}{name}", content)
    return made.getvalue()


def upload(browser: Browser, octets: bytes, removed: str = "") -> Any:
    browser.get(PAGE)
    given = (io.BytesIO(octets), "mappings.zip")
    return browser.post(PAGE, file=given, removed=removed)


def read_digest(console: Console) -> str | None:
    with read_transaction(console.services.engine) as conn:
        return mapping_bundles.find_active_digest(conn, console.services.clock())


@pytest.mark.long
def test_mappings_are_looked_at_before_they_are_in_force(
    console: Console, administrator: Browser, shipped: dict[str, bytes]
) -> None:
    name = next(one for one in shipped if DOCUMENT in one and one.endswith(".yaml"))
    changed = shipped | {name: shipped[name] + b"\n# read again\n"}
    answer = upload(administrator, pack(changed, "mappings/"))
    assert answer.status_code == 302, answer.text
    page = administrator.get(answer.location).text
    assert "# read again" in page
    assert DOCUMENT in page
    assert read_digest(console) is None
    other = upload(administrator, pack(changed)).location
    assert administrator.post(f"{answer.location}/confirm", reason="reviewed").status_code == 302
    digest = read_digest(console)
    assert digest is not None
    late = administrator.post(f"{other}/confirm", reason="the same")
    assert late.status_code == 409
    assert "other mappings came into force" in late.text
    assert read_digest(console) == digest


@pytest.mark.long
def test_a_document_does_not_go_out_of_force_unnamed(
    administrator: Browser, shipped: dict[str, bytes]
) -> None:
    fewer = {name: content for name, content in shipped.items() if DOCUMENT not in name}
    answer = upload(administrator, pack(fewer))
    assert answer.status_code == 422
    assert "GW5" in answer.text


@pytest.mark.long
def test_the_page_names_the_documents_that_end_with_a_plan(
    console: Console, administrator: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), folder)
    (folder / "agencies" / "KPTA" / f"{DOCUMENT}.yaml").unlink()
    table = folder / "reconciled.csv"
    table.write_text(
        "".join(row for row in table.read_text().splitlines(keepends=True) if DOCUMENT not in row)
    )
    octets = pack_mapping_folder(folder)
    place = unpack_mapping_archive(octets)
    fewer = CheckedFolder(load_rules(place).bundle, place, octets)
    engine, now = console.services.engine, console.services.clock()
    said = dict.fromkeys(("bundle", "before", "documents", "added", "changed", "removed"), "")
    with open_change(engine, Settings(), Act("map use", "kim", "kim"), at=now) as change:
        store_folder_plan(change, fewer, said, now + timedelta(days=2))
    assert f"<dt>Out of force then</dt><dd>{DOCUMENT}</dd>" in administrator.get(PAGE).text
    with open_change(engine, Settings(), Act("map use", "kim", "kim"), at=now) as change:
        withdraw_mapping_plan(change)
    assert "Out of force then" not in administrator.get(PAGE).text


BOMB = pack({f"{number}.yaml": b" " * 1024 * 1024 for number in range(40)})


def damage(octets: bytes, before: bytes, place: int, *changed: int, last: bool = True) -> bytes:
    """Return an archive with other octets at a place behind a signature (APPNOTE 4.3)."""
    at = (octets.rfind(before) if last else octets.find(before)) + place
    return octets[:at] + bytes(changed) + octets[at + len(changed) :]


def pack_twice(name: str, second: str) -> bytes:
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w") as archive:
        warnings.simplefilter("ignore")
        for one in (name, second):
            archive.writestr(one, b"x")
    return made.getvalue()


def pack_with(method: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("notices.yaml", b"x" * 999)
    return made.getvalue()


GOOD = pack({"notices.yaml": b"x" * 999, "codelists/a.csv": b"y" * 999})
ENTRY, FILE, END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
HOSTILE = {
    "no archive": b"PK no archive",
    "empty": pack({}),
    "a bomb": BOMB,
    "another folder": pack({"readme.txt": b"hello"}),
    "outside": pack({"../../etc/passwd": b"x"}),
    "many files": pack({f"{number}.yaml": b"" for number in range(2001)}),
    "absolute": pack({"/etc/passwd": b"x"}),
    "outside, of Windows": pack({"..\\notices.yaml": b"x"}),
    "a line feed": pack({"a\nb.yaml": b"x"}),
    "a mark of direction": pack({"a\u202eb.yaml": b"x"}),
    "NUL": damage(pack({"a.b.yaml": b"x"}), ENTRY, 47, 0),
    "no name": damage(GOOD, ENTRY, 28, 0, 0),
    "a long name": pack({"a" * 60_000 + ".yaml": b"x"}),
    "an empty folder name": pack({"codelists//a.csv": b"x"}),
    "two of one name": pack_twice("a.yaml", "a.yaml"),
    "a file and a folder": pack_twice("notices.yaml", "notices.yaml/a.yaml"),
    "a folder and a file": pack_twice("codelists/x/a.csv", "codelists/x"),
    "folders for files": pack({"notices.yaml/a.yaml": b"x", "agencies/b.yaml/c.yaml": b"x"}),
    "an offset behind the end": damage(GOOD, ENTRY, 42, 255, 255, 255, 127),
    "an offset of nothing": damage(GOOD, ENTRY, 42, 9, 0, 0, 0),
    "a directory before the beginning": damage(GOOD, END, 12, 255, 255, 255, 127),
    "a directory elsewhere": damage(GOOD, END, 16, 255, 255, 255, 127),
    "broken octets": damage(GOOD, FILE, 45, 255, 255, 255, 255, last=False),
    "another sum": damage(GOOD, ENTRY, 16, 1, 2, 3, 4),
    "another length": damage(GOOD, ENTRY, 20, 255, 255, 0, 0),
    "an unknown method": damage(GOOD, ENTRY, 10, 99, 0),
    "another method": damage(GOOD, ENTRY, 10, 12, 0),
    "encrypted": damage(GOOD, ENTRY, 8, 1, 0),
    "a later version": damage(GOOD, ENTRY, 6, 255, 0),
    "cut": GOOD[: len(GOOD) // 2],
    "bzip2": pack_with(zipfile.ZIP_BZIP2),
    "broken bzip2": damage(pack_with(zipfile.ZIP_BZIP2), FILE, 43, 0, 0, 0, last=False),
    "broken LZMA": damage(pack_with(zipfile.ZIP_LZMA), FILE, 43, 255, 255, 255, 255, 255, 255, last=False),
    "a folder for a table of needs": pack({"needs/tables/a.csv/b.csv": b"x"}),
    "codes that are no text": pack({"notices.yaml": b"\xff\xfe\0x"}),
}


def test_every_hostile_archive_is_refused_with_a_sentence(console: Console, administrator: Browser) -> None:
    for name, octets in HOSTILE.items():
        answer = upload(administrator, octets)
        seen = (answer.status_code, "GW502" in answer.text, "GW901" in answer.text)
        assert seen == (422, True, False), name
        assert read_digest(console) is None, name


def test_without_a_file_the_page_says_so(administrator: Browser) -> None:
    administrator.get(PAGE)
    answer = administrator.post(PAGE)
    assert answer.status_code == 422
    assert "Choose a file." in answer.text


@pytest.mark.long
def test_a_table_of_codes_that_is_no_text_is_named(administrator: Browser, shipped: dict[str, bytes]) -> None:
    for broken in ("код".encode("cp1251"), b'code,name\n"' + b"x" * 140_000):
        answer = upload(administrator, pack(shipped | {"codelists/customs-code.csv": broken}))
        assert answer.status_code == 422
        assert "GW502" in answer.text
        assert "codelists/customs-code.csv" in answer.text


def offer(browser: Browser) -> Any:
    """Upload an agreement; return where it is looked at."""
    browser.get("/console/operations/agreements")
    return browser.post("/console/operations/agreements", file=(io.BytesIO(AGREEMENT), "agreement.yaml"))


def read_uploads(console: Console) -> list[tuple[str, bool]]:
    """Return the state of each upload, and whether its octets are kept."""
    with read_transaction(console.services.engine) as conn:
        rows = conn.execute(select(operator_acts).order_by(operator_acts.c.id)).all()
    return [(row.state, row.content is not None) for row in rows]


@pytest.mark.long
def test_a_further_upload_takes_the_place_of_the_oldest_that_nobody_confirmed(
    console: Console, administrator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.operations.pending_acts.MAX_UPLOADS", 2)
    console.add_account("choi", ("operator", "operator"), "administrator")
    for browser in (administrator, administrator, console.sign_in("choi"), administrator):
        assert offer(browser).status_code == 302
    assert read_uploads(console) == [("WITHDRAWN", False), *[("DRAFT", True)] * 3]


@pytest.mark.long
def test_uploads_that_wait_for_a_second_person_are_not_replaced(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.operations.pending_acts.MAX_UPLOADS", 2)
    console = Console(story.house.hub, console={"second_person": ["agreement load"]})
    console.add_account("park", ("operator", "operator"), "administrator")
    park = console.sign_in("park")
    for _ in range(2):
        place = offer(park).location
        assert park.post(f"{place}/confirm", reason="they asked").status_code == 302
    refused = offer(park)
    assert "GW705: " in refused.text
    assert "2 uploads of park wait for a second person" in refused.text
    assert read_uploads(console) == [("PENDING", True)] * 2
