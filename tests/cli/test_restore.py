"""`gateway restore`, and what the mark of a home refuses at a start."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings, refuse_lost_database
from gateway.errors import GatewayError
from gateway.evidence import record_evidence
from gateway.hub import build_engine
from gateway.store import (
    keep_database_mark,
    make_database_mark,
    make_engine,
    read_mark_file,
    read_transaction,
    write_transaction,
)
from gateway.store.database_marks import write_mark_file
from tests.kit.databases import BOTH_AT_LANDING, Templates
from tests.kit.live import LiveHouse
from tests.kit.rows import NOW, stored

Print = pytest.CaptureFixture[str]
AT = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def house(tmp_path: Path, sqlite_url: str) -> LiveHouse:
    """Give a home with some evidence, and its mark."""
    made = LiveHouse(tmp_path, sqlite_url)
    record(made, 1)
    keep(made)
    return made


def find_mark(house: LiveHouse) -> Path:
    return house.home / "acknowledged.json"


def record(house: LiveHouse, *numbers: int) -> None:
    engine = make_engine(house.database_url)
    with write_transaction(engine) as conn:
        for number in numbers:
            record_evidence(conn, "NRO", "message", number, None, {"number": number}, AT)
    engine.dispose()


def keep(house: LiveHouse) -> None:
    engine = make_engine(house.database_url, mark_path=find_mark(house))
    keep_database_mark(engine)
    engine.dispose()


def change_mark(house: LiveHouse, **changes: Any) -> None:
    mark = read_mark_file(find_mark(house))
    assert mark is not None
    write_mark_file(find_mark(house), replace(mark, **changes))


def run(capsys: Print, house: LiveHouse, *words: str) -> tuple[int, Sequence[str]]:
    status = main([*words, "--home", str(house.home)])
    said = capsys.readouterr()
    return status, [*said.out.splitlines(), *said.err.splitlines()]


@pytest.mark.long
@pytest.mark.parametrize("verb", ["run", "serve", "work", "console", "api"])
def test_nothing_starts_on_the_database_of_another_hub(house: LiveHouse, capsys: Print, verb: str) -> None:
    change_mark(house, database="0" * 64)
    status, lines = run(capsys, house, verb)
    (problem,) = [line for line in lines if "GW808" in line]
    assert status == 2
    assert f"name the right database.url, or remove {find_mark(house)}" in problem
    status, lines = run(capsys, house, "check")
    assert status == 1
    assert any(line.startswith("GW808 the home folder has the mark of another hub") for line in lines)
    for words in (("check",), ("confirm", "--reason", "no")):
        status, lines = run(capsys, house, "restore", *words)
        assert status == 2
        assert "GW808 the home folder has the mark of another hub's database" in lines[-1]


def test_no_new_hub_takes_the_place_of_a_lost_one(
    house: LiveHouse, templates: Templates, capsys: Print
) -> None:
    settings = house.home / "gateway.toml"
    settings.write_text(settings.read_text().replace(house.database_url, templates.empty("sqlite")))
    status, lines = run(capsys, house, "migrate", "--new")
    assert status == 2
    assert f"GW808 a database was here, as {find_mark(house)} says: restore it" in lines[-1]
    find_mark(house).unlink()
    status, lines = run(capsys, house, "migrate", "--new")
    store_mark = house.home / "payloads" / "database-mark"
    assert status == 2
    assert f"GW808 a database was here, as {store_mark} says: restore it" in lines[-1]
    store_mark.unlink()
    assert run(capsys, house, "migrate", "--new")[0] == 0


def test_the_marks_of_a_hub_that_was_made_a_moment_ago_are_not_those_of_a_lost_one(
    house: LiveHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another `migrate --new` has made the tables between the two looks at the database."""
    settings = read_home_settings(house.home)
    engine = build_engine(settings)
    looks = [True, True]
    monkeypatch.setattr("gateway.cli.home_folder.is_database_empty", lambda _: looks.pop())
    with pytest.raises(GatewayError, match="GW808 a database was here"):
        refuse_lost_database(settings, engine)
    looks = [False, True]
    refuse_lost_database(settings, engine)
    assert not looks
    engine.dispose()


def test_a_verb_that_ends_in_order_writes_the_last_mark(
    house: LiveHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver(*_: object) -> int:
        record(house, 2)
        return 0

    monkeypatch.setattr("gateway.cli.commands.process._run_workers", deliver)
    assert main(["work", "--home", str(house.home)]) == 0
    assert read_mark_file(find_mark(house)).leaf == 2  # type: ignore[union-attr]


def test_a_home_without_a_mark_is_told_once_there_are_messages(
    house: LiveHouse, capsys: Print, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.cli.commands.process._run_workers", lambda *_: 0)
    expected = "the home folder has no mark of the database (acknowledged.json)"

    def find_told() -> tuple[int, int]:
        """Return how often `gateway check` says it, and the log of a start, which writes the mark."""
        _, lines = run(capsys, house, "check")
        caplog.clear()
        assert main(["work", "--home", str(house.home)]) == 0
        return sum(expected in line for line in lines), sum(expected in line for line in caplog.messages)

    find_mark(house).unlink()
    assert find_told() == (0, 0), "what the verbs of an operator have recorded was acknowledged to nobody"
    assert find_mark(house).exists()

    def take_message(at: datetime) -> None:
        engine = make_engine(house.database_url)
        with write_transaction(engine) as conn:
            stored(conn, at=at)
        engine.dispose()

    find_mark(house).unlink()
    take_message(datetime.now(UTC))
    assert find_told() == (0, 0), "a hub at work writes the first mark in a moment"
    take_message(NOW)
    assert find_told() == (0, 0), "there is a mark"
    find_mark(house).unlink()
    assert find_told() == (1, 1)
    assert find_told() == (0, 0)


def test_people_are_told_what_is_lost_and_what_to_do(house: LiveHouse, tmp_path: Path, capsys: Print) -> None:
    record(house, *range(2, 10))
    kept, early = tmp_path / "head.txt", tmp_path / "early.txt"
    assert run(capsys, house, "evidence", "seal", "--now", "--to", str(early))[0] == 0
    status, lines = run(capsys, house, "restore", "check", "--head", str(early))
    assert status == 0
    assert lines[1].endswith(": the database goes on from it")
    assert lines[2] == f"head:     {early}, over 9 leaves: the evidence under it is unchanged"
    size, root = early.read_text().splitlines()[1:3]
    kept.write_text(early.read_text().replace(f"\n{size}\n", "\n20000009\n"))
    change_mark(house, leaf=40, serial=55)
    heads = ("--head", str(early), "--head", str(kept))
    status, lines = run(capsys, house, "restore", "check", *heads)
    assert status == 1
    assert lines[3].endswith("over 20000009 leaves: the database is older: it has fewer leaves")
    assert lines[4] == "The database is older than what was acknowledged: name the newer one, or confirm it."
    other = tmp_path / "other.txt"
    other.write_text(early.read_text().replace(root, f"{root[:-5]}AAAA="))
    status, lines = run(capsys, house, "restore", "check", "--head", str(other))
    assert "the evidence under it is another one" in lines[2]

    status, lines = run(capsys, house, "restore", "confirm", *heads, "--skip", "1000", "--reason", "a fire")
    assert status == 0
    # 20,000,000 leaves are lost, and as many numbers at most; 1,000 more are left out.
    first = f"SW{datetime.now(UTC):%y}0"
    assert lines[0].startswith(
        f"The database goes on as generation 2: no new case has a number below {first}"
    )
    told = "\n".join(lines)
    assert "Lost is what was acknowledged after 2026-11-26" in told
    assert "A head covers 20000009 leaves, of 9 that the database has." in told
    assert "Ask them to send again what they sent after 2026-11-26" in told
    assert told.endswith(": broker1.")
    status, lines = run(capsys, house, "restore", "check")
    assert status == 0
    assert lines[0].startswith("database: generation 2, ")
    engine = make_engine(house.database_url, mark_path=find_mark(house))
    keep_database_mark(engine)
    with read_transaction(engine) as conn:
        assert make_database_mark(conn) == read_mark_file(find_mark(house))
    engine.dispose()


def test_a_restore_without_a_mark_is_the_word_of_the_operator(house: LiveHouse, capsys: Print) -> None:
    find_mark(house).unlink()
    status, lines = run(capsys, house, "restore", "check")
    assert (status, lines[1]) == (
        0,
        "mark:     the home folder has none: only heads, or you, can say whether the database is older",
    )
    confirm = ("restore", "confirm", "--without-proof")
    status, lines = run(capsys, house, *confirm, "--reason", "another machine")
    assert status == 0
    assert lines[1].startswith("Nothing says what is lost; it is what was acknowledged after 2026-11-26")
    assert lines[2].endswith("unless you confirm it once more with a larger `--skip` than then.")
    # The numbers are those of the backup, however often it is restored.
    _, again = run(capsys, house, *confirm, "--reason", "another machine")
    assert again[0].partition(": ")[2] == lines[0].partition(": ")[2]
    _, larger = run(capsys, house, *confirm, "--skip", "20000000", "--reason", "the second time")
    assert larger[0].partition(": ")[2] > lines[0].partition(": ")[2]


def test_a_mark_that_was_restored_with_the_database_needs_the_word_of_the_operator(
    house: LiveHouse, tmp_path: Path, capsys: Print
) -> None:
    """The whole machine went back to an image of yesterday; a head that was kept elsewhere may show it."""
    kept, confirm = tmp_path / "head.txt", ("restore", "confirm", "--reason", "an image of yesterday")
    assert run(capsys, house, "evidence", "seal", "--now", "--to", str(kept))[0] == 0
    keep(house)
    refusal = (
        "GW808 nothing shows that the database is older than what was acknowledged: the database goes on"
    )
    for heads, seen in (
        ((), "mark of this home. "),
        (("--head", str(kept)), "and no head shows a loss that is not confirmed. "),
    ):
        status, lines = run(capsys, house, *confirm, *heads)
        assert status == 2
        assert refusal in lines[-1]
        assert f"{seen}Confirm it on a node whose `gateway restore check` says older" in lines[-1]
    status, lines = run(capsys, house, *confirm, "--without-proof")
    assert status == 0
    assert lines[0].startswith("The database goes on as generation 2: ")
    assert lines[1].startswith("Nothing says what is lost; it is what was acknowledged after ")
    assert lines[2].startswith("The mark shows nothing: if this backup was restored and confirmed before, ")
    size = kept.read_text().splitlines()[1]
    kept.write_text(kept.read_text().replace(f"\n{size}\n", "\n20000009\n"))
    status, lines = run(capsys, house, *confirm, "--head", str(kept))
    assert status == 0
    assert lines[0].startswith("The database goes on as generation 3: ")
    # The same command a second time, on this node or on another one, changes nothing.
    status, lines = run(capsys, house, *confirm, "--head", str(kept))
    assert (status, refusal in lines[-1]) == (2, True)
    status, lines = run(capsys, house, "restore", "check", "--head", str(kept))
    assert status == 0
    assert lines[2].endswith(
        "leaves: the database went on without what it covers, as an operator has confirmed"
    )


def test_an_empty_database_stands_for_the_lost_one_once_it_is_confirmed(
    house: LiveHouse, templates: Templates, capsys: Print
) -> None:
    settings = house.home / "gateway.toml"
    lost, house.database_url = house.database_url, templates.fresh("sqlite")
    settings.write_text(settings.read_text().replace(lost, house.database_url))
    status, lines = run(capsys, house, "restore", "check")
    assert (status, lines[0]) == (1, "database: without evidence, 0 leaves of evidence")
    status, lines = run(capsys, house, "restore", "confirm", "--reason", "no backup is left")
    assert status == 0
    assert run(capsys, house, "restore", "check")[0] == 0
    keep(house)
    record(house, 7)
    keep(house)
    assert read_mark_file(find_mark(house)).leaf == 2  # type: ignore[union-attr]


@BOTH_AT_LANDING
@pytest.mark.long
def test_of_two_confirmations_at_once_the_second_is_refused(
    tmp_path: Path, database_url: str, capsys: Print
) -> None:
    house = LiveHouse(tmp_path, database_url)
    record(house, 1)
    keep(house)
    change_mark(house, leaf=40, serial=55)
    arguments = ["restore", "confirm", "--reason", "twice", "--home", str(house.home)]
    with ThreadPoolExecutor(2) as operators:
        statuses = [each.result() for each in [operators.submit(main, arguments) for _ in "12"]]
    assert sorted(statuses) == [0, 2]
    assert "GW808 nothing shows that the database is older" in capsys.readouterr().err
