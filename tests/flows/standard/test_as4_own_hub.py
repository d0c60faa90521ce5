"""The assertions of AS4 against a hub of this product, as a tester runs them: all that apply hold."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from lxml import etree

from gateway.cli import main
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

#: What needs a gateway that sends by a command of the operator, or shows its inside.
NOT_DECLARED = {"TA06", "TA15", "TA16", "TA27", "TA31", "TA32", "TA33", "TA45"}


@pytest.fixture(scope="module")
def partner(running: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the partner folder of the suite, with how the hub shows the properties of a message."""
    home, folder = running[1].parent / "home", tmp_path_factory.mktemp("as4") / "partner"
    callback = f"http://127.0.0.1:{find_free_port()}"
    words = ["--home", str(home), "--out", str(folder), "--callback", callback]
    assert main(["conformance", "invite", "as4", *words]) == 0
    profile = yaml.safe_load((folder / "profile.yaml").read_text())
    profile["features"] += ["properties", "pull-login"]
    # What a hub does at once takes its time on a busy machine.
    profile["patience"] = 60
    (folder / "suite.password").write_bytes((home.parent / "suite.password").read_bytes())
    command = [sys.executable, "-m", "gateway", "message", "show", "ID", "--home", str(home)]
    profile["show"] = {"properties": shlex.join(command).replace("ID", "{message_id}")}
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
    return folder


def run(running: tuple[str, Path], partner: Path, tmp_path: Path, profile: str) -> list[dict[str, Any]]:
    """Run the assertions of a profile, of which all that apply must hold; return the cases."""
    files = ["--json", str(tmp_path / "r.json"), "--junit", str(tmp_path / "r.xml"), "--html"]
    words = ["--url", f"{running[0]}/msh/as4", "--partner", str(partner), "--profile", profile]
    status = main(["conformance", "run", "as4", *words, *files, str(tmp_path / "r.html")])
    cases: list[dict[str, Any]] = json.loads((tmp_path / "r.json").read_bytes())["cases"]
    wanting = [(one["id"], one["got"]) for one in cases if one["verdict"] in ("failed", "not_yet", "advised")]
    assert (status, wanting) == (0, [])
    return cases


@pytest.mark.night
def test_a_hub_of_our_own_holds_every_assertion(
    running: tuple[str, Path], partner: Path, tmp_path: Path
) -> None:
    cases = run(running, partner, tmp_path, "edelivery-1.15")
    assert {one["id"] for one in cases if one["verdict"] == "not_applicable"} == NOT_DECLARED
    assert len(etree.parse(tmp_path / "r.xml").findall(".//testcase")) == len(cases) == 71
    assert 'id="case-ED15"' in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_manual_claims_no_assertion_that_is_not_judged() -> None:
    """What a clause of eDelivery names as its proof is judged, or the row says that it is not."""
    page = (ROOT / "gateway/manual/standards.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if re.search(r"\b(TA|ED|AS)\d\d\b", line) and "|" in line]
    assert len(rows) > 12
    for row in rows:
        told = {
            name for words in re.findall(r"([^(;.]*) (?:is|are) not judged", row) for name in expand(words)
        }
        assert (told, set(expand(row)) & NOT_DECLARED) == (told & NOT_DECLARED, told), row


def expand(words: str) -> list[str]:
    """Return the assertions that words name, ranges as their members."""
    found = re.findall(r"\b(TA|ED|AS)(\d\d)(?: to (?:TA|ED|AS)(\d\d))?", words)
    return [f"{kind}{n:02}" for kind, a, b in found for n in range(int(a), int(b or a) + 1)]


@pytest.mark.night
def test_a_hub_of_our_own_holds_what_as4_says_beyond(
    running: tuple[str, Path], partner: Path, tmp_path: Path
) -> None:
    cases = run(running, partner, tmp_path, "as4-1.0")
    assert {one["verdict"] for one in cases} == {"passed"}
    assert len(cases) == 15


def test_a_profile_without_assertions_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["conformance", "run", "as4", "--url", "http://127.0.0.1:9/as4", "--profile", "other"]
    assert main(words) == 2
    assert "'other' has no assertions; there are those of as4-1.0, edelivery-1.15" in capsys.readouterr().err
    assert main(["conformance", "list", "as4", "--only", "TA30"]) == 0
    assert "TA30  §1.4.3.1  [receives] a damaged" in capsys.readouterr().out
