from __future__ import annotations

from datetime import timedelta

import pytest

from gateway.monitor import list_expiry_warnings, log_expiry_warnings
from gateway.monitor.metrics import render_metrics
from gateway.store import (
    NewCertificate,
    UsagePeriod,
    compute_coverage,
    count_by_state,
    list_usage_periods,
    parties,
    read_transaction,
    write_transaction,
)
from tests.kit.rows import NOW

DAY = timedelta(days=1)


def span(start, end, owner="broker", use="signing"):
    return UsagePeriod(owner, use, f"CN={owner}", f"{start}", NOW + start * DAY, NOW + end * DAY)


def days(*found):
    return [(one.owner, one.use, round(one.days_left(NOW), 3)) for one in compute_coverage(found, NOW)]


@pytest.mark.parametrize(
    ("found", "left"),
    [
        ((span(-5, 10),), 10),
        ((span(-5, 10), span(5, 100)), 100),
        ((span(-5, 10), span(10, 100)), 100),
        ((span(5, 100), span(-5, 10), span(90, 300)), 300),
        ((span(-5, 10), span(11, 100)), 10),
        ((span(-5, 10), span(-9, -1)), 10),
        ((span(-9, -4), span(-8, -2)), -2),
        ((span(-9, 0),), 0),
        ((span(-9, -4), span(3, 50)), -4),
        ((span(0, 7),), 7),
        ((span(-9, 50), span(-8, 20)), 50),
    ],
)
def test_how_long_certificates_last_together(found, left):
    assert days(*found) == [("broker", "signing", left)]


def test_owners_and_uses_are_apart_and_the_soonest_is_first():
    found = (span(-1, 9), span(-1, 3, use="tls"), span(-1, 5, "agency"), span(2, 8, "later"))
    assert days(*found) == [("broker", "tls", 3), ("agency", "signing", 5), ("broker", "signing", 9)]
    assert count_by_state(found, NOW) == {
        ("signing", "current"): 2,
        ("tls", "current"): 1,
        ("signing", "future"): 1,
    }


def new(number, ends, **changes):
    row = {
        "sha256": f"{number:064x}",
        "use": "signing",
        "subject": f"CN={number}",
        "issuer": "CN=A",
        "serial": "1",
        "not_before": NOW - DAY,
        "not_after": NOW + ends * DAY,
        "der": b"0",
    }
    return NewCertificate(**row | changes)


@pytest.fixture
def registry(engine):
    with write_transaction(engine) as conn:
        for name in ("a", "b", "c", "d"):
            parties.register_party(conn, name, name, "applicant", NOW)
        parties.add_certificate(conn, "a", new(1, 400), NOW)
        parties.add_certificate(conn, "b", new(2, 400, valid_until=NOW + 20 * DAY), NOW)
        parties.add_certificate(conn, "c", new(3, -0.5), NOW)
        parties.add_certificate(conn, "d", new(4, 5), NOW)
        parties.set_party_status(conn, "d", "SUSPENDED")
    return engine


def told(engine, ours=()):
    return [(one.owner, one.is_expired) for one in list_expiry_warnings(engine, NOW, ours)]


@pytest.mark.long
def test_who_ends_is_told_and_who_is_renewed_is_not(registry, caplog):
    assert told(registry) == [("c", True), ("b", False)]
    assert told(registry, [span(-1, 2, "(ourselves)")]) == [
        ("c", True),
        ("(ourselves)", False),
        ("b", False),
    ]
    [_, b] = list_expiry_warnings(registry, NOW)
    assert b.text.startswith("the last signing certificate of b ends in 20 days, at ")
    assert log_expiry_warnings(registry, NOW) == 2
    assert [(one.levelname, one.getMessage().split(" ends")[0]) for one in caplog.records][1] == (
        "WARNING",
        "the last signing certificate of b",
    )
    with write_transaction(registry) as conn:
        parties.add_certificate(conn, "b", new(5, 400, valid_from=NOW + 19 * DAY), NOW)
        parties.add_certificate(conn, "c", new(6, 400), NOW)
    assert told(registry) == []


@pytest.mark.long
def test_the_measures_say_it_too(registry):
    text = render_metrics(registry, NOW, [span(-1, 12, "(ourselves)")])
    for line in (
        'gateway_certificates{state="current",use="signing"} 3.0',
        'gateway_certificates{state="over",use="signing"} 1.0',
        'gateway_certificate_days{use="signing"} -0.5',
        "gateway_own_certificate_days 12.0",
        "gateway_certificates_ending 3.0",
    ):
        assert f"{line}\n" in text


def bounds(engine, number):
    with read_transaction(engine) as conn:
        return next(
            (one.starts, one.ends) for one in list_usage_periods(conn) if one.sha256 == f"{number:064x}"
        )


@pytest.mark.long
def test_a_cut_holds_until_another_is_given_and_not_longer_than_the_registration(registry):
    kept = (NOW - DAY, NOW + 20 * DAY)
    assert bounds(registry, 2) == kept
    with write_transaction(registry) as conn:
        parties.add_certificate(conn, "b", new(2, 400), NOW)
    assert bounds(registry, 2) == kept
    with write_transaction(registry) as conn:
        assert parties.limit_certificate_use(conn, f"{2:064x}", NOW + 3 * DAY)
        assert not parties.limit_certificate_use(conn, f"{2:064x}", NOW, "tls")
        assert not parties.limit_certificate_use(conn, f"{9:064x}", NOW)
    assert bounds(registry, 2) == (NOW - DAY, NOW + 3 * DAY)
    with write_transaction(registry) as conn:
        parties.add_certificate(conn, "b", new(2, 400, valid_from=NOW), NOW)
    assert bounds(registry, 2) == (NOW, NOW + 400 * DAY)
    with write_transaction(registry) as conn:
        assert parties.limit_certificate_use(conn, f"{2:064x}", NOW + DAY)
        assert parties.retire_certificate(conn, f"{2:064x}")
        parties.add_certificate(conn, "b", new(2, 400), NOW)
    assert bounds(registry, 2) == (NOW - DAY, NOW + 400 * DAY)
