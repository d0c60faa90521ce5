"""A gateway that serves over TLS as a process, its neighbours, and certificates of every kind for them."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path

from gateway.cli.registration import list_trusted_authorities, load_crls, make_certificate_row
from gateway.config import Settings
from gateway.hub.wiring import build_engine
from gateway.pki import ListSuccession
from gateway.store import parties, write_transaction
from gateway_conformance.hostile import AGENCY, AttackerKit, HttpRequest, read_attacker_kit
from gateway_conformance.pki import (
    CertificateOrder,
    IssuedCertificate,
    issue_certificate,
    load_authority,
    make_authority,
    make_revocation_list,
)
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.process_logs import check_process_log
from tests.kit.served import end_process, wait_until_ready

MSH = "/msh/ebms2"


def pem_file(path: Path, issued: IssuedCertificate) -> Path:
    """Write key and certificate into one file."""
    path.write_bytes(issued.key_pem + issued.certificate.pem)
    return path


@dataclass
class Place:
    """The gateway: its home, its port, its suite's parties; `certificates` are clients by name."""

    home: Path
    port: int
    bench: AttackerKit
    certificates: Mapping[str, Path]
    process: subprocess.Popen[bytes]
    settings: Settings
    issued: Mapping[str, IssuedCertificate] = field(default_factory=dict)

    def context(self, client: str | None = None) -> ssl.SSLContext:
        """Return how a client calls that believes this gateway, and shows a certificate if one is named."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.home / "pki" / "ca.pem")
        if client is not None:
            context.load_cert_chain(self.certificates[client])
        return context

    def connect(
        self, client: str | None = None, context: ssl.SSLContext | None = None, source: str = "127.0.0.1"
    ) -> HTTPSConnection:
        """Return a connection that is not open yet."""
        context = context or self.context(client)
        return HTTPSConnection(
            "localhost", self.port, timeout=60, context=context, source_address=(source, 0)
        )

    def post(
        self,
        post: HttpRequest,
        client: str | None = None,
        context: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send one request on a connection of its own and return status and body."""
        connection = self.connect(client, context)
        try:
            path = MSH if post.face == "ebms2" else "/soap/agency"
            connection.request("POST", path, post.body, {**post.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def message(self, member: str = "a") -> HttpRequest:
        """Return an honest message."""
        return self.bench.build_message(self.bench.make_unit(member), member)

    def alive(self) -> HTTPResponse:
        """Ask whether the gateway is ready."""
        connection = self.connect()
        try:
            connection.request("GET", "/status/ready")
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()


def make_clients(home: Path) -> tuple[dict[str, IssuedCertificate], bytes]:
    """Return client certificates of every kind, and the list that revokes one of them."""
    now = datetime.now(UTC)
    authority, outsider = load_authority(home / "pki"), make_authority("CN=Elsewhere CA", now)
    day = timedelta(days=1)
    found = {
        "right": issue_certificate(authority, "CN=suite-a client", now, CertificateOrder("tls")),
        "next": issue_certificate(authority, "CN=suite-a next client", now, CertificateOrder("tls")),
        "other": issue_certificate(authority, "CN=suite-b client", now, CertificateOrder("tls")),
        "agency": issue_certificate(authority, "CN=agency client", now, CertificateOrder("tls")),
        "nobody": issue_certificate(authority, "CN=nobody", now, CertificateOrder("tls")),
        "revoked": issue_certificate(authority, "CN=suite-a lost", now, CertificateOrder("tls")),
        "expired": issue_certificate(
            authority, "CN=suite-a old", now - 9 * day, CertificateOrder("tls", days=2)
        ),
        "server": issue_certificate(authority, "CN=suite-a server", now, CertificateOrder("tls-server")),
        "stranger": issue_certificate(outsider, "CN=suite-a client", now, CertificateOrder("tls")),
    }
    listed = make_revocation_list(authority, [found["revoked"].certificate.serial], now, number=99)
    return found, listed


def register_clients(settings: Settings, clients: Mapping[str, IssuedCertificate], listed: bytes) -> None:
    now = datetime.now(UTC)
    owners = {"right": "suite-a", "revoked": "suite-a", "expired": "suite-a", "server": "suite-a"}
    owners |= {"next": "suite-a", "stranger": "suite-a", "other": "suite-b", "agency": AGENCY}
    engine = build_engine(settings)
    with write_transaction(engine, "tests.system.tls") as conn:
        for name, party in owners.items():
            starts = now + timedelta(days=1) if name == "next" else None
            found = clients[name].certificate
            parties.add_certificate(conn, party, make_certificate_row(found, "tls", starts), now)
        load_crls(conn, listed, ListSuccession(list_trusted_authorities(settings, conn, now), now))
    engine.dispose()


@contextmanager
def served(home: Path, more: str = "", *, clients: str = "optional") -> Iterator[Place]:
    """Serve a home over TLS; `more` are settings of ``[http]``."""
    port = find_free_port()
    # The suite opens its case in this process, where nobody shows a certificate.
    settings = make_suite_home(home, f'[http]\nport = {port}\npublic_url = "https://localhost:{port}"\n')
    invite_suite(settings, home / "partner")
    words = (
        'tls_certificate = "pki/tls.pem"\ntls_key = { file = "pki/tls.pem" }\n'
        f'client_ca = "pki/ca.pem"\nclient_certificate = "{clients}"\n{more}'
    )
    file = home / "gateway.toml"
    file.write_text(file.read_text("utf-8").replace("[http]\n", f"[http]\n{words}", 1), "utf-8")
    renew_server(home)
    issued, listed = make_clients(home)
    register_clients(settings, issued, listed)
    files = {name: pem_file(home / f"client-{name}.pem", one) for name, one in issued.items()}
    # As operators write it: from where they are.
    command = [sys.executable, "-m", "gateway", "serve", "--home", os.path.relpath(home, ROOT)]
    log = home.with_name("serve.log")
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=errors
        )
    place = Place(home, port, read_attacker_kit(home / "partner"), files, process, settings, issued)
    try:
        shown = "right" if clients == "required" else None
        wait_until_ready(port, process, connect=lambda: place.connect(shown))
        yield place
    finally:
        end_process(process)
    check_process_log(log)


def renew_server(home: Path) -> int:
    """Give the gateway another certificate; return its serial number."""
    issued = issue_certificate(
        load_authority(home / "pki"),
        "CN=localhost",
        datetime.now(UTC),
        # An RSA key, so that no suite is refused for want of one.
        CertificateOrder("tls-server", "rsa-2048", alternative_names=("dns:localhost",)),
    )
    written = pem_file(home / "pki" / "tls.pem.new", issued)
    written.replace(home / "pki" / "tls.pem")
    return issued.certificate.serial
