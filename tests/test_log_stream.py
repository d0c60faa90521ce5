"""A log that nobody reads stops nothing, and says afterwards what was left out."""

from __future__ import annotations

import errno
import fcntl
import http.client
import io
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway import log_stream
from gateway.cli import main
from gateway.cli.result_output import guard_terminals
from gateway.log_stream import UnblockedStream, guard_standard_error
from tests.kit.levels import at_night
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.waiting import retry

LINE = "x" * 99 + "\n"


def describe_gap(count: int) -> str:
    return f"{count} left out\n"


@pytest.fixture(params=["pipe", "socket"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Provide the reading and the writing end of a small pipe, or of a socket."""
    monkeypatch.setattr(log_stream, "_MAX_WAIT_SECONDS", 0.05)
    if request.param == "pipe":
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    else:
        first, second = socket.socketpair()
        second.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        reading, writing = first.detach(), second.detach()
    yield reading, writing
    for descriptor in (reading, writing):
        with suppress(OSError):
            os.close(descriptor)


def read_waiting(descriptor: int) -> str:
    """Return what can be read without waiting."""
    os.set_blocking(descriptor, False)
    pieces = []
    with suppress(BlockingIOError):
        while piece := os.read(descriptor, 65536):
            pieces.append(piece)
    return b"".join(pieces).decode()


def fill(writing: int) -> None:
    """Write to a pipe or a socket until it has no room for one octet more, by a description of its own."""
    if stat.S_ISSOCK(os.fstat(writing).st_mode):
        with socket.socket(fileno=os.dup(writing)) as peer:
            write_until_full(lambda piece: peer.send(piece, socket.MSG_DONTWAIT))
    else:
        own = os.open(f"/proc/self/fd/{writing}", os.O_WRONLY | os.O_NONBLOCK)
        write_until_full(lambda piece: os.write(own, piece))
        os.close(own)


def write_until_full(write: Callable[[bytes], int]) -> None:
    for piece in (b"-" * 4095 + b"\n", b"\n"):
        with suppress(BlockingIOError):
            while True:
                write(piece)


def test_lines_without_room_are_left_out_and_counted(ends: tuple[int, int]) -> None:
    reading, writing = ends
    flags = fcntl.fcntl(writing, fcntl.F_GETFL)
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    start = time.monotonic()
    for _ in range(1000):
        assert stream.write(LINE) == len(LINE)
    assert time.monotonic() - start < 1, "one line waits, and no other"
    written = read_waiting(reading)
    assert stream.write("next\n") == 5
    # A socket may have taken the beginning of a line: its end comes first.
    text = written + read_waiting(reading)
    complete = text.count(LINE)
    assert 0 < complete < 1000
    assert text == LINE * complete + f"{1000 - complete} left out\nnext\n"
    stream.write("last\n")
    assert read_waiting(reading) == "last\n", "the count is told once"
    assert fcntl.fcntl(writing, fcntl.F_GETFL) == flags, "the shell has this description, too"


def test_a_line_waits_for_a_slow_reader(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_stream, "_MAX_WAIT_SECONDS", 20.0)
    reading, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    pieces: list[bytes] = []

    def read_slowly() -> None:
        while not pieces or not pieces[-1].endswith(b"end\n"):
            pieces.append(os.read(reading, 2048))
            time.sleep(0.001)

    reader = threading.Thread(target=read_slowly)
    reader.start()
    # Lines longer than a pipe takes as a whole are complete, too.
    lines = [*(f"{number} {'y' * number * 60}\n" for number in range(100)), "end\n"]
    for line in lines:
        stream.write(line)
    reader.join(20)
    assert b"".join(pieces).decode() == "".join(lines)


def test_a_line_of_which_the_beginning_is_written_is_ended_first(ends: tuple[int, int]) -> None:
    reading, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    stream.write("a" * 20_000 + "\n")
    stream.write("left out\n")
    text = ""
    while not text.endswith("\n"):
        text += read_waiting(reading)
        stream.write("next\n")
    text += read_waiting(reading)
    end = text.removeprefix("a" * 20_000 + "\n")
    assert re.fullmatch(r"\d+ left out\n(next\n)+", end), end[:200]


class HastyPoll:
    """Says that there is room, as where another process takes it at once; `read` makes room later."""

    calls = 0

    def __init__(self, read: Callable[[], object]) -> None:
        self.read = read

    def register(self, descriptor: int, events: int) -> None:
        assert events == select.POLLOUT

    def poll(self, _: float) -> list[tuple[int, int]]:
        HastyPoll.calls += 1
        if HastyPoll.calls > 1:
            self.read()
        return [(0, select.POLLOUT)]


@pytest.mark.parametrize("is_read", [False, True])
def test_room_that_another_process_takes_first_blocks_nobody(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch, *, is_read: bool
) -> None:
    reading, writing = ends
    fill(writing)
    pieces: list[str] = []

    def read() -> None:
        if is_read:
            pieces.append(read_waiting(reading))

    monkeypatch.setattr(HastyPoll, "calls", 0)
    monkeypatch.setattr(log_stream.select, "poll", lambda: HastyPoll(read))
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    writer = threading.Thread(target=stream.write, args=("y" * 2000 + "\n",), daemon=True)
    writer.start()
    writer.join(20)
    assert not writer.is_alive()
    read()
    assert ("y" * 2000 + "\n" in "".join(pieces)) == is_read


def test_a_line_in_two_writes_is_one_line(ends: tuple[int, int]) -> None:
    reading, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    fill(writing)
    for _ in range(5):
        print("hello", file=stream)
    stream.write("begun")
    stream.flush()
    read_waiting(reading)
    stream.write("next")
    assert read_waiting(reading) == ""
    stream.flush()
    assert read_waiting(reading) == "6 left out\nnext"


def test_threads_write_whole_lines_while_others_wait(ends: tuple[int, int]) -> None:
    """None of them gets an error, and no octet is written twice or lost behind the beginning of a line."""
    reading, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    failures: list[BaseException] = []

    def write_lines(letter: str) -> None:
        try:
            for _ in range(200):
                stream.write(letter * 3000 + "\n")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write_lines, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    text = ""
    while any(thread.is_alive() for thread in threads):
        text += read_waiting(reading)
        time.sleep(0.0005)
    for _ in range(3):
        text += read_waiting(reading)
        stream.flush()
    assert failures == []
    lines = text.splitlines()
    gaps = [int(line.split()[0]) for line in lines if line.endswith("left out")]
    whole = [line for line in lines if re.fullmatch(r"(a{3000}|b{3000}|c{3000}|d{3000})", line)]
    assert len(whole) + len(gaps) == len(lines)
    assert len(whole) + sum(gaps) <= 800


@pytest.mark.parametrize("moment", ["handler", "fork"])
def test_a_handler_of_a_signal_and_a_child_write_while_a_thread_waits(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    monkeypatch.setattr(log_stream, "_MAX_WAIT_SECONDS", 0.5)
    reading, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    fill(writing)
    if moment == "handler":
        former = signal.signal(signal.SIGALRM, lambda *_: stream.write("of the handler\n"))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            stream.write("of the thread\n")
        finally:
            signal.signal(signal.SIGALRM, former)
        read_waiting(reading)
        stream.write("next\n")
        assert read_waiting(reading) == "2 left out\nnext\n"
        return
    thread = threading.Thread(target=stream.write, args=("of the thread\n",))
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if not child:
        status = 1
        try:
            read_waiting(reading)
            stream.write("of the child\n")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    thread.join(20)
    assert "of the child\n" in read_waiting(reading)


def test_a_slow_reader_costs_a_tenth_of_the_time(ends: tuple[int, int]) -> None:
    _, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    fill(writing)
    start = time.monotonic()
    written = 0
    while time.monotonic() - start < 0.5:
        stream.write(LINE)
        written += 1
    assert written > 100


def test_a_pipe_of_another_user_blocks_nobody(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its description has to be used, which blocks; without the system call of a newer kernel, too."""
    reading, writing = ends
    if stat.S_ISSOCK(os.fstat(writing).st_mode):
        return
    fill(writing)
    for is_old in (False, True):
        with monkeypatch.context() as patched:
            patched.setattr(log_stream.os, "open", refuse_with(errno.EACCES))
            if is_old:
                patched.setattr(log_stream.os, "pwritev", refuse_with(errno.EOPNOTSUPP))
            stream = UnblockedStream(writing, "utf-8", describe_gap)
            for _ in range(3):
                assert stream.write(LINE) == len(LINE)
            read_waiting(reading)
            stream.write("next\n")
            assert read_waiting(reading) == "3 left out\nnext\n"
            for _ in range(100):
                stream.write(LINE)


def refuse_with(number: int) -> Callable[..., int]:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return refuse


def test_a_reader_that_is_gone_stops_nothing(ends: tuple[int, int]) -> None:
    reading, writing = ends
    stream = UnblockedStream(writing, "utf-8", describe_gap)
    os.close(reading)
    start = time.monotonic()
    for _ in range(100):
        assert stream.write(LINE) == len(LINE)
    assert time.monotonic() - start < 1


def test_standard_error_is_guarded_once(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    with os.fdopen(os.dup(ends[1]), "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        guard_standard_error(describe_gap)
        guarded = sys.stderr
        assert isinstance(guarded, UnblockedStream)
        assert guarded.fileno() == stream.fileno()
        guard_standard_error(describe_gap)
        assert sys.stderr is guarded


def test_a_file_and_a_text_in_memory_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w") as file:
        for stream in (file, io.StringIO(), None):
            monkeypatch.setattr(sys, "stderr", stream)
            guard_standard_error(describe_gap)
            assert sys.stderr is stream


WRITE_IN_EVERY_WAY = """
import logging, os, sys, threading, warnings
from gateway.process_log import set_up_logging
set_up_logging()
set_up_logging()
def write():
    for _ in range(400):
        logging.getLogger("gateway.test").error("a line %s", "x" * 500)
        print("y" * 500, file=sys.stderr)
    warnings.warn("a warning")
    raise ValueError("uncaught in a thread")
thread = threading.Thread(target=write)
thread.start()
thread.join()
child = os.fork()
if not child:
    logging.getLogger("gateway.test").error("a line of a child")
    os._exit(0)
os.waitpid(child, 0)
print("done", flush=True)
raise ValueError("uncaught")
"""


@pytest.mark.long
@pytest.mark.parametrize("reader", ["stopped", "gone", "full disk"])
def test_no_way_to_write_to_standard_error_blocks(reader: str) -> None:
    reading, writing = os.pipe()
    if reader == "gone":
        os.close(reading)
    errors = os.open("/dev/full", os.O_WRONLY) if reader == "full disk" else writing
    done = subprocess.run(
        [sys.executable, "-c", WRITE_IN_EVERY_WAY],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=errors,
        timeout=60,
        check=False,
    )
    assert done.stdout == b"done\n"
    assert done.returncode == 1


def test_a_terminal_that_nobody_reads_blocks_nothing() -> None:
    """Also behind what escapes control characters, such as one of `docker run -t`, and without it."""
    begin = "from gateway.cli.result_output import guard_terminals\nguard = guard_terminals()\n"
    for guard in ("", begin + "guard.__enter__()\n"):
        reading, writing = pty.openpty()
        done = subprocess.run(
            [sys.executable, "-c", guard + WRITE_IN_EVERY_WAY],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=writing,
            timeout=60,
            check=False,
        )
        os.close(writing)
        os.close(reading)
        assert done.stdout == b"done\n"
        assert done.returncode == 1


def test_lines_for_a_terminal_are_escaped_whoever_guards_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for escapes_first in (True, False):
        reading, writing = pty.openpty()
        with open(writing, "w", encoding="utf-8") as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            if not escapes_first:
                guard_standard_error(describe_gap)
            with guard_terminals():
                for _ in range(2):
                    guard_standard_error(describe_gap)
                assert sys.stderr.isatty()
                print("a name \x1b[2J", file=sys.stderr)
                assert os.read(reading, 1024) == b"a name \\u001b[2J\r\n"
                fill_terminal = threading.Thread(target=sys.stderr.write, args=(LINE * 5000,), daemon=True)
                fill_terminal.start()
                fill_terminal.join(20)
                assert not fill_terminal.is_alive()
        os.close(reading)


@pytest.mark.long
@pytest.mark.parametrize("read_again", [False, *at_night(True)])
def test_a_hub_whose_log_nobody_reads_serves_and_stops(tmp_path: Path, *, read_again: bool) -> None:
    port = find_free_port()
    (tmp_path / "gateway.toml").write_text(f"[http]\nport = {port}\n")
    assert main(["pki", "demo", "--out", str(tmp_path / "pki"), "--party", "hub"]) == 0
    reading, writing = os.pipe()
    fill(writing)
    command = [sys.executable, "-m", "gateway", "run", "--new", "--home", str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=writing)
    os.close(writing)

    def ask_readiness() -> None:
        assert process.poll() is None
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/status/ready")
        status = connection.getresponse().status
        connection.close()
        if status != 200:
            raise ConnectionError(status)

    try:
        retry(ask_readiness, OSError)
        # A line that waits just now may be written between both readings.
        text = read_waiting(reading) if read_again else ""
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        if read_again:
            text += read_waiting(reading)
            gap, stop = "lines of this process were left out here: the log was not", "stops: work that has"
            assert 0 < text.index(gap) < text.index(stop)
    finally:
        process.kill()
        process.wait(60)
        os.close(reading)
