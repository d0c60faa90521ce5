"""The statistics of an agency: what was received and decided, how long it took, and why it was refused."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, Notice
from gateway.hub import apply_call_back
from tests.flows.craft import reference
from tests.kit.console import Console
from tests.kit.databases import BOTH
from tests.kit.story import Story


@pytest.fixture
def story(engine: Engine) -> Story:
    """Three applications: one approved after 30 hours, one refused after 80, one open."""
    story = Story(engine)
    for place, hours in (("A", 30), ("B", 80), ("C", 0)):
        story.submit(story.submission(reference(f"HB-{place}")))
        story.tick()
        story.clock.forward(hours=hours)
        number = story.request("KFDA").number
        if place == "C":
            continue
        code = DecisionCode.APPROVED if place == "A" else DecisionCode.REJECTED
        said = Decision(2, "05", code, conditions=() if place == "A" else ("=잔류농약 초과",))
        notice = Notice(f"{number}-1", story.clock(), "R01" if place == "A" else "R04", (said,))
        hear(story, number, notice)
    story.tick(seconds=1)
    for _ in range(6):
        story.hub.statistics.count_new_steps()
    return story


def hear(story: Story, number: str, notice: Notice) -> None:
    apply_call_back(story.hub, "KFDA", AgencyCallback(notice, number))


@BOTH
def test_the_head_of_an_agency_sees_how_it_works(story: Story, console: Console) -> None:
    console.add_account("kim", ("agency", "KFDA"), "head")
    kim = console.sign_in("kim")
    page = kim.get("/console/work/statistics").text
    assert "<dt>Applications received</dt><dd>3</dd>" in page
    assert "<dt>Decided</dt><dd>2</dd>" in page
    median, slow = re.findall(r'<td class="amount">(\d+\.\d)</td>', page)[:2]
    assert 1.0 <= float(median) <= 2.0 <= float(slow) <= 5.0, "30 and 80 hours, within their bands"
    assert "잔류농약 초과" in page
    assert "<svg" in page
    written = kim.get("/console/work/statistics?format=csv")
    assert written.mimetype == "text/csv"
    assert "request_outcome" in written.text
    console.add_account("lee", ("agency", "NPQS"), "reader")
    other = console.sign_in("lee").get("/console/work/statistics").text
    assert "잔류농약" not in other
    console.add_account("han", ("party", "broker1"), "manager")
    assert console.sign_in("han").get("/console/work/statistics").status_code == 403


def test_a_refusal_that_was_corrected_is_no_refusal(story: Story, console: Console) -> None:
    console.add_account("kim", ("agency", "KFDA"), "head")
    kim = console.sign_in("kim")
    assert "=잔류농약 초과" in kim.get("/console/work/statistics").text
    refused = kim.get("/console/work?tab=decided&order=new").text
    application = refused.partition('href="/console/applications/')[2].partition('"')[0]
    said = Decision(2, "05", DecisionCode.APPROVED)
    story.clock.forward(seconds=5)
    hear(story, application, Notice(f"{application}-2", story.clock(), "R02", (said,)))
    assert "Nothing was refused" in kim.get("/console/work/statistics").text


def test_a_cancellation_and_a_refusal_without_a_reason_are_counted(story: Story, console: Console) -> None:
    refused = Notice("K-1", story.clock(), "R04", (Decision(2, "05", DecisionCode.REJECTED),))
    hear(story, str(story.request("KFDA").number), refused)
    story.submit(story.submission(reference("HB-D")))
    story.tick()
    hear(story, str(story.request("KFDA").number), Notice("K-2", story.clock(), "G01", ()))
    story.tick(seconds=1)
    for _ in range(6):
        story.hub.statistics.count_new_steps()
    console.add_account("kim", ("agency", "KFDA"), "head")
    kim = console.enter("kim")
    page = kim.get("/console/work/statistics").text
    assert '<th scope="col" class="amount">Cancelled</th>' in page
    assert '<th scope="row">without a reason</th><td>05</td><td class="amount">1</td>' in page
    kim.post("/console/language", language="ko")
    assert '<th scope="row">식품등의 수입신고서</th>' in kim.get("/console/work/statistics").text
