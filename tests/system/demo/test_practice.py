"""``gateway practice``: a hub of its own, marked on every page; its home is used again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import BinaryIO

import pytest

from gateway.harmonize import load_bundle
from gateway_conformance.verbs.practice import _make_cast
from tests.kit.paths import ROOT

pytestmark = pytest.mark.night


def play(home: Path) -> tuple[str, str]:
    """Run the practice hub until it is ready; return what it printed, and its sign-in page."""
    errors = home.with_name("errors.txt")
    with errors.open("wb") as written:
        process = start(home, written)
    try:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(5))
        found = re.search(r"http://localhost:\d+/console/", said)
        assert found is not None, said + errors.read_text()
        with urllib.request.urlopen(f"{found[0]}sign-in", timeout=60) as answer:
            page = answer.read().decode()
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        process.stdout.close()  # type: ignore[union-attr]
    assert status == 0, errors.read_text()
    return said, page


def start(home: Path, errors: BinaryIO) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gateway",
            "practice",
            "--home",
            str(home),
            "--real-url",
            "https://hub.example",
        ],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_a_practice_hub_says_what_it_is_and_keeps_its_home(tmp_path: Path) -> None:
    home = tmp_path / "practice"
    said, page = play(home)
    assert "sign in as trader" in said
    assert "agencies are simulated" in page
    assert 'href="https://hub.example"' in page
    assert (home / "partners" / "broker" / "broker.key.pem").exists()
    again, page = play(home)
    assert again == said
    assert "agencies are simulated" in page


def test_every_organisation_with_a_document_plays_its_part() -> None:
    bundle = load_bundle(ROOT / "mappings")
    played = {one["code"]: one["title"] for one in _make_cast().agencies}
    asked = {one.organisation for one in bundle.documents.values()}
    assert played == {code: bundle.organisations[code].en for code in asked}
    assert list(played) == sorted(played)
