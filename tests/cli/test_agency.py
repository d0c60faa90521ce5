"""``gateway agency console``: an operator switches an agency to the console, and back; check knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.home_folder import read_home_settings
from gateway.cli.registration import register_certificate
from gateway.config import Settings
from gateway.hub import get_current_time
from gateway.operations import operator_acts
from gateway.pki import Signer
from gateway.store import deliveries, make_engine, parties, write_transaction
from gateway_conformance.pki import SandboxParty, make_sandbox
from tests.kit.databases import Templates
from tests.kit.rows import delivery

SETTINGS = """
[hub]
home = "."
[agency.KR-A]
endpoint = "http://127.0.0.1:9/"
[agency.KR-A.pki]
signing_key = { file = "pki/kr-a.key.pem" }
signing_certificate = "pki/kr-a.cert.pem"
[agency.KR-B]
console = true
[agency.KR-B.pki]
signing_key = { file = "pki/kr-b.key.pem" }
signing_certificate = "pki/kr-b.cert.pem"
[agency.KR-C]
endpoint = "http://127.0.0.1:9/"
"""


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str], templates: Templates) -> Path:
    """Return a home with agencies: KR-A with a system and a key, KR-B at the console, KR-C without a key."""
    now = get_current_time()
    made = make_sandbox(
        tmp_path / "pki", [SandboxParty(name, f"CN={name}") for name in ("hub", "kr-a", "kr-b")], now
    )
    (tmp_path / "gateway.toml").write_text(SETTINGS)
    templates.fill_home(tmp_path)
    engine = make_engine(read_home_settings(tmp_path).database.url)
    with write_transaction(engine) as conn:
        parties.register_party(conn, "KR-A", "A", "agency", now)
        register_certificate(conn, "KR-A", made.signers["kr-a"].certificate.der, now)
        for number in range(2):
            waiting = delivery(destination="KR-A", subject_type="test", dedupe_key=str(number))
            deliveries.enqueue_delivery(conn, waiting, now)
    engine.dispose()
    capsys.readouterr()
    return tmp_path


def run(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main([*words, "--home", str(home)])
    told = capsys.readouterr()
    return status, told.out + told.err


@pytest.mark.long
def test_an_agency_is_switched_and_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, told = run(home, capsys, "agency", "console", "KR-A", "--reason", "a fire")
    assert status == 0
    assert "The officers of agency KR-A decide at the console: a fire. 2 deliveries of its lane" in told
    status, told = run(home, capsys, "agency", "console", "KR-A", "--reason", "a fire")
    assert (status, "GW705" in told, "already" in told) == (1, True, True)
    assert "agency KR-A is switched to the console by" in run(home, capsys, "check")[1]
    status, told = run(
        home, capsys, "agency", "console", "KR-A", "--back", "--reason", "it is back", "--json"
    )
    assert status == 0
    assert json.loads(told)["before"]["reason"] == "a fire"
    assert "switched to the console" not in run(home, capsys, "check")[1]


@pytest.mark.long
@pytest.mark.parametrize(
    ("agency", "why"),
    [("KR-B", "GW705 agency KR-B has no system"), ("KR-C", "GW803 the settings have no key"), ("X", "GW808")],
)
def test_what_cannot_be_switched_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], agency: str, why: str
) -> None:
    status, told = run(home, capsys, "agency", "console", agency, "--reason", "a fire")
    assert status != 0
    assert why in told


@pytest.mark.long
def test_check_knows_the_keys_of_agencies(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = run(home, capsys, "check")[1]
    assert "is registered for no party, not for KR-B (agency.KR-B.pki)" in told
    assert "not for KR-A" not in told
    (home / "pki" / "kr-a.key.pem").unlink()
    told = run(home, capsys, "check")[1]
    assert "GW803" in told
    assert "agency.KR-A.pki" in told or "kr-a.key.pem" in told


def test_a_certificate_that_is_registered_before_its_key_is_read_belongs_to_the_agency(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = operator_acts.load_agency_signer

    def register_before(settings: Settings, agency: str) -> Signer:
        if agency == "KR-B":
            engine, now = make_engine(settings.database.url), get_current_time()
            with write_transaction(engine) as conn:
                parties.register_party(conn, "KR-B", "B", "agency", now)
                register_certificate(conn, "KR-B", load(settings, agency).certificate.der, now)
            engine.dispose()
        return load(settings, agency)

    monkeypatch.setattr(operator_acts, "load_agency_signer", register_before)
    assert "agency.KR-B.pki" not in run(home, capsys, "check")[1]
