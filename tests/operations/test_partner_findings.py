"""``gateway check`` tells what has failed, what waits too long, and who has no address."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from gateway.cli.commands.process import log_expiries_daily
from gateway.cli.home_folder import read_home_settings
from gateway.config import Settings
from gateway.errors import REFUSED_FOR_GOOD, UNREACHABLE, GatewayError
from gateway.hub import build_engine, load_shipped_rules
from gateway.operations import (
    find_failed_deliveries,
    find_missing_addresses,
    find_stuck_deliveries,
)
from gateway.store import DeliveryLease, read_transaction, write_transaction
from tests.cli.test_registration import Run, home, keys, run
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.desk import Desk
from tests.kit.paths import ROOT

__all__ = ["home", "keys", "run"]


SHARE = ("[share]", 'folders = ["own"]')


def settings_with(home: Path, *sections: str) -> Settings:
    file = home / "gateway.toml"
    file.write_text(file.read_text() + "\n".join(sections) if file.exists() else "\n".join(sections))
    return read_home_settings(home)


def test_agencies_and_customs_without_an_address_are_named(tmp_path: Path) -> None:
    bundle = load_shipped_rules().bundle
    agencies = sorted({one.organisation for one in bundle.documents.values()})
    told = list(find_missing_addresses(settings_with(tmp_path), bundle))
    assert len(told) == len(agencies) + 1
    assert told[0].startswith(f"GW607 agency {agencies[0]} has no address, and ")
    assert told[0].endswith(f"set agency.{agencies[0]}.endpoint")
    assert "customs" in told[-1]
    sections = [f'[agency.{one}]\nendpoint = "http://127.0.0.1:9/{one}"' for one in agencies]
    settings = settings_with(tmp_path, *sections, '[customs]\nendpoint = "http://127.0.0.1:9/customs"')
    assert list(find_missing_addresses(settings, bundle)) == []


@BOTH
def test_failed_deliveries_are_problems_with_the_last_sentence(engine: Engine) -> None:
    def act(_: DeliveryLease) -> None:
        raise GatewayError(
            REFUSED_FOR_GOOD, "it answered with a fault", "Body", theirs="fault: " + "no " * 99
        )

    desk = Desk(engine, act)
    desk.queue(3)
    while desk.worker.run_once():
        pass
    with read_transaction(engine) as conn:
        (problem,) = find_failed_deliveries(conn)
    assert (problem.problem.id, problem.location) == ("GW602", "lane KR-A")
    assert problem.detail == (
        "3 deliveries are FAILED, the newest is delivery 3: it answered with a fault at Body; "
        f"they said: {('fault: ' + 'no ' * 99)[:199]}…"
    )
    assert str(problem).count("GW602") == 1


def test_deliveries_that_wait_for_long_are_told(engine: Engine) -> None:
    def act(_: DeliveryLease) -> None:
        raise GatewayError(UNREACHABLE, "Connection refused", "http://a.example/")

    desk = Desk(engine, act)
    desk.queue()
    desk.worker.run_once()
    with read_transaction(engine) as conn:
        assert list(find_stuck_deliveries(conn, desk.clock() + timedelta(minutes=50))) == []
        (words,) = find_stuck_deliveries(conn, desk.clock() + timedelta(hours=3))
    assert words.startswith(
        "lane KR-A: 1 delivery waits in the state QUEUED, the oldest for 3 h, the newest is delivery 1: "
    )
    assert "GW601 Connection refused at http://a.example/" in words


@pytest.mark.night
def test_check_and_the_start_tell_of_missing_addresses(
    home: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    status, text = run("check")
    assert status == 0
    assert "warning: GW607 customs has no address" in text
    assert text.splitlines()[-1].startswith("no problem found, ")
    # The operator has the WSDL of an agency without the schemas that it imports.
    own = home / "own" / "wsdl" / "agencies" / "KTL.wsdl"
    own.parent.mkdir(parents=True)
    own.write_bytes((ROOT / "wsdl" / "agencies" / "KTL.wsdl").read_bytes())
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    settings = settings_with(
        home, f'\n[agency.KTL]\nendpoint = "http://127.0.0.1:9/"\nwsdl_sha256 = "{digest}"', *SHARE
    )

    class Stop:
        def wait(self, _: float) -> bool:
            return True

    engine = build_engine(settings)
    log_expiries_daily(settings, Stop(), engine)  # type: ignore[arg-type]
    engine.dispose()
    assert "GW607 customs has no address" in caplog.text
    unfit = "GW519 whether the WSDL of agency KTL (agencies/KTL.wsdl) takes every request of KTL-ELEC-IMP is"
    assert unfit in caplog.text
    told = run("map", "use", "--shipped")[1]
    assert "GW607 customs has no address" in told
    assert unfit in told


@pytest.mark.night
def test_check_finds_a_failed_delivery_in_the_database(home: Path, run: Run) -> None:
    from gateway.store import deliveries, make_engine, write_transaction
    from tests.kit.rows import delivery

    run("check")
    engine = make_engine(read_home_settings(home).database.url or f"sqlite:///{home}/hub.sqlite3")
    now = datetime.now(UTC)
    with write_transaction(engine) as conn:
        number = deliveries.enqueue_delivery(conn, delivery(destination="KR-A", expires_at=now), now)
        from gateway.store import delivery_maintenance

        assert delivery_maintenance.expire_delivery(conn, number or 0, now, "w")
    engine.dispose()
    status, text = run("check")
    assert status == 1
    assert (
        "GW604 1 delivery is FAILED, the newest is delivery 1: its time was over before the first attempt"
        in text
    )


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (None, "the newest is delivery 1: it answered with a fault at Body"),
        ("GW699", "the newest is delivery 1: GW699 it answered"),
    ],
)
def test_a_failed_delivery_without_a_known_problem_is_told_too(
    engine: Engine, problem: str | None, told: str
) -> None:
    def act(_: DeliveryLease) -> None:
        raise GatewayError(REFUSED_FOR_GOOD, "it answered with a fault", "Body")

    desk = Desk(engine, act)
    desk.queue()
    desk.worker.run_once()
    with write_transaction(engine) as conn:
        conn.execute(update(tables.deliveries).values(problem=problem))
    with read_transaction(engine) as conn:
        (found,) = find_failed_deliveries(conn)
    assert (found.problem.id, found.location) == ("GW604", "lane KR-A")
    assert found.detail.startswith(f"1 delivery is FAILED, {told}")
