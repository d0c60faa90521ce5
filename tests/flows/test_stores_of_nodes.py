"""Two nodes with homes of their own over one database: only one has the store of its large payloads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client, TestResponse

from gateway.cli import main
from gateway.cli.commands import payload_store, process
from gateway.cli.home_folder import read_home_settings
from gateway.delivery import build_worker
from gateway.errors import KEY_UNAVAILABLE, GatewayError
from gateway.hub import RejectingComposer, build_hub
from gateway.message_model import Payload
from gateway.store import deliveries, write_transaction
from gateway.web import hub_readiness
from gateway.web.wsgi_application import build_wsgi_application
from tests.kit.databases import BOTH_AT_LANDING
from tests.kit.house import Clock, Neighbour
from tests.kit.live import LiveHouse
from tests.kit.rows import delivery

pytestmark = BOTH_AT_LANDING
LARGE = b"%PDF-" + b"large" * 600_000


class Nodes:
    """The homes of two nodes, as two pods without a common volume have them, and a broker."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.live = LiveHouse(folder, database_url)
        self.broker = Neighbour("broker1", Clock(datetime.now(UTC)))
        self.homes = (self.live.home, folder / "another" / "home")
        shutil.copytree(self.live.home, self.homes[1], ignore=shutil.ignore_patterns("payloads"))
        self.hubs = [build_hub(read_home_settings(home), RejectingComposer()) for home in self.homes]
        self.clients = [Client(build_wsgi_application(hub, 1 << 26)) for hub in self.hubs]

    def file(self, node: int, content: bytes) -> TestResponse:
        """File a message with a part of these octets at a node."""
        unit = self.broker.message("Store")
        part = Payload("pdf.part", "application/pdf", content)
        parcel = self.broker.seal(self.broker.message("Store", payloads=(*unit.payloads, part)))
        headers = list(parcel.headers.items())
        return self.clients[node].post("/msh/ebms2", data=parcel.read_octets(), headers=headers)

    def ask_readiness(self, node: int) -> tuple[int, str]:
        answer = self.clients[node].get("/status/ready", environ_base={"REMOTE_ADDR": "127.0.0.1"})
        return answer.status_code, answer.text.strip()


@pytest.fixture
def nodes(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)
    made = Nodes(tmp_path, database_url)
    yield made
    for hub in made.hubs:
        hub.engine.dispose()


def test_a_node_without_the_common_store_is_not_ready_and_acknowledges_nothing_large(nodes: Nodes) -> None:
    assert nodes.ask_readiness(0) == (200, "ready")
    assert nodes.ask_readiness(1) == (503, "GW811 not the store of large payloads of this database")
    refused = nodes.file(1, LARGE)
    assert (refused.status_code, b"GW811" in refused.data) == (503, True)
    assert nodes.file(1, b"small").status_code == 200
    assert nodes.file(0, LARGE).status_code == 200
    # Mounted there, too, the store is that of both.
    (nodes.homes[1] / "payloads").symlink_to(nodes.homes[0] / "payloads")
    assert nodes.ask_readiness(1) == (200, "ready")
    assert nodes.file(1, LARGE).status_code == 200


def test_a_worker_without_the_common_store_claims_nothing(nodes: Nodes, database_url: str) -> None:
    right, wrong = (build_worker(read_home_settings(home)) for home in nodes.homes)
    with write_transaction(right.engine) as conn:
        number = deliveries.enqueue_delivery(conn, delivery(), datetime.now(UTC))
    assert wrong._claim_deliveries() == ()
    assert [lease.id for lease in right._claim_deliveries()] == [number]
    (nodes.homes[1] / "payloads").symlink_to(nodes.homes[0] / "payloads")
    wrong.run_maintenance()
    with write_transaction(right.engine) as conn:
        number = deliveries.enqueue_delivery(conn, delivery(), datetime.now(UTC))
    assert number in [lease.id for lease in wrong._claim_deliveries()]
    for worker in (right, wrong):
        worker.engine.dispose()


def test_the_check_and_the_verb_say_so(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    assert nodes.file(0, LARGE).status_code == 200
    wrong = str(nodes.homes[1])
    capsys.readouterr()
    assert main(["check", "--home", wrong]) == 1
    told = capsys.readouterr().out
    assert "GW811 the store of large payloads has no mark: it is not mounted" in told
    assert "GW325" not in told
    restore = ["restore", "payloads", "--reason", "moved", "--home"]
    assert main([*restore, wrong]) == 2
    told = capsys.readouterr().err
    assert (
        "the store lacks 1 of the 1 newest large payload of the database: copy them, name the right" in told
    )
    assert main([*restore, str(nodes.homes[0])]) == 0
    assert "is that of the database already" in capsys.readouterr().out
    # Copied without the mark, it is the store from now on; the former one is not any more.
    former, present = (home / "payloads" for home in nodes.homes)
    shutil.copytree(former, present, ignore=shutil.ignore_patterns("database-mark"))
    assert nodes.ask_readiness(1)[0] == 503
    assert main([*restore, wrong]) == 0
    assert nodes.ask_readiness(1) == (200, "ready")
    assert nodes.ask_readiness(0)[0] == 503


def test_an_upgrade_marks_the_store_that_has_the_payloads(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nodes.file(0, LARGE).status_code == 200
    # As an earlier version has left it, whose nodes had no common store.
    with write_transaction(nodes.hubs[0].engine) as conn:
        conn.exec_driver_sql("DELETE FROM shared_files")
    (nodes.homes[0] / "payloads" / "database-mark").unlink()
    right, wrong = (["--home", str(home)] for home in nodes.homes)
    assert main(["migrate", *wrong]) == 1
    told = capsys.readouterr().err
    assert "GW811 the store lacks 1 of the 1 newest large payloads: copy those of all nodes into it" in told

    def refuse_to_run(_: object) -> None:
        raise GatewayError(KEY_UNAVAILABLE, "it goes on")

    # `gateway run` starts with that store, for small messages.
    monkeypatch.setattr(process, "check_own_hub", refuse_to_run)
    main(["run", *wrong])
    assert "GW803 it goes on" in capsys.readouterr().err
    assert [nodes.ask_readiness(node)[0] for node in (0, 1)] == [503, 503]
    capsys.readouterr()
    assert main(["migrate", *right]) == 0
    mark = nodes.homes[0] / "payloads" / "database-mark"
    assert f"The store of large payloads has the mark {mark}." in capsys.readouterr().out
    assert [nodes.ask_readiness(node)[0] for node in (0, 1)] == [200, 503]


def test_a_hub_whose_store_takes_no_mark_starts_and_says_so(
    nodes: Nodes,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with write_transaction(nodes.hubs[0].engine) as conn:
        conn.exec_driver_sql("DELETE FROM shared_files")
    (nodes.homes[1] / "payloads").write_text("no folder")

    def refuse_to_run(_: object) -> None:
        raise GatewayError(KEY_UNAVAILABLE, "it goes on")

    monkeypatch.setattr(process, "check_own_hub", refuse_to_run)
    main(["run", "--home", str(nodes.homes[1])])
    assert "GW803 it goes on" in capsys.readouterr().err
    assert "the store of large payloads is not marked: GW806" in caplog.text
    assert main(["migrate", "--home", str(nodes.homes[1])]) == 1
    assert "GW806 the object store accepts no writes now" in capsys.readouterr().err


def test_a_store_of_another_hub_is_not_taken_over(nodes: Nodes, capsys: pytest.CaptureFixture[str]) -> None:
    mark = nodes.homes[1] / "payloads" / "database-mark"
    mark.parent.mkdir()
    mark.write_text("ab" * 16)
    assert main(["restore", "payloads", "--lost", "--reason", "moved", "--home", str(nodes.homes[1])]) == 1
    told = capsys.readouterr().err
    assert "GW811 the store has a mark that the database does not know: that of another hub" in told
    assert mark.read_text() == "ab" * 16
    assert nodes.ask_readiness(0) == (200, "ready")


def test_of_two_nodes_that_restore_their_stores_at_once_one_is_told_that_it_has_none(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in nodes.homes:
        (home / "payloads" / "database-mark").unlink(missing_ok=True)
    restores = [["restore", "payloads", "--reason", "moved", "--home", str(home)] for home in nodes.homes]
    place = payload_store.place_mark

    def let_the_other_node_be_first(*arguments: Any) -> str | None:
        monkeypatch.setattr(payload_store, "place_mark", place)
        assert main(restores[1]) == 0
        return place(*arguments)

    monkeypatch.setattr(payload_store, "place_mark", let_the_other_node_be_first)
    assert main(restores[0]) == 1
    assert "GW811 the store of large payloads has no mark" in capsys.readouterr().err
    assert [nodes.ask_readiness(node)[0] for node in (0, 1)] == [503, 200]


def test_of_two_nodes_that_restore_one_store_at_once_the_second_is_told_that_it_has_it(
    nodes: Nodes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (nodes.homes[0] / "payloads" / "database-mark").unlink()
    (nodes.homes[1] / "payloads").symlink_to(nodes.homes[0] / "payloads")
    restores = [["restore", "payloads", "--reason", "moved", "--home", str(home)] for home in nodes.homes]
    compare = payload_store.compare_newest_objects

    def let_the_other_node_be_first(*arguments: Any) -> Any:
        monkeypatch.setattr(payload_store, "compare_newest_objects", compare)
        assert main(restores[1]) == 0
        return compare(*arguments)

    monkeypatch.setattr(payload_store, "compare_newest_objects", let_the_other_node_be_first)
    assert main(restores[0]) == 0
    told = capsys.readouterr()
    assert "is that of the database already." in told.out
    assert not told.err
    assert [nodes.ask_readiness(node)[0] for node in (0, 1)] == [200, 200]
