"""What verbs say beside a hub at work: between any two statements it commits, and its mark goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from gateway.cli import main
from gateway.evidence import record_evidence
from gateway.store import keep_database_mark, make_engine, read_mark_file, read_transaction, write_transaction
from tests.kit.audited import list_actions
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.live import LiveHouse
from tests.kit.rows import stored

Print = pytest.CaptureFixture[str]


class HubBeside:
    """A hub that acknowledges something after each statement of the verbs that run in this process."""

    def __init__(self, house: LiveHouse) -> None:
        self.mark_file = house.home / "acknowledged.json"
        self._engine = make_engine(house.database_url, mark_path=self.mark_file)
        self._is_working = False
        self.acknowledged = 0

    def acknowledge(self, *_: Any) -> None:
        if self._is_working:
            return
        self._is_working = True
        try:
            self.acknowledged += 1
            with write_transaction(self._engine) as conn:
                data = {"number": self.acknowledged}
                record_evidence(conn, "NRO", "message", self.acknowledged, None, data, datetime.now(UTC))
            keep_database_mark(self._engine)
        finally:
            self._is_working = False

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work while the block runs."""
        event.listen(Engine, "after_cursor_execute", self.acknowledge)
        try:
            yield
        finally:
            event.remove(Engine, "after_cursor_execute", self.acknowledge)

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> LiveHouse:
    made = LiveHouse(tmp_path, database_url)
    engine = make_engine(database_url)
    with write_transaction(engine) as conn:
        stored(conn)
    engine.dispose()
    return made


@pytest.fixture
def beside(house: LiveHouse) -> Iterator[HubBeside]:
    made = HubBeside(house)
    made.acknowledge()
    yield made
    made.close()


def run(capsys: Print, house: LiveHouse, *words: str) -> tuple[int, dict[str, Any]]:
    """Run a verb; return its status and its JSON."""
    status = main([*words, "--json", "--home", str(house.home)])
    printed = capsys.readouterr()
    return status, json.loads(printed.out or printed.err)


@BOTH_AT_LANDING
@pytest.mark.long
def test_a_check_says_nothing_false(house: LiveHouse, beside: HubBeside, capsys: Print) -> None:
    status, alone = run(capsys, house, "check")
    acknowledged = beside.acknowledged
    with beside.work():
        status, report = run(capsys, house, "check")
    assert beside.acknowledged > acknowledged
    assert (status, report) == (0, alone)
    assert not report["problems"]


@BOTH_AT_LANDING
@pytest.mark.long
def test_a_comparison_with_the_mark_says_nothing_false(
    house: LiveHouse, beside: HubBeside, capsys: Print
) -> None:
    with beside.work():
        status, report = run(capsys, house, "restore", "check")
    assert (status, report["older"], report["problem"], report["lost_numbers"]) == (0, False, None, 0)


@BOTH_AT_LANDING
@pytest.mark.long
@pytest.mark.parametrize("has_mark", [True, False])
def test_a_sound_database_is_not_confirmed_as_restored(
    house: LiveHouse, beside: HubBeside, capsys: Print, has_mark: bool
) -> None:
    """Its numbers would move by millions, and its tasks would be held, for nothing."""
    before = read_mark_file(beside.mark_file)
    if not has_mark:
        beside.mark_file.unlink()
    status, answer = run(capsys, house, "restore", "confirm", "--reason", "the check said so")
    assert (status, answer["problem"], answer["location"]) == (2, "GW808", "--without-proof")
    assert answer["detail"].startswith(
        "nothing shows that the database is older than what was acknowledged: "
    )
    assert ("this home has no mark" in answer["detail"]) is not has_mark
    engine = make_engine(house.database_url)
    with read_transaction(engine) as conn:
        assert not list_actions(conn, action="restore confirm")
    engine.dispose()
    beside.acknowledge()
    after = read_mark_file(beside.mark_file)
    assert before is not None
    assert after is not None
    assert (after.generation, after.serial) == (1, before.serial)
