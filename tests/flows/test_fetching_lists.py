"""Trusted lists are fetched like revocation lists; what becomes of them is for recognition to say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from gateway.hub import RecognitionPolicy
from gateway.hub.trust.trusted_lists import NOBODY
from gateway.store import fetched_lists, read_transaction
from tests.kit.databases import BOTH
from tests.kit.fetching import Post
from tests.kit.house import House
from tests.kit.publisher import Publisher, page, publishing
from tests.recognition import sample_lists

PATH = "/list.xml"
OPERATOR = sample_lists.country("Home").operator.certificate


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing() as running:
        yield running


def ours(sequence: int, operator: str = "Home") -> bytes:
    draft = sample_lists.TrustedListDraft("Home", "KR", sequence, sample_lists.NOW + 30 * sample_lists.DAY)
    return sample_lists.own_list(draft, operator, schemes=(sample_lists.scheme("ZZ", "Zed", TREATY),))[0]


TREATY = sample_lists.rule(
    [f"{sample_lists.QC} {sample_lists.SIGNATURES}"], [sample_lists.GRANTED], "qualified"
)


def sequences(post: Post) -> list[int]:
    with read_transaction(post.house.engine) as conn:
        return [row.sequence for row in fetched_lists.list_latest_trusted_lists(conn)]


def place(engine: Engine, publisher: Publisher, terms: RecognitionPolicy) -> Post:
    made = Post(House(engine, terms=terms), publisher)
    made.source("lists", PATH, kind="trust_list", issuer=None)
    return made


@pytest.mark.long
@BOTH
def test_a_list_is_taken_once_and_never_rolled_back(engine: Engine, publisher: Publisher) -> None:
    post = place(engine, publisher, RecognitionPolicy(frozenset({OPERATOR})))
    told = []
    for octets in (ours(7), ours(8), ours(6), b"<a/>", ours(9, "Zed")):
        publisher.pages[PATH] = page(octets)
        post.turn()
        post.house.clock.forward(hours=1)
        told.append((sequences(post), post.row("lists").problem))
    assert told == [([7], None), ([8], None), ([8], "GW606"), ([8], "GW606"), ([8], "GW606")]
    assert post.row("lists").failures == 3


def test_the_same_octets_change_nothing(engine: Engine, publisher: Publisher) -> None:
    post = place(engine, publisher, RecognitionPolicy(frozenset({OPERATOR})))
    publisher.pages[PATH] = page(ours(7))
    post.turn()
    epoch = post.epoch
    post.house.clock.forward(hours=1)
    post.turn()
    assert (post.epoch, sequences(post), post.row("lists").failures) == (epoch, [7], 0)


@pytest.mark.long
def test_where_nobody_may_sign_lists_the_settings_are_to_blame(engine: Engine, publisher: Publisher) -> None:
    post = place(engine, publisher, NOBODY)
    publisher.pages[PATH] = page(ours(7))
    post.turn()
    assert post.row("lists").problem == "GW801"
    assert len(post.queue("FAILED")) == 1
