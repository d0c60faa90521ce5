"""The peer and our service, each a process of its own, once for all these tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import retry
from tests.system.interop.peer import Peer, build, make_keys


@pytest.fixture(scope="session")
def peer(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """Return the Java peer, built when it is not yet."""
    return Peer(build(vectors / "peers" / "cxf-agency"), make_keys(tmp_path_factory.mktemp("keys")))


@dataclass(frozen=True)
class Hub:
    """Our service, served over HTTP."""

    url: str
    calls_file: Path

    def calls(self) -> list[str]:
        """Return what the handler was told so far, a line each."""
        return self.calls_file.read_text("utf-8").splitlines() if self.calls_file.exists() else []


@pytest.fixture(scope="session")
def hub(peer: Peer) -> Iterator[Hub]:
    """Serve `/soap/agency` by granian until the tests end."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}/soap/agency"
    environ = os.environ | {
        "INTEROP_FOLDER": str(peer.keys.folder),
        "INTEROP_ADDRESS": url,
        "PYTHONPATH": str(ROOT),
    }
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    command += ["--workers", "1", "--blocking-threads", "4", "tests.system.interop.hub:application"]
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:

        def connect() -> None:
            assert process.poll() is None, "granian did not start"
            socket.create_connection(("127.0.0.1", port), timeout=10).close()

        retry(connect, OSError, every=0.2, problem=lambda: "granian does not listen")
        yield Hub(url, peer.keys.folder / "calls")
    finally:
        process.terminate()
        process.wait(timeout=30)
