"""``gateway demo --console``: with what it prints, a stranger signs in and decides; the result arrives."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kit.browser import ConsoleBrowser, start_browser
from tests.kit.paths import ROOT
from tests.system.demo.test_demo import none_lives

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.night]
PATIENCE = 120.0


@dataclass
class PlayedDemo:
    """A demo that is being played, and what it has printed so far."""

    process: subprocess.Popen[str]
    told: list[str] = field(default_factory=list)

    def read_until(self, words: str) -> str:
        """Return the first line that contains these words."""
        assert self.process.stdout is not None
        end = time.monotonic() + PATIENCE
        for line in self.process.stdout:
            self.told.append(line)
            if words in line:
                return line
            assert time.monotonic() < end
        raise AssertionError("".join(self.told))


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[PlayedDemo]:
    where = tmp_path / "demo"
    where.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--console"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=where,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(where)},
    )
    yield PlayedDemo(process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert none_lives(where)


def test_a_stranger_decides_in_the_browser_and_the_result_arrives(demo: PlayedDemo, tmp_path: Path) -> None:
    url = demo.read_until("the console is at").split()[-1].removesuffix("/console/")
    said = re.search(r"as (officer) +password (\S+)", demo.read_until("sign in as officer"))
    assert said is not None
    demo.read_until("NPQS-PLA-IMP is DECIDED")
    with start_browser(tmp_path / "profile", url) as browser:
        browser.sign_in(said[1], said[2])
        find_application(browser)
        browser.press("Decide")
        browser.fill("Decision", "Approved")
        browser.fill("Document number", "2026-0017")
        browser.press("Preview")
        browser.press("Confirm and send")
        assert "This was sent." in browser.text
    demo.read_until("the console stays open")
    told = "".join(demo.told)
    assert "KFDA-FOOD-IMP is DECIDED (R01): signatures verified" in told
    assert re.search(r"Result SW\w+: APPROVED, signatures verified", told)


def find_application(browser: ConsoleBrowser) -> None:
    """Open the one application that waits for the officer."""
    end = time.monotonic() + PATIENCE
    while not (found := browser.list_all("main tbody a")) and time.monotonic() < end:
        browser.open("/console/work")
    found[0].click()
    browser.wait_for("Caramel wafers")
