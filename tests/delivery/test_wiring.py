"""The worker has what the settings give it."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.settings import read_home_settings
from gateway.delivery.wiring import build_worker
from tests.kit.live import LiveHouse


def test_messages_and_calls_go_with_the_logins_of_the_settings(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "password").write_text("secret")
    more = f'[tls."partner.example"]\nlogin = "hub"\nlogin_password = {{ file = "{tmp_path}/password" }}\n'
    worker = build_worker(read_home_settings(LiveHouse(tmp_path, sqlite_url, more=more).home))
    try:
        for name in ("msh", "hop"):
            sender = worker._agents[name]._sender  # type: ignore[attr-defined]
            assert sender._find_authorization("partner.example", 443) == "Basic aHViOnNlY3JldA=="
            assert sender._find_authorization("other.example", 443) is None
    finally:
        worker._engine.dispose()
