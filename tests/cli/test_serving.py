"""`gateway serve` as a process: TLS as the settings say it, and an orderly end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli import main
from tests.kit.forked_verbs import run_verb
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import retry


@pytest.fixture
def served(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[tuple[int, Path, subprocess.Popen[bytes]]]:
    """Serve a home whose clients must show a certificate."""
    port = find_free_port()
    assert main(["pki", "demo", "--out", str(tmp_path / "pki"), "--party", "hub"]) == 0
    (tmp_path / "gateway.toml").write_text(
        f'[hub]\nhome = "."\n[http]\nport = {port}\nclient_ca = "pki/ca.pem"\n'
        'tls_certificate = "pki/gateway-tls.cert.pem"\ntls_key = { file = "pki/gateway-tls.key.pem" }\n'
    )
    assert main(["migrate", "--new", "--home", str(tmp_path)]) == 0
    command = [sys.executable, "-m", "gateway", "serve", "--home", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        yield port, tmp_path / "pki", process
    finally:
        process.kill()
        process.wait(60)


def status(port: int, pki: Path, *, shown: bool) -> int:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(pki / "ca.pem")
    if shown:
        context.load_cert_chain(pki / "gateway-tls.cert.pem", pki / "gateway-tls.key.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)
    try:
        connection.request("GET", "/status/ready")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.night
def test_tls_is_spoken_to_clients_that_show_a_certificate_only(
    served: tuple[int, Path, subprocess.Popen[bytes]],
) -> None:
    port, pki, process = served

    def ask_readiness() -> int:
        assert process.poll() is None
        return status(port, pki, shown=True)

    assert retry(ask_readiness, ConnectionRefusedError) == 200
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        status(port, pki, shown=False)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.mark.night
def test_a_port_that_somebody_listens_on_is_not_shared(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (tmp_path / "gateway.toml").write_text(
            f'[http]\nhost = "127.0.0.1"\nport = {taken.getsockname()[1]}\n'
        )
        done = run_verb("run", "--home", str(tmp_path))
    assert done.returncode == 2
    assert "GW808" in done.stderr
    assert "http.port" in done.stderr


@pytest.mark.night
@pytest.mark.parametrize(("verb", "problem"), [("run --new", "GW803"), ("serve", "GW808"), ("work", "GW808")])
def test_what_cannot_start_says_why_in_one_line(tmp_path: Path, verb: str, problem: str) -> None:
    done = run_verb(*verb.split(), "--home", str(tmp_path / "new"))
    assert done.returncode == (2 if problem == "GW808" else 1)
    assert "Traceback" not in done.stderr
    assert f"gateway: {problem}" in done.stderr
