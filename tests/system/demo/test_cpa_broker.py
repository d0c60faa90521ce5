"""A broker with its key and the hub's CPA alone, by ebMS 2.0 over HTTP: it files and gets its result."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.agreements import convert_cpa, read_cpa, write_cpa
from gateway.cli.home_folder import read_home_settings
from gateway.evidence import EvidenceReader
from gateway.message_model import iterate_octets
from gateway.pki import read_certificate
from gateway.store import cases, make_engine, read_transaction
from gateway.web.case_bundle import make_case_bundle
from gateway_conformance.verbs.demo_stage import Stage, read_cast
from tests.conformance.test_partner_cpa import name_signers
from tests.kit.paths import ROOT
from tests.kit.waiting import until
from tests.system.demo.test_partners_live import LABEL, SAMPLE
from tests.system.demo.test_pulling_broker import run, stage

pytestmark = pytest.mark.night

SECOND = ROOT / "tests/evidence/second_verifier.py"
NAME = "urn:single-window:demo:agreement:broker-hub"


def make_partner(made: Stage, folder: Path) -> Path:
    """Make the folder of the broker: its key, the authorities, and what the hub exports with both signers."""
    place = made.get_partner_folder("broker")
    folder.mkdir()
    for name in ("broker.key.pem", "broker.cert.pem", "ca.pem", "crl.pem"):
        shutil.copy(place / name, folder / name)
    broker, hub = (read_certificate((place / f"{name}.cert.pem").read_bytes()) for name in ("broker", "hub"))
    exported = folder / "exported.xml"
    words = ("agreement", "export", NAME, "--out", str(exported), "--home", str(made.home))
    status, _, err = run(made, *words)
    assert status == 0, err
    pmodes = [
        name_signers(pmode, *((broker, hub) if pmode.from_role == "Applicant" else (hub, broker)))
        for pmode in convert_cpa(read_cpa(exported.read_bytes(), exported.name))
    ]
    data = write_cpa(pmodes, {}, {certificate.sha256: certificate.der for certificate in (broker, hub)})
    (folder / "agreement.xml").write_bytes(data)
    return folder


def test_a_broker_with_a_cpa_alone_files_and_gets_its_result(tmp_path: Path) -> None:
    with stage(tmp_path / "home", read_cast().agreement) as made:
        folder = make_partner(made, tmp_path / "partner")
        fixed = ("--as", "broker", "--partner", str(folder))
        words = ("submit", str(SAMPLE), "--attach", LABEL, "--wait", "60", *fixed)
        status, (report,), err = run(made, *words)
        assert (status, report["receipt_verified"], report["state"]) == (0, True, "DECIDED"), err
        assert (report["result"]["outcome"], report["result"]["verified"]) == ("APPROVED", True)
        check_evidence(made, tmp_path / "evidence", report["case_number"])
        # What nobody waited for comes to the endpoint of the CPA.
        again = tmp_path / "again.xml"
        again.write_bytes(SAMPLE.read_bytes().replace(b"HB2026-000123", b"HB2026-000124"))
        status, (report,), err = run(made, "submit", str(again), "--attach", LABEL, "--wait", "0", *fixed)
        assert (status, report["receipt_verified"]) == (0, True), err
        results = tmp_path / "results"
        command = [sys.executable, "-m", "gateway", "listen", *fixed, "--folder", str(results)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as listener:
            try:
                assert "Result" in await_actions(results)
            finally:
                listener.send_signal(signal.SIGTERM)
            assert listener.wait(30) == 0


def check_evidence(made: Stage, folder: Path, number: str) -> None:
    """Let a second implementation verify the case: what broker, hub and agencies have really signed."""
    folder.mkdir()
    status, _, err = run(made, "evidence", "seal", "--now", "--home", str(made.home))
    assert status == 0, err
    engine = make_engine(read_home_settings(made.home).database.url)
    with read_transaction(engine) as conn:
        case = cases.find_by_number(conn, number)
        assert case is not None
        body = make_case_bundle(conn, case, EvidenceReader("broker"))
        (folder / "bundle.zip").write_bytes(b"".join(iterate_octets(body)))
    engine.dispose()
    signer = str(made.get_partner_folder("broker") / "hub.cert.pem")
    command = [sys.executable, "-I", str(SECOND), "bundle.zip", "--signer", signer]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["leaves"].count("reply") >= 3
    assert len([name for name in report["tied"] if name.startswith("agencies/")]) >= 3


def await_actions(folder: Path) -> list[str]:
    """Return the actions of the messages in a folder, as soon as a Result is among them."""

    def list_actions() -> list[str]:
        files = sorted(folder.glob("[0-9]*/summary.json"))
        actions = [json.loads(file.read_bytes())["action"] for file in files]
        return actions if "Result" in actions else []

    return until(list_actions, every=0.5)
