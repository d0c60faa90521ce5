"""A broker, a hop and a hub for large messages: real processes, whose peak memory is read from the kernel."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from gateway.agreements import ForwardingRule
from gateway.cli.registration import register_certificate
from gateway.delivery import HttpClient, HttpLimits
from gateway.delivery.http_answer_reader import HttpAnswer
from gateway.errors import GatewayError
from gateway.hub import make_rule_columns
from gateway.message_model import PartyId, Payload, compute_body_digest
from gateway.pki import encode_key_pem
from gateway.protocols import Parcel, ProtocolContext
from gateway.store import (
    agreements,
    deliveries,
    make_engine,
    messages,
    parties,
    read_transaction,
    write_transaction,
)
from gateway.wire import DEFAULT_LIMITS
from tests.kit.house import AGREEMENT, PARTY_TYPE, Clock, Neighbour, signer_named
from tests.kit.live import LiveHouse
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.kit.stores import mark_store
from tests.kit.waiting import retry

__all__ = ["FileBody", "LargePlace", "list_family", "make_large_file", "measure_peak"]

_BOUNDS = HttpLimits(connect_seconds=10, read_seconds=300, total_seconds=600)
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_MORE = '[limits]\nbody = "2 GiB"\n[delivery]\nworkers = 2\n'


class FileBody:
    """A file as a body."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.octet_count = path.stat().st_size
        self.sha256_hex = compute_body_digest(self)

    def open_stream(self) -> BinaryIO:
        return self.path.open("rb")


def make_large_file(path: Path, octets: int) -> FileBody:
    """Make a file in which each mebibyte is another one, mostly without blocks on the disk."""
    with path.open("wb") as file:
        for place in range(0, octets, 1024**2):
            file.seek(place)
            file.write(f"block {place}".encode())
        file.truncate(octets)
    return FileBody(path)


def list_family(pid: int) -> list[int]:
    """Return a process and all below it."""
    found, waiting = [], [pid]
    while waiting:
        found.append(one := waiting.pop())
        with suppress(FileNotFoundError, ProcessLookupError):
            waiting += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def measure_peak(process: subprocess.Popen[bytes]) -> dict[str, int]:
    """Return the peak of resident memory in MiB of a process and of all below it, by their command."""
    found = {}
    for pid in list_family(process.pid):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            program, *values = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        except FileNotFoundError:
            continue
        if (peak := _PEAK.search(status)) is not None:
            # Without the folder of the program, which may be longer than all the rest.
            command = " ".join([Path(program).name, *values])[:60]
            found[f"{pid} {command}"] = int(peak[1]) // 1024
    return found


class LargePlace:
    """A hub with its broker; `add_hop` puts a gateway between them."""

    def __init__(self, folder: Path, database_url: str, agreement: bytes = AGREEMENT) -> None:
        self.folder = folder
        self.agreement = agreement
        self.hub = LiveHouse(folder / "hub", database_url, agreement, _MORE)
        self.broker = Neighbour("broker1", Clock(datetime.now(UTC)), agreement)
        self.running: list[subprocess.Popen[bytes]] = []

    def add_hop(self, database_url: str) -> tuple[Path, str]:
        """Make a gateway that forwards what is for the hub; return its home and address."""
        port, home = find_free_port(), self.folder / "hop"
        (home / "pki").mkdir(parents=True)
        for name in ("ca.pem", "crl.pem"):
            (home / "pki" / name).write_bytes((self.hub.home / "pki" / name).read_bytes())
        hop = signer_named("hop")
        (home / "pki" / "hub.cert.pem").write_bytes(hop.certificate.pem)
        (home / "pki" / "hub.key.pem").write_bytes(encode_key_pem(hop.key))
        (home / "gateway.toml").write_text(
            f'[hub]\nparty = "hop"\nhome = "."\n[http]\nport = {port}\n'
            f'[database]\nurl = "{database_url}"\n{_MORE}'
        )
        engine, now = make_engine(database_url), datetime.now(UTC)
        with write_transaction(engine) as conn:
            for name in ("hop", "hub", "broker1"):
                parties.register_party(conn, name, name, "applicant", now, [PartyId(name, PARTY_TYPE)])
                register_certificate(conn, name, signer_named(name).certificate.der, now)
            nobody = f"http://127.0.0.1:{find_free_port()}/"
            for name, sender, endpoint in (("hub", "broker1", self.hub.url), ("broker1", "hub", nobody)):
                rule = ForwardingRule(PartyId(name, PARTY_TYPE), name, endpoint, (sender,))
                agreements.insert_forwarding_rule(conn, make_rule_columns(rule), now)
        engine.dispose()
        mark_store(home)
        return home, f"http://127.0.0.1:{port}/msh/ebms2"

    def seal(self, body: FileBody, **changes: Any) -> Parcel:
        """Return a signed message with the file as its payload."""
        unit = self.broker.message("Store")
        part = Payload(f"large.{unit.message_id}", "application/octet-stream", body)
        return self.broker.seal(replace(unit, payloads=(part,), **changes))

    #: What the broker reads of its own messages.
    limits = replace(DEFAULT_LIMITS, body=2 * 1024**3)

    def make_context(self) -> ProtocolContext:
        """Return what the broker opens answers with."""
        return replace(self.broker.context(), limits=self.limits)

    def post(self, url: str, parcel: Parcel) -> HttpAnswer:
        """Send a parcel, read in pieces."""
        sender = HttpClient(_BOUNDS)
        try:
            return sender.post(url, {"SOAPAction": '"ebXML"', **parcel.headers}, parcel.get_octets())
        finally:
            sender.close()

    @contextmanager
    def run(
        self, what: str, home: Path, words: Sequence[str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run ``gateway serve`` or ``gateway work`` as it is installed, or a module with these `words`."""
        with (home / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *(words or ("gateway", what)), "--home", str(home)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
            self.running.append(process)
            try:
                yield process
            finally:
                self.running.remove(process)
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(60)

    def kill_all(self) -> None:
        """Kill the processes that were started, and those that they have started."""
        for process in self.running:
            for pid in list_family(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(30)

    @staticmethod
    def wait_until_served(url: str) -> None:
        """Wait until a gateway answers."""
        client = HttpClient(_BOUNDS)
        status = url.replace("/msh/ebms2", "/status/live").replace("/msh/as4", "/status/live")
        try:
            retry(lambda: client.get(status, {}), GatewayError, every=0.2)
        finally:
            client.close()

    @staticmethod
    def list_stored(database_url: str) -> tuple[list[Any], list[Any]]:
        """Return messages and deliveries of a gateway."""
        engine = make_engine(database_url)
        try:
            with read_transaction(engine) as conn:
                return list(messages.list_messages(conn)), list(deliveries.list_deliveries(conn, limit=100))
        finally:
            engine.dispose()
