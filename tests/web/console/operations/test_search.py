"""Operators find whatever they are told on the telephone, on each kind of database."""

from __future__ import annotations

import re

import pytest

from gateway.store import messages, read_transaction
from tests.kit.console import Browser
from tests.kit.databases import BOTH, database_url
from tests.kit.story import Story
from tests.web.console.operations.test_objects import MARKUP, find, story_messages

__all__ = ["database_url"]

STRANGE = ("nothing like it", "GW999", "9" * 30, MARKUP, "%", "'; drop table cases", "가")


@BOTH
def test_whatever_is_told_on_the_telephone_is_found(story: Story, failed: int, operator: Browser) -> None:
    case, call = story.case(), story.delivery(id=failed)
    (stored, *_) = story_messages(story)
    of_case, of_message = f"/cases/{case.number}", f"/messages/{stored.id}"
    of_delivery = f"/deliveries/{failed}"
    for text, place in {
        case.number: of_case,
        case.number.lower(): of_case,
        f"{case.number[:2]} {case.number[2:]}": of_case,
        case.functional_reference: of_case,
        "HB-PO-2026-311": of_case,
        "AKE26714KE": of_case,
        "180-44128890": of_case,
        "26KE0926I1200010001": of_case,
        story.request("KPTA").number: of_case,
        stored.message_id: of_message,
        call.wire_id: of_delivery,
        str(failed): of_delivery,
        "connection REFUSED": of_delivery,
        "GW601": "/problems/GW601",
        "broker1": "/parties/broker1",
        "KPTA": "/lanes/KPTA",
    }.items():
        assert f"/console/operations{place}" in find(operator, text), text


def test_what_is_not_there_is_not_found(failed: int, operator: Browser) -> None:
    for text in STRANGE:
        page = find(operator, text)
        assert "Nothing was found." in page, text
        assert MARKUP not in page


def test_messages_since_a_time_are_each_shown_once(
    story: Story, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.submit()
    story.tick()
    story.decide_all()
    for _ in range(3):
        story.tick(seconds=30)
    with read_transaction(story.house.engine) as conn:
        stored = {row.id for row in messages.list_messages(conn)}
    assert len(stored) > 3
    monkeypatch.setattr("gateway.web.console.operations.object_pages.PAGE", 2)
    path, seen = "/console/operations/messages?since=2026-11-01T00:00", []
    while path:
        page = operator.get(path).text
        seen += [int(one) for one in re.findall(r'/console/operations/messages/(\d+)"', page)]
        found = re.search(r'<a href="([^"]+)">Next page', page)
        path = found[1].replace("&amp;", "&") if found else ""
    assert sorted(seen) == sorted(stored)
    assert "There are none." in operator.get("/console/operations/messages?since=2027-01-01T00:00").text
