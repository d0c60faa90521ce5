"""A list is compared with what is in force after its fetch: nothing else may be said about its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import Engine

from gateway.delivery import revocation_list_fetch
from gateway.evidence import list_subject_leaves
from gateway.hub import RecognitionPolicy, import_trusted_list
from gateway.store import NewFetchedList, fetched_lists, read_transaction, write_transaction
from tests.kit.databases import BOTH
from tests.kit.fetching import DAY, HOUR, LIST, Post, crl
from tests.kit.house import START, House, authority
from tests.kit.publisher import Handler, Page, Publisher, page, publishing
from tests.pki.certificate_forgery import crl as issued_list
from tests.pki.certificate_forgery import scope
from tests.recognition import sample_lists

CHANGES = "/delta.crl"
TRUSTED = "/list.xml"
OPERATOR = sample_lists.country("Home").operator.certificate
TREATY = sample_lists.rule(
    [f"{sample_lists.QC} {sample_lists.SIGNATURES}"], [sample_lists.GRANTED], "qualified"
)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


@pytest.fixture
def post(engine: Engine, publisher: Publisher) -> Post:
    return Post(House(engine, terms=RecognitionPolicy(frozenset({OPERATOR}))), publisher)


def put_in_force(post: Post, octets: bytes, number: int, name: str = "root") -> None:
    """Put a list of a source in force, as another worker does."""
    new_list = NewFetchedList("", "crl", octets, "CN=Test CA", str(number), START, START + DAY)
    with write_transaction(post.house.engine) as conn:
        fetched_lists.ensure_source(conn, name, "crl", post.publisher.url + LIST)
        if fetched_lists.activate_lists(conn, name, [new_list], post.house.clock()):
            fetched_lists.record_success(conn, name, post.house.clock(), '"theirs"')


def changes(number: int, base: int) -> bytes:
    extra = [(x509.CRLNumber(number), False), (x509.DeltaCRLIndicator(base), True)]
    return issued_list(authority(), extra=extra, starts=START - HOUR)


def put_base_in_force(post: Post) -> None:
    """Put complete list 7 in force, to which changes since list 7 apply."""
    put_in_force(post, issued_list(authority(), extra=[(x509.CRLNumber(7), False)], starts=START - HOUR), 7)


def page_during_which(act: Callable[[], object], octets: bytes, tag: str = "") -> Page:
    """Return a page that gives the octets; `act` happens between the request and its first answer."""
    acts = [act]

    def give(handler: Handler) -> None:
        if acts:
            acts.pop()()
        page(octets, tag)(handler)

    return give


def list_evidence(post: Post, name: str = "root") -> list[str]:
    with read_transaction(post.house.engine) as conn:
        return [leaf.kind for leaf in list_subject_leaves(conn, "source", name)]


@BOTH
def test_changes_fit_a_complete_list_that_came_into_force_during_their_fetch(post: Post) -> None:
    post.source("changes", CHANGES, kind="delta")
    post.publisher.pages[CHANGES] = page_during_which(lambda: put_base_in_force(post), changes(8, 7))
    post.turn()
    row = post.row("changes")
    assert (row.problem, row.detail, row.failures) == (None, None, 0)
    assert post.held("changes").number == "8"


@BOTH
def test_changes_fit_a_complete_list_that_came_into_force_while_they_were_compared(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, acts = revocation_list_fetch.accept_delta_list, [put_base_in_force]

    def accept(*words: Any) -> Any:
        try:
            return real(*words)
        finally:
            if acts:
                acts.pop()(post)

    monkeypatch.setattr(revocation_list_fetch, "accept_delta_list", accept)
    post.source("changes", CHANGES, kind="delta")
    post.publisher.pages[CHANGES] = page(changes(8, 7))
    post.turn()
    assert (post.row("changes").problem, post.row("changes").failures) == (None, 0)
    assert post.publisher.asked == [("GET", CHANGES)]


@BOTH
def test_the_same_list_put_in_force_by_another_worker_is_a_success(post: Post) -> None:
    post.source()
    octets = crl(3)
    post.publisher.pages[LIST] = page_during_which(lambda: put_in_force(post, octets, 3), octets)
    post.turn()
    assert (post.row().problem, post.row().failures, post.held().number) == (None, 0, "3")
    assert [row.state for row in post.queue("DELIVERED")] == ["DELIVERED"]
    assert list_evidence(post) == [], "nothing changed"


@BOTH
def test_a_newer_list_put_in_force_by_another_worker_is_a_success_once(post: Post) -> None:
    post.source()
    post.publisher.pages[LIST] = page(crl(2), tag='"two"')
    post.turn()
    post.house.clock.forward(hours=1)
    newer = crl(9, "broker1")
    post.publisher.pages[LIST] = page_during_which(lambda: put_in_force(post, newer, 9), crl(3), '"three"')
    post.turn()
    assert (post.row().problem, post.row().failures, post.held().number) == (None, 0, "9")
    assert post.said() == "GW207"
    assert post.row().etag is None, "the tag of an older list is not that of the list in force"
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.row().problem, post.row().failures, post.held().number) == ("GW606", 1, "9")
    assert "list number 3, and 9 is in force: nothing is rolled back" in post.row().detail


def test_an_unchanged_list_that_another_worker_replaces_meanwhile_is_a_success(post: Post) -> None:
    post.source()
    post.publisher.pages[LIST] = page(crl(2), tag='"two"')
    post.turn()
    post.house.clock.forward(hours=1)
    post.publisher.pages[LIST] = page_during_which(lambda: put_in_force(post, crl(3), 3), crl(2), '"two"')
    post.turn()
    assert post.publisher.statuses == [200, 304]
    assert (post.row().problem, post.row().failures, post.held().number) == (None, 0, "3")


@BOTH
def test_a_list_put_in_force_between_comparison_and_activation_is_compared_too(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, acts = revocation_list_fetch.accept_revocation_list, [lambda: put_in_force(post, crl(9), 9)]

    def accept(*words: Any) -> Any:
        accepted = real(*words)
        if acts:
            acts.pop()()
        return accepted

    monkeypatch.setattr(revocation_list_fetch, "accept_revocation_list", accept)
    post.source()
    post.publisher.pages[LIST] = page(crl(3))
    post.turn()
    assert (post.row().problem, post.row().failures, post.held().number) == (None, 0, "9")


@pytest.mark.parametrize(
    ("fetched", "detail"),
    [
        (lambda: crl(9), "the same number and time, and other entries"),
        (lambda: b"<html>sold</html>", ""),
        (lambda: crl(3, ends=timedelta(minutes=5)), "it ended at"),
    ],
)
def test_a_list_that_is_wrong_in_itself_is_refused_beside_a_newer_one_too(
    post: Post, fetched: Callable[[], bytes], detail: str
) -> None:
    post.source()
    post.house.clock.forward(minutes=10)
    newer = crl(9, "broker1")
    post.publisher.pages[LIST] = page_during_which(lambda: put_in_force(post, newer, 9), fetched())
    post.turn()
    assert (post.row().problem, post.row().failures, post.held().number) == ("GW606", 1, "9")
    assert detail in post.row().detail


def test_a_list_older_than_the_one_before_the_fetch_is_refused_beside_a_newer_one_too(post: Post) -> None:
    post.source()
    put_in_force(post, crl(5), 5)
    post.publisher.pages[LIST] = page_during_which(lambda: put_in_force(post, crl(9), 9), crl(4))
    post.turn()
    assert (post.row().problem, post.held().number) == ("GW606", "9")


def test_a_list_of_another_kind_put_in_force_meanwhile_does_not_stand_for_the_fetched_one(
    post: Post,
) -> None:
    post.source()
    cut = issued_list(
        authority(), extra=[(x509.CRLNumber(9), False), (scope(only_contains_ca_certs=True), True)]
    )
    post.publisher.pages[LIST] = page_during_which(lambda: put_in_force(post, cut, 9), crl(10))
    post.turn()
    assert (post.row().problem, post.held().number) == ("GW606", "9")
    assert "than the one in force" in post.row().detail


def ours(sequence: int) -> bytes:
    draft = sample_lists.TrustedListDraft("Home", "KR", sequence, sample_lists.NOW + 30 * DAY)
    return sample_lists.own_list(draft, schemes=(sample_lists.scheme("ZZ", "Zed", TREATY),))[0]


def import_lists(post: Post, *lists: bytes) -> None:
    for octets in lists:
        import_trusted_list(
            post.house.engine, octets, post.house.clock(), RecognitionPolicy(frozenset({OPERATOR}))
        )


def test_an_issuer_that_a_list_imported_during_the_fetch_names_is_known(post: Post) -> None:
    zed = sample_lists.country("Zed").authority
    theirs = sample_lists.etsi_list("ZZ", "Zed", [sample_lists.etsi_service(zed.certificate)])
    post.house.clock.now = sample_lists.NOW
    post.sources["root"] = replace(post.source(), issuer=zed.certificate)
    octets = crl(1, starts=sample_lists.NOW - HOUR, by=zed)
    post.publisher.pages[LIST] = page_during_which(lambda: import_lists(post, ours(7), theirs), octets)
    post.turn()
    assert (post.row().problem, post.row().detail) == (None, None)


@BOTH
def test_a_trusted_list_that_a_newer_one_overtook_is_fetched_again(post: Post) -> None:
    post.source("lists", TRUSTED, kind="trust_list", issuer=None)
    newer = ours(9)

    def overtake() -> None:
        import_lists(post, newer)
        pages.append(page(newer))

    pages = [page_during_which(overtake, ours(8))]
    post.publisher.pages[TRUSTED] = lambda handler: pages[-1](handler)
    post.turn()
    assert (post.row("lists").problem, post.row("lists").failures) == (None, 0)
    assert post.publisher.asked == [("GET", TRUSTED)] * 2


def test_a_trusted_list_that_stays_older_is_refused(post: Post) -> None:
    post.source("lists", TRUSTED, kind="trust_list", issuer=None)
    post.publisher.pages[TRUSTED] = page_during_which(lambda: import_lists(post, ours(9)), ours(8))
    post.turn()
    assert (post.row("lists").problem, post.row("lists").failures) == ("GW606", 1)
    assert "sequence number 8, and 9 is in hand" in post.row("lists").detail
    assert post.publisher.asked == [("GET", TRUSTED)] * 2


@BOTH
def test_an_attempt_that_another_worker_took_over_counts_no_failure(post: Post) -> None:
    post.source()

    def take_over() -> None:
        """Let the lease end, and another worker fetch with success."""
        post.house.clock.forward(minutes=5)
        post.publisher.pages[LIST] = page(crl(2))
        other = post.worker("w2")
        other.run_maintenance()
        assert other.run_once() == 1

    post.publisher.pages[LIST] = page_during_which(take_over, b"<html>sold</html>")
    post.turn()
    assert (post.row().problem, post.row().failures, post.held().number) == (None, 0, "2")
