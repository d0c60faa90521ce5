"""Who proved to be the caller is known by the same credentials again, whatever else a request says."""

from __future__ import annotations

from gateway.web.server.proven_callers import ProvenCallers, ProvenNetworks

COOKIE = "__Host-session=abc"


def test_a_caller_is_known_by_its_credentials_alone() -> None:
    callers = ProvenCallers()
    callers.remember_caller({"cookie": COOKIE}, "account 5")
    callers.remember_caller({"authorization": "Bearer t"}, "broker1")
    callers.remember_caller({}, "broker2")
    callers.remember_caller({"cookie": "__Host-session=unknown"}, None)
    assert callers.find_caller({"cookie": f"language=ko; {COOKIE}; x=1"}) == "account 5"
    assert callers.find_caller({"authorization": "Bearer t", "cookie": "x=1"}) == "broker1"
    for fields in (
        {},
        {"cookie": "x__Host-session=abc"},
        {"cookie": "__Host-session=unknown"},
        {"host": "hub"},
    ):
        assert callers.find_caller(fields) is None, fields


def test_few_callers_are_remembered() -> None:
    callers = ProvenCallers()
    for number in range(10_001):
        callers.remember_caller({"authorization": str(number)}, "broker1")
    assert callers.find_caller({"authorization": "0"}) is None
    assert callers.find_caller({"authorization": "1"}) == "broker1"


def test_a_network_is_proved_for_a_day() -> None:
    now = 1000.0
    networks = ProvenNetworks(lambda: now)
    assert not networks.is_proved("192.0.2.1")
    networks.remember_network("192.0.2.1")
    assert networks.is_proved("192.0.2.1")
    assert not networks.is_proved("192.0.2.2")
    now += 24 * 3600 - 1
    assert networks.is_proved("192.0.2.1")
    now += 1
    assert not networks.is_proved("192.0.2.1")


def test_the_newest_networks_are_remembered() -> None:
    networks = ProvenNetworks(lambda: 0.0)
    for number in (*range(10_000), 0, 10_000):
        networks.remember_network(str(number))
    assert [networks.is_proved(network) for network in ("0", "1", "10000")] == [True, False, True]
