"""A worker fetches, another process serves and judges by it; a kill in between loses nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.message_model import ErrorSignal
from gateway.store import deliveries, fetched_lists, make_engine, payloads, read_transaction, register_version
from gateway.store.delivery_leases import list_attempts
from gateway_conformance.pki import make_revocation_list
from tests.kit.gateway import RunningGateway
from tests.kit.house import Clock, Neighbour, authority, signer_named
from tests.kit.live import LiveHouse
from tests.kit.publisher import Publisher, page, publishing
from tests.kit.waiting import until

pytestmark = pytest.mark.long

LIST = "/root.crl"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


def revoking(*names: str, number: int = 2) -> bytes:
    serials = [signer_named(name).certificate.serial for name in names]
    return make_revocation_list(authority(), serials, datetime.now(UTC) - timedelta(minutes=1), number=number)


def live_house(folder: Path, url: str, publisher: Publisher, every: str) -> LiveHouse:
    more = (
        f'[fetch.root]\nurl = "{publisher.url}{LIST}"\nissuer = "pki/ca.pem"\nevery = "{every}"\n'
        '[delivery]\nlease = "60s"\npoll = "20ms"\nfirst_retry = "100ms"\n'
    )
    return LiveHouse(folder, url, more=more)


@pytest.mark.parametrize(
    ("point", "kept"),
    [("fetch.after_exchange", 0), ("fetch.list.before_commit", 0), ("fetch.list.after_commit", 1)],
)
def test_a_kill_between_fetch_and_commit_loses_nothing(
    tmp_path: Path, sqlite_url: str, publisher: Publisher, point: str, kept: int
) -> None:
    live = live_house(tmp_path, sqlite_url, publisher, "1h")
    octets = revoking("broker1")
    publisher.pages[LIST] = page(octets)
    engine = make_engine(sqlite_url)
    with read_transaction(engine) as conn:
        before = register_version.get_register_version(conn)
    with RunningGateway(live.home, "work", failpoint=point) as gateway:
        assert gateway.ended_by() == signal.SIGKILL
    with read_transaction(engine) as conn:
        assert len(fetched_lists.list_in_force(conn)) == kept
        assert register_version.get_register_version(conn) == before + kept
        (delivery,) = deliveries.list_deliveries(conn, agent="fetch")
    assert delivery.state == ("DELIVERED" if kept else "ACTIVE")

    def done() -> Any:
        with read_transaction(engine) as conn:
            # The next hour may have begun, and another turn with it.
            found = deliveries.list_deliveries(conn, agent="fetch")
            return [one for one in found if (one.id, one.state) == (delivery.id, "DELIVERED")]

    live.let_leases_end()
    with RunningGateway(live.home, "work"):
        until(done)
    with read_transaction(engine) as conn:
        (row,) = fetched_lists.list_in_force(conn)
        assert payloads.get_payload_octets(conn, row.sha256) == octets
        assert register_version.get_register_version(conn) == before + 1
        assert len(list_attempts(conn, delivery.id)) == 2 - kept
    engine.dispose()


def test_the_serving_process_judges_by_what_the_worker_fetched(
    tmp_path: Path, sqlite_url: str, publisher: Publisher
) -> None:
    live = live_house(tmp_path, sqlite_url, publisher, "1s")
    publisher.pages[LIST] = page(revoking())
    broker = Neighbour("broker1", Clock(live.now), live.agreement)

    with RunningGateway(live.home, "serve") as serving, RunningGateway(live.home, "work"):

        def said() -> str:
            answer = serving.post(live.url, broker.seal(broker.message()))
            assert answer is not None
            unit = broker.open(answer).unit
            return unit.errors[0].description[:5] if isinstance(unit, ErrorSignal) else "taken"

        assert said() == "taken"
        until(lambda: publisher.asked)
        assert said() == "taken"
        publisher.pages[LIST] = page(revoking("broker1", number=3))
        until(lambda: said() == "GW207")
        # And back: an authority may take a certificate off its hold.
        publisher.pages[LIST] = page(revoking(number=4))
        until(lambda: said() == "taken")
