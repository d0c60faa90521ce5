"""Operators see which agreements lose submissions to the mailbox, and what rests there."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from gateway.agreements import PModeOverride, write_overrides
from gateway.store import agreements, read_transaction, write_transaction
from tests.kit.audited import list_actions
from tests.kit.console import Browser, Console
from tests.kit.house import AGREEMENT
from tests.kit.story import Story

WARNING = "delivers Amend, Submit, Supplement, Withdraw to the mailbox"
AGREEMENT_NAME = "urn:example:agreement:broker1-hub:2026"
RESTS = "1 message of Submit rests in the mailbox"


@pytest.fixture
def story(engine: Engine) -> Story:
    return Story(engine, agreement=AGREEMENT.replace(b", deliver_to: case", b""))


def test_a_submission_that_rests_is_seen(story: Story, operator: Browser) -> None:
    sent = story.submit()
    story.house.post(story.broker.seal(story.broker.message("Store")))
    assert WARNING in operator.get("/console/operations/agreements").text
    overview = operator.get("/console/operations").text
    assert (WARNING in overview, RESTS in overview) == (True, True)
    resting = operator.get("/console/operations/messages?mailbox=yes").text
    assert sent.message_id in resting
    assert resting.count("nothing: it rests in the mailbox") == 2
    page = operator.get("/console/operations/messages?mailbox=yes&direction=out").text
    assert sent.message_id not in page


REASON = "their agreement lacked it"


def override(engine: Engine) -> None:
    """Say of the agreement what its file does not: submissions open cases."""
    override = PModeOverride("deliver_to", "case", "their file lacks it", "Kim", "2026-11-20")
    with write_transaction(engine) as conn:
        agreements.set_overrides(conn, AGREEMENT_NAME, write_overrides([override]))


def admit(browser: Browser, message: int = 1, reason: str = REASON) -> Any:
    browser.get("/console/account")
    return browser.post("/console/operations/act", act="message admit", reason=reason, message=message)


def test_an_operator_opens_the_case_of_what_rests(
    story: Story, engine: Engine, console: Console, operator: Browser
) -> None:
    story.submit()
    place = "/console/operations/messages/1"
    assert "act=message%20admit&amp;message=1" in operator.get(place).text
    refused = admit(operator)
    assert (refused.status_code, "GW705" in refused.text, "--deliver-to case" in refused.text) == (
        409,
        True,
        True,
    )
    override(engine)
    asked = operator.get("/console/operations/act?act=message+admit&message=1").text
    assert "Submit" in asked
    done = admit(operator)
    assert (done.status_code, done.location) == (302, place)
    assert "Queued the admission of 1 message: 1." in operator.get(place).text
    with read_transaction(engine) as conn:
        (act,) = list_actions(conn, role="operator")
    told = (act.actor, act.action, act.object, act.outcome, act.reason)
    assert told == ("kim", "message admit", "message 1", "done", REASON)
    story.tick()
    assert story.case().state == "IN_PROGRESS"
    assert "message%20admit" not in operator.get(place).text
    assert admit(operator).status_code == 409, "it does not rest any more"


def test_only_an_operator_opens_it(story: Story, engine: Engine, console: Console, operator: Browser) -> None:
    story.submit()
    override(engine)
    console.add_account("lee", ("operator", "operator"), "observer")
    lee = console.sign_in("lee")
    page = lee.get("/console/operations/messages/1").text
    assert ("rests in the mailbox: nobody" in page, "message%20admit" in page) == (True, False)
    assert admit(lee).status_code == 403
    assert admit(operator, 99).status_code == 409
    assert admit(operator, 1, "").status_code == 422
    assert RESTS in operator.get("/console/operations").text


def test_what_files_nothing_has_no_button(story: Story, operator: Browser) -> None:
    story.house.post(story.broker.seal(story.broker.message("Store")))
    page = operator.get("/console/operations/messages/1").text
    assert ("Store" in page, "message%20admit" in page, "mailbox: nobody" in page) == (True, False, False)


def test_a_second_person_opens_it_where_the_settings_say_so(story: Story, engine: Engine) -> None:
    console = Console(story.house.hub, console={"second_person": ["message admit"]})
    for name in ("kim", "lee"):
        console.add_account(name, ("operator", "operator"), "supervisor")
    story.submit()
    override(engine)
    kim, lee = console.sign_in("kim"), console.sign_in("lee")
    waiting = admit(kim)
    assert waiting.location.startswith("/console/operations/acts/")
    assert "message 1" in lee.get(waiting.location).text
    assert lee.post(f"{waiting.location}/approve", reason="yes").status_code == 302
    story.tick()
    assert story.case().state == "IN_PROGRESS"
