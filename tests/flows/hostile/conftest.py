"""A hub of its own for the suite, in process, and the same behind a URL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway_conformance.hostile import AttackerKit, WsgiTarget
from gateway_conformance.verbs.conformance_home import make_suite_home, open_throwaway_hub
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.process_logs import check_process_log
from tests.kit.served import end_process, wait_until_ready


@pytest.fixture(scope="package")
def opponents() -> Iterator[tuple[AttackerKit, WsgiTarget]]:
    """Give a bench and a hub in this process that knows it."""
    with open_throwaway_hub() as found:
        yield found


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Give the home of a hub that ``gateway serve`` serves, and its URL."""
    home, port = tmp_path_factory.mktemp("served") / "home", find_free_port()
    make_suite_home(home, f'[http]\nport = {port}\npublic_url = "http://127.0.0.1:{port}"\n')
    command = [sys.executable, "-m", "gateway", "serve", "--home", str(home)]
    log = home.with_name("serve.log")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=errors
        )
    try:
        wait_until_ready(port, process)
        yield home, f"http://127.0.0.1:{port}"
    finally:
        end_process(process)
    check_process_log(log)
