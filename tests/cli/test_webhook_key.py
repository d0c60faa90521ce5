"""`gateway check` and the log of a worker name another key of the webhooks; `gateway webhook renew` helps."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.commands.process import log_expiries_daily
from gateway.cli.home_folder import read_home_settings
from gateway.store import event_readers, make_engine, read_transaction, write_transaction
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.live import LiveHouse

NOW = datetime(2026, 11, 26, tzinfo=UTC)


class Stop:
    """An event that stops after the first day."""

    def wait(self, _seconds: float) -> bool:
        return True


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> LiveHouse:
    """Give a home with a webhook, and without the key from which its secret came."""
    made = LiveHouse(tmp_path, database_url)
    engine = make_engine(database_url)
    with write_transaction(engine) as conn:
        event_readers.insert_webhook(conn, "hook1", "broker1", "https://hooks.example/events", NOW)
    engine.dispose()
    return made


def check(house: LiveHouse, capsys: pytest.CaptureFixture[str]) -> str:
    main(["check", "--home", str(house.home)])
    return capsys.readouterr().out


@BOTH_AT_LANDING
def test_a_lost_key_is_told_until_it_is_renewed(
    house: LiveHouse, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    key = house.home / "webhook.key"
    assert "GW803 this node has no key of the webhooks" in check(house, capsys)
    assert main(["webhook", "renew", "--reason", "it is lost", "--home", str(house.home)]) == 0
    said = capsys.readouterr().out
    assert f"The new key is {key}: copy it to every other node" in said
    assert "Party broker1 loses webhook hook1 at https://hooks.example/events." in said
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)
    assert [path.name for path in house.home.glob("webhook.key*")] == ["webhook.key"]
    engine = make_engine(house.database_url)
    with read_transaction(engine) as conn:
        assert event_readers.list_all_webhooks(conn) == []
    assert "of the webhooks" not in check(house, capsys)
    key.write_bytes(bytes(32))
    assert "GW803 this node has another key of the webhooks than the other nodes" in check(house, capsys)
    with caplog.at_level(logging.WARNING):
        log_expiries_daily(read_home_settings(house.home), Stop(), engine)  # type: ignore[arg-type]
    engine.dispose()
    assert any("this node has another key of the webhooks" in line for line in caplog.messages)


def test_a_key_that_others_can_read_is_told(house: LiveHouse, capsys: pytest.CaptureFixture[str]) -> None:
    key = house.home / "webhook.key"
    key.write_bytes(bytes(32))
    key.chmod(0o644)
    assert f"{key} is open to other accounts (0644): chmod 600 closes it" in check(house, capsys)


@pytest.mark.parametrize("place", ["file/webhook.key", "folder"])
def test_a_key_that_cannot_be_written_changes_nothing(
    house: LiveHouse, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (house.home / "file").write_text("no folder")
    (house.home / "folder").mkdir()
    with (house.home / "gateway.toml").open("a") as settings:
        settings.write(f'[api]\nwebhook_key = "{place}"\n')
    assert main(["webhook", "renew", "--reason", "it is lost", "--home", str(house.home)]) != 0
    assert "GW803 the key of the webhooks cannot be made" in capsys.readouterr().err
    engine = make_engine(house.database_url)
    with read_transaction(engine) as conn:
        assert len(event_readers.list_all_webhooks(conn)) == 1
    engine.dispose()
