"""The pages for monitoring while the database is away."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, make_url, text
from werkzeug.test import Client

from gateway import __version__
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.monitor import health
from gateway.program_build import BUILD
from gateway.store import (
    InsufficientStorageError,
    ObjectFolder,
    get_database_state,
    get_head_revision,
    make_engine,
    mark_new_store,
    mark_objects_of,
    marked_objects,
    write_transaction,
)
from gateway.web import build_application, hub_readiness, status_endpoints
from gateway.web.status_endpoints import HubProbes, StatusReaders, build_status_application
from gateway.web.wsgi_application import build_wsgi_application
from gateway_conformance.verbs.conformance_home import make_suite_home
from tests.kit.databases import BOTH_AT_LANDING, in_turn
from tests.kit.house import START
from tests.kit.ports import find_free_port
from tests.kit.story import Story
from tests.kit.waiting import until


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


@BOTH_AT_LANDING
@pytest.mark.parametrize("path", ["/metrics", "/metrics/process"])
def test_metrics_name_the_program(engine: Engine, path: str) -> None:
    shown = build_status_application(engine).test_client().get(path).text
    labels = f'build="{BUILD}",schema="{get_head_revision()}",version="{__version__}"'
    assert f"gateway_build_info{{{labels}}} 1.0\n" in shown


@pytest.mark.long
@in_turn
def test_a_database_that_does_not_answer_holds_one_thread(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever asks is told so in time, later ones at once, and keeps no thread of the server."""
    monkeypatch.setattr(hub_readiness, "_ASKING_SECONDS", 0.3)
    monkeypatch.setattr(status_endpoints, "_MEASURING_SECONDS", 0.3)
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    asked, answered = [], threading.Event()

    def wait_for_the_server() -> None:
        asked.append(threading.current_thread())
        answered.wait(60)

    def wait_for_certificates() -> tuple[()]:
        wait_for_the_server()
        return ()

    probes = HubProbes(
        unready=wait_for_the_server, key=wait_for_the_server, certificates=wait_for_certificates
    )
    client = build_status_application(engine, probes).test_client()
    began = time.monotonic()
    assert [ask_readiness(client) for _ in range(4)] == [(503, "GW806 the database does not answer\n")] * 4
    assert len(asked) == 1
    assert client.get("/metrics").status_code == 503
    assert "gateway_own_key_away 1.0\n" in client.get("/metrics/process").text
    assert client.get("/status/live").text == "live\n"
    assert time.monotonic() - began < 5
    assert caplog.text.count("GW806 the status has no answer in 0.3 s: readiness") == 1
    answered.set()
    for thread in asked:
        thread.join(60)
    # On a busy machine a database that answers takes longer than the short limit too.
    await_readiness(client)
    until(lambda: client.get("/metrics").status_code == 200, every=0.1)
    until(lambda: "gateway_own_key_away 0.0\n" in client.get("/metrics/process").text, every=0.1)


def test_a_store_that_does_not_answer_is_not_ready_before_its_first_answer_alone(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    monkeypatch.setattr(marked_objects, "_ASKING_SECONDS", 0.3)
    engine, answers = make_engine(sqlite_url), threading.Event()
    folder = ObjectFolder(tmp_path / "payloads")
    read_mark = folder.read_mark

    def read_hanging_folder() -> str | None:
        answers.wait(60)
        return read_mark()

    monkeypatch.setattr(folder, "read_mark", read_hanging_folder)
    get_database_state(engine).objects = mark_objects_of(engine, folder)
    client = build_status_application(engine).test_client()
    assert ask_readiness(client) == (503, "GW806 the store of large payloads does not answer\n")
    answers.set()
    mark_new_store(engine, START)
    await_readiness(client)
    # Small messages need no store: a node that has seen its mark stays ready.
    answers.clear()
    assert ask_readiness(client) == (200, "ready\n")
    answers.set()
    engine.dispose()


@pytest.mark.long
@pytest.mark.parametrize("holder", ["another writer of SQLite", "a process of ours that hangs"])
def test_a_database_that_takes_no_writes_is_not_ready(
    holder: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads go on beside a writer that never ends, so only a write shows it."""
    monkeypatch.setattr(hub_readiness, "_ASKING_SECONDS", 0.5)
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    path, engine = sqlite_url.removeprefix("sqlite:///"), make_engine(sqlite_url)
    client = build_status_application(engine).test_client()
    await_readiness(client)
    with ExitStack() as held:
        if holder == "another writer of SQLite":
            other = held.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
            other.execute("BEGIN IMMEDIATE")
        else:
            lock = held.enter_context(Path(path + "-writer").open("rb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        assert ask_readiness(client) == (503, "GW806 the database does not answer\n")
        until(lambda: "gateway_database_up 1.0\n" in client.get("/metrics/process").text, every=0.1)
    await_readiness(client)
    engine.dispose()


def test_the_probe_writes_something(sqlite_url: str) -> None:
    """SQLite writes no page for a value that stays the same, so a full or hung disk would not show."""
    engine = make_engine(sqlite_url)
    log = Path(sqlite_url.removeprefix("sqlite:///") + "-wal")
    assert health.find_write_problem(engine) is None
    for _ in range(2):
        before = log.stat().st_size
        assert health.find_write_problem(engine) is None
        assert log.stat().st_size > before
    engine.dispose()


def test_a_server_that_takes_no_writes_is_not_ready(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    url = make_url(postgresql_url).update_query_dict({"options": "-c default_transaction_read_only=on"})
    engine = make_engine(url.render_as_string(hide_password=False))
    assert ask_readiness(build_status_application(engine).test_client())[0] == 503
    engine.dispose()


@pytest.mark.long
def test_a_server_that_hangs_is_not_ready_in_time(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_readiness, "_ASKING_SECONDS", 0.5)
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    engine, other = make_engine(postgresql_url), make_engine(postgresql_url)
    client = build_status_application(engine).test_client()
    await_readiness(client)
    with write_transaction(other) as conn:
        conn.execute(text("LOCK TABLE epochs IN ACCESS EXCLUSIVE MODE"))
        began = time.monotonic()
        assert ask_readiness(client) == (503, "GW806 the database does not answer\n")
        assert "gateway_database_up 0.0\n" in client.get("/metrics/process").text
        assert time.monotonic() - began < 5
    await_readiness(client)
    engine.dispose()
    other.dispose()


@pytest.mark.long
@pytest.mark.parametrize("rights", ["ALL", "INSERT, UPDATE, DELETE"])
def test_a_hub_whose_role_loses_its_rights_is_not_ready_and_loses_nothing(
    rights: str, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    admin = make_engine(postgresql_url)
    role = f"{admin.url.database}_hub"

    def execute(*statements: str) -> None:
        with write_transaction(admin) as conn:
            for statement in statements:
                conn.execute(text(statement))

    execute(f"CREATE ROLE {role}", f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    url = admin.url.update_query_dict({"options": f"-c role={role}"})
    story = Story(make_engine(url.render_as_string(hide_password=False)))
    hub = Client(build_wsgi_application(story.hub, 1 << 20))
    assert hub.get("/status/ready").status_code == 200
    execute(f"REVOKE {rights} ON ALL TABLES IN SCHEMA public FROM {role}")
    with pytest.raises(AssertionError if rights != "ALL" else InsufficientStorageError):
        story.submit()
    with pytest.raises(InsufficientStorageError, match="permission denied"):
        story.tick()
    for _ in range(2):
        refusal = hub.get("/status/ready")
        assert (refusal.status_code, refusal.text[:18]) == (503, "GW806 the database")
    execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    assert hub.get("/status/ready").status_code == 200
    story.submit()
    story.tick()
    assert story.case().state != "closed"
    story.house.engine.dispose()
    execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    admin.dispose()


def ask_readiness(client: FlaskClient) -> tuple[int, str]:
    answer = client.application.test_client().get("/status/ready")
    return answer.status_code, answer.text


def await_readiness(client: FlaskClient) -> None:
    """Wait until it says ready: where its limit is short, the first question that connects takes longer."""
    until(lambda: ask_readiness(client) == (200, "ready\n"), every=0.1)


@BOTH_AT_LANDING
def test_no_redirect_names_the_host_of_the_request(engine: Engine) -> None:
    client = build_status_application(engine).test_client()
    for path in ("//status/live", "/status//live", "/status/live/"):
        answer = client.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.headers.get("Location")) == (404, None)


@BOTH_AT_LANDING
@pytest.mark.parametrize(
    ("client", "forwarded", "may_read"),
    [
        ("127.0.0.1", None, True),
        ("10.1.2.3", None, True),
        ("::1", None, True),
        ("192.0.2.1", None, False),
        # Nobody but our own proxy says for whom it asks.
        ("192.0.2.1", "127.0.0.1", False),
        ("192.0.2.99", "192.0.2.1", False),
        ("192.0.2.99", "192.0.2.1, 10.1.2.3", True),
        ("192.0.2.99", "10.1.2.3, 192.0.2.1", False),
        ("192.0.2.99", "nobody", False),
        # An address of IPv4 as a socket for both kinds has it, and as proxies write it.
        ("::ffff:10.1.2.3", None, True),
        ("::FFFF:0a01:0203", None, True),
        ("::ffff:192.0.2.1", None, False),
        ("::ffff:192.0.2.99", "::ffff:10.1.2.3", True),
        ("::ffff:192.0.2.99", "10.1.2.3, ::ffff:192.0.2.1", False),
        ("192.0.2.99", "10.1.2.3:4711", True),
        ("192.0.2.99", "[::1]:4711", True),
        ("192.0.2.99", "[::1]", True),
        ("198.51.100.7", None, True),
        ("198.51.100.8", None, False),
        ("::10.1.2.3", None, False),
        ("", None, False),
    ],
)
def test_metrics_and_reasons_are_for_the_monitoring_alone(
    engine: Engine, client: str, forwarded: str | None, *, may_read: bool
) -> None:
    networks = ("127.0.0.0/8", "10.0.0.0/8", "::1/128", "::ffff:198.51.100.7/128")
    readers = StatusReaders(networks, frozenset({"192.0.2.99"}))
    probes = HubProbes(unready=lambda: GatewayError(KEY_UNAVAILABLE, "the token at 10.9.9.9 is away"))
    application = build_status_application(engine, probes, readers)
    environ = {"REMOTE_ADDR": client}
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    asked = application.test_client()
    for path in ("/metrics", "/metrics/process", "/metrics/process/"):
        answer = asked.get(path, environ_base=environ, headers=headers)
        assert (answer.status_code == 403) is not may_read
        assert ("gateway_" in answer.text) is (may_read and not path.endswith("/"))
    ready = asked.get("/status/ready", environ_base=environ, headers=headers)
    assert ready.status_code == 503
    assert (ready.text == "not ready\n") is not may_read
    assert asked.get("/status/live", environ_base=environ, headers=headers).text == "live\n"


TOKEN = "abcdefghijklmnop-._~+/=="


@BOTH_AT_LANDING
@pytest.mark.parametrize(
    ("sent", "may_read"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (None, False),
        ("", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        ("Bearer", False),
        ("Bearer ", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer {TOKEN}x", False),
        ("Bearer caf\u00e9", False),
    ],
)
def test_a_token_gets_metrics_and_reasons_at_any_address(
    engine: Engine, sent: str | None, *, may_read: bool
) -> None:
    probes = HubProbes(unready=lambda: GatewayError(KEY_UNAVAILABLE, "the token at 10.9.9.9 is away"))
    client = build_status_application(engine, probes, StatusReaders((), token=TOKEN)).test_client()
    headers = {} if sent is None else {"Authorization": sent}
    assert (client.get("/metrics", headers=headers).status_code == 200) is may_read
    assert ("GW803" in client.get("/status/ready", headers=headers).text) is may_read


@BOTH_AT_LANDING
def test_without_a_token_in_the_settings_none_is_taken(engine: Engine) -> None:
    client = build_status_application(engine, None, StatusReaders(())).test_client()
    for sent in ("Bearer ", "Bearer None", f"Bearer {TOKEN}"):
        assert client.get("/metrics", headers={"Authorization": sent}).status_code == 403


@pytest.mark.long
def test_the_settings_say_whose_token_and_address_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATUS_TOKEN", TOKEN)
    more = '[http]\nproxies = ["::ffff:192.0.2.99"]\nstatus_addresses = ["10.0.0.0/8"]\n'
    more += 'status_token = { env = "STATUS_TOKEN" }\n'
    client = Client(build_application(make_suite_home(tmp_path / "home", more)))
    for address, headers, status in (
        ("10.1.2.3", {}, 200),
        ("192.0.2.1", {}, 403),
        ("192.0.2.1", {"Authorization": f"Bearer {TOKEN}"}, 200),
        ("192.0.2.99", {"X-Forwarded-For": "::ffff:10.1.2.3"}, 200),
        ("192.0.2.99", {}, 403),
    ):
        answer = client.get("/metrics/process", environ_base={"REMOTE_ADDR": address}, headers=headers)
        assert answer.status_code == status


@pytest.mark.long
@in_turn
def test_however_often_it_is_asked_the_key_signs_once_a_second(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.5)
    signed: list[str] = []
    probes = HubProbes(key=lambda: signed.append("key"), unready=lambda: signed.append("ready"))
    client = build_status_application(engine, probes).test_client()
    for _ in range(3):
        for path in ("/status/ready", "/metrics", "/metrics/process"):
            assert client.get(path).status_code == 200
    assert sorted(signed) == ["key", "ready"]
    time.sleep(0.6)
    client.get("/status/ready")
    client.get("/metrics")
    assert sorted(signed) == ["key", "key", "ready", "ready"]
