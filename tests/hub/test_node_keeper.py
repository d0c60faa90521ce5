"""A node asks once a second whether it is drained, and has the name of the settings."""

from __future__ import annotations

import socket

from sqlalchemy import Engine

from gateway.config import Settings
from gateway.hub.database import get_node_name
from gateway.hub.node_upkeep import NodeKeeper
from gateway.store import working_nodes, write_transaction
from tests.kit.house import Clock


def test_a_node_sees_within_a_second_that_it_is_drained_and_that_this_ends(engine: Engine) -> None:
    clock = Clock()
    keeper = NodeKeeper(engine, clock, "a")
    keeper.report_alive()
    assert keeper.find_drain_problem() is None
    with write_transaction(engine) as conn:
        working_nodes.set_drain(conn, "a", "operator", None, clock())
    assert keeper.find_drain_problem() is None
    clock.forward(seconds=1)
    assert str(keeper.find_drain_problem()).startswith("GW322")
    with write_transaction(engine) as conn:
        working_nodes.end_drain(conn, "a")
    assert keeper.find_drain_problem() is not None
    clock.forward(seconds=-1)
    assert keeper.find_drain_problem() is None


def test_a_node_has_the_name_of_the_settings_else_that_of_its_host() -> None:
    assert get_node_name(Settings.model_validate({"hub": {"node": "a"}})) == "a"
    assert get_node_name(Settings()) == socket.gethostname()[:40]
