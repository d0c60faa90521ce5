"""A hub that runs as its processes run, with the suite of ebMS 2.0 as a party."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from gateway_conformance.verbs.conformance_home import make_suite_home
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import end_process, wait_until_ready

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Give the URL of a hub that ``gateway run`` runs, and the partner folder of the suite."""
    place, port = tmp_path_factory.mktemp("standard"), find_free_port()
    home, partner = place / "home", place / "partner"
    (place / "suite.password").write_text("the password of the suite of AS4\n")
    puller = f'[puller.suite-as4.password]\nfile = "{place / "suite.password"}"\n'
    make_suite_home(home, f'[http]\nport = {port}\npublic_url = "http://127.0.0.1:{port}"\n{puller}')
    callback = f"http://127.0.0.1:{find_free_port()}"
    words = ["conformance", "invite", "ebms2", "--home", str(home), "--out", str(partner)]
    assert main([*words, "--callback", callback]) == 0
    command = [sys.executable, "-m", "gateway", "run", "--home", str(home)]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        wait_until_ready(port, process, seconds=240)
        yield f"http://127.0.0.1:{port}", partner
    finally:
        end_process(process)
