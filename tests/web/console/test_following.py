"""A party follows its cases: list, timeline, documents with their signatures, and nobody else's."""

from __future__ import annotations

import io
import json
import re
import unicodedata
import zipfile
from datetime import date, timedelta
from html import unescape

import pytest

from gateway.cases import DecisionCode, NamedFee, Notice, ProviderEvent, read_money
from gateway.config import NeedSettings
from gateway.evidence import TimeStampAuthorities, tree_heads, verify_proof
from gateway.hub import apply_provider_event
from gateway.hub.fees.payment_policy import PaymentPolicy
from gateway.store import (
    CaseRow,
    StateEvent,
    case_searches,
    fee_searches,
    fees,
    messages,
    read_transaction,
    write_transaction,
)
from gateway.web.console.following.case_signatures import list_agency_statements
from tests.flows.craft import all_of, reference, text, with_agent, without
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.releases import cancel_above, release
from tests.kit.story import Story, asked

PARTY = ("party", "broker1")


@pytest.fixture
def broker(console: Console) -> Browser:
    console.add_account("han", PARTY, "filer")
    return console.sign_in("han")


def seal(story: Story) -> None:
    """Store a signed head over all evidence, as the hub does every minute."""
    with write_transaction(story.house.engine) as conn:
        head = tree_heads.make_next_head(conn, "hub", story.clock())
        assert head is not None
        assert tree_heads.store_head(conn, head.add_signature(story.hub.signer))


def submit(story: Story) -> str:
    story.submit()
    story.tick()
    return str(story.case().number)


@pytest.mark.long
@BOTH
def test_the_list_says_what_each_case_waits_for(story: Story, broker: Browser) -> None:
    number = submit(story)
    page = broker.get("/console/cases").text
    assert number in page
    assert "HB2026-000123" in page
    assert "Korea Food &amp; Drug Administration: decision" in page
    story.hear("KFDA", asked(story, "KFDA", "Q1", deadline=story.clock() + timedelta(days=3)))
    page = broker.get("/console/cases").text
    assert "You: answer the question of Korea Food &amp; Drug Administration" in page
    story.decide_all()
    story.tick()
    assert "✓</span> Approved" in broker.get("/console/cases?state=ended").text


@pytest.mark.long
def test_the_list_is_filtered_by_its_url(story: Story, broker: Browser) -> None:
    number = submit(story)
    for query, found in {
        "state=open": True,
        "state=ended": False,
        "reference=HB2026-000123": True,
        "reference=HB2026": False,
        "reference=AKE26714KE": True,
        "reference=NEG2611870": True,
        "reference=26KE0926I1200010001": True,
        "reference=HB-PO-2026-311": True,
        "reference=HB-PO-2026": False,
        "text=000123": True,
        "text=nothing": False,
        "text=%25": False,
        "agency=KFDA": True,
        "agency=EMC": False,
        "since=2026-11-20&until=2026-11-20": True,
        "since=2026-11-21": False,
        "until=2026-11-19": False,
        "since=nonsense&after=x": True,
        "after=1": False,
    }.items():
        answer = broker.get(f"/console/cases?{query}")
        assert answer.status_code == 200
        assert (f"/console/cases/{number}" in answer.text) is found, query
        assert (number in broker.get(f"/console/cases?{query}&format=csv").text) is found, query


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_reference_is_found_however_its_letters_are_composed(
    story: Story, broker: Browser, form: str
) -> None:
    story.submit(story.submission(reference("주문-é")))
    story.tick()
    number = story.case().number
    for name in ("reference", "text"):
        page = broker.get(f"/console/cases?{name}={unicodedata.normalize(form, '주문-é')}").text
        assert f"/console/cases/{number}" in page, name


@pytest.mark.long
def test_a_case_number_is_found_however_it_is_written(story: Story, broker: Browser) -> None:
    number = submit(story)
    written = number.lower().replace("-", " ")
    assert f"/console/cases/{number}" in broker.get(f"/console/cases?reference={written}").text


@pytest.mark.refusal("a trader asks for a case of another")
def test_nobody_sees_the_cases_of_another(story: Story, console: Console, broker: Browser) -> None:
    number = submit(story)
    story.register("other", "9X999")
    console.add_account("lee", ("party", "other"), "manager")
    console.add_account("kim", ("agency", "KFDA"), "head")
    stranger, officer = console.sign_in("lee"), console.sign_in("kim")
    assert number not in stranger.get("/console/cases").text
    with read_transaction(story.house.engine) as conn:
        message = messages.list_messages(conn, limit=1)[0].id
    for path in ("", "/evidence", "/statements/1", f"/messages/{message}/document"):
        assert stranger.get(f"/console/cases/{number}{path}").status_code == 404
        assert officer.get(f"/console/cases/{number}{path}").status_code == 403
    assert broker.get(f"/console/cases/{number}/messages/999/document").status_code == 404


def submit_for_trader(story: Story) -> CaseRow:
    """Let broker1 file as the agent of a trader; return the case."""
    story.register("trader", "7T001")
    story.mandate("broker1", "trader")
    change = all_of(with_agent("6N001"), text(".//Declaration/Declarant/ID", "7T001"), reference("TRADER-1"))
    story.submit(story.submission(change))
    story.tick()
    return story.case()


def test_a_number_of_an_own_case_opens_nothing_of_another_case(story: Story, console: Console) -> None:
    """Who may read a case, reads its messages and statements, and not what has another number."""
    foreign_case = submit(story)
    with read_transaction(story.house.engine) as conn:
        foreign_messages = messages.list_messages(conn, case_id=story.case().id)
        (foreign_statement,) = list_agency_statements(conn, story.request("KPTA").id)
    case = submit_for_trader(story)
    with read_transaction(story.house.engine) as conn:
        own_messages = messages.list_messages(conn, case_id=case.id)
        (own_statement,) = list_agency_statements(conn, story.request("KPTA").id)
    console.add_account("kwon", ("party", "trader"), "filer")
    trader = console.enter("kwon")
    path = f"/console/cases/{case.number}"
    assert trader.get(f"/console/cases/{foreign_case}").status_code == 404
    assert own_messages
    assert foreign_messages
    for part in ("document", "message"):
        assert {trader.get(f"{path}/messages/{row.id}/{part}").status_code for row in own_messages} == {200}
        assert {trader.get(f"{path}/messages/{row.id}/{part}").status_code for row in foreign_messages} == {
            404
        }
    assert trader.get(f"{path}/statements/{own_statement.leaf}").status_code == 200
    assert trader.get(f"{path}/statements/{foreign_statement.leaf}").status_code == 404


def test_only_what_an_organisation_sent_itself_is_copied_into_a_draft(story: Story, console: Console) -> None:
    """Not what another one sent, for it either, and not what it received."""
    submit_for_trader(story)
    story.decide_all()
    story.tick()
    with read_transaction(story.house.engine) as conn:
        rows = messages.list_messages(conn)
    for name, party in (("han", "broker1"), ("kwon", "trader")):
        console.add_account(name, ("party", party), "filer")
        person = console.enter(name)
        person.get("/console/submissions")
        for row in rows:
            is_own = (row.direction, row.from_party) == ("in", party)
            copied = person.post(f"/console/submissions/earlier/{row.id}")
            assert copied.status_code == (302 if is_own else 404)
    assert {row.direction for row in rows} == {"in", "out"}


@pytest.mark.long
def test_declarant_and_sender_both_see_a_case(story: Story, console: Console) -> None:
    case = submit_for_trader(story)
    assert (case.declarant, case.applicant) == ("trader", "broker1")
    for name, party in (("han", "broker1"), ("kwon", "trader")):
        console.add_account(name, ("party", party), "viewer")
        page = console.sign_in(name).get(f"/console/cases/{case.number}")
        assert page.status_code == 200
        assert "trader" in page.text


@pytest.mark.story("a trader follows a case from filing to result")
def test_the_page_of_a_case_tells_its_story(story: Story, broker: Browser) -> None:
    number = submit(story)
    question = asked(
        story,
        "KFDA",
        "Q1",
        text="Which label?\n라벨 <b>",
        pointers=("42A/67A/68A[2]/23A/137",),
        deadline=story.clock() + timedelta(days=3),
    )
    story.hear("KFDA", question)
    page = broker.get(f"/console/cases/{number}").text
    assert "You: answer the question of" in page
    assert "Which label?\n라벨 &lt;b&gt;" in page
    assert "Deadline" in page
    assert "42A/67A/68A[2]/23A/137" in page
    story.tick()
    story.decide("KPTA")
    story.decide("NPQS", DecisionCode.REJECTED)
    story.decide("KFDA", number="N2")
    story.tick()
    page = broker.get(f"/console/cases/{number}").text
    assert "Approved in part" in page
    assert "NPQS-P-N1" in page
    assert "The last agency has decided." in page
    assert "Signature valid" in page
    assert "A notice was issued. National Plant Quarantine Service, Decided." in page
    assert "Notice: Korea Food &amp; Drug Administration, Information is asked for" in page


@pytest.mark.long
def test_a_refused_submission_says_meaning_and_remedy(story: Story, broker: Browser) -> None:
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    page = broker.get(f"/console/cases/{story.case().number}").text
    assert "Not accepted" in page
    assert "What to do" in page
    assert "GW" in page


@pytest.mark.long
def test_files_are_given_octet_for_octet_and_never_shown(story: Story, broker: Browser) -> None:
    number = submit(story)
    story.decide_all()
    story.tick()
    with read_transaction(story.house.engine) as conn:
        stored = messages.list_messages(conn, case_id=story.case().id)
        came = next(row for row in stored if row.direction == "in")
        told = next(row for row in stored if row.action == "Result")
        parts = messages.load_payloads(conn, came.id)
        receipt = messages.find_response(conn, came.id)
        result = messages.load_payloads(conn, told.id)[0].content
    assert receipt is not None
    for path, content in (
        (f"messages/{came.id}/document", parts[0].content),
        (f"messages/{came.id}/1", parts[1].content),
        (f"messages/{came.id}/receipt", receipt.body),
        (f"messages/{told.id}/document", result),
    ):
        answer = broker.get(f"/console/cases/{number}/{path}")
        assert answer.data == content
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in (f"messages/{came.id}/0", f"messages/{came.id}/9", f"messages/{told.id}/receipt"):
        assert broker.get(f"/console/cases/{number}/{path}").status_code == 404


@pytest.mark.long
def test_the_evidence_bundle_proves_the_case(story: Story, broker: Browser) -> None:
    number = submit(story)
    early = zipfile.ZipFile(io.BytesIO(broker.get(f"/console/cases/{number}/evidence").data))
    told = early.read("README.txt").decode()
    assert "Not yet sealed, fetch the bundle again later:\ncase\n" in told
    assert "GW805" not in told
    story.decide_all()
    story.tick()
    seal(story)
    answer = broker.get(f"/console/cases/{number}/evidence")
    bundle = zipfile.ZipFile(io.BytesIO(answer.data))
    names = bundle.namelist()
    assert any(name.endswith("/receipt.xml") for name in names)
    proof = json.loads(bundle.read("proofs/case.json"))
    found = verify_proof(proof, TimeStampAuthorities())
    assert {leaf["kind"] for leaf in found.leaves} >= {"admitted", "decided"}
    assert "Not yet sealed" not in bundle.read("README.txt").decode()


@pytest.mark.long
def test_a_party_sees_how_it_has_done(story: Story, console: Console, broker: Browser) -> None:
    assert "No case had an outcome" in broker.get("/console/cases/statistics").text
    submit(story)
    story.hear("KFDA", asked(story, "KFDA", "Q1"))
    story.tick(hours=30)
    story.decide_all()
    story.tick()
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    for _ in range(6):
        story.hub.statistics.count_new_steps()
    broker = console.sign_in("han")
    page = broker.get("/console/cases/statistics").text
    for words in (
        "<dt>Right the first time</dt><dd>0 %",
        "<svg",
        "Complete up to",
        "Information is asked for",
        # What took a moment did not take no time at all.
        '<td class="amount">&lt; 0.1</td>',
    ):
        assert words in page
    written = broker.get("/console/cases/statistics?format=csv").text
    assert "case_outcome,2026-11-21,,IMA,,APPROVED,,1" in written
    story.register("other", "9X999")
    console.add_account("lee", ("party", "other"), "viewer")
    assert "No case had an outcome" in console.sign_in("lee").get("/console/cases/statistics").text


def test_days_in_the_wrong_order_are_refused(broker: Browser) -> None:
    wrong = broker.get("/console/cases/statistics?since=2026-11-20&until=2026-01-01")
    assert wrong.status_code == 400
    assert 'href="/console/cases/statistics"' in wrong.text
    assert "without these conditions" in wrong.text
    assert broker.get("/console/cases/statistics?since=x&until=2026-01-01").status_code == 200


@pytest.mark.long
def test_a_fee_is_shown_with_the_address_where_it_is_paid(story: Story, broker: Browser) -> None:
    number = submit(story)
    story.hub.payments = PaymentPolicy(True, {}, b"")
    story.hear("KFDA", Notice("KFDA-Y", story.clock(), "Y05", fee=NamedFee(read_money("30000", "KRW"))))
    page = broker.get(f"/console/cases/{number}").text
    assert "To be paid" in page
    assert "30000 KRW" in page
    assert "Pay the fee" not in page
    address = "https://pay.example/?a=1&b=<2>"
    with write_transaction(story.house.engine) as conn:
        (row,) = fee_searches.list_by_case(conn, story.case().id)
        fees.apply_event(conn, row.id, StateEvent("order", story.clock(), "test"), address=address)
    page = broker.get(f"/console/cases/{number}").text
    assert 'href="https://pay.example/?a=1&amp;b=&lt;2&gt;">Pay the fee' in page
    paid = ProviderEvent("paid", row.number, "P-1", read_money("30000", "KRW"), story.clock())
    assert apply_provider_event(story.hub, paid) == "counted"
    page = broker.get(f"/console/cases/{number}").text
    assert "Pay the fee" not in page
    assert "✓</span> Paid" in page


@pytest.mark.long
def test_what_has_left_what_stays_and_what_was_removed_is_shown(story: Story, broker: Browser) -> None:
    parent, child = release(story)
    page = broker.get(f"/console/cases/{parent}").text
    assert f'left by case <a href="/console/cases/{child}">' in page
    assert "Item 1: 400 KGM stay" in page
    assert "Item 2 was removed from the declaration (an agency had refused it): 17" in page
    page = broker.get(f"/console/cases/{child}").text
    assert f'taken from case <a href="/console/cases/{parent}">' in page
    assert f'decided in case <a href="/console/cases/{parent}">' in page


@pytest.mark.long
def test_a_child_shows_that_an_agency_has_cancelled_the_application_of_its_parent(
    story: Story, broker: Browser
) -> None:
    parent, child = release(story)
    cancelled = cancel_above(story, parent, "KPTA")
    page = broker.get(f"/console/cases/{child}").text
    words = "Item 1: not approved any more: KPTA has cancelled its application in case"
    assert f'{words} <a href="/console/cases/{parent}">{parent}</a> ({cancelled})' in page
    assert "not approved any more" not in broker.get(f"/console/cases/{parent}").text


@pytest.mark.long
def test_a_decision_of_a_cancelled_application_does_not_count(story: Story, broker: Browser) -> None:
    number = submit(story)
    story.decide("KFDA")
    story.hear("KFDA", Notice("KFDA-G01", story.clock(), "G01", ()))
    page = broker.get(f"/console/cases/{number}").text
    assert "<s>Approved</s> does not count: the application is cancelled" in page


def test_what_came_too_late_or_too_early_is_said_to_both_sides(
    story: Story, console: Console, broker: Browser
) -> None:
    """A notice that another one overrules, one ahead of the clock, and a fee that nobody paid in time."""
    number, at = submit(story), story.clock()
    story.decide("KFDA", DecisionCode.REJECTED, number="10", at=at)
    story.decide("KFDA", number="9", at=at)
    story.decide("KPTA", at=at + timedelta(hours=9))
    fee = NamedFee(read_money("30000", "KRW"), date(2026, 11, 30), "F1")
    story.hear("NPQS", Notice("F1", at, "Y05", fee=fee))
    story.tick(seconds=15 * 86400)
    story.tick(seconds=1)
    page = console.enter("han").get(f"/console/cases/{number}").text
    for words in (
        "had no effect: notice KFDA-10 counted already",
        "<s>Approved</s> never counted: notice KFDA-10 counts",
        "which was ahead of the clock",
        "The deadline has passed",
        "(not in time), payment notice F1",
    ):
        assert page.count(words) == 1, words
    for agency, words in (
        ("KFDA", "<br>had no effect: notice KFDA-10 counted already"),
        ("KPTA", '<br>states <time datetime="2026-11-21T03:00:00+09:00">'),
    ):
        console.add_account(f"of {agency}", ("agency", agency), "officer")
        officer = console.enter(f"of {agency}")
        assert words in officer.get(f"/console/applications/{story.request(agency).number}").text


def test_a_held_case_says_until_when(story: Story, broker: Browser) -> None:
    story.hub.need_policy = NeedSettings(imports="hold", hold_time=timedelta(hours=48))
    story.submit(story.submission(without("Application[@id='A3']")))
    story.tick()
    page = broker.get(f"/console/cases/{story.case().number}").text
    assert '<dt>Held until</dt><dd><time datetime="2026-11-22T18:00:00+09:00">' in page


def test_a_long_list_goes_on(story: Story, broker: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.web.console.following.case_pages._PAGE", 1)
    first = submit(story)
    story.submit(story.submission(reference("HB-2")))
    story.tick()
    page = broker.get("/console/cases").text
    older = re.search(r'<a href="([^"]+)" rel="next">Older cases</a>', page)
    assert older is not None
    assert f"/console/cases/{first}" not in page
    page = broker.get(unescape(older[1])).text
    assert f"/console/cases/{first}" in page
    assert ">Newest</a>" in page
    for name in ("_PORTION", "_MOST_PORTIONS"):
        monkeypatch.setattr(case_searches, name, 1)
    page = broker.get("/console/cases?text=nothing").text
    assert "No case found yet." in page
    assert "Older cases have not been searched yet." in page
