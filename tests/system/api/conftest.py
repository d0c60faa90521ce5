"""A gateway with its API, as `gateway run` starts it: real processes, a real port, the real clock."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from gateway.message_model import PartyId
from gateway.store import make_engine, migrate_schema, parties, write_transaction
from tests.kit.api import make_assertion
from tests.kit.house import signer_named
from tests.kit.live import LiveHouse
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import until

#: The folders of nginx that only root could use by default.
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class ServedApi:
    """The address of a served API, and how a party gets a token there."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self.public_url = f"http://localhost:{port}/api/v1"

    def token(self, party: str = "broker1") -> str:
        services: Any = SimpleNamespace(clock=lambda: datetime.now(UTC), public_url=self.public_url)
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": make_assertion(services, party, signer_named(party)),
        }
        answer = httpx.post(f"{self.url}/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def open(self, party: str = "broker1", port: int | None = None, **more: Any) -> httpx.Client:
        """Return a client of a party; `port` is that of a proxy."""
        headers = {"Authorization": f"Bearer {self.token(party)}"}
        url = f"http://127.0.0.1:{port or self.port}/api/v1"
        return httpx.Client(base_url=url, headers=headers, timeout=30, **more)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedApi]:
    """Run a gateway with its API for all tests of a process; two brokers are registered."""
    with serve_api(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture(scope="session")
def proxied(served: ServedApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run nginx, with its own defaults, before that gateway; return its port."""
    port, folder = find_free_port(), tmp_path_factory.mktemp("nginx")
    settings = f"""
        user root;  # Of no effect for another user.
        pid {folder}/pid;
        error_log stderr;
        events {{}}
        http {{
            access_log off;
            {" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY)}
            server {{
                listen 127.0.0.1:{port};
                location / {{ proxy_pass http://127.0.0.1:{served.port}; }}
            }}
        }}
    """
    (folder / "nginx.conf").write_text(settings)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
    process = subprocess.Popen(command)
    try:
        until(lambda: _takes_connections(port))
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@contextmanager
def serve_api(folder: Path) -> Iterator[ServedApi]:
    """Run a gateway with its API, its home below a folder; two brokers are registered."""
    port = find_free_port()
    url = f"sqlite:///{folder}/gateway.sqlite3"
    engine = make_engine(url)
    migrate_schema(engine)
    engine.dispose()
    live = LiveHouse(folder, url, more=f"[api]\nenabled = true\nport = {port}\n")
    _register(url)
    process = _start(live.home)
    try:
        _await_status(port, process)
        yield ServedApi(port, process)
    finally:
        process.terminate()
        process.wait(60)


def _register(url: str) -> None:
    engine = make_engine(url)
    with write_transaction(engine) as conn:
        parties.add_identifier(conn, "broker1", PartyId("6N001", "urn:example:customs-id"))
    engine.dispose()


def _start(home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "gateway", "run", "--home", str(home)]
    with (home / "run.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )


def _await_status(port: int, process: subprocess.Popen[bytes]) -> None:

    def is_served() -> bool:
        assert process.poll() is None, "the API did not start"
        return httpx.get(f"http://127.0.0.1:{port}/api/v1/status", timeout=60).status_code == 200

    until(is_served, 240, every=0.2, not_yet=httpx.HTTPError)
