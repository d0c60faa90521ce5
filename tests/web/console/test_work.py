"""The work queue of an agency, and the page of one application."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import etree
from sqlalchemy import Engine

from gateway.cases import AgencyCallback, Decision, DecisionCode, NamedFee, Notice, read_money
from gateway.errors import NO_ROOM, GatewayError
from gateway.hub import apply_call_back
from gateway.hub.completion import operator_actions
from gateway.hub.submissions import application_forms
from gateway.store import WorkCursor, WorkFilter, WorkTab, payloads, write_transaction
from gateway.web.console.work.work_pages import _read_work_cursor, format_work_cursor
from tests.flows.craft import all_of, reference, supplement, without
from tests.flows.item_changes import add_item, concern
from tests.kit import tables
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.story import LABEL, Story, asked, unreachable


@pytest.fixture
def story(engine: Engine) -> Story:
    story = Story(engine)
    story.submit()
    story.tick()
    return story


@pytest.fixture
def officer(console: Console) -> Browser:
    console.add_account("kim", ("agency", "KFDA"), "officer")
    return console.sign_in("kim")


@pytest.mark.long
@BOTH
def test_new_work_shows_number_applicant_goods_and_law(officer, story):
    page = officer.get("/console/work").text
    assert story.request("KFDA").number in page
    assert "주식회사 한빛무역" in page
    assert "1905320000" in page
    assert "Caramel wafers" in page
    assert story.request("NPQS").number not in page


def test_work_whose_calls_are_not_reached_now_is_listed_without_goods(
    officer: Browser, story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with write_transaction(story.house.engine) as conn:
        conn.exec_driver_sql("DELETE FROM application_summaries")

    def be_away(*_: object) -> bytes:
        raise GatewayError(NO_ROOM, "the store of large payloads is not reached")

    with monkeypatch.context() as patch:
        patch.setattr(application_forms, "payloads", SimpleNamespace(get_payload_octets=be_away))
        page = officer.get("/console/work").text
    assert story.request("KFDA").number in page
    assert "Caramel wafers" not in page
    assert "the work list lacks summaries: GW806" in caplog.text
    assert "Caramel wafers" in officer.get("/console/work").text


@pytest.mark.long
def test_the_application_is_drawn_from_its_form(officer, story):
    page = officer.get(f"/console/applications/{story.request('KFDA').number}")
    assert page.status_code == 200, page.text
    for words in ("Importer name", "주식회사 한빛무역", "Food class", "processed food", "밀가루"):
        assert words in page.text


@pytest.mark.long
def test_a_file_is_a_download_and_nothing_else(officer, story):
    answer = officer.get(f"/console/applications/{story.request('KFDA').number}/files/1")
    assert answer.data == LABEL
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=korean-label_sample.bin")
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.long
def test_looking_for_news_does_not_prolong_a_session(officer, story):
    story.clock.forward(minutes=20)
    assert officer.get("/console/work/mark", headers={"X-Refresh": "1"}).status_code == 200
    story.clock.forward(minutes=11)
    assert officer.get("/console/work").status_code == 302, "30 minutes without a use"


@pytest.mark.long
def test_the_mark_of_the_page_is_the_present_one_until_something_arrives(officer, story):
    shown = officer.get("/console/work").text
    assert f'data-mark="{officer.get("/console/work/mark").text}"' in shown
    story.submit(story.submission(reference("HB-2")))
    story.tick()
    assert f'data-mark="{officer.get("/console/work/mark").text}"' not in shown


@pytest.mark.long
@pytest.mark.parametrize("seen", [False, True], ids=["before the clockwork", "after the clockwork"])
def test_an_overdue_fee_is_listed_when_its_application_is_decided(officer, console, story, seen):
    """Nobody else would look for it: what is decided is in no other list of open work."""
    story.decide("KFDA")
    fee = NamedFee(read_money("12000", "KRW"), payment_notice="F1")
    due = story.clock() + timedelta(days=2)
    story.hear("KFDA", Notice("F1", story.clock(), "Y05", deadline=due, fee=fee))
    number = story.request("KFDA").number

    def count() -> list[str]:
        return re.findall(
            r'tab=overdue"[^>]*>[^<]*<span class="count">(\d+)', officer.get("/console/work").text
        )

    assert count() == ["0"]
    move = story.tick if seen else story.clock.forward
    move(seconds=2 * 86400 + 1)
    officer = console.sign_in("kim")
    assert story.request("KFDA").state == "DECIDED"
    assert count() == ["1"]
    page = officer.get("/console/work?tab=overdue").text
    assert number in page
    assert '<span class="state bad">Overdue</span>' in page
    late = officer.get("/console/work?tab=overdue&format=csv").text
    assert number in late
    story.hear("KFDA", Notice("F2", story.clock(), "Y08", fee=fee))
    assert number not in officer.get("/console/work?tab=overdue").text


@pytest.mark.long
def test_a_search_by_number_goes_to_the_application(officer, story):
    number, case = story.request("KFDA").number, story.case().number
    for said in (number, case, story.request("KFDA").receipt_number):
        assert officer.get(f"/console/work?q={said}").location == f"/console/applications/{number}"
    other = officer.get(f"/console/work?q={story.request('NPQS').number}").text
    assert "This agency has no application under" in other


@pytest.mark.long
def test_the_list_as_csv_has_no_formulas(officer, story):
    officer.get("/console/work")
    answer = officer.get("/console/work?format=csv")
    assert answer.mimetype == "text/csv"
    assert "주식회사 한빛무역" in answer.text


@pytest.mark.long
def test_what_a_supplement_changed_is_marked(officer, story):
    def change(root):
        supplement(root)
        next(root.iter("{*}FoodClass")).text = "1"

    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.submit(story.submission(change), action="Supplement")
    story.tick()
    page = officer.get(f"/console/applications/{story.request('KFDA').number}").text
    assert "What changed is marked." in page
    assert page.count('class="changed"') == 1
    assert re.search(r"Food class.*?Changed.*?<s>4</s>", page, re.DOTALL)


def test_what_a_supplement_left_out_is_marked(officer, story):
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    change = all_of(supplement, without("Application[@id='A2']/Fields/Item/ManufactureDate"))
    story.submit(story.submission(change), action="Supplement")
    story.tick()
    page = officer.get(f"/console/applications/{story.request('KFDA').number}").text
    assert '<span class="absent">removed</span> <span class="state warn">Changed</span>' in page
    assert "<s>2026-10-02</s>" in page


def test_a_decision_is_shown_with_its_date(officer, story):
    said = Decision(2, "05", DecisionCode.NOT_CONCERNED, "P-1", date(2026, 11, 20))
    story.hear("KFDA", Notice("D1", story.clock(), "R01", (said,)))
    page = officer.get(f"/console/applications/{story.request('KFDA').number}").text
    assert page.count('<span class="state idle">Not concerned</span>') == 2
    assert '<span class="number">P-1</span> <span class="hint">2026-11-20</span>' in page


def test_an_application_of_forgotten_mappings_is_drawn_by_those_in_force(officer, story):
    request = story.request("KFDA")
    with write_transaction(story.house.engine) as conn:
        row = tables.agency_requests.c.id == request.id
        conn.execute(tables.agency_requests.update().where(row).values(mapping_sha256="f" * 64))
    page = officer.get(f"/console/applications/{request.number}").text
    assert "It is drawn by those in force" in page
    assert "Food class" in page


def test_the_history_tells_of_a_delivery_that_failed(engine):
    story = Story(engine)
    console = Console(story.house.hub)
    console.add_account("kim", ("agency", "KFDA"), "head")
    kim = console.enter("kim")
    story.say("KFDA", *[unreachable()] * 4)
    story.submit()
    story.tick()
    path = f"/console/applications/{story.request('KFDA').number}"
    assert "Nothing has happened yet." in kim.get(path).text
    for _ in range(4):
        story.tick(minutes=2)
    page = kim.get(path).text
    assert '<span class="state bad">Not delivered</span></h1>' in page
    assert "Could not be delivered to this agency" in page
    failed = story.delivery(destination="KFDA", state="FAILED").id
    with write_transaction(engine) as conn:
        operator_actions.requeue_delivery(conn, failed, story.clock(), "root", "it is back")
    assert "Sent to this agency once more" in kim.get(path).text
    story.tick(seconds=1)
    story.hear("KFDA", Notice("G1", story.clock(), "G01", ()))
    assert '<span class="state bad">Cancelled</span></h1>' in kim.get(path).text


def test_a_long_list_goes_on_and_a_number_of_several_is_a_list(officer, story, monkeypatch):
    monkeypatch.setattr("gateway.web.console.work.work_pages._PAGE", 2)
    story.hear("KFDA", story.notice("KFDA"))
    for change in (all_of(add_item(4, 2), concern("A2", 4, 2)), reference("HB-3"), reference("HB-4")):
        story.submit(story.submission(all_of(reference("HB-2"), change)))
        story.tick()
    page = officer.get("/console/work").text
    assert '<span class="hint">and 1 more item</span>' in page
    next_page = re.search(r'<a href="([^"]+)">Next page</a>', page)
    assert next_page is not None
    assert '<a href="/console/work">To the beginning</a>' in officer.get(unescape(next_page[1])).text
    same_document = replace(story.notice("KFDA"), number="KFDA-N2")
    answer = AgencyCallback(same_document, story.request("KFDA").number)
    apply_call_back(story.hub, "KFDA", answer)
    page = officer.get("/console/work?q=KFDA-P-N1").text
    assert "Applications under KFDA-P-N1" in page
    officer.post("/console/language", language="ko")
    assert ">식품등의 수입신고서</option>" in officer.get("/console/work").text


@pytest.mark.long
def test_earlier_applications_of_the_applicant_for_such_goods_are_listed(officer, story):
    first = story.request("KFDA").number
    officer.get("/console/work")
    story.submit(story.submission(reference("HB-2")))
    story.tick()
    page = officer.get(f"/console/applications/{story.request('KFDA').number}").text
    assert f'href="/console/applications/{first}"' in page


@pytest.mark.parametrize("due_at", [datetime.min, datetime(999, 12, 31, 23, 59), datetime.max])
def test_a_list_goes_on_behind_a_deadline_of_any_year(due_at: datetime) -> None:
    row: Any = SimpleNamespace(id=7, due_at=due_at.replace(tzinfo=UTC))
    place = format_work_cursor(row, WorkFilter("KFDA", WorkTab.NEW, 1, row.due_at, order="due"))
    assert _read_work_cursor(place) == WorkCursor(7, row.due_at)


@pytest.mark.long
@pytest.mark.parametrize(
    "query",
    [
        "tab=x&order=y&after=z&hs=..&law='&document=%1f",
        "tab=decided&hs=19",
        "after=1~20261120T000000.000000&order=due",
        "after=99999999999999999999",
        "after=1~no",
    ],
)
def test_a_strange_url_is_a_list_too(console: Console, query: str) -> None:
    console.add_account("kim", ("agency", "KFDA"), "officer")
    kim = console.sign_in("kim")
    assert kim.get(f"/console/work?{query}").status_code == 200


@pytest.mark.long
def test_a_strange_number_is_no_application(console: Console) -> None:
    console.add_account("kim", ("agency", "KFDA"), "head")
    kim = console.sign_in("kim")
    assert "This agency has no application under" in kim.get("/console/work?q=%01x").text
    refused = kim.get("/console/work?q=%00x")
    assert (refused.status_code, "U+0000" in refused.text) == (400, True)
    for path in ("", "/acts/decide", "/proposal", "/files/1"):
        assert kim.get(f"/console/applications/%00{path}").status_code == 404
    assert kim.post("/console/work/claims", claim="take \0 1").status_code == 400
    assert kim.post("/console/work/batch", number="\0").status_code == 400


@pytest.mark.parametrize(
    ("name", "media_type", "content"),
    [
        ("../../evil.html", "text/html", b"<script>fetch('/console/work')</script>"),
        ('a"; filename="b.svg', "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>"),
        ("‮gpj.exe", "application/x-msdownload", b"MZ\x00"),
        ("...", "a/b", b""),
    ],
)
def test_a_hostile_file_is_a_harmless_download(officer, story, name, media_type, content):
    request = story.request("KFDA")
    with write_transaction(story.house.engine) as conn:
        root = etree.fromstring(payloads.get_payload_octets(conn, request.document_sha256))
        file = next(one for one in root.iter("{*}Attachment") if one.get("mediaType"))
        file.set("cid", name)
        file.set("mediaType", media_type)
        file.text = b64encode(content).decode()
        digest = payloads.store_payload(conn, etree.tostring(root), story.clock())
        row = tables.agency_requests.c.id == request.id
        conn.execute(tables.agency_requests.update().where(row).values(document_sha256=digest))
    page = officer.get(f"/console/applications/{request.number}").text
    assert "<script>fetch" not in page
    assert "<svg" not in page
    answer = officer.get(f"/console/applications/{request.number}/files/1")
    assert answer.data == content
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert re.fullmatch(
        r'attachment; filename="?[A-Za-z0-9._-]+\.bin"?', answer.headers["Content-Disposition"]
    )
