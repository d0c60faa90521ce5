"""The assertions of AS4 against a hub of this product, as a tester runs them: all that apply hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli import main
from tests.kit.ports import find_free_port

#: What needs a gateway that sends by a command of the operator, or shows its inside.
NOT_DECLARED = {"TA06", "TA15", "TA16", "TA27", "TA31", "TA32", "TA33", "TA45"}


@pytest.mark.long
def test_a_hub_of_our_own_holds_every_assertion(running: tuple[str, Path], tmp_path: Path) -> None:
    url, standard = running
    partner, callback = tmp_path / "partner", f"http://127.0.0.1:{find_free_port()}"
    words = ["--home", str(standard.parent / "home"), "--out", str(partner), "--callback", callback]
    assert main(["conformance", "invite", "as4", *words]) == 0
    files = ["--json", str(tmp_path / "r.json"), "--junit", str(tmp_path / "r.xml"), "--html"]
    words = ["--url", f"{url}/msh/as4", "--partner", str(partner), "--profile", "edelivery-1.15"]
    status = main(["conformance", "run", "as4", *words, *files, str(tmp_path / "r.html")])
    cases = json.loads((tmp_path / "r.json").read_bytes())["cases"]
    wanting = [(one["id"], one["got"]) for one in cases if one["verdict"] in ("failed", "not_yet", "advised")]
    assert (status, wanting) == (0, [])
    assert {one["id"] for one in cases if one["verdict"] == "not_applicable"} == NOT_DECLARED
    assert len(etree.parse(tmp_path / "r.xml").findall(".//testcase")) == len(cases) == 58
    assert 'id="case-ED15"' in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_profile_without_assertions_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["conformance", "run", "as4", "--url", "http://127.0.0.1:9/as4", "--profile", "other"]
    assert main(words) == 2
    assert "'other' has no assertions; there are those of edelivery-1.15" in capsys.readouterr().err
    assert main(["conformance", "list", "as4", "--only", "TA30"]) == 0
    assert "TA30  §1.4.3.1  [receives] a damaged" in capsys.readouterr().out
