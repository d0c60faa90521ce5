"""HTTP as the attack, against `gateway serve` over real sockets: nothing is held, nobody is starved."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from gateway_conformance.hostile import AttackerKit, AttackRunner, HttpRequest, UrlTarget, read_attacker_kit
from gateway_conformance.hostile.http_attacks import CASES
from gateway_conformance.hostile.runner import PASSED
from gateway_conformance.verbs.conformance_home import invite_suite, make_suite_home
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.process_logs import check_process_log
from tests.kit.served import read_process_file
from tests.kit.waiting import until

PATH = "/msh/ebms2"
#: Small bounds, so that they are met soon.
QUOTA, EACH, SECONDS = 4, 80, 6
SETTINGS = (
    f"requests_per_party = {QUOTA}\nconnections_per_address = {EACH}\n"
    f'read_time_out = "{SECONDS}s"\nthreads = 2\n'
)


@dataclass(frozen=True)
class Hub:
    """A gateway that serves, and what is needed to talk to it."""

    home: Path
    port: int
    bench: AttackerKit
    process: subprocess.Popen[bytes]

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), 20, (source, 0))

    def message(self, member: str = "a") -> HttpRequest:
        return self.bench.build_message(self.bench.make_unit(member), member)

    def post(self, post: HttpRequest, source: str = "127.0.0.1") -> int:
        """Send one message on a connection of its own and return the status."""
        connection = HTTPConnection("127.0.0.1", self.port, 30, (source, 0))
        try:
            connection.request("POST", PATH, post.body, dict(post.headers))
            answer = connection.getresponse()
            assert (answer.status == 200) == (b"Acknowledgment>" in answer.read())
            return answer.status
        finally:
            connection.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with serving(tmp_path_factory.mktemp("http") / "home", SETTINGS) as found:
        yield found


class serving:
    """``gateway serve`` of a new home, for the time of a block."""

    def __init__(self, home: Path, more: str) -> None:
        port = find_free_port()
        invite_suite(make_suite_home(home, f"[http]\nport = {port}\n{more}"), home / "partner")
        command = [sys.executable, "-m", "gateway", "serve", "--home", str(home)]
        self._log = home.with_name("serve.log")
        with self._log.open("wb") as errors:
            process = subprocess.Popen(
                command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=errors
            )
        self.hub = Hub(home, port, read_attacker_kit(home / "partner"), process)

    def __enter__(self) -> Hub:
        try:
            await_ready(self.hub)
        except BaseException:
            self.__exit__()
            raise
        return self.hub

    def __exit__(self, *_: object) -> None:
        process = self.hub.process
        process.terminate()
        try:
            process.wait(40)
        finally:
            process.kill()
        check_process_log(self._log)


def await_ready(hub: Hub) -> None:

    def is_ready() -> bool:
        assert hub.process.poll() is None, "the gateway ended"
        with hub.connect() as probe:
            probe.sendall(b"GET /status/ready HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")
            return probe.recv(12) == b"HTTP/1.1 200"

    until(is_ready, 240, not_yet=OSError)


def octets(post: HttpRequest) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in post.headers.items())
    head = f"POST {PATH} HTTP/1.1\r\nHost: hub\r\n{fields}Content-Length: {len(post.body)}\r\n\r\n"
    return head.encode() + post.body


def answer_on(connection: socket.socket) -> HTTPResponse:
    answer = HTTPResponse(connection, method="POST")
    answer.begin()
    answer.read()
    return answer


#: How many octets came on a connection.
told: defaultdict[socket.socket, int] = defaultdict(int)


def ended(connection: socket.socket) -> bool:
    """Tell whether the other side has ended a connection, reading what is there."""
    connection.settimeout(0)
    try:
        while piece := connection.recv(65536):
            told[connection] += len(piece)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def await_ended(connections: list[socket.socket], number: int) -> list[socket.socket]:
    """Wait until so many connections have ended and return those."""

    def list_ended() -> list[socket.socket]:
        closed = [connection for connection in connections if ended(connection)]
        return closed if len(closed) >= number else []

    return until(list_ended)


@pytest.mark.long
def test_no_case_of_the_family_gets_by(hub: Hub) -> None:
    runner = AttackRunner(
        hub.bench, UrlTarget(f"http://127.0.0.1:{hub.port}", hub.bench.faces), control_interval=5
    )
    results = runner.run_cases(CASES).results
    wrong = [f"{one.id}: {one.verdict} {one.got}" for one in results if one.verdict != PASSED]
    assert not wrong
    assert len(results) >= 95


@pytest.mark.long
def test_200_slow_connections_delay_nobody(hub: Hub) -> None:
    whole = octets(hub.message())
    starts = (b"", whole[:30], whole[:-1], whole[: len(whole) // 2])
    with ExitStack() as stack:
        sources = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]
        slow: list[socket.socket] = []
        for number in range(200):
            connection = stack.enter_context(hub.connect(sources[number % 4]))
            connection.sendall(starts[number // 4 % 4])
            slow.append(connection)
        # Many more than there are threads, most of them in the middle of a body.
        assert hub.post(hub.message()) == 200
        still = sum(not ended(one) for one in slow)
        assert still > 100, "the slow ones had gone before the honest one was served"
        assert [hub.post(hub.message(member)) for member in "abababab"] == [200] * 8
        await_ended(slow, 200)
    assert hub.post(hub.message()) == 200


@pytest.mark.long
def test_one_address_has_no_more_connections_than_its_share(hub: Hub) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(hub.connect("127.0.0.2")) for _ in range(EACH + 60)]
        for connection in crowd:
            connection.sendall(octets(hub.message("b"))[:-1])
        # Those whose time is over are told so; those beyond the share are not.
        untold = [one for one in await_ended(crowd, len(crowd)) if not told[one]]
        assert len(untold) >= 60
        assert hub.post(hub.message("b"), "127.0.0.3") == 200
    assert hub.post(hub.message(), "127.0.0.2") == 200


@pytest.mark.long
def test_a_party_beyond_its_quota_comes_again_while_another_is_served(hub: Hub) -> None:
    crowd = [hub.message("a") for _ in range(QUOTA + 6)]
    with ExitStack() as stack:
        # Nothing is committed as long as somebody else writes: what is asked stays in the house.
        other = sqlite3.connect(hub.home / "gateway.sqlite3", isolation_level=None, timeout=20)
        stack.callback(other.close)
        other.execute("BEGIN IMMEDIATE")
        connections = [stack.enter_context(hub.connect()) for _ in crowd]
        for connection, post in zip(connections, crowd, strict=True):
            connection.sendall(octets(post))
        refused = await_ended(connections, 6)
        b = stack.enter_context(hub.connect())
        b.sendall(octets(hub.message("b")))
        b.settimeout(0.3)
        with pytest.raises(TimeoutError):
            b.recv(1)
        other.execute("ROLLBACK")
        b.settimeout(20)
        assert answer_on(b).status == 200
        taken = [one for one in connections if one not in refused]
        assert len(taken) == QUOTA
        for connection in taken:
            connection.settimeout(20)
            assert answer_on(connection).status == 200
    # And afterwards everything is taken, what was refused and what was not.
    assert [hub.post(post) for post in crowd] == [200] * len(crowd)


@pytest.mark.long
def test_the_refusal_says_when_to_come_again(hub: Hub) -> None:
    with ExitStack() as stack:
        other = sqlite3.connect(hub.home / "gateway.sqlite3", isolation_level=None, timeout=20)
        stack.callback(other.close)
        other.execute("BEGIN IMMEDIATE")
        connections = [stack.enter_context(hub.connect()) for _ in range(QUOTA)]
        for connection in connections:
            connection.sendall(octets(hub.message("a")))
        answer = None
        for _ in range(100):
            one = stack.enter_context(hub.connect())
            one.settimeout(0.2)
            one.sendall(octets(hub.message("a")))
            with suppress(TimeoutError):
                answer = answer_on(one)
                break
        other.execute("ROLLBACK")
        assert answer is not None
        assert answer.status == 503
        assert str(answer.getheader("Retry-After")).isdigit()
        assert answer.getheader("Connection") == "close"


@pytest.mark.long
def test_a_signed_message_may_have_announced_trailers_but_no_cut_end(tmp_path: Path) -> None:
    with serving(tmp_path / "home", 'read_time_out = "30s"\n') as hub:
        post = hub.message("a")
        fields = "".join(f"{name}: {value}\r\n" for name, value in post.headers.items())
        fields += "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
        head = f"POST {PATH} HTTP/1.1\r\nHost: hub\r\n{fields}\r\n".encode()
        for body, status in ((post.body, 200), (post.body[:-200], 400)):
            with hub.connect() as connection:
                chunks = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
                connection.sendall(head + chunks)
                assert answer_on(connection).status == status


@pytest.mark.night
def test_what_has_begun_is_answered_before_the_end(tmp_path: Path) -> None:
    with serving(tmp_path / "home", 'read_time_out = "10s"\n') as hub, hub.connect() as begun:
        whole = octets(hub.message())
        begun.sendall(whole[:-10])
        with hub.connect() as idle:
            idle.sendall(b"GET /status/live HTTP/1.1\r\nHost: hub\r\n\r\n")
            assert answer_on(idle).status == 200
            hub.process.send_signal(signal.SIGTERM)
            await_ended([idle], 1)
        begun.sendall(whole[-10:])
        assert answer_on(begun).status == 200
        assert hub.process.wait(30) == 0


@pytest.mark.long
def test_a_process_that_dies_is_replaced(hub: Hub) -> None:
    children = Path(f"/proc/{hub.process.pid}/task/{hub.process.pid}/children")
    if not children.exists():
        pytest.skip("this system does not say which processes are whose")
    for child in children.read_text().split():
        command = read_process_file(int(child), "cmdline")
        if command and b"resource_tracker" not in command:
            os.kill(int(child), signal.SIGKILL)
    await_ready(hub)
    assert hub.post(hub.message()) == 200
