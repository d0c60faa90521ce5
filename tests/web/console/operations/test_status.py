"""The public status page: what operators announce, and who is away, with nothing else about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway.hub.completion import operator_actions
from gateway.store import audit_log, lanes, read_transaction, write_transaction
from tests.kit.console import Browser, Console
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


@pytest.fixture
def console(story: Story) -> Console:
    return Console(story.house.hub, **AGENCIES)


def read_status(console: Console, language: str = "en") -> str:
    console.services.clock.forward(seconds=16)  # type: ignore[attr-defined]
    answer = console.visit().get("/console/status", headers={"Accept-Language": language})
    assert answer.status_code == 200
    return answer.text


def publish(operator: Browser, **changes: str) -> Any:
    operator.get("/console/operations/status")
    return operator.post("/console/operations/status", **(NOTICE | changes))


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
        told = [row.action for row in audit_log.list_actions(conn, role="operator")]
    assert told == ["status end", "status publish"]


def test_a_planned_interruption_is_told_before_it_begins(console: Console, operator: Browser) -> None:
    times = {"starts_at": "2026-11-30T22:00", "ends_at": "2026-11-30T23:00"}
    assert publish(operator, kind="planned", **times).status_code == 302
    page = read_status(console)
    assert "No incident is known" in page
    assert page.index("Planned") < page.index("Slow answers")


WRONG: list[dict[str, str]] = [
    {"title_ko": ""},
    {"text_en": "x" * 2001},
    {"starts_at": "soon"},
    {"ends_at": "2026-11-20T07:00"},
    {"kind": "rumour"},
]


def test_a_notice_that_lacks_something_is_not_published(console: Console, operator: Browser) -> None:
    for wrong in WRONG:
        assert publish(operator, **wrong).status_code == 422, wrong
    assert "Slow answers" not in read_status(console)


def test_markup_in_a_notice_is_text(console: Console, operator: Browser) -> None:
    publish(operator, title_en="<img src=x onerror=alert(1)>")
    assert "<img" not in read_status(console)


@pytest.mark.parametrize("role", ["observer", "administrator"])
def test_only_who_may_publish_publishes(console: Console, role: str) -> None:
    console.add_account("lee", ("operator", "operator"), role)
    lee = console.sign_in("lee")
    assert publish(lee).status_code == 403
    assert "Publish a notice" not in lee.get("/console/operations/status").text


def test_an_agency_that_is_away_is_named_and_nothing_else(story: Story, console: Console) -> None:
    story.say("KPTA", *[unreachable("no route to 198.51.100.7")] * 3)
    story.submit()
    story.tick()
    now = console.services.clock()
    with write_transaction(console.services.engine) as conn:
        lanes.set_lane_circuit(conn, "KPTA", now + timedelta(hours=1), "GW601")
    page = read_status(console)
    assert "Some agencies are away" in page
    assert "KPTA" in page
    for secret in ("198.51.100.7", "GW601", "secret-path", "broker1", story.case().number):
        assert secret not in page
    with write_transaction(console.services.engine) as conn:
        lanes.set_lane_circuit(conn, "KPTA", None, None)
        operator_actions.hold_lane(conn, "KPTA", now, "kim", "a fire in its centre")
    page = read_status(console)
    assert "KPTA" in page
    assert "fire" not in page
    assert "kim" not in page


def test_many_readers_cost_one_look_and_are_limited(story: Story, console: Console) -> None:
    visitor = console.visit()
    answers = [visitor.get("/console/status") for _ in range(60)]
    codes = [one.status_code for one in answers]
    assert codes == [200] * 50 + [503] * 10
    assert answers[0].headers["Cache-Control"] == "public, max-age=15"
    assert answers[-1].headers["Retry-After"] == "2"
    story.clock.forward(seconds=1)
    assert visitor.get("/console/status").status_code == 200
    assert console.visit().get("/console/sign-in").status_code == 200
