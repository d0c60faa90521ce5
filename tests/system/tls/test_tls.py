"""The table of TLS, and what handshakes and connections may cost, with real sockets and processes."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.delivery import HttpClient, PerHostConnector
from gateway.errors import GatewayError
from gateway.evidence import list_subject_leaves
from gateway.hub.wiring import build_engine
from gateway.pki import RevocationData
from gateway.store import read_transaction
from gateway_conformance.hostile import UrlTarget
from gateway_conformance.pki import make_revocation_list
from tests.kit.client_hello import make_hello
from tests.kit.served import read_process_file
from tests.system.tls import calling, listening, table
from tests.system.tls.place import Place, renew_server, served
from tests.system.tls.row import TAKEN

pytestmark = pytest.mark.long

EACH = 8
SETTINGS = f"{listening.SETTINGS}connections_per_address = {EACH}\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with served(tmp_path_factory.mktemp("tls") / "home", SETTINGS) as found:
        yield found


def test_a_kept_connection_is_not_used_after_its_server_was_revoked(tmp_path: Path) -> None:
    us = calling.Caller(tmp_path)
    issued = us.issue(us.authority)
    connector = PerHostConnector(us.sections(), lambda: (us.lists, datetime.now(UTC)))
    client, context = HttpClient(calling.PATIENT, connector), us.listening(issued)

    def answer_all(server: calling.Server, connection: socket.socket) -> None:
        server.shown.append(None)
        with context.wrap_socket(connection, server_side=True) as secured:
            while server.read(secured):
                secured.sendall(calling.OK)

    with calling.serving(answer_all) as server:
        url = f"https://localhost:{server.port}/"
        for _ in range(2):
            assert client.post(url, {}, b"<x/>").status == 200
        assert len(server.shown) == 1, "the connection is kept"
        us.lists = RevocationData((make_revocation_list(us.authority, [issued.certificate.serial], us.now),))
        with pytest.raises(GatewayError, match=r"GW601.*revoked"):
            client.post(url, {}, b"<x/>")
        assert server.requests == 2
    client.close()


def within(seconds: float, held: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not held():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def ended(connection: socket.socket) -> bool:
    """Tell whether the other end has closed; what it says before is read away."""
    while select.select([connection], [], [], 0)[0]:
        try:
            if not connection.recv(4096):
                return True
        except ssl.SSLWantReadError:
            return False
        except OSError:
            return True
    return False


def silent(place: Place, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", place.port), 10, (source, 0))


def shaken(place: Place, source: str) -> ssl.SSLSocket:
    return place.context().wrap_socket(silent(place, source), server_hostname="localhost")


def test_who_connects_to_us(place: Place) -> None:
    found = list(listening.rows(place))
    assert [row for row in found if not row.good] == []
    assert table.told("listening") == table.drawn(found), "run: python -m tests.system.tls --write"


def test_whom_we_call(tmp_path: Path) -> None:
    found = list(calling.rows(tmp_path))
    assert [row for row in found if not row.good] == []
    assert table.told("calling") == table.drawn(found), "run: python -m tests.system.tls --write"


def test_a_connection_that_is_not_the_senders_leaves_evidence(place: Place) -> None:
    assert listening.outcome(place, place.message("b"), "right") == "GW213"
    engine = build_engine(place.settings)
    try:
        with read_transaction(engine) as conn:
            found = list_subject_leaves(conn, "party", "suite-b")
    finally:
        engine.dispose()
    [row] = [one for one in found if one.kind == "connection_refused"][-1:]
    assert row.digest == place.issued["right"].certificate.sha256
    assert '"problem":"GW213"' in row.data


def test_what_is_said_inside_a_connection_is_no_certificate(place: Place) -> None:
    shown = place.issued["right"].certificate
    name = f"127.0.0.1,1,{shown.sha256}"
    forged = {
        "Client-Cert": f":{shown.sha256}:",
        "gateway.certificate": shown.sha256,
        "X-Forwarded-For": name,
    }
    status, body = place.post(place.message(), headers=forged)
    assert status in (200, 500)
    assert b"GW213" in body


def test_one_connection_carries_many_messages(place: Place) -> None:
    connection = place.connect("right")
    for _ in range(3):
        post = place.message()
        connection.request("POST", "/msh/ebms2", post.body, dict(post.headers))
        assert b"Acknowledgment>" in connection.getresponse().read()
    connection.close()


def test_a_verb_calls_over_tls(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    case = "SIG-01.child-of-signature.ackrequested"
    words = ["conformance", "run", "hostile", "--only", case, "--partner", str(place.home / "partner")]
    words += ["--url", f"https://localhost:{place.port}"]
    right = str(place.certificates["right"])
    shown = ["--client-certificate", right, "--client-key", right]
    assert main([*words, "--ca", str(place.home / "pki" / "ca.pem"), *shown]) == 0
    assert "1 passed, 0 failed" in capsys.readouterr().out
    assert main([*words, "--client-certificate", right]) == 2
    assert "GW808" in capsys.readouterr().err


def test_whoever_does_not_believe_the_gateway_tells_it_nothing(place: Place) -> None:
    target = UrlTarget(f"https://localhost:{place.port}", place.bench.faces)
    assert target.send(place.message("b")).status is None
    believing = UrlTarget(target.name, place.bench.faces, tls=place.context())
    assert believing.send(place.message("b")).status == 200


def test_handshakes_that_never_end_hold_nobody_up(place: Place) -> None:
    crowd = [silent(place, "127.0.0.3") for _ in range(EACH)]
    time.sleep(0.3)
    try:
        with silent(place, "127.0.0.3") as beyond:
            assert within(60, lambda: ended(beyond))
        assert listening.outcome(place, place.message(), "right") == TAKEN
        # One of them trickles: the time is that of the whole handshake.
        trickle = crowd[0]
        trickle.sendall(b"\x16\x03\x01\x02\x00")

        def over() -> bool:
            with suppress(OSError):
                trickle.sendall(b"\x00")
            return all(ended(one) for one in crowd)

        assert within(20, over)
    finally:
        for one in crowd:
            one.close()


def test_a_name_that_is_not_ascii_writes_nothing_to_the_log(place: Place) -> None:
    """The log is read when the gateway has ended."""
    for _ in range(20):
        with silent(place, "127.0.0.5") as stranger:
            stranger.sendall(make_hello("관세청.예제".encode()))
            assert stranger.recv(1) == b"\x16"


def is_answered(connection: ssl.SSLSocket) -> bool:
    """Return whether a request on a connection gets an answer; the connection is not silent then."""
    answer = HTTPResponse(connection)
    try:
        connection.sendall(b"GET /status/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer.begin()
        answer.read()
    except (OSError, HTTPException):
        return False
    return answer.status == 200


def test_connections_of_one_address_are_bounded_by_its_own_address(place: Place) -> None:
    connections = [shaken(place, "127.0.0.4") for _ in range(EACH + 4)]
    try:
        # None of them is silent: those that end are too many, and no others.
        for _ in range(60):
            answered = [connection for connection in connections if is_answered(connection)]
            if len(answered) <= EACH:
                break
            time.sleep(1)
        assert len(answered) == EACH
        assert listening.outcome(place, place.message(), "right") == TAKEN
        assert all(is_answered(connection) for connection in answered)
        # Whoever says nothing is closed in time, as without TLS.
        for connection in answered:
            connection.setblocking(False)
        assert within(60, lambda: all(ended(connection) for connection in answered))
    finally:
        for connection in connections:
            connection.close()


def test_a_slow_body_ends_with_408(place: Place) -> None:
    with shaken(place, "127.0.0.1") as slow:
        fields = b"Host: localhost\r\nContent-Type: text/xml\r\nContent-Length: 9\r\n\r\n"
        slow.sendall(b"POST /msh/ebms2 HTTP/1.1\r\n" + fields + b"<")
        slow.settimeout(60)
        assert slow.recv(4096).startswith(b"HTTP/1.1 408")


def serial(place: Place) -> int:
    """Return the serial number of the certificate that the gateway shows now."""
    with shaken(place, "127.0.0.1") as connection:
        told = connection.getpeercert()
        assert told is not None
        return int(str(told["serialNumber"]), 16)


def test_another_certificate_is_shown_without_a_restart(place: Place) -> None:
    kept = place.connect("right")
    kept.request("GET", "/status/live")
    kept.getresponse().read()
    other = renew_server(place.home)
    assert serial(place) == other
    # What cannot be used changes nothing.
    written = place.home / "pki" / "tls.pem"
    good = written.read_bytes()
    written.write_bytes(b"no certificate")
    assert serial(place) == other
    written.write_bytes(good)
    assert serial(place) == other
    kept.request("GET", "/status/live")
    assert kept.getresponse().status == 200
    kept.close()


def fronts(place: Place) -> list[int]:
    """Return the processes that end TLS, among the children of the gateway."""
    parent = place.process.pid
    tasks = [task.name for task in Path(f"/proc/{parent}/task").iterdir()]
    children = b" ".join(read_process_file(parent, f"task/{task}/children") for task in tasks).split()
    found = {int(child) for child in children}
    return [pid for pid in found if b"spawn_main" in read_process_file(pid, "cmdline")]


def test_the_process_that_ends_tls_is_started_again(place: Place) -> None:
    [pid] = fronts(place)
    os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        try:
            return place.alive().status == 200
        except (OSError, HTTPException):
            return False

    assert within(60, back)
    assert fronts(place) not in ([], [pid])
    assert listening.outcome(place, place.message(), "right") == TAKEN


def test_an_end_in_order(tmp_path: Path) -> None:
    """The process that ends TLS goes with the others, and the port is free."""
    # A gateway of its own: the tests of a file come in any order where workers take them from each other.
    with served(tmp_path / "home", SETTINGS) as place:
        [pid] = fronts(place)
        place.process.send_signal(signal.SIGTERM)
        assert place.process.wait(30) == 0
        assert not Path(f"/proc/{pid}").exists()
        with socket.create_server(("127.0.0.1", place.port)):
            pass
