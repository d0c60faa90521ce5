"""Messages a second over HTTP: the gateway as it is installed, and a generator beside it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import text

from gateway.message_model import MemoryBody
from gateway.protocols import Parcel
from gateway.store import read_transaction
from tests.kit.paths import ROOT
from tests.load.generator import read_frames, write_frames
from tests.load.place import Broker, Place, payload
from tests.load.receiving import octets_of
from tests.load.stopwatch import percentile, say, tree_cpu

#: Octets of the payload of one message.
PAYLOAD = 10 * 1024
#: Every so many-th receipt is kept and its signature checked afterwards.
KEEP = 25


@dataclass(frozen=True)
class Load:
    """How much is sent: messages, seconds at most, connections, generating processes."""

    messages: int = 6000
    seconds: float = 120.0
    connections: int = 16
    generators: int = 1
    #: Not timed: the first messages of each generator find caches empty.
    warm_up: int = 200


def _sign(task: tuple[Path, Path, int]) -> None:
    home, path, number = task
    broker = Broker(home)
    write_frames(path, (frame_message(broker.seal("Store", payload(PAYLOAD))) for _ in range(number)))


def frame_message(parcel: Parcel) -> tuple[str, bytes]:
    """Return the MessageId of a message, and the request that carries it."""
    body = octets_of(parcel)
    start = body.index(b"<eb:MessageId>") + 14
    head = (
        "POST /msh/ebms2 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f'Content-Type: {parcel.get_header("Content-Type")}\r\nSOAPAction: "ebXML"\r\n'
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return body[start : body.index(b"<", start)].decode(), head.encode() + body


def sign_beforehand(place: Place, load: Load) -> list[Path]:
    """Write files of signed messages, one for each generator."""
    share = [load.messages // load.generators + load.warm_up] * load.generators
    share[0] += load.messages % load.generators
    files = [place.home / f"frames-{number}" for number in range(load.generators)]
    parts = max(1, (os.cpu_count() or 1) // load.generators)
    pieces = [
        (place.home, file.with_suffix(f".{part}"), number // parts + (number % parts if part == 0 else 0))
        for file, number in zip(files, share, strict=True)
        for part in range(parts)
    ]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        list(pool.map(_sign, pieces))
    for file in files:
        with file.open("wb") as whole:
            for part in range(parts):
                piece = file.with_suffix(f".{part}")
                whole.write(piece.read_bytes())
                piece.unlink()
    return files


@contextmanager
def gateway(place: Place) -> Iterator[int]:
    """Run ``gateway serve`` and give its process id."""
    log = (place.home / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--home", str(place.home)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        await_answer(place.port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def await_answer(port: int, process: subprocess.Popen[bytes], path: str = "/status/live") -> None:
    """Wait until a process answers at a path; raises RuntimeError when it ends, or does not answer."""
    for _ in range(3000):
        if process.poll() is not None:
            raise RuntimeError(f"gateway serve ended with {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.settimeout(5)
                probe.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                if probe.recv(100).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("gateway serve does not answer")


def measure(place: Place, load: Load) -> Mapping[str, Any]:
    """Send every message once; count what the database holds; check a sample of receipts."""
    say(f"http: signing {load.messages} messages and {load.warm_up * load.generators} to warm up")
    files = sign_beforehand(place, load)
    with gateway(place) as pid:
        say("http: sending")
        before, cpu = _counted(place), tree_cpu(pid)
        reports = generate(place, load, files)
        cpu = tree_cpu(pid) - cpu
    answered = sum(len(report["moments"]) for report in reports)
    sent = sum(report["sent"] for report in reports)
    refused = [words for report in reports for words in report["refused"]]
    if refused:
        say(f"http: answers that are no receipt, among them:\n{refused[0]}")
    checked = _check_sample(place, files, reports)
    say(f"http: {sent} sent, {answered} answered, {checked} receipts verified")
    return describe_rate(reports, load) | {
        "sent": sent,
        "distinct_accepted": _counted(place) - before,
        "receipts": sum(report["receipted"] for report in reports),
        "receipts_verified": checked,
        "server_cpu_ms": cpu / max(answered, 1) * 1000,
    }


def generate(place: Place, load: Load, files: list[Path]) -> list[dict[str, Any]]:
    """Send the messages of the files to a gateway that serves; return what each generator tells."""
    lines = max(1, load.connections // load.generators)
    words = [str(place.port), str(lines), str(load.seconds), str(KEEP)]
    program = [sys.executable, "-m", "tests.load.generator"]
    running = [
        subprocess.Popen([*program, str(file), *words], cwd=ROOT, stdout=subprocess.PIPE) for file in files
    ]
    return [json.loads(process.communicate()[0]) for process in running]


def describe_rate(reports: list[dict[str, Any]], load: Load) -> dict[str, Any]:
    """Return rate and latencies, the warm-up left out; clocks of all processes of a machine agree."""
    timed = [(report, load.warm_up if len(report["moments"]) > load.warm_up else 0) for report in reports]
    moments = [at for report, skip in timed for at in report["moments"][skip:]]
    times = [took for report, skip in timed for took in report["latencies"][skip:]]
    whole = [at for report in reports for at in report["moments"]]
    seconds = max(moments) - min(moments)
    return {
        "http_messages_per_s": (len(moments) - 1) / seconds,
        "http_p50_ms": percentile(times, 50) * 1000,
        "http_p99_ms": percentile(times, 99) * 1000,
        "http_worst_ms": max(times) * 1000,
        # Of one processor: 1.0 would be all of it.
        "generator_cpu": sum(report["cpu"] for report in reports) / (max(whole) - min(whole)),
    }


def _counted(place: Place) -> int:
    engine = place.engine()
    with read_transaction(engine) as conn:
        found = conn.execute(text("SELECT count(DISTINCT message_id) FROM messages WHERE direction = 'in'"))
        number = int(found.scalar_one())
    engine.dispose()
    return number


def _check_sample(place: Place, files: list[Path], reports: list[dict[str, Any]]) -> int:
    broker = Broker(place.home)
    answers = {name: answer for report in reports for name, answer in report["kept"]}
    checked = 0
    for file in files:
        for name, request in read_frames(file):
            answer = answers.get(name.decode())
            if answer is not None:
                broker.check_receipt(_parcel(request), *_answer(answer))
                checked += 1
    return checked


def _parcel(request: bytes) -> Parcel:
    head, _, body = request.partition(b"\r\n\r\n")
    return Parcel(_headers(head.decode()), MemoryBody(body))


def _answer(answer: str) -> tuple[dict[str, str], bytes]:
    head, _, body = answer.partition("\r\n\r\n")
    return _headers(head), body.encode()


def _headers(head: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name.title(): value.strip() for name, _, value in pairs}
