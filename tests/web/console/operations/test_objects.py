"""What operators find: any number, id or text they are told; octets only as downloads; what a problem is."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from gateway.cases import NamedFee, Notice, ProviderEvent, read_money
from gateway.cli import main
from gateway.config import NeedSettings
from gateway.evidence import encode_leaf, hash_leaf, list_subject_leaves
from gateway.hub import apply_provider_event
from gateway.store import (
    RefusalCount,
    StateEvent,
    fee_searches,
    fees,
    messages,
    parties,
    read_transaction,
    refusal_counts,
    write_transaction,
)
from gateway.store.transitions import evidence
from tests.flows.craft import all_of, reference, without
from tests.flows.test_told_orders import write_settings
from tests.kit.audited import list_actions
from tests.kit.console import Browser, Console
from tests.kit.sent_fragments import SplitStory
from tests.kit.story import Story, unreachable
from tests.web.console.test_following import submit_for_trader

MARKUP = "<script>alert(1)</script>"


def find(operator: Browser, text: str) -> str:
    page = operator.get("/console/operations/search", query_string={"q": text})
    assert page.status_code == 200
    return page.text


def story_messages(story: Story) -> list[Any]:
    with read_transaction(story.house.engine) as conn:
        return list(messages.list_messages(conn, direction="in"))


@pytest.mark.long
def test_a_refusal_is_found_by_its_words_and_shown_as_text(console: Console, operator: Browser) -> None:
    with write_transaction(console.services.engine) as conn:
        now = console.services.clock()
        counted = RefusalCount("broker1", "GW102", 7, now, now, f"the reference {MARKUP} is none")
        refusal_counts.add_refusals(conn, [counted])
    for page in (find(operator, "is none"), operator.get("/console/operations/problems/GW102").text):
        assert "&lt;script&gt;" in page
        assert MARKUP not in page


@pytest.mark.long
def test_octets_are_only_downloaded(story: Story, operator: Browser) -> None:
    story.submit()
    (stored, *_) = story_messages(story)
    for name, part in (("octets", b"MIME"), ("answer", b"HTTP/1.1 200 OK"), ("parts/2", b"%PDF")):
        answer = operator.get(f"/console/operations/messages/{stored.id}/{name}")
        assert answer.status_code == 200
        assert part.lower() in answer.data.lower(), name
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Type"] == "application/octet-stream"
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for path in ("99/octets", "99/answer", f"{stored.id}/parts/9", "99"):
        assert operator.get(f"/console/operations/messages/{path}").status_code == 404


@pytest.mark.long
def test_a_message_is_shown_with_its_signer_and_evidence(story: Story, operator: Browser) -> None:
    story.submit()
    story.tick()
    (stored, *_) = story_messages(story)
    page = operator.get(f"/console/operations/messages/{stored.id}").text
    for words in (stored.message_id, stored.signer_sha256, "CN=broker1", "NRO", "korean-label@sample"):
        assert words in page, words


#: What somebody past the gateway makes of the data of a leaf; the last one is data of another leaf.
ODD_DATA = ("no JSON", "[1]", "7", "null", "[" * 9999, '{"x":"\\ud800"}', '{"admitted":1,"properties":1}')


@pytest.mark.parametrize("data", ODD_DATA)
def test_a_broken_leaf_is_shown_as_broken_beside_all_others(
    story: Story, operator: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str
) -> None:
    story.submit()
    story.tick()
    (stored, *_) = story_messages(story)
    case = story.case()
    with write_transaction(story.house.engine) as conn:
        broken = [
            next(leaf for leaf in list_subject_leaves(conn, subject, number) if leaf.kind == kind)
            for subject, number, kind in (("message", stored.id, "NRO"), ("case", case.id, "admitted"))
        ]
        ids = [leaf.id for leaf in broken]
        conn.execute(update(evidence).where(evidence.c.id.in_(ids)).values(data=data))
    for path in (f"messages/{stored.id}", f"cases/{case.number}"):
        answer = operator.get(f"/console/operations/{path}")
        assert answer.status_code == 200
        assert "GW805" in answer.text
        assert f"at evidence {ids[1]}" in answer.text
        assert "NRO" in answer.text or "mappings" in answer.text
    home = write_settings(story, tmp_path)
    for words in (("message", "show", str(stored.id)), ("case", "show", case.number)):
        assert main([*words, *home]) == 0
        assert f"at evidence {ids[1]}" in capsys.readouterr().out
        assert main([*words, "--json", *home]) == 0
        shown = json.loads(capsys.readouterr().out)["evidence"]
        assert any(leaf["data"] is None and "GW805" in leaf["problem"] for leaf in shown)
        assert all(leaf["data"] is not None for leaf in shown if leaf["problem"] is None)


def test_a_leaf_with_other_fields_under_its_own_hash_hides_nothing(
    story: Story, operator: Browser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story.submit()
    story.tick()
    (stored, *_) = story_messages(story)
    with write_transaction(story.house.engine) as conn:
        for leaf in conn.execute(evidence.select()).all():
            columns = {**leaf._mapping, "data": '{"admitted":1,"properties":1}'}
            columns["leaf_hash"] = hash_leaf(encode_leaf(columns))
            conn.execute(update(evidence).where(evidence.c.id == leaf.id).values(columns))
    assert operator.get(f"/console/operations/messages/{stored.id}").status_code == 200
    assert operator.get(f"/console/operations/cases/{story.case().number}").status_code == 200
    home = write_settings(story, tmp_path)
    assert main(["message", "show", str(stored.id), *home]) == 0
    assert main(["case", "show", story.case().number, *home]) == 0
    assert "has no readable admission" in capsys.readouterr().out


@pytest.mark.long
def test_a_case_says_who_has_the_next_move(story: Story, operator: Browser) -> None:
    story.submit()
    story.tick()
    page = operator.get(f"/console/operations/cases/{story.case().number}").text
    moves = page[page.index("<h2>Who has the next move") : page.index("<h2>Deliveries")]
    for words in ("KFDA", "decide", "Working time", "2026-12-04"):
        assert words in moves, words


@pytest.mark.long
def test_a_case_is_shown_from_the_first_octet_to_the_last_receipt(story: Story, operator: Browser) -> None:
    story.submit()
    story.tick()
    story.decide_all()
    for _ in range(3):
        story.tick(seconds=30)
    case = story.case()
    page = operator.get(f"/console/operations/cases/{case.number}").text
    trail = page[page.index("Trail") :]
    steps = ("message Submit from broker1", "request ", "SubmitApplication to KPTA", "message ", "to broker1")
    places = [trail.index(words) for words in steps]
    assert places[0] == min(places)
    assert "receipt" in trail or "delivered" in trail
    assert operator.get("/console/operations/cases/NONE").status_code == 404


@pytest.mark.long
def test_a_problem_shows_how_earlier_ones_ended(story: Story, failed: int, operator: Browser) -> None:
    page = operator.get("/console/operations/problems/gw601").text
    assert f"/console/operations/deliveries/{failed}" in page
    assert "FAILED" in page
    operator.get("/console/account")
    act = {"act": "queue requeue", "delivery": failed, "reason": "again"}
    operator.post("/console/operations/act", **act)
    story.tick()
    page = operator.get("/console/operations/problems/GW601").text
    assert "at attempt 5" in page
    assert operator.get("/console/operations/problems/GW999").status_code == 404


@pytest.mark.long
def test_a_list_is_given_as_csv_that_no_spreadsheet_takes_for_formulas(
    console: Console, failed: int, operator: Browser
) -> None:
    operator.get("/console/account")
    act = {"act": "queue requeue", "delivery": failed, "reason": "=1+1"}
    operator.post("/console/operations/act", **act)
    answer = operator.get("/console/operations/audit?format=csv")
    assert answer.mimetype == "text/csv"
    assert "'=1+1" in answer.text
    for name in ("deliveries", "messages", "cases"):
        answer = operator.get(f"/console/operations/{name}?format=csv")
        assert answer.mimetype == "text/csv"
        assert len(answer.text.splitlines()) >= 2, name


def test_a_mistyped_condition_is_said(operator: Browser) -> None:
    for query in ("since=yesterday", "after=abc", "until=2026-13-01"):
        assert operator.get(f"/console/operations/messages?{query}").status_code == 400


@pytest.mark.long
def test_a_long_list_goes_on(story: Story, operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.web.console.operations.object_pages.PAGE", 2)
    story.submit()
    story.tick()
    first = operator.get("/console/operations/audit").text
    assert "Next page" not in first
    for number in range(5):
        operator.get("/console/account")
        verb = "party suspend" if number % 2 == 0 else "party resume"
        operator.post("/console/operations/act", act=verb, party="broker1", reason=f"turn {number}")
    page = operator.get("/console/operations/audit").text
    assert "Next page" in page
    assert "turn 4" in page
    assert "turn 1" not in page


@pytest.mark.story("an operator ends a fee")
@pytest.mark.parametrize(("act", "state"), [("fees waive", "CANCELLED"), ("fees settle", "CONFIRMED")])
def test_an_operator_ends_a_fee_with_a_reason(
    story: Story, console: Console, operator: Browser, act: str, state: str
) -> None:
    story.submit()
    story.tick()
    story.hear("KFDA", Notice("KFDA-Y", story.clock(), "Y05", fee=NamedFee(read_money("30000", "KRW"))))
    number = f"{story.number_of('KFDA')}-F01"
    case = f"/console/operations/cases/{story.case().number}"
    assert f"act={act.replace(' ', '%20')}&amp;fee={number}" in operator.get(case).text
    asked = operator.get(f"/console/operations/act?act={act.replace(' ', '+')}&fee={number}").text
    assert number in asked
    assert story.case().number in asked
    refused = operator.post("/console/operations/act", act=act, fee=number, reason="")
    assert refused.status_code == 422
    operator.post("/console/operations/act", act=act, fee=number, reason="agreed with KFDA")
    with read_transaction(story.house.engine) as conn:
        row = list_actions(conn)[0]
        assert [one.state for one in fee_searches.list_by_case(conn, story.case().id)] == [state]
    assert (row.action, row.object, row.reason) == (act, f"fee {number}", "agreed with KFDA")
    assert act.replace(" ", "%20") not in operator.get(case).text
    again = operator.post("/console/operations/act", act=act, fee=number, reason="again")
    assert (again.status_code, "GW705" in again.text) == (409, True)
    nothing = operator.post("/console/operations/act", act=act, fee="A-F01", reason="again")
    assert (nothing.status_code, "GW808" in nothing.text) == (409, True)


@pytest.mark.long
def test_a_case_shows_its_fees(story: Story, operator: Browser) -> None:
    story.submit()
    story.tick()
    story.hear("KFDA", Notice("KFDA-Y", story.clock(), "Y05", fee=NamedFee(read_money("30000", "KRW"))))
    with write_transaction(story.house.engine) as conn:
        (row,) = fee_searches.list_by_case(conn, story.case().id)
        fees.apply_event(
            conn, row.id, StateEvent("order", story.clock(), "test"), address="https://pay.example/1"
        )
    paid = ProviderEvent("paid", row.number, "P-1", read_money("30000", "KRW"), story.clock())
    assert apply_provider_event(story.hub, paid) == "counted"
    page = operator.get(f"/console/operations/cases/{story.case().number}").text
    for words in (row.number, "30000 KRW", "https://pay.example/1", "payment P-1: 30000 KRW"):
        assert words in page, words


def test_a_case_names_its_agent_and_what_it_is_held_for(story: Story, operator: Browser) -> None:
    case = submit_for_trader(story)
    page = operator.get(f"/console/operations/cases/{case.number}").text
    assert "<dd>trader (6N001)</dd>" in page
    story.hub.need_policy = NeedSettings(imports="hold", hold_time=timedelta(hours=48))
    story.submit(story.submission(all_of(reference("HB-2"), without("Application[@id='A3']"))))
    story.tick()
    held = story.case().number
    page = operator.get(f"/console/operations/cases/{held}").text
    assert '<a href="/console/operations/problems/GW508">GW508</a> <span lang="en">item 3' in page
    moves = page[page.index("<h2>Who has the next move") :]
    line = moves[moves.index("<tbody>") : moves.index("</tr>", moves.index("<tbody>"))]
    assert f'class="number">{held}</th>' in line
    assert 'applicant: <span lang="en">file</span>' in line


def test_a_delivery_is_shown_before_and_during_an_attempt(story: Story, operator: Browser) -> None:
    story.say("KPTA", unreachable())
    story.submit()
    (first, *_) = story.deliveries()
    assert "There was no attempt yet." in operator.get(f"/console/operations/deliveries/{first.id}").text
    story.tick()
    lane = operator.get("/console/operations/lanes/KPTA").text
    assert "<dd>1 (Oldest: <time" in lane
    story.clock.forward(minutes=5)
    assert story.new_worker("w2")._claim_deliveries()
    call = story.delivery(destination="KPTA").id
    page = operator.get(f"/console/operations/deliveries/{call}").text
    assert '<span lang="en">under way</span>' in page
    story.submit(b"<wrong/>", attach=False)
    story.tick()
    (notice, *_) = story.deliveries(agent="msh")
    page = operator.get(f"/console/operations/deliveries/{notice.id}").text
    assert "<dt>Given up at</dt><dd><time" in page


def test_who_is_no_party_and_who_is_suspended_is_said(story: Story, operator: Browser) -> None:
    story.register("trader", "7T001")
    story.mandate("broker1", "trader")
    with write_transaction(story.house.engine) as conn:
        now = story.clock()
        refusal_counts.add_refusals(conn, [RefusalCount("", "GW102", 7, now, now, "wrong words")])
        parties.set_party_status(conn, "broker1", "SUSPENDED")
    for page in (
        operator.get("/console/operations").text,
        operator.get("/console/operations/problems/GW102").text,
        find(operator, "wrong words"),
    ):
        assert '<th scope="row">not a party</th>' in page
    assert 'Broker1 (broker1)</a> <span class="state bad">✗ SUSPENDED</span>' in find(operator, "broker1")
    page = operator.get("/console/operations/parties/broker1").text
    assert "<li>broker1 → trader</li>" in page


def test_a_message_in_fragments_is_shown_with_its_group(engine: Engine, tmp_path: Path) -> None:
    story = SplitStory(engine, tmp_path)
    console = Console(story.house.hub)
    console.add_account("kim", ("operator", "operator"), "observer")
    story.file()
    for _ in range(3):
        story.tick(seconds=1)
    kim, group = console.enter("kim"), story.group()
    whole = kim.get(f"/console/operations/messages/{group.message}").text
    assert f"<dt>GroupId</dt><dd><code>{story.whole().wire_id}</code>" in whole
    assert f"{group.count}/{group.count} {group.state}" in whole
