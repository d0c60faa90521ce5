"""A time-stamping authority over real HTTP, as well behaved as a test says.

The stamps are certomancer's; its certificate is the test's, so that it can be of any kind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from asn1crypto import core, keys, tsp
from asn1crypto import x509 as asn1_x509
from certomancer.services import TimeStamper
from cryptography.hazmat.primitives import serialization

from gateway_conformance.pki import IssuedCertificate
from tests.kit.ports import find_free_port

__all__ = ["FAULTS", "POLICY", "Tsa"]

POLICY = "1.3.6.1.4.1.99999.1"


def _other_nonce(asked: Any) -> None:
    asked["nonce"] = asked["nonce"].native + 1


def _no_nonce(asked: Any) -> None:
    del asked["nonce"]


def _other_imprint(asked: Any) -> None:
    asked["message_imprint"]["hashed_message"] = b"\x07" * 32


def _status(name: str) -> bytes:
    status = tsp.PKIStatusInfo({"status": name, "status_string": ["not today"]})
    return bytes(core.SequenceOf([status], spec=tsp.PKIStatusInfo).dump())


#: What is wrong with the question as it is understood.
_MISHEARD: dict[str, Callable[[Any], None]] = {
    "nonce": _other_nonce,
    "no nonce": _no_nonce,
    "imprint": _other_imprint,
}
#: What is said instead of a stamp.
_SAID: dict[str, Callable[[bytes], bytes]] = {
    "rejection": lambda _: _status("rejection"),
    "waiting": lambda _: _status("waiting"),
    "granted without a token": lambda _: _status("granted"),
    "garbage": lambda _: b"<html><body>It works!</body></html>",
    "nothing": lambda _: b"",
    "half": lambda whole: whole[: len(whole) // 2],
    "more": lambda whole: whole + b"\x00",
    "huge": lambda _: b"\x30\x84\x00\x10\x00\x00" + bytes(1 << 20),
}
FAULTS = (*_MISHEARD, *_SAID, "policy", "late", "HTTP 500")


class Tsa:
    """One authority on a port of its own; `fault` names what it does wrong, `asked` counts questions."""

    def __init__(self, issued: IssuedCertificate, clock: Callable[[], datetime]) -> None:
        self.issued = issued
        self.clock = clock
        self.fault = ""
        self.asked = 0
        self.nonces: list[int] = []
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}/tsa"
        self._server: ThreadingHTTPServer | None = None

    def up(self) -> Tsa:
        """Listen."""
        authority = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, answer = authority.answer(body, str(self.headers["Content-Type"]))
                self.send_response(status)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.send_header("Content-Length", str(len(answer)))
                # One that is down answers on no old connection either.
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def down(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def answer(self, body: bytes, media_type: str) -> tuple[int, bytes]:
        """Return status and octets of what is said to a question."""
        assert media_type == "application/timestamp-query"
        self.asked += 1
        asked = tsp.TimeStampReq.load(body, strict=True)
        self.nonces.append(asked["nonce"].native)
        _MISHEARD.get(self.fault, lambda _: None)(asked)
        if self.fault == "HTTP 500":
            return 500, b"no"
        whole = bytes(self._stamper(str(asked["req_policy"].native)).request_tsa_response(asked).dump())
        return 200, _SAID.get(self.fault, bytes)(whole)

    def _stamper(self, policy: str) -> TimeStamper:
        der = self.issued.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        late = timedelta(hours=1) if self.fault == "late" else timedelta()
        return TimeStamper(
            asn1_x509.Certificate.load(self.issued.certificate.der),
            keys.PrivateKeyInfo.load(der),
            fixed_dt=self.clock().replace(microsecond=0) + late,
            policy=tsp.ObjectIdentifier(policy + ".9" if self.fault == "policy" else policy),
        )
