"""An authority's web server, real sockets: it publishes lists, answers OCSP, and misbehaves when told to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from gateway.pki import Certificate
from gateway_conformance.pki import CertificationAuthority

Page = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """One exchange; `body` is what was posted."""

    protocol_version = "HTTP/1.1"
    body = b""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def send_response(self, code: int, message: str | None = None) -> None:
        self.server.publisher.statuses.append(code)  # type: ignore[attr-defined]
        super().send_response(code, message)

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["Content-Length"]))
        self._serve()

    def _serve(self) -> None:
        publisher: Publisher = self.server.publisher  # type: ignore[attr-defined]
        publisher.asked.append((self.command, self.path))
        publisher.pages.get(self.path, status(404))(self)

    def answer(self, content: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def status(code: int, **headers: str) -> Page:
    return lambda handler: handler.answer(b"no", code, **headers)


def page(content: bytes, tag: str = "") -> Page:
    """Give the content; under a tag 304 to whoever has it."""

    def give(handler: Handler) -> None:
        if tag and handler.headers.get("If-None-Match") == tag:
            handler.send_response(304)
            handler.end_headers()
        else:
            handler.answer(content, **({"ETag": tag} if tag else {}))

    return give


def cut_off(content: bytes) -> Page:
    """Promise all of the content and give half of it."""

    def give(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        handler.close_connection = True

    return give


def trickle(stop: threading.Event) -> Page:
    """Give an octet now and then, for ever."""

    def give(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        while not stop.wait(0.05):
            handler.wfile.write(b"0")

    return give


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks may hang up."""


@dataclass
class Publisher:
    """What is to be had, by path, and what was asked for."""

    url: str
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


@contextmanager
def publishing(tls: ssl.SSLContext | None = None) -> Iterator[Publisher]:
    """Publish until the block ends; with `tls` under the name localhost."""
    server = _Server(("127.0.0.1", 0), Handler)
    place = "http://127.0.0.1" if tls is None else "https://localhost"
    publisher = Publisher(f"{place}:{server.server_address[1]}")
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.publisher = publisher  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield publisher
    finally:
        publisher.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Responder:
    """Answers OCSP requests for an authority; `revoked` holds serial numbers, `unknown` too."""

    authority: CertificationAuthority
    clock: Callable[[], datetime]
    revoked: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    signer: tuple[Certificate, Any] | None = None
    along: bool = True
    nonce: Callable[[bytes | None], bytes | None] = lambda nonce: nonce
    starts: timedelta = timedelta(0)
    serials: list[int] = field(default_factory=list)

    def __call__(self, handler: Handler) -> None:
        request = ocsp.load_der_ocsp_request(handler.body)
        self.serials.append(request.serial_number)
        handler.answer(self.response(request), Content_Type="application/ocsp-response")

    def response(self, request: ocsp.OCSPRequest) -> bytes:
        serial = request.serial_number
        begins = (self.clock() + self.starts).replace(microsecond=0)
        said = ocsp.OCSPCertStatus.REVOKED if serial in self.revoked else ocsp.OCSPCertStatus.GOOD
        said = ocsp.OCSPCertStatus.UNKNOWN if serial in self.unknown else said
        certificate, key = self.signer or (self.authority.certificate, self.authority.key)
        builder = ocsp.OCSPResponseBuilder().add_response_by_hash(
            issuer_name_hash=request.issuer_name_hash,
            issuer_key_hash=request.issuer_key_hash,
            serial_number=serial,
            algorithm=request.hash_algorithm,
            cert_status=said,
            this_update=begins,
            next_update=begins + timedelta(hours=2),
            revocation_time=begins if said is ocsp.OCSPCertStatus.REVOKED else None,
            revocation_reason=None,
        )
        loaded = x509.load_der_x509_certificate(certificate.der)
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, loaded)
        if self.signer is not None and self.along:
            builder = builder.certificates([loaded])
        asked = next(
            (one.value.nonce for one in request.extensions if isinstance(one.value, x509.OCSPNonce)), None
        )
        echoed = self.nonce(asked)
        if echoed is not None:
            builder = builder.add_extension(x509.OCSPNonce(echoed), critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
