"""Both sides change their keys while messages flow: ``python -m tests.load.rollover --seconds 30``.

A gateway serves with its next key named in the settings.  While senders post without a pause, an
operator registers the broker's next certificate with a cut; then the hub's own key changes; then
comes the cut.  The hub's keys may lie in a token (``--token``), its rows in PostgreSQL.  No message
that a key signed in its time may be refused, no connection may fail, and every receipt must verify,
by the hub's old key before the change and by the new one after it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.cli import main as gateway_verb
from gateway.delivery import HttpClient, HttpLimits
from gateway.message_model import ErrorSignal, MemoryBody, Receipt
from gateway.pki import KeySigner, load_signer, read_certificate
from gateway.protocols import Parcel, ProtocolContext
from gateway.store import messages, read_transaction
from gateway_conformance.pki import Sandbox, SandboxParty, make_sandbox
from tests.kit.databases import PostgresqlServer
from tests.kit.ports import find_free_port
from tests.kit.softhsm import PIN, SoftHsm
from tests.load.place import EBMS2, Broker, Place, payload, set_up
from tests.load.serving import gateway
from tests.load.stopwatch import say

_NAMES = ("hub", "hub-next", "broker1", "broker1-next")
_NUMBERS = itertools.count(1)
_BOUNDS = HttpLimits(connect_seconds=5, read_seconds=30, total_seconds=60)


@dataclass(frozen=True)
class Plan:
    """When the broker's next key begins to count, when the hub's does, when the broker's old one ends."""

    opens: datetime
    changes: datetime
    cut: datetime
    ends: datetime

    @classmethod
    def around(cls, changes: datetime, seconds: float) -> Plan:
        """Return the plan of so many seconds in all, the hub's change in the middle."""
        quarter = timedelta(seconds=seconds / 4)
        return cls(changes - quarter, changes, changes + quarter, changes + 2 * quarter)


@dataclass(frozen=True)
class Heard:
    """One message: by which key it was signed, when it was sent and answered, and what came back."""

    key: str
    sent: datetime
    answered: datetime
    problem: str
    hub_key: str

    def wrong(self, plan: Plan) -> str:
        """Say what may not be: refused in time, taken out of time, answered by the wrong key."""
        if self.problem:
            late = self.key == "broker1" and self.answered >= plan.cut and "GW206" in self.problem
            return "" if late else f"refused: {self.problem}"
        if self.key == "broker1" and self.sent >= plan.cut:
            return "taken after the cut"
        if self.hub_key == "hub-next" and self.answered < plan.changes:
            return "answered by the next key before its start"
        return "answered by the old key after its end" if self._stale(plan) else ""

    def _stale(self, plan: Plan) -> bool:
        return self.hub_key == "hub" and self.sent >= plan.changes


class RenewingBroker(Broker):
    """A broker that signs with one of its keys, and knows both of the hub."""

    def __init__(self, home: Path, key: str) -> None:
        super().__init__(home)
        self.key = key
        pki = home / "pki"
        self.known = {name: read_certificate((pki / f"{name}.cert.pem").read_bytes()) for name in _NAMES}
        self.signer = _signer(pki, key)

    def context(self) -> ProtocolContext:
        """Return what the broker judges by, as of now."""
        owners = {one.sha256: name.removesuffix("-next") for name, one in self.known.items()}
        return replace(super().context(), find_certificate_party=owners.get)

    def send(self, sender: HttpClient, url: str) -> Heard:
        """Send one message and judge what comes back."""
        parcel = self.seal("Store", payload(2048))
        sent = datetime.now(UTC)
        with parcel.body.open_stream() as stream:
            answer = sender.post(url, {"SOAPAction": '"ebXML"', **parcel.headers}, stream.read())
        answered = datetime.now(UTC)
        back = Parcel({"Content-Type": answer.headers.get("content-type", "")}, MemoryBody(answer.body))
        context = self.context()
        if b"Acknowledgment" in answer.body:
            opened = EBMS2.open_units(back, context, EBMS2.read_sent_unit(parcel, context.limits))
            assert isinstance(opened.unit, Receipt)
        else:
            opened = EBMS2.open_units(back, context)
        assert opened.verified_signature is not None
        unit, signed = opened.unit, opened.verified_signature.certificate
        problem = unit.errors[0].description if isinstance(unit, ErrorSignal) else ""
        by = next(name for name, one in self.known.items() if one == signed)
        return Heard(self.key, sent, answered, problem, by)


@dataclass
class Report:
    """What the senders heard, and what failed beneath that."""

    heard: list[Heard] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    #: The operator has said that the broker's next certificate is registered: before, nobody uses it.
    registered: threading.Event = field(default_factory=threading.Event)


def _signer(pki: Path, name: str) -> KeySigner:
    return load_signer((pki / f"{name}.key.pem").read_bytes(), (pki / f"{name}.cert.pem").read_bytes())


def _keys_of(plan: Plan, registered: threading.Event) -> Iterator[str]:
    """Yield by which key the next message is signed: the old, both in turn, the new."""
    turn = 0
    while (now := datetime.now(UTC)) < plan.ends:
        turn += 1
        if now < plan.opens or not registered.is_set():
            yield "broker1"
        # What is signed at the last moment may arrive behind the cut.
        elif now < plan.cut - timedelta(seconds=1):
            yield _NAMES[2 + turn % 2]
        else:
            yield "broker1-next"


def _sending(home: Path, url: str, plan: Plan, report: Report) -> None:
    brokers = {name: RenewingBroker(home, name) for name in ("broker1", "broker1-next")}
    sender = HttpClient(_BOUNDS)
    try:
        for key in _keys_of(plan, report.registered):
            report.heard.append(brokers[key].send(sender, url))
    except Exception as error:
        report.broken.append(f"{type(error).__name__}: {error}")
    finally:
        sender.close()


@dataclass(frozen=True)
class Setting:
    """How much is played, where the rows are, and whether the hub's keys lie in a token (SoftHSM 2).

    `database` makes a new one and returns its url; without it the rows are in a file of SQLite.
    """

    seconds: float = 30.0
    senders: int = 4
    processes: int = 2
    token: bool = False
    database: Callable[[], str] | None = None


def run(folder: Path, setting: Setting, lead: float = 6.0) -> Mapping[str, Any]:
    """Play it once; start again with a longer lead where the gateway was not up in time."""
    with pytest.MonkeyPatch.context() as environment:
        return _run(folder, setting, lead, environment)


def _run(folder: Path, setting: Setting, lead: float, environment: pytest.MonkeyPatch) -> Mapping[str, Any]:
    seconds = setting.seconds
    url = setting.database() if setting.database else f"sqlite:///{folder}/home/gateway.sqlite3"
    place = Place(folder / "home", find_free_port(), url)
    place.home.mkdir(parents=True)
    parties = [SandboxParty(name, key_kind="rsa-2048") for name in _NAMES]
    made = make_sandbox(place.home / "pki", parties, datetime.now(UTC))
    plan = Plan.around(datetime.now(UTC) + timedelta(seconds=lead + seconds / 2), seconds)
    keys = _in_token(place, made, environment) if setting.token else _IN_FILES
    next_key = keys.replace("STARTS", plan.changes.isoformat())
    certificates = {name: made.signers[name].certificate.der for name in ("hub", "broker1")}
    set_up(place, certificates, setting.processes, next_key)
    with gateway(place):
        in_time = datetime.now(UTC) < plan.opens - timedelta(seconds=1)
        report = _play(place, plan, setting.senders) if in_time else None
    if report is None:
        say(f"rollover: the gateway took longer than {lead:g} s to start")
        return _run(folder.with_name(f"{folder.name}x"), setting, lead * 2, environment)
    return _figures(place, plan, report)


_IN_FILES: Final = """[pki.next]
starts = STARTS
signing_key = { file = "pki/hub-next.key.pem" }
signing_certificate = "pki/hub-next.cert.pem"
"""
_IN_TOKEN: Final = """[pki.token]
module = "MODULE"
label = "LABEL"
key = "hub"
pin = { file = "pki/pin" }
[pki.next]
starts = STARTS
signing_certificate = "pki/hub-next.cert.pem"
[pki.next.token]
module = "MODULE"
label = "LABEL"
key = "hub-next"
pin = { file = "pki/pin" }
"""


def _in_token(place: Place, made: Sandbox, environment: pytest.MonkeyPatch) -> str:
    """Put both keys of the hub into a token, and return the settings that name it."""
    token = SoftHsm.make(place.home / "hsm", environment)
    for number, name in enumerate(("hub", "hub-next"), start=1):
        token.put(made.signers[name].key, name, f"{number:02}")
        # What is broken for the gateway shows: it would read the file where it did not use the token.
        (place.home / "pki" / f"{name}.key.pem").unlink()
    (place.home / "pki" / "pin").write_bytes(PIN)
    return _IN_TOKEN.replace("MODULE", token.key().module_path).replace("LABEL", token.label)


def _play(place: Place, plan: Plan, senders: int) -> Report:
    url, report = f"http://127.0.0.1:{place.port}/msh/ebms2", Report()
    threads = [
        threading.Thread(target=_sending, args=(place.home, url, plan, report)) for _ in range(senders)
    ]
    for one in threads:
        one.start()
    times = ["--from", plan.opens.isoformat(), "--cut", plan.cut.isoformat()]
    new = str(place.home / "pki" / "broker1-next.cert.pem")
    status = gateway_verb(["party", "certificate", "add", "broker1", new, *times, "--home", str(place.home)])
    assert status == 0
    report.registered.set()
    for one in threads:
        one.join()
    sender = HttpClient(_BOUNDS)
    report.heard.append(RenewingBroker(place.home, "broker1").send(sender, url))
    sender.close()
    return report


def _figures(place: Place, plan: Plan, report: Report) -> Mapping[str, Any]:
    engine = place.engine()
    with read_transaction(engine) as conn:
        stored = len(messages.list_messages(conn, limit=1_000_000, direction="in"))
    engine.dispose()
    receipts = [one for one in report.heard if not one.problem]
    wrong = [words for one in report.heard if (words := one.wrong(plan))]
    by = Counter(f"{one.key} -> {one.hub_key}" for one in receipts)
    overlap = Counter(one.key for one in receipts if plan.opens <= one.sent and one.answered < plan.cut)
    return {
        "sent": len(report.heard),
        "receipts_verified": len(receipts),
        "stored": stored,
        "refused_or_wrong": len(wrong),
        "wrong": wrong[:10],
        "broken": report.broken[:10],
        "by_keys": dict(sorted(by.items())),
        "in_the_overlap": dict(sorted(overlap.items())),
        "refused_after_the_cut": sum(bool(one.problem) for one in report.heard),
        "last": report.heard[-1].problem,
        "messages_per_s": round(len(receipts) / (plan.ends - report.heard[0].sent).total_seconds(), 1),
    }


def main(words: list[str] | None = None) -> int:
    """Play it and print the figures; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.rollover")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--token", action="store_true", help="the hub's keys lie in a PKCS#11 token")
    parser.add_argument("--postgresql", action="store_true", help="the rows are in PostgreSQL")
    chosen = parser.parse_args(words)
    server = PostgresqlServer()
    new = (lambda: server.create(next(_NUMBERS), None)) if chosen.postgresql else None
    setting = Setting(chosen.seconds, chosen.senders, chosen.processes, chosen.token, new)
    with tempfile.TemporaryDirectory(prefix="rollover-") as folder:
        try:
            found = run(Path(folder) / "1", setting)
        finally:
            server.close()
    print(json.dumps(found, indent=1))
    return 1 if found["refused_or_wrong"] or found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
