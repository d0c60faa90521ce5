"""Certificates that an agency issues, corrects and takes back on one day, each with its own time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from gateway.cases import SignedReply
from gateway.hub import apply_agency_document
from gateway.hub.answers.delivered_notices import read_agency_document
from gateway.store import read_transaction
from tests.flows.craft import all_of, reference
from tests.flows.test_delivered_notices import Window
from tests.flows.test_outside_documents import certificate
from tests.kit import tables
from tests.kit.databases import BOTH
from tests.kit.story import Story, story

__all__ = ["story"]


def say(story: Story, time: str, quantity: str, status: str = "R01", number: str = "") -> None:
    """Let KFDA send the certificate C-1 about its item; the time of issue is the time of that day."""
    apply_agency_document(story.hub, "KFDA", make(story, time, quantity, status, number), SignedReply())


def make(story: Story, time: str, quantity: str, status: str = "R01", number: str = "") -> Any:
    application = number or story.number_of("KFDA")
    return certificate((2, quantity, ""), status=status, at=f"20261120{time}", application=application,
                       number="C-1")  # fmt: skip


def standing(story: Story) -> list[tuple[str, str | None]]:
    """Return the decision that counts of each application of KFDA, with its quantity."""
    wanted = select(tables.decisions).where(tables.decisions.c.agency == "KFDA")
    with read_transaction(story.house.engine) as conn:
        found = conn.execute(wanted.order_by(tables.decisions.c.request_id)).all()
    latest = {row.request_id: row for row in sorted(found, key=lambda row: (row.issued_at, row.notice_no))}
    return [(row.decision, row.quantity) for _, row in sorted(latest.items())]


def count_notices(story: Story) -> int:
    with read_transaction(story.house.engine) as conn:
        return len(conn.execute(select(tables.notices).where(tables.notices.c.agency == "KFDA")).all())


@BOTH
def test_each_correction_of_a_day_counts(story: Story) -> None:
    spoken = [("175000", "5", "R01"), ("175200", "7", "R02"), ("175400", "9", "R02"), ("175600", "9", "R03"),
              ("175800", "9", "R01")]  # fmt: skip
    before = count_notices(story)
    for _ in range(2):  # a repeat changes nothing
        for one in spoken:
            say(story, *one)
        assert count_notices(story) == before + len(spoken)
    assert standing(story) == [("APPROVED", "9")]


def test_one_certificate_is_about_two_applications(story: Story) -> None:
    story.submit(story.submission(all_of(reference("HB2026-000124"))))
    story.tick()
    first, second = (call.text("ApplicationNumber") or "" for call in story.soap.calls
                     if call.destination == "KFDA")  # fmt: skip
    say(story, "180500", "5", number=first)
    say(story, "180500", "6", number=second)
    assert standing(story) == [("APPROVED", "5"), ("APPROVED", "6")]


@BOTH
def test_two_contents_of_one_instant_are_refused_with_what_to_do(story: Story) -> None:
    say(story, "180500", "5")
    before = count_notices(story)
    answer = Window(story).call("KFDA", "DeliverNotice", make(story, "180500", "6")).decode()
    assert "GW702" in answer
    assert "states a later time of issue" in answer
    assert "C-1/R01/2026-11-20T18:05:00+09:00/" in answer
    assert "Location>/Response/ID<" in answer
    assert count_notices(story) == before


def test_no_number_is_longer_than_an_applicant_can_be_told(story: Story) -> None:
    """The schema of the result allows 128 characters."""
    long, own = "C" * 35, "N" * 35
    outside = certificate((1, "1", ""), (2, "1", own), number=long, application="A" * 35)
    other = certificate((1, "1", ""), (2, "1", "M" * 35), number=long, application="A" * 35)
    numbers = [notice.number for one in (outside, other)
               for _, notice in read_agency_document(story.hub, "KFDA", one).results]  # fmt: skip
    assert max(map(len, numbers)) == 128
    assert len(set(numbers)) == 3
