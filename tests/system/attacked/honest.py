"""What the broker sends, signed beforehand, and what must be in the database of it afterwards."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from http.client import HTTPConnection
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import select

from gateway.message_model import Payload
from gateway.store import make_engine, read_transaction
from gateway.store.messages import messages
from gateway_conformance.hostile import AttackerKit, HttpRequest, read_attacker_kit
from tests.load.generator import read_frames, write_frames
from tests.load.place import payload

#: Octets of the payload of most messages.
PAYLOAD = 10 * 1024
#: One in so many is for the hub's own application, which the workers then deal with; it is no
#: submission, so that they open a case, refuse it, and word and sign a result.
_FILED = 10


def sign(partner: Path, path: Path, number: int) -> None:
    """Write a file of so many signed messages, ready to be sent."""
    parts = max(1, os.cpu_count() or 1)
    tasks = [
        (partner, path.with_suffix(f".{part}"), number // parts + (part < number % parts))
        for part in range(parts)
    ]
    with ProcessPoolExecutor(parts, mp_context=get_context("spawn")) as pool:
        list(pool.map(_sign, tasks))
    with path.open("wb") as whole:
        for _, piece, _ in tasks:
            whole.write(piece.read_bytes())
            piece.unlink()


def _sign(task: tuple[Path, Path, int]) -> None:
    partner, path, number = task
    bench = read_attacker_kit(partner)
    write_frames(path, (_frame(bench, one) for one in range(number)))


def _frame(bench: AttackerKit, number: int) -> tuple[str, bytes]:
    filed = number % _FILED == 0
    content = Payload("p1", "application/xml", b"<declaration/>") if filed else payload(PAYLOAD)
    unit = bench.make_unit(action="Submit" if filed else "Store", payloads=(content,))
    return unit.message_id, request_of(bench.build_message(unit))


def request_of(post: HttpRequest) -> bytes:
    """Return a request as HTTP carries it."""
    headers = {"Host": "127.0.0.1", **post.headers, "Content-Length": str(len(post.body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /msh/ebms2 HTTP/1.1\r\n{lines}\r\n".encode() + post.body


def look(url: str, sent: list[dict[str, Any]]) -> dict[str, int]:
    """Hold what the broker has against the database: each receipted message once, with that receipt."""
    engine = make_engine(url)
    with read_transaction(engine) as conn:
        columns = (messages.c.message_id, messages.c.answer_sha256)
        rows = conn.execute(select(*columns).where(messages.c.direction == "in")).all()
    engine.dispose()
    receipted = {row["name"]: row["answer"] for row in sent if row["answer"]}
    times = Counter(row.message_id for row in rows)
    return {
        "stored_once": sum(times[name] == 1 for name in receipted),
        "stored_with_their_receipt": sum(receipted.get(row.message_id) == row.answer_sha256 for row in rows),
    }


def repeat(path: Path, port: int, sent: list[dict[str, Any]], most: int) -> tuple[int, int]:
    """Send some of the receipted messages again; return how many, and how many got the very same receipt."""
    receipts = {row["name"].encode(): row["answer"] for row in sent if row["answer"]}
    chosen = list(_every(path, receipts, max(1, len(receipts) // most)))
    same = 0
    for name, request in chosen:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        connection.connect()
        connection.sock.sendall(request)
        answer = connection.response_class(connection.sock, method="POST")
        answer.begin()
        same += hashlib.sha256(answer.read()).hexdigest() == receipts[name]
        answer.close()
        connection.close()
    return len(chosen), same


def _every(path: Path, receipts: dict[bytes, Any], step: int) -> Iterator[tuple[bytes, bytes]]:
    for number, (name, request) in enumerate(read_frames(path)):
        if number % step == 0 and name in receipts:
            yield name, request
