"""The public status page: what operators announce, and who is away, with nothing else about them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.exc import OperationalError

from gateway.errors import (
    ATTEMPTS_USED_UP,
    DOCUMENT_INVALID,
    KEY_UNAVAILABLE,
    NO_ROOM,
    REFUSED_FOR_GOOD,
    GatewayError,
)
from gateway.hub import readiness_checks
from gateway.hub.completion import operator_actions
from gateway.monitor import health
from gateway.operations import EndingReport, read_endings
from gateway.store import deliveries, read_transaction, write_transaction
from gateway.web import hub_readiness
from gateway.web.console.operations import operations_pages, status_pages
from tests.flows.craft import reference
from tests.kit.audited import list_actions
from tests.kit.console import Browser, Console
from tests.kit.house import START
from tests.kit.story import Story, unreachable

AGENCIES = {"agency": {"KPTA": {"endpoint": "https://kpta.example/secret-path"}}}
NOTICE = {
    "kind": "incident",
    "title_en": "Slow answers",
    "title_ko": "회신 지연",
    "text_en": "Two agencies\nanswer late.",
    "text_ko": "두 기관의 회신이 늦습니다.",
    "starts_at": "2026-11-20T08:00",
    "ends_at": "",
}


@pytest.fixture(autouse=True)
def keep_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_readiness, "_KEPT_SECONDS", 0.0)


@pytest.fixture
def console(story: Story) -> Console:
    return Console(story.house.hub, **AGENCIES)


def read_status(console: Console, language: str = "en") -> str:
    console.services.clock.forward(seconds=1)  # type: ignore[attr-defined]
    answer = console.visit().get("/console/status", headers={"Accept-Language": language})
    assert answer.status_code == 200
    return answer.text


def publish(operator: Browser, **changes: str) -> Any:
    operator.get("/console/operations/status")
    return operator.post("/console/operations/status", **(NOTICE | changes))


@pytest.mark.long
def test_an_incident_is_published_and_ended(console: Console, operator: Browser) -> None:
    assert "No incident is known" in read_status(console)
    assert publish(operator).status_code == 302
    page = read_status(console)
    assert "Slow answers" in page
    assert "No incident is known" not in page
    assert "회신 지연" in read_status(console, "ko")
    assert "Slow answers" not in read_status(console, "ko")
    operator.get("/console/operations/status")
    assert operator.post("/console/operations/status/1/end").status_code == 302
    page = read_status(console)
    assert "No incident is known" in page
    assert "Ended in the last 7 days" in page
    with read_transaction(console.services.engine) as conn:
        told = [row.action for row in list_actions(conn, role="operator")]
    assert told == ["status end", "status publish"]


@pytest.mark.long
def test_a_planned_interruption_is_told_before_it_begins(console: Console, operator: Browser) -> None:
    times = {"starts_at": "2026-11-30T22:00", "ends_at": "2026-11-30T23:00"}
    assert publish(operator, kind="planned", **times).status_code == 302
    page = read_status(console)
    assert "No incident is known" in page
    assert page.index("Planned") < page.index("Slow answers")


def test_operators_read_every_notice_in_their_language(console: Console, operator: Browser) -> None:
    times = {"starts_at": "2026-11-30T22:00", "ends_at": "2026-11-30T23:00"}
    assert publish(operator).status_code == 302
    assert publish(operator, kind="planned", title_ko="정기 점검", **times).status_code == 302
    assert operator.post("/console/operations/status/1/end").status_code == 302
    page = operator.get("/console/operations/status").text
    assert "<h2>Ended in the last 30 days</h2>" in page
    assert "<td>Planned interruption</td>" in page
    operator.post("/console/language", language="ko")
    page = operator.get("/console/operations/status").text
    assert '<th scope="row">정기 점검</th>' in page
    assert '<th scope="row">회신 지연</th>' in page


def test_the_first_page_of_operators_says_what_is_wrong_and_what_ends(
    console: Console, operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = operator.get("/console/operations").text
    assert "Nothing ends soon." in page
    problem = GatewayError(KEY_UNAVAILABLE, "no answer <b>", "pki")

    def add_endings(*arguments: Any) -> EndingReport:
        report = read_endings(*arguments)
        more = {"problems": (problem,), "warnings": ("a certificate ends <b>",), "reserve_octets": 2**20}
        return replace(report, last_stamp=report.at, **more)

    monkeypatch.setattr(operations_pages, "read_endings", add_endings)
    monkeypatch.setattr(readiness_checks, "find_key_problem", lambda _: problem)
    console.services.clock.forward(minutes=20)  # type: ignore[attr-defined]
    page = operator.get("/console/operations").text
    assert "✗ New messages are not accepted</span>" in page
    assert page.count("no answer &lt;b&gt;") == 2
    assert "a certificate ends &lt;b&gt;" in page
    assert "(reserved: 1.0 MiB)" in page
    assert "<dt>Last time stamp</dt><dd><time" in page


WRONG: list[dict[str, str]] = [
    {"title_ko": ""},
    {"text_en": "x" * 2001},
    {"starts_at": "soon"},
    {"ends_at": "2026-11-20T07:00"},
    {"kind": "rumour"},
]


@pytest.mark.long
def test_a_notice_that_lacks_something_is_not_published(console: Console, operator: Browser) -> None:
    for wrong in WRONG:
        assert publish(operator, **wrong).status_code == 422, wrong
    assert "Slow answers" not in read_status(console)


def test_markup_in_a_notice_is_text(console: Console, operator: Browser) -> None:
    publish(operator, title_en="<img src=x onerror=alert(1)>")
    assert "<img" not in read_status(console)


@pytest.mark.long
@pytest.mark.parametrize("role", ["observer", "administrator"])
def test_only_who_may_publish_publishes(console: Console, role: str) -> None:
    console.add_account("lee", ("operator", "operator"), role)
    lee = console.sign_in("lee")
    assert publish(lee).status_code == 403
    assert "Publish a notice" not in lee.get("/console/operations/status").text


def test_an_agency_that_is_away_is_named_and_nothing_else(story: Story, console: Console) -> None:
    story.say("KPTA", *[unreachable("no route to 198.51.100.7")] * 2)
    story.submit()
    story.tick()
    began = story.clock()
    assert "No incident is known" in read_status(console)
    story.clock.forward(minutes=1)
    page = read_status(console)
    assert "Some agencies are away" in page
    assert "KPTA" in page
    for secret in ("198.51.100.7", "GW601", "secret-path", "broker1", story.case().number):
        assert secret not in page
    seoul = began.astimezone(ZoneInfo("Asia/Seoul"))
    assert f'KPTA: since <time datetime="{seoul.isoformat()}"' in page
    # A further attempt is under way, and hangs.
    assert story.new_worker("w2")._claim_deliveries()
    assert "Some agencies are away" in read_status(console)
    for _ in range(4):
        story.tick(minutes=2)
    assert "No incident is known" in read_status(console)
    with write_transaction(console.services.engine) as conn:
        operator_actions.hold_lane(conn, "KPTA", story.clock(), "kim", "a fire in its centre")
    page = read_status(console)
    assert "KPTA" in page
    assert "fire" not in page
    assert "kim" not in page


@pytest.mark.long
@pytest.mark.parametrize("away", ["the key", "the disk", "the database"])
def test_a_hub_that_takes_no_messages_is_no_hub_without_incident(
    story: Story, console: Console, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    assert "No incident is known" in read_status(console)
    with monkeypatch.context() as changed:
        if away == "the key":
            changed.setattr(readiness_checks, "find_key_problem", lambda _: GatewayError(KEY_UNAVAILABLE))
        elif away == "the disk":
            changed.setattr(health, "find_readiness_problem", lambda _: GatewayError(NO_ROOM))
        else:
            changed.setattr(status_pages, "read_transaction", fail_to_read)
        page = read_status(console)
        assert "New messages are not accepted" in page
        assert "No incident is known" not in page
        assert "GW" not in page
        assert "새 메시지" in read_status(console, "ko")
    assert "No incident is known" in read_status(console)


def fail_to_read(_engine: Any) -> Any:
    raise OperationalError("SELECT", {}, Exception("the server closed the connection"))


@pytest.mark.long
def test_an_agency_whose_calls_are_refused_is_not_in_order(
    story: Story, console: Console, operator: Browser
) -> None:
    story.submit()
    story.tick()
    tally = console.services.hub.tally
    for _ in range(160):
        tally.count_refusal("KPTA", GatewayError(DOCUMENT_INVALID, "secret words"), is_signed=True)
    tally.store_counts()
    page = read_status(console)
    assert "The exchange with some agencies is disturbed" in page
    assert "No incident is known" not in page
    assert "KPTA" in page
    assert "what it sent was refused" in page
    assert "it refused" not in page
    for secret in ("secret words", DOCUMENT_INVALID.id, "160"):
        assert secret not in page
    # What it sends says nothing about the way to it: the lane is in order, and the party has the refusals.
    lane = operator.get("/console/operations/lanes/KPTA").text
    assert "In order" in lane
    assert DOCUMENT_INVALID.id not in lane
    party = operator.get("/console/operations/parties/KPTA").text
    assert DOCUMENT_INVALID.id in party
    assert "secret words" in party
    story.clock.forward(minutes=15)
    assert "No incident is known" in read_status(console)


def test_nobody_disturbs_an_agency_by_its_name_alone(story: Story, console: Console) -> None:
    console.services.hub.tally.count_refusal("KPTA", GatewayError(DOCUMENT_INVALID, "not signed"))
    console.services.hub.tally.store_counts()
    assert "No incident is known" in read_status(console)


@pytest.mark.long
def test_an_agency_that_refuses_calls_is_not_in_order(story: Story, console: Console) -> None:
    story.say("KPTA", *[GatewayError(REFUSED_FOR_GOOD, "no", theirs="fault Client: no")] * 3)
    story.submit()
    story.tick()
    page = read_status(console)
    assert "The exchange with some agencies is disturbed" in page
    assert "it refused what was sent to it" in page
    assert "what it sent" not in page
    story.clock.forward(minutes=15)
    assert "No incident is known" in read_status(console)


def test_an_agency_is_away_until_a_call_succeeds(story: Story, console: Console) -> None:
    story.say("KPTA", *[unreachable("no route")] * 4)
    story.submit()
    for _ in range(5):
        story.tick(minutes=2)
    assert story.delivery(lane="KPTA").problem == ATTEMPTS_USED_UP.id
    began = START + timedelta(minutes=2)
    story.clock.forward(hours=20)
    page = read_status(console)
    assert "Some agencies are away" in page
    assert f'KPTA: since <time datetime="{began.astimezone(ZoneInfo("Asia/Seoul")).isoformat()}"' in page
    # Requeued, it waits again, and nothing has succeeded yet.
    story.operate(deliveries.requeue_delivery, story.delivery(lane="KPTA").id)
    assert "Some agencies are away" in read_status(console)
    story.tick()
    assert "No incident is known" in read_status(console)


def test_an_agency_is_away_no_more_when_another_call_succeeds(story: Story, console: Console) -> None:
    story.say("KPTA", *[unreachable("no route")] * 4)
    story.submit()
    for _ in range(5):
        story.tick(minutes=2)
    assert "Some agencies are away" in read_status(console)
    story.submit(story.submission(reference("B1-2")))
    story.tick()
    assert "No incident is known" in read_status(console)
    assert {row.state for row in story.deliveries(lane="KPTA")} == {"FAILED", "DELIVERED"}


def test_an_operator_gives_up_what_an_agency_did_not_take(story: Story, console: Console) -> None:
    story.say("KPTA", *[unreachable("no route")] * 4)
    story.submit()
    for _ in range(5):
        story.tick(minutes=2)
    story.operate(deliveries.give_up_delivery, story.delivery(lane="KPTA").id)
    assert "No incident is known" in read_status(console)


def test_a_fault_of_the_hub_is_not_told_as_one_of_the_agency(story: Story, console: Console) -> None:
    story.say("KPTA", *[GatewayError(KEY_UNAVAILABLE, "the token is away")] * 9)
    story.submit()
    story.tick()
    assert "No incident is known" in read_status(console)
    story.tick(minutes=1)
    page = read_status(console)
    assert "Some agencies are away" not in page
    assert "the gateway cannot send to it, since" in page
    assert "KPTA" in page


@pytest.mark.long
def test_readers_of_one_network_are_limited(story: Story, console: Console) -> None:
    visitor = console.visit()
    answers = [visitor.get("/console/status") for _ in range(60)]
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    assert [visitor.get("/console/status", environ_overrides=elsewhere).status_code for _ in range(3)] == [
        200
    ] * 3
    codes = [one.status_code for one in answers]
    assert codes == [200] * 50 + [503] * 10
    assert answers[0].headers["Cache-Control"] == "public, max-age=2"
    assert answers[-1].headers["Retry-After"] == "2"
    story.clock.forward(seconds=1)
    assert visitor.get("/console/status").status_code == 200
    assert console.visit().get("/console/sign-in").status_code == 200
