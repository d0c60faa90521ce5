"""An index with a source says what an index of the same P-Modes says, and reads only what is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from gateway.agreements import MessageRoute, PMode, PModeIndex, PullRoute
from gateway.errors import GatewayError
from gateway.message_model import Party, PartyId
from tests.agreements.test_pmodes import BROKER, HUB, NOW, OTHER, RESULT, SECOND, T, pmode, route

LATER = pmode("submit", valid_from=datetime.fromisoformat("2026-09-01T00:00:00Z"))
FIRST = replace(pmode(), valid_until=LATER.valid_from)
ALL = (FIRST, LATER, RESULT, SECOND)
EAGER = PModeIndex(ALL, 7)
BACK = MessageRoute(Party((HUB,), "Hub"), Party((BROKER,), "Applicant"), "a1", "urn:s", "Result")
NOBODYS = replace(BACK, agreement="a3")
OVER = datetime.fromisoformat("2030-01-01T00:00:00Z")
STRANGER = Party((OTHER,), "Applicant")
QUESTIONS: dict[str, Callable[[PModeIndex], Any]] = {
    "message": lambda book: book.match_pmode(route(), NOW),
    "later version": lambda book: book.match_pmode(route(), LATER.valid_from),
    "other agreement": lambda book: book.match_pmode(route(agreement="a2", sender=STRANGER), NOW),
    "unknown agreement": lambda book: book.match_pmode(route(agreement="a3"), NOW),
    "no more in force": lambda book: book.match_pmode(route(), OVER),
    "party of another agreement": lambda book: book.match_pmode(route(sender=STRANGER), NOW),
    "unknown party": lambda book: book.match_pmode(route(sender=Party((PartyId("x", T),))), NOW),
    "unknown service": lambda book: book.match_pmode(route(service="urn:x"), NOW),
    "unknown action": lambda book: book.match_pmode(route(action="X"), NOW),
    "wrong role": lambda book: book.match_pmode(route(sender=Party((BROKER,), "X")), NOW),
    "signal": lambda book: book.match_signal_pmode(BACK, NOW, is_answer=True),
    "signal of its own": lambda book: book.match_signal_pmode(BACK, NOW, is_answer=False),
    "signal of nobody": lambda book: book.match_signal_pmode(NOBODYS, NOW, is_answer=True),
    "reply": lambda book: book.get_reply_pmode(pmode(), "Result", NOW),
    "no reply": lambda book: book.get_reply_pmode(pmode(), "Notice", NOW),
    "id": lambda book: book.find_by_id("a1", "submit", LATER.valid_from),
    "unknown id": lambda book: book.find_by_id("a1", "second"),
    "id of an unknown agreement": lambda book: book.find_by_id("a3", "second"),
    "id without an agreement": lambda book: book.find_by_id(None, "second"),
    "all": lambda book: sorted(one.id for one in book.pmodes),
    "epoch": lambda book: book.epoch,
}


class Source:
    """The P-Modes by agreement, and the agreements that have been read, in order."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def list_agreements(self) -> Collection[str]:
        return ("a1", "a2")

    def parse_agreement(self, agreement: str) -> Iterable[PMode]:
        self.read.append(agreement)
        return [one for one in ALL if one.agreement == agreement]

    def list_parties(self, agreement: str) -> Iterable[PartyId]:
        return {
            party for one in ALL if one.agreement == agreement for party in (*one.from_party, *one.to_party)
        }

    def list_pull_routes(self) -> Iterable[PullRoute]:
        return ()


def make_index(source: Source | None = None) -> PModeIndex:
    return PModeIndex(epoch=7, source=source or Source(), is_party={BROKER, HUB, OTHER}.__contains__)


def ask(book: PModeIndex, question: Callable[[PModeIndex], Any]) -> Any:
    try:
        return question(book)
    except GatewayError as refused:
        return refused.problem.id, refused.detail, refused.location


@pytest.mark.night
@pytest.mark.parametrize("name", QUESTIONS)
def test_both_indexes_say_the_same(name: str) -> None:
    assert ask(make_index(), QUESTIONS[name]) == ask(EAGER, QUESTIONS[name])


def test_an_agreement_is_read_once_when_it_is_used() -> None:
    source = Source()
    book = make_index(source)
    assert source.read == []
    for _ in range(3):
        book.match_pmode(route(), NOW)
    assert source.read == ["a1"]
    assert ask(book, QUESTIONS["unknown agreement"])[0] == "GW301"
    assert source.read == ["a1"], "an agreement that nobody loaded costs nothing"
    assert book.list_matching_pmodes(replace(route(), agreement=""), NOW) == (FIRST,)
    assert source.read == ["a1"], "an agreement of other parties costs nothing"
    book.find_by_id("a2", "second")
    assert source.read == ["a1", "a2"]


def test_two_agreements_may_have_one_id() -> None:
    book = PModeIndex([pmode(agreement="a1"), pmode(agreement="a2")])
    found = book.find_by_id("a2", "submit")
    assert found is not None
    assert found.agreement == "a2"
