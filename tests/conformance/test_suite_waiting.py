"""The waits of the suite and the demo: pauses between polls, silence, and threads that wait at once."""

from __future__ import annotations

import hashlib
import shlex
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.errors import GatewayError
from gateway_conformance.as4 import GatewayDeclarations, select_assertions
from gateway_conformance.as4.as4_play import As4Play
from gateway_conformance.reports import ExchangeLog, UnmetError
from gateway_conformance.standard import StandardRunner
from gateway_conformance.verbs.demo_stage import Stage, _StartedProcess

#: A message of the test service, which must not be delivered.
PING = next(row for row in select_assertions("edelivery-1.15", None) if row.delivered == "none")


class UnreadyHub(ThreadingHTTPServer):
    """A hub that is never ready; it counts the questions."""

    question_count = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), UnreadyHandler)


class UnreadyHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        cast(UnreadyHub, self.server).question_count += 1
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Write no log."""


@pytest.fixture
def unready_hub() -> Iterator[UnreadyHub]:
    with UnreadyHub() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_demo_pauses_between_two_questions_to_a_hub_that_is_not_ready(
    unready_hub: UnreadyHub, tmp_path: Path
) -> None:
    log = tmp_path / "hub.log"
    log.write_text("starting")
    hub = _StartedProcess("hub", cast(Any, SimpleNamespace(poll=lambda: None)), log)
    stage = Stage(tmp_path, cast(Any, None), ports={"hub": unready_hub.server_port}, players=[hub])
    with pytest.raises(GatewayError, match="hub is not ready: starting"):
        stage._await_ready_hub(time.monotonic() + 0.5)
    assert 1 <= unready_hub.question_count <= 11


def judge_ping(shown: Path) -> None:
    """Judge the delivery of a ping with one payload, where `shown` is what the gateway shows."""
    declarations = GatewayDeclarations(show={"delivered": f"cat {shlex.quote(str(shown))}"})
    play = As4Play(PING, cast(Any, SimpleNamespace(declarations=declarations)))
    unit = SimpleNamespace(message_id="m@x", payloads=(SimpleNamespace(content=b"ping"),))
    play._judge_delivery(cast(Any, SimpleNamespace(unit=unit)))


def test_a_delivery_that_must_not_be_is_seen_when_it_comes_late_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_conformance.as4.as4_play._NO_DELIVERY_SECONDS", 60.0)
    shown = tmp_path / "delivered"
    shown.write_text("nothing\n")
    digest = hashlib.sha256(b"ping").hexdigest()
    delivery = threading.Timer(1.0, lambda: shown.write_text(digest))
    delivery.start()
    with pytest.raises(UnmetError, match="the message was delivered"):
        judge_ping(shown)
    delivery.join()


@pytest.mark.parametrize("text", ["", "nothing\n"])
def test_a_gateway_that_delivers_no_ping_passes(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway_conformance.as4.as4_play._NO_DELIVERY_SECONDS", 0.3)
    shown = tmp_path / "delivered"
    shown.write_text(text)
    judge_ping(shown)


class SlowCount(int):
    """A number that another thread can overtake while it grows."""

    def __add__(self, addend: int) -> SlowCount:
        time.sleep(0.05)
        return SlowCount(int(self) + addend)


def test_requirements_on_several_threads_are_all_counted_as_silent() -> None:
    log = ExchangeLog()
    log.add_exchange(cast(Any, None), None, "no answer")
    runner = StandardRunner(cast(Any, None), _silent=SlowCount(0))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(runner._count_silence, [cast(Any, SimpleNamespace(log=log))] * 4))
    assert runner._silent == 4
