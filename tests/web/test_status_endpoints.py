"""The pages for monitoring while the database is away."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from gateway.store import make_engine
from gateway.web import status_endpoints
from gateway.web.status_endpoints import HubProbes, build_status_application
from tests.kit.ports import find_free_port


@pytest.mark.parametrize("kind", ["file", "server"])
def test_without_a_database_metrics_are_one_line_and_those_of_the_process_go_on(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "damaged").write_bytes(b"this is no database, " * 400)
    url = f"sqlite:///{tmp_path}/damaged"
    if kind == "server":
        url = f"postgresql://nobody@127.0.0.1:{find_free_port()}/none"
    engine = make_engine(url)
    client = build_status_application(engine).test_client()
    answer = client.get("/metrics")
    assert (answer.status_code, answer.text.count("\n")) == (503, 1)
    assert answer.text.startswith("GW80")
    assert "the database cannot be read" in answer.text
    ready = client.get("/status/ready")
    told = {
        "file": "GW805 the file of the database is damaged\n",
        "server": "GW806 the database cannot be reached\n",
    }
    assert (ready.status_code, ready.text) == (503, told[kind])
    process = client.get("/metrics/process")
    assert process.status_code == 200
    assert "gateway_database_up 0.0\n" in process.text
    assert "gateway_database_reserve_octets" in process.text
    assert "Traceback" not in caplog.text
    engine.dispose()


def test_a_database_that_does_not_answer_holds_one_question(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks meanwhile is told so at once, and keeps no thread of the server."""
    monkeypatch.setattr(status_endpoints, "_ASKING_SECONDS", 0.05)
    asked, answered = threading.Event(), threading.Event()

    def wait_for_the_server() -> None:
        asked.set()
        answered.wait(60)

    client = build_status_application(engine, HubProbes(unready=wait_for_the_server)).test_client()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(client.get, "/status/ready")
        asked.wait(60)
        others = [ask_readiness(client) for _ in range(3)]
        answered.set()
        assert first.result().text == "ready\n"
    assert others == [(503, "GW806 the database does not answer\n")] * 3
    assert ask_readiness(client) == (200, "ready\n")


def ask_readiness(client: FlaskClient) -> tuple[int, str]:
    answer = client.application.test_client().get("/status/ready")
    return answer.status_code, answer.text
