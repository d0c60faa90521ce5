"""OCSP responses are fetched for every registered certificate, and judge the next message."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import Engine

from gateway.evidence import list_subject_leaves
from gateway.pki import Certificate, TrustPolicy, TrustStore, read_certificate
from gateway.store import parties, read_transaction, write_transaction
from gateway_conformance.pki import make_authority
from tests.kit.databases import BOTH
from tests.kit.fetching import DAY, HOUR, Post
from tests.kit.house import START, House, authority, signer_named
from tests.kit.publisher import Handler, Publisher, Responder, publishing, status
from tests.pki.certificate_forgery import Forgery

PATH = "/ocsp"
BROKER, HUB = (signer_named(name).certificate for name in ("broker1", "hub"))
SIGNING = (x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.OCSP_SIGNING]), False)
NO_CHECK = (x509.OCSPNoCheck(), False)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


@pytest.fixture
def post(engine: Engine, publisher: Publisher) -> Post:
    """Return a place where no list is in hand: what responders say is all there is."""
    made = Post(House(engine), publisher)
    made.house.hub.register._crls = made.hub.register._crls = ()
    return made


def responder(post: Post, **words: Any) -> Responder:
    made = Responder(authority(), post.house.clock, **words)
    post.publisher.pages[PATH] = made
    return made


def delegate(*extra: Any) -> tuple[Certificate, Any]:
    forged = Forgery("Responder", serial=900, starts=START - DAY, ends=START + 30 * DAY, extra=list(extra))
    return read_certificate(forged.der(authority())), forged.key


@pytest.mark.long
@BOTH
def test_a_revocation_counts_from_the_next_message_after_the_answer(post: Post) -> None:
    post.source("asking", PATH, kind="ocsp", nonce="require")
    there = responder(post)
    assert post.said() == "GW208"
    post.turn()
    assert sorted(there.serials) == sorted([BROKER.serial, HUB.serial])
    assert post.said() == "taken"
    # An answer that is not renewed ends, and then nobody knows.
    post.publisher.pages[PATH] = status(500)
    post.house.clock.forward(hours=3)
    post.turn()
    assert (post.said(), post.row("asking").problem) == ("GW208", "GW608")
    responder(post, revoked={BROKER.serial})
    post.house.clock.forward(hours=1)
    assert post.said() == "GW208"
    post.turn()
    assert post.said() == "GW207"
    with read_transaction(post.house.engine) as conn:
        told = list_subject_leaves(conn, "source", "asking")
    assert [one.kind for one in told] == ["fetched", "unfetched", "fetched"]
    assert post.held("asking", BROKER.sha256).sha256 in told[-1].data


def other() -> Any:
    """An authority of the same name with another key."""
    made = make_authority("CN=Test CA", START - DAY)
    return made.certificate, made.key


WRONG: dict[str, dict[str, Any]] = {
    "another nonce": {"nonce": lambda _: b"x" * 32},
    "no nonce": {"nonce": lambda _: None},
    "nobody knows it": {"unknown": {BROKER.serial}},
    "another signer": {"signer": other()},
    "a delegate for other things": {"signer": delegate(NO_CHECK)},
    "a delegate that nobody knows": {"signer": delegate(SIGNING, NO_CHECK), "along": False},
    "of tomorrow": {"starts": DAY},
    "of yesterday": {"starts": -DAY},
    "before the one in force": {"starts": timedelta(minutes=-90)},
    "of the second of the one in force": {"starts": -HOUR},
}


@BOTH
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_changes_nothing(post: Post, name: str) -> None:
    post.source("asking", PATH, kind="ocsp", nonce="require")
    responder(post, revoked={BROKER.serial})
    post.turn()
    before = post.held("asking", BROKER.sha256)
    post.house.clock.forward(hours=1)
    responder(post, **WRONG[name])
    post.turn()
    assert post.row("asking").problem == "GW606", post.row("asking").detail
    assert post.held("asking", BROKER.sha256) == before
    assert post.said() == "GW207"
    (waiting,) = post.queue("QUEUED")
    post.house.clock.now = waiting.due_at
    responder(post)
    post.turn()
    assert (post.said(), post.row("asking").problem) == ("taken", None)


@pytest.mark.parametrize("revoked", [{BROKER.serial}, set[int]()])
def test_an_answer_of_the_same_second_that_states_the_same_is_taken(post: Post, revoked: set[int]) -> None:
    post.source("asking", PATH, kind="ocsp", nonce="require")
    responder(post, revoked=revoked)
    post.turn()
    before = post.held("asking", BROKER.sha256)
    post.house.clock.forward(hours=1)
    responder(post, revoked=revoked, starts=-HOUR)
    post.turn()
    after = post.held("asking", BROKER.sha256)
    assert (post.row("asking").problem, after.this_update) == (None, before.this_update)
    assert post.said() == ("GW207" if revoked else "taken")


@pytest.mark.long
@pytest.mark.parametrize(("way", "sent"), [("none", False), ("send", True)])
def test_a_nonce_is_sent_where_it_is_asked_for(post: Post, way: str, sent: bool) -> None:
    seen: list[bytes | None] = []
    post.source("asking", PATH, kind="ocsp", nonce=way)
    responder(post, nonce=seen.append)
    post.turn()
    assert [nonce is not None for nonce in seen] == [sent, sent]
    assert len({*seen}) == (2 if sent else 1)
    assert post.said() == "taken"


@pytest.mark.long
def test_a_delegate_of_the_settings_need_not_come_along(post: Post) -> None:
    certificate, key = delegate(SIGNING, NO_CHECK)
    for hub in (post.house.hub, post.hub):
        hub.judge.replace_trust(trust=TrustStore((authority().certificate,), (certificate,)))
    post.source("asking", PATH, kind="ocsp")
    responder(post, signer=(certificate, key), along=False)
    post.turn()
    assert post.said() == "taken"


@pytest.mark.long
def test_what_one_certificate_lacks_holds_up_no_other(post: Post) -> None:
    post.source("asking", PATH, kind="ocsp")
    there = responder(post, unknown={HUB.serial})
    post.turn()
    assert post.said() == "taken"
    assert post.row("asking").problem == "GW606"
    assert post.held("asking", HUB.sha256) is None
    # The next try asks only for what is missing.
    there.unknown.clear()
    there.serials.clear()
    (waiting,) = post.queue("QUEUED")
    post.house.clock.now = waiting.due_at
    post.turn()
    assert there.serials == [HUB.serial]
    assert post.row("asking").problem is None


def test_what_came_before_the_responder_went_away_counts(post: Post) -> None:
    post.source("asking", PATH, kind="ocsp")
    there = responder(post)

    def once(handler: Handler) -> None:
        post.publisher.pages[PATH] = status(503)
        there(handler)

    post.publisher.pages[PATH] = once
    post.turn()
    assert post.row("asking").problem == "GW608"
    held = [one for one in (BROKER, HUB) if post.held("asking", one.sha256)]
    assert [one.serial for one in held] == there.serials


@pytest.mark.long
def test_a_worker_that_comes_back_late_puts_nothing_in_force(post: Post) -> None:
    post.source("asking", PATH, kind="ocsp")
    there, second = responder(post), post.worker("w2")

    def slow(handler: Handler) -> None:
        post.publisher.pages[PATH] = there
        post.house.clock.forward(seconds=61)
        second.run_maintenance()
        there(handler)

    post.publisher.pages[PATH] = slow
    post.turn()
    assert (post.held("asking", BROKER.sha256), post.held("asking", HUB.sha256)) == (None, None)
    assert second.run_once() == 1
    assert post.said() == "taken"


def test_a_responder_that_is_slow_and_wrong_holds_one_worker_only(post: Post) -> None:
    """Else its lease would run out, as if the worker had died of it, and another would begin."""
    post.source("asking", PATH, kind="ocsp", nonce="require")
    there, second = responder(post, nonce=lambda _: None), post.worker("w2")
    taken: list[int] = []

    def slow(handler: Handler) -> None:
        post.house.clock.forward(seconds=35)
        second.run_maintenance()
        taken.append(second.run_once())
        there(handler)

    post.publisher.pages[PATH] = slow
    post.turn()
    assert (len(there.serials), taken) == (2, [0, 0])
    assert post.row("asking").problem == "GW606"
    (waiting,) = post.queue("QUEUED")
    assert waiting.problem == "GW606"


def test_an_answer_about_a_certificate_that_is_no_more_is_dropped(post: Post) -> None:
    post.source("asking", PATH, kind="ocsp")
    responder(post)
    post.turn()
    with write_transaction(post.house.engine) as conn:
        parties.retire_certificate(conn, BROKER.sha256)
    post.house.clock.forward(hours=1)
    post.turn()
    assert post.held("asking", BROKER.sha256) is None
    assert post.held("asking", HUB.sha256).fetched_at == START + HOUR


@pytest.mark.long
def test_who_was_revoked_is_not_forgotten_while_suspended(post: Post) -> None:
    """Else who comes back would pass, where nothing in hand lets pass, until the responder is asked again."""
    hub = post.house.hub
    hub.judge.replace_trust(trust=TrustStore((authority().certificate,), (), TrustPolicy("if_present")))
    post.source("asking", PATH, kind="ocsp")
    responder(post, revoked={BROKER.serial})
    post.turn()
    for status_of_party in ("SUSPENDED", "ACTIVE"):
        with write_transaction(post.house.engine) as conn:
            parties.set_party_status(conn, "broker1", status_of_party)
        if status_of_party == "SUSPENDED":
            post.house.clock.forward(hours=1)
            post.turn()
            assert post.row("asking").problem is None
    post.house.clock.forward(hours=2)
    assert post.said() == "GW207"


@BOTH
def test_a_stretch_that_is_over_ends_the_asking_and_who_waits_longest_comes_next(
    post: Post,
) -> None:
    post.source("asking", PATH, kind="ocsp", every="1h")
    there = responder(post)

    def slow(handler: Handler) -> None:
        post.house.clock.forward(hours=1)
        there(handler)

    post.publisher.pages[PATH] = slow
    post.turn()
    (first,) = there.serials
    assert post.row("asking").problem == "GW601"
    assert "time limit of the query has passed" in post.row("asking").detail
    there.serials.clear()
    post.publisher.pages[PATH] = there
    post.house.clock.forward(hours=1)
    post.turn()
    assert there.serials == [({BROKER.serial, HUB.serial} - {first}).pop(), first]
