"""The console over TLS in a process of its own: a person enters with the certificate of the connection."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from gateway.cli import main
from gateway.pki import encode_key_pem
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import retry

pytestmark = pytest.mark.long
SAME = {"Sec-Fetch-Site": "same-origin"}


@contextmanager
def serve_console(home: Path, url: str, ca: str) -> Iterator[None]:
    """Run ``gateway console`` until the block ends."""
    words = [sys.executable, "-m", "gateway", "console", "--home", str(home)]
    with (home / "console.log").open("wb") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)

        def ask() -> None:
            assert process.poll() is None, (home / "console.log").read_text()
            requests.get(f"{url}/console/sign-in", verify=ca, timeout=60)

        try:
            retry(ask, (requests.ConnectionError, requests.Timeout), problem=(home / "console.log").read_text)
            yield
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pki = tmp_path / "pki"
    assert main(["pki", "demo", "--out", str(pki), "--party", "kim", "--party", "lee"]) == 0
    now = datetime.now(UTC) - timedelta(hours=1)
    authority = make_authority("CN=Server CA", now, "p-256")
    order = CertificateOrder("tls-server", alternative_names=("dns:localhost",))
    server = issue_certificate(authority, "CN=localhost", now, order)
    (tmp_path / "server-ca.pem").write_bytes(authority.certificate.pem)
    (tmp_path / "server.cert.pem").write_bytes(server.certificate.pem)
    (tmp_path / "server.key.pem").write_bytes(encode_key_pem(server.key))
    port = find_free_port()
    (tmp_path / "gateway.toml").write_text(
        f"""
[http]
tls_certificate = "server.cert.pem"
tls_key = {{ file = "server.key.pem" }}
client_ca = "pki/ca.pem"
[console]
enabled = true
port = {port}
public_url = "https://localhost:{port}"
"""
    )
    where = ("--home", str(tmp_path))
    assert main(["migrate", "--new", *where]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery staple\n"))
    organisation = ("--organisation", "operator/hub", "--role", "observer")
    assert main(["account", "add", "kim", *organisation, *where]) == 0
    assert main(["account", "certificate", "kim", str(pki / "kim.cert.pem"), *where]) == 0
    (tmp_path / "port").write_text(str(port))
    return tmp_path


@pytest.mark.night
def test_a_person_enters_with_the_certificate_of_the_connection(home: Path) -> None:
    url, ca = f"https://localhost:{(home / 'port').read_text()}", str(home / "server-ca.pem")
    entered = {}
    with serve_console(home, url, ca):
        for name in ("kim", "lee", None):
            with requests.Session() as session:
                session.verify, session.trust_env = ca, False
                if name is not None:
                    session.cert = tuple(str(home / "pki" / f"{name}.{end}.pem") for end in ("cert", "key"))
                page = session.get(f"{url}/console/sign-in", timeout=30).text
                assert ("certificate of this browser" in page) is (name is not None)
                answer = session.post(
                    f"{url}/console/sign-in/certificate", headers=SAME, allow_redirects=False, timeout=30
                )
                entered[name] = answer.status_code
                if name == "kim":
                    assert "kim" in session.get(f"{url}/console/account", timeout=30).text
    assert entered == {"kim": 302, "lee": 401, None: 403}
