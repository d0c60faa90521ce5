"""What strangers or partners fill on purpose is not taken from others: bodies, connections, passwords."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.flows.hostile.test_http import Hub, serving
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.served import end_process
from tests.kit.waiting import until

MIB = 1024**2
NETWORKS = [f"127.0.1.{number}" for number in range(1, 9)]
#: The page that takes the largest forms.
UPLOAD = "/console/submissions/1/items/1"


@dataclass(frozen=True)
class House:
    """A hub for messages, and the port of its console."""

    hub: Hub
    console_port: int

    def hold_back(
        self,
        stack: ExitStack,
        port: int,
        path: str,
        octets: int,
        source: str,
        *,
        sent: int | None = None,
    ) -> socket.socket:
        """Send a body but for its last octet, or `sent` octets of it."""
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20, (source, 0)))
        head = f"POST {path} HTTP/1.1\r\nHost: hub\r\nContent-Length: {octets}\r\n\r\n"
        connection.sendall(head.encode())
        connection.settimeout(5)
        with suppress(OSError):  # it may be refused meanwhile
            connection.sendall(b"x" * (octets - 1 if sent is None else sent))
        return connection

    def ask_console(self, method: str, path: str, body: bytes = b"", source: str = "127.0.0.9") -> int:
        """Ask the console from a network and return the status."""
        connection = HTTPConnection("127.0.0.1", self.console_port, 60, (source, 0))
        try:
            connection.request(method, path, body, {"Content-Type": "application/x-www-form-urlencoded"})
            answer: HTTPResponse = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


def ask_for_seconds(seconds: float, ask: Callable[[], int]) -> set[int]:
    """Ask again and again while a server takes up what was sent to it, and return the statuses."""
    end, statuses = time.monotonic() + seconds, set()
    while time.monotonic() < end:
        statuses.add(ask())
        time.sleep(0.05)
    return statuses


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    port = find_free_port()
    settings = (
        'read_time_out = "60s"\nconnections = 96\nconnections_per_address = 24\n'
        f"[console]\nenabled = true\nport = {port}\n"
    )
    with serving(tmp_path_factory.mktemp("pots") / "home", settings) as hub:
        command = [sys.executable, "-m", "gateway", "console", "--home", str(hub.home)]
        console = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        house = House(hub, port)
        try:
            until(lambda: house.ask_console("GET", "/console/sign-in") == 200, 120, not_yet=OSError)
            yield house
        finally:
            end_process(console)


@pytest.mark.long
def test_bodies_held_back_by_strangers_take_no_room_from_messages(house: House) -> None:
    hub = house.hub
    with ExitStack() as stack:
        for source in NETWORKS[:4] * 16:
            house.hold_back(stack, hub.port, "/soap/agency", 4 * MIB, source)
        assert ask_for_seconds(2, lambda: hub.post(hub.message(), "127.0.0.9")) == {200}
        large = HTTPConnection("127.0.0.1", hub.port, 30, ("127.0.0.10", 0))
        stack.callback(large.close)
        large.request("POST", "/soap/agency", b"x" * MIB)
        assert large.getresponse().status != 503


@pytest.mark.long
def test_forms_held_back_by_strangers_take_no_room_from_the_console(house: House) -> None:
    with ExitStack() as stack:
        for source in NETWORKS:
            house.hold_back(stack, house.console_port, UPLOAD, 33 * MIB, source)
        asked = ask_for_seconds(3, lambda: house.ask_console("POST", "/console/language", b"language=ko"))
        assert asked == {302}


@pytest.mark.long
def test_forms_without_files_are_small(house: House) -> None:
    """A request that announces too much is refused before its body: the server closes the connection."""
    with ExitStack() as stack:
        for path, octets, is_refused in (
            ("/console/sign-in", 64 * 1024 + 1, True),
            ("/console/language", MIB + 1, True),
            ("/console/no-such-page", MIB + 1, True),
            (UPLOAD, 34 * MIB + 1, True),
            ("/console/sign-in", 64 * 1024, False),
            ("/console/language", MIB, False),
            (UPLOAD, 34 * MIB, False),
        ):
            connection = house.hold_back(stack, house.console_port, path, octets, "127.0.0.9", sent=10)
            connection.settimeout(20 if is_refused else 0.5)
            try:
                answer = connection.recv(12)
            except TimeoutError:
                answer = b""
            assert answer == (b"HTTP/1.1 413" if is_refused else b""), path


@pytest.mark.long
def test_guessed_passwords_take_no_thread_from_pages(house: House) -> None:
    def guess(number: int) -> int:
        body = f"name=somebody{number}&password=not-the-password".encode()
        return house.ask_console("POST", "/console/sign-in", body, f"127.0.2.{number % 24 + 1}")

    with ThreadPoolExecutor(48) as pool:
        guesses = [pool.submit(guess, number) for number in range(60)]
        pages = 0
        while not all(each.done() for each in guesses[:40]):
            assert house.ask_console("GET", "/console/sign-in") == 200
            pages += 1
        assert {each.result() for each in guesses} <= {401, 429}
    assert pages > 20, "a page waits for the passwords of others"


@pytest.mark.long
def test_passwords_of_those_who_have_gone_are_not_judged(house: House) -> None:
    body = b"name=gone&password=not-the-password"
    head = f"POST /console/sign-in HTTP/1.1\r\nHost: hub\r\nContent-Length: {len(body)}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    before = count_attempts(house)
    for number in range(60):
        with socket.create_connection(
            ("127.0.0.1", house.console_port), 20, (f"127.0.3.{number}", 0)
        ) as gone:
            gone.sendall(head.encode() + body)
    assert house.ask_console("POST", "/console/sign-in", body) == 401
    assert 1 <= count_attempts(house) - before < 30


def count_attempts(house: House) -> int:
    """Return how many attempts to sign in the hub has judged."""
    with closing(sqlite3.connect(house.hub.home / "gateway.sqlite3")) as database:
        return int(database.execute("SELECT count(*) FROM sign_ins").fetchone()[0])


@pytest.mark.long
def test_connections_of_one_partner_leave_room_for_others(house: House) -> None:
    hub = house.hub
    with ExitStack() as stack:
        for number in range(96):
            connection = HTTPConnection("127.0.0.1", hub.port, 20, (NETWORKS[number % 4], 0))
            stack.callback(connection.close)
            message = hub.message("a")
            with suppress(OSError):  # it may be closed meanwhile for others
                connection.request("POST", "/msh/ebms2", message.body, dict(message.headers))
                connection.getresponse().read()
        assert ask_for_seconds(2, lambda: hub.post(hub.message("b"), "127.0.0.9")) == {200}
