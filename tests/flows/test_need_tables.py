"""Tables of needs are loaded under a running hub, each edition once, and impact is told before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.config import NeedSettings
from gateway.evidence import list_subject_leaves
from gateway.operations import need_impact
from gateway.store import read_transaction
from tests.flows.craft import reference
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH
from tests.kit.story import Story

#: The goods of the sample: medicine, biscuits, bulbs.
CODES = ("3004101000", "1905320000", "0601101000")


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Path:
    """Return the home folder of a gateway with the database of the test."""
    place = tmp_path / "home"
    place.mkdir()
    url = engine.url.render_as_string(hide_password=False)
    (place / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    return place


def write(folder: Path, *rows: str, edition: str = "1", since: str = "2026-01-01") -> Path:
    file = folder / f"border-{edition}.csv"
    head = f"# table: border\n# edition: {edition}\n# valid_from: {since}\nhs,direction,law\n"
    file.write_text(head + "".join(f"{row}\n" for row in rows), "utf-8")
    return file


def run(capsys: Any, *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == status
    said = capsys.readouterr()
    return json.loads(said.out or said.err)


def told(story: Story) -> list[str]:
    return [one["text"] for one in (story.case().detail or {}).get("warnings", ())]


@pytest.mark.long
@BOTH
def test_a_loaded_table_holds_from_the_next_message_on(
    engine: Engine, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story(engine)
    story.hub.need_policy = NeedSettings(test_edition=False)
    story.submit()
    story.tick()
    assert told(story) == []
    file = write(tmp_path, f"{CODES[1]},import,23")
    said = run(capsys, "rules", "load", str(file), "--home", str(home), "--by", "kim")
    assert (said["table"], said["rows"], said["by"]) == ("border@1", 1, "kim")
    story.submit(story.submission(reference("SECOND-1")))
    story.tick()
    assert "item 2 (1905320000) needs KTL-ELEC-IMP under law 23" in told(story)[0]
    assert story.case().detail["need_tables"] == ["border@1"]
    with read_transaction(engine) as conn:
        (leaf,) = list_subject_leaves(conn, "needs", "border@1")
        (action, *_) = list_actions(conn, limit=1)
    assert json.loads(leaf.data)["rows"] == 1
    assert (action.action, action.object, action.actor) == ("rules load", "table of needs border@1", "kim")
    # What the verbs say is what the hub does.
    asked = run(capsys, "rules", "ask", "--hs", CODES[1], "--direction", "import", "--home", str(home))
    assert ("23", "border@1") in [(one["law"], one["table"]) for one in asked["needs"]]


def test_what_no_goods_have_and_another_country_are_remarked(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ("0301,import,76", "9999999999,import,76", "0000,import,76", "300488,import,01", "77,import,01")
    file = write(tmp_path, *rows)
    said = run(capsys, "rules", "load", str(file), "--home", str(home), "--by", "kim")
    assert said["remarks"] == [
        "The HS code is of no chapter: 3 rows (lines 6, 7, 9).",
        "The HS code is not in HS 2022: 1 row (line 8).",
    ]
    other = write(tmp_path, "0301,import,76", edition="2", since="2026-02-01")
    other.write_text("# country: GB\n" + other.read_text("utf-8"), "utf-8")
    said = run(capsys, "rules", "load", str(other), "--home", str(home), "--by", "kim")
    assert said["remarks"] == [
        "Other editions of border are of KR, this one is of GB. While it is in force, of a code of KR six "
        "digits count: needs of such goods are possible, not certain."
    ]
    other.write_text(
        other.read_text("utf-8").replace("GB", "XX").replace("edition: 2", "edition: 3"), "utf-8"
    )
    said = run(capsys, "rules", "load", str(other), "--home", str(home), "--by", "kim", status=1)
    assert "expected a code of ISO 3166" in json.dumps(said)


def test_an_edition_is_loaded_once_and_never_changes(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, f"{CODES[0]},import,01")
    words = ("rules", "load", str(file), "--home", str(home))
    run(capsys, *words)
    assert "Loaded already" in run(capsys, *words)["done"]
    write(tmp_path, f"{CODES[0]},import,05")
    assert "loaded already with another content" in run(capsys, *words, status=1)["detail"]
    later = write(tmp_path, f"{CODES[0]},import,05", edition="2", since="2026-07-01")
    run(capsys, "rules", "load", str(later), "--home", str(home))
    capsys.readouterr()
    assert main(["rules", "list", "--home", str(home), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["table"], one["valid_from"], one["valid_until"]) for one in rows] == [
        ("border@1", "2026-01-01", "2026-06-30"),
        ("border@2", "2026-07-01", None),
        ("kr-customs-confirmation@2016-02", "2016-02-01", None),
    ]


def test_every_mistake_is_told_and_nothing_is_loaded(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path, "03,import,01", "3,import,99", "04,inward,01")
    said = run(capsys, "rules", "load", str(file), "--home", str(home), status=1)
    places = [(one["line"], one["column"]) for one in said["mistakes"]]
    assert places == [(6, 1), (6, 3), (7, 2)]
    assert main(["rules", "load", str(file), "--home", str(home)]) == 1
    assert "line 7, column 2 (direction): expected import or export" in capsys.readouterr().out
    assert main(["rules", "list", "--home", str(home)]) == 0
    assert "border" not in capsys.readouterr().out


@pytest.mark.long
def test_a_new_table_tells_which_cases_change(
    engine: Engine,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = Story(engine)
    old = write(tmp_path, f"{CODES[0]},import,01", f"{CODES[1]},import,05", since="2020-01-01")
    run(capsys, "rules", "load", str(old), "--home", str(home))
    for name in ("ONE-1", "TWO-1"):
        story.submit(story.submission(reference(name)))
        story.tick()
    new = write(
        tmp_path, f"{CODES[0]},import,01", f"{CODES[2]},import,12", f"{CODES[2]},import,23", edition="2",
        since="2030-01-01",
    )  # fmt: skip
    story.clock.forward(seconds=1)
    until = story.clock().isoformat().replace("+00:00", "Z")
    words = ("rules", "impact", str(new), "--home", str(home), "--until", until)
    said = run(capsys, *words)
    assert (said["asked"], len(said["changed"]), said["unreadable"]) == (2, 2, {})
    first = said["changed"][0]
    assert first["reference"] == "ONE-1"
    changes = [
        (one["item"], *([need["law"] for need in one[key]] for key in ("added", "removed")), one["lacking"])
        for one in first["items"]
    ]
    assert changes == [(2, [], ["05"], []), (3, ["12", "23"], [], ["23"])]
    # Read in pages of one case, nothing else is told.
    monkeypatch.setattr(need_impact, "_PAGE_SIZE", 1)
    assert run(capsys, *words) == said
    # The same table changes nothing, and outside of the period no case is asked.
    assert run(capsys, "rules", "impact", str(old), *words[3:])["changed"] == []
    empty = run(capsys, *words, "--since", until)
    assert (empty["asked"], len(empty["remarks"])) == (0, 1)
    assert empty["remarks"][0].startswith("The period is empty")
    before = ("--since", "2020-01-01T00:00:00Z", "--until", "2020-02-01T00:00:00Z")
    nobody = run(capsys, *words[:-2], *before)
    assert nobody["remarks"][0].startswith("No case was opened from 2020-01-01")
    assert said["remarks"] == []
    assert main([*words]) == 0
    assert "border@2 changes 2 of 2 cases." in capsys.readouterr().out
