"""HAProxy, as the shipped file sets it up, ends TLS and tells the gateway the certificate of its client."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from gateway.share import get_data_folder
from gateway_conformance.hostile import read_attacker_kit
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import end_process, wait_until_ready
from tests.system.tls.place import MSH, Place, make_clients, pem_file, register_clients, renew_server

pytestmark = pytest.mark.long


def start_proxy(home: Path, front: int, node: int) -> subprocess.Popen[bytes]:
    """Start HAProxy with the shipped settings."""
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    text = get_data_folder("install").joinpath("haproxy.cfg").read_text(encoding="utf-8")
    words = {
        "FRONT_ADDRESS": "127.0.0.1",
        "FRONT_PORT": str(front),
        "CLIENT_CA_FILE": str(home / "pki" / "ca.pem"),
        "TLS_FILE": str(home / "pki" / "tls.pem"),
        "HUB1_ADDRESS:8080": f"127.0.0.1:{node}",
        "    server hub2 HUB2_ADDRESS:8080 check\n": "",
    }
    for word, value in words.items():
        assert word in text
        text = text.replace(word, value)
    file = home / "haproxy.cfg"
    file.write_text(text)
    checked = subprocess.run([program, "-c", "-f", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    return subprocess.Popen([program, "-db", "-f", str(file)])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("proxied") / "home"
    front, node = find_free_port(), find_free_port()
    more = 'proxies = ["127.0.0.1"]\ntls_proxies = ["127.0.0.1"]\nmutual_tls = ["suite-a"]\n'
    public = f'port = {node}\npublic_url = "https://localhost:{front}"\n'
    # The suite opens its case in this process, where nobody shows a certificate.
    settings = make_suite_home(home, f"[http]\n{public}")
    invite_suite(settings, home / "partner")
    file = home / "gateway.toml"
    file.write_text(file.read_text("utf-8").replace("[http]\n", f"[http]\n{more}", 1), "utf-8")
    renew_server(home)
    issued, listed = make_clients(home)
    register_clients(settings, issued, listed)
    files = {name: pem_file(home / f"client-{name}.pem", one) for name, one in issued.items()}
    words = [sys.executable, "-m", "gateway", "serve", "--home", str(home)]
    gateway = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    proxy = start_proxy(home, front, node)
    made = Place(home, front, read_attacker_kit(home / "partner"), files, gateway, settings, issued)
    try:
        wait_until_ready(front, gateway, connect=made.connect)
        yield made
    finally:
        end_process(proxy)
        end_process(gateway)


def test_the_certificate_that_the_proxy_tells_is_held_against_the_party(place: Place) -> None:
    assert place.post(place.message(), "right")[0] == 200
    assert place.post(place.message("b"))[0] == 200
    for client in (None, "other", "nobody", "revoked"):
        status, body = place.post(place.message(), client)
        assert b"GW213" in body or b"GW20" in body, (client, status, body[-500:])


def test_what_a_client_says_of_its_certificate_is_removed(place: Place) -> None:
    der = place.issued["right"].certificate.der
    said = {"Client-Cert": f":{base64.b64encode(der).decode()}:"}
    assert b"GW213" in place.post(place.message(), None, headers=said)[1]
    assert b"GW213" in place.post(place.message(), "other", headers=said)[1]


def test_a_field_that_is_no_certificate_is_refused(place: Place) -> None:
    """Past the proxy, as only the proxy could send it."""
    post, port = place.message(), place.settings.http.port
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", MSH, post.body, {**post.headers, "Client-Cert": ":AAAA:"})
    answer = connection.getresponse()
    assert (answer.status, b"RFC 9440" in answer.read()) == (400, True)
    connection.close()
