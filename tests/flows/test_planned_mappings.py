"""Mappings are planned for a date: what was received before it is split by the old ones, whenever that is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.cli import main
from gateway.config import Settings
from gateway.errors import GatewayError
from gateway.hub import load_rules, pack_mapping_folder
from gateway.hub.register.active_rules import (
    ActiveRules,
)
from gateway.hub.register.decision_rules import (
    DecisionRules,
    unpack_mapping_archive,
)
from gateway.hub.register.trusted_register import (
    TrustedRegister,
)
from gateway.operations import (
    Act,
    CheckedFolder,
    DatabaseChange,
    activate_folder,
    find_mapping_plan,
    open_change,
    store_folder_plan,
    withdraw_mapping_plan,
)
from gateway.share import get_data_folder
from gateway.store import mapping_bundles, read_transaction
from tests.flows.craft import all_of, reference, supplement, without
from tests.flows.test_held_case_waking import HELD, NUMBER, find
from tests.flows.test_held_cases import HOLD
from tests.flows.test_outside_results import say
from tests.kit.databases import BOTH
from tests.kit.house import START
from tests.kit.story import Story

PHARM = Path("agencies") / "KPTA" / "KPTA-PHARM-IMP.yaml"
DATE = START + timedelta(days=2)
#: The plan of the verbs: a day that is always to come.
FAR = "2100-03-01"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return two folders of mappings; each gives the first document another type code."""
    made = {}
    for code in ("GOVCBRFR8", "GOVCBRFR9"):
        place = tmp_path_factory.mktemp("mappings") / code
        shutil.copytree(str(get_data_folder("mappings")), place)
        words = (place / PHARM).read_text()
        (place / PHARM).write_text(words.replace("{const: GOVCBRFR2}", f"{{const: {code}}}"))
        made[code] = place
    return made


@pytest.fixture(scope="module")
def checked(folders: dict[str, Path]) -> dict[str, CheckedFolder]:
    """Return the folders as they are stored."""
    made = {}
    for code, folder in folders.items():
        octets = pack_mapping_folder(folder)
        place = unpack_mapping_archive(octets)
        made[code] = CheckedFolder(load_rules(place).bundle, place, octets)
    return made


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine)


def act(story: Story, do: Callable[[DatabaseChange], Any]) -> Any:
    """Do something as an operator, at the time of the story."""
    with open_change(
        story.house.engine, Settings(), Act("map use", "kim", "kim"), at=story.clock()
    ) as change:
        return do(change)


def plan(story: Story, folder: CheckedFolder, starts: datetime = DATE) -> bool:
    """Plan a folder."""
    said = dict.fromkeys(("bundle", "before", "documents", "added", "changed", "removed"), "")
    done: bool = act(story, lambda change: store_folder_plan(change, folder, said, starts))
    return done


def use(story: Story, folder: CheckedFolder) -> None:
    """Activate a folder at once."""
    said = dict.fromkeys(("bundle", "before", "documents", "added", "changed", "removed"), "")
    act(story, lambda change: activate_folder(change, folder, said))


def send(story: Story, number: str, *changes: Any, **more: Any) -> None:
    """File a submission, or another message of that reference."""
    story.submit(story.submission(all_of(reference(number), *changes)), **more)


def list_type_codes(story: Story) -> list[str | None]:
    """Return what the agency of the first document got, call by call."""
    calls = [call for call in story.soap.calls if call.destination == "KPTA"]
    return [call.body.findtext("{*}Document/{*}Declaration/{*}TypeCode") for call in calls]


@pytest.mark.long
@BOTH
def test_what_was_received_before_the_date_is_split_by_the_old_mappings(
    story: Story, checked: dict[str, CheckedFolder]
) -> None:
    new = checked["GOVCBRFR9"]
    assert plan(story, new)
    assert story.evidence("bundle", new.bundle.digest) == ["mappings"]  # type: ignore[arg-type]
    send(story, "EARLY-1")
    story.tick()
    story.clock.now = DATE - timedelta(seconds=1)
    send(story, "LATE-1")
    story.clock.now = DATE
    story.tick()
    send(story, "AFTER-1")
    story.tick()
    assert list_type_codes(story) == ["GOVCBRFR2", "GOVCBRFR2", "GOVCBRFR9"]
    assert story.request("KPTA").mapping_sha256 == new.bundle.digest


@pytest.mark.long
def test_a_supplement_is_split_by_the_mappings_of_its_case(
    story: Story, checked: dict[str, CheckedFolder]
) -> None:
    """On both sides: those that were in force when it was opened, and those of an earlier plan."""
    old = story.hub.rules.bundle.digest
    plan(story, checked["GOVCBRFR8"])
    send(story, "FIRST-1")
    story.clock.now = DATE
    story.tick()
    send(story, "SECOND-1")
    story.tick()
    plan(story, checked["GOVCBRFR9"], DATE + timedelta(days=1))
    story.clock.now = DATE + timedelta(days=1)
    for number in ("FIRST-1", "SECOND-1"):
        send(story, number, supplement, action="Supplement")
        story.tick()
    send(story, "THIRD-1")
    story.tick()
    assert list_type_codes(story) == ["GOVCBRFR2", "GOVCBRFR8", "GOVCBRFR2", "GOVCBRFR8", "GOVCBRFR9"]
    # Another process, which has never seen the first bundles, finds them all the same.
    other = make_register(story)
    other.refresh_snapshot()
    for digest in (old, checked["GOVCBRFR8"].bundle.digest, checked["GOVCBRFR9"].bundle.digest):
        found = other.find_pinned_rules(digest)
        assert found is not None
        assert found.bundle.digest == digest
    assert other.find_pinned_rules("0" * 64) is None
    assert other.find_rules(START).bundle.digest == old


@pytest.mark.long
def test_a_held_case_keeps_its_mappings_when_others_are_activated(
    story: Story, checked: dict[str, CheckedFolder]
) -> None:
    """Where others bring what it lacks, and where its declarant does."""
    old = story.hub.rules.bundle.digest
    story.hub.need_policy = HOLD
    story.submit(story.submission(HELD))
    send(story, "HELD-2", without("Application[@id='A3']"))
    story.tick()
    use(story, checked["GOVCBRFR9"])
    say(story, agency="NPQS", number=NUMBER, law="12")
    story.tick()
    send(story, "HELD-2", supplement, action="Supplement")
    story.tick()
    found = [find(story, name) for name in ("HELD-1", "HELD-2")]
    assert [(row.state, row.detail["bundle"]) for row in found] == [("IN_PROGRESS", old)] * 2
    send(story, "NEW-1")
    story.tick()
    assert list_type_codes(story) == ["GOVCBRFR2", "GOVCBRFR2", "GOVCBRFR9"]


def make_register(story: Story) -> TrustedRegister:
    """Return the register of another process on the same database, with the same shipped mappings."""
    shipped = story.hub.register.find_rules(START)
    assert shipped.version is None
    rules = DecisionRules(shipped.bundle, shipped.status_codes, shipped.needs)
    return TrustedRegister(story.house.engine, story.hub.judge, ActiveRules(rules))


def test_every_process_knows_a_plan_before_its_date(story: Story, checked: dict[str, CheckedFolder]) -> None:
    others = [make_register(story) for _ in range(2)]
    for one in others:
        one.refresh_snapshot()
    plan(story, checked["GOVCBRFR9"])
    for one in others:
        one.refresh_snapshot()
        # Nothing of the plan is read at its date: a register that reads no more has both bundles.
        assert one._active_rules.find_rules(DATE) is not None
        assert one.find_rules(DATE - timedelta(microseconds=1)).version is None
        assert one.find_rules(DATE).version == checked["GOVCBRFR9"].bundle.digest


def test_a_plan_is_replaced_or_withdrawn_before_its_date(
    story: Story, checked: dict[str, CheckedFolder]
) -> None:
    first, second = checked.values()
    assert plan(story, first)
    assert not plan(story, first)
    assert plan(story, second, DATE + timedelta(days=1))
    with read_transaction(story.house.engine) as conn:
        found = find_mapping_plan(conn, START)
        assert found is not None
        assert (found.digest, found.starts) == (second.bundle.digest, DATE + timedelta(days=1))
        # That of before is gone with it.
        assert mapping_bundles.find_active_digest(conn, DATE) is None
    act(story, withdraw_mapping_plan)
    assert story.evidence("bundle", second.bundle.digest) == ["mappings", "mappings"]  # type: ignore[arg-type]
    with read_transaction(story.house.engine) as conn:
        assert find_mapping_plan(conn, START) is None
        assert mapping_bundles.find_active_digest(conn, DATE + timedelta(days=9)) is None
    with pytest.raises(GatewayError) as none:
        act(story, withdraw_mapping_plan)
    assert (none.value.problem.id, none.value.location) == ("GW808", "--cancel")


def test_a_plan_has_its_date_to_come_and_stays_when_its_date_has_come(
    story: Story, checked: dict[str, CheckedFolder]
) -> None:
    first, second = checked.values()
    with pytest.raises(GatewayError) as late:
        plan(story, first, story.clock())
    assert (late.value.problem.id, late.value.location) == ("GW808", "--from")
    plan(story, first)
    story.clock.now = DATE
    with pytest.raises(GatewayError):
        act(story, withdraw_mapping_plan)
    plan(story, second, DATE + timedelta(days=1))
    with read_transaction(story.house.engine) as conn:
        assert mapping_bundles.find_active_digest(conn, DATE) == first.bundle.digest


@pytest.mark.long
def test_a_use_at_once_leaves_what_was_received_before_a_date_alone(
    story: Story, checked: dict[str, CheckedFolder]
) -> None:
    """What corrects the mappings of the new law does not change what the old one says."""
    first, second = checked.values()
    plan(story, first)
    send(story, "OLD-LAW-1")
    story.clock.now = DATE
    send(story, "NEW-LAW-1")
    use(story, second)
    story.tick()
    assert sorted(map(str, list_type_codes(story))) == ["GOVCBRFR2", "GOVCBRFR9"]


def test_the_period_of_a_use_is_that_of_its_time(story: Story, checked: dict[str, CheckedFolder]) -> None:
    first, second = checked.values()
    plan(story, first)
    use(story, second)
    with read_transaction(story.house.engine) as conn:
        at = [START - timedelta(days=9), START, DATE - timedelta(seconds=1), DATE, DATE + timedelta(days=9)]
        found = [mapping_bundles.find_active_digest(conn, one) for one in at]
    assert found == [second.bundle.digest] * 3 + [first.bundle.digest] * 2


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> Path:
    """Return the home folder of a gateway with the database of the test."""
    place = tmp_path / "home"
    place.mkdir()
    url = engine.url.render_as_string(hide_password=False)
    (place / "gateway.toml").write_text(f'[database]\nurl = "{url}"\n')
    return place


def run(home: Path, *words: str) -> int:
    """Run a verb of mappings."""
    return main(["map", *words, "--home", str(home)])


@BOTH
@pytest.mark.long
def test_the_verbs_plan_tell_and_withdraw(home: Path, folders: dict[str, Path], capsys: Any) -> None:
    folder = str(folders["GOVCBRFR9"])
    assert run(home, "use", folder, "--from", FAR, "--by", "kim") == 0
    said = capsys.readouterr().out
    assert "KPTA-PHARM-IMP" in said
    assert f", from {FAR}\n" in said
    assert "In force for what is received from 2100-03-01T00:00:00+09:00 on: 33 documents" in said
    assert run(home, "list") == 0
    told = capsys.readouterr().out
    assert ", as it came with the program\nplanned from 2100-03-01T00:00:00+09:00 on: bundle " in told
    assert "(by kim)" in told
    assert run(home, "use", folder, "--from", "2100-02-28T15:00:00Z") == 0
    assert "Already planned for what is received from 2100-03-01" in capsys.readouterr().out
    assert run(home, "use", folder) == 0
    assert "The plan from 2100-03-01T00:00:00+09:00 on stays." in capsys.readouterr().out
    assert run(home, "use", "--cancel", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["before"]["planned"]["from"].startswith(FAR)
    assert answer["audit"] is not None
    assert run(home, "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["planned"] is None
    assert [one["from"] is None for one in listed["uses"]] == [True, True, False]
    assert listed["uses"][0]["withdraws"] == listed["uses"][2]["id"]


@BOTH
@pytest.mark.long
def test_what_is_added_after_a_plan_is_said_to_end_with_it(
    home: Path, folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    """The plan was made without the document: it stays a plan without it."""
    fewer = tmp_path / "fewer"
    shutil.copytree(folders["GOVCBRFR9"], fewer)
    gone = "KTIC-TOY-IMP"
    (fewer / "agencies" / "KTIC" / f"{gone}.yaml").unlink()
    table = fewer / "reconciled.csv"
    table.write_text("".join(row for row in table.read_text().splitlines(keepends=True) if gone not in row))
    assert run(home, "use", str(fewer), "--remove", gone) == 0
    assert run(home, "use", str(fewer), "--from", FAR) == 0
    capsys.readouterr()
    assert run(home, "use", "--shipped") == 0
    said = capsys.readouterr().out
    assert f"warning: {gone}: not in the mappings that are planned from 2100-03-01T00:00:00+09:00 on" in said
    assert run(home, "list") == 0
    assert f"out of force then: {gone}" in capsys.readouterr().out
    main(["check", "--home", str(home), "--json"])
    warning = f"planned from 2100-03-01T00:00:00+09:00 on do not have {gone}: out of force then"
    assert any(one.endswith(warning) for one in json.loads(capsys.readouterr().out)["warnings"])
    assert run(home, "use", "--cancel") == 0
    capsys.readouterr()
    main(["check", "--home", str(home)])
    assert gone not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere", "--from", "2020-03-01"),
        ("nowhere", "--from", "2100-03-01T00:00:00"),
        ("nowhere", "--from", "soon"),
        ("nowhere", "--cancel"),
        ("--cancel",),
        (),
    ],
)
def test_misuse_is_told_as_such(home: Path, words: tuple[str, ...], capsys: Any) -> None:
    assert run(home, "use", *words) == 2
    assert "GW808" in capsys.readouterr().err
