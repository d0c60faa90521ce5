"""Who proved to be the caller is known by the same credentials again, whatever else a request says."""

from __future__ import annotations

from gateway.web.server.proven_callers import ProvenCallers

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
