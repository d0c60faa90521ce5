"""What is kept as evidence is time-stamped on schedule, by an authority that is not always good."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from sqlalchemy import ColumnElement, Connection, Engine, insert, literal, select, update
from werkzeug.test import Client

from gateway.config import TimeStampSettings
from gateway.delivery import HttpClient, HttpLimits
from gateway.delivery.agents import TimeStampAgent
from gateway.delivery.delivery_worker import DeliveryWorker, WorkerSettings
from gateway.delivery.recurring_schedule import RecurringSchedule, RecurringTask
from gateway.errors import GatewayError
from gateway.evidence import (
    OPERATOR,
    TimeStampAuthorities,
    TrustedEvidence,
    VerificationReport,
    encode_leaf,
    hash_leaf,
    make_proof,
    tree_heads,
    verify_all_evidence,
    verify_proof,
)
from gateway.evidence.merkle_tree import EMPTY
from gateway.evidence.tree_heads import list_heads
from gateway.hub.node_upkeep import StampingMonitor
from gateway.monitor import metrics
from gateway.pki import DEFAULT_POLICY, CertificateUse, CertificateValidator, TrustStore
from gateway.process_log import format_text
from gateway.store import HttpResponse, make_engine, read_transaction, register_version, write_transaction
from gateway.store import time_stamps as stamps
from gateway.web.wsgi_application import build_wsgi_application
from gateway_conformance.pki import (
    CertificateOrder,
    IssuedCertificate,
    issue_certificate,
    make_authority,
    make_revocation_list,
)
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.ending import EndedError, ending_at
from tests.kit.house import START, Away, authority, signer_named, trust
from tests.kit.story import Story
from tests.kit.tsa import FAULTS, POLICY, Tsa

#: Each case is an attack of its own.

HOUR = timedelta(hours=1)
Log = pytest.LogCaptureFixture
OURS = TrustedEvidence(
    frozenset({signer_named("hub").certificate.sha256}), TimeStampAuthorities((authority().certificate.der,))
)


def checked(conn: Connection, believed: TrustedEvidence = OURS) -> VerificationReport:
    return verify_all_evidence(conn, believed)


def certified(days: int = 3600, profile: str = "time-stamping", by: Any = None) -> IssuedCertificate:
    """Return a certificate of an authority, as good as its order."""
    order = CertificateOrder(profile=profile, days=days)
    return issue_certificate(by or authority(), "CN=Stamps", START - 2 * HOUR, order)


@dataclass
class Place:
    """A hub with authorities, a worker and a schedule: the turns of stamping come with the clock."""

    engine: Engine
    story: Story
    authorities: list[Tsa]
    worker: DeliveryWorker = field(init=False)

    def __post_init__(self) -> None:
        hub = self.story.hub
        hub.register.stamp_judge = CertificateValidator(*trust())
        hub.register.stamp_judge.record_verdict = hub.verdicts.record_verdict
        bounds = HttpLimits(
            connect_seconds=60, read_seconds=60, total_seconds=60, max_answer_octets=64 * 1024
        )
        urls = [one.url for one in self.authorities]
        demand = TimeStampSettings.model_construct(
            authorities=urls, policy=POLICY, skew=timedelta(minutes=5), retry=timedelta(minutes=1)
        )
        agent = TimeStampAgent(hub, HttpClient(bounds), demand)
        turns = [RecurringTask("stamp", "tsa", "evidence", HOUR)]
        self.worker = DeliveryWorker(
            self.engine,
            {**self.story.agents, "tsa": agent},
            self.story.clock,
            name="w1",
            worker_settings=WorkerSettings(threads=4, lease_time=timedelta(seconds=60)),
            schedule=RecurringSchedule(self.engine, lambda: turns),
        )

    @classmethod
    def make(cls, engine: Engine, *issued: IssuedCertificate) -> Place:
        story = Story(engine)
        return cls(engine, story, [Tsa(one, story.clock).up() for one in issued or (certified(),)])

    @property
    def tsa(self) -> Tsa:
        return self.authorities[0]

    def rule(self, *, refuses: bool) -> None:
        """Let evidence wait for four hours, and then refuse messages or not."""
        self.story.hub.stamping = StampingMonitor(self.engine, 4 * HOUR, refuses_when_stale=refuses)

    def send(self) -> HttpResponse:
        """Send one message, which leaves evidence."""
        return self.story.house.post(self.story.broker.seal(self.story.broker.message()))

    def tick(self, **forward: float) -> None:
        """Move the clock, queue what has come, do all that is due."""
        self.story.clock.forward(**forward)
        self.worker.run_maintenance()
        while self.worker.run_once():
            pass

    def stamps(self) -> list[Any]:
        with read_transaction(self.engine) as conn:
            return list(stamps.list_time_stamps(conn))

    def turns(self) -> list[tuple[str, str | None]]:
        """Return state and problem of each turn of stamping."""
        return [(row.state, row.problem) for row in self.story.deliveries(agent="tsa")]

    def ready(self) -> str:
        return Client(build_wsgi_application(self.story.hub, 1 << 20)).get("/status/ready").text


@pytest.fixture
def place(engine: Engine) -> Iterator[Place]:
    yield from _place(engine)


@pytest.fixture
def on_sqlite(sqlite_url: str) -> Iterator[Place]:
    made = make_engine(sqlite_url)
    yield from _place(made)
    made.dispose()


def _place(engine: Engine) -> Iterator[Place]:
    made = Place.make(engine)
    yield made
    for one in made.authorities:
        one.down()


def second_opinion(token: bytes, text: str) -> bool:
    """Return what another reader thinks of a token over a head."""
    response = b"\x30\x03\x02\x01\x00" + token
    length = len(response).to_bytes(2)
    verifier = (
        VerifierBuilder()
        .add_root_certificate(x509.load_der_x509_certificate(authority().certificate.der))
        .policy_id(x509.ObjectIdentifier(POLICY))
        .build()
    )
    whole = decode_timestamp_response(b"\x30\x82" + length + response)
    return verifier.verify(whole, hashlib.sha256(text.encode()).digest())


@BOTH
def test_evidence_is_stamped_once_an_hour_and_not_when_there_is_none(place: Place) -> None:
    for _ in range(3):
        assert place.send().status == 200
    place.tick()
    (stamp,) = place.stamps()
    assert place.turns() == [("DELIVERED", None)]
    with read_transaction(place.engine) as conn:
        (head,) = list_heads(conn)
        # The verdict on the authority is evidence too, and is stamped the next time.
        report = checked(conn)
    assert (report.leaves, report.heads, report.signed, report.stamps, report.stamped) == (3, 1, 1, 1, 3)
    assert (stamp.policy, stamp.at, stamp.authority) == (POLICY, START, place.tsa.url)
    assert second_opinion(stamp.token, head.head)
    place.tick(minutes=59)
    assert place.tsa.asked == 1
    place.tick(minutes=1)
    place.tick(minutes=60)
    place.tick(minutes=60)
    assert place.tsa.asked == 2
    assert place.send().status == 200
    place.tick(minutes=60)
    assert len(set(place.tsa.nonces)) == place.tsa.asked == len(place.stamps()) == 3
    with read_transaction(place.engine) as conn:
        report = checked(conn)
        assert (report.leaves, report.stamps, report.stamped) == (5, 3, 5)
        assert stamps.find_unstamped_since(conn) is None


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_good_stamp_is_not_kept(on_sqlite: Place, fault: str, caplog: Log) -> None:
    place = on_sqlite
    place.send()
    place.tsa.fault = fault
    with caplog.at_level(logging.WARNING):
        place.tick()
    assert place.stamps() == []
    ((state, problem),) = place.turns()
    assert (state, problem) in [("QUEUED", "GW603"), ("QUEUED", "GW608")]
    lines = [format_text(record) for record in caplog.records]
    assert any(re.match(rf"no time stamp: GW60.* source={place.tsa.url}$", line) for line in lines)
    place.tsa.fault = ""
    place.tick(minutes=2)
    assert len(place.stamps()) == 1
    assert place.turns() == [("DELIVERED", None)]


@pytest.mark.parametrize(
    ("issued", "problem"),
    [
        (lambda: certified(profile="signing"), "GW205"),
        (lambda: certified(days=0), "GW206"),
        (lambda: certified(by=make_authority("CN=Nobody", START - timedelta(days=1), "p-256")), "GW205"),
    ],
    ids=["for another use", "expired", "of a stranger"],
)
def test_an_authority_that_is_not_good_is_not_believed(sqlite_url: str, issued: Any, problem: str) -> None:
    engine = make_engine(sqlite_url)
    place = Place.make(engine, issued())
    place.send()
    place.tick()
    assert place.stamps() == []
    assert [found for _, found in place.turns()] == [problem]
    place.tsa.issued = certified()
    place.tick(minutes=60)
    assert len(place.stamps()) == 1
    place.tsa.down()
    engine.dispose()


def test_a_revoked_authority_is_not_believed(on_sqlite: Place) -> None:
    place, hub = on_sqlite, on_sqlite.story.hub
    revoked = make_revocation_list(
        authority(), [place.tsa.issued.certificate.serial], START - HOUR, START + 99 * HOUR
    )
    hub.register._crls = (revoked,)
    with write_transaction(place.engine) as conn:
        register_version.increment_register_version(conn)
    place.send()
    place.tick()
    assert place.stamps() == []
    assert [found for _, found in place.turns()] == ["GW207"]


def test_the_next_authority_is_asked_when_one_is_down(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    place = Place.make(engine, certified(), certified(), certified())
    first, second, third = place.authorities
    first.down()
    second.fault = "nonce"
    place.send()
    place.tick()
    assert [one.authority for one in place.stamps()] == [third.url]
    assert (first.asked, second.asked, third.asked) == (0, 1, 1)
    for one in (second, third):
        one.down()
    engine.dispose()


def test_an_authority_that_comes_back_stamps_all_that_waited(place: Place) -> None:
    place.tsa.down()
    for _ in range(5):
        place.send()
        place.tick(minutes=60)
    assert place.stamps() == []
    assert [state for state, _ in place.turns()] == [*["CANCELLED"] * 3, "FAILED", "QUEUED"]
    place.tsa.up()
    place.tick(minutes=60)
    with read_transaction(place.engine) as conn:
        report = checked(conn)
    assert (report.leaves, report.stamps, report.stamped) == (5, 1, 5)
    assert [state for state, _ in place.turns()] == [*["CANCELLED"] * 5, "DELIVERED"]


@BOTH
@pytest.mark.parametrize("name", ["tsa.sealed", "tsa.stamped"])
@pytest.mark.parametrize("side", ["before_commit", "after_commit"])
def test_a_process_that_ends_at_a_commit_leaves_one_chain(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, side: str
) -> None:
    for _ in range(3):
        place.send()
    with monkeypatch.context() as patched:
        patched.setattr("gateway.store.engine.kill_at_failpoint", ending_at(name, side))
        with pytest.raises(EndedError):
            place.tick()
    for _ in range(4):
        place.tick(minutes=2)
    assert place.turns() == [("DELIVERED", None)]
    with read_transaction(place.engine) as conn:
        assert checked(conn).stamped >= 3
        assert len({row.seal for row in stamps.list_time_stamps(conn)}) == len(stamps.list_time_stamps(conn))


def test_stale_for_too_long_no_new_message_is_taken(place: Place, caplog: Log) -> None:
    place.rule(refuses=True)
    parcel = place.story.broker.seal(place.story.broker.message())
    receipt = place.story.house.post(parcel)
    place.tsa.down()
    for _ in range(4):
        place.tick(minutes=60)
    assert place.send().status == 200
    assert place.ready() == "ready\n"
    with caplog.at_level(logging.WARNING):
        place.tick(minutes=1)
        refused = place.send()
    assert refused.status == 503
    assert b"GW804" in refused.body
    assert b"Signature" not in refused.body
    assert place.ready().startswith("GW804 ")
    shown = metrics.render_metrics(place.engine, place.story.clock())
    assert "gateway_evidence_unstamped_seconds 14460.0\n" in shown
    assert 'gateway_evidence_leaves{state="stamped"} 0.0\n' in shown
    # Who has sent it before gets the receipt again.
    assert place.story.house.post(parcel) == receipt
    told = [one.getMessage() for one in caplog.records if "GW804" in one.getMessage()]
    assert len(told) == 1
    place.tsa.up()
    with caplog.at_level(logging.WARNING):
        place.tick(minutes=60)
    assert place.send().status == 200
    assert place.ready() == "ready\n"
    assert caplog.records[-1].getMessage() == "time-stamping is no longer stale"


def test_a_clock_that_is_set_back_does_not_keep_stamping_stale(on_sqlite: Place) -> None:
    place = on_sqlite
    place.rule(refuses=True)
    place.send()
    place.tsa.down()
    place.tick(hours=5)
    assert place.send().status == 503
    place.story.clock.forward(minutes=-30)
    place.tsa.up()
    place.tick(minutes=20)
    assert place.send().status == 200


def test_stale_for_too_long_the_operator_is_told_if_that_is_the_rule(on_sqlite: Place, caplog: Any) -> None:
    place = on_sqlite
    place.rule(refuses=False)
    place.send()
    place.tsa.down()
    with caplog.at_level(logging.ERROR):
        place.tick(hours=5)
    assert place.send().status == 200
    assert place.ready() == "ready\n"
    assert [one.getMessage()[:5] for one in caplog.records if "GW804" in one.getMessage()] == ["GW804"]


def test_nothing_is_stale_where_nothing_waits(on_sqlite: Place) -> None:
    place = on_sqlite
    place.rule(refuses=True)
    place.send()
    place.tick()
    place.tick(minutes=60)
    place.tsa.down()
    place.tick(days=3)
    assert place.ready() == "ready\n"
    assert place.send().status == 200


def test_a_head_is_stored_and_stamped_while_the_key_is_away(on_sqlite: Place) -> None:
    place, hub = on_sqlite, on_sqlite.story.hub
    place.send()
    hub.signer = Away()
    place.tick()
    with read_transaction(place.engine) as conn:
        report = checked(conn)
    assert (report.heads, report.signed, report.stamps) == (1, 0, 1)
    hub.signer = signer_named("hub")
    place.tick(minutes=60)
    with read_transaction(place.engine) as conn:
        report = checked(conn)
    assert (report.heads, report.signed, report.stamps) == (2, 1, 2)


CHANGES = {
    "leaf": lambda: update(tables.evidence).where(tables.evidence.c.seq == 2).values(kind="other"),
    "hash": lambda: update(tables.evidence).where(tables.evidence.c.seq == 2).values(leaf_hash="00" * 32),
    "lost": lambda: tables.evidence.delete().where(tables.evidence.c.seq == 2),
    "root": lambda: update(tables.seals).values(root_hash="00" * 32),
    "peaks": lambda: update(tables.seals).values(peaks=[]),
    "head": lambda: update(tables.seals).values(head=tables.seals.c.head + "x"),
    "signature": lambda: update(tables.seals).values(signature=b"\x00" * 64),
    "token": lambda: update(tables.time_stamps).values(token=b"\x00" * 64),
    "verdict": lambda: update(tables.time_stamps).values(verdict=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_in_the_database_is_found(on_sqlite: Place, change: str) -> None:
    place = on_sqlite
    for _ in range(3):
        place.send()
    place.tick()
    with read_transaction(place.engine) as conn:
        assert checked(conn).leaves == 3
    with write_transaction(place.engine) as conn:
        conn.execute(CHANGES[change]())
    with read_transaction(place.engine) as conn, pytest.raises(GatewayError) as caught:
        checked(conn)
    assert caught.value.problem.id in ("GW805", "GW603")


def again(which: ColumnElement[bool], **other: Any) -> Any:
    """Insert a copy of one row of evidence."""
    table = tables.evidence
    taken = [one for one in table.c if one.name not in other]
    values = [literal(value, table.c[name].type).label(name) for name, value in other.items()]
    copied = select(*taken, *values).where(which).limit(1)
    return insert(table).from_select([*(one.name for one in taken), *other], copied)


def lost_payload() -> Any:
    """Drop the document of a verdict."""
    return tables.payloads.delete().where(tables.payloads.c.sha256.in_(select(tables.verdicts.c.digest)))


#: What somebody changes who can write to the database, and what fits itself leaf by leaf.
HIDDEN = {
    "a leaf without hash that has no place yet": lambda: (
        update(tables.evidence).where(tables.evidence.c.seq.is_(None)).values(subject_id="9")
    ),
    "a leaf behind the last place": lambda: insert(tables.evidence).values(loose(99)),
    "a leaf before the first place": lambda: insert(tables.evidence).values(loose(-1)),
    "a head": lambda: tables.seals.delete().where(tables.seals.c.id == 1),
    "a stamp over no head": lambda: (
        update(tables.time_stamps).where(tables.time_stamps.c.id == 1).values(seal=77)
    ),
    "the octets of a verdict": lambda: update(tables.payloads).values(content=b"x"),
    "octets that a verdict names": lost_payload,
    "a verdict": lambda: tables.verdicts.delete(),
    "a second leaf of a verdict": lambda: again(tables.evidence.c.kind == "verdict", id=-5, seq=None),
    "another verdict": lambda: update(tables.verdicts).values(status="valid", leaf_sha256="00" * 32),
    "the first leaf of a head": lambda: (
        update(tables.seals).where(tables.seals.c.id == 1).values(first_seq=0)
    ),
}


def loose(place: int) -> dict[str, Any]:
    """Return a row of evidence that is right but for its place."""
    row = {"at": START, "kind": "NRO", "subject_type": "message", "subject_id": "9", "digest": None}
    return row | {"data": "{}", "seq": place, "leaf_hash": hash_leaf(encode_leaf(row | {"data": "{}"}))}


@pytest.mark.parametrize("change", HIDDEN)
def test_whoever_writes_to_the_database_is_found(on_sqlite: Place, change: str) -> None:
    place = on_sqlite
    hub = place.story.hub
    hub.judge.record_verdict = hub.verdicts.record_verdict
    for _ in range(3):
        place.send()
        place.tick(minutes=60)
    place.send()
    with read_transaction(place.engine) as conn:
        report = checked(conn)
    assert (report.heads, report.unsealed, report.verdicts) == (3, 1, 2)
    assert (report.vouched, report.stamped) == (report.leaves, report.leaves)
    with place.engine.connect() as conn:
        conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
        conn.exec_driver_sql("BEGIN IMMEDIATE")
        assert conn.execute(HIDDEN[change]()).rowcount
        conn.exec_driver_sql("COMMIT")
    with read_transaction(place.engine) as conn, pytest.raises(GatewayError, match="GW805"):
        checked(conn)


def remade(place: Place) -> str:
    """Tell another story from the first leaf on, with hashes that fit; return the last head there was."""
    with write_transaction(place.engine) as conn:
        head = str(list_heads(conn)[-1].head)
        conn.execute(tables.time_stamps.delete())
        conn.execute(tables.seals.delete())
        conn.execute(update(tables.evidence).values(seq=None))
        row = conn.execute(select(tables.evidence).order_by(tables.evidence.c.id)).first()
        assert row is not None
        other = {**row._mapping, "kind": "NRR"}
        told = update(tables.evidence).where(tables.evidence.c.id == row.id)
        conn.execute(told.values(kind="NRR", leaf_hash=hash_leaf(encode_leaf(other))))
    return head


def test_another_past_needs_our_key_or_an_authority_of_ours(on_sqlite: Place) -> None:
    place, hub = on_sqlite, on_sqlite.story.hub
    for _ in range(2):
        place.send()
        place.tick(minutes=60)
    kept = remade(place)
    # Nobody can stamp or sign it: then it is as good as the database, and the report says so.
    hub.signer = Away()
    with write_transaction(place.engine) as conn:
        head = tree_heads.make_next_head(conn, "hub", START)
        assert head is not None
        assert tree_heads.store_head(conn, head)
    with read_transaction(place.engine) as conn:
        report = checked(conn)
        assert (report.heads, report.vouched, report.stamped) == (1, 0, 0)
        with pytest.raises(GatewayError, match="GW805"):
            checked(conn, replace(OURS, heads=(kept,)))
    # With a key of his own, and an authority.
    with write_transaction(place.engine) as conn:
        conn.execute(tables.seals.delete())
        conn.execute(update(tables.evidence).values(seq=None))
        assert tree_heads.store_head(conn, head.add_signature(signer_named("broker1")))
    with read_transaction(place.engine) as conn, pytest.raises(GatewayError, match="GW205"):
        checked(conn)
    other = make_authority("CN=Nobody", START - timedelta(days=1), "p-256")
    place.tsa.issued = certified(by=other)
    hub.register.stamp_judge = CertificateValidator(
        TrustStore((other.certificate,), (), replace(DEFAULT_POLICY, revocation="if_present"))
    )
    hub.register.stamp_judge.record_verdict = hub.verdicts.record_verdict
    with write_transaction(place.engine) as conn:
        conn.execute(update(tables.seals).values(signature=None, certificate=None))
    place.tick(minutes=60)
    assert len(place.stamps()) == 1
    with read_transaction(place.engine) as conn, pytest.raises(GatewayError, match="GW205"):
        checked(conn)


def test_a_past_that_was_cut_off_is_missed_by_who_kept_a_head(on_sqlite: Place) -> None:
    place = on_sqlite
    for _ in range(2):
        place.send()
        place.tick(minutes=60)
    with write_transaction(place.engine) as conn:
        first, last = list_heads(conn)
        conn.execute(tables.time_stamps.delete().where(tables.time_stamps.c.seal == last.id))
        conn.execute(tables.seals.delete().where(tables.seals.c.id == last.id))
        conn.execute(tables.evidence.delete().where(tables.evidence.c.seq > first.last_seq))
        conn.execute(tables.verdicts.delete())
    with read_transaction(place.engine) as conn:
        checked(conn, replace(OURS, heads=(first.head,)))
        with pytest.raises(GatewayError, match="GW805"):
            checked(conn, replace(OURS, heads=(first.head, last.head)))


def test_keys_and_authorities_of_before_are_covered_by_those_of_now(on_sqlite: Place) -> None:
    place, hub = on_sqlite, on_sqlite.story.hub
    hub.signer = signer_named("broker1")
    place.send()
    place.tick()
    with read_transaction(place.engine) as conn, pytest.raises(GatewayError, match="GW205"):
        checked(conn)
    hub.signer = signer_named("hub")
    place.tick(minutes=60)
    with read_transaction(place.engine) as conn:
        report = checked(conn)
    assert (report.heads, report.signed, report.vouched) == (2, 1, report.leaves)


def test_no_policy_of_a_proof_makes_an_authority(sqlite_url: str) -> None:
    """Whoever has a certificate of the authority for anything could stamp, if the proof said who may."""
    engine = make_engine(sqlite_url)
    place = Place.make(engine, certified(profile="signing"))
    uses = {**DEFAULT_POLICY.uses, CertificateUse.TIME_STAMPING: DEFAULT_POLICY.uses[CertificateUse.SIGNING]}
    lax = replace(DEFAULT_POLICY, uses=uses, revocation="if_present")
    place.story.hub.register.stamp_judge = CertificateValidator(
        TrustStore((authority().certificate,), (), lax)
    )
    place.story.hub.register.stamp_judge.record_verdict = place.story.hub.verdicts.record_verdict
    place.send()
    place.tick()
    assert len(place.stamps()) == 1
    with read_transaction(engine) as conn:
        document = make_proof(conn, "message", "1", OPERATOR)
        with pytest.raises(GatewayError, match="GW205"):
            checked(conn)
    with pytest.raises(GatewayError, match="GW205"):
        verify_proof(document, OURS.authorities)
    place.tsa.down()
    engine.dispose()


def test_a_proof_is_judged_by_a_policy_of_the_judge(on_sqlite: Place) -> None:
    place = on_sqlite
    place.send()
    place.tick()
    with read_transaction(place.engine) as conn:
        document = make_proof(conn, "message", "1", OPERATOR)
    strict = replace(DEFAULT_POLICY, crl_age_most=timedelta(minutes=1))
    for policy, good in ((None, True), (DEFAULT_POLICY, True), (strict, False)):
        believed = TimeStampAuthorities(OURS.authorities.anchors, policy)
        if good:
            assert len(verify_proof(document, believed).stamps) == 1
        else:
            with pytest.raises(GatewayError, match="GW208"):
                verify_proof(document, believed)


def test_a_proof_is_judged_without_the_database(on_sqlite: Place) -> None:
    place = on_sqlite
    for _ in range(5):
        place.send()
    place.tick()
    with read_transaction(place.engine) as conn:
        document = json.loads(json.dumps(make_proof(conn, "message", "3", OPERATOR)))
    found = verify_proof(document)
    assert [one["kind"] for one in found.leaves] == ["NRO"]
    assert found.signer == signer_named("hub").certificate
    assert [one.at for one in found.stamps] == [START]
    for name, value in (("leaf", document["leaves"][0]["leaf"].replace("NRO", "NRR")), ("place", 2)):
        changed = json.loads(json.dumps(document))
        changed["leaves"][0][name] = value
        with pytest.raises(GatewayError, match="GW805"):
            verify_proof(changed)
    own = b'{"kind":"NRO"}'
    head = tree_heads.format_head_text("hub", EMPTY.append_leaves([bytes.fromhex(hash_leaf(own))]), START)
    alone = {"version": 1, "head": head, "signature": None, "certificate": None, "stamps": [], "octets": {}}
    with pytest.raises(GatewayError, match="GW805"):
        verify_proof({**alone, "leaves": [{"place": 1, "leaf": own.decode(), "path": []}]})
    for changed in ({}, {**document, "octets": {}}, {**document, "head": "x"}, {**document, "stamps": [{}]}):
        with pytest.raises(GatewayError, match="GW805"):
            verify_proof(changed)
    with read_transaction(place.engine) as conn, pytest.raises(GatewayError, match="GW808"):
        make_proof(conn, "message", "99", OPERATOR)
