"""The suite stops at the first honest message that is not taken, and says which step is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from gateway.cli import main
from gateway_conformance.hostile import PARTY_TYPE
from tests.kit.ports import find_free_port

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, url: str, *words: str) -> dict[str, Any]:
    """Run some cases against a gateway that must not take the first message; return what stopped it."""
    capsys.readouterr()
    command = ["conformance", "run", "hostile", "--url", url, "--only", "SIG-01.*", *words]
    assert main([*command, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["cases"], report["passed"], report["failed"], report["not_yet"]) == ([], 0, 0, 0)
    assert main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    stopped: dict[str, Any] = report["stopped"]
    assert lines[0].startswith(f"stopped: the first honest message on {stopped['face']} was not taken: ")
    assert lines[1:] == [stopped["advice"]]
    return stopped


def test_a_refused_connection_is_called_that(capsys: Capture) -> None:
    port = find_free_port()
    told = run(capsys, f"http://127.0.0.1:{port}")
    assert told["reason"] == f"nothing listens at 127.0.0.1:{port}: the connection is refused"
    assert "`gateway run --home D`" in told["advice"]
    assert "has no address" in run(capsys, "http://nobody.invalid")["reason"]


def test_the_files_of_an_earlier_run_do_not_stay(capsys: Capture, tmp_path: Path) -> None:
    """Who reads the files alone sees one case, which has failed."""
    report, junit = tmp_path / "report.json", tmp_path / "report.xml"
    report.write_text('{"failed": 0}')
    url = f"http://127.0.0.1:{find_free_port()}"
    command = ["conformance", "run", "hostile", "--url", url, "--only", "SIG-01.*"]
    assert main([*command, "--json", str(report), "--junit", str(junit)]) == 1
    assert capsys.readouterr().out.startswith("stopped: the first honest message")
    assert "nothing listens" in json.loads(report.read_text())["stopped"]["reason"]
    suite = etree.parse(junit).getroot()
    (case,) = suite.iter("testcase")
    assert "nothing listens" in etree.tostring(case, encoding="unicode")
    assert case.find("failure") is not None


@pytest.mark.night
def test_a_gateway_that_does_not_know_the_suite_is_told_how_to(
    served: tuple[Path, str], capsys: Capture
) -> None:
    told = run(capsys, served[1])
    # Other tests may have invited the suite into this hub: then it knows the agreement, not the party.
    assert any(problem in told["reason"] for problem in ("GW301", "GW302"))
    assert "`gateway conformance invite --home D --out partner`" in told["advice"]
    assert "`--partner partner`" in told["advice"]
    wrong_path = run(capsys, f"{served[1]}/elsewhere")
    assert "HTTP 404" in wrong_path["reason"]
    assert "`--url`" in wrong_path["advice"]


@pytest.mark.long
def test_a_suspended_member_and_a_folder_of_another_gateway_are_told(
    served: tuple[Path, str], tmp_path: Path, capsys: Capture
) -> None:
    home, url = served
    partner = tmp_path / "partner"
    invite = ["conformance", "invite", "--out", str(partner), "--home"]
    assert main([*invite, str(home)]) == 0
    assert main(["party", "suspend", "suite-a", "--home", str(home)]) == 0
    assert "`gateway party resume suite-a --home D`" in run(capsys, url, "--partner", str(partner))["advice"]
    assert main(["party", "resume", "suite-a", "--home", str(home)]) == 0
    other = tmp_path / "other"
    assert main(["pki", "demo", "--out", str(other / "pki"), "--party", "hub"]) == 0
    assert main(["migrate", "--new", "--home", str(other)]) == 0
    own = ["--role", "hub", "--id", f"{PARTY_TYPE}|hub", "--certificate", str(other / "pki" / "hub.cert.pem")]
    assert main(["party", "add", "hub", *own, "--home", str(other)]) == 0
    assert main([*invite, str(other)]) == 0
    assert (
        "partner folder is not that of this gateway" in run(capsys, url, "--partner", str(partner))["advice"]
    )
