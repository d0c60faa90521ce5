"""The worker has what the settings give it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.home_folder import read_home_settings
from gateway.delivery import build_worker, wiring
from gateway.hub import queue_webhook_calls
from gateway.store import (
    deliveries,
    event_readers,
    make_engine,
    read_transaction,
    transitions,
    write_transaction,
)
from tests.kit.live import LiveHouse
from tests.kit.rows import open_case


@pytest.mark.long
def test_messages_and_calls_go_with_the_logins_of_the_settings(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "password").write_text("secret")
    more = f'[tls."partner.example"]\nlogin = "hub"\nlogin_password = {{ file = "{tmp_path}/password" }}\n'
    worker = build_worker(read_home_settings(LiveHouse(tmp_path, sqlite_url, more=more).home))
    try:
        for name in ("msh", "hop"):
            sender = worker._agents[name]._http_client  # type: ignore[attr-defined]
            assert sender._find_authorization("partner.example", 443) == "Basic aHViOnNlY3JldA=="
            assert sender._find_authorization("other.example", 443) is None
    finally:
        worker.engine.dispose()


@contextmanager
def count_callers() -> Iterator[tuple[int, list[Any]]]:
    """Listen at a port of this machine, hang up on whoever connects, and list them."""
    callers: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            with suppress(OSError):
                while True:
                    connection, caller = listener.accept()
                    callers.append(caller)
                    connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            yield listener.getsockname()[1], callers
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("private", [False, True])
def test_a_webhook_is_called_at_a_private_address_only_where_the_settings_say_so(
    tmp_path: Path, sqlite_url: str, host: str, private: bool
) -> None:
    hosts = f'webhook_hosts = {{ broker1 = ["{host}"] }}'
    more = f"[api]\n{hosts}\nwebhook_private_addresses = {str(private).lower()}\n"
    house = LiveHouse(tmp_path, sqlite_url, more=more)
    (house.home / "webhook.key").write_bytes(bytes(32))
    engine, now = make_engine(sqlite_url), datetime.now(UTC)
    with count_callers() as (port, callers):
        url = f"https://{host}:{port}/"
        with write_transaction(engine) as conn:
            case = open_case(conn, applicant="broker1", declarant="broker1")
            transitions.record_events(conn, "case", [(case, "OPENED")], now)
            (placed,) = event_readers.sequence_events(conn, 10)
            event_readers.insert_webhook(conn, "hook", "broker1", url, now)
            queue_webhook_calls(conn, "hook", "broker1", [placed.sequence], now)
        worker = build_worker(read_home_settings(house.home))
        assert worker.run_once() == 1
        # The call fails in any case; what counts is whether somebody was connected to.
        assert len(callers) == private
        with read_transaction(engine) as conn:
            problem = deliveries.find_by_id(conn, 1).last_sentence
        assert ("an address that is not allowed" in problem) is not private


@pytest.mark.long
def test_stamps_are_queued_where_the_channels_to_pull_from_are_not_known(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise LookupError("an odd row")

    monkeypatch.setattr(wiring, "list_pull_tasks", fail)
    worker = build_worker(read_home_settings(LiveHouse(tmp_path, sqlite_url).home))
    try:
        worker.run_maintenance()
        with read_transaction(worker.engine) as conn:
            assert [row.agent for row in deliveries.list_deliveries(conn)] == ["tsa"]
    finally:
        worker.engine.dispose()
