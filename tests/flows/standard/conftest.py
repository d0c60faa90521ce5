"""A hub that runs as its processes run, with the suite of ebMS 2.0 as a party."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.cli.conformance_home import make_suite_home
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Give the URL of a hub that ``gateway run`` runs, and the partner folder of the suite."""
    place, port = tmp_path_factory.mktemp("standard"), find_free_port()
    home, partner = place / "home", place / "partner"
    make_suite_home(home, f'[http]\nport = {port}\npublic_url = "http://127.0.0.1:{port}"\n')
    callback = f"http://127.0.0.1:{find_free_port()}"
    words = ["conformance", "invite", "ebms2", "--home", str(home), "--out", str(partner)]
    assert main([*words, "--callback", callback]) == 0
    command = [sys.executable, "-m", "gateway", "run", "--home", str(home)]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log)
    try:
        _await_readiness(port, process)
        yield f"http://127.0.0.1:{port}", partner
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _await_readiness(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, "the gateway ended"
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/status/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    raise AssertionError("the gateway is not ready")
