"""A drained node takes no new work, is not ready, and finishes what it holds."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from gateway.cli import main
from gateway.cli.commands import drain
from gateway.config import load_settings
from gateway.hub import build_engine
from gateway.hub.node_upkeep import NodeKeeper
from gateway.store import (
    NewDelivery,
    deliveries,
    delivery_leases,
    read_transaction,
    working_nodes,
    write_transaction,
)
from tests.kit.claims import claim_deliveries
from tests.kit.rows import NOW


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def engine_of_home(tmp_path):
    (tmp_path / "gateway.toml").write_text('[hub]\nnode = "a"\n')
    assert main(["migrate", "--new", "--home", str(tmp_path)]) == 0
    engine = build_engine(load_settings(home=str(tmp_path)))
    yield engine
    engine.dispose()


def run(capsys, home, *words):
    code = main([*words, "--home", str(home), "--json"])
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return code, told


def lease_one(engine, holder):
    with write_transaction(engine) as conn:
        deliveries.ensure_lanes(conn, "CODE")
        new = NewDelivery(
            agent="soap", destination="CODE", lane="CODE", subject_type="request", subject_id="1",
            dedupe_key="one", parameters={},
        )  # fmt: skip
        deliveries.enqueue_deliveries(conn, [new], NOW)
        (lease,) = claim_deliveries(conn, "CODE", holder, NOW, NOW + timedelta(hours=1))
    return lease


@pytest.mark.night
def test_a_node_is_drained_when_it_holds_nothing(engine_of_home, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(drain, "_PROPAGATION_SECONDS", 0.0)
    clock = Clock()
    keeper = NodeKeeper(engine_of_home, clock, "a")
    keeper.report_alive()
    NodeKeeper(engine_of_home, clock, "b").report_alive()
    assert keeper.find_drain_problem() is None
    lease = lease_one(engine_of_home, "a/77")
    capsys.readouterr()

    code, (told,) = run(capsys, tmp_path, "drain", "--wait", "0", "--reason", "upgrade")
    assert (code, told["leases"], told["node"]) == (1, 1, "a")
    clock.now += timedelta(seconds=2)
    found = keeper.find_drain_problem()
    assert found is not None
    assert found.problem.id == "GW322"
    assert NodeKeeper(engine_of_home, clock, "b").find_drain_problem() is None

    with write_transaction(engine_of_home) as conn:
        assert delivery_leases.mark_delivered(conn, lease, NOW)
    code, (told,) = run(capsys, tmp_path, "drain", "--wait", "1")
    assert (code, told["leases"]) == (0, 0)
    _, rows = run(capsys, tmp_path, "node", "list")
    assert [(row["name"], row["leases"], row["drain_reason"]) for row in rows] == [
        ("a", 0, "upgrade"),
        ("b", 0, None),
    ]

    assert run(capsys, tmp_path, "drain", "--end")[0] == 0
    clock.now += timedelta(seconds=2)
    assert keeper.find_drain_problem() is None


@pytest.mark.night
def test_a_node_that_nobody_saw_is_not_drained(engine_of_home, tmp_path, capsys):
    assert main(["drain", "nowhere", "--home", str(tmp_path)]) == 2
    assert "no node nowhere was seen" in capsys.readouterr().err
    with read_transaction(engine_of_home) as conn:
        assert working_nodes.list_nodes(conn) == []
