"""Rows of the table for whom we call: what a server must show before anything is sent to it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.config import Secret, TlsSettings
from gateway.delivery import HttpClient, HttpLimits, PerHostConnector
from gateway.errors import GatewayError
from gateway.pki import RevocationData
from gateway_conformance.pki import (
    CertificateOrder,
    CertificationAuthority,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.system.tls.place import pem_file
from tests.system.tls.row import TAKEN, Row, only

PATIENT = HttpLimits(connect_seconds=60, read_seconds=60, total_seconds=120, max_answer_octets=100_000)
#: For servers that never come to an end.
HASTY = HttpLimits(connect_seconds=1, read_seconds=1, total_seconds=2)  # short: these bounds must run out
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
V = ssl.TLSVersion
Behave = Callable[["Server", socket.socket], None]


class Server:
    """Listens, and hands each connection to `behave`; counts the requests it has read."""

    def __init__(self, behave: Behave) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.requests = 0
        self.shown: list[bytes | None] = []
        self.stop = threading.Event()
        self._behave = behave
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._behave(self, connection)

    def read(self, connection: socket.socket) -> bool:
        """Read a request whose body is short."""
        data = b""
        while not data.endswith(b"<x/>"):
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        self.requests += 1
        return True


@contextmanager
def serving(behave: Behave) -> Iterator[Server]:
    """Give a server for as long as the block lasts."""
    server = Server(behave)
    try:
        yield server
    finally:
        server.stop.set()
        server.listener.close()


def answering(
    context: ssl.SSLContext, answer: Callable[[Server, socket.socket], None] | None = None
) -> Behave:
    """Return what shakes hands by a context and answers each request."""

    def behave(server: Server, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as shaken:
            server.shown.append(shaken.getpeercert(binary_form=True))
            while server.read(shaken):
                if answer is None:
                    shaken.sendall(OK)
                else:
                    answer(server, shaken)

    return behave


def _trickled_handshake(server: Server, connection: socket.socket) -> None:
    connection.sendall(b"\x16\x03\x03\x40\x00")
    while not server.stop.wait(0.05):
        connection.sendall(b"\x00")


def _trickled_answer(server: Server, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not server.stop.wait(0.05):
        connection.sendall(b"x")


def _silent(server: Server, connection: socket.socket) -> None:
    del connection
    server.stop.wait(60)


def _moved(server: Server, connection: socket.socket) -> None:
    del server
    connection.sendall(b"HTTP/1.1 307 T\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n")


class Caller:
    """We, as the settings of these tests have us: whom we believe, what is revoked, what we show."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime.now(UTC)
        self.authority = make_authority("CN=Servers CA", self.now)
        self.elsewhere = make_authority("CN=Elsewhere CA", self.now)
        self.anchor = folder / "servers.pem"
        self.anchor.write_bytes(self.authority.certificate.pem)
        self.revoked = self.issue(self.authority)
        crl = make_revocation_list(self.authority, [self.revoked.certificate.serial], self.now)
        self.lists = RevocationData((crl,))
        self.client = pem_file(folder / "we.pem", self.issue(self.authority, order=CertificateOrder("tls")))
        self._number = 0

    def issue(
        self,
        authority: CertificationAuthority,
        name: str = "localhost",
        at: datetime | None = None,
        order: CertificateOrder | None = None,
    ) -> IssuedCertificate:
        order = order or CertificateOrder("tls-server", alternative_names=(f"dns:{name}",))
        return issue_certificate(authority, f"CN={name}", at or self.now, order)

    def listening(self, issued: IssuedCertificate | None = None) -> ssl.SSLContext:
        """Return how a server listens that shows a certificate, a good one unless told."""
        self._number += 1
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        file = self.folder / f"server-{self._number}.pem"
        context.load_cert_chain(pem_file(file, issued or self.issue(self.authority)))
        return context

    def asking(self) -> ssl.SSLContext:
        """Return how a server listens that asks for a certificate."""
        context = self.listening()
        context.load_verify_locations(self.anchor)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def sections(self, *, shows: bool = False, believes: bool = True) -> Mapping[str, TlsSettings]:
        """Return sections of the settings."""
        anchors = (self.anchor,) if believes else ()
        if not shows:
            return {"*": TlsSettings(anchors=anchors)}
        return {
            "localhost": TlsSettings(anchors=anchors, certificate=self.client, key=Secret(file=self.client))
        }

    def post(
        self,
        server: Server,
        sections: Mapping[str, TlsSettings] | None = None,
        host: str = "localhost",
        bounds: HttpLimits = PATIENT,
    ) -> str:
        """POST once; return what came of it, which is a problem that is tried again or an answer."""
        callings = PerHostConnector(sections or self.sections(), lambda: (self.lists, datetime.now(UTC)))
        sender = HttpClient(bounds, callings)
        started = time.monotonic()
        try:
            answer = sender.post(f"https://{host}:{server.port}/", {}, b"<x/>")
            return TAKEN if answer.status == 200 else f"status {answer.status}"
        except GatewayError as problem:
            words = [problem.problem.id if problem.problem.retry else f"{problem.problem.id}, for good"]
            words += ["late"] if time.monotonic() - started > bounds.total_seconds + 60 else []
            words += [] if server.requests else ["nothing sent"]
            return ", ".join(words) + f": {_why(problem.detail)}"
        finally:
            sender.close()

    def self_signed(self) -> IssuedCertificate:
        """Return a server's certificate that is its own authority."""
        made = make_authority("CN=localhost", self.now)
        return IssuedCertificate(made.key, made.certificate)


def rows(folder: Path) -> Iterator[Row]:
    """Call servers of every kind."""
    us = Caller(folder)
    refused = "GW601, nothing sent: "
    old = us.now - timedelta(days=9)
    shown = (
        ("a good certificate", None, TAKEN),
        ("an expired certificate", us.issue(us.authority, at=old, order=_days(2)), refused + "expired"),
        (
            "a certificate for another host",
            us.issue(us.authority, "elsewhere.example"),
            refused + "another host",
        ),
        (
            "a certificate of an authority that is not believed",
            us.issue(us.elsewhere),
            refused + "not believed",
        ),
        ("a certificate that is its own authority", us.self_signed(), refused + "not believed"),
        (
            "a certificate for clients alone",
            us.issue(us.authority, order=_client()),
            refused + "for another use",
        ),
        ("a certificate that a list in hand revokes", us.revoked, refused + "revoked"),
    )
    for name, issued, expected in shown:
        with serving(answering(us.listening(issued))) as server:
            yield Row(f"a server with {name}", expected, us.post(server))
    for name, version, expected in (
        ("TLS 1.1", V.TLSv1_1, refused + "version"),
        ("TLS 1.2", V.TLSv1_2, TAKEN),
        ("TLS 1.3", V.TLSv1_3, TAKEN),
    ):
        context = us.listening(us.issue(us.authority, order=_rsa()))
        with serving(answering(only(context, version))) as server:
            yield Row(f"a server that speaks {name} alone", expected, us.post(server))
    with serving(answering(us.listening())) as server:
        seen = us.post(server, us.sections(believes=False))
        yield Row("a server of our authority, nobody configured", refused + "not believed", seen)
    for name, shows, expected in (
        ("and we have one", True, TAKEN),
        ("and we have none", False, "GW601: asked for a certificate"),
    ):
        with serving(answering(us.asking())) as server:
            seen = us.post(server, us.sections(shows=shows)).replace(", nothing sent", "")
            yield Row(f"a server that asks for a certificate, {name}", expected, seen)
    for name, behave, expected, bounds in (
        ("trickles its handshake", _trickled_handshake, refused + "time", HASTY),
        ("never shakes hands", _silent, refused + "time", HASTY),
        ("trickles its answer", answering(us.listening(), _trickled_answer), "GW601: time", HASTY),
        ("sends us elsewhere", answering(us.listening(), _moved), "status 307", PATIENT),
    ):
        with serving(behave) as server:
            yield Row(f"a server that {name}", expected, us.post(server, bounds=bounds))


_REASONS = (
    ("expired", "expired"),
    ("mismatch", "another host"),
    ("not valid for", "another host"),
    ("self-signed", "not believed"),
    ("self signed", "not believed"),
    ("local issuer", "not believed"),
    ("unsuitable", "for another use"),
    ("revoked", "revoked"),
    ("certificate required", "asked for a certificate"),
    ("protocol", "version"),
    ("time", "time"),
)


def _why(detail: str) -> str:
    """Return in one word what the problem says: it must name the reason, not only that there is one."""
    told = detail.lower().replace("_", " ")
    return next((word for sign, word in _REASONS if sign in told), detail)


def _days(number: int) -> CertificateOrder:
    return CertificateOrder("tls-server", days=number, alternative_names=("dns:localhost",))


def _client() -> CertificateOrder:
    return CertificateOrder("signing", alternative_names=("dns:localhost",))


def _rsa() -> CertificateOrder:
    return CertificateOrder("tls-server", "rsa-2048", alternative_names=("dns:localhost",))
