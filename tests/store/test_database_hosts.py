"""A host of the database that gives no answer does not keep a process from the one that is primary."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import make_url, text

from gateway.store import make_engine, read_transaction
from gateway.store.postgresql_connections import DatabaseHosts
from tests.kit.databases import Templates

THREE = {"host": "a,b,c", "port": "1,2,3", "dbname": "gateway"}


class _Town:
    """Hosts that are primary, refuse, or are silent for five seconds of a clock of their own."""

    def __init__(self, **states: str) -> None:
        self.states, self.now, self.asked = states, 0.0, []  # type: ignore[var-annotated]
        self.meanwhile: Callable[[], None] = lambda: None

    def connect(self, **parameters: Any) -> str:
        host = parameters["host"]
        self.asked.append(f"{host}:{parameters['port']}")
        assert parameters["dbname"] == "gateway"
        if self.states[host] == "silent":
            self.now += 5
            self.meanwhile()
            raise TimeoutError(host)
        if self.states[host] != "primary":
            raise ConnectionError(host)
        return host

    def take_asked(self) -> list[str]:
        asked, self.asked = self.asked, []
        return asked


def test_hosts_are_tried_in_their_order_until_one_takes_the_connection() -> None:
    town = _Town(a="standby", b="primary", c="standby")
    hosts = DatabaseHosts(lambda: town.now)
    assert [hosts.connect(town.connect, THREE) for _ in "12"] == ["b", "b"]
    assert town.take_asked() == ["a:1", "b:2"] * 2


def test_a_silent_host_costs_its_time_once_and_the_next_primary_is_found_at_once() -> None:
    town = _Town(a="silent", b="standby", c="standby")
    hosts = DatabaseHosts(lambda: town.now)
    with pytest.raises(ConnectionError, match="c"):
        hosts.connect(town.connect, THREE)
    town.take_asked()
    town.states["c"] = "primary"
    assert hosts.connect(town.connect, THREE) == "c"
    assert town.take_asked() == ["b:2", "c:3"]
    # Later it is due again, after all others: where one of them is primary it is not asked at all.
    town.now += 60
    assert hosts.connect(town.connect, THREE) == "c"
    assert town.take_asked() == ["b:2", "c:3"]


def test_a_silent_host_is_tried_again_after_the_others_by_one_thread_at_a_time() -> None:
    town = _Town(a="silent", b="standby", c="standby")
    hosts = DatabaseHosts(lambda: town.now)
    others: list[list[str]] = []

    def connect_meanwhile() -> None:
        town.meanwhile, mine = lambda: None, town.take_asked()
        with pytest.raises(ConnectionError, match="c"):
            hosts.connect(town.connect, THREE)
        others.append(town.take_asked())
        town.asked = mine

    with pytest.raises(ConnectionError, match="c"):
        hosts.connect(town.connect, THREE)
    town.take_asked()
    town.now += 3
    town.meanwhile = connect_meanwhile
    with pytest.raises(TimeoutError, match="a"):
        hosts.connect(town.connect, THREE)
    assert (town.take_asked(), others) == (["b:2", "c:3", "a:1"], [["b:2", "c:3"]])
    # It has come back as the primary.
    town.now += 3
    town.states["a"] = "primary"
    assert [hosts.connect(town.connect, THREE) for _ in "12"] == ["a", "a"]
    assert town.take_asked() == ["b:2", "c:3", "a:1", "a:1"]


def test_when_every_host_is_left_out_the_driver_tries_all() -> None:
    town = _Town(**{"a": "silent", "b": "silent", "a,b": "primary"})
    hosts = DatabaseHosts(lambda: town.now)
    both = {**THREE, "host": "a,b", "port": "5432"}
    with pytest.raises(TimeoutError, match="b"):
        hosts.connect(town.connect, both)
    town.now -= 5
    assert hosts.connect(town.connect, both) == "a,b"
    assert town.take_asked() == ["a:5432", "b:5432", "a,b:5432"]


@pytest.mark.parametrize("parameters", [{"host": "a", "port": 1}, {}, {**THREE, "hostaddr": "127.0.0.1"}])
def test_what_names_no_list_of_hosts_is_left_to_the_driver(parameters: dict[str, Any]) -> None:
    given: list[dict[str, Any]] = []
    DatabaseHosts().connect(lambda **named: given.append(named), parameters)
    assert given == [parameters]


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Give a socket to which one connects, and which never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.5)
        yield listening


@pytest.mark.long
def test_the_second_connection_does_not_ask_a_frozen_server(
    templates: Templates, silent: socket.socket
) -> None:
    real = make_url(templates.empty("postgresql"))
    place, port = real.query.get("host", real.host), real.port or real.query.get("port", 5432)
    hosts = f"host=127.0.0.1:{silent.getsockname()[1]}&host={place}:{port}"
    login = f"{real.username}:{real.password}" if real.password else real.username
    engine = make_engine(f"postgresql+psycopg://{login}@/{real.database}?{hosts}&connect_timeout=2")
    try:
        for _ in "12":
            with read_transaction(engine) as conn:
                assert conn.execute(text("SELECT 1")).scalar_one() == 1
            engine.dispose()
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()
    finally:
        engine.dispose()
