"""Threads that read XML are replaced when they have read much, and none is ever missing."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.errors import GatewayError
from gateway.wire import ReaderThreads, parse_xml, reader_threads
from gateway.wire.xml import count_parsed_octets
from tests.kit.paths import ROOT

PATIENCE = 20.0
#: Documents of 5,000 names each that no other has: some 20 MiB of names in all.
_HOSTILE = """
import ctypes, sys, threading
from gateway.wire.reader_threads import ReaderThreads
from gateway.wire.xml import parse_xml

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4

def read(number):
    names = "".join(f"<n{number:04d}x{one:030d}/>" for one in range(5000))
    parse_xml(f"<r>{names}</r>".encode())
    done.release()

done = threading.Semaphore(0)
with ReaderThreads(2, "request") as pool:
    for number in range(40 + 120):
        pool.submit_work(lambda number=number: read(number))
        done.acquire()
        if number == 39:
            before = resident()
    print(resident() - before)
"""


class Crowd:
    """Threads, and which of them did what."""

    def __init__(self, number: int) -> None:
        self.pool = ReaderThreads(number, "request")
        self.by: list[threading.Thread] = []
        self._done = threading.Semaphore(0)

    def do(self, octets: int = 0) -> None:
        """Have a document of so many octets read, and come back when it was."""

        def work() -> None:
            self.by.append(threading.current_thread())
            if octets:
                parse_xml(b"<a>" + b"x" * (octets - 7) + b"</a>")
            self._done.release()

        self.pool.submit_work(work)
        assert self._done.acquire(timeout=PATIENCE)


def test_a_thread_that_has_read_much_makes_way_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_threads, "_MAX_PARSED_OCTETS", 1000)
    crowd = Crowd(1)
    with crowd.pool:
        for octets in (400, 599, 0, 1, 400, 0, 600, 0):
            crowd.do(octets)
    assert len({*crowd.by}) == 3
    assert crowd.by[0] is crowd.by[3] is not crowd.by[4] is crowd.by[6] is not crowd.by[7]


def test_work_that_fails_leaves_as_many_threads_as_there_were(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Semaphore(0)
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.release())
    crowd = Crowd(2)
    with crowd.pool:
        for _ in range(5):
            crowd.pool.submit_work(lambda: 1 // 0)
        crowd.do()
        # Two at once: each waits for the other.
        both = threading.Barrier(3)
        crowd.pool.submit_work(lambda: both.wait(PATIENCE) and None)
        crowd.pool.submit_work(lambda: both.wait(PATIENCE) and None)
        both.wait(PATIENCE)
    assert all(failed.acquire(timeout=PATIENCE) for _ in range(5))


def test_a_thread_goes_on_while_the_system_gives_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_threads, "_MAX_PARSED_OCTETS", 1000)
    refused: list[None] = []

    def no_more(_: threading.Thread) -> None:
        refused.append(None)
        raise RuntimeError("can't start new thread")

    crowd = Crowd(1)
    with crowd.pool:
        with monkeypatch.context() as crowded:
            crowded.setattr(threading.Thread, "start", no_more)
            for octets in (1000, 400, 0, 600, 1000, 0):
                crowd.do(octets)
        assert len({*crowd.by}) == 1
        # It asks again when it has read as much again, and not each time.
        crowd.do(1000)
        crowd.do()
    assert len(refused) == 3
    assert len({*crowd.by}) == 2


def test_a_block_ends_when_everything_handed_over_is_done() -> None:
    done: list[int] = []
    with ReaderThreads(3, "request") as pool:
        for number in range(30):
            pool.submit_work(lambda number=number: done.append(number))  # type: ignore[misc]
    assert sorted(done) == list(range(30))


def test_octets_are_counted_for_each_thread_whatever_becomes_of_them() -> None:
    counted: list[int] = []

    def read() -> None:
        parse_xml(b"<a/>")
        # The pre-scan takes it, libxml2 does not.
        with pytest.raises(GatewayError):
            parse_xml(b"<p:a/>")
        counted.append(count_parsed_octets())

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(PATIENCE)
    assert counted == [4 + 6]


@pytest.mark.night
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_names_that_never_come_again_do_not_fill_the_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HOSTILE], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    grown = int(done.stdout)
    # Kept, they are more than 30 MiB.
    assert grown < 16 * 1024, f"{grown} KiB more"
