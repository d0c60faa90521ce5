"""Mappings are changed under a running hub: whole, from the next message on, and back again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.hub import load_rules, pack_mapping_folder
from gateway.hub.register.decision_rules import load_shipped_rules, unpack_mapping_archive
from gateway.share import get_data_folder
from tests.flows.craft import reference
from tests.flows.test_requirement_ledger import declare, register, used_of
from tests.kit.databases import BOTH
from tests.kit.story import Story

PHARM = Path("agencies") / "KPTA" / "KPTA-PHARM-IMP.yaml"


@pytest.fixture
def mappings(tmp_path: Path) -> Path:
    """Return a copy of the shipped mappings."""
    copy = tmp_path / "mappings"
    shutil.copytree(str(get_data_folder("mappings")), copy)
    return copy


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Path:
    """Return the home folder of a gateway with the database of the test."""
    place = tmp_path / "home"
    place.mkdir()
    url = engine.url.render_as_string(hide_password=False)
    (place / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    return place


def change(place: Path, old: str, new: str) -> None:
    """Change the first document of the folder."""
    file = place / PHARM
    words = file.read_text()
    assert words.count(old) >= 1
    file.write_text(words.replace(old, new))


def use(home: Path, *words: str) -> int:
    """Run the verb that puts mappings in force."""
    return main(["map", "use", *words, "--home", str(home), "--json"])


def type_code(story: Story) -> str | None:
    """Return what the agency of the first document got last."""
    call = [call for call in story.soap.calls if call.destination == "KPTA"][-1]
    return call.body.findtext("{*}Document/{*}Declaration/{*}TypeCode")


@pytest.mark.long
@BOTH
def test_a_folder_put_in_force_splits_the_next_message(
    engine: Engine, home: Path, mappings: Path, capsys: Any
) -> None:
    story = Story(engine)
    story.submit()
    story.tick()
    assert type_code(story) == "GOVCBRFR2"
    before = story.request("KPTA").mapping_sha256
    change(mappings, "TypeCode: {const: GOVCBRFR2}", "TypeCode: {const: GOVCBRFR9}")
    assert use(home, str(mappings)) == 0
    said = json.loads(capsys.readouterr().out)
    story.submit(story.submission(reference("SECOND-1")))
    story.tick()
    assert type_code(story) == "GOVCBRFR9"
    assert story.request("KPTA").mapping_sha256 == said["bundle"] != before
    assert use(home, "--shipped") == 0
    story.submit(story.submission(reference("THIRD-1")))
    story.tick()
    assert type_code(story) == "GOVCBRFR2"
    assert story.request("KPTA").mapping_sha256 == before


@pytest.mark.long
def test_a_hub_that_starts_later_reads_what_is_in_force(engine: Engine, home: Path, mappings: Path) -> None:
    change(mappings, "TypeCode: {const: GOVCBRFR2}", "TypeCode: {const: GOVCBRFR9}")
    assert use(home, str(mappings)) == 0
    shutil.rmtree(mappings)
    hub = Story(engine).hub
    hub.refresh_snapshot()
    assert hub.rules.version == hub.rules.bundle.digest != load_shipped_rules().bundle.digest


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{const: GOVCBRFR2}", "{konst: GOVCBRFR2}", f"{PHARM}:"),
        ("{common: item.hs, form: digits10}", "{common: item.hz}", "item.hz"),
        ("document: KPTA-PHARM-IMP", "document: [", f"{PHARM}:"),
    ],
)
def test_a_broken_folder_changes_nothing_and_says_why(
    engine: Engine, home: Path, mappings: Path, capsys: Any, old: str, new: str, told: str
) -> None:
    story = Story(engine)
    change(mappings, old, new)
    assert use(home, str(mappings)) == 1
    complaint = capsys.readouterr().err
    assert "GW502" in complaint
    assert told in complaint
    story.submit()
    story.tick()
    assert type_code(story) == "GOVCBRFR2"
    assert main(["map", "list", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uses"] == []


@pytest.mark.long
def test_status_codes_that_cannot_be_read_change_nothing(
    engine: Engine, home: Path, mappings: Path, capsys: Any
) -> None:
    """A misspelt event would otherwise be found by the first notice, or stop every process."""
    story = Story(engine)
    table = mappings / "codelists" / "requirement-status.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",inspect,", ",inspcet,", 1), encoding="utf-8")
    assert use(home, str(mappings)) == 1
    assert "codelists/requirement-status.csv" in capsys.readouterr().err
    assert main(["map", "check", "--path", str(mappings), "--samples", "0", "--json"]) == 1
    assert "inspcet" in json.loads(capsys.readouterr().out)["problems"][0]["message"]
    story.submit()
    story.tick()
    assert type_code(story) == "GOVCBRFR2"


@pytest.mark.long
def test_the_change_is_kept_as_evidence(engine: Engine, home: Path, mappings: Path, capsys: Any) -> None:
    story = Story(engine)
    assert use(home, str(mappings)) == 0
    digest = json.loads(capsys.readouterr().out)["bundle"]
    assert story.evidence("bundle", digest) == ["mappings"]


@pytest.mark.parametrize("words", [(), ("{folder}", "--shipped"), ("nowhere",)])
def test_misuse_is_told_as_such(engine: Engine, home: Path, mappings: Path, words: tuple[str, ...]) -> None:
    del engine
    assert use(home, *(word.format(folder=mappings) for word in words)) == 2


@pytest.mark.long
def test_the_archive_is_a_function_of_the_files_alone(mappings: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(mappings, again)
    (again / "notes.txt").write_text("not part of it")
    assert pack_mapping_folder(mappings) == pack_mapping_folder(again)
    assert (
        load_rules(unpack_mapping_archive(pack_mapping_folder(mappings))).bundle.digest
        == load_rules(mappings).bundle.digest
    )


def test_an_archive_reads_as_the_folder_does(mappings: Path) -> None:
    place = unpack_mapping_archive(pack_mapping_folder(mappings))
    assert sorted(one.name for one in place.joinpath("agencies").iterdir()) == sorted(
        one.name for one in (mappings / "agencies").iterdir()
    )
    file = place.joinpath("agencies", "KPTA", "KPTA-PHARM-IMP.yaml")
    assert file.is_file()
    assert not file.is_dir()
    assert file.read_text(encoding="utf-8") == (mappings / PHARM).read_text(encoding="utf-8")
    with file.open("rb") as stream:
        assert stream.read() == (mappings / PHARM).read_bytes()
    with pytest.raises(FileNotFoundError):
        place.joinpath("agencies", "none.yaml").read_bytes()


def change_unit(place: Path, code: str, new: str) -> None:
    """Change the line of a unit in the table of units, or take it out."""
    file = place / "codelists" / "unit-factors.csv"
    lines = file.read_text("utf-8").splitlines(keepends=True)
    assert sum(line.startswith(f"{code},") for line in lines) == 1
    kept = [new if line.startswith(f"{code},") else line for line in lines]
    file.write_text("".join(kept), "utf-8")


@pytest.mark.long
@pytest.mark.parametrize("line", ["", "TNE,volume,1000,here\n"])
def test_a_unit_that_a_certificate_is_used_in_stays_in_force(
    engine: Engine, home: Path, mappings: Path, capsys: Any, line: str
) -> None:
    story = Story(engine)
    register(story, "OUT-1", "100", "KGM")
    declare(story, "FIRST-1", (2, "OUT-1", "0.06", "TNE"))
    assert used_of(story, "OUT-1") == {"TNE": "0.06"}
    change_unit(mappings, "LTR", "")
    change_unit(mappings, "TNE", line)
    assert use(home, str(mappings)) == 1
    told = capsys.readouterr()
    assert "GW502" in told.out + told.err
    assert "certificates are granted or used in TNE: the table" in told.out + told.err


@pytest.mark.long
def test_a_planned_table_without_a_unit_that_was_used_since_lets_nothing_more_be_used(
    engine: Engine, home: Path, mappings: Path, capsys: Any
) -> None:
    """When the plan was made nothing was counted in the unit."""
    story = Story(engine)
    register(story, "OUT-1", "100", "KGM")
    change_unit(mappings, "TNE", "")
    assert use(home, str(mappings), "--from", "2026-12-20") == 0, capsys.readouterr()
    declare(story, "FIRST-1", (2, "OUT-1", "0.06", "TNE"))
    assert used_of(story, "OUT-1") == {"TNE": "0.06"}
    story.clock.forward(seconds=40 * 86_400)
    story.tick(seconds=1)
    assert "TNE" not in story.hub.rules.bundle.units.units
    declare(story, "SECOND-1", (2, "OUT-1", "30", "KGM"))
    assert used_of(story, "OUT-1") == {"TNE": "0.06"}
    (told,) = story.case().detail["problems"]
    assert told["id"] == "GW412"
    assert "0.06 TNE of it is used, which the table of units in force cannot compare" in told["text"]


@pytest.mark.long
def test_a_unit_that_nothing_is_counted_in_may_go(
    engine: Engine, home: Path, mappings: Path, capsys: Any
) -> None:
    story = Story(engine)
    register(story, "OUT-1", "100", "KGM")
    story.submit()
    story.tick()
    change_unit(mappings, "TNE", "")
    assert use(home, str(mappings)) == 0, capsys.readouterr()
