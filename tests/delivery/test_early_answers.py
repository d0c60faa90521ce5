"""Answers that arrive before the end of a request: they are read, and their status is told."""

from __future__ import annotations

import gc
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from weakref import ref

import pytest

from gateway.client import HttpPoster, HttpReply
from gateway.client.sending_outcome import NotTakenError, raise_not_answered_error
from gateway.delivery import HttpAnswer, HttpClient, HttpLimits, http_client
from gateway.delivery.http_answer_reader import ArrivingAnswer
from gateway.errors import GatewayError
from gateway_conformance.pki import CertificateOrder, issue_certificate, make_authority

#: More than the buffers of both ends of a connection hold.
LARGE = b"x" * (24 << 20)
PATIENT = HttpLimits(connect_seconds=60, read_seconds=60, total_seconds=120, max_answer_octets=100_000)
PAGE = b"it takes 1 MB at most"
TOO_LARGE = b"HTTP/1.1 413 Content Too Large\r\nContent-Type: text/plain\r\nContent-Length: 21\r\n\r\n" + PAGE
WITHOUT_LENGTH = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n"
MOVED = b"HTTP/1.1 301 Moved\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: How a server behaves on a connection whose request has begun.
Behaviour = Callable[["EarlyServer", socket.socket], None]


class EarlyServer:
    """Reads the head of each request, and leaves the rest to `behave`."""

    def __init__(self, behave: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://localhost:{self._listener.getsockname()[1]}/"
        self.octets_read = 0
        self.requests = 0
        self.next_began = False
        self.stop = threading.Event()
        self._behave = behave
        self._context = context
        threading.Thread(target=self._accept_connections, daemon=True).start()

    def _accept_connections(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            # Else an answer may wait for the acknowledgement of what was sent before, and a close drops it.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                # A few octets of the body may come with the head; the rest of it waits.
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (piece := connection.recv(1 << 14)):
                        return
                    head += piece
                self.requests += 1
                self._behave(self, connection)

    def drain(self, connection: socket.socket, octets: int = len(LARGE)) -> None:
        """Read the body, which has so many octets, but for what came with the head."""
        while self.octets_read < octets - (1 << 14) and (piece := connection.recv(1 << 16)):
            self.octets_read += len(piece)

    def close(self) -> None:
        self.stop.set()
        self._listener.close()


def answer_and_close(octets: bytes) -> Behaviour:
    return lambda _server, connection: connection.sendall(octets)


def answer_and_wait(octets: bytes) -> Behaviour:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(octets)
        server.stop.wait(60)

    return behave


def answer_and_read_on(octets: bytes) -> Behaviour:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(octets)
        server.drain(connection)
        server.stop.wait(60)

    return behave


def read_a_little_and_answer(server: EarlyServer, connection: socket.socket) -> None:
    """Answer while the client waits because nothing more is read."""
    server.drain(connection, 1 << 20)
    server.stop.wait(0.5)
    connection.sendall(TOO_LARGE)
    server.stop.wait(60)


def answer_in_pieces(server: EarlyServer, connection: socket.socket) -> None:
    for octet in b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + TOO_LARGE:
        connection.sendall(bytes((octet,)))
        server.stop.wait(0.002)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a file with key and certificate of localhost, and the PEM of its authority."""
    now = datetime.now(UTC) - timedelta(hours=1)
    authority = make_authority("CN=TLS CA", now)
    order = CertificateOrder(profile="tls-server", alternative_names=("dns:localhost",))
    issued = issue_certificate(authority, "CN=localhost", now, order)
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(issued.key_pem + ssl.DER_cert_to_PEM_cert(issued.certificate.der).encode())
    return file, ssl.DER_cert_to_PEM_cert(authority.certificate.der)


#: Makes a server that behaves so; with it the context by which a client trusts it.
ServerMaker = Callable[[Behaviour], EarlyServer]


class Transport:
    """Plain TCP, or a version of TLS."""

    def __init__(self, version: ssl.TLSVersion | None, certificates: tuple[Path, str]) -> None:
        self._server_context: ssl.SSLContext | None = None
        self.client_context: ssl.SSLContext | None = None
        if version is not None:
            self._server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server_context.load_cert_chain(certificates[0])
            self._server_context.maximum_version = version
            self.client_context = ssl.create_default_context(cadata=certificates[1])

    @contextmanager
    def serve(self, behave: Behaviour) -> Iterator[EarlyServer]:
        server = EarlyServer(behave, self._server_context)
        try:
            yield server
        finally:
            server.close()

    def post(self, url: str, body: bytes = LARGE, limits: HttpLimits = PATIENT) -> HttpAnswer:
        """POST as every agent of the hub does."""
        client = HttpClient(limits, self.client_context)
        try:
            return client.post(url, {"Content-Type": "text/xml"}, body)
        finally:
            client.close()


VERSIONS = {"tcp": None, "tls1.2": ssl.TLSVersion.TLSv1_2, "tls1.3": ssl.TLSVersion.TLSv1_3}


@pytest.fixture(params=VERSIONS)
def transport(request: pytest.FixtureRequest, certificates: tuple[Path, str]) -> Transport:
    return Transport(VERSIONS[request.param], certificates)


@pytest.mark.parametrize(
    "behave",
    [
        answer_and_close(TOO_LARGE),
        answer_and_wait(TOO_LARGE),
        answer_and_read_on(TOO_LARGE),
        read_a_little_and_answer,
        answer_in_pieces,
    ],
    ids=["closes", "reads nothing", "reads on", "answers later", "answers in pieces"],
)
def test_an_error_before_the_end_of_a_request_is_its_answer(transport: Transport, behave: Behaviour) -> None:
    started = time.monotonic()
    with transport.serve(behave) as server:
        answer = transport.post(server.url)
        assert (answer.status, answer.body, server.requests) == (413, PAGE, 1)
        # The rest is not sent.
        assert server.octets_read < len(LARGE) - (1 << 20)
    # It is not the silence that ends.
    assert time.monotonic() - started < 30


def test_an_error_without_an_end_is_told_and_never_decides(transport: Transport) -> None:
    def half(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(TOO_LARGE[:-1])

    with transport.serve(half) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url)
    assert (caught.value.problem.id, caught.value.theirs) == ("GW608", "HTTP status 413")
    assert caught.value.problem.retry


def test_an_error_that_only_the_end_of_its_connection_ends(transport: Transport) -> None:
    """The end is no end in order: what is missing is not known."""
    with transport.serve(answer_and_close(WITHOUT_LENGTH)) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url)
    assert (caught.value.problem.id, caught.value.theirs) == ("GW608", "HTTP status 413")


def test_an_error_that_stops_in_the_middle_is_told() -> None:
    hasty = HttpLimits(connect_seconds=60, read_seconds=1, total_seconds=60)  # short: it must run out
    plain = Transport(None, (Path(), ""))
    with plain.serve(answer_and_wait(TOO_LARGE[:-1])) as server, pytest.raises(GatewayError) as caught:
        plain.post(server.url, b"<x/>", hasty)
    assert (caught.value.problem.id, caught.value.theirs) == ("GW608", "HTTP status 413")


@pytest.mark.parametrize("end", [answer_and_close, answer_and_wait])
def test_a_redirect_is_an_answer_too(transport: Transport, end: Callable[[bytes], Behaviour]) -> None:
    with transport.serve(end(MOVED)) as server:
        assert transport.post(server.url).status == 301
    with (
        transport.serve(answer_and_close(MOVED.replace(b"0\r\n\r\n", b"9\r\n\r\nhalf"))) as server,
        pytest.raises(GatewayError) as caught,
    ):
        transport.post(server.url)
    assert (caught.value.problem.id, caught.value.theirs) == ("GW603", "HTTP status 301")


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 102 Processing\r\n\r\n"])
def test_a_success_and_an_interim_answer_do_not_end_a_request(transport: Transport, first: bytes) -> None:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(first or GOOD[:-1])
        server.drain(connection)
        connection.sendall(GOOD if first else GOOD[-1:])
        server.stop.wait(60)

    with transport.serve(behave) as server:
        assert transport.post(server.url).body == b"ok"
        assert server.octets_read >= len(LARGE) - (1 << 14)


@pytest.mark.parametrize(
    "behave",
    [
        answer_and_close(GOOD),
        answer_and_close(GOOD[:-1]),
        answer_and_close(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"),
        answer_and_wait(GOOD),
        answer_and_wait(b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
    ids=["whole", "half", "without length", "reads nothing", "reads nothing, without content"],
)
def test_a_success_before_the_end_of_a_request_proves_nothing(
    transport: Transport, behave: Behaviour
) -> None:
    limits = HttpLimits(connect_seconds=60, read_seconds=1, total_seconds=60)  # short: it must run out
    with transport.serve(behave) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url, LARGE, limits)
    assert (caught.value.problem.id, caught.value.theirs[:13]) == ("GW603", "HTTP status 2")
    assert caught.value.problem.retry
    assert server.requests == 1


def test_a_connection_that_ends_without_an_answer(transport: Transport) -> None:
    for octets in (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 413 Content Too Large\r\nX"):
        with transport.serve(answer_and_close(octets)) as server, pytest.raises(GatewayError) as caught:
            transport.post(server.url)
        assert caught.value.problem.id == "GW601"
        assert server.requests == 1


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 4000,
        b"HTTP/1.1 413 No\r\nX: " + b"y" * 100_000,
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ],
    ids=["interim answers without end", "long head", "no HTTP", "another protocol"],
)
def test_what_is_no_answer_ends_the_request(transport: Transport, octets: bytes) -> None:
    started = time.monotonic()
    with transport.serve(answer_and_wait(octets)) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url)
    assert caught.value.problem.id == "GW603"
    assert time.monotonic() - started < 30


def test_who_takes_nothing_and_says_nothing_is_told_in_time(transport: Transport) -> None:
    hasty = HttpLimits(connect_seconds=60, read_seconds=1, total_seconds=60)  # short: it must run out
    with transport.serve(answer_and_wait(b"")) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url, LARGE, hasty)
    assert (caught.value.problem.id, "not taken in the time allowed" in caught.value.detail) == (
        "GW601",
        True,
    )


def test_who_sends_interim_answers_takes_no_longer_to_be_told(transport: Transport) -> None:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        while not server.stop.wait(0.1):
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")

    hasty = HttpLimits(connect_seconds=60, read_seconds=1, total_seconds=60)  # short: it must run out
    started = time.monotonic()
    with transport.serve(behave) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url, LARGE, hasty)
    assert "not taken in the time allowed" in caught.value.detail
    assert time.monotonic() - started < 30


def test_who_takes_a_request_slowly_has_a_deadline(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        while not server.stop.wait(0.2):
            connection.recv(1 << 16)

    monkeypatch.setattr(http_client, "_MIN_OCTETS_PER_SECOND", len(LARGE))
    limits = HttpLimits(connect_seconds=60, read_seconds=60, total_seconds=1)  # short: it must run out
    started = time.monotonic()
    with transport.serve(behave) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url, LARGE, limits)
    assert "no complete answer in the time allowed" in caught.value.detail
    assert time.monotonic() - started < 30


@pytest.mark.long
def test_who_takes_a_request_in_steps_is_not_silent() -> None:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        for part in range(1, 11):
            server.stop.wait(1)
            server.drain(connection, part * len(LARGE) // 10)
        connection.sendall(GOOD)
        server.stop.wait(60)

    plain = Transport(None, (Path(), ""))
    # Less than all steps together, and much more than one.
    limits = HttpLimits(connect_seconds=60, read_seconds=6, total_seconds=60)
    with plain.serve(behave) as server:
        assert plain.post(server.url, LARGE, limits).status == 200


def test_a_limit_of_a_month_is_one(transport: Transport) -> None:
    with transport.serve(answer_and_wait(GOOD)) as server:
        assert transport.post(server.url, b"", HttpLimits.from_time_out(timedelta(days=30))).status == 200


def test_who_ends_its_side_without_an_answer_is_told_at_once(transport: Transport) -> None:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        socket.socket.shutdown(connection, socket.SHUT_WR)
        server.stop.wait(60)

    started, processor = time.monotonic(), time.thread_time()
    with transport.serve(behave) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url)
    assert caught.value.problem.id == "GW601"
    assert time.monotonic() - started < 30
    assert time.thread_time() - processor < 5


def test_a_reset_is_told_in_its_words() -> None:
    plain = Transport(None, (Path(), ""))
    with plain.serve(answer_and_close(b"")) as server, pytest.raises(GatewayError) as caught:
        plain.post(server.url)
    assert caught.value.problem.id == "GW601"
    assert caught.value.detail in ("Connection reset by peer", "Broken pipe")


class BrokenConnection:
    """A connection that was reset: this is told to who sends, and an end in order to who receives then."""

    def __init__(self, connection: socket.socket, octets: bytes) -> None:
        self._connection = connection
        self._pieces = [octets, b""]

    def fileno(self) -> int:
        return self._connection.fileno()

    def setblocking(self, _flag: bool) -> None:
        """Do nothing."""

    def settimeout(self, _seconds: float) -> None:
        """Do nothing."""

    def send(self, _octets: bytes) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def recv(self, _most: int) -> bytes:
        return self._pieces.pop(0)

    def close(self) -> None:
        self._connection.close()


@pytest.mark.parametrize(
    ("octets", "problem", "words"),
    [(WITHOUT_LENGTH, "GW608", "did not arrive whole"), (b"", "GW601", "Broken pipe"), (TOO_LARGE, "", "")],
)
def test_a_reset_that_the_sending_has_noticed_is_no_end_of_an_answer(
    octets: bytes, problem: str, words: str
) -> None:
    class Connector:
        def wrap_connection(self, connection: socket.socket, host: str, port: int) -> Any:
            del host, port
            return BrokenConnection(connection, octets)

        def get_revocations(self) -> None:
            return None

    with Transport(None, (Path(), "")).serve(answer_and_wait(b"")) as server:
        client = HttpClient(PATIENT, Connector())
        url = server.url.replace("http", "https")
        if not problem:
            assert client.post(url, {}, b"<x/>").status == 413
            return
        with pytest.raises(GatewayError) as caught:
            client.post(url, {}, b"<x/>")
    assert caught.value.problem.id == problem
    assert words in caught.value.detail


def test_an_endless_success_is_not_held_while_the_request_is_sent(
    transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    class CountingAnswer(ArrivingAnswer):
        def add_octets(self, octets: bytes) -> None:
            held.append(len(octets))
            super().add_octets(octets)

    def behave(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(GOOD.replace(b": 2", b": 999999999"))
        # Over TLS, one thread reads and writes.
        connection.setblocking(False)
        while server.octets_read < len(LARGE) - (1 << 14):
            with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                connection.send(b"x" * 1000)
            with suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                server.octets_read += len(connection.recv(1 << 16))
        connection.setblocking(True)
        while True:
            connection.sendall(b"x" * (1 << 16))

    monkeypatch.setattr(http_client, "ArrivingAnswer", CountingAnswer)
    with transport.serve(behave) as server, pytest.raises(GatewayError) as caught:
        transport.post(server.url)
    assert caught.value.problem.id == "GW603"
    assert sum(held) < 1 << 18


def test_a_request_that_was_cut_off_is_not_held_any_longer(transport: Transport) -> None:
    class CountedBody:
        octet_count = len(LARGE)

        def open_stream(self) -> io.BytesIO:
            stream = io.BytesIO(LARGE)
            streams.append(ref(stream))
            return stream

    streams: list[ref[io.BytesIO]] = []
    gc.disable()
    try:
        for octets in (b"", TOO_LARGE, GOOD):
            with transport.serve(answer_and_close(octets)) as server, suppress(GatewayError):
                client = HttpClient(PATIENT, transport.client_context)
                client.post(server.url, {}, CountedBody())
            assert [stream() for stream in streams] == [None] * len(streams)
    finally:
        gc.enable()
    assert len(streams) == 3


def test_an_early_success_says_nothing_about_the_next_request(transport: Transport) -> None:
    def behave(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(GOOD)
        server.drain(connection)
        # What came of the body with the head is not known to the octet: wait until all was sent.
        connection.settimeout(1.0)
        with suppress(TimeoutError, ssl.SSLError):
            while not server.next_began:
                server.next_began = b"POST " in connection.recv(1 << 16)
        connection.sendall(TOO_LARGE)
        server.stop.wait(60)

    client = HttpClient(PATIENT, transport.client_context)
    with transport.serve(behave) as server:
        assert client.post(server.url, {}, LARGE).status == 200
        assert client.post(server.url, {}, LARGE).status == 413
        assert server.requests == 1
    client.close()


def test_octets_behind_an_early_answer_end_its_connection() -> None:
    """All that arrived while the request was sent is looked at: nothing of it is left for the next one."""
    interim = b"HTTP/1.1 103 Early Hints\r\nX: " + b"y" * 30_000 + b"\r\n\r\n"
    first = interim + b"HTTP/1.1 103 Early Hints\r\nX: "
    second = b"y" * ((1 << 16) - len(first) - 4 - len(GOOD)) + b"\r\n\r\n" + GOOD

    def behave(server: EarlyServer, connection: socket.socket) -> None:
        connection.sendall(first)
        server.stop.wait(0.5)
        connection.sendall(second + GOOD)
        server.stop.wait(0.5)
        # The first connection may still be read when the second one begins: each is counted for itself.
        octets_left = len(LARGE) - (1 << 14)
        while octets_left > 0 and (piece := connection.recv(1 << 16)):
            octets_left -= len(piece)
        server.stop.wait(60)

    plain = Transport(None, (Path(), ""))
    client = HttpClient(PATIENT)
    with plain.serve(behave) as server:
        for _ in range(2):
            assert client.post(server.url, {}, LARGE).status == 200
        assert server.requests == 2
    client.close()


def test_a_connection_with_an_early_answer_is_not_used_again(transport: Transport) -> None:
    client = HttpClient(PATIENT, transport.client_context)
    with transport.serve(answer_and_wait(TOO_LARGE)) as server:
        for _ in range(2):
            assert client.post(server.url, {}, LARGE).status == 413
        assert server.requests == 2
    client.close()


class TestBroker:
    """The client of brokers: a person reads what the hub answered."""

    def post(self, transport: Transport, server: EarlyServer) -> HttpReply:
        poster = HttpPoster(server.url, 5.0, transport.client_context)
        try:
            return poster.post({}, LARGE)
        finally:
            poster.close()

    @pytest.mark.parametrize("octets", [TOO_LARGE, TOO_LARGE[:-1], MOVED], ids=["whole", "half", "redirect"])
    def test_an_error_is_its_answer(self, transport: Transport, octets: bytes) -> None:
        with transport.serve(answer_and_close(octets)) as server:
            reply = self.post(transport, server)
            assert (reply.status, reply.is_early) == (int(octets[9:12]), True)
            assert reply.body in (b"", PAGE)
            assert server.requests == 1
        with pytest.raises(
            NotTakenError, match=f"HTTP status {reply.status} before it had the whole message"
        ):
            raise_not_answered_error(reply, server.url)

    @pytest.mark.long
    def test_an_error_of_who_reads_nothing_is_its_answer(self, transport: Transport) -> None:
        with transport.serve(answer_and_wait(TOO_LARGE)) as server:
            assert self.post(transport, server).status == 413

    def test_an_answer_to_a_whole_request_is_not_early(self, transport: Transport) -> None:
        def behave(server: EarlyServer, connection: socket.socket) -> None:
            server.drain(connection)
            connection.settimeout(1.0)
            with suppress(TimeoutError, ssl.SSLError):
                while connection.recv(1 << 16):
                    pass
            connection.sendall(TOO_LARGE[:-1])

        with transport.serve(behave) as server:
            reply = self.post(transport, server)
        assert (reply.status, reply.is_early, reply.body) == (413, False, b"")

    @pytest.mark.parametrize(
        ("octets", "words"),
        [
            (GOOD, "HTTP status 200 before it had the whole request"),
            (b"SSH-2.0-x\r\n", "the answer does not begin as HTTP/1.1 does"),
            (b"", ""),
        ],
        ids=["success", "no HTTP", "nothing"],
    )
    def test_what_proves_nothing_is_told(self, transport: Transport, octets: bytes, words: str) -> None:
        with transport.serve(answer_and_close(octets)) as server, pytest.raises(GatewayError) as caught:
            self.post(transport, server)
        assert caught.value.problem.id == "GW601"
        assert words in caught.value.detail
