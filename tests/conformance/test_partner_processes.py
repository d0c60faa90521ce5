"""Each partner is a process of its own: it says when it is ready, and ends when it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.cases import AgencyAcknowledgment, Notice
from gateway.client import HttpPoster, read_journal
from gateway.errors import UNREACHABLE, GatewayError
from tests.conformance.hub_messages import MessagingHub, agreement, octets
from tests.conformance.simulated_hubs import CallingHub, application
from tests.kit.paths import ROOT

#: Each starts processes of its own.
pytestmark = pytest.mark.night


@contextmanager
def process(keys: Path, kind: str, name: str, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a partner; give it with its port; kill it at the end, if it is still there."""
    started = subprocess.Popen(
        [sys.executable, "-m", "gateway_conformance", kind, "--partner", str(keys), "--name", name, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    assert started.stdout is not None
    try:
        line = started.stdout.readline().split()
        assert line[:1] == [b"READY"], line
        yield started, int(line[1])
    finally:
        started.kill()
        started.communicate()


def agency(folder: Path, *words: str) -> tuple[str, ...]:
    return ("--folder", str(folder), "--agency", "KFDA", "--hub", "http://127.0.0.1:1/soap/agency", *words)


def test_an_agency_survives_being_killed(keys: Path, tmp_path: Path, hub: CallingHub) -> None:
    with process(keys, "agency", "agency", *agency(tmp_path, "--misbehave", "lost*1")) as (first, port):
        url = f"http://127.0.0.1:{port}/soap"
        call = application(url)
        with pytest.raises(GatewayError) as caught:
            hub.call(url, call)
        assert caught.value.problem is UNREACHABLE
        first.send_signal(signal.SIGKILL)
        first.wait(60)
    with process(keys, "agency", "agency", *agency(tmp_path, "--port", str(port))):
        answer = hub.call(url, call)
        assert isinstance(answer, Notice)
        assert hub.call(url, call) == answer
    assert len(list(read_journal(tmp_path / "effects.jsonl"))) == 1


def test_options_make_the_plan(keys: Path, tmp_path: Path, hub: CallingHub) -> None:
    words = (
        "--decide",
        "2=APPROVED_WITH_CONDITIONS",
        "--condition",
        "Keep dry.",
        "--law",
        "05",
        "--status",
        "F03",
    )
    with process(keys, "agency", "agency", *agency(tmp_path, *words)) as (_, port):
        url = f"http://127.0.0.1:{port}/soap"
        answer = hub.call(url, application(url))
    assert isinstance(answer, Notice)
    assert (answer.status_code, answer.decisions[0].conditions) == ("F03", ("Keep dry.",))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_partner(keys: Path, tmp_path: Path, number: signal.Signals) -> None:
    with process(keys, "customs", "customs", "--folder", str(tmp_path)) as (started, _):
        started.send_signal(number)
        assert started.wait(60) == 0


def test_on_a_leash_it_ends_with_its_parent(keys: Path, tmp_path: Path) -> None:
    with process(keys, "customs", "customs", "--folder", str(tmp_path), "--leash") as (started, _):
        assert started.stdin is not None
        started.stdin.close()
        started.stdin = None
        assert started.wait(60) == 0


def test_without_a_leash_it_goes_on(keys: Path, tmp_path: Path) -> None:
    with process(keys, "customs", "customs", "--folder", str(tmp_path)) as (started, port):
        assert started.stdin is not None
        started.stdin.close()
        started.stdin = None
        time.sleep(0.3)
        assert started.poll() is None
        with pytest.raises(GatewayError):
            CallingHub(keys, partner="customs", wsdl="customs.wsdl").call(
                f"http://127.0.0.1:{port}/soap", application("http://127.0.0.1:1/")
            )


def test_a_broker_answers_at_its_path_only(keys: Path, tmp_path: Path) -> None:
    path = tmp_path / "agreement.yaml"
    path.write_bytes(agreement(8900, 8901))
    side = MessagingHub(keys, agreement(8900, 8901))
    parcel = side.seal(side.message("Result", side.result()))
    words = ("--folder", str(tmp_path / "log"), "--agreement", str(path))
    with process(keys, "broker", "broker", *words) as (_, port):
        for place, status in (("/msh/ebms2", 200), ("/elsewhere", 404)):
            poster = HttpPoster(f"http://127.0.0.1:{port}{place}")
            reply = poster.post({"SOAPAction": '"ebXML"', **parcel.headers}, octets(parcel))
            poster.close()
            assert reply.status == status
            if status == 200:
                side.judge(reply, parcel)


@pytest.mark.parametrize(
    "words",
    [
        ("agency", "--name", "agency", "--agency", "NOBODY", "--hub", "http://h/"),
        ("agency", "--name", "agency", "--agency", "KFDA", "--hub", "nowhere"),
        ("agency", "--name", "agency", "--agency", "KFDA", "--hub", "http://h/", "--misbehave", "x"),
        ("customs", "--name", "nobody"),
        ("broker", "--name", "broker"),
    ],
)
def test_what_cannot_start_says_why(keys: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    kind, *further = words
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gateway_conformance",
            kind,
            "--partner",
            str(keys),
            "--folder",
            str(tmp_path),
            *further,
        ],
        capture_output=True,
        cwd=ROOT,
        env=dict(os.environ),
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(kind.encode() + b": GW80")
    assert b"Traceback" not in done.stderr


def test_many_connections_are_kept_open(keys: Path, tmp_path: Path, hub: CallingHub) -> None:
    with process(keys, "agency", "agency", *agency(tmp_path, "--behaviour", "wait")) as (_, port):
        url = f"http://127.0.0.1:{port}/soap"
        posters = [HttpPoster(url) for _ in range(20)]
        envelope = hub.compose(application(url))
        for poster in (*posters, *posters):
            reply = poster.post({"Content-Type": "text/xml"}, b"<x/>")
            assert reply.status == 500
        assert isinstance(hub.call(url, envelope), AgencyAcknowledgment)
        assert isinstance(replace(hub, time_out=5).call(url, envelope), AgencyAcknowledgment)
        for poster in posters:
            poster.close()
