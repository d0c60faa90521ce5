"""One POST over real sockets: bounded in time and size, never redirected, never sent twice."""

from __future__ import annotations

import base64
import os
import resource
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway import __version__
from gateway.config import Secret, TlsSettings
from gateway.delivery import HostLogins, HttpClient, HttpLimits, http_client
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import GatewayError
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority
from tests.kit.ports import find_free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 2\r\n\r\nok"
PATIENT = HttpLimits(connect_seconds=60, read_seconds=60, total_seconds=60, max_answer_octets=100_000)
#: For what never ends: these bounds must run out.
QUICK = HttpLimits(
    connect_seconds=60,
    read_seconds=0.5,  # short: it must run out
    total_seconds=1.0,  # short: it must run out
    max_answer_octets=100_000,
)


class Far:
    """A listener that hands each connection to `behave` and remembers the requests."""

    def __init__(self, behave: Callable[[Far, socket.socket], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/agency?x=1"
        self.requests: list[bytes] = []
        self.connections = 0
        self.stop = threading.Event()
        self.behave = behave
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.behave(self, connection)

    def read(self, connection: socket.socket) -> bool:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return False
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        [length] = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
        size = int(length.partition(b":")[2])
        while len(body) < size:
            body += connection.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return True


@contextmanager
def far(behave: Callable[[Far, socket.socket], None]) -> Iterator[Far]:
    there = Far(behave)
    try:
        yield there
    finally:
        there.stop.set()
        there.listener.close()


def always(octets: bytes) -> Callable[[Far, socket.socket], None]:
    def behave(there: Far, connection: socket.socket) -> None:
        while there.read(connection):
            connection.sendall(octets)

    return behave


def post(url: str, bounds: HttpLimits = PATIENT) -> HttpAnswer:
    sender = HttpClient(bounds)
    try:
        return sender.post(url, {"Content-Type": "text/xml", "SOAPAction": '"a"'}, b"<x/>")
    finally:
        sender.close()


def refused(
    behave: Callable[[Far, socket.socket], None], limits: HttpLimits = PATIENT
) -> tuple[GatewayError, Far]:
    with far(behave) as there, pytest.raises(GatewayError) as caught:
        post(there.url, limits)
    return caught.value, there


def test_a_post_and_its_answer() -> None:
    with far(always(OK)) as there:
        answer = post(there.url)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok", "text/xml")
    head, _, body = there.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /agency?x=1 HTTP/1.1\r\n")
    assert b'SOAPAction: "a"' in head
    assert b"Accept-Encoding: identity" in head
    assert b"User-Agent: singlewindow-gateway/%b\r\n" % __version__.encode() in head
    assert b"Content-Length: 4" in head
    assert body == b"<x/>"


def test_a_get_says_who_asks_as_a_post_does() -> None:
    def answer(there: Far, connection: socket.socket) -> None:
        there.requests.append(connection.recv(65536))
        connection.sendall(OK)

    sender = HttpClient(PATIENT)
    with far(answer) as there:
        assert sender.get(there.url, {}).status == 200
        sender.close()
    assert b"\r\nUser-Agent: singlewindow-gateway/" in there.requests[0]


def test_an_idle_connection_is_used_again() -> None:
    sender = HttpClient(PATIENT)
    with far(always(OK)) as there:
        for _ in range(3):
            sender.post(there.url, {}, b"<x/>")
        sender.close()
    assert (there.connections, len(there.requests)) == (1, 3)


@contextmanager
def high_descriptors() -> Iterator[None]:
    """Take the descriptors below 1024, so that every new one is higher."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while taken[-1] < 1024:
            taken.append(os.dup(taken[0]))
        yield
    finally:
        for one in taken:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_idle_connection_is_used_again_in_a_process_with_many_connections() -> None:
    with high_descriptors():
        test_an_idle_connection_is_used_again()


def test_an_old_connection_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "_MAX_CONNECTION_SECONDS", 0.0)
    with far(always(OK)) as there:
        sender = HttpClient(PATIENT)
        for _ in range(2):
            sender.post(there.url, {}, b"<x/>")
        sender.close()
        assert there.connections == 2


def test_a_connection_closed_meanwhile_costs_nothing() -> None:
    closed = threading.Event()

    def once(there: Far, connection: socket.socket) -> None:
        there.read(connection)
        connection.sendall(OK)
        connection.close()
        closed.set()

    sender = HttpClient(PATIENT)
    with far(once) as there:
        sender.post(there.url, {}, b"<x/>")
        assert closed.wait(60)
        sender.post(there.url, {}, b"<x/>")
        sender.close()
    assert there.connections == 2


@pytest.mark.night
def test_a_destination_may_have_bounds_of_its_own_also_on_a_kept_connection() -> None:
    def slow_when_asked(there: Far, connection: socket.socket) -> None:
        while there.read(connection):
            if b"Slow: yes" in there.requests[-1]:
                there.stop.wait(4)
            connection.sendall(OK)

    patient = HttpLimits(total_seconds=60)
    hasty = HttpLimits(read_seconds=2, total_seconds=60)  # short: it must run out
    slow = {"Slow": "yes"}
    with far(slow_when_asked) as there:
        sender = HttpClient(patient)
        assert sender.post(there.url, slow, b"<x/>").body == b"ok"
        with pytest.raises(GatewayError) as caught:
            sender.post(there.url, slow, b"<x/>", hasty)
        assert caught.value.problem.id == "GW601"
        # Kept from a hasty call, the connection has the patience of the next one.
        assert sender.post(there.url, {}, b"<x/>", hasty).body == b"ok"
        assert sender.post(there.url, slow, b"<x/>").body == b"ok"
        assert there.connections == 2
        with pytest.raises(GatewayError) as caught:
            sender.post(there.url, {}, b"<x/>", HttpLimits(max_answer_octets=1))
        assert caught.value.problem.id == "GW603"
        sender.close()


def test_a_chunked_answer_and_repeated_headers() -> None:
    octets = b"HTTP/1.1 500 No\r\nX: 1\r\nx: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    with far(always(octets)) as there:
        answer = post(there.url)
    assert (answer.status, answer.body, answer.headers["x"]) == (500, b"ok", "1, 2")


def test_a_redirect_is_an_answer_and_not_followed() -> None:
    with far(always(OK)) as elsewhere:
        moved = f"HTTP/1.1 307 T\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
        with far(always(moved)) as there:
            assert post(there.url).status == 307
        assert elsewhere.connections == 0


def trickle(there: Far, connection: socket.socket) -> None:
    there.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not there.stop.wait(0.05):
        connection.sendall(b"x")


def trickling_header(there: Far, connection: socket.socket) -> None:
    there.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not there.stop.wait(0.05):
        connection.sendall(b"x")


def silent(there: Far, connection: socket.socket) -> None:
    there.read(connection)
    there.stop.wait(60)


def never_ending_chunks(there: Far, connection: socket.socket) -> None:
    there.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not there.stop.is_set():
        connection.sendall(b"2000\r\n" + b"x" * 0x2000 + b"\r\n")


def closing(there: Far, connection: socket.socket) -> None:
    there.read(connection)


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        (trickle, "GW601"),
        (trickling_header, "GW601"),
        (silent, "GW601"),
        (closing, "GW601"),
        (never_ending_chunks, "GW603"),
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\nx"), "GW603"),
        (always(b"garbage\r\n\r\n"), "GW603"),
        (always(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000), "GW603"),
        (always(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n"), "GW603"),
        (always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "GW603"),
    ],
)
def test_a_hostile_answer_ends_in_time_and_is_asked_for_once(
    behave: Callable[[Far, socket.socket], None], expected: str
) -> None:
    started = time.monotonic()
    problem, there = refused(behave, QUICK if behave in (trickle, trickling_header, silent) else PATIENT)
    assert problem.problem.id == expected
    assert problem.problem.retry
    # Without a limit it would take most of a minute; the machine may be busy.
    assert time.monotonic() - started < 30
    assert len(there.requests) == 1


def test_nobody_there() -> None:
    with pytest.raises(GatewayError) as caught:
        post(f"http://127.0.0.1:{find_free_port()}/")
    assert caught.value.problem.id == "GW601"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://a/",
        "http:///x",
        "file:///etc/passwd",
        "http://u:p@h/",
        "http://h:0/",
        "http://h:99999/",
        "//h/x",
    ],
)
def test_only_plain_http_addresses(url: str) -> None:
    with pytest.raises(GatewayError) as caught:
        post(url)
    assert caught.value.problem.id == "GW801"


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a file with key and certificate of localhost, and the PEM of its authority."""
    now = datetime.now(UTC) - timedelta(hours=1)
    authority = make_authority("CN=TLS CA", now)
    order = CertificateOrder(profile="tls-server", alternative_names=("dns:localhost",))
    issued = issue_certificate(authority, "CN=localhost", now, order)
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(issued.key_pem + ssl.DER_cert_to_PEM_cert(issued.certificate.der).encode())
    return file, ssl.DER_cert_to_PEM_cert(authority.certificate.der)


@contextmanager
def far_tls(file: Path) -> Iterator[Far]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    def behave(there: Far, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            always(OK)(there, wrapped)

    with far(behave) as there:
        there.url = there.url.replace("http://127.0.0.1", "https://localhost")
        yield there


def post_tls(url: str, authority: str | None) -> int:
    sender = HttpClient(PATIENT, ssl.create_default_context(cadata=authority) if authority else None)
    try:
        return sender.post(url, {}, b"<x/>").status
    finally:
        sender.close()


def test_tls_to_a_server_that_is_trusted(tls_files: tuple[Path, str]) -> None:
    with far_tls(tls_files[0]) as there:
        assert post_tls(there.url, tls_files[1]) == 200


def logging_in(url: str, authority: str, password: Path, **section: object) -> HttpAnswer:
    """POST with the login that the settings have for localhost."""
    words = {"login": "hub", "login_password": Secret(file=password), **section}
    logins = HostLogins({"LocalHost": TlsSettings.model_validate(words)})
    context = ssl.create_default_context(cadata=authority)
    sender = HttpClient(PATIENT, context, find_authorization=logins.find_authorization)
    try:
        return sender.post(url, {}, b"<x/>")
    finally:
        sender.close()


def test_a_login_goes_to_its_host_over_tls_only(tls_files: tuple[Path, str], tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_bytes("비밀 번호\n".encode())
    with far_tls(tls_files[0]) as there:
        logging_in(there.url, tls_files[1], password)
    (head,) = there.requests
    told = base64.b64decode(head.partition(b"Authorization: Basic ")[2].partition(b"\r\n")[0])
    assert told.decode() == "hub:비밀 번호"
    with far(always(OK)) as there:
        logging_in(there.url.replace("127.0.0.1", "localhost"), tls_files[1], password)
    assert b"Authorization" not in there.requests[0]


def test_a_login_is_of_one_host_and_its_password_is_read_again(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("one")
    section = TlsSettings(login="hub", login_password=Secret(file=password))
    logins = HostLogins({"a.example:8443": section, "b.example": section, "c.example": TlsSettings()})
    found = logins.find_authorization("a.example", 8443)
    assert found == "Basic " + base64.b64encode(b"hub:one").decode()
    assert logins.find_authorization("B.example", 443) == found
    for other in (("a.example", 443), ("c.example", 443), ("x.b.example", 443)):
        assert logins.find_authorization(*other) is None
    password.write_text("another")
    assert logins.find_authorization("b.example", 443) == "Basic " + base64.b64encode(b"hub:another").decode()


@pytest.mark.parametrize(("octets", "problem"), [(b"", "GW801"), (b"a\nb", "GW801"), (None, "GW803")])
def test_a_password_that_cannot_be_used_is_told_at_the_start(
    tmp_path: Path, octets: bytes | None, problem: str
) -> None:
    password = tmp_path / "password"
    if octets is not None:
        password.write_bytes(octets)
    with pytest.raises(GatewayError) as caught:
        HostLogins({"a.example": TlsSettings(login="hub", login_password=Secret(file=password))})
    assert caught.value.problem.id == problem


@pytest.mark.parametrize("case", ["unknown authority", "another name"])
def test_no_request_reaches_a_server_that_is_not(tls_files: tuple[Path, str], case: str) -> None:
    known = case == "another name"
    with far_tls(tls_files[0]) as there, pytest.raises(GatewayError) as caught:
        post_tls(
            there.url.replace("localhost", "127.0.0.1" if known else "localhost"),
            tls_files[1] if known else None,
        )
    assert caught.value.problem.id == "GW601"
    assert "certificate" in caught.value.detail.lower()
    assert there.requests == []
