"""Two real processes share the connections of clients that keep them."""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port

pytestmark = pytest.mark.long


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    port = find_free_port()
    words = [sys.executable, "-m", "tests.kit.busy_server", str(port)]
    with subprocess.Popen(words, cwd=ROOT) as process:
        try:
            yield port, process.pid
        finally:
            process.terminate()


def ask(line: http.client.HTTPConnection) -> int:
    line.request("GET", "/")
    return int(line.getresponse().read())


def list_processes(port: int, parent: int) -> list[int]:
    """Wait until both processes answer, each asked over a connection of its own; return their numbers."""
    end, seen = time.monotonic() + 60, set[int]()
    while len(seen) < 2:
        assert time.monotonic() < end, f"of {parent} only {seen} answer"
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with suppress(OSError):
            seen.add(ask(line))
        line.close()
        time.sleep(0.01)
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert seen <= {int(one) for one in children}
    return sorted(seen)


class Client(threading.Thread):
    """Asks again and again over one connection, and makes a new one when it is ended."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        super().__init__()
        self.line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.stop = stop
        self.answered_by = self.ended = 0

    def run(self) -> None:
        while not self.stop.is_set():
            self.answered_by = ask(self.line)
            # The library closes it when the answer says so, and connects again for the next request.
            self.ended += self.line.sock is None
        self.line.close()


def test_connections_that_one_process_has_alone_are_shared_out(server: tuple[int, int]) -> None:
    port, parent = server
    first, second = list_processes(port, parent)
    stop, clients = threading.Event(), list[Client]()
    while len(clients) < 8:
        client = Client(port, stop)
        if ask(client.line) == first:
            clients.append(client)
        else:
            client.line.close()
    for one in clients:
        one.start()
    begun = time.monotonic()
    # One that is ended may come to the same process again.
    while sum(one.answered_by == second for one in clients) < 3 and time.monotonic() < begun + 60:
        time.sleep(0.1)
    time.sleep(0.5)
    stop.set()
    for one in clients:
        one.join()
    shares = Counter(one.answered_by for one in clients)
    assert sorted(shares) == [first, second]
    assert min(shares.values()) >= 3, shares
    most = 16 + time.monotonic() - begun + 1
    assert sum(one.ended for one in clients) <= most, "so many at once, and one in a second"
