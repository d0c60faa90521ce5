"""``python -m tests.load.console_rush``: whether the console slows the intake of messages.

A rush: signed messages come in at a steady pace, first alone and then while readers ask for pages of the
console as fast as they are answered. With ``--officers 50``: messages come in as fast as they are answered,
by turns alone and while so many officers work at the pace of persons (`tests.load.officers_at_work`), on
PostgreSQL; one is started unless ``--database`` names one. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kit.databases import PostgresqlServer
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.load import officers_at_work
from tests.load.generator import read_frames
from tests.load.place import Place, make_place
from tests.load.serving import Load, gateway, sign_beforehand
from tests.load.stopwatch import machine, percentile, say

#: Pages that need no sign-in: whoever makes a rush has none.
PATHS = ("/console/status", "/console/sign-in", "/console/static/console.css")


def main(words: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.console_rush", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="seconds of each half")
    parser.add_argument("--pace", type=float, default=20, help="messages a second")
    parser.add_argument("--readers", type=int, default=64, help="readers of the console at the same time")
    parser.add_argument("--officers", type=int, default=0, help="officers who work; instead of a rush")
    parser.add_argument("--rounds", type=int, default=4, help="with --officers: turns without and with them")
    parser.add_argument("--messages", type=int, default=3000, help="with --officers: messages of one turn")
    parser.add_argument("--connections", type=int, default=8, help="with --officers: connections of intake")
    parser.add_argument("--settle", type=float, default=10, help="with --officers: seconds before each turn")
    parser.add_argument("--database", default="", help="with --officers: SQLAlchemy URL of an empty database")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="gateway-rush-") as folder:
        if arguments.officers:
            found = _measure_officers(Path(folder), arguments)
        else:
            found = measure(Path(folder), arguments)
        print(json.dumps(found, indent=2))
    return 0


def _measure_officers(folder: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    """Measure intake beside officers on the database that is named, or on a server of our own."""
    if wanted.database:
        return officers_at_work.measure(folder, wanted)
    server = PostgresqlServer(hurried=False)
    try:
        wanted.database = server.create(1, None)
        return officers_at_work.measure(folder, wanted)
    finally:
        server.close()


def measure(folder: Path, wanted: argparse.Namespace) -> dict[str, Any]:
    """Return the times of receipts without and with a rush."""
    place = make_place(folder, processes=1)
    port = find_free_port()
    settings = place.home / "gateway.toml"
    settings.write_text(f"{settings.read_text()}[console]\nenabled = true\nport = {port}\n")
    number = int(wanted.seconds * wanted.pace)
    (file,) = sign_beforehand(place, Load(2 * number, warm_up=20))
    frames = [frame for _, frame in read_frames(file)]
    with gateway(place), serve_console(place, port):
        send_steadily(place, frames[:20], wanted.pace)
        say("alone")
        alone = send_steadily(place, frames[20 : 20 + number], wanted.pace)
        say("with a rush")
        with rush(port, wanted.readers) as answers:
            rushed = send_steadily(place, frames[20 + number : 20 + 2 * number], wanted.pace)
    return {
        "alone": _describe(alone),
        "with_rush": _describe(rushed),
        "console_answers": {str(status): count for status, count in sorted(answers.items())},
        "console_requests_per_s": round(sum(answers.values()) / wanted.seconds),
        "machine": machine(folder),
    }


def _describe(times: list[float]) -> dict[str, float]:
    told = {f"p{one}_ms": round(percentile(times, one) * 1000, 1) for one in (50, 95, 99)}
    return {"receipts": len(times), **told, "worst_ms": round(max(times) * 1000, 1)}


@contextmanager
def serve_console(place: Place, port: int) -> Iterator[None]:
    """Run ``gateway console``."""
    words = [sys.executable, "-m", "gateway", "console", "--home", str(place.home)]
    with (place.home / "console.log").open("wb") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if _ask(port, "/console/status")[0] == 200:
                    break
                time.sleep(0.1)
            else:
                raise RuntimeError(f"the console does not answer: {(place.home / 'console.log').read_text()}")
            yield
        finally:
            process.terminate()
            process.wait(60)


def _ask(port: int, path: str) -> tuple[int, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, len(answer.read())
    except OSError:
        return 0, 0
    finally:
        connection.close()


def send_steadily(place: Place, frames: list[bytes], pace: float) -> list[float]:
    """Send each message at its time on one connection; return how long each receipt took."""
    connection, times = http.client.HTTPConnection("127.0.0.1", place.port, timeout=60), []
    begin = time.perf_counter()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, begin + number / pace - time.perf_counter()))
        head, _, body = frame.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        started = time.perf_counter()
        connection.request("POST", "/msh/ebms2", body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status == 200:
            times.append(time.perf_counter() - started)
    connection.close()
    return times


@contextmanager
def rush(port: int, readers: int) -> Iterator[Counter[int]]:
    """Let so many readers ask for pages as fast as they can; yield what they were answered."""
    answers: Counter[int] = Counter()
    over = threading.Event()

    def read(number: int) -> None:
        while not over.is_set():
            status, _ = _ask(port, PATHS[number % len(PATHS)])
            answers[status] += 1
            if status != 200:
                time.sleep(0.05)

    threads = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(readers)]
    for one in threads:
        one.start()
    try:
        yield answers
    finally:
        over.set()
        for one in threads:
            one.join(40)


if __name__ == "__main__":
    sys.exit(main())
