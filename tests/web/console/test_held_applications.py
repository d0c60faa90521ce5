"""An application that is held for its fee, as the officers of its agency see it."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine

from gateway.cases import DecisionCode, ReceiveAct, read_money
from gateway.errors import GatewayError
from gateway.hub.fees.payment_policy import PaymentPolicy, Tariff
from tests.kit.console import Browser, Console
from tests.kit.databases import BOTH
from tests.kit.officers import ConsoleStory


@pytest.fixture
def story(engine: Engine) -> ConsoleStory:
    """Return a story in which the fee of an application to the console is due before forwarding."""
    started = ConsoleStory(engine, "KPTA")
    tariff = Tariff(read_money("30000", "KRW"), days=10)
    started.hub.payments = PaymentPolicy(True, {"KPTA-PHARM-IMP": tariff}, b"secret")
    started.submit()
    started.tick()
    return started


@pytest.fixture
def kim(story: ConsoleStory) -> Browser:
    console = Console(story.hub, desk=story.desk, agency={})
    console.add_account("kim", ("agency", "KPTA"), "officer")
    return console.sign_in("kim")


def list_tabs(page: str) -> dict[str, int]:
    """Return the counted tabs of a list of work."""
    found = re.findall(r'tab=(\w+)"[^>]*>[^<]*<span class="count">(\d+)', page)
    return {name: int(number) for name, number in found}


@BOTH
def test_a_held_application_waits_in_a_list_of_its_own(story: ConsoleStory, kim: Browser) -> None:
    number = story.request("KPTA").number
    new, held = kim.get("/console/work").text, kim.get("/console/work?tab=held").text
    assert number not in new
    assert number in held
    assert "Take" not in re.sub(r"<nav.*?</nav>", "", held, flags=re.DOTALL)
    assert (list_tabs(new)["new"], list_tabs(new)["held"]) == (0, 1)
    every = kim.get("/console/work?tab=all").text
    assert "Waiting for its fee" in re.sub(r"<nav.*?</nav>", "", every, flags=re.DOTALL)


def test_of_a_held_application_only_its_fee_is_spoken_of(story: ConsoleStory, kim: Browser) -> None:
    number = story.request("KPTA").number
    page = kim.get(f"/console/applications/{number}").text
    assert "waits for its fee" in page
    assert re.findall(r"/acts/(\w+)", page) == ["receive"]
    form = kim.get(f"/console/applications/{number}/acts/receive").text
    codes = re.findall(r'<option value="([A-Z][0-9]{2})"', form)
    assert codes == ["Y02", "Y04", "Y06", "Y08", "Y10", "Y12"]
    assert kim.get(f"/console/applications/{number}/acts/decide").status_code == 409


def test_it_is_new_work_when_its_fee_is_settled(story: ConsoleStory, kim: Browser) -> None:
    lee = story.officer("lee")
    number, shown = story.request("KPTA").number, story.look().shown_digest
    refused = story.desk.perform_act(lee, number, story.decision(DecisionCode.APPROVED), shown)
    assert isinstance(refused.problem, GatewayError)
    assert refused.problem.problem.id == "GW701"
    story.tick(seconds=1)
    story.desk.perform_act(lee, number, ReceiveAct("Y04"), story.look().shown_digest)
    story.tick(seconds=1)
    new = kim.get("/console/work").text
    assert number in new
    assert (list_tabs(new)["new"], list_tabs(new)["held"]) == (1, 0)
    assert "decide" in re.findall(r"/acts/(\w+)", kim.get(f"/console/applications/{number}").text)
