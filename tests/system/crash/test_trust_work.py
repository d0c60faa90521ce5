"""Killed while it seals, stamps or makes receipts that waited for its key, a worker doubles nothing."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.cli.home_folder import read_home_settings
from gateway.evidence import (
    TimeStampAuthorities,
    TrustedEvidence,
    VerificationReport,
    record_evidence,
    verify_all_evidence,
)
from gateway.hub import RejectingComposer, build_hub, receive_parcel
from gateway.store import deliveries, make_engine, messages, read_transaction, time_stamps, write_transaction
from gateway.store.transitions import evidence
from gateway_conformance.pki import CertificateOrder, issue_certificate
from tests.kit.gateway import RunningGateway
from tests.kit.house import EBMS2, START, Away, Clock, Neighbour, authority, signer_named
from tests.kit.live import LiveHouse
from tests.kit.tsa import POLICY, Tsa
from tests.kit.waiting import until

pytestmark = pytest.mark.long

_PACE = '[delivery]\nlease = "60s"\npoll = "20ms"\nfirst_retry = "100ms"\n'
_OURS = TrustedEvidence(
    frozenset({signer_named("hub").certificate.sha256}), TimeStampAuthorities((authority().certificate.der,))
)


def places(*names: str) -> list[str]:
    return [f"{name}.{side}_commit" for name in names for side in ("before", "after")]


def checked(live: LiveHouse) -> tuple[VerificationReport, list[int]]:
    """Return what a check of all evidence says, and over which heads there are stamps."""
    engine = make_engine(live.database_url)
    with read_transaction(engine) as conn:
        found = verify_all_evidence(conn, _OURS), [row.seal for row in time_stamps.list_time_stamps(conn)]
    engine.dispose()
    return found


def count_sealed_evidence(live: LiveHouse) -> Counter[str]:
    """Count the leaves of the tree by their kind."""
    engine = make_engine(live.database_url)
    with read_transaction(engine) as conn:
        found = Counter(conn.execute(select(evidence.c.kind).where(evidence.c.seq.is_not(None))).scalars())
    engine.dispose()
    return found


def evidence_recorded(live: LiveHouse) -> None:
    engine = make_engine(live.database_url)
    with write_transaction(engine) as conn:
        for number in range(5):
            record_evidence(conn, "NRO", "message", number, None, {}, datetime.now(UTC))
    engine.dispose()


@pytest.fixture
def tsa() -> Iterator[Tsa]:
    order = CertificateOrder(profile="time-stamping", days=3600)
    issued = issue_certificate(authority(), "CN=Stamps", START - timedelta(hours=1), order)
    made = Tsa(issued, lambda: datetime.now(UTC)).up()
    yield made
    made.down()


@pytest.mark.parametrize("point", [*places("tsa.sealed", "tsa.stamped"), "tsa.after_answer"])
def test_killed_in_a_turn_of_stamping_it_leaves_one_chain(
    tmp_path: Path, sqlite_url: str, tsa: Tsa, point: str
) -> None:
    more = f'{_PACE}[time_stamps]\nauthorities = ["{tsa.url}"]\npolicy = "{POLICY}"\n'
    live = LiveHouse(tmp_path, sqlite_url, more=more)
    evidence_recorded(live)
    with RunningGateway(live.home, "work", failpoint=point) as gateway:
        assert gateway.ended_by() == signal.SIGKILL
    checked(live)
    sealed_kinds = count_sealed_evidence(live)
    assert sealed_kinds.pop("NRO", 0) == (0 if point == "tsa.sealed.before_commit" else 5)
    assert set(sealed_kinds) <= {"verdict"}
    live.let_leases_end()
    with RunningGateway(live.home, "work"):
        until(lambda: checked(live)[0].stamped >= 5)
    report, sealed = checked(live)
    assert report.vouched == report.leaves >= 5
    assert len(sealed) == len(set(sealed))


def test_where_nobody_stamps_the_evidence_is_sealed_all_the_same(tmp_path: Path, sqlite_url: str) -> None:
    live = LiveHouse(tmp_path, sqlite_url, more=_PACE)
    evidence_recorded(live)
    with RunningGateway(live.home, "work"):
        until(lambda: checked(live)[0].leaves)
    report, sealed = checked(live)
    assert (report.leaves, report.heads, report.vouched, report.stamps, sealed) == (5, 1, 5, 0, [])


@pytest.mark.parametrize("point", places("receipts.key", "receipts.late"))
def test_killed_while_receipts_are_made_each_is_made_and_posted_once(
    tmp_path: Path, sqlite_url: str, point: str
) -> None:
    live = LiveHouse(tmp_path, sqlite_url, more=_PACE)
    broker = Neighbour("broker1", Clock(live.now), live.agreement)
    hub = build_hub(read_home_settings(live.home), RejectingComposer())
    hub.signer = Away()
    for _ in range(3):
        assert receive_parcel(hub, EBMS2, broker.seal(broker.message())).status == 503
    hub.close()
    with RunningGateway(live.home, "work", failpoint=point) as gateway:
        assert gateway.ended_by() == signal.SIGKILL
    engine = make_engine(sqlite_url)

    def receipts() -> list[Any]:
        with read_transaction(engine) as conn:
            found = [
                messages.find_response(conn, row.id) for row in messages.list_messages(conn, direction="in")
            ]
        return [one for one in found if one is not None]

    live.let_leases_end()
    with RunningGateway(live.home, "work"):
        until(lambda: len(receipts()) == 3)
        before = receipts()
        time.sleep(1)
    assert receipts() == before
    with read_transaction(engine) as conn:
        posted = Counter(row.subject_id for row in deliveries.list_deliveries(conn, agent="msh"))
    assert sorted(posted.values()) == [1, 1, 1]
    engine.dispose()
