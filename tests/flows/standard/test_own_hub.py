"""The requirements of ebMS 2.0 against a hub of this product, as a tester runs them: all are met."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lxml import etree

from gateway.cli import main

pytestmark = pytest.mark.night


def _run_suite(url: str, partner: Path, agreement: str, out: Path) -> tuple[int, dict[str, object]]:
    words = ["conformance", "run", "ebms2", "--url", url, "--partner", str(partner)]
    files = ["--json", str(out / "r.json"), "--junit", str(out / "r.xml"), "--html", str(out / "r.html")]
    key = ["--sign", str(partner / "suite.key.pem")]
    status = main([*words, "--agreement", agreement, *files, *key])
    return status, json.loads((out / "r.json").read_bytes())


@pytest.mark.parametrize("agreement", ["sync", "async"])
def test_a_hub_of_our_own_meets_every_requirement(
    running: tuple[str, Path], agreement: str, tmp_path: Path
) -> None:
    url, partner = running
    status, report = _run_suite(url, partner, agreement, tmp_path)
    cases = report["cases"]
    assert isinstance(cases, list)
    wanting = [(one["id"], one["got"]) for one in cases if one["verdict"] in ("failed", "not_yet", "advised")]
    assert (status, wanting) == (0, [])
    passed = [one for one in cases if one["verdict"] == "passed"]
    assert len(passed) == report["passed"] >= 150
    assert all(one["exchanges"] > 0 for one in passed)
    tests = etree.parse(tmp_path / "r.xml").findall(".//testcase")
    assert len(tests) == len(cases)
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert all(f'id="case-{one["id"]}"' in page for one in passed)
    assert main(["conformance", "verify", str(tmp_path / "r.html"), "--trust", str(partner / "ca.pem")]) == 0
    (tmp_path / "r.html").write_text(page.replace("passed", "failed", 1), encoding="utf-8")
    assert main(["conformance", "verify", str(tmp_path / "r.html")]) == 1
