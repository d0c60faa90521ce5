"""Mappings come into force through the console: proved, compared, confirmed; hostile archives are refused."""

from __future__ import annotations

import io
import shutil
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Settings
from gateway.hub import load_rules, pack_mapping_folder, unpack_mapping_archive
from gateway.operations import Act, CheckedFolder, open_change, plan_folder, withdraw_mapping_plan
from gateway.share import get_data_folder
from gateway.store import mapping_bundles, read_transaction
from tests.kit.console import Browser, Console

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
        plan_folder(change, fewer, said, now + timedelta(days=2))
    assert f"<dt>Out of force then</dt><dd>{DOCUMENT}</dd>" in administrator.get(PAGE).text
    with open_change(engine, Settings(), Act("map use", "kim", "kim"), at=now) as change:
        withdraw_mapping_plan(change)
    assert "Out of force then" not in administrator.get(PAGE).text


BOMB = pack({f"{number}.yaml": b" " * 1024 * 1024 for number in range(40)})
HOSTILE = {
    "no archive": b"PK no archive",
    "empty": pack({}),
    "a bomb": BOMB,
    "another folder": pack({"readme.txt": b"hello"}),
    "outside": pack({"../../etc/passwd": b"x"}),
    "many files": pack({f"{number}.yaml": b"" for number in range(2001)}),
}


def test_a_hostile_archive_is_refused(console: Console, administrator: Browser) -> None:
    for name, octets in HOSTILE.items():
        answer = upload(administrator, octets)
        assert answer.status_code == 422, name
        assert "GW" in answer.text
    assert read_digest(console) is None


def test_without_a_file_the_page_says_so(administrator: Browser) -> None:
    administrator.get(PAGE)
    answer = administrator.post(PAGE)
    assert answer.status_code == 422
    assert "Choose a file." in answer.text
