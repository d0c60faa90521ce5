"""A case is read by the mappings that decided it, also when a later program came with other ones."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cli import main
from gateway.errors import GatewayError
from gateway.hub import Hub, load_rules, pack_mapping_folder
from gateway.hub.answers.delivered_notices import read_agency_document
from gateway.hub.register.active_rules import ActiveRules
from gateway.hub.register.decision_rules import load_stored_rules
from gateway.hub.submissions.processed_submission import prepare_bundle
from gateway.process_log import format_text
from gateway.share import get_data_folder
from gateway.store import mapping_bundles, read_transaction, write_transaction
from tests.flows.craft import all_of, reference, supplement, text, without
from tests.flows.test_delivered_notices import about, make_document, make_status
from tests.kit.databases import BOTH
from tests.kit.story import Story

PHARM = Path("agencies") / "KPTA" / "KPTA-PHARM-IMP.yaml"


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the shipped mappings of two versions of the program."""
    made = []
    for code in ("GOVCBRFR8", "GOVCBRFR9"):
        place = tmp_path_factory.mktemp("shipped") / code
        shutil.copytree(str(get_data_folder("mappings")), place)
        words = (place / PHARM).read_text()
        (place / PHARM).write_text(words.replace("{const: GOVCBRFR2}", f"{{const: {code}}}"))
        made.append(place)
    return made[0], made[1]


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    url = engine.url.render_as_string(hide_password=False)
    (place / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    return place


def restart(story: Story, shipped: Any) -> None:
    """Go on with the rules of a process that came with these mappings."""
    story.hub.register._active_rules = ActiveRules(load_rules(shipped))
    story.hub.register._snapshot = None


def list_stored(hub: Hub) -> list[str]:
    with read_transaction(hub.engine) as conn:
        return [row.digest for row in mapping_bundles.list_bundles(conn)]


def list_type_codes(story: Story) -> list[str | None]:
    calls = [call for call in story.soap.calls if call.destination == "KPTA"]
    return [call.body.findtext("{*}Document/{*}Declaration/{*}TypeCode") for call in calls]


def ask(number: str, code: str) -> etree._Element:
    """Return the notice with which an agency asks for more, about an application of a kind."""
    return make_document("GOVCBRRBH", make_status("D01", about=about(number, code)))


def run(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.long
@BOTH
def test_a_case_goes_on_by_its_mappings_after_an_upgrade(
    engine: Engine, versions: tuple[Path, Path], home: Path, tmp_path: Path, capsys: Any
) -> None:
    story = Story(engine)
    restart(story, versions[0])
    old = story.hub.rules.bundle.digest
    assert list_stored(story.hub) == []
    story.submit()
    story.tick()
    assert list_stored(story.hub) == [old]
    number, case = story.number_of("KPTA"), story.case().number
    restart(story, versions[1])
    new = story.hub.rules.bundle.digest
    change = text(
        ".//Declaration/GoodsShipment/GovernmentAgencyGoodsItem/Commodity/Description", "Pills, new"
    )
    story.submit(story.submission(all_of(supplement, change)), action="Supplement")
    story.tick()
    assert list_type_codes(story) == ["GOVCBRFR8", "GOVCBRFR8"]
    read = read_agency_document(story.hub, "KPTA", ask(number, "GOVCBRFR8"))
    assert read.callback.application_number == number
    with pytest.raises(GatewayError) as wrong:
        read_agency_document(story.hub, "KPTA", ask(number, "GOVCBRFR9"))
    assert wrong.value.problem.id == "GW717"
    # A new case has the new mappings, which are stored as well.
    story.submit(story.submission(reference("AFTER-1")))
    story.tick()
    assert list_type_codes(story)[-1] == "GOVCBRFR9"
    assert sorted(list_stored(story.hub)) == sorted([old, new])
    at = ("--home", str(home))
    shown = run(capsys, "case", "show", str(case), *at)
    assert (shown["mappings"], shown["requests"][0]["mapping_sha256"]) == (
        {"bundle": old, "stored": True},
        old,
    )
    listed = run(capsys, "map", "list", *at)["stored"]
    assert {one["bundle"] for one in listed} == {old, new}
    written = run(capsys, "map", "export", str(tmp_path / "old"), "--bundle", old[:12], *at)
    assert written["bundle"] == old
    assert load_rules(tmp_path / "old").bundle.digest == old
    assert main(["map", "export", str(tmp_path / "none"), "--bundle", "beef", *at]) == 2
    assert "no stored mappings have a digest that begins with 'beef'" in capsys.readouterr().err


@pytest.mark.long
def test_a_refused_submission_pins_the_mappings_that_refused_it(
    engine: Engine, versions: tuple[Path, Path]
) -> None:
    story = Story(engine)
    restart(story, versions[0])
    story.submit(story.submission(text("Function", "7")))
    story.tick()
    assert "bundle" not in story.case().detail
    assert list_stored(story.hub) == []
    lacking = without(".//CompetentOffice")
    story.submit(story.submission(all_of(reference("OTHER-1"), lacking)))
    story.tick()
    assert story.case().state == "REFUSED"
    assert [story.case().detail["bundle"]] == list_stored(story.hub) == [story.hub.rules.bundle.digest]


def test_the_shipped_mappings_are_packed_once_and_asked_for_no_more_when_stored(
    engine: Engine, versions: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story(engine)
    restart(story, versions[0])
    digest, register = story.hub.rules.bundle.digest, story.hub.register
    first, again = prepare_bundle(story.hub, digest), prepare_bundle(story.hub, digest)
    assert first.packed_files is not None
    assert first.packed_files is again.packed_files
    with engine.begin() as conn:
        first.store_files(conn, story.clock())
        again.store_files(conn, story.clock())
    assert prepare_bundle(story.hub, digest).packed_files is None
    monkeypatch.setattr(register, "_engine", None)
    assert prepare_bundle(story.hub, digest).packed_files is None


@pytest.mark.long
def test_files_that_were_replaced_under_a_running_process_are_not_stored(
    engine: Engine, versions: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "shipped"
    shutil.copytree(versions[0], place)
    story = Story(engine)
    restart(story, place)
    shutil.copy(versions[1] / PHARM, place / PHARM)
    story.submit()
    story.tick()
    assert list_stored(story.hub) == []
    assert "have changed since the start: not stored" in caplog.text


@pytest.mark.long
def test_mappings_that_do_not_load_any_more_are_said_once_and_those_in_force_hold(
    engine: Engine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An earlier version of the program took them; the fault is not that of who files."""
    shutil.copytree(str(get_data_folder("mappings")), tmp_path / "old")
    with (tmp_path / "old" / PHARM).open("a") as document:
        document.write("\nformer: x\n")
    digest, rules = "0" * 64, ActiveRules()
    with write_transaction(engine) as conn:
        mapping_bundles.store_bundle(conn, digest, pack_mapping_folder(tmp_path / "old"), datetime.now(UTC))
    with read_transaction(engine) as conn:
        assert [rules.load_bundle(conn, digest) for _ in range(2)] == [None, None]
        with pytest.raises(GatewayError, match=f"GW904 GW502 .*at {PHARM}:.* of bundle 0000000000000000"):
            load_stored_rules(conn, digest)
    (line,) = [format_text(record) for record in caplog.records]
    assert line.startswith("cases of stored mappings that do not load use those in force: GW904 ")
    assert line.endswith(f" sha256={digest}")
