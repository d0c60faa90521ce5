"""`gateway check` runs each of its checks, whatever another one meets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.commands import check, process
from gateway.cli.home_folder import read_home_settings
from gateway.errors import KEY_UNAVAILABLE, NO_ROOM, GatewayError
from gateway.hub import build_engine
from gateway.pki import encode_key_pem
from tests.kit.demo_keys import copy_demo_keys
from tests.kit.house import signer_named
from tests.kit.levels import at_night
from tests.kit.live import LiveHouse

Print = pytest.CaptureFixture[str]

#: What one check calls, and the words that name it.
CHECKS = {
    "find_empty_settings_warning": "settings and files of the home",
    "load_contract": "contracts of agencies",
    "check_transport": "TLS",
    "load_publisher_rules": "publishers of mappings",
    "find_contract_changes": "changed contracts",
    "open_read_only_hub": "the hub",
    "check_own_certificates": "the own certificate",
    "collect_trust_remarks": "trusted and fetched data",
    "list_expiry_warnings": "certificates that expire",
    "find_account_certificate_warnings": "certificates of people",
    "find_stamping_problem": "time stamps",
    "find_agency_key_problems": "keys of agencies",
    "find_transport_warnings": "connections without TLS",
    "find_unread_agreements": "stored agreements",
    "find_unread_certificates": "registered certificates",
    "find_encryption_warnings": "encryption for partners",
    "find_algorithm_warnings": "algorithms of partners",
    "open_engine": "the database",
    "list_database_warnings": "the conditions of the database",
    "find_copies_problem": "copies of the database",
    "find_rights_problem": "rights in the database",
    "list_lane_holds": "held lanes",
    "list_console_switches": "agencies without a system",
    "find_second_person_warnings": "second persons",
    "find_test_edition_warnings": "test editions",
    "find_contract_warnings": "mappings and contracts",
    "find_mailbox_filings": "filings to a mailbox",
    "find_resting_filings": "messages that rest",
    "find_overruled_notices": "notices without effect",
    "find_ahead_notices": "notices ahead of the clock",
    "find_unclear_orders": "notices without a clear order",
    "list_plan_warnings": "planned mappings",
    "find_clock_warnings": "the clock",
    "find_stuck_deliveries": "deliveries that wait",
    "list_waiting_acts": "acts that wait",
    "find_failed_deliveries": "deliveries that have failed",
    "find_home_mark_problem": "the mark of the database",
    "find_webhook_key_problem": "the key of webhooks",
    "find_object_problems": "large payloads",
    "load_active_rules": "mappings",
    "find_missing_addresses": "addresses of agencies",
    "find_tariff_warnings": "tariffs",
    "find_classification_warnings": "admitted declarations",
    "find_static_problems": "what mappings say",
}
AT_LANDING = ("find_unclear_orders", "find_transport_warnings")
#: Without these, other checks cannot run: their part is said to be unchecked.
PARTS = {
    "open_read_only_hub": ["not checked: keys, trusted data and partners"],
    "open_engine": ["not checked: data and mappings"],
    "load_active_rules": ["not checked: addresses, tariffs and admitted declarations"],
}


@pytest.fixture
def home(tmp_path: Path, sqlite_url: str) -> Path:
    return LiveHouse(tmp_path, sqlite_url, more='[agency.KR-A]\nendpoint = "http://127.0.0.1:9/"\n').home


def run_check(home: Path, capsys: Print) -> dict[str, Any]:
    status = main(["check", "--json", "--home", str(home)])
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert status == (0 if report["ok"] else 1)
    assert report["ok"] is not bool(report["problems"])
    return report


def test_every_check_stands_in_the_table() -> None:
    """Whoever adds a check names it here: then it is tried what its failure takes away."""
    source = Path(check.__file__).read_text(encoding="utf-8")
    names = {name for name in dir(check) if name.startswith(("find_", "list_", "check_", "load_"))}
    helpers = {"check_database_file", "check_gateway", "find_mapping_plan", "find_settings_file"}
    helpers |= {"list_own_periods", "load_shipped_rules", "find_source_problems"}
    helpers |= {"find_file_owner_warnings", "find_left_out_key_warnings", "find_mark_warning"}
    helpers |= {"find_payload_copy_warnings", "find_permission_warnings"}
    assert names - helpers <= CHECKS.keys()
    assert all(f'"{words}"' in source for words in CHECKS.values())


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [*AT_LANDING, *at_night(*(name for name in CHECKS if name not in AT_LANDING))],
)
def test_a_check_that_fails_takes_nothing_from_the_others(
    home: Path, capsys: Print, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = run_check(home, capsys)

    def fail(*_: Any, **__: Any) -> Iterator[str]:
        raise LookupError("nothing at 3")

    monkeypatch.setattr(check, name, fail)
    after = run_check(home, capsys)
    (failure,) = [problem for problem in after["problems"] if problem["id"] == "GW905"]
    assert failure["detail"] == f"the check of {CHECKS[name]} has failed: LookupError: nothing at 3"
    unchecked = [words for words in after["warnings"] if words.startswith("not checked")]
    assert unchecked == PARTS.get(name, [])
    if name not in PARTS:
        assert [problem for problem in after["problems"] if problem != failure] == before["problems"]
        lost = [words for words in before["warnings"] if words not in after["warnings"]]
        assert len(lost) <= 4 or all(words.startswith("GW607") for words in lost)


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "list_own_periods",
        "collect_trust_remarks",
        *at_night("find_missing_addresses", "find_contract_changes"),
    ],
)
def test_the_daily_log_has_what_the_other_checks_find(
    home: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class Stop:
        def wait(self, _: float) -> bool:
            return True

    def warn(*_: Any) -> list[str]:
        return ["a contract is odd"]

    def fail(*_: Any) -> Iterator[str]:
        raise LookupError("nothing at 3")

    settings = read_home_settings(home)
    monkeypatch.setattr(process, "find_contract_warnings", warn)
    monkeypatch.setattr(process, name, fail)
    engine = build_engine(settings)
    process.log_expiries_daily(settings, Stop(), engine)  # type: ignore[arg-type]
    engine.dispose()
    assert "a contract is odd" in caplog.text
    assert "GW905 the check of " in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.long
def test_a_problem_that_a_late_check_raises_is_reported(
    home: Path, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_problem(*_: Any) -> Iterator[str]:
        yield "the first finding"
        raise GatewayError(KEY_UNAVAILABLE, "no key", "somewhere")

    monkeypatch.setattr(check, "find_tariff_warnings", raise_problem)
    report = run_check(home, capsys)
    assert "the first finding" in report["warnings"]
    assert [(problem["id"], problem["location"]) for problem in report["problems"]] == [
        ("GW803", "somewhere")
    ]


@pytest.mark.long
def test_a_database_that_is_lost_between_two_checks_is_reported_once(
    home: Path, capsys: Print, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: Any) -> Iterator[str]:
        raise GatewayError(NO_ROOM, "no connection", "database.url")

    for name in ("find_stuck_deliveries", "find_failed_deliveries", "find_classification_warnings"):
        monkeypatch.setattr(check, name, lose)
    assert [problem["id"] for problem in run_check(home, capsys)["problems"]] == ["GW806"]


@pytest.mark.long
def test_a_home_with_the_suite_is_checked_to_the_end(tmp_path: Path, capsys: Print) -> None:
    """The commands of hostile.md: the suite opens a case whose document has a Korean name."""
    home, keys = tmp_path / "home", tmp_path / "home" / "pki"
    copy_demo_keys(keys)
    own = ["--role", "hub", "--id", "urn:example:party-type|hub", "--certificate", str(keys / "hub.cert.pem")]
    for words in (
        ["migrate", "--new"],
        ["party", "add", "hub", *own],
        ["conformance", "invite", "--out", str(tmp_path / "partner")],
    ):
        assert main([*words, "--home", str(home)]) == 0
    capsys.readouterr()
    report = run_check(home, capsys)
    assert report["problems"] == []
    assert not [words for words in report["warnings"] if "cannot be read" in words]


@pytest.mark.long
def test_a_key_that_signs_no_documents_is_named(home: Path, capsys: Print) -> None:
    key = signer_named("hub", "ed25519")
    assert not [words for words in run_check(home, capsys)["warnings"] if "no documents" in words]
    (home / "pki" / "hub.cert.pem").write_bytes(key.certificate.pem)
    (home / "pki" / "hub.key.pem").write_bytes(encode_key_pem(key.key))
    certificate = str(home / "pki" / "hub.cert.pem")
    assert main(["party", "certificate", "add", "hub", certificate, "--home", str(home)]) == 0
    capsys.readouterr()
    report = run_check(home, capsys)
    assert report["problems"] == []
    (warning,) = [words for words in report["warnings"] if "no documents" in words]
    assert warning.startswith("the key of CN=hub (Ed25519) signs messages, but no documents")
