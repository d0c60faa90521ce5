"""A backup of an hour ago is restored: no number is given twice, and no conversation gets two Results."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import Engine, func, select

from gateway.cases import AgencyCallback, make_application_number, make_case_number
from gateway.cli import main
from gateway.config import NeedSettings
from gateway.errors import DATABASE_HELD
from gateway.evidence import list_subject_leaves, record_evidence
from gateway.hub import apply_call_back
from gateway.message_model import UserMessage
from gateway.store import (
    DatabaseHeldError,
    keep_database_mark,
    make_engine,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway.store.event_readers import read_last_sequence
from gateway.store.messages import messages
from tests.flows.craft import all_of, attribute, because, reference, text, without
from tests.kit.backups import back_up, restore
from tests.kit.databases import in_turn
from tests.kit.story import AGENCIES, Story

Print = pytest.CaptureFixture[str]
LACKING = without("Application[@id='A3']")
WHOLE = all_of(text("Function", "13"), lambda root: because(root, "17", "It was left out."))
ORDER = ("--reason", "the disk is lost", "--by", "Kim", "--json")


class Place:
    """A hub that is stopped, whose database is replaced, and that is started again on its home."""

    def __init__(self, folder: Path, url: str, capsys: Print) -> None:
        self.url = url
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / "gateway.toml").write_text(f'[hub]\nhome = "."\n[database]\nurl = "{url}"\n')
        self.backup = folder / "backup"
        self.stories: list[Story] = []
        self._capsys = capsys

    def start(self) -> Story:
        engine = make_engine(self.url, mark_path=self.home / "acknowledged.json")
        # Ids of messages are new ones at each start, as random ones are.
        self.stories.append(Story(engine, first=1 + 1000 * len(self.stories)))
        return self.stories[-1]

    def stop(self) -> None:
        self.stories[-1].house.engine.dispose()

    def restart_restored(self) -> Story:
        """Stop the hub, restore the backup and start the hub again."""
        self.stop()
        restore(self.url, self.backup)
        return self.start()

    def run(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run a verb of the home; return its status and its JSON."""
        status = main([*words, "--home", str(self.home)])
        said = self._capsys.readouterr()
        assert said.out, said.err
        return status, json.loads(said.out)

    def list_called(self, operation: str, element: str) -> list[str]:
        """Return what the calls of an operation said in an element, each call once."""
        calls = [call for story in self.stories for call in story.soap.calls]
        return [call.text(element) or "" for call in calls if call.operation == operation]

    def count_results(self) -> Counter[str]:
        """Return how many Results each conversation got."""
        got = [unit for story in self.stories for unit in story.inbox.got if unit.action == "Result"]
        return Counter(unit.conversation_id for unit in got)


@pytest.fixture
def place(
    tmp_path: Path, database_url: str, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setattr("gateway.store.database_guard._CHECK_SECONDS", 0.0)
    made = Place(tmp_path, database_url, capsys)
    yield made
    made.stop()


def file_case(story: Story, name: str) -> UserMessage:
    return story.submit(story.submission(reference(name)))


def finish(story: Story) -> Any:
    """Let the newest case come to its end; return it."""
    story.tick()
    for agency in AGENCIES:
        number = story.request(agency).number
        notice = story.notice(agency, number=number)
        apply_call_back(story.hub, agency, AgencyCallback(notice, number))
    story.tick(seconds=1)
    return story.case()


def read_events(story: Story) -> int:
    with read_transaction(story.house.engine) as conn:
        return read_last_sequence(conn)


@pytest.mark.long
@in_turn
def test_numbers_go_on_above_those_that_were_lost(place: Place) -> None:
    story = place.start()
    file_case(story, "BEFORE")
    numbers = [finish(story).number]
    # Received, and not admitted yet.
    waiting = file_case(story, "WAITING")
    back_up(place.url, place.backup)
    numbers.append(finish(story).number)
    file_case(story, "LOST")
    lost = finish(story)
    numbers.append(lost.number)
    events = read_events(story)
    keep_database_mark(story.house.engine)
    assert place.run("restore", "check", "--json")[1]["older"] is False

    story = place.restart_restored()
    answer = story.house.post(story.broker.seal(story.broker.message("Submit", b"<a/>")))
    assert (answer.status, b"GW810" in answer.body) == (503, True)
    with pytest.raises(DatabaseHeldError):
        story.tick()
    assert story.worker.run_once() == 0
    status, found = place.run("restore", "check", "--json")
    assert (status, found["older"], found["mark"]["serial"]) == (1, True, lost.message + 4)
    status, found = place.run("check", "--json")
    assert (status, DATABASE_HELD.id in [one["id"] for one in found["problems"]]) == (1, True)

    status, found = place.run("restore", "confirm", *ORDER)
    assert (status, found["generation"]) == (0, 2)
    # The clock of the server is ahead of that of the story, by which further tasks may be due.
    held = {row.id: row.dedupe_key for row in story.deliveries(state="HELD")}
    assert sorted(held) == found["held"]
    assert [key for key in held.values() if key.startswith("admit:")] != []
    assert set(found["partners"]) == {"broker1", "customs", "KFDA", "KPTA", "NPQS"}
    file_case(story, "AFTER")
    after = finish(story)
    numbers.append(after.number)
    # The row is that of a message that was lost; the number is not.
    assert after.message <= lost.message
    assert after.number >= found["first_case"] > lost.number
    registered = place.list_called("RegisterDeclaration", "CaseNumber")
    assert registered == numbers
    applied = place.list_called("SubmitApplication", "ApplicationNumber")
    assert len(set(applied)) == len(applied) == 4 * len(AGENCIES)
    assert len(set(numbers)) == 4
    results = place.count_results()
    assert results[waiting.conversation_id] == 1
    assert set(results.values()) == {1}
    assert len(results) == 4
    assert read_events(story) > events

    # The same backup once more: the mark is of the second generation.
    keep_database_mark(story.house.engine)
    story = place.restart_restored()
    with pytest.raises(DatabaseHeldError):
        story.tick()
    status, found = place.run("restore", "confirm", *ORDER)
    assert (status, found["generation"]) == (0, 3)
    assert found["first_case"] > after.number
    file_case(story, "LAST")
    assert finish(story).number >= found["first_case"]
    with read_transaction(story.house.engine) as conn:
        (leaf,) = list_subject_leaves(conn, "database", 3)
    assert json.loads(leaf.data)["by"] == "Kim"


@pytest.mark.parametrize("need", ["warn", "hold"])
def test_every_number_of_the_next_generation_is_moved_on(
    engine: Engine, need: Literal["warn", "hold"]
) -> None:
    """A case that is amended by an application, or was held; and one that is refused."""
    story = Story(engine)
    story.hub.need_policy = NeedSettings(imports=need)
    story.submit(story.submission(LACKING))
    story.tick()
    with write_transaction(story.house.engine) as conn:
        last = conn.execute(select(func.max(messages.c.id))).scalar_one()
        data = {"generation": 2, "after_message": last, "shift": 500}
        record_evidence(conn, "restored", "database", 2, None, data, story.clock())
        register_version.raise_all_versions(conn)
    before = story.case().number
    story.submit(story.submission(WHOLE), action="Amend")
    story.tick()
    year, message = story.clock().year, last + 1
    assert story.case().number == before
    assert story.request("NPQS").number == make_application_number(message + 500, year, 3)
    number = story.request("KPTA").number
    assert (number == make_application_number(message + 500, year, 1)) == (need == "hold")

    story.submit(story.submission(all_of(reference("R"), attribute("Application", "document", "NONE"))))
    story.tick()
    refused = story.case()
    assert refused.state == "REFUSED"
    assert refused.number == make_case_number(refused.message + 500, year)
