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


def test_a_network_is_that_of_a_party_for_a_day() -> None:
    now = 1000.0
    networks = ProvenNetworks(lambda: now)
    assert networks.find_party("192.0.2.1") is None
    networks.remember_network("192.0.2.1", "broker1")
    assert networks.find_party("192.0.2.1") == "broker1"
    assert networks.find_party("192.0.2.2") is None
    now += 24 * 3600 - 1
    networks.remember_network("192.0.2.2", "broker1")
    networks.remember_network("192.0.2.2", "broker2")
    now += 1
    assert networks.find_party("192.0.2.1") is None
    assert networks.find_party("192.0.2.2") == "broker2"


def test_one_party_with_many_networks_takes_no_place_of_others() -> None:
    networks = ProvenNetworks(lambda: 0.0)
    networks.remember_network("192.0.2.1", "broker1")
    for number in range(10_100):
        networks.remember_network(str(number), "broker2")
    assert networks.find_party("192.0.2.1") == "broker1"
    assert [networks.find_party(str(number)) for number in (9_999, 10_000)] == [None, "broker2"]
    for number in range(10_000):
        networks.remember_network(f"of {number}", f"party {number}")
    assert networks.find_party("192.0.2.1") is None, "the oldest of all goes"
    assert networks.find_party("of 0") == "party 0"
