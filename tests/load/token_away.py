"""The token is pulled while messages come over HTTP: ``python -m tests.load.token_away --messages 30``.

A gateway of real processes signs with a key in SoftHSM 2.  Messages are sent before, while the
token is away, and after it is back; nobody asks again.  Every message must have one receipt in
the end, on its connection or by a POST of the gateway's own, and each must verify; while the
token is away `/status/ready` says so, and nothing that is sent is unsigned.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.message_model import Receipt
from gateway.protocols import Parcel
from gateway.store import HttpResponse, make_engine, migrate_schema
from tests.kit.gateway import RunningGateway, post
from tests.kit.house import AGREEMENT, EBMS2, Neighbour, signer_named
from tests.kit.live import LiveHouse
from tests.kit.ports import find_free_port
from tests.kit.softhsm import PIN, SoftHsm

_LONGEST = 120.0


@dataclass
class Sender:
    """The broker: what it sent, and the receipts that came for it."""

    neighbour: Neighbour
    sent: dict[str, Parcel] = field(default_factory=dict)
    receipts: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, url: str) -> None:
        """Send one message, and take what comes back on the connection."""
        unit = self.neighbour.message(sync_reply=False)
        parcel = self.neighbour.seal(unit)
        self.sent[unit.message_id] = parcel
        answer = post(url, parcel)
        assert answer is not None
        assert b"Acknowledgment" not in answer.body
        self.statuses[answer.status] += 1

    def take(self, headers: Mapping[str, str], body: bytes) -> None:
        """Verify a receipt that was posted."""
        opened = self.neighbour.open(HttpResponse(200, {"Content-Type": headers["Content-Type"]}, body))
        assert isinstance(opened.unit, Receipt)
        assert opened.verified_signature is not None
        about = opened.unit.ref_to_message_id
        EBMS2.check_answer(opened, EBMS2.read_sent_unit(self.sent[about], self.neighbour.context().limits))
        with self.lock:
            self.receipts[about] += 1


@contextmanager
def _listening(sender: Sender, port: int, broken: list[str]) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                sender.take(dict(self.headers), body)
            except BaseException as error:
                broken.append(f"{type(error).__name__}: {error}")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def run(folder: Path, number: int) -> Mapping[str, Any]:
    """Play it and return the figures."""
    with pytest.MonkeyPatch.context() as environment:
        token = SoftHsm.make(folder / "hsm", environment)
        token.put(signer_named("hub").key)
        return _run(folder, number, token)


def _run(folder: Path, number: int, token: SoftHsm) -> Mapping[str, Any]:
    port = find_free_port()
    agreement = AGREEMENT.replace(b"mshSignalsOnly", b"none").replace(b":8901/", b":%d/" % port)
    key = (
        f'[pki.token]\nmodule = "{token.key().module_path}"\nlabel = "{token.label}"\nkey = "signing"\n'
        'pin = { file = "pki/pin" }\n'
    )
    url = f"sqlite:///{folder}/gateway.sqlite3"
    engine = make_engine(url)
    migrate_schema(engine)
    engine.dispose()
    house = LiveHouse(folder, url, agreement, key)
    (house.home / "pki" / "pin").write_bytes(PIN)
    (house.home / "pki" / "hub.key.pem").unlink()
    sender, broken = Sender(Neighbour("broker1", _Now(), agreement)), list[str]()
    ready = house.url.replace("/msh/ebms2", "/status/ready")
    told = {}
    serving, working = RunningGateway(house.home, "serve"), RunningGateway(house.home, "work")
    with _listening(sender, port, broken), serving, working:
        _send(sender, house.url, number)
        told["before"] = requests.get(ready, timeout=60).text.strip()
        token.pull()
        _send(sender, house.url, number)
        told["away"] = requests.get(ready, timeout=60).text.strip()
        waiting = number * 2 - len(sender.receipts)
        token.put_back()
        started = time.monotonic()
        _send(sender, house.url, number)
        while sender.receipts.total() < len(sender.sent) and time.monotonic() - started < _LONGEST:
            time.sleep(0.2)
        took = time.monotonic() - started
        told["back"] = requests.get(ready, timeout=60).text.strip()
        # One too many would come now.
        time.sleep(3)
    return {
        "sent": len(sender.sent),
        "answered": dict(sender.statuses),
        "without_receipt_while_away": waiting,
        "receipts_verified": sender.receipts.total(),
        "of_messages": len(sender.receipts),
        "more_than_once": sum(times > 1 for times in sender.receipts.values()),
        "seconds_until_the_last": round(took, 1),
        "ready": told,
        "broken": broken[:5],
    }


class _Now:
    """The real time, where a test has a clock of its own."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


def _send(sender: Sender, url: str, number: int) -> None:
    for _ in range(number):
        sender.send(url)


def main(words: list[str] | None = None) -> int:
    """Play it and print the figures; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.token_away")
    parser.add_argument("--messages", type=int, default=30, help="in each of the three parts")
    chosen = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="token-") as folder:
        found = run(Path(folder), chosen.messages)
    print(json.dumps(found, indent=1))
    good = found["sent"] == found["receipts_verified"] == found["of_messages"]
    return 0 if good and not found["broken"] else 1


if __name__ == "__main__":
    sys.exit(main())
