"""`gateway evidence check` while the hub is restarted with a new key and seals evidence with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.commands import evidence_check
from gateway.evidence import record_evidence
from gateway.pki import encode_key_pem
from gateway.store import make_engine, write_transaction
from tests.kit.house import signer_named
from tests.kit.live import LiveHouse

Print = pytest.CaptureFixture[str]


@pytest.fixture
def house(tmp_path: Path, sqlite_url: str) -> LiveHouse:
    made = LiveHouse(tmp_path, sqlite_url)
    seal_more(made)
    return made


def seal_more(house: LiveHouse) -> None:
    """Record a piece of evidence, and seal all with the present key of the home."""
    engine = make_engine(house.database_url)
    with write_transaction(engine) as conn:
        record_evidence(conn, "unfetched", "source", "country", None, {}, datetime.now(UTC))
    engine.dispose()
    assert main(["evidence", "seal", "--now", "--home", str(house.home)]) == 0


def write_key(house: LiveHouse, name: str) -> None:
    """Let the key of this name be that of the home."""
    signer = signer_named(name)
    (house.home / "pki" / "hub.cert.pem").write_bytes(signer.certificate.pem)
    (house.home / "pki" / "hub.key.pem").write_bytes(encode_key_pem(signer.key))


def check(house: LiveHouse, capsys: Print) -> tuple[int, dict[str, Any], str]:
    """Return the exit status of the check, what it found, and what it refused."""
    capsys.readouterr()
    status = main(["evidence", "check", "--json", "--home", str(house.home)])
    told = capsys.readouterr()
    # What is sealed meanwhile prints a sentence.
    found = [line for line in told.out.splitlines() if line.startswith("{")]
    return status, json.loads("".join(found) or "{}"), told.err


def count_checks(monkeypatch: pytest.MonkeyPatch, act_before_first: Callable[[], object]) -> list[object]:
    """Return a list that grows with each recomputing; do something before the snapshot of the first one."""
    read, verify = evidence_check.read_transaction, evidence_check.verify_all_evidence
    checks = list[object]()

    def read_later(engine: Any) -> Any:
        monkeypatch.setattr(evidence_check, "read_transaction", read)
        act_before_first()
        return read(engine)

    def verify_and_count(*arguments: Any) -> Any:
        checks.append(arguments)
        return verify(*arguments)

    monkeypatch.setattr(evidence_check, "read_transaction", read_later)
    monkeypatch.setattr(evidence_check, "verify_all_evidence", verify_and_count)
    return checks


def test_a_head_that_is_sealed_by_a_new_key_meanwhile_is_ours(
    house: LiveHouse, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restart_with_another_key() -> None:
        write_key(house, "broker1")
        seal_more(house)

    checks = count_checks(monkeypatch, restart_with_another_key)
    status, found, refused = check(house, capsys)
    assert not refused
    # The snapshot of the second recomputing: of the key of before nobody says that it is ours.
    assert (status, found["heads"], found["signed"]) == (0, 2, 1)
    assert len(checks) == 2


def test_a_key_that_is_put_in_place_while_the_file_is_read_is_ours(
    house: LiveHouse, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_file = evidence_check.check_database_file

    def restart_meanwhile(damage: Any) -> None:
        check_file(damage)
        write_key(house, "broker1")
        settings = house.home / "gateway.toml"
        for kind in ("cert", "key"):
            (house.home / "pki" / f"hub.{kind}.pem").rename(house.home / "pki" / f"new.{kind}.pem")
        keys = '[pki]\nsigning_certificate = "pki/new.cert.pem"\nsigning_key = { file = "pki/new.key.pem" }\n'
        settings.write_text(settings.read_text() + keys)
        seal_more(house)

    monkeypatch.setattr(evidence_check, "check_database_file", restart_meanwhile)
    checks = count_checks(monkeypatch, lambda: None)
    status, found, refused = check(house, capsys)
    assert not refused
    assert (status, found["heads"], found["signed"]) == (0, 2, 1)
    assert len(checks) == 1


def test_a_head_of_another_key_is_recomputed_once(
    house: LiveHouse, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(house, "broker1")
    checks = count_checks(monkeypatch, lambda: None)
    status, _, refused = check(house, capsys)
    assert status == 1
    assert "the last heads are signed by" in refused
    assert len(checks) == 1


def test_a_head_of_another_key_is_told_also_where_the_keys_have_changed(
    house: LiveHouse, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_key(house, "broker1")
    checks = count_checks(monkeypatch, lambda: write_key(house, "agency1"))
    status, _, refused = check(house, capsys)
    assert (status, "the last heads are signed by" in refused) == (1, True)
    assert len(checks) == 2
