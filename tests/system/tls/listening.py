"""Rows of the table for whoever connects to us: versions, suites, certificates, and whose message it is."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

from gateway_conformance.hostile import HttpRequest
from tests.system.tls.place import Place
from tests.system.tls.row import REFUSED, TAKEN, Row, only

#: Settings by which suite-a must show a certificate and nobody else must.
SETTINGS = 'mutual_tls = ["suite-a"]\nread_time_out = "12s"\n'
V = ssl.TLSVersion
#: The id of a problem, and not five letters of a signature's base64.
PROBLEM = re.compile(rb"(?<![\w+/=])GW\d{3}(?![\w+/=])")


def outcome(
    place: Place, post: HttpRequest, client: str | None = None, context: ssl.SSLContext | None = None
) -> str:
    """Send a message and say what came of it: taken, the problem it was refused with, or no handshake."""
    try:
        status, body = place.post(post, client, context)
    except (OSError, HTTPException):
        return REFUSED
    if found := PROBLEM.search(body):
        return found[0].decode()
    if status == 200 and (b"Acknowledgment>" in body or b"AcknowledgeResponse" in body):
        return TAKEN
    return f"status {status}"


def control(version: ssl.TLSVersion, suites: str | None, shown: Path) -> bool:
    """Tell whether such a client reaches a server that takes it: else its refusal would prove nothing.

    `shown`: an RSA certificate with its key, which every version can use.
    """
    server = only(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), version, suites)
    client = only(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), version, suites)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server.load_cert_chain(shown)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(incoming, outgoing)
    theirs = server.wrap_bio(outgoing, incoming, server_side=True)
    ended = 0
    for _ in range(10):
        for end in (ours, theirs):
            try:
                end.do_handshake()
                ended += 1
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return ended > 1


VERSIONS = (
    ("TLS 1.0", V.TLSv1, None, REFUSED),
    ("TLS 1.1", V.TLSv1_1, None, REFUSED),
    ("TLS 1.2", V.TLSv1_2, None, TAKEN),
    ("TLS 1.3", V.TLSv1_3, None, TAKEN),
    ("TLS 1.2 without forward secrecy", V.TLSv1_2, "AES256-GCM-SHA384:@SECLEVEL=0", REFUSED),
    ("TLS 1.2 with CBC", V.TLSv1_2, "ECDHE+AES+SHA1:@SECLEVEL=0", REFUSED),
    ("TLS 1.2 without authentication", V.TLSv1_2, "AECDH:ADH:@SECLEVEL=0", REFUSED),
)
CLIENTS = (
    ("A's message, A's certificate", "right", TAKEN),
    ("A's message, no certificate, A must show one", None, "GW213"),
    ("A's message, B's certificate", "other", "GW213"),
    ("A's message, a good certificate registered for nobody", "nobody", "GW213"),
    ("A's message, A's certificate registered from tomorrow", "next", "GW206"),
    ("A's message, A's certificate, revoked", "revoked", "GW207"),
    ("A's message, A's certificate, expired", "expired", REFUSED),
    ("A's message, A's certificate, for servers", "server", REFUSED),
    ("A's message, a certificate of an authority that is not believed", "stranger", REFUSED),
)


def rows(place: Place) -> Iterator[Row]:
    """Try everything against a gateway with `SETTINGS`."""
    for name, version, suites, expected in VERSIONS:
        context = only(place.context("right"), version, suites)
        seen = outcome(place, place.message(), context=context)
        proved = expected == TAKEN or control(version, suites, place.home / "pki" / "tls.pem")
        yield Row(f"a client: {name}", expected, seen if proved else f"{seen}, but nobody takes it")
    yield Row("a client: plain HTTP", REFUSED, _plain(place))
    for name, client, expected in CLIENTS:
        yield Row(name, expected, outcome(place, place.message(), client))
    for name, member, client, expected in (
        ("B's message, no certificate, B need not show one", "b", None, TAKEN),
        ("B's message, B's certificate", "b", "other", TAKEN),
        ("B's message, A's certificate", "b", "right", "GW213"),
    ):
        yield Row(name, expected, outcome(place, place.message(member), client))
    for name, client, expected in (
        ("an agency's call, its own certificate", "agency", TAKEN),
        ("an agency's call, A's certificate", "right", "GW213"),
        ("an agency's call, no certificate, it need not show one", None, TAKEN),
    ):
        yield Row(name, expected, outcome(place, place.bench.build_call(), client))


def _plain(place: Place) -> str:
    """Speak HTTP where TLS is spoken."""
    with socket.create_connection(("127.0.0.1", place.port), 10) as plain:
        plain.sendall(b"GET /status/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        try:
            told = plain.recv(100)
        except OSError:
            told = b""
    return "HTTP" if told.startswith(b"HTTP") else REFUSED
