"""The suite finds every wrong gateway out: three that are shipped, and each with one wrong field."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.client import PartnerServer
from gateway_conformance.hostile import make_endpoint_target
from gateway_conformance.reports import RunReport
from gateway_conformance.standard import (
    DOUBLES,
    CallbackListener,
    Opponent,
    StandardRunner,
    SuiteProfile,
    read_simulated_gateway,
    read_suite_party,
    select_requirements,
)
from gateway_conformance.standard.simulated_gateway import SimulatedGateway
from gateway_conformance.standard.suite_party import SuiteParty
from gateway_conformance.standard.suite_requirement import FEATURES
from tests.flows.standard.partner_folders import make_partner_folder
from tests.kit.paths import ROOT

Judge = Callable[[str, str], RunReport]
_DECLARED = frozenset(FEATURES) - {"restart"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a partner folder with the keys of the double."""
    return make_partner_folder(tmp_path_factory.mktemp("doubles"), decrypts=True)


@pytest.fixture(scope="module")
def judge(place: Path) -> Judge:
    """Give the function that runs requirements, by a glob, against a double.

    Keys and agreements are read once: reading them took longer than most runs.
    """
    right = read_simulated_gateway(place, place / "gateway.key.pem", place / "gateway.cert.pem", "")
    party = read_suite_party(place, "sync", "Store")
    return lambda wrong, only: _judge_double(SimulatedGateway(right.membership, wrong), party, only)


@pytest.mark.night
@pytest.mark.parametrize("wrong", ["always-200", "always-refuses", "drops-acknowledgments"])
def test_a_shipped_double_is_a_process_that_a_tester_finds_out(
    place: Path, wrong: str, tmp_path: Path
) -> None:
    words = ["--partner", str(place), "--key", str(place / "gateway.key.pem")]
    words += ["--certificate", str(place / "gateway.cert.pem"), "--wrong", wrong, "--leash"]
    command = [sys.executable, "-m", "gateway_conformance", "double", *words]
    double = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert double.stdout is not None
    try:
        ready, port = double.stdout.readline().split()
        assert ready == b"READY"
        run = [
            "conformance",
            "run",
            "ebms2",
            "--url",
            f"http://127.0.0.1:{int(port)}/msh",
            "--only",
            "ACK-0*",
        ]
        run += ["--partner", str(place), "--agreement", "sync", "--listen", "127.0.0.1:0"]
        assert main([*run, "--profile", str(_write_profile(tmp_path)), "--json", str(tmp_path / "r")]) == 1
    finally:
        double.kill()
        double.communicate()
    report = json.loads((tmp_path / "r").read_bytes())
    assert (report["passed"], report["failed"]) == (0, 9)


def _write_profile(folder: Path) -> Path:
    path = folder / "profile.yaml"
    path.write_text(
        "features: [signed-messages, signed-signals, back-channel]\npatience: 0.5\n", encoding="utf-8"
    )
    return path


def _judge_double(gateway: SimulatedGateway, party: SuiteParty, only: str) -> RunReport:
    server = PartnerServer(gateway)
    server.start()
    target = make_endpoint_target(f"http://127.0.0.1:{server.port}/msh")
    listener = CallbackListener(party, target.send, "127.0.0.1:0")
    listener.start()
    profile = SuiteProfile("a double", _DECLARED, {}, {"reply_to": "Submit"}, 0.2)
    try:
        rows = [one for one in select_requirements(None) if one.id.startswith(tuple(only.split()) or "")]
        return StandardRunner(Opponent(party, target, listener, profile)).run_requirements(rows)
    finally:
        listener.close()
        server.close()


def _find_wanting(report: RunReport) -> set[str]:
    return {one.id for one in report.cases if one.verdict in ("failed", "advised")}


def _find_passed(report: RunReport) -> set[str]:
    return {one.id for one in report.cases if one.verdict == "passed"}


@pytest.mark.night
def test_a_gateway_that_always_says_200_meets_only_what_asks_for_silence(judge: Judge) -> None:
    report = judge("always-200", "")
    assert len(_find_wanting(report)) > 300
    silent = {
        "REL-19",
        "REL-20",
        "SYN-16",
        "PER-03",
        "PIN-11",
        "PIN-12",
        "PIN-13",
    }
    assert _find_passed(report) <= silent | {f"ERR-{number}" for number in range(19, 26)}
    assert {"ACK-01", "ERR-01", "REL-01", "SEC-01", "STA-01", "PIN-01", "HTT-01"} <= _find_wanting(report)


@pytest.mark.night
def test_a_gateway_that_always_refuses_meets_nothing(judge: Judge) -> None:
    report = judge("always-refuses", "")
    assert _find_passed(report) == set()
    # Therefore every requirement can fail.
    applicable = [one for one in report.cases if one.verdict != "not_applicable"]
    assert _find_wanting(report) == {one.id for one in applicable}
    assert len(applicable) >= 320


@pytest.mark.night
def test_a_gateway_that_drops_acknowledgments_fails_where_one_is_expected(judge: Judge) -> None:
    report = judge("drops-acknowledgments", "")
    wanting = _find_wanting(report)
    assert len(wanting) > 150
    assert {f"ACK-{number:02}" for number in range(1, 31)} <= wanting
    assert {"REL-01", "SYN-06", "HTT-06", "RTR-08", "OUT-01"} <= wanting
    assert {"ERR-01", "PIN-01", "STA-02", "SEC-01"} <= _find_passed(report)


@pytest.mark.night
def test_every_other_fault_is_found(judge: Judge) -> None:
    parts = ("ACK", "ENC-23", "STA", "ERR", "PIN", "HTT SEC", "REL-0 REL-2")
    usual = _find_wanting(judge("", " ".join(parts)))
    assert usual <= {"PIN-15", "HTT-01"}, "the simulated gateway without fault"
    others = [name for name in DOUBLES if name not in ("always-200", "always-refuses")]
    # Most are found by the first part: the others are for those that it does not find.
    hidden = [name for name in others if not any(_find_wanting(judge(name, part)) - usual for part in parts)]
    assert hidden == []


@pytest.mark.night
def test_encryption_is_judged_by_what_a_gateway_decrypts(judge: Judge) -> None:
    # It never sends of its own accord: what is asked of its messages is not met.
    sends = {*(f"ENC-{number}" for number in range(25, 30)), "CMS-12", "CMS-13", "CMS-14"}
    right = judge("", "ENC CMS")
    assert _find_wanting(right) == sends
    assert len(_find_passed(right)) >= 35
    refused = {
        *(f"ENC-{number}" for number in range(11, 25)),
        *(f"CMS-{number:02}" for number in range(7, 12)),
    }
    assert _find_wanting(judge("takes-everything", "ENC CMS")) >= refused
    assert _find_wanting(judge("tells-apart", "ENC CMS")) == sends | {"ENC-23"}
