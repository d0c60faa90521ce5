"""Intake alone, and intake while officers work: the same messages, by turns, in one run.

Officers read a page every five seconds, ask whether their list has changed every ten, and do an act
(receive an application: a signed call through the whole gateway) once a minute. Meanwhile messages come in
as fast as they are answered. Slices without and with officers follow each other, so that a machine that
changes its speed changes it for both.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import text

from gateway.accounts import hash_password
from gateway.message_model import Payload
from gateway.store import NewAccount, accounts, read_transaction, write_transaction
from tests.kit.paths import ROOT
from tests.kit.ports import find_free_port
from tests.load.admitting import LABEL, submission
from tests.load.generator import read_frames, run
from tests.load.place import AGENCIES, Broker, Place, make_place
from tests.load.serving import Load, await_answer, frame_message, sign_beforehand
from tests.load.stopwatch import machine, percentile, say

AGENCY: Final = "KFDA"
PASSWORD: Final = "correct horse battery staple"
#: Seconds between pages, questions for news, and acts of one officer.
PAGE, NEWS, ACT = 5.0, 10.0, 60.0
PAGES: Final = (
    "/console/work",
    "/console/applications/{}",
    "/console/work?tab=mine",
    "/console/work/statistics",
)
_FIELD: Final = re.compile(r'<input type="hidden" name="([\w-]+)" value="([^"]*)">')
_AT_MOST: Final = 300.0


@dataclass
class Officer:
    """One officer: a connection, a session, and one application to work on."""

    name: str
    port: int
    number: str
    cookie: str = ""
    answers: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    _connection: http.client.HTTPConnection | None = None

    def sign_in(self) -> None:
        """Begin a session with the password."""
        _, headers, _ = self.ask("POST", "/console/sign-in", [("name", self.name), ("password", PASSWORD)])
        found = re.search(r"__Host-session=([^;]+)", headers)
        assert found, f"{self.name} cannot sign in"
        self.cookie = found[1]

    def read_page(self, path: str, **more: str) -> str:
        """Ask for a page, and note what came."""
        status, _, page = self.ask("GET", path, more=more)
        self.answers[f"page {status}"] += 1
        return page

    def act(self) -> None:
        """Receive the application: form, preview, confirmation."""
        place = f"/console/applications/{self.number}/acts/receive"
        fields = _read_fields(self.read_page(place)) | {"status_code": "C04", "step": "preview"}
        _, _, page = self.ask("POST", place, list(fields.items()))
        status, _, _ = self.ask("POST", place, list((_read_fields(page) | {"confirm": "session"}).items()))
        self.answers[f"act {status}"] += 1

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def ask(
        self,
        method: str,
        path: str,
        fields: list[tuple[str, str]] | None = None,
        more: dict[str, str] | None = None,
    ) -> tuple[int, str, str]:
        """Make one request; return its status, its cookies and its text."""
        headers = {"Cookie": f"__Host-session={self.cookie}"} if self.cookie else {}
        headers |= {"Sec-Fetch-Site": "same-origin", **(more or {})}
        body = None
        if fields is not None:
            body, headers["Content-Type"] = urlencode(fields), "application/x-www-form-urlencoded"
        began = time.perf_counter()
        for fresh in (False, True):
            if self._connection is None or fresh:
                self.close()
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                self._connection.request(method, path, body, headers)
                answer = self._connection.getresponse()
                text = answer.read().decode()
            except (http.client.HTTPException, ConnectionError):
                # A connection that was kept open may have been closed: the next one is new.
                if fresh:
                    raise
                continue
            self.times.append(time.perf_counter() - began)
            return answer.status, answer.headers.get("Set-Cookie", ""), text
        raise AssertionError("unreachable")


def _read_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of the first form of a page's content."""
    at = page.find("<form", page.find("<main"))
    return {name: unescape(value) for name, value in _FIELD.findall(page[at : page.find("</form>", at)])}


def prepare(place: Place, officers: int, port: int) -> list[Officer]:
    """File a submission for each officer, wait until the applications rest in the mailbox, sign in."""
    say(f"filing {officers} submissions")
    broker = Broker(place.home)
    filed = deque(
        (name.encode(), request)
        for name, request in (
            frame_message(broker.seal("Submit", _wrap(submission(broker, number)), LABEL))
            for number in range(officers)
        )
    )
    report = run(filed, place.port, 4, _AT_MOST, 1)
    assert report.receipted == officers, report.refused
    numbers = _wait_for_applications(place, officers)
    _add_accounts(place, officers)
    found = [Officer(f"officer{number}", port, numbers[number]) for number in range(officers)]
    for one in found:
        one.sign_in()
    return found


def _wrap(document: bytes) -> Payload:
    return Payload("submission@load", "application/xml", document)


def _wait_for_applications(place: Place, wanted: int) -> list[str]:
    """Return the numbers of the applications of the agency, when each rests in its mailbox."""
    engine, end = place.engine(), time.monotonic() + _AT_MOST
    asked = text("SELECT number FROM agency_requests WHERE agency = :agency AND state = 'ACKNOWLEDGED'")
    try:
        while True:
            with read_transaction(engine) as conn:
                found = [str(one) for one in conn.execute(asked, {"agency": AGENCY}).scalars()]
            if len(found) >= wanted:
                return found
            assert time.monotonic() < end, f"{len(found)} of {wanted} applications have arrived"
            time.sleep(0.2)
    finally:
        engine.dispose()


def _add_accounts(place: Place, officers: int) -> None:
    hashed, now, engine = hash_password(PASSWORD, b"s" * 16), datetime.now(UTC), place.engine()
    with write_transaction(engine, "load") as conn:
        for number in range(officers):
            new = NewAccount(f"officer{number}", f"Officer {number}", "load", password=hashed)
            account = accounts.insert_account(conn, new, now)
            accounts.set_roles(conn, account, "agency", AGENCY, ["officer"], now)
    engine.dispose()


@contextmanager
def work(officers: list[Officer]) -> Iterator[None]:
    """Let the officers work, each at a pace of its own around that of a person."""
    over = threading.Event()
    threads = [threading.Thread(target=_work, args=(one, over), daemon=True) for one in officers]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join(60)


def _work(officer: Officer, over: threading.Event) -> None:
    pace = random.Random(officer.name)
    began = time.monotonic()
    # They do not begin at the same moment, nor act in step.
    due = {"page": pace.uniform(0, PAGE), "news": pace.uniform(0, NEWS), "act": pace.uniform(0, ACT)}
    seen = 0
    while True:
        what = min(due, key=lambda name: due[name])
        if over.wait(max(0.0, began + due[what] - time.monotonic())):
            return
        if what == "act":
            officer.act()
            due[what] += ACT
        elif what == "news":
            officer.read_page("/console/work/mark", **{"X-Refresh": "1"})
            due[what] += NEWS
        else:
            officer.read_page(PAGES[seen % len(PAGES)].format(officer.number))
            seen += 1
            due[what] += pace.uniform(0.5, 1.5) * PAGE


@dataclass(frozen=True)
class Slice:
    """What one slice of intake gave: receipts a second, and the time of each."""

    per_second: float
    times: list[float]


def take_in(frames: deque[tuple[bytes, bytes]], port: int, connections: int) -> Slice:
    """Send frames as fast as they are answered; every answer must be a receipt."""
    wanted = len(frames)
    report = run(frames, port, connections, _AT_MOST, wanted)
    assert report.receipted == wanted, report.refused
    return Slice((wanted - 1) / (max(report.moments) - min(report.moments)), report.latencies)


def measure(folder: Path, wanted: Any) -> dict[str, Any]:
    """Return the rates of intake without and with officers, their ratio, and what the officers saw."""
    place = make_place(folder, database=wanted.database, processes=1, at_console=AGENCIES)
    port = find_free_port()
    settings = place.home / "gateway.toml"
    settings.write_text(f"{settings.read_text()}[console]\nenabled = true\nport = {port}\n")
    say("signing messages")
    number = wanted.messages * wanted.rounds * 2
    (file,) = sign_beforehand(place, Load(number, warm_up=200))
    frames = iter(read_frames(file))
    alone: list[Slice] = []
    beside: list[Slice] = []
    with run_gateway(place, port):
        officers = prepare(place, wanted.officers, port)
        take_in(deque(islice(frames, 200)), place.port, wanted.connections)
        for turn in range(wanted.rounds):
            say(f"round {turn + 1}: alone, then with {wanted.officers} officers")
            alone.append(take_in(deque(islice(frames, wanted.messages)), place.port, wanted.connections))
            with work(officers):
                time.sleep(wanted.settle)
                beside.append(take_in(deque(islice(frames, wanted.messages)), place.port, wanted.connections))
        for one in officers:
            one.close()
    return _describe(alone, beside) | _describe_officers(officers) | {"machine": machine(folder)}


def _describe(alone: list[Slice], beside: list[Slice]) -> dict[str, Any]:
    rates = [
        round(with_them.per_second / by_itself.per_second, 3)
        for by_itself, with_them in zip(alone, beside, strict=True)
    ]
    return {
        "alone": _describe_slices(alone),
        "with_officers": _describe_slices(beside),
        "ratios_of_rates": rates,
        "ratio_of_rates": median(rates),
        "ratio_of_p50": round(_percent(beside, 50) / _percent(alone, 50), 3),
        "ratio_of_p95": round(_percent(beside, 95) / _percent(alone, 95), 3),
    }


def _describe_slices(slices: list[Slice]) -> dict[str, Any]:
    told = {f"p{one}_ms": round(_percent(slices, one) * 1000, 1) for one in (50, 95, 99)}
    return {"receipts_per_s": [round(one.per_second, 1) for one in slices], **told}


def _percent(slices: list[Slice], percent: float) -> float:
    return percentile([took for one in slices for took in one.times], percent)


def _describe_officers(officers: list[Officer]) -> dict[str, Any]:
    answers: Counter[str] = Counter()
    for one in officers:
        answers.update(one.answers)
    times = [took for one in officers for took in one.times]
    told = {f"p{one}_ms": round(percentile(times, one) * 1000, 1) for one in (50, 95, 99)}
    return {"officers": len(officers), "answers": dict(sorted(answers.items())), "console": told}


@contextmanager
def run_gateway(place: Place, console: int) -> Iterator[None]:
    """Run ``gateway run``: messages, workers and console, as it is installed."""
    words = [sys.executable, "-m", "gateway", "run", "--home", str(place.home)]
    with (place.home / "run.log").open("wb") as log:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            await_answer(place.port, process)
            await_answer(console, process, "/console/sign-in")
            yield
        finally:
            process.terminate()
            process.wait(90)
