"""What is fetched on schedule judges the next message, in every process; what is wrong changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Engine

from gateway.cli.registration import register_certificate
from gateway.evidence import list_subject_leaves
from gateway.hub import delete_fetched_lists, list_authority_periods, list_revocation_remarks
from gateway.hub.trust import fetch_sources
from gateway.monitor import make_expiry_warnings
from gateway.pki import DEFAULT_RULES, CertificateUse, TrustPolicy, TrustStore, read_certificate
from gateway.store import (
    NewFetchedList,
    fetched_lists,
    payloads,
    read_transaction,
    register_version,
    write_transaction,
)
from gateway_conformance.pki import CertificationAuthority, make_authority, make_revocation_list
from tests.kit.databases import BOTH
from tests.kit.fetching import DAY, HOUR, LIST, Post, crl
from tests.kit.house import START, House, authority, signer_named
from tests.kit.publisher import Publisher, Responder, cut_off, page, publishing, status, trickle
from tests.pki.certificate_forgery import Forgery, entry, scope, usage
from tests.pki.certificate_forgery import crl as issued_list
from tests.pki.certificate_forgery import name as directory_name


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


@pytest.fixture
def post(engine: Engine, publisher: Publisher) -> Post:
    return Post(House(engine), publisher)


@pytest.mark.long
@BOTH
def test_a_revocation_counts_from_the_next_message_after_the_fetch(post: Post) -> None:
    post.source()
    post.publisher.pages[LIST] = page(crl(2))
    post.turn()
    assert post.said() == "taken"
    revoking = crl(3, "broker1")
    post.publisher.pages[LIST] = page(revoking)
    assert post.said() == "taken"
    post.house.clock.forward(hours=1)
    post.turn()
    assert post.said() == "GW207"
    held = post.held()
    assert (held.number, held.this_update, held.taken_at) == ("3", START, START + HOUR)
    with read_transaction(post.house.engine) as conn:
        assert payloads.get_payload_octets(conn, held.sha256) == revoking
        told = [(one.kind, one.digest) for one in list_subject_leaves(conn, "source", "root")]
    assert [kind for kind, _ in told] == ["fetched", "fetched"]
    assert told[-1][1] == held.sha256
    assert [row.state for row in post.queue("DELIVERED")] == ["DELIVERED", "DELIVERED"]


def other() -> Any:
    return make_authority("CN=Other CA", START - DAY)


def impostor() -> Any:
    """An authority of the same name with another key."""
    return make_authority("CN=Test CA", START - DAY)


WRONG: dict[str, tuple[Any, str]] = {
    "garbage": (lambda _: page(b"<html>sold</html>"), "GW606"),
    "nothing": (lambda _: page(b""), "GW606"),
    "not there": (lambda _: status(404), "GW608"),
    "ill": (lambda _: status(503), "GW608"),
    "elsewhere": (lambda p: status(302, Location=p.url + "/trap"), "GW603"),
    "elsewhere, unasked 304": (lambda _: status(304), "GW603"),
    "huge": (lambda _: page(b"\x30" * 5000), "GW603"),
    "truncated": (lambda _: cut_off(crl(9)), "GW601"),
    "in a coding": (lambda _: lambda handler: handler.answer(crl(9), Content_Encoding="gzip"), "GW603"),
    "rolled back by number": (lambda _: page(crl(4, starts=START + HOUR)), "GW606"),
    "rolled back by time": (lambda _: page(crl(9, starts=START - HOUR)), "GW606"),
    "of another issuer": (lambda _: page(crl(9, by=other())), "GW606"),
    "of another key": (lambda _: page(crl(9, by=impostor())), "GW606"),
    "of tomorrow": (lambda _: page(crl(9, starts=START + DAY)), "GW606"),
    "over already": (lambda _: page(crl(9, ends=timedelta(minutes=5))), "GW606"),
    "two lists": (lambda _: page(pem(crl(9)) + pem(crl(10))), "GW606"),
    "changed by one bit": (lambda _: page(bent(crl(9))), "GW606"),
}


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_crl(der).public_bytes(Encoding.PEM)


def bent(der: bytes) -> bytes:
    return der[:-1] + bytes([der[-1] ^ 1])


@pytest.mark.long
def test_what_is_wrong_changes_nothing_and_the_queue_tries_again(post: Post) -> None:
    post.source(most=4096)
    post.publisher.pages[LIST] = page(crl(5, "broker1"))
    post.turn()
    before, epoch = post.held(), post.epoch
    assert post.said() == "GW207"
    post.house.clock.forward(hours=1)
    post.worker().run_maintenance()
    found = {}
    for name, (wrong, problem) in WRONG.items():
        post.publisher.pages[LIST] = wrong(post.publisher)
        assert post.worker().run_once() == 1, name
        row, (waiting,) = post.row(), post.queue("QUEUED")
        found[name] = (row.problem, waiting.problem)
        assert found[name] == (problem, problem), (name, row.detail)
        assert (post.held(), post.epoch) == (before, epoch), name
        post.house.clock.now = waiting.due_at
    assert post.row().failures == len(WRONG)
    assert ("GET", "/trap") not in post.publisher.asked
    assert post.said() == "GW207"
    post.publisher.pages[LIST] = page(crl(6, starts=START + HOUR))
    post.turn()
    assert post.said() == "taken"
    assert (post.row().failures, post.row().problem, post.held().number) == (0, None, "6")


@pytest.mark.long
def test_a_trickle_meets_its_end(post: Post) -> None:
    post.source(time_out=1)  # short: it must run out
    post.publisher.pages[LIST] = trickle(post.publisher.stop)
    post.turn()
    assert post.row().problem == "GW601"
    assert "time allowed" in post.row().detail


def test_what_is_the_same_changes_nothing(post: Post) -> None:
    post.source()
    post.publisher.pages[LIST] = page(crl(2), tag='"a"')
    post.turn()
    epoch, first = post.epoch, post.row().fetched_at
    for _ in range(2):
        post.house.clock.forward(hours=1)
        post.turn()
    assert post.publisher.statuses == [200, 304, 304]
    assert (post.epoch, post.row().fetched_at, post.held().fetched_at) == (
        epoch,
        first + 2 * HOUR,
        first + 2 * HOUR,
    )
    assert post.held().taken_at == first
    post.house.clock.forward(hours=23)
    post.turn()
    assert post.row().problem == "GW606"
    assert "it ended at" in post.row().detail


@pytest.mark.long
@BOTH
def test_a_list_that_ends_is_indeterminate_until_the_next_is_fetched(post: Post) -> None:
    """The list of the settings is taken away: what was fetched is all there is."""
    post.house.hub.register._crls = ()
    post.source()
    post.publisher.pages[LIST] = page(crl(2, ends=2 * HOUR))
    assert post.said() == "GW208"
    post.turn()
    assert post.said() == "taken"
    post.house.clock.forward(hours=2, seconds=1)
    assert post.said() == "GW208"
    post.publisher.pages[LIST] = page(crl(3, starts=START + HOUR))
    post.turn()
    assert post.said() == "taken"


def test_of_many_workers_one_fetches(post: Post) -> None:
    post.source()
    post.publisher.pages[LIST] = page(crl(2))
    workers = [post.worker(f"w{number}") for number in range(4)]
    threads = [threading.Thread(target=worker.run_maintenance) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(worker.run_once() for worker in workers) == 1
    assert post.publisher.asked == [("GET", LIST)]


def test_a_source_that_is_away_leaves_one_failed_delivery_and_none_when_it_is_back(post: Post) -> None:
    post.source()
    for _ in range(3):
        post.turn()
        post.house.clock.forward(hours=1)
    post.worker().run_maintenance()
    assert len(post.queue("FAILED")) == 1
    assert len(post.queue("CANCELLED")) == 2
    post.publisher.pages[LIST] = page(crl(2))
    post.turn()
    assert (len(post.queue("FAILED")), len(post.queue("CANCELLED"))) == (0, 3)
    with read_transaction(post.house.engine) as conn:
        kinds = [one.kind for one in list_subject_leaves(conn, "source", "root")]
    assert kinds == ["unfetched", "unfetched", "unfetched", "fetched"]


@pytest.mark.long
def test_changes_need_the_list_that_they_belong_to(post: Post) -> None:
    serial = signer_named("broker1").certificate.serial

    def changes(number: int, base: int) -> bytes:
        full = x509.load_der_x509_crl(crl(number, "broker1"))
        builder = x509.CertificateRevocationListBuilder(
            full.issuer, full.last_update_utc, full.next_update_utc
        )
        for one in full.extensions:
            builder = builder.add_extension(one.value, one.critical)
        builder = builder.add_extension(x509.DeltaCRLIndicator(base), critical=True)
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(START - HOUR).build()
        return (
            builder.add_revoked_certificate(entry)
            .sign(authority().key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )

    post.source()
    post.source("changes", "/delta.crl", kind="delta")
    post.publisher.pages[LIST] = page(crl(5))
    post.publisher.pages["/delta.crl"] = page(changes(8, 7))
    post.turn()
    assert (post.row().problem, post.row("changes").problem) == (None, "GW606")
    assert post.said() == "taken"
    post.publisher.pages["/delta.crl"] = page(crl(8))
    (waiting,) = post.queue("QUEUED")
    post.house.clock.now = waiting.due_at
    post.turn()
    assert "complete list" in post.row("changes").detail
    post.publisher.pages["/delta.crl"] = page(changes(6, 5))
    (waiting,) = post.queue("QUEUED")
    post.house.clock.now = waiting.due_at
    post.turn()
    assert post.row("changes").problem is None
    assert post.said() == "GW207"
    # A complete list in the place of one of changes, and the other way round.
    post.publisher.pages[LIST] = page(changes(7, 5))
    post.house.clock.forward(hours=1)
    post.turn()
    assert "list of changes" in post.row().detail


def test_a_delivery_of_a_source_that_is_no_more_ends(post: Post) -> None:
    post.source()
    post.worker().run_maintenance()
    post.sources.clear()
    post.worker().run_once()
    (row,) = post.queue("FAILED")
    assert row.problem == "GW801"


@pytest.mark.long
def test_of_a_lane_one_fetch_is_made_at_a_time(post: Post) -> None:
    for name in ("a", "b", "c"):
        post.source(name, lane="slow")
    post.publisher.pages[LIST] = page(crl(2))
    worker = post.worker()
    worker.run_maintenance()
    assert [worker.run_once() for _ in range(4)] == [1, 1, 1, 0]


@pytest.mark.long
def test_nothing_that_a_certificate_names_is_ever_fetched(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A certificate sends one to lists, to a responder and to its issuer: nobody goes there."""
    trap = post.publisher.url + "/trap"
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    place = x509.UniformResourceIdentifier(trap)
    points = x509.CRLDistributionPoints([x509.DistributionPoint([place], None, None, None)])
    access = x509.AuthorityInformationAccess(
        [
            x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.OCSP, place),
            x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS, place),
        ]
    )
    forged = Forgery(extra=[(points, False), (access, False)], starts=START - DAY, ends=START + DAY)
    certificate = read_certificate(forged.der(authority()))
    with write_transaction(post.house.engine) as conn:
        register_certificate(conn, "broker1", certificate.der, START)
    responder = Responder(authority(), post.house.clock)
    post.publisher.pages["/ocsp"] = responder
    post.publisher.pages[LIST] = page(crl(2))
    post.source()
    post.source("asking", "/ocsp", kind="ocsp")
    post.turn()
    assert certificate.serial in responder.serials
    post.house.hub.refresh_snapshot()
    assert post.house.hub.judge(certificate.der, CertificateUse.SIGNING, START).status == "valid"
    assert {path for _, path in post.publisher.asked} == {LIST, "/ocsp"}


def test_what_is_in_hand_is_read_once_and_stays_the_same_object(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = fetch_sources._load_fetched_data
    monkeypatch.setattr(fetch_sources, "_load_fetched_data", lambda *words: read.append(1) or real(*words))
    post.source()
    post.publisher.pages[LIST] = page(crl(2))
    post.turn()
    hub = post.house.hub
    hub.refresh_snapshot()
    before = hub.judge.revocations
    with write_transaction(post.house.engine) as conn:
        register_version.increment_register_version(conn)
    hub.refresh_snapshot()
    assert hub.judge.revocations is before
    assert len(before.lists) == 2
    post.publisher.pages[LIST] = page(crl(3))
    post.house.clock.forward(hours=1)
    post.turn()
    hub.refresh_snapshot()
    assert hub.judge.revocations is not before
    # The worker's hub reads each when it next needs it, this one each once.
    assert len(read) == 3


def test_what_can_be_read_no_more_is_left_out(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    with write_transaction(post.house.engine) as conn:
        fetched_lists.ensure_source(conn, "root", "crl", "http://a/")
        fetched_lists.activate_lists(
            conn, "root", [NewFetchedList("", "crl", b"no list", "CN=A", "1", START, START + DAY)], START
        )
    assert post.said() == "taken"
    assert "proves nothing" in caplog.text


@pytest.mark.long
def test_what_a_stricter_policy_cannot_read_lets_nobody_pass(post: Post) -> None:
    """Where policy lets pass of whom nothing is in hand, something is, of this issuer and of no other."""
    hub, stranger = post.house.hub, make_authority("CN=Other CA", START - DAY)
    strict = replace(DEFAULT_RULES, weak_digests=DEFAULT_RULES.weak_digests | {"sha384"})
    policy = TrustPolicy("if_present", certificates=strict)
    hub.judge.replace_trust(trust=TrustStore((authority().certificate, stranger.certificate), (), policy))
    hub.register._crls = post.hub.register._crls = ()
    builder = x509.load_der_x509_crl(crl(2, "broker1"))
    again = x509.CertificateRevocationListBuilder(
        builder.issuer, builder.last_update_utc, builder.next_update_utc, [*builder.extensions], [*builder]
    )
    octets = again.sign(authority().key, hashes.SHA384()).public_bytes(Encoding.DER)
    assert post.said() == "taken"
    post.source()
    post.publisher.pages[LIST] = page(octets)
    post.turn()
    assert (post.row().problem, post.said()) == (None, "GW208")
    other = Forgery(starts=START - DAY, ends=START + DAY).der(stranger)
    assert hub.judge(other, CertificateUse.SIGNING, START).status == "valid"
    # Nor is it rolled back, now that nobody here can read it.
    post.hub.judge.replace_trust(trust=hub.judge.trust)
    post.hub.register._revocation_data, post.hub.register._snapshot = (
        fetch_sources.LoadedRevocationData(),
        None,
    )
    post.publisher.pages[LIST] = page(crl(1))
    post.house.clock.forward(hours=1)
    post.turn()
    assert "list number 1, and 2 is in force" in post.row().detail
    post.publisher.pages[LIST] = page(crl(3))
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row().problem, post.said()) == (None, "taken")


def test_a_source_whose_settings_changed_keeps_its_list(post: Post) -> None:
    """The list in force may be the only one that says who was revoked."""
    post.source()
    post.publisher.pages[LIST] = page(crl(2, "broker1"))
    post.turn()
    assert post.said() == "GW207"
    before, far = post.held(), other()
    changed = post.source(kind="delta")
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row().problem, post.held().sha256, post.said()) == ("GW606", before.sha256, "GW207")
    post.hub.judge.replace_trust(trust=TrustStore((authority().certificate, far.certificate)))
    post.sources["root"] = replace(post.source(), issuer=far.certificate)
    post.publisher.pages[LIST] = page(crl(3, by=far))
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row().problem, post.held().sha256, post.said()) == ("GW606", before.sha256, "GW207")
    assert "the one in force is of CN=Test CA" in post.row().detail
    with write_transaction(post.house.engine) as conn:
        delete_fetched_lists(conn, changed.name, post.house.clock(), "somebody")
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row().problem, post.held().number) == (None, "3")


def test_a_list_in_force_that_cannot_be_read_is_not_replaced_unseen(post: Post) -> None:
    """Nobody can say whether the next one takes a revocation back."""
    with write_transaction(post.house.engine) as conn:
        fetched_lists.ensure_source(conn, "root", "crl", "http://a/")
        unreadable = NewFetchedList("", "crl", b"no list", "CN=A", "1", START, START + DAY)
        fetched_lists.activate_lists(conn, "root", [unreadable], START)
    post.source()
    post.publisher.pages[LIST] = page(crl(2))
    post.turn()
    assert post.row().problem == "GW606"
    assert "the one in force cannot be read, forget this source first" in post.row().detail


def test_anchors_and_lists_that_nobody_fetches_are_told_of_too(post: Post) -> None:
    hub = post.house.hub
    hub.refresh_snapshot()
    (span,) = list_authority_periods(hub)
    anchor = authority().certificate
    assert (span.subject, span.ends) == (anchor.subject, anchor.not_after)
    assert make_expiry_warnings([span], anchor.not_after - 31 * DAY) == ()
    (told,) = make_expiry_warnings([span], anchor.not_after - 29 * DAY)
    assert "the last authority certificate of CN=Test CA ends in 29 days" in told.text
    (listed,) = hub.judge.revocations.lists
    quarter = (listed.next_update - listed.this_update) / 4
    assert list_revocation_remarks(hub, listed.next_update - quarter) == ()
    assert "ends at" in list_revocation_remarks(hub, listed.next_update - quarter + HOUR)[0]
    assert "ended at" in list_revocation_remarks(hub, listed.next_update + HOUR)[0]
    # One that is followed by a newer one of the same issuer is not told of; nor is one that is fetched.
    post.source()
    post.publisher.pages[LIST] = page(
        make_revocation_list(authority(), [], START, listed.next_update + DAY, number=2)
    )
    post.turn()
    hub.refresh_snapshot()
    assert list_revocation_remarks(hub, listed.next_update + HOUR) == ()


@pytest.mark.long
def test_an_indirect_list_speaks_for_the_certificates_that_name_its_issuer(post: Post) -> None:
    forged = Forgery("Lists", serial=77, extra=[(usage("crl_sign"), True)], starts=START - DAY)
    octets = forged.der(authority())
    lists = CertificationAuthority(forged.key, read_certificate(octets))
    named = x509.DirectoryName(directory_name("Lists"))
    points = x509.CRLDistributionPoints([x509.DistributionPoint(None, None, None, [named])])
    party = read_certificate(Forgery(serial=78, extra=[(points, False)]).der(authority()))
    for hub in (post.house.hub, post.hub):
        hub.judge.replace_trust(trust=TrustStore((authority().certificate,), (lists.certificate,)))

    def status_of() -> str:
        post.house.hub.refresh_snapshot()
        verdict = post.house.hub.judge(party.der, CertificateUse.SIGNING, post.house.clock())
        return verdict.problem.id if verdict.problem else verdict.status

    def indirect(number: int, *entries: x509.RevokedCertificate) -> bytes:
        extra = [(x509.CRLNumber(number), False), (scope(indirect_crl=True), True)]
        return issued_list(lists, entries, extra=extra, starts=START - HOUR)

    post.sources["lists"] = replace(post.source("lists"), issuer=lists.certificate)
    assert status_of() == "GW208"
    post.publisher.pages[LIST] = page(indirect(1))
    post.turn()
    assert (post.row("lists").problem, status_of()) == (None, "valid")
    issuer = x509.CertificateIssuer([x509.DirectoryName(directory_name("Test CA"))])
    post.publisher.pages[LIST] = page(indirect(2, entry(78, START - HOUR, [(issuer, True)])))
    post.house.clock.forward(hours=1)
    post.turn()
    assert status_of() == "GW207"
